//! Text in double quotes as error texts and log lines show it: Go's `%q` (CORE-135).

use std::fmt::{self, Display, Formatter, Write};

/// Displays bytes from outside in quotes, with everything unprintable escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a>(pub &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            write_escaped(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

fn write_escaped(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if is_plain(c) {
            continue;
        }
        f.write_str(&text[plain_from..at])?;
        plain_from = at + c.len_utf8();
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\x07' => f.write_str("\\a")?,
            '\x08' => f.write_str("\\b")?,
            '\x0c' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\x0b' => f.write_str("\\v")?,
            c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
            c if u32::from(c) < 0x10000 => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "\\U{:08x}", u32::from(c))?,
        }
    }
    f.write_str(&text[plain_from..])
}

fn is_plain(c: char) -> bool {
    match c {
        '"' | '\\' => false,
        ' '..='~' => true,
        c if c.is_ascii() => false,
        c => is_printable(c),
    }
}

/// Whether Unicode calls `c` a letter, mark, number, punctuation or symbol. The standard library knows,
/// and shows it only through `str::escape_debug`, which leaves a printable second character alone.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..len]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_the_reference_does() {
        // CORE-135; expected texts are what Go prints.
        for (bytes, expected) in [
            (&b"foo.bar"[..], r#""foo.bar""#),
            (b"", r#""""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x07\x08\x0c\n\r\t\x0b\x00\x1f\x7f", r#""\a\b\f\n\r\t\v\x00\x1f\x7f""#),
            ("é✓日".as_bytes(), "\"é✓日\""),
            (b"\xff\xc3(", r#""\xff\xc3(""#),
            ("\u{a0}\u{200b}\u{e000}\u{2028}".as_bytes(), r#""\u00a0\u200b\ue000\u2028""#),
            ("\u{10ffff}".as_bytes(), r#""\U0010ffff""#),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
            ("\u{fffd}".as_bytes(), "\"\u{fffd}\""),
        ] {
            assert_eq!(Quoted(bytes).to_string(), expected);
        }
    }
}
