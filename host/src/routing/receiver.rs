//! Someone who gets messages: a connection's outbound side, or a plugin's inline subscriber.

use super::gate::Gate;
use super::outbound::Outbound;
use super::subscriptions::SubTable;
use crate::auth::permissions::Permissions;
use crate::runtime::Mutex;
use arc_swap::ArcSwapOption;
use natsd_plugin_api::abi::trace::HostTrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// Kind numbers of CORE-250.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Client = 0,
    System = 3,
    Account = 6,
}

/// A message as an inline subscriber sees it; valid for the call.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The subscription's number, as given when it was made.
    pub index: u32,
    /// The client id of the publisher; 0 is the server itself.
    pub origin: u64,
    pub subject: &'a [u8],
    pub reply: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

impl Delivery<'_> {
    pub const EMPTY: Delivery<'static> =
        Delivery { index: 0, origin: 0, subject: &[], reply: &[], headers: &[], payload: &[] };
}

/// Called on the publisher's thread, once for all messages of a chunk. Must not block.
pub trait InlineSubscriber: Send + Sync {
    fn deliver(&self, batch: &[Delivery<'_>]);

    /// It has something to tell of traced messages, and gets those that are only traced, too.
    fn takes_traces(&self) -> bool {
        false
    }

    /// A traced message, if it takes traces.
    fn deliver_traced(&self, message: &Delivery<'_>, trace: &Arc<dyn HostTrace>) {
        let _ = trace;
        self.deliver(std::slice::from_ref(message));
    }
}

pub struct Receiver {
    /// Dense, used again after close: the index of per-thread tables.
    pub id: u32,
    /// The client id of INFO and connz.
    pub cid: u64,
    pub kind: Kind,
    /// Its task has bytes to write or a close to notice.
    pub wants_write: AtomicBool,
    pub closed: AtomicBool,
    pub out: Mutex<Outbound>,
    pub subs: Mutex<SubTable>,
    pub permissions: ArcSwapOption<Permissions>,
    pub in_msgs: AtomicU64,
    pub in_bytes: AtomicU64,
    /// When it last sent or got something, by the clock of `now_ns`; 0: not yet.
    pub last_active_ns: AtomicU64,
    /// The log prefix of CORE-251.
    pub label: ArcSwapOption<String>,
    pub role: Role,
}

/// What becomes of a receiver's messages.
pub enum Role {
    /// They are written to its socket.
    Connection,
    /// A plugin is called with them.
    Inline(Arc<dyn InlineSubscriber>),
    /// They go on to another account.
    Gate(Arc<dyn Gate>),
}

impl Receiver {
    pub fn new(id: u32, cid: u64, kind: Kind, out: Outbound) -> Self {
        Receiver {
            id,
            cid,
            kind,
            wants_write: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            out: Mutex::new(out),
            subs: Mutex::new(SubTable::default()),
            permissions: ArcSwapOption::empty(),
            in_msgs: AtomicU64::new(0),
            in_bytes: AtomicU64::new(0),
            last_active_ns: AtomicU64::new(0),
            label: ArcSwapOption::empty(),
            role: Role::Connection,
        }
    }

    /// A receiver that is a callback of a plugin.
    pub fn inline(id: u32, cid: u64, kind: Kind, subscriber: Arc<dyn InlineSubscriber>) -> Self {
        Receiver { role: Role::Inline(subscriber), ..Receiver::new(id, cid, kind, Outbound::default()) }
    }

    /// A receiver that takes messages to another account.
    pub fn gate(id: u32, cid: u64, gate: Arc<dyn Gate>) -> Self {
        Receiver { role: Role::Gate(gate), ..Receiver::new(id, cid, Kind::Account, Outbound::default()) }
    }

    /// The gate that it is.
    pub fn leads_to(&self) -> Option<&Arc<dyn Gate>> {
        if let Role::Gate(gate) = &self.role { Some(gate) } else { None }
    }

    /// Whether a message that is only traced goes there.
    pub fn takes_traces(&self) -> bool {
        match &self.role {
            Role::Connection => false,
            Role::Inline(subscriber) => subscriber.takes_traces(),
            Role::Gate(_) => true,
        }
    }

    pub fn is_connection(&self) -> bool {
        matches!(self.role, Role::Connection)
    }

    /// Deny rules for messages of wildcard and queue subscriptions (CORE-273).
    pub fn denies_delivery(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.permissions.load().as_ref().is_some_and(|p| p.denies_delivery(subject, queue))
    }

    /// Sends bytes of the protocol: now, or after what is queued.
    pub fn send(&self, bytes: &[u8]) {
        let mut out = self.out.lock();
        out.send(bytes);
        if out.needs_writer() {
            self.wake(&out);
        }
    }

    /// Lets the receiver's own task write what the socket did not take.
    pub fn wake(&self, out: &Outbound) {
        if !self.wants_write.swap(true, AcqRel) {
            out.wake();
        }
    }

    /// The text that starts its log lines.
    pub fn label(&self) -> String {
        self.label.load().as_ref().map_or_else(|| format!("cid:{}", self.cid), |l| l.to_string())
    }
}
