//! The gate that requests for an imported service go through (ACC-007, ACC-008, ACC-013).

use super::Service;
use super::client_info::ClientInfo;
use super::headers::{self, TRACE_DEST, TRACE_DISABLED, trace_destination};
use super::latency::{Failure, Measured, sampled};
use super::response::{Opened, Responses};
use crate::account::Account;
use crate::conn::Context;
use crate::routing::chunk::Sender;
use crate::routing::gate::{Border, Gate, Outgoing, Passing};
use crate::routing::responders::answer_for_nobody;
use crate::subject::Renaming;
use std::any::Any;
use std::sync::{Arc, Weak};

const REQUEST_INFO: &[u8] = b"Nats-Request-Info";
/// Replies to acknowledge with stay as they are: who gets them answers through another import.
const JETSTREAM_ACK: &[u8] = b"$JS.ACK.";
/// The reply to a message of a fast batch says what it does in the batch (JS-210).
const FAST_BATCH: &[u8] = b".$FI";

pub struct RequestGate {
    pub(super) renaming: Renaming,
    pub(super) share: bool,
    pub(super) service: Arc<Service>,
    /// The importer's side.
    pub(super) here: Arc<Responses>,
    /// The exporter's side.
    pub(super) there: Arc<Responses>,
    pub(super) to_system: bool,
    pub(super) context: Weak<Context>,
}

impl RequestGate {
    pub fn local(&self) -> &[u8] {
        self.renaming.local()
    }

    /// The headers of a request on the other side, and what is known there of its requestor.
    fn introduce(&self, passing: &Passing, sender: &Sender) -> (Vec<u8>, Option<ClientInfo>) {
        let block = passing.headers();
        let before = passing.way().skip(1).find_map(|p| p.gate.as_any().downcast_ref::<RequestGate>());
        let told = before.and_then(|_| headers::get(block, REQUEST_INFO));
        if let Some(mut info) = told.and_then(|json| serde_json::from_slice::<ClientInfo>(json).ok()) {
            // The account that the import is of imports it itself.
            info.svc = self.here.account().name.to_string();
            return (headers::set(block, REQUEST_INFO, &info.to_json()), Some(info));
        }
        let mut info = self.requestor(before.map_or(self.share, |before| before.share), sender);
        if let Some(info) = info.as_mut().filter(|_| passing.reply().ends_with(FAST_BATCH)) {
            info.reply = String::from_utf8_lossy(passing.reply()).into_owned();
        }
        let block = match &info {
            Some(info) => headers::set(block, REQUEST_INFO, &info.to_json()),
            None => block.to_vec(),
        };
        (block, info)
    }

    fn requestor(&self, share: bool, sender: &Sender) -> Option<ClientInfo> {
        let context = self.context.upgrade()?;
        let connection = context.registry.get(sender.receiver?.cid)?;
        let mut info = ClientInfo::of(&connection, &context, share);
        if self.to_system && !share {
            info.server.clone_from(&context.server.name);
        }
        Some(info)
    }

    /// Measures a request if it is one of those that are.
    fn measure(&self, passing: &Passing, requestor: Option<ClientInfo>) -> Option<Measured> {
        let triggers = sampled(self.service.latency.as_ref()?, passing.headers())?;
        Some(Measured::new(requestor, triggers))
    }

    fn tell_failure(&self, measured: Option<&Measured>, why: Failure) {
        if let (Some(measured), Some(latency)) = (measured, &self.service.latency) {
            measured.failed(self.there.account(), &latency.subject, why);
        }
    }
}

impl Gate for RequestGate {
    fn account(&self) -> &Arc<Account> {
        self.here.account()
    }

    fn open(&self, passing: &Passing, random: u64, sender: &Sender) -> Option<Outgoing> {
        // What came by the same export already is in a circle (ACC-012).
        if passing.way().skip(1).any(|before| before.gate.service() == self.service()) {
            return None;
        }
        let (mut headers, requestor) = self.introduce(passing, sender);
        if let Some(trace) = trace_destination(&headers) {
            // Whoever traces on from there tells by the same way.
            let to = match self.service.allow_trace {
                true => {
                    let opened =
                        Opened { to: &self.here, reply: trace, service: &self.service, measured: None };
                    self.there.open(opened, random.rotate_left(32))
                }
                false => TRACE_DISABLED.to_vec(),
            };
            headers = headers::set(&headers, TRACE_DEST, &to);
        }
        let reply = match passing.reply() {
            b"" => {
                self.tell_failure(self.measure(passing, requestor).as_ref(), Failure::BadRequest);
                Vec::new()
            }
            reply if reply.starts_with(JETSTREAM_ACK) => reply.to_vec(),
            reply => {
                let measured = self.measure(passing, requestor);
                let opened = Opened { to: &self.here, reply, service: &self.service, measured };
                self.there.open(opened, random)
            }
        };
        Some(Outgoing {
            account: self.there.account().clone(),
            subject: self.renaming.to_remote(passing.subject()),
            deliver_as: Vec::new(),
            reply,
            headers,
        })
    }

    fn passed(&self, passing: &Passing, outgoing: &Outgoing, receivers: u32, sender: &Sender) {
        if receivers > 0 && !passing.is_trace_only() {
            return;
        }
        let response = self.there.close(&outgoing.reply);
        if receivers > 0 {
            // It was only traced: nobody answers.
            return;
        }
        self.tell_failure(response.as_ref().and_then(|r| r.measured.as_ref()), Failure::ServiceUnavailable);
        let Some(requestor) = sender.receiver.filter(|_| sender.no_responders) else { return };
        let Some(first) = passing.way().last().filter(|first| !first.reply().is_empty()) else { return };
        if passing.way().all(|level| !somebody_else_gets(level, sender)) {
            answer_for_nobody(requestor, first.gate.account(), first.subject(), first.reply());
        }
    }

    fn service(&self) -> Option<u64> {
        Some(self.service.number)
    }

    fn border(&self, subject: &[u8]) -> Option<Border> {
        Some(Border {
            account: self.there.account().clone(),
            subject: self.renaming.to_remote(subject),
            allow_trace: self.service.allow_trace,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether a message that passed a gate went to others as well, or another gate answers for nobody: of several
/// that lead nowhere the first does.
fn somebody_else_gets(passing: &Passing, sender: &Sender) -> bool {
    let account = passing.gate.account();
    let subject = passing.subject();
    let matched = account.sublist.read().matched(account.id, 0, subject);
    let mut is_first = true;
    matched.plain.iter().chain(matched.queues.iter().flatten()).any(|target| {
        let receiver = &target.receiver;
        match receiver.leads_to() {
            None => !sender.skips(receiver),
            Some(gate) if Arc::ptr_eq(gate, &passing.gate) => {
                is_first = false;
                false
            }
            Some(gate) => gate.as_any().downcast_ref::<RequestGate>().is_some_and(|gate| {
                let exporter = gate.there.account();
                is_first || exporter.sublist.read().has_interest(&gate.renaming.to_remote(subject))
            }),
        }
    })
}
