//! Random work on several streams, and a crash at a random step of the disk: whatever was committed is there after
//! it, with its content and its sequence, and nothing that was deleted is back (SD-120 to SD-125).
//!
//! `NATSD_CRASH_RUNS` says how many runs; `NATSD_CRASH_SEED=n` replays one.

use crate::disk::Disk;
use crate::kinds::{File, Kind, Redb, commit};
use crate::model::Model;
use crate::ops::{Mix, Op, random_op};
use crate::random::Random;
use crate::survivors::{Before, survived};
use natsd_jetstream::store::{StoreEngine, StoreError, StoreSettings, StreamStore};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const RUNS: u64 = 2_000;
const NAMES: [&str; 3] = ["ORDERS", "EVENTS", "KV_x"];

struct Run<'a> {
    disk: Arc<Disk>,
    kind: &'a dyn Kind,
    random: Random,
    engine: Option<Box<dyn StoreEngine>>,
    stores: BTreeMap<&'static str, Box<dyn StreamStore>>,
    /// What each stream may be found as.
    before: BTreeMap<&'static str, Before>,
    /// Made or deleted when the power went: it may be there or not.
    unsure: Option<(&'static str, Before)>,
    killed: bool,
    mix: Mix,
    /// What was done, for whoever has to find a fault.
    told: Vec<String>,
}

pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs seeds one after the other; a seed that fails is named.
pub fn campaign(name: &str, runs: u64, run: impl Fn(u64)) {
    let seeds = match setting("NATSD_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut failed = Vec::new();
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
            println!("replay: NATSD_CRASH_SEED={seed} cargo test -p natsd-jetstream --test store {name}");
            failed.push(seed);
            if failed.len() >= 10 {
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{name}: seeds {failed:?} failed");
}

#[test]
fn crashes_of_natsds_files() {
    campaign("crashes_of_natsds_files", setting("NATSD_CRASH_RUNS").unwrap_or(RUNS), |seed| {
        let disk = Disk::new(seed);
        run(&File { disk: disk.clone(), seed }, disk, seed);
    });
}

#[test]
fn crashes_of_a_third_partys_store() {
    // It is slow, and not what is in question: redb is.
    let runs = setting("NATSD_CRASH_RUNS").unwrap_or(RUNS) / 100;
    campaign("crashes_of_a_third_partys_store", runs, |seed| {
        let disk = Disk::new(seed);
        run(&Redb { disk: disk.clone() }, disk, seed);
    });
}

fn run(kind: &dyn Kind, disk: Arc<Disk>, seed: u64) {
    let mut random = Random::new(seed);
    // A truncation and the sequences that it gives away again are a replicated log's, not a client's.
    let mix = Mix { large: random.between(10, 80), truncates: random.one_in(4), ..Mix::default() };
    let engine = Some(kind.open().unwrap());
    let (stores, before, told) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut run = Run { disk, kind, random, engine, stores, before, unsure: None, killed: false, mix, told };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..3 {
            run.life();
            run.recover();
        }
        // What was found stays.
        run.restart();
    }));
    if let Err(panic) = outcome {
        let from = run.told.len().saturating_sub(60);
        println!(
            "seed {seed}, the last of {} things done:\n  {}",
            run.told.len(),
            run.told[from..].join("\n  ")
        );
        std::panic::resume_unwind(panic);
    }
}

impl Run<'_> {
    /// Works until the power goes.
    fn life(&mut self) {
        let steps = match self.random.below(4) {
            0 => self.random.below(12),
            1 => self.random.below(60),
            _ => self.random.below(300),
        };
        self.told.push(format!("the power goes in {steps} steps"));
        self.disk.faults.cut_power_in(steps);
        for _ in 0..150 {
            if self.disk.faults.is_off() {
                return;
            }
            if self.step().is_err() {
                // Only a lost disk is a reason to fail.
                assert!(self.disk.faults.is_off(), "an error while the disk is well");
            }
        }
        // Nothing more comes: a kill, which leaves what was written.
        self.disk.faults.cut_power();
        self.killed = true;
    }

    fn step(&mut self) -> Result<(), StoreError> {
        let name = *self.random.of(&NAMES);
        match self.random.below(200) {
            0 => return self.delete(name),
            1 => {
                self.told.push("stopped".to_owned());
                self.stop()?;
                self.disk.faults.power_on();
                self.reopen();
                self.disk.faults.cut_power_in(self.random.below(200));
                return Ok(());
            }
            _ => {}
        }
        let (Some(store), Some(before)) = (self.stores.get_mut(name), self.before.get_mut(name)) else {
            return self.create(name);
        };
        for _ in 0..self.random.between(1, 4) {
            let op = random_op(before.now(), &self.mix, &mut self.random);
            self.told.push(format!("{name}: {}", brief(&op)));
            let (_, size_bytes) = op.run(&mut **store)?;
            before.changed(&op, size_bytes);
        }
        if !self.random.one_in(4) {
            commit(&mut **store)?;
            self.told.push(format!("{name}: committed"));
            before.committed();
        }
        Ok(())
    }

    fn create(&mut self, name: &'static str) -> Result<(), StoreError> {
        let settings = StoreSettings {
            first_seq: if self.random.one_in(5) { self.random.below(100) } else { 0 },
            size_bytes_max: self.random.of(&[0, 20_000]).to_owned(),
            compress: self.random.one_in(3),
            lazy: false,
            subject_messages_max: self.random.of(&[0, 1, 5]).to_owned(),
        };
        self.told.push(format!("{name}: create {settings:?}"));
        let before = Before::new(Model::new(settings.first_seq, b"meta"));
        self.unsure = Some((name, before.clone()));
        let Some(engine) = &self.engine else { return Ok(()) };
        let store = engine.create("A", name, &settings, b"meta")?;
        self.unsure = None;
        self.stores.insert(name, store);
        self.before.insert(name, before);
        Ok(())
    }

    fn delete(&mut self, name: &'static str) -> Result<(), StoreError> {
        let (Some(mut store), Some(before)) = (self.stores.remove(name), self.before.remove(name)) else {
            return Ok(());
        };
        self.told.push(format!("{name}: delete"));
        self.unsure = Some((name, before));
        store.destroy()?;
        self.unsure = None;
        Ok(())
    }

    /// Everything is closed in good order.
    fn stop(&mut self) -> Result<(), StoreError> {
        for (name, store) in &mut self.stores {
            store.close()?;
            self.before.get_mut(name).into_iter().for_each(Before::committed);
        }
        self.stores.clear();
        self.engine.take().map_or(Ok(()), |engine| engine.close())
    }

    /// After a crash, or a kill.
    fn recover(&mut self) {
        // Nothing of the old server reaches the disk any more.
        self.stores.clear();
        self.engine = None;
        if std::mem::take(&mut self.killed) {
            self.told.push("killed".to_owned());
            self.disk.faults.power_on();
        } else {
            self.told.push(format!("crashed after {} steps", self.disk.faults.steps()));
            self.disk.crash(&mut self.random);
        }
        // The power may go again while the store is put in order.
        while self.random.one_in(4) {
            self.disk.faults.cut_power_in(self.random.below(30));
            let opened = self.kind.open().and_then(|engine| engine.recover().map(|found| (found, engine)));
            if !self.disk.faults.is_off() {
                drop(opened.unwrap());
            }
            if !self.disk.faults.is_off() {
                self.disk.faults.power_on();
                break;
            }
            self.told.push("crashed while recovering".to_owned());
            self.disk.crash(&mut self.random);
        }
        self.reopen();
    }

    fn restart(&mut self) {
        self.told.push("restarted".to_owned());
        self.before.values_mut().for_each(Before::committed);
        self.reopen();
    }

    fn reopen(&mut self) {
        let mut before = std::mem::take(&mut self.before);
        let unsure = self.unsure.take();
        self.stores.clear();
        self.engine = None;
        let engine = self.kind.open().unwrap();
        for found in engine.recover().unwrap() {
            assert_eq!(found.account, "A");
            let name = *NAMES.iter().find(|name| **name == found.name).expect("a stream that was made");
            let expected = before.remove(name).or_else(|| {
                let (unsure, before) = unsure.clone()?;
                (unsure == name).then_some(before)
            });
            let expected = expected.unwrap_or_else(|| panic!("{name} was deleted, and is back"));
            let mut store = found.store.unwrap_or_else(|error| panic!("{name} is not readable: {error}"));
            let now = survived(&mut *store, &found.meta, &expected, name);
            self.told.push(format!("{name}: found {} to {}", now.first_seq(), now.last_seq));
            self.stores.insert(name, store);
            self.before.insert(name, Before::new(now));
        }
        assert!(before.is_empty(), "gone: {:?}", before.keys());
        self.engine = Some(engine);
    }
}

fn brief(op: &Op) -> String {
    match op {
        Op::Append(kept) => format!("append {} bytes to {}", kept.payload.len(), kept.subject.escape_ascii()),
        Op::Meta(meta) => format!("metadata {}", meta.escape_ascii()),
        Op::Consumer(name, meta) => format!("consumer {name} {}", meta.escape_ascii()),
        Op::State(name, state) => format!("state of {name}, {} bytes", state.len()),
        Op::Change(name, change) => format!("change of {name}, {} bytes", change.len()),
        Op::Purge(purge) => {
            let patterns: Vec<_> = purge.filter.patterns().map(|p| p.escape_ascii().to_string()).collect();
            format!("purge {patterns:?} before {} keep {}", purge.before_seq, purge.keep)
        }
        other => format!("{other:?}"),
    }
}
