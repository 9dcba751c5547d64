//! What every store does, case by case, and what it does with operations made at random.

use crate::compare::{check, check_state, consumers};
use crate::kinds::{Kind, commit, create, found};
use crate::model::{Consumer, Model};
use crate::ops::{Mix, Op, Outcome, message, random_op};
use crate::random::Random;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{Flags, NewMessage, Purge, StoreEngine, StoreError, StoreSettings, StreamStore};

/// A store with the model of what it holds.
pub struct Pair {
    pub store: Box<dyn StreamStore>,
    pub model: Model,
    engine: Box<dyn StoreEngine>,
}

impl Pair {
    pub fn new(kind: &dyn Kind, settings: &StoreSettings) -> Self {
        let engine = kind.open().unwrap();
        let store = create(&*engine, "S", settings);
        Self { store, model: Model::new(settings.first_seq, b"meta"), engine }
    }

    fn plain(kind: &dyn Kind) -> Self {
        Self::new(kind, &StoreSettings::default())
    }

    /// Does it to both, which must answer the same.
    #[track_caller]
    pub fn run(&mut self, op: &Op) -> Outcome {
        let (outcome, size_bytes) = op.run(&mut *self.store).unwrap();
        let expected = self.model.apply(op, size_bytes);
        assert_eq!(outcome, expected, "{op:?}");
        outcome
    }

    fn add(&mut self, subject: &str, payload: &[u8]) -> u64 {
        let mut kept = message(self.model.last_time_ns + 1000, &Mix::default(), &mut Random::new(1));
        (kept.subject, kept.payload) = (subject.into(), payload.to_vec());
        self.run(&Op::Append(kept));
        self.model.last_seq
    }

    #[track_caller]
    fn check(&mut self, what: &str) {
        let mut random = Random::new(self.model.last_seq);
        check(&mut *self.store, &self.model, &mut random, what);
    }

    /// The server is stopped well, or goes after a commit; then it is there again.
    #[track_caller]
    pub fn restart(self, kind: &dyn Kind, closes: bool) -> Self {
        let Self { mut store, mut model, engine } = self;
        if !kind.lasts() {
            return Self { store, model, engine };
        }
        commit(&mut *store).unwrap();
        if closes {
            store.close().unwrap();
        }
        drop(store);
        if closes {
            engine.close().unwrap();
        }
        drop(engine);
        let engine = kind.open().unwrap();
        let mut streams = engine.recover().unwrap();
        assert_eq!(streams.len(), 1);
        let stream = streams.pop().unwrap();
        assert_eq!((&*stream.account, &*stream.name, &*stream.meta), ("A", "S", &*model.meta));
        let mut store = stream.store.unwrap();
        assert_eq!(consumers(&mut *store), model.consumers);
        assert!(store.take_consumers().is_empty());
        model.time_is_unsure |= model.last_time_ns != store.state().last_time_ns && model.time_is_unsure;
        Self { store, model, engine }
    }

    #[track_caller]
    fn check_restarted(mut self, kind: &dyn Kind, what: &str) -> Self {
        self.check(what);
        for closes in [false, true] {
            self = self.restart(kind, closes);
            self.check(&format!("{what}, restarted, closed {closes}"));
        }
        self
    }
}

pub fn nothing_is_in_a_new_stream(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind).check_restarted(kind, "new");
    assert_eq!(pair.store.next(&Filter::all(), 0).unwrap(), None);
    assert_eq!(pair.add("a", b"one"), 1);
}

pub fn a_stream_may_begin_later(kind: &dyn Kind) {
    let settings = StoreSettings { first_seq: 1000, ..StoreSettings::default() };
    let pair = Pair::new(kind, &settings);
    let mut pair = pair.check_restarted(kind, "empty at 1000");
    assert_eq!(pair.add("a", b"one"), 1000);
    pair.check_restarted(kind, "one at 1000");
}

pub fn names_are_taken_once(kind: &dyn Kind) {
    let engine = kind.open().unwrap();
    let settings = StoreSettings::default();
    let first = create(&*engine, "S", &settings);
    if kind.lasts() {
        let again = engine.create("A", "S", &settings, b"other");
        assert!(matches!(again.err(), Some(StoreError::Exists)));
    }
    let other = create(&*engine, "s", &settings);
    engine.create("B", "S", &settings, b"of B").unwrap();
    drop((first, other));
    drop(engine);
    let engine = kind.open().unwrap();
    let mut names: Vec<String> = engine
        .recover()
        .unwrap()
        .into_iter()
        .map(|found| format!("{} {} {}", found.account, found.name, found.meta.escape_ascii()))
        .collect();
    names.sort();
    let expected: &[&str] = if kind.lasts() { &["A S meta", "A s meta", "B S of B"] } else { &[] };
    assert_eq!(names, expected);
}

pub fn skips_leave_sequences_without_messages(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    for (count, then) in [(3, "a"), (0, "b"), (5000, "c"), (1, "d")] {
        let time_ns = pair.model.last_time_ns + 5;
        pair.run(&Op::Skip(count, time_ns));
        pair.check("skipped");
        pair.add(then, b"after a skip");
        pair = pair.check_restarted(kind, "after a skip");
    }
    pair.run(&Op::Skip(7, pair.model.last_time_ns));
    let mut pair = pair.check_restarted(kind, "skipped at the end");
    assert_eq!(pair.store.deleted().len(), 5000 + 1 + 7);
    pair.add("a", b"more");
    pair.check_restarted(kind, "after the skip at the end");
}

pub fn removing_ends_moves_the_first_and_keeps_the_last(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    for n in 0..10 {
        pair.add(["a", "b"][n % 2], format!("payload {n}").as_bytes());
    }
    for seq in [1, 2, 5, 10, 9, 5, 0, 11, u64::MAX] {
        pair.run(&Op::Remove(seq, seq == 2 || seq == 9));
        pair.check(&format!("removed {seq}"));
    }
    pair = pair.check_restarted(kind, "ends removed");
    for seq in [3, 4, 6, 7, 8] {
        pair.run(&Op::Remove(seq, false));
    }
    let mut pair = pair.check_restarted(kind, "all removed");
    assert_eq!(pair.store.state().first_seq, 11);
    assert_eq!(pair.add("a", b"more"), 11);
    pair.check_restarted(kind, "more");
}

pub fn purges_take_what_they_say(kind: &dyn Kind) {
    let fill = || {
        let mut pair = Pair::plain(kind);
        for n in 1..=30 {
            pair.add(["a", "a.b", "a.c", "x"][n % 4], format!("payload {n}").as_bytes());
        }
        pair
    };
    let (all, some) = (Filter::all(), Filter::new(["a.*"]));
    for purge in [
        Purge::default(),
        Purge { before_seq: 1, ..Purge::default() },
        Purge { before_seq: 12, ..Purge::default() },
        Purge { before_seq: 1000, ..Purge::default() },
        Purge { filter: some.clone(), ..Purge::default() },
        Purge { filter: some.clone(), before_seq: 12, keep: 0 },
        Purge { filter: some.clone(), before_seq: 0, keep: 4 },
        Purge { filter: some, before_seq: 0, keep: 400 },
        Purge { filter: all, before_seq: 0, keep: 7 },
        Purge { filter: Filter::new(["x"]), before_seq: 0, keep: 1 },
        Purge { filter: Filter::new(["nobody"]), ..Purge::default() },
    ] {
        let mut pair = fill();
        pair.run(&Op::Purge(purge.clone()));
        let mut pair = pair.check_restarted(kind, &format!("{purge:?}"));
        pair.add("a", b"more");
        pair.check_restarted(kind, &format!("{purge:?} and more"));
        // Each begins anew.
        destroy_all(kind);
    }
}

fn destroy_all(kind: &dyn Kind) {
    for found in kind.open().unwrap().recover().unwrap() {
        found.store.unwrap().destroy().unwrap();
    }
}

pub fn compact_and_truncate_go_beyond_both_ends(kind: &dyn Kind) {
    for (op, what) in [
        (Op::Compact(1), "at the first"),
        (Op::Compact(7), "in the middle"),
        (Op::Compact(5), "at a gap"),
        (Op::Compact(20), "at the last"),
        (Op::Compact(21), "just beyond"),
        (Op::Compact(500), "far beyond"),
        (Op::Truncate(20), "at the last"),
        (Op::Truncate(500), "beyond"),
        (Op::Truncate(12), "in the middle"),
        (Op::Truncate(5), "at a gap"),
        (Op::Truncate(1), "at the first"),
        (Op::Truncate(0), "to nothing"),
    ] {
        let mut pair = Pair::plain(kind);
        for n in 1..=20 {
            pair.add(["a", "b", "c"][n % 3], format!("payload {n}").as_bytes());
        }
        pair.run(&Op::Remove(5, false));
        pair.run(&op);
        let what = format!("{op:?} {what}");
        let mut pair = pair.check_restarted(kind, &what);
        pair.add("a", b"more");
        pair.check_restarted(kind, &format!("{what} and more"));
        destroy_all(kind);
    }
}

pub fn messages_may_be_large_or_empty(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    let mut random = Random::new(7);
    for len in [0, 1, 70_000, 9 * 1024 * 1024, 0, 3_000_000, 4_200_000, 2_000_000, 5] {
        pair.add("large", &random.bytes(len));
    }
    let mut pair = pair.check_restarted(kind, "large");
    for seq in [4, 7, 1] {
        pair.run(&Op::Remove(seq, false));
    }
    let mut pair = pair.check_restarted(kind, "without large");
    if kind.lasts() {
        let payload = vec![0; 32 * 1024 * 1024 + 1];
        let refused =
            pair.store.append(&NewMessage { subject: b"a", payload: &payload, ..NewMessage::default() });
        assert_eq!(refused, Err(StoreError::TooLarge));
        pair.check("one was too large");
    }
}

pub fn flags_and_times_are_found(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    for n in 1..=40u64 {
        let mut kept = message(1_000_000 * (n / 4) as i64, &Mix::default(), &mut Random::new(n));
        kept.flags = if n % 7 == 0 { Flags::TTL.union(Flags::SOURCED) } else { Flags::default() };
        pair.run(&Op::Append(kept));
    }
    pair.run(&Op::Remove(14, false));
    let mut pair = pair.check_restarted(kind, "flagged");
    let at = |found: Option<natsd_jetstream::store::Message>| found.map(|message| message.seq);
    assert_eq!(at(pair.store.next_flagged(Flags::TTL, 8).unwrap()), Some(21));
    assert_eq!(at(pair.store.next_flagged(Flags::SOURCED, 36).unwrap()), None);
    assert_eq!(at(pair.store.next_flagged(Flags::SCHEDULE, 0).unwrap()), None);
    for (time_ns, seq) in [(0, 1), (1, 4), (1_000_000, 4), (10_000_000, 40), (10_000_001, 41), (i64::MAX, 41)]
    {
        assert_eq!(pair.store.seq_from_time(time_ns).unwrap(), seq, "{time_ns}");
    }
}

pub fn consumers_come_back_with_state_and_changes(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    let name = |name: &str| name.to_owned();
    for op in [
        Op::Consumer(name("one"), b"config".to_vec()),
        Op::Change(name("one"), b"before any state".to_vec()),
        Op::State(name("one"), b"state".to_vec()),
        Op::Change(name("one"), b"first".to_vec()),
        Op::Change(name("one"), b"second".to_vec()),
        Op::Consumer(name("one"), b"another config".to_vec()),
        Op::Consumer(name("two"), b"config".to_vec()),
        Op::State(name("two"), b"gone with it".to_vec()),
        Op::ConsumerGone(name("two")),
        Op::ConsumerGone(name("nobody")),
        Op::Consumer(name("two"), b"config".to_vec()),
        Op::Consumer(name("three ä.>"), b"config".to_vec()),
        Op::Change(name("three ä.>"), vec![7; 100_000]),
        Op::Meta(b"new meta".to_vec()),
    ] {
        pair.run(&op);
    }
    let changes = vec![b"first".to_vec(), b"second".to_vec()];
    let one = Consumer { meta: b"another config".to_vec(), state: b"state".to_vec(), changes };
    assert_eq!((&pair.model.consumers["one"], pair.model.consumers["two"].state.len()), (&one, 0));
    let mut pair = pair.check_restarted(kind, "consumers");
    for n in 0..3000u64 {
        pair.run(&Op::Change(name("one"), n.to_le_bytes().to_vec()));
    }
    pair.check_restarted(kind, "many changes");
}

pub fn what_is_destroyed_is_gone(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    pair.add("a", b"one");
    pair.run(&Op::Consumer("c".to_owned(), b"config".to_vec()));
    commit(&mut *pair.store).unwrap();
    pair.store.destroy().unwrap();
    let Pair { store, engine, .. } = pair;
    drop(store);
    let mut again = create(&*engine, "S", &StoreSettings::default());
    check_state(&mut *again, &Model::new(0, b"meta"), "made again");
    assert!(again.take_consumers().is_empty());
    again.destroy().unwrap();
    drop((again, engine));
    assert_eq!(kind.open().unwrap().recover().unwrap().len(), 0);
}

/// Operations of many kinds, each compared; the seed is the test's.
pub fn any_operations_leave_what_the_model_has(kind: &dyn Kind) {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let settings = StoreSettings {
            first_seq: if random.one_in(4) { random.below(50) } else { 0 },
            size_bytes_max: random.of(&[0, 20_000, 200_000]).to_owned(),
            compress: random.one_in(3),
            lazy: random.one_in(5),
            subject_messages_max: random.of(&[0, 1, 5]).to_owned(),
        };
        let mut pair = Pair::new(kind, &settings);
        let mut done = Vec::new();
        for step in 0..120 {
            let op = random_op(&pair.model, &Mix::default(), &mut random);
            done.push(op.clone());
            let what = format!("seed {seed}, step {step}, after {:?}", &done[done.len().saturating_sub(4)..]);
            pair.run(&op);
            if random.one_in(4) {
                commit(&mut *pair.store).unwrap();
            }
            check_state(&mut *pair.store, &pair.model, &what);
            if random.one_in(5) {
                check(&mut *pair.store, &pair.model, &mut random, &what);
            }
            if random.one_in(25) {
                pair = pair.restart(kind, random.one_in(2));
                check(&mut *pair.store, &pair.model, &mut random, &format!("{what}, restarted"));
            }
        }
        drop(pair);
        destroy_all(kind);
    }
}

pub fn an_uncommitted_change_takes_effect_at_once(kind: &dyn Kind) {
    let mut pair = Pair::plain(kind);
    pair.add("a", b"one");
    pair.check("not committed");
    pair.run(&Op::Remove(1, true));
    pair.check("erased before it was written");
    let pair = pair.check_restarted(kind, "erased");
    if kind.lasts() {
        drop(pair);
        let mut store = found(&*kind.open().unwrap());
        assert_eq!(store.load(1).unwrap(), None);
    }
}

/// Cases for a kind of store.
macro_rules! conformance {
    ($module:ident, $kind:expr => $($case:ident),* $(,)?) => {
        mod $module {
            $(#[test]
            fn $case() {
                super::$case(&$kind);
            })*
        }
    };
}

conformance!(memory, crate::kinds::Memory =>
    nothing_is_in_a_new_stream, a_stream_may_begin_later, names_are_taken_once,
    skips_leave_sequences_without_messages, removing_ends_moves_the_first_and_keeps_the_last,
    purges_take_what_they_say, compact_and_truncate_go_beyond_both_ends, messages_may_be_large_or_empty,
    flags_and_times_are_found, consumers_come_back_with_state_and_changes, what_is_destroyed_is_gone,
    any_operations_leave_what_the_model_has, an_uncommitted_change_takes_effect_at_once);
conformance!(third_party, crate::kinds::Redb::new() =>
    nothing_is_in_a_new_stream, a_stream_may_begin_later, names_are_taken_once,
    skips_leave_sequences_without_messages, removing_ends_moves_the_first_and_keeps_the_last,
    purges_take_what_they_say, compact_and_truncate_go_beyond_both_ends, messages_may_be_large_or_empty,
    flags_and_times_are_found, consumers_come_back_with_state_and_changes, what_is_destroyed_is_gone,
    any_operations_leave_what_the_model_has, an_uncommitted_change_takes_effect_at_once);
conformance!(file, crate::kinds::File::new() =>
    nothing_is_in_a_new_stream, a_stream_may_begin_later, names_are_taken_once,
    skips_leave_sequences_without_messages, removing_ends_moves_the_first_and_keeps_the_last,
    purges_take_what_they_say, compact_and_truncate_go_beyond_both_ends, messages_may_be_large_or_empty,
    flags_and_times_are_found, consumers_come_back_with_state_and_changes, what_is_destroyed_is_gone,
    any_operations_leave_what_the_model_has, an_uncommitted_change_takes_effect_at_once);
