//! Acknowledgements come in (JC-090 to JC-099).

use super::{AckSubject, Answer, Consumer, Position};
use crate::context::Context;
use crate::wire::{AckPolicy, ApiError, DeliverPolicy, error};
use serde_json::{Map, Value};

impl Consumer {
    /// A message on its ack subject. `acked` gets the sequences that are done by it.
    pub fn ack(
        &mut self,
        ack: &AckSubject<'_>,
        payload: &[u8],
        reply: &[u8],
        ctx: &mut Context<'_>,
        acked: &mut Vec<u64>,
    ) {
        if ack.stream_seq == 0 {
            ctx.out.answer(reply, b"", b"");
            return;
        }
        self.active_ns = ctx.now_ns;
        // JC-096, JC-098.
        let is_ahead = ack.stream_seq > self.seen().stream_seq && !self.config.flow_control;
        let answer = Answer::parse(payload);
        match answer {
            Answer::Ack if is_ahead => return,
            Answer::Next { .. } if is_ahead => {}
            Answer::Ack | Answer::Next { .. } => {
                self.sample_wait(ack, ctx);
                self.acknowledge(ack, ctx, acked);
            }
            Answer::Term { reason } => {
                // Also of what is done already.
                self.advise_terminated(ack.stream_seq, ack.consumer_seq, ack.deliveries, reason, ctx);
                if is_ahead {
                    return;
                }
                self.acknowledge(ack, ctx, acked);
            }
            Answer::Nak { delay_ns } => self.nak(ack, delay_ns, ctx),
            Answer::InProgress => {
                if self.pending.contains_key(&ack.stream_seq) {
                    let consumer_seq = self.pending[&ack.stream_seq].consumer_seq;
                    self.postpone(ack.stream_seq, consumer_seq, ctx.now_ns + self.wait_ns(ack.stream_seq));
                }
            }
            Answer::Other => {}
        }
        if let Answer::Next { request } = answer {
            self.pull(b"", request, reply, ctx);
        } else {
            ctx.out.answer(reply, b"", b"");
        }
    }

    fn sample_wait(&mut self, ack: &AckSubject<'_>, ctx: &mut Context<'_>) {
        if let Some(pending) = self.pending.get(&ack.stream_seq)
            && self.config.ack_policy == AckPolicy::Explicit
        {
            let sent_ns = pending.deadline_ns - self.wait_ns(ack.stream_seq);
            self.sample(ack, ctx.now_ns - sent_ns, ctx);
        }
    }

    fn acknowledge(&mut self, ack: &AckSubject<'_>, ctx: &Context<'_>, acked: &mut Vec<u64>) {
        self.last_ack_ns = ctx.now_ns;
        match self.config.ack_policy {
            // One of an earlier delivery than what was acknowledged says nothing new.
            AckPolicy::All if ack.consumer_seq <= self.floor.consumer_seq => {}
            AckPolicy::All => self.acknowledge_up_to(ack.stream_seq, Some(ack.consumer_seq), acked),
            _ => self.acknowledge_one(ack.stream_seq, acked),
        }
    }

    fn acknowledge_one(&mut self, seq: u64, acked: &mut Vec<u64>) {
        // One that was given up is done by a late acknowledgement too (JC-111).
        let known = self.pending.contains_key(&seq) || self.counts.contains_key(&seq);
        if !known {
            return;
        }
        self.settled(seq);
        self.changes.acknowledged(seq);
        acked.push(seq);
    }

    /// `consumer_seq` is that of the delivery that was acknowledged, if it is known.
    pub(super) fn acknowledge_up_to(&mut self, seq: u64, consumer_seq: Option<u64>, acked: &mut Vec<u64>) {
        let done = self.settled_up_to(seq, consumer_seq);
        if done.is_empty() {
            return;
        }
        self.changes.acknowledged_all(seq, consumer_seq);
        acked.extend(done);
    }

    fn nak(&mut self, ack: &AckSubject<'_>, delay_ns: i64, ctx: &mut Context<'_>) {
        // One delivery may go ahead of what it knows.
        let is_in_range =
            (self.floor.consumer_seq + 1..=self.delivered.consumer_seq + 1).contains(&ack.consumer_seq);
        if !is_in_range || !self.pending.contains_key(&ack.stream_seq) {
            return;
        }
        if delay_ns > 0 {
            let consumer_seq = self.pending[&ack.stream_seq].consumer_seq;
            self.postpone(ack.stream_seq, consumer_seq, ctx.now_ns.saturating_add(delay_ns));
        } else {
            self.again.insert(ack.stream_seq);
        }
        let fields = self.delivery_fields(ack.stream_seq, ack.consumer_seq, ack.deliveries, ctx);
        self.advise("MSG_NAKED", "nak", fields, ctx);
    }

    /// Acknowledged together: with ack policy all the floor is the last of them, as nats-server tells it, and there
    /// the delivery counts that was acknowledged.
    pub(super) fn settled_up_to(&mut self, seq: u64, consumer_seq: Option<u64>) -> Vec<u64> {
        let Some((_, first)) = self.pending.range(..=seq).next() else { return Vec::new() };
        let first_consumer_seq = first.consumer_seq;
        if self.config.ack_policy == AckPolicy::All
            && let Some((&stream_seq, pending)) = self.pending.range(..=seq).next_back()
            && stream_seq > self.floor.stream_seq
        {
            let consumer_seq = consumer_seq.unwrap_or(0).min(self.delivered.consumer_seq);
            self.floor = Position { consumer_seq: consumer_seq.max(pending.consumer_seq), stream_seq };
        }
        let done: Vec<u64> = self.pending.range(..=seq).map(|(&seq, _)| seq).collect();
        done.iter().for_each(|seq| self.forget(*seq));
        // With ack policy all it is where the acknowledgement says.
        if self.config.ack_policy != AckPolicy::All {
            self.raise_floor(first_consumer_seq);
        }
        done
    }

    /// It is acknowledged, or counts as that. What was given up before is done, too, but moves nothing.
    pub(super) fn settled(&mut self, seq: u64) {
        let consumer_seq = self.pending.get(&seq).map(|pending| pending.consumer_seq);
        self.forget(seq);
        if let Some(consumer_seq) = consumer_seq {
            self.raise_floor(consumer_seq);
        }
    }

    /// It is neither pending nor due any more.
    pub(super) fn forget(&mut self, seq: u64) {
        self.pending.remove(&seq);
        if !self.counts.is_empty() {
            self.counts.remove(&seq);
        }
        self.again.remove(&seq);
        // What is first in the queue is outdated when it is not pending: so the queue stays short.
        while let Some(&(_, first)) = self.due.front()
            && !self.pending.contains_key(&first)
        {
            self.due.pop_front();
        }
    }

    /// What has no pending message before it any more: acknowledged, or given up.
    pub(super) fn reached(&self) -> Position {
        match self.pending.first_key_value() {
            // Only acknowledgements move it.
            Some(_) if self.config.ack_policy == AckPolicy::All => self.floor,
            Some((&seq, pending)) => Position {
                consumer_seq: self.floor.consumer_seq.max(pending.consumer_seq.saturating_sub(1)),
                stream_seq: self.floor.stream_seq.max(seq - 1),
            },
            None => self.delivered,
        }
    }

    /// The message whose first delivery had that sequence is done, which moves the floor if it was the next one. So it
    /// waits for nothing more before what was given up: that was not acknowledged (JC-111).
    fn raise_floor(&mut self, consumer_seq: u64) {
        if self.pending.is_empty() || consumer_seq == self.floor.consumer_seq + 1 {
            self.floor = self.reached();
        }
    }

    /// Those that were delivered as often as allowed.
    pub(super) fn given_up(&self) -> impl Iterator<Item = u64> {
        self.counts.keys().copied().filter(|seq| !self.pending.contains_key(seq))
    }

    /// JC-111.
    pub(super) fn give_up(&mut self, seq: u64, deliveries: u64, ctx: &mut Context<'_>) {
        if self.pending.remove(&seq).is_none() {
            return;
        }
        // It stays known: a stream that keeps by interest keeps it (JC-201).
        self.counts.insert(seq, deliveries);
        self.changes.given_up(seq);
        let mut fields = self.asset_fields(ctx);
        fields.insert("stream_seq".to_owned(), seq.into());
        fields.insert("deliveries".to_owned(), deliveries.into());
        self.advise("MAX_DELIVERIES", "max_deliver", fields, ctx);
    }

    /// JC-173: the sequence that it goes on from.
    pub fn reset(&mut self, seq: u64, ctx: &mut Context<'_>) -> Result<u64, ApiError> {
        let refuse = |why: &str| Err(error::CONSUMER_INVALID_RESET.with(why));
        let to = if seq == 0 { self.reached().stream_seq + 1 } else { seq };
        if seq > 0 {
            match self.config.deliver_policy {
                DeliverPolicy::All => {}
                DeliverPolicy::ByStartSequence if seq < self.config.opt_start_seq => {
                    return refuse("below start seq");
                }
                DeliverPolicy::ByStartTime => {
                    let time = self.config.opt_start_time.unwrap_or_default();
                    let first = ctx.store.seq_from_time(time.0).map_err(super::failed)?;
                    if seq < first {
                        return refuse("below start time");
                    }
                }
                DeliverPolicy::ByStartSequence => {}
                _ => return refuse("not allowed"),
            }
        }
        self.go_to(to);
        (self.last_delivery_ns, self.last_ack_ns) = (0, 0);
        self.changes.reset(to);
        self.recount(ctx).map_err(super::failed)?;
        Ok(to)
    }
}

/// What it tells the account.
impl Consumer {
    pub(super) fn advise_terminated(
        &mut self,
        seq: u64,
        consumer_seq: u64,
        deliveries: u64,
        reason: &str,
        ctx: &mut Context<'_>,
    ) {
        let mut fields = self.delivery_fields(seq, consumer_seq, deliveries, ctx);
        if !reason.is_empty() {
            fields.insert("reason".to_owned(), reason.into());
        }
        self.advise("MSG_TERMINATED", "terminated", fields, ctx);
    }

    /// JC-113, JS-282.
    fn sample(&mut self, ack: &AckSubject<'_>, ack_time_ns: i64, ctx: &mut Context<'_>) {
        let freq = self.config.sample_freq.trim_end_matches('%').parse::<u64>().unwrap_or(0);
        if freq == 0 || (freq < 100 && (ctx.random)() % 100 >= freq) {
            return;
        }
        let subject = format!("$JS.EVENT.METRIC.CONSUMER.ACK.{}.{}", ctx.stream.name, self.config.name);
        let mut fields = self.delivery_fields(ack.stream_seq, ack.consumer_seq, ack.deliveries, ctx);
        fields.insert("ack_time".to_owned(), ack_time_ns.into());
        ctx.advise(&subject, "io.nats.jetstream.metric.v1.consumer_ack", fields);
    }

    pub(super) fn asset_fields(&self, ctx: &Context<'_>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("stream".to_owned(), ctx.stream.name.clone().into());
        fields.insert("consumer".to_owned(), self.config.name.clone().into());
        fields
    }

    fn delivery_fields(
        &self,
        seq: u64,
        consumer_seq: u64,
        deliveries: u64,
        ctx: &Context<'_>,
    ) -> Map<String, Value> {
        let mut fields = self.asset_fields(ctx);
        fields.insert("consumer_seq".to_owned(), consumer_seq.into());
        fields.insert("stream_seq".to_owned(), seq.into());
        fields.insert("deliveries".to_owned(), deliveries.into());
        fields
    }

    pub(super) fn advise(&self, event: &str, kind: &str, fields: Map<String, Value>, ctx: &mut Context<'_>) {
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{event}.{}.{}", ctx.stream.name, self.config.name);
        ctx.advise(&subject, &format!("io.nats.jetstream.advisory.v1.{kind}"), fields);
    }

    /// How long a delivery of a message waits for its acknowledgement (JC-110).
    pub(super) fn wait_ns(&self, seq: u64) -> i64 {
        if self.config.backoff.is_empty() {
            return if self.config.ack_wait > 0 { self.config.ack_wait } else { i64::MAX / 4 };
        }
        let deliveries = self.counts.get(&seq).copied().unwrap_or(1);
        let place = (deliveries as usize).saturating_sub(1).min(self.config.backoff.len() - 1);
        self.config.backoff[place]
    }

    pub(super) fn waits_for_flow(&self) -> bool {
        self.config.ack_policy == AckPolicy::FlowControl
    }

    /// The wait of a pending message ends at another time.
    fn postpone(&mut self, seq: u64, consumer_seq: u64, deadline_ns: i64) {
        self.pending.insert(seq, super::Pending { consumer_seq, deadline_ns });
        self.again.remove(&seq);
        self.due_apart.insert((deadline_ns, seq));
    }

    /// The wait of a message that was delivered then is another one now.
    pub(super) fn wait_from(&mut self, seq: u64, sent_ns: i64) {
        if let Some(pending) = self.pending.get(&seq).copied()
            && !self.again.contains(&seq)
        {
            self.postpone(seq, pending.consumer_seq, sent_ns.saturating_add(self.wait_ns(seq)));
        }
    }

    pub(super) fn note_due(&mut self, deadline_ns: i64, seq: u64) {
        match self.due.back() {
            Some((last, _)) if *last > deadline_ns => drop(self.due_apart.insert((deadline_ns, seq))),
            _ => self.due.push_back((deadline_ns, seq)),
        }
    }
}
