//! Messages go out: those due again first, then new ones, to the next who wants one.

use super::ack::AckWriter;
use super::{Consumer, Delivery, Position};
use crate::context::Context;
use crate::outbox::{Content, Post};
use crate::store::{Loaded, StoreError};
use crate::wire::{AckPolicy, PriorityPolicy};

/// A message to deliver.
#[derive(Clone, Copy)]
pub(super) struct Due {
    /// The number of this delivery.
    pub deliveries: u64,
    /// It was delivered before, maybe to nobody.
    pub again: bool,
}

impl Due {
    const NEW: Due = Due { deliveries: 1, again: false };
}

/// Who gets the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Who listens on the deliver subject.
    Push,
    /// The request at that place of those that wait.
    Request(usize),
}

impl Consumer {
    /// Delivers up to `budget` messages. `acked` gets those that count as acknowledged by that. `true`: there is
    /// more to do at once.
    pub fn run(
        &mut self,
        budget: usize,
        ctx: &mut Context<'_>,
        loaded: &mut Loaded,
        acked: &mut Vec<u64>,
    ) -> bool {
        if self.paused_until(ctx.now_ns).is_some() || self.closed {
            return false;
        }
        let mut more = true;
        for _ in 0..budget {
            if !self.deliver_one(ctx, loaded, acked) {
                more = false;
                break;
            }
        }
        if !more {
            self.end_of_messages(ctx);
        }
        more
    }

    fn deliver_one(&mut self, ctx: &mut Context<'_>, message: &mut Loaded, acked: &mut Vec<u64>) -> bool {
        if !self.has_taker(ctx) {
            return false;
        }
        let due = match self.next_message(ctx, message) {
            Ok(Some(due)) => due,
            // The stream finds out at its next write or read.
            Ok(None) | Err(_) => return false,
        };
        let Some(target) = self.taker(message, due, ctx) else {
            if due.again {
                self.again.insert(message.seq);
            }
            // Whoever does not wait is not served either.
            self.pulls.nothing_left(0, ctx);
            return false;
        };
        self.send(message, due, target, ctx, acked);
        true
    }

    /// A message due again, else a new one.
    fn next_message(
        &mut self,
        ctx: &mut Context<'_>,
        message: &mut Loaded,
    ) -> Result<Option<Due>, StoreError> {
        while let Some(seq) = self.again.pop_first() {
            let deliveries = self.counts.get(&seq).copied().unwrap_or(1) + 1;
            let max = self.config.max_deliver;
            if max > 0 && deliveries > max as u64 {
                self.give_up(seq, deliveries - 1, ctx);
                continue;
            }
            match ctx.store.load_into(seq, message) {
                Ok(true) => return Ok(Some(Due { deliveries, again: true })),
                Ok(false) | Err(StoreError::Damaged { .. }) => {
                    self.settled(seq);
                    self.changes.acknowledged(seq);
                }
                Err(why) => return Err(why),
            }
        }
        if self.is_at_max_ack_pending() {
            return Ok(None);
        }
        while let Some(&seq) = self.chosen.front() {
            match ctx.store.load_into(seq, message) {
                Ok(true) => return Ok(self.is_in_pace(message, ctx.now_ns).then_some(Due::NEW)),
                Ok(false) | Err(StoreError::Damaged { .. }) => {
                    self.chosen.pop_front();
                    self.num_pending = self.num_pending.saturating_sub(1);
                }
                Err(why) => return Err(why),
            }
        }
        if self.num_pending > 0 {
            if ctx.store.next_into(&self.filter, self.next_seq, message)? {
                return Ok(self.is_in_pace(message, ctx.now_ns).then_some(Due::NEW));
            }
            self.num_pending = 0;
        }
        self.looked_seq = ctx.store.state().last_seq;
        Ok(None)
    }

    pub(super) fn is_at_max_ack_pending(&self) -> bool {
        let max = self.config.max_ack_pending;
        self.acks() && max > 0 && self.pending.len() as i64 >= max
    }

    /// No message can go now, whoever asks.
    pub(super) fn is_held(&self, now_ns: i64) -> bool {
        let may_send = !self.again.is_empty() || !self.is_at_max_ack_pending();
        !may_send || self.paused_until(now_ns).is_some()
    }

    /// What heartbeats tell (JC-130), and what clients may acknowledge: up to where it has delivered, and looked for
    /// more.
    pub(super) fn seen(&self) -> Position {
        let stream_seq = match self.chosen.is_empty() {
            true => self.looked_seq.max(self.next_seq - 1),
            false => self.delivered.stream_seq,
        };
        Position { stream_seq, ..self.delivered }
    }

    /// After a heartbeat it looks again.
    pub(super) fn look_again(&mut self, ctx: &Context<'_>) {
        if self.num_pending == 0 && self.chosen.is_empty() && !self.is_held(ctx.now_ns) {
            self.looked_seq = ctx.store.state().last_seq;
        }
    }

    /// What it has looked at is behind it, whatever it looks for from now on.
    pub(super) fn pass_looked(&mut self, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        if self.looked_seq < self.next_seq {
            return Ok(());
        }
        let missed = ctx.store.next(&self.filter, self.next_seq)?;
        if missed.is_none_or(|message| message.seq > self.looked_seq) {
            self.next_seq = self.looked_seq + 1;
        }
        Ok(())
    }

    fn send(
        &mut self,
        message: &Loaded,
        Due { deliveries, again }: Due,
        target: Target,
        ctx: &mut Context<'_>,
        acked: &mut Vec<u64>,
    ) {
        let seq = message.seq;
        let waits = self.acks() && self.config.ack_policy != AckPolicy::FlowControl || self.waits_for_flow();
        if !again {
            self.advance(seq);
            self.num_pending = self.num_pending.saturating_sub(1);
            self.changes.delivered(seq, waits);
        } else {
            self.delivered.consumer_seq += 1;
            self.counts.insert(seq, deliveries);
            self.changes.delivered_again(seq);
        }
        if waits {
            self.await_ack(seq, self.delivered.consumer_seq, ctx.now_ns);
        } else {
            self.floor = self.delivered;
            acked.push(seq);
        }
        self.last_delivery_ns = ctx.now_ns;
        self.active_ns = ctx.now_ns;
        if let Some(replay) = &mut self.replay {
            replay.sent(message.time_ns);
        }
        let size = self.post(message, deliveries, target, ctx);
        match (&mut self.push, target) {
            (Some(push), _) => push.sent(size, ctx.now_ns, ctx.stream.message_bytes_max),
            (None, Target::Request(at)) => {
                let prioritized = self.config.priority_policy == PriorityPolicy::Prioritized;
                self.pulls.sent(at, size, prioritized, ctx);
            }
            (None, Target::Push) => {}
        }
    }

    /// Puts a delivery into the outbox; its size.
    fn post(&mut self, message: &Loaded, deliveries: u64, target: Target, ctx: &mut Context<'_>) -> usize {
        let size = self.shown_size(message);
        let new_writer =
            || Box::new(AckWriter::new(&ctx.stream.reply_space, &ctx.stream.name, &self.config.name));
        let writer = self.ack.get_or_insert_with(new_writer);
        let consumer_seq = self.delivered.consumer_seq;
        let reply = writer.write(deliveries, message.seq, consumer_seq, message.time_ns, self.num_pending);
        let (subject, request) = match target {
            Target::Push => (self.config.deliver_subject.as_bytes(), 0),
            Target::Request(at) => self.pulls.address(at),
        };
        let is_pinned = request > 0 && self.config.priority_policy == PriorityPolicy::PinnedClient;
        let headers_only = self.config.headers_only;
        let changed = (is_pinned || headers_only)
            .then(|| added_headers(message, is_pinned.then(|| self.pulls.pinned_id()), headers_only));
        ctx.out.push(Post {
            subject,
            shown: message.subject(),
            reply,
            headers: Content::Copied(changed.as_deref().unwrap_or(message.headers())),
            payload: if headers_only { Content::Copied(&[]) } else { message.content() },
            delivery: Some(Delivery { consumer: self.id, stream_seq: message.seq, consumer_seq, request }),
        });
        size + reply.len()
    }

    /// What clients get of a message, without its reply (JC-124); the headers of a pin do not count.
    pub(super) fn shown_size(&self, message: &Loaded) -> usize {
        if !self.config.headers_only {
            return message.size();
        }
        let digits = message.payload().len().checked_ilog10().unwrap_or(0) as usize + 1;
        let around = if message.headers().is_empty() { "NATS/1.0\r\n\r\n".len() } else { 0 };
        let added = around + "Nats-Msg-Size: \r\n".len() + digits;
        message.size() - message.payload().len() + added
    }

    /// Nobody got a delivery: it is due again, as if it had not been sent (JC-129).
    pub fn undelivered(&mut self, delivery: &Delivery, ctx: &mut Context<'_>) {
        if delivery.request > 0 {
            self.pulls.gone(delivery.request);
        } else if let Some(push) = &mut self.push {
            push.set_active(false);
        }
        let seq = delivery.stream_seq;
        let since_first = |first: u64| (first..=self.delivered.consumer_seq).contains(&delivery.consumer_seq);
        let waits = self.pending.get(&seq).is_some_and(|pending| since_first(pending.consumer_seq));
        if waits && !self.again.contains(&seq) {
            let deliveries = self.counts.entry(seq).or_insert(1);
            *deliveries = deliveries.saturating_sub(1);
            self.changes.undelivered(seq);
            self.again.insert(seq);
        } else if !self.acks() && seq < self.next_seq {
            // Nobody acknowledges: the place itself goes back.
            self.next_seq = self.next_seq.min(seq);
            self.looked_seq = 0;
            self.delivered.stream_seq = self.next_seq - 1;
            self.delivered.consumer_seq = self.delivered.consumer_seq.min(delivery.consumer_seq - 1);
            self.floor = self.delivered;
            let _ = self.recount(ctx);
        }
    }

    /// Whether a new message may go by now, if it is replayed in the original pace.
    fn is_in_pace(&mut self, message: &Loaded, now_ns: i64) -> bool {
        if self.replay.as_ref().is_some_and(|replay| replay.is_over(message.seq)) {
            self.replay = None;
        }
        let replay = self.replay.as_mut();
        replay.is_none_or(|replay| replay.is_due(message.seq, message.time_ns, now_ns))
    }
}

/// JC-084: the stored headers, with what a delivery adds.
fn added_headers(message: &Loaded, pin: Option<&str>, headers_only: bool) -> Vec<u8> {
    let mut block = match message.headers().strip_suffix(b"\r\n") {
        Some(lines) => lines.to_vec(),
        None => b"NATS/1.0\r\n".to_vec(),
    };
    if headers_only {
        block.extend_from_slice(format!("Nats-Msg-Size: {}\r\n", message.payload().len()).as_bytes());
    }
    if let Some(pin) = pin {
        block.extend_from_slice(format!("Nats-Pin-Id: {pin}\r\n").as_bytes());
    }
    block.extend_from_slice(b"\r\n");
    block
}
