//! Texts in error messages, quoted as Go's `%q` does.

use std::fmt::Write;

/// Double quotes around it, and what cannot be printed escaped.
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for rune in text.chars() {
        push(&mut quoted, rune, '"');
    }
    quoted.push('"');
    quoted
}

/// One character in single quotes, as syntax errors name it: a double quote stands for itself.
pub(super) fn quote_rune(rune: char) -> String {
    let mut quoted = String::from("'");
    push(&mut quoted, rune, '\'');
    quoted.push('\'');
    quoted
}

fn push(quoted: &mut String, rune: char, delimiter: char) {
    let escape = match rune {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '\\' => '\\',
        _ if rune == delimiter => delimiter,
        _ => {
            let code = u32::from(rune);
            // Writing to a string cannot fail.
            let _ = match rune {
                _ if is_printable(rune) => quoted.write_char(rune),
                '\0'..' ' | '\u{7f}' => write!(quoted, "\\x{code:02x}"),
                '\0'..='\u{ffff}' => write!(quoted, "\\u{code:04x}"),
                _ => write!(quoted, "\\U{code:08x}"),
            };
            return;
        }
    };
    quoted.push('\\');
    quoted.push(escape);
}

/// Close to Go's notion: no control characters, no spaces but the common one, no format characters.
fn is_printable(rune: char) -> bool {
    let is_format = matches!(rune,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}');
    rune == ' ' || !(rune.is_control() || rune.is_whitespace() || is_format)
}

#[cfg(test)]
mod tests {
    use super::{go_quote, quote_rune};

    #[test]
    fn quoted_as_go_does() {
        assert_eq!(go_quote("f\u{f6}o\"\n"), "\"f\u{f6}o\\\"\\n\"");
        assert_eq!(go_quote("\u{1}\u{7f}\u{feff}'"), "\"\\x01\\x7f\\ufeff'\"");
        assert_eq!((quote_rune('"').as_str(), quote_rune('\'').as_str()), ("'\"'", "'\\''"));
        assert_eq!(quote_rune('\0'), "'\\x00'");
    }
}
