//! The match cache of a thread: answers of sublists, valid for a generation.

use super::hash::hash_bytes;
use super::matched::Matched;
use std::sync::Arc;

/// Entries, a power of two. More than this many subjects in turn are better resolved in batches.
const ENTRIES: usize = 4096;

/// Direct-mapped by account and subject. A subject gets an entry at its second miss only: what is seen
/// once is not worth an allocation.
#[derive(Default)]
pub struct MatchCache {
    entries: Vec<Option<Arc<Matched>>>,
    seen: Vec<u32>,
}

/// What the cache knows of a subject.
pub enum Lookup {
    Hit(Arc<Matched>),
    /// Seen before: worth an entry, at this slot.
    Admit(usize),
    /// New: resolve it without an entry.
    Pass,
}

impl MatchCache {
    pub fn lookup(&mut self, account: u32, generation: u64, subject: &[u8]) -> Lookup {
        if self.entries.is_empty() {
            self.entries.resize(ENTRIES, None);
            self.seen.resize(ENTRIES, 0);
        }
        let hash = hash_bytes(subject) ^ (account as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = (hash >> 20) as usize & (ENTRIES - 1);
        if let Some(m) = &self.entries[slot]
            && m.generation == generation
            && m.account == account
            && *m.subject == *subject
        {
            return Lookup::Hit(m.clone());
        }
        let tag = hash as u32 | 1;
        if self.seen[slot] == tag {
            return Lookup::Admit(slot);
        }
        self.seen[slot] = tag;
        Lookup::Pass
    }

    pub fn put(&mut self, slot: usize, matched: Arc<Matched>) {
        self.entries[slot] = Some(matched);
    }
}
