//! From a query string to the parameters of a snapshot.
//!
//! Snapshots take the names that requests over `$SYS` use (SYS-020, SYS-022, SYS-028), so that both ways share
//! one form.

use crate::query::{Query, QueryError};
use natsd_plugin_api::serde_json::{Value, json};

/// `/connz` (MON-045 to MON-054).
pub fn connz(query: &Query) -> Result<Value, QueryError> {
    let auth = query.bool("auth")?;
    let (subscriptions, detail) = subs(query)?;
    let (offset, limit) = (query.int("offset")?, query.int("limit")?);
    let cid = query.uint("cid")?;
    Ok(json!({
        "sort": query.text("sort"),
        "auth": auth,
        "subscriptions": subscriptions,
        "subscriptions_detail": detail,
        "offset": offset,
        "limit": limit,
        "cid": cid,
        "mqtt_client": query.text("mqtt_client"),
        "state": state(query.text("state"))?,
        "user": query.text("user"),
        "acc": query.text("acc"),
    }))
}

/// `/subsz` (MON-075).
pub fn subsz(query: &Query) -> Result<Value, QueryError> {
    let subscriptions = query.bool("subs")?;
    let (offset, limit) = (query.int("offset")?, query.int("limit")?);
    Ok(json!({
        "subscriptions": subscriptions,
        "offset": offset,
        "limit": limit,
        "account": query.text("acc"),
        "test": query.text("test"),
    }))
}

/// `/routez` (MON-065).
pub fn routez(query: &Query) -> Result<Value, QueryError> {
    let (subscriptions, detail) = subs(query)?;
    Ok(json!({ "subscriptions": subscriptions, "subscriptions_detail": detail }))
}

/// `/gatewayz` (MON-069).
pub fn gatewayz(query: &Query) -> Result<Value, QueryError> {
    let (subscriptions, detail) = subs(query)?;
    let accounts = query.bool("accs")?;
    let account = query.text("acc_name");
    Ok(json!({
        "name": query.text("gw_name"),
        "accounts": accounts || !account.is_empty() || subscriptions || detail,
        "account_name": account,
        "subscriptions": subscriptions,
        "subscriptions_detail": detail,
    }))
}

/// `/leafz` (MON-072).
pub fn leafz(query: &Query) -> Result<Value, QueryError> {
    Ok(json!({ "subscriptions": query.bool("subs")?, "account": query.text("acc") }))
}

/// `/accountz` (MON-080).
pub fn accountz(query: &Query) -> Result<Value, QueryError> {
    Ok(json!({ "account": query.text("acc") }))
}

/// `/accstatz` (MON-084).
pub fn accstatz(query: &Query) -> Result<Value, QueryError> {
    Ok(json!({ "include_unused": query.bool("unused")? }))
}

/// `/jsz` (MON-090).
pub fn jsz(query: &Query) -> Result<Value, QueryError> {
    let accounts = query.bool("accounts")?;
    let streams = query.bool("streams")?;
    let consumers = query.bool("consumers")?;
    let direct_consumers = query.bool("direct-consumers")?;
    let config = query.bool("config")?;
    let (offset, limit) = (query.int("offset")?, query.int("limit")?);
    let leader_only = query.bool("leader-only")?;
    let raft = query.bool("raft")?;
    let stream_leader_only = query.bool("stream-leader-only")?;
    Ok(json!({
        "account": query.text("acc"),
        "accounts": accounts,
        "streams": streams,
        "consumer": consumers,
        "direct_consumer": direct_consumers,
        "config": config,
        "leader_only": leader_only,
        "offset": offset,
        "limit": limit,
        "raft": raft,
        "stream_leader_only": stream_leader_only,
    }))
}

/// `/ipqueuesz` (MON-125): natsd has no queues of that kind, so that only the form of the request counts.
pub fn ipqueuesz(query: &Query) -> Result<Value, QueryError> {
    Ok(json!({ "all": query.bool("all")?, "filter": query.text("queues") }))
}

/// Without parameters.
pub fn none(_: &Query) -> Result<Value, QueryError> {
    Ok(json!({}))
}

/// A boolean, or `detail`.
fn subs(query: &Query) -> Result<(bool, bool), QueryError> {
    let detail = query.text("subs").eq_ignore_ascii_case("detail");
    Ok((!detail && query.bool("subs")?, detail))
}

/// `/healthz` (MON-110).
pub fn healthz(query: &Query) -> Result<Value, QueryError> {
    let js_enabled = query.bool("js-enabled")?;
    let js_enabled_only = query.bool("js-enabled-only")?;
    let js_server_only = query.bool("js-server-only")?;
    let js_meta_only = query.bool("js-meta-only")?;
    Ok(json!({
        "js-enabled": js_enabled,
        "js-enabled-only": js_enabled_only,
        "js-server-only": js_server_only,
        "js-meta-only": js_meta_only,
        "account": query.text("account"),
        "stream": query.text("stream"),
        "consumer": query.text("consumer"),
        "details": query.bool("details")?,
    }))
}

/// The number of a connection state (MON-051).
fn state(text: &str) -> Result<u8, QueryError> {
    match text.to_ascii_lowercase().as_str() {
        "" | "open" => Ok(0),
        "closed" => Ok(1),
        "any" | "all" => Ok(2),
        _ => Err(QueryError::State(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{connz, subsz};
    use crate::query::Query;

    #[test]
    fn subs_of_connz_is_a_boolean_or_detail() {
        let with = |text: &str| connz(&Query::parse(text)).unwrap();
        let flags = |text: &str| {
            let value = with(text);
            (value["subscriptions"].as_bool().unwrap(), value["subscriptions_detail"].as_bool().unwrap())
        };
        assert_eq!(flags("subs=1"), (true, false));
        assert_eq!(flags("subs=Detail"), (false, true));
        assert_eq!(flags(""), (false, false));
        assert_eq!(with("state=ANY")["state"], 2);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let text = |query: &str| connz(&Query::parse(query)).unwrap_err().to_string();
        assert_eq!(text("state=Foo"), "Error decoding state for Foo");
        assert!(text("subs=x").starts_with("Error decoding boolean for 'subs'"));
        assert!(subsz(&Query::parse("limit=x")).is_err());
    }
}
