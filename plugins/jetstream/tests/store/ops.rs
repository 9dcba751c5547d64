//! Operations on a store, made at random.

use crate::model::{Kept, Model};
use crate::random::Random;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::{Flags, NewMessage, Purge, StoreError, StoreSettings, StreamStore};

#[derive(Clone, Debug)]
pub enum Op {
    Append(Kept),
    Skip(u64, i64),
    /// With or without erasing.
    Remove(u64, bool),
    Purge(Purge),
    Compact(u64),
    Truncate(u64),
    Meta(Vec<u8>),
    Consumer(String, Vec<u8>),
    State(String, Vec<u8>),
    Change(String, Vec<u8>),
    ConsumerGone(String),
    Configure(StoreSettings),
}

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Sequence, messages of the subject.
    Appended(u64, u64),
    /// Subject and size.
    Removed(Option<(Vec<u8>, u64)>),
    /// Messages and bytes.
    Purged(u64, u64),
}

impl Op {
    /// Does it to a store. The second value is the size that a new message counts for.
    pub fn run(&self, store: &mut dyn StreamStore) -> Result<(Outcome, u64), StoreError> {
        match self {
            Self::Append(new) => {
                let appended = store.append(&NewMessage {
                    subject: &new.subject,
                    headers: &new.headers,
                    payload: &new.payload,
                    time_ns: new.time_ns,
                    flags: new.flags,
                })?;
                return Ok((Outcome::Appended(appended.seq, appended.subject_messages), appended.size_bytes));
            }
            Self::Remove(seq, erase) => {
                let removed = store.remove(*seq, *erase)?;
                let removed = removed.map(|removed| (removed.subject.to_vec(), removed.size_bytes));
                return Ok((Outcome::Removed(removed), 0));
            }
            Self::Purge(purge) => {
                let (messages, bytes) = store.purge(purge)?;
                return Ok((Outcome::Purged(messages, bytes), 0));
            }
            Self::Skip(count, time_ns) => store.skip(*count, *time_ns)?,
            Self::Compact(seq) => store.compact(*seq)?,
            Self::Truncate(seq) => store.truncate(*seq)?,
            Self::Meta(meta) => store.put_meta(meta)?,
            Self::Consumer(name, meta) => store.put_consumer(name, meta)?,
            Self::State(name, state) => store.put_consumer_state(name, state)?,
            Self::Change(name, change) => store.record_consumer(name, change)?,
            Self::ConsumerGone(name) => store.remove_consumer(name)?,
            Self::Configure(settings) => store.configure(settings)?,
        }
        Ok((Outcome::Done, 0))
    }
}

const SUBJECTS: [&str; 9] = ["a", "b", "a.b", "a.c", "a.b.c", "orders.1", "orders.2", "orders.2.new", "x"];
const PATTERNS: [&str; 8] = ["a", "a.*", "a.>", "*", "*.b", "orders.>", "orders.*", "none"];
const CONSUMERS: [&str; 3] = ["one", "two", "three"];

pub fn filter(random: &mut Random) -> Filter {
    match random.below(4) {
        0 => Filter::all(),
        1 => Filter::new([*random.of(&PATTERNS), *random.of(&SUBJECTS)]),
        2 => Filter::new([*random.of(&SUBJECTS)]),
        _ => Filter::new([*random.of(&PATTERNS)]),
    }
}

/// How large messages are, and what else there is.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// One message in so many is large; 0: none is.
    pub large: u64,
    pub large_bytes: u64,
    pub truncates: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self { large: 40, large_bytes: 20_000, truncates: true }
    }
}

/// Something that can be done to a store that holds this.
pub fn random_op(model: &Model, mix: &Mix, random: &mut Random) -> Op {
    let time_ns = model.last_time_ns + random.below(1_000_000) as i64;
    let seq = |random: &mut Random| random.between(model.first_seq().saturating_sub(2), model.last_seq + 3);
    match random.below(100) {
        0..=49 => Op::Append(message(time_ns, mix, random)),
        50..=53 => Op::Skip(random.of(&[0, 1, 2, 3, 17, 2000]).to_owned(), time_ns),
        54..=66 => Op::Remove(seq(random), random.one_in(3)),
        67..=70 => Op::Purge(purge(model, random)),
        71..=72 => Op::Compact(seq(random).max(1)),
        73 if mix.truncates => Op::Truncate(seq(random)),
        73..=75 => Op::Meta(format!("meta {}", random.below(1000)).into_bytes()),
        76..=80 => {
            let name = (*random.of(&CONSUMERS)).to_owned();
            Op::Consumer(name, format!("config {}", random.below(1000)).into_bytes())
        }
        81..=82 => Op::ConsumerGone((*random.of(&CONSUMERS)).to_owned()),
        83 => Op::Configure(StoreSettings {
            compress: random.one_in(2),
            subject_messages_max: random.of(&[0, 1, 5]).to_owned(),
            ..StoreSettings::default()
        }),
        _ => consumed(model, random).unwrap_or_else(|| Op::Append(message(time_ns, mix, random))),
    }
}

/// A change of a consumer that is there.
fn consumed(model: &Model, random: &mut Random) -> Option<Op> {
    let names: Vec<&String> = model.consumers.keys().collect();
    let name = (*names.get(random.below(names.len() as u64) as usize)?).clone();
    let len = random.below(40) as usize + 1;
    let content = random.bytes(len);
    Some(if random.one_in(5) { Op::State(name, content) } else { Op::Change(name, content) })
}

fn purge(model: &Model, random: &mut Random) -> Purge {
    let filter = filter(random);
    match random.below(3) {
        0 => Purge { filter, before_seq: random.between(1, model.last_seq + 2), keep: 0 },
        1 => Purge { filter, before_seq: 0, keep: random.below(6) },
        _ if random.one_in(3) => Purge { filter, ..Purge::default() },
        _ => Purge { filter: Filter::new([*random.of(&SUBJECTS)]), ..Purge::default() },
    }
}

pub fn message(time_ns: i64, mix: &Mix, random: &mut Random) -> Kept {
    let len = match random.below(10) {
        0 => 0,
        _ if mix.large > 0 && random.one_in(mix.large) => random.below(mix.large_bytes),
        _ => random.below(200),
    };
    let headers = match random.one_in(3) {
        true => format!("NATS/1.0\r\nN: {}\r\n\r\n", random.next()).into_bytes(),
        false => Vec::new(),
    };
    // Bytes that compress, and bytes that do not.
    let payload = match random.one_in(2) {
        true => random.bytes(len as usize),
        false => format!("payload {} ", random.next()).into_bytes().repeat(1 + len as usize / 20),
    };
    Kept {
        time_ns,
        flags: Flags(if random.one_in(5) { 1 << random.below(4) } else { 0 }),
        subject: random.of(&SUBJECTS).as_bytes().to_vec(),
        headers,
        payload,
        size_bytes: 0,
    }
}
