//! What of a stream's blocks stays in memory: the offsets of some, and what was written last.

use super::stream::FileStore;
use std::sync::atomic::Ordering::Acquire;

/// Written content that stays in memory for those who read what was just stored.
const TAIL_BYTES: usize = 128 * 1024;
/// Blocks whose offsets stay in memory, besides the last.
const OFFSETS_KEPT: usize = 8;

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
            self.tail.pop_front();
        }
    }
}
