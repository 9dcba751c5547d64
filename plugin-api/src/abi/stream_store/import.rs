//! A third party's engine and stores as safe values.

use super::super::error::guarded_or;
use super::super::future::Imported;
use super::super::points::FfiCall;
use super::super::prelude::*;
use super::*;
use crate::error::{Error, Result};
use crate::stream_store::{Removed, StoredConsumer, StoredMessage, StreamSettings};
use bytes::Bytes;

/// An engine of another plugin.
pub struct StreamEngineClient {
    call: FfiCall,
    table: StreamEngineTableRef,
}

/// A stream that an engine found: account, name, metadata, store.
pub struct FoundStream {
    pub account: String,
    pub name: String,
    pub meta: Bytes,
    pub store: Result<StreamStoreClient>,
}

fn answer<T>(answer: Answer<T>) -> Result<T> {
    answer.into_result().map_err(Error::from)
}

impl StreamEngineClient {
    /// An error if the service is no engine, or means something else by the line.
    pub fn new(call: FfiCall) -> Result<Self> {
        let table = call.interface()?;
        Ok(Self { call, table })
    }

    pub fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StreamSettings,
        meta: &[u8],
    ) -> Result<StreamStoreClient> {
        let settings = serde_json::to_string(settings)?;
        let (state, create) = (self.call.state(), self.table.create());
        // SAFETY: the table came from the service whose state this is, here and below; arguments live for the call.
        answer(unsafe { create(state, account.into(), stream.into(), settings.as_str().into(), meta.into()) })
    }

    pub fn recover(&self) -> Result<Vec<FoundStream>> {
        // SAFETY: see `create`.
        let found = answer(unsafe { (self.table.recover())(self.call.state()) })?;
        let found = found.into_iter().map(|found| FoundStream {
            account: found.account.into(),
            name: found.name.into(),
            meta: found.meta.into(),
            store: answer(found.store),
        });
        Ok(found.collect())
    }

    /// What is wrong; empty when nothing is.
    pub fn trouble(&self) -> String {
        // SAFETY: see `create`.
        let trouble = answer(unsafe { (self.table.trouble())(self.call.state()) });
        trouble.map_or_else(|error| error.to_string(), RString::into_string)
    }

    pub fn close(&self) -> Result<()> {
        // SAFETY: see `create`.
        answer(unsafe { (self.table.close())(self.call.state()) })
    }
}

/// One stream's store in another plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct StreamStoreClient {
    state: *mut (),
    table: StreamStoreTableRef,
}

// SAFETY: made from `Send + Sync` stores only (`from_parts`).
unsafe impl Send for StreamStoreClient {}
// SAFETY: as above; what changes the store takes `&mut self`.
unsafe impl Sync for StreamStoreClient {}

impl Drop for StreamStoreClient {
    fn drop(&mut self) {
        // SAFETY: `state` and `table` belong together; called once.
        unsafe { (self.table.drop())(self.state) }
    }
}

/// Declares methods over the table. In each, `state` and `table` belong together, and every argument lives for the
/// call.
macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty as $pass:expr),*) -> $out:ty, $wrap:expr;)*) => {$(
        pub fn $name(&mut self $(, $arg: $type)*) -> Result<$out> {
            // SAFETY: see the macro.
            answer(unsafe { (self.table.$name())(self.state $(, $pass)*) }).map($wrap)
        }
    )*};
}

fn plain<T>(value: T) -> T {
    value
}

impl StreamStoreClient {
    /// # Safety
    /// `state` is `Send + Sync`, and what the functions of `table` take.
    pub(super) unsafe fn from_parts(state: *mut (), table: StreamStoreTableRef) -> Self {
        Self { state, table }
    }

    calls! {
        skip(count: u64 as count, time_ns: i64 as time_ns) -> (), plain;
        load(seq: u64 as seq) -> Option<StoredMessage>, message;
        next_flagged(flags: u32 as flags, from: u64 as from) -> Option<StoredMessage>, message;
        subject(subject: &[u8] as subject.into()) -> SubjectFacts, plain;
        seq_from_time(time_ns: i64 as time_ns) -> u64, plain;
        deleted() -> Vec<u64>, RVec::into_vec;
        remove(seq: u64 as seq, erase: bool as erase) -> Option<Removed>, removed;
        compact(seq: u64 as seq) -> (), plain;
        truncate(seq: u64 as seq) -> (), plain;
        put_meta(meta: &[u8] as meta.into()) -> (), plain;
        put_consumer(name: &str as name.into(), meta: &[u8] as meta.into()) -> (), plain;
        put_consumer_state(name: &str as name.into(), state: &[u8] as state.into()) -> (), plain;
        record_consumer(name: &str as name.into(), change: &[u8] as change.into()) -> (), plain;
        remove_consumer(name: &str as name.into()) -> (), plain;
        take_consumers() -> Vec<StoredConsumer>, consumers;
        close() -> (), plain;
        destroy() -> (), plain;
    }

    pub fn state(&self) -> Result<StreamState> {
        // SAFETY: `state` and `table` belong together, here and below.
        answer(unsafe { (self.table.state())(self.state) })
    }

    pub fn lost_seqs(&self) -> Result<Vec<u64>> {
        // SAFETY: see `state`.
        answer(unsafe { (self.table.lost_seqs())(self.state) }).map(RVec::into_vec)
    }

    pub fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended> {
        // SAFETY: see `state`; the message lives for the call.
        answer(unsafe { (self.table.append())(self.state, message) })
    }

    pub fn next<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        from: u64,
    ) -> Result<Option<StoredMessage>> {
        let (state, next) = (self.state, self.table.next());
        // SAFETY: see `state`; the filter lives for the call, here and below.
        answer(with_filter(patterns, |filter| unsafe { next(state, filter, from) })).map(message)
    }

    pub fn last<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        up_to: u64,
    ) -> Result<Option<StoredMessage>> {
        let (state, last) = (self.state, self.table.last());
        // SAFETY: see `next`.
        answer(with_filter(patterns, |filter| unsafe { last(state, filter, up_to) })).map(message)
    }

    pub fn last_of_each<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        up_to: u64,
        max: usize,
    ) -> Result<Option<Vec<u64>>> {
        let (state, each) = (self.state, self.table.last_of_each());
        // SAFETY: see `next`.
        let found = answer(with_filter(patterns, |filter| unsafe { each(state, filter, up_to, max) }))?;
        Ok(found.into_option().map(RVec::into_vec))
    }

    pub fn count<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        from: u64,
        last_per_subject: bool,
    ) -> Result<u64> {
        let (state, count) = (self.state, self.table.count());
        // SAFETY: see `next`.
        answer(with_filter(patterns, |filter| unsafe { count(state, filter, from, last_per_subject) }))
    }

    pub fn subjects<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<()> {
        let (state, subjects) = (self.state, self.table.subjects());
        let mut visit = visit;
        let mut visitor =
            FfiSubjectVisitor { out: std::ptr::from_mut(&mut visit).cast(), visit: visit_subject };
        // SAFETY: see `next`; the visitor lives for the call.
        answer(with_filter(patterns, |filter| unsafe { subjects(state, filter, &mut visitor) }))
    }

    /// How many went, and how many bytes.
    pub fn purge<'a>(
        &mut self,
        patterns: impl Iterator<Item = &'a [u8]>,
        before_seq: u64,
        keep: u64,
    ) -> Result<(u64, u64)> {
        let (state, purge) = (self.state, self.table.purge());
        let purged = answer(with_filter(patterns, |filter| {
            // SAFETY: see `next`; the purge lives for the call.
            unsafe { purge(state, &FfiPurge { filter, before_seq, keep }) }
        }))?;
        Ok((purged.messages, purged.bytes))
    }

    pub fn configure(&mut self, settings: &StreamSettings) -> Result<()> {
        let settings = serde_json::to_string(settings)?;
        // SAFETY: see `state`; the text lives for the call.
        answer(unsafe { (self.table.configure())(self.state, settings.as_str().into()) })
    }

    pub fn commit(&mut self) -> Imported<()> {
        // SAFETY: see `state`.
        unsafe { (self.table.commit())(self.state) }.import()
    }
}

/// Patterns as they cross: most filters have one.
fn with_filter<'a, R>(
    mut patterns: impl Iterator<Item = &'a [u8]>,
    call: impl FnOnce(StreamFilter<'_>) -> R,
) -> R {
    let Some(first) = patterns.next() else { return call(StreamFilter { patterns: RSlice::EMPTY }) };
    let first = RSlice::from_slice(first);
    match patterns.next() {
        None => call(StreamFilter { patterns: RSlice::from_slice(&[first]) }),
        Some(second) => {
            let rest = [second].into_iter().chain(patterns).map(RSlice::from_slice);
            let all: Vec<RSlice<'_, u8>> = std::iter::once(first).chain(rest).collect();
            call(StreamFilter { patterns: RSlice::from_slice(&all) })
        }
    }
}

unsafe extern "C" fn visit_subject(out: *mut (), subject: RSlice<'_, u8>, facts: SubjectFacts) {
    // SAFETY: `out` is the closure of `subjects`, for the time of that call.
    guarded_or((), || unsafe {
        (*out.cast::<&mut dyn FnMut(&[u8], SubjectFacts)>())(subject.as_slice(), facts)
    })
}

fn message(found: ROption<FfiStoredMessage>) -> Option<StoredMessage> {
    found.into_option().map(|found| {
        let content = Bytes::from(found.content);
        // The other side has checked its lengths; a wrong one must not become a panic here.
        let subject_len = (found.subject_len as usize).min(content.len());
        let headers_len = (found.headers_len as usize).min(content.len() - subject_len);
        StoredMessage {
            seq: found.seq,
            time_ns: found.time_ns,
            flags: found.flags,
            content,
            subject_len,
            headers_len,
        }
    })
}

fn removed(found: ROption<FfiRemoved>) -> Option<Removed> {
    found.into_option().map(|found| Removed {
        seq: found.seq,
        size_bytes: found.size_bytes,
        subject: found.subject.into(),
    })
}

fn consumers(found: RVec<FfiStoredConsumer>) -> Vec<StoredConsumer> {
    let found = found.into_iter().map(|found| StoredConsumer {
        name: found.name.into(),
        meta: found.meta.into(),
        state: found.state.into(),
        changes: found.changes.into_iter().map(Bytes::from).collect(),
    });
    found.collect()
}
