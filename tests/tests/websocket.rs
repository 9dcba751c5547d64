//! WebSocket over real sockets: the same requests and frames to natsd and, where it is at hand, to the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-websocket`. What client libraries make of
//! it is shown in `tests/interop`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use natsd_tests::certs::Certs;
use natsd_tests::server::natsd;
use natsd_tests::websocket::*;
use natsd_tests::{Client, Launch, PATIENCE};

#[test]
fn requests_get_the_answers_of_the_reference() {
    // WS-003 to WS-007
    let post = get("").replace("GET", "POST");
    let bare = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    let cases = [
        (post, "HTTP/1.1 405 Method Not Allowed", "Method Not Allowed\n"),
        (bare, "HTTP/1.1 400 Bad Request", "Bad Request\n"),
        (get("Origin: http://b.com\r\n"), "HTTP/1.1 403 Forbidden", "Forbidden\n"),
        (get("").replace("GET /", "GET /mqtt"), "HTTP/1.1 404 Not Found", "Not Found\n"),
    ];
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true, origin: \"http://a.com\"", "");
        for (request, status, body) in &cases {
            let mut socket = Socket::plain(port);
            let head = socket.request(request);
            let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
            lines.retain(|line| !line.starts_with("Date: ") && *line != "Connection: close");
            let length = format!("Content-Length: {}", body.len());
            let expected = [
                status,
                "Content-Type: text/plain; charset=utf-8",
                "Sec-Websocket-Version: 13",
                "X-Content-Type-Options: nosniff",
                length.as_str(),
            ];
            assert_eq!(lines, expected);
            socket.wait(|bytes| (bytes.len() >= body.len()).then_some(()));
            assert_eq!(socket.unread, body.as_bytes());
        }
        let accepted = Socket::plain(port).request(&get("Origin: http://a.com\r\nNats-No-Masking: true\r\n"));
        assert_eq!(
            accepted,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nNats-No-Masking: true\r\n\r\n"
        );
    }
}

#[test]
fn what_is_not_http_is_turned_away() {
    let (server, port) = start(natsd(), "no_tls: true", "");
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"PUB a 5\r\nhello\r\n", &[b'A'; 100_000], b"\n\n\n\n"] {
        let mut socket = Socket::plain(port);
        // The server may be gone before all of it is sent.
        socket.try_send(bytes);
        let answer = socket.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    server.connect().expect_op("INFO ");
}

#[test]
fn messages_go_between_websocket_and_tcp() {
    // WS-009, WS-018
    for program in programs() {
        let (server, port) = start(program, "no_tls: true", "");
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        socket.send_text(
            "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB a.* 1\r\nPING\r\n",
        );
        socket.expect("PONG\r\n");
        let mut tcp = Client::join(server.address(), "").unwrap();
        tcp.send(b"SUB b 7\r\nPUB a.b 5\r\nhello\r\n").unwrap();
        socket.expect("MSG a.b 1 5\r\nhello\r\n");
        tcp.sync();
        socket.send(&frame(TEXT, b"PUB b 2\r\nhi\r\n"));
        assert_eq!(tcp.next_op().unwrap(), b"MSG b 7 2\r\nhi\r\n");
        socket.send_text("SUB inbox 2\r\nPUB nobody inbox 0\r\n\r\n");
        socket.expect("HMSG inbox 2 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n");
    }
}

#[test]
fn info_names_the_port_of_the_listener() {
    // WS-008, WS-030
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true", "");
        let info = Socket::plain(port).upgrade("");
        assert!(info.contains(&format!("\"host\":\"127.0.0.1\",\"port\":{port},")), "{info}");
    }
}

/// The clients' port is the last to open.
#[test]
fn who_can_connect_to_the_server_can_by_websocket() {
    for program in programs() {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (plain, websocket) = (free(), free());
        let config = format!("listen: \"{plain}\"\nwebsocket {{ listen: \"{websocket}\", no_tls: true }}\n");
        let other = std::thread::spawn(move || {
            let since = Instant::now();
            while TcpStream::connect(plain).is_err() {
                assert!(since.elapsed() < PATIENCE, "nobody listens");
            }
            TcpStream::connect(websocket).map(drop).map_err(|error| error.kind())
        });
        let server = Launch::new(program).own_address().config(config).start();
        assert_eq!(other.join().unwrap(), Ok(()), "{}", server.program().display());
    }
}

#[test]
fn bytes_may_be_cut_anywhere() {
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true", "");
        let mut socket = Socket::plain(port);
        for byte in get("").as_bytes() {
            socket.send(&[*byte]);
        }
        let head = socket.request("");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(socket.frame().unwrap().1.starts_with(b"INFO {"));
        let mut wire = frame(BINARY, b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPUB a");
        wire.extend(frame(BINARY & 0x0f, b" 200\r\n"));
        wire.extend(frame(PING, b"there?"));
        wire.extend(frame(0x80, &[[b'x'; 200].as_slice(), b"\r\n"].concat()));
        for byte in wire {
            socket.send(&[byte]);
        }
        assert_eq!(socket.frame().unwrap(), (0x8a, b"there?".to_vec()));
        socket.expect(&format!("MSG a 1 200\r\n{}\r\n", "x".repeat(200)));
    }
}

#[test]
fn a_close_frame_is_answered_after_what_was_asked_before() {
    // WS-013
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true", "");
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        let wire = [frame(BINARY, b"CONNECT {\"verbose\":false}\r\nPING\r\n"), frame(CLOSE, b"\x03\xe8bye")];
        socket.send(&wire.concat());
        socket.expect("PONG\r\n");
        assert_eq!(socket.frame(), Some((CLOSE, b"\x03\xe8bye".to_vec())));
        assert_eq!(socket.frame(), None);
    }
}

#[test]
fn errors_are_told_before_the_close_frame() {
    // WS-035, CORE-263
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true", "authorization { user: a, password: b }");
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        socket.send_text("CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"wrong\"}\r\nPING\r\n");
        socket.expect("-ERR 'Authorization Violation'\r\n");
        assert_eq!(socket.frame(), Some((CLOSE, b"\x03\xf0Authentication Failure".to_vec())));
        assert_eq!(socket.frame(), None);
    }
}

#[test]
fn who_is_refused_and_goes_on_writing_is_left() {
    let block = "authorization { user: a, password: b }";
    let (server, port) = start(natsd(), "no_tls: true", block);
    let flood = frame(BINARY, &[b' '; 60_000]);
    let mut sockets: Vec<Socket> = (0..8).map(|_| Socket::plain(port)).collect();
    for socket in &mut sockets {
        socket.upgrade("");
        socket.send_text("CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"wrong\"}\r\n");
    }
    let since = Instant::now();
    while !sockets.is_empty() {
        sockets.retain_mut(|socket| socket.try_send(&flood));
        assert!(since.elapsed() < PATIENCE, "{} of them are read for ever", sockets.len());
    }
    let mut client = Client::join(server.address(), "\"user\":\"a\",\"pass\":\"b\"").unwrap();
    client.sync();
}

#[test]
fn broken_frames_close_that_connection_only() {
    // WS-012
    let (server, port) = start(natsd(), "no_tls: true", "");
    let mut bystander = Socket::plain(port);
    bystander.upgrade("");
    for (wire, text) in [
        (b"\x82\x06PING\r\n".to_vec(), "mask bit missing"),
        (frame(0xa2, b""), "RSV2 and RSV3 must be clear"),
        (frame(0x83, b""), "unknown opcode 3"),
        (frame(0x80, b"x"), "invalid continuation frame"),
        (frame(PING, &[0; 126]), "control frame length bigger than maximum allowed of 125 bytes"),
    ] {
        let mut socket = Socket::plain(port);
        socket.upgrade("");
        socket.send(&wire);
        assert_eq!(socket.frame(), Some((CLOSE, [b"\x03\xea", text.as_bytes()].concat())));
        assert_eq!(socket.frame(), None);
    }
    bystander.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
    bystander.expect("PONG\r\n");
    server.connect().expect_op("INFO ");
}

#[test]
fn cookies_are_credentials_where_connect_has_none() {
    // WS-015, CORE-067
    let block = "no_tls: true, user_cookie: u, pass_cookie: p";
    for program in programs() {
        let (_server, port) = start(program, block, "authorization { user: me, password: secret }");
        let mut socket = Socket::plain(port);
        socket.upgrade("Cookie: u=me; p=secret\r\n");
        socket.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
        socket.expect("PONG\r\n");
        let mut socket = Socket::plain(port);
        socket.upgrade("Cookie: u=me; p=secret\r\n");
        socket.send_text("CONNECT {\"verbose\":false,\"user\":\"other\"}\r\nPING\r\n");
        socket.expect("-ERR 'Authorization Violation'\r\n");
    }
}

#[test]
fn tls_and_compression_are_agreed_and_used() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let block = format!(
        "compression: true, tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }}"
    );
    for program in programs() {
        let (_server, port) = start(program, &block, "");
        let mut socket = Socket::tls(port, &certs);
        let info = socket.upgrade("");
        assert!(info.contains("\"tls_required\":true"), "{info}");
        socket.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
        socket.expect("PONG\r\n");
        let mut socket = Socket::tls(port, &certs);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        let head = socket.request(&get(offer));
        let agreed = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
            client_no_context_takeover\r\n";
        assert!(head.contains(agreed), "{head}");
        assert_eq!(socket.frame().unwrap().0, 0xc2, "INFO is long enough to be compressed");
        socket.send_text("CONNECT {\"verbose\":false}\r\nPING\r\n");
        socket.expect("PONG\r\n");
    }
}

#[test]
fn an_upgrade_that_does_not_come_is_not_waited_for() {
    // WS-020
    for program in programs() {
        let (_server, port) = start(program, "no_tls: true, handshake_timeout: \"300ms\"", "");
        let mut socket = Socket::plain(port);
        socket.send(b"GET / HTTP/1.1\r\nHost:");
        let began = std::time::Instant::now();
        assert_eq!(socket.frame(), None);
        assert!(began.elapsed() > Duration::from_millis(200));
        assert!(began.elapsed() < PATIENCE - Duration::from_secs(1));
    }
}
