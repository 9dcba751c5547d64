//! How two subjects relate: a pattern matches a subject, covers a pattern, or overlaps one.
//!
//! Patterns are expected to be valid; with others the answer is false or meaningless, never a
//! panic. Subjects may be anything a client sends.

use super::tokens;

/// True when a message published to `subject` is for subscribers of `pattern`.
///
/// A published `*` or `>` is an ordinary token (CORE-153). A subject with an empty token matches nothing
/// (CORE-154).
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut subject_tokens = tokens(subject);
    for token in tokens(pattern) {
        if token == b">" {
            return has_only_full_tokens(subject_tokens);
        }
        match subject_tokens.next() {
            Some(other) if !other.is_empty() && (token == b"*" || token == other) => {}
            _ => return false,
        }
    }
    subject_tokens.next().is_none()
}

/// True when everything that `test` matches is matched by `pattern` as well.
pub fn is_subset(pattern: &[u8], test: &[u8]) -> bool {
    let mut test_tokens = tokens(test);
    for token in tokens(pattern) {
        if token == b">" {
            return has_only_full_tokens(test_tokens);
        }
        match test_tokens.next() {
            Some(b">" | b"") | None => return false,
            Some(other) if token == b"*" || token == other => {}
            Some(_) => return false,
        }
    }
    test_tokens.next().is_none()
}

/// True when some subject is matched by both patterns.
pub fn collide(one: &[u8], two: &[u8]) -> bool {
    let mut ones = tokens(one);
    let mut twos = tokens(two);
    loop {
        match (ones.next(), twos.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(b"*"), Some(_)) | (Some(_), Some(b"*")) => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

/// The pattern of what both patterns match; `None` when that is nothing.
pub fn intersection(one: &[u8], two: &[u8]) -> Option<Vec<u8>> {
    if !collide(one, two) {
        return None;
    }
    let (mut ones, mut twos) = (tokens(one), tokens(two));
    let mut both = Vec::with_capacity(one.len().max(two.len()));
    loop {
        let token = match (ones.next(), twos.next()) {
            (Some(b">"), Some(token)) => {
                push_token(&mut both, token);
                twos.for_each(|token| push_token(&mut both, token));
                return Some(both);
            }
            (Some(token), Some(b">")) => {
                push_token(&mut both, token);
                ones.for_each(|token| push_token(&mut both, token));
                return Some(both);
            }
            (Some(b"*"), Some(token)) | (Some(token), Some(_)) => token,
            _ => return Some(both),
        };
        push_token(&mut both, token);
    }
}

fn push_token(subject: &mut Vec<u8>, token: &[u8]) {
    if !subject.is_empty() {
        subject.push(b'.');
    }
    subject.extend_from_slice(token);
}

fn has_only_full_tokens<'a>(mut tokens: impl Iterator<Item = &'a [u8]>) -> bool {
    let Some(first) = tokens.next() else { return false };
    !first.is_empty() && tokens.all(|token| !token.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every sequence of one to `tokens_max` tokens of `alphabet`.
    fn all_subjects(alphabet: &[&str], tokens_max: usize) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut longest = vec![String::new()];
        for _ in 0..tokens_max {
            longest = longest
                .iter()
                .flat_map(|head| alphabet.iter().map(move |token| (head, token)))
                .map(
                    |(head, token)| {
                        if head.is_empty() { (*token).to_owned() } else { format!("{head}.{token}") }
                    },
                )
                .collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    fn all_patterns() -> Vec<String> {
        let mut patterns = all_subjects(&["a", "b", "*", ">"], 3);
        // The wildcard for all that follows stands last.
        patterns.retain(|pattern| !pattern.contains(">."));
        patterns
    }

    /// The definition, said the slow way.
    fn naive_matches(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([">"], [_, ..]) => true,
            ([], []) => true,
            ([token, pattern @ ..], [other, subject @ ..]) => {
                (*token == "*" || token == other) && naive_matches(pattern, subject)
            }
            _ => false,
        }
    }

    /// What each pattern matches, as a bit a subject. `c` stands for a token no pattern names, and one
    /// token more than the longest pattern tells `>` from `*`.
    fn universes() -> Vec<(String, Vec<bool>)> {
        let subjects = all_subjects(&["a", "b", "c"], 4);
        let split = |text: &'static str| text.split('.').collect::<Vec<_>>();
        let subjects: Vec<Vec<&str>> = subjects.into_iter().map(|s| split(s.leak())).collect();
        all_patterns()
            .into_iter()
            .map(|pattern| {
                let pattern_tokens: Vec<&str> = pattern.split('.').collect();
                let bits = subjects.iter().map(|subject| naive_matches(&pattern_tokens, subject)).collect();
                (pattern, bits)
            })
            .collect()
    }

    #[test]
    fn matches_agrees_with_its_definition_on_all_small_inputs() {
        let subjects = all_subjects(&["a", "b", "c"], 4);
        for (pattern, bits) in universes() {
            for (subject, expected) in subjects.iter().zip(bits) {
                assert_eq!(matches(pattern.as_bytes(), subject.as_bytes()), expected, "{pattern} {subject}");
            }
        }
    }

    #[test]
    fn subset_and_collide_agree_with_the_sets_of_matched_subjects() {
        let universes = universes();
        for (one, ones) in &universes {
            for (two, twos) in &universes {
                let covered = ones.iter().zip(twos).all(|(one, two)| *one || !*two);
                assert_eq!(is_subset(one.as_bytes(), two.as_bytes()), covered, "{one} covers {two}");
                let shared = ones.iter().zip(twos).any(|(one, two)| *one && *two);
                assert_eq!(collide(one.as_bytes(), two.as_bytes()), shared, "{one} meets {two}");
                let both = intersection(one.as_bytes(), two.as_bytes());
                assert_eq!(both.is_some(), shared, "{one} with {two}");
                if let Some(both) = both.map(|both| String::from_utf8(both).unwrap()) {
                    let (_, bits) = universes.iter().find(|(pattern, _)| *pattern == both).unwrap();
                    let expected: Vec<bool> = ones.iter().zip(twos).map(|(one, two)| *one && *two).collect();
                    assert_eq!(*bits, expected, "{one} with {two}");
                }
            }
        }
    }

    #[test]
    fn published_wildcards_are_ordinary_tokens() {
        // CORE-153
        assert!(matches(b">", b"a.*"));
        assert!(matches(b"a.*", b"a.*"));
        assert!(matches(b"a.*", b"a.>"));
        assert!(!matches(b"a.b", b"a.*"));
        assert!(!matches(b"a.b", b"a.>"));
    }

    #[test]
    fn a_subject_with_an_empty_token_matches_nothing() {
        // CORE-154
        for subject in ["a..b", ".a", "a.", "", ".", "a.."] {
            for pattern in [">", "*", "a.>", "*.*", "a.*.b", "*.a", "a.*"] {
                assert!(!matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
                assert!(!is_subset(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
            }
        }
    }

    #[test]
    fn matching_is_by_bytes_and_case() {
        // CORE-155
        assert!(!matches(b"foo", b"Foo"));
        assert!(matches(b"\xff.*", b"\xff.\x00"));
    }
}
