//! One stream's files, as its task sees them. Reads may touch a file; writes go to the writer's queue.

use super::block::{self, Block};
use super::record;
use super::state_log::{self, Fact, Kept};
use super::writer::{Job, Op, Slot, Writer, failed};
use crate::filter::Filter;
use crate::store::vfs::Vfs;
use crate::store::{
    Appended, Commit, Flags, Message, NewMessage, Purge, Removed, StoreError, StoreSettings, StoreState,
    StoredConsumer, StreamStore, SubjectFacts,
};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};
use tokio::sync::oneshot;

/// JS-132.
const OVERHEAD_BYTES: u64 = 30;
/// Written content that stays in memory for those who read what was just stored.
const TAIL_BYTES: usize = 256 * 1024;
/// Bytes read at once by who reads on, and by who reads here and there.
const READ_AHEAD: usize = 64 * 1024;
const READ_ONE: usize = 4 * 1024;
/// Blocks whose offsets stay in memory, besides the last.
const OFFSETS_KEPT: usize = 16;
/// A state log is written anew when it is larger than this and than four times what it was after the last time.
const STATE_LOG_BYTES: u64 = 1024 * 1024;
/// Skipped sequences that a block notes one by one.
const SKIP_MAX: u64 = 1024;

/// What the store and its recovery share.
pub struct Shared {
    pub vfs: Arc<dyn Vfs>,
    pub writer: Arc<Writer>,
    /// Runs the writer at each commit: there is no thread.
    pub inline: bool,
    pub random: AtomicU64,
}

impl Shared {
    pub fn salt(&self) -> u64 {
        use std::sync::atomic::Ordering::Relaxed;
        let value = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        xxhash_rust::xxh3::xxh3_64(&value.to_le_bytes())
    }
}

pub struct FileStore {
    pub(super) shared: Arc<Shared>,
    pub(super) dir: String,
    pub(super) settings: StoreSettings,
    pub(super) state: StoreState,
    pub(super) blocks: Vec<Block>,
    pub(super) next_block: u64,
    pub(super) subjects: HashMap<Box<[u8]>, SubjectFacts>,
    pub(super) meta: Bytes,
    pub(super) consumers: BTreeMap<String, Kept>,
    pub(super) found: Vec<StoredConsumer>,
    pub(super) log: Log,
    /// Of the last block: what was appended since the last commit, from `open_at` on.
    open: Vec<u8>,
    open_at: u64,
    /// Committed parts of the last block that may not be in the file.
    tail: VecDeque<Tail>,
    tail_bytes: usize,
    ops: Vec<Op>,
    written: Arc<AtomicU64>,
    commits: u64,
    window: Window,
    /// Blocks whose offsets were loaded, the latest last.
    loaded: VecDeque<u64>,
}

struct Tail {
    block: u64,
    at: u64,
    content: Bytes,
    commit: u64,
}

/// The state log.
pub(super) struct Log {
    pub slot: Arc<Slot>,
    pub generation: u64,
    pub salt: u64,
    pub size: u64,
    pub next_number: u64,
    /// After it was last written anew.
    pub short_size: u64,
    /// Facts since the last commit.
    pub open: Vec<u8>,
}

/// Bytes of a block read ahead.
#[derive(Default)]
struct Window {
    block: u64,
    at: u64,
    content: Bytes,
}

fn size_bytes(subject: usize, headers: usize, payload: usize) -> u64 {
    let headers = if headers == 0 { 0 } else { 4 + headers as u64 };
    OVERHEAD_BYTES + subject as u64 + headers + payload as u64
}

impl FileStore {
    pub(super) fn new(shared: Arc<Shared>, dir: String, settings: StoreSettings, log: Log) -> Self {
        let first_seq = settings.first_seq.max(1);
        let mut state = StoreState::default();
        if first_seq > 1 {
            (state.first_seq, state.last_seq) = (first_seq, first_seq - 1);
        }
        Self {
            shared,
            dir,
            settings,
            state,
            blocks: Vec::new(),
            next_block: 1,
            subjects: HashMap::new(),
            meta: Bytes::new(),
            consumers: BTreeMap::new(),
            found: Vec::new(),
            log,
            open: Vec::new(),
            open_at: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            ops: Vec::new(),
            written: Arc::default(),
            commits: 0,
            window: Window::default(),
            loaded: VecDeque::new(),
        }
    }

    pub(super) fn msgs_dir(&self) -> String {
        format!("{}/msgs", self.dir)
    }

    /// After a recovery: the next message goes behind the last one.
    pub(super) fn go_on(&mut self) {
        self.open_at = self.blocks.last().map_or(0, |block| block.size);
    }

    fn note(&mut self, fact: &Fact<'_>) {
        let Log { open, size, salt, next_number, .. } = &mut self.log;
        state_log::push(open, *size, *salt, *next_number, fact);
        self.log.next_number += 1;
    }

    /// The block for the next message.
    fn last_block(&mut self, time_ns: i64, more: u64) -> usize {
        let fits = self.blocks.last().is_some_and(|block| {
            block.size + self.open_len() + more <= block::SIZE_MAX && block.last_seq == self.state.last_seq
        });
        if !fits {
            self.seal();
            let name = format!("{}.blk", self.next_block);
            let slot = Slot::new(&self.msgs_dir(), &name);
            let salt = self.shared.salt();
            let (block, header) =
                Block::new(self.next_block, slot.clone(), salt, self.state.last_seq + 1, time_ns);
            self.next_block += 1;
            self.ops.push(Op::Create { slot, content: header.into() });
            self.open_at = block.size;
            self.blocks.push(block);
        }
        self.blocks.len() - 1
    }

    fn open_len(&self) -> u64 {
        self.open.len() as u64
    }

    /// Hands what was appended to the writer.
    fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let Some(block) = self.blocks.last_mut() else { return };
        let content: Bytes = std::mem::take(&mut self.open).into();
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
    fn seal(&mut self) {
        self.flush();
        if let Some(number) = self.blocks.last().map(|block| block.number) {
            self.remember(number);
        }
        self.drop_last_if_dead();
    }

    fn drop_last_if_dead(&mut self) {
        if self.blocks.last().is_some_and(|block| block.live == 0) {
            self.drop_block(self.blocks.len() - 1);
        }
    }

    fn drop_block(&mut self, at: usize) {
        let block = self.blocks.remove(at);
        self.ops.push(Op::Remove { slot: block.slot });
    }

    /// Keeps the offsets of few blocks.
    fn remember(&mut self, number: u64) {
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
    fn block_of(&self, seq: u64) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.last_seq < seq);
        self.blocks.get(at).filter(|block| block.first_seq <= seq).map(|_| at)
    }

    /// The offsets of a block, read from its file if they are not there.
    fn load_offsets(&mut self, at: usize) -> Result<(), StoreError> {
        let number = self.blocks[at].number;
        if self.blocks[at].offsets.is_some() {
            return Ok(());
        }
        let path = self.blocks[at].slot.path.clone();
        let content = self.shared.vfs.read(&path).map_err(|error| failed(&path, &error))?;
        let block = &mut self.blocks[at];
        let mut offsets = Vec::new();
        super::recovery::scan(block, &content, &mut |offset, entry| {
            if let block::Entry::Message { seq, .. } | block::Entry::Erased { seq } = entry {
                offsets.resize((seq - block.first_seq) as usize, u32::MAX);
                offsets.push(offset as u32);
            }
        });
        block.offsets = Some(offsets);
        self.remember(number);
        Ok(())
    }

    /// A message of a block that is there.
    fn read(&mut self, at: usize, seq: u64) -> Result<Option<Message>, StoreError> {
        self.load_offsets(at)?;
        let Some(offset) = self.blocks[at].offset(seq) else { return Ok(None) };
        let is_last = at + 1 == self.blocks.len();
        let bytes = if is_last && offset >= self.open_at && !self.open.is_empty() {
            Bytes::copy_from_slice(record_at(&self.open[(offset - self.open_at) as usize..]))
        } else {
            self.bytes(at, offset)?
        };
        let block = &self.blocks[at];
        match block.parse(&bytes, offset) {
            Ok(parsed) if parsed.seq == seq => Ok(Some(Message {
                seq,
                time_ns: parsed.time_ns,
                flags: parsed.flags,
                subject: parsed.subject,
                headers: parsed.headers,
                payload: parsed.payload,
            })),
            _ => {
                let path = block.slot.path.clone();
                self.lose(at, seq);
                Err(StoreError::Damaged { path, why: format!("message {seq} cannot be read") })
            }
        }
    }

    /// Damage took a message: it counts as lost and is not served again.
    fn lose(&mut self, at: usize, seq: u64) {
        self.blocks[at].kill(seq);
        self.state.messages = self.state.messages.saturating_sub(1);
        self.state.lost_seqs.push(seq);
    }

    /// The record at an offset: from the tail, the window, or the file.
    fn bytes(&mut self, at: usize, offset: u64) -> Result<Bytes, StoreError> {
        let block = &self.blocks[at];
        let tail = self.tail.partition_point(|tail| (tail.block, tail.at) <= (block.number, offset));
        if let Some(tail) = tail.checked_sub(1).and_then(|n| self.tail.get(n))
            && tail.block == block.number
            && offset < tail.at + tail.content.len() as u64
        {
            return Ok(tail.content.slice((offset - tail.at) as usize..));
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
        let file = block.slot.open(&*self.shared.vfs, false)?;
        let (number, path) = (block.number, block.slot.path.clone());
        let window_end = self.window.at + self.window.content.len() as u64;
        let reads_on = self.window.block == number && (self.window.at..=window_end).contains(&offset);
        let mut want = if reads_on { READ_AHEAD } else { READ_ONE };
        loop {
            let mut buffer = vec![0; want];
            let mut got = 0;
            while got < buffer.len() {
                let read = file.read_at(offset + got as u64, &mut buffer[got..]);
                match read.map_err(|error| failed(&path, &error))? {
                    0 => break,
                    more => got += more,
                }
            }
            buffer.truncate(got);
            let needed = record_len(&buffer);
            if needed <= got || got < want || needed > record::SIZE_MAX + record::HEAD {
                self.window = Window { block: number, at: offset, content: buffer.into() };
                return Ok(self.window.content.clone());
            }
            want = needed;
        }
    }

    fn take(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError> {
        let Some(at) = self.block_of(seq) else { return Ok(None) };
        let Some(message) = self.read(at, seq)? else { return Ok(None) };
        let size = size_bytes(message.subject.len(), message.headers.len(), message.payload.len());
        if erase {
            self.erase(at, seq)?;
        }
        self.blocks[at].kill(seq);
        self.state.messages -= 1;
        self.state.bytes -= size;
        self.forget_subject(&message.subject, seq)?;
        if self.blocks[at].live == 0 && at + 1 < self.blocks.len() {
            self.drop_block(at);
        }
        if seq == self.state.first_seq {
            self.find_first()?;
        }
        Ok(Some(Removed { seq, subject: Bytes::copy_from_slice(&message.subject), size_bytes: size }))
    }

    fn erase(&mut self, at: usize, seq: u64) -> Result<(), StoreError> {
        let Some(offset) = self.blocks[at].offset(seq) else { return Ok(()) };
        if at + 1 == self.blocks.len() {
            self.flush();
        }
        let len = record_len(&self.bytes(at, offset)?);
        let block = &self.blocks[at];
        let content: Bytes = block.erased(offset, len, seq).into();
        self.ops.push(Op::Write { slot: block.slot.clone(), at: offset, content });
        self.window = Window::default();
        Ok(())
    }

    /// The message of a subject is gone; its first and last are found again.
    fn forget_subject(&mut self, subject: &[u8], seq: u64) -> Result<(), StoreError> {
        let Some(facts) = self.subjects.get_mut(subject) else { return Ok(()) };
        facts.messages -= 1;
        if facts.messages == 0 {
            self.subjects.remove(subject);
            return Ok(());
        }
        if facts.messages == 1 {
            // The other end is the one that is left: nothing has to be searched.
            let left = if facts.first_seq == seq { facts.last_seq } else { facts.first_seq };
            if left != seq && (facts.first_seq == seq || facts.last_seq == seq) {
                (facts.first_seq, facts.last_seq) = (left, left);
                return Ok(());
            }
        }
        let (first, last) = (facts.first_seq == seq, facts.last_seq == seq);
        if first {
            let next = self.scan_next(&|s| s == subject, Flags::default(), seq + 1)?;
            if let (Some(facts), Some(next)) = (self.subjects.get_mut(subject), next) {
                facts.first_seq = next.seq;
            }
        } else if last {
            let before = self.scan_last(&|s| s == subject, seq - 1)?;
            if let (Some(facts), Some(before)) = (self.subjects.get_mut(subject), before) {
                facts.last_seq = before.seq;
            }
        }
        Ok(())
    }

    fn find_first(&mut self) -> Result<(), StoreError> {
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

    /// The first message from `from` on whose subject is meant and which has one of the flags, if any are given.
    fn scan_next(
        &mut self,
        meant: &dyn Fn(&[u8]) -> bool,
        flags: Flags,
        from: u64,
    ) -> Result<Option<Message>, StoreError> {
        let flagged = flags != Flags::default();
        let mut at = self.blocks.partition_point(|block| block.last_seq < from);
        while at < self.blocks.len() {
            let block = &self.blocks[at];
            if block.live > 0 && (!flagged || block.flags.intersects(flags)) {
                for seq in from.max(block.first_seq)..=self.blocks[at].last_seq {
                    let message = match self.read(at, seq) {
                        Ok(Some(message)) => message,
                        // What damage took is left out.
                        Ok(None) | Err(StoreError::Damaged { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    if meant(&message.subject) && (!flagged || message.flags.intersects(flags)) {
                        return Ok(Some(message));
                    }
                }
            }
            at += 1;
        }
        Ok(None)
    }

    fn scan_last(
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

    /// All facts anew, into a file of the next generation.
    fn shorten_log(&mut self) {
        let (vfs_dir, generation) = (self.dir.clone(), self.log.generation + 1);
        let slot = Slot::new(&vfs_dir, &format!("state.{generation}"));
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

    fn floor(&self) -> Fact<'static> {
        Fact::Floor {
            first_seq: self.state.first_seq,
            last_seq: self.state.last_seq,
            last_time_ns: self.state.last_time_ns,
        }
    }

    /// Forgets committed content that is in the file by now.
    fn trim_tail(&mut self) {
        let written = self.written.load(Acquire);
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

fn record_len(bytes: &[u8]) -> usize {
    bytes.first_chunk::<4>().map_or(usize::MAX, |len| u32::from_le_bytes(*len) as usize)
}

fn record_at(bytes: &[u8]) -> &[u8] {
    &bytes[..record_len(bytes).min(bytes.len())]
}

impl StreamStore for FileStore {
    fn state(&self) -> StoreState {
        StoreState { subjects: self.subjects.len() as u64, ..self.state.clone() }
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        let (subject, headers, payload) =
            (message.subject.len(), message.headers.len(), message.payload.len());
        if subject + headers + payload > record::SIZE_MAX {
            return Err(StoreError::TooLarge);
        }
        if let Some(error) = self.shared.writer.failure() {
            return Err(error);
        }
        let seq = self.state.last_seq + 1;
        let at = self.last_block(message.time_ns, (subject + headers + payload) as u64 + 64);
        let offset = self.open_at + self.open_len();
        self.blocks[at].encode(&mut self.open, self.open_at, seq, message);
        self.blocks[at].add(seq, offset, message.time_ns, message.flags);
        let size_bytes = size_bytes(subject, headers, payload);
        self.state.messages += 1;
        self.state.bytes += size_bytes;
        self.state.last_seq = seq;
        self.state.last_time_ns = message.time_ns;
        if self.state.messages == 1 {
            self.state.first_seq = seq;
            self.state.first_time_ns = message.time_ns;
        }
        let facts = self
            .subjects
            .entry_ref(message.subject)
            .or_insert_with(|| SubjectFacts { first_seq: seq, ..SubjectFacts::default() });
        facts.messages += 1;
        facts.last_seq = seq;
        Ok(Appended { seq, size_bytes, subject_messages: facts.messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        self.state.last_seq += count;
        self.state.last_time_ns = self.state.last_time_ns.max(time_ns);
        if count <= SKIP_MAX
            && let Some(block) = self.blocks.last_mut()
            && block.last_seq + count == self.state.last_seq
        {
            block.encode_skip(&mut self.open, self.open_at, count, time_ns);
            block.fill_to(self.state.last_seq + 1);
        } else {
            let floor = self.floor();
            self.note(&floor);
        }
        if self.state.messages == 0 {
            self.find_first()?;
        }
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError> {
        match self.block_of(seq) {
            Some(at) => self.read(at, seq),
            None => Ok(None),
        }
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        let mut from = from.max(self.state.first_seq);
        if from > self.state.last_seq {
            return Ok(None);
        }
        if let Some(subject) = filter.literal() {
            let Some(facts) = self.subjects.get(subject) else { return Ok(None) };
            if facts.last_seq < from {
                return Ok(None);
            }
            from = from.max(facts.first_seq);
            if facts.messages == 1 || from == facts.last_seq {
                from = facts.last_seq;
            }
        }
        self.scan_next(&|subject| filter.matches(subject), Flags::default(), from)
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        self.scan_next(&|_| true, flags, from)
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        let mut up_to = up_to.min(self.state.last_seq);
        if let Some(subject) = filter.literal() {
            let Some(facts) = self.subjects.get(subject) else { return Ok(None) };
            if facts.first_seq > up_to {
                return Ok(None);
            }
            up_to = up_to.min(facts.last_seq);
        } else if !filter.is_all() && up_to == self.state.last_seq {
            let matching = self.subjects.iter().filter(|(subject, _)| filter.matches(subject));
            let Some(last) = matching.map(|(_, facts)| facts.last_seq).max() else { return Ok(None) };
            up_to = last;
        }
        self.scan_last(&|subject| filter.matches(subject), up_to)
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        let matching: Vec<(Box<[u8]>, SubjectFacts)> = self
            .subjects
            .iter()
            .filter(|(subject, facts)| facts.first_seq <= up_to && filter.matches(subject))
            .map(|(subject, facts)| (subject.clone(), *facts))
            .collect();
        if matching.len() > max {
            return Err(StoreError::TooMany { max });
        }
        let mut seqs = Vec::with_capacity(matching.len());
        for (subject, facts) in matching {
            if facts.last_seq <= up_to {
                seqs.push(facts.last_seq);
            } else if let Some(message) = self.scan_last(&|s| *s == *subject, up_to)? {
                seqs.push(message.seq);
            }
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError> {
        if filter.is_all() && !last_per_subject {
            if from <= self.state.first_seq {
                return Ok(self.state.messages);
            }
            let mut count = 0;
            for at in self.blocks.partition_point(|block| block.last_seq < from)..self.blocks.len() {
                let block = &self.blocks[at];
                if block.first_seq >= from {
                    count += block.live;
                    continue;
                }
                self.load_offsets(at)?;
                let block = &self.blocks[at];
                count += (from..=block.last_seq).filter(|&seq| block.offset(seq).is_some()).count() as u64;
            }
            return Ok(count);
        }
        let mut count = 0;
        let mut scan = Vec::new();
        for (subject, facts) in self.subjects.iter().filter(|(subject, _)| filter.matches(subject)) {
            if facts.last_seq < from {
                continue;
            }
            if last_per_subject {
                count += 1;
            } else if facts.first_seq >= from {
                count += facts.messages;
            } else if facts.messages == 2 {
                // The first is below, the last is not.
                count += 1;
            } else {
                scan.push(subject.clone());
            }
        }
        if scan.is_empty() {
            return Ok(count);
        }
        let partly: hashbrown::HashSet<Box<[u8]>> = scan.into_iter().collect();
        let mut from = from;
        while let Some(message) =
            self.scan_next(&|subject| partly.contains(subject), Flags::default(), from)?
        {
            count += 1;
            from = message.seq + 1;
        }
        Ok(count)
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        Ok(self.subjects.get(subject).copied().unwrap_or_default())
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        self.subjects
            .iter()
            .filter(|(subject, _)| filter.matches(subject))
            .for_each(|(subject, facts)| visit(subject, *facts));
        Ok(())
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        let at = self.blocks.partition_point(|block| block.last_time_ns < time_ns);
        let Some(block) = self.blocks.get(at) else { return Ok(self.state.last_seq + 1) };
        let (mut low, mut high) = (block.first_seq, block.last_seq);
        // Times never go back, so the first that is late enough is found by halving.
        while low < high {
            let middle = low + (high - low) / 2;
            let found = (middle..=high).find_map(|seq| self.read(at, seq).ok().flatten());
            match found {
                Some(message) if message.time_ns < time_ns => low = message.seq + 1,
                Some(_) | None => high = middle,
            }
        }
        let found = self.scan_next(&|_| true, Flags::default(), low)?;
        Ok(found.map_or(self.state.last_seq + 1, |message| message.seq))
    }

    fn deleted(&mut self) -> Vec<u64> {
        let mut deleted = Vec::new();
        let mut expected = self.state.first_seq;
        for at in 0..self.blocks.len() {
            if self.load_offsets(at).is_err() {
                continue;
            }
            let block = &self.blocks[at];
            for seq in block.first_seq.max(expected)..=block.last_seq {
                if block.offset(seq).is_some() {
                    deleted.extend(expected..seq);
                    expected = seq + 1;
                }
            }
        }
        if self.state.messages > 0 {
            deleted.extend(expected..=self.state.last_seq);
        }
        deleted
    }

    fn remove(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError> {
        let removed = self.take(seq, erase)?;
        if removed.is_some() {
            self.note(&Fact::Dead(seq, seq));
        }
        Ok(removed)
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
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

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
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
        let floor = self.floor();
        self.note(&floor);
        Ok(())
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        let mut from = seq + 1;
        while let Some(message) = self.scan_next(&|_| true, Flags::default(), from)? {
            from = message.seq + 1;
            self.take(message.seq, false)?;
        }
        self.seal();
        self.state.last_seq = self.state.last_seq.min(seq);
        self.blocks.iter_mut().for_each(|block| block.last_seq = block.last_seq.min(seq));
        let next_block = self.next_block;
        self.note(&Fact::Truncated { last_seq: seq, next_block });
        self.find_first()
    }

    fn put_meta(&mut self, meta: &[u8]) -> Result<(), StoreError> {
        self.meta = Bytes::copy_from_slice(meta);
        self.note(&Fact::Meta(meta));
        Ok(())
    }

    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<(), StoreError> {
        self.consumers.entry(name.to_owned()).or_default().meta = Bytes::copy_from_slice(meta);
        self.note(&Fact::Consumer(name, meta));
        Ok(())
    }

    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<(), StoreError> {
        let kept = self.consumers.entry(name.to_owned()).or_default();
        kept.state = Bytes::copy_from_slice(state);
        kept.changes = Vec::new();
        self.note(&Fact::State(name, state));
        Ok(())
    }

    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<(), StoreError> {
        if let Some(kept) = self.consumers.get_mut(name) {
            kept.changes.push(Bytes::copy_from_slice(change));
        }
        self.note(&Fact::Change(name, change));
        Ok(())
    }

    fn remove_consumer(&mut self, name: &str) -> Result<(), StoreError> {
        if self.consumers.remove(name).is_some() {
            self.note(&Fact::Gone(name));
        }
        Ok(())
    }

    fn take_consumers(&mut self) -> Vec<StoredConsumer> {
        std::mem::take(&mut self.found)
    }

    fn configure(&mut self, settings: &StoreSettings) -> Result<(), StoreError> {
        self.settings = *settings;
        Ok(())
    }

    fn commit(&mut self) -> Commit {
        self.flush();
        if !self.log.open.is_empty() {
            let content: Bytes = std::mem::take(&mut self.log.open).into();
            let at = self.log.size;
            self.log.size += content.len() as u64;
            self.ops.push(Op::Write { slot: self.log.slot.clone(), at, content });
        }
        if self.log.size > STATE_LOG_BYTES.max(4 * self.log.short_size) {
            self.shorten_log();
        }
        self.trim_tail();
        if self.ops.is_empty() {
            return Commit::Done;
        }
        self.commits += 1;
        let (sender, receiver) = oneshot::channel();
        self.shared.writer.push(Job {
            ops: std::mem::take(&mut self.ops),
            written: self.written.clone(),
            number: self.commits,
            lazy: self.settings.lazy,
            done: Some(sender),
        });
        if self.shared.inline {
            self.shared.writer.run_once();
        }
        Commit::Waiting(receiver)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        match self.commit() {
            Commit::Done => Ok(()),
            Commit::Waiting(done) => done.blocking_recv().unwrap_or(Err(StoreError::Closed)),
        }
    }

    fn destroy(&mut self) -> Result<(), StoreError> {
        self.close()?;
        super::engine::destroy(&*self.shared.vfs, &self.dir)
    }
}
