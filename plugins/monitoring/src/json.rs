//! JSON as Go writes it: indented by two spaces, `<`, `>` and `&` escaped (MON-004, MON-007).

use natsd_plugin_api::serde::Serialize;
use natsd_plugin_api::serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use natsd_plugin_api::serde_json::{self, Value};
use std::io::{self, Write};

/// One answer, indented.
pub fn indented(value: &Value) -> String {
    written(value, Go(PrettyFormatter::with_indent(b"  ")))
}

/// The same of JSON that is text already: it is laid out as it comes, without being taken apart.
pub fn indented_text(compact: &str) -> String {
    let mut out = Vec::with_capacity(compact.len() * 3 / 2);
    Layout::default().go_on(compact, &mut out, usize::MAX);
    // What came was UTF-8, and whole characters were replaced.
    String::from_utf8(out).unwrap_or_default()
}

/// How far a text is laid out: large ones are in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    at: usize,
    depth: usize,
}

impl Layout {
    /// Adds to `out` until it has so many bytes, a string more at most, or the text ends.
    pub fn go_on(&mut self, compact: &str, out: &mut Vec<u8>, enough: usize) {
        let mut rest = compact.as_bytes().get(self.at..).unwrap_or_default();
        let line = |out: &mut Vec<u8>, depth: usize| {
            out.push(b'\n');
            out.resize(out.len() + 2 * depth, b' ');
        };
        while let Some((&byte, after)) = rest.split_first().filter(|_| out.len() < enough) {
            rest = after;
            match byte {
                b'"' => rest = copy_string(out, rest),
                b'{' | b'[' => {
                    out.push(byte);
                    match rest.split_first() {
                        Some((&close @ (b'}' | b']'), after)) => {
                            out.push(close);
                            rest = after;
                        }
                        _ => {
                            self.depth += 1;
                            line(out, self.depth);
                        }
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    line(out, self.depth);
                    out.push(byte);
                }
                b',' => {
                    out.push(byte);
                    line(out, self.depth);
                }
                b':' => out.extend_from_slice(b": "),
                byte => out.push(byte),
            }
        }
        self.at = compact.len() - rest.len();
    }
}

/// Bytes that stand for themselves in a string, and do not end it.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let special = *b"\"\\<>&\xe2";
    let mut at = 0;
    while at < special.len() {
        plain[special[at] as usize] = false;
        at += 1;
    }
    plain
};

/// Copies a string from behind its opening quote, escaped as Go does; gives what follows it.
fn copy_string<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    out.push(b'"');
    let mut at = 0;
    let mut copied = 0;
    loop {
        // Most of a text is plain.
        let rest = text.get(at..).unwrap_or_default();
        let Some(plain) = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]) else {
            at = text.len();
            break;
        };
        at += plain;
        let byte = text[at];
        let (escape, len): (&[u8], usize) = match byte {
            b'"' => break,
            b'\\' => {
                at += 2;
                continue;
            }
            b'<' => (b"\\u003c", 1),
            b'>' => (b"\\u003e", 1),
            b'&' => (b"\\u0026", 1),
            0xE2 if text[at..].starts_with("\u{2028}".as_bytes()) => (b"\\u2028", 3),
            0xE2 if text[at..].starts_with("\u{2029}".as_bytes()) => (b"\\u2029", 3),
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(escape);
        at += len;
        copied = at;
    }
    let end = at.min(text.len());
    out.extend_from_slice(&text[copied..end]);
    out.push(b'"');
    text.get(end + 1..).unwrap_or_default()
}

/// One answer on one line.
pub fn compact(value: &Value) -> String {
    written(value, Go(serde_json::ser::CompactFormatter))
}

fn written<F: Formatter>(value: &Value, formatter: Go<F>) -> String {
    let mut text = Vec::new();
    // A `Value` has string keys only, and a `Vec` takes every write: this cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut text, formatter));
    String::from_utf8(text).unwrap_or_default()
}

/// Lays out as the inner formatter does, and escapes what could end a script element.
struct Go<F>(F);

macro_rules! inner {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for Go<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = special.chars();
            if let Some(special) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(special))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    inner! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, compact, indented, indented_text};
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn strings_are_escaped_as_in_go() {
        let value = json!({ "a<b": "x&y>\u{2028}\"z", "n": 1 });
        assert_eq!(compact(&value), r#"{"a\u003cb":"x\u0026y\u003e\u2028\"z","n":1}"#);
    }

    #[test]
    fn text_is_laid_out_as_a_value_is() {
        let value = json!({
            "list": [], "block": {}, "items": [1, -2.5e10, null, true], "deep": { "a": [{ "b": "c:{},[]" }] },
            "odd": "x\u{2028}\u{2029}<&>\"\\\n\u{e9}\u{20ac}", "q\"<": "\\",
        });
        assert_eq!(indented_text(&value.to_string()), indented(&value));
        // What is cut off is no JSON, and no reason to fail.
        for text in ["\"", "\"a", "\"\\", "{\"a<"] {
            assert!(indented_text(text).starts_with(&text[..1]), "{text}");
        }
        for text in ["", "{}", "[]", "\"\"", "5", "[[[]],{}]"] {
            let value = natsd_plugin_api::serde_json::from_str(text).unwrap_or_default();
            let expected = if text.is_empty() { String::new() } else { indented(&value) };
            assert_eq!(indented_text(text), expected, "{text}");
        }
        let (text, mut layout, mut pieces) = (value.to_string(), Layout::default(), Vec::new());
        for _ in 0..text.len() {
            let mut piece = Vec::new();
            layout.go_on(&text, &mut piece, 7);
            pieces.extend(piece);
        }
        assert_eq!(String::from_utf8(pieces).unwrap_or_default(), indented(&value));
    }

    #[test]
    fn empty_lists_and_objects_stay_on_one_line() {
        let value = json!({ "list": [], "block": {}, "items": [1, 2] });
        assert_eq!(
            indented(&value),
            "{\n  \"list\": [],\n  \"block\": {},\n  \"items\": [\n    1,\n    2\n  ]\n}"
        );
    }
}
