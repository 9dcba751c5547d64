//! One TLS connection as a `Layer`: bytes in, bytes out.
//!
//! Uses rustls without its buffers, so that records are decrypted where they were read and encrypted
//! straight behind each other. Not here: keys and policy (`server`, `client`), timeouts and sockets.

use std::fmt;
use std::ops::DerefMut;
use std::sync::Arc;

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};

use super::client::TlsClient;
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
    Open,
    PeerClosed,
    Failed,
}

enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// Most plain bytes that may wait for the end of a handshake; only a few control lines are due then.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes kept for a handshake message in pieces; rustls itself refuses one above 64 KiB.
const PARTIAL_BYTES_MAX: usize = 128 * 1024;
const RECORD_HEADER_BYTES: usize = 5;
const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// No cipher suite that rustls has adds more to a record than this (header, nonce, type and tag).
const RECORD_OVERHEAD_BYTES_MAX: usize = 32;
const CONTENT_TYPE_ALERT: u8 = 0x15;
const CONTENT_TYPE_HANDSHAKE: u8 = 0x16;

/// Whether the first byte of a stream can only be TLS (CORE-232).
pub fn looks_like_tls(first_byte: u8) -> bool {
    first_byte == CONTENT_TYPE_HANDSHAKE
}

impl TlsSession {
    pub fn server(config: &TlsServer) -> Result<Self, LayerError> {
        let conn = UnbufferedServerConnection::new(Arc::clone(&config.config)).map_err(setup_error)?;
        Ok(Self::new(Conn::Server(Box::new(conn)), Phase::Fresh, &config.pins))
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
        TlsSession { conn, phase, pins: Arc::clone(pins), partial: Vec::new(), held: Vec::new() }
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
        if !self.partial.is_empty() {
            taken = missing_bytes(&self.partial, input);
            self.partial.extend_from_slice(&input[..taken]);
            self.drive_partial(plain, wire)?;
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
            self.phase = Phase::Open;
        }
        if peer_closed {
            self.phase = Phase::PeerClosed;
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
                    return Err(LayerError::new(
                        LayerErrorKind::NotThisLayer,
                        "tls: first record does not look like a TLS handshake",
                    ));
                }
            }
        }
        let before = plain.len();
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
            Phase::PeerClosed => Progress::PeerClosed,
            Phase::Open => Progress::Open,
            Phase::Fresh | Phase::Handshaking | Phase::Failed => Progress::Handshaking,
        })
    }

    fn on_write(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        match self.phase {
            Phase::Open | Phase::PeerClosed => self.encrypt(plain, wire),
            Phase::Failed => Err(self.stream_error("tls: the session has failed before".to_owned())),
            Phase::Fresh | Phase::Handshaking if self.held.len() + plain.len() > HELD_BYTES_MAX => {
                Err(self.stream_error("tls: too much was written during the handshake".to_owned()))
            }
            Phase::Fresh | Phase::Handshaking => {
                self.held.extend_from_slice(plain);
                Ok(())
            }
        }
    }

    fn on_close(&mut self, _reason: ClosedReason, wire: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Open | Phase::PeerClosed) {
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
        matches!(self.phase, Phase::Fresh | Phase::Handshaking)
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

/// What a run of rustls' state machine did.
struct Drive {
    /// Bytes of the input that are done with.
    used: usize,
    peer_closed: bool,
    result: Result<(), rustls::Error>,
}

impl Conn {
    fn common(&self) -> &CommonState {
        match self {
            Conn::Server(conn) => conn,
            Conn::Client(conn) => conn,
        }
    }

    fn drive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>, app: &[u8]) -> Drive {
        match self {
            Conn::Server(conn) => drive(conn.deref_mut().deref_mut(), input, plain, wire, app),
            Conn::Client(conn) => drive(conn.deref_mut().deref_mut(), input, plain, wire, app),
        }
    }

    fn close(&mut self, input: &mut [u8], wire: &mut Vec<u8>) {
        match self {
            Conn::Server(conn) => close(conn.deref_mut().deref_mut(), input, wire),
            Conn::Client(conn) => close(conn.deref_mut().deref_mut(), input, wire),
        }
    }
}

/// The one call that differs between the sides of rustls' unbuffered API.
trait Process: Sized {
    fn process<'c, 'i>(
        conn: &'c mut UnbufferedConnectionCommon<Self>,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self>;
}

impl Process for ServerConnectionData {
    fn process<'c, 'i>(
        conn: &'c mut UnbufferedConnectionCommon<Self>,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        conn.process_tls_records(input)
    }
}

impl Process for ClientConnectionData {
    fn process<'c, 'i>(
        conn: &'c mut UnbufferedConnectionCommon<Self>,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        conn.process_tls_records(input)
    }
}

/// Runs until rustls waits for the wire; encrypts `app` when it may be sent.
fn drive<Data: Process>(
    conn: &mut UnbufferedConnectionCommon<Data>,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
    app: &[u8],
) -> Drive {
    let mut drive = Drive { used: 0, peer_closed: false, result: Ok(()) };
    loop {
        let UnbufferedStatus { discard, state, .. } = Data::process(conn, &mut input[drive.used..]);
        let mut waits = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => plain.extend_from_slice(record.payload),
                        Err(error) => drive.result = Err(error),
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut chunk)) => encode_chunk(&mut chunk, wire),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => drive.peer_closed = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                if !app.is_empty() {
                    drive.result = encrypt(&mut traffic, app, wire);
                }
                waits = true;
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => waits = true,
            // Early data is never offered, and rustls has no further state today.
            Ok(_) => waits = true,
            Err(error) => {
                drive.result = Err(error);
                drive.used += discard;
                flush_alert(conn, &mut input[drive.used..], wire);
                return drive;
            }
        }
        drive.used += discard;
        if waits || drive.result.is_err() {
            return drive;
        }
    }
}

fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    app: &[u8],
    wire: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let mut result = Ok(());
    let records = app.len().div_ceil(RECORD_PLAIN_BYTES_MAX);
    encode(wire, app.len() + records * RECORD_OVERHEAD_BYTES_MAX, |out| match traffic.encrypt(app, out) {
        Ok(written) => Ok(written),
        Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
        Err(EncryptError::EncryptExhausted) => {
            result = Err(rustls::Error::EncryptError);
            Ok(0)
        }
    });
    result
}

fn close<Data: Process>(conn: &mut UnbufferedConnectionCommon<Data>, input: &mut [u8], wire: &mut Vec<u8>) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = Data::process(conn, input).state {
        encode(wire, 2 * RECORD_OVERHEAD_BYTES_MAX, |out| match traffic.queue_close_notify(out) {
            Ok(written) => Ok(written),
            Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
            Err(EncryptError::EncryptExhausted) => Ok(0),
        });
    }
}

/// The alert that tells the peer of an error comes out of the calls after it. Not one call more: rustls
/// would look at the input again.
fn flush_alert<Data: Process>(
    conn: &mut UnbufferedConnectionCommon<Data>,
    input: &mut [u8],
    wire: &mut Vec<u8>,
) {
    let mut used = 0;
    while CommonState::wants_write(conn) {
        let UnbufferedStatus { discard, state, .. } = Data::process(conn, &mut input[used..]);
        let Ok(ConnectionState::EncodeTlsData(mut chunk)) = state else { return };
        encode_chunk(&mut chunk, wire);
        used += discard;
    }
}

fn encode_chunk<Data>(chunk: &mut EncodeTlsData<'_, Data>, wire: &mut Vec<u8>) {
    encode(wire, 0, |out| match chunk.encode(out) {
        Ok(written) => Ok(written),
        Err(EncodeError::InsufficientSize(size)) => Err(size.required_size),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    });
}

/// Lets `write` fill space behind `wire`. It says how much it wrote, or how much it needs.
fn encode(wire: &mut Vec<u8>, estimate: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let start = wire.len();
    wire.resize(start + estimate, 0);
    let mut written = write(&mut wire[start..]);
    if let Err(required) = written {
        wire.resize(start + required, 0);
        written = write(&mut wire[start..]);
    }
    wire.truncate(start + written.unwrap_or(0));
}
