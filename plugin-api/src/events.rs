//! Events of the server that plugins may watch.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Told about what happened, after it happened. Called from many threads: do not block.
pub trait EventObserver: Send + Sync + 'static {
    fn on_event(&self, event: &Event);

    /// Whether to be told of what happens to a connection of an account (empty when it has none yet). Asked each time,
    /// since saying what happened costs far more than asking. Events that are not of connections always come.
    /// Since 1.5.
    fn wants(&self, what: ConnectionEvent, account: &str) -> bool {
        let _ = (what, account);
        true
    }
}

/// The events of connections, for [`EventObserver::wants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    Connected,
    Disconnected,
    Refused,
}

impl ConnectionEvent {
    const ALL: [Self; 3] = [Self::Connected, Self::Disconnected, Self::Refused];

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// `None` for one of a newer host.
    pub(crate) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What happened. A kind from a newer host reads as [`Event::Unknown`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A connection is authenticated and bound to its account. One that says CONNECT again for another account has
    /// the one it comes from as `previous_account` in `extra`.
    Connected {
        connection: ConnectionFacts,
    },
    Disconnected {
        connection: ConnectionFacts,
        reason: String,
    },
    /// Authentication failed, at CONNECT or after a reload. `Disconnected` follows. `asked_plugins` in `extra` says
    /// whether authenticators of plugins had a say.
    Refused {
        connection: ConnectionFacts,
        reason: String,
    },
    /// By OCSP a certificate in the chain of a TLS peer does not hold. The peer is refused if none of its chains does.
    /// Since 1.5.
    PeerLinkInvalid {
        link: PeerCertificate,
        peer: PeerCertificate,
        reason: String,
    },
    /// The handshake ends here; there is no connection yet. `kind` is that of the peer: `Client`. Since 1.5.
    PeerRefused {
        kind: String,
        peer: PeerCertificate,
        reason: String,
    },
    AccountAdded {
        account: String,
    },
    /// A plugin gave the account another definition. Since 1.5.
    AccountChanged {
        account: String,
    },
    AccountRemoved {
        account: String,
    },
    /// A reload took effect; `changed` names the keys.
    Reloaded {
        changed: Vec<String>,
    },
    LameDuck,
    /// The server stops. Connections are closed, and plugins stopped, after their observers have returned: they may take
    /// a tenth of a second to tell clients.
    Shutdown,
    #[serde(other)]
    Unknown,
}

/// The certificate of a TLS peer, or of who issued it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerCertificate {
    /// `CN=joe,O=acme`
    pub subject: String,
    pub issuer: String,
    /// SHA-256 of `raw`, in base64 as `raw` itself.
    pub fingerprint: String,
    /// DER.
    pub raw: String,
}

/// A connection, as in `connz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionFacts {
    pub id: u64,
    pub kind: String,
    pub remote: String,
    pub account: String,
    pub user: Option<String>,
    pub name: Option<String>,
    /// Whatever else the host knows: counters (`in_msgs`, …), `start_unix_ns`, `rtt_ns`, `ip`, `lang`, `version`,
    /// `type`, `tags`; `auth_user` is who the client says it is. [`crate::Host::connection`] adds `permissions` and
    /// `expires_unix_ns`.
    pub extra: Map<String, Value>,
}
