//! The `websocket {}` block: what is checked when, and what a reload changes. To natsd and, where it is at hand,
//! to the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-websocket`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use natsd_tests::Launch;
use natsd_tests::certs::Certs;
use natsd_tests::server::{natsd, reference};
use natsd_tests::websocket::*;

#[test]
fn a_reload_changes_what_an_open_listener_can_follow() {
    // WS-034
    let (server, port) = start(natsd(), "no_tls: true, headers { X-A: old }", "");
    let mut before = Socket::plain(port);
    before.upgrade("");
    let block = |text: &str| format!("websocket {{ host: 127.0.0.1, port: -1, no_tls: true, {text} }}\n");
    assert!(server.reload(&block("headers { X-A: new }")).starts_with("Reloaded"));
    assert!(Socket::plain(port).request(&get("")).contains("\r\nX-A: new\r\n"));
    let refused = server.reload(&block("headers { X-A: newer }, ping_interval: \"5s\""));
    assert!(refused.contains("config reload not supported for Websocket"), "{refused}");
    assert!(Socket::plain(port).request(&get("")).contains("\r\nX-A: new\r\n"));
    before.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
    before.expect("PONG\r\n");
}

#[test]
fn a_reload_reads_certificates_again_and_takes_a_changed_tls_block() {
    // WS-034, G14.3 of the checklist: connections that are open go on.
    for program in programs() {
        let (old, new) = (Certs::new(), Certs::new());
        let tls = |dir: &str, more: &str| {
            format!(
                "websocket {{ host: 127.0.0.1, port: -1, tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" {more} }} }}"
            )
        };
        let dir = old.path().display().to_string();
        let server = Launch::new(program).config(tls(&dir, "")).start();
        let port = port_of(&server);
        let mut before = Socket::tls(port, &old);
        before.upgrade("");
        for name in ["server.pem", "server.key"] {
            std::fs::copy(new.path().join(name), old.path().join(name)).unwrap();
        }
        assert!(server.reload(&tls(&dir, "")).starts_with("Reloaded"));
        Socket::tls(port, &new).upgrade("");
        // Another block: the client has to show a certificate now.
        let third = Certs::new();
        let dir = third.path().display().to_string();
        let verify = format!(", ca_file: \"{dir}/ca.pem\", verify: true");
        assert!(server.reload(&tls(&dir, &verify)).starts_with("Reloaded"));
        Socket::tls_showing(port, &third, Some("client")).upgrade("");
        let mut stranger = Socket::tls(port, &third);
        stranger.try_send(get("").as_bytes());
        assert_eq!(stranger.rest(), "", "without a certificate");
        // What cannot be read changes nothing.
        let refused = server.reload(&tls("/nowhere", ""));
        assert!(refused.contains("/nowhere/server.pem"), "{refused}");
        Socket::tls_showing(port, &third, Some("client")).upgrade("");
        before.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
        before.expect("PONG\r\n");
    }
}

/// What `-t` says, and whether it is content.
fn tested(program: &std::path::Path, config: &str) -> (bool, String) {
    let folder = natsd_tests::server::Folder::new();
    folder.write("test.conf", config);
    let mut command = std::process::Command::new(program);
    let output = command.args(["-t", "-c", "test.conf"]).current_dir(folder.path()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_test_of_the_configuration_finds_what_is_wrong_with_the_block() {
    // CFG-230, WS-002, CFG-307: what is found late only a start refuses, though natsd tells of it.
    let users = "accounts { A { users: [ { user: u, password: p } ] } }\n";
    for (block, why, is_late) in [
        ("no_auth_user: x", "no_auth_user: \"x\" not present as user or nkey in", true),
        ("authorization { user: a, password: b }", "websocket authentication username not compatible", true),
        ("authorization { token: b }", "websocket authentication token not compatible", true),
        ("jwt_cookie: c", "is required for JWT authentication via cookie \"c\"", true),
        ("advertise: \"a:b\"", "b", true),
        ("allowed_origins: [ foo ]", "unable to parse allowed origin", true),
        ("headers { Content-Length: \"3\" }", "invalid header \"Content-Length\" not allowed", true),
        ("port: 70000", "port 70000 is out of range", true),
        ("no_tls: false", "websocket requires TLS configuration", true),
        // What is found late does not hide the rest.
        ("no_tls: false, P: 1", "unknown field \"P\"", false),
        ("tls { cert_file: \"nope.pem\", key_file: \"nope.key\" }", "nope.pem", false),
        ("ping_interval: 3", "ping_interval should be converted to a duration", false),
        ("P: 1", "unknown field \"P\"", false),
    ] {
        let config = format!("{users}websocket {{ port: -1, no_tls: true, {block} }}\n");
        let (ok, text) = tested(&natsd(), &config);
        assert_eq!(ok, is_late, "{block}: {text}");
        assert!(text.contains(why) && text.contains("test.conf:2:"), "{block}: {text}");
        // A start only warns of that one.
        if !block.starts_with("ping_interval") {
            let refused = Launch::new(natsd()).config(config.clone()).try_start().err();
            assert!(refused.is_some_and(|text| text.contains(why)), "{block}");
        }
        if let Some(reference) = reference() {
            let (ok, text) = tested(&reference, &config);
            assert_eq!(ok, is_late, "{block}: {text}");
        }
    }
}

#[test]
fn certificates_are_looked_at_even_if_nothing_listens() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let pair = format!("cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\"");
    for program in programs() {
        for (block, expected) in [
            (format!("tls {{ {pair} }}"), None),
            ("no_auth_user: x, tls { verify: true }".to_owned(), None),
            ("port: -1, tls { }".to_owned(), None),
            ("tls { cert_file: \"nope.pem\" }".to_owned(), Some("")),
            ("tls { cert_file: \"nope.pem\", key_file: \"nope.key\" }".to_owned(), Some("open nope.pem")),
            (format!("tls {{ {pair}, foo: 1 }}"), Some("unknown field \"foo\"")),
            (
                format!("no_tls: true, tls {{ {pair}, verify_cert_and_check_known_urls: true }}"),
                Some("verify_cert_and_check_known_urls not supported in this context"),
            ),
        ] {
            let (ok, text) = tested(&program, &format!("websocket {{ {block} }}\n"));
            assert_eq!(ok, expected.is_none(), "{} {block}: {text}", program.display());
            assert!(text.contains(expected.unwrap_or_default()), "{} {block}: {text}", program.display());
        }
    }
}

#[test]
fn variables_may_stand_inside_the_block() {
    // CFG-023
    let block =
        "WAIVED: true, COOKIE: \"c\", no_tls: $WAIVED, user_cookie: $COOKIE, SAME: false, same_origin: $SAME";
    for program in programs() {
        let (_server, port) = start(program, block, "");
        Socket::plain(port).upgrade("");
    }
}

#[test]
fn an_integer_as_ping_interval_is_warned_of_and_counts_as_seconds() {
    for program in programs() {
        let (server, port) = start(program, "no_tls: true, ping_interval: 1", "");
        assert!(server.log().contains("ping_interval should be converted to a duration"));
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        socket.send_text("CONNECT {\"verbose\":false}\r\n");
        socket.expect("PING\r\n");
    }
}

#[test]
fn the_interval_of_the_block_is_that_of_the_first_ping_as_well() {
    for program in programs() {
        let (_server, port) =
            start(program, "no_tls: true, ping_interval: \"200ms\"", "ping_interval: \"30s\"");
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        let began = Instant::now();
        socket.send_text("CONNECT {\"verbose\":false}\r\n");
        socket.expect("PING\r\nPING\r\n");
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
}

#[test]
fn a_block_that_comes_by_reload_is_refused_with_what_to_do() {
    for program in programs() {
        let is_natsd = program == natsd();
        let server = Launch::new(program).config("debug: false").start();
        let refused = server.reload("websocket { port: -1, no_tls: true }");
        assert!(refused.starts_with("Failed to reload server configuration: "), "{refused}");
        assert!(refused.contains("config reload not supported"), "{refused}");
        assert!(!is_natsd || refused.contains("restart"), "{refused}");
    }
}

#[test]
fn compressed_messages_may_be_as_large_as_max_payload_makes_them() {
    // WS-011: eight times max_payload, not of a payload that is assumed.
    let (server, port) = start(natsd(), "no_tls: true, compression: true", "max_payload: 4000");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let open = |messages: usize| {
        let mut socket = Socket::plain(port);
        assert!(socket.request(&get(offer)).contains("permessage-deflate"));
        socket.frame();
        let message = format!("PUB a 3900\r\n{}\r\n", "x".repeat(3900));
        let text = format!("CONNECT {{\"verbose\":false}}\r\n{}PING\r\n", message.repeat(messages));
        socket.try_send(&frame(0xc2, &stored(text.as_bytes())));
        socket
    };
    open(8).expect("PONG\r\n");
    let mut socket = open(10);
    let close = loop {
        match socket.frame() {
            Some((CLOSE, payload)) => break payload,
            Some(_) => {}
            None => panic!("no close frame"),
        }
    };
    assert_eq!(close[..2], 1009u16.to_be_bytes(), "{}", server.log().text());
}

/// A message of permessage-deflate that is not made smaller.
fn stored(text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), text, &[0]].concat()
}
