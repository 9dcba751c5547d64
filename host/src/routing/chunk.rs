//! The messages of one read, recorded with who gets them.
//!
//! One chunk lives in each thread and is used again and again. Messages are not copied: an `Item` points
//! into the read buffer. A run is a stretch of items that go to the same receivers; extending it costs
//! nothing per receiver. Subjects that no cache knows are noted and resolved together.

use super::gate::Passing;
use super::inside::Stretch;
use super::names::{Across, Shown};
use super::publish::Copies;
use super::receiver::Receiver;
use crate::account::Account;
use crate::interest::cache::MatchCache;
use crate::interest::matched::{Matched, Target};
use crate::interest::sid::Sid;
use crate::interest::sublist::{Member, Sublist, is_matchable};
use crate::interest::trie::{Step, SubFlags};
pub use crate::proto::span::Span;
use crate::runtime::RwLockReadGuard;
use natsd_plugin_api::abi::trace::HostTrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Unknown subjects are resolved when this many have gathered: enough to overlap their cache misses.
const RESOLVE_AT: usize = 64;

/// One message in the read buffer.
#[derive(Clone, Copy)]
pub struct Item {
    pub subject: Span,
    pub reply: Span,
    pub header_len: u32,
    /// The size as its publisher wrote it.
    pub size_text: Span,
    /// Headers, payload and the CRLF behind them.
    pub body: Span,
    /// Equal for messages whose control lines are the same bytes.
    pub line: u64,
}

impl Item {
    pub fn size_bytes(&self) -> u32 {
        self.body.len - 2
    }
}

/// What one subscription gets: `take` messages of a run.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub run: u32,
    pub index: u32,
    pub sid: Sid,
    pub take: u32,
    /// Under which name of `Chunk::shown` its receiver sees them; 0: as published.
    pub shown: u32,
    pub counted: Counted,
}

/// Whether a message is counted for its subscription before it is delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    No,
    Yes,
    /// It is the last one of the UNSUB max.
    AsLast,
}

pub(super) struct Slot {
    pub receiver: Option<Arc<Receiver>>,
    pub records: Vec<Record>,
}

/// Who publishes.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    pub account: &'a Account,
    /// `None`: the server itself.
    pub receiver: Option<&'a Arc<Receiver>>,
    /// Its own subscriptions get its messages too (CORE-271).
    pub echo: bool,
    /// Wants to know of requests that nobody gets (CORE-180).
    pub no_responders: bool,
}

impl Sender<'_> {
    #[inline]
    fn id(&self) -> u32 {
        self.receiver.map_or(u32::MAX, |r| r.id)
    }

    #[inline]
    pub fn skips(&self, receiver: &Receiver) -> bool {
        !self.echo && receiver.id == self.id()
    }
}

/// The guard of the sender's sublist, taken at most once a chunk.
pub type Guard<'a> = Option<RwLockReadGuard<'a, Sublist>>;

/// A request that nobody got.
pub struct Unanswered {
    pub item: Item,
    /// Where a mapping sent it.
    pub mapped: Option<Box<[u8]>>,
}

struct Late {
    item: Item,
    /// `None`: to be resolved. `Some`: waits behind such a one, to keep the order.
    hit: Option<Arc<Matched>>,
}

struct Found {
    late: u32,
    member: u32,
    sid: Sid,
    index: u32,
    queue: u32,
}

#[derive(Default)]
pub struct Chunk {
    /// Of no other that is in use.
    pub(super) id: u64,
    pub(super) items: Vec<Item>,
    /// (first item, count)
    pub(super) runs: Vec<(u32, u32)>,
    pub(super) slots: Vec<Slot>,
    pub(super) slots_used: usize,
    /// By receiver id: (epoch, slot).
    slot_of: Vec<(u32, u32)>,
    epoch: u32,
    /// The match of the last run, if it may be extended.
    last_match: u64,
    lines: u64,
    pub(super) cache: MatchCache,
    late: Vec<Late>,
    unresolved: usize,
    found: Vec<Found>,
    steps: Vec<Step>,
    next_steps: Vec<Step>,
    random: u64,
    /// Requests that nobody got.
    pub unanswered: Vec<Unanswered>,
    /// How many receivers each message of the server itself has whose subject had to be resolved; a queue group is one.
    pub(super) resolved: Vec<u32>,
    pub(super) copies: Copies,
    /// Some payload is large enough to be written from where it is.
    pub(super) has_large: bool,
    pub(super) shown: Shown,
    /// Items that have more to say than fits an item, by their lines.
    pub(super) across: Vec<Across>,
    /// What plugins and gates get, while it is put in order.
    pub(super) stretches: Vec<Stretch>,
    /// Of the only message that is recorded, if that is traced.
    pub trace: Option<Arc<dyn HostTrace>>,
    /// What gates got.
    pub(super) passing: Vec<Arc<Passing>>,
    pub(super) scratch: Vec<u8>,
    pub(super) pieces: Vec<super::format::Piece>,
}

impl Chunk {
    /// `seed` starts the choice of queue members.
    pub fn new(seed: u64) -> Self {
        static THREADS: AtomicU64 = AtomicU64::new(1);
        let id = THREADS.fetch_add(1, Relaxed);
        // Connections move between threads and take line numbers along: each thread counts from its own base.
        Chunk { id, random: seed | 1, epoch: 1, lines: id << 40, ..Chunk::default() }
    }

    /// A number for a control line not seen before.
    pub fn next_line(&mut self) -> u64 {
        self.lines += 1;
        self.lines
    }

    pub fn is_empty(&self) -> bool {
        self.slots_used == 0 && self.late.is_empty() && self.unanswered.is_empty()
    }

    /// Extends the last run if `hit` is its match. The caller knows that nothing waits to be resolved.
    #[inline]
    pub fn extend(&mut self, item: Item, hit: &Matched) -> bool {
        if self.last_match != hit.serial || self.unresolved > 0 {
            return false;
        }
        self.items.push(item);
        if let Some(run) = self.runs.last_mut() {
            run.1 += 1;
        }
        true
    }

    /// Records a message whose receivers are known.
    pub fn record(&mut self, item: Item, hit: &Arc<Matched>, sender: &Sender) {
        if self.unresolved > 0 {
            self.late.push(Late { item, hit: Some(hit.clone()) });
        } else {
            self.record_now(item, hit, sender);
        }
    }

    /// Records a message whose subject has to be resolved.
    pub fn record_unknown<'a>(&mut self, item: Item, sender: &Sender<'a>, buf: &[u8], guard: &mut Guard<'a>) {
        self.late.push(Late { item, hit: None });
        self.unresolved += 1;
        if self.unresolved >= RESOLVE_AT {
            self.resolve(sender, buf, guard);
        }
    }

    pub fn note_large(&mut self, size_bytes: usize) {
        self.has_large |= size_bytes >= super::format::BY_REFERENCE_BYTES;
    }

    /// Finds the receivers of all unknown subjects together, and records everything in order.
    pub fn resolve<'a>(&mut self, sender: &Sender<'a>, buf: &[u8], guard: &mut Guard<'a>) {
        if self.late.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut self.late);
        let mut found = std::mem::take(&mut self.found);
        let account = sender.account;
        let sublist: &Sublist = guard.get_or_insert_with(|| account.sublist.read());
        let subject = |i: usize| late[i].item.subject.of(buf);
        self.steps.clear();
        for (i, l) in late.iter().enumerate() {
            if l.hit.is_none() && is_matchable(l.item.subject.of(buf)) {
                self.steps.push((i as u32, 0, 0));
            }
        }
        account.searches.fetch_add(self.steps.len() as u64, Relaxed);
        found.clear();
        sublist.trie.match_batch(subject, &mut self.steps, &mut self.next_steps, |late, s| {
            if sublist.may_deliver(s, subject(late as usize)) {
                let index = s.index & SubFlags::INDEX;
                found.push(Found { late, member: s.member, sid: s.sid, index, queue: s.queue });
            }
        });
        if !found.is_sorted_by_key(|f| f.late) {
            found.sort_by_key(|f| f.late);
        }
        let mut k = 0;
        for (i, Late { item, hit }) in late.drain(..).enumerate() {
            match hit {
                Some(hit) => self.record_now(item, &hit, sender),
                None => {
                    let from = k;
                    while k < found.len() && found[k].late == i as u32 {
                        k += 1;
                    }
                    let receivers = self.record_found(item, &mut found[from..k], sublist, sender, buf);
                    if sender.receiver.is_none() {
                        self.resolved.push(receivers);
                    }
                }
            }
        }
        self.unresolved = 0;
        self.late = late;
        self.found = found;
    }

    fn record_now(&mut self, item: Item, hit: &Arc<Matched>, sender: &Sender) {
        if hit.limited {
            return self.record_limited(item, hit, sender);
        }
        let simple = hit.is_simple() && sender.echo && !hit.plain.is_empty();
        if simple && self.extend_now(item, hit) {
            return;
        }
        let run = self.open_run(item);
        let base = self.show(hit);
        let mut any = false;
        for t in hit.plain.iter().filter(|t| !sender.skips(&t.receiver)) {
            any = true;
            self.slot(t.receiver.id, || t.receiver.clone()).push(run, t.index, t.sid, t.shown_from(base));
        }
        for group in &hit.queues {
            if let Some(t) = self.pick(group, sender) {
                any = true;
                self.slot(t.receiver.id, || t.receiver.clone()).push(run, t.index, t.sid, t.shown_from(base));
            }
        }
        self.last_match = if simple { hit.serial } else { 0 };
        if !any {
            self.nobody(item, hit.mapped.as_deref(), sender);
        }
    }

    /// Some subscription has an UNSUB max: each is asked now whether it takes the message, so that another member
    /// of its group gets what it does not, also when several publish at once (CORE-157, CORE-171).
    fn record_limited(&mut self, item: Item, hit: &Matched, sender: &Sender) {
        let run = self.open_run(item);
        let base = self.show(hit);
        self.last_match = 0;
        let mut any = false;
        for t in hit.plain.iter().filter(|t| !sender.skips(&t.receiver)) {
            any |= self.record_if_taken(run, t, base);
        }
        for group in &hit.queues {
            let start = self.random_below(group.len());
            any |= (0..group.len())
                .map(|i| &group[(start + i) % group.len()])
                .any(|t| may_take(&t.receiver, sender) && self.record_if_taken(run, t, base));
        }
        if !any {
            self.nobody(item, hit.mapped.as_deref(), sender);
        }
    }

    fn record_if_taken(&mut self, run: u32, t: &Target, base: u32) -> bool {
        let (take, is_spent) = t.receiver.out.lock().count(t.index, 1);
        if take > 0 {
            let counted = if is_spent { Counted::AsLast } else { Counted::Yes };
            let slot = self.slot(t.receiver.id, || t.receiver.clone());
            let shown = t.shown_from(base);
            slot.records.push(Record { run, index: t.index, sid: t.sid, take, shown, counted });
        }
        take > 0
    }

    #[inline]
    fn extend_now(&mut self, item: Item, hit: &Matched) -> bool {
        if self.last_match != hit.serial {
            return false;
        }
        self.items.push(item);
        if let Some(run) = self.runs.last_mut() {
            run.1 += 1;
        }
        true
    }

    fn record_found(
        &mut self,
        item: Item,
        found: &mut [Found],
        sublist: &Sublist,
        sender: &Sender,
        buf: &[u8],
    ) -> u32 {
        let run = self.open_run(item);
        self.last_match = 0;
        let (mut any, mut queued, mut receivers) = (false, false, 0);
        for f in found.iter() {
            if f.queue != 0 {
                queued = true;
                continue;
            }
            let Some(member) = sublist.member(f.member) else { continue };
            receivers += 1;
            if !sender.skips(&member.receiver) {
                any = true;
                self.push_found(run, f, member, item.subject.of(buf));
            }
        }
        if queued {
            found.sort_by_key(|f| f.queue);
            for group in found.chunk_by(|a, b| a.queue == b.queue).filter(|g| g[0].queue != 0) {
                receivers += 1;
                any |= self.record_group(run, group, sublist, sender, item.subject.of(buf));
            }
        }
        if !any {
            self.nobody(item, None, sender);
        }
        receivers
    }

    #[inline]
    fn push_found(&mut self, run: u32, f: &Found, member: &Member, subject: &[u8]) {
        let shown = match &member.via {
            Some(import) if !import.renaming.is_identity() => {
                self.shown.add(&import.renaming.to_local(subject))
            }
            _ => 0,
        };
        let receiver = &member.receiver;
        self.slot(receiver.id, || receiver.clone()).push(run, f.index, f.sid, shown);
    }

    fn record_group(
        &mut self,
        run: u32,
        group: &[Found],
        sublist: &Sublist,
        sender: &Sender,
        subject: &[u8],
    ) -> bool {
        let start = self.random_below(group.len());
        for i in 0..group.len() {
            let f = &group[(start + i) % group.len()];
            let Some(member) = sublist.member(f.member) else { continue };
            if may_take(&member.receiver, sender) {
                self.push_found(run, f, member, subject);
                return true;
            }
        }
        false
    }

    /// A member of a queue group: random start, then the next that can take it (CORE-157, CORE-158).
    fn pick<'t>(&mut self, group: &'t [Target], sender: &Sender) -> Option<&'t Target> {
        let start = self.random_below(group.len());
        (0..group.len()).map(|i| &group[(start + i) % group.len()]).find(|t| may_take(&t.receiver, sender))
    }

    /// The item was opened as a run of its own and has no receiver.
    fn nobody(&mut self, item: Item, mapped: Option<&[u8]>, sender: &Sender) {
        self.runs.pop();
        self.items.pop();
        self.last_match = 0;
        self.note_unanswered(item, mapped, sender);
    }

    /// A message that nobody gets: its publisher may want to know.
    pub fn note_unanswered(&mut self, item: Item, mapped: Option<&[u8]>, sender: &Sender) {
        if sender.no_responders && item.reply.len > 0 {
            self.unanswered.push(Unanswered { item, mapped: mapped.map(Box::from) });
        }
    }

    fn open_run(&mut self, item: Item) -> u32 {
        self.runs.push((self.items.len() as u32, 1));
        self.items.push(item);
        self.runs.len() as u32 - 1
    }

    pub(super) fn random_below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (((self.random >> 32) * n as u64) >> 32) as usize
    }

    #[inline]
    fn slot(&mut self, receiver: u32, handle: impl FnOnce() -> Arc<Receiver>) -> &mut Slot {
        let i = receiver as usize;
        if i >= self.slot_of.len() {
            self.slot_of.resize(i + 1, (0, 0));
        }
        if self.slot_of[i].0 != self.epoch {
            self.slot_of[i] = (self.epoch, self.slots_used as u32);
            if self.slots_used == self.slots.len() {
                self.slots.push(Slot { receiver: None, records: vec![] });
            }
            self.slots[self.slots_used].receiver = Some(handle());
            self.slots_used += 1;
        }
        &mut self.slots[self.slot_of[i].1 as usize]
    }

    /// Everything recorded is delivered.
    pub(super) fn reset(&mut self) {
        self.slots_used = 0;
        self.runs.clear();
        self.items.clear();
        self.last_match = 0;
        self.has_large = false;
        self.clear_names();
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.slot_of.fill((0, 0));
            self.epoch = 1;
        }
    }
}

impl Slot {
    #[inline]
    fn push(&mut self, run: u32, index: u32, sid: Sid, shown: u32) {
        self.records.push(Record { run, index, sid, take: 0, shown, counted: Counted::No });
    }
}

#[inline]
fn may_take(receiver: &Receiver, sender: &Sender) -> bool {
    !sender.skips(receiver) && !receiver.closed.load(Relaxed)
}
