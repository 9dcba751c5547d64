//! The configuration of the server.

pub mod options;
