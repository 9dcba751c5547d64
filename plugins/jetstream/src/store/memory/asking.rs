//! Asking: what matches a filter, how much of it there is.
//!
//! Where matches are frequent the messages themselves are looked at; else the index says which subjects match, and
//! each message knows its neighbours of the same subject.

use super::{IdSet, MemoryStore, Place};
use crate::filter::Filter;
use crate::store::StoreError;
use crate::store::subjects::Id;
use std::ops::ControlFlow;

/// Messages that are looked at before the index is asked.
const LOOKED_AT: usize = if cfg!(test) { 4 } else { 256 };
/// Subjects that are followed one by one; with more all messages are gone through.
const FOLLOWED_MAX: usize = if cfg!(test) { 2 } else { 16 };
/// Messages that are looked at for each step along a subject, which costs more.
const STRIDE: usize = if cfg!(test) { 2 } else { 16 };

/// What is known at once of the matching subjects, relative to a sequence.
#[derive(Default)]
struct Split {
    /// The first or last message of those that lie wholly on the side that is asked for.
    best: Option<u64>,
    /// Subjects with messages on both sides.
    both: Vec<Id>,
}

impl MemoryStore {
    pub(super) fn next_match(&mut self, filter: &Filter, from: u64) -> Option<Place> {
        let from = from.max(self.state.first_seq);
        if self.state.messages == 0 || from > self.state.last_seq {
            return None;
        }
        if self.subjects.are_all_in(filter) {
            return self.forward(from).next().map(|(place, ..)| place);
        }
        if let Some(subject) = filter.literal() {
            let id = self.subjects.find(subject)?;
            return self.next_of(id, from).and_then(|seq| self.find(seq));
        }
        let (mut looked_at, mut rest) = (0, from);
        for (place, seq, head) in self.forward(from).take(LOOKED_AT) {
            if filter.matches(self.subjects.name(head.subject)) {
                return Some(place);
            }
            (looked_at, rest) = (looked_at + 1, seq + 1);
        }
        if looked_at < LOOKED_AT {
            return None;
        }
        let Split { best, both } = self.split_after(filter, rest);
        let found = if both.len() <= FOLLOWED_MAX {
            both.iter().filter_map(|&id| self.next_of(id, rest)).chain(best).min()
        } else {
            let meant = IdSet::new(&both, self.subjects.ids_max());
            let near = self.forward(rest).take_while(|(_, seq, _)| best.is_none_or(|best| *seq < best));
            let near = { near }.find(|(_, _, head)| meant.has(head.subject)).map(|(_, seq, _)| seq);
            near.or(best)
        };
        found.and_then(|seq| self.find(seq))
    }

    pub(super) fn last_match(&mut self, filter: &Filter, up_to: u64) -> Option<Place> {
        let up_to = up_to.min(self.state.last_seq);
        if self.subjects.are_all_in(filter) {
            return self.backward(up_to).next().map(|(place, ..)| place);
        }
        if let Some(subject) = filter.literal() {
            let id = self.subjects.find(subject)?;
            return self.last_of(id, up_to).and_then(|seq| self.find(seq));
        }
        let (mut looked_at, mut rest) = (0, up_to);
        for (place, seq, head) in self.backward(up_to).take(LOOKED_AT) {
            if filter.matches(self.subjects.name(head.subject)) {
                return Some(place);
            }
            (looked_at, rest) = (looked_at + 1, seq - 1);
        }
        if looked_at < LOOKED_AT {
            return None;
        }
        let Split { best, both } = self.split_before(filter, rest);
        let found = if both.len() <= FOLLOWED_MAX {
            both.iter().filter_map(|&id| self.last_of(id, rest)).chain(best).max()
        } else {
            let meant = IdSet::new(&both, self.subjects.ids_max());
            let near = self.backward(rest).take_while(|(_, seq, _)| best.is_none_or(|best| *seq > best));
            let near = { near }.find(|(_, _, head)| meant.has(head.subject)).map(|(_, seq, _)| seq);
            near.or(best)
        };
        found.and_then(|seq| self.find(seq))
    }

    pub(super) fn last_seqs(
        &mut self,
        filter: &Filter,
        up_to: u64,
        max: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let (mut seqs, mut both) = (Vec::new(), Vec::new());
        self.subjects.each_match(filter, |id, _, facts| {
            if facts.last_seq <= up_to {
                seqs.push(facts.last_seq);
            } else if facts.first_seq <= up_to {
                both.push(id);
            }
            if seqs.len() + both.len() > max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if seqs.len() + both.len() > max {
            return Err(StoreError::TooMany { max });
        }
        if both.len() <= FOLLOWED_MAX {
            seqs.extend(both.iter().filter_map(|&id| self.last_of(id, up_to)));
        } else {
            let (mut wanted, mut left) = (IdSet::new(&both, self.subjects.ids_max()), both.len());
            for (_, seq, head) in self.backward(up_to) {
                if wanted.take(head.subject) {
                    seqs.push(seq);
                    left -= 1;
                }
                if left == 0 {
                    break;
                }
            }
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    pub(super) fn count_matches(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> u64 {
        if self.subjects.are_all_in(filter) && !last_per_subject {
            return self.count_all(from);
        }
        let (mut count, mut both, mut of_both) = (0, Vec::new(), 0);
        self.subjects.each_match(filter, |id, _, facts| {
            if facts.last_seq < from {
            } else if last_per_subject {
                count += 1;
            } else if facts.first_seq >= from {
                count += facts.messages;
            } else if facts.messages == 2 {
                // The first is below, the last is not.
                count += 1;
            } else {
                both.push(id);
                of_both += facts.messages;
            }
            ControlFlow::Continue(())
        });
        if both.len() <= FOLLOWED_MAX {
            return count + both.iter().map(|&id| self.count_of(id, from)).sum::<u64>();
        }
        let meant = IdSet::new(&both, self.subjects.ids_max());
        let below = from.saturating_sub(self.state.first_seq);
        if below < self.state.last_seq.saturating_sub(from) {
            let before = self.backward(from.saturating_sub(1));
            count + of_both - before.filter(|(_, _, head)| meant.has(head.subject)).count() as u64
        } else {
            count + self.forward(from).filter(|(_, _, head)| meant.has(head.subject)).count() as u64
        }
    }

    /// The sequences of all matches below one, ascending.
    pub(super) fn seqs_below(&mut self, filter: &Filter, below: u64) -> Vec<u64> {
        let mut seqs = Vec::new();
        if self.subjects.are_all_in(filter) {
            let all = self.forward(0).map(|(_, seq, _)| seq);
            return all.take_while(|seq| *seq < below).collect();
        }
        let mut firsts = Vec::new();
        self.subjects.each_match(filter, |_, _, facts| {
            firsts.push(facts.first_seq);
            ControlFlow::Continue(())
        });
        for first in firsts {
            let mut seq = first;
            while let Some(place) = self.find(seq).filter(|_| seq < below) {
                seqs.push(seq);
                seq = self.after(seq, self.head(place));
            }
        }
        seqs.sort_unstable();
        seqs
    }

    fn count_all(&self, from: u64) -> u64 {
        if from <= self.state.first_seq {
            return self.state.messages;
        }
        let Some(at) = self.block_of(from) else { return self.state.messages };
        let block = &self.blocks[at];
        let here =
            block.heads()[block.at_or_after(from)..].iter().filter(|head| head.is_live()).count() as u64;
        here + self.blocks.range(at + 1..).map(|block| block.live()).sum::<u64>()
    }

    fn split_after(&mut self, filter: &Filter, from: u64) -> Split {
        let mut split = Split::default();
        self.subjects.each_match(filter, |id, _, facts| {
            if facts.first_seq >= from {
                split.best = Some(split.best.map_or(facts.first_seq, |best| best.min(facts.first_seq)));
            } else if facts.last_seq >= from {
                split.both.push(id);
            }
            ControlFlow::Continue(())
        });
        split
    }

    fn split_before(&mut self, filter: &Filter, up_to: u64) -> Split {
        let mut split = Split::default();
        self.subjects.each_match(filter, |id, _, facts| {
            if facts.last_seq <= up_to {
                split.best = split.best.max(Some(facts.last_seq));
            } else if facts.first_seq <= up_to {
                split.both.push(id);
            }
            ControlFlow::Continue(())
        });
        split
    }

    /// The first message of a subject at `from` or after it: found in the row of all messages, or in that of the
    /// subject from either end, whichever is nearer.
    fn next_of(&self, id: Id, from: u64) -> Option<u64> {
        let facts = self.subjects.facts(id);
        if facts.last_seq < from || facts.first_seq >= from {
            return (facts.last_seq >= from).then_some(facts.first_seq);
        }
        // Who asks has often just had the one before.
        if let Some(place) = self.find(from - 1)
            && self.head(place).subject == id
        {
            return Some(self.after(from - 1, self.head(place)));
        }
        let mut ahead = self.forward(from);
        let (mut low, mut high) = (facts.first_seq, facts.last_seq);
        loop {
            if let Some((_, seq, _)) = ahead.by_ref().take(STRIDE).find(|(_, _, head)| head.subject == id) {
                return Some(seq);
            }
            low = self.after(low, self.head(self.find(low)?));
            if low >= from {
                return Some(low);
            }
            let before = self.before(high, self.head(self.find(high)?));
            if before < from {
                return Some(high);
            }
            high = before;
        }
    }

    /// The last message of a subject at `up_to` or before it.
    fn last_of(&self, id: Id, up_to: u64) -> Option<u64> {
        let facts = self.subjects.facts(id);
        if facts.first_seq > up_to || facts.last_seq <= up_to {
            return (facts.first_seq <= up_to).then_some(facts.last_seq);
        }
        let mut behind = self.backward(up_to);
        let (mut low, mut high) = (facts.first_seq, facts.last_seq);
        loop {
            if let Some((_, seq, _)) = behind.by_ref().take(STRIDE).find(|(_, _, head)| head.subject == id) {
                return Some(seq);
            }
            high = self.before(high, self.head(self.find(high)?));
            if high <= up_to {
                return Some(high);
            }
            let after = self.after(low, self.head(self.find(low)?));
            if after > up_to {
                return Some(low);
            }
            low = after;
        }
    }

    /// Messages of a subject at `from` and after it, counted from the nearer end.
    fn count_of(&self, id: Id, from: u64) -> u64 {
        let facts = self.subjects.facts(id);
        let (mut low, mut high) = (facts.first_seq, facts.last_seq);
        let (mut below, mut above) = (0, 0);
        loop {
            if low >= from {
                return facts.messages - below;
            }
            if high < from {
                return above;
            }
            let (Some(low_place), Some(high_place)) = (self.find(low), self.find(high)) else { return above };
            (below, above) = (below + 1, above + 1);
            low = self.after(low, self.head(low_place));
            high = self.before(high, self.head(high_place));
        }
    }
}
