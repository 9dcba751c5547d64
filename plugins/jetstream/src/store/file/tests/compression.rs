//! Blocks that are compressed when they are full.

use super::disk::Disk;
use super::{ROOT, add, commit, reopen};
use crate::config::{Cipher, Sync};
use crate::filter::Filter;
use crate::store::file::{FileEngine, Keys, Options};
use crate::store::{StoreEngine, StoreError, StoreSettings, StreamStore};
use std::sync::Arc;

const MESSAGES: u64 = 3000;

fn engine(disk: &Arc<Disk>, random: u64, key: &str) -> FileEngine {
    let keys = Keys {
        current: key.to_owned(),
        previous: "secret".to_owned(),
        cipher: Cipher::AesGcm,
        entropy: Arc::new(move |buffer| buffer.fill(random as u8)),
    };
    let keys = (!key.is_empty()).then_some(keys);
    FileEngine::open(disk.clone(), ROOT, Options { sync: Sync::Always, random, keys }, None).unwrap()
}

fn payload(seq: u64) -> String {
    format!("payload {seq} {}", "compressible ".repeat(20))
}

fn compressed(disk: &Disk) -> Vec<(String, usize)> {
    disk.files().into_iter().filter(|(path, _)| path.ends_with(".s2")).collect()
}

fn filled(disk: &Arc<Disk>, key: &str) -> (FileEngine, Box<dyn StreamStore>) {
    let engine = engine(disk, 3, key);
    let settings = StoreSettings { compress: true, ..StoreSettings::default() };
    let mut store = engine.create("A", "S", &settings, b"meta").unwrap();
    for seq in 1..=MESSAGES {
        add(&mut *store, &format!("s.{}", seq % 10), payload(seq).as_bytes());
        if seq % 10 == 0 {
            commit(&mut *store).unwrap();
        }
    }
    (engine, store)
}

fn check(store: &mut dyn StreamStore, gone: &[u64]) {
    assert_eq!(store.state().messages, MESSAGES - gone.len() as u64);
    assert_eq!((store.lost_seqs(), store.deleted()), (Vec::new(), gone.to_vec()));
    for seq in 1..=MESSAGES {
        let there = store.load(seq).unwrap();
        let expected = (!gone.contains(&seq)).then(|| payload(seq));
        assert_eq!(there.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()), expected);
    }
    let filter = Filter::new(["s.7"]);
    assert_eq!(store.next(&filter, 1000).unwrap().unwrap().seq, 1007);
    assert_eq!(store.last(&filter, 1500).unwrap().unwrap().seq, 1497);
    assert_eq!(store.count(&filter, 2001, false).unwrap(), 100);
}

#[test]
fn full_blocks_are_compressed_and_read_as_before() {
    for key in ["", "secret"] {
        let disk = Arc::new(Disk::default());
        let (first, mut store) = filled(&disk, key);
        check(&mut *store, &[]);
        let bytes: usize = compressed(&disk).iter().map(|(_, size)| size).sum();
        assert!(bytes > 0 && bytes < 300_000, "{bytes}");
        drop((store, first));
        for life in 4..6 {
            let engine = engine(&disk, life, key);
            let mut store = reopen(&engine);
            check(&mut *store, &[]);
            store.close().unwrap();
            engine.close().unwrap();
        }
    }
}

#[test]
fn messages_of_compressed_blocks_are_removed_and_erased() {
    for key in ["", "secret"] {
        let disk = Arc::new(Disk::default());
        let (first, mut store) = filled(&disk, key);
        for seq in [20, 700] {
            assert!(store.remove(seq, false).unwrap().is_some());
        }
        for seq in [21, 500, 501] {
            assert!(store.remove(seq, true).unwrap().is_some());
            commit(&mut *store).unwrap();
            let gone: Vec<u64> =
                [20, 21, 500, 501, 700].into_iter().filter(|gone| *gone <= seq || *gone == 700).collect();
            check(&mut *store, &gone);
        }
        drop((store, first));
        let engine = engine(&disk, 4, key);
        check(&mut *reopen(&engine), &[20, 21, 500, 501, 700]);
        assert!(
            compressed(&disk).iter().any(|(path, _)| path.ends_with("-2.s2")),
            "one was written three times"
        );
    }
}

#[test]
fn a_compressed_block_is_encrypted_when_a_key_comes() {
    let disk = Arc::new(Disk::default());
    let (first, mut store) = filled(&disk, "");
    store.close().unwrap();
    first.close().unwrap();
    drop((store, first));
    let second = engine(&disk, 4, "secret");
    let mut store = reopen(&second);
    check(&mut *store, &[]);
    store.close().unwrap();
    second.close().unwrap();
    let readable = disk
        .files()
        .iter()
        .any(|(path, _)| disk.content(path).windows(11).any(|part| part == b"compressibl"));
    assert!(!readable);
    let plain =
        FileEngine::open(disk.clone(), ROOT, Options { sync: Sync::Always, random: 8, keys: None }, None);
    let found = plain.unwrap().recover().unwrap().pop().unwrap();
    assert!(matches!(found.store, Err(StoreError::Key(_))));
}

#[test]
fn damage_to_a_compressed_block_costs_one_chunk() {
    let disk = Arc::new(Disk::default());
    let (first, mut store) = filled(&disk, "");
    store.close().unwrap();
    first.close().unwrap();
    let (path, size) = compressed(&disk).swap_remove(1);
    for at in [0, 9, 50, size / 2, size - 1] {
        let copy = disk.copy();
        copy.change(&path, |content| content[at] ^= 4);
        let engine = engine(&copy, 9, "");
        let mut store = reopen(&engine);
        let lost = store.lost_seqs();
        assert!(lost.len() <= 20, "{at}: {lost:?}");
        for seq in 1..=MESSAGES {
            let there = store.load(seq).unwrap().map(|message| message.payload);
            assert_eq!(there.is_none(), lost.contains(&seq), "{at}: {seq}");
            assert!(there.is_none_or(|there| there == payload(seq)));
        }
    }
}
