//! The memory store against a plain model: after any changes both give the same answers to any question.

use super::MemoryStore;
use crate::filter::Filter;
use crate::store::{
    Flags, Message, NewMessage, Purge, StoreError, StoreSettings, StoreState, StreamStore, SubjectFacts,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Change {
    Append { subject: String, headers: usize, payload: usize, flags: u8, later_ns: i64 },
    Skip(u64),
    Remove(u64),
    Purge { filter: Vec<String>, before_seq: u64, keep: u64 },
    Compact(u64),
    Truncate(u64),
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, Message>,
    last_seq: u64,
    time_ns: i64,
    /// It was not always empty, or was purged.
    is_used: bool,
}

impl Model {
    fn matching<'a>(&'a self, filter: &'a Filter) -> impl DoubleEndedIterator<Item = &'a Message> {
        self.messages.values().filter(|message| filter.matches(&message.subject))
    }

    fn bytes(message: &Message) -> u64 {
        (16 + message.subject.len() + message.headers.len() + message.payload.len()) as u64
    }

    fn state(&self) -> StoreState {
        let first = self.messages.values().next();
        let mut subjects: Vec<&Bytes> = self.messages.values().map(|message| &message.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let none = if self.last_seq == 0 { u64::from(self.is_used) } else { self.last_seq + 1 };
        StoreState {
            messages: self.messages.len() as u64,
            bytes: self.messages.values().map(Self::bytes).sum(),
            first_seq: first.map_or(none, |first| first.seq),
            first_time_ns: first.map_or(0, |first| first.time_ns),
            last_seq: self.last_seq,
            last_time_ns: self.time_ns,
            subjects: subjects.len() as u64,
            ..StoreState::default()
        }
    }

    fn facts(&self) -> BTreeMap<Vec<u8>, SubjectFacts> {
        let mut facts = BTreeMap::<Vec<u8>, SubjectFacts>::new();
        for message in self.messages.values() {
            let first = SubjectFacts { first_seq: message.seq, ..SubjectFacts::default() };
            let facts = facts.entry(message.subject.to_vec()).or_insert(first);
            facts.messages += 1;
            facts.last_seq = message.seq;
        }
        facts
    }

    fn last_of_each(&self, filter: &Filter, up_to: u64) -> Vec<u64> {
        let mut last = BTreeMap::new();
        for message in self.matching(filter).filter(|message| message.seq <= up_to) {
            last.insert(&message.subject, message.seq);
        }
        let mut seqs: Vec<u64> = last.into_values().collect();
        seqs.sort_unstable();
        seqs
    }

    fn count(&self, filter: &Filter, from: u64, last_per_subject: bool) -> u64 {
        if last_per_subject {
            return self.last_of_each(filter, u64::MAX).iter().filter(|seq| **seq >= from).count() as u64;
        }
        self.matching(filter).filter(|message| message.seq >= from).count() as u64
    }
}

fn apply(change: Change, store: &mut MemoryStore, model: &mut Model) -> Result<(), StoreError> {
    match change {
        Change::Append { subject, headers, payload, flags, later_ns } => {
            model.time_ns += later_ns;
            model.last_seq += 1;
            let message = Message {
                seq: model.last_seq,
                time_ns: model.time_ns,
                flags: Flags(flags),
                subject: Bytes::from(subject),
                headers: vec![b'h'; headers].into(),
                payload: vec![b'a' + (model.last_seq % 26) as u8; payload].into(),
            };
            let new = NewMessage {
                subject: &message.subject,
                headers: &message.headers,
                payload: &message.payload,
                time_ns: message.time_ns,
                flags: message.flags,
            };
            let appended = store.append(&new)?;
            let of_subject = 1 + model.matching(&Filter::new([&message.subject])).count() as u64;
            assert_eq!((appended.seq, appended.subject_messages), (message.seq, of_subject));
            assert_eq!(appended.size_bytes, Model::bytes(&message));
            model.messages.insert(message.seq, message);
        }
        Change::Skip(count) => {
            store.skip(count, model.time_ns)?;
            model.last_seq += count;
        }
        Change::Remove(seq) => {
            let removed = store.remove(seq, false)?.map(|removed| (removed.subject, removed.size_bytes));
            let expected = model.messages.remove(&seq);
            assert_eq!(removed, expected.map(|message| (message.subject.clone(), Model::bytes(&message))));
        }
        Change::Purge { filter, before_seq, keep } => {
            let purge = Purge { filter: Filter::new(filter), before_seq, keep };
            let below = if before_seq == 0 { u64::MAX } else { before_seq };
            let mut meant: Vec<u64> = model.matching(&purge.filter).map(|message| message.seq).collect();
            meant.retain(|seq| *seq < below);
            meant.truncate(meant.len().saturating_sub(keep as usize));
            assert_eq!(store.purge(&purge)?.0, meant.len() as u64);
            model.is_used |= purge.filter.is_all() && before_seq == 0 && keep == 0;
            meant.iter().for_each(|seq| drop(model.messages.remove(seq)));
        }
        Change::Compact(seq) => {
            store.compact(seq)?;
            model.messages = model.messages.split_off(&seq);
            model.last_seq = model.last_seq.max(seq.saturating_sub(1));
        }
        Change::Truncate(seq) => {
            store.truncate(seq)?;
            model.is_used |= model.last_seq > 0;
            model.messages.split_off(&(seq + 1));
            model.last_seq = model.last_seq.min(seq);
        }
    }
    Ok(())
}

fn compare(
    store: &mut MemoryStore,
    model: &Model,
    filter: &Filter,
    seq: u64,
    time_ns: i64,
) -> Result<(), StoreError> {
    assert_eq!(store.state(), model.state());
    assert_eq!(store.load(seq)?, model.messages.get(&seq).cloned());
    let next = model.matching(filter).find(|message| message.seq >= seq);
    assert_eq!(store.next(filter, seq)?, next.cloned(), "next {filter:?} from {seq}");
    let last = model.matching(filter).rev().find(|message| message.seq <= seq);
    assert_eq!(store.last(filter, seq)?, last.cloned(), "last {filter:?} up to {seq}");
    assert_eq!(store.last(filter, u64::MAX)?, model.matching(filter).next_back().cloned());
    assert_eq!(store.last_of_each(filter, seq, usize::MAX)?, model.last_of_each(filter, seq));
    for per_subject in [false, true] {
        assert_eq!(store.count(filter, seq, per_subject)?, model.count(filter, seq, per_subject));
    }
    let flagged =
        model.messages.range(seq..).map(|(_, message)| message).find(|message| message.flags.0 & 1 == 1);
    assert_eq!(store.next_flagged(Flags(1), seq)?, flagged.cloned());
    let late = model.messages.values().find(|message| message.time_ns >= time_ns);
    assert_eq!(store.seq_from_time(time_ns)?, late.map_or(model.last_seq + 1, |message| message.seq));
    let first = model.messages.keys().next().copied().unwrap_or(u64::MAX);
    let gaps = (first..=model.last_seq).filter(|seq| !model.messages.contains_key(seq));
    assert_eq!(store.deleted(), gaps.collect::<Vec<u64>>());
    let mut facts = BTreeMap::new();
    store.subjects(&Filter::all(), &mut |name, of| facts.extend([(name.to_vec(), of)]))?;
    assert_eq!(facts, model.facts());
    Ok(())
}

fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")]
}

fn subject() -> impl Strategy<Value = String> {
    vec(token(), 1..4).prop_map(|tokens| tokens.join("."))
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![3 => token(), 2 => Just("*"), 1 => Just(">")];
    let pattern = vec(part, 1..4).prop_map(|mut tokens| {
        if let Some(end) = tokens.iter().position(|token| *token == ">") {
            tokens.truncate(end + 1);
        }
        tokens.join(".")
    });
    vec(pattern, 0..3)
}

fn change() -> impl Strategy<Value = Change> {
    let append = (subject(), 0..20usize, 0..100usize, 0..4u8, 0..3i64).prop_map(
        |(subject, headers, payload, flags, later_ns)| Change::Append {
            subject,
            headers,
            payload,
            flags,
            later_ns,
        },
    );
    let purge = (patterns(), prop_oneof![Just(0), 0..200u64], prop_oneof![Just(0), 0..5u64])
        .prop_map(|(filter, before_seq, keep)| Change::Purge { filter, before_seq, keep });
    prop_oneof![
        60 => append,
        1 => (0..5u64).prop_map(Change::Skip),
        30 => (0..200u64).prop_map(Change::Remove),
        1 => purge,
        1 => (1..100u64).prop_map(Change::Compact),
        1 => (0..200u64).prop_map(Change::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_store_answers_as_a_plain_map_would(
        changes in vec(change(), 1..300),
        questions in vec((0..300usize, patterns(), 0..200u64, 0..300i64), 20),
    ) {
        let (mut store, mut model) = (MemoryStore::new(&StoreSettings::default()), Model::default());
        for (n, change) in changes.into_iter().enumerate() {
            apply(change, &mut store, &mut model).map_err(|why| TestCaseError::fail(why.to_string()))?;
            for (_, patterns, seq, time_ns) in questions.iter().filter(|(at, ..)| *at == n) {
                compare(&mut store, &model, &Filter::new(patterns), *seq, *time_ns)
                    .map_err(|why| TestCaseError::fail(why.to_string()))?;
            }
        }
        for (_, patterns, seq, time_ns) in &questions {
            compare(&mut store, &model, &Filter::new(patterns), *seq, *time_ns)
                .map_err(|why| TestCaseError::fail(why.to_string()))?;
        }
    }
}

fn append(store: &mut MemoryStore, subject: &str) -> Result<u64, StoreError> {
    store
        .append(&NewMessage { subject: subject.as_bytes(), ..NewMessage::default() })
        .map(|appended| appended.seq)
}

#[test]
fn messages_of_a_subject_find_each_other_however_far_apart_they_are() -> Result<(), StoreError> {
    let mut store = MemoryStore::new(&StoreSettings::default());
    let filter = Filter::new(["a"]);
    let mut seqs = Vec::new();
    for _ in 0..4 {
        seqs.push(append(&mut store, "a")?);
        append(&mut store, "b")?;
        store.skip(1 << 33, 0)?;
    }
    assert_eq!(store.next(&filter, seqs[0] + 1)?.map(|message| message.seq), Some(seqs[1]));
    assert_eq!(store.last(&filter, seqs[3] - 1)?.map(|message| message.seq), Some(seqs[2]));
    store.remove(seqs[1], false)?;
    assert_eq!(store.next(&filter, seqs[0] + 1)?.map(|message| message.seq), Some(seqs[2]));
    store.remove(seqs[0], false)?;
    assert_eq!(store.subject(b"a")?, SubjectFacts { messages: 2, first_seq: seqs[2], last_seq: seqs[3] });
    store.remove(seqs[3], false)?;
    assert_eq!(store.subject(b"a")?, SubjectFacts { messages: 1, first_seq: seqs[2], last_seq: seqs[2] });
    Ok(())
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let mut store = MemoryStore::new(&StoreSettings::default());
    let subject = vec![b'a'; 70_000];
    let refused = store.append(&NewMessage { subject: &subject, ..NewMessage::default() });
    assert_eq!(refused, Err(StoreError::TooLarge));
    let headers = vec![b'h'; 1 << 24];
    let refused = store.append(&NewMessage { subject: b"a", headers: &headers, ..NewMessage::default() });
    assert_eq!(refused, Err(StoreError::TooLarge));
    assert_eq!(store.state(), StoreState::default());
}
