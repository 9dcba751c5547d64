//! JSON text to a tree that keeps numbers and raw texts as written, with the syntax errors of Go.

use std::borrow::Cow;

use super::quote::quote_rune;

/// Deeper is refused. No request nests deeper than a few levels.
const DEPTH_MAX: usize = 512;

/// A value and the text it was read from.
#[derive(Debug)]
pub struct Node<'a> {
    pub raw: &'a [u8],
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// What is wrong, and after how many bytes it was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("{text} at offset {offset}")]
    At { text: String, offset: usize },
    #[error("unexpected EOF")]
    Truncated,
}

/// Values one after the other, as a request may hold them: none at all, mostly one.
pub struct Values<'a> {
    reader: Reader<'a>,
}

impl<'a> Values<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { reader: Reader { text, at: 0, depth: 0 } }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<Node<'a>, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.skip_space();
        (self.reader.at < self.reader.text.len()).then(|| self.reader.value())
    }
}

/// Exactly one value.
pub fn read_one(text: &[u8]) -> Result<Node<'_>, SyntaxError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.skip_space();
    let node = reader.value()?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.unexpected("after top-level value"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Node<'a>, SyntaxError> {
        let start = self.at;
        let value = match self.peek()? {
            b'{' => self.nested(Self::object)?,
            b'[' => self.nested(Self::array)?,
            b'"' => Value::Text(self.string()?),
            b't' => self.literal("true", Value::Bool(true))?,
            b'f' => self.literal("false", Value::Bool(false))?,
            b'n' => self.literal("null", Value::Null)?,
            b'-' | b'0'..=b'9' => Value::Number(self.number()?),
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        Ok(Node { raw: &self.text[start..self.at], value })
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value<'a>, SyntaxError>,
    ) -> Result<Value<'a>, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return Err(SyntaxError::At { text: "exceeded max depth".to_owned(), offset: self.at + 1 });
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut fields = Vec::new();
        if self.take(b'}')? {
            return Ok(Value::Object(fields));
        }
        loop {
            if self.peek()? != b'"' {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':')? {
                return Err(self.unexpected("after object key"));
            }
            self.skip_space();
            fields.push((name, self.value()?));
            self.skip_space();
            if self.take(b'}')? {
                return Ok(Value::Object(fields));
            }
            if !self.take(b',')? {
                return Err(self.unexpected("after object key:value pair"));
            }
            self.skip_space();
        }
    }

    fn array(&mut self) -> Result<Value<'a>, SyntaxError> {
        let mut items = Vec::new();
        if self.take(b']')? {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.take(b']')? {
                return Ok(Value::Array(items));
            }
            if !self.take(b',')? {
                return Err(self.unexpected("after array element"));
            }
            self.skip_space();
        }
    }

    fn literal(&mut self, word: &'static str, value: Value<'a>) -> Result<Value<'a>, SyntaxError> {
        for expected in word.bytes() {
            if self.peek()? != expected {
                let expected = quote_rune(char::from(expected));
                return Err(self.unexpected(&format!("in literal {word} (expecting {expected})")));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        self.take(b'-')?;
        if !self.take(b'0')? {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        // Only digits and signs were passed.
        Ok(std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.unexpected("in numeric literal"));
        }
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    /// What is no UTF-8, and half a surrogate pair, turn into replacement characters.
    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        let mut copied = start;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    let out = unescaped.get_or_insert_default();
                    out.extend_from_slice(&self.text[copied..self.at]);
                    let rune = self.escape()?;
                    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
                    copied = self.at;
                }
                0..b' ' => return Err(self.unexpected("in string")),
                _ => self.at += 1,
            }
        }
        let rest = &self.text[copied..self.at];
        self.at += 1;
        Ok(match unescaped {
            None => String::from_utf8_lossy(rest),
            Some(mut out) => {
                out.extend_from_slice(rest);
                String::from_utf8_lossy(&out).into_owned().into()
            }
        })
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let rune = match self.text.get(self.at + 1) {
            None => return Err(SyntaxError::Truncated),
            Some(b'u') => return self.unicode_escape(),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(_) => return Err(self.bad_escape(2)),
        };
        self.at += 2;
        Ok(rune)
    }

    fn unicode_escape(&mut self) -> Result<char, SyntaxError> {
        let first = self.hex_unit()?;
        self.at += 6;
        if let Some(rune) = char::from_u32(first) {
            return Ok(rune);
        }
        let is_high = (0xd800..0xdc00).contains(&first);
        if is_high && self.text[self.at..].starts_with(b"\\u") {
            let second = self.hex_unit()?;
            if (0xdc00..0xe000).contains(&second) {
                self.at += 6;
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// The number in `\uXXXX` at the current place.
    fn hex_unit(&self) -> Result<u32, SyntaxError> {
        let Some(digits) = self.text.get(self.at + 2..self.at + 6) else {
            return Err(SyntaxError::Truncated);
        };
        digits.iter().try_fold(0, |unit, &digit| {
            let value = char::from(digit).to_digit(16).ok_or_else(|| self.bad_escape(6))?;
            Ok(unit * 16 + value)
        })
    }

    fn bad_escape(&self, len: usize) -> SyntaxError {
        let escape = String::from_utf8_lossy(&self.text[self.at..self.at + len]);
        SyntaxError::At {
            text: format!("invalid escape sequence `{escape}` in string"),
            offset: self.at + len,
        }
    }

    fn unexpected(&self, place: &str) -> SyntaxError {
        let rest = &self.text[self.at..];
        let head = &rest[..rest.len().min(4)];
        let (rune, len) = match head.utf8_chunks().next() {
            Some(chunk) if !chunk.valid().is_empty() => {
                let rune = chunk.valid().chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
                (quote_rune(rune), rune.len_utf8())
            }
            Some(_) => (format!("'\\x{:02x}'", rest[0]), 1),
            None => return SyntaxError::Truncated,
        };
        SyntaxError::At { text: format!("invalid character {rune} {place}"), offset: self.at + len }
    }

    fn peek(&self) -> Result<u8, SyntaxError> {
        self.text.get(self.at).copied().ok_or(SyntaxError::Truncated)
    }

    fn take(&mut self, byte: u8) -> Result<bool, SyntaxError> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}
