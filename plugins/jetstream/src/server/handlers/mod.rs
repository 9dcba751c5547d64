//! The API: requests under `$JS.API.` and what is done with each (JS-020 to JS-045).
//!
//! What concerns one stream is done in its task, which also answers: so an answer never overtakes what it tells of.

mod consumer;
mod decode;
mod info;
mod reply;
mod stream;

use super::Server;
use super::account::{Account, StreamHandle};
use super::queue::Request;
use super::worker::Worker;
use crate::stream::headers;
use crate::wire::{ApiError, error};
use natsd_plugin_api::{PublishRef, tracing};
use reply::Body;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a handler works with.
struct Call<'a> {
    server: &'a Arc<Server>,
    account: &'a Arc<Account>,
    request: &'a Request,
    /// Unknown fields are errors (JS-005).
    strict: bool,
}

/// Works on a request and answers it.
pub async fn handle(server: &Arc<Server>, request: &Request) {
    let Ok(subject) = std::str::from_utf8(&request.subject) else { return };
    let Some(subject) = subject.strip_prefix("$JS.API.") else { return };
    let tokens: Vec<&str> = subject.split('.').collect();
    let Some(kind) = kind(&tokens) else {
        no_responders(server, request, &tokens);
        return;
    };
    let account = &request.account;
    account.api_total.fetch_add(1, Relaxed);
    let call = Call { server, account, request, strict: server.config().strict };
    let answered = match refused(&call, &tokens) {
        Some(why) => Some(Err(why)),
        None => call.dispatch(&tokens, kind).await,
    };
    // `None`: the task of the stream answers.
    if let Some(body) = answered {
        call.answer(kind, &body);
    }
}

/// A request for something that does not exist is answered as one that nobody listens to.
fn no_responders(server: &Server, request: &Request, tokens: &[&str]) {
    let unheard = matches!(tokens, ["CONSUMER", "MSG", "NEXT", ..] | ["DIRECT", "GET", ..]);
    if !unheard || request.reply.is_empty() {
        return;
    }
    let mut headers = b"NATS/1.0 503\r\nNats-Subject: ".to_vec();
    headers.extend_from_slice(&request.subject);
    headers.extend_from_slice(b"\r\n\r\n");
    let message = PublishRef::new(&request.reply, b"").headers(&headers);
    if let Err(why) = server.host.publish(&request.account.name, message) {
        tracing::debug!("JetStream could not answer: {why}");
    }
}

/// The type of the answer, or nothing when nobody answers such a request.
fn kind(tokens: &[&str]) -> Option<&'static str> {
    Some(match tokens {
        ["INFO"] => "account_info",
        ["STREAM", "CREATE", _] => "stream_create",
        ["STREAM", "UPDATE", _] | ["STREAM", "CANCEL_MOVE", _] => "stream_update",
        ["STREAM", "NAMES"] => "stream_names",
        ["STREAM", "LIST"] => "stream_list",
        ["STREAM", "INFO", _] => "stream_info",
        ["STREAM", "DELETE", _] => "stream_delete",
        ["STREAM", "PURGE", _] => "stream_purge",
        ["STREAM", "MSG", "GET", _] => "stream_msg_get",
        ["STREAM", "MSG", "DELETE", _] => "stream_msg_delete",
        ["STREAM", "SNAPSHOT", _] => "stream_snapshot",
        ["STREAM", "RESTORE", _] => "stream_restore",
        ["STREAM", "PEER", "REMOVE" | "EVACUATE", _] => "stream_remove_peer",
        ["STREAM", "LEADER", "STEPDOWN", _] => "stream_leader_stepdown",
        ["CONSUMER", "CREATE", _, ..] | ["CONSUMER", "DURABLE", "CREATE", _, _] => "consumer_create",
        ["CONSUMER", "NAMES", _] => "consumer_names",
        ["CONSUMER", "LIST", _] => "consumer_list",
        ["CONSUMER", "INFO", _, _] => "consumer_info",
        ["CONSUMER", "DELETE", _, _] => "consumer_delete",
        ["CONSUMER", "PAUSE", _, _] => "consumer_pause",
        ["CONSUMER", "UNPIN", _, _] => "consumer_unpin",
        ["CONSUMER", "RESET", _, _] => "consumer_reset",
        ["CONSUMER", "LEADER", "STEPDOWN", _, _] => "consumer_leader_stepdown",
        _ => return None,
    })
}

/// What is wrong whatever is asked.
fn refused(call: &Call<'_>, tokens: &[&str]) -> Option<ApiError> {
    if !call.account.enabled && !(call.account.is_system && tokens == ["INFO"]) {
        return Some(error::NOT_ENABLED_FOR_ACCOUNT);
    }
    // JS-006.
    let level = headers::value(&call.request.headers, "Nats-Required-Api-Level")?;
    let level = std::str::from_utf8(level).ok().and_then(|text| text.trim().parse::<u64>().ok());
    (level.is_none_or(|level| level > reply::API_LEVEL)).then_some(error::REQUIRED_API_LEVEL)
}

impl Call<'_> {
    async fn dispatch(&self, tokens: &[&str], kind: &'static str) -> Option<Body> {
        match *tokens {
            ["INFO"] => Some(self.account_info()),
            ["STREAM", "CREATE", name] => Some(self.create_stream(name).await),
            ["STREAM", "UPDATE", name] => self.update_stream(name, kind),
            ["STREAM", "NAMES"] => Some(self.stream_names()),
            ["STREAM", "LIST"] => Some(self.stream_list().await),
            ["STREAM", "INFO", name] => self.stream_info(name, kind),
            ["STREAM", "DELETE", name] => Some(self.delete_stream(name).await),
            ["STREAM", "PURGE", name] => self.purge_stream(name, kind),
            ["STREAM", "MSG", "GET", name] => self.get_message(name, kind),
            ["STREAM", "MSG", "DELETE", name] => self.delete_message(name, kind),
            ["CONSUMER", "CREATE" | "DURABLE", ..] => self.create_consumer(&tokens[1..], kind),
            ["CONSUMER", "NAMES", stream] => self.consumer_names(stream, kind),
            ["CONSUMER", "LIST", stream] => self.consumer_list(stream, kind),
            ["CONSUMER", "INFO", stream, name] => self.consumer_info(stream, name, kind),
            ["CONSUMER", "DELETE", stream, name] => self.delete_consumer(stream, name, kind),
            ["CONSUMER", "PAUSE", stream, name] => self.pause_consumer(stream, name, kind),
            ["CONSUMER", "UNPIN", stream, name] => self.unpin_consumer(stream, name, kind),
            ["CONSUMER", "RESET", stream, name] => self.reset_consumer(stream, name, kind),
            ["STREAM", "SNAPSHOT" | "RESTORE", _] => {
                Some(Err(error::STREAM_SNAPSHOT.with("natsd has no backups of streams yet")))
            }
            // JS-047: one server alone has no peers and no leader to move.
            _ => Some(Err(error::CLUSTER_REQUIRED)),
        }
    }

    /// Publishes an answer of something that changed nothing, or whose change is durable already.
    fn answer(&self, kind: &str, body: &Body) {
        if body.is_err() {
            self.account.api_errors.fetch_add(1, Relaxed);
        }
        if self.request.reply.is_empty() {
            return;
        }
        let text = reply::text(kind, body);
        let message = PublishRef::new(&self.request.reply, text.as_bytes());
        if let Err(why) = self.server.host.publish(&self.account.name, message) {
            tracing::debug!("JetStream could not answer {kind}: {why}");
        }
    }

    fn stream(&self, name: &str) -> Result<Arc<StreamHandle>, ApiError> {
        if let Some(stream) = self.account.stream(name) {
            return Ok(stream);
        }
        match self.account.damaged.lock().get(name) {
            Some(why) => Err(error::STREAM_OFFLINE_REASON.with(why)),
            None => Err(error::STREAM_NOT_FOUND),
        }
    }

    /// Lets the task of a stream do the work and answer; the answer here is that the stream is not there.
    fn in_task(
        &self,
        name: &str,
        kind: &'static str,
        work: impl FnOnce(&mut Worker) -> Body + Send + 'static,
    ) -> Option<Body> {
        let stream = match self.stream(name) {
            Ok(stream) => stream,
            Err(why) => return Some(Err(why)),
        };
        let (reply, account) = (self.request.reply.clone(), self.account.clone());
        let taken = stream.inbox.command(move |worker: &mut Worker| {
            let body = work(worker);
            if body.is_err() {
                account.api_errors.fetch_add(1, Relaxed);
            }
            worker.out.answer(&reply, b"", reply::text(kind, &body).as_bytes());
        });
        (!taken).then_some(Err(error::STREAM_NOT_FOUND))
    }
}

/// The queue was full: its requests are gone (JS-010).
pub fn tell_dropped(server: &Server, dropped: u64) {
    tracing::warn!("JetStream's API could not keep up: {dropped} requests were dropped");
    let system = &server.identity.system_account;
    let mut random = || server.host.random_u64();
    let advisory = serde_json::json!({
        "type": "io.nats.jetstream.advisory.v1.api_limit_reached",
        "id": crate::context::unique_id(&mut random),
        "timestamp": crate::wire::Time(server.host.unix_ns() as i64),
        "server": server.identity.name,
        "dropped": dropped,
    });
    let text = advisory.to_string();
    let message = PublishRef::new(b"$JS.EVENT.ADVISORY.API.LIMIT_REACHED", text.as_bytes());
    if let Err(why) = server.host.publish(system, message) {
        tracing::debug!("the system account could not be told: {why}");
    }
}
