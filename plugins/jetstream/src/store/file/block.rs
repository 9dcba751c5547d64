//! A block: a file with messages in the order of their sequences, and what is kept of it in memory.

use super::files::Slot;
use super::marks::Marks;
use super::pack::Packed;
use super::record::{self, Bad, Codec, Record};
use super::seal::{PLAIN, Seal};
use super::state_log::{BlockFacts, Fact};
use crate::store::loaded::{Payload, SHARED_MIN};
use crate::store::{Flags, Loaded, NewMessage};
use bytes::Bytes;
use std::sync::Arc;

/// Larger blocks are closed and a new one begun.
pub const SIZE_MAX: u64 = if cfg!(test) { 128 * 1024 } else { 8 * 1024 * 1024 };
/// Magic (7), cipher (1), salt (8), first sequence (8), base time (8), hash (8).
pub const HEADER: usize = 40;
/// What a message takes beyond its parts, at most.
const ROOM: usize = 64;
const MAGIC: &[u8; 7] = b"natsdbk";

/// Kinds of records; the upper half of the byte holds the message's flags.
const MESSAGE: u8 = 1;
const MESSAGE_WITH_HEADERS: u8 = 2;
const SKIP: u8 = 3;
const ERASED: u8 = 4;

/// Among the flags of a block: one of its messages has headers.
pub const HEADED: Flags = Flags(16);

/// Of a message, with what its block is to know of it.
pub fn flags_of(flags: Flags, headers: &[u8]) -> Flags {
    if headers.is_empty() { flags } else { flags.union(HEADED) }
}

/// Between two marks: what is read to find a message.
pub const MARK_BYTES: u64 = if cfg!(test) { 256 } else { 4 * 1024 };

/// No message at a sequence.
const NONE: u32 = u32::MAX;

/// What is known of a block without reading it.
pub struct Block {
    pub number: u64,
    pub slot: Arc<Slot>,
    pub codec: Codec,
    pub base_time_ns: i64,
    pub first_seq: u64,
    /// `first_seq - 1` while it is empty.
    pub last_seq: u64,
    pub first_time_ns: i64,
    pub last_time_ns: i64,
    /// Bytes in the file, or on their way there.
    pub size: u64,
    /// Messages that are there.
    pub live: u64,
    /// Where each sequence from the first lies; of the last block, and where all of one was asked for.
    pub offsets: Option<Vec<u32>>,
    /// Where some messages lie, one for each `MARK_BYTES`.
    marks: Marks,
    /// One bit a sequence: removed.
    dead: Vec<u64>,
    /// Flags of all its messages together.
    pub flags: Flags,
    /// What the file has above this does not count.
    pub cut_above: u64,
    /// Where its chunks are, if it is compressed.
    pub packed: Option<Packed>,
}

/// A message in a block, as views of a buffer.
pub struct Parsed {
    pub seq: u64,
    pub time_ns: i64,
    pub flags: Flags,
    pub subject: Bytes,
    pub headers: Bytes,
    pub payload: Bytes,
}

/// What the start of a message says of it.
pub struct Outline<'a> {
    pub seq: u64,
    pub subject: &'a [u8],
    /// Bytes of its parts.
    pub headers: usize,
    pub payload: usize,
}

/// A record of a block.
pub enum Entry<'a> {
    Message { seq: u64, time_ns: i64, flags: Flags, subject: &'a [u8], headers: &'a [u8], payload: &'a [u8] },
    Skip { first: u64, count: u64, time_ns: i64 },
    Erased { seq: u64 },
}

impl Block {
    /// A new block, and the header of its file.
    pub fn new(number: u64, slot: Arc<Slot>, codec: Codec, first_seq: u64, time_ns: i64) -> (Self, Vec<u8>) {
        let header = header(MAGIC, &codec, first_seq, time_ns);
        (Self::with(number, slot, codec, first_seq, time_ns), header)
    }

    fn with(number: u64, slot: Arc<Slot>, codec: Codec, first_seq: u64, time_ns: i64) -> Self {
        Self {
            number,
            slot,
            codec,
            base_time_ns: time_ns,
            first_seq,
            last_seq: first_seq - 1,
            first_time_ns: time_ns,
            last_time_ns: time_ns,
            size: HEADER as u64,
            live: 0,
            offsets: Some(Vec::new()),
            marks: Marks::default(),
            dead: Vec::new(),
            flags: Flags::default(),
            cut_above: u64::MAX,
            packed: None,
        }
    }

    /// What the state log is to say of it.
    pub fn fact(&self) -> Fact<'static> {
        let facts = BlockFacts {
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            salt: self.codec.salt,
            base_time_ns: self.base_time_ns,
            cipher: self.cipher(),
        };
        Fact::Block { number: self.number, facts }
    }

    /// A file whose header is as the state log says.
    pub fn known(
        number: u64,
        slot: Arc<Slot>,
        facts: &BlockFacts,
        seals: &dyn Fn(u8) -> Option<Arc<Seal>>,
    ) -> Option<Self> {
        let seal = match facts.cipher {
            PLAIN => None,
            cipher => Some(seals(cipher)?),
        };
        let codec = Codec { salt: facts.salt, seal };
        Some(Self::with(number, slot, codec, facts.first_seq, facts.base_time_ns))
    }

    /// The same block for reading other content of it.
    pub fn reader(&self, codec: Codec) -> Self {
        Self::with(self.number, self.slot.clone(), codec, self.first_seq, self.base_time_ns)
    }

    /// The letter of what its file is encrypted with.
    pub fn cipher(&self) -> u8 {
        self.packed.as_ref().map_or(&self.codec, |packed| &packed.codec).cipher()
    }

    /// Reads the header of a file. `seals` finds the key for a cipher.
    pub fn open(
        number: u64,
        slot: Arc<Slot>,
        content: &[u8],
        seals: &dyn Fn(u8) -> Option<Arc<Seal>>,
    ) -> Option<Self> {
        Self::open_as(MAGIC, number, slot, content, seals)
    }

    pub fn open_as(
        magic: &[u8; 7],
        number: u64,
        slot: Arc<Slot>,
        content: &[u8],
        seals: &dyn Fn(u8) -> Option<Arc<Seal>>,
    ) -> Option<Self> {
        let header = content.get(..HEADER)?;
        let value = |at: usize| header[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let right = &header[..7] == magic && value(32)? == xxhash_rust::xxh3::xxh3_64(&header[..32]);
        let (salt, first_seq, time_ns) = (value(8)?, value(16)?, value(24)? as i64);
        if !right || first_seq == 0 {
            return None;
        }
        let seal = match header[7] {
            PLAIN => None,
            cipher => Some(seals(cipher)?),
        };
        Some(Self::with(number, slot, Codec { salt, seal }, first_seq, time_ns))
    }

    /// Encodes a message at the end of `out`, which lies in the file from `base` on.
    pub fn encode(&self, out: &mut Vec<u8>, base: u64, seq: u64, message: &NewMessage<'_>) {
        let kind = if message.headers.is_empty() { MESSAGE } else { MESSAGE_WITH_HEADERS };
        out.reserve(message.subject.len() + message.headers.len() + message.payload.len() + ROOM);
        self.codec.push(out, base, kind | message.flags.0 << 4, |out| {
            record::push_varint(out, seq - self.first_seq);
            push_time(out, message.time_ns, self.base_time_ns);
            record::push_bytes(out, message.subject);
            if kind == MESSAGE_WITH_HEADERS {
                record::push_bytes(out, message.headers);
            }
            out.extend_from_slice(message.payload);
        });
    }

    pub fn encode_skip(&self, out: &mut Vec<u8>, base: u64, first: u64, count: u64, time_ns: i64) {
        record::push(out, base, self.codec.salt, SKIP, |out| {
            record::push_varint(out, first - self.first_seq);
            record::push_varint(out, count);
            push_time(out, time_ns, self.base_time_ns);
        });
    }

    /// A record of the same length without any of the content.
    pub fn erased(&self, at: u64, len: usize, seq: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(len);
        record::push(&mut out, at, self.codec.salt, ERASED, |out| {
            record::push_varint(out, seq - self.first_seq);
            // `out` begins with the record's head: the whole is as long as it was.
            out.resize(len, 0);
        });
        out
    }

    /// The body of a record that lies at `at`, in `buffer` if it had to be decrypted.
    pub fn body<'a>(&self, record: &Record<'a>, at: u64, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match record.kind & 15 {
            SKIP | ERASED => Some(record.body),
            _ => self.codec.body(record, at, buffer),
        }
    }

    /// What a record says; `None` when it makes no sense.
    pub fn entry<'a>(&self, kind: u8, mut body: &'a [u8]) -> Option<Entry<'a>> {
        let flags = Flags(kind >> 4);
        let kind = kind & 15;
        match kind {
            SKIP => {
                let first = self.first_seq + record::take_varint(&mut body)?;
                let count = record::take_varint(&mut body)?;
                Some(Entry::Skip { first, count, time_ns: take_time(&mut body, self.base_time_ns)? })
            }
            ERASED => Some(Entry::Erased { seq: self.first_seq + record::take_varint(&mut body)? }),
            MESSAGE | MESSAGE_WITH_HEADERS => {
                let seq = self.first_seq + record::take_varint(&mut body)?;
                let time_ns = take_time(&mut body, self.base_time_ns)?;
                let subject = record::take_bytes(&mut body)?;
                let headers = if kind == MESSAGE_WITH_HEADERS { record::take_bytes(&mut body)? } else { &[] };
                Some(Entry::Message { seq, time_ns, flags, subject, headers, payload: body })
            }
            _ => None,
        }
    }

    /// The message at the start of `bytes`, which lie at `at` in the file.
    pub fn parse(&self, bytes: &Bytes, at: u64) -> Result<Parsed, Bad> {
        let record = record::read(bytes, 0, at, self.codec.salt)?;
        let bad = Bad::Content { len: record.len };
        let mut buffer = Vec::new();
        let opened = self.body(&record, at, &mut buffer).ok_or(bad)?;
        let body = if std::ptr::eq(opened, record.body) { bytes.slice_ref(opened) } else { buffer.into() };
        match self.entry(record.kind, &body) {
            Some(Entry::Message { seq, time_ns, flags, subject, headers, payload }) => Ok(Parsed {
                seq,
                time_ns,
                flags,
                subject: body.slice_ref(subject),
                headers: if headers.is_empty() { Bytes::new() } else { body.slice_ref(headers) },
                payload: if payload.is_empty() { Bytes::new() } else { body.slice_ref(payload) },
            }),
            _ => Err(bad),
        }
    }

    /// Reads the message at the start of `bytes` if it is right, not encrypted, and too small to be shared; its sequence
    /// is the answer.
    pub fn fill(&self, bytes: &[u8], at: u64, into: &mut Loaded) -> Option<u64> {
        let record =
            record::read(bytes, 0, at, self.codec.salt).ok().filter(|_| self.codec.seal.is_none())?;
        match self.entry(record.kind, record.body)? {
            Entry::Message { seq, time_ns, flags, subject, headers, payload }
                if payload.len() < SHARED_MIN =>
            {
                into.fill(seq, time_ns, flags, (subject, headers, Payload::Copied(payload)));
                Some(seq)
            }
            _ => None,
        }
    }

    /// What the first bytes of a message's record at `at` say, the hash not looked at. `None`: it has to be read whole.
    pub fn outline<'a>(&self, start: &'a [u8], at: u64) -> Option<Outline<'a>> {
        let (len, kind) = record::head(start, at, self.codec.salt).filter(|_| self.codec.seal.is_none())?;
        let mut body = start.get(record::HEAD..start.len().min(len))?;
        let all = body.len();
        let seq = self.first_seq + record::take_varint(&mut body)?;
        take_time(&mut body, self.base_time_ns)?;
        let subject = record::take_bytes(&mut body)?;
        let headers = match kind & 15 {
            MESSAGE => 0,
            MESSAGE_WITH_HEADERS => usize::try_from(record::take_varint(&mut body)?).ok()?,
            _ => return None,
        };
        let read = record::HEAD + all - body.len();
        Some(Outline { seq, subject, headers, payload: len.checked_sub(read)?.checked_sub(headers)? })
    }

    /// The last sequence of the record that `start` is the start of, which lies at `at`, and the record's length. The
    /// hash is not looked at if it need not be.
    pub fn step(&self, start: &[u8], at: u64, buffer: &mut Vec<u8>) -> Option<(u64, usize)> {
        let (len, mut kind) = record::head(start, at, self.codec.salt)?;
        let mut body = start.get(record::HEAD..start.len().min(len))?;
        if self.codec.seal.is_some() {
            let record = record::read(start, 0, at, self.codec.salt).ok()?;
            (body, kind) = (self.body(&record, at, buffer)?, record.kind);
        }
        let seq = self.first_seq.checked_add(record::take_varint(&mut body)?)?;
        let more = if kind & 15 == SKIP { record::take_varint(&mut body)?.saturating_sub(1) } else { 0 };
        Some((seq.checked_add(more)?, len))
    }

    /// Whether a whole and right message lies at `at`.
    pub fn is_message(&self, bytes: &[u8], at: u64) -> bool {
        let record = record::read(bytes, 0, at, self.codec.salt);
        record.is_ok_and(|record| matches!(record.kind & 15, MESSAGE | MESSAGE_WITH_HEADERS))
    }

    /// What a damaged record may have said, if it lets itself be read.
    pub fn guess<'a>(&self, bytes: &'a [u8]) -> Option<Entry<'a>> {
        let body = bytes.get(record::HEAD..).filter(|_| self.codec.seal.is_none())?;
        self.entry(*bytes.get(6)?, body)
    }

    /// Notes a message at an offset.
    pub fn add(&mut self, seq: u64, offset: u64, time_ns: i64, flags: Flags) {
        self.fill_to(seq);
        if let Some(offsets) = &mut self.offsets {
            offsets.push(offset as u32);
        }
        self.mark(seq, offset);
        if self.live == 0 {
            self.first_time_ns = time_ns;
        }
        self.last_seq = seq;
        self.last_time_ns = time_ns;
        self.live += 1;
        self.flags = self.flags.union(flags);
    }

    fn mark(&mut self, seq: u64, offset: u64) {
        if self.marks.last_offset().is_none_or(|last| offset >= u64::from(last) + MARK_BYTES) {
            self.marks.push((seq - self.first_seq) as u32, offset as u32);
        }
    }

    /// Where all its messages lie.
    pub fn set_offsets(&mut self, offsets: Vec<u32>) {
        self.marks.clear();
        for (n, &offset) in offsets.iter().enumerate().filter(|(_, offset)| **offset != NONE) {
            self.mark(self.first_seq + n as u64, offset.into());
        }
        self.offsets = Some(offsets);
    }

    /// A place from which on a message is found, record by record, if it is there, and how many bytes before it, about.
    /// `None`: no place is known.
    pub fn mark_before(&self, seq: u64) -> Option<(u64, u64)> {
        let near = self.marks.near(seq - self.first_seq)?;
        let before = near.about.map_or(MARK_BYTES, |about| u64::from(about - near.mark));
        Some((near.mark.into(), before))
    }

    /// Nothing comes any more.
    pub fn shrink(&mut self) {
        self.marks.shrink_to_fit();
        self.offsets.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// Notes sequences without messages up to the one before `seq`.
    pub fn fill_to(&mut self, seq: u64) {
        let missing = (seq - self.first_seq) as usize;
        if let Some(offsets) = &mut self.offsets {
            offsets.resize(missing, NONE);
        }
        self.last_seq = self.last_seq.max(seq - 1);
    }

    /// Where a message lies, if its offsets are loaded and it is there.
    pub fn offset(&self, seq: u64) -> Option<u64> {
        if self.is_dead(seq) {
            return None;
        }
        self.raw_offset(seq)
    }

    pub fn is_dead(&self, seq: u64) -> bool {
        let bit = (seq - self.first_seq) as usize;
        self.dead.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Marks a message that is there as removed.
    pub fn kill(&mut self, seq: u64) {
        let bit = (seq - self.first_seq) as usize;
        if self.dead.len() <= bit / 64 {
            self.dead.resize(bit / 64 + 1, 0);
        }
        self.dead[bit / 64] |= 1 << (bit % 64);
        self.live -= 1;
    }

    /// What is above does not count any more. The time is that of the last message that is left.
    pub fn cut(&mut self, last_seq: u64, last_time_ns: Option<i64>) {
        if self.last_seq > last_seq {
            self.last_time_ns = last_time_ns.unwrap_or(self.first_time_ns);
            self.last_seq = last_seq;
            self.cut_above = self.cut_above.min(last_seq);
        }
    }

    /// The length of a message that another follows, if offsets are loaded.
    pub fn len_of(&self, seq: u64) -> Option<usize> {
        let (start, end) = (self.raw_offset(seq)?, self.raw_offset(seq + 1)?);
        Some(end.checked_sub(start)? as usize)
    }

    /// Where a message lies or lay.
    pub fn raw_offset(&self, seq: u64) -> Option<u64> {
        let offset = *self.offsets.as_ref()?.get((seq - self.first_seq) as usize)?;
        (offset != NONE).then_some(u64::from(offset))
    }

    /// The file was written anew.
    pub fn replace(&mut self, codec: Codec, size: u64) {
        (self.codec, self.size, self.offsets) = (codec, size, None);
        self.marks.clear();
    }

    /// Removed sequences as ranges, first and last.
    pub fn dead_ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (word, bits) in self.dead.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                let seq = self.first_seq + word as u64 * 64 + bit;
                if seq > self.last_seq {
                    break;
                }
                match ranges.last_mut() {
                    Some((_, last)) if *last + 1 == seq => *last = seq,
                    _ => ranges.push((seq, seq)),
                }
            }
        }
        ranges
    }
}

/// The start of a file of that kind.
pub fn header(magic: &[u8; 7], codec: &Codec, first_seq: u64, base_time_ns: i64) -> Vec<u8> {
    let mut header = magic.to_vec();
    header.push(codec.cipher());
    for value in [codec.salt, first_seq, base_time_ns as u64] {
        header.extend_from_slice(&value.to_le_bytes());
    }
    let hash = xxhash_rust::xxh3::xxh3_64(&header);
    header.extend_from_slice(&hash.to_le_bytes());
    header
}

fn push_time(out: &mut Vec<u8>, time_ns: i64, base_ns: i64) {
    let delta = time_ns.wrapping_sub(base_ns);
    record::push_varint(out, ((delta << 1) ^ (delta >> 63)) as u64);
}

fn take_time(bytes: &mut &[u8], base_ns: i64) -> Option<i64> {
    let packed = record::take_varint(bytes)?;
    Some(base_ns.wrapping_add((packed >> 1) as i64 ^ -((packed & 1) as i64)))
}
