//! What a store should hold: plain tables, changed by the same operations.

use crate::ops::{Op, Outcome};
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{Flags, Message, Purge};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Shared, as models are copied after each change.
    pub messages: BTreeMap<u64, Arc<Kept>>,
    pub last_seq: u64,
    pub last_time_ns: i64,
    pub meta: Vec<u8>,
    pub consumers: BTreeMap<String, Consumer>,
    /// A store may have forgotten the time of what a truncation took.
    pub time_is_unsure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub time_ns: i64,
    pub flags: Flags,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
    pub size_bytes: u64,
}

impl Kept {
    pub fn is(&self, message: &Message) -> bool {
        (self.time_ns, self.flags) == (message.time_ns, message.flags)
            && self.subject == message.subject
            && self.headers == message.headers
            && self.payload == message.payload
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    pub meta: Vec<u8>,
    pub state: Vec<u8>,
    pub changes: Vec<Vec<u8>>,
}

impl Model {
    pub fn new(first_seq: u64, meta: &[u8]) -> Self {
        Self { last_seq: first_seq.max(1) - 1, meta: meta.to_vec(), ..Self::default() }
    }

    /// The oldest message, or where the next one goes.
    pub fn first_seq(&self) -> u64 {
        self.messages.first_key_value().map_or(self.last_seq + 1, |(seq, _)| *seq)
    }

    pub fn bytes(&self) -> u64 {
        self.messages.values().map(|kept| kept.size_bytes).sum()
    }

    pub fn matching(&self, filter: &Filter) -> impl DoubleEndedIterator<Item = u64> {
        self.messages.iter().filter(|(_, kept)| filter.matches(&kept.subject)).map(|(seq, _)| *seq)
    }

    pub fn deleted(&self) -> Vec<u64> {
        match self.messages.is_empty() {
            true => Vec::new(),
            false => {
                (self.first_seq()..=self.last_seq).filter(|seq| !self.messages.contains_key(seq)).collect()
            }
        }
    }

    /// The newest of each subject, by subject.
    pub fn newest(&self, filter: &Filter, up_to: u64) -> BTreeMap<&[u8], u64> {
        let messages = self.messages.range(..=up_to).filter(|(_, kept)| filter.matches(&kept.subject));
        messages.map(|(seq, kept)| (&*kept.subject, *seq)).collect()
    }

    /// `size_bytes` is what the store says that a new message counts for.
    pub fn apply(&mut self, op: &Op, size_bytes: u64) -> Outcome {
        match op {
            Op::Append(new) => {
                self.last_seq += 1;
                self.last_time_ns = new.time_ns;
                self.time_is_unsure = false;
                let kept = Kept { size_bytes, ..new.clone() };
                let of_it = 1 + self.messages.values().filter(|other| other.subject == kept.subject).count();
                self.messages.insert(self.last_seq, Arc::new(kept));
                return Outcome::Appended(self.last_seq, of_it as u64);
            }
            Op::Skip(count, time_ns) => {
                self.last_seq += count;
                if *count > 0 {
                    self.last_time_ns = *time_ns;
                    self.time_is_unsure = false;
                }
            }
            Op::Remove(seq, _) => {
                return Outcome::Removed(
                    self.messages.remove(seq).map(|kept| (kept.subject.clone(), kept.size_bytes)),
                );
            }
            Op::Purge(purge) => return self.purge(purge),
            Op::Compact(seq) => {
                self.messages = self.messages.split_off(seq);
                self.last_seq = self.last_seq.max(seq.saturating_sub(1));
            }
            Op::Truncate(seq) => {
                if *seq < self.last_seq {
                    drop(self.messages.split_off(&(seq + 1)));
                    self.last_seq = *seq;
                    self.time_is_unsure = true;
                }
            }
            Op::Meta(meta) => self.meta.clone_from(meta),
            Op::Consumer(name, meta) => {
                self.consumers.entry(name.clone()).or_default().meta.clone_from(meta);
            }
            Op::State(name, state) => {
                if let Some(consumer) = self.consumers.get_mut(name) {
                    consumer.state.clone_from(state);
                    consumer.changes.clear();
                }
            }
            Op::Change(name, change) => {
                if let Some(consumer) = self.consumers.get_mut(name) {
                    consumer.changes.push(change.clone());
                }
            }
            Op::ConsumerGone(name) => drop(self.consumers.remove(name)),
            Op::Configure(_) => {}
        }
        Outcome::Done
    }

    fn purge(&mut self, purge: &Purge) -> Outcome {
        let mut seqs: Vec<u64> = self.matching(&purge.filter).collect();
        seqs.truncate(seqs.len().saturating_sub(purge.keep as usize));
        if purge.before_seq > 0 {
            seqs.retain(|seq| *seq < purge.before_seq);
        }
        let gone = seqs.iter().filter_map(|seq| self.messages.remove(seq));
        let bytes = gone.map(|kept| kept.size_bytes).sum();
        Outcome::Purged(seqs.len() as u64, bytes)
    }
}
