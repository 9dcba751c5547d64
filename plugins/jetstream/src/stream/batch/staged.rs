//! What the messages of a batch, checked but not stored yet, change for those after them.

use crate::stream::checks::{Prepared, Rollup};
use crate::stream::counter::Total;
use hashbrown::{HashMap, HashSet};

/// The messages of a batch that passed their checks.
#[derive(Default)]
pub struct Staged {
    pub messages: u64,
    pub bytes: u64,
    subjects: HashMap<Box<[u8]>, Subject>,
    ids: HashSet<Box<[u8]>>,
}

#[derive(Default)]
struct Subject {
    messages: u64,
    total: Option<Total>,
}

impl Staged {
    pub(in crate::stream) fn add(&mut self, prepared: &Prepared<'_>, size_bytes: u64) {
        self.messages += 1;
        self.bytes += size_bytes;
        let subject = self.subjects.entry_ref(&*prepared.subject).or_default();
        subject.messages += 1;
        subject.total.clone_from(&prepared.total);
        if !prepared.msg_id.is_empty() {
            self.ids.insert(prepared.msg_id.into());
        }
    }

    pub fn has_subject(&self, subject: &[u8]) -> bool {
        self.subjects.contains_key(subject)
    }

    pub fn messages_of(&self, subject: &[u8]) -> u64 {
        self.subjects.get(subject).map_or(0, |subject| subject.messages)
    }

    pub fn has_id(&self, id: &[u8]) -> bool {
        self.ids.contains(id)
    }

    pub(in crate::stream) fn total(&self, subject: &[u8]) -> Option<&Total> {
        self.subjects.get(subject).and_then(|subject| subject.total.as_ref())
    }

    /// A rollup would take away what came before it in the batch.
    pub(in crate::stream) fn allows(&self, rollup: Rollup, subject: &[u8]) -> bool {
        match rollup {
            Rollup::Subject => !self.has_subject(subject),
            Rollup::All => self.messages == 0,
        }
    }
}
