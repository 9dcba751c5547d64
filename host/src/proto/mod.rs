//! The client protocol without I/O: what bytes mean and what they look like.

pub mod connect;
pub mod error;
pub mod fault;
mod go_json;
pub mod info;
pub mod json;
pub mod layer;
pub mod nkey;
pub mod parse;
pub mod proxy;
pub mod quote;
pub mod span;
