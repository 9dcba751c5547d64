//! Delivery of a chunk to receivers inside the server: plugins and gates.
//!
//! Such a receiver is one subscription, and one stream or one import of an account often has several. What a client
//! published in an order reaches them in that order, whichever of them takes which message (CORE-270).

use super::chunk::{Chunk, Item, Record, Sender};
use super::gate::Gate;
use super::receiver::{Delivery, InlineSubscriber, Receiver, Role};
use super::subscriptions;
use crate::interest::sid::Sid;
use std::sync::Arc;

/// A record by its place in the order of publishing. Those of one receiver that follow each other go out together.
pub(super) struct Stretch {
    run: u32,
    opened: u32,
    record: u32,
}

/// A slot that is being delivered.
struct Opened {
    slot: usize,
    receiver: Arc<Receiver>,
    records: Vec<Record>,
    /// Subscriptions to remove after their last message.
    spent: Vec<(Sid, u32)>,
}

impl Chunk {
    /// Delivers what is recorded for plugins and gates, in the order of publishing.
    pub(super) fn deliver_inside(&mut self, count: usize, buf: &[u8], sender: &Sender) {
        if count > 1 {
            return self.deliver_merged(buf, sender);
        }
        for k in 0..self.slots_used {
            if let Some(opened) = self.open_slot(k) {
                self.hand_over(&opened.receiver, &opened.records, buf, sender);
                self.close_slot(opened, sender);
            }
        }
    }

    fn deliver_merged(&mut self, buf: &[u8], sender: &Sender) {
        let mut stretches = std::mem::take(&mut self.stretches);
        let mut all = Vec::new();
        for k in 0..self.slots_used {
            let Some(opened) = self.open_slot(k) else { continue };
            let at = all.len() as u32;
            let parts = (0u32..).zip(&opened.records);
            stretches.extend(parts.map(|(record, r)| Stretch { run: r.run, opened: at, record }));
            all.push(opened);
        }
        stretches.sort_unstable_by_key(|s| (s.run, s.opened, s.record));
        for stretch in stretches.chunk_by(|a, b| a.opened == b.opened) {
            let Opened { receiver, records, .. } = &all[stretch[0].opened as usize];
            let from = stretch[0].record as usize;
            self.hand_over(receiver, &records[from..from + stretch.len()], buf, sender);
        }
        stretches.clear();
        self.stretches = stretches;
        for opened in all {
            self.close_slot(opened, sender);
        }
    }

    fn open_slot(&mut self, k: usize) -> Option<Opened> {
        let receiver = self.slots[k].receiver.take_if(|receiver| !receiver.is_connection())?;
        let mut records = std::mem::take(&mut self.slots[k].records);
        let mut out = receiver.out.lock();
        if out.closed().is_some() {
            records.clear();
        }
        let spent = self.account_for(&mut out, &mut records);
        drop(out);
        Some(Opened { slot: k, receiver, records, spent })
    }

    fn close_slot(&mut self, opened: Opened, sender: &Sender) {
        let Opened { slot, receiver, mut records, spent } = opened;
        for (sid, index) in spent {
            subscriptions::remove_spent(&receiver, sender.account, sid, index);
        }
        records.clear();
        self.slots[slot].records = records;
    }

    fn hand_over(&mut self, receiver: &Receiver, records: &[Record], buf: &[u8], sender: &Sender) {
        match &receiver.role {
            Role::Inline(subscriber) => self.call(subscriber.as_ref(), records, buf, sender),
            Role::Gate(gate) => self.call_gate(gate, records, buf),
            // Those are none of these slots.
            Role::Connection => {}
        }
    }

    /// Calls of a plugin's inline subscriber with all these messages.
    fn call(&self, subscriber: &dyn InlineSubscriber, records: &[Record], buf: &[u8], sender: &Sender) {
        if self.trace.is_some() && subscriber.takes_traces() {
            return self.call_traced(subscriber, records, buf, sender);
        }
        let origin = sender.receiver.map_or(0, |r| r.cid);
        let mut batch: [Delivery<'_>; 64] = [Delivery::EMPTY; 64];
        let mut n = 0;
        for r in records {
            let first = self.runs[r.run as usize].0 as usize;
            for item in &self.items[first..first + r.take as usize] {
                batch[n] = self.delivery(r, item, buf, origin);
                n += 1;
                if n == batch.len() {
                    subscriber.deliver(&batch);
                    n = 0;
                }
            }
        }
        if n > 0 {
            subscriber.deliver(&batch[..n]);
        }
    }

    #[inline]
    fn delivery<'d>(&'d self, r: &Record, item: &Item, buf: &'d [u8], origin: u64) -> Delivery<'d> {
        let (headers, payload) =
            item.body.of(buf)[..item.size_bytes() as usize].split_at(item.header_len as usize);
        let (subject, reply) = (self.shown.subject(r.shown, item, buf), item.reply.of(buf));
        Delivery { index: r.index, origin, subject, reply, headers, payload }
    }

    /// The same with the messages' traces, which may end at a border.
    #[cold]
    fn call_traced(
        &self,
        subscriber: &dyn InlineSubscriber,
        records: &[Record],
        buf: &[u8],
        sender: &Sender,
    ) {
        let origin = sender.receiver.map_or(0, |r| r.cid);
        for r in records {
            let first = self.runs[r.run as usize].0 as usize;
            for item in &self.items[first..first + r.take as usize] {
                let delivery = self.delivery(r, item, buf, origin);
                match self.trace_of(item) {
                    Some(trace) => subscriber.deliver_traced(&delivery, trace),
                    None => subscriber.deliver(&[delivery]),
                }
            }
        }
    }

    fn call_gate(&mut self, gate: &Arc<dyn Gate>, records: &[Record], buf: &[u8]) {
        for r in records {
            let first = self.runs[r.run as usize].0 as usize;
            for at in first..first + r.take as usize {
                let item = self.items[at];
                self.pass(gate, &item, r.shown, buf);
            }
        }
    }
}
