//! Files of the store with anything in them: messages, state, the log.
//!
//! An input is a list of edits to the files of a store that is well: bytes that are there are changed, cut, moved, or
//! put from one file into another. So it reaches what is behind the checks without knowing how files are made.

use crate::disk::Disk;
use natsd_jetstream::config::Sync;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::file::{FileEngine, Options};
use natsd_jetstream::store::{NewMessage, Purge, StoreEngine, StoreError, StoreSettings};
use std::sync::{Arc, LazyLock};

pub const WORDS: &[&[u8]] =
    &[b"\0\0\0\0\0\0", b"\xff\xff\xff\xff", b"\0\x02\0\0", b"\x01\x01\x10\0\x08\x01", b"\x02\x03\xff\xff"];

const MESSAGES: u64 = 60;

static WELL: LazyLock<Arc<Disk>> = LazyLock::new(|| {
    let disk = Disk::new(1);
    let engine = open(&disk).expect("an empty disk");
    let mut store = engine.create("A", "S", &StoreSettings::default(), b"meta").expect("a new stream");
    store.put_consumer("C", b"config").expect("the disk is well");
    for seq in 1..=MESSAGES {
        let payload = payload(seq);
        let message = NewMessage { subject: b"a.b", payload: &payload, time_ns: 1, ..NewMessage::default() };
        store.append(&message).expect("the disk is well");
        if seq % 8 == 0 {
            store.record_consumer("C", &payload).expect("the disk is well");
            store.remove(seq - 2, false).expect("the disk is well");
            drop(store.commit());
        }
    }
    store.purge(&Purge { before_seq: 5, ..Purge::default() }).expect("the disk is well");
    store.put_consumer_state("C", b"state").expect("the disk is well");
    drop(store.commit());
    drop((store, engine));
    disk.copy(1)
});

fn payload(seq: u64) -> Vec<u8> {
    format!("payload {seq} ").repeat(1 + seq as usize % 9).into_bytes()
}

fn open(disk: &Arc<Disk>) -> Result<FileEngine, StoreError> {
    FileEngine::open(disk.clone(), "js", Options { sync: Sync::Always, random: 7, keys: None }, None)
}

/// Whatever is in the files, a store opens or says why not, and gives no message but those that were stored.
pub fn store_files(input: &[u8]) {
    let disk = WELL.copy(2);
    edit(&disk, input);
    let Ok(engine) = open(&disk) else { return };
    let Ok(found) = engine.recover() else { return };
    for found in found {
        let Ok(mut store) = found.store else { continue };
        for seq in 0..MESSAGES + 5 {
            if let Ok(Some(message)) = store.load(seq) {
                assert_eq!((message.seq, &message.payload[..]), (seq, &payload(seq)[..]));
            }
        }
        let mut from = 0;
        while let Ok(Some(message)) = store.next(&Filter::all(), from) {
            assert!(message.seq >= from);
            from = message.seq + 1;
        }
        store.take_consumers();
        let message =
            NewMessage { subject: b"a", payload: b"more", time_ns: i64::MAX, ..NewMessage::default() };
        if store.append(&message).is_ok() {
            drop(store.commit());
        }
        let _ = store.close();
    }
}

/// Edits of six bytes: which file, what to do, where, what with. A place is a part of the file in 1/65536.
fn edit(disk: &Disk, input: &[u8]) {
    let files = disk.files();
    let part = |len: u64, high: u8, low: u8| len * u64::from(u16::from_be_bytes([high, low])) / 65_536;
    for edit in input.chunks_exact(6) {
        let [which, what, high, low, more, value] = *edit else { continue };
        let (path, _, used) = &files[usize::from(which) % files.len()];
        let at = part(*used, high, low);
        disk.damage(path, |content| match what % 5 {
            0 => content.write(at, &[value]),
            1 => {
                let mut byte = [0];
                content.read(at, &mut byte);
                content.write(at, &[byte[0] ^ (1 << (value % 8))]);
            }
            2 => content.set_len(at),
            3 => content.write(at, &vec![value; usize::from(more)]),
            _ => {
                // What is elsewhere, in this file.
                let mut moved = vec![0; usize::from(more) + 1];
                content.read(part(*used, value, low), &mut moved);
                content.write(at, &moved);
            }
        });
    }
}
