//! The digest of a configuration: what nats-server prints as `sha256:...` for the same file (CFG-027).
//!
//! It is the SHA-256 of the tree as Go's `encoding/json` writes it: compact, keys sorted, HTML escaped.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Map, Node, Value};

pub fn digest(map: &Map) -> String {
    let mut json = Json::default();
    json.map(map);
    json.text.push('\n');
    json.sum.update(json.text.as_bytes());
    json.sum.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Text is summed up and forgotten as soon as there is this much: a large file would be in memory once more.
const PIECE_BYTES: usize = 64 << 10;

/// The JSON that is summed up.
#[derive(Default)]
struct Json<'t> {
    text: String,
    sum: Sha256,
    /// The sorted pairs of the maps that are being written, outermost first.
    pairs: Vec<(&'t str, &'t Node)>,
}

impl<'t> Json<'t> {
    fn map(&mut self, map: &'t Map) {
        let start = self.pairs.len();
        self.pairs.extend(map.iter());
        self.pairs[start..].sort_unstable_by_key(|(key, _)| *key);
        self.text.push('{');
        for at in start..start + map.len() {
            let (key, node) = self.pairs[at];
            if at > start {
                self.text.push(',');
            }
            write_string(key, &mut self.text);
            self.text.push(':');
            self.value(&node.value);
        }
        self.text.push('}');
        self.pairs.truncate(start);
        if self.text.len() >= PIECE_BYTES {
            self.sum.update(self.text.as_bytes());
            self.text.clear();
        }
    }

    fn value(&mut self, value: &'t Value) {
        match value {
            Value::Map(map) => self.map(map),
            Value::Array(items) => {
                self.text.push('[');
                for (at, node) in items.iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.value(&node.value);
                }
                self.text.push(']');
            }
            Value::String(text) | Value::Datetime(text) => write_string(text, &mut self.text),
            Value::Integer(number) => self.text += &number.to_string(),
            Value::Float(number) => self.text += &go_float(*number),
            Value::Bool(flag) => self.text += if *flag { "true" } else { "false" },
        }
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
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' ' | b':' | b'/'))
    {
        json.push_str(text);
        json.push('"');
        return;
    }
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
