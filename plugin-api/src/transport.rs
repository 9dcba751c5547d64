//! Listeners with a transport of their own: WebSocket and its like.
//!
//! The host owns the socket, TLS and the NATS protocol. A [`Transport`] is a machine without I/O that turns the
//! bytes on the wire into NATS protocol bytes and back.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// A listening socket that the host opens, and whose connections go through the plugin's transport.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerSpec {
    /// Shown in the log and in errors, as in `websocket`.
    pub name: String,
    /// The kind of the connections, as in `connz` and in `allowed_connection_types`: `websocket`.
    pub kind: String,
    pub host: String,
    /// -1 takes a free port.
    pub port: i32,
    /// A `tls {}` block of the configuration as JSON; `None`: plain.
    pub tls: Option<Value>,
    /// What clients must finish within: TLS, the transport's handshake and CONNECT. `None`: the core's limit.
    pub handshake_timeout_ms: Option<u64>,
    /// What differs from the core for these connections; names are those of the configuration, such as
    /// `no_auth_user`, `username`, `password`, `token`, `auth_timeout`, `proxy_protocol`.
    pub options: Map<String, Value>,
}

/// Facts of an accepted connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    pub connection_id: u64,
    /// `address:port`
    pub remote: String,
    pub local: String,
    pub tls: bool,
}

/// Makes a transport for each accepted connection. Called from many threads.
pub trait TransportFactory: Send + Sync + 'static {
    fn open(&self, peer: &Peer) -> Result<Box<dyn Transport>>;
}

/// One connection's codec. All calls come one after the other, under the connection's outbound lock: never
/// block, and do not call the host from here except to log.
///
/// A panic closes this connection only.
pub trait Transport: Send {
    /// Called once, before anything else; TLS is done. A transport without a handshake says `ready` here.
    fn on_open(&mut self, out: &mut TransportSink<'_>) -> Result<(), Close> {
        let _ = out;
        Ok(())
    }

    /// Bytes came from the socket; how they are cut means nothing. What is left of an unfinished frame is kept
    /// here.
    fn on_read(&mut self, wire: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close>;

    /// The host has NATS protocol bytes for the client. Before `ready` there are none.
    fn on_write(&mut self, plain: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close>;

    /// The connection is about to be closed by the host for `close`; `out.wire` takes last words. `out.plain` is
    /// ignored.
    fn on_close(&mut self, close: &Close, out: &mut TransportSink<'_>);
}

/// Where a transport's output goes. Nothing is kept: everything handed over is used or copied at once.
pub struct TransportSink<'a> {
    out: &'a mut dyn TransportOut,
}

/// What the host (and a test) implements to receive a transport's output.
pub trait TransportOut {
    fn plain(&mut self, bytes: &[u8]);
    fn wire(&mut self, bytes: &[u8]);
    fn ready(&mut self, attributes: Attributes);
}

impl<'a> TransportSink<'a> {
    pub fn new(out: &'a mut dyn TransportOut) -> Self {
        Self { out }
    }

    /// Decoded NATS protocol bytes, for the host to read.
    pub fn plain(&mut self, bytes: &[u8]) {
        self.out.plain(bytes);
    }

    /// Bytes for the socket.
    pub fn wire(&mut self, bytes: &[u8]) {
        self.out.wire(bytes);
    }

    /// The handshake is over: the host now sends INFO. Said once.
    pub fn ready(&mut self, attributes: Attributes) {
        self.out.ready(attributes);
    }
}

/// What a transport's handshake told about the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// The client's own address when a proxy named it.
    pub client_ip: Option<String>,
    /// Credentials that count where CONNECT has none.
    pub jwt: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
    /// Anything else to show in `connz`.
    pub extra: Map<String, Value>,
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub reason: CloseReason,
    /// What the host logs of it, as an error with the client's name; empty: nothing.
    pub text: String,
}

impl Close {
    pub fn new(reason: CloseReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "{}: {}", self.reason, self.text)
        }
    }
}

macro_rules! close_reasons {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// The reasons of `connz`, numbered and worded as clients and tools know them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum CloseReason { $($name = $number,)* }

        impl CloseReason {
            /// An unknown number, from a newer side, reads as `InternalClient`.
            pub fn from_number(number: u32) -> Self {
                match number { $($number => Self::$name,)* _ => Self::InternalClient }
            }

            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

close_reasons! {
    ClientClosed = 1, "Client Closed";
    AuthenticationTimeout = 2, "Authentication Timeout";
    AuthenticationViolation = 3, "Authentication Failure";
    TlsHandshakeError = 4, "TLS Handshake Failure";
    SlowConsumerPendingBytes = 5, "Slow Consumer (Pending Bytes)";
    SlowConsumerWriteDeadline = 6, "Slow Consumer (Write Deadline)";
    WriteError = 7, "Write Error";
    ReadError = 8, "Read Error";
    ParseError = 9, "Parse Error";
    StaleConnection = 10, "Stale Connection";
    ProtocolViolation = 11, "Protocol Violation";
    BadClientProtocolVersion = 12, "Bad Client Protocol Version";
    WrongPort = 13, "Incorrect Port";
    MaxAccountConnectionsExceeded = 14, "Maximum Account Connections Exceeded";
    MaxConnectionsExceeded = 15, "Maximum Connections Exceeded";
    MaxPayloadExceeded = 16, "Maximum Message Payload Exceeded";
    MaxControlLineExceeded = 17, "Maximum Control Line Exceeded";
    MaxSubscriptionsExceeded = 18, "Maximum Subscriptions Exceeded";
    DuplicateRoute = 19, "Duplicate Route";
    RouteRemoved = 20, "Route Removed";
    ServerShutdown = 21, "Server Shutdown";
    AuthenticationExpired = 22, "Authentication Expired";
    WrongGateway = 23, "Wrong Gateway";
    MissingAccount = 24, "Missing Account";
    Revocation = 25, "Credentials Revoked";
    InternalClient = 26, "Internal Client";
    MsgHeaderViolation = 27, "Message Header Violation";
    NoRespondersRequiresHeaders = 28, "No Responders Requires Headers";
    ClusterNameConflict = 29, "Cluster Name Conflict";
    DuplicateRemoteLeafnodeConnection = 30, "Duplicate Remote LeafNode Connection";
    DuplicateClientId = 31, "Duplicate Client ID";
    DuplicateServerName = 32, "Duplicate Server Name";
    MinimumVersionRequired = 33, "Minimum Version Required";
    ClusterNamesIdentical = 34, "Cluster Names Identical";
    Kicked = 35, "Kicked";
    ProxyNotTrusted = 36, "Proxy Not Trusted";
    ProxyRequired = 37, "Proxy Required";
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What the host answers to a registered listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerFacts {
    pub id: u64,
    /// `address:port` as bound.
    pub address: String,
}
