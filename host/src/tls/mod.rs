//! TLS: configuration and sessions, without sockets.
//!
//! `server` and `client` make rustls configurations of `TlsOptions`; `session` runs one connection.

pub mod client;
pub mod error;
mod files;
pub mod names;
pub mod peer;
pub mod pins;
pub mod rate;
mod resolver;
pub mod server;
pub mod session;
mod verify;

#[cfg(test)]
mod tests;
