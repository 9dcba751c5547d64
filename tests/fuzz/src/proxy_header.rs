//! The PROXY protocol header, versions 1 and 2.

use natsd::proto::proxy::{Missing, Parsed, parse};

pub const WORDS: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"127.0.0.1 ",
    b"::1 ",
    b"65535",
    b"65536",
    b"\r\n",
    b" ",
    b"\r",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
    b"\xff\xff",
    b"\x31\x11",
];

/// What is decided at one byte stays decided when more come, and a header lies within the bytes.
pub fn proxy_header(input: &[u8]) {
    let mut decided = None;
    for end in 0..=input.len() {
        let now = parse(&input[..end]);
        if let Ok(Parsed::Header { consumed, .. }) = &now {
            assert!((1..=end).contains(consumed), "{consumed} of {end}");
        }
        if now == Ok(Parsed::Incomplete) {
            assert!(!Missing::of(&input[..end]).part.is_empty());
        }
        match &decided {
            None if now != Ok(Parsed::Incomplete) => decided = Some(now),
            None => {}
            Some(then) => assert_eq!(*then, now, "decided before {end}"),
        }
    }
}
