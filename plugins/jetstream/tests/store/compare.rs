//! A store beside the model: every question must have the same answer.

use crate::model::{Consumer, Model};
use crate::ops::filter;
use crate::random::Random;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{Flags, Message, StoreError, StreamStore, SubjectFacts};
use std::collections::BTreeMap;

/// A message is the one that the model has at this sequence.
#[track_caller]
fn same(found: Option<Message>, expected: Option<u64>, model: &Model, what: &str) {
    assert_eq!(found.as_ref().map(|message| message.seq), expected, "{what}");
    if let Some(message) = found {
        let kept = &model.messages[&message.seq];
        assert!(kept.is(&message), "{what}: {message:?} is not {kept:?}");
    }
}

#[track_caller]
pub fn check_state(store: &mut dyn StreamStore, model: &Model, what: &str) {
    let state = store.state();
    let subjects = model.newest(&Filter::all(), u64::MAX).len();
    assert_eq!(
        (state.messages, state.bytes, state.last_seq, state.subjects),
        (model.messages.len() as u64, model.bytes(), model.last_seq, subjects as u64),
        "{what}: messages, bytes, last, subjects"
    );
    if model.last_seq > 0 {
        assert_eq!(state.first_seq, model.first_seq(), "{what}: first");
    } else {
        assert!(state.first_seq <= 1, "{what}: first of nothing");
    }
    let first_time_ns = model.messages.values().next().map_or(0, |kept| kept.time_ns);
    assert_eq!(state.first_time_ns, first_time_ns, "{what}: first time");
    if !model.time_is_unsure {
        assert_eq!(state.last_time_ns, model.last_time_ns, "{what}: last time");
    }
    assert_eq!((store.lost_seqs(), state.lost_bytes), (vec![], 0), "{what}: lost");
    assert_eq!(store.deleted(), model.deleted(), "{what}: deleted");
}

/// Everything, and some questions about it.
#[track_caller]
pub fn check(store: &mut dyn StreamStore, model: &Model, random: &mut Random, what: &str) {
    check_state(store, model, what);
    for seq in model.first_seq().saturating_sub(3)..=model.last_seq + 2 {
        // Long gaps are looked at here and there.
        if model.messages.contains_key(&seq) || random.one_in(1 + model.last_seq / 100) {
            let expected = model.messages.contains_key(&seq).then_some(seq);
            same(store.load(seq).unwrap(), expected, model, &format!("{what}: load {seq}"));
        }
    }
    for _ in 0..4 {
        ask(store, model, random, what);
    }
}

#[track_caller]
fn ask(store: &mut dyn StreamStore, model: &Model, random: &mut Random, what: &str) {
    let filter = filter(random);
    let at = random.between(model.first_seq().saturating_sub(2), model.last_seq + 2);
    let what = format!("{what}: {filter:?} at {at}");
    let next = model.matching(&filter).find(|seq| *seq >= at);
    same(store.next(&filter, at).unwrap(), next, model, &format!("{what}: next"));
    let last = model.matching(&filter).rev().find(|seq| *seq <= at);
    same(store.last(&filter, at).unwrap(), last, model, &format!("{what}: last"));
    same(store.last(&filter, u64::MAX).unwrap(), model.matching(&filter).next_back(), model, &what);
    let count = model.matching(&filter).filter(|seq| *seq >= at).count() as u64;
    assert_eq!(store.count(&filter, at, false).unwrap(), count, "{what}: count");
    let newest = model.newest(&filter, u64::MAX);
    let count = newest.values().filter(|seq| **seq >= at).count() as u64;
    assert_eq!(store.count(&filter, at, true).unwrap(), count, "{what}: count of the newest");
    let mut newest: Vec<u64> = model.newest(&filter, at).into_values().collect();
    newest.sort_unstable();
    let max = random.below(8) as usize;
    match store.last_of_each(&filter, at, max) {
        Err(StoreError::TooMany { max: said }) => {
            assert!(said == max && newest.len() > max, "{what}: too many")
        }
        found => assert_eq!(found.unwrap(), newest, "{what}: newest of each, {max} at most"),
    }
    let mut subjects = BTreeMap::new();
    let mut note = |subject: &[u8], facts| {
        subjects.insert(subject.to_vec(), facts);
    };
    store.subjects(&filter, &mut note).unwrap();
    assert_eq!(subjects, facts(model, &filter), "{what}: subjects");
    for (subject, facts) in subjects.iter().take(2) {
        assert_eq!(store.subject(subject).unwrap(), *facts, "{what}");
    }
    assert_eq!(store.subject(b"nobody").unwrap(), SubjectFacts::default(), "{what}");
    let flags = Flags(1 << random.below(4));
    let flagged = model.messages.range(at..).find(|(_, kept)| kept.flags.intersects(flags));
    same(store.next_flagged(flags, at).unwrap(), flagged.map(|(seq, _)| *seq), model, &what);
    let time_ns = model.messages.get(&at).map_or(model.last_time_ns, |kept| kept.time_ns) + 1;
    let late = model.messages.iter().find(|(_, kept)| kept.time_ns >= time_ns);
    let late = late.map_or(model.last_seq + 1, |(seq, _)| *seq);
    assert_eq!(store.seq_from_time(time_ns).unwrap(), late, "{what}: from time {time_ns}");
}

fn facts(model: &Model, filter: &Filter) -> BTreeMap<Vec<u8>, SubjectFacts> {
    let mut facts: BTreeMap<Vec<u8>, SubjectFacts> = BTreeMap::new();
    for seq in model.matching(filter) {
        let of_it = facts.entry(model.messages[&seq].subject.clone()).or_default();
        of_it.messages += 1;
        of_it.last_seq = seq;
        if of_it.first_seq == 0 {
            of_it.first_seq = seq;
        }
    }
    facts
}

/// The consumers of a store that was found again.
pub fn consumers(store: &mut dyn StreamStore) -> BTreeMap<String, Consumer> {
    let found = store.take_consumers().into_iter().map(|found| {
        let changes = found.changes.iter().map(|change| change.to_vec()).collect();
        (found.name, Consumer { meta: found.meta.to_vec(), state: found.state.to_vec(), changes })
    });
    found.collect()
}
