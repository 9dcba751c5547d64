//! Delivery of a chunk: receiver by receiver, each locked once, everything formatted and written.

use super::chunk::{Chunk, Counted, Guard, Record, Sender};
use super::format::{Form, Piece, format};
use super::outbound::Outbound;
use super::receiver::{Receiver, Role};
use super::subscriptions;
use crate::interest::sid::Sid;
use crate::proto::error::ClosedReason;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The scratch buffer is given back when a burst made it larger than this.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

impl Chunk {
    /// Delivers everything recorded. Gives a receiver that the producer should wait for, if any.
    pub fn deliver<'a>(
        &mut self,
        sender: &Sender<'a>,
        buf: &[u8],
        guard: &mut Guard<'a>,
    ) -> Option<Arc<Receiver>> {
        let stall = self.deliver_recorded(sender, buf, guard);
        if self.passing.is_empty() { stall } else { self.pass_gates(sender).or(stall) }
    }

    /// The same, but what gates get stays where it is.
    pub(super) fn deliver_recorded<'a>(
        &mut self,
        sender: &Sender<'a>,
        buf: &[u8],
        guard: &mut Guard<'a>,
    ) -> Option<Arc<Receiver>> {
        self.resolve(sender, buf, guard);
        *guard = None;
        if self.slots_used == 0 {
            self.clear_names();
            return None;
        }
        let mut stall = None;
        let mut inside = 0;
        for k in 0..self.slots_used {
            let slot = &mut self.slots[k];
            if !matches!(slot.receiver.as_ref().map(|receiver| &receiver.role), Some(Role::Connection)) {
                inside += 1;
                continue;
            }
            let Some(receiver) = slot.receiver.take() else { continue };
            let mut records = std::mem::take(&mut slot.records);
            if self.deliver_to(&receiver, &mut records, buf, sender) {
                stall = Some(receiver);
            }
            records.clear();
            self.slots[k].records = records;
        }
        if inside > 0 {
            self.deliver_inside(inside, buf, sender);
        }
        self.reset();
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        stall
    }

    /// Delivers to one connection; true if the producer should wait for it.
    fn deliver_to(
        &mut self,
        receiver: &Arc<Receiver>,
        records: &mut Vec<Record>,
        buf: &[u8],
        sender: &Sender,
    ) -> bool {
        let is_self = sender.receiver.is_some_and(|r| r.id == receiver.id);
        let mut out = receiver.out.lock();
        if out.closed().is_some() {
            return false;
        }
        let spent = self.account_for(&mut out, records);
        // The sender has read the clock for its chunk; the server itself does not count as activity.
        if let Some(sender) = sender.receiver {
            receiver.last_active_ns.store(sender.last_active_ns.load(Relaxed), Relaxed);
        }
        if out.drop_when_stalled && out.is_stalled() && !is_self {
            return false;
        }
        if out.responses.is_some() {
            self.allow_responses(&mut out, records, buf);
        }
        self.write(&mut out, records, buf);
        if crate::log::trace_enabled() {
            self.trace(receiver, &out, records, buf);
        }
        let mut stall = false;
        if out.pending_bytes() > out.max_pending_bytes {
            out.fail(ClosedReason::SlowConsumerPendingBytes);
        } else if out.is_stalled() && !is_self {
            stall = !out.hopeless;
            out.stalls += u64::from(stall);
        }
        if out.needs_writer() {
            receiver.wake(&out);
        }
        drop(out);
        for (sid, index) in spent {
            subscriptions::remove_spent(receiver, sender.account, sid, index);
        }
        stall
    }

    /// Counts, and cuts what an UNSUB max does not leave. Gives the subscriptions that are spent.
    pub(super) fn account_for(&self, out: &mut Outbound, records: &mut Vec<Record>) -> Vec<(Sid, u32)> {
        let mut spent = vec![];
        let limited = out.has_limits();
        let (mut msgs, mut bytes) = (0u64, 0u64);
        for r in records.iter_mut() {
            let (first, count) = self.runs[r.run as usize];
            let (take, is_spent) = match r.counted {
                Counted::No => out.count(r.index, count),
                counted => (r.take, counted == Counted::AsLast),
            };
            r.take = take;
            if is_spent {
                spent.push((r.sid, r.index));
            }
            msgs += take as u64;
            bytes += self.items[first as usize..(first + take) as usize]
                .iter()
                .map(|i| i.size_bytes() as u64)
                .sum::<u64>();
        }
        out.msgs += msgs;
        out.bytes += bytes;
        if limited {
            records.retain(|r| r.take > 0);
        }
        spent
    }

    #[cold]
    fn allow_responses(&self, out: &mut Outbound, records: &[Record], buf: &[u8]) {
        let Some(responses) = &mut out.responses else { return };
        let now_ns = crate::runtime::now_ns();
        for r in records {
            let first = self.runs[r.run as usize].0 as usize;
            for item in self.items[first..first + r.take as usize].iter().filter(|i| i.reply.len > 0) {
                responses.delivered(item.reply.of(buf), now_ns);
            }
        }
    }

    /// Formats everything and writes it, or queues it behind what waits already.
    fn write(&mut self, out: &mut Outbound, records: &[Record], buf: &[u8]) {
        self.scratch.clear();
        let form = Form { headers: out.headers, long_sids: &out.long_sids, shown: &self.shown };
        if self.has_large && out.is_idle() && !out.has_layer() {
            self.pieces.clear();
            let pieces = Some(&mut self.pieces);
            format(&self.items, &self.runs, records, &form, buf, &mut self.scratch, pieces);
            let (pieces, scratch) = (&self.pieces, &self.scratch);
            out.send_slices(pieces.len(), |i| match pieces[i] {
                Piece::Formatted(from, to) => &scratch[from as usize..to as usize],
                Piece::Buffer(from, to) => &buf[from as usize..to as usize],
            });
        } else {
            format(&self.items, &self.runs, records, &form, buf, &mut self.scratch, None);
            out.send(&self.scratch);
        }
    }

    /// The log lines of CORE-280 for what went out.
    #[cold]
    fn trace(&self, receiver: &Receiver, out: &Outbound, records: &[Record], buf: &[u8]) {
        let label = receiver.label();
        for r in records {
            let first = self.runs[r.run as usize].0 as usize;
            for item in &self.items[first..first + r.take as usize] {
                let mut sid = Vec::new();
                r.sid.write(&mut sid, &out.long_sids);
                let with_headers = out.headers && item.header_len > 0;
                let skip = if with_headers { 0 } else { item.header_len as usize };
                let message = &item.body.of(buf)[skip..item.size_bytes() as usize];
                let header_len = item.header_len as usize - skip;
                let subject = self.shown.subject(r.shown, item, buf);
                let mut args = [subject, &sid, item.reply.of(buf)].join(&b' ');
                if item.reply.len > 0 {
                    args.push(b' ');
                }
                if with_headers {
                    args.extend_from_slice(format!("{header_len} ").as_bytes());
                }
                args.extend_from_slice(message.len().to_string().as_bytes());
                let verb = if with_headers { "HMSG" } else { "MSG" };
                super::trace::outbound(&label, verb, &args, message, header_len);
            }
        }
    }
}
