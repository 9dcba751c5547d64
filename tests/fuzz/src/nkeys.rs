//! Public keys in configurations, tokens and CONNECT.

use natsd::proto::nkey::{NkeyKind, is_public};
use natsd_auth_jwt::outside;

pub const WORDS: &[&[u8]] = &[
    b"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    b"ACZSWBJ4SYILK7QVDELO64VX3EFWB6CXCPMEBUKA36MJJQRPXGEEQ2WJ",
    b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    b"=",
    b"A",
    b"\xff",
];

/// A key that is read is written again as it was; host and plugin agree on users.
pub fn nkeys(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = outside::key(&text);
    if let Some(again) = &read {
        assert_eq!(*again, *text);
    }
    if is_public(&text, Some(NkeyKind::User)) {
        assert!(read.is_some(), "only the host takes {text}");
    }
}
