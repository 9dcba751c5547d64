//! The log that all streams share: two files, one of them in use, the other being emptied or ready.
//!
//! A file is written over bytes that are there already, zeros or those of an earlier use, so that a sync need not
//! touch its size. Records are seeded with the salt of the use, so what is left of an earlier one never passes.
//!
//! What is written once, synced and read only after a crash goes past the system's cache, which costs half of the
//! time in the kernel. So whole sectors are written: the last one again with each write, as far as it was filled.

use super::entry::Place;
use super::files::failed;
use super::out::{Aligned, Out, SECTOR};
use crate::store::StoreError;
use crate::store::vfs::{Vfs, VfsFile};
use std::sync::Arc;

/// A segment is full when it has so many bytes.
pub const SEGMENT_MAX: u64 = 32 * 1024 * 1024;
/// Where records begin. The header lies there twice.
pub const DATA: u64 = 4096;
const COPIES: [usize; 2] = [0, 2048];
/// Magic (8), generation (8), salt (8), next id (8), hash (8).
const HEADER: usize = 40;
const MAGIC: &[u8; 8] = b"natsdlg1";
/// Room that is made at first, and at most at once.
const GROW_MIN: u64 = 1024 * 1024;
const GROW_MAX: u64 = 4 * 1024 * 1024;
/// Room that is kept for what is under way when the disk is full.
const RESERVE: u64 = 512 * 1024;
/// A larger buffer is given back.
const BUFFER_MAX: usize = 256 * 1024;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub generation: u64,
    pub salt: u64,
    /// Ids from this one on had not been given away.
    pub next_id: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        for (at, value) in [(8, self.generation), (16, self.salt), (24, self.next_id)] {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let hash = xxhash_rust::xxh3::xxh3_64(&out[..32]);
        out[32..].copy_from_slice(&hash.to_le_bytes());
        out
    }

    /// The better of both copies, and whether one was bad.
    pub fn read(content: &[u8]) -> (Option<Self>, bool) {
        let copies = COPIES.map(|at| Self::decode(content.get(at..at + HEADER)?));
        let best = copies.iter().flatten().max_by_key(|header| header.generation).copied();
        (best, copies.iter().any(Option::is_none))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value = |at: usize| bytes[at..].first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let right = &bytes[..8] == MAGIC && value(32)? == xxhash_rust::xxh3::xxh3_64(&bytes[..32]);
        right.then_some(Self { generation: value(8)?, salt: value(16)?, next_id: value(24)? })
    }
}

pub fn path(root: &str, number: usize) -> String {
    format!("{root}/log.{}", number + 1)
}

struct Segment {
    path: String,
    file: Arc<dyn VfsFile>,
    /// Bytes that are there to be written over.
    room: u64,
    /// What is behind that is zeros.
    used: u64,
}

/// What is written of zeros at once. Each write past the system's cache waits for the disk.
const ZEROS: usize = 1024 * 1024;

impl Segment {
    /// Writes zeros.
    fn fill(&self, from: u64, until: u64) -> Result<(), StoreError> {
        // As large as that an allocator maps it by itself: it is given back, whatever thread this is.
        let zeros = vec![0; ZEROS.min(until.saturating_sub(from) as usize) + SECTOR];
        let zeros = &zeros[zeros.as_ptr().align_offset(SECTOR)..][..zeros.len() - SECTOR];
        for at in (from..until).step_by(ZEROS) {
            let some = &zeros[..((until - at) as usize).min(ZEROS)];
            self.file.write_all_at(at, some).map_err(|error| failed(&self.path, &error))?;
        }
        Ok(())
    }
}

/// The segment in use, and the other.
pub struct Log {
    segments: [Segment; 2],
    active: usize,
    header: Header,
    /// The end of what was written.
    at: u64,
    /// The last sector of that, as far as it is filled, and records that are to be written.
    buffer: Aligned,
    size_max: u64,
    is_started: bool,
}

impl Log {
    /// Both segments with what was logged up to that generation: [`Log::start`] comes before anything else.
    pub fn find(vfs: &dyn Vfs, root: &str, generation: u64, size_max: u64) -> Result<Self, StoreError> {
        let open = |number| {
            let path = path(root, number);
            let open = || {
                let file = vfs.open_direct(&path)?;
                let size = file.size()?;
                let room = size - size % SECTOR as u64;
                let mut block = Aligned::new(0);
                block.pad(DATA as usize);
                let got = file.read_at(0, &mut block)?;
                Ok((file, room, Header::read(&block[..got]).0))
            };
            let (file, room, header) = open().map_err(|error| failed(&path, &error))?;
            Ok((Segment { path, file, room, used: room }, header.map_or(0, |header| header.generation)))
        };
        let ((first, of_first), (second, of_second)) = (open(0)?, open(1)?);
        // The older one is emptied first: by itself it would say that files end where they ended then.
        let active = usize::from(of_second >= of_first);
        let header = Header { generation, salt: 0, next_id: 0 };
        let (segments, buffer) = ([first, second], Aligned::new(0));
        Ok(Self { segments, active, header, at: DATA, buffer, size_max, is_started: false })
    }

    pub fn is_started(&self) -> bool {
        self.is_started
    }

    /// Empties both segments and begins with one. What they said must have been done, durably.
    pub fn start(
        &mut self,
        vfs: &dyn Vfs,
        root: &str,
        mut salt: impl FnMut() -> u64,
        next_id: u64,
    ) -> Result<(), StoreError> {
        for _ in 0..2 {
            self.begin(salt(), next_id)?;
        }
        vfs.sync_dir(root).map_err(|error| failed(root, &error))?;
        self.is_started = true;
        Ok(())
    }

    /// Goes on in the other segment, whose content is not needed any more. Durable before anything of it is written
    /// over: half of an earlier use would say that files end where they once ended.
    pub fn begin(&mut self, salt: u64, next_id: u64) -> Result<(), StoreError> {
        self.active = 1 - self.active;
        self.header = Header { generation: self.header.generation + 1, salt, next_id };
        self.at = DATA;
        let header = self.header.encode();
        self.buffer.clear();
        self.buffer.pad(DATA as usize);
        COPIES.iter().for_each(|&at| self.buffer[at..at + HEADER].copy_from_slice(&header));
        let segment = &mut self.segments[self.active];
        let written = segment.file.write_all_at(0, &self.buffer);
        self.buffer.clear();
        written.map_err(|error| failed(&segment.path, &error))?;
        segment.room = segment.room.max(DATA);
        self.sync()
    }

    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Where records are added, and where that will lie.
    pub fn records(&mut self) -> (&mut Aligned, Place) {
        let place =
            Place { generation: self.header.generation, salt: self.header.salt, base: self.at - self.kept() };
        (&mut self.buffer, place)
    }

    /// Of the buffer: what is written already.
    fn kept(&self) -> u64 {
        self.at % SECTOR as u64
    }

    /// Some were added and are not written.
    pub fn has_records(&self) -> bool {
        self.buffer.len() as u64 > self.kept()
    }

    /// Whether so many bytes more still belong in this segment. An empty one takes anything.
    pub fn fits(&self, bytes: usize) -> bool {
        let end = self.at - self.kept() + (self.buffer.len() + bytes) as u64;
        self.at == DATA || end <= self.size_max
    }

    /// What still belongs in this segment.
    pub fn room(&self) -> usize {
        self.size_max.saturating_sub(self.at) as usize
    }

    /// Writes the records that were added, and makes them durable. If that fails there are none.
    pub fn write(&mut self) -> Result<(), StoreError> {
        let base = self.at - self.kept();
        let len = self.buffer.len();
        self.buffer.pad(len.next_multiple_of(SECTOR));
        let written = self.write_sectors(base);
        if written.is_ok() {
            self.at = base + len as u64;
            self.buffer.copy_within(len - len % SECTOR..len, 0);
        }
        self.discard();
        self.buffer.shrink_to(BUFFER_MAX);
        written
    }

    /// Forgets the records that were added.
    pub fn discard(&mut self) {
        let kept = self.kept() as usize;
        self.buffer.truncate(kept);
    }

    fn write_sectors(&mut self, base: u64) -> Result<(), StoreError> {
        let end = base + self.buffer.len() as u64;
        if end > self.segments[self.active].room {
            self.grow(end)?;
        }
        let segment = &mut self.segments[self.active];
        segment.file.write_all_at(base, &self.buffer).map_err(|error| failed(&segment.path, &error))?;
        segment.used = segment.used.max(end);
        self.sync()
    }

    /// Makes room ahead, so that what is under way can be written when the disk is full. Answers that it is.
    pub fn reserve(&mut self) -> Result<(), StoreError> {
        let wanted = (self.at + RESERVE).min(self.size_max.max(self.at));
        if wanted <= self.segments[self.active].room { Ok(()) } else { self.grow(wanted) }
    }

    fn grow(&mut self, end: u64) -> Result<(), StoreError> {
        let size_max = self.size_max;
        let segment = &mut self.segments[self.active];
        let step = segment.room.clamp(GROW_MIN, GROW_MAX);
        let until = (end + RESERVE).max((segment.room + step).min(size_max)).next_multiple_of(DATA);
        segment.fill(segment.room, until)?;
        segment.room = until;
        Ok(())
    }

    /// Overwrites everything that was ever written, and goes on with an empty segment.
    pub fn wipe(&mut self, mut salt: impl FnMut() -> u64, next_id: u64) -> Result<(), StoreError> {
        for _ in 0..2 {
            self.begin(salt(), next_id)?;
            let segment = &mut self.segments[self.active];
            segment.fill(DATA, segment.used)?;
            segment.used = DATA;
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let segment = &self.segments[self.active];
        segment.file.sync().map_err(|error| failed(&segment.path, &error))
    }

    /// Nothing of it is needed any more, and the disk can have its room.
    pub fn finish(&mut self, salt: u64, next_id: u64) -> Result<(), StoreError> {
        for _ in 0..2 {
            self.begin(salt, next_id)?;
            let segment = &mut self.segments[self.active];
            segment.file.set_size(DATA).map_err(|error| failed(&segment.path, &error))?;
            (segment.room, segment.used) = (DATA, DATA);
            self.sync()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{DATA, HEADER, Header, Log, SECTOR};
    use crate::store::file::tests::disk::Disk;
    use crate::store::vfs::Vfs;

    #[test]
    fn one_good_copy_of_a_header_is_enough() {
        let header = Header { generation: 7, salt: 8, next_id: 9 };
        let mut block = vec![0; DATA as usize];
        for at in super::COPIES {
            block[at..at + HEADER].copy_from_slice(&header.encode());
        }
        assert_eq!(Header::read(&block), (Some(header), false));
        for bit in 0..HEADER * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&damaged), (Some(header), true), "bit {bit}");
        }
        assert_eq!(Header::read(&[]).0, None);
    }

    /// A crash between both once left the first records of an earlier use under its old header: files were cut where
    /// those said that they end.
    #[test]
    fn a_new_use_is_durable_before_it_overwrites_the_last() {
        let disk = Disk::default();
        disk.create_dir_all("js").unwrap();
        let mut log = Log::find(&disk, "js", 1, 1 << 20).unwrap();
        log.start(&disk, "js", || 5, 1).unwrap();
        log.records().0.extend_from_slice(&[1; 100]);
        log.write().unwrap();
        log.begin(6, 1).unwrap();
        assert_eq!(disk.unsynced(), 0);
    }

    #[test]
    fn records_lie_behind_each_other_whatever_their_sizes() {
        let disk = Disk::default();
        disk.create_dir_all("js").unwrap();
        let mut log = Log::find(&disk, "js", 1, 1 << 20).unwrap();
        log.start(&disk, "js", || 5, 1).unwrap();
        let mut expected = Vec::new();
        for (byte, len) in (1..).zip([1, 100, SECTOR - 101, 3 * SECTOR, 17, SECTOR, 5000]) {
            let (records, place) = log.records();
            assert_eq!(place.base + records.len() as u64, DATA + expected.len() as u64);
            records.extend_from_slice(&vec![byte; len]);
            expected.extend(vec![byte; len]);
            assert!(log.has_records());
            log.write().unwrap();
            assert!(!log.has_records());
        }
        let content = disk.content(&super::path("js", log.active));
        assert_eq!(content[DATA as usize..][..expected.len()], expected);
        assert!(content[DATA as usize + expected.len()..].iter().all(|byte| *byte == 0));
    }
}
