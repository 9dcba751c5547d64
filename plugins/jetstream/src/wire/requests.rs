//! Bodies of requests (JS-020 to JS-047). Read by `api::decode`, strictly and with the errors clients know.

use super::{ConsumerConfig, StreamConfig, StreamState, Time};
use serde::{Deserialize, Serialize};

/// Of `STREAM.CREATE` and `STREAM.UPDATE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamConfigRequest {
    #[serde(flatten)]
    pub config: StreamConfig,
    /// No silent corrections: E10157 instead.
    pub pedantic: bool,
}

/// Of `CONSUMER.CREATE` and `CONSUMER.DURABLE.CREATE` (JC-002).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerCreateRequest {
    pub stream_name: String,
    pub config: ConsumerConfig,
    pub action: Action,
    pub pedantic: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    #[serde(rename = "create")]
    Create,
    #[serde(rename = "update")]
    Update,
}

/// Of `STREAM.NAMES` and `STREAM.LIST`; without `subject` of `CONSUMER.NAMES` and `CONSUMER.LIST`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListRequest {
    pub offset: i64,
    /// Only streams with a subject that overlaps it; empty: all.
    pub subject: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamInfoRequest {
    pub offset: i64,
    pub deleted_details: bool,
    pub subjects_filter: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PurgeRequest {
    /// Up to but without this sequence; 0: all.
    pub seq: u64,
    pub filter: String,
    pub keep: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MsgDeleteRequest {
    pub seq: u64,
    pub no_erase: bool,
}

/// Of `STREAM.MSG.GET` and, with more fields in use, of `DIRECT.GET` (JS-223, JS-233 to JS-235).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MsgGetRequest {
    pub seq: u64,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub batch: i64,
    pub max_bytes: i64,
    pub start_time: Option<Time>,
    pub multi_last: Vec<String>,
    pub up_to_seq: u64,
    pub up_to_time: Option<Time>,
    pub no_hdr: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotRequest {
    pub deliver_subject: String,
    pub no_consumers: bool,
    pub chunk_size: i64,
    pub window_size: i64,
    /// Whether to check all checksums first.
    pub jsck: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreRequest {
    pub config: StreamConfig,
    pub state: StreamState,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseRequest {
    pub pause_until: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnpinRequest {
    pub group: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetRequest {
    /// 0: back to the acknowledgement floor.
    pub seq: u64,
}
