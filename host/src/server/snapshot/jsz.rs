//! `/jsz`: what the plugin that has streams tells, or that there is none (MON-090 to MON-101).
//!
//! Not here: anything about streams. The plugin answers `introspect` with the part `jsz`, without the fields that
//! say which server it is.

use super::{parts_of_plugins, text};
use crate::plugins::Plugins;
use crate::runtime::unix_ns;
use serde_json::{Map, Value, json};

/// What comes before the identity of the server in the body (MON-091).
const FIRST: [&str; 7] =
    ["memory", "storage", "reserved_memory", "reserved_storage", "accounts", "ha_assets", "api"];

/// May wait for streams to answer.
pub fn jsz(server_id: &str, plugins: &Plugins, params: &Value) -> Result<Value, String> {
    let Some(part) = parts_of_plugins(plugins, "jsz", params).into_iter().next() else {
        return if params["leader_only"] == true {
            // MON-099
            Err("filtered response: not leader".to_owned())
        } else {
            Ok(assembled(server_id, &disabled()))
        };
    };
    match part["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(assembled(server_id, &part)),
    }
}

fn assembled(server_id: &str, part: &Value) -> Value {
    let fields = || part.as_object().into_iter().flatten();
    let is_first = |name: &String| FIRST.contains(&name.as_str());
    let mut body = Map::new();
    body.extend(
        fields().filter(|(name, _)| is_first(name)).map(|(name, value)| (name.clone(), value.clone())),
    );
    body.insert("server_id".to_owned(), server_id.into());
    body.insert("now".to_owned(), text::time(unix_ns()).into());
    body.extend(
        fields().filter(|(name, _)| !is_first(name)).map(|(name, value)| (name.clone(), value.clone())),
    );
    Value::Object(body)
}

/// MON-099
fn disabled() -> Value {
    json!({
        "memory": 0,
        "storage": 0,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "accounts": 0,
        "ha_assets": 0,
        "api": { "level": 0, "total": 0, "errors": 0 },
        "disabled": true,
        "config": { "max_memory": 0, "max_storage": 0 },
        "streams": 0,
        "consumers": 0,
        "messages": 0,
        "bytes": 0,
        "total": 0,
    })
}
