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
    /// A trusted proxy vouches for it. Since 1.5.
    pub through_proxy: bool,
    /// What the host's own authentication says, for an authenticator at [`AuthStage::Last`]. Since 1.4.
    pub decided: Option<Decided>,
}

/// How the host's own authentication ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decided {
    pub allowed: bool,
    /// Of one who is allowed.
    pub account: String,
    pub user: String,
    /// Of one who is not allowed: because no trusted proxy vouches for it, as for its user one has to. Since 1.5.
    pub lacks_proxy: bool,
}

/// When an authenticator is asked, and what it needs. Since 1.4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthenticatorOptions {
    pub stage: AuthStage,
    /// INFO shall carry a nonce to sign.
    pub nonce: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthStage {
    /// Before the host's own authentication, which is asked if all of this stage abstain.
    #[default]
    First,
    /// After it: the request says what it decided. If all abstain, that stands.
    Last,
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
// There is one a login, and plugins write it without a box.
#[allow(clippy::large_enum_variant)]
pub enum Verdict {
    /// Not for me: the next one decides.
    Abstain,
    /// The reason goes to the log; the client reads only that it is not allowed.
    Deny {
        reason: String,
    },
    Allow(Identity),
    /// At [`AuthStage::Last`]: what the host decided stands, but these subjects may not be published to.
    /// Since 1.4.
    Keep {
        deny_publish: Vec<String>,
    },
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
    /// What `user` is: `jwt` or `nkey` for a public key, else a name. Since 1.4.
    pub user_kind: String,
    /// Of this connection; the server's and the account's limits hold as well. Since 1.4.
    pub max_subscriptions: Option<u32>,
    /// As above. Since 1.4.
    pub max_payload_bytes: Option<u32>,
    /// The token that proved who it is; shown where nats-server shows it. Since 1.5.
    pub jwt: String,
    /// Whoever has the token can log in with it, so that nobody is shown it. Since 1.5.
    pub bearer: bool,
    /// The key that signed it. Since 1.5.
    pub issuer_key: String,
    /// What the user is called beside its key. Since 1.5.
    pub name_tag: String,
}
