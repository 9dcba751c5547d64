//! Plugins on a host without a server: real plugin files, the real manager, and a small stand-in for routing.
//!
//! - `build`: makes plugin files as a third party would
//! - `stand_in`: publishes to subscribers in memory, and remembers what plugins register
//! - `examples`: tap, auth-file and faulty in use
//! - `lent`: what the host lends, seen from a plugin that is linked in
//! - `refusals`: files that must not load, one clear line each
//! - `evolution`: older and newer plugins, other profiles

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod build;
mod evolution;
mod examples;
mod lent;
mod refusals;
mod stand_in;
