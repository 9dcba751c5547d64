//! What goes over the wire as JSON: configurations, infos, requests, replies, errors.

pub mod consumer;
pub mod error;
pub mod requests;
pub mod stream;
pub mod time;

pub use consumer::{AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, PriorityPolicy, ReplayPolicy};
pub use error::ApiError;
pub use stream::{
    Compression, Discard, PersistMode, Retention, Storage, StreamConfig, StreamInfo, StreamState,
};
pub use time::Time;

/// What `skip_serializing_if` asks: Go's `omitempty`.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
