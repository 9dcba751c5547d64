//! Where a stream's messages, its consumers' state and its metadata are kept: the traits that the file store, the
//! memory store and third parties implement.
//!
//! One stream task owns a store; nothing here is shared between tasks. Changes take effect in memory at once, in
//! order, and are durable when the [`Commit`] taken after them is done. Calls may read a file for a short time; a
//! commit may wait for a sync that is known to be short. Time is an argument: a store has no clock.

use crate::filter::Filter;
pub mod file;
pub mod foreign;
mod loaded;
pub mod memory;
pub mod subjects;
pub mod vfs;

pub use loaded::Loaded;

use bytes::Bytes;
use natsd_plugin_api::BoxFuture;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A message to store.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewMessage<'a> {
    pub subject: &'a [u8],
    /// The whole block from `NATS/1.0` to the empty line; empty when there is none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// Nanoseconds since 1970, not below that of the message before (SD-020).
    pub time_ns: i64,
    pub flags: Flags,
}

/// What a stored message is beyond its content, so that a restart finds those without reading the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// It has a time to live of its own.
    pub const TTL: Self = Self(1);
    /// It is a schedule.
    pub const SCHEDULE: Self = Self(2);
    /// It came from a source, which its headers name.
    pub const SOURCED: Self = Self(4);
    /// It belongs to an atomic batch, of which more follows.
    pub const UNFINISHED: Self = Self(8);

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A stored message. The parts are views of a block's buffer: keep them shortly, copy what must stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub seq: u64,
    pub time_ns: i64,
    pub flags: Flags,
    pub subject: Bytes,
    pub headers: Bytes,
    pub payload: Bytes,
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    /// Bytes that the message counts for in the stream's size (JS-132).
    pub size_bytes: u64,
    /// Messages of its subject, itself included.
    pub subject_messages: u64,
}

/// What was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub seq: u64,
    pub subject: Bytes,
    pub size_bytes: u64,
}

/// Counters of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    pub messages: u64,
    /// As clients see it (JS-132), not what is on the disk.
    pub bytes: u64,
    /// The oldest message; `last_seq + 1` when there is none (SD-024), 0 when there never was one.
    pub first_seq: u64,
    /// 0 when there is no message.
    pub first_time_ns: i64,
    pub last_seq: u64,
    pub last_time_ns: i64,
    pub subjects: u64,
    /// Bytes that could not be read; [`StreamStore::lost_seqs`] says which messages damage took.
    pub lost_bytes: u64,
}

/// What a store is told about its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// Sequence of the first message; 0 reads as 1.
    pub first_seq: u64,
    pub compress: bool,
    /// Persist mode `async`: a commit is done before it is durable (SD-142).
    pub lazy: bool,
    /// An upper estimate of what will be stored, for the size of blocks; 0: unknown.
    pub size_bytes_max: u64,
    /// So many messages of a subject are kept; 0: all. Which one is the oldest has to be known at once.
    pub subject_messages_max: u64,
}

/// Messages and counts of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectFacts {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// What a purge takes (JS-220, JS-221).
#[derive(Clone, Debug, Default)]
pub struct Purge {
    pub filter: Filter,
    /// Only below this sequence; 0: all.
    pub before_seq: u64,
    /// The newest so many matches stay.
    pub keep: u64,
}

/// The messages of a stream, its metadata, and the state of its consumers.
pub trait StreamStore: Send {
    fn state(&self) -> StoreState;

    /// Sequences that damage took, in order.
    fn lost_seqs(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Adds at `last_seq + 1`.
    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError>;

    /// Leaves out `count` sequences after the last: they exist, without messages (SD-021).
    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError>;

    /// `None` when it is not there. Damage is [`StoreError::Damaged`], and the message then counts as lost.
    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError>;

    /// The first match at `from` or after it.
    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError>;

    /// [`StreamStore::load`] into what is used again; `false` when it is not there.
    fn load_into(&mut self, seq: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        Ok(self.load(seq)?.map(|message| into.take(message)).is_some())
    }

    /// [`StreamStore::next`] into what is used again; `false` when there is none.
    fn next_into(&mut self, filter: &Filter, from: u64, into: &mut Loaded) -> Result<bool, StoreError> {
        Ok(self.next(filter, from)?.map(|message| into.take(message)).is_some())
    }

    /// The first message at `from` or after it that has one of the flags.
    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError>;

    /// The first message at `from` or after it that has headers; any others may come as well, in their order.
    fn next_with_headers(&mut self, from: u64) -> Result<Option<Message>, StoreError> {
        self.next(&Filter::all(), from)
    }

    /// The newest match at `up_to` or before it.
    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError>;

    /// The sequences of the newest message of each matching subject, at `up_to` or before it, in ascending order.
    /// [`StoreError::TooMany`] when more than `max` subjects match.
    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError>;

    /// How many matches there are at `from` or after it; with `last_per_subject` only the newest of each subject.
    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError>;

    /// These subjects are about to be asked for or added to, one after the other: what takes time to find may be
    /// looked for at once. Nothing depends on it.
    fn expect(&mut self, _subjects: &mut dyn Iterator<Item = &[u8]>) {}

    /// One subject without wildcards; zeros when there is no message.
    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError>;

    /// All matching subjects, without an order.
    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError>;

    /// The first message with `time_ns` or later; `last_seq + 1` when there is none (SD-028).
    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError>;

    /// Sequences between first and last without a message, ascending.
    fn deleted(&mut self) -> Vec<u64>;

    /// `None` when it is not there. With `erase` the content cannot be read from the files when the commit after it
    /// is done (SD-023).
    fn remove(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError>;

    /// How many went, and how many bytes. A purge of everything leaves `first_seq = last_seq + 1`.
    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError>;

    /// Drops everything below `seq`, which becomes the first; beyond the last the stream is empty and goes on
    /// there (SD-025).
    fn compact(&mut self, seq: u64) -> Result<(), StoreError>;

    /// Drops everything above `seq`.
    fn truncate(&mut self, seq: u64) -> Result<(), StoreError>;

    /// Replaces the stream's metadata (JSON of the stream layer).
    fn put_meta(&mut self, meta: &[u8]) -> Result<(), StoreError>;

    /// Makes a consumer, or replaces its metadata.
    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<(), StoreError>;

    /// Replaces what was recorded for a consumer by a whole state.
    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<(), StoreError>;

    /// Adds a change to a consumer's state; a restart gives the state and the changes after it, in order. Nothing
    /// of it is understood here.
    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<(), StoreError>;

    /// Nothing happens if there is none of the name.
    fn remove_consumer(&mut self, name: &str) -> Result<(), StoreError>;

    /// The consumers as they were found; at most once after a restart.
    fn take_consumers(&mut self) -> Vec<StoredConsumer>;

    fn configure(&mut self, settings: &StoreSettings) -> Result<(), StoreError>;

    /// Everything changed until now becomes durable; the answer says when.
    fn commit(&mut self) -> Commit;

    /// If commits of several streams can be made durable together.
    fn shared_commits(&mut self) -> Option<&mut dyn SharedCommits> {
        None
    }

    /// Writes what helps a fast start and closes the files. Waits for the disk: not on a shared thread.
    fn close(&mut self) -> Result<(), StoreError>;

    /// Removes everything of the stream, for ever. Waits for the disk.
    fn destroy(&mut self) -> Result<(), StoreError>;
}

/// Commits that wait a short time for those of other streams.
pub trait SharedCommits {
    /// [`StreamStore::commit`], which `sequel` is told of. Whether it was at once, as nothing had changed.
    fn commit_with(&mut self, sequel: Box<dyn Sequel>) -> bool;
}

/// What follows a commit. Called on whichever thread wrote, which it must not hold up.
pub trait Sequel: Send {
    fn settle(self: Box<Self>, done: &Result<(), StoreError>);
}

/// A consumer found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredConsumer {
    pub name: String,
    pub meta: Bytes,
    /// Empty when none was put.
    pub state: Bytes,
    pub changes: Vec<Bytes>,
}

/// When changes are durable.
pub enum Commit {
    /// At once, or as far as this store promises.
    Done,
    /// When the receiver answers; an error is final, as is a sender that went away.
    Waiting(tokio::sync::oneshot::Receiver<Result<(), StoreError>>),
    /// When another plugin says so.
    Foreign(BoxFuture<'static, Result<(), StoreError>>),
}

impl Commit {
    pub async fn wait(self) -> Result<(), StoreError> {
        match self {
            Self::Done => Ok(()),
            Self::Waiting(done) => done.await.unwrap_or(Err(StoreError::Closed)),
            Self::Foreign(done) => done.await,
        }
    }

    /// Not on a thread that tasks run on.
    pub fn wait_blocking(self) -> Result<(), StoreError> {
        match self {
            Self::Done => Ok(()),
            // Not its own way of blocking, which a thread that runs tasks may not use.
            Self::Waiting(done) => block_on(done).unwrap_or(Err(StoreError::Closed)),
            Self::Foreign(done) => block_on(done),
        }
    }
}

/// Makes and finds stores. May be used from any thread; all calls wait for the disk.
pub trait StoreEngine: Send + Sync {
    /// [`StoreError::Exists`] when there is one of that name.
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StoreSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>, StoreError>;

    /// Whether making a stream takes less time just now than giving that to another thread.
    fn is_quick(&self) -> bool {
        false
    }

    /// All streams there are. One that cannot be read is reported and left alone (SD-126).
    fn recover(&self) -> Result<Vec<StoredStream>, StoreError>;

    /// What is wrong with the store as a whole; empty when nothing is.
    fn trouble(&self) -> String {
        String::new()
    }

    /// What damage cost since the start, for whoever looks at the health; empty when there was none.
    fn damage(&self) -> String {
        String::new()
    }

    /// No stream is about to commit: those that waited for it need not wait any longer. May wait for a short sync.
    fn gathered(&self) {}

    /// Nothing more comes: every store of it has been closed.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A stream found by an engine.
pub struct StoredStream {
    pub account: String,
    pub name: String,
    /// Empty when it could not be read.
    pub meta: Bytes,
    pub store: Result<Box<dyn StreamStore>, StoreError>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A failed read or write of the stream's files. A failed write is final for the store (SD-035).
    #[error("{path}: {why}")]
    Io { path: String, why: String },
    #[error("{path}: no space left on device")]
    Full { path: String },
    #[error("{path}: {why}")]
    Damaged { path: String, why: String },
    /// SD-013.
    #[error("message too large")]
    TooLarge,
    #[error("more than {max} subjects match")]
    TooMany { max: usize },
    #[error("a stream of that name is there already")]
    Exists,
    #[error("the store is closed")]
    Closed,
    /// Encryption: no key, a wrong one, an unknown cipher (SD-045).
    #[error("{0}")]
    Key(String),
}

/// Parks the thread until a future is ready.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::park();
    }
}
