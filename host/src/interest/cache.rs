//! The match cache of a thread: answers of sublists, valid for a generation.

use super::hash::hash_bytes;
use super::matched::Matched;
use crate::runtime::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Entries, a power of two. More than this many subjects in turn are better resolved in batches.
const ENTRIES: usize = 4096;

/// Direct-mapped by account and subject. A subject gets an entry at its second miss only: what is seen
/// once is not worth an allocation.
pub struct MatchCache {
    entries: Vec<Option<Arc<Matched>>>,
    seen: Vec<u32>,
    shown: Arc<Mutex<Shown>>,
}

impl Default for MatchCache {
    fn default() -> Self {
        MatchCache { entries: Vec::new(), seen: Vec::new(), shown: Shown::new() }
    }
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
            m.note_use();
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
        self.shown.lock().put(slot, matched.clone());
        self.entries[slot] = Some(matched);
    }
}

/// A cache as monitoring sees it: written with each new entry, so that a lookup needs no lock.
#[derive(Default)]
struct Shown {
    entries: HashMap<usize, Arc<Matched>>,
    /// Uses of entries that are gone, by account.
    past_uses: HashMap<u32, u64>,
}

static SHOWN: Mutex<Vec<Weak<Mutex<Shown>>>> = Mutex::new(Vec::new());

impl Shown {
    /// Registered for as long as its cache is there.
    fn new() -> Arc<Mutex<Shown>> {
        let shown = Arc::<Mutex<Shown>>::default();
        let mut all = SHOWN.lock();
        all.retain(|shown| shown.strong_count() > 0);
        all.push(Arc::downgrade(&shown));
        shown
    }

    fn put(&mut self, slot: usize, matched: Arc<Matched>) {
        if let Some(old) = self.entries.insert(slot, matched) {
            *self.past_uses.entry(old.account).or_default() += old.uses();
        }
    }
}

/// What the caches of all threads hold for an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Valid entries; a subject counts for each thread.
    pub entries: u64,
    /// Answers from a cache, ever.
    pub hits: u64,
    pub fanout_max: u64,
    pub fanout_sum: u64,
}

pub fn stats(account: u32, generation: u64) -> CacheStats {
    let mut stats = CacheStats::default();
    for shown in SHOWN.lock().iter().filter_map(Weak::upgrade) {
        let shown = shown.lock();
        stats.hits += shown.past_uses.get(&account).copied().unwrap_or(0);
        for entry in shown.entries.values().filter(|entry| entry.account == account) {
            stats.hits += entry.uses();
            if entry.generation == generation {
                stats.entries += 1;
                stats.fanout_max = stats.fanout_max.max(entry.fanout() as u64);
                stats.fanout_sum += entry.fanout() as u64;
            }
        }
    }
    stats
}
