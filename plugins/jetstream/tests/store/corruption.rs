//! One flipped bit, or a file that lost its end, in any file of a store: no panic, no wrong data, nothing lost but what
//! was hit, nothing that was deleted is back, and the damage is told.
//!
//! `NATSD_CORRUPTION_RUNS` says how many; `NATSD_CRASH_SEED=n` replays one.

use crate::compare::consumers;
use crate::crash::{campaign, setting};
use crate::disk::Disk;
use crate::kinds::{File, Kind, commit, create};
use crate::model::Model;
use crate::ops::{Mix, Op, message, random_op};
use crate::random::Random;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{StoreError, StoreSettings, StreamStore};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Up to the first seed that fails; 5,000 are the aim.
const RUNS: u64 = 108;
/// Runs that share what was stored before the damage.
const SHARED: u64 = 20;

#[test]
fn damage_to_natsds_files() {
    let runs = setting("NATSD_CORRUPTION_RUNS").unwrap_or(RUNS);
    let mut made: Option<(u64, Stored)> = None;
    let made = std::cell::RefCell::new(&mut made);
    campaign("damage_to_natsds_files", runs, |seed| {
        let mut made = made.borrow_mut();
        let group = seed / SHARED;
        if made.as_ref().is_none_or(|(other, _)| *other != group) {
            **made = Some((group, Stored::new(group)));
        }
        if let Some((_, stored)) = &**made {
            stored.damaged(seed);
        }
    });
}

/// A store full of work, and what is in it.
struct Stored {
    disk: Arc<Disk>,
    streams: BTreeMap<&'static str, Model>,
    /// What one damaged place may cost: compressed messages share one.
    compressed: bool,
    closed: bool,
}

impl Stored {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (compressed, closed) = (seed % 3 == 2, seed.is_multiple_of(2));
        let disk = Disk::new(seed);
        let kind = File { disk: disk.clone(), seed };
        let engine = kind.open().unwrap();
        let mut streams = BTreeMap::new();
        let mut stores = Vec::new();
        for name in ["ORDERS", "EVENTS"] {
            let settings = StoreSettings {
                compress: compressed,
                size_bytes_max: random.of(&[0, 40_000]).to_owned(),
                ..StoreSettings::default()
            };
            let mut store = create(&*engine, name, &settings);
            let model = fill(&mut *store, &mut random);
            if closed {
                store.close().unwrap();
            }
            streams.insert(name, model);
            stores.push(store);
        }
        drop(stores);
        if closed {
            engine.close().unwrap();
        }
        drop(engine);
        Self { disk, streams, compressed, closed }
    }

    /// Damages a copy, and looks at what is left.
    fn damaged(&self, seed: u64) {
        let mut random = Random::new(seed.wrapping_mul(31));
        let disk = self.disk.copy(seed);
        let (what, is_bit) = damage(&disk, &mut random);
        let what = format!("{what}, closed {}, compressed {}", self.closed, self.compressed);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.check(&disk, seed, is_bit)));
        if let Err(panic) = outcome {
            println!("seed {seed}: {what}");
            resume_unwind(panic);
        }
    }

    fn check(&self, disk: &Arc<Disk>, seed: u64, is_bit: bool) {
        let kind = File { disk: disk.clone(), seed: seed + 1000 };
        let engine = kind.open().unwrap();
        let mut found = engine.recover().unwrap();
        let names: Vec<&str> = found.iter().map(|found| &*found.name).collect();
        assert_eq!(names, self.streams.keys().copied().collect::<Vec<_>>());
        let (mut lost, mut stores) = (0, Vec::new());
        for found in found.drain(..) {
            let model = &self.streams[&*found.name];
            let mut store = found.store.unwrap_or_else(|error| panic!("{}: {error}", found.name));
            assert_eq!(found.meta, model.meta, "metadata");
            assert_eq!(consumers(&mut *store), model.consumers, "consumers");
            let of_it = look(&mut *store, model);
            lost += of_it.len();
            stores.push((found.name, store, of_it));
        }
        // A bit is in one record; compressed ones are together in theirs.
        assert!(!is_bit || self.compressed || lost <= 1, "one bit took {lost} messages");
        // What comes later is stored behind everything there was, and what was found stays so.
        for (name, store, _) in &mut stores {
            let appended = Op::Append(message(i64::MAX / 2, &Mix::default(), &mut Random::new(seed)));
            appended.run(&mut **store).unwrap();
            assert!(
                store.state().last_seq > self.streams[&**name].last_seq,
                "a sequence is given away again"
            );
            commit(&mut **store).unwrap();
        }
        let lost: BTreeMap<String, BTreeSet<u64>> =
            stores.into_iter().map(|(name, _, lost)| (name, lost)).collect();
        drop(engine);
        let engine = kind.open().unwrap();
        for found in engine.recover().unwrap() {
            let mut store = found.store.unwrap();
            for (seq, kept) in &self.streams[&*found.name].messages {
                let there = store.load(*seq).ok().flatten();
                let expected = !lost[&found.name].contains(seq);
                assert_eq!(
                    there.is_some_and(|message| kept.is(&message)),
                    expected,
                    "{seq}, the second time"
                );
            }
        }
    }
}

/// Messages, removals of all kinds, consumers; all of it committed.
fn fill(store: &mut dyn StreamStore, random: &mut Random) -> Model {
    let mut model = Model::new(0, b"meta");
    let mix = Mix { large: 60, large_bytes: 5_000, truncates: false };
    for _ in 0..300 {
        let op = match random_op(&model, &mix, random) {
            Op::Configure(_) | Op::Skip(2000, _) => continue,
            // What stays is what there is to be lost.
            Op::Purge(_) | Op::Compact(_) if !random.one_in(10) => continue,
            op => op,
        };
        let (_, size_bytes) = op.run(store).unwrap();
        model.apply(&op, size_bytes);
        if random.one_in(3) {
            commit(store).unwrap();
        }
    }
    commit(store).unwrap();
    model
}

/// Damages one file, and says how; true: by one bit.
fn damage(disk: &Disk, random: &mut Random) -> (String, bool) {
    let files = disk.files();
    let (path, len, used) = random.of(&files).clone();
    if used > 0 && !random.one_in(3) {
        let bit = random.below(used * 8);
        disk.damage(&path, |content| {
            let mut byte = [0];
            content.read(bit / 8, &mut byte);
            content.write(bit / 8, &[byte[0] ^ (1 << (bit % 8))]);
        });
        return (format!("{path}: bit {bit} of {used} used bytes"), true);
    }
    let end = match random.below(4) {
        0 => 0,
        1 => random.below(len + 1),
        _ => random.below(used + 1),
    };
    disk.damage(&path, |content| content.set_len(end));
    (format!("{path}: cut to {end} of {len} bytes, {used} used"), false)
}

/// Every message is there and right, or lost and named.
fn look(store: &mut dyn StreamStore, model: &Model) -> BTreeSet<u64> {
    let mut missing = BTreeSet::new();
    for seq in 1..=model.last_seq + 2 {
        let found = match store.load(seq) {
            Err(StoreError::Damaged { .. }) => None,
            found => found.unwrap(),
        };
        match (found, model.messages.get(&seq)) {
            (Some(message), Some(kept)) => assert!(kept.is(&message), "{seq} is not what was stored"),
            (Some(_), None) => panic!("{seq} was removed, and is back"),
            (None, Some(_)) => drop(missing.insert(seq)),
            (None, None) => {}
        }
    }
    let mut at = 0;
    while let Some(message) = store.next(&Filter::all(), at).unwrap() {
        assert!(model.messages[&message.seq].is(&message), "next {}", message.seq);
        at = message.seq + 1;
    }
    let state = store.state();
    assert_eq!(state.last_seq, model.last_seq, "the last sequence");
    let told: BTreeSet<u64> = state.lost_seqs.iter().copied().collect();
    assert!(missing.is_subset(&told), "missing {missing:?}, told of {told:?}");
    assert_eq!(state.messages, (model.messages.len() - missing.len()) as u64, "messages; lost {missing:?}");
    missing
}
