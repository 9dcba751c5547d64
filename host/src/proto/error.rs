//! What a client is told when something goes wrong, and why a connection ended.
//!
//! Client libraries match these texts, so every byte counts (CORE-135). Not here: log texts.

use std::fmt::{self, Display, Formatter};

use super::quote::Quoted;

/// The text of an `-ERR '...'` line (CORE-110 to CORE-134).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrText<'a> {
    UnknownProtocolOperation,
    MaximumControlLine,
    MaximumPayload,
    AuthorizationViolation,
    MaximumConnections,
    InvalidClientProtocol,
    NoRespondersRequiresHeaders,
    AuthenticationTimeout,
    UserAuthenticationExpired,
    AccountAuthenticationExpired,
    UserAuthenticationRevoked,
    SubscribePermission {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
    },
    PublishPermission {
        subject: &'a [u8],
    },
    ReplyPermission {
        reply: &'a [u8],
    },
    TooManyTokens {
        subject: &'a [u8],
    },
    /// A reload or claim update took a standing subscription away.
    SubscriptionRemoved {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    InvalidSubject,
    InvalidPublishSubject,
    MaximumSubscriptions,
    MaximumAccountConnections,
    StaleConnection,
    ConnectionThrottling,
    TlsRequired,
    FailedAccountRegistration,
    WrongPort(WrongPort),
}

/// Which listener a client reached by mistake (CORE-134).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongPort {
    Route,
    LeafNode,
    Gateway,
    Other,
}

impl ErrText<'_> {
    /// Appends the whole line (CORE-105).
    pub fn write_line(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "-ERR '{self}'\r\n");
    }

    /// The whole line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        self.write_line(&mut line);
        line
    }

    /// Whether the connection ends after the line was sent.
    pub fn closes(&self) -> bool {
        !matches!(
            self,
            Self::SubscribePermission { .. }
                | Self::PublishPermission { .. }
                | Self::ReplyPermission { .. }
                | Self::TooManyTokens { .. }
                | Self::SubscriptionRemoved { .. }
                | Self::InvalidSubject
                | Self::InvalidPublishSubject
                | Self::MaximumSubscriptions
                | Self::FailedAccountRegistration
        )
    }
}

impl Display for ErrText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownProtocolOperation => f.write_str("Unknown Protocol Operation"),
            Self::MaximumControlLine => f.write_str("maximum control line exceeded"),
            Self::MaximumPayload => f.write_str("Maximum Payload Violation"),
            Self::AuthorizationViolation => f.write_str("Authorization Violation"),
            Self::MaximumConnections => f.write_str("maximum connections exceeded"),
            Self::InvalidClientProtocol => f.write_str("invalid client protocol"),
            Self::NoRespondersRequiresHeaders => f.write_str("no responders requires headers support"),
            Self::AuthenticationTimeout => f.write_str("Authentication Timeout"),
            Self::UserAuthenticationExpired => f.write_str("User Authentication Expired"),
            Self::AccountAuthenticationExpired => f.write_str("Account Authentication Expired"),
            Self::UserAuthenticationRevoked => f.write_str("User Authentication Revoked"),
            Self::SubscribePermission { subject, queue } => write_subscription(f, subject, queue),
            Self::PublishPermission { subject } => {
                write!(f, "Permissions Violation for Publish to {}", Quoted(subject))
            }
            Self::ReplyPermission { reply } => {
                write!(f, "Permissions Violation for Publish with Reply of {}", Quoted(reply))
            }
            Self::TooManyTokens { subject } => {
                write_subscription(f, subject, None)?;
                f.write_str(", too many tokens")
            }
            Self::SubscriptionRemoved { subject, queue, sid } => {
                write_subscription(f, subject, queue)?;
                write!(f, " (sid {})", Quoted(sid))
            }
            Self::InvalidSubject => f.write_str("Invalid Subject"),
            Self::InvalidPublishSubject => f.write_str("Invalid Publish Subject"),
            Self::MaximumSubscriptions => f.write_str("maximum subscriptions exceeded"),
            Self::MaximumAccountConnections => f.write_str("maximum account active connections exceeded"),
            Self::StaleConnection => f.write_str("Stale Connection"),
            Self::ConnectionThrottling => {
                f.write_str("Connection throttling is active. Please try again later.")
            }
            Self::TlsRequired => f.write_str("Secure Connection - TLS Required"),
            Self::FailedAccountRegistration => f.write_str("Failed Account Registration"),
            Self::WrongPort(port) => f.write_str(match port {
                WrongPort::Route => "attempted to connect to route port",
                WrongPort::LeafNode => "attempted to connect to leaf node port",
                WrongPort::Gateway => "attempted to connect to gateway port",
                WrongPort::Other => "attempted to connect to wrong port",
            }),
        }
    }
}

fn write_subscription(f: &mut Formatter<'_>, subject: &[u8], queue: Option<&[u8]>) -> fmt::Result {
    write!(f, "Permissions Violation for Subscription to {}", Quoted(subject))?;
    match queue {
        Some(queue) => write!(f, " using queue {}", Quoted(queue)),
        None => Ok(()),
    }
}

/// Why a connection ended, as connz and disconnect events say it (CORE-260).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedReason {
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
    IncorrectPort,
    MaximumAccountConnections,
    MaximumConnections,
    MaximumMessagePayload,
    MaximumControlLine,
    MaximumSubscriptions,
    DuplicateRoute,
    RouteRemoved,
    ServerShutdown,
    AuthenticationExpired,
    WrongGateway,
    MissingAccount,
    CredentialsRevoked,
    InternalClient,
    MessageHeaderViolation,
    NoRespondersRequiresHeaders,
    ClusterNameConflict,
    DuplicateRemoteLeafNode,
    DuplicateClientId,
    DuplicateServerName,
    MinimumVersionRequired,
    ClusterNamesIdentical,
    Kicked,
    ProxyNotTrusted,
    ProxyRequired,
    Unknown,
}

impl ClosedReason {
    /// All reasons.
    pub const ALL: [ClosedReason; 38] = [
        Self::ClientClosed,
        Self::AuthenticationTimeout,
        Self::AuthenticationFailure,
        Self::TlsHandshakeFailure,
        Self::SlowConsumerPendingBytes,
        Self::SlowConsumerWriteDeadline,
        Self::WriteError,
        Self::ReadError,
        Self::ParseError,
        Self::StaleConnection,
        Self::ProtocolViolation,
        Self::BadClientProtocolVersion,
        Self::IncorrectPort,
        Self::MaximumAccountConnections,
        Self::MaximumConnections,
        Self::MaximumMessagePayload,
        Self::MaximumControlLine,
        Self::MaximumSubscriptions,
        Self::DuplicateRoute,
        Self::RouteRemoved,
        Self::ServerShutdown,
        Self::AuthenticationExpired,
        Self::WrongGateway,
        Self::MissingAccount,
        Self::CredentialsRevoked,
        Self::InternalClient,
        Self::MessageHeaderViolation,
        Self::NoRespondersRequiresHeaders,
        Self::ClusterNameConflict,
        Self::DuplicateRemoteLeafNode,
        Self::DuplicateClientId,
        Self::DuplicateServerName,
        Self::MinimumVersionRequired,
        Self::ClusterNamesIdentical,
        Self::Kicked,
        Self::ProxyNotTrusted,
        Self::ProxyRequired,
        Self::Unknown,
    ];

    pub fn by_text(text: &str) -> Option<ClosedReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::TlsHandshakeFailure => "TLS Handshake Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::IncorrectPort => "Incorrect Port",
            Self::MaximumAccountConnections => "Maximum Account Connections Exceeded",
            Self::MaximumConnections => "Maximum Connections Exceeded",
            Self::MaximumMessagePayload => "Maximum Message Payload Exceeded",
            Self::MaximumControlLine => "Maximum Control Line Exceeded",
            Self::MaximumSubscriptions => "Maximum Subscriptions Exceeded",
            Self::DuplicateRoute => "Duplicate Route",
            Self::RouteRemoved => "Route Removed",
            Self::ServerShutdown => "Server Shutdown",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::WrongGateway => "Wrong Gateway",
            Self::MissingAccount => "Missing Account",
            Self::CredentialsRevoked => "Credentials Revoked",
            Self::InternalClient => "Internal Client",
            Self::MessageHeaderViolation => "Message Header Violation",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::ClusterNameConflict => "Cluster Name Conflict",
            Self::DuplicateRemoteLeafNode => "Duplicate Remote LeafNode Connection",
            Self::DuplicateClientId => "Duplicate Client ID",
            Self::DuplicateServerName => "Duplicate Server Name",
            Self::MinimumVersionRequired => "Minimum Version Required",
            Self::ClusterNamesIdentical => "Cluster Names Identical",
            Self::Kicked => "Kicked",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::ProxyRequired => "Proxy Required",
            Self::Unknown => "Unknown State",
        }
    }

    /// Nothing is flushed any more (CORE-215).
    pub fn is_abrupt(self) -> bool {
        matches!(
            self,
            Self::ReadError
                | Self::WriteError
                | Self::SlowConsumerPendingBytes
                | Self::SlowConsumerWriteDeadline
                | Self::TlsHandshakeFailure
        )
    }

    /// The status of the websocket close frame; its text is `as_str` (CORE-263).
    pub fn websocket_close_code(self) -> u16 {
        match self {
            Self::ClientClosed => 1000,
            Self::WriteError | Self::ReadError | Self::StaleConnection | Self::ServerShutdown => 1001,
            Self::ParseError | Self::ProtocolViolation | Self::BadClientProtocolVersion => 1002,
            Self::AuthenticationTimeout
            | Self::AuthenticationFailure
            | Self::AuthenticationExpired
            | Self::SlowConsumerPendingBytes
            | Self::SlowConsumerWriteDeadline
            | Self::MaximumAccountConnections
            | Self::MaximumConnections
            | Self::MaximumControlLine
            | Self::MaximumSubscriptions
            | Self::MissingAccount
            | Self::CredentialsRevoked => 1008,
            Self::MaximumMessagePayload => 1009,
            Self::TlsHandshakeFailure => 1015,
            _ => 1011,
        }
    }
}

impl Display for ClosedReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: ErrText<'_>) -> String {
        let mut out = Vec::new();
        text.write_line(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn lines_are_exact() {
        // CORE-105, CORE-111, CORE-121 to CORE-125
        assert_eq!(line(ErrText::MaximumControlLine), "-ERR 'maximum control line exceeded'\r\n");
        assert_eq!(
            line(ErrText::SubscribePermission { subject: b"q.foo", queue: Some(b"q2") }),
            "-ERR 'Permissions Violation for Subscription to \"q.foo\" using queue \"q2\"'\r\n"
        );
        assert_eq!(
            line(ErrText::PublishPermission { subject: b"\"x" }),
            "-ERR 'Permissions Violation for Publish to \"\\\"x\"'\r\n"
        );
        assert_eq!(
            line(ErrText::ReplyPermission { reply: b"_R_.a" }),
            "-ERR 'Permissions Violation for Publish with Reply of \"_R_.a\"'\r\n"
        );
        assert_eq!(
            line(ErrText::TooManyTokens { subject: b"a.b" }),
            "-ERR 'Permissions Violation for Subscription to \"a.b\", too many tokens'\r\n"
        );
        assert_eq!(
            line(ErrText::SubscriptionRemoved { subject: b"a", queue: Some(b"q"), sid: b"7" }),
            "-ERR 'Permissions Violation for Subscription to \"a\" using queue \"q\" (sid \"7\")'\r\n"
        );
    }

    #[test]
    fn permission_and_subject_errors_leave_the_connection_open() {
        // The third column of the table in core-protocol.md section 7.
        for text in [
            ErrText::SubscribePermission { subject: b"a", queue: None },
            ErrText::PublishPermission { subject: b"a" },
            ErrText::ReplyPermission { reply: b"a" },
            ErrText::TooManyTokens { subject: b"a" },
            ErrText::SubscriptionRemoved { subject: b"a", queue: None, sid: b"1" },
            ErrText::InvalidSubject,
            ErrText::InvalidPublishSubject,
            ErrText::MaximumSubscriptions,
        ] {
            assert!(!text.closes(), "{text}");
        }
        for text in [
            ErrText::UnknownProtocolOperation,
            ErrText::MaximumPayload,
            ErrText::AuthorizationViolation,
            ErrText::StaleConnection,
            ErrText::WrongPort(WrongPort::Route),
        ] {
            assert!(text.closes(), "{text}");
        }
    }

    #[test]
    fn websocket_close_codes_follow_the_reason() {
        // CORE-263
        assert_eq!(ClosedReason::ClientClosed.websocket_close_code(), 1000);
        assert_eq!(ClosedReason::ServerShutdown.websocket_close_code(), 1001);
        assert_eq!(ClosedReason::ProtocolViolation.websocket_close_code(), 1002);
        assert_eq!(ClosedReason::SlowConsumerPendingBytes.websocket_close_code(), 1008);
        assert_eq!(ClosedReason::MaximumMessagePayload.websocket_close_code(), 1009);
        assert_eq!(ClosedReason::TlsHandshakeFailure.websocket_close_code(), 1015);
        assert_eq!(ClosedReason::Kicked.websocket_close_code(), 1011);
    }
}
