//! Reads and syncs that fail: told, never taken for an answer.

use crate::disk::Disk;
use crate::kinds::{File, Kind, commit, create, found};
use crate::model::Model;
use crate::ops::{Mix, Op, message};
use crate::random::Random;
use natsd_jetstream::store::{StoreSettings, StreamStore};
use std::sync::Arc;

fn filled(disk: &Arc<Disk>) -> Model {
    let engine = File { disk: disk.clone(), seed: 1 }.open().unwrap();
    let mut store = create(&*engine, "S", &StoreSettings::default());
    let (mut model, mut random) = (Model::new(0, b"meta"), Random::new(9));
    (0..50).for_each(|_| add(&mut *store, &mut model, &mut random));
    commit(&mut *store).unwrap();
    store.close().unwrap();
    model
}

fn add(store: &mut dyn StreamStore, model: &mut Model, random: &mut Random) {
    let op = Op::Append(message(model.last_time_ns, &Mix::default(), random));
    let (_, size_bytes) = op.run(store).unwrap();
    model.apply(&op, size_bytes);
}

#[test]
fn a_read_that_fails_is_an_error_and_loses_nothing() {
    let disk = Disk::new(4);
    let model = filled(&disk);
    let engine = File { disk: disk.clone(), seed: 2 }.open().unwrap();
    let mut store = found(&*engine);
    let mut failed = 0;
    for (seq, kept) in &model.messages {
        disk.faults.fail_read_in(0);
        match store.load(*seq) {
            Err(_) => failed += 1,
            Ok(found) => assert!(kept.is(&found.unwrap())),
        }
        let found = store.load(*seq);
        let found = if found.is_err() { store.load(*seq) } else { found };
        assert!(kept.is(&found.unwrap().unwrap()), "{seq}");
    }
    assert!(failed > 0, "nothing was read");
    assert_eq!(store.state().messages, model.messages.len() as u64);
    assert!(store.lost_seqs().is_empty());
}

#[test]
fn a_sync_that_fails_is_final() {
    let disk = Disk::new(5);
    let model = filled(&disk);
    let engine = File { disk: disk.clone(), seed: 2 }.open().unwrap();
    let (mut store, mut after, mut random) = (found(&*engine), model.clone(), Random::new(1));
    disk.faults.fail_sync_in(0);
    add(&mut *store, &mut after, &mut random);
    assert!(commit(&mut *store).is_err(), "nobody knows whether it is durable");
    let again = Op::Append(message(after.last_time_ns, &Mix::default(), &mut random));
    assert!(again.run(&mut *store).is_err() || commit(&mut *store).is_err());
    assert!(!engine.trouble().is_empty());
    assert!(store.load(1).unwrap().is_some(), "reads go on");
    drop((store, engine));
    disk.faults.cut_power();
    disk.crash(&mut random);
    let mut store = found(&*File { disk: disk.clone(), seed: 3 }.open().unwrap());
    for (seq, kept) in &model.messages {
        assert!(kept.is(&store.load(*seq).unwrap().unwrap()), "{seq} was committed before");
    }
}
