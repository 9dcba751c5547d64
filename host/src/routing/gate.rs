//! Gates: subscribers that take messages into another account (ACC-007, ACC-008).
//!
//! Messages for gates are copied while a chunk is delivered and published in their account right after it, before
//! their publisher's next operation. All of one sender for one account go out together.

use super::chunk::{Chunk, Guard, Item, Sender, Span};
use super::format::put_number;
use super::names::Across;
use super::receiver::Receiver;
use crate::account::Account;
use crate::interest::Matched;
use natsd_plugin_api::abi::trace::HostTrace;
use std::sync::Arc;

/// The way from one account into another.
pub trait Gate: Send + Sync {
    /// Where it takes messages from.
    fn account(&self) -> &Arc<Account>;

    /// Which message it becomes on the other side; `None`: none.
    fn open(&self, passing: &Passing, random: u64, sender: &Sender) -> Option<Outgoing>;

    /// How many got it.
    fn passed(&self, passing: &Passing, outgoing: &Outgoing, receivers: u32, sender: &Sender);

    /// What it leads to, if all gates with the same number are one.
    fn service(&self) -> Option<u64>;

    /// Where a message to `subject` would go, for its trace.
    fn border(&self, subject: &[u8]) -> Option<Border>;

    fn as_any(&self) -> &dyn std::any::Any;
}

/// What is on a gate's other side.
pub struct Border {
    pub account: Arc<Account>,
    pub subject: Vec<u8>,
    /// Whoever follows a message may see what becomes of it there.
    pub allow_trace: bool,
}

/// A message on its way.
pub struct Passing {
    pub gate: Arc<dyn Gate>,
    /// The gate it came through before.
    pub before: Option<Arc<Passing>>,
    /// Its trace, if that may be seen on the other side.
    pub trace: Option<Arc<dyn HostTrace>>,
    bytes: Vec<u8>,
    subject_len: u32,
    deliver_as_len: u32,
    reply_len: u32,
    header_len: u32,
}

/// A message for the other side; its payload is that of the one that passes.
pub struct Outgoing {
    pub account: Arc<Account>,
    pub subject: Vec<u8>,
    /// What receivers see as the subject; empty: the same.
    pub deliver_as: Vec<u8>,
    pub reply: Vec<u8>,
    pub headers: Vec<u8>,
}

impl Passing {
    fn part(&self, from: u32, len: u32) -> &[u8] {
        &self.bytes[from as usize..(from + len) as usize]
    }

    /// Whose interest made it pass.
    pub fn subject(&self) -> &[u8] {
        self.part(0, self.subject_len)
    }

    /// What receivers see as the subject; empty: the same.
    pub fn deliver_as(&self) -> &[u8] {
        self.part(self.subject_len, self.deliver_as_len)
    }

    pub fn reply(&self) -> &[u8] {
        self.part(self.subject_len + self.deliver_as_len, self.reply_len)
    }

    fn message_at(&self) -> u32 {
        self.subject_len + self.deliver_as_len + self.reply_len
    }

    pub fn headers(&self) -> &[u8] {
        self.part(self.message_at(), self.header_len)
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[(self.message_at() + self.header_len) as usize..]
    }

    /// It is not there: all that is wanted is what would become of it.
    pub fn is_trace_only(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.is_only())
    }

    /// Itself, and the way it came.
    pub fn way(&self) -> impl Iterator<Item = &Passing> {
        std::iter::successors(Some(self), |passing| passing.before.as_deref())
    }
}

impl Chunk {
    /// Copies an item that a gate gets.
    pub(super) fn pass(&mut self, gate: &Arc<dyn Gate>, item: &Item, shown: u32, buf: &[u8]) {
        let across = self.across_of(item.line);
        let seen = self.shown.subject(shown, item, buf);
        let (subject, deliver_as) = match across {
            Some(across) if across.subject.len > 0 => (across.subject.of(buf), seen),
            _ => (seen, &b""[..]),
        };
        let trace = match self.trace_of(item) {
            None => None,
            Some(trace) => {
                let is_seen = gate.border(subject).is_some_and(|border| border.allow_trace);
                // What is only traced ends where that may not be seen.
                if trace.is_only() && !is_seen {
                    return;
                }
                is_seen.then(|| trace.clone())
            }
        };
        let reply = item.reply.of(buf);
        let message = &item.body.of(buf)[..item.size_bytes() as usize];
        let passing = Passing {
            gate: gate.clone(),
            before: across.and_then(|across| across.passing.clone()),
            trace,
            bytes: [subject, deliver_as, reply, message].concat(),
            subject_len: subject.len() as u32,
            deliver_as_len: deliver_as.len() as u32,
            reply_len: reply.len() as u32,
            header_len: item.header_len,
        };
        self.passing.push(Arc::new(passing));
    }

    /// The trace of an item, if it may be seen where that is now.
    pub(super) fn trace_of(&self, item: &Item) -> Option<&Arc<dyn HostTrace>> {
        let trace = self.trace.as_ref()?;
        match self.across_of(item.line).and_then(|across| across.passing.as_ref()) {
            Some(passing) => passing.trace.as_ref(),
            None => Some(trace),
        }
    }

    /// Publishes what came to gates on their other sides, and what comes to gates there.
    #[cold]
    pub(super) fn pass_gates(&mut self, sender: &Sender) -> Option<Arc<Receiver>> {
        let mut stall = None;
        while !self.passing.is_empty() {
            let mut batch = std::mem::take(&mut self.passing).into_iter().peekable();
            let mut next = None;
            while next.is_some() || batch.peek().is_some() {
                stall = self.pass_group(sender, &mut batch, &mut next).or(stall);
            }
        }
        stall
    }

    /// Publishes as many in a row as go to the same account.
    fn pass_group(
        &mut self,
        sender: &Sender,
        batch: &mut impl Iterator<Item = Arc<Passing>>,
        next: &mut Option<(Arc<Passing>, Outgoing)>,
    ) -> Option<Arc<Receiver>> {
        let mut opened = || {
            next.take().or_else(|| {
                batch.find_map(|passing| {
                    let random = crate::runtime::random::quick_u64();
                    let outgoing = passing.gate.open(&passing, random, sender)?;
                    Some((passing, outgoing))
                })
            })
        };
        let first = opened()?;
        let account = first.1.account.clone();
        let there =
            Sender { account: &account, receiver: sender.receiver, echo: sender.echo, no_responders: false };
        let (mut buf, mut guard) = (Vec::new(), None);
        let mut group = vec![first];
        while let Some(other) = opened() {
            if !Arc::ptr_eq(&other.1.account, &account) {
                *next = Some(other);
                break;
            }
            group.push(other);
        }
        let mut receivers = Vec::with_capacity(group.len());
        for (passing, outgoing) in &group {
            receivers.push(self.record_across(&there, passing, outgoing, &mut buf, &mut guard));
        }
        let stall = self.deliver_recorded(&there, &buf, &mut guard);
        for ((passing, outgoing), receivers) in group.iter().zip(receivers) {
            passing.gate.passed(passing, outgoing, receivers, sender);
        }
        stall
    }

    fn record_across<'a>(
        &mut self,
        there: &Sender<'a>,
        passing: &Arc<Passing>,
        outgoing: &Outgoing,
        buf: &mut Vec<u8>,
        guard: &mut Guard<'a>,
    ) -> u32 {
        let account = there.account;
        let found =
            self.lookup(account, account.generation(), &outgoing.subject, guard).unwrap_or_else(|| {
                let sublist = guard.get_or_insert_with(|| account.sublist.read());
                Arc::new(sublist.matched(account.id, account.generation(), &outgoing.subject))
            });
        let mut hit = if found.is_drawn() { self.draw(&found) } else { Some(found) };
        // What came by a service is not exported as a stream (ACC-006).
        if let Some(some) = &mut hit
            && some.has_imported
        {
            *some = Arc::new(some.without_imported());
        }
        let Some(hit) = hit else { return 0 };
        let receivers = receivers_of(&hit, there);
        if receivers == 0 {
            return 0;
        }
        let hit = if passing.is_trace_only() { Arc::new(hit.with_traces()) } else { hit };
        if hit.is_empty() {
            return receivers;
        }
        let mut part = |bytes: &[u8]| {
            let at = buf.len() as u32;
            buf.extend_from_slice(bytes);
            Span { at, len: bytes.len() as u32 }
        };
        let is_renamed = !outgoing.deliver_as.is_empty();
        let subject = part(if is_renamed { &outgoing.deliver_as } else { &outgoing.subject });
        let interest = if is_renamed { part(hit.destination()) } else { Span { at: 0, len: 0 } };
        let reply = part(&outgoing.reply);
        let mut digits = Vec::with_capacity(8);
        put_number(&mut digits, (outgoing.headers.len() + passing.payload().len()) as u64);
        let size_text = part(&digits);
        let at = part(&outgoing.headers).at;
        part(passing.payload());
        let end = part(b"\r\n");
        let body = Span { at, len: end.at + end.len - at };
        let line = self.next_line();
        let item = Item { subject, reply, header_len: outgoing.headers.len() as u32, size_text, body, line };
        self.across.push(Across { line, subject: interest, passing: Some(passing.clone()) });
        self.note_large(passing.payload().len());
        match is_renamed && !hit.shown.is_empty() {
            true => self.record(item, &Arc::new(hit.under_one_name()), there),
            false => self.record(item, &hit, there),
        }
        receivers
    }
}

fn receivers_of(hit: &Matched, sender: &Sender) -> u32 {
    let plain = hit.plain.iter().filter(|target| !sender.skips(&target.receiver)).count();
    (plain + hit.queues.len()) as u32
}
