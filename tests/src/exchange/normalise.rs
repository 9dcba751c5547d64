//! Replaces what must differ between two servers, or two runs, by what it is.
//!
//! INFO keeps its fields, their order and every value save identities, versions and ports. A
//! value of the wrong shape (an id that is no nkey) is kept, so that it shows as a difference.

use serde_json::{Map, Value};

/// One INFO line without its CRLF. What follows the JSON is kept.
pub fn info(line: &str, port: u16) -> String {
    let Some((json, tail)) = line.strip_prefix("INFO ").and_then(split_after_object) else {
        return line.to_owned();
    };
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(json) else {
        return line.to_owned();
    };
    let id = fields.get("server_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut kept = Map::new();
    for (name, value) in fields {
        // natsd says its own version in a field of its own, and need not tell its commit.
        if name != "git_commit" && !name.starts_with("natsd") {
            let value = info_value(&name, value, &id, port);
            kept.insert(name, value);
        }
    }
    format!("INFO {}{tail}", Value::Object(kept))
}

fn split_after_object(text: &str) -> Option<(&str, &str)> {
    Some(text.split_at(text.rfind('}')? + 1))
}

fn info_value(name: &str, value: Value, id: &str, port: u16) -> Value {
    let text = value.as_str().unwrap_or_default().to_owned();
    let shape = match name {
        "server_id" if is_public_nkey(&text, 'N') => "<server nkey>",
        "server_name" if text == id => "<server_id>",
        "xkey" if is_public_nkey(&text, 'X') => "<curve nkey>",
        "nonce" if text.len() == 15 => "<15 letters>",
        "version" if text.starts_with("2.15.") => "<2.15>",
        "go" if !text.is_empty() => "<go>",
        "client_id" if value.is_u64() => "<number>",
        "port" if value == port => "<port>",
        "connect_urls" => return list_without_port(value, port),
        _ => return value,
    };
    shape.into()
}

fn list_without_port(value: Value, port: u16) -> Value {
    let Value::Array(items) = value else { return value };
    let replace = |item: Value| match item {
        Value::String(url) => Value::String(url.replace(&format!(":{port}"), ":<port>")),
        other => other,
    };
    Value::Array(items.into_iter().map(replace).collect())
}

fn is_public_nkey(text: &str, prefix: char) -> bool {
    text.len() == 56
        && text.starts_with(prefix)
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
}

/// A JSON payload without identities, times and measurements.
pub fn json_payload(payload: &str) -> String {
    match serde_json::from_str(payload) {
        Ok(value) => without_identities(value).to_string(),
        Err(_) => payload.to_owned(),
    }
}

/// Fields that say who, when, how long, or which build.
const VARYING: &[&str] = &[
    "server",
    "id",
    "ts",
    "time",
    "timestamp",
    "start",
    "stop",
    "now",
    "rtt",
    "ver",
    "seq",
    "cid",
    "client_id",
    "nonce",
    "port",
    "host",
    "xkey",
    "boot",
    "idle",
    "uptime",
    "lang",
    "user_nkey",
    "jwt",
    "sig",
    "issuer_key",
];

/// Service latency, and what it measures.
const LATENCY: &str = "io.nats.server.metric.v1.service_latency";
const LATENCY_DURATIONS: &[&str] = &["service", "system", "total"];

fn without_identities(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_latency = fields.get("type").is_some_and(|kind| kind == LATENCY);
            let keep = |(name, value): (String, Value)| {
                let is_duration = is_latency && LATENCY_DURATIONS.contains(&name.as_str());
                let varies = is_duration || VARYING.contains(&name.as_str());
                let value = if varies { "*".into() } else { without_identities(value) };
                (name, value)
            };
            Value::Object(fields.into_iter().map(keep).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_identities).collect()),
        other => other,
    }
}

/// The outcome of a reload without digests. What is wrong with a file each server says in its own
/// words; which option cannot be changed they say in the same (CFG-141).
pub fn outcome(text: &str) -> String {
    if let Some((failed, why)) = text.split_once("configuration: ") {
        let same = why.starts_with("config reload not supported");
        return if same { text.to_owned() } else { format!("{failed}configuration: <why>") };
    }
    match text.split_once("sha256:") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
            format!("{before}sha256:<digest>{rest}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_keeps_order_blank_and_wrong_shapes() {
        let line = r#"INFO {"server_id":"short","version":"2.15.1","git_commit":"abc","port":4222,"x":1} "#;
        let kept = r#"INFO {"server_id":"short","version":"<2.15>","port":"<port>","x":1} "#;
        assert_eq!(info(line, 4222), kept);
    }
}
