//! What kind of stream a run is about, and what it keeps: its retention, its limits, and what they leave of messages.

use crate::random::Random;
use natsd_jetstream::wire::{Discard, Retention, StreamConfig};
use std::collections::{BTreeMap, BTreeSet};

/// A stream and its consumer, as clients know them.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub messages: BTreeMap<u64, Sent>,
    pub last_seq: u64,
    pub config: Settings,
    pub acked: BTreeSet<u64>,
    pub has_consumer: bool,
}

/// What an update may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub description: String,
    pub limits: Limits,
}

/// 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    messages: u64,
    bytes: u64,
    subject_messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub subject: String,
    pub id: String,
    pub payload: String,
    /// What its headers say of a batch.
    pub batch: String,
}

impl Sent {
    pub fn headers(&self) -> String {
        format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n{}\r\n", self.id, self.batch)
    }

    /// JS-132.
    fn size_bytes(&self) -> u64 {
        (34 + self.subject.len() + self.headers().len() + self.payload.len()) as u64
    }
}

/// What stays the same in all lives of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub retention: Retention,
    discard: Discard,
    has_limits: bool,
}

impl Shape {
    pub fn draw(random: &mut Random) -> Self {
        let limits = Retention::Limits;
        let retention = *random.of(&[limits, limits, Retention::Interest, Retention::WorkQueue]);
        let has_limits = random.one_in(2);
        let discard = if has_limits && random.one_in(4) { Discard::New } else { Discard::Old };
        Self { retention, discard, has_limits }
    }

    /// New messages are refused when it is full, so nothing of it goes by itself.
    pub fn refuses(self) -> bool {
        self.discard == Discard::New
    }

    /// What is acknowledged goes.
    pub fn drops_acked(self) -> bool {
        self.retention != Retention::Limits
    }

    pub fn settings(self, random: &mut Random) -> Settings {
        let mut limits = Limits::default();
        if self.refuses() {
            limits.messages = 12;
        } else if self.has_limits {
            let of = |random: &mut Random, least, most| match random.below(2) {
                0 => 0,
                _ => random.between(least, most),
            };
            limits.messages = of(random, 3, 20);
            limits.bytes = of(random, 500, 20_000);
            limits.subject_messages = of(random, 1, 5);
        }
        Settings { description: format!("description {}", random.below(1000)), limits }
    }

    pub fn config(self, settings: &Settings) -> StreamConfig {
        let limit = |value: u64| if value == 0 { -1 } else { value as i64 };
        StreamConfig {
            name: "S".to_owned(),
            description: settings.description.clone(),
            subjects: vec!["s.>".to_owned()],
            retention: self.retention,
            discard: self.discard,
            max_msgs: limit(settings.limits.messages),
            max_bytes: limit(settings.limits.bytes),
            max_msgs_per_subject: limit(settings.limits.subject_messages),
            max_msg_size: -1,
            allow_atomic: true,
            // No test takes so long.
            duplicate_window: 100_000 * super::SECOND_NS,
            ..StreamConfig::default()
        }
    }
}

impl Settings {
    pub fn of(config: &StreamConfig) -> Self {
        let limit = |value: i64| u64::try_from(value).unwrap_or(0);
        let limits = Limits {
            messages: limit(config.max_msgs),
            bytes: limit(config.max_bytes),
            subject_messages: limit(config.max_msgs_per_subject),
        };
        Self { description: config.description.clone(), limits }
    }
}

impl State {
    /// Whether a stream that refuses new messages has no room.
    pub fn is_full(&self) -> bool {
        let max = self.config.limits.messages;
        max > 0 && self.messages.len() as u64 >= max
    }

    pub fn add(&mut self, sent: Sent) {
        self.last_seq += 1;
        let subject = sent.subject.clone();
        self.messages.insert(self.last_seq, sent);
        self.limit_subject(&subject);
        self.limit_all();
    }

    pub fn update(&mut self, config: Settings) {
        self.config = config;
        let subjects: BTreeSet<String> = self.messages.values().map(|sent| sent.subject.clone()).collect();
        subjects.iter().for_each(|subject| self.limit_subject(subject));
        self.limit_all();
    }

    fn limit_subject(&mut self, subject: &str) {
        let of_it = self.messages.iter().filter(|(_, sent)| sent.subject == subject);
        let seqs: Vec<u64> = of_it.map(|(seq, _)| *seq).collect();
        let over = match self.config.limits.subject_messages {
            0 => 0,
            max => seqs.len().saturating_sub(max as usize),
        };
        seqs[..over].iter().for_each(|seq| drop(self.messages.remove(seq)));
    }

    fn limit_all(&mut self) {
        while !self.messages.is_empty() && !self.is_within() {
            self.messages.pop_first();
        }
    }

    fn is_within(&self) -> bool {
        let Limits { messages, bytes, .. } = self.config.limits;
        let all_bytes: u64 = self.messages.values().map(Sent::size_bytes).sum();
        (messages == 0 || self.messages.len() as u64 <= messages) && (bytes == 0 || all_bytes <= bytes)
    }

    /// No more is there than its limits allow.
    pub fn check_limits(&self) {
        assert!(self.is_within(), "{} messages, {:?}", self.messages.len(), self.config.limits);
        let mut limited = self.clone();
        limited.update(self.config.clone());
        assert_eq!(limited.messages.len(), self.messages.len(), "{:?}", self.config.limits);
    }
}
