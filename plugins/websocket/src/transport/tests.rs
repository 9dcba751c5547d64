//! A transport between a pretended host and a pretended client.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::handshake::CookieNames;
use natsd_plugin_api::{Attributes, TransportOut};

const KEY: [u8; 4] = [0xa1, 0x05, 0x7f, 0x33];

/// What a transport handed over.
#[derive(Default)]
struct Seen {
    plain: Vec<u8>,
    plain_calls: usize,
    wire: Vec<u8>,
    ready: Option<Attributes>,
}

impl TransportOut for Seen {
    fn plain(&mut self, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
        self.plain_calls += 1;
    }

    fn wire(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }

    fn ready(&mut self, attributes: Attributes) {
        assert!(self.ready.is_none(), "ready is said once");
        self.ready = Some(attributes);
    }
}

struct Connection {
    transport: WebSocketTransport,
    seen: Seen,
}

impl Connection {
    fn new(rules: UpgradeRules) -> Self {
        let shared = Shared { rules: ArcSwap::from_pointee(rules), max_payload: AtomicU64::new(1 << 10) };
        let transport = WebSocketTransport::new(Arc::new(shared), &Peer::default());
        Self { transport, seen: Seen::default() }
    }

    /// Upgraded, with these headers in the request; what was seen until then is forgotten.
    fn open(headers: &str) -> Self {
        let mut connection = Self::new(UpgradeRules { compression: true, ..Default::default() });
        connection.read(request(headers).as_bytes()).unwrap();
        assert!(connection.seen.ready.is_some());
        connection.seen = Seen::default();
        connection
    }

    fn read(&mut self, wire: &[u8]) -> Result<(), Close> {
        self.transport.on_read(wire, &mut TransportSink::new(&mut self.seen))
    }

    /// The bytes on the wire for a write.
    fn write(&mut self, plain: &[u8]) -> Vec<u8> {
        self.seen.wire.clear();
        self.transport.on_write(plain, &mut TransportSink::new(&mut self.seen)).unwrap();
        std::mem::take(&mut self.seen.wire)
    }

    fn close(&mut self, reason: CloseReason) -> Vec<u8> {
        self.seen.wire.clear();
        self.transport.on_close(&Close::new(reason, ""), &mut TransportSink::new(&mut self.seen));
        std::mem::take(&mut self.seen.wire)
    }
}

fn request(headers: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

const COMPRESSED: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// A client's frame of less than 126 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    assert!(payload.len() < 126);
    bytes.extend_from_slice(&KEY);
    Mask::new(KEY).unmask_into(payload, &mut bytes);
    bytes
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    deflate::compress(plain, &mut packed).unwrap();
    packed
}

/// First bytes and payloads of the frames on the wire.
fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, len, rest @ ..] = wire {
        let (len, rest) = match len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize, &rest[8..]),
            len => (usize::from(*len), rest),
        };
        frames.push((*first, rest[..len].to_vec()));
        wire = &rest[len..];
    }
    frames
}

fn unpacked(wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut inflater = Inflater::new(u64::MAX);
    for (_, payload) in frames(wire) {
        inflater.push(&payload, &mut plain).unwrap();
    }
    inflater.finish(&mut plain).unwrap();
    plain
}

#[test]
fn a_whole_conversation_may_be_cut_at_any_byte() {
    let head = request("Cookie: u=me\r\n");
    let mut tail = frame(0x82, b"CONNECT {}\r\nPI");
    tail.extend(frame(0x89, b"hi"));
    tail.extend(frame(0x81, b"NG\r\n"));
    let cookies = CookieNames { user: Some("u".to_owned()), ..Default::default() };
    for at in 0..head.len() + tail.len() {
        let mut connection = Connection::new(UpgradeRules { cookies: cookies.clone(), ..Default::default() });
        // A client waits for the answer: the head is never in one piece with frames.
        let pieces = match at.checked_sub(head.len()) {
            None => [&head.as_bytes()[..at], &head.as_bytes()[at..], &tail[..]],
            Some(at) => [head.as_bytes(), &tail[..at], &tail[at..]],
        };
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            connection.read(piece).unwrap();
        }
        let seen = connection.seen;
        assert_eq!(seen.ready.unwrap().user.as_deref(), Some("me"));
        assert_eq!(seen.plain, b"CONNECT {}\r\nPING\r\n");
        assert!(seen.wire.starts_with(b"HTTP/1.1 101 ") && seen.wire.ends_with(b"\r\n\r\n\x8a\x02hi"));
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut connection = Connection::new(UpgradeRules::default());
    for byte in request("").as_bytes() {
        assert!(connection.seen.ready.is_none());
        connection.read(&[*byte]).unwrap();
    }
    assert!(connection.seen.ready.is_some());
}

#[test]
fn a_refused_request_ends_without_a_frame() {
    let mut connection = Connection::new(UpgradeRules::default());
    let close = connection.read(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_err();
    assert_eq!(close, Close::new(CloseReason::ProtocolViolation, ""));
    assert!(connection.seen.wire.starts_with(b"HTTP/1.1 405 "));
    assert!(connection.seen.ready.is_none());
    assert_eq!(connection.close(CloseReason::ProtocolViolation), b"");
    assert_eq!(connection.write(b"-ERR\r\n"), b"");
}

#[test]
fn an_endless_request_is_refused_and_not_kept() {
    let mut connection = Connection::new(UpgradeRules::default());
    connection.read(b"GET / HTTP/1.1\r\n").unwrap();
    let refused = (0..100).find_map(|_| connection.read(&[b'a'; 1_000]).err());
    assert!(refused.is_some());
    assert!(connection.seen.wire.starts_with(b"HTTP/1.1 431 "));
}

#[test]
fn early_data_is_seen_in_a_later_piece_too() {
    let mut connection = Connection::new(UpgradeRules::default());
    let request = request("");
    connection.read(&request.as_bytes()[..20]).unwrap();
    let rest = [&request.as_bytes()[20..], &frame(0x82, b"PING\r\n")].concat();
    assert!(connection.read(&rest).is_err());
    assert_eq!(connection.seen.wire, b"");
}

#[test]
fn many_frames_are_handed_over_at_once() {
    let mut connection = Connection::open("");
    connection.read(&frame(0x82, b"PUB a 1\r\nx\r\n").repeat(50)).unwrap();
    assert_eq!(connection.seen.plain, b"PUB a 1\r\nx\r\n".repeat(50));
    assert_eq!(connection.seen.plain_calls, 1);
}

#[test]
fn what_came_before_a_close_is_handed_over_first() {
    let mut connection = Connection::open("");
    let wire = [frame(0x82, b"PING\r\n"), frame(0x88, b"\x03\xe8bye"), frame(0x82, b"PING\r\n")].concat();
    assert_eq!(connection.read(&wire).unwrap_err(), Close::new(CloseReason::ClientClosed, ""));
    assert_eq!(connection.seen.plain, b"PING\r\n");
    assert_eq!(connection.write(b"PONG\r\n"), b"\x82\x06PONG\r\n");
    connection.read(&frame(0x82, b"PING\r\n")).unwrap();
    assert_eq!(connection.seen.plain, b"PING\r\n", "nothing counts after a close");
    assert_eq!(connection.close(CloseReason::ClientClosed), b"\x88\x05\x03\xe8bye");
    assert_eq!(connection.close(CloseReason::ClientClosed), b"");
}

#[test]
fn a_broken_rule_is_named_to_the_client() {
    let mut connection = Connection::open("");
    let close = connection.read(b"\x82\x06PING\r\n").unwrap_err();
    assert_eq!(close, Close::new(CloseReason::ReadError, "read error: mask bit missing"));
    assert_eq!(connection.close(close.reason), b"\x88\x12\x03\xeamask bit missing");
}

#[test]
fn the_host_s_reason_becomes_a_code() {
    // WS-013, CORE-263
    use CloseReason::*;
    for (reason, code) in [
        (ClientClosed, 1000),
        (ServerShutdown, 1001),
        (StaleConnection, 1001),
        (ParseError, 1002),
        (ProtocolViolation, 1002),
        (AuthenticationViolation, 1008),
        (SlowConsumerPendingBytes, 1008),
        (MaxPayloadExceeded, 1009),
        (DuplicateClientId, 1011),
        (TlsHandshakeError, 1015),
    ] {
        let wire = Connection::open("").close(reason);
        let expected = [&u16::to_be_bytes(code)[..], reason.text().as_bytes()].concat();
        assert_eq!(frames(&wire), [(0x88, expected)]);
    }
}

#[test]
fn without_masks_bytes_are_passed_through() {
    let mut connection = Connection::open("Nats-No-Masking: true\r\n");
    connection.read(b"\x82\x06PING\r\n").unwrap();
    connection.read(&frame(0x82, b"PING\r\n")).unwrap();
    assert_eq!(connection.seen.plain, b"PING\r\nPING\r\n");
}

#[test]
fn writes_are_one_frame_save_for_browsers() {
    // WS-009
    let long = vec![b'x'; 10_000];
    assert_eq!(frames(&Connection::open("").write(&long)), [(0x82, long.clone())]);
    let to_browser = frames(&Connection::open("User-Agent: Mozilla/5.0\r\n").write(&long));
    let expected: Vec<_> = long.chunks(4096).map(|part| (0x82, part.to_vec())).collect();
    assert_eq!(to_browser, expected);
    assert_eq!(Connection::open("").write(b""), b"");
}

#[test]
fn only_long_writes_are_compressed() {
    // WS-011
    let mut connection = Connection::open(COMPRESSED);
    let short = [b'y'; COMPRESS_ABOVE_BYTES];
    assert_eq!(frames(&connection.write(&short)), [(0x82, short.to_vec())]);
    for len in [COMPRESS_ABOVE_BYTES + 1, 5_000, 100_000] {
        let plain = vec![b'y'; len];
        let wire = connection.write(&plain);
        assert_eq!(frames(&wire)[0].0, 0xc2);
        assert_eq!(unpacked(&wire), plain);
    }
}

#[test]
fn browsers_get_fragments_of_compressed_messages_but_safari_does_not() {
    let mut state = 9_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(10_000)
    .collect();
    let firsts = |agent: &str| {
        let wire = Connection::open(&format!("{COMPRESSED}User-Agent: {agent}\r\n")).write(&noise);
        assert_eq!(unpacked(&wire), noise);
        frames(&wire).into_iter().map(|(first, _)| first).collect::<Vec<_>>()
    };
    assert_eq!(firsts("Mozilla/5.0 Chrome/1 Safari/1"), [0x42, 0x00, 0x80]);
    assert_eq!(firsts("Mozilla/5.0 Version/16 Safari/1"), [0xc2]);
    assert_eq!(firsts("nats.js"), [0xc2]);
}

#[test]
fn compressed_messages_are_read_whole_cut_and_in_fragments() {
    let packed = packed(b"CONNECT {}\r\nPING\r\n");
    let (start, end) = packed.split_at(packed.len() / 2);
    let fragments = [frame(0x42, start), frame(0x89, b""), frame(0x80, end)].concat();
    for wire in [frame(0xc2, &packed), fragments] {
        for at in 0..=wire.len() {
            let mut connection = Connection::open(COMPRESSED);
            connection.read(&wire[..at]).unwrap();
            connection.read(&wire[at..]).unwrap();
            connection.read(&frame(0x82, b"PING\r\n")).unwrap();
            assert_eq!(connection.seen.plain, b"CONNECT {}\r\nPING\r\nPING\r\n");
        }
    }
}

#[test]
fn a_compressed_message_that_unpacks_too_far_is_refused() {
    // max_payload is 1 KiB here, the limit eight times that.
    let bomb = packed(&vec![b'z'; 12_000]);
    assert!(bomb.len() < 126);
    let mut connection = Connection::open(COMPRESSED);
    let close = connection.read(&frame(0xc2, &bomb)).unwrap_err();
    assert_eq!(close.reason, CloseReason::MaxPayloadExceeded);
    assert_eq!(frames(&connection.close(close.reason))[0].1[..2], u16::to_be_bytes(1009));
}

#[test]
fn a_corrupt_compressed_message_is_refused() {
    let mut connection = Connection::open(COMPRESSED);
    let close = connection.read(&frame(0xc2, &[0xff; 8])).unwrap_err();
    assert_eq!(close.reason, CloseReason::ReadError);
    assert!(close.text.starts_with("read error: flate: corrupt input before offset "), "{close}");
    assert_eq!(connection.close(close.reason), b"");
}

#[test]
fn a_reload_counts_for_the_next_upgrade() {
    let rules = ArcSwap::from_pointee(UpgradeRules::default());
    let shared = Arc::new(Shared { rules, max_payload: AtomicU64::new(1) });
    let mut transport = WebSocketTransport::new(shared.clone(), &Peer::default());
    shared.rules.store(Arc::new(UpgradeRules { headers: "X-A: b\r\n".to_owned(), ..Default::default() }));
    let mut seen = Seen::default();
    transport.on_read(request("").as_bytes(), &mut TransportSink::new(&mut seen)).unwrap();
    assert!(seen.wire.ends_with(b"\r\nX-A: b\r\n\r\n"));
}
