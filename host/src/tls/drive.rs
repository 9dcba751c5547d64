//! rustls' state machine of either side, run over bytes that the caller holds.

use std::ops::DerefMut;

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
    WriteTraffic,
};

const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// No cipher suite that rustls has adds more to a record than this (header, nonce, type and tag).
const RECORD_OVERHEAD_BYTES_MAX: usize = 32;

pub(super) enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What a run of rustls' state machine did.
pub(super) struct Drive {
    /// Bytes of the input that are done with.
    pub used: usize,
    pub peer_closed: bool,
    pub result: Result<(), rustls::Error>,
}

impl Conn {
    pub fn common(&self) -> &CommonState {
        match self {
            Conn::Server(conn) => conn,
            Conn::Client(conn) => conn,
        }
    }

    pub fn drive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>, app: &[u8]) -> Drive {
        match self {
            Conn::Server(conn) => drive(conn.deref_mut().deref_mut(), input, plain, wire, app),
            Conn::Client(conn) => drive(conn.deref_mut().deref_mut(), input, plain, wire, app),
        }
    }

    pub fn close(&mut self, input: &mut [u8], wire: &mut Vec<u8>) {
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
