//! Links to other servers, and JetStream, where the server has none: what monitoring says then (MON-066, MON-070,
//! MON-073, MON-091).

use crate::events::Events;
use natsd_plugin_api::Result;
use natsd_plugin_api::serde_json::{Value, json};

/// `None` of what this is not about.
pub fn none(kind: &str, events: &Events) -> Result<Option<Value>> {
    let identity = events.identity()?;
    let (id, now) = (identity.id.as_str(), events.now_text());
    Ok(Some(match kind {
        "routez" => {
            json!({ "server_id": id, "server_name": identity.name, "now": now, "num_routes": 0, "routes": [] })
        }
        "gatewayz" => {
            json!({ "server_id": id, "now": now, "outbound_gateways": {}, "inbound_gateways": {} })
        }
        "leafz" => json!({ "server_id": id, "now": now, "leafnodes": 0, "leafs": [] }),
        "jsz" if !events.has_jetstream() => json!({
            "memory": 0, "storage": 0, "reserved_memory": 0, "reserved_storage": 0, "accounts": 0, "ha_assets": 0,
            "api": { "level": 0, "total": 0, "errors": 0 },
            "server_id": id,
            "now": now,
            "disabled": true,
            "config": { "max_memory": 0, "max_storage": 0 },
            "streams": 0, "consumers": 0, "messages": 0, "bytes": 0, "total": 0,
        }),
        _ => return Ok(None),
    }))
}
