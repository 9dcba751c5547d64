//! The index against a plain model: whatever is added and removed, both give the same answers.

use super::{Id, Left, Subjects};
use crate::filter::Filter;
use crate::store::SubjectFacts;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Sequences of each subject.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, BTreeSet<u64>>);

impl Model {
    fn facts(&self, name: &[u8]) -> SubjectFacts {
        let Some(seqs) = self.0.get(name) else { return SubjectFacts::default() };
        SubjectFacts {
            messages: seqs.len() as u64,
            first_seq: seqs.first().copied().unwrap_or(0),
            last_seq: seqs.last().copied().unwrap_or(0),
        }
    }

    fn matching(&self, filter: &Filter) -> BTreeMap<Vec<u8>, SubjectFacts> {
        let names = self.0.keys().filter(|name| filter.matches(name));
        names.map(|name| (name.clone(), self.facts(name))).collect()
    }
}

fn matching(subjects: &mut Subjects, filter: &Filter) -> BTreeMap<Vec<u8>, SubjectFacts> {
    let mut found = BTreeMap::new();
    subjects.each_match(filter, |_, name, facts| {
        assert!(found.insert(name.to_vec(), facts).is_none(), "visited twice");
        ControlFlow::Continue(())
    });
    found
}

/// `sure`: the index must know what follows.
fn remove(subjects: &mut Subjects, model: &mut Model, name: &[u8], seq: u64, sure: bool) {
    let id = subjects.find(name).unwrap_or_else(|| panic!("{name:?} is there"));
    let seqs = model.0.get_mut(name).unwrap_or_else(|| panic!("{name:?} is there"));
    seqs.remove(&seq);
    let (first, last) = (seqs.first().copied(), seqs.last().copied());
    let left = subjects.remove(id, seq);
    assert!(!sure || matches!(left, Left::Nothing | Left::Known));
    match left {
        Left::Nothing => assert_eq!(model.0.remove(name).map(|left| left.len()), Some(0)),
        Left::Known => {}
        Left::First => subjects.set_first(id, first.unwrap_or(0)),
        Left::Last => subjects.set_last(id, last.unwrap_or(0)),
        Left::One => panic!("nothing was blurred"),
    }
}

/// Few tokens, some of which sort around the dot, so that subjects meet often.
fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("a-b"), Just("a/b"), Just("aa"), Just("abcdefghij"), Just("~")]
}

fn subject() -> impl Strategy<Value = String> {
    vec(token(), 1..5).prop_map(|tokens| tokens.join("."))
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => token(), 2 => Just("*")];
    (vec(part, 1..5), any::<bool>()).prop_map(|(mut tokens, open)| {
        if open {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

#[derive(Clone, Debug)]
enum Step {
    Add(String),
    /// One of the messages that are there.
    Remove(prop::sample::Index),
    Ask(Vec<String>),
    Expect(Vec<String>),
    Find(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => subject().prop_map(Step::Add),
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => vec(pattern(), 1..3).prop_map(Step::Ask),
        1 => vec(subject(), 1..8).prop_map(Step::Expect),
        2 => subject().prop_map(Step::Find),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_knows_what_a_plain_map_knows(steps in vec(step(), 1..300), rows_from in 0..100usize) {
        let (mut subjects, mut model) = (Subjects::default(), Model::default());
        let mut stored: Vec<(Vec<u8>, u64)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            if n == rows_from {
                subjects.keep_rows();
            }
            match step {
                Step::Add(name) => {
                    let (name, seq) = (name.into_bytes(), n as u64 + 1);
                    let before = model.facts(&name);
                    let added = subjects.add(&name, seq);
                    prop_assert_eq!((added.messages, added.before_seq), (before.messages + 1, before.last_seq));
                    prop_assert_eq!(subjects.name(added.id), &name[..]);
                    model.0.entry(name.clone()).or_default().insert(seq);
                    stored.push((name, seq));
                }
                Step::Remove(index) if !stored.is_empty() => {
                    let (name, seq) = stored.swap_remove(index.index(stored.len()));
                    remove(&mut subjects, &mut model, &name, seq, rows_from == 0);
                    prop_assert_eq!(subjects.facts_of(&name), model.facts(&name));
                }
                Step::Remove(_) => {}
                Step::Expect(names) => subjects.expect(&mut names.iter().map(String::as_bytes)),
                Step::Find(name) => {
                    let found = subjects.find_next(name.as_bytes()).map(|id| subjects.facts(id));
                    prop_assert_eq!(found.unwrap_or_default(), model.facts(name.as_bytes()));
                }
                Step::Ask(patterns) => {
                    let filter = Filter::new(patterns);
                    prop_assert_eq!(matching(&mut subjects, &filter), model.matching(&filter));
                    prop_assert!(!subjects.are_all_in(&filter) || model.0.keys().all(|name| filter.matches(name)));
                }
            }
            prop_assert_eq!(subjects.len(), model.0.len());
        }
        for name in model.0.keys() {
            prop_assert_eq!(subjects.facts_of(name), model.facts(name));
        }
        prop_assert_eq!(matching(&mut subjects, &Filter::all()), model.matching(&Filter::all()));
    }
}

#[test]
fn what_is_expected_is_found_once_in_its_order() {
    let mut subjects = Subjects::default();
    let name = |n: u64| format!("a.{n}").into_bytes();
    let ids: Vec<Id> = (0..20).map(|n| subjects.add(&name(n), n + 1).id).collect();
    let expected: Vec<_> = [3, 99, 5, 5, 7, 9, 11].map(name).into();
    subjects.expect(&mut expected.iter().map(Vec::as_slice));
    // 99 is not there, 7 does not come.
    assert_eq!(subjects.find_expected(&name(99)), None);
    for n in [3, 5, 5, 9] {
        assert_eq!(subjects.find_expected(&name(n)), Some(ids[n as usize]), "{n}");
    }
    assert_eq!(subjects.find_expected(&name(3)), None);
    assert_eq!(subjects.remove(ids[11], 12), Left::Nothing);
    assert_eq!(subjects.find_expected(&name(11)), None);
}

#[test]
fn a_visit_can_be_broken_off() {
    let mut subjects = Subjects::default();
    (0..100u64).for_each(|n| assert_eq!(subjects.add(format!("a.{n}").as_bytes(), n + 1).messages, 1));
    let mut visited = 0;
    subjects.each_match(&Filter::new(["*.*", "a.7"]), |_, _, _| {
        visited += 1;
        if visited == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(visited, 10);
}

#[test]
fn names_that_went_leave_no_memory_behind() {
    let mut subjects = Subjects::default();
    let (mut ids, mut seq) = (Vec::<(Id, u64)>::new(), 0);
    for n in 0..100_000u64 {
        seq += 1;
        let id = subjects.add(format!("a.rather.long.name.of.number.{n}").as_bytes(), seq).id;
        ids.push((id, seq));
        if ids.len() > 100 {
            let (id, seq) = ids.remove(0);
            assert_eq!(subjects.remove(id, seq), Left::Nothing);
        }
    }
    assert_eq!(subjects.len(), 100);
    assert!(subjects.names.len() < 64 * 1024 && subjects.leaves.len() <= 101);
    ids.into_iter().for_each(|(id, seq)| assert_eq!(subjects.remove(id, seq), Left::Nothing));
    assert!(subjects.is_empty() && subjects.names.capacity() == 0);
}

#[test]
fn what_is_not_known_of_a_subject_is_said() {
    let mut subjects = Subjects::default();
    for seq in 1..=4 {
        subjects.add(b"a", seq);
    }
    let id = subjects.add(b"a", 5).id;
    assert_eq!(subjects.remove(id, 1), Left::First);
    subjects.blur_first(id, 2);
    assert!(!subjects.knows_first(id) && subjects.facts(id).first_seq == 2);
    assert_eq!(subjects.vague_of(&Filter::all()), [id]);
    // Now the first may be any of them.
    assert_eq!(subjects.remove(id, 2), Left::Known);
    assert_eq!(subjects.remove(id, 5), Left::Last);
    subjects.set_last(id, 4);
    assert_eq!(subjects.remove(id, 4), Left::One);
    subjects.set_first(id, 3);
    subjects.set_last(id, 3);
    assert_eq!(subjects.facts(id), SubjectFacts { messages: 1, first_seq: 3, last_seq: 3 });
    subjects.add(b"a", 6);
    subjects.blur_first(id, 3);
    // With the other end the one that is left is known.
    assert_eq!(subjects.remove(id, 3), Left::Known);
    assert!(subjects.knows_first(id) && subjects.facts(id).first_seq == 6);
}
