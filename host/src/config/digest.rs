//! The digest of a configuration: what nats-server prints as `sha256:...` for the same file (CFG-027).
//!
//! It is the SHA-256 of the tree as Go's `encoding/json` writes it: compact, keys sorted, HTML escaped.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Map, Value};

pub fn digest(map: &Map) -> String {
    let mut json = String::new();
    write_map(map, &mut json);
    json.push('\n');
    Sha256::digest(json.as_bytes()).iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_map(map: &Map, json: &mut String) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    json.push('{');
    for (at, (key, node)) in entries.into_iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        write_string(key, json);
        json.push(':');
        write_value(&node.value, json);
    }
    json.push('}');
}

fn write_value(value: &Value, json: &mut String) {
    match value {
        Value::Map(map) => write_map(map, json),
        Value::Array(items) => {
            json.push('[');
            for (at, node) in items.iter().enumerate() {
                if at > 0 {
                    json.push(',');
                }
                write_value(&node.value, json);
            }
            json.push(']');
        }
        Value::String(text) | Value::Datetime(text) => write_string(text, json),
        Value::Integer(number) => *json += &number.to_string(),
        Value::Float(number) => *json += &go_float(*number),
        Value::Bool(flag) => *json += if *flag { "true" } else { "false" },
    }
}

/// Go writes floats without a needless `.0`, and very large or small ones with an exponent.
fn go_float(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power:0>2}"),
        Some((digits, power)) => format!("{digits}e{power}"),
        None => text,
    }
}

fn write_string(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => *json += "\\\"",
            '\\' => *json += "\\\\",
            '\n' => *json += "\\n",
            '\r' => *json += "\\r",
            '\t' => *json += "\\t",
            '\u{8}' => *json += "\\b",
            '\u{c}' => *json += "\\f",
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a String does not fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::parse::parse;
    use super::super::value::Value;
    use super::digest;

    fn digest_of(text: &str) -> String {
        match parse(text).unwrap() {
            Value::Map(map) => digest(&map),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equals_that_of_nats_server() {
        // CFG-027; each made by `nats-server -t` 2.15.1.
        for (text, hex) in [
            ("port: 1", "5b27b68e52c25859a76c94f378c31d5a499ca677a46b38fb5f58ded229b59650"),
            ("x: 5\nport=$x", "2c5e6fd6870f5614a30d9fa16f626cef8f85600f99dff43b391b62faa056536f"),
            (
                "authorization {timeout: 1.5}",
                "293f744f1b86a6a20add5751335365b56ad8d6351548cbc8995340c619e2e015",
            ),
            ("max_payload: -1", "3fac80b78dad173c26090b2b1cc0bd86b33f0df1fcf8277221cc4b30e5a4c572"),
        ] {
            assert_eq!(digest_of(text), format!("sha256:{hex}"), "{text}");
        }
        let odd = "server_metadata: {a: \"<&>\u{1}\u{7f} é 😀 \\x08\\x0c\" }";
        assert_eq!(digest_of(odd), "sha256:21bba6f7220b01d2e32d4ef890ac282d9602262309b94df8f1cdd4fc856be797");
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (float, text) in [(1.0, "1"), (1.5, "1.5"), (1e21, "1e+21"), (-0.0, "-0"), (0.0000001, "1e-7")] {
            assert_eq!(super::go_float(float), text);
        }
    }
}
