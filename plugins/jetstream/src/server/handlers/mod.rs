//! The API: requests under `$JS.API.` and what is done with each (JS-020 to JS-045).
//!
//! What concerns one stream is done in its task, which also answers: so an answer never overtakes what it tells of.

mod backup;
mod consumer;
mod info;
mod reply;
mod stream;

use super::Server;
use super::account::{Account, StreamHandle};
use super::queue::Request;
use super::worker::Worker;
use crate::api::advisory::Advisory;
use crate::api::decode::Input;
use crate::api::reply::system_failure;
use crate::api::subject::Request as Asked;
use crate::stream::headers;
use crate::wire::{ApiError, Time, error};
use natsd_plugin_api::{PublishRef, tracing};
use reply::Body;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a handler works with.
struct Call<'a> {
    server: &'a Arc<Server>,
    account: &'a Arc<Account>,
    request: &'a Request,
    input: Input<'a>,
    /// The type of the reply.
    kind: &'static str,
}

/// Works on a request and answers it.
pub async fn handle(server: &Arc<Server>, request: &Request) {
    let Some(asked) = Asked::parse(&request.subject) else { return };
    let account = &request.account;
    match asked {
        Asked::ConsumerNext { .. } | Asked::DirectGet { .. } | Asked::DirectGetLast { .. } => {
            no_responders(server, request);
            return;
        }
        Asked::System(_) => return,
        _ => {}
    }
    account.api_total.fetch_add(1, Relaxed);
    let input = Input {
        body: &request.body,
        required_level: headers::value(&request.headers, headers::REQUIRED_API_LEVEL),
        is_strict: server.config().strict,
        is_enabled: account.enabled,
    };
    let call = Call { server, account, request, input, kind: asked.reply_type() };
    if account.is_system && asked != Asked::AccountInfo {
        // JS-008
        call.publish(&system_failure(&error::NOT_ENABLED_FOR_ACCOUNT));
        return;
    }
    // `None`: the task of the stream answers.
    if let Some(body) = call.dispatch(asked).await {
        call.answer(body);
    }
}

/// A request for something that does not exist is answered as one that nobody listens to.
fn no_responders(server: &Server, request: &Request) {
    if request.reply.is_empty() {
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

impl Call<'_> {
    async fn dispatch(&self, asked: Asked<'_>) -> Option<Body> {
        match asked {
            Asked::AccountInfo => Some(self.account_info()),
            Asked::StreamCreate { stream } => Some(self.create_stream(stream).await),
            Asked::StreamUpdate { stream } => self.update_stream(stream).await,
            Asked::StreamNames => Some(self.stream_names()),
            Asked::StreamList => Some(self.stream_list().await),
            Asked::StreamInfo { stream } => self.stream_info(stream),
            Asked::StreamDelete { stream } => Some(self.delete_stream(stream).await),
            Asked::StreamPurge { stream } => self.purge_stream(stream),
            Asked::StreamSnapshot { stream } => self.snapshot(stream).await,
            Asked::StreamRestore { stream } => Some(self.restore(stream)),
            Asked::MsgGet { stream } => self.get_message(stream),
            Asked::MsgDelete { stream } => self.delete_message(stream),
            Asked::ConsumerCreate(path) => self.create_consumer(&path),
            Asked::ConsumerNames { stream } => self.consumer_names(stream),
            Asked::ConsumerList { stream } => self.consumer_list(stream),
            Asked::ConsumerInfo { stream, consumer } => self.consumer_info(stream, consumer),
            Asked::ConsumerDelete { stream, consumer } => self.delete_consumer(stream, consumer),
            Asked::ConsumerPause { stream, consumer } => self.pause_consumer(stream, consumer),
            Asked::ConsumerUnpin { stream, consumer } => self.unpin_consumer(stream, consumer),
            Asked::ConsumerReset { stream, consumer } => {
                self.reset_consumer(stream, consumer);
                None
            }
            // JS-047: one server alone has no peers and no leader to move.
            Asked::Cluster(_) => Some(Err(error::CLUSTER_REQUIRED)),
            // Not for here; told apart before.
            Asked::System(_)
            | Asked::ConsumerNext { .. }
            | Asked::DirectGet { .. }
            | Asked::DirectGetLast { .. } => None,
        }
    }

    /// Publishes an answer of something that changed nothing, or whose change is durable already.
    fn answer(&self, body: Body) {
        if body.is_err() {
            self.account.api_errors.fetch_add(1, Relaxed);
        }
        self.publish(&reply::text(self.kind, body));
    }

    fn publish(&self, text: &[u8]) {
        if self.request.reply.is_empty() {
            return;
        }
        let message = PublishRef::new(&self.request.reply, text);
        if let Err(why) = self.server.host.publish(&self.account.name, message) {
            tracing::debug!("JetStream could not answer {}: {why}", self.kind);
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
    fn in_task(&self, name: &str, work: impl FnOnce(&mut Worker) -> Body + Send + 'static) -> Option<Body> {
        self.in_task_with_headers(name, |worker| (Vec::new(), work(worker)))
    }

    /// The work gives the answer's headers as well.
    fn in_task_with_headers(
        &self,
        name: &str,
        work: impl FnOnce(&mut Worker) -> (Vec<u8>, Body) + Send + 'static,
    ) -> Option<Body> {
        let stream = match self.stream(name) {
            Ok(stream) => stream,
            Err(why) => return Some(Err(why)),
        };
        let (reply, account, kind) = (self.request.reply.clone(), self.account.clone(), self.kind);
        let taken = stream.inbox.command(move |worker: &mut Worker| {
            let (headers, body) = work(worker);
            if body.is_err() {
                account.api_errors.fetch_add(1, Relaxed);
            }
            worker.out.answer(&reply, &headers, &reply::text(kind, body));
        });
        (!taken).then_some(Err(error::STREAM_NOT_FOUND))
    }
}

/// The queue was full: its requests are gone (JS-010).
pub fn tell_dropped(server: &Server, dropped: u64) {
    tracing::warn!("JetStream's API could not keep up: {dropped} requests were dropped");
    let mut random = || server.host.random_u64();
    let advisory = Advisory::limit_reached(&server.identity.name, dropped);
    let id = crate::context::unique_id(&mut random);
    let text = advisory.to_json(&id, Time(server.host.unix_ns() as i64), &server.config().domain);
    let message = PublishRef::new(advisory.subject.as_bytes(), &text);
    if let Err(why) = server.host.publish(&server.identity.system_account, message) {
        tracing::debug!("the system account could not be told: {why}");
    }
}
