//! Subjects: what is valid, and which pattern covers which subject.
//!
//! What plugins need as well is in `natsd_plugin_api::subject`: comparing patterns, transforms. `renaming` is for
//! imports. Works on bytes, keeps no state. Not here: finding the subscriptions that match a subject (`interest`).

mod renaming;

pub use natsd_plugin_api::subject::transform::{Transform, TransformError};
pub use natsd_plugin_api::subject::{collide, intersection, is_subset, matches, tokens};
pub use renaming::Renaming;

use thiserror::Error;

/// A subject without wildcards, already validated: what a message may be published to (CORE-152).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Literal<'a>(&'a [u8]);

impl<'a> Literal<'a> {
    pub fn parse(subject: &'a [u8]) -> Result<Self, SubjectError> {
        match Pattern::parse(subject)? {
            pattern if pattern.has_wildcard() => Err(SubjectError::Wildcard),
            Pattern(bytes) => Ok(Self(bytes)),
        }
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// A subject that may hold wildcards, already validated (CORE-152).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern<'a>(&'a [u8]);

impl<'a> Pattern<'a> {
    pub fn parse(subject: &'a [u8]) -> Result<Self, SubjectError> {
        if subject.is_empty() {
            return Err(SubjectError::Empty);
        }
        if let Some(at) = subject.iter().position(|byte| is_blank(*byte)) {
            return Err(SubjectError::Blank { at });
        }
        check_tokens(subject)?;
        Ok(Self(subject))
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    pub fn has_wildcard(&self) -> bool {
        has_wildcard(self.0)
    }
}

/// Positions are byte offsets into the subject.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SubjectError {
    #[error("the subject is empty")]
    Empty,
    #[error("empty token at byte {at}: tokens between dots need at least one character")]
    EmptyToken { at: usize },
    #[error("`>` at byte {at} must be the last token")]
    TokenAfterFullWildcard { at: usize },
    #[error("blank character at byte {at}: subjects hold no spaces, tabs or line ends")]
    Blank { at: usize },
    #[error("wildcards are not allowed here")]
    Wildcard,
}

/// The check of SUB (CORE-151): tokens only; any byte may be part of one.
pub fn is_valid_for_sub(subject: &[u8]) -> bool {
    check_tokens(subject).is_ok()
}

/// The check everywhere else, config and permissions included (CORE-152).
pub fn is_valid(subject: &[u8]) -> bool {
    Pattern::parse(subject).is_ok()
}

/// Valid, and no token is a wildcard: the check of a pedantic PUB (CORE-127).
pub fn is_valid_literal(subject: &[u8]) -> bool {
    Literal::parse(subject).is_ok()
}

/// What can be a field of a control line: all that a message needs to be sent (CORE-127). With an empty token it
/// reaches nobody, and a wildcard is a token like others.
pub fn is_publishable(subject: &[u8]) -> bool {
    !subject.is_empty() && !subject.iter().any(|byte| is_blank(*byte))
}

/// True when a whole token is `*` or `>`; `a*b` and `>x` are literals (CORE-150).
pub fn has_wildcard(subject: &[u8]) -> bool {
    // Most subjects hold neither byte: one scan settles it.
    memchr::memchr2(b'*', b'>', subject).is_some() && tokens(subject).any(is_wildcard_token)
}

/// For `max_sub_tokens` (CORE-159).
pub fn token_count(subject: &[u8]) -> usize {
    memchr::memchr_iter(b'.', subject).count() + 1
}

fn is_wildcard_token(token: &[u8]) -> bool {
    token == b"*" || token == b">"
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

fn check_tokens(subject: &[u8]) -> Result<(), SubjectError> {
    let mut at = 0;
    let mut full_wildcard_at = None;
    for token in tokens(subject) {
        if let Some(at) = full_wildcard_at {
            return Err(SubjectError::TokenAfterFullWildcard { at });
        }
        if token.is_empty() {
            return Err(SubjectError::EmptyToken { at });
        }
        if token == b">" {
            full_wildcard_at = Some(at);
        }
        at += token.len() + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_valid_when_no_token_is_empty_and_the_full_wildcard_is_last() {
        // CORE-150, CORE-151, CORE-152
        for subject in ["a", "a.b", "*", ">", "a.*.b", "a.>", "a*b", ">x.y", "a.*x", "é.✓", "a\u{0}b"] {
            assert!(is_valid(subject.as_bytes()), "{subject}");
            assert!(is_valid_for_sub(subject.as_bytes()), "{subject}");
        }
        for subject in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", ">.>"] {
            assert!(!is_valid(subject.as_bytes()), "{subject}");
            assert!(!is_valid_for_sub(subject.as_bytes()), "{subject}");
        }
    }

    #[test]
    fn blanks_are_refused_outside_of_sub() {
        for subject in ["a b", "a\t", "\na", "a.\r.b", "\x0c"] {
            assert!(!is_valid(subject.as_bytes()), "{subject:?}");
            assert!(is_valid_for_sub(subject.as_bytes()), "{subject:?}");
        }
    }

    #[test]
    fn errors_name_the_byte_at_fault() {
        assert_eq!(Pattern::parse(b"ab..c"), Err(SubjectError::EmptyToken { at: 3 }));
        assert_eq!(Pattern::parse(b"ab.>.c"), Err(SubjectError::TokenAfterFullWildcard { at: 3 }));
        assert_eq!(Pattern::parse(b"ab c"), Err(SubjectError::Blank { at: 2 }));
        assert_eq!(Literal::parse(b"a.*"), Err(SubjectError::Wildcard));
        assert_eq!(Literal::parse(b""), Err(SubjectError::Empty));
    }

    #[test]
    fn only_whole_tokens_are_wildcards() {
        // CORE-150
        for subject in ["*", ">", "a.*", "*.a", "a.>"] {
            assert!(has_wildcard(subject.as_bytes()), "{subject}");
        }
        for subject in ["a*b", "*x", ">x", "a.b>", "**", "a.x*.b"] {
            assert!(is_valid_literal(subject.as_bytes()), "{subject}");
        }
    }

    #[test]
    fn tokens_are_counted() {
        // CORE-159
        assert_eq!(token_count(b"a"), 1);
        assert_eq!(token_count(b"a.b.>"), 3);
        assert_eq!(tokens(b"a.b.>").count(), 3);
    }
}
