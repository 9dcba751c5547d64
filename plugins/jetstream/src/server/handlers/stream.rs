//! Requests about streams.

use super::Call;
use super::reply::{Body, done, ok};
use crate::api::advisory::{Action, Advisory};
use crate::api::level;
use crate::api::limits::ServerBytes;
use crate::api::reply::{
    Created, Info, Initiated, LIST_LIMIT, Message, NAMES_LIMIT, Page, Purged, StoredMessage, StreamList,
    StreamNames, page,
};
use crate::api::validate::Rules;
use crate::api::validate::request::{Creation, create, free, update};
use crate::api::validate::update::check_consumer_limits;
use crate::server::Server;
use crate::server::account::Account;
use crate::server::worker::Worker;
use crate::stream::{GetRequest, InfoOptions};
use crate::wire::requests::MsgGetRequest;
use crate::wire::{ApiError, StreamInfo, Time, error};

use std::sync::Arc;

impl Call<'_> {
    pub(super) async fn create_stream(&self, name: &str) -> Body {
        let request = self.input.stream_config()?;
        let _changing = self.account.changing.lock().await;
        let info = match self.judged(|rules| create(name, request, rules))? {
            Creation::Exists => {
                let mut info = self.info_of(name, true).await?;
                info.domain.clear();
                info
            }
            Creation::New(_)
                if self.account.damaged.lock().contains_key(name)
                    || self.account.restoring.lock().contains(name) =>
            {
                return Err(error::STREAM_NAME_EXIST);
            }
            Creation::New(config) => {
                let info = self.server.create(self.account, *config).await?;
                self.account.retry_origins(Some(name));
                self.advise(&Advisory::stream(Action::Create, name));
                info
            }
        };
        ok(self.kind, &Created { info: &info, did_create: true })
    }

    pub(super) fn judged<T>(&self, check: impl FnOnce(&Rules<'_>) -> T) -> T {
        self.server.judged(self.account, check)
    }

    /// A stream's information, by its task; `full` with what only replies about one stream show (JS-064).
    async fn info_of(&self, name: &str, full: bool) -> Result<StreamInfo, ApiError> {
        let stream = self.stream(name)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let version = self.server.identity.version.clone();
        stream.inbox.command(move |worker: &mut Worker| {
            let now_ns = worker.now_ns;
            let mut info = worker.stream.info(&InfoOptions::default(), now_ns).info;
            if full {
                level::show(&mut info.config.metadata, &version);
            }
            // Who asked may be gone.
            let _ = sender.send(info);
        });
        receiver.await.map_err(|_| error::STREAM_NOT_FOUND)
    }

    pub(super) async fn update_stream(&self, name: &str) -> Option<Body> {
        let changing = self.account.changing.clone().lock_owned().await;
        let checked = self.input.stream_config().and_then(|request| {
            let config = self.judged(|rules| update(name, request, rules))?;
            Ok((self.stream(name)?, config))
        });
        let (handle, config) = match checked {
            Ok(checked) => checked,
            Err(why) => return Some(Err(why)),
        };
        let is_free = self.judged(|rules| free(&config, rules));
        let (kind, version) = (self.kind, self.server.identity.version.clone());
        let account = self.account.clone();
        let body = self.in_task(name, move |worker| {
            // Held until it is done.
            let _changing = changing;
            let consumers = worker.stream.consumers().iter();
            let consumers = consumers.map(|consumer| (consumer.name(), consumer.config()));
            check_consumer_limits(worker.stream.config(), &config, consumers)?;
            is_free?;
            worker.call(|stream, call| stream.update(config, call))?;
            let config = Arc::new(worker.stream.config().clone());
            account.assets.write().insert(config.clone());
            *handle.config.write() = config;
            let host = worker.host().clone();
            handle.listen(&host, &account.name).map_err(|why| error::STREAM_UPDATE.with(why))?;
            let now_ns = worker.now_ns;
            let mut info = worker.stream.info(&InfoOptions::default(), now_ns).info;
            level::show(&mut info.config.metadata, &version);
            ok(kind, &info)
        });
        if body.is_none() {
            self.advise(&Advisory::stream(Action::Modify, name));
        }
        body
    }

    pub(super) fn stream_names(&self) -> Body {
        let request = self.input.stream_names()?;
        let assets = self.account.assets.read();
        let names: Vec<&str> = assets.matching(&request.subject).map(|config| config.name.as_str()).collect();
        let range = page(request.offset, names.len(), NAMES_LIMIT);
        let page = Page::of(&range, names.len(), NAMES_LIMIT);
        ok(self.kind, &StreamNames { page, streams: names[range].to_vec() })
    }

    pub(super) async fn stream_list(&self) -> Body {
        let request = self.input.stream_list()?;
        let names: Vec<String> = {
            let assets = self.account.assets.read();
            assets.matching(&request.subject).map(|config| config.name.clone()).collect()
        };
        let range = page(request.offset, names.len(), LIST_LIMIT);
        let page = Page::of(&range, names.len(), LIST_LIMIT);
        let mut streams = Vec::new();
        for name in &names[range] {
            streams.extend(self.info_of(name, false).await.ok());
        }
        let damaged = self.account.damaged.lock();
        let missing = damaged.keys().map(String::as_str).collect();
        let offline = damaged.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        ok(self.kind, &StreamList { page, streams, missing, offline })
    }

    pub(super) fn stream_info(&self, name: &str) -> Option<Body> {
        let request = match self.input.stream_info() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (kind, version) = (self.kind, self.server.identity.version.clone());
        let leader = self.server.identity.name.clone();
        self.in_task(name, move |worker| {
            let options = InfoOptions {
                deleted_details: request.deleted_details,
                subjects_filter: request.subjects_filter,
                offset: u64::try_from(request.offset).unwrap_or(0),
            };
            let now_ns = worker.now_ns;
            let mut found = worker.stream.info(&options, now_ns);
            level::show(&mut found.info.config.metadata, &version);
            found.info.cluster = Some(crate::wire::stream::ClusterInfo { leader, ..Default::default() });
            let page = Page {
                total: found.total as usize,
                offset: found.offset as usize,
                limit: found.limit as usize,
            };
            ok(kind, &Info { page, info: &found.info })
        })
    }

    pub(super) async fn delete_stream(&self, name: &str) -> Body {
        self.input.empty()?;
        let _changing = self.account.changing.lock().await;
        let stream = self.stream(name)?;
        self.server.delete(self.account, &stream).await?;
        self.advise(&Advisory::stream(Action::Delete, name));
        done(self.kind)
    }

    /// Deletes everything that an account has. One that is not there has nothing.
    pub(super) async fn purge_account(&self, name: &str) -> Body {
        if let Some(account) = self.server.account(name) {
            let _changing = account.changing.lock().await;
            let streams: Vec<_> = account.streams.read().values().cloned().collect();
            for stream in streams {
                self.server.delete(&account, &stream).await?;
                self.server.advise(&account.name, &Advisory::stream(Action::Delete, &stream.name));
            }
        }
        ok(self.kind, &Initiated { initiated: true })
    }

    pub(super) fn purge_stream(&self, name: &str) -> Option<Body> {
        let request = match self.input.purge() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let kind = self.kind;
        self.in_task(name, move |worker| {
            let purged =
                worker.call(|stream, call| stream.purge(&request.filter, request.seq, request.keep, call))?;
            ok(kind, &Purged { success: true, purged })
        })
    }

    pub(super) fn get_message(&self, name: &str) -> Option<Body> {
        let request = match self.input.msg_get() {
            Ok(request) => get_request(request),
            Err(why) => return Some(Err(why)),
        };
        let kind = self.kind;
        self.in_task(name, move |worker| {
            let found = worker.stream.get_message(&request)?;
            let message = StoredMessage {
                subject: &found.subject,
                seq: found.seq,
                hdrs: if request.no_hdr { b"" } else { &found.headers },
                data: &found.payload,
                time: Time(found.time_ns),
            };
            ok(kind, &Message { message })
        })
    }

    pub(super) fn delete_message(&self, name: &str) -> Option<Body> {
        let request = match self.input.msg_delete() {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let kind = self.kind;
        self.in_task(name, move |worker| {
            worker.call(|stream, call| stream.delete_message(request.seq, !request.no_erase, call))?;
            done(kind)
        })
    }
}

impl Server {
    /// Calls a check with what it needs to know of the account and the server.
    pub fn judged<T>(&self, account: &Account, check: impl FnOnce(&Rules<'_>) -> T) -> T {
        let config = self.config();
        let (reserved_memory, reserved_file) = self.reserved();
        let bytes = ServerBytes {
            max_memory: self.memory_bytes_max(),
            max_file: self.storage_bytes_max(),
            reserved_memory,
            reserved_file,
        };
        let (tiers, assets) = (account.tiers.read(), account.assets.read());
        check(&Rules {
            server: &config.limits,
            bytes: &bytes,
            account: &tiers,
            assets: &assets,
            is_pedantic: false,
        })
    }
}

fn get_request(request: MsgGetRequest) -> GetRequest {
    let MsgGetRequest { seq, last_by_subj, next_by_subj, batch, max_bytes, start_time, .. } = request;
    let MsgGetRequest { multi_last, up_to_seq, up_to_time, no_hdr, .. } = request;
    GetRequest {
        seq,
        last_by_subj,
        next_by_subj,
        batch,
        max_bytes,
        start_time,
        multi_last,
        up_to_seq,
        up_to_time,
        no_hdr,
    }
}
