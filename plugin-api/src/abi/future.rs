//! Futures and wakers across the line.
//!
//! A future is a state pointer with `poll` and `drop`. A waker is a refcounted object, made once per task and
//! cached; the module that made it gets its own `Waker` back, so `will_wake` keeps working.

use super::error::{FfiError, guarded_or, panicked};
use super::prelude::*;
use crate::error::{Error, Result};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// A future of any side; it always ends in a result, because a panic in it is one.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiFuture<T> {
    state: *mut (),
    poll: unsafe extern "C" fn(*mut (), *const WakerObject, *mut RResult<T, FfiError>) -> u8,
    drop: unsafe extern "C" fn(*mut ()),
    output: PhantomData<T>,
}

const PENDING: u8 = 0;
const READY: u8 = 1;

// SAFETY: made from `Send` futures only (`new`), and `poll` needs the value exclusively.
unsafe impl<T: Send> Send for FfiFuture<T> {}

impl<T> FfiFuture<T> {
    pub fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        fn parts<T, F: Future<Output = Result<T>>>(future: F) -> FfiFuture<T> {
            FfiFuture {
                state: Box::into_raw(Box::new(future)).cast(),
                poll: poll_boxed::<T, F>,
                drop: drop_boxed::<F>,
                output: PhantomData,
            }
        }
        parts(future)
    }

    /// The same future, to be awaited on this side.
    pub fn import(self) -> Imported<T> {
        Imported { future: self, waker: WakerCache::default() }
    }
}

unsafe extern "C" fn poll_boxed<T, F: Future<Output = Result<T>>>(
    state: *mut (),
    waker: *const WakerObject,
    out: *mut RResult<T, FfiError>,
) -> u8 {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `state` is the box of `new`, never moved again and polled exclusively; `waker` lives for
        // the call.
        unsafe { with_context(waker, |context| Pin::new_unchecked(&mut *state.cast::<F>()).poll(context)) }
    }));
    let answer = match polled {
        Ok(Poll::Pending) => return PENDING,
        Ok(Poll::Ready(answer)) => answer,
        Err(panic) => Err(panicked(panic)),
    };
    // SAFETY: the caller gave room for one value.
    unsafe { out.write(answer.map_err(FfiError::from).into()) };
    READY
}

pub(super) unsafe extern "C" fn drop_boxed<T>(state: *mut ()) {
    // SAFETY: `state` is a box of `T` made by this module, and is dropped once.
    guarded_or((), || unsafe { drop(Box::from_raw(state.cast::<T>())) })
}

impl<T> Drop for FfiFuture<T> {
    fn drop(&mut self) {
        // SAFETY: `state` and `drop` belong together; called once.
        unsafe { (self.drop)(self.state) }
    }
}

/// A future of the other side, awaited here.
pub struct Imported<T> {
    future: FfiFuture<T>,
    waker: WakerCache,
}

impl<T> Future for Imported<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let waker = this.waker.object(context);
        let mut out = MaybeUninit::uninit();
        // SAFETY: `state` and `poll` belong together; `waker` lives for the call; `out` is written when ready.
        unsafe {
            match (this.future.poll)(this.future.state, waker, out.as_mut_ptr()) {
                PENDING => Poll::Pending,
                _ => Poll::Ready(out.assume_init().into_result().map_err(Error::from)),
            }
        }
    }
}

// The state is behind a pointer: moving this value moves nothing that is pinned.
impl<T> Unpin for Imported<T> {}

/// The head of a refcounted waker; what follows it is private to its maker.
#[repr(C)]
#[derive(StableAbi)]
pub struct WakerObject {
    table: *const WakerTable,
}

/// Frozen, like std's own waker table.
#[repr(C)]
#[derive(StableAbi)]
pub struct WakerTable {
    clone: unsafe extern "C" fn(*const WakerObject),
    /// Takes one reference.
    wake: unsafe extern "C" fn(*const WakerObject),
    wake_by_ref: unsafe extern "C" fn(*const WakerObject),
    drop: unsafe extern "C" fn(*const WakerObject),
}

#[repr(C)]
struct OwnWaker {
    head: WakerObject,
    waker: Waker,
}

// SAFETY: the head is a pointer to a static table; the waker is Send and Sync.
unsafe impl Send for OwnWaker {}
// SAFETY: as above.
unsafe impl Sync for OwnWaker {}

static OWN: WakerTable =
    WakerTable { clone: own_clone, wake: own_wake, wake_by_ref: own_wake_by_ref, drop: own_drop };

unsafe extern "C" fn own_clone(object: *const WakerObject) {
    // SAFETY: called through `OWN` only: the object is an `Arc<OwnWaker>` of this module.
    unsafe { Arc::increment_strong_count(object.cast::<OwnWaker>()) }
}

unsafe extern "C" fn own_wake(object: *const WakerObject) {
    // SAFETY: as above; takes the caller's reference.
    let own = unsafe { Arc::from_raw(object.cast::<OwnWaker>()) };
    guarded_or((), || own.waker.wake_by_ref());
}

unsafe extern "C" fn own_wake_by_ref(object: *const WakerObject) {
    // SAFETY: as above; the caller keeps its reference during the call.
    let own = unsafe { &*object.cast::<OwnWaker>() };
    guarded_or((), || own.waker.wake_by_ref());
}

unsafe extern "C" fn own_drop(object: *const WakerObject) {
    // SAFETY: as above; takes the caller's reference.
    guarded_or((), || unsafe { drop(Arc::from_raw(object.cast::<OwnWaker>())) });
}

/// std's `Waker` over an object of another module.
static FOREIGN: RawWakerVTable =
    RawWakerVTable::new(foreign_clone, foreign_wake, foreign_wake_by_ref, foreign_drop);

unsafe fn foreign_clone(data: *const ()) -> RawWaker {
    let object = data.cast::<WakerObject>();
    // SAFETY: a live waker holds a reference to the object; its table is static.
    unsafe { ((*(*object).table).clone)(object) };
    RawWaker::new(data, &FOREIGN)
}

unsafe fn foreign_wake(data: *const ()) {
    let object = data.cast::<WakerObject>();
    // SAFETY: as above; std gives up this reference.
    unsafe { ((*(*object).table).wake)(object) }
}

unsafe fn foreign_wake_by_ref(data: *const ()) {
    let object = data.cast::<WakerObject>();
    // SAFETY: as above.
    unsafe { ((*(*object).table).wake_by_ref)(object) }
}

unsafe fn foreign_drop(data: *const ()) {
    let object = data.cast::<WakerObject>();
    // SAFETY: as above; std gives up this reference.
    unsafe { ((*(*object).table).drop)(object) }
}

/// Keeps the waker object of a task between polls, so that polling allocates once.
#[derive(Default)]
pub struct WakerCache(Option<Arc<OwnWaker>>);

impl WakerCache {
    /// Valid while `context` and `self` are.
    pub fn object(&mut self, context: &Context<'_>) -> *const WakerObject {
        let waker = context.waker();
        if std::ptr::eq(waker.vtable(), &FOREIGN) {
            // Already an object of another module: hand it through.
            return waker.data().cast();
        }
        let own = match self.0.take() {
            Some(own) if own.waker.will_wake(waker) => own,
            _ => Arc::new(OwnWaker { head: WakerObject { table: &OWN }, waker: waker.clone() }),
        };
        Arc::as_ptr(self.0.insert(own)).cast()
    }
}

/// Runs `work` with a std context made from the other side's waker.
///
/// # Safety
/// `waker` points to a live waker object for the time of the call.
pub unsafe fn with_context<R>(waker: *const WakerObject, work: impl FnOnce(&mut Context<'_>) -> R) -> R {
    // SAFETY: by the caller; the table of the object says which module made it.
    unsafe {
        if std::ptr::eq((*waker).table, &OWN) {
            let own = &*waker.cast::<OwnWaker>();
            work(&mut Context::from_waker(&own.waker))
        } else {
            // Borrowed: the reference stays the caller's, hence no drop.
            let borrowed = ManuallyDrop::new(Waker::from_raw(RawWaker::new(waker.cast(), &FOREIGN)));
            work(&mut Context::from_waker(&borrowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Counter(AtomicUsize);
    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_kept_waker_wakes_and_is_recognised() {
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let waker: Waker = counter.clone().into();
        let mut context = Context::from_waker(&waker);
        let (mut kept, mut polls) = (None::<Waker>, 0);
        let mut future = FfiFuture::new(std::future::poll_fn(move |context| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(Ok(polls));
            }
            match kept.take() {
                Some(waker) => {
                    assert!(waker.will_wake(context.waker()));
                    waker.wake();
                }
                None => kept = Some(context.waker().clone()),
            }
            Poll::Pending
        }))
        .import();
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut future).poll(&mut context), Poll::Ready(Ok(3)));
        drop((future, waker));
        assert_eq!(Arc::strong_count(&counter), 1);
    }

    #[test]
    fn a_panic_in_a_future_is_its_result() {
        let mut context = Context::from_waker(Waker::noop());
        let mut future = FfiFuture::<()>::new(async { panic!("boom") }).import();
        let Poll::Ready(Err(error)) = Pin::new(&mut future).poll(&mut context) else { unreachable!() };
        assert_eq!(error.message(), "panicked: boom");
    }
}
