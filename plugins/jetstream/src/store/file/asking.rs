//! Asking: what matches a filter, how much of it there is, what was stored when.

use super::stream::FileStore;
use crate::filter::Filter;
use crate::store::{Flags, Message, StoreError};
use std::ops::ControlFlow;

/// Sequences that are looked at before the index of subjects is asked.
const LOOKED_AT: u64 = 256;

impl FileStore {
    pub(super) fn next_match(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        let mut from = from.max(self.state.first_seq);
        if from > self.state.last_seq {
            return Ok(None);
        }
        if self.subjects.are_all_in(filter) {
            return self.scan_next(&|_| true, Flags::default(), from);
        }
        let meant = |subject: &[u8]| filter.matches(subject);
        if let Some(subject) = filter.literal() {
            let facts = self.subjects.facts_of(subject);
            if facts.messages == 0 || facts.last_seq < from {
                return Ok(None);
            }
            from = from.max(facts.first_seq);
            if facts.messages == 1 || from == facts.last_seq {
                from = facts.last_seq;
            }
            return self.scan_next(&meant, Flags::default(), from);
        }
        // Where matches are frequent the next one is near, and nothing else needs to be asked.
        let near = self.scan_until(&meant, Flags::default(), from, from + LOOKED_AT)?;
        if near.is_some() || from + LOOKED_AT > self.state.last_seq {
            return Ok(near);
        }
        from += LOOKED_AT;
        let (mut best, mut both) = (None::<u64>, false);
        self.subjects.each_match(filter, |_, _, facts| {
            if facts.first_seq >= from {
                best = Some(best.map_or(facts.first_seq, |best| best.min(facts.first_seq)));
            } else {
                both |= facts.last_seq >= from;
            }
            ControlFlow::Continue(())
        });
        match best {
            Some(best) if !both => self.scan_next(&meant, Flags::default(), best),
            None if !both => Ok(None),
            _ => self.scan_next(&meant, Flags::default(), from),
        }
    }

    pub(super) fn last_match(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        let mut up_to = up_to.min(self.state.last_seq);
        if let Some(subject) = filter.literal() {
            let facts = self.subjects.facts_of(subject);
            if facts.messages == 0 || facts.first_seq > up_to {
                return Ok(None);
            }
            up_to = up_to.min(facts.last_seq);
        } else if !filter.is_all() && up_to == self.state.last_seq {
            let mut last = None;
            self.subjects.each_match(filter, |_, _, facts| {
                last = last.max(Some(facts.last_seq));
                ControlFlow::Continue(())
            });
            let Some(last) = last else { return Ok(None) };
            up_to = last;
        }
        self.scan_last(&|subject| filter.matches(subject), up_to)
    }

    pub(super) fn last_seqs(
        &mut self,
        filter: &Filter,
        up_to: u64,
        max: usize,
    ) -> Result<Vec<u64>, StoreError> {
        if up_to < self.state.last_seq {
            self.know_firsts(filter)?;
        }
        let (mut seqs, mut earlier) = (Vec::new(), Vec::new());
        self.subjects.each_match(filter, |_, subject, facts| {
            if facts.last_seq <= up_to {
                seqs.push(facts.last_seq);
            } else if facts.first_seq <= up_to {
                earlier.push(subject.to_vec());
            }
            if seqs.len() + earlier.len() > max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if seqs.len() + earlier.len() > max {
            return Err(StoreError::TooMany { max });
        }
        for subject in earlier {
            if let Some(message) = self.scan_last(&|s| *s == *subject, up_to)? {
                seqs.push(message.seq);
            }
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    pub(super) fn count_matches(
        &mut self,
        filter: &Filter,
        from: u64,
        last_per_subject: bool,
    ) -> Result<u64, StoreError> {
        if self.subjects.are_all_in(filter) && !last_per_subject {
            if from <= self.state.first_seq {
                return Ok(self.state.messages);
            }
            let mut count = 0;
            for at in self.blocks.partition_point(|block| block.last_seq < from)..self.blocks.len() {
                let block = &self.blocks[at];
                if block.first_seq >= from {
                    count += block.live;
                    continue;
                }
                self.load_offsets(at)?;
                let block = &self.blocks[at];
                count += (from..=block.last_seq).filter(|&seq| block.offset(seq).is_some()).count() as u64;
            }
            return Ok(count);
        }
        // From the first on is all, also of subjects whose own first is not known.
        let from = if from <= self.state.first_seq { 0 } else { from };
        if from > 0 && !last_per_subject {
            self.know_firsts(filter)?;
        }
        let mut count = 0;
        let mut scan = Vec::new();
        self.subjects.each_match(filter, |_, subject, facts| {
            if facts.last_seq < from {
            } else if last_per_subject {
                count += 1;
            } else if facts.first_seq >= from {
                count += facts.messages;
            } else if facts.messages == 2 {
                // The first is below, the last is not.
                count += 1;
            } else {
                scan.push(Box::<[u8]>::from(subject));
            }
            ControlFlow::Continue(())
        });
        if scan.is_empty() {
            return Ok(count);
        }
        let partly: hashbrown::HashSet<Box<[u8]>> = scan.into_iter().collect();
        let mut from = from;
        while let Some(message) =
            self.scan_next(&|subject| partly.contains(subject), Flags::default(), from)?
        {
            count += 1;
            from = message.seq + 1;
        }
        Ok(count)
    }

    pub(super) fn first_since(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        let at = self.blocks.partition_point(|block| block.last_time_ns < time_ns);
        let Some(block) = self.blocks.get(at) else { return Ok(self.state.last_seq + 1) };
        let (mut low, mut high) = (block.first_seq, block.last_seq + 1);
        if block.first_time_ns >= time_ns {
            high = low;
        }
        // Times never go back, so the first that is late enough is found by halving.
        while low < high {
            let middle = low + (high - low) / 2;
            let found = (middle..high).find_map(|seq| self.read(at, seq).ok().flatten());
            match found {
                Some(message) if message.time_ns < time_ns => low = message.seq + 1,
                Some(_) | None => high = middle,
            }
        }
        let found = self.scan_next(&|_| true, Flags::default(), low)?;
        Ok(found.map_or(self.state.last_seq + 1, |message| message.seq))
    }

    pub(super) fn gaps(&mut self) -> Vec<u64> {
        let mut deleted = Vec::new();
        let mut expected = self.state.first_seq;
        for at in 0..self.blocks.len() {
            if self.load_offsets(at).is_err() {
                continue;
            }
            let block = &self.blocks[at];
            for seq in block.first_seq.max(expected)..=block.last_seq {
                if block.offset(seq).is_some() {
                    deleted.extend(expected..seq);
                    expected = seq + 1;
                }
            }
        }
        if self.state.messages > 0 {
            deleted.extend(expected..=self.state.last_seq);
        }
        deleted
    }
}
