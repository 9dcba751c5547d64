//! Files with a token in them, bare or between lines of dashes.

use natsd_auth_jwt::outside;

pub const WORDS: &[&[u8]] = &[
    b"-----BEGIN NATS USER JWT-----\n",
    b"------END NATS USER JWT------\n",
    b"-----BEGIN USER NKEY SEED-----\n",
    b"\r\n",
    b"\n\n",
    b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.c2ln",
    b"-----",
    b" ",
];

/// What is found has no line ends and lies in the file; reading it again finds the same.
pub fn creds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let found = outside::creds(&text);
    assert!(found.len() <= text.len());
    if text.lines().any(|line| line.trim().starts_with("-----BEGIN")) {
        assert!(!found.contains('\n'), "{found:?}");
    }
    let _ = outside::token(&found);
}
