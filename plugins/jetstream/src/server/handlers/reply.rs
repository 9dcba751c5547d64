//! What the API answers: JSON with its type, and the error if there is one (JS-001).

use crate::wire::{ApiError, StreamConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What natsd says it can do (JS-064).
pub const API_LEVEL: u64 = 5;
/// Keys of metadata that only replies have.
const LEVEL_KEY: &str = "_nats.level";
const VERSION_KEY: &str = "_nats.ver";
const REQUIRED_LEVEL_KEY: &str = "_nats.req.level";

/// The body of a reply.
pub type Body = Result<Map<String, Value>, ApiError>;

/// The text of a reply of a type such as `stream_info`.
pub fn text(kind: &str, body: &Body) -> String {
    let mut reply = Map::new();
    reply.insert("type".to_owned(), format!("io.nats.jetstream.api.v1.{kind}_response").into());
    match body {
        Ok(body) => reply.extend(body.clone()),
        Err(why) => {
            reply.insert("error".to_owned(), json!(why));
        }
    }
    Value::Object(reply).to_string()
}

/// The fields of a value.
pub fn fields<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// `{"success": true}`
pub fn success() -> Map<String, Value> {
    fields(&json!({"success": true}))
}

/// Adds what only replies show of a configuration.
pub fn dynamic(metadata: &mut BTreeMap<String, String>, version: &str) {
    metadata.insert(VERSION_KEY.to_owned(), version.to_owned());
    metadata.insert(LEVEL_KEY.to_owned(), API_LEVEL.to_string());
}

/// Sets what is stored of the level that an asset needs, and drops what is not.
pub fn set_level(metadata: &mut BTreeMap<String, String>, level: u64) {
    metadata.remove(VERSION_KEY);
    metadata.remove(LEVEL_KEY);
    metadata.insert(REQUIRED_LEVEL_KEY.to_owned(), level.to_string());
}

/// JS-065.
pub fn stream_level(config: &StreamConfig) -> u64 {
    if config.allow_batched {
        4
    } else if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist_mode != crate::wire::PersistMode::Default
    {
        2
    } else {
        u64::from(config.allow_msg_ttl || config.subject_delete_marker_ttl > 0)
    }
}
