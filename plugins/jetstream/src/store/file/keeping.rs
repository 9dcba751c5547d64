//! What of a stream's blocks stays in memory: the offsets of some, and what was written last.

use super::stream::FileStore;
use crate::store::StoreSettings;
use crate::store::subjects::Subjects;
use bytes::Bytes;
use std::sync::atomic::Ordering::Acquire;

/// Written content that stays in memory for those who read what was just stored.
const TAIL_BYTES: usize = 128 * 1024;
/// Blocks whose offsets stay in memory, besides the last.
const OFFSETS_KEPT: usize = 2;

/// A committed part of the last block.
pub(super) struct Tail {
    pub block: u64,
    pub at: u64,
    pub content: Bytes,
    pub commit: u64,
}

/// Bytes of a block read ahead.
#[derive(Default)]
pub(super) struct Window {
    pub block: u64,
    pub at: u64,
    pub content: Bytes,
    /// Where the reading ended: who goes on there reads on. Behind the content if that was not kept.
    pub end: u64,
}

impl Window {
    pub fn new(block: u64, at: u64, content: Bytes) -> Self {
        let end = at + content.len() as u64;
        Self { block, at, content, end }
    }

    /// Whether who reads at an offset goes on with what was read last.
    pub fn goes_on(&self, block: u64, offset: u64) -> bool {
        self.block == block && (self.at..=self.end).contains(&offset)
    }
}

impl FileStore {
    /// Keeps the offsets of few blocks.
    pub(super) fn remember(&mut self, number: u64) {
        self.loaded.retain(|loaded| *loaded != number);
        self.loaded.push_back(number);
        if self.loaded.len() > OFFSETS_KEPT {
            let Some(old) = self.loaded.pop_front() else { return };
            let last = self.blocks.last().map(|block| block.number);
            if let Ok(at) = self.find_number(old)
                && Some(old) != last
            {
                self.blocks[at].offsets = None;
                self.blocks[at].slot.close();
            }
        }
    }

    fn find_number(&self, number: u64) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&number, |block| block.number)
    }

    /// The block that has a sequence.
    pub(super) fn block_of(&self, seq: u64) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.last_seq < seq);
        self.blocks.get(at).filter(|block| block.first_seq <= seq).map(|_| at)
    }

    /// Keeps what a limit of messages for each subject asks for all the time.
    pub(super) fn keep_places(&mut self) {
        let knew = self.subjects.keeps_rows();
        keep_places(&mut self.subjects, &self.settings);
        if self.subjects.keeps_rows() && !knew && self.state.messages > self.subjects.len() as u64 {
            // Those that are there already.
            self.recount();
        }
    }

    /// Forgets committed content that is in the file by now.
    pub(super) fn trim_tail(&mut self) {
        let written = self.written.load(Acquire);
        self.unwritten.retain(|unwritten| unwritten.commit > written);
        let last = self.blocks.last().map(|block| block.number);
        while let Some(tail) = self.tail.front() {
            let spare = Some(tail.block) != last || self.tail_bytes > TAIL_BYTES;
            if tail.commit > written || !spare {
                break;
            }
            self.tail_bytes -= tail.content.len();
            if let Some(tail) = self.tail.pop_front() {
                self.spare.put(tail.content);
            }
        }
    }
}

/// With a limit of one the message that goes is the one before, with a higher one any may be the oldest.
pub(super) fn keep_places(subjects: &mut Subjects, settings: &StoreSettings) {
    match settings.subject_messages_max {
        0 => {}
        1 => subjects.keep_sizes(),
        _ => subjects.keep_rows(),
    }
}

/// The buffer of content that nobody else holds, with the content.
pub(super) fn recycled(content: Bytes) -> Option<Vec<u8>> {
    content.try_into_mut().ok().map(Vec::from)
}

/// Buffers of written content that nobody holds any more, to be filled again: fresh memory for each commit would cost
/// more than what is done with it.
#[derive(Default)]
pub(super) struct Spare {
    buffers: Vec<Vec<u8>>,
    /// Of all of them together.
    capacity_bytes: usize,
    /// The largest commit of late.
    usual_bytes: usize,
    /// Commits since a large one.
    pauses: u8,
}

/// What is kept of them, and from which size on.
const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;
const SPARE_BYTES_MIN: usize = 64 * 1024;
/// So many small commits, and nothing is kept.
const PAUSES_MAX: u8 = 32;

impl Spare {
    /// A buffer for what comes next, the last having been so large. Small ones are the allocator's.
    pub(super) fn take(&mut self, last: usize) -> Vec<u8> {
        self.pauses = if last >= SPARE_BYTES_MIN { 0 } else { self.pauses.saturating_add(1) };
        if self.pauses > PAUSES_MAX {
            *self = Self { pauses: self.pauses, ..Self::default() };
        }
        if self.pauses > 0 {
            return Vec::new();
        }
        self.usual_bytes = last.max(self.usual_bytes - self.usual_bytes / 16);
        match self.buffers.pop() {
            Some(buffer) => {
                self.capacity_bytes -= buffer.capacity();
                buffer
            }
            // With room for as much as often comes: growing would copy what is there.
            None => Vec::with_capacity(self.usual_bytes.next_multiple_of(SPARE_BYTES_MIN)),
        }
    }

    fn put(&mut self, content: Bytes) {
        if let Some(mut buffer) = recycled(content)
            && buffer.capacity() >= SPARE_BYTES_MIN.max(self.usual_bytes / 2)
            && self.capacity_bytes + buffer.capacity() <= SPARE_BYTES_MAX
        {
            buffer.clear();
            self.capacity_bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSES_MAX, SPARE_BYTES_MAX, SPARE_BYTES_MIN, Spare};
    use bytes::Bytes;

    #[test]
    fn buffers_come_back_with_room_for_what_is_usual() {
        let mut spare = Spare::default();
        assert!(spare.take(8 * SPARE_BYTES_MIN).capacity() >= 8 * SPARE_BYTES_MIN);
        // A smaller one in between changes little.
        assert!(spare.take(2 * SPARE_BYTES_MIN).capacity() >= 7 * SPARE_BYTES_MIN);
        spare.put(Bytes::from(vec![1; 2 * SPARE_BYTES_MIN]));
        assert!(spare.buffers.is_empty(), "one that would have to grow is not kept");
        let content = Bytes::from(vec![1; 8 * SPARE_BYTES_MIN]);
        let at = content.as_ptr();
        spare.put(content);
        let buffer = spare.take(8 * SPARE_BYTES_MIN);
        assert!(buffer.is_empty() && buffer.as_ptr() == at);
        (0..100).for_each(|_| drop(spare.take(SPARE_BYTES_MIN)));
        assert!(spare.take(SPARE_BYTES_MIN).capacity() < 3 * SPARE_BYTES_MIN, "large ones are forgotten");
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let mut spare = Spare::default();
        spare.take(SPARE_BYTES_MIN);
        for _ in 0..2 * SPARE_BYTES_MAX / SPARE_BYTES_MIN {
            spare.put(Bytes::from(vec![1; SPARE_BYTES_MIN]));
        }
        let kept = |spare: &Spare| spare.buffers.iter().map(Vec::capacity).sum::<usize>();
        assert_eq!((kept(&spare), spare.capacity_bytes), (SPARE_BYTES_MAX, SPARE_BYTES_MAX));
        spare.take(SPARE_BYTES_MIN);
        assert_eq!(kept(&spare), spare.capacity_bytes);
        for _ in 0..=PAUSES_MAX {
            spare.take(100);
        }
        assert_eq!((kept(&spare), spare.capacity_bytes), (0, 0));
    }
}
