//! Requests to make and change streams, and to restore one: what the subject says against what the body says, and
//! what is there already (JS-021, JS-022, JS-106, JS-111, JS-264).

use super::subjects::{has_path_separator, is_valid_subject};
use super::update::check_update;
use super::{Rules, ensure, invalid, stream};
use crate::api::level;
use crate::api::limits::{AccountLimits, check_bytes};
use crate::transform;
use crate::wire::requests::StreamConfigRequest;
use crate::wire::stream::StreamSource;
use crate::wire::{ApiError, StreamConfig, error};

/// What to do for a valid `STREAM.CREATE`.
#[derive(Clone, Debug, PartialEq)]
pub enum Creation {
    New(Box<StreamConfig>),
    /// The same stream is there: the reply is as for a new one.
    Exists,
}

/// `rules` are without `is_pedantic`, which is in the request.
pub fn create(stream: &str, request: StreamConfigRequest, rules: &Rules<'_>) -> Result<Creation, ApiError> {
    let rules = Rules { is_pedantic: request.pedantic, ..*rules };
    let mut config = request.config;
    level::stamp_stream(&mut config);
    named(stream, &config)?;
    ensure(!config.sealed, || invalid("stream configuration for create can not be sealed"))?;
    ensure(!config.mirror_direct || config.mirror.is_some(), || {
        invalid("stream has no mirror but does have mirror direct")
    })?;
    room(&config, &rules)?;

    let mut config = stream::check(&config, &rules)?;
    ensure(config.num_replicas <= 1, || error::STREAM_REPLICAS_NOT_SUPPORTED)?;
    if let Some(old) = rules.assets.get(&config.name) {
        level::align(&mut config.metadata, &old.metadata);
        ensure(config == **old, || error::STREAM_NAME_EXIST)?;
        return Ok(Creation::Exists);
    }
    let limits = limits(&config, &rules)?;
    check_bytes(&config, None, limits, rules.account, rules.assets, rules.bytes)?;
    origins(&config)?;
    ensure(!rules.assets.overlap(&config.subjects, &config.name), || error::STREAM_SUBJECT_OVERLAP)?;
    Ok(Creation::New(Box::new(config)))
}

/// The configuration to give to the stream, which still has to ask its consumers
/// ([`super::update::check_consumer_limits`]) and whose subjects must then be [`free`].
pub fn update(
    stream: &str,
    request: StreamConfigRequest,
    rules: &Rules<'_>,
) -> Result<StreamConfig, ApiError> {
    let rules = Rules { is_pedantic: request.pedantic, ..*rules };
    let mut config = stream::check(&request.config, &rules)?;
    ensure(stream == config.name, || error::STREAM_MISMATCH)?;
    let old = rules.assets.get(stream).ok_or(error::STREAM_NOT_FOUND)?;
    level::stamp_stream(&mut config);
    check_update(old, &config, &rules)
}

/// Whether no other stream listens to what an updated one wants.
pub fn free(config: &StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    ensure(!rules.assets.overlap(&config.subjects, &config.name), || error::STREAM_SUBJECT_OVERLAP)
}

/// Before a restore begins; at its end the stream is made as by [`create`].
pub fn restore(stream: &str, mut config: StreamConfig, rules: &Rules<'_>) -> Result<StreamConfig, ApiError> {
    if config.name.is_empty() {
        stream.clone_into(&mut config.name);
    }
    named(stream, &config)?;
    let config = stream::check(&config, rules)?;
    room(&config, rules)?;
    ensure(rules.assets.get(stream).is_none(), || error::STREAM_NAME_EXIST_RESTORE_FAILED)?;
    Ok(config)
}

fn named(stream: &str, config: &StreamConfig) -> Result<(), ApiError> {
    ensure(stream == config.name, || error::STREAM_MISMATCH)?;
    ensure(!has_path_separator(stream), || error::STREAM_NAME_CONTAINS_PATH_SEPARATORS)
}

/// Room for one more stream (JS-104).
fn room(config: &StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let limits = limits(config, rules)?;
    let group = rules.account.group(config.num_replicas);
    ensure(limits.max_streams <= 0 || rules.assets.count(group, &config.name) < limits.max_streams, || {
        error::MAXIMUM_STREAMS_LIMIT
    })?;
    check_bytes(config, None, limits, rules.account, rules.assets, rules.bytes)
}

fn limits<'a>(config: &StreamConfig, rules: &Rules<'a>) -> Result<&'a AccountLimits, ApiError> {
    rules.account.select(config.num_replicas).ok_or(error::NO_LIMITS)
}

/// What is found wrong with origins only when a stream is made.
fn origins(config: &StreamConfig) -> Result<(), ApiError> {
    let failed = |why: String| error::STREAM_CREATE.with(why);
    if let Some(StreamSource { filter_subject: filter, subject_transforms, .. }) = &config.mirror {
        ensure(filter.is_empty() || is_valid_subject(filter), || {
            failed(format!("subject filter '{filter}' for the mirror invalid subject"))
        })?;
        for transform in subject_transforms {
            let (src, dest) = (&transform.src, &transform.dest);
            transform::compile(src, dest).map_err(|why| {
                failed(format!("subject transform from '{src}' to '{dest}' for the mirror: {why}"))
            })?;
        }
    }
    for StreamSource { filter_subject: filter, .. } in &config.sources {
        ensure(filter.is_empty() || is_valid_subject(filter), || {
            failed(format!("subject filter '{filter}' for the source: invalid subject"))
        })?;
    }
    Ok(())
}
