//! Distinguished names as text and in certificates, and when two are the same (AUTH-020, RFC 4514).

/// Parts from the most specific to the least: `CN=a,O=b` in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Part>);

/// Attributes joined by `+`; their order does not count.
#[derive(Clone, Debug)]
struct Part(Vec<Attribute>);

#[derive(Clone, Debug)]
struct Attribute {
    name: String,
    value: String,
}

impl DistinguishedName {
    /// `None`: the text is no distinguished name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { bytes: text.as_bytes(), at: 0 };
        let mut parts = vec![Part(Vec::new())];
        loop {
            let name = parser.text_until(b"=,+")?;
            if name.is_empty() || parser.next() != Some(b'=') || parser.peek() == Some(b'#') {
                // `#` starts a value in hex of BER, which no certificate field is compared to.
                return None;
            }
            let value = parser.text_until(b"=,+")?;
            parts.last_mut()?.0.push(Attribute { name, value });
            match parser.next() {
                None => return Some(Self(parts)),
                Some(b'+') => {}
                Some(b',') => parts.push(Part(Vec::new())),
                Some(_) => return None,
            }
        }
    }

    /// From the names and values of a certificate's subject, in the order of the certificate, which is
    /// the reverse of the written one.
    pub fn from_certificate(parts: Vec<Vec<(&'static str, String)>>) -> Self {
        let attribute = |(name, value): (&str, String)| Attribute { name: name.to_owned(), value };
        Self(parts.into_iter().rev().map(|part| Part(part.into_iter().map(attribute).collect())).collect())
    }

    /// The same parts, in whatever order.
    pub fn eq_in_any_order(&self, other: &Self) -> bool {
        let mut left: Vec<&Part> = other.0.iter().collect();
        self.0.iter().all(|part| match left.iter().position(|other| *other == part) {
            Some(at) => {
                left.swap_remove(at);
                true
            }
            None => false,
        }) && left.is_empty()
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        let has_all = |one: &Self, two: &Self| two.0.iter().all(|attribute| one.0.contains(attribute));
        self.0.len() == other.0.len() && has_all(self, other) && has_all(other, self)
    }
}

impl Eq for Part {}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name) && self.value == other.value
    }
}

struct Parser<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Unescaped text up to one of `ends`, without blanks around it unless they are escaped.
    fn text_until(&mut self, ends: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        let mut len_to_keep = 0;
        while let Some(byte) = self.peek().filter(|byte| !ends.contains(byte)) {
            self.at += 1;
            match byte {
                b'\\' => {
                    text.push(self.escaped()?);
                    len_to_keep = text.len();
                }
                b' ' if text.is_empty() => {}
                b' ' => text.push(b' '),
                byte => {
                    text.push(byte);
                    len_to_keep = text.len();
                }
            }
        }
        text.truncate(len_to_keep);
        String::from_utf8(text).ok()
    }

    /// A special character, or two hex digits.
    fn escaped(&mut self) -> Option<u8> {
        let first = self.next()?;
        if b" \"#+,;<=>\\".contains(&first) {
            return Some(first);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        Some(digit(first)? << 4 | digit(self.next()?)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn dn(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap()
    }

    #[test]
    fn blanks_case_of_names_and_escapes_do_not_count() {
        assert_eq!(dn("CN=joe,O=acme"), dn(" cn = joe , o=acme"));
        assert_eq!(dn("CN=a\\,b"), dn("CN=a\\2cb"));
        assert_eq!(dn("CN=a+OU=b"), dn("OU=b+CN=a"));
        assert_ne!(dn("CN=joe"), dn("CN=Joe"));
        assert_ne!(dn("CN=joe\\ "), dn("CN=joe "));
        assert_eq!(dn("CN="), dn("CN= "));
    }

    #[test]
    fn order_counts_unless_asked_otherwise() {
        let (one, two) = (dn("CN=a,O=b,O=c"), dn("O=c,CN=a,O=b"));
        assert_ne!(one, two);
        assert!(one.eq_in_any_order(&two));
        assert!(!one.eq_in_any_order(&dn("CN=a,O=b,O=b")));
        assert!(!one.eq_in_any_order(&dn("CN=a,O=b")));
        assert!(!dn("CN=a,O=b").eq_in_any_order(&one));
    }

    #[test]
    fn a_certificate_lists_its_parts_the_other_way() {
        let parts = vec![vec![("DC", "com".to_owned())], vec![("CN", "joe".to_owned())]];
        assert_eq!(DistinguishedName::from_certificate(parts), dn("CN=joe,DC=com"));
    }

    #[test]
    fn other_text_is_no_distinguished_name() {
        for text in
            ["", "joe", "joe@acme.com", "CN=a,", "CN=a,b", "=a", "CN=#04", "CN=a\\", "CN=a\\g0", "a=b=c"]
        {
            assert_eq!(DistinguishedName::parse(text), None, "{text}");
        }
    }
}
