//! Who gets in over WebSocket, and what INFO says of it: on natsd and, where it is at hand, on the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-websocket`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Client;
use natsd_tests::certs::Certs;
use natsd_tests::websocket::*;

const PONG: &str = "PONG\r\n";
const REFUSED: &str = "-ERR 'Authorization Violation'\r\n";

/// The files of a `tls` block that asks for the client's certificate and maps it to a user.
fn mapping(certs: &Certs) -> String {
    let dir = certs.path().display();
    format!(
        "tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", ca_file: \"{dir}/ca.pem\", \
         verify_and_map: true }}"
    )
}

fn connect(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!("CONNECT {{\"verbose\":false{comma}{fields}}}\r\nPING\r\n")
}

#[test]
fn certificates_that_the_clients_port_maps_are_not_asked_of_websocket_clients() {
    // AUTH-009
    let certs = Certs::new();
    let joe = r#""user":"joe","pass":"pw""#;
    let guest = r#""user":"guest""#;
    let mapped = r#""user":"CN=client""#;
    let cases = [
        ("{user: joe, password: pw}", "", joe, PONG),
        ("{user: guest}", "no_auth_user: guest", "", PONG),
        ("{user: guest}", "no_auth_user: guest", guest, PONG),
        ("{user: guest}", "", guest, REFUSED),
        ("{user: guest, allowed_connection_types: [WEBSOCKET]}", "", guest, PONG),
        ("{user: joe, password: pw}", "", mapped, REFUSED),
    ];
    for program in programs() {
        for (user, more, fields, expected) in cases {
            let rest = format!(
                "{}\nauthorization {{ users: [ {{user: \"CN=client\"}}, {user} ] }}\n{more}",
                mapping(&certs)
            );
            let (server, port) = start(program.clone(), "no_tls: true", &rest);
            let mut socket = Socket::plain(port);
            socket.upgrade("");
            socket.send_text(&connect(fields));
            let got = socket.plain_bytes(expected.len());
            assert_eq!(got, expected, "{} {user} {more} {fields}", server.program().display());
        }
    }
}

#[test]
fn info_says_what_clients_are_asked_for() {
    // WS-008
    let certs = Certs::new();
    let dir = certs.path().display();
    let tls = format!("tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }}");
    let own = "no_tls: true, authorization { user: websocket, password: client }";
    let users = "authorization { users: [ {user: a, password: a} ] }";
    let named = "no_tls: true, no_auth_user: a";
    let server_names = format!("{users}\nno_auth_user: a");
    let verifying = mapping(&certs);
    let cases = [
        ("no_tls: true", "", ""),
        (own, "", "auth_required"),
        (named, users, "auth_required"),
        ("no_tls: true", &server_names, "auth_required"),
        (&tls, "", "tls_required tls_available"),
        ("no_tls: true", &verifying, "tls_verify"),
    ];
    for program in programs() {
        for (block, rest, expected) in cases {
            let (server, port) = start(program.clone(), block, rest);
            let tls = block.starts_with("tls");
            let mut socket = if tls { Socket::tls(port, &certs) } else { Socket::plain(port) };
            let info = socket.upgrade("");
            let says = |flag: &&str| info.contains(&format!("\"{flag}\":true"));
            let flags = ["auth_required", "tls_required", "tls_verify", "tls_available"];
            let said: Vec<&str> = flags.into_iter().filter(says).collect();
            assert_eq!(said.join(" "), expected, "{} {block} {rest}", server.program().display());
        }
    }
}

#[test]
fn certificates_that_the_websocket_block_maps_are_asked_of_websocket_clients_only() {
    // AUTH-009, AUTH-020
    let certs = Certs::new();
    let users =
        "authorization { users: [ {user: \"alice@example.com\"}, {user: joe, password: pw} ] }".to_owned();
    for program in programs() {
        let (server, port) = start(program, &mapping(&certs), &users);
        let mut socket = Socket::tls_showing(port, &certs, Some("client"));
        socket.upgrade("");
        socket.send_text(&connect(""));
        socket.expect(PONG);
        let mut tcp = Client::join(server.address(), r#""user":"joe","pass":"pw""#).unwrap();
        tcp.sync();
        // Whose certificate is all there is to show is not let in by name alone, anywhere.
        let mut tcp = Client::join(server.address(), r#""user":"alice@example.com""#).unwrap();
        tcp.expect_op("-ERR 'Authorization Violation'");
    }
}
