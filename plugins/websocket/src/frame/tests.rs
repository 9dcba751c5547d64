//! What the reader finds must not depend on how the bytes are cut; what it refuses is refused as on the wire
//! of nats-server.

#![allow(clippy::unwrap_used)]

use super::*;

const MASKED: Rules = Rules { masked: true, compression: false };
const PACKED: Rules = Rules { masked: true, compression: true };
const PLAIN: Rules = Rules { masked: false, compression: false };
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A client's frame.
pub(crate) fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let head = FrameHead::new(first, payload.len());
    let mut bytes = head.as_ref().to_vec();
    if let Some(key) = key {
        bytes[1] |= super::MASKED;
        bytes.extend_from_slice(&key);
    }
    Mask::new(key.unwrap_or_default()).unmask_into(payload, &mut bytes);
    bytes
}

/// What was found, runs of one message joined.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Message { plain: Vec<u8>, compressed: bool },
    Unfinished(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

fn read<'a>(rules: Rules, chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Found>, FrameError> {
    let mut reader = FrameReader::new(rules);
    let (mut found, mut message) = (Vec::new(), Vec::new());
    for mut chunk in chunks {
        while let Some(piece) = reader.next(&mut chunk)? {
            match piece {
                Piece::Data(data) => {
                    data.mask.unmask_into(data.bytes, &mut message);
                    if data.ends_message {
                        let plain = std::mem::take(&mut message);
                        found.push(Found::Message { plain, compressed: data.compressed });
                    }
                }
                Piece::Ping(payload) => found.push(Found::Ping(payload.as_ref().to_vec())),
                Piece::Pong => found.push(Found::Pong),
                Piece::Close(payload) => found.push(Found::Close(payload.as_ref().to_vec())),
            }
        }
        assert!(chunk.is_empty(), "all input is taken");
    }
    if !message.is_empty() {
        found.push(Found::Unfinished(message));
    }
    Ok(found)
}

fn message(plain: &[u8]) -> Found {
    Found::Message { plain: plain.to_vec(), compressed: false }
}

fn refused(rules: Rules, bytes: &[u8]) -> FrameError {
    let whole = read(rules, [bytes]).unwrap_err();
    assert_eq!(read(rules, bytes.chunks(1)).unwrap_err(), whole, "cut or whole");
    whole
}

/// Deterministic noise: the tests must not differ from run to run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[test]
fn frames_may_be_cut_at_any_byte() {
    let mut wire = frame(0x82, b"CONNECT {}\r\n", Some(KEY));
    wire.extend(frame(0x01, b"PI", Some([0, 0, 0, 9])));
    wire.extend(frame(0x89, b"are you there", Some([9, 0, 0, 0])));
    wire.extend(frame(0x00, b"", Some(KEY)));
    wire.extend(frame(0x80, b"NG\r\n", Some([1, 2, 3, 4])));
    wire.extend(frame(0x82, b"", Some(KEY)));
    wire.extend(frame(0x8a, b"", Some(KEY)));
    wire.extend(frame(0x82, &[7; 300], Some(KEY)));
    wire.extend(frame(0x88, b"\x03\xe8bye", Some(KEY)));
    let expected = [
        message(b"CONNECT {}\r\n"),
        Found::Ping(b"are you there".to_vec()),
        message(b"PING\r\n"),
        message(b""),
        Found::Pong,
        message(&[7; 300]),
        Found::Close(b"\x03\xe8bye".to_vec()),
    ];
    assert_eq!(read(MASKED, [&wire[..]]).unwrap(), expected);
    for at in 0..=wire.len() {
        assert_eq!(read(MASKED, [&wire[..at], &wire[at..]]).unwrap(), expected, "cut at {at}");
    }
    for size in 1..40 {
        assert_eq!(read(MASKED, wire.chunks(size)).unwrap(), expected, "pieces of {size}");
    }
}

#[test]
fn any_message_in_any_frames_in_any_pieces_comes_out_the_same() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..noise.below(6) {
            let len = match noise.below(4) {
                0 => noise.below(4),
                1 => noise.below(200),
                2 => 120 + noise.below(20),
                _ => 65_500 + noise.below(100),
            };
            let payload: Vec<u8> = (0..len).map(|_| noise.next() as u8).collect();
            let compressed = noise.below(2) == 1;
            let mut parts: Vec<&[u8]> = payload.chunks(1 + noise.below(len + 1) as usize).collect();
            parts.truncate(20);
            let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
            let sent: Vec<u8> = parts.concat();
            for (at, part) in parts.iter().enumerate() {
                let opcode =
                    if at == 0 { BINARY | if compressed { COMPRESSED } else { 0 } } else { CONTINUATION };
                let first = opcode | if at + 1 == parts.len() { FINAL } else { 0 };
                wire.extend(frame(first, part, Some((noise.next() as u32).to_ne_bytes())));
            }
            expected.push(Found::Message { plain: sent, compressed });
        }
        let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
        while !rest.is_empty() {
            let len = (1 + noise.below(9_000) as usize).min(rest.len());
            let (piece, after) = rest.split_at(if noise.below(3) == 0 { 1 } else { len });
            pieces.push(piece);
            rest = after;
        }
        assert_eq!(read(PACKED, pieces).unwrap(), expected);
    }
}

#[test]
fn noise_never_panics_and_takes_all_input() {
    let mut noise = Noise(7);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..noise.below(40)).map(|_| noise.next() as u8).collect();
        for rules in [MASKED, PACKED, PLAIN] {
            let _ = read(rules, bytes.chunks(1 + noise.below(8) as usize));
        }
    }
}

#[test]
fn payload_comes_before_its_frame_is_complete() {
    let wire = frame(0x82, b"PUB a 5\r\nhello\r\n", Some(KEY));
    assert_eq!(read(MASKED, [&wire[..13]]).unwrap(), [Found::Unfinished(b"PUB a 5".to_vec())]);
}

#[test]
fn masks_are_required_unless_lifted() {
    // WS-010
    assert_eq!(refused(MASKED, &frame(0x82, b"PING\r\n", None)), FrameError::MaskMissing);
    assert_eq!(read(PLAIN, [&frame(0x82, b"PING\r\n", None)[..]]).unwrap(), [message(b"PING\r\n")]);
    assert_eq!(read(PLAIN, [&frame(0x82, b"PING\r\n", Some(KEY))[..]]).unwrap(), [message(b"PING\r\n")]);
}

#[test]
fn broken_rules_are_refused() {
    // WS-012
    let masked = |first, payload: &[u8]| frame(first, payload, Some(KEY));
    assert_eq!(refused(MASKED, &[0xa2]), FrameError::ReservedBits);
    assert_eq!(refused(MASKED, &[0x92]), FrameError::ReservedBits);
    assert_eq!(refused(MASKED, &[0xc2]), FrameError::NotNegotiated);
    assert_eq!(refused(MASKED, &masked(0x89, &[0; 126])), FrameError::ControlTooLong);
    assert_eq!(refused(MASKED, &masked(0x09, b"")), FrameError::ControlFragmented);
    assert_eq!(refused(PACKED, &masked(0xc9, b"")), FrameError::ControlCompressed);
    assert_eq!(
        refused(MASKED, &[masked(0x02, b""), masked(0x82, b"")].concat()),
        FrameError::MessageUnfinished
    );
    assert_eq!(refused(MASKED, &masked(0x80, b"x")), FrameError::StrayContinuation);
    assert_eq!(
        refused(PACKED, &[masked(0x42, b"x"), masked(0xc0, b"")].concat()),
        FrameError::StrayContinuation
    );
    assert_eq!(refused(MASKED, &masked(0x83, b"")), FrameError::UnknownOpcode(3));
    assert_eq!(refused(MASKED, &masked(0x8f, b"")), FrameError::UnknownOpcode(15));
    assert_eq!(refused(MASKED, &[[0x82, 0xff].as_slice(), &[0xff; 8]].concat()), FrameError::Length);
    assert_eq!(refused(MASKED, &masked(0x88, b"x")), FrameError::CloseTooShort);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(refused(MASKED, &masked(0x88, &u16::to_be_bytes(code))), FrameError::CloseCode(code));
    }
}

#[test]
fn a_close_is_echoed() {
    // WS-013
    let close = |payload: &[u8]| read(MASKED, [&frame(0x88, payload, Some(KEY))[..]]).unwrap();
    assert_eq!(close(b""), [Found::Close(Vec::new())]);
    for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4999] {
        assert_eq!(close(&code.to_be_bytes()), [Found::Close(code.to_be_bytes().to_vec())]);
    }
    let invalid = b"\x03\xefinvalid utf8 body in close frame".to_vec();
    assert_eq!(close(b"\x03\xe8\xff"), [Found::Close(invalid)]);
}

#[test]
fn a_long_reason_is_cut() {
    let fits = close_payload(1000, &"a".repeat(123));
    assert_eq!(fits.as_ref().len(), CONTROL_PAYLOAD_MAX);
    let cut = close_payload(1000, &"a".repeat(124));
    assert_eq!(cut.as_ref().len(), CONTROL_PAYLOAD_MAX);
    assert!(cut.as_ref().ends_with(b"a..."));
    let between_characters = close_payload(1000, &"é".repeat(100));
    assert!(std::str::from_utf8(&between_characters.as_ref()[2..]).is_ok());
}

#[test]
fn masking_is_the_same_in_words_and_in_bytes() {
    let bytes: Vec<u8> = (0..100).collect();
    for len in 0..bytes.len() {
        let mut masked = bytes[..len].to_vec();
        Mask::new(KEY).apply(&mut masked);
        let one_by_one: Vec<u8> = bytes[..len].iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(masked, one_by_one);
    }
}

#[test]
fn heads_are_as_short_as_they_can_be() {
    assert_eq!(FrameHead::binary(0, false).as_ref(), [0x82, 0]);
    assert_eq!(FrameHead::binary(125, true).as_ref(), [0xc2, 125]);
    assert_eq!(FrameHead::binary(126, false).as_ref(), [0x82, 126, 0, 126]);
    assert_eq!(FrameHead::binary(65_535, false).as_ref(), [0x82, 126, 255, 255]);
    assert_eq!(FrameHead::binary(65_536, false).as_ref(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(FrameHead::compressed_fragment(1, true, false).as_ref(), [0x42, 1]);
    assert_eq!(FrameHead::compressed_fragment(1, false, false).as_ref(), [0x00, 1]);
    assert_eq!(FrameHead::compressed_fragment(1, false, true).as_ref(), [0x80, 1]);
}
