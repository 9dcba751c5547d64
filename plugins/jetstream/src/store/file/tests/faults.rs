//! Damage, crashes, removals.

use super::crashes::Random;
use super::disk::Disk;
use super::{add, commit, create, engine, reopen};
use crate::filter::Filter;
use crate::store::{Commit, NewMessage, StoreEngine, StoreError, StreamStore};
use std::sync::Arc;

const MESSAGES: u64 = 200;

/// A store with messages, deletions and a consumer, closed in good order or not.
fn filled(closes: bool) -> Arc<Disk> {
    let disk = Arc::new(Disk::default());
    let engine = engine(&disk, 5);
    let mut store = create(&engine);
    store.put_consumer("c", b"config").unwrap();
    for n in 1..=MESSAGES {
        add(&mut *store, &format!("s.{}", n % 7), format!("payload {n}").as_bytes());
    }
    store.remove(20, false).unwrap();
    store.compact(10).unwrap();
    store.put_consumer_state("c", b"state").unwrap();
    commit(&mut *store).unwrap();
    if closes {
        store.close().unwrap();
        engine.close().unwrap();
    }
    disk.copy()
}

/// Everything but what is listed as lost is there, and nothing else.
fn check(store: &mut dyn StreamStore, what: &str) {
    let lost = store.lost_seqs();
    assert!(lost.is_empty(), "{what}: lost {lost:?}");
    assert!(store.state().last_seq >= MESSAGES, "{what}");
    for seq in 1..=MESSAGES {
        let there = match store.load(seq) {
            Ok(message) => message,
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => panic!("{what}: {error}"),
        };
        if seq < 10 || seq == 20 || lost.contains(&seq) {
            assert_eq!(there, None, "{what}: {seq}");
        } else {
            let message = there.unwrap_or_else(|| panic!("{what}: {seq} is not there"));
            assert_eq!(message.payload, format!("payload {seq}"), "{what}");
        }
    }
    let consumers = store.take_consumers();
    assert_eq!(consumers.len(), 1, "{what}");
    assert_eq!((&*consumers[0].meta, &*consumers[0].state), (&b"config"[..], &b"state"[..]), "{what}");
    assert_eq!(add(store, "s.1", b"more"), store.state().last_seq, "{what}");
    commit(store).unwrap();
}

#[test]
fn a_flipped_bit_anywhere_costs_nothing() {
    for closes in [true, false] {
        let disk = filled(closes);
        let mut random = 99u64;
        for round in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let files: Vec<(String, usize)> = disk.files();
            let (path, size) = &files[round % files.len()];
            // The log is mostly empty.
            let used = if path.contains("log.") { (*size).min(24_000) } else { *size };
            let bit = (random >> 20) as usize % (used * 8);
            let copy = disk.copy();
            copy.change(path, |content| content[bit / 8] ^= 1 << (bit % 8));
            let what = format!("{path} bit {bit} of {size} bytes, closed {closes}");
            let engine = engine(&copy, 7);
            let mut store = reopen(&engine);
            check(&mut *store, &what);
            drop((store, engine));
            // What was found stays so.
            let engine = super::engine(&copy, 7);
            let mut store = reopen(&engine);
            assert_eq!(store.load(MESSAGES + 30).unwrap(), None);
            assert!(store.next(&Filter::all(), 0).unwrap().is_some());
        }
    }
}

#[test]
fn a_file_cut_anywhere_loses_at_most_what_was_cut() {
    for closes in [true, false] {
        let disk = filled(closes);
        let mut random = Random(5);
        for round in 0..100 {
            let files: Vec<(String, usize)> = disk.files();
            let (path, size) = &files[round % files.len()];
            let left = if round % 3 == 0 { 0 } else { random.below(*size as u64) as usize };
            let copy = disk.copy();
            copy.change(path, |content| content.truncate(left));
            let what = format!("{path} cut from {size} to {left}, closed {closes}");
            let engine = engine(&copy, 7);
            let mut store = reopen(&engine);
            let lost = store.lost_seqs();
            assert!(lost.is_empty() || path.ends_with(".blk"), "{what}: {lost:?}");
            assert!(closes || lost.is_empty(), "{what}: the log has all of it, but {lost:?}");
            assert_eq!(store.state().last_seq, MESSAGES, "{what}");
            for seq in (10..=MESSAGES).filter(|seq| *seq != 20) {
                let there = store.load(seq).unwrap();
                assert_eq!(there.is_none(), lost.contains(&seq), "{what}: {seq}");
            }
            assert_eq!(store.take_consumers().len(), 1, "{what}");
            assert_eq!(add(&mut *store, "s.1", b"more"), MESSAGES + 1);
            commit(&mut *store).unwrap();
        }
    }
}

/// It was still counted in its subject once.
/// What is in the log alone goes with its end, but no stream does.
#[test]
fn a_stream_that_was_just_made_does_not_need_the_log() {
    let disk = Arc::new(Disk::default());
    let first = engine(&disk, 5);
    let store = create(&first);
    let disk = disk.copy();
    drop((store, first));
    for path in ["js/log.1", "js/log.2"] {
        disk.change(path, |content| content.truncate(4096));
    }
    let mut store = reopen(&engine(&disk, 6));
    assert_eq!(add(&mut *store, "s.1", b"more"), 1);
}

#[test]
fn a_message_that_is_found_damaged_when_it_is_read_counts_nowhere() {
    let disk = filled(true);
    let engine = engine(&disk, 7);
    let mut store = reopen(&engine);
    let (before, facts) = (store.state(), store.subject(b"s.3").unwrap());
    let path = disk.files().into_iter().map(|(path, _)| path).find(|path| path.ends_with(".blk")).unwrap();
    disk.change(&path, |content| {
        let at = content.windows(11).position(|part| part == b"payload 192").unwrap();
        // Not one bit: that would be repaired.
        content[at] ^= 3;
    });
    assert!(matches!(store.load(192), Err(StoreError::Damaged { .. })));
    let after = store.state();
    assert_eq!(store.lost_seqs(), [192]);
    assert_eq!((after.messages, after.bytes), (before.messages - 1, before.bytes - 30 - 3 - 11));
    assert_eq!(store.subject(b"s.3").unwrap().messages, facts.messages - 1);
    assert_eq!(store.load(192).unwrap(), None);
    assert!(store.deleted().contains(&192));
}

#[test]
fn a_full_disk_refuses_messages_until_there_is_space_again() {
    let disk = Arc::new(Disk::default());
    let engine = engine(&disk, 5);
    let mut store = create(&engine);
    disk.set_room(2_000_000);
    let (mut stored, mut refused) = (0, 0);
    for round in 0..3000 {
        let time_ns = store.state().last_time_ns + 1000;
        let payload = vec![b'x'; if round % 50 == 7 { 300_000 } else { 2000 }];
        let message = NewMessage { subject: b"a", payload: &payload, time_ns, ..NewMessage::default() };
        match store.append(&message) {
            Ok(appended) => {
                stored = appended.seq;
                // What was taken may wait for space.
                if let Commit::Waiting(mut waiting) = store.commit()
                    && let Ok(done) = waiting.try_recv()
                {
                    done.unwrap();
                }
            }
            Err(StoreError::Full { .. }) => {
                refused += 1;
                assert_eq!(store.load(1).unwrap().unwrap().payload.len(), 2000, "reads go on");
                match refused {
                    5 => disk.set_room(3_000_000),
                    10 => disk.set_room(i64::MAX / 2),
                    _ => {}
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused >= 10 && stored > 500, "{refused} refused, {stored} stored");
    assert!(engine.trouble().is_empty());
    commit(&mut *store).unwrap();
    drop((store, engine));
    let mut store = reopen(&super::engine(&disk, 9));
    assert_eq!((store.state().messages, store.lost_seqs()), (stored, Vec::new()));
    assert!(store.load(stored).unwrap().is_some());
}

#[test]
fn a_stream_that_was_removed_does_not_come_back_from_the_log() {
    let disk = Arc::new(Disk::default());
    let engine = engine(&disk, 1);
    let mut store = create(&engine);
    add(&mut *store, "a", b"one");
    commit(&mut *store).unwrap();
    store.destroy().unwrap();
    let mut store = create(&engine);
    add(&mut *store, "a", b"two");
    commit(&mut *store).unwrap();
    drop((store, engine));
    let engine = super::engine(&disk, 7);
    let mut store = reopen(&engine);
    assert_eq!(store.state().messages, 1);
    assert_eq!(store.load(1).unwrap().unwrap().payload, "two");
    store.destroy().unwrap();
    drop((store, engine));
    assert_eq!(super::engine(&disk, 7).recover().unwrap().len(), 0);
}

#[test]
fn erased_content_is_in_no_file() {
    let disk = Arc::new(Disk::default());
    let engine = engine(&disk, 7);
    let mut store = create(&engine);
    for payload in ["before", "secret payload", "after"] {
        add(&mut *store, "a", payload.as_bytes());
    }
    commit(&mut *store).unwrap();
    let holds = || {
        let files = disk.files();
        files.iter().any(|(path, _)| disk.content(path).windows(14).any(|part| part == b"secret payload"))
    };
    assert!(holds());
    assert!(store.remove(2, true).unwrap().is_some());
    commit(&mut *store).unwrap();
    assert!(!holds());
    assert_eq!(store.load(3).unwrap().unwrap().payload, "after");
    assert_eq!(add(&mut *store, "a", b"more"), 4);
    commit(&mut *store).unwrap();
    drop((store, engine));
    let mut store = reopen(&super::engine(&disk, 7));
    assert_eq!((store.state().messages, store.deleted()), (3, vec![2]));
    assert_eq!(store.load(1).unwrap().unwrap().payload, "before");
}

/// Zeros written ahead of a file's end once hit the records behind an erased one, after a restart.
#[test]
fn erasing_after_a_restart_leaves_the_messages_behind() {
    let disk = filled(false);
    let engine = engine(&disk, 7);
    let mut store = reopen(&engine);
    assert!(store.remove(50, true).unwrap().is_some());
    commit(&mut *store).unwrap();
    drop((store, engine));
    let mut store = reopen(&super::engine(&disk, 9));
    assert!(store.lost_seqs().is_empty());
    for seq in (51..=MESSAGES).chain(21..50) {
        assert_eq!(store.load(seq).unwrap().unwrap().payload, format!("payload {seq}"));
    }
    assert_eq!(store.load(50).unwrap(), None);
}

#[test]
fn what_was_committed_survives_crashes() {
    let mut random = 17u64;
    for _ in 0..100 {
        let disk = Arc::new(Disk::default());
        let mut store = create(&engine(&disk, random));
        for n in 1..=30 {
            add(&mut *store, "a", format!("payload {n}").as_bytes());
        }
        store.remove(7, false).unwrap();
        commit(&mut *store).unwrap();
        add(&mut *store, "a", b"never committed");
        drop(store);
        disk.crash(&mut || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 20
        });
        let mut store = reopen(&engine(&disk, random));
        assert_eq!((store.state().messages, store.deleted()), (29, vec![7]));
        for seq in (1..=30).filter(|seq| *seq != 7) {
            assert_eq!(store.load(seq).unwrap().unwrap().payload, format!("payload {seq}"));
        }
    }
}
