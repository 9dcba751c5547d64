//! Byte streams and listeners across the line: poll functions over raw memory.

use super::error::{FfiError, panicked};
use super::future::{WakerCache, WakerObject, drop_boxed, with_context};
use super::prelude::*;
use crate::error::Error;
use crate::net::{RawListener, RawStream};
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct FfiSlice {
    ptr: *const u8,
    len: usize,
}

/// Answers of the poll functions that are not a number of bytes.
const PENDING: isize = -1;
/// The error is in the last argument.
const FAILED: isize = -2;
/// Parts of one vectored write; more are written by the next.
const PARTS_MAX: usize = 64;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StreamTableRef)))]
#[sabi(missing_field(option))]
pub struct StreamTable {
    pub read: unsafe extern "C" fn(*mut (), *const WakerObject, *mut u8, usize, *mut FfiError) -> isize,
    pub write:
        unsafe extern "C" fn(*mut (), *const WakerObject, *const FfiSlice, usize, *mut FfiError) -> isize,
    pub flush: unsafe extern "C" fn(*mut (), *const WakerObject, *mut FfiError) -> isize,
    pub shutdown: unsafe extern "C" fn(*mut (), *const WakerObject, *mut FfiError) -> isize,
    /// JSON of `crate::net::StreamFacts`.
    pub facts: unsafe extern "C" fn(*const ()) -> RString,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiStream {
    state: *mut (),
    table: StreamTableRef,
}

// SAFETY: made from `Send` streams only (`new`), used exclusively.
unsafe impl Send for FfiStream {}

impl Drop for FfiStream {
    fn drop(&mut self) {
        // SAFETY: `state` and `table` belong together; called once.
        unsafe { (self.table.drop())(self.state) }
    }
}

type Boxed = Box<dyn RawStream>;

impl FfiStream {
    pub fn new(stream: Boxed) -> Self {
        static TABLE: &WithMetadata<StreamTable> = &WithMetadata::new(StreamTable {
            read,
            write,
            flush,
            shutdown,
            facts,
            drop: drop_boxed::<Boxed>,
        });
        Self {
            state: Box::into_raw(Box::new(stream)).cast(),
            table: StreamTableRef(TABLE.static_as_prefix()),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // SAFETY: as for `raw_read`, with initialised memory.
        unsafe { self.raw_read(waker, context, buffer.as_mut_ptr(), buffer.len()) }
    }

    /// # Safety
    /// `ptr` and `len` are memory to write to; the bytes read are initialised afterwards.
    pub(crate) unsafe fn raw_read(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
        ptr: *mut u8,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let (mut error, waker) = (no_error(), waker.object(context));
        // SAFETY: the table's function belongs to the state; memory by the caller; `waker` lives for the call.
        let answer = unsafe { (self.table.read())(self.state, waker, ptr, len, &mut error) };
        answered(answer, error)
    }

    pub(crate) fn poll_write(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = [FfiSlice { ptr: std::ptr::null(), len: 0 }; PARTS_MAX];
        let count = parts.len().min(PARTS_MAX);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = FfiSlice { ptr: part.as_ptr(), len: part.len() };
        }
        let (mut error, waker) = (no_error(), waker.object(context));
        // SAFETY: as in `raw_read`; the first `count` slices are the caller's parts.
        let answer = unsafe { (self.table.write())(self.state, waker, slices.as_ptr(), count, &mut error) };
        answered(answer, error)
    }

    pub(crate) fn poll_flush(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (mut error, waker) = (no_error(), waker.object(context));
        // SAFETY: as in `raw_read`.
        let answer = unsafe { (self.table.flush())(self.state, waker, &mut error) };
        answered(answer, error).map_ok(drop)
    }

    pub(crate) fn poll_shutdown(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (mut error, waker) = (no_error(), waker.object(context));
        // SAFETY: as in `raw_read`.
        let answer = unsafe { (self.table.shutdown())(self.state, waker, &mut error) };
        answered(answer, error).map_ok(drop)
    }

    pub(crate) fn facts(&self) -> String {
        // SAFETY: the table's function belongs to the state.
        unsafe { (self.table.facts())(self.state) }.into_string()
    }
}

fn no_error() -> FfiError {
    FfiError { code: 0, errno: 0, message: RString::new() }
}

fn answered(answer: isize, error: FfiError) -> Poll<io::Result<usize>> {
    match answer {
        PENDING => Poll::Pending,
        // A number of bytes; anything else negative is an error.
        0.. => Poll::Ready(Ok(answer.unsigned_abs())),
        _ => Poll::Ready(Err(Error::from(error).into())),
    }
}

/// Runs a poll of the stream behind `state` and packs the answer.
///
/// # Safety
/// `state` is a box of `FfiStream::new`, used exclusively; `waker` and `error` are valid for the call.
unsafe fn polled(
    state: *mut (),
    waker: *const WakerObject,
    error: *mut FfiError,
    poll: impl FnOnce(&mut dyn RawStream, &mut Context<'_>) -> Poll<io::Result<usize>>,
) -> isize {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by the caller.
        unsafe { with_context(waker, |context| poll((*state.cast::<Boxed>()).as_mut(), context)) }
    }));
    let failure = match answer {
        Ok(Poll::Pending) => return PENDING,
        Ok(Poll::Ready(Ok(count))) => return isize::try_from(count).unwrap_or(isize::MAX),
        Ok(Poll::Ready(Err(failure))) => Error::from(failure),
        Err(panic) => panicked(panic),
    };
    // SAFETY: by the caller, holds an empty error to be replaced.
    unsafe { *error = failure.into() };
    FAILED
}

unsafe extern "C" fn read(
    state: *mut (),
    waker: *const WakerObject,
    ptr: *mut u8,
    len: usize,
    error: *mut FfiError,
) -> isize {
    // SAFETY: the caller follows the table's contract; `ptr` is memory of `len` bytes, seen here as uninitialised.
    unsafe {
        polled(state, waker, error, |stream, context| {
            stream.poll_read(context, std::slice::from_raw_parts_mut(ptr.cast(), len))
        })
    }
}

unsafe extern "C" fn write(
    state: *mut (),
    waker: *const WakerObject,
    slices: *const FfiSlice,
    count: usize,
    error: *mut FfiError,
) -> isize {
    // SAFETY: the caller follows the table's contract; the slices are borrowed for the call.
    unsafe {
        polled(state, waker, error, |stream, context| {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let count = count.min(PARTS_MAX);
            for (part, slice) in parts.iter_mut().zip(std::slice::from_raw_parts(slices, count)) {
                *part = IoSlice::new(std::slice::from_raw_parts(slice.ptr, slice.len));
            }
            stream.poll_write(context, &parts[..count])
        })
    }
}

unsafe extern "C" fn flush(state: *mut (), waker: *const WakerObject, error: *mut FfiError) -> isize {
    // SAFETY: the caller follows the table's contract.
    unsafe { polled(state, waker, error, |stream, context| stream.poll_flush(context).map_ok(|()| 0)) }
}

unsafe extern "C" fn shutdown(state: *mut (), waker: *const WakerObject, error: *mut FfiError) -> isize {
    // SAFETY: the caller follows the table's contract.
    unsafe { polled(state, waker, error, |stream, context| stream.poll_shutdown(context).map_ok(|()| 0)) }
}

unsafe extern "C" fn facts(state: *const ()) -> RString {
    // SAFETY: the caller follows the table's contract.
    let stream = unsafe { &*state.cast::<Boxed>() };
    super::error::guarded_or(String::new(), || serde_json::to_string(&stream.facts()).unwrap_or_default())
        .into()
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ListenerTableRef)))]
#[sabi(missing_field(option))]
pub struct ListenerTable {
    /// 0: `FfiStream` written to the third argument.
    pub accept: unsafe extern "C" fn(*mut (), *const WakerObject, *mut RResult<FfiStream, FfiError>) -> isize,
    pub local_address: unsafe extern "C" fn(*const ()) -> RString,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiListener {
    state: *mut (),
    table: ListenerTableRef,
}

// SAFETY: made from `Send` listeners only, used exclusively.
unsafe impl Send for FfiListener {}

impl Drop for FfiListener {
    fn drop(&mut self) {
        // SAFETY: `state` and `table` belong together; called once.
        unsafe { (self.table.drop())(self.state) }
    }
}

type BoxedListener = Box<dyn RawListener>;

impl FfiListener {
    pub fn new(listener: BoxedListener) -> Self {
        static TABLE: &WithMetadata<ListenerTable> =
            &WithMetadata::new(ListenerTable { accept, local_address, drop: drop_boxed::<BoxedListener> });
        Self {
            state: Box::into_raw(Box::new(listener)).cast(),
            table: ListenerTableRef(TABLE.static_as_prefix()),
        }
    }

    pub(crate) fn poll_accept(
        &mut self,
        waker: &mut WakerCache,
        context: &mut Context<'_>,
    ) -> Poll<Result<FfiStream, Error>> {
        let mut out = std::mem::MaybeUninit::uninit();
        let waker = waker.object(context);
        // SAFETY: the table's function belongs to the state; `out` is written unless pending.
        unsafe {
            match (self.table.accept())(self.state, waker, out.as_mut_ptr()) {
                PENDING => Poll::Pending,
                _ => Poll::Ready(out.assume_init().into_result().map_err(Error::from)),
            }
        }
    }

    pub(crate) fn local_address(&self) -> String {
        // SAFETY: the table's function belongs to the state.
        unsafe { (self.table.local_address())(self.state) }.into_string()
    }
}

unsafe extern "C" fn accept(
    state: *mut (),
    waker: *const WakerObject,
    out: *mut RResult<FfiStream, FfiError>,
) -> isize {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller follows the table's contract.
        unsafe { with_context(waker, |context| (*state.cast::<BoxedListener>()).poll_accept(context)) }
    }));
    let answer = match answer {
        Ok(Poll::Pending) => return PENDING,
        Ok(Poll::Ready(answer)) => answer.map(FfiStream::new),
        Err(panic) => Err(panicked(panic)),
    };
    // SAFETY: the caller gave room for one value.
    unsafe { out.write(answer.map_err(FfiError::from).into()) };
    0
}

unsafe extern "C" fn local_address(state: *const ()) -> RString {
    // SAFETY: the caller follows the table's contract.
    let listener = unsafe { &*state.cast::<BoxedListener>() };
    super::error::guarded_or(String::new(), || listener.local_address()).into()
}
