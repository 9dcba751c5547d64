//! Noting: facts for the state log, and the log written anew when most of it is outdated.

use super::entry::Op;
use super::files::Slot;
use super::place::FileName;
use super::record::Codec;
use super::state_log::{self, Fact};
use super::stream::FileStore;
use crate::outbox::empty;

/// Room for removed messages that is kept.
const DEAD_KEPT: usize = 1024;

impl FileStore {
    pub(super) fn note(&mut self, fact: &Fact<'_>) {
        // Facts count in their order.
        self.note_dead();
        let log = &mut self.log;
        state_log::push(&mut log.open, log.size, &log.codec, log.next_number, fact);
        log.next_number += 1;
    }

    /// Notes what was removed since the last time, all in one.
    pub(super) fn note_dead(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        self.dead.sort_unstable();
        let log = &mut self.log;
        let fact = match *self.dead {
            [seq] => Fact::Dead(seq, seq),
            _ => Fact::AllDead(&self.dead),
        };
        state_log::push(&mut log.open, log.size, &log.codec, log.next_number, &fact);
        log.next_number += 1;
        empty(&mut self.dead, DEAD_KEPT);
    }

    pub(super) fn floor(&self) -> Fact<'static> {
        Fact::Floor {
            first_seq: self.state.first_seq,
            last_seq: self.state.last_seq,
            last_time_ns: self.state.last_time_ns,
        }
    }

    pub(super) fn note_floor(&mut self) {
        let floor = self.floor();
        self.note(&floor);
    }

    /// What a block has, so that a recovery knows what it should find there.
    pub(super) fn note_block(&mut self, at: usize) {
        let fact = self.blocks[at].fact();
        self.note(&fact);
    }

    /// All facts anew, into a file of the next generation.
    pub(super) fn shorten_log(&mut self) {
        let old = self.log.slot.clone();
        let content = self.next_log();
        self.ops.push(Op::Create { slot: self.log.slot.clone(), content: content.into() });
        self.ops.push(Op::Remove { slot: old });
    }

    /// Goes on with a log of the next generation, which begins with what is given back.
    pub(super) fn next_log(&mut self) -> Vec<u8> {
        self.log.generation += 1;
        self.log.slot = Slot::new(&self.home, FileName::State(self.log.generation));
        self.log.codec = Codec { salt: self.shared.salt(), seal: self.seal.clone() };
        let mut out = state_log::header(self.log.codec.salt, self.sealed().as_ref());
        let (codec, mut number) = (self.log.codec.clone(), 0);
        let mut push = |out: &mut Vec<u8>, fact: &Fact<'_>| {
            state_log::push(out, 0, &codec, number, fact);
            number += 1;
        };
        push(&mut out, &Fact::Meta(&self.meta));
        // Before what they would take: facts count in their order.
        for block in self.blocks.iter().filter(|block| block.cut_above < u64::MAX) {
            push(&mut out, &Fact::Truncated { last_seq: block.cut_above, next_block: block.number + 1 });
        }
        push(&mut out, &self.floor());
        for (first, last) in self.gone_between_blocks() {
            push(&mut out, &Fact::Dead(first, last));
        }
        for block in &self.blocks {
            push(&mut out, &block.fact());
            for (first, last) in block.dead_ranges() {
                push(&mut out, &Fact::Dead(first, last));
            }
        }
        for (name, kept) in &self.consumers {
            push(&mut out, &Fact::Consumer(name, &kept.meta));
            if !kept.state.is_empty() {
                push(&mut out, &Fact::State(name, &kept.state));
            }
            for change in &kept.changes {
                push(&mut out, &Fact::Change(name, change));
            }
        }
        self.log.size = out.len() as u64;
        self.log.short_size = self.log.size;
        self.log.next_number = number;
        self.log.outdated = false;
        self.log.open.clear();
        out
    }

    /// Sequences that no block has, but for those that damage took.
    fn gone_between_blocks(&self) -> Vec<(u64, u64)> {
        let mut gone = Vec::new();
        let mut gap = |mut first: u64, last: u64| {
            let lost = &self.lost_seqs;
            for seq in lost[lost.partition_point(|seq| *seq < first)..].iter().take_while(|seq| **seq <= last)
            {
                if first < *seq {
                    gone.push((first, seq - 1));
                }
                first = seq + 1;
            }
            if first <= last {
                gone.push((first, last));
            }
        };
        let mut expected = self.state.first_seq.max(1);
        for block in &self.blocks {
            gap(expected, block.first_seq.saturating_sub(1));
            expected = expected.max(block.last_seq + 1);
        }
        gap(expected, self.state.last_seq);
        gone
    }

    fn sealed(&self) -> Option<super::seal::Sealed> {
        self.seal.as_ref()?;
        self.shared.keys.as_ref()?.seal(self.home.base(), &self.seed)
    }
}
