//! What is where: sequences, times, flags and subjects of all messages, in memory.

use natsd_plugin_api::stream_store::{NewMessage, StoredMessage, StreamFilter, StreamState, SubjectFacts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Default)]
pub struct Index {
    heads: BTreeMap<u64, Head>,
    subjects: HashMap<Arc<[u8]>, BTreeSet<u64>>,
    bytes: u64,
    /// Counts while there is no message.
    pub first_seq: u64,
    pub last_seq: u64,
    pub last_time_ns: i64,
}

struct Head {
    time_ns: i64,
    flags: u32,
    size_bytes: u64,
    subject: Arc<[u8]>,
}

/// What a record of natsd's own store counts for.
fn size_bytes(subject: usize, headers: usize, payload: usize) -> u64 {
    let headers = if headers == 0 { 0 } else { 4 + headers };
    (30 + subject + headers + payload) as u64
}

impl Index {
    /// A new message behind the last; its size, and how many there are of its subject.
    pub fn append(&mut self, seq: u64, message: &NewMessage<'_>) -> (u64, u64) {
        let size = size_bytes(message.subject().len(), message.headers().len(), message.payload().len());
        let count = self.add(seq, message.subject(), message.time_ns, message.flags, size);
        self.last_seq = seq;
        self.last_time_ns = message.time_ns;
        (size, count)
    }

    /// A message that was found.
    pub fn found(&mut self, message: &StoredMessage) {
        let (subject, headers) = (message.subject_len, message.headers_len);
        let payload = message.content.len() - subject - headers;
        let size = size_bytes(subject, headers, payload);
        self.add(message.seq, &message.content[..subject], message.time_ns, message.flags, size);
    }

    fn add(&mut self, seq: u64, subject: &[u8], time_ns: i64, flags: u32, size_bytes: u64) -> u64 {
        let subject = match self.subjects.get_key_value(subject) {
            Some((subject, _)) => subject.clone(),
            None => subject.into(),
        };
        self.heads.insert(seq, Head { time_ns, flags, size_bytes, subject: subject.clone() });
        self.bytes += size_bytes;
        let seqs = self.subjects.entry(subject).or_default();
        seqs.insert(seq);
        seqs.len() as u64
    }

    /// Subject and size of what was there.
    pub fn remove(&mut self, seq: u64) -> Option<(Arc<[u8]>, u64)> {
        let head = self.heads.remove(&seq)?;
        self.bytes -= head.size_bytes;
        if let Some(seqs) = self.subjects.get_mut(&head.subject) {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.subjects.remove(&head.subject);
            }
        }
        self.settle();
        Some((head.subject, head.size_bytes))
    }

    /// Where an empty stream goes on.
    pub fn settle(&mut self) {
        if self.heads.is_empty() {
            self.first_seq = if self.last_seq == 0 { 0 } else { self.last_seq + 1 };
        }
    }

    pub fn state(&self) -> StreamState {
        let first = self.heads.first_key_value();
        StreamState {
            messages: self.heads.len() as u64,
            bytes: self.bytes,
            first_seq: first.map_or(self.first_seq, |(seq, _)| *seq),
            first_time_ns: first.map_or(0, |(_, head)| head.time_ns),
            last_seq: self.last_seq,
            last_time_ns: self.last_time_ns,
            subjects: self.subjects.len() as u64,
            ..StreamState::default()
        }
    }

    pub fn has(&self, seq: u64) -> bool {
        self.heads.contains_key(&seq)
    }

    pub fn next(&self, filter: &StreamFilter<'_>, from: u64) -> Option<u64> {
        if let Some(subject) = filter.literal() {
            return self.subjects.get(subject)?.range(from..).next().copied();
        }
        let found = self.heads.range(from..).find(|(_, head)| filter.matches(&head.subject));
        found.map(|(seq, _)| *seq)
    }

    pub fn next_flagged(&self, flags: u32, from: u64) -> Option<u64> {
        self.heads.range(from..).find(|(_, head)| head.flags & flags != 0).map(|(seq, _)| *seq)
    }

    pub fn last(&self, filter: &StreamFilter<'_>, up_to: u64) -> Option<u64> {
        if let Some(subject) = filter.literal() {
            return self.subjects.get(subject)?.range(..=up_to).next_back().copied();
        }
        let found = self.heads.range(..=up_to).rev().find(|(_, head)| filter.matches(&head.subject));
        found.map(|(seq, _)| *seq)
    }

    /// Those of matching subjects.
    fn matching<'a>(
        &'a self,
        filter: &'a StreamFilter<'_>,
    ) -> impl Iterator<Item = (&'a Arc<[u8]>, &'a BTreeSet<u64>)> {
        self.subjects.iter().filter(|(subject, _)| filter.matches(subject))
    }

    pub fn last_of_each(&self, filter: &StreamFilter<'_>, up_to: u64, max: usize) -> Option<Vec<u64>> {
        let last = self.matching(filter).filter_map(|(_, seqs)| seqs.range(..=up_to).next_back().copied());
        let mut found: Vec<u64> = last.take(max.saturating_add(1)).collect();
        found.sort_unstable();
        (found.len() <= max).then_some(found)
    }

    pub fn count(&self, filter: &StreamFilter<'_>, from: u64, last_per_subject: bool) -> u64 {
        let counts = self.matching(filter).map(|(_, seqs)| match last_per_subject {
            true => u64::from(seqs.last().is_some_and(|seq| *seq >= from)),
            false => seqs.range(from..).count() as u64,
        });
        counts.sum()
    }

    pub fn subject(&self, subject: &[u8]) -> SubjectFacts {
        self.subjects.get(subject).map(facts).unwrap_or_default()
    }

    pub fn subjects(&self, filter: &StreamFilter<'_>, visit: &mut dyn FnMut(&[u8], SubjectFacts)) {
        self.matching(filter).for_each(|(subject, seqs)| visit(subject, facts(seqs)));
    }

    pub fn seq_from_time(&self, time_ns: i64) -> u64 {
        let found = self.heads.iter().find(|(_, head)| head.time_ns >= time_ns);
        found.map_or(self.last_seq + 1, |(seq, _)| *seq)
    }

    /// Sequences between first and last without a message.
    pub fn gaps(&self) -> Vec<u64> {
        let Some((first, _)) = self.heads.first_key_value() else { return Vec::new() };
        (*first..=self.last_seq).filter(|seq| !self.heads.contains_key(seq)).collect()
    }

    /// Matching sequences below one.
    pub fn matches_below(&self, filter: &StreamFilter<'_>, below: u64) -> Vec<u64> {
        let heads = self.heads.range(..below).filter(|(_, head)| filter.matches(&head.subject));
        heads.map(|(seq, _)| *seq).collect()
    }

    /// All sequences from one on.
    pub fn from(&self, seq: u64) -> Vec<u64> {
        self.heads.range(seq..).map(|(seq, _)| *seq).collect()
    }
}

fn facts(seqs: &BTreeSet<u64>) -> SubjectFacts {
    SubjectFacts {
        messages: seqs.len() as u64,
        first_seq: seqs.first().copied().unwrap_or(0),
        last_seq: seqs.last().copied().unwrap_or(0),
    }
}
