//! `natsd.stream-store/1`: a third party's streams as values and tables.
//!
//! `export` makes the tables of an author's traits, `import` uses them safely.

mod export;
mod import;

use super::bytes::FfiBytes;
use super::error::FfiError;
use super::future::FfiFuture;
use super::prelude::*;
use std::fmt;

pub use import::{FoundStream, StreamEngineClient, StreamStoreClient};

/// A message to store, valid for the time of the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct NewMessage<'a> {
    subject: RSlice<'a, u8>,
    headers: RSlice<'a, u8>,
    payload: RSlice<'a, u8>,
    /// Nanoseconds since 1970, not below that of the message before.
    pub time_ns: i64,
    /// Kept with the message, for `next_flagged`.
    pub flags: u32,
    reserved: u32,
}

impl<'a> NewMessage<'a> {
    pub fn new(subject: &'a [u8], headers: &'a [u8], payload: &'a [u8], time_ns: i64, flags: u32) -> Self {
        Self {
            subject: subject.into(),
            headers: headers.into(),
            payload: payload.into(),
            time_ns,
            flags,
            reserved: 0,
        }
    }

    pub fn subject(&self) -> &'a [u8] {
        self.subject.as_slice()
    }

    /// The whole block from `NATS/1.0` to the empty line; empty when there is none.
    pub fn headers(&self) -> &'a [u8] {
        self.headers.as_slice()
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload.as_slice()
    }
}

/// What was added.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub seq: u64,
    /// Bytes that the message counts for in the stream's size.
    pub size_bytes: u64,
    /// Messages of its subject, itself included.
    pub subject_messages: u64,
}

/// Counters of a stream.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    /// The oldest message; `last_seq + 1` when there is none, 0 when there never was one.
    pub first_seq: u64,
    /// 0 when there is no message.
    pub first_time_ns: i64,
    pub last_seq: u64,
    pub last_time_ns: i64,
    pub subjects: u64,
    /// How many sequences damage took ([`crate::stream_store::StreamStore::lost_seqs`] says which), and the bytes
    /// that could not be read.
    pub lost_messages: u64,
    pub lost_bytes: u64,
}

/// Messages and counts of one subject.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectFacts {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// Subject patterns with wildcards, valid for the time of the call; none at all stands for every subject.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy)]
pub struct StreamFilter<'a> {
    patterns: RSlice<'a, RSlice<'a, u8>>,
}

impl<'a> StreamFilter<'a> {
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    pub fn patterns(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.patterns.as_slice().iter().map(|pattern| pattern.as_slice())
    }

    /// The one subject that it means, if it is one without wildcards.
    pub fn literal(&self) -> Option<&'a [u8]> {
        let [pattern] = self.patterns.as_slice() else { return None };
        let wild = pattern.as_slice().split(|&byte| byte == b'.').any(|token| token == b"*" || token == b">");
        (!wild).then_some(pattern.as_slice())
    }

    pub fn matches(&self, subject: &[u8]) -> bool {
        self.is_all() || self.patterns().any(|pattern| crate::subject::matches(pattern, subject))
    }
}

impl fmt::Debug for StreamFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.patterns().map(|pattern| pattern.escape_ascii().to_string())).finish()
    }
}

/// A stored message on its way over the line.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiStoredMessage {
    seq: u64,
    time_ns: i64,
    flags: u32,
    subject_len: u32,
    headers_len: u32,
    reserved: u32,
    /// Subject, headers, payload.
    content: FfiBytes,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiRemoved {
    seq: u64,
    size_bytes: u64,
    subject: FfiBytes,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiPurge<'a> {
    filter: StreamFilter<'a>,
    before_seq: u64,
    keep: u64,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiPurged {
    messages: u64,
    bytes: u64,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiStoredConsumer {
    name: RString,
    meta: FfiBytes,
    state: FfiBytes,
    changes: RVec<FfiBytes>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiStoredStream {
    account: RString,
    name: RString,
    meta: FfiBytes,
    store: RResult<StreamStoreClient, FfiError>,
}

/// Who is told of each subject, for the time of a call.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiSubjectVisitor {
    out: *mut (),
    visit: unsafe extern "C" fn(*mut (), RSlice<'_, u8>, SubjectFacts),
}

type Answer<T> = RResult<T, FfiError>;
type Found = Answer<ROption<FfiStoredMessage>>;

/// An engine. The state is that of the service it was found as.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StreamEngineTableRef)))]
#[sabi(missing_field(option))]
pub struct StreamEngineTable {
    /// Account, stream, JSON of `StreamSettings`, metadata.
    pub create: unsafe extern "C" fn(
        *const (),
        RStr<'_>,
        RStr<'_>,
        RStr<'_>,
        RSlice<'_, u8>,
    ) -> Answer<StreamStoreClient>,
    pub recover: unsafe extern "C" fn(*const ()) -> Answer<RVec<FfiStoredStream>>,
    pub trouble: unsafe extern "C" fn(*const ()) -> Answer<RString>,
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(*const ()) -> Answer<()>,
}
interface!(StreamEngineTableRef, "natsd.stream-store/1");

/// One stream's store: called by one thread at a time.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StreamStoreTableRef)))]
#[sabi(missing_field(option))]
pub struct StreamStoreTable {
    pub state: unsafe extern "C" fn(*const ()) -> Answer<StreamState>,
    pub lost_seqs: unsafe extern "C" fn(*const ()) -> Answer<RVec<u64>>,
    pub append: unsafe extern "C" fn(*mut (), *const NewMessage<'_>) -> Answer<Appended>,
    /// Count, time.
    pub skip: unsafe extern "C" fn(*mut (), u64, i64) -> Answer<()>,
    pub load: unsafe extern "C" fn(*mut (), u64) -> Found,
    pub next: unsafe extern "C" fn(*mut (), StreamFilter<'_>, u64) -> Found,
    pub next_flagged: unsafe extern "C" fn(*mut (), u32, u64) -> Found,
    pub last: unsafe extern "C" fn(*mut (), StreamFilter<'_>, u64) -> Found,
    /// Nothing when there are more than the last argument.
    pub last_of_each:
        unsafe extern "C" fn(*mut (), StreamFilter<'_>, u64, usize) -> Answer<ROption<RVec<u64>>>,
    pub count: unsafe extern "C" fn(*mut (), StreamFilter<'_>, u64, bool) -> Answer<u64>,
    pub subject: unsafe extern "C" fn(*mut (), RSlice<'_, u8>) -> Answer<SubjectFacts>,
    pub subjects: unsafe extern "C" fn(*mut (), StreamFilter<'_>, *mut FfiSubjectVisitor) -> Answer<()>,
    pub seq_from_time: unsafe extern "C" fn(*mut (), i64) -> Answer<u64>,
    pub deleted: unsafe extern "C" fn(*mut ()) -> Answer<RVec<u64>>,
    pub remove: unsafe extern "C" fn(*mut (), u64, bool) -> Answer<ROption<FfiRemoved>>,
    pub purge: unsafe extern "C" fn(*mut (), *const FfiPurge<'_>) -> Answer<FfiPurged>,
    pub compact: unsafe extern "C" fn(*mut (), u64) -> Answer<()>,
    pub truncate: unsafe extern "C" fn(*mut (), u64) -> Answer<()>,
    pub put_meta: unsafe extern "C" fn(*mut (), RSlice<'_, u8>) -> Answer<()>,
    pub put_consumer: unsafe extern "C" fn(*mut (), RStr<'_>, RSlice<'_, u8>) -> Answer<()>,
    pub put_consumer_state: unsafe extern "C" fn(*mut (), RStr<'_>, RSlice<'_, u8>) -> Answer<()>,
    pub record_consumer: unsafe extern "C" fn(*mut (), RStr<'_>, RSlice<'_, u8>) -> Answer<()>,
    pub remove_consumer: unsafe extern "C" fn(*mut (), RStr<'_>) -> Answer<()>,
    pub take_consumers: unsafe extern "C" fn(*mut ()) -> Answer<RVec<FfiStoredConsumer>>,
    /// JSON of `StreamSettings`.
    pub configure: unsafe extern "C" fn(*mut (), RStr<'_>) -> Answer<()>,
    pub commit: unsafe extern "C" fn(*mut ()) -> FfiFuture<()>,
    pub close: unsafe extern "C" fn(*mut ()) -> Answer<()>,
    pub destroy: unsafe extern "C" fn(*mut ()) -> Answer<()>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

#[cfg(test)]
mod tests;
