//! Subjects as claims have them: what is wrong with one, and whether one lies within another.

/// What nats-server's tools call wrong.
pub fn problem(subject: &str) -> Option<String> {
    if subject.is_empty() {
        Some("subject cannot be empty".to_owned())
    } else if subject.contains(' ') {
        Some(format!("subject {subject:?} cannot have spaces"))
    } else if subject.starts_with('.') || subject.ends_with('.') {
        Some(format!("subject {subject:?} cannot start or end with a `.`"))
    } else if subject.contains("..") {
        Some(format!("subject {subject:?} cannot contain consecutive `.`"))
    } else {
        None
    }
}

/// A subject that the server takes, with or without wildcards.
pub fn is_valid(subject: &str) -> bool {
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        let blank = token.contains(|c: char| c.is_ascii_whitespace());
        if token.is_empty() || blank || (token == ">" && tokens.peek().is_some()) {
            return false;
        }
    }
    true
}

pub fn has_wildcards(subject: &str) -> bool {
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token == "*" || (token == ">" && tokens.peek().is_none()) {
            return true;
        }
    }
    false
}

/// Whether all that `inner` matches is matched by `outer`.
pub fn is_within(inner: &str, outer: &str) -> bool {
    natsd_plugin_api::subject::is_subset(outer.as_bytes(), inner.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets() {
        for (inner, outer, within) in [
            ("a.b", "a.b", true),
            ("a.b", "a.*", true),
            ("a.*", "a.b", false),
            ("a.>", "a.*", false),
            ("a.b.c", "a.>", true),
            ("a", "a.>", false),
            (">", ">", true),
        ] {
            assert_eq!(is_within(inner, outer), within, "{inner} in {outer}");
        }
        assert!(has_wildcards("a.*") && has_wildcards(">") && !has_wildcards("a.b*"));
        assert!(is_valid("a.>") && !is_valid("a.>.b") && !is_valid("a b") && !is_valid(""));
    }
}
