//! The natsd server.

pub mod cli;
pub mod config;
pub mod runtime;
