//! Subjects that are about to be asked for. A look-up among many waits for memory three times, each time for a place
//! that the last one named; for several subjects at once the waits go on beside each other.

use super::{Id, NONE, Subjects, name_in};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// Fewer subjects than these are in the processor's caches.
const SUBJECTS_MIN: usize = if cfg!(test) { 4 } else { 4096 };
/// So many that are expected may not come after all before the next one that does.
const MISSING_MAX: usize = 4;

/// Found and not asked for yet, in their order. What is said of each is checked when it comes.
#[derive(Default)]
pub(super) struct Ahead {
    ids: VecDeque<Id>,
    hashes: Vec<u64>,
}

impl Subjects {
    /// These are about to be asked for or added to, in this order. Others may come between, and some of them not.
    pub fn expect(&mut self, names: &mut dyn Iterator<Item = &[u8]>) {
        let Ahead { ids, hashes } = &mut self.ahead;
        ids.clear();
        if self.by_name.len() < SUBJECTS_MIN {
            return;
        }
        hashes.clear();
        hashes.extend(names.map(|name| self.hasher.hash_one(name)));
        for &hash in &*hashes {
            let mut found = NONE;
            self.by_name.find(hash, |&id| {
                found = if found == NONE { id } else { found };
                false
            });
            if found != NONE {
                ids.push_back(found);
            }
        }
        let touched = ids.iter().fold(0, |sum: u64, &id| sum ^ self.leaves[id as usize].messages);
        std::hint::black_box(touched);
        let touched = ids.iter().fold(0, |sum, &id| match name_in(&self.leaves, &self.names, id) {
            [first, .., last] => sum ^ first ^ last,
            _ => sum,
        });
        std::hint::black_box(touched);
    }

    /// The subject if it was expected.
    pub(super) fn find_expected(&mut self, name: &[u8]) -> Option<Id> {
        let ids = &self.ahead.ids;
        // One that has gone meanwhile has no name.
        let is_it = |&id: &Id| self.leaves[id as usize].messages > 0 && self.name(id) == name;
        let at = ids.iter().take(MISSING_MAX).position(is_it)?;
        self.ahead.ids.drain(..=at).next_back()
    }
}
