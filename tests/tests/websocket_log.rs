//! What the log says of websocket connections, and what those are told who do not get far: on natsd and, where it is
//! at hand, on the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-websocket`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use natsd_tests::certs::Certs;
use natsd_tests::monitored::Monitored;
use natsd_tests::websocket::*;
use natsd_tests::{Launch, PATIENCE, Server};

fn launch(program: PathBuf, block: &str) -> Server {
    let config = format!("websocket {{ host: 127.0.0.1, port: -1, {block} }}\nhttp: \"127.0.0.1:-1\"\n");
    Launch::new(program).config(config).arg("-D").start()
}

/// The first line from now on, or before, that has all of these texts in it.
fn line(server: &Server, texts: &[&str]) -> String {
    let has_all = |line: &str| texts.iter().all(|text| line.contains(text)).then(|| line.to_owned());
    let found = server.log().wait(0, PATIENCE, has_all);
    found.unwrap_or_else(|| {
        panic!("{} logs no {texts:?}:\n{}", server.program().display(), server.log().text())
    })
}

#[test]
fn a_forwarded_address_is_for_the_log_only() {
    // WS-016
    for program in programs() {
        for (header, shown) in [("1.2.3.4", "1.2.3.4/127.0.0.1:"), ("::5", "[::5]/127.0.0.1:")] {
            let monitored = Monitored::of(launch(program.clone(), "no_tls: true"));
            let server = &monitored.server;
            let mut socket = Socket::plain(port_of(server));
            let info = socket.upgrade(&format!("X-Forwarded-For: {header}\r\n"));
            assert!(info.contains("\"client_ip\":\"127.0.0.1\""), "{info}");
            monitored.wait("/connz", |connz| connz["connections"][0]["ip"] == "127.0.0.1");
            drop(socket);
            line(server, &[&format!(" {shown}"), " - wid:", "Client connection created"]);
            line(server, &[&format!(" {shown}"), " - wid:", "Client connection closed"]);
            assert_eq!(server.log().text().matches(" - Client connection created").count(), 1);
        }
    }
}

#[test]
fn what_is_wrong_with_a_tls_handshake_is_an_error_with_the_address() {
    // WS-020
    let certs = Certs::new();
    let dir = certs.path().display();
    let block = format!(
        "handshake_timeout: \"300ms\", tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }}"
    );
    let to_https = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let upgrade = get("");
    let cases = [
        (upgrade.as_str(), to_https, ": client sent an HTTP request to an HTTPS server"),
        ("PING\r\n", "", ": tls: first record does not look like a TLS handshake"),
        ("", "", ": i/o timeout"),
        ("\u{16}\u{3}\u{1}", "", ": i/o timeout"),
    ];
    for program in programs() {
        let server = launch(program, &block);
        let port = port_of(&server);
        for (sent, answer, logged) in cases {
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let local = tcp.local_addr().unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            tcp.write_all(sent.as_bytes()).unwrap();
            let mut got = String::new();
            tcp.read_to_string(&mut got).unwrap();
            assert_eq!(got, answer, "{}", server.program().display());
            let start = format!("[ERR] websocket: TLS handshake error from {local}: ");
            let found = line(&server, &[&start]);
            assert!(found.ends_with(logged), "{found}");
            assert!(
                !logged.contains("timeout")
                    || found.contains(&format!(": read tcp 127.0.0.1:{port}->{local}: "))
            );
        }
        let gone = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let local = gone.local_addr().unwrap();
        drop(gone);
        line(&server, &[&format!("[ERR] websocket: TLS handshake error from {local}: EOF")]);
    }
}

#[test]
fn who_compresses_wrongly_is_left_without_a_word_and_named_in_the_log() {
    for program in programs() {
        let server = launch(program, "no_tls: true, compression: true");
        let mut socket = Socket::plain(port_of(&server));
        socket.request(&get("Sec-WebSocket-Extensions: permessage-deflate\r\n"));
        socket.frame().expect("INFO");
        socket.send(&frame(0xc2, b"\xff\x12\x33garbage"));
        assert_eq!(socket.frame(), None, "{}", server.program().display());
        line(&server, &["[ERR] 127.0.0.1:", " - wid:", " - read error: flate: corrupt input before offset "]);
        line(&server, &[" - wid:", " - Client connection closed: Read Error"]);
    }
}

#[test]
fn a_broken_frame_is_an_error_in_the_log() {
    for program in programs() {
        let server = launch(program, "no_tls: true");
        let mut socket = Socket::plain(port_of(&server));
        socket.upgrade("");
        socket.send(b"\x82\x06PING\r\n");
        line(&server, &["[ERR] 127.0.0.1:", " - wid:", " - read error: mask bit missing"]);
    }
}
