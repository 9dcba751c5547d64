//! What may sit between the wire and the protocol of a connection: TLS, or a plugin's transport.
//!
//! Sans-IO: a layer sees bytes and returns bytes. The connection reads and writes the socket, holds
//! the layer under the lock of its outbound, and runs the timeouts of the handshake.

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

    /// The connection ends: appends the layer's own farewell, if it has one. `reason` is a text of
    /// CORE-260.
    fn on_close(&mut self, reason: &'static str, wire: &mut Vec<u8>);

    /// Whether the protocol has to wait.
    fn is_handshaking(&self) -> bool;
}

/// Where a layer stands after it took bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Needs more bytes before the protocol may speak.
    Handshaking,
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
}

impl LayerError {
    pub fn new(kind: LayerErrorKind, text: impl Into<String>) -> Self {
        LayerError { kind, text: text.into() }
    }
}
