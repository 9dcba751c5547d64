//! Bytes as readable text and back: escapes, repeats and `{{…}}` fields.

/// Runs of one byte at least this long are written as a repeat.
const RUN_MIN: usize = 40;

/// Shows bytes as the script writes them.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|&&byte| byte == first).count();
        let (shown, len) = (escape_byte(first), if run >= RUN_MIN { run } else { 1 });
        if len > 1 {
            text.push_str(&format!("{{{{{shown}*{len}}}}}"));
        } else {
            text.push_str(&shown);
        }
        rest = &rest[len..];
    }
    text
}

fn escape_byte(byte: u8) -> String {
    match byte {
        b'\r' => "\\r".into(),
        b'\n' => "\\n".into(),
        b'\t' => "\\t".into(),
        b'\\' => "\\\\".into(),
        b' '..=b'~' => char::from(byte).into(),
        _ => format!("\\x{byte:02x}"),
    }
}

/// Turns script text into bytes. `field` gives the value of a `{{field}}` that is no repeat.
pub fn unescape(text: &str, field: &dyn Fn(&str) -> Result<String, String>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(inner) = rest.strip_prefix("{{") {
            let (name, after) = inner.split_once("}}").ok_or("`{{` without `}}`")?;
            bytes.extend(expand(name, field)?);
            rest = after;
        } else if let Some(escaped) = rest.strip_prefix('\\') {
            let (byte, len) = unescape_one(escaped)?;
            bytes.push(byte);
            rest = &escaped[len..];
        } else {
            let len = first.len_utf8();
            bytes.extend_from_slice(&rest.as_bytes()[..len]);
            rest = &rest[len..];
        }
    }
    Ok(bytes)
}

fn expand(name: &str, field: &dyn Fn(&str) -> Result<String, String>) -> Result<Vec<u8>, String> {
    let repeat = name.rsplit_once('*').and_then(|(what, count)| Some((what, count.parse::<usize>().ok()?)));
    match repeat {
        Some((what, count)) => Ok(unescape(what, field)?.repeat(count)),
        None => Ok(field(name)?.into_bytes()),
    }
}

fn unescape_one(escaped: &str) -> Result<(u8, usize), String> {
    let hex = || escaped.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match escaped.as_bytes().first() {
        Some(b'r') => Ok((b'\r', 1)),
        Some(b'n') => Ok((b'\n', 1)),
        Some(b't') => Ok((b'\t', 1)),
        Some(b'\\') => Ok((b'\\', 1)),
        Some(b'x') => hex().map(|byte| (byte, 3)).ok_or_else(|| "`\\x` needs two hex digits".into()),
        _ => Err(format!("unknown escape `\\{}`", escaped.chars().next().unwrap_or(' '))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_fields(name: &str) -> Result<String, String> {
        Err(format!("unknown field {name}"))
    }

    #[test]
    fn what_is_escaped_comes_back() {
        let bytes: Vec<u8> = (0..=255).chain([b'x'; 100]).collect();
        assert_eq!(unescape(&escape(&bytes), &no_fields).unwrap(), bytes);
    }

    #[test]
    fn repeats_take_more_than_one_byte() {
        assert_eq!(unescape("{{a.*3}}b", &no_fields).unwrap(), b"a.a.a.b");
        assert!(unescape("{{a", &no_fields).is_err());
        assert!(unescape("\\q", &no_fields).is_err());
    }
}
