//! Random work, with the power going at a random call to the disk, again and again over one store: what was answered
//! is there, and what was removed stays away.

use super::disk::Disk;
use super::{ROOT, commit};
use crate::config::{Cipher, Sync};
use crate::filter::Filter;
use crate::store::file::{FileEngine, Keys, Options};
use crate::store::{NewMessage, Purge, StoreEngine, StoreSettings, StreamStore, SubjectFacts};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The messages of a stream, and the state of its consumer.
#[derive(Clone, Default, Debug)]
struct Model {
    messages: BTreeMap<u64, (String, Vec<u8>)>,
    last_seq: u64,
    /// Added since the last commit: large ones may be there when the rest of their job is not.
    added: BTreeMap<u64, (String, Vec<u8>)>,
    has_consumer: bool,
    consumer: Option<Vec<u8>>,
    changes: Vec<Vec<u8>>,
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What lives in one store: for each stream what was answered, and what may be there besides.
struct World {
    disk: Arc<Disk>,
    random: Random,
    settings: StoreSettings,
    key: Option<&'static str>,
    sure: BTreeMap<String, Model>,
    unsure: BTreeMap<String, Option<Model>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(Disk::default());
        let settings = StoreSettings { compress: seed.is_multiple_of(2), ..StoreSettings::default() };
        let key = seed.is_multiple_of(3).then_some("secret");
        let random = Random(seed);
        Self { disk, random, settings, key, sure: BTreeMap::new(), unsure: BTreeMap::new() }
    }

    /// One life of the server, which ends with the power or in good order.
    fn live(&mut self) {
        let random = self.random.below(u64::MAX >> 33);
        let keys = self.key.map(|key| Keys {
            current: key.to_owned(),
            previous: String::new(),
            cipher: Cipher::AesGcm,
            entropy: Arc::new(move |buffer| buffer.fill(random as u8)),
        });
        let options = Options { sync: Sync::Always, random, keys };
        let engine = FileEngine::open(self.disk.clone(), ROOT, options, None).unwrap();
        let mut stores = self.recover(&engine);
        let crashes = self.random.below(4) > 0;
        if crashes {
            let calls = 20 + self.random.below(400);
            self.disk.cut_power_after(calls as i64);
        }
        let mut is_on = true;
        for _ in 0..60 {
            is_on = self.act(&engine, &mut stores);
            if !is_on {
                break;
            }
        }
        if is_on && !crashes {
            stores.values_mut().for_each(|store| store.close().unwrap());
            engine.close().unwrap();
        } else {
            drop((stores, engine));
            let random = &mut self.random;
            self.disk.crash(&mut || random.below(1 << 30));
        }
    }

    fn recover(&mut self, engine: &FileEngine) -> BTreeMap<String, Box<dyn StreamStore>> {
        let mut stores = BTreeMap::new();
        for found in engine.recover().unwrap() {
            let mut store = found.store.unwrap();
            store.configure(&self.settings).unwrap();
            let (sure, unsure) = (self.sure.get(&found.name), self.unsure.get(&found.name));
            assert!(sure.is_some() || unsure.is_some(), "{} was removed and is back", found.name);
            let seen = read(&mut *store);
            check(&found.name, sure, unsure.and_then(Option::as_ref), &seen, &mut *store);
            if !seen.has_consumer {
                // The making of the stream was cut short.
                store.put_consumer("c", b"config").unwrap();
            }
            self.sure.insert(found.name.clone(), seen);
            stores.insert(found.name, store);
        }
        self.sure.retain(|name, _| {
            let is_there = stores.contains_key(name);
            assert!(is_there || matches!(self.unsure.get(name), Some(None)), "{name} is not there");
            is_there
        });
        self.unsure.clear();
        stores
    }

    /// Changes something and commits; whether the power is still on.
    fn act(&mut self, engine: &FileEngine, stores: &mut BTreeMap<String, Box<dyn StreamStore>>) -> bool {
        let name = format!("S{}", self.random.below(3));
        let Some(store) = stores.get_mut(&name) else {
            self.unsure.insert(name.clone(), Some(Model::default()));
            let Ok(mut store) = engine.create("A", &name, &self.settings, b"meta") else {
                return false;
            };
            store.put_consumer("c", b"config").unwrap();
            if commit(&mut *store).is_err() {
                return false;
            }
            self.unsure.remove(&name);
            self.sure.insert(name.clone(), Model::default());
            stores.insert(name, store);
            return true;
        };
        if self.random.below(60) == 0 {
            self.unsure.insert(name.clone(), None);
            let Some(mut store) = stores.remove(&name) else { return true };
            if store.destroy().is_err() {
                return false;
            }
            self.unsure.remove(&name);
            self.sure.remove(&name);
            return true;
        }
        let Some(before) = self.sure.get(&name) else { return true };
        let mut after = Model { added: BTreeMap::new(), ..before.clone() };
        for _ in 0..=self.random.below(4) {
            if change(&mut **store, &mut after, &mut self.random).is_err() {
                self.unsure.insert(name, Some(after));
                return false;
            }
        }
        if commit(&mut **store).is_err() {
            self.unsure.insert(name, Some(after));
            return false;
        }
        if self.random.below(8) == 0 {
            ask(&name, &mut **store, &after);
        }
        self.sure.insert(name, after);
        true
    }
}

fn change(
    store: &mut dyn StreamStore,
    model: &mut Model,
    random: &mut Random,
) -> Result<(), crate::store::StoreError> {
    let any = |random: &mut Random, model: &Model| 1 + random.below(model.last_seq + 1);
    match random.below(20) {
        0..=11 => {
            let len = match random.below(40) {
                0 => 300_000,
                1..=5 => 5000,
                _ => 40,
            };
            let payload = vec![random.below(256) as u8; len];
            let subject = format!("s.{}", random.below(5));
            let time_ns = store.state().last_time_ns + 1000;
            let (subject_bytes, content) = (subject.as_bytes(), &payload);
            let message =
                NewMessage { subject: subject_bytes, payload: content, time_ns, ..NewMessage::default() };
            let seq = store.append(&message)?.seq;
            assert_eq!(seq, model.last_seq + 1);
            model.last_seq = seq;
            model.added.insert(seq, (subject.clone(), payload.clone()));
            model.messages.insert(seq, (subject, payload));
        }
        12..=13 => {
            let seq = any(random, model);
            let erase = random.below(4) == 0;
            let removed = store.remove(seq, erase)?;
            assert_eq!(removed.is_some(), model.messages.remove(&seq).is_some());
        }
        14 => {
            let purge = Purge { before_seq: any(random, model), ..Purge::default() };
            store.purge(&purge)?;
            model.messages.retain(|seq, _| *seq >= purge.before_seq);
        }
        15 if random.below(2) == 0 => purge_subject(store, model, random)?,
        15 if random.below(3) == 0 && model.last_seq > 0 => {
            let seq = 1 + random.below(model.last_seq + 3);
            store.compact(seq)?;
            model.messages.retain(|stored, _| *stored >= seq);
            model.last_seq = model.last_seq.max(seq - 1);
        }
        15 if random.below(3) == 0 && model.last_seq > 0 => {
            let seq = model.last_seq - random.below(4).min(model.last_seq - 1);
            store.truncate(seq)?;
            model.messages.retain(|stored, _| *stored <= seq);
            model.last_seq = seq;
        }
        15 => {
            store.skip(2, store.state().last_time_ns)?;
            model.last_seq += 2;
        }
        16 => {
            let state = vec![random.below(256) as u8; 20];
            store.put_consumer_state("c", &state)?;
            model.consumer = Some(state);
            model.changes.clear();
        }
        _ => {
            let change = vec![random.below(256) as u8; 9];
            store.record_consumer("c", &change)?;
            model.changes.push(change);
        }
    }
    Ok(())
}

fn purge_subject(
    store: &mut dyn StreamStore,
    model: &mut Model,
    random: &mut Random,
) -> Result<(), crate::store::StoreError> {
    let (subject, keep) = (format!("s.{}", random.below(5)), random.below(3));
    let filter = Filter::new([subject.as_str()]);
    store.purge(&Purge { filter, keep, ..Purge::default() })?;
    let matching: Vec<u64> =
        model.messages.iter().filter(|(_, stored)| stored.0 == subject).map(|(seq, _)| *seq).collect();
    let gone = matching.len().saturating_sub(keep as usize);
    matching[..gone].iter().for_each(|seq| drop(model.messages.remove(seq)));
    Ok(())
}

/// What the store answers about its messages is what there is.
fn ask(name: &str, store: &mut dyn StreamStore, model: &Model) {
    let state = store.state();
    let size = |(subject, payload): &(String, Vec<u8>)| 30 + (subject.len() + payload.len()) as u64;
    assert_eq!(state.bytes, model.messages.values().map(size).sum::<u64>(), "{name}");
    for n in 0..5 {
        let subject = format!("s.{n}");
        let filter = Filter::new([subject.as_str()]);
        let matching: Vec<u64> =
            model.messages.iter().filter(|(_, stored)| stored.0 == subject).map(|(seq, _)| *seq).collect();
        let facts = store.subject(subject.as_bytes()).unwrap();
        let expected = SubjectFacts {
            messages: matching.len() as u64,
            first_seq: matching.first().copied().unwrap_or(0),
            last_seq: matching.last().copied().unwrap_or(0),
        };
        assert_eq!(facts, expected, "{name} {subject}");
        let middle = model.last_seq / 2;
        let next = matching.iter().copied().find(|seq| *seq >= middle);
        assert_eq!(store.next(&filter, middle).unwrap().map(|message| message.seq), next, "{name} {subject}");
        let last = matching.iter().copied().rfind(|seq| *seq <= middle);
        assert_eq!(store.last(&filter, middle).unwrap().map(|message| message.seq), last, "{name} {subject}");
        let count = matching.iter().filter(|seq| **seq >= middle).count() as u64;
        assert_eq!(store.count(&filter, middle, false).unwrap(), count, "{name} {subject}");
    }
}

fn read(store: &mut dyn StreamStore) -> Model {
    let last_seq = store.state().last_seq;
    let mut model = Model { last_seq, ..Model::default() };
    for seq in 1..=last_seq {
        if let Some(message) = store.load(seq).unwrap() {
            let subject = String::from_utf8(message.subject.to_vec()).unwrap();
            model.messages.insert(seq, (subject, message.payload.to_vec()));
        }
    }
    if let Some(consumer) = store.take_consumers().pop() {
        model.has_consumer = true;
        model.consumer = (!consumer.state.is_empty()).then(|| consumer.state.to_vec());
        model.changes = consumer.changes.iter().map(|change| change.to_vec()).collect();
    }
    model
}

fn check(
    name: &str,
    sure: Option<&Model>,
    unsure: Option<&Model>,
    seen: &Model,
    store: &mut dyn StreamStore,
) {
    let none = Model::default();
    let sure = sure.unwrap_or(&none);
    let other = unsure.unwrap_or(sure);
    for seq in 1..=seen.last_seq.max(sure.last_seq) {
        let (a, b, is) = (sure.messages.get(&seq), other.messages.get(&seq), seen.messages.get(&seq));
        assert!(
            is == a || is == b || is == other.added.get(&seq),
            "{name}: message {seq} is {:?}, not {:?}",
            is.map(|m| &m.0),
            a.map(|m| &m.0)
        );
    }
    let last_seq = sure.last_seq.min(other.last_seq);
    assert!(seen.last_seq >= last_seq, "{name}: {} after {last_seq}", seen.last_seq);
    let consumer = (&seen.consumer, &seen.changes);
    assert!(consumer == (&sure.consumer, &sure.changes) || consumer == (&other.consumer, &other.changes));
    let state = store.state();
    assert_eq!(state.messages, seen.messages.len() as u64, "{name}");
    let first = seen.messages.keys().next().copied();
    assert_eq!(
        state.first_seq,
        first.unwrap_or(if seen.last_seq == 0 { 0 } else { seen.last_seq + 1 }),
        "{name}"
    );
    assert_eq!(store.lost_seqs(), Vec::<u64>::new(), "{name}: nothing was damaged");
    let gaps: Vec<u64> = match first {
        Some(first) => (first..=seen.last_seq).filter(|seq| !seen.messages.contains_key(seq)).collect(),
        None => Vec::new(),
    };
    assert_eq!(store.deleted(), gaps, "{name}");
    ask(name, store, seen);
}

#[test]
fn what_was_answered_survives_the_power_going_at_any_call() {
    let seeds = std::env::var("NATSD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let first: u64 = std::env::var("NATSD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..8 {
            world.live();
        }
    }
}
