//! Commits that the thread of the store finds together, small and large ones of several streams, with the power going
//! at any call to the disk: what was answered is there.

use super::crashes::Random;
use super::disk::Disk;
use super::{ROOT, add, commit, engine};
use crate::config::Sync;
use crate::store::file::{FileEngine, Options, Threads};
use crate::store::{StoreEngine, StoreSettings};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// A stream, and the size of the message that is committed to it.
const COMMITS: [(usize, usize); 9] = [
    (0, 300),
    (0, 20_000),
    (1, 2000),
    (0, 300_000),
    (0, 17_000),
    (2, 400),
    (2, 400_000),
    (1, 40_000),
    (0, 500),
];

/// How many of the commits were answered well; `calls` to the disk succeed after they were asked for.
fn run(calls: i64, random: &mut Random) -> usize {
    let disk = Arc::new(Disk::default());
    let first = engine(&disk, 1);
    for name in ["0", "1", "2"] {
        let mut store = first.create("A", name, &StoreSettings::default(), b"meta").unwrap();
        add(&mut *store, "a", b"first");
        commit(&mut *store).unwrap();
        store.close().unwrap();
    }
    first.close().unwrap();
    let (zero, later) = (Instant::now(), Mutex::new(Vec::new()));
    let threads = Threads {
        spawn: &|job| later.lock().push(job),
        clock: Arc::new(move || zero.elapsed().as_nanos() as u64),
        settled: Arc::new(|| ()),
    };
    let options = Options { sync: Sync::Always, random: 2, keys: None };
    let second = FileEngine::open(disk.clone(), ROOT, options, Some(threads)).unwrap();
    let found = second.recover().unwrap();
    let mut stores: Vec<_> = found.into_iter().map(|found| (found.name, found.store.unwrap())).collect();
    stores.sort_by(|(a, _), (b, _)| a.cmp(b));
    let asked = COMMITS.map(|(at, size)| {
        let store = &mut stores[at].1;
        let seq = add(&mut **store, "a", &vec![size as u8; size]);
        (at, size, seq, store.commit())
    });
    disk.cut_power_after(calls);
    let running: Vec<_> = later.into_inner().into_iter().map(std::thread::spawn).collect();
    let answered = asked.map(|(at, size, seq, commit)| (at, size, seq, commit.wait_blocking()));
    // With the power off nothing can be closed in good order.
    let _ = second.close();
    drop((stores, second));
    running.into_iter().for_each(|thread| thread.join().unwrap());
    disk.crash(&mut || random.below(1 << 30));
    let third = engine(&disk, 3);
    let mut found = third.recover().unwrap();
    for (at, size, seq, answer) in &answered {
        if answer.is_ok() {
            let stream = found.iter_mut().find(|found| *found.name == at.to_string()).unwrap();
            let message = stream.store.as_mut().unwrap().load(*seq).unwrap();
            let payload = message.unwrap_or_else(|| panic!("{size} bytes are lost at {calls} calls")).payload;
            assert_eq!(payload, vec![*size as u8; *size]);
        }
    }
    for stream in &mut found {
        let store = stream.store.as_mut().unwrap();
        let state = store.state();
        assert!(store.lost_seqs().is_empty(), "{} at {calls} calls: {state:?}", stream.name);
        assert_eq!(state.messages, state.last_seq, "{} has a hole at {calls} calls: {state:?}", stream.name);
    }
    answered.iter().filter(|(.., answer)| answer.is_ok()).count()
}

#[test]
fn what_a_round_answered_survives_the_power_going_at_any_call() {
    let mut random = Random(1);
    let mut calls = 0;
    let mut counts = Vec::new();
    while counts.last() != Some(&COMMITS.len()) {
        assert!(calls < 500, "not even {calls} calls are enough");
        counts.push(run(calls, &mut random));
        calls += 1;
    }
    assert_eq!(counts[0], 0);
}
