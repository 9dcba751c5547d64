//! WebSocket: the request to upgrade, the frames behind it, what they hold compressed.

use natsd_websocket::deflate::Inflater;
use natsd_websocket::frame::{FrameReader, Piece, Rules};
use natsd_websocket::handshake::{self, Decision, UpgradeRules};
use natsd_websocket::origin::OriginRules;

use crate::cuts::pieces;

/// Small, so that inputs of a fuzzer reach it.
const MESSAGE_BYTES_MAX: u64 = 4096;

pub const WORDS: &[&[u8]] = &[
    b"\x82\x85",
    b"\x82\xfe\0\x80",
    b"\x82\xff\0\0\0\0\0\0\x01\0",
    b"\x02\x81",
    b"\x80\x81",
    b"\x89\x80",
    b"\x88\x82",
    b"\xc2\x87",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x03\xe8",
    b"GET / HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Origin: http://localhost\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"\r\n\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Cookie: a=b; c\r\n",
    b"X-Forwarded-For: ::1\r\n",
    b"Nats-No-Masking: true\r\n",
];

/// The first byte chooses what was agreed; the rest is what the client sends.
pub fn websocket_frames(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    if choice & 4 != 0 {
        return request(bytes, choice & 1 != 0);
    }
    let rules = Rules { masked: choice & 1 == 0, compression: choice & 2 != 0 };
    assert_eq!(read(rules, [bytes]), read(rules, pieces(bytes)));
}

/// What came out of the frames: stretches of one message joined.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Plain bytes of each message, and whether it is complete.
    messages: Vec<(Vec<u8>, bool)>,
    controls: Vec<(&'static str, Vec<u8>)>,
    error: Option<String>,
}

fn read<'a>(rules: Rules, chunks: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut reader = FrameReader::new(rules);
    let mut read = Read::default();
    let mut inflater: Option<Inflater> = None;
    for mut chunk in chunks {
        loop {
            match reader.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(Piece::Ping(payload))) => read.controls.push(("ping", payload.as_ref().to_vec())),
                Ok(Some(Piece::Pong)) => read.controls.push(("pong", Vec::new())),
                Ok(Some(Piece::Close(payload))) => {
                    read.controls.push(("close", payload.as_ref().to_vec()));
                    return read;
                }
                Ok(Some(Piece::Data(data))) => {
                    let mut masked = Vec::new();
                    data.mask.unmask_into(data.bytes, &mut masked);
                    if read.messages.last().is_none_or(|(_, complete)| *complete) {
                        read.messages.push((Vec::new(), false));
                    }
                    let (message, complete) = read.messages.last_mut().unwrap();
                    *complete = data.ends_message;
                    if !data.compressed {
                        message.extend_from_slice(&masked);
                        continue;
                    }
                    let coder = inflater.get_or_insert_with(|| Inflater::new(MESSAGE_BYTES_MAX));
                    let mut result = coder.push(&masked, message);
                    if let (Ok(()), true) = (&result, data.ends_message) {
                        result = inflater.take().map_or(Ok(()), |coder| coder.finish(message));
                    }
                    if result.is_err() {
                        // How far it came, and so which limit it met first, depends on the cuts.
                        read.messages.pop();
                        read.error = Some("compressed data refused".to_owned());
                        return read;
                    }
                }
                Err(error) => {
                    read.error = Some(error.to_string());
                    return read;
                }
            }
        }
        assert!(chunk.is_empty(), "all input is taken");
    }
    read
}

fn request(bytes: &[u8], tls: bool) {
    let origins = OriginRules { same_origin: true, allowed: Vec::new() };
    let rules = UpgradeRules { origins, compression: true, ..UpgradeRules::default() };
    if let Decision::Accept { response, .. } = handshake::decide(bytes, tls, &rules) {
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"));
    }
}
