//! Query strings: taken apart as Go does, and read as the types that endpoints ask for (MON-008, MON-009).

use std::fmt::Write;

/// The parameters of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Why a parameter is refused: the text of the 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("Error decoding boolean for '{name}': strconv.ParseBool: parsing {}: invalid syntax", quoted(.text))]
    Bool { name: &'static str, text: String },
    #[error("Error decoding int for '{name}': strconv.Atoi: parsing {}: {why}", quoted(.text))]
    Int { name: &'static str, text: String, why: NumberFault },
    #[error("Error decoding uint64 for '{name}': strconv.ParseUint: parsing {}: {why}", quoted(.text))]
    Uint { name: &'static str, text: String, why: NumberFault },
    #[error("Error decoding state for {0}")]
    State(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberFault {
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range")]
    Range,
}

impl Query {
    /// A pair that cannot be decoded is left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name, true)?, unescape(value, true)?))
        });
        Self { pairs: decoded.collect() }
    }

    /// The first value of that name; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn bool(&self, name: &'static str) -> Result<bool, QueryError> {
        match self.text(name) {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            text => Err(QueryError::Bool { name, text: text.to_owned() }),
        }
    }

    pub fn int(&self, name: &'static str) -> Result<i64, QueryError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        parse_number(text, digits).map_err(|why| QueryError::Int { name, text: text.to_owned(), why })
    }

    pub fn uint(&self, name: &'static str) -> Result<u64, QueryError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        parse_number(text, text).map_err(|why| QueryError::Uint { name, text: text.to_owned(), why })
    }
}

fn parse_number<T: std::str::FromStr>(text: &str, digits: &str) -> Result<T, NumberFault> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberFault::Syntax);
    }
    text.parse().map_err(|_| NumberFault::Range)
}

/// Decodes `%XX`, and `+` where it is a space; `None` if that is not possible.
pub fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let hex = |digit: u8| char::from(digit).to_digit(16);
                bytes.push((hex(digits[0])? * 16 + hex(digits[1])?) as u8);
                rest = after;
            }
            b'+' if plus_is_space => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// In quotes, with escapes for what cannot be shown.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        // Writing to a String does not fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\r' => write!(quoted, "\\r"),
            '\t' => write!(quoted, "\\t"),
            c if c.is_ascii_control() => write!(quoted, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => write!(quoted, "\\u{:04x}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Query;

    #[test]
    fn pairs_are_decoded_and_broken_ones_left_out() {
        let query = Query::parse("a=1&b=x%3Cy+z&a=2&bad=%zz&c;d=1&e&f=%");
        assert_eq!((query.text("a"), query.text("b")), ("1", "x<y z"));
        for absent in ["bad", "c;d", "c", "e", "f", "g"] {
            assert_eq!(query.text(absent), "");
        }
    }

    #[test]
    fn wrong_values_read_as_in_nats_server() {
        let bool_text =
            |text: &str| Query::parse(&format!("subs={text}")).bool("subs").unwrap_err().to_string();
        assert_eq!(
            bool_text("x%22"),
            r#"Error decoding boolean for 'subs': strconv.ParseBool: parsing "x\"": invalid syntax"#
        );
        let int = |text: &str| Query::parse(&format!("limit={text}")).int("limit").map_err(|e| e.to_string());
        assert_eq!(int("-5"), Ok(-5));
        assert_eq!(int("%2B5"), Ok(5));
        for bad in ["x", "-", "1_0", "1.0"] {
            let text =
                format!("Error decoding int for 'limit': strconv.Atoi: parsing {bad:?}: invalid syntax");
            assert_eq!(int(bad), Err(text));
        }
        assert_eq!(
            int("99999999999999999999").unwrap_err(),
            "Error decoding int for 'limit': strconv.Atoi: parsing \"99999999999999999999\": value out of range"
        );
        assert_eq!(
            Query::parse("cid=-1").uint("cid").unwrap_err().to_string(),
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax"
        );
    }
}
