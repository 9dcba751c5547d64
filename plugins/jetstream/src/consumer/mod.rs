//! A consumer: which message goes to whom and when, and what was acknowledged. A state machine without I/O: the
//! stream calls it, it writes into the outbox and names what the stream has to do.
//!
//! Reading order: this file (what it is), `deliver` (messages go out), `settle` (acknowledgements come in), `pull`
//! and `push` (who gets them), `timers`, `state` (what survives a restart).

mod ack;
mod deliver;
mod pull;
mod purge;
mod push;
mod replay;
mod settle;
mod state;
#[cfg(test)]
mod tests;
mod timers;

pub use ack::{AckSubject, Answer};
pub use state::stored;

use crate::context::Context;
use crate::filter::Filter;
use crate::store::{StoreError, StoredConsumer};
use crate::wire::consumer::{PriorityGroupState, SequenceInfo};
use crate::wire::{
    AckPolicy, ApiError, ConsumerConfig, ConsumerInfo, DeliverPolicy, PriorityPolicy, ReplayPolicy, Storage,
    Time, error,
};
use ack::AckWriter;
use hashbrown::HashMap;
use pull::Pulls;
use push::Push;
use replay::Replay;
use state::Changes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Marks a message in the outbox as a delivery, so that the consumer learns whether anyone got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which consumer of the stream.
    pub consumer: u32,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// Which pull request it was for; 0: a push.
    pub request: u64,
}

/// What a turn of the timers found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    Idle,
    /// Nobody used it for too long.
    Delete,
}

/// A place in the stream, in both countings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    consumer_seq: u64,
    stream_seq: u64,
}

/// Delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    /// Of its first delivery: that is what the floor goes by.
    consumer_seq: u64,
    /// When it is delivered again; of the wall clock.
    deadline_ns: i64,
}

pub struct Consumer {
    id: u32,
    config: ConsumerConfig,
    created_ns: i64,
    filter: Filter,
    delivered: Position,
    floor: Position,
    /// Where to look for the next new message.
    next_seq: u64,
    /// Up to where there was nothing more for it when it last looked, if that is further.
    looked_seq: u64,
    /// With deliver policy last per subject: what is to be delivered before everything new.
    chosen: VecDeque<u64>,
    /// Matching messages not delivered yet.
    num_pending: u64,
    /// It began beyond the end of the stream: not all that comes is for it.
    is_ahead: bool,
    /// Somebody has looked meanwhile.
    is_exact: bool,
    pending: BTreeMap<u64, Pending>,
    /// Deliveries of messages that were delivered more than once.
    counts: HashMap<u64, u64>,
    /// Due again, by sequence.
    again: BTreeSet<u64>,
    /// When pending messages are due, in the order of their deliveries; outdated entries are passed over.
    due: VecDeque<(i64, u64)>,
    /// The same for those whose time does not follow from their place.
    due_apart: BTreeSet<(i64, u64)>,
    pulls: Pulls,
    push: Option<Box<Push>>,
    /// While it replays in the original pace.
    replay: Option<Box<Replay>>,
    ack: Option<Box<AckWriter>>,
    changes: Changes,
    last_delivery_ns: i64,
    last_ack_ns: i64,
    /// Last use by anyone, for `inactive_threshold`.
    active_ns: i64,
    /// When a pause ends that has begun; `i64::MAX`: none has.
    resumes_ns: i64,
    closed: bool,
}

fn paused_until(config: &ConsumerConfig, now_ns: i64) -> Option<i64> {
    config.pause_until.map(|until| until.0).filter(|until| *until > now_ns)
}

/// Making and finding.
impl Consumer {
    /// A new one, at the place that its configuration says (JC-070).
    pub fn new(
        id: u32,
        config: ConsumerConfig,
        created_ns: i64,
        ctx: &mut Context<'_>,
    ) -> Result<Self, ApiError> {
        let mut consumer = Self::empty(id, config, created_ns, ctx);
        consumer.start(ctx).map_err(failed)?;
        consumer.keep(ctx.store).map_err(failed)?;
        consumer.save(ctx.store).map_err(failed)?;
        // Someone may be listening already.
        consumer.interest_changed(ctx);
        Ok(consumer)
    }

    /// One that was there: its metadata, state and changes as the store kept them.
    pub fn recover(id: u32, stored: StoredConsumer, ctx: &mut Context<'_>) -> Result<Self, ApiError> {
        let (config, created_ns) = state::decode_meta(&stored.meta).ok_or_else(|| {
            error::CONSUMER_OFFLINE_REASON.with(format_args!("the metadata of {:?} is damaged", stored.name))
        })?;
        let mut consumer = Self::empty(id, config, created_ns, ctx);
        let known = consumer.restore(&stored.state, &stored.changes, ctx.now_ns);
        if !known {
            consumer.start(ctx).map_err(failed)?;
        }
        consumer.settle_in(ctx).map_err(failed)?;
        Ok(consumer)
    }

    fn empty(id: u32, config: ConsumerConfig, created_ns: i64, ctx: &Context<'_>) -> Self {
        Self {
            id,
            filter: Filter::new(config.filters()),
            push: config.is_push().then(|| Box::new(Push::new(&config))),
            replay: (config.replay_policy == ReplayPolicy::Original).then(Box::default),
            changes: Changes::new(&config),
            resumes_ns: paused_until(&config, ctx.now_ns).unwrap_or(i64::MAX),
            config,
            created_ns,
            delivered: Position::default(),
            floor: Position::default(),
            next_seq: 1,
            looked_seq: 0,
            chosen: VecDeque::new(),
            num_pending: 0,
            is_ahead: false,
            is_exact: false,
            pending: BTreeMap::new(),
            counts: HashMap::new(),
            again: BTreeSet::new(),
            due: VecDeque::new(),
            due_apart: BTreeSet::new(),
            pulls: Pulls::default(),
            ack: None,
            last_delivery_ns: 0,
            last_ack_ns: 0,
            active_ns: ctx.now_ns,
            closed: false,
        }
    }

    fn start(&mut self, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        let state = ctx.store.state();
        let last = state.last_seq;
        let start = match self.config.deliver_policy {
            DeliverPolicy::All => state.first_seq,
            DeliverPolicy::New => last + 1,
            DeliverPolicy::ByStartSequence => self.config.opt_start_seq.max(state.first_seq),
            DeliverPolicy::ByStartTime => {
                let time = self.config.opt_start_time.unwrap_or_default();
                let start = ctx.store.seq_from_time(time.0)?;
                self.first_wanted(start, ctx)?
            }
            DeliverPolicy::Last => {
                let filter = self.filter.clone();
                let found = ctx.store.last(&filter, u64::MAX)?;
                found.map_or(0, |message| message.seq).max(state.first_seq)
            }
            DeliverPolicy::LastPerSubject => {
                let filter = self.filter.clone();
                let chosen = ctx.store.last_of_each(&filter, u64::MAX, usize::MAX)?;
                let start = chosen.first().copied().unwrap_or(last.max(state.first_seq));
                self.num_pending = chosen.len() as u64;
                self.chosen = chosen.into();
                start
            }
        };
        let start = start.max(1);
        self.delivered = Position { consumer_seq: 0, stream_seq: start - 1 };
        self.floor = self.delivered;
        self.next_seq =
            if self.config.deliver_policy == DeliverPolicy::LastPerSubject { last + 1 } else { start };
        if self.config.deliver_policy != DeliverPolicy::LastPerSubject {
            self.recount(ctx)?;
        }
        if let Some(replay) = &mut self.replay {
            replay.up_to(last);
        }
        Ok(())
    }

    /// Where nats-server begins at a time: at the first message that a filter means, if that is not older, nor the last
    /// message of the stream.
    fn first_wanted(&self, start: u64, ctx: &mut Context<'_>) -> Result<u64, StoreError> {
        let state = ctx.store.state();
        let mut wanted = state.last_seq;
        for pattern in self.filter.patterns() {
            let first = ctx.store.next(&Filter::new([pattern]), state.first_seq)?;
            if let Some(first) = first.filter(|first| first.seq >= start) {
                wanted = wanted.min(first.seq);
            }
        }
        Ok(if wanted < state.last_seq { wanted.max(start) } else { start })
    }

    /// After a restart: what is pending may be gone, and the stream may have lost its end (JC-074), unless nothing ever
    /// was in it.
    fn settle_in(&mut self, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        let last = ctx.store.state().last_seq;
        if last > 0 && self.next_seq > last + 1 {
            self.next_seq = last + 1;
            self.delivered.stream_seq = self.delivered.stream_seq.min(last);
            self.floor.stream_seq = self.floor.stream_seq.min(last);
        }
        if let Some(replay) = &mut self.replay {
            replay.up_to(last);
        }
        self.drop_missing(ctx)?;
        self.recount(ctx)
    }

    /// How many messages match and were not delivered (JC-072).
    fn recount(&mut self, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        let filter = self.filter.clone();
        let new = ctx.store.count(&filter, self.next_seq, false)?;
        self.num_pending = new + self.chosen.len() as u64;
        self.is_ahead = self.next_seq > ctx.store.state().last_seq + 1;
        Ok(())
    }

    /// Forgets pending messages that the stream does not have any more.
    fn drop_missing(&mut self, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        for &seq in self.pending.keys() {
            if matches!(ctx.store.load(seq), Ok(None)) {
                gone.push(seq);
            }
        }
        for seq in gone {
            self.settled(seq);
        }
        let first = ctx.store.state().first_seq;
        self.chosen.retain(|seq| *seq >= first);
        self.counts.retain(|seq, _| *seq >= first);
        Ok(())
    }
}

/// What it is.
impl Consumer {
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &ConsumerConfig {
        &self.config
    }

    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    fn meta(&self) -> Vec<u8> {
        state::encode_meta(&self.config, self.created_ns)
    }

    /// Takes over a configuration that was found to be allowed.
    pub fn update(&mut self, config: ConsumerConfig, ctx: &mut Context<'_>) -> Result<(), ApiError> {
        let moved = config.deliver_subject != self.config.deliver_subject;
        if moved && ctx.interest.has(self.config.deliver_subject.as_bytes(), b"") {
            return Err(error::CONSUMER_NAME_EXIST);
        }
        let refiltered = !config.filters().eq(self.config.filters());
        let waits_otherwise =
            config.ack_wait != self.config.ack_wait || config.backoff != self.config.backoff;
        let sent_ns =
            |consumer: &Self, seq, deadline_ns: i64| deadline_ns.saturating_sub(consumer.wait_ns(seq));
        let sent: Vec<(u64, i64)> = match waits_otherwise {
            true => self.pending.iter().map(|(&seq, at)| (seq, sent_ns(self, seq, at.deadline_ns))).collect(),
            false => Vec::new(),
        };
        if refiltered {
            self.pass_looked(ctx).map_err(failed)?;
        }
        self.config = config;
        for (seq, sent_ns) in sent {
            self.wait_from(seq, sent_ns);
        }
        if let Some(push) = &mut self.push {
            push.configure(&self.config);
        }
        self.keep(ctx.store).map_err(failed)?;
        if refiltered {
            self.filter = Filter::new(self.config.filters());
            self.recount(ctx).map_err(failed)?;
        }
        if moved {
            self.end_waits(ctx);
        }
        self.interest_changed(ctx);
        Ok(())
    }

    /// For whoever asks. One that began beyond the end of the stream counts what comes before its beginning, until
    /// somebody looks, as in nats-server.
    pub fn count_exactly(&mut self, ctx: &mut Context<'_>) {
        let counted_before = self.is_ahead && self.num_pending > self.chosen.len() as u64;
        if counted_before || self.num_pending > ctx.store.state().messages {
            self.is_exact = true;
            // What can't be read is told when it is to be delivered.
            let _ = self.recount(ctx);
        }
    }

    pub fn info(&self, ctx: &Context<'_>) -> ConsumerInfo {
        let now_ns = ctx.now_ns;
        let active = |ns: i64| (ns > 0).then_some(Time(ns));
        let paused = self.paused_until(now_ns);
        ConsumerInfo {
            name: self.config.name.clone(),
            created: Time(self.created_ns),
            config: self.config.clone(),
            delivered: SequenceInfo {
                consumer_seq: self.delivered.consumer_seq,
                stream_seq: self.delivered_seq(ctx.stream.storage),
                last_active: active(self.last_delivery_ns),
            },
            ack_floor: SequenceInfo {
                consumer_seq: self.floor.consumer_seq,
                stream_seq: self.floor.stream_seq,
                last_active: active(self.last_ack_ns),
            },
            num_ack_pending: self.pending.len() as u64,
            num_redelivered: self.num_redelivered(),
            num_waiting: self.pulls.len() as u64,
            num_pending: self.num_pending,
            push_bound: self.push.as_ref().is_some_and(|push| push.is_active()),
            paused: paused.is_some(),
            pause_remaining: paused.map_or(0, |until| until - now_ns),
            ts: Time(now_ns),
            priority_groups: self.groups(),
            ..ConsumerInfo::default()
        }
    }

    /// As nats-server shows it: what is kept in memory has no place of its own before its first delivery.
    fn delivered_seq(&self, storage: Storage) -> u64 {
        let in_memory = self.config.mem_storage || storage == Storage::Memory;
        match self.delivered {
            Position { consumer_seq: 0, stream_seq: 0 } if in_memory => self.looked_seq,
            Position { stream_seq, .. } => stream_seq,
        }
    }

    /// With what was given up; of a consumer that delivers once none, as clients would wonder (JC-111).
    fn num_redelivered(&self) -> u64 {
        if self.config.max_deliver == 1 {
            return 0;
        }
        let counted = |&(seq, count): &(&u64, &u64)| *count > 1 || !self.pending.contains_key(seq);
        self.counts.iter().filter(counted).count() as u64
    }

    fn groups(&self) -> Vec<PriorityGroupState> {
        if self.config.priority_policy == PriorityPolicy::None {
            return Vec::new();
        }
        let state = |group: &String| PriorityGroupState {
            group: group.clone(),
            pinned_client_id: self.pulls.pinned_id().to_owned(),
            pinned_ts: Time(self.pulls.pinned_ns()),
        };
        // Of several only the first is in use.
        self.config.priority_groups.first().map(state).into_iter().collect()
    }

    /// Until when nothing is delivered, if it is paused.
    fn paused_until(&self, now_ns: i64) -> Option<i64> {
        paused_until(&self.config, now_ns)
    }

    fn acks(&self) -> bool {
        self.config.ack_policy != AckPolicy::None
    }
}

/// What happens in the stream.
impl Consumer {
    /// A matching message was added.
    pub fn stored(&mut self, seq: u64, _subject: &[u8]) {
        self.num_pending += u64::from(!self.is_exact || seq >= self.next_seq);
    }

    /// Several were, while it was not looking.
    pub fn stored_many(&mut self, count: u64, ctx: &mut Context<'_>) {
        let is_exact = self.is_ahead && self.is_exact && self.recount(ctx).is_ok();
        if !is_exact {
            self.num_pending += count;
        }
    }

    /// Whether a message would be delivered at once: the stream tells it of each only then.
    pub fn is_waiting(&self) -> bool {
        match &self.push {
            Some(push) => push.is_active(),
            None => !self.pulls.is_empty(),
        }
    }

    /// A matching message went, by a limit or a deletion.
    pub fn removed(&mut self, seq: u64, _subject: &[u8], ctx: &mut Context<'_>) {
        if seq >= self.next_seq {
            self.num_pending = self.num_pending.saturating_sub(1);
            return;
        }
        if let Ok(at) = self.chosen.binary_search(&seq) {
            self.chosen.remove(at);
            self.num_pending = self.num_pending.saturating_sub(1);
        }
        if let Some(pending) = self.pending.get(&seq).copied() {
            // JC-099. The last delivery does not count here.
            let deliveries = self.counts.get(&seq).map_or(1, |count| count.saturating_sub(1).max(1));
            self.advise_terminated(
                seq,
                pending.consumer_seq,
                deliveries,
                "Unacknowledged message was deleted",
                ctx,
            );
            self.settled(seq);
            self.changes.acknowledged(seq);
            self.last_ack_ns = ctx.now_ns;
        }
    }

    /// Whether a stream that keeps by interest must keep a message for it.
    pub fn needs(&self, seq: u64, subject: &[u8]) -> bool {
        if !self.filter.matches(subject) {
            return false;
        }
        seq >= self.next_seq
            || self.pending.contains_key(&seq)
            // Given up is not acknowledged (JC-201).
            || !self.counts.is_empty() && self.counts.contains_key(&seq)
            || self.chosen.binary_search(&seq).is_ok()
    }

    /// Waiting requests are told why they end.
    pub fn end_pulls(&mut self, status: &str, ctx: &mut Context<'_>) {
        self.pulls.end_all(status, ctx);
    }

    /// It ends.
    pub fn close(&mut self, status: &str, ctx: &mut Context<'_>) {
        self.end_pulls(status, ctx);
        self.closed = true;
        // It is gone, or will be read again: a failed write is known to the stream.
        let _ = self.save(ctx.store);
    }
}

fn failed(why: StoreError) -> ApiError {
    error::CONSUMER_STORE_FAILED.with(why)
}
