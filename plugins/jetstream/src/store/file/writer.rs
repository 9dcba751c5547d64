//! The one way to the disk for all streams: jobs queue here, and whoever writes takes all that wait, so that what
//! came while a sync was under way goes together into the next one.
//!
//! Usually a thread of its own writes. When nobody does, little is to be written and syncs are short, the task that
//! commits writes itself: being woken twice would take longer than the sync. Where several streams are about to commit,
//! the last of them writes for all.

use super::buffers::{Buffers, UNWANTED_NS};
use super::entry::{Done, Job};
use super::io::{Clock, Io, Settled};
use super::keeper::Keeper;
use super::log::Log;
use crate::config::Sync;
use crate::store::{Commit, StoreError};
use natsd_plugin_api::tracing;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{AcqRel, Acquire, Release},
};
use std::time::Duration;
use tokio::sync::oneshot;

/// A task writes itself while syncs take less than that.
const SHORT_SYNC_NS: u64 = 300_000;
/// What a task writes itself, at most: with a log, which is synced, and without one.
const LEAD_BYTES: usize = 64 * 1024;
const LEAD_BYTES_UNSYNCED: usize = 256 * 1024;
/// What is only in the log comes to its files when it is so much or so old.
const PENDING_BYTES: usize = 512 * 1024;
/// And so much more for each file: making or opening it for a message or two costs more than they do.
const PENDING_BYTES_FILE: usize = 4 * 1024;
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
const PENDING_BYTES_INLINE: usize = 4 * 1024;
const PENDING_NS: u64 = 500_000_000;
/// What nobody waits for is written after that (SD-033).
const UNWAITED_NS: u64 = 8_000_000;
/// How long jobs wait for those of others at most: somebody may be busy with something else.
const GATHER_NS: u64 = 1_000_000;
const GATHER_MAX: usize = 256;
/// How often a full disk is tried again.
const FULL_NS: u64 = 250_000_000;

/// Whether it takes writes.
const WELL: u8 = 0;
const FULL: u8 = 1;
const FAILED: u8 = 2;

pub struct Writer {
    io: Mutex<Io>,
    pub keeper: Arc<Keeper>,
    pub buffers: Buffers,
    sync: Sync,
    /// None: there is no thread, and each commit writes.
    clock: Option<Clock>,
    queue: Mutex<Queue>,
    wake: Condvar,
    health: AtomicU8,
    /// Jobs in the queue wait for others.
    gathers: AtomicBool,
    /// Called after sequels were told, with nothing held.
    settled: Option<Settled>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    bytes: usize,
    /// Somebody waits for a job in it.
    waited_for: bool,
    /// Until when those who do have time for others to come; 0: none.
    gathers_until_ns: u64,
    /// Somebody writes.
    busy: bool,
    /// When the thread has something to do, even if nothing comes.
    due_ns: u64,
    /// Until when the thread sleeps.
    sleeps_until_ns: u64,
    /// As of the last round.
    sync_ns: u64,
    room: usize,
    closed: bool,
    ended: bool,
    trouble: Option<StoreError>,
}

impl Writer {
    pub fn new(io: Io, sync: Sync, settled: Option<Settled>) -> Arc<Self> {
        let queue = Queue { due_ns: u64::MAX, sync_ns: u64::MAX, ..Queue::default() };
        Arc::new(Self {
            keeper: io.keeper.clone(),
            buffers: Buffers::default(),
            sync,
            clock: io.clock.clone(),
            io: Mutex::new(io),
            gathers: AtomicBool::new(false),
            settled,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            health: AtomicU8::new(WELL),
        })
    }

    fn now_ns(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock())
    }

    /// Why nothing can be committed any more.
    fn end(&self, queue: &Queue) -> Option<StoreError> {
        if queue.closed {
            return Some(StoreError::Closed);
        }
        let is_failed = self.health.load(Acquire) == FAILED;
        if is_failed { queue.trouble.clone() } else { None }
    }

    /// Queues a job, or does it at once. The answer says when it is durable.
    pub fn commit(&self, mut job: Job) -> Commit {
        let bytes = job.content_bytes();
        let mut queue = self.queue.lock();
        if let Some(error) = self.end(&queue) {
            return failed(error);
        }
        if self.may_lead(&queue, &job, bytes) {
            return self.lead(queue, Some(job));
        }
        let commit = if job.waits {
            let (sender, receiver) = oneshot::channel();
            job.done = Some(Done::Task(sender));
            queue.is_waited_for(0);
            Commit::Waiting(receiver)
        } else {
            queue.due_ns = queue.due_ns.min(self.now_ns() + UNWAITED_NS);
            Commit::Done
        };
        queue.jobs.push(job);
        queue.bytes += bytes;
        self.wake_thread(&queue);
        commit
    }

    /// Queues a job with a sequel, which waits for others unless there is much already.
    pub fn commit_with_others(&self, mut job: Job) {
        let bytes = job.content_bytes();
        let mut queue = self.queue.lock();
        if let Some(error) = self.end(&queue) {
            drop(queue);
            return job.answer(&Err(error));
        }
        let is_little = queue.jobs.len() < GATHER_MAX && self.is_little(&queue, bytes);
        if self.clock.is_none() || !is_little && self.may_lead(&queue, &job, bytes) {
            drop(self.lead(queue, Some(job)));
            return;
        }
        let until_ns = if is_little && !job.erases { self.now_ns() + GATHER_NS } else { 0 };
        queue.is_waited_for(until_ns);
        self.gathers.store(queue.gathers_until_ns > 0, Release);
        queue.jobs.push(job);
        queue.bytes += bytes;
        self.wake_thread(&queue);
    }

    /// Nobody else comes.
    pub fn gathered(&self) {
        if !self.gathers.swap(false, AcqRel) {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.gathers_until_ns == 0 {
            return;
        }
        queue.gathers_until_ns = 0;
        if !queue.busy && self.is_little(&queue, 0) && self.is_quick(&queue) {
            drop(self.lead(queue, None));
        } else {
            self.wake_thread(&queue);
        }
    }

    /// Whether so much more is little.
    fn is_little(&self, queue: &Queue, bytes: usize) -> bool {
        let max = if let Sync::Always = self.sync { LEAD_BYTES } else { LEAD_BYTES_UNSYNCED };
        queue.bytes + bytes <= max
    }

    /// Nothing is under way, and a task may wait for the disk.
    pub fn is_idle_and_quick(&self) -> bool {
        let queue = self.queue.lock();
        !queue.busy && queue.jobs.is_empty() && self.is_quick(&queue)
    }

    /// Whether a task may wait for the disk.
    fn is_quick(&self, queue: &Queue) -> bool {
        // The overhead of records is not counted: it is small beside the room that must be there.
        let is_short = queue.sync_ns < SHORT_SYNC_NS && 4 * LEAD_BYTES < queue.room;
        (is_short || self.sync != Sync::Always) && self.health.load(Acquire) == WELL
    }

    fn may_lead(&self, queue: &Queue, job: &Job, bytes: usize) -> bool {
        if self.clock.is_none() {
            return true;
        }
        let may = !queue.busy && job.waits && !job.erases;
        may && self.is_little(queue, bytes) && self.is_quick(queue)
    }

    /// Writes on the caller's thread.
    fn lead(&self, mut queue: MutexGuard<'_, Queue>, job: Option<Job>) -> Commit {
        let mut jobs = queue.take();
        let own = job.as_ref().map(|job| (job.home.clone(), job.number));
        jobs.extend(job);
        queue.busy = true;
        drop(queue);
        let mut io = self.io.lock();
        let result = io.round(jobs);
        if self.clock.is_none() {
            let _ = self.tend(&mut io, true);
        }
        let is_own = |job: &&mut Job| {
            own.as_ref().is_some_and(|(home, number)| Arc::ptr_eq(&job.home, home) && job.number == *number)
        };
        let commit = match (&result, io.held.iter_mut().find(is_own)) {
            (Err(error), _) => failed(error.clone()),
            (Ok(()), Some(job)) if job.done.is_none() => {
                let (sender, receiver) = oneshot::channel();
                job.done = Some(Done::Task(sender));
                Commit::Waiting(receiver)
            }
            (Ok(()), _) => Commit::Done,
        };
        let queue = self.leave(io, result);
        self.wake_thread(&queue);
        drop(queue);
        self.settle();
        commit
    }

    fn settle(&self) {
        if let Some(settled) = &self.settled {
            settled();
        }
    }

    /// After a round: says how things are, and lets others write.
    fn leave(&self, io: MutexGuard<'_, Io>, result: Result<(), StoreError>) -> MutexGuard<'_, Queue> {
        let due_ns = self.due_ns(&io);
        let trouble = result.err().or_else(|| self.keeper.failure());
        let health = match (&trouble, &io.full) {
            (Some(_), _) => FAILED,
            (None, Some(_)) => FULL,
            (None, None) => WELL,
        };
        let mut queue = self.queue.lock();
        queue.sync_ns = io.sync_ns;
        queue.room = io.log.as_ref().map_or(usize::MAX, Log::room);
        queue.due_ns = due_ns;
        queue.busy = false;
        if self.health.load(Acquire) != FAILED {
            self.tell(health, trouble.as_ref().or(io.full.as_ref()));
            queue.trouble = trouble.or_else(|| io.full.clone());
            self.health.store(health, Release);
        }
        queue
    }

    fn tell(&self, health: u8, why: Option<&StoreError>) {
        match (self.health.load(Acquire), health, why) {
            (before, after, _) if before == after => {}
            (_, FULL, Some(why)) => tracing::error!("JetStream stores nothing until there is space: {why}"),
            (_, FAILED, Some(why)) => tracing::error!("JetStream's store stopped writing: {why}"),
            _ => tracing::info!("JetStream stores again"),
        }
    }

    fn wake_thread(&self, queue: &Queue) {
        let is_wanted = queue.closed || queue.wanted_ns() < queue.sleeps_until_ns;
        if !queue.busy && is_wanted && self.clock.is_some() {
            self.wake.notify_all();
        }
    }

    /// When there is something to do without anything new.
    fn due_ns(&self, io: &Io) -> u64 {
        if self.clock.is_none() {
            return u64::MAX;
        }
        let after = if io.full.is_some() {
            FULL_NS
        } else if is_much(io) {
            0
        } else if io.has_pending() {
            PENDING_NS
        } else if let (Sync::Interval(interval), true) = (self.sync, io.is_dirty()) {
            u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        };
        let after = if self.buffers.is_empty() { after } else { after.min(UNWANTED_NS) };
        let due_ns = self.now_ns().saturating_add(after);
        // What is due already does not become later by new work, but for a full disk.
        if io.full.is_some() { due_ns } else { due_ns.min(self.queue.lock().due_ns) }
    }

    /// Why nothing is stored, if nothing is.
    pub fn refusal(&self) -> Option<StoreError> {
        if self.health.load(Acquire) == WELL {
            return None;
        }
        if self.clock.is_none() && self.health.load(Acquire) == FULL {
            // There is no thread that would try again.
            self.try_again();
        }
        if self.health.load(Acquire) == WELL { None } else { self.queue.lock().trouble.clone() }
    }

    fn try_again(&self) {
        let mut io = self.io.lock();
        let mut result = io.round(Vec::new());
        if result.is_ok() {
            result = self.tend(&mut io, true);
        }
        drop(self.leave(io, result));
    }

    /// Brings pending content to its files if it is time.
    fn tend(&self, io: &mut Io, due: bool) -> Result<(), StoreError> {
        let limit = if self.clock.is_none() { PENDING_BYTES_INLINE } else { 0 };
        if due && io.pending_bytes() > limit || is_much(io) || io.applies {
            match io.apply() {
                Err(error @ StoreError::Full { .. }) => io.full = Some(error),
                applied => applied?,
            }
        }
        if due {
            self.buffers.look(self.now_ns());
        }
        if due && io.log.is_none() && io.is_dirty() && self.clock.is_some() {
            io.sync_later();
        }
        Ok(())
    }

    /// The thread.
    pub fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            let now_ns = self.now_ns();
            let due = now_ns >= queue.due_ns;
            if queue.busy || !(now_ns >= queue.wanted_ns() || queue.closed) {
                // Whoever writes wakes it.
                let until_ns = if queue.busy { u64::MAX } else { queue.wanted_ns() };
                queue.sleeps_until_ns = until_ns;
                match until_ns {
                    u64::MAX => self.wake.wait(&mut queue),
                    _ => drop(self.wake.wait_for(&mut queue, Duration::from_nanos(until_ns - now_ns))),
                }
                continue;
            }
            queue.sleeps_until_ns = u64::MAX;
            if due {
                queue.due_ns = u64::MAX;
            }
            let (jobs, closing) = (queue.take(), queue.closed);
            queue.busy = true;
            drop(queue);
            let mut io = self.io.lock();
            let mut result = io.round(jobs);
            if result.is_ok() {
                result = self.tend(&mut io, due);
            }
            if closing {
                result = self.last(&mut io, result);
            }
            drop(self.leave(io, result));
            self.settle();
            queue = self.queue.lock();
            if closing {
                queue.ended = true;
                self.wake.notify_all();
                return;
            }
        }
    }

    fn last(&self, io: &mut Io, result: Result<(), StoreError>) -> Result<(), StoreError> {
        let why = result.clone().err().or_else(|| io.full.clone()).unwrap_or(StoreError::Closed);
        io.held.drain(..).for_each(|mut job| job.answer(&Err(why.clone())));
        result.and_then(|()| io.finish())
    }

    /// Everything is written and synced, and the threads end. Waits for that.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut queue = self.queue.lock();
        queue.closed = true;
        if self.clock.is_none() {
            drop(queue);
            let mut io = self.io.lock();
            let result = io.round(Vec::new());
            let result = self.last(&mut io, result);
            drop(self.leave(io, result.clone()));
            return result;
        }
        self.wake.notify_all();
        while !queue.ended {
            self.wake.wait(&mut queue);
        }
        let trouble = queue.trouble.clone();
        drop(queue);
        self.keeper.close();
        trouble.map_or(Ok(()), Err)
    }
}

/// Whether so much is only in the log that it is to come to its files.
fn is_much(io: &Io) -> bool {
    let max = PENDING_BYTES + io.pending_files() * PENDING_BYTES_FILE;
    io.pending_bytes() > max.min(PENDING_BYTES_MAX)
}

impl Queue {
    /// Somebody waits for a job in it, who has until then.
    fn is_waited_for(&mut self, until_ns: u64) {
        self.gathers_until_ns = match self.gathers_until_ns {
            _ if until_ns == 0 => 0,
            0 if !self.waited_for => until_ns,
            before => before,
        };
        self.waited_for = true;
    }

    /// When the thread has something to do.
    fn wanted_ns(&self) -> u64 {
        let jobs_ns = if self.waited_for { self.gathers_until_ns } else { u64::MAX };
        self.due_ns.min(jobs_ns)
    }

    fn take(&mut self) -> Vec<Job> {
        (self.bytes, self.waited_for, self.gathers_until_ns) = (0, false, 0);
        std::mem::take(&mut self.jobs)
    }
}

fn failed(error: StoreError) -> Commit {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(Err(error));
    Commit::Waiting(receiver)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Job;
    use super::super::files::Disk;
    use super::super::floors::Floor;
    use super::super::io::Io;
    use super::super::place::Home;
    use super::{UNWAITED_NS, Writer};
    use crate::config::Sync;
    use crate::store::file::tests::disk;
    use std::sync::Arc;

    #[test]
    fn what_nobody_waits_for_and_came_during_a_round_has_its_time() {
        let disk = Arc::new(Disk::new(Arc::new(disk::Disk::default())));
        let clock: super::Clock = Arc::new(|| 0);
        let io = Io::new(disk, "js", None, Arc::new(|| 1), Arc::default(), Some(clock));
        let writer = Writer::new(io, Sync::Always, None);
        writer.queue.lock().busy = true;
        let io = writer.io.lock();
        let job = Job {
            home: Arc::new(Home::new("js", "A/streams/S.1", 1)),
            ops: Vec::new(),
            written: Arc::default(),
            number: 1,
            floor: Floor::default(),
            waits: false,
            gone: false,
            erases: false,
            done: None,
        };
        drop(writer.commit(job));
        let queue = writer.leave(io, Ok(()));
        assert_eq!((queue.jobs.len(), queue.due_ns), (1, UNWAITED_NS));
    }
}
