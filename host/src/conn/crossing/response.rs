//! Requests that wait in another account for their responses, and the way back (ACC-008 to ACC-010).

use super::Service;
use super::client_info::ClientInfo;
use super::headers::{self, TRACE_DEST, TRACE_DISABLED, trace_destination};
use super::latency::{Failure, Measured};
use crate::account::Account;
use crate::config::options::ResponseType;
use crate::conn::Context;
use crate::routing::chunk::Sender;
use crate::routing::gate::{Border, Gate, Outgoing, Passing};
use crate::runtime::random::{quick_u64, random_u64};
use crate::runtime::{Mutex, now_ns};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

pub(super) const PREFIX: &[u8] = b"_R_.";
const TOKEN_LETTERS: usize = 6;
/// Behind the token of requests that are measured stands a server's mark.
const MARK_LETTERS: usize = 8;
const MEASURED_END: &[u8] = b".T";
/// So long a request stays open whether its requestor is there or not.
const WAITED_FOR_NS: u64 = 2_000_000_000;
const JETSTREAM_ACK: &[u8] = b"$JS.ACK.";

/// The open requests into one account.
pub struct Responses {
    account: Arc<Account>,
    /// What the replies of its requests begin with.
    prefix: Box<[u8]>,
    mark: Box<[u8]>,
    /// By what follows the prefix.
    open: Mutex<HashMap<Box<[u8]>, Response>>,
    context: Weak<Context>,
}

/// What becomes of the responses to one request.
pub struct Response {
    /// The side that the request came from.
    to: Arc<Responses>,
    reply: Box<[u8]>,
    service: Arc<Service>,
    pub measured: Option<Measured>,
    /// Of the request, or the last response.
    last_ns: u64,
}

/// A request that is let in.
pub struct Opened<'a> {
    pub to: &'a Arc<Responses>,
    pub reply: &'a [u8],
    pub service: &'a Arc<Service>,
    pub measured: Option<Measured>,
}

/// A letter of base 62.
pub fn letter(random: u64) -> u8 {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    LETTERS[(random % 62) as usize]
}

fn letters(mut random: u64, count: usize) -> Vec<u8> {
    let mut next = || {
        let letter = letter(random);
        random /= 62;
        letter
    };
    (0..count).map(|_| next()).collect()
}

impl Responses {
    pub fn new(account: Arc<Account>, context: Weak<Context>) -> Self {
        Responses {
            account,
            prefix: [PREFIX, &letters(random_u64(), TOKEN_LETTERS), b"."].concat().into(),
            mark: letters(random_u64(), MARK_LETTERS).into(),
            open: Mutex::default(),
            context,
        }
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Notes a request; gives the reply that it has here.
    pub fn open(&self, opened: Opened<'_>, mut random: u64) -> Vec<u8> {
        let Opened { to, reply, service, measured } = opened;
        let mut open = self.open.lock();
        let key = loop {
            let mut key = letters(random, TOKEN_LETTERS);
            if measured.is_some() {
                key.push(b'.');
                key.extend_from_slice(&self.mark);
                key.extend_from_slice(MEASURED_END);
            }
            if !open.contains_key(&*key) {
                break key;
            }
            random = quick_u64();
        };
        let is_first = open.is_empty();
        let reply = reply.into();
        let response =
            Response { to: to.clone(), reply, service: service.clone(), measured, last_ns: now_ns() };
        open.insert(key.as_slice().into(), response);
        drop(open);
        let is_urgent = is_first || service.threshold_ns < super::SWEEP_INTERVAL_NS;
        if is_urgent && let Some(context) = self.context.upgrade() {
            context.crossing.opened.notify_one();
        }
        [&self.prefix, &key[..]].concat()
    }

    /// Whether somebody waits for the response to a request; `None`: none of its requests has this reply.
    pub fn is_awaited(&self, reply: &[u8]) -> Option<bool> {
        let key = reply.strip_prefix(&*self.prefix)?;
        let way = self.open.lock().get(key).map(|response| (response.to.clone(), response.reply.clone()));
        let Some((to, reply)) = way else { return Some(false) };
        // The request may have come from one account more.
        let further = to.is_awaited(&reply);
        Some(further.unwrap_or_else(|| to.account.sublist.read().has_interest(&reply)))
    }

    /// Forgets a request.
    pub fn close(&self, reply: &[u8]) -> Option<Response> {
        self.open.lock().remove(reply.strip_prefix(&*self.prefix)?)
    }

    /// Forgets what took too long and what nobody waits for. Gives when something will take too long.
    pub fn sweep(&self, now_ns: u64) -> Option<u64> {
        let mut over = Vec::new();
        let mut next_ns = None;
        self.open.lock().retain(|_, response| {
            let at_ns = response.last_ns.saturating_add(response.service.threshold_ns);
            let why = if at_ns <= now_ns {
                Failure::ServiceTimeout
            } else if response.is_forgotten(now_ns) {
                Failure::RequestTimeout
            } else {
                next_ns = Some(next_ns.map_or(at_ns, |next_ns: u64| next_ns.min(at_ns)));
                return true;
            };
            if let Some(measured) = response.measured.take() {
                over.push((measured, response.service.clone(), why));
            }
            false
        });
        for (measured, service, why) in over {
            if let Some(latency) = &service.latency {
                measured.failed(&self.account, &latency.subject, why);
            }
        }
        next_ns
    }
}

impl Response {
    /// Nobody waits for it, and not because it is too new.
    fn is_forgotten(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) >= WAITED_FOR_NS
            && !self.to.account.sublist.read().has_interest(&self.reply)
    }
}

/// The gate that responses go back through.
pub struct ResponseGate(pub Arc<Responses>);

impl ResponseGate {
    fn responder(&self, sender: &Sender) -> Option<ClientInfo> {
        let context = self.0.context.upgrade()?;
        let connection = context.registry.get(sender.receiver?.cid)?;
        Some(ClientInfo::of(&connection, &context, true))
    }
}

impl Gate for ResponseGate {
    fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    fn open(&self, passing: &Passing, random: u64, sender: &Sender) -> Option<Outgoing> {
        let here = &self.0;
        let key = passing.subject().strip_prefix(&*here.prefix)?;
        let is_end = passing.headers().is_empty() && passing.payload().is_empty();
        let (to, reply, service, measured) = {
            let mut open = here.open.lock();
            let response = open.get_mut(key)?;
            response.last_ns = now_ns();
            let to = response.to.clone();
            let (reply, service) = (response.reply.clone(), response.service.clone());
            let measured = response.measured.take();
            if is_end || service.response == ResponseType::Singleton {
                open.remove(key);
            }
            (to, reply, service, measured)
        };
        if let (Some(measured), Some(latency)) = (measured, &service.latency) {
            measured.answered(&here.account, &latency.subject, self.responder(sender));
        }
        let back = match passing.reply() {
            b"" => Vec::new(),
            reply if reply.starts_with(JETSTREAM_ACK) => reply.to_vec(),
            // A response to the response goes the same way once more.
            reply => to.open(Opened { to: here, reply, service: &service, measured: None }, random),
        };
        Some(Outgoing {
            account: to.account.clone(),
            subject: reply.into_vec(),
            deliver_as: passing.deliver_as().to_vec(),
            reply: back,
            // No trace goes back to the requestor (CORE-299).
            headers: match trace_destination(passing.headers()) {
                Some(_) => headers::set(passing.headers(), TRACE_DEST, TRACE_DISABLED),
                None => passing.headers().to_vec(),
            },
        })
    }

    fn passed(&self, passing: &Passing, _: &Outgoing, receivers: u32, _: &Sender) {
        if receivers == 0 {
            self.0.close(passing.subject());
        }
    }

    fn service(&self) -> Option<u64> {
        None
    }

    fn border(&self, subject: &[u8]) -> Option<Border> {
        let open = self.0.open.lock();
        let response = open.get(subject.strip_prefix(&*self.0.prefix)?)?;
        let (account, subject) = (response.to.account.clone(), response.reply.to_vec());
        Some(Border { account, subject, allow_trace: false })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
