//! Noting: facts for the state log, and the log written anew when most of it is outdated.

use super::entry::Op;
use super::files::Slot;
use super::place::FileName;
use super::state_log::{self, Fact};
use super::stream::{FileStore, StateLog};

impl FileStore {
    pub(super) fn note(&mut self, fact: &Fact<'_>) {
        let StateLog { open, size, salt, next_number, .. } = &mut self.log;
        state_log::push(open, *size, *salt, *next_number, fact);
        self.log.next_number += 1;
    }

    pub(super) fn floor(&self) -> Fact<'static> {
        Fact::Floor {
            first_seq: self.state.first_seq,
            last_seq: self.state.last_seq,
            last_time_ns: self.state.last_time_ns,
        }
    }

    /// All facts anew, into a file of the next generation.
    pub(super) fn shorten_log(&mut self) {
        let generation = self.log.generation + 1;
        let slot = Slot::new(&self.home, FileName::State(generation));
        let salt = self.shared.salt();
        let mut out = state_log::header(salt);
        let mut number = 0;
        let mut push = |out: &mut Vec<u8>, fact: &Fact<'_>| {
            state_log::push(out, 0, salt, number, fact);
            number += 1;
        };
        push(&mut out, &Fact::Meta(&self.meta));
        push(&mut out, &self.floor());
        for block in &self.blocks {
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
        let old = std::mem::replace(&mut self.log.slot, slot.clone());
        self.log.generation = generation;
        self.log.salt = salt;
        self.log.size = out.len() as u64;
        self.log.short_size = self.log.size;
        self.log.next_number = number;
        self.log.open.clear();
        self.ops.push(Op::Create { slot, content: out.into() });
        self.ops.push(Op::Remove { slot: old });
    }
}
