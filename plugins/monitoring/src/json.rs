//! JSON as Go writes it: indented by two spaces, `<`, `>` and `&` escaped (MON-004, MON-007).

use natsd_plugin_api::serde::Serialize;
use natsd_plugin_api::serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use natsd_plugin_api::serde_json::{self, Value};
use std::io::{self, Write};

/// One answer, indented.
pub fn indented(value: &Value) -> String {
    written(value, Go(PrettyFormatter::with_indent(b"  ")))
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
    use super::{compact, indented};
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn strings_are_escaped_as_in_go() {
        let value = json!({ "a<b": "x&y>\u{2028}\"z", "n": 1 });
        assert_eq!(compact(&value), r#"{"a\u003cb":"x\u0026y\u003e\u2028\"z","n":1}"#);
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
