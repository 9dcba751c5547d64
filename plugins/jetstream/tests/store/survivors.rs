//! What a crash may have left of a stream, and what it must have left.

use crate::compare::consumers;
use crate::model::{Consumer, Kept, Model};
use crate::ops::Op;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{Message, StoreError, StreamStore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The stream as it was at the last commit, and after each change since: any of these may be found, message by
/// message and consumer by consumer.
#[derive(Clone)]
pub struct Before {
    models: Vec<Model>,
}

impl Before {
    pub fn new(committed: Model) -> Self {
        Self { models: vec![committed] }
    }

    /// Any of these may be found.
    pub fn any_of(models: Vec<Model>) -> Self {
        Self { models }
    }

    pub fn now(&self) -> &Model {
        &self.models[self.models.len() - 1]
    }

    pub fn changed(&mut self, op: &Op, size_bytes: u64) {
        let mut after = self.now().clone();
        after.apply(op, size_bytes);
        self.models.push(after);
    }

    pub fn committed(&mut self) {
        self.models.drain(..self.models.len() - 1);
    }

    /// Whether a message is one that was there at some time since the last commit.
    fn may_be(&self, seq: u64, found: Option<&Message>) -> Result<Option<Arc<Kept>>, String> {
        let mut ever = self.models.iter().map(|model| model.messages.get(&seq));
        match found {
            None if ever.clone().any(|kept| kept.is_none()) => Ok(None),
            None => Err(format!("message {seq} was committed, and is gone")),
            Some(message) => match ever.clone().flatten().find(|kept| kept.is(message)) {
                Some(kept) => Ok(Some(kept.clone())),
                None if ever.all(|kept| kept.is_none()) => {
                    Err(format!("message {seq} was deleted, and is back"))
                }
                None => Err(format!("message {seq} has another content: {message:?}")),
            },
        }
    }
}

/// Checks a stream that was found; what it is now is the answer.
pub fn survived(store: &mut dyn StreamStore, meta: &[u8], before: &Before, name: &str) -> Model {
    let state = store.state();
    let lasts = before.models.iter().map(|model| model.last_seq);
    let (least, most) = (lasts.clone().min().unwrap_or(0), lasts.max().unwrap_or(0));
    assert!((least..=most).contains(&state.last_seq), "{name}: last {} of {least} to {most}", state.last_seq);
    let mut now = Model { last_seq: state.last_seq, meta: meta.to_vec(), ..Model::default() };
    (now.last_time_ns, now.time_is_unsure) = (state.last_time_ns, true);
    for seq in candidates(before) {
        let found = match store.load(seq) {
            Err(StoreError::Damaged { .. }) => None,
            found => found.unwrap(),
        };
        match before.may_be(seq, found.as_ref()) {
            Err(why) => panic!("{name}: {why}; lost {:?}", store.lost_seqs()),
            Ok(None) => {}
            Ok(Some(kept)) => drop(now.messages.insert(seq, kept)),
        }
    }
    let found = (state.messages, state.bytes, state.first_seq);
    let expected = (now.messages.len() as u64, now.bytes());
    assert_eq!((found.0, found.1), expected, "{name}: messages and bytes; lost {:?}", store.lost_seqs());
    if state.last_seq > 0 {
        assert_eq!(found.2, now.first_seq(), "{name}: first");
    }
    let subjects = now.newest(&Filter::all(), u64::MAX).len() as u64;
    assert_eq!(state.subjects, subjects, "{name}: subjects");
    assert_eq!(store.deleted(), now.deleted(), "{name}: deleted");
    assert!(before.models.iter().any(|model| model.meta == meta), "{name}: metadata {}", meta.escape_ascii());
    now.consumers = consumers(store);
    check_consumers(before, &now.consumers, name);
    let mut seq = 0;
    while let Some(message) = store.next(&Filter::all(), seq).unwrap() {
        assert!(now.messages.contains_key(&message.seq), "{name}: next {}", message.seq);
        seq = message.seq + 1;
    }
    now
}

/// Sequences that have, had or may have a message.
fn candidates(before: &Before) -> Vec<u64> {
    let mut seqs: Vec<u64> = Vec::new();
    for model in &before.models {
        seqs.extend(model.messages.keys());
        // Gaps of thousands are looked at by their ends.
        let last = model.last_seq;
        seqs.extend(last.saturating_sub(150)..=last + 2);
    }
    seqs.extend(1..=100);
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

fn check_consumers(before: &Before, found: &BTreeMap<String, Consumer>, name: &str) {
    let mut names: Vec<&String> = found.keys().collect();
    names.extend(before.models.iter().flat_map(|model| model.consumers.keys()));
    for consumer in names {
        let ever = before.models.iter().map(|model| model.consumers.get(consumer));
        let found = found.get(consumer);
        assert!(
            ever.clone().any(|kept| kept == found),
            "{name}: consumer {consumer} is {found:?}, was {:?}",
            ever.collect::<Vec<_>>()
        );
    }
}
