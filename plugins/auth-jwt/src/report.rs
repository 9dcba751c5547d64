//! What `/varz` shows of operators, and `/accountz` of an account that came by a JWT (MON-081).
//!
//! Not here: what it may do across its borders, which the host knows of it.

use crate::accounts::Known;
use crate::config::Config;
use crate::token;
use natsd_plugin_api::serde_json::{Map, Value, json};

pub fn operators(config: &Config, unpinned_logins: u64) -> Value {
    let mut shown = json!({ "auth_required": true });
    if unpinned_logins > 0 {
        shown["pinned_account_fails"] = unpinned_logins.into();
    }
    if !config.operator_tokens.is_empty() {
        let claims: Vec<Value> = config.operator_tokens.iter().filter_map(|t| token::claims_of(t)).collect();
        shown["trusted_operators_jwt"] = json!(config.operator_tokens);
        shown["trusted_operators_claim"] = claims.into();
    }
    shown
}

pub fn account(known: &Known) -> Value {
    let claims = &known.claims;
    let mut shown = json!({
        "expired": known.is_expired(),
        "jwt": known.token,
        "issuer_key": claims.common.iss,
        "name_tag": claims.name_tag(),
    });
    if !claims.nats.tags.is_empty() {
        shown["tags"] = json!(claims.nats.tags);
    }
    if let Some(mut decoded) = token::claims_of(&known.token) {
        // The reference writes them even where a token says nothing of them.
        if let Some(nats) = decoded.get_mut("nats").and_then(Value::as_object_mut) {
            nats.entry("default_permissions").or_insert_with(|| json!({ "pub": {}, "sub": {} }));
            nats.entry("authorization").or_insert_with(|| json!({}));
        }
        shown["decoded_jwt"] = decoded;
    }
    let revoked: Map<String, Value> = claims
        .nats
        .revocations
        .0
        .iter()
        .filter_map(|(key, until_unix_s)| Some((key.clone(), at(*until_unix_s)?.into())))
        .collect();
    if !revoked.is_empty() {
        shown["revoked_user"] = revoked.into();
    }
    shown
}

/// RFC 3339 in UTC.
fn at(unix_s: i64) -> Option<String> {
    Some(jiff::Timestamp::from_second(unix_s).ok()?.to_string())
}
