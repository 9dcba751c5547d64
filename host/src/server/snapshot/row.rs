//! One connection, open or closed, with the numbers it can be sorted by (MON-045).

use super::subs;
use crate::conn::Connection;
use crate::conn::facts::Facts;
use crate::conn::registry::{Closed, Traffic};
use crate::proto::error::ClosedReason;
use crate::routing::subscriptions::SubView;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub struct Row {
    pub cid: u64,
    pub start_unix_ns: u64,
    pub last_unix_ns: u64,
    pub rtt_ns: u64,
    pub pending_bytes: usize,
    pub subscriptions: usize,
    pub traffic: Traffic,
    source: Source,
}

enum Source {
    Open(Arc<Connection>),
    Closed(Box<Closed>),
}

impl Row {
    pub fn open(connection: Arc<Connection>) -> Self {
        let receiver = &connection.receiver;
        let last_ns = receiver.last_active_ns.load(Relaxed);
        let facts = connection.facts.lock();
        let (start_unix_ns, rtt_ns) = (facts.start_unix_ns, facts.rtt_ns);
        let last_unix_ns = last_activity_unix_ns(&facts, last_ns);
        drop(facts);
        let subscriptions = receiver.subs.lock().len();
        let pending_bytes = receiver.out.lock().pending_bytes();
        let traffic = Traffic::of(receiver);
        let cid = receiver.cid;
        let source = Source::Open(connection);
        Row { cid, start_unix_ns, last_unix_ns, rtt_ns, pending_bytes, subscriptions, traffic, source }
    }

    pub fn closed(closed: Closed) -> Self {
        Row {
            cid: closed.cid,
            start_unix_ns: closed.facts.start_unix_ns,
            last_unix_ns: last_activity_unix_ns(&closed.facts, closed.last_active_ns),
            rtt_ns: closed.facts.rtt_ns,
            pending_bytes: 0,
            subscriptions: closed.subs.count,
            traffic: closed.traffic,
            source: Source::Closed(Box::new(closed)),
        }
    }

    /// The facts are locked for as long as `use_them` runs: it must not ask for anything else of the connection.
    pub fn with_facts<T>(&self, use_them: impl FnOnce(&Facts) -> T) -> T {
        match &self.source {
            Source::Open(connection) => use_them(&connection.facts.lock()),
            Source::Closed(closed) => use_them(&closed.facts),
        }
    }

    pub fn stop_unix_ns(&self) -> Option<u64> {
        match &self.source {
            Source::Open(_) => None,
            Source::Closed(closed) => Some(closed.stop_unix_ns),
        }
    }

    pub fn reason(&self) -> Option<ClosedReason> {
        match &self.source {
            Source::Open(_) => None,
            Source::Closed(closed) => Some(closed.reason),
        }
    }

    /// The global account stands for none.
    pub fn account(&self) -> Arc<str> {
        match &self.source {
            Source::Open(connection) => connection.account.read().name.clone(),
            Source::Closed(closed) if closed.facts.account.is_empty() => crate::account::GLOBAL.into(),
            Source::Closed(closed) => closed.facts.account.as_str().into(),
        }
    }

    /// By subscription id, the shorter ones first.
    pub fn subs(&self) -> Vec<SubView> {
        let mut views = match &self.source {
            Source::Open(connection) => subs::of(connection, usize::MAX),
            Source::Closed(closed) => closed.subs.views.clone(),
        };
        views.sort_by(|a, b| a.sid.len().cmp(&b.sid.len()).then_with(|| a.sid.cmp(&b.sid)));
        views
    }
}

/// Activity is kept by the monotonic clock; a connection that did nothing yet was active at its start.
fn last_activity_unix_ns(facts: &Facts, last_active_ns: u64) -> u64 {
    facts.start_unix_ns + last_active_ns.saturating_sub(facts.start_ns)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Cid,
    Start,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

impl Sort {
    /// Empty sorts by id.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "cid" => Sort::Cid,
            "start" => Sort::Start,
            "subs" => Sort::Subs,
            "pending" => Sort::Pending,
            "msgs_to" => Sort::MsgsTo,
            "msgs_from" => Sort::MsgsFrom,
            "bytes_to" => Sort::BytesTo,
            "bytes_from" => Sort::BytesFrom,
            "last" => Sort::Last,
            "idle" => Sort::Idle,
            "uptime" => Sort::Uptime,
            "stop" => Sort::Stop,
            "reason" => Sort::Reason,
            "rtt" => Sort::Rtt,
            _ => return None,
        })
    }

    /// Rising by id, start, uptime and reason, falling by everything else; equals by id.
    pub fn apply(self, rows: &mut [Row], now_unix_ns: u64) {
        rows.sort_unstable_by_key(|row| row.cid);
        let end = |row: &Row| row.stop_unix_ns().unwrap_or(now_unix_ns);
        let falling: fn(&Row) -> u64 = match self {
            Sort::Cid | Sort::Start => return,
            Sort::Uptime => return rows.sort_by_key(|row| end(row).saturating_sub(row.start_unix_ns)),
            Sort::Reason => return rows.sort_by_key(|row| row.reason().map(|reason| reason.to_string())),
            Sort::Idle => return rows.sort_by_key(|row| Reverse(end(row).saturating_sub(row.last_unix_ns))),
            Sort::Subs => |row| row.subscriptions as u64,
            Sort::Pending => |row| row.pending_bytes as u64,
            Sort::MsgsTo => |row| row.traffic.out_msgs,
            Sort::MsgsFrom => |row| row.traffic.in_msgs,
            Sort::BytesTo => |row| row.traffic.out_bytes,
            Sort::BytesFrom => |row| row.traffic.in_bytes,
            Sort::Last => |row| row.last_unix_ns,
            Sort::Stop => |row| row.stop_unix_ns().unwrap_or(0),
            Sort::Rtt => |row| row.rtt_ns,
        };
        rows.sort_by_key(|row| Reverse(falling(row)));
    }
}
