//! Requests about consumers.

use super::reply::{self, Body, fields, success};
use super::stream::{Page, offset};
use super::{Call, decode};
use crate::api::validate;
use crate::server::worker::Worker;
use crate::wire::{ApiError, ConsumerConfig, ConsumerInfo, Time, error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Pages of lists (JC-170).
const NAMES_MAX: usize = 1024;
const INFOS_MAX: usize = 256;

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateRequest {
    stream_name: String,
    config: ConsumerConfig,
    action: Action,
    pedantic: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
enum Action {
    #[default]
    #[serde(rename = "")]
    Any,
    #[serde(rename = "create")]
    Create,
    #[serde(rename = "update")]
    Update,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PauseRequest {
    pause_until: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UnpinRequest {
    group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResetRequest {
    seq: u64,
}

impl Call<'_> {
    /// `tokens` begin after `CONSUMER`: `CREATE.<s>[.<c>[.<filter>]]` or `DURABLE.CREATE.<s>.<c>` (JC-001).
    pub(super) fn create_consumer(&self, tokens: &[&str], kind: &'static str) -> Option<Body> {
        let (stream, request) = match self.consumer_request(tokens) {
            Ok(checked) => checked,
            Err(why) => return Some(Err(why)),
        };
        let version = self.server.identity.version.clone();
        let limits = self.server.config().limits.clone();
        let mut random = || self.server.host.random_u64();
        let new_name = crate::context::unique_id(&mut random)[..8].to_owned();
        self.in_task(&stream, kind, move |worker| {
            let CreateRequest { mut config, action, pedantic, .. } = request;
            if config.name.is_empty() {
                config.name =
                    if config.durable_name.is_empty() { new_name } else { config.durable_name.clone() };
            }
            let name = config.name.clone();
            let consumers = worker.stream.consumers();
            let before = consumers.get(&name).map(|consumer| consumer.config().clone());
            let others: Vec<&ConsumerConfig> =
                consumers.iter().filter(|other| other.name() != name).map(|other| other.config()).collect();
            let rules = validate::ConsumerRules {
                pedantic,
                stream: worker.stream.config(),
                others: &others,
                limits: &limits,
            };
            let mut config = validate::consumer(config, before.as_ref(), &rules)?;
            let level = validate::consumer_level(&config);
            reply::set_level(&mut config.metadata, level);
            let info = match before {
                None if action == Action::Update => return Err(error::CONSUMER_DOES_NOT_EXIST),
                None => worker.call(|stream, call| stream.create_consumer(config, call))?,
                Some(before) if before == config => {
                    worker.call(|stream, call| stream.consumer_info(&name, call))?
                }
                Some(_) if action == Action::Create => return Err(error::CONSUMER_ALREADY_EXISTS),
                Some(before) => {
                    validate::consumer_update(&before, &config)?;
                    worker.call(|stream, call| stream.update_consumer(&name, config, call))?
                }
            };
            worker.refresh_watches();
            Ok(shown(info, &version))
        })
    }

    fn consumer_request(&self, tokens: &[&str]) -> Result<(String, CreateRequest), ApiError> {
        let mut request: CreateRequest = decode::body(&self.request.body, self.strict)?;
        let (stream, name, filter) = match *tokens {
            ["DURABLE", "CREATE", stream, name] => {
                if request.config.durable_name.is_empty() {
                    return Err(error::CONSUMER_DURABLE_NAME_NOT_SET);
                }
                if request.config.durable_name != name {
                    return Err(error::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT);
                }
                (stream, name, None)
            }
            ["CREATE", stream] => {
                if !request.config.durable_name.is_empty() {
                    return Err(error::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME);
                }
                (stream, "", None)
            }
            ["CREATE", stream, name] => (stream, name, None),
            ["CREATE", stream, name, ref filter @ ..] => (stream, name, Some(filter.join("."))),
            _ => return Err(error::BAD_REQUEST),
        };
        if request.stream_name != stream {
            return Err(error::STREAM_MISMATCH);
        }
        let config = &mut request.config;
        if !config.durable_name.is_empty() && !name.is_empty() && config.durable_name != name {
            return Err(error::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT);
        }
        if let Some(filter) = filter {
            if !config.filter_subjects.is_empty() {
                return Err(error::CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED);
            }
            if config.filter_subject != filter {
                return Err(error::CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH);
            }
        }
        if !config.name.is_empty() && !config.durable_name.is_empty() && config.name != config.durable_name {
            return Err(error::CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH);
        }
        if !name.is_empty() {
            config.name = name.to_owned();
        }
        Ok((stream.to_owned(), request))
    }

    pub(super) fn consumer_names(&self, stream: &str, kind: &'static str) -> Option<Body> {
        self.consumer_page(stream, kind, NAMES_MAX, |worker, name| {
            let _ = worker;
            Some(name.into())
        })
    }

    pub(super) fn consumer_list(&self, stream: &str, kind: &'static str) -> Option<Body> {
        self.consumer_page(stream, kind, INFOS_MAX, |worker, name| {
            let info = worker.call(|stream, call| stream.consumer_info(name, call)).ok()?;
            Some(Value::Object(fields(&info)))
        })
    }

    /// A page of the consumers that are not a mirror's or source's own.
    fn consumer_page(
        &self,
        stream: &str,
        kind: &'static str,
        limit: usize,
        show: impl Fn(&mut Worker, &str) -> Option<Value> + Send + 'static,
    ) -> Option<Body> {
        let page: Page = match decode::optional(&self.request.body, self.strict) {
            Ok(page) => page,
            Err(why) => return Some(Err(why)),
        };
        self.in_task(stream, kind, move |worker| {
            let visible = worker.stream.consumers().iter().filter(|consumer| !consumer.config().direct);
            let names: Vec<String> = visible.map(|consumer| consumer.name().to_owned()).collect();
            let offset = offset(page.offset, names.len());
            let shown: Vec<Value> =
                names.iter().skip(offset).take(limit).filter_map(|name| show(worker, name)).collect();
            Ok(fields(&json!({"total": names.len(), "offset": offset, "limit": limit, "consumers": shown})))
        })
    }

    pub(super) fn consumer_info(&self, stream: &str, name: &str, kind: &'static str) -> Option<Body> {
        if let Err(why) = decode::empty(&self.request.body) {
            return Some(Err(why));
        }
        let (name, version) = (name.to_owned(), self.server.identity.version.clone());
        self.in_task(stream, kind, move |worker| {
            let info = worker.call(|stream, call| stream.consumer_info(&name, call))?;
            Ok(shown(info, &version))
        })
    }

    pub(super) fn delete_consumer(&self, stream: &str, name: &str, kind: &'static str) -> Option<Body> {
        if let Err(why) = decode::empty(&self.request.body) {
            return Some(Err(why));
        }
        let name = name.to_owned();
        self.in_task(stream, kind, move |worker| {
            worker.call(|stream, call| stream.delete_consumer(&name, call))?;
            worker.refresh_watches();
            Ok(success())
        })
    }

    pub(super) fn pause_consumer(&self, stream: &str, name: &str, kind: &'static str) -> Option<Body> {
        let request: PauseRequest = match decode::optional(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let name = name.to_owned();
        self.in_task(stream, kind, move |worker| {
            let until = request.pause_until.filter(|until| !until.is_zero());
            let info = worker.call(|stream, call| stream.pause_consumer(&name, until, call))?;
            let mut body = Map::new();
            body.insert("paused".to_owned(), info.paused.into());
            let until = info.config.pause_until.unwrap_or_default();
            body.insert("pause_until".to_owned(), json!(until));
            if info.pause_remaining > 0 {
                body.insert("pause_remaining".to_owned(), info.pause_remaining.into());
            }
            Ok(body)
        })
    }

    pub(super) fn unpin_consumer(&self, stream: &str, name: &str, kind: &'static str) -> Option<Body> {
        let request: UnpinRequest = match decode::body(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        if request.group.is_empty() {
            return Some(Err(error::INVALID_JSON.with("consumer group not specified")));
        }
        let name = name.to_owned();
        self.in_task(stream, kind, move |worker| {
            worker.call(|stream, call| stream.unpin_consumer(&name, &request.group, call))?;
            Ok(Map::new())
        })
    }

    pub(super) fn reset_consumer(&self, stream: &str, name: &str, kind: &'static str) -> Option<Body> {
        let request: ResetRequest = match decode::optional(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (name, version) = (name.to_owned(), self.server.identity.version.clone());
        self.in_task(stream, kind, move |worker| {
            let seq = worker.call(|stream, call| stream.reset_consumer(&name, request.seq, call))?;
            let info = worker.call(|stream, call| stream.consumer_info(&name, call))?;
            let mut body = shown(info, &version);
            body.insert("reset_seq".to_owned(), seq.into());
            Ok(body)
        })
    }
}

fn shown(mut info: ConsumerInfo, version: &str) -> Map<String, Value> {
    reply::dynamic(&mut info.config.metadata, version);
    fields(&info)
}
