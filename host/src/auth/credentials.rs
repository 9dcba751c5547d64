//! Proofs of identity: passwords, tokens, signatures (AUTH-005, AUTH-007, AUTH-030).
//!
//! Not here: whose proof is asked for (`authenticator`).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use crate::proto::nkey::Verifier;

/// A password or token of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Plain(Arc<str>),
    /// The hash of what the client has to send. Checking takes milliseconds: do it in a blocking task.
    Bcrypt(Arc<str>),
}

/// What can be said about a secret at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretCheck {
    Match,
    Mismatch,
    NeedsBcrypt,
}

impl Secret {
    /// Text that looks like a bcrypt hash is one (AUTH-005).
    pub fn parse(configured: &str) -> Self {
        match is_bcrypt(configured) {
            true => Self::Bcrypt(configured.into()),
            false => Self::Plain(configured.into()),
        }
    }

    pub fn check(&self, given: &str) -> SecretCheck {
        match self {
            Self::Bcrypt(_) => SecretCheck::NeedsBcrypt,
            Self::Plain(plain) if bool::from(plain.as_bytes().ct_eq(given.as_bytes())) => SecretCheck::Match,
            Self::Plain(_) => SecretCheck::Mismatch,
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.is_empty())
    }
}

/// Secrets never reach a log by way of `{:?}`.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain([REDACTED])",
            Self::Bcrypt(_) => "Bcrypt([REDACTED])",
        })
    }
}

/// `$2a$10$`: a variant, two digits of cost.
pub fn is_bcrypt(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', ..]
            if tens.is_ascii_digit() && ones.is_ascii_digit()
    )
}

/// Slow: the cost is in the hash. A hash that is not well-formed matches nothing.
pub fn bcrypt_matches(hash: &str, given: &str) -> bool {
    bcrypt::verify(given, hash).unwrap_or(false)
}

/// Why a signature proves nothing; the text is for the debug log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature(pub &'static str);

/// Checks the signature of a client over the nonce of INFO (AUTH-007).
pub fn check_nonce_signature(key: &Verifier, nonce: &str, signature: &str) -> Result<(), BadSignature> {
    if signature.is_empty() {
        return Err(BadSignature("Signature missing"));
    }
    let signature = decode_signature(signature).ok_or(BadSignature("Signature not valid base64"))?;
    match key.verifies(nonce.as_bytes(), &signature) {
        true => Ok(()),
        false => Err(BadSignature("Signature not verified")),
    }
}

/// Proxies and some clients write it without padding and safe for URLs, other clients the standard way.
pub fn decode_signature(text: &str) -> Option<[u8; 64]> {
    // 88 characters hold a signature with padding; the estimate of the decoder needs two bytes more.
    let mut decoded = [0; 66];
    let len = URL_SAFE_NO_PAD
        .decode_slice(text, &mut decoded)
        .or_else(|_| STANDARD.decode_slice(text, &mut decoded))
        .ok()?;
    decoded[..len].try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bcrypt_is_told_by_its_prefix() {
        // AUTH-005
        for hash in ["$2a$04$x", "$2b$10$", "$2x$99$", "$2y$11$abc"] {
            assert!(is_bcrypt(hash), "{hash}");
        }
        for plain in ["", "$", "$2c$10$", "$2a$1$", "$2a$1x$", "2a$10$", "$2a$100$"] {
            assert!(!is_bcrypt(plain), "{plain}");
        }
    }

    #[test]
    fn plain_secrets_match_exactly() {
        let secret = Secret::parse("s3cret");
        assert_eq!(secret.check("s3cret"), SecretCheck::Match);
        for wrong in ["", "s3cre", "s3crets", "S3cret"] {
            assert_eq!(secret.check(wrong), SecretCheck::Mismatch, "{wrong}");
        }
        assert_eq!(Secret::parse("").check(""), SecretCheck::Match);
        assert_eq!(format!("{secret:?}"), "Plain([REDACTED])");
    }

    #[test]
    fn bcrypt_secrets_match_what_was_hashed() {
        // Hashes the reference accepts.
        let token = "$2a$04$abcdefghijklmnopqrstuuyoZUA.R8n1tIYh0roWgL2cxd6kB/lbe";
        assert_eq!(Secret::parse(token).check("s3cr3t-token"), SecretCheck::NeedsBcrypt);
        assert!(bcrypt_matches(token, "s3cr3t-token"));
        assert!(!bcrypt_matches(token, token));
        assert!(!bcrypt_matches(token, ""));
        for variant in ["2a", "2b", "2x", "2y"] {
            let hash = format!("${variant}$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW");
            assert!(bcrypt_matches(&hash, "secret"), "{variant}");
        }
    }

    #[test]
    fn a_broken_hash_matches_nothing() {
        for hash in ["$2a$10$", "$2a$99$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "$2a$04$é"] {
            assert!(!bcrypt_matches(hash, "secret"), "{hash}");
        }
        // Longer than bcrypt reads, and with a zero inside: no panic.
        let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
        assert!(!bcrypt_matches(hash, &"x".repeat(200)));
        assert!(!bcrypt_matches(hash, "a\0b"));
    }

    #[test]
    fn signatures_come_in_two_alphabets() {
        // AUTH-007: bytes chosen so that both alphabets differ.
        let signature = [0xfb; 64];
        assert_eq!(decode_signature(&URL_SAFE_NO_PAD.encode(signature)), Some(signature));
        assert_eq!(decode_signature(&STANDARD.encode(signature)), Some(signature));
        for bad in ["", "???", "AAAA", &URL_SAFE_NO_PAD.encode([1; 63]), &STANDARD.encode([1; 65])] {
            assert_eq!(decode_signature(bad), None, "{bad}");
        }
        assert_eq!(decode_signature(&"A".repeat(10_000)), None);
    }
}
