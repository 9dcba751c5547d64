//! Batches: messages that are stored together or not at all (`atomic`), and messages that are acknowledged together
//! (`fast`).

mod atomic;
mod fast;
mod staged;

pub(super) use fast::SUFFIX as FAST_SUFFIX;
pub use staged::Staged;

use super::{Call, Stream};
use atomic::Atomic;
use fast::Fast;
use hashbrown::HashMap;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many batches there may be, and how large and how slow (JS-202, JS-203, JS-210). Shared by all streams.
#[derive(Debug)]
pub struct BatchLimits {
    pub messages_max: u64,
    pub atomic_per_stream_max: usize,
    pub atomic_max: usize,
    pub fast_per_stream_max: usize,
    pub fast_max: usize,
    pub idle_max_ns: i64,
    atomic_open: AtomicUsize,
    fast_open: AtomicUsize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            messages_max: 1_000,
            atomic_per_stream_max: 50,
            atomic_max: 1_000,
            fast_per_stream_max: 1_000,
            fast_max: 50_000,
            idle_max_ns: 10_000_000_000,
            atomic_open: AtomicUsize::new(0),
            fast_open: AtomicUsize::new(0),
        }
    }
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
        let until_ns = now_ns.saturating_add(self.limits.idle_max_ns);
        self.due_ns = self.due_ns.min(until_ns);
        until_ns
    }

    fn close_atomic(&mut self, id: &[u8]) -> Option<Atomic> {
        let batch = self.atomic.remove(id);
        if batch.is_some() {
            self.limits.atomic_open.fetch_sub(1, Ordering::Relaxed);
        }
        batch
    }

    fn close_fast(&mut self, id: &[u8]) {
        if self.fast.remove(id).is_some() {
            self.limits.fast_open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts one in, unless there are enough.
    fn may_open(open: &AtomicUsize, max: usize) -> bool {
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1))
            .is_ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.limits.atomic_open.fetch_sub(self.atomic.len(), Ordering::Relaxed);
        self.limits.fast_open.fetch_sub(self.fast.len(), Ordering::Relaxed);
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
