//! Query strings of the monitoring port, as its endpoints read them.

use natsd_monitoring::params;
use natsd_monitoring::query::{Query, unescape};

pub const WORDS: &[&[u8]] = &[
    b"&",
    b"=",
    b";",
    b"%",
    b"%zz",
    b"%00",
    b"%ff",
    b"%26",
    b"+",
    b"subs=detail",
    b"subs=1",
    b"auth=T",
    b"state=closed",
    b"state=",
    b"sort=",
    b"limit=-1",
    b"limit=99999999999999999999",
    b"offset=",
    b"cid=18446744073709551616",
    b"acc=",
    b"js-enabled-only=",
    b"details=true",
    b"consumers=0",
    b"\xe2\x80\xa8",
];

/// An endpoint reads a query or says what is wrong with it; what it does not know changes nothing.
pub fn query_string(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let query = Query::parse(&text);
    let with_more = Query::parse(&format!("{text}&not_known=%41"));
    assert_eq!(
        with_more.text("not_known"),
        if query.text("not_known").is_empty() { "A" } else { query.text("not_known") }
    );
    for read in [
        params::connz,
        params::subsz,
        params::routez,
        params::gatewayz,
        params::leafz,
        params::accountz,
        params::accstatz,
        params::jsz,
        params::ipqueuesz,
        params::healthz,
        params::none,
    ] {
        let outcome = read(&query);
        match &outcome {
            Ok(value) => assert!(value.is_object()),
            Err(error) => assert!(error.to_string().starts_with("Error decoding "), "{error}"),
        }
        assert_eq!(outcome, read(&with_more));
    }
    // What is decoded never grows, and plain text stays as it is.
    if let Some(decoded) = unescape(&text, false) {
        assert!(decoded.chars().count() <= text.chars().count());
        assert!(text.contains('%') || decoded == text);
    }
}
