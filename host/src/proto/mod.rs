//! The client protocol: what comes and goes on the wire, without any I/O.

pub mod connect;
pub mod error;
pub mod info;
mod json;
pub mod quote;
