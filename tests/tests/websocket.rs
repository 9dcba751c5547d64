//! WebSocket over real sockets: the same requests and frames to natsd and, where it is at hand, to the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-websocket`. What client libraries make of
//! it is shown in `tests/interop`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use natsd_tests::certs::Certs;
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, PATIENCE, Server};
use rustls::{ClientConnection, StreamOwned};

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;
const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x80];

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A raw WebSocket client.
struct Socket {
    wire: Box<dyn Wire>,
    unread: Vec<u8>,
}

impl Socket {
    fn plain(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { wire: Box::new(tcp), unread: Vec::new() }
    }

    fn tls(port: u16, certs: &Certs) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(certs.client_config(None), name).unwrap();
        Self { wire: Box::new(StreamOwned::new(session, tcp)), unread: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
        self.wire.flush().unwrap();
    }

    fn send_text(&mut self, plain: &str) {
        self.send(&frame(BINARY, plain.as_bytes()));
    }

    /// Sends a request and returns the head of the answer.
    fn request(&mut self, request: &str) -> String {
        self.send(request.as_bytes());
        let len = self.wait(|bytes| bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4));
        String::from_utf8(self.unread.drain(..len.expect("an answer")).collect()).unwrap()
    }

    /// Upgrades and reads INFO.
    fn upgrade(&mut self, headers: &str) -> String {
        let head = self.request(&get(headers));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (first, info) = self.frame().expect("INFO");
        let info = if first == BINARY { String::from_utf8(info).unwrap() } else { String::new() };
        assert!(first == 0xc2 || info.starts_with("INFO {"), "{info}");
        info
    }

    /// First byte and payload of the next frame; `None` at the end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (start, end) = self.wait(|bytes| {
            let (start, len) = match *bytes.get(1)? {
                126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into()),
                127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
                len => (2, len.into()),
            };
            (bytes.len() >= start + len).then_some((start, start + len))
        })?;
        let frame: Vec<u8> = self.unread.drain(..end).collect();
        Some((frame[0], frame[start..].to_vec()))
    }

    /// The next so many bytes of protocol, whatever the frames.
    fn plain_bytes(&mut self, len: usize) -> String {
        let mut plain = Vec::new();
        while plain.len() < len {
            let (first, payload) = self.frame().expect("more to come");
            assert_eq!(first, BINARY);
            plain.extend(payload);
        }
        String::from_utf8(plain).unwrap()
    }

    fn expect(&mut self, plain: &str) {
        assert_eq!(self.plain_bytes(plain.len()), plain);
    }

    fn rest(&mut self) -> String {
        self.wait(|_| None::<()>);
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Reads until `found` finds something in what is unread.
    fn wait<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = found(&self.unread) {
                return Some(found);
            }
            let mut chunk = [0; 16 * 1024];
            match self.wire.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.unread)),
            }
        }
    }
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}{headers}\r\n")
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// natsd, and the reference if there is one: what holds for both is what clients rely on.
fn programs() -> Vec<PathBuf> {
    [Some(natsd()), reference()].into_iter().flatten().collect()
}

fn start(program: PathBuf, block: &str, rest: &str) -> (Server, u16) {
    let config = format!("websocket {{ host: 127.0.0.1, port: -1, {block} }}\n{rest}\n");
    let server = Launch::new(program).config(config).start();
    let port = port_of(&server);
    (server, port)
}

fn port_of(server: &Server) -> u16 {
    let listening = |line: &str| {
        let rest = line.split_once("Listening for websocket clients on ws")?.1;
        rest.split_whitespace().next()?.rsplit(':').next()?.parse().ok()
    };
    server.log().wait(0, PATIENCE, listening).expect("a websocket port in the log")
}

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
        let _ = socket.wire.write_all(bytes);
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
