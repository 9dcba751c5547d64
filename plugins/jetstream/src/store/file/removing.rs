//! Removing: one message, those that match, all below or above a sequence.

use super::block;
use super::entry::Op;
use super::keeping;
use super::reading::{READ_ONE, record_len};
use super::state_log::Fact;
use super::stream::{FileStore, Window, size_bytes};
use crate::filter::Filter;
use crate::store::subjects::{Id, Left, Subjects};
use crate::store::{Flags, Purge, Removed, StoreError, StreamStore};
use bytes::Bytes;

impl FileStore {
    pub(super) fn take(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError> {
        let Some(at) = self.block_of(seq) else { return Ok(None) };
        let known = self.replaced.take().filter(|(_, replaced, _)| *replaced == seq && !erase);
        let known = known.filter(|_| !self.blocks[at].is_dead(seq));
        let outline = match known {
            Some((id, _, size_bytes)) => Some((Bytes::copy_from_slice(self.subjects.name(id)), size_bytes)),
            None => self.outline(at, seq)?,
        };
        let Some((subject, size_bytes)) = outline else { return Ok(None) };
        if erase {
            let Some(message) = self.read(at, seq)? else { return Ok(None) };
            self.erase(at, seq)?;
            // Its time goes with it, and with the compressed block those of others that were removed.
            if message.time_ns >= self.state.last_time_ns || self.blocks[at].packed.is_some() {
                self.note_floor();
            }
        }
        self.blocks[at].kill(seq);
        self.state.messages -= 1;
        self.state.bytes -= size_bytes;
        self.forget_subject(&subject, seq)?;
        if self.blocks[at].live == 0 && at + 1 < self.blocks.len() {
            self.drop_block(at);
        }
        if seq == self.state.first_seq {
            self.find_first()?;
        }
        Ok(Some(Removed { seq, subject, size_bytes }))
    }

    /// The subject and the size of a message: of most without reading the whole of it.
    fn outline(&mut self, at: usize, seq: u64) -> Result<Option<(Bytes, u64)>, StoreError> {
        let Some(offset) = self.locate(at, seq)? else { return Ok(None) };
        let mut start = std::mem::take(&mut self.start);
        let outline = self.start_of(at, offset, &mut start)?.and_then(|record| {
            let outline = self.blocks[at].outline(record, offset).filter(|outline| outline.seq == seq)?;
            // What is there has passed the check of its length alone: whether it is right is seen by its subject, too.
            let subject = outline.subject;
            self.subjects.find(subject)?;
            let size_bytes = size_bytes(subject.len(), outline.headers, outline.payload);
            Some((Bytes::copy_from_slice(subject), size_bytes))
        });
        self.start = start;
        if outline.is_some() {
            return Ok(outline);
        }
        let message = self.read(at, seq)?;
        Ok(message.map(|message| {
            let size_bytes = size_bytes(message.subject.len(), message.headers.len(), message.payload.len());
            (Bytes::copy_from_slice(&message.subject), size_bytes)
        }))
    }

    pub(super) fn erase(&mut self, at: usize, seq: u64) -> Result<(), StoreError> {
        let Some(offset) = self.locate(at, seq)? else { return Ok(()) };
        if self.blocks[at].packed.is_some() {
            return self.erase_packed(at, seq, offset);
        }
        if at + 1 == self.blocks.len() {
            self.flush();
        }
        let len = record_len(&self.bytes(at, offset, READ_ONE)?);
        let block = &self.blocks[at];
        let content: Bytes = block.erased(offset, len, seq).into();
        self.ops.push(Op::Rewrite { slot: block.slot.clone(), at: offset, content });
        self.erases = true;
        self.window = Window::default();
        Ok(())
    }

    /// The message of a subject is gone; its first and last are found again.
    pub(super) fn forget_subject(&mut self, subject: &[u8], seq: u64) -> Result<(), StoreError> {
        let Some(id) = self.subjects.find(subject) else { return Ok(()) };
        match self.subjects.remove(id, seq) {
            // Who wants to know which one follows looks for it: most never do.
            Left::First => self.subjects.blur_first(id, seq + 1),
            Left::Last | Left::One => {
                let before = self.scan_last(&|s| s == subject, seq - 1)?;
                before.iter().for_each(|before| self.subjects.set_last(id, before.seq));
                if let Some(before) = before.filter(|_| self.subjects.facts(id).messages == 1) {
                    self.subjects.set_first(id, before.seq);
                }
            }
            Left::Nothing | Left::Known => {}
        }
        Ok(())
    }

    /// Finds the first message of a subject if it is not known.
    pub(super) fn know_first(&mut self, id: Id) -> Result<(), StoreError> {
        if self.subjects.knows_first(id) {
            return Ok(());
        }
        let subject = self.subjects.name(id).to_vec();
        let facts = self.subjects.facts(id);
        let first = self.scan_next(&|s| s == subject, Flags::default(), facts.first_seq)?;
        // What damage took may be all that there was.
        self.subjects.set_first(id, first.map_or(facts.last_seq, |first| first.seq));
        Ok(())
    }

    /// The same for all that match.
    pub(super) fn know_firsts(&mut self, filter: &Filter) -> Result<(), StoreError> {
        let vague = self.subjects.vague_of(filter);
        if let [id] = *vague {
            return self.know_first(id);
        }
        let mut left = vague.len();
        let mut from = vague.iter().map(|&id| self.subjects.facts(id).first_seq).min().unwrap_or(0);
        while left > 0
            && let Some(message) = self.scan_next(&|s| filter.matches(s), Flags::default(), from)?
        {
            from = message.seq + 1;
            if let Some(id) =
                self.subjects.find(&message.subject).filter(|&id| !self.subjects.knows_first(id))
            {
                self.subjects.set_first(id, message.seq);
                left -= 1;
            }
        }
        for id in vague {
            self.know_first(id)?;
        }
        Ok(())
    }

    pub(super) fn find_first(&mut self) -> Result<(), StoreError> {
        if self.state.messages == 0 {
            self.state.first_seq = self.state.last_seq + 1;
            self.state.first_time_ns = 0;
            return Ok(());
        }
        if let Some(message) = self.scan_next(&|_| true, Flags::default(), self.state.first_seq)? {
            self.state.first_seq = message.seq;
            self.state.first_time_ns = message.time_ns;
        }
        Ok(())
    }

    pub(super) fn purge_some(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        let before = (self.state.messages, self.state.bytes);
        let below = if purge.before_seq == 0 { u64::MAX } else { purge.before_seq };
        if purge.filter.is_all() && purge.keep == 0 {
            self.compact(below.min(self.state.last_seq + 1))?;
        } else {
            let matching = match purge.keep {
                0 => u64::MAX,
                keep => self.count(&purge.filter, 0, false)?.saturating_sub(keep),
            };
            let mut from = 0;
            for _ in 0..matching {
                let Some(message) = self.next(&purge.filter, from)? else { break };
                if message.seq >= below {
                    break;
                }
                from = message.seq + 1;
                self.remove(message.seq, false)?;
            }
        }
        Ok((before.0 - self.state.messages, before.1 - self.state.bytes))
    }

    pub(super) fn drop_below(&mut self, seq: u64) -> Result<(), StoreError> {
        if seq > self.state.last_seq {
            // All go: nothing is read one by one.
            self.open.clear();
            self.tail.clear();
            self.tail_bytes = 0;
            while !self.blocks.is_empty() {
                self.drop_block(self.blocks.len() - 1);
            }
            self.subjects.clear();
            self.state.messages = 0;
            self.state.bytes = 0;
            self.state.last_seq = self.state.last_seq.max(seq - 1);
        } else {
            while let Some(first) = self.scan_next(&|_| true, Flags::default(), self.state.first_seq)? {
                if first.seq >= seq {
                    break;
                }
                self.take(first.seq, false)?;
            }
        }
        self.find_first()?;
        let first_seq = self.state.first_seq;
        self.lost_seqs.retain(|lost| *lost >= first_seq);
        self.note_floor();
        Ok(())
    }

    pub(super) fn drop_above(&mut self, seq: u64) -> Result<(), StoreError> {
        let mut from = seq + 1;
        while let Some(message) = self.scan_next(&|_| true, Flags::default(), from)? {
            from = message.seq + 1;
            self.take(message.seq, false)?;
        }
        self.seal();
        self.state.last_seq = self.state.last_seq.min(seq);
        while self.blocks.last().is_some_and(|block| block.first_seq > seq) {
            self.drop_block(self.blocks.len() - 1);
        }
        let last = self.scan_last(&|_| true, seq)?;
        for block in &mut self.blocks {
            let last = last.as_ref().filter(|last| (block.first_seq..=block.last_seq).contains(&last.seq));
            block.cut(seq, last.map(|last| last.time_ns));
        }
        // What the files have above does not count; what comes now does.
        self.starts_block = true;
        self.lost_seqs.retain(|lost| *lost <= seq);
        let next_block = self.next_block;
        self.note(&Fact::Truncated { last_seq: seq, next_block });
        self.find_first()?;
        self.note_floor();
        Ok(())
    }

    /// After a recovery: when the first message was stored.
    pub(super) fn first_time(&mut self) -> Result<(), StoreError> {
        if self.state.messages > 0 { self.find_first() } else { Ok(()) }
    }

    /// For the health report.
    pub(super) fn tell_damage(&self) {
        self.shared.damaged.lock().insert(format!("messages of {}", self.home.base()));
    }

    /// Damage took a message: it counts as lost and is not served again.
    pub(super) fn lose(&mut self, at: usize, seq: u64) {
        if self.blocks[at].is_dead(seq) {
            return;
        }
        // Where the next one begins is not known otherwise.
        let _ = self.load_offsets(at);
        let block = &mut self.blocks[at];
        let offset = block.offset(seq);
        block.kill(seq);
        let path = block.slot.path();
        natsd_plugin_api::tracing::error!("{path}: message {seq} is damaged and lost");
        self.tell_damage();
        let lost = &mut self.lost_seqs;
        if let Err(place) = lost.binary_search(&seq) {
            lost.insert(place, seq);
        }
        self.state.messages = self.state.messages.saturating_sub(1);
        if !offset.is_some_and(|offset| self.take_off_damaged(at, offset, seq)) {
            self.recount();
        }
        if seq == self.state.first_seq {
            // Nothing better is known if that fails too.
            let _ = self.find_first();
        }
    }

    /// Takes a damaged message off its subject and the size, if it still says what they are.
    fn take_off_damaged(&mut self, at: usize, offset: u64, seq: u64) -> bool {
        let Ok(bytes) = self.bytes(at, offset, READ_ONE) else { return false };
        let block = &self.blocks[at];
        let next = (seq + 1..=block.last_seq).find_map(|next| block.raw_offset(next)).unwrap_or(block.size);
        let len = (next.saturating_sub(offset) as usize).min(bytes.len());
        let Some(block::Entry::Message { seq: said, subject, headers, payload, .. }) =
            block.guess(&bytes[..len])
        else {
            return false;
        };
        let facts = self.subjects.facts_of(subject);
        let is_right = said == seq && facts.messages > 0 && (facts.first_seq..=facts.last_seq).contains(&seq);
        if !is_right {
            return false;
        }
        let subject = Bytes::copy_from_slice(subject);
        self.state.bytes =
            self.state.bytes.saturating_sub(size_bytes(subject.len(), headers.len(), payload.len()));
        self.forget_subject(&subject, seq).is_ok()
    }

    /// Counts everything again.
    pub(super) fn recount(&mut self) {
        self.flush();
        self.replaced = None;
        let mut subjects = Subjects::default();
        keeping::keep_places(&mut subjects, &self.settings);
        let (mut messages, mut bytes) = (0, 0);
        for at in 0..self.blocks.len() {
            let Ok(content) = self.content(at) else { continue };
            let block = &self.blocks[at];
            super::rebuild::scan(block, &content, &mut |_, entry| {
                let block::Entry::Message { seq, subject, headers, payload, .. } = entry else { return };
                if block.is_dead(seq) || seq > block.last_seq {
                    return;
                }
                messages += 1;
                bytes += size_bytes(subject.len(), headers.len(), payload.len());
                subjects.add(subject, seq);
            });
        }
        (self.subjects, self.state.messages, self.state.bytes) = (subjects, messages, bytes);
    }
}
