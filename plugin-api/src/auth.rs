//! Authenticators: who may connect, as whom, and with which rights.

use crate::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Asked for every connection that has sent CONNECT, in the order in which plugins started. The first answer
/// other than [`Verdict::Abstain`] counts; if all abstain, the host's own authentication decides.
///
/// Fails closed: a panic, an error or no answer within the connection's authentication timeout denies.
pub trait Authenticator: Send + Sync + 'static {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'static, Verdict>;
}

/// What is known of the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthRequest {
    pub connection_id: u64,
    /// `client`, `websocket`, …
    pub kind: String,
    /// `address:port`
    pub remote: String,
    /// The fields of CONNECT as sent: `user`, `pass`, `auth_token`, `nkey`, `sig`, `jwt`, `name`, `lang`, …
    pub connect: Map<String, Value>,
    /// What INFO offered to sign.
    pub nonce: Option<String>,
    pub tls: bool,
    /// The client's chain, leaf first, DER in base64.
    pub peer_certificates: Vec<String>,
    pub server_id: String,
    pub server_name: String,
}

impl AuthRequest {
    /// A text field of CONNECT.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.connect.get(name)?.as_str()
    }

    pub fn user(&self) -> Option<&str> {
        self.field("user")
    }

    pub fn password(&self) -> Option<&str> {
        self.field("pass")
    }
}

/// An authenticator's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not for me: the next one decides.
    Abstain,
    /// The reason goes to the log; the client reads only that it is not allowed.
    Deny {
        reason: String,
    },
    Allow(Identity),
}

impl Verdict {
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny { reason: reason.into() }
    }
}

/// Who the connection is from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// `None`: the global account. An account that does not exist denies.
    pub account: Option<String>,
    /// Shown in `connz` and in the log.
    pub user: String,
    /// A `permissions {}` block of the configuration as JSON; `None`: everything is allowed.
    pub permissions: Option<Value>,
    /// Nanoseconds since 1970 after which the connection is closed as expired.
    pub expires_unix_ns: Option<u64>,
    /// Upper-case names; empty: all.
    pub allowed_connection_types: Vec<String>,
    /// Labels for `connz`.
    pub tags: Vec<String>,
}
