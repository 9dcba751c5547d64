//! Writes JSON text as Go's encoder does, so that lines are the reference's byte for byte.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// Appends `text` as a JSON string. `<`, `>`, `&` and the two line separators of Unicode are escaped too.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let escape: &[u8] = match c {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\x08' => b"\\b",
            '\x0c' => b"\\f",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => b"",
            c if c < ' ' => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain_from..at]);
        plain_from = at + c.len_utf8();
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
    out.push(b'"');
}

/// A whole value.
pub fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, AsGo))?;
    Ok(out)
}

/// Escapes what serde_json leaves as it is and Go does not.
struct AsGo;

impl Formatter for AsGo {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let escaped = |c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for part in text.split_inclusive(escaped) {
            match part.char_indices().next_back() {
                Some((at, c)) if escaped(c) => {
                    write!(out, "{}\\u{:04x}", &part[..at], u32::from(c))?;
                }
                _ => out.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }
}

/// Appends decimal digits.
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold any u64.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_the_reference_does() {
        let mut out = Vec::new();
        write_string(&mut out, "q<&>\"é\\\u{2028}\u{1}\n");
        let expected = r#""q\u003c\u0026\u003e\"é\\\u2028\u0001\n""#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn values_are_escaped_as_the_reference_does() {
        let value = serde_json::json!(["q<&>\"é\\\u{2028}\u{1}\n", {"a&": 1}]);
        let expected = r#"["q\u003c\u0026\u003e\"é\\\u2028\u0001\n",{"a\u0026":1}]"#;
        assert_eq!(
            to_vec(&value).map(|out| String::from_utf8_lossy(&out).into_owned()).ok(),
            Some(expected.into())
        );
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 1_048_576, u64::MAX] {
            let mut out = Vec::new();
            write_u64(&mut out, value);
            assert_eq!(String::from_utf8_lossy(&out), value.to_string());
        }
    }
}
