//! What every connection shares of its server.

use super::crossing::Crossing;
use super::registry::Registry;
use super::session::ListenerFacts;
use crate::account::Accounts;
use crate::auth::{Authenticator, CertificateFacts, ConnectionType, ConnectionTypes, Identity};
use crate::config::options::Options;
use crate::proto::connect::Connect;
use crate::proto::error::ClosedReason;
use crate::proto::info::InfoTemplate;
use crate::runtime::Mutex;
use crate::tls::peers::CheckPeer;
use crate::tls::rate::HandshakeRate;
use crate::tls::server::TlsServer;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};

pub struct Context {
    pub server: ServerFacts,
    pub options: ArcSwap<Options>,
    pub accounts: Accounts,
    pub registry: Registry,
    /// Services that accounts import.
    pub crossing: Crossing,
    pub info: ArcSwap<InfoTemplate>,
    authenticator: ArcSwap<Authenticator>,
    pub tls: ArcSwapOption<TlsServer>,
    /// `connection_rate_limit` (CORE-233).
    pub tls_rate: Mutex<Option<HandshakeRate>>,
    /// Of plugins: gone once they are closed and nobody is connected through them.
    pub listeners: Mutex<Vec<Weak<ListenerFacts>>>,
    pub slow_consumers: AtomicU64,
    pub stale_connections: AtomicU64,
    pub lame_duck: AtomicBool,
    /// Plugins that are told what becomes of messages with a sampled `traceparent`.
    pub trace_listeners: AtomicUsize,
    pub hooks: std::sync::OnceLock<Box<dyn Hooks>>,
    /// Who checks peers by OCSP.
    pub peer_check: std::sync::OnceLock<Arc<dyn CheckPeer>>,
}

/// What a server calls itself in the events it publishes.
#[derive(Default)]
pub struct ServerFacts {
    pub id: String,
    pub name: String,
    /// The number of its last event.
    pub last_event: AtomicU64,
}

/// A client that asks to be let in, as plugins are told.
pub struct LoginFacts {
    pub connect: Connect,
    pub cid: u64,
    pub nonce: Option<Box<str>>,
    pub connection_type: ConnectionType,
    pub client_type: String,
    pub remote: String,
    pub peer_certificates: Vec<Vec<u8>>,
    /// The trusted proxy that it came through (AUTH-030).
    pub proxy_key: Option<Arc<str>>,
}

impl LoginFacts {
    /// What the client's own certificate says; `None` too if it cannot be read.
    pub fn certificate(&self) -> Option<CertificateFacts> {
        CertificateFacts::from_der(self.peer_certificates.first()?).ok()
    }
}

/// What plugins say to a client.
pub enum PluginVerdict {
    Abstain,
    /// Let in, until a time if one is given.
    Allow(Identity, Option<u64>),
    /// Refused; the text is for the log.
    Deny(String),
    /// What the server itself decided stands, but for these subjects.
    Keep {
        deny_publish: Vec<String>,
    },
}

/// How the server itself decided: let in, or not and why.
pub type OwnDecision<'a> = Result<&'a Identity, ClosedReason>;

/// What plugins add to connections; set once when they are loaded.
pub trait Hooks: Send + Sync {
    /// Asks the authenticators of plugins: those before the server's own authentication, or those after it.
    fn authenticate<'a>(
        &'a self,
        facts: &'a LoginFacts,
        decided: Option<OwnDecision<'a>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = PluginVerdict> + Send + 'a>>;

    /// Some plugin's authenticator has a say.
    fn has_authenticators(&self, stage: natsd_plugin_api::AuthStage) -> bool;

    /// Some authenticator wants a nonce signed.
    fn needs_nonce(&self) -> bool;

    /// `before`: the account that it was in until now, if this is not its first CONNECT.
    fn connected(&self, connection: &super::Connection, before: Option<&str>);

    fn disconnected(&self, connection: &super::Connection, reason: ClosedReason);

    /// Who the client is did not count, at CONNECT or after a reload; it is about to be disconnected.
    fn refused(&self, connection: &super::Connection, reason: ClosedReason);
}

impl Context {
    pub fn new(
        server: ServerFacts,
        options: Options,
        info: InfoTemplate,
        authenticator: Authenticator,
        tls: Option<TlsServer>,
    ) -> Self {
        let rate = options.tls.as_ref().and_then(|t| t.connection_rate_limit);
        Context {
            server,
            accounts: Accounts::default(),
            crossing: Crossing::default(),
            registry: Registry::new(options.limits.max_closed_clients),
            tls_rate: Mutex::new(rate.map(HandshakeRate::new)),
            listeners: Mutex::default(),
            options: ArcSwap::from_pointee(options),
            info: ArcSwap::from_pointee(info),
            authenticator: ArcSwap::from_pointee(authenticator),
            tls: ArcSwapOption::from(tls.map(Arc::new)),
            slow_consumers: AtomicU64::new(0),
            stale_connections: AtomicU64::new(0),
            lame_duck: AtomicBool::new(false),
            trace_listeners: AtomicUsize::new(0),
            hooks: std::sync::OnceLock::new(),
            peer_check: std::sync::OnceLock::new(),
        }
    }

    pub fn authenticator(&self) -> Arc<Authenticator> {
        self.authenticator.load_full()
    }

    /// The connections that plugins' listeners map by certificate (AUTH-006).
    pub fn mapped_types(&self) -> ConnectionTypes {
        let listeners = self.listeners.lock();
        let mapping =
            listeners.iter().filter_map(Weak::upgrade).filter(|l| l.maps_certificates.load(Relaxed));
        mapping.filter_map(|listener| ConnectionType::parse(&listener.kind)).collect()
    }

    pub fn set_authenticator(&self, authenticator: Authenticator) {
        self.authenticator.store(Arc::new(authenticator));
    }
}
