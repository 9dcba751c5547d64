//! The second file of a stream: everything but messages. Metadata, consumers with their state and changes, removed
//! sequences. It grows by records and is written anew, shorter, when most of it is outdated.
//!
//! Each record lies there twice, so that one damaged place costs nothing.

use super::record::{self, push_bytes, push_varint, take_bytes, take_varint};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Magic (8), salt (8).
pub const HEADER: usize = 16;
const MAGIC: &[u8; 8] = b"natsdst1";

const META: u8 = 1;
const CONSUMER: u8 = 2;
const CONSUMER_STATE: u8 = 3;
const CONSUMER_CHANGE: u8 = 4;
const CONSUMER_GONE: u8 = 5;
const DEAD: u8 = 6;
const FLOOR: u8 = 7;
const TRUNCATED: u8 = 8;

/// A consumer as it is kept for the next writing anew.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub meta: Bytes,
    pub state: Bytes,
    pub changes: Vec<Bytes>,
}

/// One fact.
#[derive(Clone, Debug)]
pub enum Fact<'a> {
    Meta(&'a [u8]),
    Consumer(&'a str, &'a [u8]),
    State(&'a str, &'a [u8]),
    Change(&'a str, &'a [u8]),
    Gone(&'a str),
    /// Removed, from first to last.
    Dead(u64, u64),
    /// Everything below the first is gone, and the last sequence and time are at least these.
    Floor {
        first_seq: u64,
        last_seq: u64,
        last_time_ns: i64,
    },
    /// What block files of now have above this is not the stream's any more; numbers of blocks from the second on
    /// are later.
    Truncated {
        last_seq: u64,
        next_block: u64,
    },
}

pub fn header(salt: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&salt.to_le_bytes());
    header
}

/// Adds a fact, twice. `number` orders facts: the copies have the same.
pub fn push(out: &mut Vec<u8>, base: u64, salt: u64, number: u64, fact: &Fact<'_>) {
    for _ in 0..2 {
        push_once(out, base, salt, number, fact);
    }
}

fn push_once(out: &mut Vec<u8>, base: u64, salt: u64, number: u64, fact: &Fact<'_>) {
    let kind = match fact {
        Fact::Meta(_) => META,
        Fact::Consumer(..) => CONSUMER,
        Fact::State(..) => CONSUMER_STATE,
        Fact::Change(..) => CONSUMER_CHANGE,
        Fact::Gone(_) => CONSUMER_GONE,
        Fact::Dead(..) => DEAD,
        Fact::Floor { .. } => FLOOR,
        Fact::Truncated { .. } => TRUNCATED,
    };
    record::push(out, base, salt, kind, |out| {
        push_varint(out, number);
        match fact {
            Fact::Meta(meta) => out.extend_from_slice(meta),
            Fact::Consumer(name, bytes) | Fact::State(name, bytes) | Fact::Change(name, bytes) => {
                push_bytes(out, name.as_bytes());
                out.extend_from_slice(bytes);
            }
            Fact::Gone(name) => push_bytes(out, name.as_bytes()),
            Fact::Dead(first, last) => {
                push_varint(out, *first);
                push_varint(out, last - first);
            }
            Fact::Floor { first_seq, last_seq, last_time_ns } => {
                push_varint(out, *first_seq);
                push_varint(out, *last_seq);
                push_varint(out, *last_time_ns as u64);
            }
            Fact::Truncated { last_seq, next_block } => {
                push_varint(out, *last_seq);
                push_varint(out, *next_block);
            }
        }
    });
}

/// What a state log says, all facts taken together.
#[derive(Debug, Default)]
pub struct Found {
    pub salt: u64,
    pub meta: Option<Bytes>,
    pub consumers: BTreeMap<String, Kept>,
    pub dead: Vec<(u64, u64)>,
    pub first_seq: u64,
    pub last_seq: u64,
    pub last_time_ns: i64,
    pub truncations: Vec<(u64, u64)>,
    /// Good bytes from the start.
    pub size: u64,
    pub next_number: u64,
    /// Places that could not be read.
    pub damaged: u64,
}

/// Reads a whole file; `None` when it is none.
pub fn read(content: &[u8]) -> Option<Found> {
    let header = content.get(..HEADER)?;
    if &header[..8] != MAGIC {
        return None;
    }
    let mut salt = [0; 8];
    salt.copy_from_slice(&header[8..]);
    let salt = u64::from_le_bytes(salt);
    let mut found = Found { salt, size: HEADER as u64, ..Found::default() };
    let mut at = HEADER;
    while at < content.len() {
        match record::read(content, at, 0, salt) {
            Ok(record) => {
                at += record.len;
                found.size = at as u64;
                found.take(record.kind, record.body);
            }
            Err(bad) => match record::resync(content, at, bad, 0, salt) {
                Some(next) => {
                    found.damaged += 1;
                    at = next;
                }
                // The end of what was written before a crash.
                None => break,
            },
        }
    }
    Some(found)
}

impl Found {
    fn take(&mut self, kind: u8, mut body: &[u8]) -> Option<()> {
        let number = take_varint(&mut body)?;
        if number < self.next_number {
            // The second copy.
            return Some(());
        }
        self.next_number = number + 1;
        match kind {
            META => self.meta = Some(Bytes::copy_from_slice(body)),
            CONSUMER | CONSUMER_STATE | CONSUMER_CHANGE | CONSUMER_GONE => {
                let name = std::str::from_utf8(take_bytes(&mut body)?).ok()?.to_owned();
                if kind == CONSUMER_GONE {
                    self.consumers.remove(&name);
                    return Some(());
                }
                let kept = self.consumers.entry(name).or_default();
                let content = Bytes::copy_from_slice(body);
                match kind {
                    CONSUMER => kept.meta = content,
                    CONSUMER_STATE => {
                        kept.state = content;
                        kept.changes.clear();
                    }
                    _ => kept.changes.push(content),
                }
            }
            DEAD => {
                let first = take_varint(&mut body)?;
                self.dead.push((first, first.checked_add(take_varint(&mut body)?)?));
            }
            FLOOR => {
                self.first_seq = self.first_seq.max(take_varint(&mut body)?);
                self.last_seq = self.last_seq.max(take_varint(&mut body)?);
                self.last_time_ns = self.last_time_ns.max(take_varint(&mut body)? as i64);
            }
            TRUNCATED => {
                let last_seq = take_varint(&mut body)?;
                self.truncations.push((last_seq, take_varint(&mut body)?));
                self.last_seq = self.last_seq.min(last_seq);
            }
            _ => {}
        }
        Some(())
    }
}
