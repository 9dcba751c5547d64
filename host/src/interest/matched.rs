//! The answer of a sublist for one subject: who gets the message.

use super::sid::Sid;
use crate::routing::receiver::Receiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// One subscription that gets the message.
#[derive(Clone)]
pub struct Target {
    pub receiver: Arc<Receiver>,
    pub sid: Sid,
    /// The subscription's number at its receiver.
    pub index: u32,
    /// As what it sees the subject: 0 as it was published, else the number of a name in `Matched::shown`.
    pub shown: u32,
    /// It stands in another account, by the import of a stream.
    pub imported: bool,
}

impl Target {
    /// Its name among those that begin at `base`.
    #[inline]
    pub fn shown_from(&self, base: u32) -> u32 {
        if self.shown == 0 { 0 } else { base + self.shown }
    }
}

/// What of 100 draws goes by another answer: those below `upto_percent`.
pub struct Choice {
    pub upto_percent: u8,
    pub matched: Arc<Matched>,
}

/// Valid for one generation of one account's sublist.
pub struct Matched {
    /// Never used again, so that runs can be compared by it and not by address.
    pub serial: u64,
    pub account: u32,
    pub generation: u64,
    pub subject: Box<[u8]>,
    /// Other names under which receivers get it: mapped, or imported.
    pub shown: Box<[Box<[u8]>]>,
    /// The subject is mapped by chance: the draw of each message decides which of these it is.
    pub choices: Box<[Choice]>,
    /// Where a mapping sends the subject.
    pub mapped: Option<Box<[u8]>>,
    /// Sorted by receiver.
    pub plain: Box<[Target]>,
    /// One list of members for each queue group.
    pub queues: Box<[Box<[Target]>]>,
    /// A receiver appears twice: its messages must go out message by message to keep their order.
    pub repeated: bool,
    /// A subscription has an UNSUB max: ask again for each message.
    pub limited: bool,
    /// A receiver is in another account, by the import of a stream.
    pub has_imported: bool,
    /// What a message to gates is worth, as bytes.
    gate_bytes: usize,
    /// How often the cache answered with it.
    uses: AtomicU64,
    /// The permissions last found to allow publishing here; 0 is none.
    allowed_for: AtomicU32,
}

/// Gates copy messages and publish them anew. Each counts for so much work that a connection delivers, and looks whether
/// somebody waits for it, after some hundreds of them.
const GATE_BYTES: usize = 8192;

static SERIALS: AtomicU64 = AtomicU64::new(1);

impl Matched {
    pub fn new(
        account: u32,
        generation: u64,
        subject: &[u8],
        mut plain: Vec<Target>,
        queues: Vec<Box<[Target]>>,
        limited: bool,
    ) -> Self {
        plain.sort_by_key(|t| t.receiver.id);
        let has_imported = plain.iter().chain(queues.iter().flatten()).any(|target| target.imported);
        let targets = plain.iter().chain(queues.iter().flatten());
        let gate_bytes = GATE_BYTES * targets.filter(|target| target.receiver.leads_to().is_some()).count();
        let repeated = plain.windows(2).any(|w| w[0].receiver.id == w[1].receiver.id);
        Matched {
            serial: SERIALS.fetch_add(1, Relaxed),
            account,
            generation,
            subject: subject.into(),
            shown: Box::default(),
            choices: Box::default(),
            mapped: None,
            plain: plain.into(),
            queues: queues.into(),
            repeated,
            limited,
            has_imported,
            gate_bytes,
            uses: AtomicU64::new(0),
            allowed_for: AtomicU32::new(0),
        }
    }

    /// How much work a message of this size is.
    #[inline]
    pub fn work_bytes(&self, size_bytes: usize) -> usize {
        size_bytes * self.plain.len().max(1) + self.gate_bytes
    }

    /// The answer for a subject whose messages go by one of several others.
    pub fn drawn(account: u32, generation: u64, subject: &[u8], choices: Vec<Choice>) -> Self {
        let limited = choices.iter().any(|choice| choice.matched.limited);
        let none = Matched::new(account, generation, subject, vec![], vec![], limited);
        Matched { choices: choices.into(), ..none }
    }

    /// The same without receivers in other accounts.
    pub fn without_imported(&self) -> Self {
        let of_account =
            |targets: &[Target]| targets.iter().filter(|t| !t.imported).cloned().collect::<Vec<_>>();
        let queues = self.queues.iter().map(|group| of_account(group).into_boxed_slice());
        let queues = queues.filter(|group| !group.is_empty()).collect();
        let plain = of_account(&self.plain);
        let mut kept = Matched::new(self.account, 0, &self.subject, plain, queues, self.limited);
        kept.shown = self.shown.clone();
        kept.mapped = self.mapped.clone();
        kept
    }

    /// The same without those who do not get a message that is only traced.
    pub fn with_traces(&self) -> Self {
        let takes = |target: &&Target| target.receiver.takes_traces();
        let plain = self.plain.iter().filter(takes).cloned().collect();
        // Who of a group would have got it decides the draw: only a group of which all may is worth it.
        let queues = self.queues.iter().filter(|group| group.iter().all(|target| takes(&target)));
        let mut kept =
            Matched::new(self.account, 0, &self.subject, plain, queues.cloned().collect(), self.limited);
        kept.shown = self.shown.clone();
        kept.mapped = self.mapped.clone();
        kept
    }

    /// The same, but all see the subject as it is published.
    pub fn under_one_name(&self) -> Self {
        let as_published = |targets: &[Target]| {
            targets.iter().map(|target| Target { shown: 0, ..target.clone() }).collect::<Vec<_>>()
        };
        let queues = self.queues.iter().map(|group| as_published(group).into()).collect();
        Matched::new(self.account, 0, &self.subject, as_published(&self.plain), queues, self.limited)
    }

    /// The subject that messages really have.
    pub fn destination(&self) -> &[u8] {
        self.mapped.as_deref().unwrap_or(&self.subject)
    }

    #[inline]
    pub fn is_drawn(&self) -> bool {
        !self.choices.is_empty()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    /// Every message goes to the same receivers, once each: a run of them costs O(1).
    #[inline]
    pub fn is_simple(&self) -> bool {
        !self.repeated && self.queues.is_empty()
    }

    /// Counts a use. Only the thread whose cache it is in does.
    #[inline]
    pub fn note_use(&self) {
        self.uses.store(self.uses.load(Relaxed) + 1, Relaxed);
    }

    pub fn uses(&self) -> u64 {
        self.uses.load(Relaxed)
    }

    /// To how many a message goes: a queue group counts as one.
    pub fn fanout(&self) -> usize {
        self.plain.len() + self.queues.len()
    }

    #[inline]
    pub fn is_allowed_for(&self, permissions: u32) -> bool {
        self.allowed_for.load(Relaxed) == permissions
    }

    pub fn allow_for(&self, permissions: u32) {
        self.allowed_for.store(permissions, Relaxed);
    }
}
