//! Harness of the black-box tests: real server processes, spoken to over real sockets.
//!
//! [`Server`] starts natsd or the reference server with a config text and ends it on drop.
//! [`Client`] is a raw connection that reads one protocol operation at a time, with deadlines.
//! [`exchange`] runs scripts of protocol exchanges (`tests/exchanges/*.txt`) on either server.
//! Not here: client libraries (`tests/interop`), and anything that knows natsd's insides.
//!
//! How to run: `cargo build -p natsd`, then `cargo test -p natsd-tests`. `NATSD=<file>` tests another
//! binary; `NATS_SERVER=<file>` names the reference server if it is not on the path.
//! `EXCHANGE=<part of a name or fact>` picks exchange cases; see `tests/exchanges.rs` for recording.
//!
//! A broken promise of the harness is a failed test, so it panics with a text that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod backup;
pub mod certs;
pub mod client;
pub mod events;
pub mod exchange;
pub mod jetstream;
pub mod jwt;
pub mod log;
pub mod monitored;
pub mod nkey;
pub mod ocsp;
pub mod plugins;
pub mod requests;
pub mod schemas;
pub mod sealed;
pub mod server;
pub mod shape;
pub mod streams;
pub mod system;
pub mod websocket;

pub use client::Client;
pub use log::Log;
pub use server::{Launch, Server};

use std::time::Duration;

/// How long a test waits for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(5);
