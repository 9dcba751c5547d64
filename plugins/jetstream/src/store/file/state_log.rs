//! The second file of a stream, and its copy: everything but messages. Metadata, consumers with their state and
//! changes, removed sequences. It grows by records and is written anew, shorter, when most of it is outdated.
//!
//! It lies there twice, so that damage to one file costs nothing, however much of it is gone.

use super::floors::Floor;
use super::record::{self, Codec, push_bytes, push_varint, take_bytes, take_varint};
use super::seal::{NONCE, PLAIN, SEED, Sealed, TAG};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Magic (7), cipher (1), salt (8), [nonce, sealed key of the stream, tag], hash (8).
const MAGIC: &[u8; 7] = b"natsdst";
const HEADER_PLAIN: usize = 24;
const HEADER_SEALED: usize = HEADER_PLAIN + NONCE + SEED + TAG;

const META: u8 = 1;
const CONSUMER: u8 = 2;
const CONSUMER_STATE: u8 = 3;
const CONSUMER_CHANGE: u8 = 4;
const CONSUMER_GONE: u8 = 5;
const DEAD: u8 = 6;
const FLOOR: u8 = 7;
const TRUNCATED: u8 = 8;
const BLOCK: u8 = 9;
const ALL_DEAD: u8 = 10;

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
    /// Removed, one by one, in ascending order.
    AllDead(&'a [u64]),
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
    /// A block has the sequences from first to last; none yet when the last is below.
    Block {
        number: u64,
        facts: BlockFacts,
    },
}

/// What stands at the start of a block, and how far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    pub first_seq: u64,
    pub last_seq: u64,
    pub salt: u64,
    pub base_time_ns: i64,
    pub cipher: u8,
}

/// The start of a file.
pub fn header(salt: u64, sealed: Option<&Sealed>) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.push(sealed.map_or(PLAIN, |sealed| sealed.cipher));
    header.extend_from_slice(&salt.to_le_bytes());
    if let Some(sealed) = sealed {
        header.extend_from_slice(&sealed.nonce);
        header.extend_from_slice(&sealed.seed);
        header.extend_from_slice(&sealed.tag);
    }
    let hash = xxhash_rust::xxh3::xxh3_64(&header);
    header.extend_from_slice(&hash.to_le_bytes());
    header
}

/// What the start of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub salt: u64,
    pub sealed: Option<Sealed>,
    len: usize,
}

pub fn read_header(content: &[u8]) -> Option<Header> {
    let cipher = *content.get(7)?;
    let len = if cipher == PLAIN { HEADER_PLAIN } else { HEADER_SEALED };
    let (said, hash) = content.get(..len)?.split_last_chunk::<8>()?;
    if &content[..7] != MAGIC || xxhash_rust::xxh3::xxh3_64(said).to_le_bytes() != *hash {
        return None;
    }
    let salt = u64::from_le_bytes(*said[8..].first_chunk()?);
    let sealed = match cipher {
        PLAIN => None,
        _ => Some(Sealed {
            cipher,
            nonce: *said[16..].first_chunk()?,
            seed: *said[16 + NONCE..].first_chunk()?,
            tag: *said[16 + NONCE + SEED..].first_chunk()?,
        }),
    };
    Some(Header { salt, sealed, len })
}

/// Adds a fact. `number` orders facts.
pub fn push(out: &mut Vec<u8>, base: u64, codec: &Codec, number: u64, fact: &Fact<'_>) {
    let kind = match fact {
        Fact::Meta(_) => META,
        Fact::Consumer(..) => CONSUMER,
        Fact::State(..) => CONSUMER_STATE,
        Fact::Change(..) => CONSUMER_CHANGE,
        Fact::Gone(_) => CONSUMER_GONE,
        Fact::Dead(..) => DEAD,
        Fact::AllDead(_) => ALL_DEAD,
        Fact::Floor { .. } => FLOOR,
        Fact::Truncated { .. } => TRUNCATED,
        Fact::Block { .. } => BLOCK,
    };
    codec.push(out, base, kind, |out| {
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
            Fact::AllDead(seqs) => {
                let mut before = 0;
                for run in seqs.chunk_by(|one, next| one + 1 == *next) {
                    push_varint(out, run[0] - before);
                    push_varint(out, run.len() as u64 - 1);
                    before = run[0] + run.len() as u64 - 1;
                }
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
            Fact::Block { number, facts } => {
                push_varint(out, *number);
                push_varint(out, facts.first_seq);
                push_varint(out, facts.last_seq + 1 - facts.first_seq);
                out.extend_from_slice(&facts.salt.to_le_bytes());
                out.extend_from_slice(&facts.base_time_ns.to_le_bytes());
                out.push(facts.cipher);
            }
        }
    });
}

/// What a state log says, all facts taken together.
#[derive(Debug, Default)]
pub struct Found {
    pub meta: Option<Bytes>,
    pub consumers: BTreeMap<String, Kept>,
    pub dead: Vec<(u64, u64)>,
    pub first_seq: u64,
    pub last_seq: u64,
    pub last_time_ns: i64,
    /// The last sequence and time come from the shared log, which is about to be emptied.
    pub is_unnoted: bool,
    pub truncations: Vec<(u64, u64)>,
    /// Blocks by their number.
    pub blocks: BTreeMap<u64, BlockFacts>,
    /// Good bytes from the start.
    pub size: u64,
    pub next_number: u64,
    /// Places that could not be read in one file or the other.
    pub damaged: u64,
}

/// Reads the facts behind the header from both files: what is good in one of them. What the shared log has of the
/// stream's end counts at its place among them.
pub fn read(files: [&[u8]; 2], header: &Header, codec: &Codec, mut floor: Option<Floor>) -> Found {
    let mut found = Found { size: header.len as u64, ..Found::default() };
    let (mut at, end) = (header.len, files[0].len().max(files[1].len()));
    let mut buffer = Vec::new();
    while at < end {
        let records = files.map(|file| record::read(file, at, 0, codec.salt));
        found.damaged += u64::from(records[0].is_ok() != records[1].is_ok());
        let [first, second] = records;
        match first.or(second) {
            Ok(record) => {
                match codec.body(&record, at as u64, &mut buffer) {
                    Some(body) => {
                        let number = take_varint(&mut &*body).unwrap_or(0);
                        if let Some(floor) = floor.take_if(|floor| floor.number <= number) {
                            found.raise(&floor);
                        }
                        let _ = found.take(record.kind, body);
                    }
                    None => found.damaged += 1,
                }
                at += record.len;
                found.size = at as u64;
            }
            Err(bad) => {
                let next = files.map(|file| record::resync(file, at, bad, 0, codec.salt));
                match next.into_iter().flatten().min() {
                    Some(next) => {
                        found.damaged += 1;
                        at = next;
                    }
                    // The end of what was written before a crash.
                    None => break,
                }
            }
        }
    }
    if let Some(floor) = floor {
        found.raise(&floor);
    }
    found
}

impl Found {
    fn raise(&mut self, floor: &Floor) {
        self.is_unnoted = floor.last_seq > self.last_seq || floor.last_time_ns > self.last_time_ns;
        self.last_seq = self.last_seq.max(floor.last_seq);
        self.last_time_ns = self.last_time_ns.max(floor.last_time_ns);
    }

    fn take(&mut self, kind: u8, mut body: &[u8]) -> Option<()> {
        let number = take_varint(&mut body)?;
        self.next_number = self.next_number.max(number + 1);
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
            DEAD | ALL_DEAD => {
                let mut last = 0u64;
                while !body.is_empty() {
                    let first = last.checked_add(take_varint(&mut body)?)?;
                    last = first.checked_add(take_varint(&mut body)?)?;
                    self.dead.push((first, last));
                }
                // It was there once, and its block may be gone.
                self.last_seq = self.last_seq.max(last);
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
                self.first_seq = self.first_seq.min(last_seq + 1);
                self.dead.retain(|(first, _)| *first <= last_seq);
                self.dead.iter_mut().for_each(|(_, last)| *last = last_seq.min(*last));
                self.blocks.retain(|_, facts| facts.first_seq <= last_seq);
                self.blocks.values_mut().for_each(|facts| facts.last_seq = last_seq.min(facts.last_seq));
            }
            BLOCK => {
                let (block, first_seq) = (take_varint(&mut body)?, take_varint(&mut body)?);
                let last_seq = first_seq.checked_add(take_varint(&mut body)?)?.checked_sub(1)?;
                let (salt, rest) = body.split_first_chunk::<8>()?;
                let (time, rest) = rest.split_first_chunk::<8>()?;
                let facts = BlockFacts {
                    first_seq,
                    last_seq,
                    salt: u64::from_le_bytes(*salt),
                    base_time_ns: i64::from_le_bytes(*time),
                    cipher: *rest.first()?,
                };
                self.blocks.insert(block, facts);
            }
            _ => {}
        }
        Some(())
    }
}
