//! The natsd server.

pub mod config;
pub mod plugins;
pub mod runtime;
