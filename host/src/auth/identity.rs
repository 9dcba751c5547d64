//! Who asks to be let in, and who was let in.
//!
//! Plain data. Not here: the decision (`authenticator`).

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::certificate::CertificateFacts;
use super::credentials::{Secret, bcrypt_matches};
use super::permissions::Permissions;
use crate::proto::connect::Connect;
use crate::proto::error::ClosedReason;
use crate::proto::quote::Quoted;

/// The account of users without one (ACC-001).
pub const GLOBAL_ACCOUNT: &str = "$G";
/// The system account unless the configuration names another.
pub const DEFAULT_SYSTEM_ACCOUNT: &str = "$SYS";

/// How a client is connected; users may be limited to some (CORE-252).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionType {
    Standard,
    Websocket,
    Leafnode,
    LeafnodeWs,
    Mqtt,
    MqttWs,
    InProcess,
}

impl ConnectionType {
    pub const ALL: [Self; 7] = [
        Self::Standard,
        Self::Websocket,
        Self::Leafnode,
        Self::LeafnodeWs,
        Self::Mqtt,
        Self::MqttWs,
        Self::InProcess,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Websocket => "WEBSOCKET",
            Self::Leafnode => "LEAFNODE",
            Self::LeafnodeWs => "LEAFNODE_WS",
            Self::Mqtt => "MQTT",
            Self::MqttWs => "MQTT_WS",
            Self::InProcess => "IN_PROCESS",
        }
    }

    /// Case does not count.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// A set of connection types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTypes(u8);

impl ConnectionTypes {
    pub const NONE: Self = Self(0);

    pub fn contains(self, kind: ConnectionType) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<ConnectionType> for ConnectionTypes {
    fn from_iter<I: IntoIterator<Item = ConnectionType>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u8))
    }
}

/// What a client says about itself. Empty: not said.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub token: &'a str,
    pub nkey: &'a str,
    pub signature: &'a str,
    pub proxy_signature: &'a str,
}

impl<'a> From<&'a Connect> for Credentials<'a> {
    fn from(connect: &'a Connect) -> Self {
        Self {
            user: &connect.user,
            password: &connect.pass,
            token: &connect.auth_token,
            nkey: &connect.nkey,
            signature: &connect.sig,
            proxy_signature: &connect.proxy_sig,
        }
    }
}

/// All that a decision depends on.
#[derive(Clone, Copy)]
pub struct ConnectFacts<'a> {
    pub credentials: Credentials<'a>,
    /// As sent in INFO; empty when none was.
    pub nonce: &'a str,
    pub connection_type: ConnectionType,
    /// The listener has `verify_and_map`: the certificate says who it is (AUTH-020).
    pub maps_certificates: bool,
    pub certificate: Option<&'a CertificateFacts>,
    /// Connections that other listeners map (AUTH-006).
    pub mapped_types: ConnectionTypes,
    /// Credentials of the listener in place of the server's own (AUTH-009).
    pub listener: Option<&'a ListenerAuth>,
}

/// A websocket or MQTT block with its own user, token or `no_auth_user` (AUTH-009).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerAuth {
    pub user: Option<Arc<str>>,
    /// Of `user`.
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub no_auth_user: Option<Arc<str>>,
}

impl ListenerAuth {
    /// A listener that says nothing leaves it to the server.
    pub fn overrides(&self) -> bool {
        self.user.is_some() || self.token.is_some() || self.no_auth_user.is_some()
    }
}

/// A client that was let in.
#[derive(Clone, Debug)]
pub struct Identity {
    pub account: Arc<str>,
    pub label: UserLabel,
    /// `None`: all is allowed.
    pub permissions: Option<Arc<Permissions>>,
    /// The trusted proxy it came through (AUTH-030).
    pub proxy_key: Option<Arc<str>>,
    pub connection_type: ConnectionType,
    /// Labels for monitoring.
    pub tags: Arc<[String]>,
    pub limits: UserLimits,
    /// A plugin denies these beside what the permissions deny.
    pub publish_denied: Arc<[String]>,
    /// What it logged in with, if an authenticator says so.
    pub token: Option<Arc<TokenFacts>>,
    /// Kept to ask again after a reload.
    pub(super) admission: Admission,
}

/// A token by which somebody was let in, for whoever is told of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    pub jwt: String,
    /// The token alone lets in whoever has it.
    pub is_bearer: bool,
    pub issuer_key: String,
    pub name_tag: String,
}

/// What a user's credentials allow one connection, beside the limits of server and account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    pub max_subscriptions: Option<u32>,
    pub max_payload_bytes: Option<u32>,
}

impl Identity {
    /// A client that a plugin's authenticator let in.
    pub fn by_plugin(
        account: Arc<str>,
        label: UserLabel,
        permissions: Option<Arc<Permissions>>,
        connection_type: ConnectionType,
        tags: Vec<String>,
        limits: UserLimits,
    ) -> Self {
        Identity {
            account,
            label,
            permissions,
            proxy_key: None,
            connection_type,
            tags: tags.into(),
            limits,
            publish_denied: Arc::default(),
            token: None,
            admission: Admission::Plugin,
        }
    }

    pub fn is_by_plugin(&self) -> bool {
        self.admission == Admission::Plugin
    }
}

impl Identity {
    /// The same client, who may not publish to these.
    pub fn denying_publish(self, publish_denied: Arc<[String]>) -> Self {
        Identity { publish_denied, ..self }
    }
}

/// What let a client in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing was asked for. `anonymous`: and nothing was sent.
    Open {
        anonymous: bool,
    },
    NoAuthUser,
    Nkey,
    Password(Secret),
    Certificate,
    /// A plugin let it in and answers for it.
    Plugin,
    /// `user` and `password` of the authorization block or listener.
    SingleUser(Secret),
    Token(Secret),
}

/// Who a client is in log lines and connz (CORE-251).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserLabel {
    #[default]
    None,
    Nkey(Arc<str>),
    User(Arc<str>),
    /// The public key in a user JWT.
    Jwt(Arc<str>),
    Token,
}

impl UserLabel {
    /// What the client called itself, believed or not.
    pub(super) fn as_sent(credentials: &Credentials<'_>) -> Self {
        match *credentials {
            Credentials { nkey, .. } if !nkey.is_empty() => Self::Nkey(nkey.into()),
            Credentials { user, .. } if !user.is_empty() => Self::User(user.into()),
            Credentials { token, .. } if !token.is_empty() => Self::Token,
            _ => Self::None,
        }
    }

    /// As a plugin's authenticator says: `jwt`, `nkey`, or a user's name.
    pub fn of_kind(kind: &str, name: &str) -> Self {
        match (kind, name) {
            (_, "") => Self::None,
            ("jwt", key) => Self::Jwt(key.into()),
            ("nkey", key) => Self::Nkey(key.into()),
            (_, name) => Self::User(name.into()),
        }
    }

    /// The name alone, as in connz `authorized_user`; tokens stay secret.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Nkey(name) | Self::User(name) | Self::Jwt(name) => Some(name),
            Self::Token => Some("[REDACTED]"),
        }
    }
}

impl Display for UserLabel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Nkey(key) => write!(f, "nkey:{key}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Jwt(key) => write!(f, "jwt:{key}"),
            Self::Token => f.write_str("token"),
        }
    }
}

/// What becomes of a connection.
#[derive(Debug)]
pub enum Decision {
    Allow(Identity),
    Deny(Denial),
    /// Decided but for a bcrypt hash: run the check in a blocking task.
    NeedsBcrypt(Box<BcryptCheck>),
}

/// What becomes of a connection that was let in, after a reload (CFG-147).
#[derive(Debug)]
pub enum Recheck {
    /// With the permissions of now.
    Keep(Identity),
    /// Close without a word, reason Client Closed.
    AccountChanged,
    /// The user is gone: close without a word.
    Gone,
    Refuse(Denial),
    /// `Deny` of its result means `Refuse`, `Allow` means `Keep`.
    NeedsBcrypt(Box<BcryptCheck>),
}

/// A client that is not let in. To the client all denials look the same (AUTH-004).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reason: DenyReason,
    /// For the debug log; empty when there is nothing to add.
    pub detail: &'static str,
    pub(super) label: UserLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    Authentication,
    ProxyNotTrusted,
    ProxyRequired,
}

impl Denial {
    pub fn closed_reason(&self) -> ClosedReason {
        match self.reason {
            DenyReason::Authentication => ClosedReason::AuthenticationFailure,
            DenyReason::ProxyNotTrusted => ClosedReason::ProxyNotTrusted,
            DenyReason::ProxyRequired => ClosedReason::ProxyRequired,
        }
    }
}

/// The error line of the log (AUTH-004).
impl Display for Denial {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("authentication error")?;
        let (kind, name) = match &self.label {
            UserLabel::None => return Ok(()),
            UserLabel::Nkey(name) => ("Nkey", &**name),
            UserLabel::User(name) => ("User", &**name),
            UserLabel::Jwt(name) => ("JWT User", &**name),
            UserLabel::Token => ("Token", "[REDACTED]"),
        };
        write!(f, " - {kind} {}", Quoted(name.as_bytes()))
    }
}

/// A decision that waits for a bcrypt hash.
#[derive(Debug)]
pub struct BcryptCheck {
    pub(super) hash: Arc<str>,
    pub(super) given: Given,
    pub(super) on_match: Identity,
    pub(super) on_mismatch: Denial,
}

/// What a client sent; kept out of logs.
pub(super) struct Given(pub Arc<str>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl BcryptCheck {
    /// Blocks for milliseconds, or seconds when the hash says so. Never `NeedsBcrypt`.
    pub fn run(self) -> Decision {
        match bcrypt_matches(&self.hash, &self.given.0) {
            true => Decision::Allow(self.on_match),
            false => Decision::Deny(self.on_mismatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_types_have_their_names() {
        // CORE-252
        for kind in ConnectionType::ALL {
            assert_eq!(ConnectionType::parse(kind.name()), Some(kind));
        }
        assert_eq!(ConnectionType::parse("mqtt_ws"), Some(ConnectionType::MqttWs));
        assert_eq!(ConnectionType::parse("FOO"), None);
        let some: ConnectionTypes = [ConnectionType::Mqtt, ConnectionType::InProcess].into_iter().collect();
        assert!(some.contains(ConnectionType::Mqtt) && !some.contains(ConnectionType::Standard));
    }

    #[test]
    fn labels_and_log_lines_are_the_reference_ones() {
        // CORE-251, AUTH-004
        let line =
            |label: UserLabel| Denial { reason: DenyReason::Authentication, detail: "", label }.to_string();
        assert_eq!(line(UserLabel::None), "authentication error");
        assert_eq!(line(UserLabel::User("j\"oe".into())), r#"authentication error - User "j\"oe""#);
        assert_eq!(line(UserLabel::Nkey("UA".into())), r#"authentication error - Nkey "UA""#);
        assert_eq!(line(UserLabel::Token), r#"authentication error - Token "[REDACTED]""#);
        assert_eq!(UserLabel::User("joe".into()).to_string(), "user:joe");
        assert_eq!(UserLabel::Jwt("UA".into()).to_string(), "jwt:UA");
        assert_eq!(UserLabel::Token.to_string(), "token");
    }
}
