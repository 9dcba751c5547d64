//! Reading: records of blocks through what is in memory, a window read ahead, or the file; and looking through them
//! for a message.

use super::block;
use super::buffers::recycled;
use super::entry::Op;
use super::files::Slot;
use super::mend;
use super::record;
use super::stream::{FileStore, Window};
use crate::store::vfs::VfsFile;
use crate::store::{Flags, Loaded, Message, StoreError};
use bytes::Bytes;
use natsd_plugin_api::tracing;
use std::sync::atomic::Ordering::Acquire;

/// Bytes read at once by who reads on, and by who reads here and there.
const READ_AHEAD: usize = 64 * 1024;
pub(super) const READ_ONE: usize = 1024;
/// By who looks for a message from a mark on.
const READ_MARK: usize = block::MARK_BYTES as usize + READ_ONE;
/// Of a message of which only subject and size are wanted.
const START: usize = 192;

impl FileStore {
    /// The offsets of a block, read from its file if they are not there.
    pub(super) fn load_offsets(&mut self, at: usize) -> Result<(), StoreError> {
        let number = self.blocks[at].number;
        if self.blocks[at].offsets.is_some() {
            return Ok(());
        }
        let content = self.content(at)?;
        let block = &mut self.blocks[at];
        let mut offsets = Vec::new();
        super::rebuild::scan(block, &content, &mut |offset, entry| {
            if let block::Entry::Message { seq, .. } = entry
                && (block.first_seq + offsets.len() as u64..=block.last_seq).contains(&seq)
            {
                offsets.resize((seq - block.first_seq) as usize, u32::MAX);
                offsets.push(offset as u32);
            }
        });
        block.set_offsets(offsets);
        self.remember(number);
        Ok(())
    }

    /// Where a message lies, if it is there.
    pub(super) fn locate(&mut self, at: usize, seq: u64) -> Result<Option<u64>, StoreError> {
        let block = &self.blocks[at];
        if block.offsets.is_some() || block.is_dead(seq) {
            return Ok(block.offset(seq));
        }
        let number = block.number;
        let Some(offset) = self.walk(at, seq)? else {
            // It is not there, or something is damaged.
            self.load_offsets(at)?;
            return Ok(self.blocks[at].offset(seq));
        };
        self.cursor = (number, seq, offset);
        Ok(Some(offset))
    }

    /// Goes to a message from a mark, record by record, or from the one that was found last. `None` if it is not found
    /// so.
    fn walk(&mut self, at: usize, seq: u64) -> Result<Option<u64>, StoreError> {
        let block = &self.blocks[at];
        let Some((mut offset, before)) = block.mark_before(seq) else { return Ok(None) };
        let about = offset + before;
        let (number, found, place) = self.cursor;
        if number == block.number && found <= seq {
            offset = offset.max(place);
        }
        let mut buffer = std::mem::take(&mut self.start);
        let most = about.saturating_sub(offset) as usize + READ_ONE;
        let walked = self.walk_from(at, seq, &mut offset, most.min(READ_MARK), &mut buffer);
        self.start = buffer;
        if walked? != Some(seq) {
            return Ok(None);
        }
        // A bit that flipped would lead astray.
        let bytes = self.bytes(at, offset, READ_ONE)?;
        Ok(self.blocks[at].is_message(&bytes, offset).then_some(offset))
    }

    /// Up to the first record that goes as far as a sequence; its last one is the answer. Reads as much at first as that
    /// should take.
    fn walk_from(
        &mut self,
        at: usize,
        seq: u64,
        offset: &mut u64,
        mut most: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<u64>, StoreError> {
        while *offset < self.blocks[at].size {
            let bytes = self.bytes(at, *offset, most)?;
            most = READ_MARK;
            let (block, start) = (&self.blocks[at], *offset);
            while let Some(rest) = bytes.get((*offset - start) as usize..).filter(|rest| !rest.is_empty()) {
                let Some((last, len)) = block.step(rest, *offset, buffer) else { break };
                if last >= seq {
                    return Ok(Some(last));
                }
                *offset += len as u64;
            }
            if *offset == start {
                break;
            }
        }
        Ok(None)
    }

    /// A block's file as it will be: with what is not in it yet.
    pub(super) fn content(&mut self, at: usize) -> Result<Vec<u8>, StoreError> {
        if let Some(raw) = self.unpacked(at)? {
            return Ok(raw);
        }
        let block = &self.blocks[at];
        let number = block.number;
        let mut content = vec![0; block.size as usize];
        let until = self.in_file_until(at) as usize;
        // While nothing of it was written there may be no file.
        if until > block::HEADER {
            let file = self.shared.disk.open(&block.slot)?;
            read_fully(&block.slot, &*file, 0, &mut content[..until])?;
        }
        for tail in self.tail.iter().filter(|tail| tail.block == number) {
            let start = tail.at as usize;
            content[start..start + tail.content.len()].copy_from_slice(&tail.content);
        }
        Ok(content)
    }

    /// A message of a block that is there.
    pub(super) fn read(&mut self, at: usize, seq: u64) -> Result<Option<Message>, StoreError> {
        let Some(offset) = self.locate(at, seq)? else { return Ok(None) };
        let is_last = at + 1 == self.blocks.len();
        let bytes = if is_last && offset >= self.open_at && !self.open.is_empty() {
            Bytes::copy_from_slice(record_at(&self.open[(offset - self.open_at) as usize..]))
        } else {
            self.bytes(at, offset, READ_ONE)?
        };
        let mut parsed = self.blocks[at].parse(&bytes, offset);
        if let Err(bad) = parsed
            && let Some(whole) = mend::mend(&bytes, bad, offset, self.blocks[at].codec.salt)
        {
            let whole = self.mended(at, offset, whole);
            parsed = self.blocks[at].parse(&whole, offset);
        }
        let block = &self.blocks[at];
        match parsed {
            Ok(parsed) if parsed.seq == seq => Ok(Some(Message {
                seq,
                time_ns: parsed.time_ns,
                flags: parsed.flags,
                subject: parsed.subject,
                headers: parsed.headers,
                payload: parsed.payload,
            })),
            _ => {
                let path = block.slot.path();
                self.lose(at, seq);
                Err(StoreError::Damaged { path, why: format!("message {seq} cannot be read") })
            }
        }
    }

    /// [`FileStore::read`] into what is used again, which allocates nothing for most. `None`: it has to be read the other
    /// way.
    pub(super) fn read_into(
        &mut self,
        at: usize,
        seq: u64,
        into: &mut Loaded,
    ) -> Result<Option<()>, StoreError> {
        let Some(offset) = self.locate(at, seq)? else { return Ok(None) };
        if self.in_memory(at, offset).is_none() {
            if self.read_once(at, seq, offset, into)? == Some(seq) {
                return Ok(Some(()));
            }
            self.bytes(at, offset, READ_ONE)?;
        }
        let block = &self.blocks[at];
        let filled = self.in_memory(at, offset).and_then(|bytes| block.fill(bytes, offset, into));
        Ok(filled.filter(|found| *found == seq).map(drop))
    }

    /// Reads a message by itself, through a buffer that is used again; its sequence is the answer. `None`: more is to be
    /// read, or it has to be read the other way.
    fn read_once(
        &mut self,
        at: usize,
        seq: u64,
        offset: u64,
        into: &mut Loaded,
    ) -> Result<Option<u64>, StoreError> {
        let block = &self.blocks[at];
        if block.packed.is_some() || self.window.goes_on(block.number, offset) {
            return Ok(None);
        }
        // Where the next one begins it ends: reading what nobody wants costs as much as what is wanted.
        let most = self.in_file_until(at).saturating_sub(offset) as usize;
        let len = block.len_of(seq).filter(|len| *len <= READ_MARK).unwrap_or(READ_ONE).min(most);
        let file = self.shared.disk.open(&block.slot)?;
        if self.start.len() < len {
            self.start.resize(len, 0);
        }
        let bytes = &mut self.start[..len];
        let got = file.read_at(offset, bytes).map_err(|error| block.slot.failed(&error))?;
        let end = offset + got as u64;
        self.window = Window { block: block.number, at: offset, content: Bytes::new(), end };
        Ok(block.fill(&bytes[..got], offset, into))
    }

    /// What is in memory from an offset on.
    fn in_memory(&self, at: usize, offset: u64) -> Option<&[u8]> {
        if at + 1 == self.blocks.len() && offset >= self.open_at {
            return self.open.get((offset - self.open_at) as usize..);
        }
        if let Some(rest) = self.in_tail(at, offset) {
            return Some(rest);
        }
        let window = Some(&self.window).filter(|window| window.block == self.blocks[at].number)?;
        let rest = window.content.get(offset.checked_sub(window.at)? as usize..)?;
        (rest.len() >= record::HEAD && record_len(rest) <= rest.len()).then_some(rest)
    }

    /// A repaired record goes to the file with the next commit.
    fn mended(&mut self, at: usize, offset: u64, whole: Vec<u8>) -> Bytes {
        let block = &self.blocks[at];
        tracing::warn!("{}: a flipped bit was repaired", block.slot.path());
        let content = Bytes::from(whole);
        if block.packed.is_none() {
            self.ops.push(Op::Rewrite { slot: block.slot.clone(), at: offset, content: content.clone() });
            self.window = Window::default();
        }
        content
    }

    /// The first bytes of the record at an offset, through `buffer` if they are in the file alone. `None` where they
    /// are not to be had by themselves.
    pub(super) fn start_of<'a>(
        &'a self,
        at: usize,
        offset: u64,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, StoreError> {
        let block = &self.blocks[at];
        if block.packed.is_some() {
            return Ok(None);
        }
        if at + 1 == self.blocks.len() && offset >= self.open_at {
            return Ok(self.open.get((offset - self.open_at) as usize..));
        }
        if let Some(rest) = self.in_tail(at, offset) {
            return Ok(Some(rest));
        }
        let file = self.shared.disk.open(&block.slot)?;
        if buffer.len() < START {
            buffer.resize(START, 0);
        }
        let got = file.read_at(offset, &mut buffer[..START]).map_err(|error| block.slot.failed(&error))?;
        Ok(Some(&buffer[..got]))
    }

    /// Most of what is read was written long ago: it need not be looked for in the committed end.
    fn is_before_tail(&self, number: u64, offset: u64) -> bool {
        self.tail.front().is_none_or(|first| (number, offset) < (first.block, first.at))
    }

    /// What is in memory of the committed end.
    fn in_tail(&self, at: usize, offset: u64) -> Option<&[u8]> {
        let number = self.blocks[at].number;
        if self.is_before_tail(number, offset) {
            return None;
        }
        let after = self.tail.partition_point(|tail| (tail.block, tail.at) <= (number, offset));
        let tail = self.tail.get(after.checked_sub(1)?).filter(|tail| tail.block == number)?;
        tail.content.get((offset - tail.at) as usize..).filter(|rest| !rest.is_empty())
    }

    /// The record at an offset: from the tail, the window, or the file, of which so much is read if it is read here and
    /// there.
    pub(super) fn bytes(&mut self, at: usize, offset: u64, one: usize) -> Result<Bytes, StoreError> {
        let block = &self.blocks[at];
        if !self.is_before_tail(block.number, offset) {
            let tail = self.tail.partition_point(|tail| (tail.block, tail.at) <= (block.number, offset));
            if let Some(tail) = tail.checked_sub(1).and_then(|n| self.tail.get(n))
                && tail.block == block.number
                && offset < tail.at + tail.content.len() as u64
            {
                return Ok(tail.content.slice((offset - tail.at) as usize..));
            }
        }
        let window = &self.window;
        if window.block == block.number && offset >= window.at {
            let from = (offset - window.at) as usize;
            if let Some(rest) = window.content.get(from..)
                && rest.len() >= 4
                && rest.len() >= record_at(rest).len()
                && record_len(rest) <= rest.len()
            {
                return Ok(window.content.slice(from..));
            }
        }
        let number = block.number;
        if block.packed.is_some() {
            return self.unpacked_bytes(at, offset);
        }
        let file = self.shared.disk.open(&block.slot)?;
        // What is behind that may be on its way into the file right now.
        let limit = self.in_file_until(at);
        let mut want = if self.window.goes_on(number, offset) { READ_AHEAD } else { one };
        let most = limit.saturating_sub(offset) as usize;
        // Nobody needs what was read before, or holds it still.
        let used = std::mem::take(&mut self.window.content);
        let mut buffer = recycled(used).filter(|buffer| buffer.capacity() <= 4 * want).unwrap_or_default();
        loop {
            buffer.resize(want.min(most), 0);
            let got = read_fully(&self.blocks[at].slot, &*file, offset, &mut buffer)?;
            buffer.truncate(got);
            let needed = record_len(&buffer);
            if needed <= got || got < want || needed > record::LEN_MAX {
                self.window = Window::new(number, offset, buffer.into());
                return Ok(self.window.content.clone());
            }
            want = needed;
        }
    }

    /// Up to where a block's content is in its file.
    fn in_file_until(&self, at: usize) -> u64 {
        let block = &self.blocks[at];
        let written = self.written.load(Acquire);
        let ahead = self.tail.iter().find(|tail| tail.block == block.number && tail.commit > written);
        ahead.map_or(block.size, |tail| tail.at)
    }

    /// The first message from `from` on whose subject is meant and which has one of the flags, if any are given.
    pub(super) fn scan_next(
        &mut self,
        meant: &dyn Fn(&[u8]) -> bool,
        flags: Flags,
        from: u64,
    ) -> Result<Option<Message>, StoreError> {
        self.scan_until(meant, flags, from, u64::MAX)
    }

    /// The same, below a sequence.
    pub(super) fn scan_until(
        &mut self,
        meant: &dyn Fn(&[u8]) -> bool,
        flags: Flags,
        from: u64,
        below: u64,
    ) -> Result<Option<Message>, StoreError> {
        let flagged = flags != Flags::default();
        let mut at = self.blocks.partition_point(|block| block.last_seq < from);
        while at < self.blocks.len() && self.blocks[at].first_seq < below {
            let block = &self.blocks[at];
            if block.live > 0 && (!flagged || block.flags.intersects(flags)) {
                for seq in from.max(block.first_seq)..=block.last_seq.min(below - 1) {
                    let message = match self.read(at, seq) {
                        Ok(Some(message)) => message,
                        // What damage took is left out.
                        Ok(None) | Err(StoreError::Damaged { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    let of_message = block::flags_of(message.flags, &message.headers);
                    if meant(&message.subject) && (!flagged || of_message.intersects(flags)) {
                        return Ok(Some(message));
                    }
                }
            }
            at += 1;
        }
        Ok(None)
    }

    pub(super) fn scan_last(
        &mut self,
        meant: &dyn Fn(&[u8]) -> bool,
        up_to: u64,
    ) -> Result<Option<Message>, StoreError> {
        for at in (0..self.blocks.len()).rev() {
            let block = &self.blocks[at];
            if block.first_seq > up_to || block.live == 0 {
                continue;
            }
            for seq in (block.first_seq..=block.last_seq.min(up_to)).rev() {
                match self.read(at, seq) {
                    Ok(Some(message)) if meant(&message.subject) => return Ok(Some(message)),
                    Ok(_) | Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_fully(
    slot: &Slot,
    file: &dyn VfsFile,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, StoreError> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(offset + got as u64, &mut buffer[got..]).map_err(|error| slot.failed(&error))? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

pub(super) fn record_len(bytes: &[u8]) -> usize {
    bytes.first_chunk::<4>().map_or(usize::MAX, |len| u32::from_le_bytes(*len) as usize)
}

pub(super) fn record_at(bytes: &[u8]) -> &[u8] {
    &bytes[..record_len(bytes).min(bytes.len())]
}
