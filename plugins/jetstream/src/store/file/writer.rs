//! The one thread that writes: takes what all streams have committed, writes it, syncs each file once, and answers.
//! What came while a sync was under way goes together into the next one.

use crate::config::Sync;
use crate::store::StoreError;
use crate::store::vfs::{Vfs, VfsFile};
use bytes::Bytes;
use natsd_plugin_api::tracing;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub type Done = oneshot::Sender<Result<(), StoreError>>;

/// A file that is opened when it is first written.
pub struct Slot {
    pub path: String,
    pub dir: String,
    file: Mutex<Option<Arc<dyn VfsFile>>>,
    /// Bytes of the file that have been written, if only as zeros.
    prepared: AtomicU64,
}

impl Slot {
    pub fn new(dir: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            path: format!("{dir}/{name}"),
            dir: dir.to_owned(),
            file: Mutex::default(),
            prepared: AtomicU64::new(0),
        })
    }

    /// The open file.
    pub fn open(&self, vfs: &dyn Vfs, create: bool) -> Result<Arc<dyn VfsFile>, StoreError> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let opened = vfs.open(&self.path, create).map_err(|error| failed(&self.path, &error))?;
        // What is in the file already must never be taken for room: zeros go behind its end only.
        let size = opened.size().map_err(|error| failed(&self.path, &error))?;
        self.prepared.fetch_max(size, Relaxed);
        *file = Some(opened.clone());
        Ok(opened)
    }

    /// Writes zeros ahead: a sync of bytes that overwrite others need not touch the file's size, and costs a
    /// fraction. Small files get little, so that many streams do not fill the disk.
    fn prepare(&self, file: &dyn VfsFile, end: u64) -> Result<(), StoreError> {
        if end <= self.prepared.load(Relaxed) {
            return Ok(());
        }
        let ahead = (end.next_power_of_two().clamp(PREPARE_MIN, PREPARE_MAX) / PREPARE_MIN) * PREPARE_MIN;
        let until = (end + ahead) / PREPARE_MIN * PREPARE_MIN;
        let zeros = vec![0; (until - end) as usize];
        file.write_all_at(end, &zeros).map_err(|error| failed(&self.path, &error))?;
        self.prepared.store(until, Relaxed);
        Ok(())
    }

    /// Gives the descriptor back; the next use opens it again.
    pub fn close(&self) {
        *self.file.lock() = None;
    }
}

/// How much is written ahead.
const PREPARE_MIN: u64 = 4 * 1024;
const PREPARE_MAX: u64 = 256 * 1024;

/// What is to be done to the files of a stream, in order.
pub enum Op {
    /// A file that was not there: its directory is synced too.
    Create {
        slot: Arc<Slot>,
        content: Bytes,
    },
    Write {
        slot: Arc<Slot>,
        at: u64,
        content: Bytes,
    },
    /// Gone for good; after everything before is durable.
    Remove {
        slot: Arc<Slot>,
    },
}

/// A stream's changes up to a commit.
pub struct Job {
    pub ops: Vec<Op>,
    /// Told of the number when everything is written, so that the stream can forget its copy.
    pub written: Arc<AtomicU64>,
    pub number: u64,
    /// Not synced before it is answered.
    pub lazy: bool,
    pub done: Option<Done>,
}

/// The queue of the thread.
pub struct Writer {
    vfs: Arc<dyn Vfs>,
    sync: Sync,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    closed: bool,
    ended: bool,
    /// Why nothing is written any more: a failed sync is final.
    failed: Option<StoreError>,
}

impl Writer {
    pub fn new(vfs: Arc<dyn Vfs>, sync: Sync) -> Arc<Self> {
        Arc::new(Self { vfs, sync, queue: Mutex::default(), wake: Condvar::new() })
    }

    pub fn push(&self, job: Job) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            if let Some(done) = job.done {
                let _ = done.send(Err(StoreError::Closed));
            }
            return;
        }
        queue.jobs.push(job);
        drop(queue);
        self.wake.notify_all();
    }

    /// Why it refuses to write, if it does.
    pub fn failure(&self) -> Option<StoreError> {
        self.queue.lock().failed.clone()
    }

    /// Everything is written and synced, and the thread ends. Waits for that.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        self.wake.notify_all();
        while !queue.ended {
            self.wake.wait(&mut queue);
        }
    }

    /// The thread.
    pub fn run(&self) {
        let mut lazy = Lazy::default();
        loop {
            let (jobs, closed) = self.next(&lazy);
            if !jobs.is_empty() {
                self.work(jobs, &mut lazy);
            }
            if (lazy.due(self.interval()) || closed)
                && let Err(error) = lazy.sync(&*self.vfs)
            {
                self.fail(error);
            }
            if closed {
                let mut queue = self.queue.lock();
                queue.ended = true;
                self.wake.notify_all();
                return;
            }
        }
    }

    /// Does what waits, on the caller's thread: for simulations, which have no thread.
    pub fn run_once(&self) {
        let jobs = std::mem::take(&mut self.queue.lock().jobs);
        let mut lazy = Lazy::default();
        self.work(jobs, &mut lazy);
    }

    fn interval(&self) -> Duration {
        match self.sync {
            // What a stream of persist mode `async` left.
            Sync::Always => Duration::from_millis(100),
            Sync::Interval(interval) => interval,
        }
    }

    fn next(&self, lazy: &Lazy) -> (Vec<Job>, bool) {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && !queue.closed {
            match lazy.wait(self.interval()) {
                None => self.wake.wait(&mut queue),
                Some(wait) => {
                    if self.wake.wait_for(&mut queue, wait).timed_out() {
                        break;
                    }
                }
            }
        }
        let closed = queue.closed && queue.jobs.is_empty();
        (std::mem::take(&mut queue.jobs), closed)
    }

    fn work(&self, jobs: Vec<Job>, lazy: &mut Lazy) {
        let mut failed = self.failure();
        let mut synced = Touched::default();
        let mut removals = Vec::new();
        for job in &jobs {
            let eager = !job.lazy && self.sync == Sync::Always;
            let touched = if eager { &mut synced } else { &mut lazy.touched };
            for op in &job.ops {
                if failed.is_some() {
                    break;
                }
                failed = self.apply(op, touched, &mut removals).err();
            }
        }
        if failed.is_none() {
            failed = synced.sync(&*self.vfs).err();
        }
        if !lazy.touched.files.is_empty() && lazy.since.is_none() {
            lazy.since = Some(Instant::now());
        }
        for job in jobs {
            if failed.is_none() {
                job.written.store(job.number, Release);
            }
            if let Some(done) = job.done {
                // The stream may be gone.
                let _ = done.send(failed.clone().map_or(Ok(()), Err));
            }
        }
        match failed {
            Some(error) => self.fail(error),
            None => removals.iter().for_each(|path: &String| {
                if let Err(error) = self.vfs.remove_file(path) {
                    tracing::warn!("{path} could not be removed: {error}");
                }
            }),
        }
    }

    fn apply(&self, op: &Op, touched: &mut Touched, removals: &mut Vec<String>) -> Result<(), StoreError> {
        let (slot, at, content) = match op {
            Op::Create { slot, content } => {
                touched.dirs.insert(slot.dir.clone());
                (slot, 0, content)
            }
            Op::Write { slot, at, content } => (slot, *at, content),
            Op::Remove { slot } => {
                touched.files.retain(|file| !Arc::ptr_eq(file, slot));
                slot.close();
                removals.push(slot.path.clone());
                return Ok(());
            }
        };
        let file = slot.open(&*self.vfs, matches!(op, Op::Create { .. }))?;
        file.write_all_at(at, content).map_err(|error| failed(&slot.path, &error))?;
        slot.prepare(&*file, at + content.len() as u64)?;
        if !touched.files.iter().any(|file| Arc::ptr_eq(file, slot)) {
            touched.files.push(slot.clone());
        }
        Ok(())
    }

    fn fail(&self, error: StoreError) {
        let mut queue = self.queue.lock();
        if queue.failed.is_none() {
            tracing::error!("JetStream's store stopped writing: {error}");
            queue.failed = Some(error);
        }
    }
}

/// Files and directories with content that is not durable.
#[derive(Default)]
struct Touched {
    files: Vec<Arc<Slot>>,
    dirs: BTreeSet<String>,
}

impl Touched {
    fn sync(&mut self, vfs: &dyn Vfs) -> Result<(), StoreError> {
        for slot in self.files.drain(..) {
            slot.open(vfs, false)?.sync().map_err(|error| failed(&slot.path, &error))?;
        }
        for dir in std::mem::take(&mut self.dirs) {
            vfs.sync_dir(&dir).map_err(|error| failed(&dir, &error))?;
        }
        Ok(())
    }
}

/// What is synced later.
#[derive(Default)]
struct Lazy {
    touched: Touched,
    since: Option<Instant>,
}

impl Lazy {
    fn wait(&self, interval: Duration) -> Option<Duration> {
        self.since.map(|since| interval.saturating_sub(since.elapsed()))
    }

    fn due(&self, interval: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= interval)
    }

    fn sync(&mut self, vfs: &dyn Vfs) -> Result<(), StoreError> {
        self.since = None;
        self.touched.sync(vfs)
    }
}

pub fn failed(path: &str, error: &natsd_plugin_api::Error) -> StoreError {
    let (path, why) = (path.to_owned(), error.to_string());
    if why.contains("No space left") || why.contains("os error 28") {
        return StoreError::Full { path };
    }
    StoreError::Io { path, why }
}
