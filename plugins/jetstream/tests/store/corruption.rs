//! One flipped bit, some garbled bytes, or a file that lost its end, in any file of a store: no panic, no wrong data,
//! nothing lost but what was hit, nothing that was deleted is back, and the damage is told.
//!
//! What lies in the cut-off end of the shared log's segment in use may be lost: until it comes to the files of its
//! stream, soon after, it is nowhere else. A stream is then as after a crash that took those commits: it was at some
//! commit behind the last one that is left, and everything of it is of one piece. Everywhere else no sequence, removal,
//! consumer or metadata is lost, whichever file is damaged.
//!
//! `NATSD_CORRUPTION_RUNS` says how many; `NATSD_CRASH_SEED=n` replays one.

use crate::compare::consumers;
use crate::crash::{campaign, setting};
use crate::disk::{Content, Disk};
use crate::kinds::{File, Kind, commit, create};
use crate::model::Model;
use crate::ops::{Mix, Op, message, random_op};
use crate::random::Random;
use crate::survivors::{Before, survived};
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{StoreEngine, StoreError, StoreSettings, StoredStream, StreamStore};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

const RUNS: u64 = 1_500;
/// Runs that share what was stored before the damage.
const SHARED: u64 = 20;
/// Where the log's records begin: what is written before is the header of a new use.
const LOG_DATA: u64 = 4096;
/// Longer records are not repaired.
const MENDED_MAX: usize = 4096;

#[test]
fn damage_to_natsds_files() {
    let runs = setting("NATSD_CORRUPTION_RUNS").unwrap_or(RUNS);
    let made: RefCell<Option<(u64, Stored)>> = RefCell::new(None);
    campaign("damage_to_natsds_files", runs, |seed| {
        let mut made = made.borrow_mut();
        let group = seed / SHARED;
        if made.as_ref().is_none_or(|(other, _)| *other != group) {
            *made = Some((group, Stored::new(group)));
        }
        if let Some((_, stored)) = &*made {
            stored.damaged(seed);
        }
    });
}

/// A store full of work, and what is in it.
struct Stored {
    disk: Arc<Disk>,
    streams: BTreeMap<&'static str, History>,
    /// What one damaged place may cost: compressed messages share one.
    compressed: bool,
    closed: bool,
}

/// A stream after each of its commits.
#[derive(Default)]
struct History(Vec<Commit>);

struct Commit {
    after: Model,
    /// Which file of the log has it, and where its record ends there, if it may be there alone.
    place: Option<(String, u64)>,
}

struct Damage {
    hit: Hit,
    told: String,
}

enum Hit {
    Bit,
    /// Up to eight in a row.
    Bytes,
    /// The file ends there now.
    Cut(String, u64),
}

impl Stored {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (compressed, closed) = (seed % 3 == 2, seed.is_multiple_of(2));
        let disk = Disk::new(seed);
        let kind = File { disk: disk.clone(), seed };
        let engine = kind.open().unwrap();
        disk.faults.take_journal();
        let mut stored = Self { disk, streams: BTreeMap::new(), compressed, closed };
        let mut stores = Vec::new();
        for name in ["ORDERS", "EVENTS"] {
            let settings = StoreSettings {
                compress: compressed,
                size_bytes_max: random.of(&[0, 40_000]).to_owned(),
                ..StoreSettings::default()
            };
            let mut store = create(&*engine, name, &settings);
            stored.fill(name, &mut *store, &mut random);
            if closed {
                store.close().unwrap();
            }
            stores.push(store);
        }
        drop(stores);
        if closed {
            engine.close().unwrap();
        }
        stored.note_writes();
        stored
    }

    /// Messages, removals of all kinds, consumers; all of it committed.
    fn fill(&mut self, name: &'static str, store: &mut dyn StreamStore, random: &mut Random) {
        let mut model = Model::new(0, b"meta");
        self.committed(name, &model);
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
                self.committed(name, &model);
            }
        }
        commit(store).unwrap();
        self.committed(name, &model);
    }

    fn committed(&mut self, name: &'static str, model: &Model) {
        let place = self.note_writes();
        self.streams.entry(name).or_default().0.push(Commit { after: model.clone(), place });
    }

    /// Looks at what was written: a new use of a file of the log means that all it had is in other files. Answers
    /// where the last record was written.
    fn note_writes(&mut self) -> Option<(String, u64)> {
        let mut last = None;
        let written = self.disk.faults.take_journal();
        for written in written.into_iter().filter(|written| written.path.contains("/log.")) {
            let path = written.path;
            if written.at >= LOG_DATA {
                last = Some((path, written.end));
                continue;
            }
            last = last.filter(|(of_it, _)| *of_it != path);
            for commit in self.streams.values_mut().flat_map(|history| &mut history.0) {
                commit.place = commit.place.take().filter(|(of_it, _)| *of_it != path);
            }
        }
        last
    }

    /// Damages a copy, and looks at what is left.
    fn damaged(&self, seed: u64) {
        let mut random = Random::new(seed.wrapping_mul(31));
        let disk = self.disk.copy(seed);
        let damage = Damage::new(&disk, &mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.check(&disk, seed, &damage)));
        if let Err(panic) = outcome {
            println!("seed {seed}: {}, closed {}, compressed {}", damage.told, self.closed, self.compressed);
            resume_unwind(panic);
        }
    }

    fn check(&self, disk: &Arc<Disk>, seed: u64, damage: &Damage) {
        let kind = File { disk: disk.clone(), seed: seed + 1000 };
        let engine = kind.open().unwrap();
        let found = recovered(&*engine);
        let names: Vec<&str> = found.iter().map(|found| &*found.name).collect();
        assert_eq!(names, self.streams.keys().copied().collect::<Vec<_>>());
        let mut left = Vec::new();
        let mut missing = Vec::new();
        for found in found {
            let history = &self.streams[&*found.name];
            let mut store = found.store.unwrap_or_else(|error| panic!("{}: {error}", found.name));
            let now = match history.before(damage) {
                Some(before) => survived(&mut *store, &found.meta, &before, &found.name),
                None => history.look(&mut *store, &found.meta, &mut missing),
            };
            left.push((found.name, store, now));
        }
        let most = match damage.hit {
            // The bits of what is longer are not tried.
            Hit::Bit => usize::from(missing.iter().any(|size| *size > MENDED_MAX)),
            Hit::Bytes => 2,
            Hit::Cut(..) => usize::MAX,
        };
        // Compressed messages are in a record together.
        assert!(self.compressed || missing.len() <= most, "lost messages of {missing:?} bytes");
        assert!(missing.is_empty() || !engine.damage().is_empty(), "the health report says nothing");
        self.check_later(&kind, engine, seed, left);
    }

    /// What comes later is stored behind everything there was, and what was found stays so.
    fn check_later(
        &self,
        kind: &File,
        engine: Box<dyn StoreEngine>,
        seed: u64,
        left: Vec<(String, Box<dyn StreamStore>, Model)>,
    ) {
        let mut nows = BTreeMap::new();
        for (name, mut store, mut now) in left {
            let op = Op::Append(message(i64::MAX / 2, &Mix::default(), &mut Random::new(seed)));
            let (_, size_bytes) = op.run(&mut *store).unwrap();
            now.apply(&op, size_bytes);
            assert_eq!(store.state().last_seq, now.last_seq, "{name}: a sequence is given away again");
            commit(&mut *store).unwrap();
            nows.insert(name, now);
        }
        drop(engine);
        let engine = kind.open().unwrap();
        for found in recovered(&*engine) {
            let now = nows.remove(&found.name).unwrap();
            survived(&mut *found.store.unwrap(), &found.meta, &Before::new(now), &found.name);
        }
        assert!(nows.is_empty());
    }
}

fn recovered(engine: &dyn StoreEngine) -> Vec<StoredStream> {
    engine.recover().unwrap()
}

impl History {
    /// What may be found if the damage took commits.
    fn before(&self, damage: &Damage) -> Option<Before> {
        let Hit::Cut(cut, cut_to) = &damage.hit else { return None };
        let is_hit = |commit: &Commit| {
            commit.place.as_ref().is_some_and(|(path, end)| path.ends_with(cut) && end > cut_to)
        };
        let first = self.0.iter().position(is_hit)?;
        let models = self.0[first.saturating_sub(1)..].iter().map(|commit| commit.after.clone());
        Some(Before::any_of(models.collect()))
    }

    /// Every message is there and right, or lost and named; nothing else is different. Sizes of those that are lost
    /// come to `missing`.
    fn look(&self, store: &mut dyn StreamStore, meta: &[u8], missing: &mut Vec<usize>) -> Model {
        let model = &self.0[self.0.len() - 1].after;
        assert_eq!(meta, model.meta, "metadata");
        assert_eq!(consumers(store), model.consumers, "consumers");
        let mut now = model.clone();
        let mut lost = BTreeSet::new();
        for seq in 1..=model.last_seq + 2 {
            let found = match store.load(seq) {
                Err(StoreError::Damaged { .. }) => None,
                found => found.unwrap(),
            };
            match (found, model.messages.get(&seq)) {
                (Some(message), Some(kept)) => assert!(kept.is(&message), "{seq} is not what was stored"),
                (Some(_), None) => panic!("{seq} was removed, and is back"),
                (None, Some(kept)) => {
                    missing.push(kept.subject.len() + kept.headers.len() + kept.payload.len());
                    now.messages.remove(&seq);
                    lost.insert(seq);
                }
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
        let told: BTreeSet<u64> = store.lost_seqs().iter().copied().collect();
        assert!(lost.is_subset(&told), "missing {lost:?}, told of {told:?}");
        assert_eq!(state.messages, now.messages.len() as u64, "messages; lost {lost:?}");
        now
    }
}

impl Damage {
    /// Damages one file.
    fn new(disk: &Disk, random: &mut Random) -> Self {
        let files = disk.files();
        let (path, len, used) = random.of(&files).clone();
        let is_log = path.contains("/log.");
        if used > 0 && random.one_in(2) {
            let bit = random.below(used * 8);
            disk.damage(&path, |content| flip(content, bit));
            return Self { hit: Hit::Bit, told: format!("{path}: bit {bit} of {used} used bytes") };
        }
        // A record of the log may have many changes: one by one they are no longer what was done together.
        if used > 0 && !is_log && random.one_in(3) {
            let at = random.below(used);
            for byte in at..(at + 1 + random.below(8)).min(used) {
                let bits = 1 + random.below(255);
                disk.damage(&path, |content| {
                    (0..8).filter(|n| bits >> n & 1 == 1).for_each(|n| flip(content, byte * 8 + n))
                });
            }
            return Self { hit: Hit::Bytes, told: format!("{path}: bytes at {at} of {used}") };
        }
        let end = match random.below(4) {
            0 => 0,
            1 => random.below(len + 1),
            _ => random.below(used + 1),
        };
        disk.damage(&path, |content| content.set_len(end));
        let told = format!("{path}: cut to {end} of {len} bytes, {used} used");
        Self { hit: Hit::Cut(path, end), told }
    }
}

fn flip(content: &mut Content, bit: u64) {
    let mut byte = [0];
    content.read(bit / 8, &mut byte);
    content.write(bit / 8, &[byte[0] ^ (1 << (bit % 8))]);
}
