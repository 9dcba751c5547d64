//! The API: requests under `$JS.API.` and what is done with each (JS-020 to JS-045).
//!
//! What concerns one stream is done in its task, which also answers: so an answer never overtakes what it tells of.

mod backup;
mod consumer;
mod info;
mod record;
mod reply;
mod stream;

use super::Server;
use super::account::{Account, StreamHandle};
use super::queue::Request;
use super::worker::Worker;
use crate::api::advisory::Advisory;
use crate::api::decode::Input;
use crate::api::reply::system_failure;
use crate::api::subject::{Request as Asked, SystemRequest};
use crate::outbox::{Content, Post};
use crate::stream::headers;
use crate::wire::{ApiError, error};
use natsd_plugin_api::{PublishRef, tracing};
use record::Record;
use reply::Body;
use std::sync::Arc;

/// What a handler works with.
struct Call<'a> {
    server: &'a Arc<Server>,
    account: &'a Arc<Account>,
    request: &'a Request,
    input: Input<'a>,
    /// The type of the reply.
    kind: &'static str,
    record: Arc<Record>,
}

/// Works on a request and answers it.
pub async fn handle(server: &Arc<Server>, request: &Request) {
    // Of a stream that is not there.
    if request.subject.starts_with(b"$JS.ACK.") {
        no_responders(server, request);
        return;
    }
    let Some(asked) = Asked::parse(&request.subject) else { return };
    let account = &request.account;
    match asked {
        Asked::ConsumerNext { .. } | Asked::DirectGet { .. } | Asked::DirectGetLast { .. } => {
            no_responders(server, request);
            return;
        }
        // JS-043: the only one of these that one server alone answers.
        Asked::System(SystemRequest::AccountPurge { .. }) if account.is_system => {}
        Asked::System(_) => return,
        _ => {}
    }
    let input = Input {
        body: &request.body,
        required_level: headers::value(&request.headers, headers::REQUIRED_API_LEVEL),
        is_strict: server.config().strict,
        is_enabled: account.is_enabled(),
    };
    let record = Arc::new(Record::new(server, request, asked.audited()));
    let call = Call { server, account, request, input, kind: asked.reply_type(), record };
    let is_known = matches!(asked, Asked::AccountInfo | Asked::System(_));
    if account.is_system && !is_known {
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
            Asked::System(SystemRequest::AccountPurge { account }) => Some(self.purge_account(account).await),
            // Not for here; told apart before.
            Asked::System(_)
            | Asked::ConsumerNext { .. }
            | Asked::DirectGet { .. }
            | Asked::DirectGetLast { .. } => None,
        }
    }

    /// Publishes an answer of something that changed nothing, or whose change is durable already.
    fn answer(&self, body: Body) {
        let is_error = body.is_err();
        let text = reply::text(self.kind, body);
        // Counted first: whoever has the answer may ask for the counts.
        let advisory = self.record.answered(is_error, &text);
        self.publish(&text);
        if let Some(advisory) = advisory {
            self.advise(&advisory);
        }
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
        let (reply, record, kind) = (self.request.reply.clone(), self.record.clone(), self.kind);
        let taken = stream.inbox.command(move |worker: &mut Worker| {
            let (headers, body) = work(worker);
            let is_error = body.is_err();
            let text = reply::text(kind, body);
            worker.out.answer(&reply, &headers, &text);
            if let Some(advisory) = record.answered(is_error, &text) {
                let (subject, text) = (advisory.subject.as_bytes(), record.text_of(&advisory));
                worker.out.push(Post { subject, payload: Content::Copied(&text), ..Post::default() });
            }
        });
        (!taken).then_some(Err(error::STREAM_NOT_FOUND))
    }
}

/// The queue was full and its requests are gone (JS-010). nats-server lets clients wait for an answer that never
/// comes; here they learn why.
pub fn refuse(server: &Arc<Server>, dropped: u64, requests: &[Request]) {
    tracing::warn!("JetStream's API could not keep up: {dropped} requests were dropped");
    let advisory = Advisory::limit_reached(&server.identity.name, dropped);
    server.advise(&server.identity.system_account, &advisory);
    for request in requests.iter().filter(|request| !request.reply.is_empty()) {
        let Some(kind) = Asked::parse(&request.subject).map(|asked| asked.reply_type()) else { continue };
        let text = reply::text(kind, Err(error::STREAM_TOO_MANY_REQUESTS));
        let message = PublishRef::new(&request.reply, &text);
        if let Err(why) = server.host.publish(&request.account.name, message) {
            tracing::debug!("JetStream could not answer {kind}: {why}");
        }
    }
}
