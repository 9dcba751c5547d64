//! Requests about consumers.

use super::Call;
use super::reply::{self, Body, done, ok};
use crate::api::level;
use crate::api::reply::{
    ConsumerList, ConsumerNames, Done, LIST_LIMIT, NAMES_LIMIT, Page, Paused, Reset, page,
};
use crate::api::subject::ConsumerPath;
use crate::api::validate::consumer::ConsumerRules;
use crate::api::validate::consumer_update::{Plan, Present, Visit, plan, resolve, settle_sourcing};
use crate::context::unique_id;
use crate::server::worker::Worker;
use crate::stream::headers;
use crate::wire::requests::ConsumerCreateRequest;
use crate::wire::{ApiError, ConsumerConfig, ConsumerInfo, error};

/// Of a name that the server makes up (JC-013).
const NAME_LEN: usize = 8;

impl Call<'_> {
    pub(super) fn create_consumer(&self, path: &ConsumerPath<'_>) -> Option<Body> {
        let checked = self.input.consumer_create().and_then(|mut request| {
            resolve(path, &mut request)?;
            Ok(request)
        });
        let request = match checked {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (kind, version) = (self.kind, self.server.identity.version.clone());
        let limits = self.server.config().limits.clone();
        let account = self.account.clone();
        let host = self.server.host.clone();
        let is_internal = request.config.is_internal();
        let known = headers::value(&self.request.headers, headers::STREAM_IDENTITY).unwrap_or_default();
        let known = known.to_vec();
        let make = move |worker: &mut Worker| {
            let mut new_name = || unique_id(&mut || host.random_u64())[..NAME_LEN].to_owned();
            let tiers = account.tiers.read().clone();
            let rules = ConsumerRules {
                server: &limits,
                account: tiers.select(worker.stream.config().num_replicas).ok_or(error::NO_LIMITS)?,
                stream: &worker.stream.config().clone(),
                is_pedantic: false,
            };
            let info = match planned(worker, request, &rules, &mut new_name)? {
                Plan::Create(mut config) => {
                    if config.name.is_empty() {
                        config.name = new_name();
                    }
                    worker.call(|stream, call| stream.create_consumer(*config, call))?
                }
                Plan::Update(config) => updated(worker, *config)?,
            };
            worker.refresh_watches();
            ok(kind, &shown(info, &version))
        };
        // Only who reads for a mirror or a source wants to know which stream it is (JC-011).
        self.in_task_with_headers(path.stream(), move |worker| {
            let identity = worker.stream.identity();
            if !is_internal {
                return (Vec::new(), make(worker));
            }
            if !known.is_empty() && known != identity.as_bytes() {
                return (Vec::new(), Err(error::CONSUMER_STREAM_IDENTITY_MISMATCH.with(identity)));
            }
            let body = make(worker);
            let headers = match body {
                Ok(_) => identity_header(identity),
                Err(_) => Vec::new(),
            };
            (headers, body)
        })
    }

    pub(super) fn consumer_names(&self, stream: &str) -> Option<Body> {
        let request = match self.input.consumers() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let kind = self.kind;
        self.in_task(stream, move |worker| {
            let names = visible(worker);
            let range = page(request.offset, names.len(), NAMES_LIMIT);
            let page = Page::of(&range, names.len(), NAMES_LIMIT);
            let consumers = names[range].iter().map(String::as_str).collect();
            ok(kind, &ConsumerNames { page, consumers })
        })
    }

    pub(super) fn consumer_list(&self, stream: &str) -> Option<Body> {
        let request = match self.input.consumers() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let kind = self.kind;
        self.in_task(stream, move |worker| {
            let names = visible(worker);
            let range = page(request.offset, names.len(), LIST_LIMIT);
            let page = Page::of(&range, names.len(), LIST_LIMIT);
            let info = |name: &String| worker.call(|stream, call| stream.consumer_info(name, call)).ok();
            let consumers = names[range].iter().filter_map(info).collect();
            ok(kind, &ConsumerList { page, consumers, ..ConsumerList::default() })
        })
    }

    pub(super) fn consumer_info(&self, stream: &str, name: &str) -> Option<Body> {
        if let Err(why) = self.input.consumer_info() {
            return Some(Err(why));
        }
        let (kind, name, version) = (self.kind, name.to_owned(), self.server.identity.version.clone());
        self.in_task(stream, move |worker| {
            let info = worker.call(|stream, call| stream.consumer_info(&name, call))?;
            ok(kind, &shown(info, &version))
        })
    }

    pub(super) fn delete_consumer(&self, stream: &str, name: &str) -> Option<Body> {
        if let Err(why) = self.input.empty() {
            return Some(Err(why));
        }
        let (kind, name) = (self.kind, name.to_owned());
        self.in_task(stream, move |worker| {
            worker.call(|stream, call| stream.delete_consumer(&name, call))?;
            worker.refresh_watches();
            done(kind)
        })
    }

    pub(super) fn pause_consumer(&self, stream: &str, name: &str) -> Option<Body> {
        let request = match self.input.pause() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (kind, name) = (self.kind, name.to_owned());
        self.in_task(stream, move |worker| {
            let until = Some(request.pause_until).filter(|until| !until.is_zero());
            worker.call(|stream, call| stream.pause_consumer(&name, until, call))?;
            ok(kind, &Paused::until(request.pause_until, worker.now_ns))
        })
    }

    pub(super) fn unpin_consumer(&self, stream: &str, name: &str) -> Option<Body> {
        let request = match self.input.unpin() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (kind, name) = (self.kind, name.to_owned());
        self.in_task(stream, move |worker| {
            worker.call(|stream, call| stream.unpin_consumer(&name, &request.group, call))?;
            ok(kind, &Done::SILENT)
        })
    }

    /// Only the consumer itself answers: one that is not there does not.
    pub(super) fn reset_consumer(&self, stream: &str, name: &str) {
        let Ok(handle) = self.stream(stream) else { return };
        let (kind, name, version) = (self.kind, name.to_owned(), self.server.identity.version.clone());
        let (request, reply) = (self.input.reset(), self.request.reply.clone());
        let wants_identity = headers::value(&self.request.headers, headers::STREAM_IDENTITY).is_some();
        handle.inbox.command(move |worker: &mut Worker| {
            if worker.stream.consumers().get(&name).is_none() {
                return;
            }
            let body = request.and_then(|request| {
                let reset_seq =
                    worker.call(|stream, call| stream.reset_consumer(&name, request.seq, call))?;
                let info = worker.call(|stream, call| stream.consumer_info(&name, call))?;
                ok(kind, &Reset { info: &shown(info, &version), reset_seq })
            });
            let headers = match wants_identity && body.is_ok() {
                true => identity_header(worker.stream.identity()),
                false => Vec::new(),
            };
            worker.out.answer(&reply, &headers, &reply::text(kind, body));
        });
    }
}

/// Who reads for a mirror or a source begins anew: what it did not acknowledge comes once more.
fn updated(worker: &mut Worker, config: ConsumerConfig) -> Result<ConsumerInfo, ApiError> {
    let (name, is_sourcing) = (config.name.clone(), config.sourcing);
    let existing = worker.stream.consumers().get(&name);
    if existing.is_none_or(|consumer| *consumer.config() != config) {
        worker.call(|stream, call| stream.update_consumer(&name, config, call))?;
    }
    if is_sourcing {
        worker.call(|stream, call| stream.reset_consumer(&name, 0, call))?;
    }
    worker.call(|stream, call| stream.consumer_info(&name, call))
}

fn identity_header(identity: String) -> Vec<u8> {
    headers::Block::copy(b"").add_and_finish(headers::STREAM_IDENTITY, identity)
}

/// What to do for a request, given the consumers that the stream has.
fn planned(
    worker: &mut Worker,
    mut request: ConsumerCreateRequest,
    rules: &ConsumerRules<'_>,
    new_name: &mut dyn FnMut() -> String,
) -> Result<Plan, ApiError> {
    settle_sourcing(&mut request.config, rules.stream, &mut *new_name);
    let name = request.config.name.clone();
    worker.call(|stream, call| {
        let consumers = stream.consumers();
        let others = |visit: Visit<'_>| {
            consumers.iter().for_each(|consumer| visit(consumer.name(), consumer.config()));
        };
        let present = Present {
            existing: consumers.get(&name).map(|consumer| consumer.config()),
            counted: consumers.limited() as i64,
            others: &others,
            has_interest: &|subject| call.interest.has(subject.as_bytes(), b""),
        };
        plan(request, rules, &present)
    })
}

/// Names of the consumers that are not a mirror's or source's own, in order.
fn visible(worker: &Worker) -> Vec<String> {
    let visible = worker.stream.consumers().iter().filter(|consumer| !consumer.config().direct);
    visible.map(|consumer| consumer.name().to_owned()).collect()
}

fn shown(mut info: ConsumerInfo, version: &str) -> ConsumerInfo {
    level::show(&mut info.config.metadata, version);
    info
}
