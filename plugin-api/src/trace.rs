//! Traces of messages (`Nats-Trace-Dest`, `traceparent`): what became of a message, step by step.
//!
//! A trace travels with its message. Each subscriber that takes part may keep it and add what it did with the message;
//! when the last one has let go, here or in the host, the trace is published.

use crate::abi::trace::KeptTrace;
use crate::error::Result;
use serde::Serialize;

/// The trace of a message that a subscriber was called with. It is published once everybody has dropped theirs: keep it
/// until it is decided what becomes of the message, and no longer.
///
/// Dropping the last one publishes, so that other subscribers may be called meanwhile: as with [`crate::Host::publish`],
/// hold no lock that they need.
pub struct Trace(pub(crate) KeptTrace);

impl Trace {
    /// Whoever published the message only wants to know what would become of it (`Nats-Trace-Only`): check it, and
    /// neither keep it nor act on it.
    pub fn is_only(&self) -> bool {
        self.0.is_only()
    }

    /// Who keeps the message, to publish it again later, must set its header `Nats-Trace-Dest` to `trace disabled`.
    /// Else that would be traced as well.
    pub fn asks_again(&self) -> bool {
        self.0.asks_again()
    }

    /// Adds a step: an object with `kind` as its `type`, the time as `ts`, and `fields`, which must be an object, too.
    pub fn add(&self, kind: &str, fields: &impl Serialize) -> Result<()> {
        self.0.add(kind, &serde_json::to_string(fields)?)
    }
}
