//! What is known of a connection besides its traffic: shown by monitoring, logs and events.

use crate::auth::permissions::Permissions;
use crate::auth::{ConnectionType, TokenFacts};
use crate::log::client_name::{ClientLabel, ClientName};
use crate::tls::peer::PeerCert;
use core::net::SocketAddr;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Facts {
    pub start_unix_ns: u64,
    pub start_ns: u64,
    /// The peer, or what a PROXY header says it is.
    pub ip: String,
    pub port: u16,
    /// The client's own address by the word of a proxy, which anybody may say: for the log only (WS-016).
    pub forwarded_for: Option<Box<str>>,
    /// `nats`, `websocket`, `mqtt`.
    pub client_type: String,
    pub connection_type: ConnectionType,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub account: String,
    /// `user:U`, `nkey:K`, `token` (CORE-251).
    pub user_label: String,
    pub user: String,
    /// Who the client says it is, let in or not (MON-061).
    pub auth_user: String,
    pub nkey: String,
    /// The trusted proxy it came through (AUTH-030).
    pub proxy_key: Option<Arc<str>>,
    /// What an authenticator says of it.
    pub tags: Arc<[String]>,
    pub token: Option<Arc<TokenFacts>>,
    pub permissions: Option<Arc<Permissions>>,
    /// When it may not stay any longer.
    pub expires_unix_ns: Option<u64>,
    pub rtt_ns: u64,
    pub tls_version: String,
    pub tls_cipher: String,
    pub tls_first: bool,
    /// What the client's certificates are, its own first.
    pub tls_peer_certs: Box<[PeerCert]>,
}

impl Facts {
    pub fn new(peer: SocketAddr, now_ns: u64, unix_ns: u64) -> Facts {
        Facts {
            start_unix_ns: unix_ns,
            start_ns: now_ns,
            ip: peer.ip().to_canonical().to_string(),
            port: peer.port(),
            forwarded_for: None,
            client_type: "nats".to_owned(),
            connection_type: ConnectionType::Standard,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            account: String::new(),
            user_label: String::new(),
            user: String::new(),
            auth_user: String::new(),
            nkey: String::new(),
            proxy_key: None,
            tags: Arc::default(),
            token: None,
            permissions: None,
            expires_unix_ns: None,
            rtt_ns: 0,
            tls_version: String::new(),
            tls_cipher: String::new(),
            tls_first: false,
            tls_peer_certs: Box::default(),
        }
    }

    /// `ip:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        match self.ip.contains(':') {
            true => format!("[{}]:{}", self.ip, self.port),
            false => format!("{}:{}", self.ip, self.port),
        }
    }

    /// The start of log lines (CORE-251).
    pub fn label(&self, cid: u64) -> String {
        let label = match self.client_type.as_str() {
            "websocket" => ClientLabel::Websocket,
            "mqtt" => ClientLabel::Mqtt,
            _ => ClientLabel::Client,
        };
        let name = ClientName {
            forwarded_for: self.forwarded_for.as_deref().unwrap_or_default(),
            host: &self.ip,
            port: self.port,
            label,
            id: cid,
            version: &self.version,
            lang: &self.lang,
            name: &self.name,
            account: if self.user_label.is_empty() { "" } else { &self.account },
            user_label: &self.user_label,
        };
        name.to_string()
    }

    /// As the client called itself (MON-061); of one with a JWT, whose key that is.
    pub fn authorized_user(&self) -> &str {
        match &self.token {
            Some(token) if self.auth_user.is_empty() && !token.jwt.is_empty() => &self.user,
            _ => &self.auth_user,
        }
    }
}
