//! `/routez`, `/gatewayz` and `/leafz` of a server alone: well-formed, with nobody at the other end (MON-065 to
//! MON-074).

use super::text;
use crate::runtime::unix_ns;
use serde_json::{Value, json};

pub fn routez(server_id: &str, server_name: &str) -> Value {
    json!({
        "server_id": server_id,
        "server_name": server_name,
        "now": text::time(unix_ns()),
        "num_routes": 0,
        "routes": [],
    })
}

pub fn gatewayz(server_id: &str) -> Value {
    json!({
        "server_id": server_id,
        "now": text::time(unix_ns()),
        "outbound_gateways": {},
        "inbound_gateways": {},
    })
}

pub fn leafz(server_id: &str) -> Value {
    json!({ "server_id": server_id, "now": text::time(unix_ns()), "leafnodes": 0, "leafs": [] })
}
