//! Tokens, and the claims in them: whoever has an account's key writes these.

use natsd_auth_jwt::outside;

pub const WORDS: &[&[u8]] = &[
    b".",
    b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.",
    b"{\"nats\":{\"type\":\"account\",\"version\":2}}",
    b"\"type\":\"user\"",
    b"\"imports\":[",
    b"\"exports\":[{\"subject\":\"a.*\",\"type\":\"service\"",
    b"\"local_subject\":\"$1\"",
    b"\"account_token_position\":18446744073709551615",
    b"\"mappings\":{\"a.>\":[{\"subject\":\"b.>\",\"weight\":255}]}",
    b"\"signing_keys\":[{\"kind\":\"user_scope\"",
    b"{{tag(x)}}",
    b"\"times\":[{\"start\":\"23:59:59\",\"end\":\"00:00:00\"}]",
    b"\"times_location\":\"Europe/Berlin\"",
    b"\"src\":\"::/0\"",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"1e400",
    b"null",
    b"[[[[[[[[",
];

/// Nobody forges a token; claims are read whatever they say, twice the same.
pub fn jwt(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let kind = outside::token(&text);
    assert_eq!(kind, outside::token(&text));
    assert_eq!(outside::claims(input), outside::claims(input));
}
