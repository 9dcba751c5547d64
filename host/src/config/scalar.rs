//! Strings, numbers, booleans and datetimes of the config language (CFG-006 to CFG-017).
//!
//! Not here: maps, arrays, and what a variable stands for (see `parse`).

use super::cursor::Cursor;
use super::parse::parse_error_at;
use super::problem::Problem;
use super::value::{Text, Value};

pub(super) enum Scalar {
    Value(Value),
    /// The name after `$`, to be looked up.
    Variable(Text),
}

/// Reads the value that starts here; neither a map nor an array.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Scalar, Problem> {
    match cursor.peek() {
        Some('"') => double_quoted(cursor).map(string),
        Some('\'') => single_quoted(cursor).map(string),
        Some('(') => block(cursor).map(string),
        Some('-') => {
            let start = *cursor;
            cursor.next();
            digit_needed(cursor)?;
            number(cursor, start)
        }
        Some('.') => {
            Err(error(cursor, "Floats must start with a digit").remedy("write 0.5, or quote the text"))
        }
        Some(c) if c.is_ascii_digit() => {
            let start = *cursor;
            number(cursor, start)
        }
        _ => bare(cursor),
    }
}

/// The file name of an include: quoted or bare (CFG-020).
pub(super) fn include_name(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    let start_of = |what: &str| format!("Expected include value but found {what}");
    let text = match cursor.peek() {
        Some(quote @ ('"' | '\'')) => {
            cursor.next();
            let name = cursor.take_while(|c| c != quote).to_owned();
            if cursor.take(quote) {
                return Ok(name);
            }
            "Unexpected EOF in quoted include".to_owned()
        }
        Some('[') => start_of("start of an array"),
        Some('{') => start_of("start of a map"),
        Some('(') => start_of("start of a block"),
        Some('\\') => start_of("escape sequence"),
        Some(c) if c.is_ascii_digit() || c == '-' => start_of("start of a number"),
        None | Some('\n' | '\r') => start_of("new line"),
        Some(_) => {
            return Ok(cursor.take_while(|c| !c.is_whitespace() && !matches!(c, ';' | '}')).to_owned());
        }
    };
    Err(error(cursor, text).remedy("name a file, best in quotes: include 'auth.conf'"))
}

fn string(text: Text) -> Scalar {
    Scalar::Value(Value::String(text))
}

fn error(cursor: &Cursor<'_>, text: impl AsRef<str>) -> Problem {
    parse_error_at(cursor.pos(), text)
}

fn double_quoted(cursor: &mut Cursor<'_>) -> Result<Text, Problem> {
    let start = *cursor;
    cursor.next();
    if let Some((plain, _)) = cursor.rest().split_once('"')
        && !plain.contains('\\')
    {
        let text = cursor.take_while(|c| c != '"').into();
        cursor.next();
        return Ok(text);
    }
    let mut bytes = Vec::new();
    loop {
        match cursor.next() {
            Some('"') => return utf8(bytes, &start),
            Some('\\') => escape(cursor, &mut bytes)?,
            Some(c) => push(&mut bytes, c),
            None => return Err(error(&start, "Unexpected EOF.").remedy("close the string with `\"`")),
        }
    }
}

fn single_quoted(cursor: &mut Cursor<'_>) -> Result<Text, Problem> {
    let start = *cursor;
    cursor.next();
    let text = Text::from(cursor.take_while(|c| c != '\''));
    if cursor.take('\'') {
        return Ok(text);
    }
    Err(error(&start, "Unexpected EOF.").remedy("close the string with `'`"))
}

/// `(` up to a `)` that stands alone at the start of a line; kept verbatim (CFG-011).
fn block(cursor: &mut Cursor<'_>) -> Result<Text, Problem> {
    let start = *cursor;
    cursor.next();
    let content = *cursor;
    while let Some(c) = cursor.next() {
        if c != '\n' || !cursor.rest().starts_with(')') {
            continue;
        }
        let text = Text::from(cursor.since(&content));
        let after = &cursor.rest()[1..];
        if after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n") {
            cursor.next();
            return Ok(text);
        }
    }
    Err(error(&start, "Unexpected EOF processing block.")
        .remedy("close it with `)` alone at the start of a line"))
}

/// An unquoted word: a string, a boolean or a variable (CFG-010, CFG-012, CFG-021).
fn bare(cursor: &mut Cursor<'_>) -> Result<Scalar, Problem> {
    let plain = cursor.rest().bytes().take_while(|&b| !ends_plain(b)).count();
    // Nothing in it needs a closer look, nor does what ends it.
    if cursor.rest().as_bytes().get(plain).is_none_or(|&b| ends_bare(b.into())) {
        return Ok(word(cursor.skip_in_line(plain)));
    }
    let start = *cursor;
    let mut bytes = Vec::new();
    let mut escaped = false;
    loop {
        match cursor.peek() {
            Some('\'') => {
                cursor.next();
                return utf8(bytes, &start).map(string);
            }
            Some('\\') => {
                cursor.next();
                escape(cursor, &mut bytes)?;
                escaped = true;
            }
            // A mapping function belongs to the word with its braces.
            Some('{') if template_len(cursor.rest()) > 0 => {
                for _ in 0..template_len(cursor.rest()) {
                    if let Some(c) = cursor.next() {
                        push(&mut bytes, c);
                    }
                }
            }
            Some(c) if !ends_bare(c) => {
                cursor.next();
                push(&mut bytes, c);
            }
            _ => break,
        }
    }
    let text = utf8(bytes, &start)?;
    Ok(if escaped { string(text) } else { word(&text) })
}

/// What an unquoted word without escapes stands for.
fn word(text: &str) -> Scalar {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.strip_prefix('$') {
        // A bcrypt hash, not a variable (CFG-024).
        Some(name) if !name.starts_with("2a$") => Scalar::Variable(name.into()),
        None if is(["true", "yes", "on"]) => Scalar::Value(Value::Bool(true)),
        None if is(["false", "no", "off"]) => Scalar::Value(Value::Bool(false)),
        _ => string(text.into()),
    }
}

/// The characters of `{{...}}` at the start of `text`; 0 if it is none or holds what ends a word.
fn template_len(text: &str) -> usize {
    const TEMPLATE_CHARS_MAX: usize = 256;
    if !text.starts_with("{{") {
        return 0;
    }
    let mut previous = '\0';
    for (at, c) in text.chars().enumerate().take(TEMPLATE_CHARS_MAX) {
        if c == '}' && previous == '}' {
            return at + 1;
        }
        if c.is_whitespace() || matches!(c, ';' | ']' | '\'' | '"') {
            return 0;
        }
        previous = c;
    }
    0
}

fn number<'t>(cursor: &mut Cursor<'t>, start: Cursor<'t>) -> Result<Scalar, Problem> {
    let negative = start.peek() == Some('-');
    let digits = cursor.take_while(|c| c.is_ascii_digit()).len();
    match cursor.peek() {
        Some('-') if !negative => datetime(cursor, digits, &start),
        Some('.') => float_or_address(cursor, &start),
        Some(c) if suffix_power(c).is_some() => {
            cursor.next();
            cursor.take_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
            match multiplier(cursor.since(&start)) {
                Some(factor) if ends_number(cursor) => integer(cursor, &start, factor),
                _ => word_instead(cursor, start),
            }
        }
        _ if ends_number(cursor) => integer(cursor, &start, 1),
        _ => word_instead(cursor, start),
    }
}

/// It began like a number and goes on like a word: `30s`, `12abc` (CFG-016).
fn word_instead<'t>(cursor: &mut Cursor<'t>, start: Cursor<'t>) -> Result<Scalar, Problem> {
    if start.peek() == Some('-') {
        return Err(error(cursor, format!("Expected a digit but got '{}'.", cursor.peek().unwrap_or(' ')))
            .remedy("quote text that starts with `-`"));
    }
    *cursor = start;
    bare(cursor)
}

fn integer(cursor: &Cursor<'_>, start: &Cursor<'_>, factor: i64) -> Result<Scalar, Problem> {
    let text = cursor.since(start);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    digits
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .map(|number| Scalar::Value(Value::Integer(number)))
        .ok_or_else(|| {
            Problem::at(start.pos(), format!("integer '{text}' is out of the range")).remedy(format!(
                "use a number between {} and {}",
                i64::MIN,
                i64::MAX
            ))
        })
}

/// Digits, a dot, digits; a second dot makes it an address such as `127.0.0.1:4222` (CFG-014).
fn float_or_address(cursor: &mut Cursor<'_>, start: &Cursor<'_>) -> Result<Scalar, Problem> {
    cursor.next();
    if !cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        let found = cursor.peek().unwrap_or(' ');
        return Err(error(
            cursor,
            format!("Floats must have a digit after the '.', but got '{found}' instead."),
        )
        .remedy("quote it if it is a text"));
    }
    cursor.take_while(|c| c.is_ascii_digit());
    if cursor.peek() == Some('.') {
        cursor.take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
        return Ok(string(cursor.since(start).into()));
    }
    let text = cursor.since(start);
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Scalar::Value(Value::Float(float))),
        _ => Err(Problem::at(start.pos(), format!("float '{text}' is out of the range"))),
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, nothing else (CFG-015).
fn datetime(cursor: &mut Cursor<'_>, year_digits: usize, start: &Cursor<'_>) -> Result<Scalar, Problem> {
    const QUOTE: &str = "quote it if it is a text";
    if year_digits != 4 {
        return Err(error(cursor, "All ISO8601 dates must be in full Zulu form.").remedy(QUOTE));
    }
    for wanted in "-00-00T00:00:00Z".chars() {
        let found = cursor.peek().unwrap_or(' ');
        let fits = if wanted == '0' { found.is_ascii_digit() } else { found == wanted };
        if !fits {
            let expected = if wanted == '0' { "digit".to_owned() } else { format!("'{wanted}'") };
            let text = format!("Expected {expected} in ISO8601 datetime, but found '{found}' instead.");
            return Err(error(cursor, text).remedy(QUOTE));
        }
        cursor.next();
    }
    let text = cursor.since(start);
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    match time::PrimitiveDateTime::parse(text, &format) {
        Ok(_) => Ok(Scalar::Value(Value::Datetime(text.into()))),
        Err(_) => {
            Err(Problem::at(start.pos(), format!("expected Zulu formatted DateTime, but got '{text}'"))
                .remedy(QUOTE))
        }
    }
}

/// What the size suffix at the end of `text` multiplies by; `None` if it is not one (CFG-013).
fn multiplier(text: &str) -> Option<i64> {
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_ascii_lowercase();
    let power = suffix_power(suffix.chars().next()?)?;
    match &suffix[1..] {
        "" => 1000_i64.checked_pow(power),
        "b" | "i" | "ib" => 1024_i64.checked_pow(power),
        _ => None,
    }
}

fn suffix_power(c: char) -> Option<u32> {
    "kmgtpe".find(c.to_ascii_lowercase()).and_then(|at| u32::try_from(at + 1).ok())
}

fn digit_needed(cursor: &Cursor<'_>) -> Result<(), Problem> {
    match cursor.peek() {
        Some(c) if c.is_ascii_digit() => Ok(()),
        Some('.') => {
            Err(error(cursor, "Floats must start with a digit").remedy("write -0.5, or quote the text"))
        }
        other => Err(error(cursor, format!("Expected a digit but got '{}'.", other.unwrap_or(' ')))
            .remedy("quote text that starts with `-`")),
    }
}

/// Only these escapes exist (CFG-008).
fn escape(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    let at = *cursor;
    let byte = match cursor.next() {
        Some('t') => b'\t',
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('"') => b'"',
        Some('\\') => b'\\',
        Some('x') => hex_byte(cursor)?,
        other => {
            return Err(error(&at, format!(
                "Invalid escape character '{}'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                other.unwrap_or(' ')
            ))
            .remedy("write `\\\\` for a backslash, or use single quotes"));
        }
    };
    bytes.push(byte);
    Ok(())
}

fn hex_byte(cursor: &mut Cursor<'_>) -> Result<u8, Problem> {
    let start = *cursor;
    for _ in 0..2 {
        match cursor.next() {
            Some('\n' | '\r') | None => {
                return Err(error(
                    &start,
                    "Expected two hexadecimal digits after '\\x', but hit end of line",
                ));
            }
            Some(_) => {}
        }
    }
    let digits = cursor.since(&start);
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| plain).ok_or_else(|| {
        error(&start, format!("Expected two hexadecimal digits after '\\x', but got '{digits}'"))
    })
}

fn utf8(bytes: Vec<u8>, start: &Cursor<'_>) -> Result<Text, Problem> {
    Text::from_utf8(bytes).map_err(|_| {
        error(start, "The \\x escapes do not make UTF-8 text.")
            .remedy("write the UTF-8 bytes of the character")
    })
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn ends_bare(c: char) -> bool {
    matches!(c, '\n' | '\r' | ' ' | '\t' | ';' | ',' | ']' | '}')
}

/// What ends a bare word or makes it more than its letters.
fn ends_plain(byte: u8) -> bool {
    ends_bare(byte.into()) || matches!(byte, b'\'' | b'\\' | b'{')
}

fn ends_number(cursor: &Cursor<'_>) -> bool {
    cursor.peek().is_none_or(ends_bare)
}
