//! Go's %q: the quoting inside -ERR texts and logs (CORE-135).

use std::fmt::{self, Write};

/// `text` in double quotes, with everything unprintable escaped as Go does.
pub fn quoted(text: &[u8]) -> String {
    Quoted(text).to_string()
}

/// Displays `"…"` with quotes, backslashes and what cannot be printed escaped.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                write_char(f, c)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        ' '..='~' => f.write_char(c),
        '\0'..='\x1f' | '\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        // Rust's judgement of what is printable stands in for Go's tables.
        _ if is_printable(c) => f.write_char(c),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        _ => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Whether `char::escape_debug` would leave it alone; unlike Go it also escapes lone combining marks.
fn is_printable(c: char) -> bool {
    !c.is_whitespace() && (c.escape_debug().count() == 1 || is_combining_mark(c))
}

fn is_combining_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{20d0}'..='\u{20f0}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_go_quotes_them() {
        let quoted = |bytes: &[u8]| Quoted(bytes).to_string();
        assert_eq!(quoted(b"hi \"you\" \\"), r#""hi \"you\" \\""#);
        assert_eq!(quoted(b"\r\n\t\x07\x00\x7f"), r#""\r\n\t\a\x00\x7f""#);
        assert_eq!(quoted("gr\u{fc}\u{df} \u{65e5}".as_bytes()), "\"gr\u{fc}\u{df} \u{65e5}\"");
        assert_eq!(quoted(b"\xff\xc3a"), r#""\xff\xc3a""#);
        assert_eq!(quoted("\u{a0}\u{2028}\u{85}".as_bytes()), r#""\u00a0\u2028\u0085""#);
    }
}
