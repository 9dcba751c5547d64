//! Which subjects a consumer, a purge or a read means: everything, or what matches one of some patterns.

/// Subject patterns with wildcards; none at all stands for every subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    patterns: Vec<Box<[u8]>>,
}

impl Filter {
    pub fn all() -> Self {
        Self::default()
    }

    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns: Vec<Box<[u8]>> = patterns.into_iter().map(|pattern| pattern.as_ref().into()).collect();
        if patterns.iter().any(|pattern| **pattern == *b">") {
            return Self::all();
        }
        Self { patterns }
    }

    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.patterns.iter().map(|pattern| &**pattern)
    }

    /// The one subject that it means, if it is one without wildcards.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.patterns {
            [pattern] if is_literal(pattern) => Some(pattern),
            _ => None,
        }
    }

    pub fn matches(&self, subject: &[u8]) -> bool {
        self.is_all() || self.patterns.iter().any(|pattern| matches(pattern, subject))
    }
}

/// Whether a subject has no wildcard token.
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.split(|&byte| byte == b'.').any(|token| token == b"*" || token == b">")
}

/// Whether a subject without wildcards matches a pattern.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut tokens = subject.split(|&byte| byte == b'.');
    for expected in pattern.split(|&byte| byte == b'.') {
        match (expected, tokens.next()) {
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (expected, Some(token)) if expected == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether every subject that matches `pattern` matches `wider` too.
pub fn is_subset(pattern: &[u8], wider: &[u8]) -> bool {
    let mut tokens = pattern.split(|&byte| byte == b'.');
    for expected in wider.split(|&byte| byte == b'.') {
        match (expected, tokens.next()) {
            (b">", Some(_)) => return true,
            (_, Some(b">")) => return false,
            (b"*", Some(_)) => {}
            (expected, Some(token)) if expected == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether some subject matches both patterns.
pub fn overlaps(one: &[u8], other: &[u8]) -> bool {
    let (mut left, mut right) = (one.split(|&byte| byte == b'.'), other.split(|&byte| byte == b'.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(one), Some(other)) if one == other || one == b"*" || other == b"*" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, is_subset, matches, overlaps};

    #[test]
    fn patterns_match_token_by_token() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("*.b", "a.b", true),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), subject.as_bytes()), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn overlap_and_subset() {
        assert!(overlaps(b"a.*", b"*.b") && overlaps(b"a.>", b"a.b.c") && !overlaps(b"a.*", b"b.*"));
        assert!(!overlaps(b"a", b"a.>") && !overlaps(b"a.*", b"a.b.c"));
        assert!(is_subset(b"a.b", b"a.*") && is_subset(b"a.*", b"a.>") && !is_subset(b"a.>", b"a.*"));
    }

    #[test]
    fn no_pattern_means_everything() {
        assert!(Filter::all().matches(b"x") && Filter::new([">"]).is_all());
        assert_eq!(Filter::new(["a.b"]).literal(), Some(&b"a.b"[..]));
        assert_eq!(Filter::new(["a.*"]).literal(), None);
    }
}
