//! The configuration of a consumer: defaults (JC-020 to JC-050) and rules.
//!
//! Not here: names in requests and what is there already (`consumer_update`).

use super::subjects::{is_literal, is_subset, is_valid_name, is_valid_subject};
use super::{DESCRIPTION_LEN_MAX, METADATA_LEN_MAX, MS, SECOND, ensure, invalid, metadata_len, pedantic};
use crate::api::decode::is_valid_group;
use crate::api::limits::{AccountLimits, ServerLimits};
use crate::duration;
use crate::wire::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy};
use crate::wire::{ApiError, ConsumerConfig, Retention, StreamConfig, error};

const MAX_WAITING_DEFAULT: i64 = 512;
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
const ACK_WAIT_DEFAULT: i64 = 30 * SECOND;
const PRIORITY_TIMEOUT_DEFAULT: i64 = 120 * SECOND;
/// Of consumers that acknowledge by flow control: what those of sources have.
const FLOW_CONTROL_HEARTBEAT: i64 = SECOND;

/// What a consumer's configuration is judged by.
#[derive(Clone, Copy)]
pub struct ConsumerRules<'a> {
    pub server: &'a ServerLimits,
    pub account: &'a AccountLimits,
    pub stream: &'a StreamConfig,
    pub is_pedantic: bool,
}

/// Fills in the defaults, and sees whether it may be.
pub fn check(config: &mut ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    none_negative(config, rules)?;
    defaults(config, rules)?;

    names(config)?;
    replicas(config, rules.stream)?;
    times(config)?;
    acknowledged_by_flow_control(config)?;
    let deliveries = config.max_deliver;
    ensure(
        deliveries == -1 || config.backoff.len() as i64 <= deliveries.max(0) || config.backoff.is_empty(),
        || error::CONSUMER_MAX_DELIVER_BACKOFF,
    )?;
    ensure(config.description.len() <= DESCRIPTION_LEN_MAX, || {
        error::CONSUMER_DESCRIPTION_TOO_LONG.with(DESCRIPTION_LEN_MAX)
    })?;
    match config.is_push() {
        true => push(config, rules.stream)?,
        false => pull(config, rules)?,
    }
    ceilings(config, rules)?;
    ensure(!config.direct || config.is_push(), || error::CONSUMER_DIRECT_REQUIRES_PUSH)?;
    ensure(!config.direct || !config.is_durable(), || error::CONSUMER_DIRECT_REQUIRES_EPHEMERAL)?;
    filters(config)?;
    start(config)?;
    sampling(config)?;
    ensure(!config.flow_control || config.idle_heartbeat != 0, || {
        error::CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS
    })?;
    ensure(
        config.durable_name.is_empty() || config.name.is_empty() || config.name == config.durable_name,
        || error::CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH,
    )?;
    ensure(metadata_len(&config.metadata) <= METADATA_LEN_MAX, || {
        error::CONSUMER_METADATA_LENGTH.with(format_args!("{}KB", METADATA_LEN_MAX / 1024))
    })?;
    priorities(config)?;
    super::stream::placement(rules.stream)
}

fn none_negative(config: &mut ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    let least = |value: &mut i64, least: i64, why: &str| {
        ensure(*value >= least || !rules.is_pedantic, || pedantic(why))?;
        *value = (*value).max(least);
        Ok::<(), ApiError>(())
    };
    least(&mut config.max_deliver, -1, "max_deliver must be set to -1")?;
    if config.max_deliver == 0 {
        config.max_deliver = -1;
    }
    least(&mut config.max_waiting, 0, "max_waiting must not be negative")?;
    least(&mut config.max_ack_pending, -1, "max_ack_pending must be set to -1")?;
    least(&mut config.max_batch, 0, "max_batch must not be negative")?;
    least(&mut config.max_expires, 0, "max_expires must not be negative")?;
    least(&mut config.max_bytes, 0, "max_bytes must not be negative")?;
    least(&mut config.idle_heartbeat, 0, "idle_heartbeat must not be negative")?;
    least(&mut config.inactive_threshold, 0, "inactive_threshold must not be negative")?;
    least(&mut config.priority_timeout, 0, "priority_timeout must not be negative")
}

fn defaults(config: &mut ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    let (is_pull, of_stream) = (!config.is_push(), &rules.stream.consumer_limits);
    if is_pull && config.max_waiting == 0 {
        config.max_waiting = MAX_WAITING_DEFAULT;
    }
    if config.ack_wait == 0 && matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
        config.ack_wait = ACK_WAIT_DEFAULT;
    }
    if let Some(&first) = config.backoff.first() {
        ensure(!rules.is_pedantic || config.ack_wait == first, || {
            pedantic("first backoff value has to equal batch AckWait")
        })?;
        config.ack_wait = first;
    }
    if config.max_ack_pending == 0 {
        ensure(!rules.is_pedantic || of_stream.max_ack_pending <= 0, || {
            pedantic("max_ack_pending must be set if it's configured in stream limits")
        })?;
        config.max_ack_pending = of_stream.max_ack_pending;
    }
    if config.inactive_threshold == 0 {
        ensure(!rules.is_pedantic || of_stream.inactive_threshold <= 0, || {
            pedantic("inactive_threshold must be set if it's configured in stream limits")
        })?;
        config.inactive_threshold = of_stream.inactive_threshold;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        let limits = [rules.server.max_ack_pending, rules.account.max_ack_pending];
        let limits = limits.into_iter().filter(|&limit| limit > 0);
        config.max_ack_pending = limits.fold(MAX_ACK_PENDING_DEFAULT, i64::min);
    }
    if is_pull && config.max_batch == 0 && rules.server.max_request_batch > 0 {
        ensure(!rules.is_pedantic, || {
            pedantic("max_request_batch must be set if it's JetStream limits are set")
        })?;
        config.max_batch = rules.server.max_request_batch;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout == 0 {
        config.priority_timeout = PRIORITY_TIMEOUT_DEFAULT;
    }
    if config.ack_policy == AckPolicy::FlowControl && !rules.is_pedantic {
        config.flow_control = true;
        config.idle_heartbeat = FLOW_CONTROL_HEARTBEAT;
    }
    Ok(())
}

fn names(config: &ConsumerConfig) -> Result<(), ApiError> {
    ensure(config.name.is_empty() || is_valid_name(&config.name), || {
        invalid("consumer name can not contain '.', '*', '>', '\\', '/'")
    })?;
    ensure(config.durable_name.is_empty() || is_valid_name(&config.durable_name), || {
        invalid("consumer durable name can not contain '.', '*', '>', '\\', '/'")
    })
}

fn replicas(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let replicas = config.num_replicas;
    ensure(replicas <= stream.num_replicas, || error::CONSUMER_REPLICAS_EXCEEDS_STREAM)?;
    ensure(replicas >= 0, || error::REPLICAS_COUNT_CANNOT_BE_NEGATIVE)?;
    let must_match = stream.retention != Retention::Limits && replicas != 0;
    ensure(!must_match || replicas == stream.num_replicas, || error::CONSUMER_REPLICAS_SHOULD_MATCH_STREAM)
}

fn times(config: &ConsumerConfig) -> Result<(), ApiError> {
    ensure(config.backoff.iter().all(|&wait| wait >= 0), || error::CONSUMER_BACK_OFF_NEGATIVE)?;
    ensure(config.ack_wait >= 0, || error::CONSUMER_ACK_WAIT_NEGATIVE)
}

/// JC-047
fn acknowledged_by_flow_control(config: &ConsumerConfig) -> Result<(), ApiError> {
    if config.ack_policy != AckPolicy::FlowControl {
        return Ok(());
    }
    ensure(config.is_push(), || error::CONSUMER_ACK_FC_REQUIRES_PUSH)?;
    ensure(config.flow_control, || error::CONSUMER_ACK_FC_REQUIRES_FC)?;
    ensure(config.idle_heartbeat == FLOW_CONTROL_HEARTBEAT, || {
        invalid("flow control ack policy heartbeat needs to be 1s")
    })?;
    ensure(config.max_ack_pending > 0, || error::CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING)?;
    ensure(config.ack_wait == 0 && config.backoff.is_empty(), || {
        error::CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT
    })?;
    ensure(config.max_deliver <= 0, || error::CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER)
}

fn push(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let subject = &config.deliver_subject;
    ensure(is_literal(subject), || error::CONSUMER_DELIVER_TO_WILDCARDS)?;
    ensure(is_valid_subject(subject), || error::CONSUMER_INVALID_DELIVER_SUBJECT)?;
    let is_cycle = stream.subjects.iter().any(|stored| is_subset(subject, stored));
    ensure(!is_cycle, || error::CONSUMER_DELIVER_CYCLE)?;
    ensure(config.max_waiting == 0, || error::CONSUMER_PUSH_MAX_WAITING)?;
    ensure(config.max_ack_pending <= 0 || config.ack_policy != AckPolicy::None, || {
        error::CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED
    })?;
    let heartbeat = config.idle_heartbeat;
    ensure(heartbeat <= 0 || heartbeat >= 100 * MS, || error::CONSUMER_SMALL_HEARTBEAT)
}

fn pull(config: &ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    let is_work_queue = rules.stream.retention == Retention::WorkQueue;
    ensure(config.ack_policy != AckPolicy::None || !is_work_queue, || error::CONSUMER_PULL_REQUIRES_ACK)?;
    ensure(config.rate_limit_bps == 0, || error::CONSUMER_PULL_WITH_RATE_LIMIT)?;
    ensure(config.idle_heartbeat <= 0, || error::CONSUMER_HB_REQUIRES_PUSH)?;
    ensure(!config.flow_control, || error::CONSUMER_FC_REQUIRES_PUSH)?;
    ensure(config.max_expires == 0 || config.max_expires >= MS, || {
        error::CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL
    })?;
    let limit = rules.server.max_request_batch;
    ensure(limit <= 0 || config.max_batch <= limit, || error::CONSUMER_MAX_REQUEST_BATCH_EXCEEDED.with(limit))
}

/// Limits of the server, the account and the stream.
fn ceilings(config: &ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    let of_stream = &rules.stream.consumer_limits;
    for limit in [rules.server.max_ack_pending, rules.account.max_ack_pending, of_stream.max_ack_pending] {
        ensure(limit <= 0 || config.max_ack_pending <= limit, || {
            error::CONSUMER_MAX_PENDING_ACK_EXCESS.with(limit)
        })?;
    }
    let limit = of_stream.inactive_threshold;
    ensure(limit <= 0 || config.inactive_threshold <= limit, || {
        error::CONSUMER_INACTIVE_THRESHOLD_EXCESS.with(duration::show(limit))
    })
}

/// JC-028
fn filters(config: &ConsumerConfig) -> Result<(), ApiError> {
    let one = &config.filter_subject;
    ensure(one.is_empty() || config.filter_subjects.is_empty(), || {
        error::CONSUMER_DUPLICATE_FILTER_SUBJECTS
    })?;
    ensure(one.is_empty() || is_valid_subject(one), || invalid("invalid subject"))?;
    ensure(config.filter_subjects.iter().all(|filter| !filter.is_empty()), || error::CONSUMER_EMPTY_FILTER)?;
    for (at, filter) in config.filter_subjects.iter().enumerate() {
        ensure(is_valid_subject(filter), || invalid("invalid subject"))?;
        let mut others = config.filter_subjects.iter().enumerate().filter(|(other, _)| *other != at);
        ensure(!others.any(|(_, other)| is_subset(filter, other)), || {
            error::CONSUMER_OVERLAPPING_SUBJECT_FILTERS
        })?;
    }
    Ok(())
}

/// JC-022
fn start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let conflict = |policy: &str, also: &str| {
        error::CONSUMER_INVALID_POLICY.with(format_args!(
            "consumer delivery policy is deliver {policy}, but optional start {also} is also set"
        ))
    };
    let missing = |policy: &str, what: &str| {
        error::CONSUMER_INVALID_POLICY.with(format_args!(
            "consumer delivery policy is deliver {policy}, but optional {what} is not set"
        ))
    };
    let (has_seq, has_time) = (config.opt_start_seq > 0, config.opt_start_time.is_some());
    let neither = |policy: &str| {
        ensure(!has_seq, || conflict(policy, "sequence"))?;
        ensure(!has_time, || conflict(policy, "time"))
    };
    match config.deliver_policy {
        DeliverPolicy::All => neither("all"),
        DeliverPolicy::Last => neither("last"),
        DeliverPolicy::New => neither("new"),
        DeliverPolicy::LastPerSubject => {
            neither("last per subject")?;
            ensure(config.filters().next().is_some(), || missing("last per subject", "filter subject"))
        }
        DeliverPolicy::ByStartSequence => {
            ensure(has_seq, || missing("by start sequence", "start sequence"))?;
            ensure(!has_time, || conflict("by start sequence", "time"))
        }
        DeliverPolicy::ByStartTime => {
            ensure(has_time, || missing("by start time", "start time"))?;
            ensure(!has_seq, || conflict("by start time", "start sequence"))
        }
    }
}

/// JC-031
fn sampling(config: &ConsumerConfig) -> Result<(), ApiError> {
    let text = config.sample_freq.strip_suffix('%').unwrap_or(&config.sample_freq);
    if config.sample_freq.is_empty() {
        return Ok(());
    }
    let why = match text.parse::<i64>() {
        Ok(0..) => return Ok(()),
        Ok(_) => "<nil>".to_owned(),
        Err(why) => {
            let is_range = matches!(
                why.kind(),
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow
            );
            let why = if is_range { "value out of range" } else { "invalid syntax" };
            format!("strconv.Atoi: parsing {}: {why}", super::go_quote(text))
        }
    };
    Err(error::CONSUMER_INVALID_SAMPLING.with(why))
}

/// How many of a hundred acknowledgements are told of; 0: none.
pub fn sample_percent(config: &ConsumerConfig) -> u32 {
    let text = config.sample_freq.strip_suffix('%').unwrap_or(&config.sample_freq);
    text.parse::<i64>().map_or(0, |percent| percent.clamp(0, 100) as u32)
}

/// JC-046
fn priorities(config: &ConsumerConfig) -> Result<(), ApiError> {
    let groups = &config.priority_groups;
    if config.priority_policy == PriorityPolicy::None {
        ensure(groups.is_empty(), || error::CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE)?;
        return ensure(config.priority_timeout <= 0, || {
            error::CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE
        });
    }
    ensure(!config.is_push(), || error::CONSUMER_PUSH_WITH_PRIORITY_GROUP)?;
    ensure(!groups.is_empty(), || error::CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP)?;
    for group in groups {
        ensure(!group.is_empty(), || error::CONSUMER_EMPTY_GROUP_NAME)?;
        ensure(is_valid_group(group), || error::CONSUMER_INVALID_GROUP_NAME)?;
    }
    Ok(())
}
