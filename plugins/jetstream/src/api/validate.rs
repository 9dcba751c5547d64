//! Configurations of streams and consumers: defaults, and what is refused.

use crate::config::Limits;
use crate::filter::{is_literal, is_subset, overlaps};
use crate::wire::{
    AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, PersistMode, PriorityPolicy, Retention, StreamConfig,
    error,
};
use std::sync::Arc;

/// What a stream is checked against.
pub struct Rules<'a> {
    /// Silent corrections are errors (E10157).
    pub pedantic: bool,
    pub others: &'a [Arc<StreamConfig>],
    pub limits: &'a Limits,
}

/// What a consumer is checked against.
pub struct ConsumerRules<'a> {
    pub pedantic: bool,
    pub stream: &'a StreamConfig,
    pub others: &'a [&'a ConsumerConfig],
    pub limits: &'a Limits,
}

const DESCRIPTION_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;
const METADATA_BYTES_MAX: usize = 128 * 1024;
const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

fn invalid(text: impl std::fmt::Display) -> ApiError {
    error::STREAM_INVALID_CONFIG.with(text)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>', '\\', '/'])
}

/// Whether it can be subscribed to.
pub fn is_subject(subject: &str) -> bool {
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        let ends = token == ">" && tokens.peek().is_some();
        if token.is_empty() || ends || token.contains([' ', '\t', '\r', '\n', '\x0c']) {
            return false;
        }
    }
    true
}

/// A stream's configuration with its defaults (JS-070 to JS-104).
pub fn stream(mut config: StreamConfig, rules: &Rules<'_>) -> Result<StreamConfig, ApiError> {
    if !is_name(&config.name) {
        return Err(invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'"));
    }
    if config.name.len() > NAME_BYTES_MAX {
        return Err(invalid("stream name is too long, maximum allowed is 255"));
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        return Err(invalid("stream description is too long, maximum allowed is 4096"));
    }
    if metadata_bytes(&config.metadata) > METADATA_BYTES_MAX {
        return Err(invalid("stream metadata exceeds maximum size of 131072 bytes"));
    }
    for (name, value) in [
        ("max_consumers", &mut config.max_consumers),
        ("max_msgs", &mut config.max_msgs),
        ("max_bytes", &mut config.max_bytes),
        ("max_msgs_per_subject", &mut config.max_msgs_per_subject),
    ] {
        if *value < -1 && rules.pedantic {
            return Err(error::PEDANTIC.with(format_args!("{name} must be set to -1")));
        }
        if *value == 0 || *value < -1 {
            *value = -1;
        }
    }
    if config.max_msg_size <= 0 {
        config.max_msg_size = -1;
    }
    match config.num_replicas {
        0 => config.num_replicas = 1,
        1 => {}
        replicas if replicas < 0 => return Err(error::REPLICAS_COUNT_CANNOT_BE_NEGATIVE),
        replicas if replicas > 5 => return Err(invalid("maximum replicas is 5")),
        _ => return Err(error::STREAM_REPLICAS_NOT_SUPPORTED),
    }
    check_times(&mut config)?;
    check_features(&mut config)?;
    check_subjects(&mut config, rules)?;
    Ok(config)
}

fn check_times(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.max_age < 0 {
        return Err(invalid("max age can not be negative"));
    }
    if config.max_age > 0 && config.max_age < 100 * MS {
        return Err(invalid("max age needs to be >= 100ms"));
    }
    let default_window = 120 * SECOND;
    if config.duplicate_window == 0 && config.mirror.is_none() && config.sources.is_empty() {
        config.duplicate_window = match config.max_age {
            0 => default_window,
            max_age => max_age.min(default_window),
        };
    }
    if config.duplicate_window < 0 {
        return Err(invalid("duplicates window can not be negative"));
    }
    if config.max_age > 0 && config.duplicate_window > config.max_age {
        return Err(invalid("duplicates window can not be larger then max age"));
    }
    if config.duplicate_window > 0 && config.duplicate_window < 100 * MS {
        return Err(invalid("duplicates window needs to be >= 100ms"));
    }
    let marker = config.subject_delete_marker_ttl;
    if marker < 0 {
        return Err(invalid("subject delete marker TTL must not be negative"));
    }
    if marker > 0 && marker < SECOND {
        return Err(invalid("subject delete marker TTL must be at least 1 second"));
    }
    if marker > 0 {
        config.allow_msg_ttl = true;
        config.allow_rollup_hdrs = true;
        config.deny_purge = false;
    }
    Ok(())
}

fn check_features(config: &mut StreamConfig) -> Result<(), ApiError> {
    use crate::wire::{Discard, Storage};
    if config.mirror.is_some() || !config.sources.is_empty() {
        return Err(invalid("mirrors and sources are not supported by natsd yet"));
    }
    if config.discard_new_per_subject {
        if config.discard != Discard::New {
            return Err(invalid("discard new per subject requires discard new policy to be set"));
        }
        if config.max_msgs_per_subject <= 0 {
            return Err(invalid("discard new per subject requires max msgs per subject > 0"));
        }
    }
    if config.allow_msg_counter {
        if config.discard == Discard::New {
            return Err(invalid("counter stream cannot use discard new"));
        }
        if config.allow_msg_ttl {
            return Err(invalid("counter stream cannot use message TTLs"));
        }
        if config.allow_msg_schedules {
            return Err(invalid("counter stream cannot use message schedules"));
        }
        if config.retention != Retention::Limits {
            return Err(invalid("counter stream can only use limits retention"));
        }
    }
    if config.allow_msg_schedules {
        if config.discard == Discard::New {
            return Err(invalid("message scheduling cannot use discard new"));
        }
        config.allow_rollup_hdrs = true;
        config.deny_purge = false;
    }
    if config.deny_purge && config.allow_rollup_hdrs {
        return Err(invalid("roll-ups require the purge permission"));
    }
    if config.persist_mode == PersistMode::Async {
        if config.storage != Storage::File {
            return Err(invalid("async persist mode is only supported on file storage"));
        }
        if config.allow_atomic {
            return Err(invalid("async persist mode is not supported with atomic batch publish"));
        }
    }
    if config.mirror_direct {
        return Err(invalid("stream has no mirror but does have mirror direct"));
    }
    if config.sealed {
        return Err(invalid("stream configuration for create can not be sealed"));
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        config.subjects.push(config.name.clone());
    }
    for (n, subject) in config.subjects.iter().enumerate() {
        if !is_subject(subject) {
            return Err(invalid("invalid subject"));
        }
        for earlier in &config.subjects[..n] {
            if earlier == subject {
                return Err(invalid("duplicate subjects detected"));
            }
            if overlaps(earlier.as_bytes(), subject.as_bytes()) {
                return Err(invalid(format_args!("subject {subject:?} overlaps with {earlier:?}")));
            }
        }
        if config.no_ack {
            continue;
        }
        if subject == ">" {
            return Err(invalid("capturing all subjects requires no-ack to be true"));
        }
        let own = |reserved: &str, allowed: &str| {
            overlaps(subject.as_bytes(), reserved.as_bytes())
                && !is_subset(subject.as_bytes(), allowed.as_bytes())
        };
        if own("$JS.>", "$JS.EVENT.>") || own("$JSC.>", "$JS.EVENT.>") || own("$NRG.>", "$JS.EVENT.>") {
            return Err(invalid("subjects that overlap with jetstream api require no-ack to be true"));
        }
        if own("$SYS.>", "$SYS.ACCOUNT.>") {
            return Err(invalid("subjects that overlap with system api require no-ack to be true"));
        }
    }
    let taken = rules.others.iter().flat_map(|other| &other.subjects);
    for other in taken {
        if config.subjects.iter().any(|own| overlaps(own.as_bytes(), other.as_bytes())) {
            return Err(error::STREAM_SUBJECT_OVERLAP);
        }
    }
    if let Some(republish) = &config.republish
        && config.subjects.iter().any(|own| overlaps(own.as_bytes(), republish.dest.as_bytes()))
    {
        return Err(invalid("stream configuration for republish destination forms a cycle"));
    }
    Ok(())
}

/// The same for a configuration that replaces another (JS-110 to JS-120).
pub fn update(
    before: &StreamConfig,
    config: StreamConfig,
    rules: &Rules<'_>,
) -> Result<StreamConfig, ApiError> {
    let refuse = |text: &str| invalid(format_args!("stream configuration update can not {text}"));
    let (sealed, mut config) = (config.sealed, StreamConfig { sealed: false, ..config });
    if config.name != before.name {
        return Err(invalid("stream configuration name must match original"));
    }
    config = stream(config, rules)?;
    config.sealed = sealed;
    if config.storage != before.storage {
        return Err(refuse("change storage type"));
    }
    let is_queue = |retention| retention == Retention::WorkQueue;
    if config.retention != before.retention && (is_queue(config.retention) || is_queue(before.retention)) {
        return Err(refuse("change retention policy to/from workqueue"));
    }
    if before.sealed && !config.sealed {
        return Err(refuse("unseal a sealed stream"));
    }
    if before.deny_delete && !config.deny_delete {
        return Err(refuse("cancel deny message deletes"));
    }
    if before.deny_purge && !config.deny_purge {
        return Err(refuse("cancel deny purge"));
    }
    if before.allow_msg_ttl && !config.allow_msg_ttl {
        return Err(invalid("message TTL status can not be disabled"));
    }
    if before.allow_msg_counter != config.allow_msg_counter {
        return Err(refuse("change message counter setting"));
    }
    if before.allow_msg_schedules && !config.allow_msg_schedules {
        return Err(invalid("message schedules can not be disabled"));
    }
    if config.sealed {
        config.max_age = 0;
        config.discard = crate::wire::Discard::New;
        config.deny_delete = true;
        config.deny_purge = true;
        config.allow_rollup_hdrs = false;
    }
    Ok(config)
}

fn metadata_bytes(metadata: &std::collections::BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// A consumer's configuration with its defaults (JC-014 to JC-050).
pub fn consumer(
    mut config: ConsumerConfig,
    before: Option<&ConsumerConfig>,
    rules: &ConsumerRules<'_>,
) -> Result<ConsumerConfig, ApiError> {
    for (name, what) in [(&config.name, "consumer name"), (&config.durable_name, "consumer durable name")] {
        if !name.is_empty() && !is_name(name) {
            return Err(invalid(format_args!("{what} can not contain '.', '*', '>', '\\', '/'")));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(error::CONSUMER_NAME_TOO_LONG.with(NAME_BYTES_MAX));
        }
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        return Err(error::CONSUMER_DESCRIPTION_TOO_LONG.with(DESCRIPTION_BYTES_MAX));
    }
    if config.num_replicas > 1 {
        return Err(error::STREAM_REPLICAS_NOT_SUPPORTED);
    }
    let limit = rules.stream.max_consumers;
    if before.is_none() && limit > 0 && rules.others.len() as i64 >= limit && !config.direct {
        return Err(error::MAXIMUM_CONSUMERS_LIMIT);
    }
    check_start(&config)?;
    check_filters(&config)?;
    fill_acks(&mut config, rules)?;
    if config.is_push() {
        check_push(&config)?;
    } else {
        check_pull(&mut config)?;
    }
    check_groups(&mut config)?;
    check_queue_rules(&config, rules)?;
    if let Some(before) = before {
        config.pause_until = before.pause_until;
    }
    let threshold_limit = rules.stream.consumer_limits.inactive_threshold;
    if config.inactive_threshold <= 0 {
        config.inactive_threshold = match (config.is_durable(), threshold_limit) {
            (_, limit) if limit > 0 => limit,
            (true, _) => 0,
            (false, _) => 5 * SECOND,
        };
    } else if threshold_limit > 0 && config.inactive_threshold > threshold_limit {
        return Err(error::CONSUMER_INACTIVE_THRESHOLD_EXCESS);
    }
    Ok(config)
}

fn check_start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let wrong = |text: &str| {
        Err(error::CONSUMER_INVALID_POLICY.with(format_args!("consumer delivery policy is deliver {text}")))
    };
    let (seq, time) = (config.opt_start_seq > 0, config.opt_start_time.is_some_and(|time| !time.is_zero()));
    let name = match config.deliver_policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::Last => "last",
        DeliverPolicy::New => "new",
        DeliverPolicy::LastPerSubject => "last per subject",
        DeliverPolicy::ByStartSequence if !seq => {
            return wrong("by start sequence, but optional start sequence is not set");
        }
        DeliverPolicy::ByStartSequence if time => {
            return wrong("by start sequence, but optional start time is also set");
        }
        DeliverPolicy::ByStartTime if !time => {
            return wrong("by start time, but optional start time is not set");
        }
        DeliverPolicy::ByStartTime if seq => {
            return wrong("by start time, but optional start sequence is also set");
        }
        _ => return Ok(()),
    };
    if seq {
        return wrong(&format!("{name}, but optional start sequence is also set"));
    }
    if time {
        return wrong(&format!("{name}, but optional start time is also set"));
    }
    if config.deliver_policy == DeliverPolicy::LastPerSubject && config.filters().next().is_none() {
        return wrong("last per subject, but optional filter subject is not set");
    }
    Ok(())
}

fn check_filters(config: &ConsumerConfig) -> Result<(), ApiError> {
    if !config.filter_subject.is_empty() && !config.filter_subjects.is_empty() {
        return Err(error::CONSUMER_DUPLICATE_FILTER_SUBJECTS);
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(error::CONSUMER_EMPTY_FILTER);
    }
    let filters: Vec<&str> = config.filters().collect();
    for (n, filter) in filters.iter().enumerate() {
        if !is_subject(filter) {
            return Err(invalid("consumer filter subject is not a valid subject"));
        }
        let subset = |one: &str, other: &str| is_subset(one.as_bytes(), other.as_bytes());
        if filters[..n].iter().any(|other| subset(filter, other) || subset(other, filter)) {
            return Err(error::CONSUMER_OVERLAPPING_SUBJECT_FILTERS);
        }
    }
    Ok(())
}

fn fill_acks(config: &mut ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    if config.ack_wait < 0 {
        return Err(error::CONSUMER_ACK_WAIT_NEGATIVE);
    }
    if config.backoff.iter().any(|wait| *wait < 0) {
        return Err(error::CONSUMER_BACK_OFF_NEGATIVE);
    }
    let waits = matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All);
    if let Some(first) = config.backoff.first() {
        config.ack_wait = *first;
    } else if config.ack_wait == 0 && waits {
        config.ack_wait = 30 * SECOND;
    }
    if config.max_deliver == 0 || config.max_deliver < -1 {
        config.max_deliver = -1;
    }
    if config.max_deliver > 0 && config.backoff.len() as i64 > config.max_deliver {
        return Err(error::CONSUMER_MAX_DELIVER_BACKOFF);
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        config.max_ack_pending = match rules.stream.consumer_limits.max_ack_pending {
            0 => 1000,
            limit => limit,
        };
    }
    let limit = rules.stream.consumer_limits.max_ack_pending;
    if limit > 0 && config.max_ack_pending > limit {
        return Err(error::CONSUMER_MAX_PENDING_ACK_EXCESS.with(limit));
    }
    if !config.sample_freq.is_empty() {
        let number = config.sample_freq.strip_suffix('%').unwrap_or(&config.sample_freq);
        if number.parse::<u32>().is_err() {
            return Err(error::CONSUMER_INVALID_SAMPLING
                .with(format_args!("failed to parse consumer sampling configuration: {number:?}")));
        }
    }
    Ok(())
}

fn check_push(config: &ConsumerConfig) -> Result<(), ApiError> {
    if !is_subject(&config.deliver_subject) {
        return Err(error::CONSUMER_INVALID_DELIVER_SUBJECT);
    }
    if !is_literal(config.deliver_subject.as_bytes()) {
        return Err(error::CONSUMER_DELIVER_TO_WILDCARDS);
    }
    if config.max_waiting != 0 {
        return Err(error::CONSUMER_PUSH_MAX_WAITING);
    }
    if config.ack_policy == AckPolicy::None && config.max_ack_pending > 0 {
        return Err(error::CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED);
    }
    if config.idle_heartbeat > 0 && config.idle_heartbeat < 100 * MS {
        return Err(error::CONSUMER_SMALL_HEARTBEAT);
    }
    if config.flow_control && config.idle_heartbeat <= 0 {
        return Err(error::CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS);
    }
    Ok(())
}

fn check_pull(config: &mut ConsumerConfig) -> Result<(), ApiError> {
    if config.rate_limit_bps > 0 {
        return Err(error::CONSUMER_PULL_WITH_RATE_LIMIT);
    }
    if config.flow_control {
        return Err(error::CONSUMER_FC_REQUIRES_PUSH);
    }
    if config.idle_heartbeat > 0 {
        return Err(error::CONSUMER_HB_REQUIRES_PUSH);
    }
    if config.max_waiting <= 0 {
        config.max_waiting = 512;
    }
    if config.max_expires > 0 && config.max_expires < MS {
        return Err(error::CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL);
    }
    Ok(())
}

fn check_groups(config: &mut ConsumerConfig) -> Result<(), ApiError> {
    if config.priority_policy == PriorityPolicy::None {
        if !config.priority_groups.is_empty() {
            return Err(error::CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE);
        }
        return Ok(());
    }
    if config.is_push() {
        return Err(error::CONSUMER_PUSH_WITH_PRIORITY_GROUP);
    }
    if config.priority_groups.is_empty() {
        return Err(error::CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP);
    }
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(error::CONSUMER_EMPTY_GROUP_NAME);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_=-".contains(c);
        if group.len() > 16 || !group.chars().all(allowed) {
            return Err(error::CONSUMER_INVALID_GROUP_NAME);
        }
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout <= 0 {
        config.priority_timeout = 120 * SECOND;
    }
    Ok(())
}

fn check_queue_rules(config: &ConsumerConfig, rules: &ConsumerRules<'_>) -> Result<(), ApiError> {
    if rules.stream.retention != Retention::WorkQueue || config.direct {
        return Ok(());
    }
    if config.ack_policy != AckPolicy::Explicit && config.ack_policy != AckPolicy::FlowControl {
        return Err(error::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK);
    }
    if config.deliver_policy != DeliverPolicy::All {
        return Err(error::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL);
    }
    for other in rules.others {
        let unfiltered = config.filters().next().is_none() || other.filters().next().is_none();
        if unfiltered {
            return Err(error::CONSUMER_WQ_MULTIPLE_UNFILTERED);
        }
        let clash = config
            .filters()
            .any(|own| other.filters().any(|theirs| overlaps(own.as_bytes(), theirs.as_bytes())));
        if clash {
            return Err(error::CONSUMER_WQ_CONSUMER_NOT_UNIQUE);
        }
    }
    Ok(())
}

/// JC-060: what cannot change.
pub fn consumer_update(before: &ConsumerConfig, after: &ConsumerConfig) -> Result<(), ApiError> {
    let fixed = [
        (before.deliver_policy == after.deliver_policy, "deliver policy"),
        (before.opt_start_seq == after.opt_start_seq, "start sequence"),
        (before.opt_start_time == after.opt_start_time, "start time"),
        (before.ack_policy == after.ack_policy, "ack policy"),
        (before.replay_policy == after.replay_policy, "replay policy"),
        (before.idle_heartbeat == after.idle_heartbeat, "heart beats"),
        (before.flow_control == after.flow_control, "flow control"),
        (before.max_waiting == after.max_waiting, "max waiting"),
    ];
    for (same, what) in fixed {
        if !same {
            return Err(error::CONSUMER_CREATE.with(format_args!("{what} can not be updated")));
        }
    }
    match (before.is_push(), after.is_push()) {
        (false, true) => Err(error::CONSUMER_CREATE.with("can not update pull consumer to push based")),
        (true, false) => Err(error::CONSUMER_CREATE.with("can not update push consumer to pull based")),
        _ => Ok(()),
    }
}

/// JC-065, JS-065.
pub fn consumer_level(config: &ConsumerConfig) -> u64 {
    if config.ack_policy == AckPolicy::FlowControl {
        return 4;
    }
    u64::from(config.pause_until.is_some() || config.priority_policy != PriorityPolicy::None)
}
