//! From a message to its receivers.
//!
//! A connection records the messages of one read in a `Chunk` and then delivers it: receiver by receiver,
//! each locked once (receiver-major; see `host/ARCHITECTURE.md`). Sees receivers, never sockets.

pub mod chunk;
pub mod deliver;
pub mod format;
pub mod gate;
mod inside;
mod lookup;
mod names;
pub mod outbound;
mod places;
pub mod publish;
pub mod receiver;
pub mod responders;
#[cfg(test)]
mod seen;
mod shadows;
pub mod subscriptions;
pub mod trace;

pub use crate::proto::layer;
pub use chunk::{Chunk, Item};
pub use outbound::Outbound;
pub use receiver::Receiver;
