//! What an update of a stream may change (JS-110 to JS-119).

use super::stream::{check, discard_per_subject};
use super::{Rules, STORE_ENGINE, ensure, invalid};
use crate::api::limits::check_bytes;
use crate::transform;
use crate::wire::consumer::ConsumerConfig;
use crate::wire::stream::Republish;
use crate::wire::{ApiError, Discard, Retention, StreamConfig, error};

/// The configuration that takes the place of `old`, if it may.
pub fn check_update(
    old: &StreamConfig,
    new: &StreamConfig,
    rules: &Rules<'_>,
) -> Result<StreamConfig, ApiError> {
    let mut config = check(new, rules)?;
    unchangeable(old, &config)?;
    republishing(&mut config)?;
    if config.sealed {
        // Nothing leaves it any more, nothing gets in.
        config.max_age = 0;
        config.discard = Discard::New;
        (config.deny_delete, config.deny_purge) = (true, true);
        config.allow_rollup_hdrs = false;
    }
    // A tier that is gone still counts for streams that are in it.
    let limits = rules.account.select(config.num_replicas);
    let limits = limits.or_else(|| rules.account.select(old.num_replicas)).ok_or(error::NO_LIMITS)?;
    check_bytes(&config, Some(old.max_bytes), limits, rules.account, rules.assets, rules.bytes)?;
    Ok(config)
}

/// With an update, no destination is any.
fn republishing(config: &mut StreamConfig) -> Result<(), ApiError> {
    let Some(Republish { src, dest, .. }) =
        config.republish.as_mut().filter(|republish| republish.dest.is_empty())
    else {
        return Ok(());
    };
    ">".clone_into(dest);
    ensure(transform::compile(src, dest).is_ok(), || {
        let text = format_args!("stream configuration for republish from '{src}' to '>': invalid subject");
        error::STREAM_UPDATE.with(text)
    })
}

fn unchangeable(old: &StreamConfig, new: &StreamConfig) -> Result<(), ApiError> {
    let can_not = |what: &str| invalid(format_args!("stream configuration update can not {what}"));
    ensure(new.name == old.name, || invalid("stream configuration name must match original"))?;
    ensure(new.num_replicas <= 1, || error::STREAM_REPLICAS_NOT_SUPPORTED)?;
    ensure(new.storage == old.storage, || can_not("change storage type"))?;
    let engine = |config: &StreamConfig| config.metadata.get(STORE_ENGINE).cloned();
    ensure(engine(new) == engine(old), || can_not(&format!("change metadata '{STORE_ENGINE}'")))?;
    let is_work_queue = |config: &StreamConfig| config.retention == Retention::WorkQueue;
    ensure(is_work_queue(new) == is_work_queue(old), || {
        can_not("change retention policy to/from workqueue")
    })?;
    ensure(new.sealed || !old.sealed, || can_not("unseal a sealed stream"))?;
    ensure(new.deny_delete || !old.deny_delete, || can_not("cancel deny message deletes"))?;
    ensure(new.deny_purge || !old.deny_purge, || can_not("cancel deny purge"))?;
    ensure(new.mirror.is_none() || new.mirror == old.mirror, || error::STREAM_MIRROR_NOT_UPDATABLE)?;
    discard_per_subject(new)?;
    ensure(new.allow_msg_ttl || !old.allow_msg_ttl, || invalid("message TTL status can not be disabled"))?;
    ensure(new.allow_msg_counter == old.allow_msg_counter, || can_not("change message counter setting"))?;
    ensure(new.allow_msg_schedules || !old.allow_msg_schedules, || {
        invalid("message schedules can not be disabled")
    })?;
    ensure(new.persist_mode == old.persist_mode, || can_not("change persist mode"))
}

/// Whether the limits for consumers still hold for those there are, if they changed (JS-116).
pub fn check_consumer_limits<'a>(
    old: &StreamConfig,
    new: &StreamConfig,
    consumers: impl IntoIterator<Item = (&'a str, &'a ConsumerConfig)>,
) -> Result<(), ApiError> {
    let (before, after) = (&old.consumer_limits, &new.consumer_limits);
    let lowered = |before: i64, after: i64| after > 0 && before != after;
    if !lowered(before.inactive_threshold, after.inactive_threshold)
        && !lowered(before.max_ack_pending, after.max_ack_pending)
    {
        return Ok(());
    }
    let is_over = |config: &ConsumerConfig| {
        (after.inactive_threshold > 0 && config.inactive_threshold > after.inactive_threshold)
            || (after.max_ack_pending > 0 && config.max_ack_pending > after.max_ack_pending)
    };
    let over: Vec<&str> =
        consumers.into_iter().filter(|(_, config)| is_over(config)).map(|(name, _)| name).collect();
    ensure(over.is_empty(), || {
        error::STREAM_UPDATE.with(format_args!("change to limits violates consumers: {}", over.join(", ")))
    })
}
