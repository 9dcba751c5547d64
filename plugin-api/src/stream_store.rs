//! `natsd.stream-store/1`: streams that a third party keeps, instead of natsd's own files.
//!
//! A plugin implements [`StreamEngine`] and [`StreamStore`] and registers the engine with
//! [`crate::Registrar::stream_store`]. The plugin `jetstream` finds it by its name, which configurations and the
//! metadata of streams choose. Since 1.5.

pub use crate::abi::stream_store::{
    Appended, FoundStream, NewMessage, StreamEngineClient, StreamFilter, StreamState, StreamStoreClient,
    SubjectFacts,
};

use crate::BoxFuture;
use crate::error::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The name of the line. An engine is the service of that name, a slash and its own name.
pub const INTERFACE: &str = "natsd.stream-store/1";

/// The service under which an engine is found.
pub fn service_name(engine: &str) -> String {
    format!("{INTERFACE}/{engine}")
}

/// Makes and finds stores. Called from any thread; every call may wait for the disk.
pub trait StreamEngine: Send + Sync + 'static {
    /// Makes the store of a new stream, durable when this returns. An error of kind `AlreadyExists` when there is
    /// one of that name. `meta` is what [`StreamStore::put_meta`] replaces.
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StreamSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>>;

    /// All streams there are. Called once, before anything is made.
    fn recover(&self) -> Result<Vec<StoredStream>>;

    /// What is wrong with the engine as a whole, for the health report; empty when nothing is.
    fn trouble(&self) -> String {
        String::new()
    }

    /// Nothing more comes: every store of it has been closed.
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// The messages of one stream, its metadata, and the state of its consumers.
///
/// One task owns a store: calls come one after the other. A change takes effect at once, in order, for every later
/// call, and is durable when the future of a [`StreamStore::commit`] after it is done. Calls may read a file for a
/// short time; none but `close` and `destroy` waits for a sync. Time is an argument: a store has no clock.
///
/// Errors: `Io(StorageFull)` or `Full` when the disk is full; `Damaged` when a record cannot be read, which then
/// counts as lost; anything else as a failed read or write. After a panic the store is not used again.
pub trait StreamStore: Send + Sync + 'static {
    fn state(&self) -> StreamState;

    /// Sequences that damage took, ascending.
    fn lost_seqs(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Adds at `last_seq + 1`.
    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended>;

    /// Leaves out `count` sequences after the last: they exist, without messages.
    fn skip(&mut self, count: u64, time_ns: i64) -> Result<()>;

    /// `None` when it is not there.
    fn load(&mut self, seq: u64) -> Result<Option<StoredMessage>>;

    /// The first match at `from` or after it.
    fn next(&mut self, filter: &StreamFilter<'_>, from: u64) -> Result<Option<StoredMessage>>;

    /// The first message at `from` or after it that has one of the flags.
    fn next_flagged(&mut self, flags: u32, from: u64) -> Result<Option<StoredMessage>>;

    /// The newest match at `up_to` or before it.
    fn last(&mut self, filter: &StreamFilter<'_>, up_to: u64) -> Result<Option<StoredMessage>>;

    /// The sequences of the newest message of each matching subject, at `up_to` or before it, in ascending order;
    /// `None` when there are more than `max`.
    fn last_of_each(&mut self, filter: &StreamFilter<'_>, up_to: u64, max: usize)
    -> Result<Option<Vec<u64>>>;

    /// How many matches there are at `from` or after it; with `last_per_subject` only the newest of each subject.
    fn count(&mut self, filter: &StreamFilter<'_>, from: u64, last_per_subject: bool) -> Result<u64>;

    /// One subject without wildcards; zeros when there is no message.
    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts>;

    /// All matching subjects, without an order.
    fn subjects(
        &mut self,
        filter: &StreamFilter<'_>,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<()>;

    /// The first message with `time_ns` or later; `last_seq + 1` when there is none.
    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64>;

    /// Sequences between first and last without a message, ascending.
    fn deleted(&mut self) -> Result<Vec<u64>>;

    /// `None` when it is not there. With `erase` the content cannot be read from the files when the commit after it
    /// is done.
    fn remove(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>>;

    /// How many went, and how many bytes. A purge of everything leaves `first_seq = last_seq + 1`.
    fn purge(&mut self, purge: &Purge<'_>) -> Result<(u64, u64)>;

    /// Drops everything below `seq`, which becomes the first; beyond the last the stream is empty and goes on there.
    fn compact(&mut self, seq: u64) -> Result<()>;

    /// Drops everything above `seq`.
    fn truncate(&mut self, seq: u64) -> Result<()>;

    /// Replaces the stream's metadata.
    fn put_meta(&mut self, meta: &[u8]) -> Result<()>;

    /// Makes a consumer, or replaces its metadata.
    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<()>;

    /// Replaces what was recorded for a consumer by a whole state.
    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<()>;

    /// Adds a change to a consumer's state; a restart gives the state and the changes after it, in order.
    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<()>;

    /// Nothing happens if there is none of the name.
    fn remove_consumer(&mut self, name: &str) -> Result<()>;

    /// The consumers as they were found; at most once after a restart.
    fn take_consumers(&mut self) -> Result<Vec<StoredConsumer>>;

    fn configure(&mut self, settings: &StreamSettings) -> Result<()>;

    /// Everything changed until now becomes durable; the future says when, and must not block. An error is final for
    /// the store.
    fn commit(&mut self) -> BoxFuture<'static, Result<()>>;

    /// Commits, and gives back what is open.
    fn close(&mut self) -> Result<()>;

    /// Removes everything of the stream, for ever.
    fn destroy(&mut self) -> Result<()>;
}

/// What a store is told about its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSettings {
    /// Sequence of the first message; 0 reads as 1.
    pub first_seq: u64,
    pub compress: bool,
    /// A commit may be done before it is durable.
    pub lazy: bool,
    /// An upper estimate of what will be stored; 0: unknown.
    pub size_bytes_max: u64,
}

/// A message that was stored: its parts lie one behind the other, subject, headers, payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMessage {
    pub seq: u64,
    pub time_ns: i64,
    pub flags: u32,
    pub content: Bytes,
    pub subject_len: usize,
    pub headers_len: usize,
}

impl StoredMessage {
    pub fn subject(&self) -> Bytes {
        self.content.slice(..self.subject_len)
    }

    /// The whole block from `NATS/1.0` to the empty line; empty when there is none.
    pub fn headers(&self) -> Bytes {
        self.content.slice(self.subject_len..self.subject_len + self.headers_len)
    }

    pub fn payload(&self) -> Bytes {
        self.content.slice(self.subject_len + self.headers_len..)
    }
}

/// What was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub seq: u64,
    pub subject: Bytes,
    pub size_bytes: u64,
}

/// What a purge takes.
#[derive(Clone, Copy, Debug)]
pub struct Purge<'a> {
    pub filter: StreamFilter<'a>,
    /// Only below this sequence; 0: all.
    pub before_seq: u64,
    /// The newest so many matches of the whole stream stay.
    pub keep: u64,
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

/// A stream found by an engine.
pub struct StoredStream {
    pub account: String,
    pub name: String,
    /// Empty when it could not be read.
    pub meta: Bytes,
    pub store: Result<Box<dyn StreamStore>>,
}
