//! Subjects and names in configurations.

/// Subjects that clients may use and, with wildcards, subscribe to.
pub fn is_valid_subject(subject: &str) -> bool {
    let mut is_over = false;
    !subject.is_empty()
        && subject.split('.').all(|token| {
            let is_token = !is_over && !token.is_empty() && !token.contains(is_space);
            is_over |= token == ">";
            is_token
        })
}

/// Names of streams and consumers: one token, safe as a part of a path (JS-070, JC-014).
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| is_space(c) || matches!(c, '.' | '*' | '>' | '\\' | '/'))
}

pub fn has_path_separator(name: &str) -> bool {
    name.contains(['\\', '/'])
}

pub fn is_literal(subject: &str) -> bool {
    crate::filter::is_literal(subject.as_bytes())
}

pub fn overlap(one: &str, other: &str) -> bool {
    // What names nothing has nothing in common with anything.
    if one.is_empty() || other.is_empty() {
        return false;
    }
    crate::filter::overlaps(one.as_bytes(), other.as_bytes())
}

pub fn is_subset(subject: &str, wider: &str) -> bool {
    natsd_plugin_api::subject::is_subset(wider.as_bytes(), subject.as_bytes())
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::{is_valid_name, is_valid_subject};

    #[test]
    fn subjects() {
        for subject in ["a", "a.b", "*", ">", "a.*.>", "a>", "*a", "$JS.>"] {
            assert!(is_valid_subject(subject), "{subject}");
        }
        for subject in ["", ".", "a.", ".a", "a..b", ">.a", "a b", "a\t", " ", "a.\u{c}"] {
            assert!(!is_valid_subject(subject), "{subject:?}");
        }
    }

    #[test]
    fn names() {
        assert!(is_valid_name("A-b_1$"));
        for name in ["", "a.b", "a*", ">", "a b", "a/b", "a\\b", "\n"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
    }
}
