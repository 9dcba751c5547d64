//! Which subjects a consumer, a purge or a read means: everything, or what matches one of some patterns.

pub use natsd_plugin_api::subject::{collide as overlaps, is_subset, matches};

/// Subject patterns with wildcards; none at all stands for every subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: Box<[u8]>,
    form: Form,
}

/// Nearly all patterns have a form that needs no look at single tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// No wildcards: one subject.
    Literal,
    /// No wildcards but `>` at the end: what begins with so many bytes.
    Under(usize),
    Other,
}

impl Filter {
    pub fn all() -> Self {
        Self::default()
    }

    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns: Vec<Pattern> =
            patterns.into_iter().map(|pattern| Pattern::new(pattern.as_ref())).collect();
        if patterns.iter().any(|pattern| *pattern.text == *b">") {
            return Self::all();
        }
        Self { patterns }
    }

    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.patterns.iter().map(|pattern| &*pattern.text)
    }

    /// The one subject that it means, if it is one without wildcards.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.patterns {
            [Pattern { text, form: Form::Literal }] => Some(text),
            _ => None,
        }
    }

    /// Whether it means nothing that the other one does not mean.
    pub fn is_within(&self, wider: &Self) -> bool {
        let is_covered = |pattern: &[u8]| wider.patterns().any(|other| is_subset(other, pattern));
        wider.is_all() || !self.is_all() && self.patterns().all(is_covered)
    }

    pub fn matches(&self, subject: &[u8]) -> bool {
        self.is_all() || self.patterns.iter().any(|pattern| pattern.matches(subject))
    }
}

impl Pattern {
    fn new(text: &[u8]) -> Self {
        let start = text.strip_suffix(b">").filter(|start| start.ends_with(b"."));
        let form = match start {
            _ if is_literal(text) => Form::Literal,
            Some(start) if is_literal(start) => Form::Under(start.len()),
            _ => Form::Other,
        };
        Self { text: text.into(), form }
    }

    fn matches(&self, subject: &[u8]) -> bool {
        match self.form {
            Form::Literal => *self.text == *subject,
            Form::Under(len) => {
                subject.strip_prefix(&self.text[..len]).is_some_and(|rest| !has_empty_token(rest))
            }
            Form::Other => matches(&self.text, subject),
        }
    }
}

/// Such a subject matches nothing (CORE-154).
fn has_empty_token(subject: &[u8]) -> bool {
    subject.split(|&byte| byte == b'.').any(<[u8]>::is_empty)
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
    fn a_filter_matches_what_its_pattern_does() {
        let subjects = ["a", "a.b", "a.b.c", "a.b.", "a..c", ".a", "a.", "", "a.b.c.d", "a.bc", "ab.c"];
        for pattern in ["a", "a.b", "a.>", "a.b.>", "a.*", "a.*.>", "*", "*.b", ">"] {
            let filter = Filter::new([pattern]);
            for subject in subjects.map(str::as_bytes) {
                let expected = filter.is_all() || matches(pattern.as_bytes(), subject);
                assert_eq!(filter.matches(subject), expected, "{pattern} {subject:?}");
            }
        }
    }

    #[test]
    fn a_filter_is_within_one_that_means_as_much() {
        let filter = |patterns: &[&str]| Filter::new(patterns);
        for (one, wider, expected) in [
            (filter(&["a.b"]), filter(&["a.*"]), true),
            (filter(&["a.*"]), filter(&["a.b"]), false),
            (filter(&["a.b", "c"]), filter(&["a.*"]), false),
            (filter(&["a.b", "c"]), filter(&["c", "a.>"]), true),
            (filter(&["a"]), Filter::all(), true),
            (Filter::all(), filter(&["a.>"]), false),
            (Filter::all(), Filter::all(), true),
        ] {
            assert_eq!(one.is_within(&wider), expected, "{one:?} in {wider:?}");
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
