//! From a query string to the parameters of a snapshot.
//!
//! Snapshots take the names that requests over `$SYS` use (SYS-020, SYS-022, SYS-028), so that both ways share
//! one form.

use crate::query::{Query, QueryError};
use natsd_plugin_api::serde_json::{Value, json};

/// `/connz` (MON-045 to MON-054).
pub fn connz(query: &Query) -> Result<Value, QueryError> {
    let auth = query.bool("auth")?;
    let detail = query.text("subs").eq_ignore_ascii_case("detail");
    let subscriptions = !detail && query.bool("subs")?;
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
