//! The bodies of all requests, field by field, for strict reading with nats-server's errors.

use super::json::{Field, Int, Refusal, Shape, Struct, Words};
use Shape::{Bool, List, Text, Time};

pub static STREAM_CONFIG_REQUEST: Struct =
    Struct { name: "StreamConfigRequest", fields: &with_pedantic(STREAM_CONFIG_FIELDS) };

pub static CONSUMER_CREATE: Struct = Struct {
    name: "CreateConsumerRequest",
    fields: &[
        ("stream_name", Text),
        ("config", Shape::Struct(&CONSUMER_CONFIG)),
        ("action", Shape::Words(ACTIONS)),
        ("pedantic", Bool),
    ],
};

pub static STREAM_NAMES: Struct =
    Struct { name: "JSApiStreamNamesRequest", fields: &[("offset", INT), ("subject", Text)] };

pub static STREAM_LIST: Struct =
    Struct { name: "JSApiStreamListRequest", fields: &[("offset", INT), ("subject", Text)] };

pub static STREAM_INFO: Struct = Struct {
    name: "JSApiStreamInfoRequest",
    fields: &[("offset", INT), ("deleted_details", Bool), ("subjects_filter", Text)],
};

pub static CONSUMERS: Struct = Struct { name: "JSApiConsumersRequest", fields: &[("offset", INT)] };

pub static STREAM_PURGE: Struct = Struct {
    name: "JSApiStreamPurgeRequest",
    fields: &[("seq", UINT64), ("filter", Text), ("keep", UINT64)],
};

pub static MSG_DELETE: Struct =
    Struct { name: "JSApiMsgDeleteRequest", fields: &[("seq", UINT64), ("no_erase", Bool)] };

pub static MSG_GET: Struct = Struct {
    name: "JSApiMsgGetRequest",
    fields: &[
        ("seq", UINT64),
        ("last_by_subj", Text),
        ("next_by_subj", Text),
        ("batch", INT),
        ("max_bytes", INT),
        ("start_time", Time),
        ("multi_last", TEXTS),
        ("up_to_seq", UINT64),
        ("up_to_time", Time),
        ("no_hdr", Bool),
    ],
};

/// `CONSUMER.MSG.NEXT` (JC-120): nats-server has no name for it.
pub static CONSUMER_NEXT: Struct = Struct {
    name: "",
    fields: &[
        ("expires", Shape::Int(Int::Duration)),
        ("batch", INT),
        ("max_bytes", INT),
        ("no_wait", Bool),
        ("idle_heartbeat", Shape::Int(Int::Duration)),
        ("group", Text),
        ("min_pending", INT64),
        ("min_ack_pending", INT64),
        ("id", Text),
        ("priority", INT),
    ],
};

pub static STREAM_SNAPSHOT: Struct = Struct {
    name: "JSApiStreamSnapshotRequest",
    fields: &[
        ("deliver_subject", Text),
        ("no_consumers", Bool),
        ("chunk_size", INT),
        ("window_size", INT),
        ("jsck", Bool),
    ],
};

pub static STREAM_RESTORE: Struct = Struct {
    name: "JSApiStreamRestoreRequest",
    fields: &[("config", Shape::Struct(&STREAM_CONFIG)), ("state", Shape::Struct(&STREAM_STATE))],
};

pub static CONSUMER_PAUSE: Struct =
    Struct { name: "JSApiConsumerPauseRequest", fields: &[("pause_until", Time)] };

pub static CONSUMER_UNPIN: Struct = Struct { name: "JSApiConsumerUnpinRequest", fields: &[("group", Text)] };

pub static CONSUMER_RESET: Struct = Struct { name: "JSApiConsumerResetRequest", fields: &[("seq", UINT64)] };

pub static STREAM_CONFIG: Struct = Struct { name: "StreamConfig", fields: &STREAM_CONFIG_FIELDS };

pub static CONSUMER_CONFIG: Struct = Struct {
    name: "ConsumerConfig",
    fields: &[
        ("durable_name", Text),
        ("name", Text),
        ("description", Text),
        ("deliver_policy", Shape::Words(DELIVER_POLICIES)),
        ("opt_start_seq", UINT64),
        ("opt_start_time", Time),
        ("ack_policy", Shape::Words(ACK_POLICIES)),
        ("ack_wait", DURATION),
        ("max_deliver", INT),
        ("backoff", List("[]time.Duration", &DURATION)),
        ("filter_subject", Text),
        ("filter_subjects", TEXTS),
        ("replay_policy", Shape::Words(REPLAY_POLICIES)),
        ("rate_limit_bps", UINT64),
        ("sample_freq", Text),
        ("max_waiting", INT),
        ("max_ack_pending", INT),
        ("flow_control", Bool),
        ("headers_only", Bool),
        ("max_batch", INT),
        ("max_expires", DURATION),
        ("max_bytes", INT),
        ("deliver_subject", Text),
        ("deliver_group", Text),
        ("idle_heartbeat", DURATION),
        ("inactive_threshold", DURATION),
        ("num_replicas", INT),
        ("mem_storage", Bool),
        ("direct", Bool),
        ("sourcing", Bool),
        ("metadata", METADATA),
        ("pause_until", Time),
        ("priority_groups", TEXTS),
        ("priority_policy", Shape::Words(PRIORITY_POLICIES)),
        ("priority_timeout", DURATION),
    ],
};

const STREAM_CONFIG_FIELDS: [Field; 38] = [
    ("name", Text),
    ("description", Text),
    ("subjects", TEXTS),
    ("retention", Shape::Words(RETENTIONS)),
    ("max_consumers", INT),
    ("max_msgs", INT64),
    ("max_bytes", INT64),
    ("max_age", DURATION),
    ("max_msgs_per_subject", INT64),
    ("max_msg_size", Shape::Int(Int::Int32)),
    ("discard", Shape::Words(DISCARDS)),
    ("storage", Shape::Words(STORAGES)),
    ("num_replicas", INT),
    ("no_ack", Bool),
    ("duplicate_window", DURATION),
    ("placement", Shape::Struct(&PLACEMENT)),
    ("mirror", Shape::Struct(&STREAM_SOURCE)),
    ("sources", List("[]*server.StreamSource", &Shape::Struct(&STREAM_SOURCE))),
    ("compression", Shape::Words(COMPRESSIONS)),
    ("first_seq", UINT64),
    ("subject_transform", Shape::Struct(&SUBJECT_TRANSFORM)),
    ("republish", Shape::Struct(&REPUBLISH)),
    ("allow_direct", Bool),
    ("mirror_direct", Bool),
    ("discard_new_per_subject", Bool),
    ("sealed", Bool),
    ("deny_delete", Bool),
    ("deny_purge", Bool),
    ("allow_rollup_hdrs", Bool),
    ("consumer_limits", Shape::Struct(&CONSUMER_LIMITS)),
    ("allow_msg_ttl", Bool),
    ("subject_delete_marker_ttl", DURATION),
    ("allow_msg_counter", Bool),
    ("allow_atomic", Bool),
    ("allow_msg_schedules", Bool),
    ("persist_mode", Shape::Words(PERSIST_MODES)),
    ("allow_batched", Bool),
    ("metadata", METADATA),
];

const fn with_pedantic(fields: [Field; 38]) -> [Field; 39] {
    let mut all = [("pedantic", Bool); 39];
    let mut at = 0;
    while at < fields.len() {
        all[at] = fields[at];
        at += 1;
    }
    all
}

static STREAM_SOURCE: Struct = Struct {
    name: "StreamSource",
    fields: &[
        ("name", Text),
        ("opt_start_seq", UINT64),
        ("opt_start_time", Time),
        ("filter_subject", Text),
        ("subject_transforms", List("[]server.SubjectTransformConfig", &Shape::Struct(&SUBJECT_TRANSFORM))),
        ("external", Shape::Struct(&EXTERNAL_STREAM)),
        ("consumer", Shape::Struct(&SOURCE_CONSUMER)),
    ],
};

static SUBJECT_TRANSFORM: Struct =
    Struct { name: "SubjectTransformConfig", fields: &[("src", Text), ("dest", Text)] };

static EXTERNAL_STREAM: Struct =
    Struct { name: "ExternalStream", fields: &[("api", Text), ("deliver", Text)] };

static SOURCE_CONSUMER: Struct =
    Struct { name: "StreamConsumerSource", fields: &[("name", Text), ("deliver_subject", Text)] };

static REPUBLISH: Struct =
    Struct { name: "RePublish", fields: &[("src", Text), ("dest", Text), ("headers_only", Bool)] };

static PLACEMENT: Struct =
    Struct { name: "Placement", fields: &[("cluster", Text), ("tags", TEXTS), ("preferred", Text)] };

static CONSUMER_LIMITS: Struct = Struct {
    name: "StreamConsumerLimits",
    fields: &[("inactive_threshold", DURATION), ("max_ack_pending", INT)],
};

static STREAM_STATE: Struct = Struct {
    name: "StreamState",
    fields: &[
        ("messages", UINT64),
        ("bytes", UINT64),
        ("first_seq", UINT64),
        ("first_ts", Time),
        ("last_seq", UINT64),
        ("last_ts", Time),
        ("num_subjects", INT),
        ("subjects", Shape::Map("map[string]uint64", &UINT64)),
        ("num_deleted", INT),
        ("deleted", UINT64S),
        ("lost", Shape::Struct(&LOST_DATA)),
        ("consumer_count", INT),
    ],
};

static LOST_DATA: Struct = Struct { name: "LostStreamData", fields: &[("msgs", UINT64S), ("bytes", UINT64)] };

const INT: Shape = Shape::Int(Int::Int);
const INT64: Shape = Shape::Int(Int::Int64);
const UINT64: Shape = Shape::Int(Int::Uint64);
const DURATION: Shape = Shape::Int(Int::Duration);
const TEXTS: Shape = List("[]string", &Text);
const UINT64S: Shape = List("[]uint64", &UINT64);
const METADATA: Shape = Shape::Map("map[string]string", &Text);

const RETENTIONS: Words =
    exactly(&[("limits", "limits"), ("interest", "interest"), ("workqueue", "workqueue")]);
const DISCARDS: Words = Words { words: &[("old", "old"), ("new", "new")], refusal: Refusal::AnyCase };
const STORAGES: Words = exactly(&[("memory", "memory"), ("file", "file")]);
const COMPRESSIONS: Words = Words { words: &[("none", "none"), ("s2", "s2")], refusal: Refusal::Compression };
const PERSIST_MODES: Words = exactly(&[("default", "default"), ("", "default"), ("async", "async")]);
const DELIVER_POLICIES: Words = exactly(&[
    ("all", "all"),
    ("undefined", "all"),
    ("last", "last"),
    ("last_per_subject", "last_per_subject"),
    ("new", "new"),
    ("by_start_sequence", "by_start_sequence"),
    ("by_start_time", "by_start_time"),
]);
const ACK_POLICIES: Words =
    exactly(&[("none", "none"), ("all", "all"), ("explicit", "explicit"), ("flow_control", "flow_control")]);
const REPLAY_POLICIES: Words = exactly(&[("instant", "instant"), ("original", "original")]);
const PRIORITY_POLICIES: Words = Words {
    words: &[
        ("none", "none"),
        ("overflow", "overflow"),
        ("pinned_client", "pinned_client"),
        ("prioritized", "prioritized"),
    ],
    refusal: Refusal::Unknown("priority policy"),
};
const ACTIONS: Words = Words {
    words: &[("create", "create"), ("update", "update"), ("", "")],
    refusal: Refusal::Unknown("consumer action"),
};

const fn exactly(words: &'static [(&'static str, &'static str)]) -> Words {
    Words { words, refusal: Refusal::CanNotUnmarshal }
}
