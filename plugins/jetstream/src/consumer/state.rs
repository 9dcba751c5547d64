//! What survives a restart: configuration, a whole state now and then, and changes between (JC-210).
//!
//! Changes name deliveries and acknowledgements in their order, so a state is never ahead of what was acknowledged.

use super::{Consumer, Pending, Position};
use crate::backup::consumers::{self as backup, ConsumerBackup, ConsumerState};
use crate::store::{StoreError, StoredConsumer, StreamStore};
use crate::wire::{AckPolicy, ConsumerConfig};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// After so many bytes of changes the whole state is written.
const CHANGES_BYTES_MAX: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Meta {
    config: ConsumerConfig,
    created_ns: i64,
}

pub(super) fn encode_meta(config: &ConsumerConfig, created_ns: i64) -> Vec<u8> {
    // A configuration is plain data: it can always be written.
    serde_json::to_vec(&Meta { config: config.clone(), created_ns }).unwrap_or_default()
}

pub(super) fn decode_meta(meta: &[u8]) -> Option<(ConsumerConfig, i64)> {
    let meta: Meta = serde_json::from_slice(meta).ok()?;
    Some((meta.config, meta.created_ns))
}

const DELIVERED: u8 = 1;
const DELIVERED_AGAIN: u8 = 2;
const ACKNOWLEDGED: u8 = 3;
const ACKNOWLEDGED_ALL: u8 = 4;
const RESET: u8 = 5;
const GIVEN_UP: u8 = 6;
const UNDELIVERED: u8 = 7;
/// Like [`ACKNOWLEDGED_ALL`], with the consumer's sequence of the delivery that was acknowledged.
const ACKNOWLEDGED_TO: u8 = 8;

/// Changes that the store has not been told of.
pub(super) struct Changes {
    text: Vec<u8>,
    /// In the store since the last whole state.
    recorded: usize,
    /// A consumer whose place does not matter after a restart records nothing.
    silent: bool,
}

impl Changes {
    pub fn new(config: &ConsumerConfig) -> Self {
        let forgettable = config.ack_policy == AckPolicy::None && !config.is_durable();
        Self { text: Vec::new(), recorded: 0, silent: config.mem_storage || forgettable }
    }

    fn push(&mut self, kind: u8, numbers: &[u64]) {
        if self.silent {
            return;
        }
        self.text.push(kind);
        numbers.iter().for_each(|&number| varint(&mut self.text, number));
    }

    pub fn delivered(&mut self, stream_seq: u64, waits: bool) {
        self.push(DELIVERED, &[stream_seq, u64::from(waits)]);
    }

    pub fn delivered_again(&mut self, stream_seq: u64) {
        self.push(DELIVERED_AGAIN, &[stream_seq]);
    }

    /// Nobody got the last delivery of a message: it does not count.
    pub fn undelivered(&mut self, stream_seq: u64) {
        self.push(UNDELIVERED, &[stream_seq]);
    }

    pub fn acknowledged(&mut self, stream_seq: u64) {
        self.push(ACKNOWLEDGED, &[stream_seq]);
    }

    pub fn acknowledged_all(&mut self, stream_seq: u64, consumer_seq: Option<u64>) {
        match consumer_seq {
            Some(consumer_seq) => self.push(ACKNOWLEDGED_TO, &[stream_seq, consumer_seq]),
            None => self.push(ACKNOWLEDGED_ALL, &[stream_seq]),
        }
    }

    /// Delivered as often as allowed: not pending any more, nor acknowledged.
    pub fn given_up(&mut self, stream_seq: u64) {
        self.push(GIVEN_UP, &[stream_seq]);
    }

    pub fn reset(&mut self, next_seq: u64) {
        self.push(RESET, &[next_seq]);
    }
}

impl Consumer {
    /// Whether there is something to record.
    pub fn has_changes(&self) -> bool {
        !self.changes.text.is_empty() && !self.closed
    }

    /// Hands changes to the store, before it commits. A failed write stops the stream anyway, which the commit tells.
    pub fn record(&mut self, store: &mut dyn StreamStore) {
        if !self.has_changes() {
            return;
        }
        self.changes.recorded += self.changes.text.len();
        let done = if self.changes.recorded > CHANGES_BYTES_MAX.max(16 * self.pending.len()) {
            self.save(store)
        } else {
            store.record_consumer(&self.config.name, &self.changes.text)
        };
        self.changes.text.clear();
        drop(done);
    }

    /// What it is outlives a restart, but not of one that is in memory alone (JC-042).
    pub(super) fn keep(&self, store: &mut dyn StreamStore) -> Result<(), StoreError> {
        if self.config.mem_storage { Ok(()) } else { store.put_consumer(&self.config.name, &self.meta()) }
    }

    /// The whole state.
    pub(super) fn save(&mut self, store: &mut dyn StreamStore) -> Result<(), StoreError> {
        self.changes.text.clear();
        self.changes.recorded = 0;
        if self.config.mem_storage {
            return Ok(());
        }
        let out = self.whole().encode();
        store.put_consumer_state(&self.config.name, &out)
    }

    fn whole(&self) -> Whole {
        let counts = self.counts.iter().map(|(&seq, &count)| (seq, count)).collect();
        Whole {
            delivered: self.delivered,
            floor: self.floor,
            next_seq: self.next_seq,
            pending: self.pending.iter().map(|(&seq, pending)| (seq, pending.consumer_seq)).collect(),
            counts,
            chosen: self.chosen.iter().copied().collect(),
        }
    }

    /// For a backup of the stream.
    pub fn backup(&self) -> ConsumerBackup {
        let position =
            |at: Position| backup::Position { consumer_seq: at.consumer_seq, stream_seq: at.stream_seq };
        let pending = |(&seq, pending): (&u64, &Pending)| {
            let timestamp = pending.deadline_ns.saturating_sub(self.wait_ns(seq));
            (seq, backup::Pending { sequence: pending.consumer_seq, timestamp })
        };
        // nats-server counts redeliveries, and knows what was given up by being counted at all.
        let again = |(&seq, &count): (&u64, &u64)| match self.pending.contains_key(&seq) {
            true => (count > 1).then(|| (seq, count - 1)),
            false => Some((seq, count.max(1))),
        };
        let chosen = backup::Chosen { next_seq: self.next_seq, left: self.chosen.iter().copied().collect() };
        let state = ConsumerState {
            delivered: position(self.delivered),
            ack_floor: position(self.floor),
            pending: self.pending.iter().map(pending).collect(),
            redelivered: self.counts.iter().filter_map(again).collect(),
            last_per_subject: (!self.chosen.is_empty()).then_some(chosen),
        };
        ConsumerBackup { config: self.config.clone(), state }
    }

    /// Takes over a state and the changes after it. `false`: there is no state.
    pub(super) fn restore(&mut self, state: &[u8], changes: &[Bytes], now_ns: i64) -> bool {
        if self.read_state(state, now_ns).is_none() {
            return false;
        }
        for change in changes {
            let mut rest = &change[..];
            while !rest.is_empty() && self.apply(&mut rest, now_ns).is_some() {}
        }
        if self.given_up().next().is_none() {
            // Stores of before may have the floor of other deliveries.
            self.floor = self.reached();
        }
        true
    }

    fn read_state(&mut self, state: &[u8], now_ns: i64) -> Option<()> {
        let (version, mut rest) = state.split_first()?;
        if *version != 1 {
            return None;
        }
        let rest = &mut rest;
        self.delivered = Position { consumer_seq: take(rest)?, stream_seq: take(rest)? };
        self.floor = Position { consumer_seq: take(rest)?, stream_seq: take(rest)? };
        self.next_seq = take(rest)?.max(1);
        let mut seq = 0u64;
        for _ in 0..take(rest)? {
            seq = seq.checked_add(take(rest)?)?;
            let consumer_seq = take(rest)?;
            self.await_ack(seq, consumer_seq, now_ns);
        }
        for _ in 0..take(rest)? {
            let seq = take(rest)?;
            self.counts.insert(seq, take(rest)?);
        }
        for _ in 0..take(rest)? {
            self.chosen.push_back(take(rest)?);
        }
        Some(())
    }

    fn apply(&mut self, rest: &mut &[u8], now_ns: i64) -> Option<()> {
        let (&kind, tail) = rest.split_first()?;
        *rest = tail;
        let seq = take(rest)?;
        match kind {
            DELIVERED => {
                let waits = take(rest)? == 1;
                self.advance(seq);
                if waits {
                    self.await_ack(seq, self.delivered.consumer_seq, now_ns);
                }
            }
            DELIVERED_AGAIN => {
                self.delivered.consumer_seq += 1;
                let count = self.counts.entry(seq).or_insert(1);
                *count += 1;
            }
            UNDELIVERED => {
                let count = self.counts.entry(seq).or_insert(1);
                *count = count.saturating_sub(1);
            }
            ACKNOWLEDGED => self.settled(seq),
            GIVEN_UP => {
                self.pending.remove(&seq);
                self.counts.entry(seq).or_insert(1);
                self.again.remove(&seq);
            }
            ACKNOWLEDGED_ALL => drop(self.settled_up_to(seq, None)),
            ACKNOWLEDGED_TO => {
                let consumer_seq = take(rest)?;
                self.settled_up_to(seq, Some(consumer_seq));
            }
            RESET => self.go_to(seq),
            _ => return None,
        }
        Some(())
    }

    /// A new message was delivered: both countings go on.
    pub(super) fn advance(&mut self, seq: u64) {
        self.delivered.consumer_seq += 1;
        if self.chosen.front() == Some(&seq) {
            self.chosen.pop_front();
        } else {
            self.next_seq = self.next_seq.max(seq + 1);
        }
        self.delivered.stream_seq = self.delivered.stream_seq.max(seq);
    }

    /// Again or for the first time.
    pub(super) fn await_ack(&mut self, seq: u64, consumer_seq: u64, now_ns: i64) {
        let deadline_ns = now_ns.saturating_add(self.wait_ns(seq));
        let pending = self.pending.entry(seq).or_insert(Pending { consumer_seq, deadline_ns });
        pending.deadline_ns = deadline_ns;
        self.note_due(deadline_ns, seq);
    }

    /// Everything before is as if it had never been delivered.
    pub(super) fn go_to(&mut self, seq: u64) {
        self.pending.clear();
        self.counts.clear();
        self.again.clear();
        self.due.clear();
        self.due_apart.clear();
        self.chosen.clear();
        self.next_seq = seq.max(1);
        self.looked_seq = 0;
        self.delivered = Position { consumer_seq: 0, stream_seq: self.next_seq - 1 };
        self.floor = self.delivered;
    }
}

/// What a consumer of a backup is in a store.
pub fn stored(config: &ConsumerConfig, created_ns: i64, state: &ConsumerState) -> StoredConsumer {
    let position =
        |at: backup::Position| Position { consumer_seq: at.consumer_seq, stream_seq: at.stream_seq };
    let chosen = state.last_per_subject.clone().unwrap_or_default();
    let deliveries = |(&seq, &count): (&u64, &u64)| match state.pending.contains_key(&seq) {
        true => (seq, count.saturating_add(1)),
        false => (seq, count),
    };
    let whole = Whole {
        delivered: position(state.delivered),
        floor: position(state.ack_floor),
        next_seq: chosen.next_seq.max(state.delivered.stream_seq + 1),
        pending: state.pending.iter().map(|(&seq, pending)| (seq, pending.sequence)).collect(),
        counts: state.redelivered.iter().map(deliveries).collect(),
        chosen: chosen.left,
    };
    StoredConsumer {
        name: config.name.clone(),
        meta: encode_meta(config, created_ns).into(),
        state: whole.encode().into(),
        changes: Vec::new(),
    }
}

/// A whole state.
struct Whole {
    delivered: Position,
    floor: Position,
    next_seq: u64,
    /// Sequences in the stream and of the consumer, ascending.
    pending: Vec<(u64, u64)>,
    counts: Vec<(u64, u64)>,
    chosen: Vec<u64>,
}

impl Whole {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        for number in [
            self.delivered.consumer_seq,
            self.delivered.stream_seq,
            self.floor.consumer_seq,
            self.floor.stream_seq,
            self.next_seq,
            self.pending.len() as u64,
        ] {
            varint(&mut out, number);
        }
        let mut before = 0;
        for (seq, consumer_seq) in &self.pending {
            varint(&mut out, seq - before);
            varint(&mut out, *consumer_seq);
            before = *seq;
        }
        varint(&mut out, self.counts.len() as u64);
        for (seq, count) in &self.counts {
            varint(&mut out, *seq);
            varint(&mut out, *count);
        }
        varint(&mut out, self.chosen.len() as u64);
        self.chosen.iter().for_each(|seq| varint(&mut out, *seq));
        out
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
