//! Compressed blocks: a finished block of a stream with `compression: s2`, cut into chunks between its records. A
//! chunk is a record of the file, so it is checked, and encrypted, like any other.
//!
//! Offsets are those that the block had before; only who reads its file sees a difference.

use super::block::{self, Block, Entry};
use super::entry::Op;
use super::files::Slot;
use super::place::FileName;
use super::rebuild::scan;
use super::record::{self, Codec, push_varint, take_varint};
use super::seal::{PLAIN, Seal};
use super::stream::{FileStore, Window};
use crate::store::{NewMessage, StoreError};
use bytes::Bytes;
use std::sync::Arc;

const MAGIC: &[u8; 7] = b"natsdpk";
const CHUNK: u8 = 6;
/// What is compressed together, at least, and read together.
const CHUNK_BYTES: usize = if cfg!(test) { 4 * 1024 } else { 64 * 1024 };
/// How a chunk's content lies there.
const STORED: u8 = 0;
const S2: u8 = 1;

/// Where the chunks of a compressed block are.
pub struct Packed {
    pub codec: Codec,
    chunks: Vec<Chunk>,
    size: u64,
}

#[derive(Clone, Copy)]
struct Chunk {
    raw_at: u64,
    file_at: u64,
}

/// A compressed file that is not written yet.
pub struct Unwritten {
    pub block: u64,
    pub content: Bytes,
    pub commit: u64,
}

impl Packed {
    /// The chunk that has an offset: where it begins before compression, and where it lies in the file.
    pub fn chunk(&self, offset: u64) -> Option<(u64, u64, u64)> {
        let after = self.chunks.partition_point(|chunk| chunk.raw_at <= offset);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let end = self.chunks.get(after).map_or(self.size, |next| next.file_at);
        Some((chunk.raw_at, chunk.file_at, end))
    }

    /// What a chunk's record says.
    pub fn open(&self, bytes: &[u8], file_at: u64) -> Option<(u64, Vec<u8>)> {
        let record = record::read(bytes, 0, file_at, self.codec.salt).ok()?;
        let mut buffer = Vec::new();
        let mut body = self.codec.body(&record, file_at, &mut buffer).filter(|_| record.kind == CHUNK)?;
        let raw_at = take_varint(&mut body)?;
        let (&how, content) = body.split_first()?;
        if how == STORED {
            return Some((raw_at, content.to_vec()));
        }
        let (size, _) = minlz::decode_len(content).ok()?;
        if size > record::LEN_MAX + CHUNK_BYTES {
            return None;
        }
        let mut raw = vec![0; size];
        minlz::decode_into(&mut raw, content).ok()?;
        Some((raw_at, raw))
    }
}

/// The file of a block with that content, and where its chunks are.
pub fn pack(block: &Block, raw: &[u8], codec: Codec) -> (Vec<u8>, Packed) {
    let mut out = block::header(MAGIC, &codec, block.first_seq, block.base_time_ns);
    let mut chunks = Vec::new();
    let mut push = |out: &mut Vec<u8>, from: usize, to: usize| {
        if from == to {
            return;
        }
        chunks.push(Chunk { raw_at: from as u64, file_at: out.len() as u64 });
        let (raw, packed) = (&raw[from..to], minlz::encode(&raw[from..to]));
        codec.push(out, 0, CHUNK, |out| {
            push_varint(out, from as u64);
            let is_smaller = packed.len() < raw.len();
            out.push(if is_smaller { S2 } else { STORED });
            out.extend_from_slice(if is_smaller { &packed } else { raw });
        });
    };
    let mut from = block::HEADER;
    scan(block, raw, &mut |at, _| {
        let at = at as usize;
        if at - from >= CHUNK_BYTES {
            push(&mut out, from, at);
            from = at;
        }
    });
    push(&mut out, from, raw.len().max(from));
    let size = out.len() as u64;
    (out, Packed { codec, chunks, size })
}

/// A compressed file as the block it was; what cannot be read of it is zeros.
pub fn unpack(
    number: u64,
    slot: &Arc<Slot>,
    file: &[u8],
    known: Option<Block>,
    seals: &dyn Fn(u8) -> Option<Arc<Seal>>,
) -> Option<(Block, Vec<u8>)> {
    let opened = Block::open_as(MAGIC, number, slot.clone(), file, seals);
    let mut block = opened.or(known)?;
    let codec = block.codec.clone();
    // Its records are not encrypted one by one.
    block.codec.seal = None;
    let mut packed = Packed { codec, chunks: Vec::new(), size: file.len() as u64 };
    let mut raw = vec![0; block::HEADER];
    let mut at = block::HEADER;
    while at < file.len() {
        let len = match record::read(file, at, 0, packed.codec.salt) {
            Ok(record) => record.len,
            Err(bad) => match record::resync(file, at, bad, 0, packed.codec.salt) {
                Some(next) => next - at,
                None => break,
            },
        };
        if let Some((raw_at, content)) = packed.open(&file[at..at + len], at as u64) {
            packed.chunks.push(Chunk { raw_at, file_at: at as u64 });
            let start = raw_at as usize;
            if raw.len() < start + content.len() {
                raw.resize(start + content.len(), 0);
            }
            raw[start..start + content.len()].copy_from_slice(&content);
        }
        at += len;
    }
    block.packed = Some(packed);
    Some((block, raw))
}

/// A block with the same messages, written with another codec; removed ones are left out.
pub fn reencode(old: &Block, content: &[u8], codec: Codec) -> (Block, Vec<u8>) {
    let (mut block, mut out) =
        Block::new(old.number, old.slot.clone(), codec, old.first_seq, old.base_time_ns);
    scan(old, content, &mut |_, entry| {
        let at = out.len() as u64;
        match entry {
            Entry::Message { seq, time_ns, flags, subject, headers, payload } if !old.is_dead(seq) => {
                block.add(seq, at, time_ns, flags);
                block.encode(&mut out, 0, seq, &NewMessage { subject, headers, payload, time_ns, flags });
            }
            Entry::Message { seq, .. } | Entry::Erased { seq } => {
                out.extend_from_slice(&block.erased(at, record::HEAD + 10, seq));
            }
            Entry::Skip { first, count, time_ns } => block.encode_skip(&mut out, 0, first, count, time_ns),
        }
    });
    (block, out)
}

impl FileStore {
    /// Compresses a block that is full.
    pub(super) fn compress(&mut self, at: usize) -> Result<(), StoreError> {
        let raw = self.content(at)?;
        if self.seal.is_none() && self.blocks[at].codec.seal.is_none() {
            return self.put_packed(at, &raw, self.blocks[at].codec.salt, 0);
        }
        let codec = Codec { salt: self.shared.salt(), seal: None };
        let (_, raw) = reencode(&self.blocks[at], &raw, codec.clone());
        self.put_packed(at, &raw, codec.salt, 0)
    }

    /// Writes a compressed block anew without the content of a message.
    pub(super) fn erase_packed(&mut self, at: usize, seq: u64, offset: u64) -> Result<(), StoreError> {
        let mut raw = self.content(at)?;
        let block = &self.blocks[at];
        let len = super::reading::record_len(&raw[offset as usize..]);
        let start = offset as usize;
        if let Some(place) = raw.get_mut(start..start + len) {
            place.copy_from_slice(&block.erased(offset, len, seq));
        }
        let FileName::Packed(_, version) = block.slot.name else { return Ok(()) };
        // Another salt: no nonce may be used twice.
        let salt = self.shared.salt();
        let (_, raw) = reencode(block, &raw, Codec { salt, seal: None });
        self.erases = true;
        self.put_packed(at, &raw, salt, version + 1)
    }

    fn put_packed(&mut self, at: usize, raw: &[u8], salt: u64, version: u64) -> Result<(), StoreError> {
        let block = &mut self.blocks[at];
        let plain = Codec { salt, seal: None };
        let reader = block.reader(plain.clone());
        let (content, packed) = pack(&reader, raw, Codec { salt, seal: self.seal.clone() });
        if version == 0 && content.len() >= raw.len() {
            return Ok(());
        }
        let content: Bytes = content.into();
        let slot = Slot::new(&self.home, FileName::Packed(block.number, version));
        let old = std::mem::replace(&mut block.slot, slot.clone());
        block.replace(plain, raw.len() as u64);
        block.packed = Some(packed);
        let number = block.number;
        self.tail_bytes -=
            self.tail.iter().filter(|t| t.block == number).map(|t| t.content.len()).sum::<usize>();
        self.tail.retain(|tail| tail.block != number);
        self.window = Window::default();
        self.unwritten.retain(|unwritten| unwritten.block != number);
        self.unwritten.push(Unwritten { block: number, content: content.clone(), commit: self.commits + 1 });
        self.ops.push(Op::Create { slot, content });
        self.ops.push(Op::Remove { slot: old });
        self.note_block(at);
        Ok(())
    }

    /// A compressed file, or a part of it.
    pub(super) fn packed_bytes(&mut self, at: usize, from: u64, to: u64) -> Result<Bytes, StoreError> {
        let number = self.blocks[at].number;
        if let Some(unwritten) = self.unwritten.iter().find(|unwritten| unwritten.block == number) {
            let len = unwritten.content.len();
            return Ok(unwritten.content.slice((from as usize).min(len)..(to as usize).min(len)));
        }
        let slot = self.blocks[at].slot.clone();
        let file = self.shared.disk.open(&slot)?;
        let mut buffer = vec![0; (to - from) as usize];
        let got = super::reading::read_fully(&slot, &*file, from, &mut buffer)?;
        buffer.truncate(got);
        Ok(buffer.into())
    }

    /// The content of a compressed block from an offset to the end of its chunk; nothing where it is damaged.
    pub(super) fn unpacked_bytes(&mut self, at: usize, offset: u64) -> Result<Bytes, StoreError> {
        let chunk = |packed: &Packed| packed.chunk(offset);
        let Some((_, from, to)) = self.blocks[at].packed.as_ref().and_then(chunk) else {
            return Ok(Bytes::new());
        };
        let bytes = self.packed_bytes(at, from, to)?;
        let block = &self.blocks[at];
        let opened = block.packed.as_ref().and_then(|packed| packed.open(&bytes, from));
        let Some((raw_at, content)) = opened.filter(|(raw_at, _)| *raw_at <= offset) else {
            return Ok(Bytes::new());
        };
        let content: Bytes = content.into();
        self.window = Window::new(block.number, raw_at, content.clone());
        let start = ((offset - raw_at) as usize).min(content.len());
        Ok(content.slice(start..))
    }

    /// All of a compressed block as it was before.
    pub(super) fn unpacked(&mut self, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(size) = self.blocks[at].packed.as_ref().map(|packed| packed.size) else { return Ok(None) };
        let file = self.packed_bytes(at, 0, size)?;
        let block = &self.blocks[at];
        let Some(packed) = &block.packed else { return Ok(None) };
        let seal = packed.codec.seal.clone();
        let known = block.reader(packed.codec.clone());
        let seals = |cipher: u8| seal.clone().filter(|seal| cipher != PLAIN && seal.cipher == cipher);
        let raw = unpack(block.number, &block.slot, &file, Some(known), &seals).map(|(_, raw)| raw);
        let mut raw = raw.unwrap_or_default();
        raw.resize(block.size as usize, 0);
        Ok(Some(raw))
    }
}
