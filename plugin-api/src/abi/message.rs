//! Messages across the line: borrowed views for the time of a call, and the sink that a subscription is.
//!
//! Subjects are bytes, not text: the protocol does not promise UTF-8.

use super::bytes::FfiBytes;
use super::error::{guarded_or, panicked};
use super::future::drop_boxed;
use super::prelude::*;
use super::trace::{self, HostTrace};
use bytes::Bytes;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A message on its way to a subscriber, valid for the time of the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct MessageRef<'a> {
    subject: RSlice<'a, u8>,
    reply: RSlice<'a, u8>,
    headers: RSlice<'a, u8>,
    payload: RSlice<'a, u8>,
    origin: u64,
    owner: *const (),
    retain: Option<unsafe extern "C" fn(*const (), *const u8, usize, *mut FfiBytes)>,
    /// Its trace (`super::trace`), since 1.6; 0: none.
    reserved: [usize; 2],
}

// SAFETY: borrowed bytes, an owner that is a borrowed `Bytes` (`with_owner`), and a borrowed trace; both are Sync.
unsafe impl Send for MessageRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MessageRef<'_> {}

impl<'a> MessageRef<'a> {
    /// `headers` is the whole block from `NATS/1.0` to the empty line, or empty.
    pub fn new(subject: &'a [u8], reply: &'a [u8], headers: &'a [u8], payload: &'a [u8]) -> Self {
        Self {
            subject: subject.into(),
            reply: reply.into(),
            headers: headers.into(),
            payload: payload.into(),
            origin: 0,
            owner: std::ptr::null(),
            retain: None,
            reserved: [0; 2],
        }
    }

    /// Names the connection that published it; 0 is the server itself.
    pub fn with_origin(self, connection_id: u64) -> Self {
        Self { origin: connection_id, ..self }
    }

    /// The message is traced.
    pub fn with_trace(self, trace: &'a Arc<dyn HostTrace>) -> Self {
        Self { reserved: trace::words(trace), ..self }
    }

    /// Says that all four parts lie in `owner`, so that a subscriber can keep them without a copy.
    pub fn with_owner(self, owner: &'a Bytes) -> Self {
        unsafe extern "C" fn retain(owner: *const (), part: *const u8, len: usize, out: *mut FfiBytes) {
            // SAFETY: `owner` is the `Bytes` that `with_owner` borrowed for as long as the message, and the part
            // was checked to lie in it by `keep`.
            unsafe {
                let kept = (*owner.cast::<Bytes>()).slice_ref(std::slice::from_raw_parts(part, len));
                out.write(kept.into());
            }
        }
        let held = |part: &[u8]| part.is_empty() || owner.as_ptr_range().contains(&part.as_ptr());
        debug_assert!(
            [self.subject(), self.reply(), self.headers(), self.payload()].iter().all(|part| held(part))
        );
        Self { owner: std::ptr::from_ref(owner).cast(), retain: Some(retain), ..self }
    }

    pub fn subject(&self) -> &'a [u8] {
        self.subject.as_slice()
    }

    /// Empty when there is none.
    pub fn reply(&self) -> &'a [u8] {
        self.reply.as_slice()
    }

    pub fn headers(&self) -> &'a [u8] {
        self.headers.as_slice()
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload.as_slice()
    }

    /// The id of the connection that published it; 0 is the server itself.
    pub fn origin(&self) -> u64 {
        self.origin
    }

    /// Whether [`crate::Host::trace_of`] gives its trace. An inline subscriber gets such a message by itself.
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.reserved[0] != 0
    }

    /// Whether it is only traced: see [`crate::trace::Trace::is_only`].
    pub fn is_trace_only(&self) -> bool {
        trace::is_only(self.reserved)
    }

    pub(super) fn trace_words(&self) -> [usize; 2] {
        self.reserved
    }

    /// The payload to keep after the call: refcounted if the sender's memory allows it, else copied.
    pub fn payload_bytes(&self) -> Bytes {
        self.keep(self.payload())
    }

    /// The headers to keep, as `payload_bytes`.
    pub fn headers_bytes(&self) -> Bytes {
        self.keep(self.headers())
    }

    fn keep(&self, part: &'a [u8]) -> Bytes {
        match self.retain {
            _ if part.is_empty() => Bytes::new(),
            None => Bytes::copy_from_slice(part),
            Some(retain) => {
                let mut out = MaybeUninit::uninit();
                // SAFETY: `owner` and `retain` belong together; the part is one of this message's.
                unsafe {
                    retain(self.owner, part.as_ptr(), part.len(), out.as_mut_ptr());
                    out.assume_init().into()
                }
            }
        }
    }
}

/// A message to publish, valid for the time of the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct PublishRef<'a> {
    subject: RSlice<'a, u8>,
    deliver_as: RSlice<'a, u8>,
    reply: RSlice<'a, u8>,
    headers: RSlice<'a, u8>,
    payload: RSlice<'a, u8>,
    reserved: [usize; 2],
}

impl<'a> PublishRef<'a> {
    pub fn new(subject: &'a [u8], payload: &'a [u8]) -> Self {
        let empty = || RSlice::from_slice(&[]);
        Self {
            subject: subject.into(),
            deliver_as: empty(),
            reply: empty(),
            headers: empty(),
            payload: payload.into(),
            reserved: [0; 2],
        }
    }

    pub fn reply(self, reply: &'a [u8]) -> Self {
        Self { reply: reply.into(), ..self }
    }

    /// The whole block from `NATS/1.0` to the empty line.
    pub fn headers(self, headers: &'a [u8]) -> Self {
        Self { headers: headers.into(), ..self }
    }

    /// Receivers are those of `subject`; what they see as the subject is this.
    pub fn deliver_as(self, subject: &'a [u8]) -> Self {
        Self { deliver_as: subject.into(), ..self }
    }

    /// What is matched against the interest.
    pub fn match_subject(&self) -> &'a [u8] {
        self.subject.as_slice()
    }

    /// What receivers see.
    pub fn shown_subject(&self) -> &'a [u8] {
        if self.deliver_as.is_empty() { self.subject.as_slice() } else { self.deliver_as.as_slice() }
    }

    pub fn reply_subject(&self) -> &'a [u8] {
        self.reply.as_slice()
    }

    pub fn header_block(&self) -> &'a [u8] {
        self.headers.as_slice()
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload.as_slice()
    }
}

/// What became of one published message.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Receivers that it was handed to; 0 is no interest.
    pub receivers: u32,
    /// `Outcome::REFUSED` and later ones.
    pub flags: u32,
    pub reserved: [u64; 1],
}

impl Outcome {
    /// Not published: a wrong subject. `max_payload` is for clients, not for plugins.
    pub const REFUSED: u32 = 1;
    /// At least one receiver has more pending than it should: slow down.
    pub const SLOW: u32 = 2;

    pub fn delivered(receivers: u32) -> Self {
        Self { receivers, ..Self::default() }
    }

    pub fn refused() -> Self {
        Self { flags: Self::REFUSED, ..Self::default() }
    }

    pub fn is_refused(&self) -> bool {
        self.flags & Self::REFUSED != 0
    }

    pub fn is_slow(&self) -> bool {
        self.flags & Self::SLOW != 0
    }
}

/// Where a subscription's messages go: one call a batch.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiSink {
    state: *mut (),
    deliver: unsafe extern "C" fn(*mut (), RSlice<'_, MessageRef<'_>>) -> u8,
    drop: unsafe extern "C" fn(*mut ()),
    reserved: [usize; 1],
    function: PhantomData<()>,
}

// SAFETY: made from `Send + Sync` functions only, called through a shared reference.
unsafe impl Send for FfiSink {}
// SAFETY: as above.
unsafe impl Sync for FfiSink {}

const DELIVERED: u8 = 0;
const PANICKED: u8 = 1;

/// The subscriber panicked; the batch is lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPanicked;

impl FfiSink {
    pub fn new<F: Fn(&[MessageRef<'_>]) + Send + Sync + 'static>(function: F) -> Self {
        unsafe extern "C" fn deliver<F: Fn(&[MessageRef<'_>])>(
            state: *mut (),
            batch: RSlice<'_, MessageRef<'_>>,
        ) -> u8 {
            // SAFETY: `state` is the box of `new`, alive until `drop`.
            let function = unsafe { &*state.cast::<F>() };
            match catch_unwind(AssertUnwindSafe(|| function(batch.as_slice()))) {
                Ok(()) => DELIVERED,
                Err(panic) => {
                    drop(panicked(panic));
                    PANICKED
                }
            }
        }
        Self {
            state: Box::into_raw(Box::new(function)).cast(),
            deliver: deliver::<F>,
            drop: drop_boxed::<F>,
            reserved: [0],
            function: PhantomData,
        }
    }

    /// Hands over a batch. Called from any thread, also from several at once.
    #[inline]
    pub fn deliver(&self, batch: &[MessageRef<'_>]) -> Result<(), SinkPanicked> {
        // SAFETY: `state` and `deliver` belong together; the batch lives for the call.
        match unsafe { (self.deliver)(self.state, RSlice::from_slice(batch)) } {
            DELIVERED => Ok(()),
            _ => Err(SinkPanicked),
        }
    }
}

impl Drop for FfiSink {
    fn drop(&mut self) {
        // SAFETY: `state` and `drop` belong together; called once.
        guarded_or((), || unsafe { (self.drop)(self.state) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_sink_counts_what_it_gets_and_survives_a_panic() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        let sink = FfiSink::new(move |batch| {
            assert!(batch[0].payload() != b"bad");
            counter.fetch_add(batch.len(), Ordering::SeqCst);
        });
        let message = |payload| MessageRef::new(b"a", b"", b"", payload);
        assert_eq!(sink.deliver(&[message(b"1"), message(b"2")]), Ok(()));
        assert_eq!(sink.deliver(&[message(b"bad")]), Err(SinkPanicked));
        drop(sink);
        assert_eq!((seen.load(Ordering::SeqCst), Arc::strong_count(&seen)), (2, 1));
    }

    #[test]
    fn a_payload_with_an_owner_is_kept_without_a_copy() {
        let owner = Bytes::from(b"subjectpayload".to_vec());
        let message = MessageRef::new(&owner[..7], b"", b"", &owner[7..]);
        assert_eq!(message.with_owner(&owner).payload_bytes().as_ptr(), owner[7..].as_ptr());
        assert_ne!(message.payload_bytes().as_ptr(), owner[7..].as_ptr());
        assert_eq!(message.payload_bytes(), &b"payload"[..]);
    }
}
