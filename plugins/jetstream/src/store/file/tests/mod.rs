//! The file store on a simulated disk: restarts, crashes and damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compression;
mod crashes;
pub mod disk;
mod encryption;
mod faults;
mod limits;
mod rounds;
mod sharing;

use super::{FileEngine, Options};
use crate::config::Sync;
use crate::store::{Commit, NewMessage, StoreEngine, StoreError, StoreSettings, StreamStore};
use disk::Disk;
use std::sync::Arc;

pub const ROOT: &str = "js";

/// Without a thread that writes: a commit is done when it was asked for.
pub fn engine(disk: &Arc<Disk>, random: u64) -> FileEngine {
    FileEngine::open(disk.clone(), ROOT, Options { sync: Sync::Always, random, keys: None }, None).unwrap()
}

pub fn create(engine: &FileEngine) -> Box<dyn StreamStore> {
    engine.create("A", "S", &StoreSettings::default(), b"meta").unwrap()
}

pub fn reopen(engine: &FileEngine) -> Box<dyn StreamStore> {
    let mut found = engine.recover().unwrap();
    assert_eq!(found.len(), 1);
    let stream = found.pop().unwrap();
    assert_eq!((&*stream.account, &*stream.name, &*stream.meta), ("A", "S", &b"meta"[..]));
    stream.store.unwrap()
}

pub fn add(store: &mut dyn StreamStore, subject: &str, payload: &[u8]) -> u64 {
    let time_ns = store.state().last_time_ns + 1000;
    let message = NewMessage { subject: subject.as_bytes(), payload, time_ns, ..NewMessage::default() };
    store.append(&message).unwrap().seq
}

pub fn commit(store: &mut dyn StreamStore) -> Result<(), StoreError> {
    match store.commit() {
        Commit::Done => Ok(()),
        Commit::Waiting(mut waiting) => waiting.try_recv().expect("inline commits are done at once"),
        Commit::Foreign(_) => unreachable!("no other plugin's"),
    }
}
