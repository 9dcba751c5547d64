//! The simplest store there can be.

use crate::filter::Filter;
use crate::store::{
    Appended, Commit, Flags, Message, NewMessage, Purge, Removed, StoreError, StoreSettings, StoreState,
    StoredConsumer, StreamStore, SubjectFacts,
};
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct TestStore {
    messages: BTreeMap<u64, Message>,
    last_seq: u64,
    last_time_ns: i64,
    consumers: BTreeMap<String, StoredConsumer>,
}

fn size(message: &Message) -> u64 {
    (16 + message.subject.len() + message.headers.len() + message.payload.len()) as u64
}

impl TestStore {
    fn matching<'a>(&'a self, filter: &'a Filter) -> impl DoubleEndedIterator<Item = &'a Message> {
        self.messages.values().filter(|message| filter.matches(&message.subject))
    }
}

impl StreamStore for TestStore {
    fn state(&self) -> StoreState {
        let first = self.messages.values().next();
        let mut subjects: Vec<&Bytes> = self.messages.values().map(|message| &message.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        StoreState {
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(size).sum(),
            first_seq: match first {
                Some(first) => first.seq,
                None if self.last_seq == 0 => 0,
                None => self.last_seq + 1,
            },
            first_time_ns: first.map_or(0, |first| first.time_ns),
            last_seq: self.last_seq,
            last_time_ns: self.last_time_ns,
            subjects: subjects.len() as u64,
            ..StoreState::default()
        }
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        self.last_seq += 1;
        self.last_time_ns = message.time_ns;
        let message = Message {
            seq: self.last_seq,
            time_ns: message.time_ns,
            flags: message.flags,
            subject: Bytes::copy_from_slice(message.subject),
            headers: Bytes::copy_from_slice(message.headers),
            payload: Bytes::copy_from_slice(message.payload),
        };
        let size_bytes = size(&message);
        let subject_messages =
            1 + self.messages.values().filter(|other| other.subject == message.subject).count() as u64;
        self.messages.insert(self.last_seq, message);
        Ok(Appended { seq: self.last_seq, size_bytes, subject_messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        self.last_seq += count;
        self.last_time_ns = time_ns;
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.messages.get(&seq).cloned())
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.matching(filter).find(|message| message.seq >= from).cloned())
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        Ok(self
            .messages
            .range(from..)
            .map(|(_, message)| message)
            .find(|m| m.flags.intersects(flags))
            .cloned())
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.matching(filter).rev().find(|message| message.seq <= up_to).cloned())
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        let mut last = BTreeMap::new();
        for message in self.matching(filter).filter(|message| message.seq <= up_to) {
            last.insert(message.subject.clone(), message.seq);
        }
        if last.len() > max {
            return Err(StoreError::TooMany { max });
        }
        let mut seqs: Vec<u64> = last.into_values().collect();
        seqs.sort_unstable();
        Ok(seqs)
    }

    fn count(&mut self, filter: &Filter, from: u64, _: bool) -> Result<u64, StoreError> {
        Ok(self.matching(filter).filter(|message| message.seq >= from).count() as u64)
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        let seqs: Vec<u64> = self.matching(&Filter::new([subject])).map(|message| message.seq).collect();
        let (first_seq, last_seq) = (seqs.first().copied(), seqs.last().copied());
        Ok(SubjectFacts {
            messages: seqs.len() as u64,
            first_seq: first_seq.unwrap_or(0),
            last_seq: last_seq.unwrap_or(0),
        })
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        let mut subjects: Vec<Bytes> = self.matching(filter).map(|message| message.subject.clone()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        for subject in subjects {
            let facts = self.subject(&subject)?;
            visit(&subject, facts);
        }
        Ok(())
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        let found = self.messages.values().find(|message| message.time_ns >= time_ns);
        Ok(found.map_or(self.last_seq + 1, |message| message.seq))
    }

    fn deleted(&mut self) -> Vec<u64> {
        let first = self.state().first_seq;
        (first..self.last_seq).filter(|seq| !self.messages.contains_key(seq)).collect()
    }

    fn remove(&mut self, seq: u64, _: bool) -> Result<Option<Removed>, StoreError> {
        let removed = self.messages.remove(&seq);
        Ok(removed.map(|message| Removed { seq, size_bytes: size(&message), subject: message.subject }))
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        let seqs: Vec<u64> = self.matching(&purge.filter).map(|message| message.seq).collect();
        let below = if purge.before_seq == 0 { u64::MAX } else { purge.before_seq };
        let gone = seqs.len().saturating_sub(purge.keep as usize);
        let (mut messages, mut bytes) = (0, 0);
        for seq in seqs.into_iter().take(gone).filter(|&seq| seq < below) {
            if let Some(removed) = self.remove(seq, false)? {
                (messages, bytes) = (messages + 1, bytes + removed.size_bytes);
            }
        }
        Ok((messages, bytes))
    }

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
        self.messages = self.messages.split_off(&seq);
        self.last_seq = self.last_seq.max(seq - 1);
        Ok(())
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        self.messages.split_off(&(seq + 1));
        self.last_seq = self.last_seq.min(seq);
        Ok(())
    }

    fn put_meta(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<(), StoreError> {
        let stored = self.consumers.entry(name.to_owned()).or_default();
        stored.name = name.to_owned();
        stored.meta = Bytes::copy_from_slice(meta);
        Ok(())
    }

    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<(), StoreError> {
        let stored = self.consumers.entry(name.to_owned()).or_default();
        stored.state = Bytes::copy_from_slice(state);
        stored.changes.clear();
        Ok(())
    }

    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<(), StoreError> {
        let stored = self.consumers.entry(name.to_owned()).or_default();
        stored.changes.push(Bytes::copy_from_slice(change));
        Ok(())
    }

    fn remove_consumer(&mut self, name: &str) -> Result<(), StoreError> {
        self.consumers.remove(name);
        Ok(())
    }

    fn take_consumers(&mut self) -> Vec<StoredConsumer> {
        self.consumers.values().cloned().collect()
    }

    fn configure(&mut self, _: &StoreSettings) -> Result<(), StoreError> {
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
