//! The tables of an author's engine and stores.

use super::super::error::{FfiError, guarded};
use super::super::future::{FfiFuture, drop_boxed};
use super::super::interface::{FfiTable, Interface, Offer, Wanted, refusal};
use super::super::points::{CallTable, CallTableRef, FfiCall};
use super::super::prelude::*;
use super::*;
use crate::error::{Error, Result};
use crate::stream_store::{
    Purge, Removed, StoredConsumer, StoredMessage, StoredStream, StreamEngine, StreamStore,
};
use std::sync::Arc;

pub(super) type SharedEngine = Arc<dyn StreamEngine>;
type BoxedStore = Box<dyn StreamStore>;

static ENGINE: &WithMetadata<StreamEngineTable> = &WithMetadata::new(StreamEngineTable {
    create: engine_create,
    recover: engine_recover,
    trouble: engine_trouble,
    close: engine_close,
});

static STORE: &WithMetadata<StreamStoreTable> = &WithMetadata::new(StreamStoreTable {
    state: store_state,
    lost_seqs: store_lost_seqs,
    append: store_append,
    skip: store_skip,
    load: store_load,
    next: store_next,
    next_flagged: store_next_flagged,
    last: store_last,
    last_of_each: store_last_of_each,
    count: store_count,
    subject: store_subject,
    subjects: store_subjects,
    seq_from_time: store_seq_from_time,
    deleted: store_deleted,
    remove: store_remove,
    purge: store_purge,
    compact: store_compact,
    truncate: store_truncate,
    put_meta: store_put_meta,
    put_consumer: store_put_consumer,
    put_consumer_state: store_put_consumer_state,
    record_consumer: store_record_consumer,
    remove_consumer: store_remove_consumer,
    take_consumers: store_take_consumers,
    configure: store_configure,
    commit: store_commit,
    close: store_close,
    destroy: store_destroy,
    drop: drop_boxed::<BoxedStore>,
});

impl FfiCall {
    /// An engine as a service: found by name, used through its table.
    pub fn stream_engine(engine: SharedEngine) -> Self {
        static TABLE: &WithMetadata<CallTable> = &WithMetadata::new(CallTable {
            call: engine_call,
            retain: engine_retain,
            drop: drop_boxed::<SharedEngine>,
            interface: engine_interface,
        });
        let state = Box::into_raw(Box::new(engine)).cast();
        // SAFETY: the table's functions, and those of `engine_interface`, take a box of `SharedEngine`.
        unsafe { Self::from_parts(state, CallTableRef(TABLE.static_as_prefix())) }
    }
}

unsafe extern "C" fn engine_call(
    _state: *const (),
    method: RStr<'_>,
    _payload: FfiBytes,
) -> FfiFuture<FfiBytes> {
    let error =
        Error::unsupported(format!("a stream store has no method `{method}`: it is used through its table"));
    FfiFuture::new(std::future::ready(Err(error)))
}

unsafe extern "C" fn engine_retain(state: *const ()) -> *mut () {
    // SAFETY: `state` is the box of `FfiCall::stream_engine`, or of this function.
    Box::into_raw(Box::new(unsafe { &*state.cast::<SharedEngine>() }.clone())).cast()
}

unsafe extern "C" fn engine_interface(
    _state: *const (),
    wanted: *const Wanted<'_>,
) -> RResult<FfiTable, FfiError> {
    guarded(|| {
        // SAFETY: the caller passes a value that lives for the call.
        let wanted = unsafe { &*wanted };
        let id = wanted.id.as_str();
        let offer = match id {
            StreamEngineTableRef::ID => Offer::of(StreamEngineTableRef(ENGINE.static_as_prefix())),
            _ => Offer::none::<StreamEngineTableRef>(),
        };
        offer
            .serve(&wanted.shape)
            .map(FfiTable)
            .map_err(|mismatch| refusal(id, offer.shape.version, wanted.shape.version, mismatch.as_ref()))
    })
}

impl StreamStoreClient {
    pub(super) fn new(store: BoxedStore) -> Self {
        let table = StreamStoreTableRef(STORE.static_as_prefix());
        // SAFETY: the table's functions take a box of `BoxedStore`.
        unsafe { Self::from_parts(Box::into_raw(Box::new(store)).cast(), table) }
    }
}

/// # Safety
/// `state` is that of `FfiCall::stream_engine`.
unsafe fn engine<'a>(state: *const ()) -> &'a dyn StreamEngine {
    // SAFETY: by the caller.
    unsafe { (*state.cast::<SharedEngine>()).as_ref() }
}

unsafe extern "C" fn engine_create(
    state: *const (),
    account: RStr<'_>,
    stream: RStr<'_>,
    settings: RStr<'_>,
    meta: RSlice<'_, u8>,
) -> Answer<StreamStoreClient> {
    guarded(|| {
        let settings = serde_json::from_str(settings.as_str())?;
        // SAFETY: the caller follows the table's contract, here and below.
        let engine = unsafe { engine(state) };
        let store = engine.create(account.as_str(), stream.as_str(), &settings, meta.as_slice())?;
        Ok(StreamStoreClient::new(store))
    })
}

unsafe extern "C" fn engine_recover(state: *const ()) -> Answer<RVec<FfiStoredStream>> {
    guarded(|| {
        // SAFETY: see `engine_create`.
        let found = unsafe { engine(state) }.recover()?;
        Ok(found.into_iter().map(FfiStoredStream::from).collect())
    })
}

unsafe extern "C" fn engine_trouble(state: *const ()) -> Answer<RString> {
    // SAFETY: see `engine_create`.
    guarded(|| Ok(unsafe { engine(state) }.trouble().into()))
}

unsafe extern "C" fn engine_close(state: *const ()) -> Answer<()> {
    // SAFETY: see `engine_create`.
    guarded(|| unsafe { engine(state) }.close())
}

impl From<StoredStream> for FfiStoredStream {
    fn from(found: StoredStream) -> Self {
        Self {
            account: found.account.into(),
            name: found.name.into(),
            meta: found.meta.into(),
            store: found.store.map(StreamStoreClient::new).map_err(FfiError::from).into(),
        }
    }
}

/// Runs a call of the store behind `state`; a panic is its error.
///
/// # Safety
/// `state` is a box of `StreamStoreClient::new`, used exclusively.
unsafe fn with<T>(state: *mut (), call: impl FnOnce(&mut dyn StreamStore) -> Result<T>) -> Answer<T> {
    // SAFETY: by the caller.
    guarded(|| call(unsafe { (*state.cast::<BoxedStore>()).as_mut() }))
}

/// Declares functions of the table: each runs a call of the store.
macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty, $store:ident => $call:expr;)*) => {$(
        unsafe extern "C" fn $name(state: *mut () $(, $arg: $type)*) -> $out {
            // SAFETY: the caller follows the table's contract: `state` is the store's, arguments live for the call.
            unsafe { with(state, |$store| $call) }
        }
    )*};
}

calls! {
    store_skip(count: u64, time_ns: i64) -> Answer<()>, store => store.skip(count, time_ns);
    store_load(seq: u64) -> Found, store => found(store.load(seq)?);
    store_next(filter: StreamFilter<'_>, from: u64) -> Found, store => found(store.next(&filter, from)?);
    store_next_flagged(flags: u32, from: u64) -> Found, store => found(store.next_flagged(flags, from)?);
    store_last(filter: StreamFilter<'_>, up_to: u64) -> Found, store => found(store.last(&filter, up_to)?);
    store_last_of_each(filter: StreamFilter<'_>, up_to: u64, max: usize) -> Answer<ROption<RVec<u64>>>,
        store => Ok(store.last_of_each(&filter, up_to, max)?.map(RVec::from).into());
    store_count(filter: StreamFilter<'_>, from: u64, last: bool) -> Answer<u64>,
        store => store.count(&filter, from, last);
    store_subject(subject: RSlice<'_, u8>) -> Answer<SubjectFacts>, store => store.subject(subject.as_slice());
    store_seq_from_time(time_ns: i64) -> Answer<u64>, store => store.seq_from_time(time_ns);
    store_deleted() -> Answer<RVec<u64>>, store => Ok(store.deleted()?.into());
    store_remove(seq: u64, erase: bool) -> Answer<ROption<FfiRemoved>>,
        store => Ok(store.remove(seq, erase)?.map(FfiRemoved::from).into());
    store_compact(seq: u64) -> Answer<()>, store => store.compact(seq);
    store_truncate(seq: u64) -> Answer<()>, store => store.truncate(seq);
    store_put_meta(meta: RSlice<'_, u8>) -> Answer<()>, store => store.put_meta(meta.as_slice());
    store_put_consumer(name: RStr<'_>, meta: RSlice<'_, u8>) -> Answer<()>,
        store => store.put_consumer(name.as_str(), meta.as_slice());
    store_put_consumer_state(name: RStr<'_>, content: RSlice<'_, u8>) -> Answer<()>,
        store => store.put_consumer_state(name.as_str(), content.as_slice());
    store_record_consumer(name: RStr<'_>, change: RSlice<'_, u8>) -> Answer<()>,
        store => store.record_consumer(name.as_str(), change.as_slice());
    store_remove_consumer(name: RStr<'_>) -> Answer<()>, store => store.remove_consumer(name.as_str());
    store_take_consumers() -> Answer<RVec<FfiStoredConsumer>>,
        store => Ok(store.take_consumers()?.into_iter().map(FfiStoredConsumer::from).collect());
    store_configure(settings: RStr<'_>) -> Answer<()>,
        store => store.configure(&serde_json::from_str(settings.as_str())?);
    store_close() -> Answer<()>, store => store.close();
    store_destroy() -> Answer<()>, store => store.destroy();
}

unsafe extern "C" fn store_state(state: *const ()) -> Answer<StreamState> {
    // SAFETY: `state` is a box of `StreamStoreClient::new`, shared.
    guarded(|| Ok(unsafe { &*state.cast::<BoxedStore>() }.state()))
}

unsafe extern "C" fn store_lost_seqs(state: *const ()) -> Answer<RVec<u64>> {
    // SAFETY: as above.
    guarded(|| Ok(unsafe { &*state.cast::<BoxedStore>() }.lost_seqs().into()))
}

unsafe extern "C" fn store_append(state: *mut (), message: *const NewMessage<'_>) -> Answer<Appended> {
    // SAFETY: `state` is the store's; the message lives for the call.
    unsafe { with(state, |store| store.append(&*message)) }
}

unsafe extern "C" fn store_subjects(
    state: *mut (),
    filter: StreamFilter<'_>,
    visitor: *mut FfiSubjectVisitor,
) -> Answer<()> {
    // SAFETY: `state` is the store's; the visitor lives for the call, and its parts belong together.
    unsafe {
        let visitor = &*visitor;
        with(state, |store| {
            store.subjects(&filter, &mut |subject, facts| (visitor.visit)(visitor.out, subject.into(), facts))
        })
    }
}

unsafe extern "C" fn store_purge(state: *mut (), purge: *const FfiPurge<'_>) -> Answer<FfiPurged> {
    // SAFETY: `state` is the store's; the purge lives for the call.
    unsafe {
        let FfiPurge { filter, before_seq, keep } = &*purge;
        with(state, |store| {
            let purge = Purge { filter: *filter, before_seq: *before_seq, keep: *keep };
            let (messages, bytes) = store.purge(&purge)?;
            Ok(FfiPurged { messages, bytes })
        })
    }
}

unsafe extern "C" fn store_commit(state: *mut ()) -> FfiFuture<()> {
    // SAFETY: as in the macro.
    match unsafe { with(state, |store| Ok(store.commit())) } {
        ROk(committing) => FfiFuture::new(committing),
        RErr(error) => FfiFuture::new(std::future::ready(Err(Error::from(error)))),
    }
}

/// A message for the line. What the lengths say must be there.
fn found(message: Option<StoredMessage>) -> Result<ROption<FfiStoredMessage>> {
    let Some(message) = message else { return Ok(RNone) };
    let StoredMessage { seq, time_ns, flags, content, subject_len, headers_len } = message;
    let lengths = (u32::try_from(subject_len), u32::try_from(headers_len));
    match lengths {
        (Ok(subject), Ok(headers)) if u64::from(subject) + u64::from(headers) <= content.len() as u64 => {
            Ok(RSome(FfiStoredMessage {
                seq,
                time_ns,
                flags,
                subject_len: subject,
                headers_len: headers,
                reserved: 0,
                content: content.into(),
            }))
        }
        _ => Err(Error::other(format!(
            "message {seq}: a subject of {subject_len} and headers of {headers_len} bytes do not fit into {}",
            content.len()
        ))),
    }
}

impl From<Removed> for FfiRemoved {
    fn from(removed: Removed) -> Self {
        Self { seq: removed.seq, size_bytes: removed.size_bytes, subject: removed.subject.into() }
    }
}

impl From<StoredConsumer> for FfiStoredConsumer {
    fn from(found: StoredConsumer) -> Self {
        Self {
            name: found.name.into(),
            meta: found.meta.into(),
            state: found.state.into(),
            changes: found.changes.into_iter().map(FfiBytes::from).collect(),
        }
    }
}
