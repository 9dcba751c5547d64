//! A consumer: which message goes to whom and when, and what was acknowledged. A state machine without I/O: the
//! stream calls it, it writes into the outbox and names what the stream has to do.

/// Marks a message in the outbox as a delivery, so that the consumer learns whether anyone got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which consumer of the stream.
    pub consumer: u32,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// Which pull request it was for; 0: a push.
    pub request: u64,
}
