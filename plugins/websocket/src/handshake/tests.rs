//! Requests and the answers that nats-server gives to them.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::origin::Origin;

const GOOD: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\n{headers}\r\n")
}

fn accepted_by(rules: &UpgradeRules, request: &str) -> (String, Agreed) {
    match decide(request.as_bytes(), false, rules) {
        Decision::Accept { response, agreed } => (response, agreed),
        other => panic!("{other:?}"),
    }
}

fn refused_by(rules: &UpgradeRules, request: &str) -> (String, Refusal) {
    match decide(request.as_bytes(), false, rules) {
        Decision::Refuse { response, why } => (response, why),
        other => panic!("{other:?}"),
    }
}

fn refused(request: &str) -> (u16, String) {
    let (response, why) = refused_by(&UpgradeRules::default(), request);
    (response[9..12].parse().unwrap(), why.to_string())
}

#[test]
fn a_plain_upgrade_is_answered_byte_for_byte() {
    // WS-006
    let (response, agreed) = accepted_by(&UpgradeRules::default(), &get(GOOD));
    assert_eq!(response, format!("{SWITCHING}\r\n"));
    let attributes = Attributes::default();
    assert_eq!(agreed, Agreed { compression: false, masked: true, browser: Browser::None, attributes });
}

#[test]
fn everything_that_was_agreed_is_answered_in_order() {
    let rules =
        UpgradeRules { compression: true, headers: "X-A: b\r\nX-C: d\r\n".to_owned(), ..Default::default() };
    let offers = "Sec-WebSocket-Extensions: x, Permessage-Deflate; client_max_window_bits\r\n\
        Nats-No-Masking: true\r\nSec-WebSocket-Protocol: nats\r\n";
    let (response, agreed) = accepted_by(&rules, &get(&format!("{GOOD}{offers}")));
    assert_eq!(
        response,
        format!(
            "{SWITCHING}Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover\r\nNats-No-Masking: true\r\nX-A: b\r\nX-C: d\r\n\r\n"
        )
    );
    assert!(agreed.compression && !agreed.masked);
}

#[test]
fn compression_needs_both_sides() {
    let offer = get(&format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    assert!(!accepted_by(&UpgradeRules::default(), &offer).1.compression);
    let rules = UpgradeRules { compression: true, ..Default::default() };
    assert!(accepted_by(&rules, &offer).1.compression);
    assert!(!accepted_by(&rules, &get(GOOD)).1.compression);
}

#[test]
fn any_path_is_a_client_but_two() {
    // WS-003
    for path in ["/", "/nats", "/leafnode/x", "/a?b=/mqtt", "http://q/"] {
        accepted_by(&UpgradeRules::default(), &format!("GET {path} HTTP/1.1\r\n{GOOD}\r\n"));
    }
    let (code, why) = refused(&format!("GET /x/mqtt HTTP/1.1\r\n{GOOD}\r\n"));
    assert_eq!((code, why.as_str()), (404, "mqtt websocket endpoint not enabled"));
    let (response, why) =
        refused_by(&UpgradeRules::default(), &format!("GET /leafnode HTTP/1.1\r\n{GOOD}\r\n"));
    assert_eq!((response, why), (format!("{SWITCHING}\r\n"), Refusal::Leafnode));
}

#[test]
fn each_check_has_its_code_and_reason() {
    // WS-004
    let without = |line: &str| get(&GOOD.replace(line, ""));
    for (request, code, why) in [
        (get(GOOD).replace("GET", "POST"), 405, "request method must be GET"),
        (get(&GOOD.replace("Host: x", "Host:")), 400, "'Host' missing in request"),
        (without("Upgrade: websocket\r\n"), 400, "invalid value for header 'Upgrade'"),
        (without("Connection: Upgrade\r\n"), 400, "invalid value for header 'Connection'"),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, "key missing"),
        (get(&GOOD.replace("dGhl", "")), 400, "invalid websocket key"),
        (get(&GOOD.replace("dGhl", "!!!!")), 400, "invalid websocket key"),
        (get(&GOOD.replace("13", "8")), 400, "invalid version"),
    ] {
        assert_eq!(refused(&request), (code, why.to_owned()));
    }
}

#[test]
fn a_refusal_says_no_more_than_the_status() {
    // WS-005
    let (response, _) = refused_by(&UpgradeRules::default(), &get(GOOD).replace("GET", "POST"));
    assert_eq!(
        response,
        "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 19\r\n\
         Connection: close\r\n\r\nMethod Not Allowed\n"
    );
}

#[test]
fn what_is_not_http_gets_the_answer_of_a_web_server() {
    let (response, _) = refused_by(&UpgradeRules::default(), "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(
        response,
        "HTTP/1.1 400 Bad Request: missing required Host header\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\n\r\n400 Bad Request: missing required Host header"
    );
}

#[test]
fn a_foreign_origin_is_forbidden() {
    // WS-007
    let allowed = vec![Origin::parse("http://a.com").unwrap()];
    let rules = UpgradeRules { origins: OriginRules { same_origin: false, allowed }, ..Default::default() };
    for header in ["Origin", "Sec-WebSocket-Origin"] {
        accepted_by(&rules, &get(&format!("{GOOD}{header}: http://a.com\r\n")));
        let (response, why) = refused_by(&rules, &get(&format!("{GOOD}{header}: http://b.com\r\n")));
        assert!(
            response.starts_with("HTTP/1.1 403 Forbidden\r\n") && response.ends_with("\r\n\r\nForbidden\n")
        );
        assert_eq!(why.to_string(), "origin not allowed: not in the allowed list");
    }
    accepted_by(&rules, &get(GOOD));
}

#[test]
fn data_before_the_answer_ends_the_connection_silently() {
    let (response, why) = refused_by(&UpgradeRules::default(), &format!("{}x", get(GOOD)));
    assert_eq!((response.as_str(), why), ("", Refusal::EarlyData));
}

#[test]
fn browsers_are_known_by_their_agent() {
    // WS-009, WS-011
    for (agent, browser) in [
        ("nats.js", Browser::None),
        ("Mozilla/5.0 (X11) Chrome/100.0 Safari/537.36", Browser::Other),
        ("Mozilla/5.0 (Macintosh) Version/16.1 Safari/605.1.15", Browser::Safari),
    ] {
        let request = get(&format!("{GOOD}User-Agent: {agent}\r\n"));
        assert_eq!(accepted_by(&UpgradeRules::default(), &request).1.browser, browser);
    }
}

fn attributes_of(headers: &str) -> Attributes {
    let name = |name: &str| Some(name.to_owned());
    let cookies = CookieNames { jwt: name("j"), user: name("u"), password: name("p"), token: name("t") };
    let rules = UpgradeRules { cookies, ..Default::default() };
    accepted_by(&rules, &get(&format!("{GOOD}{headers}"))).1.attributes
}

#[test]
fn cookies_carry_credentials() {
    // WS-015
    let found = attributes_of(
        "Cookie: a=b; u=me; p=\"s=cret\"; j=\r\nCookie: t=tok; u2=x; U=other; broken; p2=\"\r\n",
    );
    assert_eq!(found.user.as_deref(), Some("me"));
    assert_eq!(found.password.as_deref(), Some("s=cret"));
    assert_eq!(found.token.as_deref(), Some("tok"));
    assert_eq!(found.jwt, None);
}

#[test]
fn without_names_cookies_are_not_read() {
    let (_, agreed) = accepted_by(&UpgradeRules::default(), &get(&format!("{GOOD}Cookie: =x; user=me\r\n")));
    assert_eq!(agreed.attributes, Attributes::default());
}

#[test]
fn a_proxy_may_name_the_client() {
    // WS-016: the whole header has to be an address.
    for (header, ip) in [
        ("1.2.3.4", Some("1.2.3.4")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("1.2.3.4, 10.0.0.1", None),
        ("somewhere", None),
        ("", None),
    ] {
        assert_eq!(attributes_of(&format!("X-Forwarded-For: {header}\r\n")).client_ip.as_deref(), ip);
    }
    let first = attributes_of("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n");
    assert_eq!(first.client_ip.as_deref(), Some("1.1.1.1"));
}

#[test]
fn a_request_may_be_cut_at_any_byte() {
    let request = get(GOOD);
    for at in 0..request.len() {
        let decision = decide(&request.as_bytes()[..at], false, &UpgradeRules::default());
        assert!(matches!(decision, Decision::Wait), "{at}: {decision:?}");
    }
}
