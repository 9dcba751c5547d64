//! Distinguished names as user names in a config (RFC 4514), and how they compare with certificates.

/// Attributes in the order of the text: the most specific first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dn(Vec<Rdn>);

/// One part of a name, mostly with a single attribute; `+` joins several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdn(Vec<Attribute>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Upper case: types compare without case, values with it.
    name: String,
    value: String,
}

impl Attribute {
    pub fn new(name: &str, value: &str) -> Self {
        Attribute { name: name.to_ascii_uppercase(), value: value.to_owned() }
    }
}

impl Dn {
    pub fn new(rdns: Vec<Vec<Attribute>>) -> Self {
        Dn(rdns.into_iter().map(Rdn).collect())
    }

    /// `None` if the text is not a DN, as most user names are not. Values in hex (`#04…`) are not known.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rdns = Vec::new();
        let mut attributes = Vec::new();
        let mut rest = text;
        while !rest.trim_start_matches(' ').is_empty() {
            let (name, after) = rest.split_once('=')?;
            let name = name.trim_matches(' ');
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
                return None;
            }
            let (value, delimiter, after) = parse_value(after)?;
            attributes.push(Attribute { name: name.to_ascii_uppercase(), value });
            if delimiter != Some('+') {
                rdns.push(Rdn(std::mem::take(&mut attributes)));
            }
            rest = after;
        }
        // What ends with `+` lacks an attribute.
        (attributes.is_empty() && !rdns.is_empty()).then_some(Dn(rdns))
    }

    /// The same parts in the same order.
    pub fn equals(&self, other: &Dn) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.equals(b))
    }

    /// The same parts in any order.
    pub fn matches_in_any_order(&self, other: &Dn) -> bool {
        is_permutation(&self.0, &other.0, Rdn::equals)
    }
}

impl Rdn {
    /// The order within a part never counts.
    fn equals(&self, other: &Rdn) -> bool {
        is_permutation(&self.0, &other.0, Attribute::eq)
    }
}

fn is_permutation<T>(left: &[T], right: &[T], equals: impl Fn(&T, &T) -> bool) -> bool {
    let mut unmatched: Vec<&T> = right.iter().collect();
    left.len() == right.len()
        && left.iter().all(|item| match unmatched.iter().position(|other| equals(item, other)) {
            Some(at) => {
                unmatched.swap_remove(at);
                true
            }
            None => false,
        })
}

/// Reads up to `,` or `+`, which it returns with what follows.
fn parse_value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start_matches(' ');
    if text.starts_with('#') {
        return None;
    }
    let mut value: Vec<u8> = Vec::new();
    // Blanks at the end count only if escaped.
    let mut kept_bytes = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | '+' => {
                value.truncate(kept_bytes);
                return Some((String::from_utf8(value).ok()?, Some(c), &text[at + 1..]));
            }
            '\\' => {
                value.push(escaped(&mut chars)?);
                kept_bytes = value.len();
            }
            _ => {
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                if c != ' ' {
                    kept_bytes = value.len();
                }
            }
        }
    }
    value.truncate(kept_bytes);
    Some((String::from_utf8(value).ok()?, None, ""))
}

/// What follows a backslash: a special character, or two hex digits.
fn escaped(chars: &mut std::str::CharIndices<'_>) -> Option<u8> {
    let (_, first) = chars.next()?;
    if matches!(first, ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') {
        return u8::try_from(first).ok();
    }
    let (_, second) = chars.next()?;
    u8::try_from(first.to_digit(16)? * 16 + second.to_digit(16)?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text:?} is a DN"))
    }

    #[test]
    fn blanks_and_the_case_of_types_do_not_count() {
        assert!(dn("  cn  =  joe  ,  o=  acme  ").equals(&dn("CN=joe,O=acme")));
        assert!(dn("CN=joe,O=acme,").equals(&dn("CN=joe,O=acme")));
        assert!(!dn("CN=JOE,O=acme").equals(&dn("CN=joe,O=acme")));
    }

    #[test]
    fn escapes_are_characters_or_bytes() {
        let plain = Dn::new(vec![
            vec![Attribute::new("CN", " joe\\\"z\" ")],
            vec![Attribute::new("O", "acme, inc")],
            vec![Attribute::new("OU", "ü")],
        ]);
        assert!(dn(r#"CN=\ joe\\\"z\"\ ,O=acme\, inc,OU=\c3\bc"#).equals(&plain));
        assert!(dn(r"CN=\20joe\5C\22z\22\ ,O=acme\2C inc,OU=ü").equals(&plain));
    }

    #[test]
    fn order_counts_unless_said_otherwise() {
        let (one, other) = (dn("CN=joe,OU=x,O=acme"), dn("O=acme,CN=joe,OU=x"));
        assert!(!one.equals(&other));
        assert!(one.matches_in_any_order(&other));
        assert!(!one.matches_in_any_order(&dn("O=acme,CN=joe")));
        assert!(!dn("CN=a,CN=a").matches_in_any_order(&dn("CN=a,CN=b")));
        assert!(dn("OU=x+CN=joe,O=acme").equals(&dn("CN=joe+OU=x,O=acme")));
        assert!(!dn("CN=joe+OU=x,O=acme").matches_in_any_order(&dn("CN=joe,OU=x,O=acme")));
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "joe", "CN=#0c036a6f65", "=joe", "CN=joe,,O=acme", "CN=joe\\", "CN=\\zz", "CN=joe+"]
        {
            assert_eq!(Dn::parse(text), None, "{text:?}");
        }
        // `;` does not separate.
        assert!(!dn("CN=joe;O=acme").equals(&dn("CN=joe,O=acme")));
    }
}
