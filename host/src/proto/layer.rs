//! What may sit between the wire and the protocol of a connection: TLS, or a plugin's transport.
//!
//! Sans-IO: a layer sees bytes and returns bytes. The connection reads and writes the socket, holds
//! the layer under the lock of its outbound, and runs the timeouts of the handshake.

use crate::proto::error::ClosedReason;
use thiserror::Error;

/// Translates between wire bytes and plain bytes.
pub trait Layer: Send {
    /// Takes bytes from the wire; appends decoded bytes to `plain` and bytes that must be sent to `wire`.
    ///
    /// `input` is scratch: it may be decrypted in place. All of it is taken; what is incomplete is kept
    /// inside. On an error `wire` may hold a last alert for the peer, and `plain` gained nothing.
    fn on_read(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Progress, LayerError>;

    /// Encodes plain bytes for the wire. While the handshake runs they are held (up to a bound) and
    /// go out with the `on_read` that ends it.
    fn on_write(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError>;

    /// The connection ends: appends the layer's own farewell, if it has one.
    fn on_close(&mut self, reason: ClosedReason, wire: &mut Vec<u8>);

    /// What a check said of the peer whom `Progress::Vetting` told of. The next `on_read` goes on with what came since.
    fn admit(&mut self) {}

    /// Or it is refused: appends what tells it so.
    fn refuse(self: Box<Self>, _wire: &mut Vec<u8>) {}

    /// Whether the protocol has to wait.
    fn is_handshaking(&self) -> bool;

    /// For connz and TLS map authentication.
    fn tls(&self) -> Option<TlsFacts> {
        None
    }

    /// What the handshake said of the client (cookies, forwarded address); asked once.
    fn attributes(&mut self) -> Option<serde_json::Value> {
        None
    }
}

/// Where a layer stands after it took bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Needs more bytes before the protocol may speak.
    Handshaking,
    /// Needs to know whether the peer will do, whose certificates `tls` has: a check that takes time.
    Vetting,
    Open,
    /// The peer said its last byte; treat like end of file.
    PeerClosed,
}

/// Why a layer gave up. The connection sends what `wire` holds, logs, and closes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct LayerError {
    pub kind: LayerErrorKind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerErrorKind {
    /// The peer does not speak this layer at all: log at debug level (CORE-231).
    NotThisLayer,
    /// The handshake failed: reason `TLS Handshake Failure`.
    Handshake,
    /// Bytes after the handshake were wrong: reason `Read Error`.
    Stream,
    /// The layer names the reason itself.
    Closed(ClosedReason),
}

impl LayerError {
    pub fn new(kind: LayerErrorKind, text: impl Into<String>) -> Self {
        LayerError { kind, text: text.into() }
    }
}

impl LayerErrorKind {
    pub fn reason(self) -> ClosedReason {
        match self {
            LayerErrorKind::NotThisLayer | LayerErrorKind::Handshake => ClosedReason::TlsHandshakeFailure,
            LayerErrorKind::Stream => ClosedReason::ReadError,
            LayerErrorKind::Closed(reason) => reason,
        }
    }
}

/// What is known of a TLS session once its handshake is over.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    pub cipher_suite: &'static str,
    /// The peer's chain, DER, its own certificate first.
    pub peer_certificates: Vec<Vec<u8>>,
}

/// One layer on another: a transport over TLS.
pub struct Stack {
    lower: Box<dyn Layer>,
    upper: Box<dyn Layer>,
    between: Vec<u8>,
    /// The upper layer has heard of its start.
    started: bool,
}

impl Stack {
    pub fn new(lower: Box<dyn Layer>, upper: Box<dyn Layer>) -> Self {
        Stack { lower, upper, between: Vec::new(), started: false }
    }

    fn send_upper(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        if bytes.is_empty() { Ok(()) } else { self.lower.on_write(bytes, wire) }
    }
}

impl Layer for Stack {
    fn on_read(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Progress, LayerError> {
        let mut between = std::mem::take(&mut self.between);
        between.clear();
        let lower = self.lower.on_read(input, &mut between, wire)?;
        if lower == Progress::Vetting {
            return Ok(lower);
        }
        // The upper layer hears of its start even if no byte came for it yet.
        let is_open = !self.lower.is_handshaking();
        let starts = is_open && !std::mem::replace(&mut self.started, is_open);
        let mut answer = Vec::new();
        let upper = match between.is_empty() && !starts {
            true if self.upper.is_handshaking() => Ok(Progress::Handshaking),
            true => Ok(Progress::Open),
            false => self.upper.on_read(&mut between, plain, &mut answer),
        };
        self.send_upper(&answer, wire)?;
        if between.capacity() <= 1 << 20 {
            self.between = between;
        }
        match upper? {
            Progress::Handshaking => Ok(Progress::Handshaking),
            _ if lower == Progress::PeerClosed => Ok(Progress::PeerClosed),
            progress => Ok(progress),
        }
    }

    fn on_write(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        let mut framed = Vec::with_capacity(plain.len() + 16);
        self.upper.on_write(plain, &mut framed)?;
        self.send_upper(&framed, wire)
    }

    fn on_close(&mut self, reason: ClosedReason, wire: &mut Vec<u8>) {
        let mut last = Vec::new();
        self.upper.on_close(reason, &mut last);
        if self.send_upper(&last, wire).is_ok() {
            self.lower.on_close(reason, wire);
        }
    }

    fn admit(&mut self) {
        self.lower.admit();
    }

    fn refuse(self: Box<Self>, wire: &mut Vec<u8>) {
        self.lower.refuse(wire);
    }

    fn is_handshaking(&self) -> bool {
        self.lower.is_handshaking() || self.upper.is_handshaking()
    }

    fn tls(&self) -> Option<TlsFacts> {
        self.lower.tls()
    }

    fn attributes(&mut self) -> Option<serde_json::Value> {
        self.upper.attributes()
    }
}
