//! Which subjects a consumer, a purge or a read means: everything, or what matches one of some patterns.

pub use natsd_plugin_api::subject::{collide as overlaps, matches};

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

#[cfg(test)]
mod tests {
    use super::{Filter, matches, overlaps};

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
    fn overlaps_go_both_ways() {
        assert!(overlaps(b"a.*", b"*.b") && overlaps(b"a.>", b"a.b.c") && !overlaps(b"a.*", b"b.*"));
        assert!(!overlaps(b"a", b"a.>") && !overlaps(b"a.*", b"a.b.c"));
    }

    #[test]
    fn no_pattern_means_everything() {
        assert!(Filter::all().matches(b"x") && Filter::new([">"]).is_all());
        assert_eq!(Filter::new(["a.b"]).literal(), Some(&b"a.b"[..]));
        assert_eq!(Filter::new(["a.*"]).literal(), None);
    }
}
