//! Appending: the block for the next message, and what was appended on its way to the writer.

use super::block::{self, Block};
use super::entry::Op;
use super::files::Slot;
use super::keeping::Tail;
use super::place::FileName;
use super::record::Codec;
use super::state_log::Fact;
use super::stream::FileStore;
use bytes::Bytes;
use natsd_plugin_api::tracing;

impl FileStore {
    /// The block for the next message.
    pub(super) fn last_block(&mut self, time_ns: i64, more: u64) -> usize {
        let is_open = |block: &&Block| block.packed.is_none();
        let fits = self.blocks.last().filter(is_open).filter(|_| !self.starts_block).is_some_and(|block| {
            block.size + self.open_len() + more <= block::SIZE_MAX && block.last_seq == self.state.last_seq
        });
        if !fits {
            self.seal();
            let slot = Slot::new(&self.home, FileName::Block(self.next_block));
            let codec = Codec { salt: self.shared.salt(), seal: self.seal.clone() };
            let (block, header) =
                Block::new(self.next_block, slot.clone(), codec, self.state.last_seq + 1, time_ns);
            self.next_block += 1;
            self.starts_block = false;
            self.ops.push(Op::Create { slot, content: header.into() });
            self.open_at = block.size;
            self.blocks.push(block);
            self.note_block(self.blocks.len() - 1);
        }
        self.blocks.len() - 1
    }

    pub(super) fn open_len(&self) -> u64 {
        self.open.len() as u64
    }

    /// Hands what was appended to the writer.
    pub(super) fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let Some(block) = self.blocks.last_mut() else { return };
        let fresh = self.usual.next_buffer(&self.shared.writer.buffers, self.open.len());
        let content: Bytes = std::mem::replace(&mut self.open, fresh).into();
        let at = self.open_at;
        block.size = at + content.len() as u64;
        self.open_at = block.size;
        self.tail_bytes += content.len();
        self.tail.push_back(Tail {
            block: block.number,
            at,
            content: content.clone(),
            commit: self.commits + 1,
        });
        self.ops.push(Op::Write { slot: block.slot.clone(), at, content });
    }

    /// The last block is full.
    pub(super) fn seal(&mut self) {
        self.flush();
        match self.blocks.last_mut() {
            Some(block) if block.live == 0 => self.drop_block(self.blocks.len() - 1),
            Some(block) => {
                block.shrink();
                let number = block.number;
                self.remember(number);
                let at = self.blocks.len() - 1;
                self.note_block(at);
                let is_packed = self.blocks[at].packed.is_some();
                if self.settings.compress
                    && !is_packed
                    && let Err(error) = self.compress(at)
                {
                    // It stays as it is.
                    tracing::warn!("{}: a block could not be compressed: {error}", self.home.path);
                }
            }
            None => {}
        }
    }

    pub(super) fn drop_block(&mut self, at: usize) {
        let block = self.blocks.remove(at);
        if block.last_seq >= block.first_seq {
            // Else what it skipped would be missed.
            self.note(&Fact::Dead(block.first_seq, block.last_seq));
        }
        self.ops.push(Op::Remove { slot: block.slot });
    }
}
