//! What the claims of an account mean for the server (JWT-011, JWT-012).

use crate::borders;
use crate::claims::{Account, JetStreamLimits};
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{AccountDefinition, AccountImport, AccountTrace};

pub fn of(claims: &Account, imports: Vec<AccountImport>, is_system: bool) -> AccountDefinition {
    let limits = &claims.nats.limits;
    let limit = |value: i64| (value != -1).then(|| u32::try_from(value.max(0)).unwrap_or(u32::MAX));
    let trace = claims.nats.trace.as_ref().map(|trace| AccountTrace {
        dest: trace.dest.clone(),
        // JWT-011: nothing said is all.
        sampling_percent: u8::try_from(trace.sampling).ok().filter(|s| *s > 0).unwrap_or(100),
    });
    AccountDefinition {
        max_connections: limit(limits.conn),
        max_subscriptions: limit(limits.subs),
        max_payload_bytes: limit(limits.payload),
        max_leafnodes: limit(limits.leaf),
        is_system,
        trace,
        exports: borders::exports(claims, is_system),
        imports,
        mappings: borders::mappings(claims),
        extra: notes(claims),
    }
}

/// For other plugins: names, and what JetStream may take.
fn notes(claims: &Account) -> Map<String, Value> {
    let data = &claims.nats;
    let mut notes = Map::new();
    notes.insert("name_tag".to_owned(), claims.name_tag().into());
    notes.insert("tags".to_owned(), json!(data.tags));
    notes.insert("issuer".to_owned(), claims.common.iss.clone().into());
    let tiers = &data.limits.tiered_limits;
    let has_storage = |limits: &JetStreamLimits| limits.mem_storage != 0 || limits.disk_storage != 0;
    let is_enabled = has_storage(&data.limits.jetstream) || tiers.values().any(has_storage);
    // Without JetStream: nothing, whatever the configuration says.
    notes.insert("jetstream_limits".to_owned(), Value::Null);
    if is_enabled {
        let jetstream = if tiers.is_empty() { json!({"": data.limits.jetstream}) } else { json!(tiers) };
        notes.insert("jetstream_limits".to_owned(), jetstream);
    }
    if !data.cluster_traffic.is_empty() {
        notes.insert("cluster_traffic".to_owned(), data.cluster_traffic.clone().into());
    }
    notes
}
