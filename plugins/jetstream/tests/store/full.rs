//! A full disk: what cannot be stored is refused, reads go on, and it goes on when there is room again. What was taken
//! before that is stored then, and not promised earlier.

use crate::disk::Disk;
use crate::kinds::{File, Kind, commit, create, found};
use crate::model::Model;
use crate::ops::{Mix, Op, message};
use crate::random::Random;
use natsd_jetstream::context::Interest;
use natsd_jetstream::outbox::Outbox;
use natsd_jetstream::store::{Commit, StoreError, StoreSettings, StreamStore};
use natsd_jetstream::stream::{Call, Home, Inbound, Stream};
use natsd_jetstream::wire::StreamConfig;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Waiting = Pin<Box<dyn Future<Output = Result<(), StoreError>>>>;

/// A stream on a disk whose room changes.
struct Full {
    store: Box<dyn StreamStore>,
    model: Model,
    /// Commits that are not done.
    waiting: Vec<Waiting>,
    random: Random,
}

impl Full {
    fn add(&mut self) -> Result<(), StoreError> {
        let op = Op::Append(message(self.model.last_time_ns, &Mix::default(), &mut self.random));
        let (_, size_bytes) = op.run(&mut *self.store)?;
        self.model.apply(&op, size_bytes);
        match self.store.commit() {
            Commit::Done => {}
            commit => self.waiting.push(Box::pin(commit.wait())),
        }
        self.look();
        Ok(())
    }

    /// Forgets commits that are done.
    fn look(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        self.waiting.retain_mut(|commit| match commit.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                done.unwrap();
                false
            }
        });
    }

    fn all_are_there(&mut self, when: &str) {
        for (seq, kept) in &self.model.messages {
            let found = self.store.load(*seq).unwrap();
            assert!(found.is_some_and(|found| kept.is(&found)), "{seq} {when}");
        }
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    for seed in 0..12 {
        let disk = Disk::new(seed);
        let kind = File { disk: disk.clone(), seed };
        let engine = kind.open().unwrap();
        let store = create(&*engine, "S", &StoreSettings::default());
        let (model, random) = (Model::new(0, b"meta"), Random::new(seed));
        let mut full = Full { store, model, waiting: Vec::new(), random };
        for _ in 0..20 {
            full.add().unwrap();
        }
        for round in 0..3 {
            disk.faults.limit(disk.faults.used_bytes() + 20_000 * (seed % 4));
            let refused = (0..50_000).find_map(|_| full.add().err());
            assert!(
                matches!(refused, Some(StoreError::Full { .. })),
                "seed {seed}, round {round}: {refused:?}"
            );
            full.all_are_there("while the disk is full");
            assert!(full.add().is_err(), "there is no room yet");
            disk.faults.limit(u64::MAX);
            // It looks for room now and then.
            assert!(
                (0..100).any(|_| full.add().is_ok()),
                "seed {seed}: there is room, and it does not go on"
            );
            full.look();
            assert!(full.waiting.is_empty(), "seed {seed}: what was taken before is stored by now");
        }
        assert_eq!(engine.trouble(), "");
        commit(&mut *full.store).unwrap();
        let Full { store, model, random, .. } = full;
        drop((store, engine));
        let store = found(&*kind.open().unwrap());
        Full { store, model, waiting: Vec::new(), random }.all_are_there("after the restart");
    }
}

/// Anyone listens to anything.
struct Everyone;

impl Interest for Everyone {
    fn has(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

fn call<T>(act: impl FnOnce(&mut Call<'_>) -> T) -> (T, Outbox) {
    let mut out = Outbox::default();
    let done = act(&mut Call {
        now_ns: 1_767_225_600_000_000_000,
        out: &mut out,
        interest: &Everyone,
        random: &mut || 7,
    });
    (done, out)
}

#[test]
fn publishers_are_told_of_a_full_disk_and_readers_are_not() {
    let disk = Disk::new(3);
    let kind = File { disk: disk.clone(), seed: 3 };
    let engine = kind.open().unwrap();
    let config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        ..StreamConfig::default()
    };
    let (settings, meta) = Stream::plan(&config, 1);
    let store = engine.create("A", "S", &settings, &meta).unwrap();
    let mut stream = call(|call| Stream::create(config, 1, &Home::default(), store, call)).0.unwrap();
    let mut waiting = Vec::new();
    let mut publish = |stream: &mut Stream| {
        let message = Inbound { subject: b"s.1", reply: b"reply", headers: b"", payload: &[b'x'; 2000] };
        let (_, out) = call(|call| stream.publish(&message, call));
        waiting.push(stream.commit());
        let answers: Vec<String> =
            out.iter().map(|post| String::from_utf8_lossy(post.payload()).into()).collect();
        answers.concat()
    };
    assert_eq!(publish(&mut stream), r#"{"stream":"S","seq":1}"#);
    disk.faults.limit(disk.faults.used_bytes());
    let refused = (0..2_000).map(|_| publish(&mut stream)).find(|answer| answer.contains("error")).unwrap();
    assert!(refused.contains("no space left on device"), "{refused}");
    let read = stream.store().load(1).unwrap().unwrap();
    assert_eq!((&*read.subject, read.payload.len()), (&b"s.1"[..], 2000));
    disk.faults.limit(u64::MAX);
    let again = (0..100).map(|_| publish(&mut stream)).find(|answer| !answer.contains("error")).unwrap();
    assert!(again.starts_with(r#"{"stream":"S","seq":"#), "{again}");
    waiting.into_iter().for_each(|commit| commit.wait_blocking().unwrap());
}
