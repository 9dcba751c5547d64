//! Messages as one line of text, without what is different in every run.

use crate::jetstream::Received;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// An answer: headers and payload.
pub fn answer(message: &Received) -> String {
    let payload = String::from_utf8_lossy(&message.payload);
    let payload = match serde_json::from_str::<Value>(&payload) {
        Ok(value @ Value::Object(_)) => masked(value, "").to_string(),
        _ => payload.into_owned(),
    };
    if message.headers.is_empty() {
        return payload;
    }
    let lines = message.headers.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name @ ("Nats-Time-Stamp" | "Nats-Schedule-Next"), value)) if value != "purge" => {
            format!("{name}: TIME")
        }
        Some((name @ "Nats-Pin-Id", _)) => format!("{name}: ID"),
        Some((name @ "Nats-Consumer-Stalled", value)) => format!("{name}: {}", reply(value)),
        _ => line.to_owned(),
    });
    format!("{}{payload}", lines.collect::<Vec<_>>().join("\\r\\n"))
}

/// A message that was not asked for.
pub fn delivery(message: &Received) -> String {
    let to = if message.reply.is_empty() { "-".to_owned() } else { reply(&message.reply) };
    format!("{} {to} {}", message.subject, answer(message))
}

/// `$JS.ACK.…` without its time, `$JS.FC.…` and `$JS.SNAPSHOT.…` without the id.
fn reply(subject: &str) -> String {
    let mut tokens: Vec<&str> = subject.split('.').collect();
    match tokens[..] {
        ["$JS", "ACK", _, _, _, _, _, _, _] => tokens[7] = "TIME",
        ["$JS", "FC", _, _, _] => tokens[4] = "ID",
        _ => {}
    }
    tokens.join(".")
}

fn without_identity(block: &str) -> String {
    let lines = block.split("\r\n").map(|line| match line.rsplit_once(' ') {
        Some((start, _)) if line.starts_with("Nats-Stream-Source: ") => format!("{start} ID"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

fn masked(value: Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                let value = masked(value, &key);
                (key, value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| masked(item, key)).collect()),
        Value::String(text) => Value::String(masked_text(text, key)),
        Value::Number(_) if matches!(key, "pause_remaining" | "ack_time" | "rtt" | "active") => "TIME".into(),
        Value::Number(_) if key == "id" => "ID".into(),
        value => value,
    }
}

fn masked_text(text: String, key: &str) -> String {
    match key {
        "created" | "ts" | "time" | "first_ts" | "last_ts" | "last_active" | "timestamp" | "pinned_ts"
        | "start" | "end"
            if !text.starts_with("0001-") =>
        {
            "TIME".to_owned()
        }
        "_nats.ver" => "VERSION".to_owned(),
        "id" | "pinned_client_id" | "pinned_id" => "ID".to_owned(),
        // Who reads a source is told which stream it is, by a number of its own.
        "hdrs" => match BASE64_STANDARD.decode(&text) {
            Ok(block) => BASE64_STANDARD.encode(without_identity(&String::from_utf8_lossy(&block))),
            Err(_) => text,
        },
        // Of an audit advisory.
        "response" | "request" => match serde_json::from_str::<Value>(&text) {
            Ok(value) => masked(value, "").to_string(),
            Err(_) => text,
        },
        "deliver_subject" if text.starts_with("$JS.SNAPSHOT.") => {
            let (prefix, _) = text.rsplit_once('.').unwrap_or((&text, ""));
            format!("{prefix}.ID")
        }
        // Made up by the server.
        "name" if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            "NAME".to_owned()
        }
        _ => text,
    }
}
