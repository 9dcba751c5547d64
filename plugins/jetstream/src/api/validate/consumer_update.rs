//! Requests to make and change consumers: what the subject says against what the body says (JC-003 to JC-006), what
//! is there already (JC-007 to JC-010, JC-048), what may change (JC-060 to JC-062).

use super::consumer::{ConsumerRules, check};
use super::subjects::{has_path_separator, overlap};
use super::{NAME_LEN_MAX, SECOND, ensure};
use crate::api::level;
use crate::api::subject::ConsumerPath;
use crate::wire::consumer::{AckPolicy, DeliverPolicy};
use crate::wire::requests::{Action, ConsumerCreateRequest};
use crate::wire::{ApiError, ConsumerConfig, Retention, StreamConfig, error};

const INACTIVE_THRESHOLD_DEFAULT: i64 = 5 * SECOND;

/// Checks the names of a request and takes over those of its subject. Before the stream is looked up.
pub fn resolve(path: &ConsumerPath<'_>, request: &mut ConsumerCreateRequest) -> Result<(), ApiError> {
    let config = &mut request.config;
    let (consumer, filter) = match *path {
        ConsumerPath::LegacyEphemeral { .. } => (config.name.as_str(), ""),
        ConsumerPath::LegacyDurable { consumer, .. } => (consumer, ""),
        ConsumerPath::Named { consumer, filter, .. } => (consumer, filter),
    };
    ensure(path.stream() == request.stream_name, || error::STREAM_MISMATCH)?;
    ensure(!has_path_separator(consumer), || error::CONSUMER_NAME_CONTAINS_PATH_SEPARATORS)?;
    match path {
        ConsumerPath::LegacyEphemeral { .. } => {
            ensure(config.durable_name.is_empty(), || error::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME)?;
        }
        ConsumerPath::LegacyDurable { .. } => {
            ensure(!config.durable_name.is_empty(), || error::CONSUMER_DURABLE_NAME_NOT_SET)?;
            ensure(consumer == config.durable_name, || error::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT)?;
            config.name = consumer.to_owned();
        }
        ConsumerPath::Named { .. } => {
            ensure(config.durable_name.is_empty() || consumer == config.durable_name, || {
                error::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT
            })?;
            config.name = consumer.to_owned();
        }
    }
    if !filter.is_empty() {
        ensure(config.filter_subjects.is_empty(), || error::CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED)?;
        ensure(config.filter_subject == filter, || error::CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH)?;
    }
    // One server alone has no second copy.
    ensure(config.num_replicas <= 1, || error::STREAM_REPLICAS_NOT_SUPPORTED)
}

/// A consumer that reads for a mirror or a source of another stream: where messages wait for their readers it
/// becomes durable, elsewhere each gets a name of its own (JS-245). After [`resolve`].
pub fn settle_sourcing(config: &mut ConsumerConfig, stream: &StreamConfig, unique: impl FnOnce() -> String) {
    if !(config.direct && config.sourcing && !config.name.is_empty()) {
        return;
    }
    if stream.retention == Retention::Limits {
        config.name = format!("{}-{}", config.name, unique());
        return;
    }
    config.direct = false;
    config.durable_name.clone_from(&config.name);
    config.ack_policy = AckPolicy::FlowControl;
    (config.ack_wait, config.max_deliver, config.inactive_threshold) = (0, 0, 0);
}

/// Takes the name and configuration of one consumer.
pub type Visit<'a> = &'a mut dyn FnMut(&str, &ConsumerConfig);

/// What the stream has of consumers.
#[derive(Clone, Copy)]
pub struct Present<'a> {
    /// The one with the name of the request.
    pub existing: Option<&'a ConsumerConfig>,
    /// How many count against limits: those that are neither direct nor sourcing.
    pub counted: i64,
    /// Of a work queue: those that count, by name.
    pub others: &'a dyn Fn(Visit<'_>),
    /// Whether someone listens to a deliver subject.
    pub has_interest: &'a dyn Fn(&str) -> bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Without a name (JC-013) it is the caller's to choose one; the configuration keeps none.
    Create(Box<ConsumerConfig>),
    /// Of the existing one; may change nothing.
    Update(Box<ConsumerConfig>),
}

/// After [`resolve`]. `rules` are without `is_pedantic`, which is in the request.
pub fn plan(
    request: ConsumerCreateRequest,
    rules: &ConsumerRules<'_>,
    present: &Present<'_>,
) -> Result<Plan, ApiError> {
    let mut config = request.config;
    if let Some(existing) = present.existing {
        // Only PAUSE changes it (JC-010).
        config.pause_until = existing.pause_until;
        if config.sourcing && config.is_durable() {
            config.deliver_policy = existing.deliver_policy;
            config.opt_start_seq = existing.opt_start_seq;
            config.opt_start_time = existing.opt_start_time;
        }
    }
    level::stamp_consumer(&mut config);
    check(&mut config, &ConsumerRules { is_pedantic: request.pedantic, ..*rules })?;

    if let Some(existing) = present.existing {
        if request.action == Action::Create {
            level::align(&mut config.metadata, &existing.metadata);
            ensure(config == *existing, || error::CONSUMER_ALREADY_EXISTS)?;
        }
        let is_work_queue = rules.stream.retention == Retention::WorkQueue;
        ensure(!is_work_queue || is_apart(&config, present), || error::CONSUMER_WQ_CONSUMER_NOT_UNIQUE)?;
        check_update(existing, &config, present.has_interest)?;
        // One that was durable stays, whatever updates say of its name.
        stamp_threshold(&mut config, existing.is_durable() || existing.inactive_threshold <= 0);
        return Ok(Plan::Update(Box::new(config)));
    }
    ensure(request.action != Action::Update, || error::CONSUMER_DOES_NOT_EXIST)?;
    if !config.is_internal() {
        room(rules, present)?;
        work_queue(&config, rules, present)?;
    }
    ensure(config.durable_name.len() <= NAME_LEN_MAX, || error::CONSUMER_NAME_TOO_LONG.with(NAME_LEN_MAX))?;
    let is_durable = config.is_durable();
    stamp_threshold(&mut config, is_durable);
    Ok(Plan::Create(Box::new(config)))
}

/// What an update may not change (JC-060).
pub fn check_update(
    old: &ConsumerConfig,
    new: &ConsumerConfig,
    has_interest: &dyn Fn(&str) -> bool,
) -> Result<(), ApiError> {
    let refuse = |why: String| error::CONSUMER_CREATE.with(why);
    for (is_same, what) in [
        (old.deliver_policy == new.deliver_policy, "deliver policy"),
        (old.mem_storage == new.mem_storage, "storage type"),
        (old.direct == new.direct, "direct"),
        (old.sourcing == new.sourcing, "sourcing"),
        (old.opt_start_seq == new.opt_start_seq, "start sequence"),
        (old.opt_start_time == new.opt_start_time, "start time"),
        (old.ack_policy == new.ack_policy, "ack policy"),
        (old.replay_policy == new.replay_policy, "replay policy"),
        (old.idle_heartbeat == new.idle_heartbeat, "heart beats"),
        (old.flow_control == new.flow_control, "flow control"),
    ] {
        ensure(is_same, || refuse(format!("{what} can not be updated")))?;
    }
    if old.deliver_subject != new.deliver_subject {
        ensure(old.is_push(), || refuse("can not update pull consumer to push based".to_owned()))?;
        ensure(new.is_push(), || refuse("can not update push consumer to pull based".to_owned()))?;
        ensure(!has_interest(&old.deliver_subject), || error::CONSUMER_NAME_EXIST)?;
    }
    ensure(old.max_waiting == new.max_waiting, || refuse("max waiting can not be updated".to_owned()))
}

/// Consumers that are not durable go when nobody uses them (JC-040).
fn stamp_threshold(config: &mut ConsumerConfig, is_durable: bool) {
    if !is_durable && config.inactive_threshold <= 0 {
        config.inactive_threshold = INACTIVE_THRESHOLD_DEFAULT;
    }
}

/// JC-009
fn room(rules: &ConsumerRules<'_>, present: &Present<'_>) -> Result<(), ApiError> {
    let (of_stream, of_account) = (rules.stream.max_consumers, rules.account.max_consumers);
    let is_lower = of_account > 0 && of_account < of_stream;
    let max = if of_stream <= 0 || is_lower { of_account } else { of_stream };
    let max = if max <= 0 { rules.server.default_max_consumers() } else { max };
    ensure(max <= 0 || present.counted < max, || error::MAXIMUM_CONSUMERS_LIMIT)
}

/// JC-048
fn work_queue(
    config: &ConsumerConfig,
    rules: &ConsumerRules<'_>,
    present: &Present<'_>,
) -> Result<(), ApiError> {
    if rules.stream.retention != Retention::WorkQueue {
        return Ok(());
    }
    ensure(matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl), || {
        error::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK
    })?;
    ensure(config.deliver_policy == DeliverPolicy::All, || error::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL)?;
    if present.counted > 0 {
        ensure(config.filters().next().is_some(), || error::CONSUMER_WQ_MULTIPLE_UNFILTERED)?;
        ensure(is_apart(config, present), || error::CONSUMER_WQ_CONSUMER_NOT_UNIQUE)?;
    }
    Ok(())
}

/// Whether no other consumer of a work queue gets one of the same messages.
fn is_apart(config: &ConsumerConfig, present: &Present<'_>) -> bool {
    let mut is_apart = true;
    (present.others)(&mut |name, other| {
        if name == config.name || other.is_internal() {
            return;
        }
        let meets =
            |filter: &str| other.filters().next().is_none() || other.filters().any(|of| overlap(filter, of));
        is_apart &= !config.filters().any(meets);
    });
    is_apart
}
