//! One stream's files, as its task sees them. Reads may touch a file; writes go to the writer's queue.

use super::block::{self, Block};
use super::buffers::Usual;
use super::entry::{Done, Job, Op};
use super::files::{Disk, Slot};
use super::floors::Floor;
use super::io::Salts;
pub(super) use super::keeping::Window;
use super::keeping::{self, Tail};
use super::pack::Unwritten;
use super::place::Home;
use super::record::{self, Codec};
use super::seal::{Keys, SEED, Seal};
use super::state_log::{Fact, Kept};
use super::writer::Writer;
use crate::filter::Filter;
use crate::store::subjects::{Id, Subjects};
use crate::store::{
    Appended, Commit, Flags, Loaded, Message, NewMessage, Purge, Removed, Sequel, SharedCommits, StoreError,
    StoreSettings, StoreState, StoredConsumer, StreamStore, SubjectFacts,
};
use bytes::Bytes;
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// JS-132.
const OVERHEAD_BYTES: u64 = 30;
/// A state log is written anew when it is larger than this and than four times what it was after the last time.
const STATE_LOG_BYTES: u64 = 1024 * 1024;
/// Skipped sequences that a block notes one by one.
const SKIP_MAX: u64 = 1024;

/// What the streams of a store share.
pub struct Shared {
    pub disk: Arc<Disk>,
    pub writer: Arc<Writer>,
    pub salts: Salts,
    pub next_id: Arc<AtomicU64>,
    /// `None`: nothing is encrypted, and what is cannot be read.
    pub keys: Option<Keys>,
    /// Streams that are there, as the folder and the start of the name.
    pub streams: Mutex<HashSet<String>>,
    /// What of the files was damaged and is lost, since the start.
    pub damaged: Mutex<BTreeSet<String>>,
}

impl Shared {
    pub fn salt(&self) -> u64 {
        (self.salts)()
    }
}

pub struct FileStore {
    pub(super) shared: Arc<Shared>,
    pub(super) home: Arc<Home>,
    pub(super) settings: StoreSettings,
    pub(super) state: StoreState,
    /// Sequences that damage took, in order.
    pub(super) lost_seqs: Vec<u64>,
    pub(super) blocks: Vec<Block>,
    pub(super) next_block: u64,
    pub(super) subjects: Subjects,
    pub(super) meta: Bytes,
    pub(super) consumers: BTreeMap<String, Kept>,
    pub(super) found: Vec<StoredConsumer>,
    pub(super) log: StateLog,
    /// What the stream's key is made of, and the key; `None`: it is not encrypted.
    pub(super) seed: [u8; SEED],
    pub(super) seal: Option<Arc<Seal>>,
    /// What the last recovery found: nothing has to be noted at the end if nothing came.
    pub(super) noted_last_seq: u64,
    /// The next message begins a block: no place of an encrypted file is written twice, not even after a crash.
    pub(super) starts_block: bool,
    /// Of the last block: what was appended since the last commit, from `open_at` on.
    pub(super) open: Vec<u8>,
    pub(super) open_at: u64,
    /// Committed parts of the last block that may not be in the file.
    pub(super) tail: VecDeque<Tail>,
    pub(super) tail_bytes: usize,
    pub(super) unwritten: Vec<Unwritten>,
    pub(super) ops: Vec<Op>,
    /// Something in them erases.
    pub(super) erases: bool,
    pub(super) written: Arc<AtomicU64>,
    pub(super) commits: u64,
    pub(super) window: Window,
    /// Blocks whose offsets were loaded, the latest last.
    pub(super) loaded: VecDeque<u64>,
    /// The message that was found last without offsets: block, sequence, offset.
    pub(super) cursor: (u64, u64, u64),
    /// Kept for its capacity: the start of a record.
    pub(super) start: Vec<u8>,
    /// Removed messages that are to be noted.
    pub(super) dead: Vec<u64>,
    /// The subject of the message that was added last, the one before it, and how large that is; if that is known.
    pub(super) replaced: Option<(Id, u64, u64)>,
    pub(super) usual: Usual,
}

/// The state log.
pub(super) struct StateLog {
    pub slot: Arc<Slot>,
    pub generation: u64,
    pub codec: Codec,
    pub size: u64,
    pub next_number: u64,
    /// After it was last written anew.
    pub short_size: u64,
    /// It is to be written anew.
    pub outdated: bool,
    /// Facts since the last commit.
    pub open: Vec<u8>,
}

pub(super) fn size_bytes(subject: usize, headers: usize, payload: usize) -> u64 {
    let headers = if headers == 0 { 0 } else { 4 + headers as u64 };
    OVERHEAD_BYTES + subject as u64 + headers + payload as u64
}

impl FileStore {
    pub(super) fn new(shared: Arc<Shared>, home: Arc<Home>, settings: StoreSettings, log: StateLog) -> Self {
        let first_seq = settings.first_seq.max(1);
        let mut state = StoreState::default();
        let mut subjects = Subjects::default();
        keeping::keep_places(&mut subjects, &settings);
        if settings.first_seq > 0 {
            (state.first_seq, state.last_seq) = (first_seq, first_seq - 1);
        }
        Self {
            shared,
            home,
            settings,
            state,
            lost_seqs: Vec::new(),
            blocks: Vec::new(),
            next_block: 1,
            subjects,
            meta: Bytes::new(),
            consumers: BTreeMap::new(),
            found: Vec::new(),
            log,
            seed: [0; SEED],
            seal: None,
            noted_last_seq: 0,
            starts_block: false,
            open: Vec::new(),
            open_at: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            unwritten: Vec::new(),
            ops: Vec::new(),
            erases: false,
            written: Arc::default(),
            commits: 0,
            window: Window::default(),
            loaded: VecDeque::new(),
            cursor: (0, 0, 0),
            start: Vec::new(),
            dead: Vec::new(),
            replaced: None,
            usual: Usual::default(),
        }
    }

    /// After a recovery: the next message goes behind the last one.
    pub(super) fn go_on(&mut self) {
        self.open_at = self.blocks.last().map_or(0, |block| block.size);
    }

    /// Gives what a recovery noted to the writer. It is durable soon, but nobody waits for that.
    pub(super) fn hand_over_later(&mut self) {
        let is_lazy = std::mem::replace(&mut self.settings.lazy, true);
        drop(self.commit());
        self.settings.lazy = is_lazy;
    }

    /// Gives what was changed to the writer, perhaps as the last of this stream.
    fn hand_over(&mut self, gone: bool) -> Commit {
        let job = self.job(gone);
        self.shared.writer.commit(job)
    }

    fn job(&mut self, gone: bool) -> Job {
        self.commits += 1;
        let floor = Floor {
            generation: self.log.generation,
            number: self.log.next_number,
            last_seq: self.state.last_seq,
            last_time_ns: self.state.last_time_ns,
        };
        Job {
            home: self.home.clone(),
            ops: std::mem::take(&mut self.ops),
            written: self.written.clone(),
            number: self.commits,
            floor,
            waits: gone || self.erases || !self.settings.lazy,
            gone,
            erases: std::mem::take(&mut self.erases),
            done: None,
        }
    }

    /// Makes a job's operations of what was changed; whether there is anything.
    fn prepare(&mut self) -> bool {
        self.flush();
        self.note_dead();
        if !self.log.open.is_empty() {
            let content: Bytes = std::mem::take(&mut self.log.open).into();
            let at = self.log.size;
            self.log.size += content.len() as u64;
            self.ops.push(Op::Write { slot: self.log.slot.clone(), at, content });
        }
        // Nothing else is to be committed: a fresh one can wait.
        let is_outdated = self.log.outdated && !self.ops.is_empty();
        if is_outdated || self.log.size > STATE_LOG_BYTES.max(4 * self.log.short_size) {
            self.shorten_log();
        }
        self.trim_tail();
        !self.ops.is_empty()
    }
}

impl SharedCommits for FileStore {
    fn commit_with(&mut self, sequel: Box<dyn Sequel>) -> bool {
        if !self.prepare() {
            sequel.settle(&Ok(()));
            return true;
        }
        let mut job = self.job(false);
        job.done = Some(Done::Sequel(sequel));
        self.shared.writer.commit_with_others(job);
        false
    }
}

impl StreamStore for FileStore {
    fn state(&self) -> StoreState {
        StoreState { subjects: self.subjects.len() as u64, ..self.state }
    }

    fn lost_seqs(&self) -> Vec<u64> {
        self.lost_seqs.clone()
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        let (subject, headers, payload) =
            (message.subject.len(), message.headers.len(), message.payload.len());
        if subject + headers + payload > record::SIZE_MAX || subject > usize::from(u16::MAX) {
            return Err(StoreError::TooLarge);
        }
        if let Some(error) = self.shared.writer.refusal() {
            return Err(error);
        }
        let seq = self.state.last_seq + 1;
        let at = self.last_block(message.time_ns, (subject + headers + payload) as u64 + 64);
        let offset = self.open_at + self.open_len();
        self.blocks[at].encode(&mut self.open, self.open_at, seq, message);
        let flags = block::flags_of(message.flags, message.headers);
        self.blocks[at].add(seq, offset, message.time_ns, flags);
        let size_bytes = size_bytes(subject, headers, payload);
        self.state.messages += 1;
        self.state.bytes += size_bytes;
        self.state.last_seq = seq;
        self.state.last_time_ns = message.time_ns;
        if self.state.messages == 1 {
            self.state.first_seq = seq;
            self.state.first_time_ns = message.time_ns;
        }
        let added = self.subjects.add(message.subject, seq);
        let size_before = self.subjects.set_size(added.id, size_bytes);
        self.replaced = (size_before > 0).then_some((added.id, added.before_seq, size_before));
        Ok(Appended { seq, size_bytes, subject_messages: added.messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        self.state.last_seq += count;
        self.state.last_time_ns = self.state.last_time_ns.max(time_ns);
        if count <= SKIP_MAX
            && !self.starts_block
            && let Some(block) = self.blocks.last_mut().filter(|block| block.packed.is_none())
            && block.last_seq + count == self.state.last_seq
        {
            let first = block.last_seq + 1;
            block.encode_skip(&mut self.open, self.open_at, first, count, time_ns);
            block.fill_to(self.state.last_seq + 1);
        } else {
            self.note(&Fact::Dead(self.state.last_seq + 1 - count, self.state.last_seq));
            self.note_floor();
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

    fn load_into(&mut self, seq: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        let Some(at) = self.block_of(seq) else { return Ok(false) };
        if self.read_into(at, seq, into)?.is_some() {
            return Ok(true);
        }
        Ok(self.read(at, seq)?.map(|message| into.take(message)).is_some())
    }

    fn next_into(&mut self, filter: &Filter, from: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        let first = from.max(self.state.first_seq);
        // Whoever reads on finds the next one at once.
        if self.subjects.are_all_in(filter) && self.load_into(first, into).is_ok_and(|is_there| is_there) {
            return Ok(true);
        }
        Ok(self.next_match(filter, from)?.map(|message| into.take(message)).is_some())
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        self.scan_next(&|_| true, flags, from)
    }

    fn next_with_headers(&mut self, from: u64) -> Result<Option<Message>, StoreError> {
        self.scan_next(&|_| true, block::HEADED, from)
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        self.next_match(filter, from)
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        self.last_match(filter, up_to)
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        self.last_seqs(filter, up_to, max)
    }

    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError> {
        self.count_matches(filter, from, last_per_subject)
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        self.first_since(time_ns)
    }

    fn deleted(&mut self) -> Vec<u64> {
        self.gaps()
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        self.purge_some(purge)
    }

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
        self.drop_below(seq)
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        self.drop_above(seq)
    }

    fn expect(&mut self, subjects: &mut dyn Iterator<Item = &[u8]>) {
        self.subjects.expect(subjects);
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        let Some(id) = self.subjects.find_next(subject) else { return Ok(SubjectFacts::default()) };
        self.know_first(id)?;
        Ok(self.subjects.facts(id))
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        self.know_firsts(filter)?;
        self.subjects.each_match(filter, |_, subject, facts| {
            visit(subject, facts);
            ControlFlow::Continue(())
        });
        Ok(())
    }

    fn remove(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError> {
        let removed = self.take(seq, erase)?;
        if removed.is_some() {
            self.dead.push(seq);
        }
        Ok(removed)
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
        self.keep_places();
        Ok(())
    }

    fn commit(&mut self) -> Commit {
        if self.prepare() { self.hand_over(false) } else { Commit::Done }
    }

    fn shared_commits(&mut self) -> Option<&mut dyn SharedCommits> {
        let is_lazy = self.settings.lazy;
        if is_lazy { None } else { Some(self) }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.flush();
        let is_noted = self.noted_last_seq == self.state.last_seq;
        if !is_noted && !self.blocks.is_empty() {
            self.note_block(self.blocks.len() - 1);
        }
        self.commit().wait_blocking()
    }

    fn destroy(&mut self) -> Result<(), StoreError> {
        self.ops.clear();
        self.hand_over(true).wait_blocking()?;
        self.shared.streams.lock().remove(self.home.base());
        Ok(())
    }
}
