//! TLS: configuration and sessions, without sockets.
//!
//! `server` and `client` make rustls configurations of `TlsOptions`; `session` runs one connection.

mod alert;
pub mod client;
mod drive;
pub mod error;
pub mod files;
pub mod names;
pub mod ocsp;
pub mod peer;
pub mod peers;
pub mod pins;
pub mod presented;
pub mod rate;
mod resolver;
pub mod server;
pub mod session;
mod verify;

#[cfg(test)]
mod tests;
