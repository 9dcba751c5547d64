//! One WebSocket connection as a machine without I/O: the handshake first, then frames both ways.

use crate::deflate::{self, COMPRESS_ABOVE_BYTES, DeflateError, Inflater};
use crate::frame::{Control, Data, FrameHead, FrameReader, Mask, Piece, Rules, close_code, close_payload};
use crate::handshake::{self, Agreed, Browser, Decision, RECEIVED_MAX_BYTES, Refusal, UpgradeRules};
use arc_swap::ArcSwap;
use natsd_plugin_api::tracing::error;
use natsd_plugin_api::{Close, CloseReason, Peer, Result, Transport, TransportFactory, TransportSink};
use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// WS-009: what a browser takes well in one frame.
const BROWSER_FRAME_BYTES: usize = 4096;
/// A thread keeps its buffers for the next call up to this size.
const KEPT_BUFFER_BYTES: usize = 256 << 10;

thread_local! {
    /// Unmasked input, and compressed output: the connections of a thread take turns.
    static PLAIN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static PACKED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What all connections share, and a reload changes for those to come.
#[derive(Debug)]
pub struct Shared {
    pub rules: ArcSwap<UpgradeRules>,
    /// The server's, as the measure of what a compressed message may hold.
    pub max_payload: AtomicU64,
}

/// Makes the transports of a listener.
pub struct Factory {
    pub shared: Arc<Shared>,
}

impl TransportFactory for Factory {
    fn open(&self, peer: &Peer) -> Result<Box<dyn Transport>> {
        Ok(Box::new(WebSocketTransport::new(self.shared.clone(), peer)))
    }
}

pub struct WebSocketTransport(State);

enum State {
    Handshake(Box<Handshake>),
    Open(Box<Session>),
    Closed,
}

struct Handshake {
    shared: Arc<Shared>,
    remote: String,
    tls: bool,
    /// What has come of the request.
    received: Vec<u8>,
}

/// An upgraded connection.
struct Session {
    frames: FrameReader,
    compression: bool,
    browser: Browser,
    message_max_bytes: u64,
    /// A compressed message whose end has not come.
    inflater: Option<Inflater>,
    farewell: Farewell,
}

/// What `on_close` says.
enum Farewell {
    /// What the host closes for.
    Hosts,
    /// An echo, or a broken rule.
    Ours(Control),
    /// With a client that compresses wrongly nothing is to be talked about.
    None,
}

impl WebSocketTransport {
    pub fn new(shared: Arc<Shared>, peer: &Peer) -> Self {
        let (remote, tls) = (peer.remote.clone(), peer.tls);
        Self(State::Handshake(Box::new(Handshake { shared, remote, tls, received: Vec::new() })))
    }
}

impl Transport for WebSocketTransport {
    fn on_read(&mut self, wire: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        match &mut self.0 {
            State::Handshake(handshake) => match handshake.on_read(wire, out) {
                Ok(None) => Ok(()),
                Ok(Some(session)) => {
                    self.0 = State::Open(Box::new(session));
                    Ok(())
                }
                Err(close) => {
                    self.0 = State::Closed;
                    Err(close)
                }
            },
            // After the end of the conversation only its end is of interest.
            State::Open(session) if !matches!(session.farewell, Farewell::Hosts) => Ok(()),
            State::Open(session) => session.on_read(wire, out),
            State::Closed => Ok(()),
        }
    }

    fn on_write(&mut self, plain: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        match &mut self.0 {
            State::Open(session) => session.on_write(plain, out),
            State::Handshake(_) | State::Closed => Ok(()),
        }
    }

    fn on_close(&mut self, close: &Close, out: &mut TransportSink<'_>) {
        let State::Open(session) = std::mem::replace(&mut self.0, State::Closed) else { return };
        let payload = match session.farewell {
            Farewell::Hosts => close_payload(code_of(close.reason), close.reason.text()),
            Farewell::Ours(payload) => payload,
            Farewell::None => return,
        };
        out.wire(FrameHead::close(&payload).as_ref());
        out.wire(payload.as_ref());
    }
}

impl Handshake {
    fn on_read(&mut self, wire: &[u8], out: &mut TransportSink<'_>) -> Result<Option<Session>, Close> {
        let rules = self.shared.rules.load();
        let decision = if self.received.is_empty() {
            handshake::decide(wire, self.tls, &rules)
        } else {
            // One byte over the limit is enough to be refused; what is beyond the head is early data anyway.
            let room = (RECEIVED_MAX_BYTES + 1).saturating_sub(self.received.len());
            self.received.extend_from_slice(&wire[..wire.len().min(room)]);
            // A head goes on line by line: within a line there is nothing new to see.
            if !wire.contains(&b'\n') && self.received.len() < RECEIVED_MAX_BYTES {
                return Ok(None);
            }
            handshake::decide(&self.received, self.tls, &rules)
        };
        match decision {
            Decision::Wait => {
                if self.received.is_empty() {
                    self.received.extend_from_slice(wire);
                }
                Ok(None)
            }
            Decision::Accept { response, agreed } => {
                out.wire(response.as_bytes());
                out.ready(agreed.attributes.clone());
                let max_payload = self.shared.max_payload.load(Ordering::Relaxed);
                Ok(Some(Session::new(&agreed, deflate::message_limit(max_payload))))
            }
            Decision::Refuse { response, why } => {
                out.wire(response.as_bytes());
                match why {
                    // A stranger on the port, not a client with a problem.
                    Refusal::NotHttp(_) => {}
                    Refusal::Leafnode => error!("Not configured to accept leaf node connections"),
                    why => error!("{} - websocket handshake error: {why}", self.remote),
                }
                // It is logged: without a text the host has nothing to add.
                Err(Close::new(CloseReason::ProtocolViolation, ""))
            }
        }
    }
}

impl Session {
    fn new(agreed: &Agreed, message_max_bytes: u64) -> Self {
        Self {
            frames: FrameReader::new(Rules { masked: agreed.masked, compression: agreed.compression }),
            compression: agreed.compression,
            browser: agreed.browser,
            message_max_bytes,
            inflater: None,
            farewell: Farewell::Hosts,
        }
    }

    /// All that the frames of a chunk carry is handed over at once, also when one of them ends it all.
    fn on_read(&mut self, wire: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        let mut plain = PLAIN.take();
        let result = self.read_frames(wire, &mut plain, out);
        if !plain.is_empty() {
            out.plain(&plain);
        }
        keep(&PLAIN, plain);
        result
    }

    fn read_frames(
        &mut self,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        out: &mut TransportSink<'_>,
    ) -> Result<(), Close> {
        loop {
            match self.frames.next(&mut wire) {
                Ok(None) => return Ok(()),
                Ok(Some(Piece::Data(data))) => self.data(data, plain, out)?,
                Ok(Some(Piece::Ping(payload))) => {
                    out.wire(FrameHead::pong(&payload).as_ref());
                    out.wire(payload.as_ref());
                }
                Ok(Some(Piece::Pong)) => {}
                Ok(Some(Piece::Close(answer))) => {
                    return Err(self.end(Some(answer), CloseReason::ClientClosed, String::new()));
                }
                Err(error) => {
                    let text = error.to_string();
                    let answer = close_payload(close_code::PROTOCOL_ERROR, &text);
                    return Err(self.end(Some(answer), CloseReason::ReadError, read_error(text)));
                }
            }
        }
    }

    fn data(
        &mut self,
        data: Data<'_>,
        plain: &mut Vec<u8>,
        out: &mut TransportSink<'_>,
    ) -> Result<(), Close> {
        if data.compressed {
            return self.inflate(&data, plain).map_err(|error| self.cannot_inflate(error));
        }
        if data.mask == Mask::default() && plain.is_empty() {
            out.plain(data.bytes);
        } else {
            data.mask.unmask_into(data.bytes, plain);
        }
        Ok(())
    }

    fn inflate(&mut self, data: &Data<'_>, plain: &mut Vec<u8>) -> Result<(), DeflateError> {
        let mut inflater = self.inflater.take().unwrap_or_else(|| Inflater::new(self.message_max_bytes));
        if data.mask == Mask::default() {
            inflater.push(data.bytes, plain)?;
        } else {
            let mut packed = PACKED.take();
            data.mask.unmask_into(data.bytes, &mut packed);
            let result = inflater.push(&packed, plain);
            keep(&PACKED, packed);
            result?;
        }
        if data.ends_message {
            inflater.finish(plain)
        } else {
            self.inflater = Some(inflater);
            Ok(())
        }
    }

    fn cannot_inflate(&mut self, error: DeflateError) -> Close {
        let (reason, farewell) = match error {
            DeflateError::TooBig { .. } => {
                let reason = CloseReason::MaxPayloadExceeded;
                (reason, Some(close_payload(code_of(reason), reason.text())))
            }
            DeflateError::Corrupt(_) | DeflateError::Failed => (CloseReason::ReadError, None),
        };
        self.end(farewell, reason, read_error(error))
    }

    fn end(&mut self, farewell: Option<Control>, reason: CloseReason, text: String) -> Close {
        self.farewell = farewell.map_or(Farewell::None, Farewell::Ours);
        Close::new(reason, text)
    }

    fn on_write(&mut self, plain: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        if plain.is_empty() {
            return Ok(());
        }
        if self.compression && plain.len() > COMPRESS_ABOVE_BYTES {
            return self.write_compressed(plain, out);
        }
        let frame_bytes = if self.browser == Browser::None { plain.len() } else { BROWSER_FRAME_BYTES };
        for part in plain.chunks(frame_bytes) {
            out.wire(FrameHead::binary(part.len(), false).as_ref());
            out.wire(part);
        }
        Ok(())
    }

    fn write_compressed(&self, plain: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        let mut packed = PACKED.take();
        let result = deflate::compress(plain, &mut packed)
            .map_err(|error| Close::new(CloseReason::WriteError, error.to_string()));
        if result.is_ok() {
            let frame_bytes =
                if self.browser == Browser::Other { BROWSER_FRAME_BYTES } else { packed.len().max(1) };
            let last = packed.len().div_ceil(frame_bytes).saturating_sub(1);
            for (at, part) in packed.chunks(frame_bytes).enumerate() {
                out.wire(FrameHead::compressed_fragment(part.len(), at == 0, at == last).as_ref());
                out.wire(part);
            }
        }
        keep(&PACKED, packed);
        result
    }
}

/// The host logs it with the client's name.
fn read_error(why: impl Display) -> String {
    format!("read error: {why}")
}

/// Puts a buffer back for the thread's next connection.
fn keep(place: &'static std::thread::LocalKey<Cell<Vec<u8>>>, mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BUFFER_BYTES {
        buffer.clear();
        place.set(buffer);
    }
}

/// WS-013, CORE-263.
pub fn code_of(reason: CloseReason) -> u16 {
    use CloseReason::*;
    match reason {
        ClientClosed => close_code::NORMAL,
        AuthenticationTimeout
        | AuthenticationViolation
        | SlowConsumerPendingBytes
        | SlowConsumerWriteDeadline
        | MaxAccountConnectionsExceeded
        | MaxConnectionsExceeded
        | MaxControlLineExceeded
        | MaxSubscriptionsExceeded
        | MissingAccount
        | AuthenticationExpired
        | Revocation => close_code::POLICY,
        TlsHandshakeError => close_code::TLS_HANDSHAKE,
        ParseError | ProtocolViolation | BadClientProtocolVersion => close_code::PROTOCOL_ERROR,
        MaxPayloadExceeded => close_code::TOO_BIG,
        WriteError | ReadError | StaleConnection | ServerShutdown => close_code::GOING_AWAY,
        _ => close_code::INTERNAL,
    }
}

#[cfg(test)]
mod tests;
