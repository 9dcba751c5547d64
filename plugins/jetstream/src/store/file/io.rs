//! What is done to the disk, by one thread at a time: jobs go to the log together, are synced once, and answered;
//! their bytes go to the files of their streams later, many at once and without a sync.
//!
//! With `sync_interval` there is no log: bytes go to the files at once, which are synced now and then.

mod segments;

use super::entry::{Job, Op, push_job, push_known};
use super::files::{Disk, Slot, mark_dirty};
use super::floors::Floors;
use super::keeper::{Chore, Dirty, Keeper, write};
use super::log::Log;
use super::place::{FileName, ancestors};
use crate::store::StoreError;
use bytes::Bytes;
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

/// Contents from this size on go to their file and are synced there: written twice they would cost more than
/// another sync.
const DIRECT_MIN: usize = 256 * 1024;
/// The same for a stream that has as much in a round: its file is synced, and that costs the same for more.
const DIRECT_MIN_HEAVY: usize = 16 * 1024;
/// A job with more than that goes to its files as a whole.
const JOB_MAX: usize = 8 * 1024 * 1024;
/// Contents from this size on go to their file by themselves: joining them with others would cost more than a call.
const JOINED_MIN: usize = 32 * 1024;
/// No more is joined: a larger buffer would have to be given back, and fresh memory costs more than a call.
const BUFFER_MAX: usize = 256 * 1024;

/// The clock: nanoseconds that only grow.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Called after jobs with sequels were answered.
pub type Settled = Arc<dyn Fn() + Send + Sync>;

/// Draws salts.
pub type Salts = Arc<dyn Fn() -> u64 + Send + Sync>;

pub struct Io {
    pub disk: Arc<Disk>,
    pub keeper: Arc<Keeper>,
    pub root: String,
    pub log: Option<Log>,
    pub salts: Salts,
    pub next_id: Arc<AtomicU64>,
    pub clock: Option<Clock>,
    pending: Pending,
    dirty: Dirty,
    /// What went to its files past the log and is not synced there.
    direct: Dirty,
    /// Large contents are in their files: what was pending before them is to go there, too, so that it can be forgotten.
    pub applies: bool,
    /// Of what is dirty while there is no log.
    turn: u64,
    floors: Floors,
    /// Jobs that wait for space on the disk.
    pub held: Vec<Job>,
    /// Those who wait until something is nowhere in the log.
    erasing: Vec<Job>,
    /// Why jobs wait.
    pub full: Option<StoreError>,
    /// How long a sync took lately; a guess at first.
    pub sync_ns: u64,
    /// Contents that go to a file together.
    joined: Vec<u8>,
}

/// What is durable in the log and not yet in its files.
#[derive(Default)]
struct Pending {
    writes: Vec<PendingWrite>,
    bytes: usize,
    /// How many files they go to.
    files: usize,
    /// Whom to tell of which number.
    marks: Vec<(Arc<AtomicU64>, u64)>,
}

struct PendingWrite {
    slot: Arc<Slot>,
    at: u64,
    content: Bytes,
}

/// Jobs in the buffer, each with the size from which on its contents are not.
type Ready = Vec<(Job, usize)>;

impl Io {
    pub fn new(
        disk: Arc<Disk>,
        root: &str,
        log: Option<Log>,
        salts: Salts,
        next_id: Arc<AtomicU64>,
        clock: Option<Clock>,
    ) -> Self {
        let keeper = Keeper::new(disk.clone());
        // What earlier generations said was done before the log was begun.
        keeper.assume(log.as_ref().map_or(0, |log| log.generation().saturating_sub(1)));
        Self {
            disk,
            keeper,
            root: root.to_owned(),
            log,
            salts,
            next_id,
            clock,
            pending: Pending::default(),
            dirty: Dirty::default(),
            direct: Dirty::default(),
            applies: false,
            turn: 1,
            floors: Floors::default(),
            held: Vec::new(),
            erasing: Vec::new(),
            full: None,
            sync_ns: 1_000_000,
            joined: Vec::new(),
        }
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending.bytes
    }

    /// How many files what is pending goes to.
    pub fn pending_files(&self) -> usize {
        self.pending.files
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.writes.is_empty()
    }

    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Makes jobs durable and answers them. Those that the disk has no space for wait. An error is final.
    pub fn round(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let waiting: Vec<Job> = self.held.drain(..).chain(jobs).collect();
        self.full = None;
        let mut ready = Vec::with_capacity(waiting.len());
        let worked = match self.log {
            Some(_) => self.logged(waiting, &mut ready),
            None => self.unlogged(waiting),
        };
        if let Err(error) = &worked {
            let failed = Err(error.clone());
            ready.iter_mut().for_each(|(job, _)| job.answer(&failed));
            let left = self.held.drain(..).chain(self.erasing.drain(..));
            left.for_each(|mut job| job.answer(&failed));
        }
        worked
    }

    fn logged(&mut self, waiting: Vec<Job>, ready: &mut Ready) -> Result<(), StoreError> {
        let mut blocked: Vec<u64> = Vec::new();
        let heavy = heavy(&waiting);
        for mut job in waiting {
            if job.home.gone.load(Relaxed) {
                job.answer(&Err(StoreError::Closed));
                continue;
            }
            if !blocked.is_empty() && blocked.contains(&job.home.id) {
                self.held.push(job);
                continue;
            }
            let direct_min = if heavy.contains(&job.home.id) { DIRECT_MIN_HEAVY } else { DIRECT_MIN };
            match self.take_in(&job, direct_min, ready) {
                Ok(direct_min) => ready.push((job, direct_min)),
                Err(error @ StoreError::Full { .. }) => {
                    blocked.push(job.home.id);
                    self.held.push(job);
                    self.full = Some(error);
                }
                Err(error) => {
                    self.held.push(job);
                    return Err(error);
                }
            }
        }
        match self.flush(ready) {
            Err(error @ StoreError::Full { .. }) => self.full = Some(error),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if !self.erasing.is_empty() {
            self.wipe()?;
        }
        match self.log.as_mut().filter(|log| log.is_started()).map_or(Ok(()), Log::reserve) {
            Err(error @ StoreError::Full { .. }) => self.full = Some(error),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Puts a job into the buffer, and its large contents into their files. Answers from which size on.
    fn take_in(&mut self, job: &Job, direct_min: usize, ready: &mut Ready) -> Result<usize, StoreError> {
        self.start_log()?;
        let mut direct_min = if job.content_bytes() > JOB_MAX { 1 } else { direct_min };
        if job.ops.iter().any(|op| op.is_direct(direct_min)) {
            match self.write_directly(job, direct_min, ready) {
                // The log may still have room.
                Err(StoreError::Full { .. }) if job.content_bytes() < JOB_MAX => direct_min = usize::MAX,
                written => written?,
            }
        }
        let bytes = job.log_bytes(direct_min);
        if self.log.as_ref().is_some_and(|log| !log.fits(bytes)) {
            self.flush(ready)?;
            // The next segment says nothing of it yet.
            self.sync_direct()?;
            self.switch()?;
        }
        if let Some(log) = &mut self.log {
            let (records, place) = log.records();
            self.floors.pay(records, &place);
            push_job(records, &place, job, direct_min);
        }
        Ok(direct_min)
    }

    /// Writes what the log is to say, syncs, and answers the jobs in it.
    fn flush(&mut self, ready: &mut Ready) -> Result<(), StoreError> {
        if !self.log.as_ref().is_some_and(Log::has_records) {
            return Ok(());
        }
        let synced = self.sync_direct();
        let started = self.clock.as_ref().map(|clock| clock());
        let written = self.log.as_mut().map_or(Ok(()), |log| match synced {
            Ok(()) => log.write(),
            Err(error) => {
                log.discard();
                Err(error)
            }
        });
        if let (Some(clock), Some(started)) = (&self.clock, started) {
            // About the median: a few slow ones say nothing of the next.
            let step = self.sync_ns / 16;
            let is_slower = clock().saturating_sub(started) > self.sync_ns;
            self.sync_ns = if is_slower { self.sync_ns + step } else { self.sync_ns - step }.max(1000);
        }
        if let Err(error) = written {
            // The log knows nothing of them after all.
            self.floors.are_owed = true;
            for (job, _) in &*ready {
                job.home.named.store(0, Relaxed);
                job.ops.iter().for_each(|op| op.slot().known.store(0, Relaxed));
            }
            let later = std::mem::take(&mut self.held);
            self.held = ready.drain(..).map(|(job, _)| job).chain(later).collect();
            return Err(error);
        }
        let generation = self.log.as_ref().map_or(0, Log::generation);
        for (mut job, direct_min) in ready.drain(..) {
            job.ops.iter().for_each(|op| op.slot().logged.store(generation, Relaxed));
            self.floors.note(&job);
            if job.erases {
                self.erasing.push(job.without_ops());
            } else {
                job.answer(&Ok(()));
            }
            self.note(job, direct_min);
        }
        Ok(())
    }

    /// What is durable now goes to its files later.
    fn note(&mut self, job: Job, direct_min: usize) {
        let Job { home, ops, written, number, gone, .. } = job;
        for op in ops {
            if op.is_direct(direct_min) {
                continue;
            }
            match op {
                Op::Create { slot, content } => {
                    // Whose first files are not there is gone if the end of the log is.
                    let is_first = slot.name == FileName::State(1);
                    if !is_first || self.write_now(&slot, &content).is_err() {
                        self.pending.push(slot, 0, content);
                    }
                }
                Op::Write { slot, at, content } | Op::Rewrite { slot, at, content } => {
                    self.pending.push(slot, at, content);
                }
                Op::Remove { slot } => {
                    slot.remove();
                    self.dirty.note_names(&self.root, &slot);
                    let copy = slot.copy.clone();
                    [Some(slot), copy].into_iter().flatten().for_each(|slot| {
                        self.keeper.push(Chore::DeleteFile(slot));
                    });
                }
            }
        }
        if gone {
            home.gone.store(true, Release);
            self.remove_folder(&home.path);
        }
        match self.pending.marks.last_mut() {
            Some((last, to)) if Arc::ptr_eq(last, &written) => *to = number,
            _ if self.pending.writes.is_empty() => written.store(number, Release),
            _ => self.pending.marks.push((written, number)),
        }
    }

    fn write_now(&mut self, slot: &Arc<Slot>, content: &[u8]) -> Result<(), StoreError> {
        write(&self.disk, &self.root, slot, 0, content, &mut self.dirty)?;
        self.mark_dirty(slot);
        Ok(())
    }

    /// The segment of the log waits for a sync of it.
    fn mark_dirty(&mut self, slot: &Arc<Slot>) {
        let generation = self.log.as_ref().map_or(self.turn, Log::generation);
        if mark_dirty(slot, generation) {
            self.dirty.files.push(slot.clone());
            self.dirty.files.extend(slot.copy.clone());
        }
    }

    fn remove_folder(&mut self, path: &str) {
        self.dirty.dirs.remove(path);
        self.dirty.dirs.extend(ancestors(&self.root, path));
        let mut path = path.to_owned();
        if self.log.is_none()
            && let Some((parent, name)) = path.rsplit_once('/')
        {
            // Half a folder would be half a stream, and no log says that it is to go.
            let hidden = format!("{parent}/.{name}");
            if self.disk.vfs.rename(&path, &hidden).is_ok() {
                path = hidden;
            }
        }
        self.keeper.push(Chore::DeleteFolder(path));
    }

    /// Large contents go to their files, and the log says no more than that once they were synced there.
    fn write_directly(&mut self, job: &Job, direct_min: usize, ready: &mut Ready) -> Result<(), StoreError> {
        let large = || job.ops.iter().filter(|op| op.is_direct(direct_min));
        if let Some(log) = &mut self.log {
            let generation = log.generation();
            let unknown = large().filter(|op| op.slot().logged.load(Relaxed) != generation);
            let (records, place) = log.records();
            let before = records.len();
            unknown.for_each(|op| push_known(records, &place, op));
            if records.len() > before {
                // What is behind that in the files does not count until the log says so.
                self.flush(ready)?;
                large().for_each(|op| op.slot().logged.store(generation, Relaxed));
            }
        }
        for op in large() {
            let at = if let Op::Write { at, .. } = op { *at } else { 0 };
            let slot = op.slot();
            write(&self.disk, &self.root, slot, at, op.content(), &mut self.direct)?;
            if !slot.is_lasting() {
                self.direct.note_names(&self.root, slot);
            }
            if !self.direct.files.iter().any(|other| Arc::ptr_eq(other, slot)) {
                self.direct.files.push(slot.clone());
                self.direct.files.extend(slot.copy.clone());
            }
        }
        self.applies = true;
        Ok(())
    }

    /// What went to its files at once is durable there, before the log says so.
    fn sync_direct(&mut self) -> Result<(), StoreError> {
        let lasting = self.direct.files.clone();
        std::mem::take(&mut self.direct).sync(&self.disk)?;
        lasting.iter().for_each(|slot| slot.mark_lasting());
        Ok(())
    }

    /// Without a log: everything goes to its files at once, and is answered then.
    fn unlogged(&mut self, waiting: Vec<Job>) -> Result<(), StoreError> {
        let mut answers = Vec::with_capacity(waiting.len());
        for mut job in waiting {
            answers.push(job.without_ops());
            self.note(job, usize::MAX);
        }
        match self.apply() {
            Ok(()) => answers.iter_mut().for_each(|job| job.answer(&Ok(()))),
            Err(error @ StoreError::Full { .. }) => {
                self.full = Some(error);
                self.held = answers.into_iter().map(|job| Job { gone: false, ..job }).collect();
            }
            Err(error) => {
                self.held = answers;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Brings what is only in the log to its files, not durably.
    pub fn apply(&mut self) -> Result<(), StoreError> {
        let mut writes = std::mem::take(&mut self.pending.writes);
        // Those of a file together, in their order.
        writes.sort_by_key(|write| (write.slot.home.id, write.slot.name));
        let mut done = 0;
        let mut failed = Ok(());
        for run in writes.chunk_by(|a, b| Arc::ptr_eq(&a.slot, &b.slot)) {
            let slot = &run[0].slot;
            slot.pending.store(false, Relaxed);
            if !slot.is_gone() {
                failed = self.apply_run(run);
                if failed.is_err() {
                    break;
                }
                self.mark_dirty(slot);
            }
            done += run.len();
        }
        if failed.is_err() {
            writes.drain(..done);
            self.pending.writes = writes;
            return failed;
        }
        (self.pending.bytes, self.pending.files) = (0, 0);
        self.applies = false;
        // Before anyone is told: a stream uses the buffers of its contents again when nobody else holds them.
        writes.clear();
        writes.shrink_to(1024);
        self.pending.writes = writes;
        for (written, number) in self.pending.marks.drain(..) {
            written.store(number, Release);
        }
        Ok(())
    }

    fn apply_run(&mut self, run: &[PendingWrite]) -> Result<(), StoreError> {
        let mut rest = run;
        while let Some((first, mut behind)) = rest.split_first() {
            let mut end = first.at + first.content.len() as u64;
            while let Some((next, others)) = behind.split_first()
                && next.at == end
                && first.content.len() < JOINED_MIN
                && next.content.len() < JOINED_MIN
                && (end - first.at) as usize + next.content.len() <= BUFFER_MAX
            {
                end += next.content.len() as u64;
                behind = others;
            }
            let together = &rest[..rest.len() - behind.len()];
            rest = behind;
            let (slot, at) = (&first.slot, first.at);
            if let [one] = together {
                write(&self.disk, &self.root, slot, at, &one.content, &mut self.dirty)?;
                continue;
            }
            together.iter().for_each(|write| self.joined.extend_from_slice(&write.content));
            let written = write(&self.disk, &self.root, slot, at, &self.joined, &mut self.dirty);
            self.joined.clear();
            written?;
        }
        Ok(())
    }
}

impl Pending {
    fn push(&mut self, slot: Arc<Slot>, at: u64, content: Bytes) {
        self.bytes += content.len();
        self.files += usize::from(!slot.pending.swap(true, Relaxed));
        self.writes.push(PendingWrite { slot, at, content });
    }
}

/// Streams with so much in a round that their files should be synced.
fn heavy(jobs: &[Job]) -> Vec<u64> {
    if jobs.iter().map(Job::content_bytes).sum::<usize>() < DIRECT_MIN {
        return Vec::new();
    }
    let mut of_streams = HashMap::new();
    jobs.iter().for_each(|job| *of_streams.entry(job.home.id).or_insert(0) += job.content_bytes());
    of_streams.into_iter().filter(|(_, bytes)| *bytes >= DIRECT_MIN).map(|(id, _)| id).collect()
}
