//! JetStream: streams that keep messages, and consumers that read them.
//!
//! Reading order: `wire` is what clients send and see, `store` keeps messages, `stream` and `consumer` are the
//! state machines, `api` answers requests.

pub mod api;
pub mod config;
pub mod consumer;
pub mod context;
mod duration;
pub mod filter;
pub mod outbox;
pub mod store;
pub mod transform;
pub mod wire;
