//! Batches: messages that are stored together or not at all (`atomic`), and messages that are acknowledged together
//! (`fast`).

mod atomic;
mod fast;
mod staged;

pub(super) use fast::SUFFIX as FAST_SUFFIX;
pub use staged::Staged;

use super::{Call, Stream};
use crate::api::limits;
use atomic::Atomic;
use fast::Fast;
use hashbrown::HashMap;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

/// Nothing coming for so long ends a batch.
const IDLE_MAX_NS: i64 = 10_000_000_000;

/// How many batches there may be, and how large and how slow (JS-202, JS-203, JS-210). Shared by all streams, and
/// changed by a reload.
#[derive(Debug)]
pub struct BatchLimits {
    messages_max: AtomicUsize,
    atomic_per_stream_max: AtomicUsize,
    atomic_max: AtomicUsize,
    fast_per_stream_max: AtomicUsize,
    fast_max: AtomicUsize,
    idle_max_ns: AtomicI64,
    atomic_open: AtomicUsize,
    fast_open: AtomicUsize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        let limits = Self {
            messages_max: AtomicUsize::new(0),
            atomic_per_stream_max: AtomicUsize::new(0),
            atomic_max: AtomicUsize::new(0),
            fast_per_stream_max: AtomicUsize::new(0),
            fast_max: AtomicUsize::new(0),
            idle_max_ns: AtomicI64::new(0),
            atomic_open: AtomicUsize::new(0),
            fast_open: AtomicUsize::new(0),
        };
        limits.set(&limits::BatchLimits::default());
        limits
    }
}

impl BatchLimits {
    /// What is not configured has its default. One setting counts for both kinds of batches, but only atomic ones
    /// have a size.
    pub fn set(&self, configured: &limits::BatchLimits) {
        let set = |limit: &AtomicUsize, configured: i64, default: usize| {
            let configured = usize::try_from(configured).ok().filter(|&value| value > 0);
            limit.store(configured.unwrap_or(default), Relaxed);
        };
        set(&self.messages_max, configured.max_msgs, 1_000);
        set(&self.atomic_per_stream_max, configured.max_inflight_per_stream, 50);
        set(&self.atomic_max, configured.max_inflight_total, 1_000);
        set(&self.fast_per_stream_max, configured.max_inflight_per_stream, 1_000);
        set(&self.fast_max, configured.max_inflight_total, 50_000);
        let idle_ns = if configured.timeout_ns > 0 { configured.timeout_ns } else { IDLE_MAX_NS };
        self.idle_max_ns.store(idle_ns, Relaxed);
    }

    fn messages_max(&self) -> u64 {
        self.messages_max.load(Relaxed) as u64
    }

    /// Counts one in, unless the stream or the server has enough.
    fn may_open_atomic(&self, of_stream: usize) -> bool {
        of_stream < self.atomic_per_stream_max.load(Relaxed) && open(&self.atomic_open, &self.atomic_max)
    }

    fn may_open_fast(&self, of_stream: usize) -> bool {
        of_stream < self.fast_per_stream_max.load(Relaxed) && open(&self.fast_open, &self.fast_max)
    }
}

fn open(count: &AtomicUsize, max: &AtomicUsize) -> bool {
    let max = max.load(Relaxed);
    count.fetch_update(Relaxed, Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
}

/// The open batches of one stream.
pub(super) struct Batches {
    limits: Arc<BatchLimits>,
    atomic: HashMap<Box<[u8]>, Atomic>,
    fast: HashMap<Box<[u8]>, Fast>,
    /// The first that may have been idle too long.
    due_ns: i64,
}

impl Batches {
    pub fn new(limits: Arc<BatchLimits>) -> Self {
        Self { limits, atomic: HashMap::new(), fast: HashMap::new(), due_ns: i64::MAX }
    }

    pub fn deadline_ns(&self) -> i64 {
        self.due_ns
    }

    /// A batch that something came for may be idle for so long from now.
    fn idle_until_ns(&mut self, now_ns: i64) -> i64 {
        let until_ns = now_ns.saturating_add(self.limits.idle_max_ns.load(Relaxed));
        self.due_ns = self.due_ns.min(until_ns);
        until_ns
    }

    fn close_atomic(&mut self, id: &[u8]) -> Option<Atomic> {
        let batch = self.atomic.remove(id);
        if batch.is_some() {
            self.limits.atomic_open.fetch_sub(1, Relaxed);
        }
        batch
    }

    fn close_fast(&mut self, id: &[u8]) {
        if self.fast.remove(id).is_some() {
            self.limits.fast_open.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.limits.atomic_open.fetch_sub(self.atomic.len(), Relaxed);
        self.limits.fast_open.fetch_sub(self.fast.len(), Relaxed);
    }
}

impl Stream {
    /// Drops batches that nothing came for.
    pub(super) fn expire_batches(&mut self, call: &mut Call<'_>) {
        if self.batches.due_ns > call.now_ns {
            return;
        }
        let late = |until_ns: i64| until_ns <= call.now_ns;
        let atomic = self.batches.atomic.iter().filter(|(_, batch)| late(batch.idle_until_ns));
        let atomic: Vec<Box<[u8]>> = atomic.map(|(id, _)| id.clone()).collect();
        let fast = self.batches.fast.iter().filter(|(_, batch)| late(batch.idle_until_ns));
        let fast: Vec<Box<[u8]>> = fast.map(|(id, _)| id.clone()).collect();
        for id in atomic {
            self.abandon(&id, "timeout", call);
        }
        for id in fast {
            self.batches.close_fast(&id);
        }
        let atomic = self.batches.atomic.values().map(|batch| batch.idle_until_ns);
        let fast = self.batches.fast.values().map(|batch| batch.idle_until_ns);
        self.batches.due_ns = atomic.chain(fast).min().unwrap_or(i64::MAX);
    }

    /// What the configuration no longer allows is dropped (JS-120).
    pub(super) fn drop_disallowed_batches(&mut self) {
        if !self.config.allow_atomic {
            let ids: Vec<Box<[u8]>> = self.batches.atomic.keys().cloned().collect();
            ids.iter().for_each(|id| drop(self.batches.close_atomic(id)));
        }
        if !self.config.allow_batched {
            let ids: Vec<Box<[u8]>> = self.batches.fast.keys().cloned().collect();
            ids.iter().for_each(|id| self.batches.close_fast(id));
        }
    }

    /// Drops an open atomic batch and says why (JS-206).
    fn abandon(&mut self, id: &[u8], reason: &str, call: &mut Call<'_>) {
        if self.batches.close_atomic(id).is_some() {
            self.tell_abandoned(id, reason, call);
        }
    }

    fn tell_abandoned(&mut self, id: &[u8], reason: &str, call: &mut Call<'_>) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{}", self.facts.name);
        let mut fields = Map::new();
        fields.insert("stream".to_owned(), Value::from(&*self.facts.name));
        fields.insert("batch".to_owned(), Value::from(&*String::from_utf8_lossy(id)));
        fields.insert("reason".to_owned(), Value::from(reason));
        let kind = "io.nats.jetstream.advisory.v1.stream_batch_abandoned";
        call.context(&mut *self.store, &self.facts).advise(&subject, kind, fields);
    }
}
