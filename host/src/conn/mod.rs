//! A client connection: from its first byte to its closed reason.
//!
//! `serve` is the task: it reads, writes what is left over, and keeps the timers. `session` is its state
//! and `process` what it does with a read: parse, record, deliver. `login` handles CONNECT, `vet` a peer whom
//! somebody has to vouch for, `handshake` what goes wrong before either.

pub mod context;
pub mod crossing;
pub mod facts;
mod handshake;
mod info;
pub mod login;
pub mod open;
pub mod process;
pub mod publish;
pub mod registry;
pub mod serve;
pub mod session;
pub mod stall;
pub mod subscribe;
pub mod timers;
pub mod traced;
mod vet;

pub use context::Context;
pub use registry::{Connection, Registry};
