//! The configuration of a stream: defaults and rules (JS-070 to JS-105).
//!
//! Not here: mirrors and sources (`origin`), what an update may change (`update`), names in requests (`request`).

use super::subjects::{is_literal, is_subset, is_valid_name, is_valid_subject, overlap};
use super::{
    DESCRIPTION_LEN_MAX, METADATA_LEN_MAX, MS, NAME_LEN_MAX, Rules, SECOND, ensure, go_quote, invalid,
    metadata_len, origin, pedantic,
};
use crate::duration;
use crate::transform;
use crate::wire::stream::{Placement, SubjectTransform};
use crate::wire::{ApiError, Discard, PersistMode, Retention, Storage, StreamConfig, error};

const REPLICAS_MAX: i64 = 5;
const DUPLICATE_WINDOW_DEFAULT: i64 = 120 * SECOND;
const SHORTEST: i64 = 100 * MS;

/// The configuration with its defaults, if it may be.
pub fn check(config: &StreamConfig, rules: &Rules<'_>) -> Result<StreamConfig, ApiError> {
    texts(config)?;
    let mut config = config.clone();
    replicas(&mut config)?;
    unlimited(&mut config, rules)?;
    ages(&mut config, rules)?;
    policies(&config)?;
    implied(&mut config, rules)?;
    persistence(&config)?;
    origin::check(&mut config, rules)?;
    subjects(&mut config)?;
    account_bytes(&config, rules)?;
    transforms(&mut config, rules)?;
    if config.placement == Some(Placement::default()) {
        config.placement = None;
    }
    placement(&config)?;
    Ok(config)
}

fn texts(config: &StreamConfig) -> Result<(), ApiError> {
    ensure(is_valid_name(&config.name), || {
        invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'")
    })?;
    ensure(config.name.len() <= NAME_LEN_MAX, || {
        invalid(format_args!("stream name is too long, maximum allowed is {NAME_LEN_MAX}"))
    })?;
    ensure(config.description.len() <= DESCRIPTION_LEN_MAX, || {
        invalid(format_args!("stream description is too long, maximum allowed is {DESCRIPTION_LEN_MAX}"))
    })?;
    ensure(metadata_len(&config.metadata) <= METADATA_LEN_MAX, || {
        invalid(format_args!("stream metadata exceeds maximum size of {METADATA_LEN_MAX} bytes"))
    })
}

fn replicas(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    ensure(config.num_replicas <= REPLICAS_MAX, || {
        invalid(format_args!("maximum replicas is {REPLICAS_MAX}"))
    })?;
    ensure(config.num_replicas >= 0, || error::REPLICAS_COUNT_CANNOT_BE_NEGATIVE)
}

/// What is 0 or below becomes -1 (JS-075).
fn unlimited(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let mut max_msg_size = config.max_msg_size.into();
    for (name, limit) in [
        ("max_msgs", &mut config.max_msgs),
        ("max_msgs_per_subject", &mut config.max_msgs_per_subject),
        ("max_bytes", &mut config.max_bytes),
        ("max_msg_size", &mut max_msg_size),
        ("max_consumers", &mut config.max_consumers),
    ] {
        if *limit < -1 && rules.is_pedantic {
            return Err(pedantic(format_args!("{name} must be set to -1")));
        }
        if *limit <= 0 {
            *limit = -1;
        }
    }
    if max_msg_size == -1 {
        config.max_msg_size = -1;
    }
    Ok(())
}

/// JS-076, JS-082
fn ages(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let (age, limit) = (config.max_age, rules.server.duplicate_window_ns);
    ensure(age >= 0, || invalid("max age can not be negative"))?;
    ensure(age == 0 || age >= SHORTEST, || invalid("max age needs to be >= 100ms"))?;

    if config.duplicate_window == 0 && config.mirror.is_none() && config.sources.is_empty() {
        let mut window = DUPLICATE_WINDOW_DEFAULT;
        if limit > 0 && window > limit {
            ensure(!rules.is_pedantic, || {
                pedantic("duplicate window limits are higher than current limits")
            })?;
            window = limit;
        }
        if age != 0 && age < window {
            ensure(!rules.is_pedantic, || pedantic("duplicate window cannot be bigger than max age"))?;
            window = age;
        }
        config.duplicate_window = window;
    }
    let window = config.duplicate_window;
    ensure(window >= 0, || invalid("duplicates window can not be negative"))?;
    ensure(age == 0 || window <= age, || invalid("duplicates window can not be larger then max age"))?;
    ensure(limit <= 0 || window <= limit, || {
        let limit = duration::show(limit);
        invalid(format_args!("duplicates window can not be larger then server limit of {limit}"))
    })?;
    ensure(window == 0 || window >= SHORTEST, || invalid("duplicates window needs to be >= 100ms"))
}

/// What does not go together (JS-078, JS-092, JS-097).
fn policies(config: &StreamConfig) -> Result<(), ApiError> {
    ensure(!(config.deny_purge && config.allow_rollup_hdrs), || {
        invalid("roll-ups require the purge permission")
    })?;
    if config.allow_msg_counter {
        ensure(config.discard != Discard::New, || invalid("counter stream cannot use discard new"))?;
        ensure(!config.allow_msg_ttl, || invalid("counter stream cannot use message TTLs"))?;
        ensure(!config.allow_msg_schedules, || invalid("counter stream cannot use message schedules"))?;
        ensure(config.retention == Retention::Limits, || {
            invalid("counter stream can only use limits retention")
        })?;
    }
    discard_per_subject(config)
}

pub(super) fn discard_per_subject(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.discard_new_per_subject {
        return Ok(());
    }
    ensure(config.discard == Discard::New, || {
        invalid("discard new per subject requires discard new policy to be set")
    })?;
    ensure(config.max_msgs_per_subject > 0, || {
        invalid("discard new per subject requires max msgs per subject > 0")
    })
}

/// Delete markers and schedules need other features, and switch them on (JS-096, JS-100).
fn implied(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let marker_ttl = config.subject_delete_marker_ttl;
    ensure(marker_ttl >= 0, || invalid("subject delete marker TTL must not be negative"))?;
    if marker_ttl > 0 {
        ensure(marker_ttl >= SECOND, || invalid("subject delete marker TTL must be at least 1 second"))?;
        ensure(config.allow_msg_ttl || !rules.is_pedantic, || {
            invalid("subject delete marker cannot be set if message TTLs are disabled")
        })?;
        config.allow_msg_ttl = true;
        allow_rollups(config, rules, "subject delete marker cannot be set if roll-ups are disabled")?;
    }
    if config.allow_msg_schedules {
        ensure(config.discard != Discard::New, || invalid("message scheduling cannot use discard new"))?;
        allow_rollups(config, rules, "message scheduling cannot be set if roll-ups are disabled")?;
    }
    Ok(())
}

fn allow_rollups(config: &mut StreamConfig, rules: &Rules<'_>, refusal: &str) -> Result<(), ApiError> {
    if !config.allow_rollup_hdrs {
        ensure(!rules.is_pedantic, || invalid(refusal))?;
        (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
    }
    Ok(())
}

/// JS-101
fn persistence(config: &StreamConfig) -> Result<(), ApiError> {
    if config.persist_mode != PersistMode::Async {
        return Ok(());
    }
    ensure(config.storage == Storage::File, || {
        invalid("async persist mode is only supported on file storage")
    })?;
    ensure(config.num_replicas <= 1, || {
        invalid("async persist mode is not supported on replicated streams")
    })?;
    ensure(!config.allow_atomic, || invalid("async persist mode is not supported with atomic batch publish"))
}

/// JS-072, JS-073
fn subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    for (at, subject) in config.subjects.iter().enumerate() {
        ensure(is_valid_subject(subject), || invalid("invalid subject"))?;
        ensure(!config.subjects[..at].contains(subject), || invalid("duplicate subjects detected"))?;
        if subject == ">" {
            ensure(config.no_ack, || invalid("capturing all subjects requires no-ack to be true"))?;
            ensure(config.num_replicas == 1, || invalid("capturing all subjects requires replicas of 1"))?;
        }
        if !config.no_ack {
            beside_the_api(subject)?;
        }
        // What is invalid has its turn, save where nats-server sees an overlap before.
        let is_full = |other: &str| !other.split('.').any(str::is_empty);
        let counts = |other: &&String| is_valid_subject(other) || is_literal(subject) && is_full(other);
        let mut others = config.subjects[at + 1..].iter().filter(counts);
        if let Some(other) = others.find(|other| overlap(other, subject)) {
            let (subject, other) = (go_quote(subject), go_quote(other));
            return Err(invalid(format_args!("subject {subject} overlaps with {other}")));
        }
    }
    Ok(())
}

/// Acknowledging requests and answers of the server itself would confuse whoever asked.
fn beside_the_api(subject: &str) -> Result<(), ApiError> {
    let api = ["$JS.>", "$JSC.>", "$NRG.>"].iter().any(|space| overlap(subject, space));
    ensure(!api || is_subset(subject, "$JS.EVENT.>"), || {
        invalid("subjects that overlap with jetstream api require no-ack to be true")
    })?;
    ensure(!overlap(subject, "$SYS.>") || is_subset(subject, "$SYS.ACCOUNT.>"), || {
        invalid("subjects that overlap with system api require no-ack to be true")
    })
}

/// What the account says of bytes in one stream (JS-104).
fn account_bytes(config: &StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let Some(limits) = rules.account.select(config.num_replicas) else { return Ok(()) };
    ensure(!limits.max_bytes_required || config.max_bytes > 0, || error::STREAM_MAX_BYTES_REQUIRED)?;
    let max = match config.storage {
        Storage::Memory => limits.memory_max_stream_bytes,
        Storage::File => limits.storage_max_stream_bytes,
    };
    ensure(max <= 0 || config.max_bytes <= max, || error::STREAM_MAX_STREAM_BYTES_EXCEEDED)
}

/// JS-087, JS-088
fn transforms(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    if let Some(SubjectTransform { src, dest }) = &config.subject_transform {
        ensure(src.is_empty() || is_valid_subject(src), || {
            error::STREAM_TRANSFORM_INVALID_SOURCE.with(format_args!("invalid subject {src}"))
        })?;
        transform::check(src, dest).map_err(|why| error::STREAM_TRANSFORM_INVALID_DESTINATION.with(why))?;
    }
    let Some(republish) = &mut config.republish else { return Ok(()) };
    if republish.src.is_empty() {
        ensure(!rules.is_pedantic, || pedantic("republish source can not be empty"))?;
        republish.src = ">".to_owned();
    }
    if let Some(transform) = &config.subject_transform
        && (republish.src.as_str(), republish.dest.as_str()) == (">", ">")
        && config.subjects.as_slice() == [transform.src.as_str()]
    {
        // Whatever the transform makes, it lies beside the stream's own subjects.
        ensure(!rules.is_pedantic, || pedantic("implicit republish based on subject transform"))?;
        republish.src.clone_from(&transform.dest);
        republish.dest.clone_from(&transform.dest);
    }
    let (src, dest) = (&republish.src, &republish.dest);
    ensure(!config.subjects.iter().any(|subject| overlap(dest, subject)), || {
        invalid("stream configuration for republish destination forms a cycle")
    })?;
    ensure(transform::compile(src, dest).is_ok(), || {
        invalid(format_args!(
            "stream configuration for republish with transform from '{src}' to '{dest}' not valid"
        ))
    })
}

pub(super) fn placement(config: &StreamConfig) -> Result<(), ApiError> {
    let preferred = config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty());
    ensure(!preferred, || invalid("preferred server not permitted in placement"))
}
