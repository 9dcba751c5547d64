//! The one way to the disk for all streams: jobs queue here, and whoever writes takes all that wait, so that what
//! came while a sync was under way goes together into the next one.
//!
//! Usually a thread of its own writes. When nobody does, little is to be written and syncs are short, the task that
//! commits writes itself: being woken twice would take longer than the sync.

use super::entry::Job;
use super::files::Disk;
use super::io::{Clock, Io, Salts};
use super::keeper::Keeper;
use super::log::Log;
use crate::config::Sync;
use crate::store::{Commit, StoreError};
use natsd_plugin_api::tracing;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Release},
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
/// How often a full disk is tried again.
const FULL_NS: u64 = 250_000_000;

/// Whether it takes writes.
const WELL: u8 = 0;
const FULL: u8 = 1;
const FAILED: u8 = 2;

pub struct Writer {
    io: Mutex<Io>,
    pub keeper: Arc<Keeper>,
    sync: Sync,
    /// None: there is no thread, and each commit writes.
    clock: Option<Clock>,
    queue: Mutex<Queue>,
    wake: Condvar,
    health: AtomicU8,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    bytes: usize,
    /// Somebody waits for a job in it.
    waited_for: bool,
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
    pub fn new(
        disk: Arc<Disk>,
        root: &str,
        sync: Sync,
        log: Option<Log>,
        salts: Salts,
        next_id: Arc<AtomicU64>,
        clock: Option<Clock>,
    ) -> Arc<Self> {
        let keeper = Keeper::new(disk.clone());
        // What earlier generations said was done before the log was begun.
        keeper.assume(log.as_ref().map_or(0, |log| log.generation() - 1));
        let io = Io::new(disk, keeper.clone(), root, log, salts, next_id, clock.clone());
        let queue = Queue { due_ns: u64::MAX, sync_ns: u64::MAX, ..Queue::default() };
        Arc::new(Self {
            io: Mutex::new(io),
            keeper,
            sync,
            clock,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            health: AtomicU8::new(WELL),
        })
    }

    fn now_ns(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock())
    }

    /// Queues a job, or does it at once. The answer says when it is durable.
    pub fn commit(&self, mut job: Job) -> Commit {
        let bytes = job.content_bytes();
        let mut queue = self.queue.lock();
        if queue.closed {
            return failed(StoreError::Closed);
        }
        if let (FAILED, Some(error)) = (self.health.load(Acquire), &queue.trouble) {
            return failed(error.clone());
        }
        if self.may_lead(&queue, &job, bytes) {
            return self.lead(queue, job);
        }
        let commit = if job.waits {
            let (sender, receiver) = oneshot::channel();
            job.done = Some(sender);
            queue.waited_for = true;
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

    fn may_lead(&self, queue: &Queue, job: &Job, bytes: usize) -> bool {
        if self.clock.is_none() {
            return true;
        }
        let all = queue.bytes + bytes;
        let is_little = match self.sync {
            // The overhead of records is not counted: it is small beside the room that must be there.
            Sync::Always => all <= LEAD_BYTES && queue.sync_ns < SHORT_SYNC_NS && 4 * LEAD_BYTES < queue.room,
            Sync::Interval(_) => all <= LEAD_BYTES_UNSYNCED,
        };
        !queue.busy && job.waits && !job.erases && is_little && self.health.load(Acquire) == WELL
    }

    /// Writes on the caller's thread.
    fn lead(&self, mut queue: MutexGuard<'_, Queue>, job: Job) -> Commit {
        let mut jobs = queue.take();
        let (home, number) = (job.home.clone(), job.number);
        jobs.push(job);
        queue.busy = true;
        drop(queue);
        let mut io = self.io.lock();
        let result = io.round(jobs);
        if self.clock.is_none() {
            let _ = self.tend(&mut io, true);
        }
        let own = io.held.iter_mut().find(|job| Arc::ptr_eq(&job.home, &home) && job.number == number);
        let commit = match (&result, own) {
            (Err(error), _) => failed(error.clone()),
            (Ok(()), None) => Commit::Done,
            (Ok(()), Some(job)) => {
                let (sender, receiver) = oneshot::channel();
                job.done = Some(sender);
                Commit::Waiting(receiver)
            }
        };
        let queue = self.leave(io, result);
        self.wake_thread(&queue);
        commit
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
        let wanted = queue.waited_for || queue.closed || queue.due_ns < queue.sleeps_until_ns;
        if !queue.busy && wanted && self.clock.is_some() {
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
            return u64::MAX;
        };
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
            if queue.busy || !(due || queue.waited_for || queue.closed) {
                // Whoever writes wakes it.
                let until_ns = if queue.busy { u64::MAX } else { queue.due_ns };
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
            queue = self.leave(io, result);
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
    fn take(&mut self) -> Vec<Job> {
        (self.bytes, self.waited_for) = (0, false);
        std::mem::take(&mut self.jobs)
    }
}

fn failed(error: StoreError) -> Commit {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(Err(error));
    Commit::Waiting(receiver)
}
