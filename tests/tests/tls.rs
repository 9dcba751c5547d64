//! What clients are told over TLS when their certificates do not do. On natsd, and on the reference server
//! where it is installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::certs::Certs;
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Launch, PATIENCE};
use rustls::{ClientConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

#[test]
fn whose_authority_is_unknown_is_told_so() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let config = format!(
        "tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", ca_file: \"{dir}/ca.pem\", verify: true }}"
    );
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).config(config.clone()).start();
        let program = server.program().display();
        let end = |cert| {
            let mut wire = BufReader::new(TcpStream::connect(server.address()).unwrap());
            wire.read_line(&mut String::new()).unwrap();
            let wire = wire.into_inner();
            wire.set_read_timeout(Some(PATIENCE)).unwrap();
            let name = "localhost".try_into().unwrap();
            let session = ClientConnection::new(certs.client_config(cert), name).unwrap();
            let mut tls = StreamOwned::new(session, wire);
            let talked = tls.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n");
            talked.and_then(|()| tls.read_exact(&mut [0; 6])).map_err(|error| error.to_string())
        };
        assert_eq!(end(Some("client")), Ok(()), "{program}");
        for (cert, alert) in [("stranger", "UnknownCA"), ("impostor", "UnknownCA")] {
            let told = end(Some(cert)).unwrap_err();
            assert!(told.contains(alert), "{program} {cert}: {told}");
        }
        let told = end(None).unwrap_err();
        assert!(told.contains("CertificateRequired"), "{program}: {told}");
    }
}

#[test]
fn a_handshake_that_fails_is_an_error_and_a_probe_is_not() {
    // CORE-231
    let certs = Certs::new();
    let dir = certs.path().display();
    let config =
        format!("tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", timeout: 0.3 }}");
    let cases: [(&[u8], bool, &str, &str); 5] = [
        (b"", true, "[ERR]", "EOF"),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            false,
            "[ERR]",
            "remote error: tls: protocol version not supported",
        ),
        (b"CONNECT {}\r\n", false, "[DBG]", "tls: first record does not look like a TLS handshake"),
        (b"GET / HTTP/1.1\r\n\r\n", false, "[DBG]", "tls: first record does not look like a TLS handshake"),
        (b"", false, "[DBG]", "i/o timeout"),
    ];
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).config(config.clone()).arg("-D").start();
        let program = server.program().display();
        for (sent, closes, level, text) in cases {
            let mut wire = BufReader::new(TcpStream::connect(server.address()).unwrap());
            wire.read_line(&mut String::new()).unwrap();
            let mut wire = wire.into_inner();
            let local = wire.local_addr().unwrap();
            wire.set_read_timeout(Some(PATIENCE)).unwrap();
            wire.write_all(sent).unwrap();
            if closes {
                drop(wire);
            } else {
                wire.read_to_end(&mut Vec::new()).unwrap();
            }
            let find = |what: &str| {
                let pick = |line: &str| {
                    (line.contains(&format!(" {local} - cid:")) && line.contains(what))
                        .then(|| line.to_owned())
                };
                server
                    .log()
                    .wait(0, PATIENCE, pick)
                    .unwrap_or_else(|| panic!("{program}: no {what:?} of {local}"))
            };
            let line = find(" - TLS handshake error: ");
            assert!(line.contains(level) && line.ends_with(text), "{program}: {line}");
            find(" - Client connection closed: TLS Handshake Failure");
        }
    }
}
