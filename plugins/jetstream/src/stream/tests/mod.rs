//! Streams over a store in memory, with a clock that the test moves.

mod batches;
mod consuming;
mod direct;
mod limits;
mod origins;
mod publishing;
mod republishing;
mod schedules;
mod store;
mod ttl;

use super::{Call, Home, Inbound, Stream};
use crate::context::Interest;
use crate::outbox::Outbox;
use crate::wire::{Discard, Retention, Storage, StreamConfig};
use store::TestStore;

pub const SECOND_NS: i64 = 1_000_000_000;

struct Everyone;

impl Interest for Everyone {
    fn has(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// A stream and what it says.
pub struct Rig {
    pub stream: Stream,
    pub now_ns: i64,
    out: Outbox,
    seed: u64,
}

/// A message that the stream published: subject, headers, payload.
pub type Said = (String, String, String);

pub fn config(change: impl FnOnce(&mut StreamConfig)) -> StreamConfig {
    let mut config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        storage: Storage::Memory,
        retention: Retention::Limits,
        discard: Discard::Old,
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        duplicate_window: 120 * SECOND_NS,
        ..StreamConfig::default()
    };
    change(&mut config);
    config
}

impl Rig {
    pub fn new(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let (mut out, mut seed, now_ns) = (Outbox::default(), 1, 1_767_225_600 * SECOND_NS);
        let mut random = || {
            seed += 1;
            seed
        };
        let mut call = Call { now_ns, out: &mut out, interest: &Everyone, random: &mut random };
        let store = Box::new(TestStore::default());
        let stream =
            Stream::create(config(change), now_ns, &Home::default(), store, &mut call).expect("created");
        Self { stream, now_ns, out, seed }
    }

    /// The same stream after a restart.
    pub fn restart(self) -> Self {
        let meta = Stream::plan(self.stream.config(), self.stream.created_ns()).1;
        let Self { stream, now_ns, mut out, mut seed } = self;
        let store = stream.into_store();
        let mut random = || {
            seed += 1;
            seed
        };
        let mut call = Call { now_ns, out: &mut out, interest: &Everyone, random: &mut random };
        let stream = Stream::recover(&meta, &Home::default(), store, &mut call).expect("recovered");
        Self { stream, now_ns, out, seed }
    }

    pub fn call<T>(&mut self, act: impl FnOnce(&mut Stream, &mut Call<'_>) -> T) -> T {
        let seed = &mut self.seed;
        let mut random = || {
            *seed += 1;
            *seed
        };
        let mut call =
            Call { now_ns: self.now_ns, out: &mut self.out, interest: &Everyone, random: &mut random };
        act(&mut self.stream, &mut call)
    }

    /// What the outbox holds, which is empty then.
    pub fn said(&mut self) -> Vec<Said> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = self
            .out
            .iter()
            .map(|post| (text(post.match_subject()), text(post.header_block()), text(post.payload())))
            .collect();
        self.out.clear();
        said
    }

    /// Publishes with header lines, `Name: value` each; the answer.
    pub fn publish(&mut self, subject: &str, lines: &[&str], payload: &str) -> String {
        self.publish_to("reply", subject, lines, payload);
        let said = self.said();
        said.iter().find(|said| said.0 == "reply").map(|said| said.2.clone()).unwrap_or_default()
    }

    pub fn publish_to(&mut self, reply: &str, subject: &str, lines: &[&str], payload: &str) {
        let block = match lines {
            [] => String::new(),
            lines => format!("NATS/1.0\r\n{}\r\n\r\n", lines.join("\r\n")),
        };
        let message = Inbound {
            subject: subject.as_bytes(),
            reply: reply.as_bytes(),
            headers: block.as_bytes(),
            payload: payload.as_bytes(),
        };
        self.call(|stream, call| stream.publish(&message, call));
    }

    /// Lets time pass, as the stream's task does: whatever is due on the way is done.
    pub fn pass(&mut self, ns: i64) {
        let end_ns = self.now_ns + ns;
        while self.stream.deadline_ns() <= end_ns {
            self.now_ns = self.now_ns.max(self.stream.deadline_ns());
            self.call(|stream, call| stream.tick(call));
        }
        self.now_ns = end_ns;
    }

    pub fn seqs(&mut self) -> Vec<u64> {
        let last = self.stream.store.state().last_seq;
        (1..=last).filter(|&seq| self.stream.store.load(seq).expect("loads").is_some()).collect()
    }

    /// Subject, headers and payload of a stored message.
    pub fn stored(&mut self, seq: u64) -> Said {
        let message = self.stream.store.load(seq).expect("loads").expect("is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&message.subject), text(&message.headers), text(&message.payload))
    }
}

pub fn ok(seq: u64) -> String {
    format!("{{\"stream\":\"S\",\"seq\":{seq}}}")
}

/// The number of the error in an answer.
pub fn code(answer: &str) -> u64 {
    let answer: serde_json::Value = serde_json::from_str(answer).expect("an answer in JSON");
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}
