//! What a client is told when something is wrong (section 7), and why connections end (CORE-260).

use super::quote::quoted;
use thiserror::Error;

/// The text of an `-ERR`. Bytes are exact: client libraries match them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtoError {
    #[error("Unknown Protocol Operation")]
    UnknownProtocolOperation,
    #[error("maximum control line exceeded")]
    MaximumControlLineExceeded,
    #[error("Maximum Payload Violation")]
    MaximumPayloadViolation,
    #[error("Authorization Violation")]
    AuthorizationViolation,
    #[error("maximum connections exceeded")]
    MaximumConnectionsExceeded,
    #[error("invalid client protocol")]
    InvalidClientProtocol,
    #[error("no responders requires headers support")]
    NoRespondersRequiresHeaders,
    #[error("Authentication Timeout")]
    AuthenticationTimeout,
    #[error("User Authentication Expired")]
    UserAuthenticationExpired,
    #[error("Permissions Violation for {0}")]
    Permissions(String),
    #[error("Invalid Subject")]
    InvalidSubject,
    #[error("Invalid Publish Subject")]
    InvalidPublishSubject,
    #[error("maximum subscriptions exceeded")]
    MaximumSubscriptionsExceeded,
    #[error("maximum account active connections exceeded")]
    MaximumAccountConnectionsExceeded,
    #[error("Stale Connection")]
    StaleConnection,
    #[error("Connection throttling is active. Please try again later.")]
    ConnectionThrottling,
}

impl ProtoError {
    /// CORE-122.
    pub fn publish_violation(subject: &[u8]) -> Self {
        ProtoError::Permissions(format!("Publish to {}", quoted(subject)))
    }

    /// CORE-123.
    pub fn reply_violation(reply: &[u8]) -> Self {
        ProtoError::Permissions(format!("Publish with Reply of {}", quoted(reply)))
    }

    /// CORE-121.
    pub fn subscription_violation(subject: &[u8], queue: Option<&[u8]>) -> Self {
        let mut text = format!("Subscription to {}", quoted(subject));
        if let Some(queue) = queue {
            text.push_str(&format!(" using queue {}", quoted(queue)));
        }
        ProtoError::Permissions(text)
    }

    /// CORE-125: a subscription that a change of permissions removed.
    pub fn subscription_removed(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> Self {
        match Self::subscription_violation(subject, queue) {
            ProtoError::Permissions(text) => {
                ProtoError::Permissions(format!("{text} (sid {})", quoted(sid)))
            }
            other => other,
        }
    }

    /// CORE-124.
    pub fn too_many_tokens(subject: &[u8]) -> Self {
        ProtoError::Permissions(format!("Subscription to {}, too many tokens", quoted(subject)))
    }

    /// The line of the protocol.
    pub fn line(&self) -> String {
        format!("-ERR '{self}'\r\n")
    }
}

/// Why a connection ended; the texts that connz and events show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClosedReason {
    #[error("Client Closed")]
    ClientClosed,
    #[error("Authentication Timeout")]
    AuthenticationTimeout,
    #[error("Authentication Failure")]
    AuthenticationFailure,
    #[error("TLS Handshake Failure")]
    TlsHandshakeFailure,
    #[error("Slow Consumer (Pending Bytes)")]
    SlowConsumerPendingBytes,
    #[error("Slow Consumer (Write Deadline)")]
    SlowConsumerWriteDeadline,
    #[error("Write Error")]
    WriteError,
    #[error("Read Error")]
    ReadError,
    #[error("Parse Error")]
    ParseError,
    #[error("Stale Connection")]
    StaleConnection,
    #[error("Protocol Violation")]
    ProtocolViolation,
    #[error("Bad Client Protocol Version")]
    BadClientProtocolVersion,
    #[error("Maximum Account Connections Exceeded")]
    MaximumAccountConnectionsExceeded,
    #[error("Maximum Connections Exceeded")]
    MaximumConnectionsExceeded,
    #[error("Maximum Message Payload Exceeded")]
    MaximumPayloadExceeded,
    #[error("Maximum Control Line Exceeded")]
    MaximumControlLineExceeded,
    #[error("Maximum Subscriptions Exceeded")]
    MaximumSubscriptionsExceeded,
    #[error("Server Shutdown")]
    ServerShutdown,
    #[error("Authentication Expired")]
    AuthenticationExpired,
    #[error("Credentials Revoked")]
    CredentialsRevoked,
    #[error("Message Header Violation")]
    MessageHeaderViolation,
    #[error("No Responders Requires Headers")]
    NoRespondersRequiresHeaders,
    #[error("Kicked")]
    Kicked,
    #[error("Proxy Not Trusted")]
    ProxyNotTrusted,
    #[error("Proxy Required")]
    ProxyRequired,
    #[error("Internal Client")]
    InternalClient,
}

impl ClosedReason {
    /// Nothing is flushed any more (CORE-215).
    pub fn is_abrupt(self) -> bool {
        use ClosedReason::*;
        matches!(
            self,
            ReadError | WriteError | SlowConsumerPendingBytes | SlowConsumerWriteDeadline | TlsHandshakeFailure
        )
    }

    /// The WebSocket close code (CORE-263).
    pub fn websocket_code(self) -> u16 {
        use ClosedReason::*;
        match self {
            ClientClosed => 1000,
            AuthenticationTimeout
            | AuthenticationFailure
            | SlowConsumerPendingBytes
            | SlowConsumerWriteDeadline
            | MaximumAccountConnectionsExceeded
            | MaximumConnectionsExceeded
            | MaximumControlLineExceeded
            | MaximumSubscriptionsExceeded
            | AuthenticationExpired
            | CredentialsRevoked
            | Kicked
            | ProxyNotTrusted
            | ProxyRequired => 1008,
            TlsHandshakeFailure => 1015,
            ParseError | ProtocolViolation | BadClientProtocolVersion => 1002,
            MaximumPayloadExceeded => 1009,
            WriteError | ReadError | StaleConnection | ServerShutdown => 1001,
            MessageHeaderViolation | NoRespondersRequiresHeaders | InternalClient => 1011,
        }
    }

    /// By its text; plugins name reasons so.
    pub fn by_text(text: &str) -> Option<ClosedReason> {
        use ClosedReason::*;
        const ALL: [ClosedReason; 26] = [
            ClientClosed,
            AuthenticationTimeout,
            AuthenticationFailure,
            TlsHandshakeFailure,
            SlowConsumerPendingBytes,
            SlowConsumerWriteDeadline,
            WriteError,
            ReadError,
            ParseError,
            StaleConnection,
            ProtocolViolation,
            BadClientProtocolVersion,
            MaximumAccountConnectionsExceeded,
            MaximumConnectionsExceeded,
            MaximumPayloadExceeded,
            MaximumControlLineExceeded,
            MaximumSubscriptionsExceeded,
            ServerShutdown,
            AuthenticationExpired,
            CredentialsRevoked,
            MessageHeaderViolation,
            NoRespondersRequiresHeaders,
            Kicked,
            ProxyNotTrusted,
            ProxyRequired,
            InternalClient,
        ];
        ALL.into_iter().find(|r| r.to_string() == text)
    }
}
