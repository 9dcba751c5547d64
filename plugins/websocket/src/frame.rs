//! The frames of RFC 6455, as pure functions: headers in and out, the rules between frames, unmasking.
//!
//! Bytes may be cut anywhere. Payload is not collected: it is handed on as it comes, still masked, so that the
//! caller decides where the one copy of it goes. Not here: compression (`deflate`), who gets the payload and
//! what answers a control frame (`transport`).

use thiserror::Error;

/// The longest header of a client: opcode, length in 8 bytes, mask.
const HEAD_MAX: usize = 14;
pub const CONTROL_PAYLOAD_MAX: usize = 125;

const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What the handshake agreed on and every frame has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// WS-010: only `Nats-No-Masking` lifts it.
    pub masked: bool,
    pub compression: bool,
}

/// Why a frame is refused (WS-012). The text goes to the client in the close frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("RSV2 and RSV3 must be clear")]
    ReservedBits,
    #[error("compressed frame received without negotiated permessage-deflate")]
    NotNegotiated,
    #[error("mask bit missing")]
    MaskMissing,
    #[error("control frame length bigger than maximum allowed of {CONTROL_PAYLOAD_MAX} bytes")]
    ControlTooLong,
    #[error("control frame does not have final bit set")]
    ControlFragmented,
    #[error("control frame must not be compressed")]
    ControlCompressed,
    #[error("new message started before final frame for previous message was received")]
    MessageUnfinished,
    #[error("invalid continuation frame")]
    StrayContinuation,
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    #[error("invalid 64-bit payload length")]
    Length,
    #[error("close frame payload cannot be 1 byte")]
    CloseTooShort,
    #[error("invalid close status code {0}")]
    CloseCode(u16),
}

/// Part of the input, as `FrameReader::next` finds it.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Data(Data<'a>),
    /// The payload of a ping, unmasked.
    Ping(Control),
    Pong,
    /// What to answer to the peer's close frame.
    Close(Control),
}

/// A run of payload within one frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// As on the wire.
    pub bytes: &'a [u8],
    pub mask: Mask,
    /// Of the whole message: RSV1 of its first frame.
    pub compressed: bool,
    /// The message ends with these bytes.
    pub ends_message: bool,
}

/// The payload of a control frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; CONTROL_PAYLOAD_MAX],
    len: u8,
}

/// A masking key, turned to where it is needed; all zero leaves bytes as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask([u8; 4]);

/// Finds the frames in what a client sends.
#[derive(Debug)]
pub struct FrameReader {
    rules: Rules,
    /// The start of a header that is cut.
    head: [u8; HEAD_MAX],
    head_len: u8,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The data message that has begun and not ended: whether it is compressed.
    message: Option<bool>,
    control: Control,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    is_final: bool,
    mask: Mask,
    remaining: u64,
}

impl FrameReader {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            head: [0; HEAD_MAX],
            head_len: 0,
            frame: None,
            message: None,
            control: Control::default(),
        }
    }

    /// Takes the next piece off the front of `input`; `None` when `input` is used up. After an error the
    /// connection has to end.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) if input.is_empty() => {
                    self.frame = Some(frame);
                    return Ok(None);
                }
                Some(frame) => frame,
                None => match self.read_head(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let piece =
                if frame.opcode < CLOSE { self.data(frame, input) } else { self.control(frame, input)? };
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    fn data<'a>(&mut self, mut frame: Frame, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        let bytes = take(input, frame.remaining);
        frame.remaining -= bytes.len() as u64;
        let (mask, compressed) = (frame.mask, self.message.unwrap_or(false));
        let ends_message = frame.remaining == 0 && frame.is_final;
        if frame.remaining > 0 {
            frame.mask = mask.turned(bytes.len());
            self.frame = Some(frame);
        } else if frame.is_final {
            self.message = None;
        }
        // Empty runs say nothing, unless they end the message.
        (!bytes.is_empty() || ends_message).then_some(Piece::Data(Data {
            bytes,
            mask,
            compressed,
            ends_message,
        }))
    }

    /// Control payloads are small: they are collected, so that one that is cut is one piece.
    fn control<'a>(
        &mut self,
        mut frame: Frame,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, FrameError> {
        let bytes = take(input, frame.remaining);
        frame.remaining -= bytes.len() as u64;
        self.control.push(bytes, frame.mask);
        if frame.remaining > 0 {
            frame.mask = frame.mask.turned(bytes.len());
            self.frame = Some(frame);
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.control);
        Ok(Some(match frame.opcode {
            PING => Piece::Ping(payload),
            PONG => Piece::Pong,
            _ => Piece::Close(close_answer(&payload)?),
        }))
    }

    fn read_head(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.head_len == 0 {
            let Some((head, len)) = self.parse_head(input)? else {
                // Less than a header: it fits.
                self.head[..input.len()].copy_from_slice(input);
                self.head_len = input.len() as u8;
                *input = &[];
                return Ok(None);
            };
            *input = &input[len..];
            return Ok(Some(self.enter(head)));
        }
        while let Some((&byte, rest)) = input.split_first() {
            self.head[usize::from(self.head_len)] = byte;
            self.head_len += 1;
            *input = rest;
            if let Some((frame, _)) = self.parse_head(&self.head[..usize::from(self.head_len)])? {
                self.head_len = 0;
                return Ok(Some(self.enter(frame)));
            }
        }
        Ok(None)
    }

    fn enter(&mut self, head: Head) -> Frame {
        if let Some(compressed) = head.starts_message {
            self.message = Some(compressed);
        }
        head.frame
    }

    /// A header and its length; `None` when it is cut, but an error as soon as it can be known.
    fn parse_head(&self, bytes: &[u8]) -> Result<Option<(Head, usize)>, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let compressed = first & COMPRESSED != 0;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        if compressed && !self.rules.compression {
            return Err(FrameError::NotNegotiated);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let (is_final, is_masked) = (first & FINAL != 0, second & MASKED != 0);
        if self.rules.masked && !is_masked {
            return Err(FrameError::MaskMissing);
        }
        let opcode = first & 0x0f;
        let short_len = second & 0x7f;
        let starts_message = match opcode {
            CONTINUATION if self.message.is_none() || compressed => {
                return Err(FrameError::StrayContinuation);
            }
            CONTINUATION => None,
            TEXT | BINARY if self.message.is_some() => return Err(FrameError::MessageUnfinished),
            TEXT | BINARY => Some(compressed),
            CLOSE | PING | PONG if usize::from(short_len) > CONTROL_PAYLOAD_MAX => {
                return Err(FrameError::ControlTooLong);
            }
            CLOSE | PING | PONG if !is_final => return Err(FrameError::ControlFragmented),
            CLOSE | PING | PONG if compressed => return Err(FrameError::ControlCompressed),
            CLOSE | PING | PONG => None,
            opcode => return Err(FrameError::UnknownOpcode(opcode)),
        };
        let Some((remaining, at)) = payload_len(short_len, bytes)? else { return Ok(None) };
        let (mask, len) = match bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            _ if !is_masked => (Mask::default(), at),
            Some(key) => (Mask(*key), at + 4),
            None => return Ok(None),
        };
        let frame = Frame { opcode, is_final, mask, remaining };
        Ok(Some((Head { frame, starts_message }, len)))
    }
}

struct Head {
    frame: Frame,
    /// `Some(compressed)` in the first frame of a data message.
    starts_message: Option<bool>,
}

/// The length of the payload, and where the header goes on.
fn payload_len(short_len: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let rest = &bytes[2..];
    Ok(match short_len {
        126 => rest.first_chunk().map(|len| (u64::from(u16::from_be_bytes(*len)), 4)),
        127 => match rest.first_chunk().map(|len| u64::from_be_bytes(*len)) {
            Some(len) if len >> 63 != 0 => return Err(FrameError::Length),
            len => len.map(|len| (len, 10)),
        },
        len => Some((u64::from(len), 2)),
    })
}

fn take<'a>(input: &mut &'a [u8], len_max: u64) -> &'a [u8] {
    let len = usize::try_from(len_max).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(len);
    *input = rest;
    taken
}

// --- Close frames ---

/// The codes of RFC 6455 section 7.4 that are sent.
pub mod close_code {
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL_ERROR: u16 = 1002;
    pub const INVALID_PAYLOAD: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOO_BIG: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const TLS_HANDSHAKE: u16 = 1015;
}

/// The payload of a close frame; a text that does not fit is cut and ends in `...` (WS-013).
pub fn close_payload(code: u16, text: &str) -> Control {
    let mut payload = Control::default();
    payload.push(&code.to_be_bytes(), Mask::default());
    let text_max = CONTROL_PAYLOAD_MAX - 2;
    if text.len() <= text_max {
        payload.push(text.as_bytes(), Mask::default());
    } else {
        // Not inside a character: the text must stay UTF-8.
        let cut = (0..=text_max - 3).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        payload.push(&text.as_bytes()[..cut], Mask::default());
        payload.push(b"...", Mask::default());
    }
    payload
}

/// The peer's close frame is echoed; one without a code is answered by one without.
fn close_answer(payload: &Control) -> Result<Control, FrameError> {
    let Some((code, text)) = payload.as_ref().split_first_chunk::<2>() else {
        return if payload.len == 0 { Ok(Control::default()) } else { Err(FrameError::CloseTooShort) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::CloseCode(code));
    }
    Ok(match std::str::from_utf8(text) {
        Ok(text) => close_payload(code, text),
        Err(_) => close_payload(close_code::INVALID_PAYLOAD, "invalid utf8 body in close frame"),
    })
}

impl Control {
    fn push(&mut self, bytes: &[u8], mask: Mask) {
        // The header was checked: a control payload never exceeds the array.
        let start = usize::from(self.len);
        let room = &mut self.bytes[start..start + bytes.len()];
        room.copy_from_slice(bytes);
        mask.apply(room);
        self.len += bytes.len() as u8;
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { bytes: [0; CONTROL_PAYLOAD_MAX], len: 0 }
    }
}

impl AsRef<[u8]> for Control {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_ref().escape_ascii().to_string())
    }
}

// --- Masks ---

impl Mask {
    pub fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Appends the unmasked `bytes` to `plain`.
    pub fn unmask_into(self, bytes: &[u8], plain: &mut Vec<u8>) {
        let start = plain.len();
        plain.extend_from_slice(bytes);
        self.apply(&mut plain[start..]);
    }

    /// Masks or unmasks, eight bytes at a time.
    pub fn apply(self, bytes: &mut [u8]) {
        if self == Self::default() {
            return;
        }
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c, d]) {
            *byte ^= key;
        }
    }

    /// The key for what comes `len` bytes later.
    fn turned(mut self, len: usize) -> Self {
        self.0.rotate_left(len % 4);
        self
    }
}

// --- Frames to the client ---

/// The header of a frame that is sent: never masked.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    bytes: [u8; 10],
    len: u8,
}

impl FrameHead {
    /// A whole message.
    pub fn binary(payload_len: usize, compressed: bool) -> Self {
        Self::new(FINAL | BINARY | if compressed { COMPRESSED } else { 0 }, payload_len)
    }

    /// One of the frames of a compressed message.
    pub fn compressed_fragment(payload_len: usize, is_first: bool, is_last: bool) -> Self {
        let first = if is_first { COMPRESSED | BINARY } else { CONTINUATION };
        Self::new(first | if is_last { FINAL } else { 0 }, payload_len)
    }

    pub fn pong(payload: &Control) -> Self {
        Self::new(FINAL | PONG, payload.as_ref().len())
    }

    pub fn close(payload: &Control) -> Self {
        Self::new(FINAL | CLOSE, payload.as_ref().len())
    }

    fn new(first: u8, payload_len: usize) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = first;
        let len = match payload_len {
            0..=125 => {
                bytes[1] = payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for FrameHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests;
