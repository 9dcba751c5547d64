//! Requests about streams.

use super::reply::{self, Body, fields, success};
use super::{Call, decode};
use crate::api::validate;
use crate::server::worker::Worker;
use crate::stream::{GetRequest, InfoOptions};
use crate::wire::{ApiError, StreamConfig, Time, error};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Pages of lists (JS-023, JS-024).
const NAMES_MAX: usize = 1024;
const INFOS_MAX: usize = 256;

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    pub offset: i64,
    pub subject: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InfoRequest {
    offset: u64,
    deleted_details: bool,
    subjects_filter: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PurgeRequest {
    seq: u64,
    filter: String,
    keep: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteRequest {
    seq: u64,
    no_erase: bool,
}

impl Call<'_> {
    /// The configuration in the body, with defaults filled in and checked.
    fn wanted(&self, name: &str) -> Result<(StreamConfig, bool), ApiError> {
        let (config, pedantic) = decode::stream_config(&self.request.body, self.strict)?;
        if config.name != name && !config.name.is_empty() {
            return Err(error::STREAM_MISMATCH);
        }
        Ok((config, pedantic))
    }

    pub(super) async fn create_stream(&self, name: &str) -> Body {
        let (config, pedantic) = self.wanted(name)?;
        let others = self.configs_but(name);
        let rules = validate::Rules { pedantic, others: &others, limits: &self.server.config().limits };
        let mut config = validate::stream(config, &rules)?;
        let level = reply::stream_level(&config);
        reply::set_level(&mut config.metadata, level);
        if let Some(there) = self.account.stream(name) {
            if **there.config.read() != config {
                return Err(error::STREAM_NAME_EXIST);
            }
            return self.created(name).await;
        }
        if self.account.damaged.lock().contains_key(name) {
            return Err(error::STREAM_NAME_EXIST);
        }
        self.server.create(self.account, config).await?;
        self.advise_stream(name, "CREATED", "create");
        self.created(name).await
    }

    async fn created(&self, name: &str) -> Body {
        let mut body = self.info_of(name, InfoOptions::default()).await?;
        body.remove("domain");
        body.insert("did_create".to_owned(), true.into());
        Ok(body)
    }

    /// A stream's information, by its task.
    async fn info_of(&self, name: &str, options: InfoOptions) -> Body {
        let stream = self.stream(name)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let version = self.server.identity.version.clone();
        stream.inbox.command(move |worker: &mut Worker| {
            let now_ns = worker.now_ns;
            let mut info = worker.stream.info(&options, now_ns).info;
            reply::dynamic(&mut info.config.metadata, &version);
            // Who asked may be gone.
            let _ = sender.send(fields(&info));
        });
        receiver.await.map_err(|_| error::STREAM_NOT_FOUND)
    }

    fn configs_but(&self, name: &str) -> Vec<std::sync::Arc<StreamConfig>> {
        let streams = self.account.streams.read();
        streams
            .values()
            .filter(|stream| stream.name != name)
            .map(|stream| stream.config.read().clone())
            .collect()
    }

    pub(super) fn update_stream(&self, name: &str, kind: &'static str) -> Option<Body> {
        let checked = self.checked_update(name);
        let (stream, config) = match checked {
            Ok(checked) => checked,
            Err(why) => return Some(Err(why)),
        };
        let version = self.server.identity.version.clone();
        let account = self.account.clone();
        let handle = stream.clone();
        let body = self.in_task(name, kind, move |worker| {
            worker.call(|stream, call| stream.update(config.clone(), call))?;
            *handle.config.write() = std::sync::Arc::new(worker.stream.config().clone());
            let host = worker.host().clone();
            if let Err(why) = handle.listen(&host, &account.name) {
                return Err(error::STREAM_UPDATE.with(why));
            }
            let now_ns = worker.now_ns;
            let mut info = worker.stream.info(&InfoOptions::default(), now_ns).info;
            reply::dynamic(&mut info.config.metadata, &version);
            Ok(fields(&info))
        });
        if body.is_none() {
            self.advise_stream(name, "UPDATED", "modify");
        }
        body
    }

    fn checked_update(
        &self,
        name: &str,
    ) -> Result<(std::sync::Arc<crate::server::account::StreamHandle>, StreamConfig), ApiError> {
        let (config, pedantic) = self.wanted(name)?;
        let stream = self.stream(name)?;
        let others = self.configs_but(name);
        let rules = validate::Rules { pedantic, others: &others, limits: &self.server.config().limits };
        let before = stream.config.read().clone();
        let mut config = validate::update(&before, config, &rules)?;
        let level = reply::stream_level(&config);
        reply::set_level(&mut config.metadata, level);
        Ok((stream, config))
    }

    pub(super) fn stream_names(&self) -> Body {
        let page: Page = decode::optional(&self.request.body, self.strict)?;
        let names = self.matching(&page.subject);
        let offset = offset(page.offset, names.len());
        let shown: Vec<&String> = names.iter().skip(offset).take(NAMES_MAX).collect();
        let shown = if shown.is_empty() { Value::Null } else { json!(shown) };
        Ok(fields(&json!({"total": names.len(), "offset": offset, "limit": NAMES_MAX, "streams": shown})))
    }

    pub(super) async fn stream_list(&self) -> Body {
        let page: Page = decode::optional(&self.request.body, self.strict)?;
        let names = self.matching(&page.subject);
        let offset = offset(page.offset, names.len());
        let mut infos = Vec::new();
        for name in names.iter().skip(offset).take(INFOS_MAX) {
            if let Ok(mut info) = self.info_of(name, InfoOptions::default()).await {
                // Only the stored metadata is shown here (JS-064).
                if let Some(metadata) =
                    info.get_mut("config").and_then(|config| config.get_mut("metadata")?.as_object_mut())
                {
                    metadata.retain(|key, _| key != "_nats.ver" && key != "_nats.level");
                }
                infos.push(Value::Object(info));
            }
        }
        let mut body =
            fields(&json!({"total": names.len(), "offset": offset, "limit": INFOS_MAX, "streams": infos}));
        let damaged = self.account.damaged.lock();
        if !damaged.is_empty() {
            body.insert("missing".to_owned(), json!(damaged.keys().collect::<Vec<_>>()));
            body.insert("offline".to_owned(), json!(*damaged));
        }
        Ok(body)
    }

    /// Names of the streams that have a subject which overlaps (JS-049), in order.
    fn matching(&self, subject: &str) -> Vec<String> {
        let streams = self.account.streams.read();
        let meant = |config: &StreamConfig| {
            subject.is_empty()
                || config
                    .subjects
                    .iter()
                    .any(|own| crate::filter::overlaps(own.as_bytes(), subject.as_bytes()))
        };
        streams.values().filter(|stream| meant(&stream.config.read())).map(|s| s.name.clone()).collect()
    }

    pub(super) fn stream_info(&self, name: &str, kind: &'static str) -> Option<Body> {
        let request: InfoRequest = match decode::optional(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        let (version, leader) = (self.server.identity.version.clone(), self.server.identity.name.clone());
        self.in_task(name, kind, move |worker| {
            let options = InfoOptions {
                deleted_details: request.deleted_details,
                subjects_filter: request.subjects_filter,
                offset: request.offset,
            };
            let now_ns = worker.now_ns;
            let mut page = worker.stream.info(&options, now_ns);
            reply::dynamic(&mut page.info.config.metadata, &version);
            let mut body = fields(&json!({"total": page.total, "offset": page.offset, "limit": page.limit}));
            body.extend(fields(&page.info));
            body.insert("cluster".to_owned(), json!({"leader": leader}));
            Ok(body)
        })
    }

    pub(super) async fn delete_stream(&self, name: &str) -> Body {
        decode::empty(&self.request.body)?;
        if let Some(stream) = self.account.stream(name) {
            self.server.delete(self.account, &stream).await?;
            self.advise_stream(name, "DELETED", "delete");
            return Ok(success());
        }
        Err(self.stream(name).err().unwrap_or(error::STREAM_NOT_FOUND))
    }

    pub(super) fn purge_stream(&self, name: &str, kind: &'static str) -> Option<Body> {
        let request: PurgeRequest = match decode::optional(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        self.in_task(name, kind, move |worker| {
            let purged =
                worker.call(|stream, call| stream.purge(&request.filter, request.seq, request.keep, call))?;
            let mut body = success();
            body.insert("purged".to_owned(), purged.into());
            Ok(body)
        })
    }

    pub(super) fn get_message(&self, name: &str, kind: &'static str) -> Option<Body> {
        let request: GetRequest = match decode::body(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        self.in_task(name, kind, move |worker| {
            let message = worker.stream.get_message(&request)?;
            let mut shown = Map::new();
            shown.insert("subject".to_owned(), String::from_utf8_lossy(&message.subject).into());
            shown.insert("seq".to_owned(), message.seq.into());
            if !message.headers.is_empty() && !request.no_hdr {
                shown.insert("hdrs".to_owned(), BASE64.encode(&message.headers).into());
            }
            if !message.payload.is_empty() {
                shown.insert("data".to_owned(), BASE64.encode(&message.payload).into());
            }
            shown.insert("time".to_owned(), Time(message.time_ns).to_string().into());
            Ok(fields(&json!({"message": shown})))
        })
    }

    pub(super) fn delete_message(&self, name: &str, kind: &'static str) -> Option<Body> {
        let request: DeleteRequest = match decode::body(&self.request.body, self.strict) {
            Ok(request) => request,
            Err(why) => return Some(Err(why)),
        };
        self.in_task(name, kind, move |worker| {
            worker.call(|stream, call| stream.delete_message(request.seq, !request.no_erase, call))?;
            Ok(success())
        })
    }

    /// JS-271.
    fn advise_stream(&self, name: &str, what: &str, action: &str) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.{what}.{name}");
        self.advise(&subject, "stream_action", json!({"stream": name, "action": action}));
    }
}

/// JS-048.
pub(super) fn offset(wanted: i64, total: usize) -> usize {
    usize::try_from(wanted).unwrap_or(0).min(total)
}
