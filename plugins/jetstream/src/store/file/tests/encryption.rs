//! Encryption at rest: what files say without the key, other keys and ciphers, and none.

use super::disk::Disk;
use super::{ROOT, add, commit, create, reopen};
use crate::config::{Cipher, Sync};
use crate::store::file::{FileEngine, Keys, Options};
use crate::store::{StoreEngine, StoreError, StreamStore};
use std::sync::Arc;

fn engine(disk: &Arc<Disk>, random: u64, current: &str, previous: &str, cipher: Cipher) -> FileEngine {
    let keys = Keys {
        current: current.to_owned(),
        previous: previous.to_owned(),
        cipher,
        entropy: Arc::new(move |buffer| buffer.fill(random as u8)),
    };
    let options = Options { sync: Sync::Always, random, keys: Some(keys) };
    FileEngine::open(disk.clone(), ROOT, options, None).unwrap()
}

fn fill(store: &mut dyn StreamStore) {
    store.put_consumer("c", b"consumer-config").unwrap();
    for n in 1..=50 {
        add(store, &format!("subject.{n}"), format!("payload {n}").as_bytes());
        commit(store).unwrap();
    }
    store.put_consumer_state("c", b"consumer-state").unwrap();
    store.remove(7, false).unwrap();
    store.remove(9, true).unwrap();
    store.skip(3, store.state().last_time_ns).unwrap();
    add(store, "subject.51", b"payload 54");
    commit(store).unwrap();
}

fn check(store: &mut dyn StreamStore) {
    assert_eq!((store.state().messages, store.state().last_seq), (49, 54));
    assert_eq!(store.lost_seqs(), Vec::<u64>::new());
    for seq in (1..=50).filter(|seq| ![7, 9].contains(seq)) {
        let message = store.load(seq).unwrap().unwrap();
        assert_eq!(
            (&*message.subject, &*message.payload),
            (format!("subject.{seq}").as_bytes(), format!("payload {seq}").as_bytes())
        );
    }
    assert_eq!(store.deleted(), [7, 9, 51, 52, 53]);
    let consumers = store.take_consumers();
    assert_eq!(
        (&*consumers[0].meta, &*consumers[0].state),
        (&b"consumer-config"[..], &b"consumer-state"[..])
    );
}

/// Whether any file has something of what is stored.
fn tells(disk: &Disk) -> bool {
    let words: [&[u8]; 5] = [b"subject.", b"payload", b"consumer-config", b"consumer-state", b"meta"];
    disk.files().iter().any(|(path, _)| {
        let content = disk.content(path);
        words.iter().any(|word| content.windows(word.len()).any(|part| part == *word))
    })
}

#[test]
fn nothing_is_readable_without_the_key_and_all_is_with_it() {
    for cipher in [Cipher::AesGcm, Cipher::ChaCha20Poly1305] {
        for closes in [true, false] {
            let disk = Arc::new(Disk::default());
            let first = engine(&disk, 1, "secret", "", cipher);
            let mut store = create(&first);
            fill(&mut *store);
            assert!(!tells(&disk));
            if closes {
                store.close().unwrap();
                first.close().unwrap();
            }
            drop((store, first));
            for life in 2..5 {
                let engine = engine(&disk, life, "secret", "", cipher);
                let mut store = reopen(&engine);
                check(&mut *store);
                assert!(!tells(&disk));
                if closes {
                    store.close().unwrap();
                    engine.close().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_wrong_key_is_said_and_changes_nothing() {
    let disk = Arc::new(Disk::default());
    let first = engine(&disk, 1, "secret", "", Cipher::AesGcm);
    let mut store = create(&first);
    fill(&mut *store);
    store.close().unwrap();
    first.close().unwrap();
    let before: Vec<(String, usize)> = disk.files();
    let refused = |engine: &FileEngine| {
        let found = engine.recover().unwrap().pop().unwrap();
        assert!(matches!(found.store, Err(StoreError::Key(_))));
        let Err(error) = found.store else { panic!("it was opened") };
        // Nothing may come in its place.
        let made = engine.create("A", "S", &crate::store::StoreSettings::default(), b"x");
        assert!(matches!(made, Err(StoreError::Exists)));
        error.to_string()
    };
    assert!(refused(&engine(&disk, 2, "wrong", "", Cipher::AesGcm)).contains("cannot be decrypted"));
    assert!(refused(&super::engine(&disk, 3)).contains("no key is configured"));
    let streams = |files: Vec<(String, usize)>| -> Vec<_> {
        files.into_iter().filter(|(path, _)| path.contains("streams")).collect()
    };
    assert_eq!(streams(disk.files()), streams(before));
    check(&mut *reopen(&engine(&disk, 4, "secret", "", Cipher::AesGcm)));
}

#[test]
fn keys_and_ciphers_change_at_a_start() {
    let disk = Arc::new(Disk::default());
    let plain = super::engine(&disk, 1);
    let mut store = create(&plain);
    fill(&mut *store);
    // As after a kill: the log has it all in plain text.
    drop((store, plain));
    assert!(tells(&disk));
    let mut lives = 2;
    let mut live = |current: &str, previous: &str, cipher| {
        lives += 1;
        let engine = engine(&disk, lives, current, previous, cipher);
        let mut store = reopen(&engine);
        check(&mut *store);
        store.close().unwrap();
        engine.close().unwrap();
        tells(&disk)
    };
    assert!(!live("one", "", Cipher::AesGcm), "a key came");
    assert!(!live("two", "one", Cipher::AesGcm), "the key changed");
    assert!(!live("two", "", Cipher::AesGcm), "the old key is not needed any more");
    assert!(!live("two", "", Cipher::ChaCha20Poly1305), "the cipher changed");
    assert!(!live("three", "two", Cipher::AesGcm), "both changed");
    assert!(live("", "three", Cipher::AesGcm), "the key went");
    let mut store = reopen(&super::engine(&disk, 20));
    check(&mut *store);
}
