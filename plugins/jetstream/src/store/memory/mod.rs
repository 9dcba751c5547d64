//! Streams in memory: nothing survives the process (SD-070).
//!
//! Messages lie in blocks (`block`), subjects in an index; each message knows the next and the one before of its
//! subject. `asking` finds what matches a filter.

mod asking;
mod block;
#[cfg(test)]
mod tests;

use crate::filter::Filter;
use crate::store::subjects::{Id, Left, Subjects};
use crate::store::{
    Appended, Commit, Flags, Loaded, Message, NewMessage, Purge, Removed, StoreEngine, StoreError,
    StoreSettings, StoreState, StoredConsumer, StoredStream, StreamStore, SubjectFacts,
};
use block::{Block, Distance, HEADERS_MAX, Head, Spare};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Makes stores in memory.
#[derive(Default)]
pub struct MemoryEngine {}

impl StoreEngine for MemoryEngine {
    fn create(
        &self,
        _account: &str,
        _stream: &str,
        settings: &StoreSettings,
        _meta: &[u8],
    ) -> Result<Box<dyn StreamStore>, StoreError> {
        Ok(Box::new(MemoryStore::new(settings)))
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn recover(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(Vec::new())
    }
}

/// One stream.
#[derive(Default)]
pub struct MemoryStore {
    blocks: VecDeque<Block>,
    /// Where each block begins: what a search goes through.
    starts: VecDeque<u64>,
    subjects: Subjects,
    state: StoreState,
    /// For the next block.
    spare: Spare,
}

/// JS-132.
const OVERHEAD_BYTES: u64 = 16;
/// Of one message with its headers.
const CONTENT_MAX: usize = 1 << 30;

/// Where a message is, until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    block: usize,
    at: usize,
}

impl MemoryStore {
    pub fn new(settings: &StoreSettings) -> Self {
        let mut store = Self::default();
        if settings.first_seq > 0 {
            store.state.last_seq = settings.first_seq - 1;
            store.state.first_seq = settings.first_seq;
        }
        store
    }

    /// Removes a message that may be there.
    fn take(&mut self, seq: u64) -> Option<Removed> {
        let place = self.find(seq)?;
        let head = *self.head(place);
        let size_bytes = self.size_bytes(place);
        let subject = Bytes::copy_from_slice(self.subjects.name(head.subject));
        self.unlink(seq, &head);
        let block = &mut self.blocks[place.block];
        block.remove(place.at);
        if block.is_empty() {
            self.starts.remove(place.block);
            if let Some(block) = self.blocks.remove(place.block)
                && place.block == self.blocks.len()
            {
                self.spare = block.into_spare();
            }
        }
        self.state.messages -= 1;
        self.state.bytes -= size_bytes;
        if seq == self.state.first_seq {
            self.find_first(seq + 1);
        }
        Some(Removed { seq, subject, size_bytes })
    }

    /// Takes a message out of the row of its subject.
    fn unlink(&mut self, seq: u64, head: &Head) {
        let id = head.subject;
        let (before, after) = (self.before(seq, head), self.after(seq, head));
        if let Some(place) = self.find(before) {
            self.head_mut(place).after = Distance::between(before, after);
        }
        if let Some(place) = self.find(after) {
            self.head_mut(place).before = Distance::between(after, before);
        }
        match self.subjects.remove(id, seq) {
            Left::First => self.subjects.set_first(id, after),
            Left::Last => self.subjects.set_last(id, before),
            // `One` is for stores that blur.
            Left::Nothing | Left::Known | Left::One => {}
        }
    }

    fn size_bytes(&self, place: Place) -> u64 {
        let block = &self.blocks[place.block];
        let (headers, payload) = block.lens(place.at);
        let subject = self.subjects.name(block.heads()[place.at].subject);
        OVERHEAD_BYTES + (subject.len() + headers + payload) as u64
    }

    fn message(&self, place: Place) -> Message {
        let block = &self.blocks[place.block];
        let head = &block.heads()[place.at];
        let (headers, payload) = block.parts(place.at);
        Message {
            seq: block.seq(head),
            time_ns: head.time_ns,
            flags: head.flags(),
            subject: Bytes::copy_from_slice(self.subjects.name(head.subject)),
            headers,
            payload,
        }
    }

    fn fill(&self, place: Place, into: &mut Loaded) {
        let block = &self.blocks[place.block];
        let head = &block.heads()[place.at];
        let (headers, payload) = block.lend(place.at);
        into.fill(
            block.seq(head),
            head.time_ns,
            head.flags(),
            (self.subjects.name(head.subject), headers, payload),
        );
    }

    /// The first message is at `from` or after it.
    fn find_first(&mut self, from: u64) {
        let first = self.forward(from).next().map(|(_, seq, head)| (seq, head.time_ns));
        if self.state.messages == 0 {
            self.state.first_time_ns = 0;
            // 0 only where never anything was.
            let last_seq = self.state.last_seq;
            self.state.first_seq = if last_seq > 0 { last_seq + 1 } else { self.state.first_seq.min(1) };
        } else if let Some(first) = first {
            (self.state.first_seq, self.state.first_time_ns) = first;
        }
    }

    /// All messages go.
    fn clear(&mut self) {
        self.blocks = VecDeque::new();
        self.starts = VecDeque::new();
        self.spare = Spare::default();
        self.subjects.clear();
        (self.state.messages, self.state.bytes) = (0, 0);
        self.find_first(0);
    }
}

/// Finding places.
impl MemoryStore {
    fn head(&self, place: Place) -> &Head {
        &self.blocks[place.block].heads()[place.at]
    }

    fn head_mut(&mut self, place: Place) -> &mut Head {
        self.blocks[place.block].head_mut(place.at)
    }

    /// The last block that begins at `seq` or before it.
    fn block_of(&self, seq: u64) -> Option<usize> {
        match self.starts.back() {
            None => None,
            Some(&last) if last <= seq => Some(self.starts.len() - 1),
            Some(_) => self.starts.partition_point(|&start| start <= seq).checked_sub(1),
        }
    }

    /// A message that is there.
    fn find(&self, seq: u64) -> Option<Place> {
        let block = self.block_of(seq)?;
        self.blocks[block].find(seq).map(|at| Place { block, at })
    }

    /// All messages at `from` and after it.
    fn forward(&self, from: u64) -> impl Iterator<Item = (Place, u64, &Head)> {
        let first = self.block_of(from).unwrap_or(0);
        self.blocks.range(first..).enumerate().flat_map(move |(n, block)| {
            let start = block.at_or_after(from);
            let live = block.heads()[start..].iter().enumerate().filter(|(_, head)| head.is_live());
            live.map(move |(at, head)| (Place { block: first + n, at: start + at }, block.seq(head), head))
        })
    }

    /// All messages at `up_to` and before it, the last first.
    fn backward(&self, up_to: u64) -> impl Iterator<Item = (Place, u64, &Head)> {
        let blocks = self.block_of(up_to).map_or(0, |last| last + 1);
        self.blocks.range(..blocks).enumerate().rev().flat_map(move |(n, block)| {
            let end = block.at_or_after(up_to.saturating_add(1));
            let live = block.heads()[..end].iter().enumerate().rev().filter(|(_, head)| head.is_live());
            live.map(move |(at, head)| (Place { block: n, at }, block.seq(head), head))
        })
    }

    /// The message of the same subject before one; 0: there is none.
    fn before(&self, seq: u64, head: &Head) -> u64 {
        if head.before == Distance::FAR {
            return self
                .backward(seq - 1)
                .find(|(_, _, other)| other.subject == head.subject)
                .map_or(0, |it| it.1);
        }
        if head.before == Distance::NONE { 0 } else { seq - head.before.get() }
    }

    /// The message of the same subject after one; 0: there is none.
    fn after(&self, seq: u64, head: &Head) -> u64 {
        if head.after == Distance::FAR {
            return self
                .forward(seq + 1)
                .find(|(_, _, other)| other.subject == head.subject)
                .map_or(0, |it| it.1);
        }
        if head.after == Distance::NONE { 0 } else { seq + head.after.get() }
    }
}

impl StreamStore for MemoryStore {
    fn state(&self) -> StoreState {
        StoreState { subjects: self.subjects.len() as u64, ..self.state }
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        let (subject, headers) = (message.subject.len(), message.headers.len());
        let content = headers + message.payload.len();
        if subject > usize::from(u16::MAX) || headers > HEADERS_MAX || content > CONTENT_MAX {
            return Err(StoreError::TooLarge);
        }
        let seq = self.state.last_seq + 1;
        if !self.blocks.back().is_some_and(|block| block.has_room(seq, content)) {
            if let Some(full) = self.blocks.back_mut() {
                self.spare = full.seal();
            }
            self.blocks.push_back(Block::new(seq, std::mem::take(&mut self.spare)));
            self.starts.push_back(seq);
        }
        let added = self.subjects.add(message.subject, seq);
        if let Some(place) = self.find(added.before_seq) {
            self.head_mut(place).after = Distance::between(added.before_seq, seq);
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push(seq, message, added.id, Distance::between(seq, added.before_seq));
        }
        let size_bytes = OVERHEAD_BYTES + (subject + content) as u64;
        self.state.messages += 1;
        self.state.bytes += size_bytes;
        self.state.last_seq = seq;
        self.state.last_time_ns = message.time_ns;
        if self.state.messages == 1 {
            (self.state.first_seq, self.state.first_time_ns) = (seq, message.time_ns);
        }
        Ok(Appended { seq, size_bytes, subject_messages: added.messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        self.state.last_seq += count;
        self.state.last_time_ns = time_ns;
        if self.state.messages == 0 {
            self.find_first(0);
        }
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.find(seq).map(|place| self.message(place)))
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.next_match(filter, from).map(|place| self.message(place)))
    }

    fn load_into(&mut self, seq: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        Ok(self.find(seq).map(|place| self.fill(place, into)).is_some())
    }

    fn next_into(&mut self, filter: &Filter, from: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        Ok(self.next_match(filter, from).map(|place| self.fill(place, into)).is_some())
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        let found = self.forward(from).find(|(_, _, head)| head.flags().intersects(flags));
        Ok(found.map(|(place, ..)| self.message(place)))
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.last_match(filter, up_to).map(|place| self.message(place)))
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        self.last_seqs(filter, up_to, max)
    }

    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError> {
        Ok(self.count_matches(filter, from, last_per_subject))
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        Ok(self.subjects.facts_of(subject))
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        self.subjects.each_match(filter, |_, name, facts| {
            visit(name, facts);
            ControlFlow::Continue(())
        });
        Ok(())
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        // Times never go back, of removed messages neither.
        let at = self.blocks.partition_point(|block| block.last_time_ns() < time_ns);
        let from = self.blocks.get(at).and_then(|block| {
            let at = block.heads().partition_point(|head| head.time_ns < time_ns);
            block.heads().get(at).map(|head| block.seq(head))
        });
        let found = from.and_then(|from| self.forward(from).next());
        Ok(found.map_or(self.state.last_seq + 1, |(_, seq, _)| seq))
    }

    fn deleted(&mut self) -> Vec<u64> {
        let mut deleted = Vec::new();
        if self.state.messages == 0 {
            return deleted;
        }
        let mut expected = self.state.first_seq;
        for (_, seq, _) in self.forward(expected) {
            deleted.extend(expected..seq);
            expected = seq + 1;
        }
        deleted.extend(expected..=self.state.last_seq);
        deleted
    }

    fn remove(&mut self, seq: u64, _erase: bool) -> Result<Option<Removed>, StoreError> {
        Ok(self.take(seq))
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        let (messages, bytes) = (self.state.messages, self.state.bytes);
        let below = if purge.before_seq == 0 { u64::MAX } else { purge.before_seq };
        if purge.keep == 0 && below > self.state.last_seq && self.subjects.are_all_in(&purge.filter) {
            self.clear();
            if purge.filter.is_all() && purge.before_seq == 0 {
                // Also of one that never held anything.
                self.state.first_seq = self.state.last_seq + 1;
            }
            return Ok((messages, bytes));
        }
        let mut meant = self.seqs_below(&purge.filter, below);
        meant.truncate(meant.len().saturating_sub(usize::try_from(purge.keep).unwrap_or(usize::MAX)));
        meant.into_iter().for_each(|seq| drop(self.take(seq)));
        Ok((messages - self.state.messages, bytes - self.state.bytes))
    }

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
        if seq > self.state.last_seq {
            self.state.last_seq = seq - 1;
            self.clear();
        }
        while self.state.messages > 0 && self.state.first_seq < seq {
            self.take(self.state.first_seq);
        }
        Ok(())
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        let above: Vec<u64> =
            self.backward(u64::MAX).map(|(_, last, _)| last).take_while(|last| *last > seq).collect();
        above.into_iter().for_each(|seq| drop(self.take(seq)));
        if let Some(block) = self.blocks.back_mut() {
            block.trim();
        }
        self.state.last_seq = self.state.last_seq.min(seq);
        self.find_first(self.state.first_seq);
        Ok(())
    }

    fn put_meta(&mut self, _meta: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_consumer(&mut self, _name: &str, _meta: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_consumer_state(&mut self, _name: &str, _state: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_consumer(&mut self, _name: &str, _change: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_consumer(&mut self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn take_consumers(&mut self) -> Vec<StoredConsumer> {
        Vec::new()
    }

    fn configure(&mut self, _settings: &StoreSettings) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&mut self) -> Commit {
        Commit::Done
    }

    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn destroy(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Which subjects are meant, by number.
#[derive(Default)]
struct IdSet(Vec<u64>);

impl IdSet {
    fn new(ids: &[Id], ids_max: usize) -> Self {
        let mut words = vec![0; ids_max.div_ceil(64)];
        ids.iter().for_each(|&id| words[id as usize / 64] |= 1u64 << (id % 64));
        Self(words)
    }

    fn has(&self, id: Id) -> bool {
        self.0[id as usize / 64] >> (id % 64) & 1 == 1
    }

    /// Whether it was in it, and is no more.
    fn take(&mut self, id: Id) -> bool {
        let had = self.has(id);
        self.0[id as usize / 64] &= !(1u64 << (id % 64));
        had
    }
}
