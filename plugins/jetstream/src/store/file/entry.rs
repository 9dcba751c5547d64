//! What the shared log says: one record for each job of a stream, with the bytes that go to its files and where.
//!
//! The record is whole or it is nothing, so a job is never done in part. Doing one again changes nothing. Pure.

use super::files::{Slot, mark_known};
use super::floors::Floor;
use super::mend::Mender;
use super::out::Out;
use super::place::{FileName, Home};
use super::record::{self, Bad, push_bytes, push_varint, take_bytes, take_varint};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::oneshot;

use crate::store::{Sequel, StoreError};

/// Records begin at multiples of this, so that a reader who lost the thread has fewer places to try.
pub const ALIGN: usize = 16;
/// The kind of its records.
const JOB: u8 = 1;
/// Flags of a job.
const NAMED: u8 = 1;
const GONE: u8 = 2;
/// What an operation takes in the log beyond its content and its job's name, at most.
const OVERHEAD: usize = 48;

const WRITE: u64 = 0;
const CREATE: u64 = 1;
const KNOWN: u64 = 2;
const REMOVE: u64 = 3;
const REWRITE: u64 = 4;
const FLOOR: u64 = 5;
/// Bits of a tag that say which of them.
const TAG_BITS: u32 = 3;

/// Who is told.
pub enum Done {
    Task(oneshot::Sender<Result<(), StoreError>>),
    Sequel(Box<dyn Sequel>),
}

/// What is to be done to the files of a stream, in order.
pub enum Op {
    /// A file that was not there.
    Create {
        slot: Arc<Slot>,
        content: Bytes,
    },
    Write {
        slot: Arc<Slot>,
        at: u64,
        content: Bytes,
    },
    /// Over what is there: the file does not end behind that.
    Rewrite {
        slot: Arc<Slot>,
        at: u64,
        content: Bytes,
    },
    /// Gone for good; after everything before is durable.
    Remove {
        slot: Arc<Slot>,
    },
}

/// A stream's changes up to a commit.
pub struct Job {
    pub home: Arc<Home>,
    pub ops: Vec<Op>,
    /// Told of the number when everything is in its files, so that the stream can forget its copy.
    pub written: Arc<AtomicU64>,
    pub number: u64,
    /// How far the stream is then.
    pub floor: Floor,
    /// Somebody waits until it is durable.
    pub waits: bool,
    /// The stream is removed.
    pub gone: bool,
    /// What it overwrites must be nowhere in the log either.
    pub erases: bool,
    pub done: Option<Done>,
}

impl Op {
    pub fn slot(&self) -> &Arc<Slot> {
        match self {
            Self::Create { slot, .. }
            | Self::Write { slot, .. }
            | Self::Rewrite { slot, .. }
            | Self::Remove { slot } => slot,
        }
    }

    /// Whether its content is so large that it goes to its file at once.
    pub fn is_direct(&self, direct_min: usize) -> bool {
        self.content().len() >= direct_min && !matches!(self, Self::Rewrite { .. })
    }

    pub fn content(&self) -> &[u8] {
        match self {
            Self::Create { content, .. } | Self::Write { content, .. } | Self::Rewrite { content, .. } => {
                content
            }
            Self::Remove { .. } => &[],
        }
    }
}

impl Job {
    pub fn content_bytes(&self) -> usize {
        self.ops.iter().map(|op| op.content().len()).sum()
    }

    /// The most that it takes in the log; contents from `direct_min` on are not in it.
    pub fn log_bytes(&self, direct_min: usize) -> usize {
        let contents = self.ops.iter().filter(|op| !op.is_direct(direct_min)).map(|op| op.content().len());
        let once = contents.sum::<usize>() + self.ops.len() * OVERHEAD + self.home.place.len() + 2 * OVERHEAD;
        2 * once
    }

    /// Whoever waits for it, without what is to be done.
    pub fn without_ops(&mut self) -> Self {
        let (home, written, done) = (self.home.clone(), self.written.clone(), self.done.take());
        Self { home, ops: Vec::new(), written, done, ..*self }
    }

    pub fn answer(&mut self, result: &Result<(), StoreError>) {
        match self.done.take() {
            // The stream may be gone.
            Some(Done::Task(done)) => drop(done.send(result.clone())),
            Some(Done::Sequel(sequel)) => sequel.settle(result),
            None => {}
        }
    }
}

/// Where records go.
pub struct Place {
    pub generation: u64,
    pub salt: u64,
    /// Where the buffer begins in the segment.
    pub base: u64,
}

/// Adds the record of a job. The first one of a stream in a segment says which stream it is, and lies there twice.
pub fn push_job(out: &mut impl Out, place: &Place, job: &Job, direct_min: usize) {
    let named = job.home.named.swap(place.generation, Relaxed) == place.generation;
    for _ in 0..if named { 1 } else { 2 } {
        push_record(out, place, &job.home, !named, job.gone, |out| {
            for op in &job.ops {
                push_op(out, op, place.generation, direct_min);
            }
        });
    }
}

/// Adds a record that says how much of a file counts, before something is written behind that without the log.
pub fn push_known(out: &mut impl Out, place: &Place, op: &Op) {
    let slot = op.slot();
    let named = slot.home.named.swap(place.generation, Relaxed) == place.generation;
    push_record(out, place, &slot.home, !named, false, |out| {
        let end = if let Op::Write { at, .. } = op { *at } else { 0 };
        mark_known(slot, place.generation);
        push_varint(out, slot.name.pack() << TAG_BITS | KNOWN);
        push_varint(out, end);
    });
}

/// Adds a record that says how far a stream was, so that what was said before may be forgotten.
pub fn push_floor(out: &mut impl Out, place: &Place, home: &Home, floor: &Floor) {
    push_record(out, place, home, false, false, |out| {
        push_varint(out, FLOOR);
        floor.push(out);
    });
}

fn push_op<O: Out>(out: &mut O, op: &Op, generation: u64, direct_min: usize) {
    let slot = op.slot();
    let tag = slot.name.pack() << TAG_BITS;
    let known = |out: &mut O, end: u64| {
        push_varint(out, tag | KNOWN);
        push_varint(out, end);
    };
    mark_known(slot, generation);
    match op {
        Op::Create { content, .. } if content.len() >= direct_min => known(out, content.len() as u64),
        Op::Create { content, .. } => {
            push_varint(out, tag | CREATE);
            push_bytes(out, content);
        }
        Op::Write { at, content, .. } if content.len() >= direct_min => known(out, at + content.len() as u64),
        Op::Write { at, content, .. } => {
            push_varint(out, tag | WRITE);
            push_varint(out, *at);
            push_bytes(out, content);
        }
        Op::Rewrite { at, content, .. } => {
            push_varint(out, tag | REWRITE);
            push_varint(out, *at);
            push_bytes(out, content);
        }
        Op::Remove { .. } => push_varint(out, tag | REMOVE),
    }
}

fn push_record<O: Out>(
    out: &mut O,
    place: &Place,
    home: &Home,
    named: bool,
    gone: bool,
    ops: impl FnOnce(&mut O),
) {
    record::push(out, place.base, place.salt, JOB, |out| {
        push_varint(out, home.id);
        out.push((u8::from(named) * NAMED) | (u8::from(gone) * GONE));
        if named {
            push_bytes(out, home.place.as_bytes());
        }
        ops(out);
    });
    out.pad(out.len().next_multiple_of(ALIGN));
}

/// A record of the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged<'a> {
    pub id: u64,
    pub place: Option<&'a str>,
    pub gone: bool,
    pub ops: Vec<LoggedOp<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum LoggedOp<'a> {
    Create {
        file: FileName,
        content: &'a [u8],
    },
    Write {
        file: FileName,
        at: u64,
        content: &'a [u8],
    },
    Rewrite {
        file: FileName,
        at: u64,
        content: &'a [u8],
    },
    /// The file has its content up to here, and it was synced.
    Known {
        file: FileName,
        end: u64,
    },
    Remove {
        file: FileName,
    },
    Floor(Floor),
}

impl<'a> Logged<'a> {
    /// `None` when it makes no sense.
    fn parse(mut body: &'a [u8]) -> Option<Self> {
        let id = take_varint(&mut body)?;
        let (&flags, mut body) = body.split_first()?;
        let place = match flags & NAMED {
            0 => None,
            _ => Some(std::str::from_utf8(take_bytes(&mut body)?).ok()?),
        };
        let mut ops = Vec::new();
        while !body.is_empty() {
            let tag = take_varint(&mut body)?;
            let file = FileName::unpack(tag >> TAG_BITS);
            ops.push(match tag & ((1 << TAG_BITS) - 1) {
                WRITE => {
                    let at = take_varint(&mut body)?;
                    LoggedOp::Write { file, at, content: take_bytes(&mut body)? }
                }
                CREATE => LoggedOp::Create { file, content: take_bytes(&mut body)? },
                KNOWN => LoggedOp::Known { file, end: take_varint(&mut body)? },
                REWRITE => {
                    let at = take_varint(&mut body)?;
                    LoggedOp::Rewrite { file, at, content: take_bytes(&mut body)? }
                }
                REMOVE => LoggedOp::Remove { file },
                FLOOR => LoggedOp::Floor(Floor::take(&mut body)?),
                _ => return None,
            });
        }
        Some(Self { id, place, gone: flags & GONE != 0, ops })
    }
}

/// How a segment could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Where the contents of the good records are.
    records: Vec<Range<usize>>,
    /// Places that could not be read, with good records behind them.
    pub damaged: u64,
    /// Records that one bit was wrong in.
    pub mended: usize,
    /// Behind the last good record is the beginning of another, or the file ends: there may have been more.
    pub is_cut_short: bool,
}

impl Scanned {
    /// The records of the segment that was scanned, in order.
    pub fn each<'a>(&self, content: &'a [u8]) -> impl Iterator<Item = Logged<'a>> {
        self.records.iter().filter_map(|record| Logged::parse(&content[record.clone()]))
    }
}

/// Every good record of a segment, from `from` on; those that one bit is wrong in are put right. What comes after the
/// last good one is the rest of an earlier use, or a torn write.
pub fn scan(content: &mut [u8], from: usize, salt: u64) -> Scanned {
    let (mut at, mut scanned, mut mender) = (from, Scanned::default(), Mender::default());
    let used = used(content);
    while at < used {
        match record::read(content, at, 0, salt) {
            Ok(record) => {
                let end = at + record.len;
                if record.kind == JOB {
                    scanned.records.push(end - record.body.len()..end);
                }
                at = end.next_multiple_of(ALIGN);
            }
            Err(bad) => {
                if let Some(whole) = mender.mend(content, at, bad, 0, salt) {
                    content[at..at + whole.len()].copy_from_slice(&whole);
                    continue;
                }
                let Some(next) = resync(content, at, used, bad, salt) else {
                    scanned.is_cut_short = bad != Bad::Head;
                    break;
                };
                scanned.damaged += 1;
                at = next;
            }
        }
    }
    // There is always room behind what was written, but in one that is new.
    let is_new = content.len() == from;
    scanned.is_cut_short |= !is_new && at + record::HEAD > content.len();
    scanned.mended = mender.mended.len();
    scanned
}

/// Up to where there is anything but the zeros that a segment is made of: no record begins behind that.
fn used(content: &[u8]) -> usize {
    const PART: usize = 4096;
    let last = content.rchunks(PART).position(|part| part != &[0; PART][..part.len()]);
    last.map_or(0, |parts| content.len() - parts * PART)
}

fn resync(content: &[u8], bad_at: usize, used: usize, bad: Bad, salt: u64) -> Option<usize> {
    if let Bad::Content { len } = bad {
        let next = (bad_at + len).next_multiple_of(ALIGN);
        if record::read(content, next, 0, salt).is_ok() {
            return Some(next);
        }
    }
    (bad_at + ALIGN..used).step_by(ALIGN).find(|&at| record::read(content, at, 0, salt).is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn job(home: &Arc<Home>, ops: Vec<Op>) -> Job {
        Job {
            home: home.clone(),
            ops,
            written: Arc::default(),
            number: 1,
            floor: Floor::default(),
            waits: true,
            gone: false,
            erases: false,
            done: None,
        }
    }

    #[test]
    fn jobs_come_back_and_damage_costs_one() {
        let home = Arc::new(Home::new("js", "A/streams/S.3", 3));
        let slot = Slot::new(&home, FileName::Block(1));
        let place = Place { generation: 1, salt: 5, base: 0 };
        let mut out = Vec::new();
        let create = Op::Create { slot: slot.clone(), content: Bytes::from_static(b"head") };
        push_job(&mut out, &place, &job(&home, vec![create]), 1000);
        let first = out.len();
        for n in 0..3u64 {
            let write = Op::Write { slot: slot.clone(), at: 4 + n, content: vec![n as u8; 10].into() };
            push_job(&mut out, &place, &job(&home, vec![write]), 1000);
        }
        let big = Op::Write { slot: slot.clone(), at: 7, content: vec![1; 2000].into() };
        push_job(&mut out, &place, &job(&home, vec![big, Op::Remove { slot }]), 1000);
        let all = |content: &[u8]| {
            let mut content = content.to_vec();
            let scanned = scan(&mut content, 0, 5);
            let seen: Vec<String> = scanned.each(&content).map(|logged| format!("{logged:?}")).collect();
            (seen, scanned.damaged)
        };
        let (seen, damaged) = all(&out);
        assert_eq!((seen.len(), damaged), (6, 0));
        assert_eq!(seen[0], seen[1]);
        assert!(seen[0].contains("A/streams/S.3") && !seen[2].contains("A/streams"));
        assert!(seen[5].contains("Known { file: Block(1), end: 2007 }"), "{}", seen[5]);
        for bit in 0..first * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Bits of the padding between records mean nothing.
            assert_eq!(all(&bad), (seen.clone(), 0), "bit {bit} is repaired");
            // Two are not.
            bad[bit / 8] ^= 4u8.rotate_left(bit as u32);
            assert!(all(&bad).0.len() >= 5, "bit {bit} and another");
        }
    }
}
