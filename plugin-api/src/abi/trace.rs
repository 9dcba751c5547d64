//! Traces of messages across the line: a message's view points to its trace, whoever gets the message may keep that
//! and add to it, and the host publishes it when the last one lets go. Since 1.6.

use super::error::{FfiError, guarded, guarded_or};
use super::interface::Interface;
use super::message::MessageRef;
use super::prelude::*;
use super::tables::TracesTableRef;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A trace in the host. Dropping the last reference publishes it, on the thread where that happens.
pub trait HostTrace: Send + Sync + 'static {
    /// The message is checked, and neither kept nor delivered.
    fn is_only(&self) -> bool;

    /// The message asks for another trace when it is published again as it is.
    fn asks_again(&self) -> bool;

    /// Notes what happened to the message, as of now.
    fn add(&self, kind: &str, fields: Map<String, Value>) -> Result<()>;
}

type Shared = Arc<dyn HostTrace>;

const ONLY: usize = 1;
const ASKS_AGAIN: usize = 2;

/// The reserved words of a message with a trace: where the host's reference is, for the time of the call, and what is
/// to be known of it.
pub(super) fn words(trace: &Shared) -> [usize; 2] {
    let only = if trace.is_only() { ONLY } else { 0 };
    let asks_again = if trace.asks_again() { ASKS_AGAIN } else { 0 };
    [std::ptr::from_ref(trace).expose_provenance(), only | asks_again]
}

pub(super) fn is_only([_, flags]: [usize; 2]) -> bool {
    flags & ONLY != 0
}

pub(super) static TRACES: &WithMetadata<super::tables::TracesTable> =
    &WithMetadata::new(super::tables::TracesTable { keep, add, release });

/// The table for plugins of the host.
pub(super) fn offer() -> (&'static str, super::interface::Offer) {
    let table = TracesTableRef(TRACES.static_as_prefix());
    (TracesTableRef::ID, super::interface::Offer::of(table))
}

unsafe extern "C" fn keep(_host: *const (), message: *const MessageRef<'_>) -> *const () {
    guarded_or(std::ptr::null(), || {
        // SAFETY: the plugin passes a message that it was called with, and is still called with.
        let trace = unsafe { (*message).trace_in_host() };
        trace.map_or(std::ptr::null(), |trace| Box::into_raw(Box::new(trace.clone())).cast_const().cast())
    })
}

unsafe extern "C" fn add(
    _host: *const (),
    trace: *const (),
    kind: RStr<'_>,
    fields: RStr<'_>,
) -> RResult<(), FfiError> {
    guarded(|| {
        // SAFETY: the box of `keep`, not yet released.
        let trace = unsafe { &*trace.cast::<Shared>() };
        trace.add(kind.as_str(), serde_json::from_str(fields.as_str())?)
    })
}

unsafe extern "C" fn release(_host: *const (), trace: *const ()) {
    // SAFETY: the box of `keep`; released once.
    guarded_or((), || drop(unsafe { Box::from_raw(trace.cast_mut().cast::<Shared>()) }))
}

impl<'a> MessageRef<'a> {
    /// `None`: it has no trace. Only the host asks this: to a plugin it is a pointer that means nothing.
    fn trace_in_host(&self) -> Option<&'a Shared> {
        let [at, _] = self.trace_words();
        // SAFETY: the words of `words`, whose trace lives as long as this view; or zero.
        unsafe { std::ptr::with_exposed_provenance::<Shared>(at).as_ref() }
    }
}

/// A trace that a plugin holds.
pub struct KeptTrace {
    host: *const (),
    table: TracesTableRef,
    trace: *const (),
    flags: usize,
}

// SAFETY: the host's reference is Send and Sync, its side of this plugin too, and both outlive this.
unsafe impl Send for KeptTrace {}
// SAFETY: as above.
unsafe impl Sync for KeptTrace {}

impl KeptTrace {
    pub(super) fn new(host: *const (), table: TracesTableRef, message: &MessageRef<'_>) -> Option<Self> {
        let [at, flags] = message.trace_words();
        if at == 0 {
            return None;
        }
        // SAFETY: `host` is the one that the table came from; the message lives for the call.
        let trace = unsafe { (table.keep())(host, std::ptr::from_ref(message).cast()) };
        (!trace.is_null()).then_some(Self { host, table, trace, flags })
    }

    pub(crate) fn is_only(&self) -> bool {
        self.flags & ONLY != 0
    }

    pub(crate) fn asks_again(&self) -> bool {
        self.flags & ASKS_AGAIN != 0
    }

    pub(crate) fn add(&self, kind: &str, fields: &str) -> Result<()> {
        // SAFETY: `host`, `table` and `trace` belong together.
        let added = unsafe { (self.table.add())(self.host, self.trace, kind.into(), fields.into()) };
        added.into_result().map_err(Error::from)
    }
}

impl Drop for KeptTrace {
    fn drop(&mut self) {
        // SAFETY: as above; called once.
        unsafe { (self.table.release())(self.host, self.trace) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Notes its end beside its steps.
    struct Noted(Arc<Mutex<Vec<String>>>);

    impl HostTrace for Noted {
        fn is_only(&self) -> bool {
            true
        }

        fn asks_again(&self) -> bool {
            false
        }

        fn add(&self, kind: &str, fields: Map<String, Value>) -> Result<()> {
            self.0.lock().unwrap().push(format!("{kind} {}", Value::from(fields)));
            Ok(())
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("sent".to_owned());
        }
    }

    fn keep(message: &MessageRef<'_>) -> Option<KeptTrace> {
        KeptTrace::new(std::ptr::null(), TracesTableRef(TRACES.static_as_prefix()), message)
    }

    #[test]
    fn a_trace_is_sent_when_the_last_one_lets_go() {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let trace: Shared = Arc::new(Noted(steps.clone()));
        let message = MessageRef::new(b"a", b"", b"", b"");
        assert!(keep(&message).is_none() && !message.is_traced());
        let message = message.with_trace(&trace);
        assert!(message.is_traced() && message.is_trace_only());
        let (one, other) = (keep(&message).unwrap(), keep(&message).unwrap());
        drop(trace);
        assert!(one.is_only() && !one.asks_again());
        one.add("x", r#"{"b":1,"a":2}"#).unwrap();
        drop(one);
        other.add("y", "[]").unwrap_err();
        assert_eq!(*steps.lock().unwrap(), [r#"x {"b":1,"a":2}"#]);
        drop(other);
        assert_eq!(steps.lock().unwrap()[1..], ["sent"]);
    }
}
