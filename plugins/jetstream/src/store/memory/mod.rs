//! Streams in memory: nothing survives the process (SD-070).

use crate::filter::Filter;
use crate::store::{
    Appended, Commit, Flags, Message, NewMessage, Purge, Removed, StoreEngine, StoreError, StoreSettings,
    StoreState, StoredConsumer, StoredStream, StreamStore, SubjectFacts,
};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

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

    fn recover(&self) -> Result<Vec<StoredStream>, StoreError> {
        Ok(Vec::new())
    }
}

/// One stream.
#[derive(Default)]
pub struct MemoryStore {
    messages: BTreeMap<u64, Kept>,
    subjects: HashMap<Bytes, BTreeSet<u64>>,
    state: StoreState,
}

struct Kept {
    time_ns: i64,
    flags: Flags,
    subject: Bytes,
    headers: Bytes,
    payload: Bytes,
}

/// JS-132.
const OVERHEAD_BYTES: u64 = 16;

impl Kept {
    fn size_bytes(&self) -> u64 {
        OVERHEAD_BYTES + (self.subject.len() + self.headers.len() + self.payload.len()) as u64
    }

    fn message(&self, seq: u64) -> Message {
        Message {
            seq,
            time_ns: self.time_ns,
            flags: self.flags,
            subject: self.subject.clone(),
            headers: self.headers.clone(),
            payload: self.payload.clone(),
        }
    }
}

impl MemoryStore {
    pub fn new(settings: &StoreSettings) -> Self {
        let mut store = Self::default();
        if settings.first_seq > 1 {
            store.state.last_seq = settings.first_seq - 1;
            store.state.first_seq = settings.first_seq;
        }
        store
    }

    fn take(&mut self, seq: u64) -> Option<Removed> {
        let kept = self.messages.remove(&seq)?;
        let size_bytes = kept.size_bytes();
        self.state.messages -= 1;
        self.state.bytes -= size_bytes;
        if let Some(seqs) = self.subjects.get_mut(&kept.subject) {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.subjects.remove(&kept.subject);
            }
        }
        self.find_first();
        Some(Removed { seq, subject: kept.subject, size_bytes })
    }

    fn find_first(&mut self) {
        match self.messages.first_key_value() {
            Some((&seq, kept)) => {
                self.state.first_seq = seq;
                self.state.first_time_ns = kept.time_ns;
            }
            None if self.state.last_seq > 0 => {
                self.state.first_seq = self.state.last_seq + 1;
                self.state.first_time_ns = 0;
            }
            None => {}
        }
    }
}

impl StreamStore for MemoryStore {
    fn state(&self) -> StoreState {
        StoreState { subjects: self.subjects.len() as u64, ..self.state.clone() }
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        let seq = self.state.last_seq + 1;
        let subject = match self.subjects.get_key_value(message.subject) {
            Some((subject, _)) => subject.clone(),
            None => Bytes::copy_from_slice(message.subject),
        };
        let kept = Kept {
            time_ns: message.time_ns,
            flags: message.flags,
            subject: subject.clone(),
            headers: Bytes::copy_from_slice(message.headers),
            payload: Bytes::copy_from_slice(message.payload),
        };
        let size_bytes = kept.size_bytes();
        self.messages.insert(seq, kept);
        let seqs = self.subjects.entry(subject).or_default();
        seqs.insert(seq);
        let subject_messages = seqs.len() as u64;
        self.state.messages += 1;
        self.state.bytes += size_bytes;
        self.state.last_seq = seq;
        self.state.last_time_ns = message.time_ns;
        if self.state.messages == 1 {
            self.find_first();
        }
        Ok(Appended { seq, size_bytes, subject_messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        self.state.last_seq += count;
        self.state.last_time_ns = time_ns;
        self.find_first();
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.messages.get(&seq).map(|kept| kept.message(seq)))
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        if let Some(subject) = filter.literal() {
            let next = self.subjects.get(subject).and_then(|seqs| seqs.range(from..).next().copied());
            return Ok(next.and_then(|seq| self.messages.get(&seq).map(|kept| kept.message(seq))));
        }
        let found = self.messages.range(from..).find(|(_, kept)| filter.matches(&kept.subject));
        Ok(found.map(|(&seq, kept)| kept.message(seq)))
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        let found = self.messages.range(from..).find(|(_, kept)| kept.flags.intersects(flags));
        Ok(found.map(|(&seq, kept)| kept.message(seq)))
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        if let Some(subject) = filter.literal() {
            let last = self.subjects.get(subject).and_then(|seqs| seqs.range(..=up_to).next_back().copied());
            return Ok(last.and_then(|seq| self.messages.get(&seq).map(|kept| kept.message(seq))));
        }
        let found = self.messages.range(..=up_to).rev().find(|(_, kept)| filter.matches(&kept.subject));
        Ok(found.map(|(&seq, kept)| kept.message(seq)))
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        for (subject, seqs) in &self.subjects {
            if filter.matches(subject)
                && let Some(&seq) = seqs.range(..=up_to).next_back()
            {
                found.push(seq);
                if found.len() > max {
                    return Err(StoreError::TooMany { max });
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError> {
        if filter.is_all() && from <= self.state.first_seq && !last_per_subject {
            return Ok(self.state.messages);
        }
        let matching = self.subjects.iter().filter(|(subject, _)| filter.matches(subject));
        Ok(matching
            .map(|(_, seqs)| match last_per_subject {
                true => u64::from(seqs.last().is_some_and(|&seq| seq >= from)),
                false if seqs.first().is_some_and(|&seq| seq >= from) => seqs.len() as u64,
                false => seqs.range(from..).count() as u64,
            })
            .sum())
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        Ok(self.subjects.get(subject).map(facts).unwrap_or_default())
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        for (subject, seqs) in self.subjects.iter().filter(|(subject, _)| filter.matches(subject)) {
            visit(subject, facts(seqs));
        }
        Ok(())
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        let found = self.messages.iter().find(|(_, kept)| kept.time_ns >= time_ns);
        Ok(found.map_or(self.state.last_seq + 1, |(&seq, _)| seq))
    }

    fn deleted(&mut self) -> Vec<u64> {
        let mut deleted = Vec::new();
        let mut expected = self.state.first_seq;
        for &seq in self.messages.keys() {
            deleted.extend(expected..seq);
            expected = seq + 1;
        }
        if !self.messages.is_empty() {
            deleted.extend(expected..=self.state.last_seq);
        }
        deleted
    }

    fn remove(&mut self, seq: u64, _erase: bool) -> Result<Option<Removed>, StoreError> {
        Ok(self.take(seq))
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        let below = if purge.before_seq == 0 { u64::MAX } else { purge.before_seq };
        let mut meant: Vec<u64> = self
            .messages
            .range(..below)
            .filter(|(_, kept)| purge.filter.matches(&kept.subject))
            .map(|(&seq, _)| seq)
            .collect();
        meant.truncate(meant.len().saturating_sub(usize::try_from(purge.keep).unwrap_or(usize::MAX)));
        let (mut count, mut bytes) = (0, 0);
        for seq in meant {
            if let Some(removed) = self.take(seq) {
                count += 1;
                bytes += removed.size_bytes;
            }
        }
        Ok((count, bytes))
    }

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
        let below: Vec<u64> = self.messages.range(..seq).map(|(&seq, _)| seq).collect();
        below.into_iter().for_each(|seq| drop(self.take(seq)));
        if seq > self.state.last_seq {
            self.state.last_seq = seq - 1;
        }
        self.find_first();
        Ok(())
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        let above: Vec<u64> = self.messages.range(seq + 1..).map(|(&seq, _)| seq).collect();
        above.into_iter().for_each(|seq| drop(self.take(seq)));
        self.state.last_seq = self.state.last_seq.min(seq);
        self.find_first();
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

fn facts(seqs: &BTreeSet<u64>) -> SubjectFacts {
    SubjectFacts {
        messages: seqs.len() as u64,
        first_seq: seqs.first().copied().unwrap_or(0),
        last_seq: seqs.last().copied().unwrap_or(0),
    }
}
