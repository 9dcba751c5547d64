//! The stream layer over natsd's files, and a crash at a random step of the disk: publishes with message ids, atomic
//! batches, deletes, purges, acknowledgements and updates of the configuration, under all retentions and limits
//! (`shape`). After it every acknowledged message is there with its content and sequence, a batch as a whole or not at
//! all, nothing deleted is back, limits hold, a message is known as a duplicate, and a consumer gets again what was not
//! acknowledged, but nothing that surely was.
//!
//! `NATSD_CRASH_RUNS` says how many runs; `NATSD_CRASH_SEED=n` replays one.

mod shape;

use crate::crash::{campaign, setting};
use crate::disk::Disk;
use crate::kinds::{File, Kind};
use crate::random::Random;
use natsd_jetstream::context::Interest;
use natsd_jetstream::outbox::Outbox;
use natsd_jetstream::store::StoreEngine;
use natsd_jetstream::stream::{Call, Home, Inbound, Stream};
use natsd_jetstream::wire::{AckPolicy, ConsumerConfig, DeliverPolicy};
use shape::{Sent, Settings, Shape, State};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

const RUNS: u64 = 500;
const SECOND_NS: i64 = 1_000_000_000;
const ACK_WAIT_NS: i64 = 30 * SECOND_NS;
const LIVES: u64 = 4;

#[test]
fn crashes_of_streams() {
    let runs = setting("NATSD_CRASH_RUNS").unwrap_or(RUNS);
    campaign("crashes_of_streams", runs, |seed| {
        let disk = Disk::new(seed);
        let mut random = Random::new(seed);
        let world = World {
            kind: File { disk: disk.clone(), seed },
            disk,
            shape: Shape::draw(&mut random),
            random,
            now_ns: 1_767_225_600 * SECOND_NS,
            is_there: false,
            states: vec![State::default()],
            told: Vec::new(),
        };
        world.run(seed);
    });
}

struct World {
    kind: File,
    disk: Arc<Disk>,
    shape: Shape,
    random: Random,
    now_ns: i64,
    /// The stream was made, and a client was told.
    is_there: bool,
    /// As of the last commit, and after each change since.
    states: Vec<State>,
    told: Vec<String>,
}

/// The power is off.
struct Off;

/// Anyone listens to anything.
struct Everyone;

impl Interest for Everyone {
    fn has(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

impl World {
    fn run(mut self, seed: u64) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..LIVES {
                self.life();
            }
        }));
        if let Err(panic) = outcome {
            let from = self.told.len().saturating_sub(60);
            println!(
                "seed {seed}, {:?}, of {} things done:\n  {}",
                self.shape,
                self.told.len(),
                self.told[from..].join("\n  ")
            );
            resume_unwind(panic);
        }
    }

    /// From a start to the next crash, or the next kill.
    fn life(&mut self) {
        let engine = self.kind.open().unwrap();
        let mut stream = self.recover(&*engine);
        let steps_max = if self.random.one_in(3) { 30 } else { 250 };
        let steps = self.random.below(steps_max);
        self.disk.faults.cut_power_in(steps);
        for _ in 0..60 {
            if self.work(&*engine, &mut stream).is_err() {
                break;
            }
        }
        drop((stream, engine));
        if self.disk.faults.is_off() {
            self.told.push("crashed".to_owned());
            self.disk.crash(&mut self.random);
        } else {
            self.told.push("killed".to_owned());
            self.disk.faults.power_on();
        }
    }

    fn call<T>(&mut self, act: impl FnOnce(&mut Call<'_>) -> T) -> (T, Outbox) {
        let mut out = Outbox::default();
        let random = &mut self.random;
        let mut draw = || random.next();
        let done =
            act(&mut Call { now_ns: self.now_ns, out: &mut out, interest: &Everyone, random: &mut draw });
        (done, out)
    }

    fn now(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.now().clone();
        change(&mut state);
        self.states.push(state);
    }

    /// An answer is sent when this is done.
    fn commit(&mut self, stream: &mut Stream) -> Result<(), Off> {
        match stream.commit().wait_blocking() {
            Ok(()) => {
                self.told.push("committed".to_owned());
                self.states.drain(..self.states.len() - 1);
                Ok(())
            }
            Err(error) => {
                assert!(self.disk.faults.is_off(), "{error}");
                Err(Off)
            }
        }
    }

    fn ok<T, E: std::fmt::Debug>(&self, done: Result<T, E>) -> Result<T, Off> {
        done.map_err(|error| {
            assert!(self.disk.faults.is_off(), "an error while the disk is well: {error:?}");
            Off
        })
    }

    fn work(&mut self, engine: &dyn StoreEngine, stream: &mut Option<Stream>) -> Result<(), Off> {
        self.now_ns += SECOND_NS;
        let Some(stream) = stream else {
            *stream = Some(self.create(engine)?);
            return Ok(());
        };
        match self.random.below(20) {
            0 => self.delete(stream)?,
            1 => self.purge(stream)?,
            2 => self.update(stream)?,
            3..=6 => self.consume(stream)?,
            // It refuses single messages of it as well, and that is another test.
            7 if !self.shape.refuses() => self.publish_batch(stream)?,
            _ => self.publish(stream)?,
        }
        if self.random.one_in(4) { Ok(()) } else { self.commit(stream) }
    }

    fn create(&mut self, engine: &dyn StoreEngine) -> Result<Stream, Off> {
        let settings = self.shape.settings(&mut self.random);
        self.told.push(format!("create with {:?}", settings.limits));
        let config = self.shape.config(&settings);
        self.states = vec![State { config: settings, ..State::default() }];
        let (settings, meta) = Stream::plan(&config, self.now_ns);
        let store = engine.create("A", "S", &settings, &meta);
        let store = self.ok(store)?;
        self.is_there = true;
        let made = self.call(|call| Stream::create(config, call.now_ns, &Home::default(), store, call)).0;
        let mut stream = made.unwrap();
        self.make_consumer(&mut stream)?;
        Ok(stream)
    }

    fn make_consumer(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let made = self.call(|call| stream.create_consumer(consumer(), call)).0;
        self.ok(made)?;
        self.change(|state| state.has_consumer = true);
        self.commit(stream)
    }

    fn message(&mut self) -> Sent {
        let len = if self.random.one_in(30) { self.random.below(20_000) } else { self.random.below(100) };
        Sent {
            subject: format!("s.{}", self.random.below(4)),
            id: format!("id{}", self.random.next()),
            payload: "x".repeat(len as usize),
            batch: String::new(),
        }
    }

    fn publish(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let sent = self.message();
        let (seq, answer) = (self.now().last_seq + 1, self.send(stream, &sent));
        self.told.push(format!("publish {} bytes to {}: {answer}", sent.payload.len(), sent.subject));
        if self.shape.refuses() && self.now().is_full() {
            assert!(answer.contains("maximum messages exceeded"), "{answer}");
            return if self.disk.faults.is_off() { Err(Off) } else { Ok(()) };
        }
        if answer != format!("{{\"stream\":\"S\",\"seq\":{seq}}}") {
            return self.ok(Err(answer));
        }
        self.change(|state| state.add(sent));
        Ok(())
    }

    /// All of it or nothing.
    fn publish_batch(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let (count, id) = (self.random.between(1, 6), format!("batch{}", self.random.next()));
        let mut batch = Vec::new();
        let mut answer = String::new();
        for n in 1..=count {
            let last = if n == count { "Nats-Batch-Commit: 1\r\n" } else { "" };
            let lines = format!("Nats-Batch-Id: {id}\r\nNats-Batch-Sequence: {n}\r\n{last}");
            let sent = Sent { batch: lines, ..self.message() };
            answer = self.send(stream, &sent);
            batch.push(sent);
            if n < count && !answer.is_empty() {
                break;
            }
        }
        let seq = self.now().last_seq + count;
        self.told.push(format!("batch of {count}: {answer}"));
        if answer != format!("{{\"stream\":\"S\",\"seq\":{seq},\"batch\":\"{id}\",\"count\":{count}}}") {
            return self.ok(Err(answer));
        }
        self.change(|state| batch.into_iter().for_each(|sent| state.add(sent)));
        Ok(())
    }

    fn send(&mut self, stream: &mut Stream, sent: &Sent) -> String {
        let headers = sent.headers();
        let (subject, headers) = (sent.subject.as_bytes(), headers.as_bytes());
        let message = Inbound { subject, reply: b"reply", headers, payload: sent.payload.as_bytes() };
        let (_, out) = self.call(|call| stream.publish(&message, call));
        // Advisories are for others.
        let answers = out.iter().filter(|post| post.match_subject() == b"reply");
        answers.map(|post| String::from_utf8_lossy(post.payload()).into_owned()).collect()
    }

    fn delete(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let seqs: Vec<u64> = self.now().messages.keys().copied().collect();
        if seqs.is_empty() {
            return Ok(());
        }
        let (seq, erase) = (*self.random.of(&seqs), self.random.one_in(2));
        self.told.push(format!("delete {seq}, erase {erase}"));
        let done = self.call(|call| stream.delete_message(seq, erase, call)).0;
        self.ok(done)?;
        self.change(|state| drop(state.messages.remove(&seq)));
        Ok(())
    }

    fn purge(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let filter = *self.random.of(&["", "s.1", "s.2"]);
        let below = match self.random.below(2) {
            0 if filter.is_empty() => self.random.between(1, self.now().last_seq + 1),
            0 => 0,
            _ => self.random.between(1, self.now().last_seq / 2 + 1),
        };
        self.told.push(format!("purge {filter} below {below}"));
        let done = self.call(|call| stream.purge(filter, below, 0, call)).0;
        self.ok(done)?;
        self.change(|state| {
            state.messages.retain(|seq, sent| {
                let is_meant = filter.is_empty() || sent.subject == filter;
                !(is_meant && (below == 0 || *seq < below))
            });
        });
        Ok(())
    }

    fn update(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let settings = self.shape.settings(&mut self.random);
        self.told.push(format!("update to {settings:?}"));
        let config = self.shape.config(&settings);
        let done = self.call(|call| stream.update(config, call)).0;
        self.ok(done)?;
        self.change(|state| state.update(settings));
        Ok(())
    }

    /// Takes some messages and acknowledges some of them.
    fn consume(&mut self, stream: &mut Stream) -> Result<(), Off> {
        let count = self.random.between(1, 8);
        for (seq, ack) in self.pull(stream, count) {
            if self.random.one_in(4) {
                continue;
            }
            self.told.push(format!("ack {seq}"));
            self.call(|call| stream.ack(ack.as_bytes(), b"", b"", call));
            let drops_acked = self.shape.drops_acked();
            self.change(|state| {
                state.acked.insert(seq);
                if drops_acked {
                    state.messages.remove(&seq);
                }
            });
        }
        if self.disk.faults.is_off() { Err(Off) } else { Ok(()) }
    }

    /// What a request for that many brings: sequences, and where to acknowledge them.
    fn pull(&mut self, stream: &mut Stream, count: u64) -> Vec<(u64, String)> {
        let body = format!("{{\"batch\":{count},\"no_wait\":true}}");
        let subject = b"$JS.API.CONSUMER.MSG.NEXT.S.C";
        let (_, out) = self.call(|call| {
            stream.pull(subject, b"", body.as_bytes(), b"inbox", call);
            while stream.run(100, call) {}
        });
        let acks = out.iter().filter(|post| post.reply_subject().starts_with(b"$JS.ACK."));
        let place = |ack: &str| ack.split('.').nth(5).and_then(|seq| seq.parse().ok());
        acks.map(|post| String::from_utf8_lossy(post.reply_subject()).into_owned())
            .filter_map(|ack| Some((place(&ack)?, ack)))
            .collect()
    }

    /// What was found after a start: any of the states since the last commit, part by part.
    fn recover(&mut self, engine: &dyn StoreEngine) -> Option<Stream> {
        let found = engine.recover().unwrap().pop();
        let Some(found) = found else {
            assert!(!self.is_there, "the stream is gone");
            return None;
        };
        self.is_there = true;
        let store = found.store.unwrap();
        let recovered = self.call(|call| Stream::recover(&found.meta, &Home::default(), store, call)).0;
        let mut stream = recovered.unwrap();
        let mut now = self.check_messages(&mut stream);
        now.config = Settings::of(stream.config());
        assert!(self.states.iter().any(|state| state.config == now.config), "{:?}", now.config);
        now.check_limits();
        now.has_consumer = stream.consumer_count() == 1;
        assert!(self.states.iter().any(|state| state.has_consumer == now.has_consumer), "the consumer");
        if now.has_consumer {
            now.acked = self.check_consumer(&mut stream, &now);
        }
        self.told.push(format!("found {} messages up to {}", now.messages.len(), now.last_seq));
        self.states = vec![now];
        self.check_duplicates(&mut stream);
        if !self.now().has_consumer {
            let made = self.make_consumer(&mut stream);
            assert!(made.is_ok());
        }
        Some(stream)
    }

    fn check_messages(&self, stream: &mut Stream) -> State {
        let store = stream.store();
        let last_seq = store.state().last_seq;
        let lasts: Vec<u64> = self.states.iter().map(|state| state.last_seq).collect();
        // Anything else would be a part of a batch.
        assert!(lasts.contains(&last_seq), "last {last_seq} of {lasts:?}");
        let most = lasts.into_iter().max().unwrap();
        let mut now = State { last_seq, ..State::default() };
        for seq in 1..=most + 1 {
            let found = store.load(seq).unwrap().map(|message| Sent {
                subject: String::from_utf8_lossy(&message.subject).into_owned(),
                id: line_of(&message.headers, "Nats-Msg-Id: "),
                payload: String::from_utf8_lossy(&message.payload).into_owned(),
                batch: batch_of(&message.headers),
            });
            let was = self.states.iter().any(|state| state.messages.get(&seq) == found.as_ref());
            assert!(was, "{seq} is {found:?}; lost {:?}", store.lost_seqs());
            found.into_iter().for_each(|sent| drop(now.messages.insert(seq, sent)));
        }
        assert_eq!(store.state().messages, now.messages.len() as u64);
        now
    }

    /// When all that was delivered before may be delivered again, what is not acknowledged comes.
    fn check_consumer(&mut self, stream: &mut Stream, now: &State) -> BTreeSet<u64> {
        self.now_ns += 2 * ACK_WAIT_NS;
        self.call(|call| stream.tick(call));
        let came: BTreeSet<u64> = self.pull(stream, 1000).into_iter().map(|(seq, _)| seq).collect();
        let (sure, tried) = (self.states[0].acked.clone(), self.now().acked.clone());
        let again: Vec<u64> = came.intersection(&sure).copied().collect();
        assert!(again.is_empty(), "{again:?} were acknowledged, and come again");
        for seq in now.messages.keys() {
            assert!(
                came.contains(seq) || tried.contains(seq) && !self.shape.drops_acked(),
                "{seq} was never acknowledged, or should be gone, and does not come"
            );
        }
        // What did not survive gives its sequence to another message.
        tried.difference(&came).copied().filter(|seq| *seq <= now.last_seq).collect()
    }

    /// What is there is known as a duplicate, by its first sequence.
    fn check_duplicates(&mut self, stream: &mut Stream) {
        let there: Vec<(u64, Sent)> =
            self.now().messages.iter().rev().take(20).map(|(seq, sent)| (*seq, sent.clone())).collect();
        for (seq, sent) in there {
            let sent = Sent { batch: String::new(), ..sent };
            let answer = self.send(stream, &sent);
            assert_eq!(answer, format!("{{\"stream\":\"S\",\"seq\":{seq},\"duplicate\": true}}"));
        }
    }
}

fn line_of(headers: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(headers);
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
}

fn batch_of(headers: &[u8]) -> String {
    let text = String::from_utf8_lossy(headers);
    text.lines().filter(|line| line.starts_with("Nats-Batch-")).map(|line| format!("{line}\r\n")).collect()
}

fn consumer() -> ConsumerConfig {
    ConsumerConfig {
        name: "C".to_owned(),
        durable_name: "C".to_owned(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT_NS,
        max_deliver: -1,
        max_ack_pending: 10_000,
        max_waiting: 512,
        ..ConsumerConfig::default()
    }
}
