//! Delivery of a chunk: receiver by receiver, each locked once, everything formatted and written.

use super::chunk::{Chunk, Counted, Guard, Record, Sender};
use super::format::{Form, Piece, format};
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::subscriptions;
use crate::interest::sid::Sid;
use crate::proto::error::ClosedReason;
use crate::runtime::tasks;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How the place of a connection's messages lies among those that others took there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// None was taken: nobody else gets any.
    Alone,
    /// Only if it is the first. Behind others nothing can be written yet, and what waits is copied.
    First,
    Any,
}

/// The scratch buffer is given back when a burst made it larger than this.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// What is too much has its consequences, and the receiver's task writes what the socket did not take. True if the
/// producer should wait.
fn settle(receiver: &Receiver, out: &mut Outbound, is_self: bool) -> bool {
    let mut stall = false;
    // While others are to send something first, what waits behind them is not too much.
    if out.closed().is_none() && !out.is_reserved() {
        if out.pending_bytes() > out.max_pending_bytes {
            out.fail(ClosedReason::SlowConsumerPendingBytes);
        } else if out.is_stalled() && !is_self {
            stall = !out.hopeless && !out.drop_when_stalled;
            out.stalls += u64::from(stall);
        }
    }
    if out.needs_writer() {
        receiver.wake(out);
    }
    stall
}

fn is_self(receiver: &Receiver, sender: &Sender) -> bool {
    sender.receiver.is_some_and(|me| me.id == receiver.id)
}

fn remove_spent(receiver: &Arc<Receiver>, spent: Vec<(Sid, u32)>, sender: &Sender) {
    for (sid, index) in spent {
        subscriptions::remove_spent(receiver, sender.account, sid, index);
    }
}

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
        let stall = match self.slots_used {
            1 if self.is_connection(0) => self.deliver_slot(0, Rank::Alone, buf, sender),
            1 => {
                self.deliver_inside(1, buf, sender);
                None
            }
            _ => self.deliver_to_all(sender, buf),
        };
        self.reset();
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        stall
    }

    /// Nobody sees a message before all others have it before anything that follows from it: first a place is taken at
    /// every connection, then plugins get theirs, then all is written. An answer to a message, or what is stored because
    /// of it, so comes after it everywhere.
    fn deliver_to_all(&mut self, sender: &Sender, buf: &[u8]) -> Option<Arc<Receiver>> {
        let mut inside = 0;
        for k in 0..self.slots_used {
            if self.is_connection(k) {
                self.reserve(k, buf, sender);
            } else {
                inside += 1;
            }
        }
        if inside > 0 {
            self.deliver_inside(inside, buf, sender);
        }
        let mut stall = None;
        for rank in [Rank::First, Rank::First, Rank::Any] {
            let mut is_done = true;
            for k in 0..self.slots_used {
                stall = self.deliver_slot(k, rank, buf, sender).or(stall);
                is_done &= self.slots[k].receiver.is_none();
            }
            if is_done {
                break;
            }
            // Whoever is first somewhere may have been interrupted.
            tasks::let_other_threads_run();
        }
        stall
    }

    fn is_connection(&self, k: usize) -> bool {
        self.slots[k].receiver.as_ref().is_some_and(|receiver| receiver.is_connection())
    }

    /// Takes a place at a connection. A layer encodes in the order of sending: where one is, all is sent now, and waits
    /// behind the place.
    fn reserve(&mut self, k: usize, buf: &[u8], sender: &Sender) {
        let Some(receiver) = self.slots[k].receiver.take() else { return };
        let mut out = receiver.out.lock();
        let is_taken = out.reserve(self.id);
        if is_taken && !out.has_layer() {
            drop(out);
            self.slots[k].receiver = Some(receiver);
            return;
        }
        let mut records = std::mem::take(&mut self.slots[k].records);
        let spent = self.put(&receiver, &mut out, &mut records, buf, sender);
        drop(out);
        remove_spent(&receiver, spent, sender);
        records.clear();
        self.slots[k].records = records;
        self.slots[k].receiver = is_taken.then_some(receiver);
    }

    /// Delivers to one connection, if it has not got it yet and its place is of that rank. Gives it if the producer should wait
    /// for it.
    fn deliver_slot(&mut self, k: usize, rank: Rank, buf: &[u8], sender: &Sender) -> Option<Arc<Receiver>> {
        let receiver = self.slots[k].receiver.take()?;
        let mut out = receiver.out.lock();
        if rank == Rank::First && out.is_preceded(self.id) {
            drop(out);
            self.slots[k].receiver = Some(receiver);
            return None;
        }
        let mut records = std::mem::take(&mut self.slots[k].records);
        let behind = (rank != Rank::Alone).then(|| out.fill(self.id));
        let spent = self.put(&receiver, &mut out, &mut records, buf, sender);
        if let Some(behind) = behind {
            out.resume(behind);
        }
        let stall = settle(&receiver, &mut out, is_self(&receiver, sender));
        drop(out);
        remove_spent(&receiver, spent, sender);
        records.clear();
        self.slots[k].records = records;
        stall.then_some(receiver)
    }

    /// Counts and sends what there is for a receiver that takes it. Gives the subscriptions that are spent.
    #[inline]
    fn put(
        &mut self,
        receiver: &Receiver,
        out: &mut Outbound,
        records: &mut Vec<Record>,
        buf: &[u8],
        sender: &Sender,
    ) -> Vec<(Sid, u32)> {
        if records.is_empty() || out.closed().is_some() {
            return vec![];
        }
        let spent = self.account_for(out, records);
        // The sender has read the clock for its chunk; the server itself does not count as activity.
        if let Some(sender) = sender.receiver {
            receiver.last_active_ns.store(sender.last_active_ns.load(Relaxed), Relaxed);
        }
        if out.drop_when_stalled && out.is_stalled() && !is_self(receiver, sender) {
            return spent;
        }
        if out.responses.is_some() {
            self.allow_responses(out, records, buf);
        }
        self.write(out, records, buf);
        if crate::log::trace_enabled() {
            self.trace(receiver, out, records, buf);
        }
        spent
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
        if self.has_large && out.is_free() && !out.has_layer() {
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
