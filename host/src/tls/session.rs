//! One TLS connection as a `Layer`: bytes in, bytes out.
//!
//! Uses rustls without its buffers, so that records are decrypted where they were read and encrypted
//! straight behind each other (`drive`). Not here: keys and policy (`server`, `client`), timeouts and sockets.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;

use super::client::TlsClient;
use super::drive::Conn;
use super::error::handshake_error;
use super::names;
use super::pins::PinnedCerts;
use super::server::TlsServer;
use crate::proto::error::ClosedReason;
use crate::proto::layer::{Layer, LayerError, LayerErrorKind, Progress, TlsFacts};

/// A TLS session of either side.
pub struct TlsSession {
    conn: Conn,
    phase: Phase,
    pins: Arc<PinnedCerts>,
    /// Between the handshake and the first plain byte somebody has to say that the peer will do.
    vets: bool,
    /// What follows is HTTP: who speaks it without TLS is told so.
    carries_http: bool,
    /// What the peer sent meanwhile: plain bytes that came with the end of the handshake, and whether it has gone.
    early: Vec<u8>,
    closed_early: bool,
    /// The start of a record, or during the handshake of a message, that has not all arrived.
    partial: Vec<u8>,
    /// Plain bytes written before the handshake ended.
    held: Vec<u8>,
}

/// What was negotiated, in the words of Go (as connz shows them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsDetails {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    pub cipher_suite: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not one byte was read.
    Fresh,
    Handshaking,
    /// The handshake is over, the peer is not admitted yet.
    Vetting,
    Open,
    PeerClosed,
    Failed,
}

/// Most plain bytes that may wait for the end of a handshake; only a few control lines are due then.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes kept for a handshake message in pieces; rustls itself refuses one above 64 KiB.
const PARTIAL_BYTES_MAX: usize = 128 * 1024;
const RECORD_HEADER_BYTES: usize = 5;
const CONTENT_TYPE_ALERT: u8 = 0x15;
const CONTENT_TYPE_HANDSHAKE: u8 = 0x16;

/// How requests start, as far as Go looks for them.
const HTTP_STARTS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// Go's answer to one that comes without TLS.
const HTTP_WITHOUT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Whether the first byte of a stream can only be TLS (CORE-232).
pub fn looks_like_tls(first_byte: u8) -> bool {
    first_byte == CONTENT_TYPE_HANDSHAKE
}

impl TlsSession {
    pub fn server(config: &TlsServer) -> Result<Self, LayerError> {
        let conn = UnbufferedServerConnection::new(Arc::clone(&config.config)).map_err(setup_error)?;
        let vets = config.peers.is_some();
        Ok(TlsSession { vets, ..Self::new(Conn::Server(Box::new(conn)), Phase::Fresh, &config.pins) })
    }

    /// For what speaks HTTP behind TLS.
    pub fn http_server(config: &TlsServer) -> Result<Self, LayerError> {
        Ok(TlsSession { carries_http: true, ..Self::server(config)? })
    }

    /// Dials `name`. `wire` receives the first bytes to send.
    pub fn client(
        config: &TlsClient,
        name: ServerName<'static>,
        wire: &mut Vec<u8>,
    ) -> Result<Self, LayerError> {
        let conn = UnbufferedClientConnection::new(Arc::clone(&config.config), name).map_err(setup_error)?;
        let mut session = Self::new(Conn::Client(Box::new(conn)), Phase::Handshaking, &config.pins);
        session.conn.drive(&mut [], &mut Vec::new(), wire, &[]).result.map_err(handshake_error)?;
        Ok(session)
    }

    fn new(conn: Conn, phase: Phase, pins: &Arc<PinnedCerts>) -> Self {
        TlsSession {
            conn,
            phase,
            pins: Arc::clone(pins),
            vets: false,
            carries_http: false,
            early: Vec::new(),
            closed_early: false,
            partial: Vec::new(),
            held: Vec::new(),
        }
    }

    /// `None` until the handshake is over.
    pub fn details(&self) -> Option<TlsDetails> {
        let common = self.conn.common();
        if common.is_handshaking() {
            return None;
        }
        Some(TlsDetails {
            version: common.protocol_version().map_or("", names::version),
            cipher_suite: common
                .negotiated_cipher_suite()
                .map_or("", |suite| names::cipher_suite(suite.suite())),
        })
    }

    /// The peer's chain, its own certificate first. Empty if it sent none.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.conn.common().peer_certificates().unwrap_or_default()
    }

    /// Feeds `input`, first to complete what is kept, then in place.
    fn take_input(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let mut taken = 0;
        if self.phase == Phase::Vetting {
            self.partial.extend_from_slice(input);
            return self.check_partial();
        }
        if !self.partial.is_empty() {
            taken = missing_bytes(&self.partial, input);
            self.partial.extend_from_slice(&input[..taken]);
            self.drive_partial(plain, wire)?;
            if self.phase == Phase::Vetting {
                self.partial.extend_from_slice(&input[taken..]);
                return self.check_partial();
            }
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(&input[taken..]);
                taken = input.len();
                self.drive_partial(plain, wire)?;
            }
        }
        if taken == input.len() {
            return Ok(());
        }
        let rest = &mut input[taken..];
        let drive = self.conn.drive(rest, plain, wire, &[]);
        self.note(drive.peer_closed, drive.result)?;
        self.partial.extend_from_slice(&rest[drive.used..]);
        self.check_partial()
    }

    fn drive_partial(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), LayerError> {
        let drive = self.conn.drive(&mut self.partial, plain, wire, &[]);
        self.note(drive.peer_closed, drive.result)?;
        if drive.used == self.partial.len() {
            // An idle connection holds no buffer.
            self.partial = Vec::new();
        } else {
            self.partial.drain(..drive.used);
        }
        self.check_partial()
    }

    fn check_partial(&self) -> Result<(), LayerError> {
        if self.partial.len() > PARTIAL_BYTES_MAX {
            return Err(self.stream_error("tls: message of the peer is too long".to_owned()));
        }
        Ok(())
    }

    fn note(&mut self, peer_closed: bool, result: Result<(), rustls::Error>) -> Result<(), LayerError> {
        if let Err(error) = result {
            let error = handshake_error(error);
            return Err(if self.is_handshaking() { error } else { self.stream_error(error.text) });
        }
        if self.phase == Phase::Handshaking && !self.conn.common().is_handshaking() {
            self.check_pins()?;
            self.phase = if self.vets { Phase::Vetting } else { Phase::Open };
        }
        match self.phase {
            Phase::Vetting => self.closed_early |= peer_closed,
            _ if peer_closed => self.phase = Phase::PeerClosed,
            _ => {}
        }
        Ok(())
    }

    /// AUTH-022.
    fn check_pins(&self) -> Result<(), LayerError> {
        if self.pins.allow(self.peer_certificates()) {
            return Ok(());
        }
        Err(LayerError::new(LayerErrorKind::Handshake, "certificate not pinned"))
    }

    fn stream_error(&self, text: String) -> LayerError {
        LayerError::new(LayerErrorKind::Stream, text)
    }

    fn encrypt(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        // Complete records were taken by `on_read`; passing the rest keeps rustls' view of it intact.
        let mut unexpected = Vec::new();
        let drive = self.conn.drive(&mut self.partial, &mut unexpected, wire, plain);
        drive.result.map_err(|error| self.stream_error(format!("tls: cannot encrypt: {error}")))?;
        debug_assert!(unexpected.is_empty());
        self.partial.drain(..drive.used);
        Ok(())
    }
}

impl Layer for TlsSession {
    fn on_read(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Progress, LayerError> {
        if self.phase == Phase::Failed {
            return Err(self.stream_error("tls: the session has failed before".to_owned()));
        }
        if self.phase == Phase::Fresh {
            match input.first() {
                None => return Ok(Progress::Handshaking),
                Some(&CONTENT_TYPE_HANDSHAKE | &CONTENT_TYPE_ALERT) => self.phase = Phase::Handshaking,
                Some(_) => {
                    self.phase = Phase::Failed;
                    let is_http =
                        self.carries_http && HTTP_STARTS.iter().any(|start| input.starts_with(start));
                    let text = if is_http {
                        wire.extend_from_slice(HTTP_WITHOUT_TLS);
                        "client sent an HTTP request to an HTTPS server"
                    } else {
                        "tls: first record does not look like a TLS handshake"
                    };
                    return Err(LayerError::new(LayerErrorKind::NotThisLayer, text));
                }
            }
        }
        let before = plain.len();
        if self.phase != Phase::Vetting {
            plain.append(&mut self.early);
        }
        let result = self.take_input(input, plain, wire).and_then(|()| {
            if self.phase == Phase::Open && !self.held.is_empty() {
                let held = std::mem::take(&mut self.held);
                self.encrypt(&held, wire)?;
            }
            Ok(())
        });
        if let Err(error) = result {
            self.phase = Phase::Failed;
            plain.truncate(before);
            return Err(error);
        }
        Ok(match self.phase {
            Phase::Vetting => {
                self.early.extend(plain.drain(before..));
                Progress::Vetting
            }
            Phase::PeerClosed => Progress::PeerClosed,
            Phase::Open => Progress::Open,
            Phase::Fresh | Phase::Handshaking | Phase::Failed => Progress::Handshaking,
        })
    }

    fn on_write(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        match self.phase {
            Phase::Open | Phase::PeerClosed => self.encrypt(plain, wire),
            Phase::Failed => Err(self.stream_error("tls: the session has failed before".to_owned())),
            Phase::Fresh | Phase::Handshaking | Phase::Vetting
                if self.held.len() + plain.len() > HELD_BYTES_MAX =>
            {
                Err(self.stream_error("tls: too much was written during the handshake".to_owned()))
            }
            Phase::Fresh | Phase::Handshaking | Phase::Vetting => {
                self.held.extend_from_slice(plain);
                Ok(())
            }
        }
    }

    fn on_close(&mut self, _reason: ClosedReason, wire: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Vetting | Phase::Open | Phase::PeerClosed) {
            self.conn.close(&mut self.partial, wire);
        }
    }

    fn tls(&self) -> Option<TlsFacts> {
        let details = self.details()?;
        let chain = self.peer_certificates().iter().map(|c| c.to_vec()).collect();
        Some(TlsFacts {
            version: details.version,
            cipher_suite: details.cipher_suite,
            peer_certificates: chain,
        })
    }

    fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Handshaking | Phase::Vetting)
    }

    fn admit(&mut self) {
        if self.phase == Phase::Vetting {
            self.phase = if self.closed_early { Phase::PeerClosed } else { Phase::Open };
        }
    }

    fn refuse(self: Box<Self>, wire: &mut Vec<u8>) {
        if let Conn::Server(conn) = self.conn {
            wire.extend(super::alert::bad_certificate(*conn).unwrap_or_default());
        }
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// How many bytes of `input` complete the record that `partial` starts.
fn missing_bytes(partial: &[u8], input: &[u8]) -> usize {
    let at = |index: usize| partial.get(index).or_else(|| input.get(index - partial.len())).copied();
    let (Some(high), Some(low)) = (at(3), at(4)) else { return input.len() };
    let record_bytes = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    // A longer `partial` is a handshake message over several records: it wants all there is.
    record_bytes.checked_sub(partial.len()).map_or(input.len(), |missing| missing.min(input.len()))
}

fn setup_error(error: rustls::Error) -> LayerError {
    LayerError::new(LayerErrorKind::Handshake, format!("tls: cannot start a session: {error}"))
}
