//! What streams with limits do with each message costs little, whatever else is in them.

use super::disk::Disk;
use super::{add, commit, engine};
use crate::filter::Filter;
use crate::store::{StoreEngine, StoreSettings, StreamStore};
use std::sync::Arc;

const SUBJECTS: u64 = 100;
const MESSAGES: u64 = 3000;
/// What may be read for a message that is removed: far less than lies between two of its subject.
const READ_MAX: u64 = 12 * 1024;

fn filled(disk: &Arc<Disk>, subject_messages_max: u64) -> Box<dyn StreamStore> {
    let settings = StoreSettings { subject_messages_max, ..StoreSettings::default() };
    let mut store = engine(disk, 5).create("A", "S", &settings, b"meta").unwrap();
    store.configure(&settings).unwrap();
    for n in 0..MESSAGES {
        add(&mut *store, &subject(n), &[b'p'; 2000]);
        if n % 50 == 49 {
            commit(&mut *store).unwrap();
        }
    }
    store
}

fn subject(n: u64) -> String {
    format!("s.{}", n % SUBJECTS)
}

#[test]
fn the_oldest_message_goes_without_a_search_for_the_next_of_its_subject() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 0);
    let before = disk.bytes_read();
    for seq in 1..=1000 {
        assert_eq!(store.remove(seq, false).unwrap().unwrap().subject, subject(seq - 1).as_bytes());
        assert_eq!(store.state().first_seq, seq + 1);
    }
    let read = (disk.bytes_read() - before) / 1000;
    assert!(read < READ_MAX, "{read} bytes a message");
    // Who asks gets the right answer.
    assert_eq!(store.subject(b"s.7").unwrap().first_seq, 1008);
    let mut firsts = Vec::new();
    store.subjects(&Filter::new(["s.*"]), &mut |_, facts| firsts.push(facts.first_seq)).unwrap();
    firsts.sort_unstable();
    assert_eq!(firsts, (1001..=1100).collect::<Vec<_>>());
    assert_eq!(store.count(&Filter::new(["s.1", "s.2"]), 1003, false).unwrap(), 39);
    assert_eq!(store.last_of_each(&Filter::new(["s.>"]), 1050, 50).unwrap().len(), 50);
}

#[test]
fn a_full_subject_knows_its_oldest_message() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 30);
    let before = disk.bytes_read();
    for seq in 1..=1000 {
        assert_eq!(store.subject(subject(seq - 1).as_bytes()).unwrap().first_seq, seq);
        store.remove(seq, false).unwrap().unwrap();
    }
    let read = (disk.bytes_read() - before) / 1000;
    assert!(read < READ_MAX, "{read} bytes a message");
}

#[test]
fn a_limit_that_comes_later_finds_what_is_there() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 0);
    (1..=150).for_each(|seq| drop(store.remove(seq, false).unwrap()));
    let settings = StoreSettings { subject_messages_max: 30, ..StoreSettings::default() };
    store.configure(&settings).unwrap();
    let state = store.state();
    let before = disk.bytes_read();
    for n in 0..SUBJECTS {
        let facts = store.subject(subject(n).as_bytes()).unwrap();
        let first_seq = if n < 50 { 201 + n } else { 101 + n };
        assert_eq!((facts.first_seq, facts.last_seq), (first_seq, 2901 + n));
    }
    assert_eq!(disk.bytes_read(), before);
    assert_eq!(store.state(), state);
}

#[test]
fn what_was_removed_between_two_commits_stays_so() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 0);
    let gone = [2, 3, 4, 90, 1500, 1501, 2999, 17];
    gone.iter().for_each(|&seq| drop(store.remove(seq, false).unwrap().unwrap()));
    commit(&mut *store).unwrap();
    drop(store);
    disk.crash(&mut || 0);
    let mut store = super::reopen(&engine(&disk, 6));
    assert_eq!(store.deleted(), [2, 3, 4, 17, 90, 1500, 1501, 2999]);
    assert_eq!(store.state().messages, MESSAGES - 8);
}

#[test]
fn a_subject_of_one_message_gives_it_up_without_reading() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 1);
    let read = disk.bytes_read();
    for n in 0..1000 {
        let facts = store.subject(subject(n).as_bytes()).unwrap();
        let seq = add(&mut *store, &subject(n), &[b'q'; 1000]);
        let removed = store.remove(facts.last_seq, false).unwrap().unwrap();
        assert_eq!(removed.subject, subject(n).as_bytes());
        let payload = if n < SUBJECTS { 2000 } else { 1000 };
        assert_eq!(removed.size_bytes, 30 + subject(n).len() as u64 + payload);
        assert_eq!(store.subject(subject(n).as_bytes()).unwrap().last_seq, seq);
    }
    assert_eq!(disk.bytes_read(), read);
}

#[test]
fn a_message_of_an_old_block_is_read_without_the_rest_of_the_block() {
    let disk = Arc::new(Disk::default());
    let mut store = filled(&disk, 0);
    for _ in 0..2 {
        let before = disk.bytes_read();
        for n in 0..500 {
            let seq = 1 + n * 1237 % MESSAGES;
            let message = store.load(seq).unwrap().unwrap();
            assert_eq!((message.seq, message.payload.len()), (seq, 2000));
        }
        let read = (disk.bytes_read() - before) / 500;
        assert!(read < READ_MAX, "{read} bytes a message");
        drop(store);
        disk.crash(&mut || 1);
        store = super::reopen(&engine(&disk, 6));
    }
}
