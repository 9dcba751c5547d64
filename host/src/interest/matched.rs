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
}

/// Valid for one generation of one account's sublist.
pub struct Matched {
    /// Never used again, so that runs can be compared by it and not by address.
    pub serial: u64,
    pub account: u32,
    pub generation: u64,
    pub subject: Box<[u8]>,
    /// Sorted by receiver.
    pub plain: Box<[Target]>,
    /// One list of members for each queue group.
    pub queues: Box<[Box<[Target]>]>,
    /// A receiver appears twice: its messages must go out message by message to keep their order.
    pub repeated: bool,
    /// A subscription has an UNSUB max: ask again for each message.
    pub limited: bool,
    /// How often the cache answered with it.
    uses: AtomicU64,
    /// The permissions last found to allow publishing here; 0 is none.
    allowed_for: AtomicU32,
}

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
        let repeated = plain.windows(2).any(|w| w[0].receiver.id == w[1].receiver.id);
        Matched {
            serial: SERIALS.fetch_add(1, Relaxed),
            account,
            generation,
            subject: subject.into(),
            plain: plain.into(),
            queues: queues.into(),
            repeated,
            limited,
            uses: AtomicU64::new(0),
            allowed_for: AtomicU32::new(0),
        }
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
