//! Commits of several streams that wait for each other, with the threads of the store.

use super::{ROOT, add, disk::Disk};
use crate::config::Sync;
use crate::store::file::{FileEngine, Options, Threads};
use crate::store::{Sequel, StoreEngine, StoreError, StoreSettings, StreamStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

struct Tell(Sender<(usize, Result<(), StoreError>)>, usize);

impl Sequel for Tell {
    fn settle(self: Box<Self>, done: &Result<(), StoreError>) {
        let _ = self.0.send((self.1, done.clone()));
    }
}

struct Store {
    engine: FileEngine,
    streams: Vec<Box<dyn StreamStore>>,
    settled: Arc<AtomicUsize>,
    told: Receiver<(usize, Result<(), StoreError>)>,
    tell: Sender<(usize, Result<(), StoreError>)>,
}

fn store(disk: &Arc<Disk>) -> Store {
    let (zero, settled) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = settled.clone();
    let threads = Threads {
        spawn: &|job| drop(std::thread::spawn(job)),
        clock: Arc::new(move || zero.elapsed().as_nanos() as u64),
        settled: Arc::new(move || {
            count.fetch_add(1, Relaxed);
        }),
    };
    let options = Options { sync: Sync::Always, random: 1, keys: None };
    let engine = FileEngine::open(disk.clone(), ROOT, options, Some(threads)).unwrap();
    let create = |name| engine.create("A", name, &StoreSettings::default(), b"meta").unwrap();
    let streams = ["one", "two", "three"].into_iter().map(create).collect();
    let (tell, told) = channel();
    Store { engine, streams, settled, told, tell }
}

impl Store {
    fn commit(&mut self, at: usize) {
        add(&mut *self.streams[at], "a", b"payload");
        let sequel = Box::new(Tell(self.tell.clone(), at));
        let is_told = self.streams[at].shared_commits().unwrap().commit_with(sequel);
        assert!(!is_told);
    }

    fn next(&self) -> usize {
        let (at, done) = self.told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(done, Ok(()));
        at
    }
}

#[test]
fn streams_that_commit_together_are_told_in_order_when_nobody_else_comes() {
    let disk = Arc::new(Disk::default());
    let mut store = store(&disk);
    for at in [2, 0, 1] {
        store.commit(at);
    }
    store.engine.gathered();
    assert_eq!([store.next(), store.next(), store.next()], [2, 0, 1]);
    assert!(store.settled.load(Relaxed) > 0);
    // What had not changed is told at once.
    let sequel = Box::new(Tell(store.tell.clone(), 7));
    assert!(store.streams[0].shared_commits().unwrap().commit_with(sequel));
    assert_eq!(store.next(), 7);
    let Store { engine, streams, .. } = store;
    streams.into_iter().for_each(|mut stream| stream.close().unwrap());
    engine.close().unwrap();
    let found = super::engine(&disk, 2).recover().unwrap();
    let messages = found.into_iter().map(|stream| stream.store.unwrap().state().messages);
    assert_eq!(messages.collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_stream_that_waits_for_others_does_not_wait_for_ever() {
    let mut store = store(&Arc::new(Disk::default()));
    store.commit(0);
    assert_eq!(store.next(), 0);
    store.commit(1);
    // An ordinary commit takes what waits along.
    add(&mut *store.streams[2], "a", b"payload");
    store.streams[2].commit().wait_blocking().unwrap();
    assert_eq!(store.next(), 1);
    store.engine.close().unwrap();
    store.commit_after_the_end();
}

impl Store {
    fn commit_after_the_end(&mut self) {
        add(&mut *self.streams[0], "a", b"payload");
        let sequel = Box::new(Tell(self.tell.clone(), 0));
        self.streams[0].shared_commits().unwrap().commit_with(sequel);
        assert_eq!(self.told.recv().unwrap().1, Err(StoreError::Closed));
    }
}
