//! The database: its tables, and one transaction at a time with everything that streams have committed meanwhile.

use natsd_plugin_api::bytes::Bytes;
use natsd_plugin_api::{BoxFuture, Error, ErrorKind, Host, Result};
use redb::{ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A stream's id → account and name.
pub const STREAMS: TableDefinition<'_, u64, (&str, &str)> = TableDefinition::new("streams");
pub const METAS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("metas");
/// A stream's id → first sequence, last sequence, last time.
pub const POSITIONS: TableDefinition<'_, u64, (u64, u64, i64)> = TableDefinition::new("positions");
/// A stream's id, a sequence → a record.
pub const MESSAGES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("messages");
/// A stream's id, a consumer's name → metadata.
pub const CONSUMERS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("consumers");
pub const STATES: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("states");
/// A stream's id, a consumer's name, a number → a change after the state.
pub const CHANGES: TableDefinition<'_, (u64, &str, u64), &[u8]> = TableDefinition::new("changes");

/// Where transactions are written: they wait for the disk.
pub enum Run {
    /// On threads of the host, where waiting is allowed.
    OnThreads(Host),
    /// At once, on the caller's thread: for tests without a server.
    AtOnce,
}

/// What a stream has changed, in order.
pub enum Op {
    Stream {
        account: String,
        name: String,
    },
    Meta(Bytes),
    Position {
        first_seq: u64,
        last_seq: u64,
        last_time_ns: i64,
    },
    Message {
        seq: u64,
        record: Bytes,
    },
    /// From the first to the last.
    Remove(u64, u64),
    Consumer {
        name: String,
        meta: Bytes,
    },
    State {
        name: String,
        state: Bytes,
    },
    Change {
        name: String,
        number: u64,
        change: Bytes,
    },
    ConsumerGone(String),
    /// Everything of the stream.
    Destroy,
}

pub struct Database {
    pub redb: redb::Database,
    run: Run,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    running: bool,
    /// Why nothing is written any more.
    failed: Option<Error>,
}

struct Job {
    stream: u64,
    ops: Vec<Op>,
    done: oneshot::Sender<Result<()>>,
}

impl Database {
    pub fn open(backend: impl StorageBackend, run: Run) -> Result<Arc<Self>> {
        let redb = redb::Database::builder().create_with_backend(backend).map_err(failed)?;
        let mut making = redb.begin_write().map_err(failed)?;
        making.set_quick_repair(true);
        {
            // Tables are there from the start, so that readers need not ask.
            making.open_table(STREAMS).map_err(failed)?;
            making.open_table(METAS).map_err(failed)?;
            making.open_table(POSITIONS).map_err(failed)?;
            making.open_table(MESSAGES).map_err(failed)?;
            making.open_table(CONSUMERS).map_err(failed)?;
            making.open_table(STATES).map_err(failed)?;
            making.open_table(CHANGES).map_err(failed)?;
        }
        making.commit().map_err(failed)?;
        Ok(Arc::new(Self { redb, run, queue: Mutex::default() }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is written any more, if so.
    pub fn failure(&self) -> Option<Error> {
        self.queue().failed.clone()
    }

    /// The future is ready when the changes are durable. They are written in the order of the calls, together with
    /// what else has come until their turn.
    pub fn submit(self: &Arc<Self>, stream: u64, ops: Vec<Op>) -> BoxFuture<'static, Result<()>> {
        let (done, waiting) = oneshot::channel();
        let mut queue = self.queue();
        queue.jobs.push(Job { stream, ops, done });
        let starts = !std::mem::replace(&mut queue.running, true);
        drop(queue);
        if starts {
            let this = self.clone();
            match &self.run {
                Run::AtOnce => this.work(),
                Run::OnThreads(host) => {
                    let lent = host.clone();
                    host.spawn("redb", async move { lent.blocking(move || this.work()).await });
                }
            }
        }
        Box::pin(async move {
            waiting.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the database is closed")))
        })
    }

    /// As [`Database::submit`], waiting on this thread.
    pub fn write(&self, stream: u64, ops: Vec<Op>) -> Result<()> {
        // What was submitted earlier comes first; the lock of redb's one writer keeps the order.
        let (done, waiting) = oneshot::channel();
        self.queue().jobs.push(Job { stream, ops, done });
        self.work_off();
        waiting
            .blocking_recv()
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the database is closed")))
    }

    /// Until nothing is left.
    fn work(&self) {
        loop {
            self.work_off();
            let mut queue = self.queue();
            if queue.jobs.is_empty() {
                queue.running = false;
                return;
            }
        }
    }

    /// What waits now, in one transaction.
    fn work_off(&self) {
        let (outcome, jobs) = match self.redb.begin_write() {
            Err(error) => (Err(failed(error)), std::mem::take(&mut self.queue().jobs)),
            Ok(mut writing) => {
                // A disk may do the writes of one sync in any order: the new root goes after all that it refers to, and
                // what is free is stored with it.
                writing.set_quick_repair(true);
                // Taken under the writer's lock, so that nobody else writes what came later first.
                let (jobs, before) = {
                    let mut queue = self.queue();
                    (std::mem::take(&mut queue.jobs), queue.failed.clone())
                };
                if jobs.is_empty() {
                    return;
                }
                let applied = match before {
                    Some(error) => Err(error),
                    None => apply_all(&writing, &jobs).map_err(|failure| failure.0),
                };
                let committed = applied.and_then(|()| writing.commit().map_err(failed));
                (committed, jobs)
            }
        };
        if let Err(error) = &outcome {
            self.queue().failed.get_or_insert_with(|| error.clone());
        }
        for job in jobs {
            // The stream may be gone.
            let _ = job.done.send(outcome.clone());
        }
    }
}

fn apply_all(writing: &WriteTransaction, jobs: &[Job]) -> Result<(), Failure> {
    for job in jobs {
        for op in &job.ops {
            apply(writing, job.stream, op)?;
        }
    }
    Ok(())
}

fn apply(writing: &WriteTransaction, stream: u64, op: &Op) -> Result<(), Failure> {
    match op {
        Op::Stream { account, name } => {
            writing.open_table(STREAMS)?.insert(stream, (&**account, &**name))?;
        }
        Op::Meta(meta) => {
            writing.open_table(METAS)?.insert(stream, &**meta)?;
        }
        Op::Position { first_seq, last_seq, last_time_ns } => {
            writing.open_table(POSITIONS)?.insert(stream, (*first_seq, *last_seq, *last_time_ns))?;
        }
        Op::Message { seq, record } => {
            writing.open_table(MESSAGES)?.insert((stream, *seq), &**record)?;
        }
        Op::Remove(first, last) => {
            writing.open_table(MESSAGES)?.retain_in((stream, *first)..=(stream, *last), |_, _| false)?;
        }
        Op::Consumer { name, meta } => {
            writing.open_table(CONSUMERS)?.insert((stream, &**name), &**meta)?;
        }
        Op::State { name, state } => {
            writing.open_table(STATES)?.insert((stream, &**name), &**state)?;
            forget_changes(writing, stream, name)?;
        }
        Op::Change { name, number, change } => {
            writing.open_table(CHANGES)?.insert((stream, &**name, *number), &**change)?;
        }
        Op::ConsumerGone(name) => {
            writing.open_table(CONSUMERS)?.remove((stream, &**name))?;
            writing.open_table(STATES)?.remove((stream, &**name))?;
            forget_changes(writing, stream, name)?;
        }
        Op::Destroy => destroy(writing, stream)?,
    }
    Ok(())
}

fn forget_changes(writing: &WriteTransaction, stream: u64, name: &str) -> Result<(), Failure> {
    writing.open_table(CHANGES)?.retain_in((stream, name, 0)..=(stream, name, u64::MAX), |_, _| false)?;
    Ok(())
}

fn destroy(writing: &WriteTransaction, stream: u64) -> Result<(), Failure> {
    writing.open_table(STREAMS)?.remove(stream)?;
    writing.open_table(METAS)?.remove(stream)?;
    writing.open_table(POSITIONS)?.remove(stream)?;
    writing.open_table(MESSAGES)?.retain_in((stream, 0)..=(stream, u64::MAX), |_, _| false)?;
    let consumers = writing.open_table(CONSUMERS)?;
    let names: Result<Vec<String>, redb::StorageError> = consumers
        .range((stream, "")..(stream + 1, ""))?
        .map(|entry| entry.map(|(key, _)| key.value().1.to_owned()))
        .collect();
    drop(consumers);
    for name in names? {
        apply(writing, stream, &Op::ConsumerGone(name))?;
    }
    Ok(())
}

/// An error of redb on its way out.
pub struct Failure(pub Error);

macro_rules! failures {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self(failed(error))
            }
        }
    )*};
}
failures!(TableError, StorageError);

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

/// redb's errors in the words of the line.
pub fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        redb::Error::Corrupted(why) => Error::new(ErrorKind::Damaged, why),
        other => Error::other(other),
    }
}
