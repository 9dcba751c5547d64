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
                self.usual.give(&self.shared.writer.buffers, tail.content);
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
