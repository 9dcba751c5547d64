//! Configurations of streams and consumers: defaults, rules, and what an update may change. Errors, and which one
//! comes first, are those of nats-server.

pub mod consumer;
pub mod consumer_update;
mod origin;
pub mod request;
pub mod stream;
pub mod subjects;
pub mod update;

use super::assets::Assets;
use super::json::go_quote;
use super::limits::{ServerBytes, ServerLimits, Tiers};
use crate::wire::{ApiError, error};

/// What a stream's configuration is judged by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub server: &'a ServerLimits,
    pub bytes: &'a ServerBytes,
    pub account: &'a Tiers,
    /// The account's streams.
    pub assets: &'a Assets,
    pub is_pedantic: bool,
}

/// The key of a stream's metadata that names the stream store it is kept in.
pub const STORE_ENGINE: &str = "natsd.store";

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
const NAME_LEN_MAX: usize = 255;
const DESCRIPTION_LEN_MAX: usize = 4096;
const METADATA_LEN_MAX: usize = 128 * 1024;

/// E10052, whose texts are many.
fn invalid(why: impl std::fmt::Display) -> ApiError {
    error::STREAM_INVALID_CONFIG.with(why)
}

fn pedantic(why: impl std::fmt::Display) -> ApiError {
    error::PEDANTIC.with(why)
}

fn ensure(is_right: bool, otherwise: impl FnOnce() -> ApiError) -> Result<(), ApiError> {
    if is_right { Ok(()) } else { Err(otherwise()) }
}

fn metadata_len(metadata: &std::collections::BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}
