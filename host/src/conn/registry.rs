//! All connections: by client id, the dense ids of receivers, and the ring of closed ones.

use super::facts::Facts;
use crate::account::Account;
use crate::auth::Permissions;
use crate::proto::error::ClosedReason;
use crate::routing::Receiver;
use crate::routing::subscriptions::LastSubs;
use crate::runtime::{Mutex, RwLock};
use parking_lot::MutexGuard;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

/// A connection as others see it.
pub struct Connection {
    pub receiver: Arc<Receiver>,
    pub facts: Mutex<Facts>,
    pub account: RwLock<Arc<Account>>,
    /// Bits of `Signal`, for the connection's task.
    signals: AtomicU32,
    /// Signals were taken and are being carried out.
    busy: AtomicBool,
    /// The client understands INFO at any time, and has said enough to get one.
    pub takes_info: AtomicBool,
    /// What a plugin says it may do from now on; its task takes them over when it checks again.
    pub new_permissions: Mutex<Option<Option<Arc<Permissions>>>>,
}

/// What the server wants of a connection's task.
#[derive(Clone, Copy)]
pub enum Signal {
    /// Permissions, limits or users changed: check again.
    Recheck = 1,
    /// Send INFO again (lame duck, new URLs).
    SendInfo = 2,
    /// Measure the round trip.
    Ping = 4,
    /// Send an INFO that says the server is about to go, to this client alone.
    LameDuck = 8,
}

impl Connection {
    pub fn new(receiver: Arc<Receiver>, facts: Facts, account: Arc<Account>) -> Self {
        Connection {
            receiver,
            facts: Mutex::new(facts),
            account: RwLock::new(account),
            signals: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            takes_info: AtomicBool::new(false),
            new_permissions: Mutex::default(),
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.signals.fetch_or(signal as u32, AcqRel);
        let out = self.receiver.out.lock();
        self.receiver.wants_write.store(true, Release);
        out.wake();
    }

    /// Not all signals are carried out yet.
    pub fn has_signals(&self) -> bool {
        self.signals.load(Acquire) != 0 || self.busy.load(Acquire)
    }

    /// The signals that were taken are carried out.
    pub fn done(&self) {
        self.busy.store(false, Release);
    }

    pub fn take_signals(&self) -> u32 {
        if self.signals.load(Relaxed) == 0 {
            return 0;
        }
        self.busy.store(true, Release);
        self.signals.swap(0, AcqRel)
    }

    /// Ends the connection: its task flushes what it can and closes.
    pub fn close(&self, reason: ClosedReason) {
        // Under the lock, under which the task forgets `wants_write`: it finds either this or the reason.
        let mut out = self.receiver.out.lock();
        self.receiver.wants_write.store(true, Release);
        out.close(reason);
    }
}

/// A connection that is gone.
#[derive(Clone)]
pub struct Closed {
    pub cid: u64,
    pub facts: Facts,
    pub reason: ClosedReason,
    pub stop_unix_ns: u64,
    pub traffic: Traffic,
    pub last_active_ns: u64,
    pub subs: LastSubs,
}

/// Messages and bytes, in from and out to clients.
#[derive(Clone, Copy, Default)]
pub struct Traffic {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    /// Times that a producer waited for this receiver.
    pub stalls: u64,
}

impl Traffic {
    pub fn of(receiver: &Receiver) -> Traffic {
        let out = receiver.out.lock();
        Traffic {
            in_msgs: receiver.in_msgs.load(Relaxed),
            in_bytes: receiver.in_bytes.load(Relaxed),
            out_msgs: out.msgs,
            out_bytes: out.bytes,
            stalls: out.stalls,
        }
    }

    fn add(&mut self, other: &Traffic) {
        self.in_msgs += other.in_msgs;
        self.in_bytes += other.in_bytes;
        self.out_msgs += other.out_msgs;
        self.out_bytes += other.out_bytes;
        self.stalls += other.stalls;
    }
}

/// Client ids start behind those that the server's own clients have in nats-server (CORE-024).
const FIRST_CID: u64 = 5;
/// What all of the server's own share.
const INTERNAL_CID: u64 = 1;

pub struct Registry {
    connections: RwLock<HashMap<u64, Arc<Connection>>>,
    ids: Mutex<Ids>,
    next_cid: AtomicU64,
    closed: Mutex<ClosedRing>,
}

#[derive(Default)]
struct Ids {
    next: u32,
    free: Vec<u32>,
}

#[derive(Default)]
struct ClosedRing {
    ring: VecDeque<Closed>,
    max: usize,
    total: u64,
    traffic: Traffic,
    /// The same by account id. Accounts live as long as the server.
    traffic_by_account: HashMap<u32, Traffic>,
}

impl Registry {
    pub fn new(max_closed_clients: usize) -> Self {
        Registry {
            connections: RwLock::default(),
            ids: Mutex::default(),
            next_cid: AtomicU64::new(FIRST_CID),
            closed: Mutex::new(ClosedRing { max: max_closed_clients, ..ClosedRing::default() }),
        }
    }

    /// A dense id and a client id for a new receiver.
    pub fn new_ids(&self) -> (u32, u64) {
        (self.new_id(), self.next_cid.fetch_add(1, Relaxed))
    }

    /// The same for a receiver of the server itself, which uses up no client id.
    pub fn new_internal_ids(&self) -> (u32, u64) {
        (self.new_id(), INTERNAL_CID)
    }

    fn new_id(&self) -> u32 {
        let mut ids = self.ids.lock();
        ids.free.pop().unwrap_or_else(|| {
            ids.next += 1;
            ids.next - 1
        })
    }

    pub fn add(&self, connection: Arc<Connection>) {
        self.connections.write().insert(connection.receiver.cid, connection);
    }

    /// The connection is over: into the ring of closed ones, its ids free again.
    pub fn remove(&self, connection: &Connection, reason: ClosedReason, subs: LastSubs) {
        // Who adds up open and closed ones finds it among one of them.
        let closed = self.closed.lock();
        if self.connections.write().remove(&connection.receiver.cid).is_some() {
            self.note_closed(closed, connection, reason, subs);
        }
    }

    /// A connection that there was no room for is one of the closed ones at once.
    pub fn refuse(&self, connection: &Connection) {
        let reason = ClosedReason::MaximumConnections;
        self.note_closed(self.closed.lock(), connection, reason, LastSubs::default());
    }

    fn note_closed(
        &self,
        mut closed: MutexGuard<'_, ClosedRing>,
        connection: &Connection,
        reason: ClosedReason,
        subs: LastSubs,
    ) {
        let receiver = &connection.receiver;
        let traffic = Traffic::of(receiver);
        let account = connection.account.read().id;
        closed.traffic_by_account.entry(account).or_default().add(&traffic);
        closed.total += 1;
        closed.traffic.add(&traffic);
        if closed.max > 0 {
            if closed.ring.len() >= closed.max {
                closed.ring.pop_front();
            }
            let facts = connection.facts.lock().clone();
            let stop_unix_ns = crate::runtime::unix_ns();
            closed.ring.push_back(Closed {
                cid: receiver.cid,
                facts,
                reason,
                stop_unix_ns,
                traffic,
                last_active_ns: receiver.last_active_ns.load(Relaxed),
                subs,
            });
        }
        drop(closed);
        self.free_id(receiver.id);
    }

    pub fn free_id(&self, id: u32) {
        self.ids.lock().free.push(id);
    }

    pub fn len(&self) -> usize {
        self.connections.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, cid: u64) -> Option<Arc<Connection>> {
        self.connections.read().get(&cid).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.read().values().cloned().collect()
    }

    pub fn closed(&self) -> Vec<Closed> {
        self.closed.lock().ring.iter().cloned().collect()
    }

    /// Connections ever accepted.
    pub fn total(&self) -> u64 {
        self.closed.lock().total + self.len() as u64
    }

    /// What is said of closed connections, and those that are open at the same time.
    fn with_open<T>(&self, of_closed: impl FnOnce(&ClosedRing) -> T) -> (T, Vec<Arc<Connection>>) {
        let closed = self.closed.lock();
        (of_closed(&closed), self.all())
    }

    /// All traffic, of closed connections too.
    pub fn traffic(&self) -> Traffic {
        let (mut sum, open) = self.with_open(|closed| closed.traffic);
        for connection in open {
            sum.add(&Traffic::of(&connection.receiver));
        }
        sum
    }

    /// The traffic of each account that had any connection, of closed ones too; by account id.
    pub fn traffic_by_account(&self) -> HashMap<u32, Traffic> {
        let (mut sums, open) = self.with_open(|closed| closed.traffic_by_account.clone());
        for connection in open {
            let account = connection.account.read().id;
            sums.entry(account).or_default().add(&Traffic::of(&connection.receiver));
        }
        sums
    }
}
