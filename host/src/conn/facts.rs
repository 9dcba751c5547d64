//! What is known of a connection besides its traffic: shown by monitoring, logs and events.

use std::net::SocketAddr;

/// Connection types of CORE-252 that the host itself knows; plugins bring others by name.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub start_unix_ns: u64,
    pub start_ns: u64,
    /// The peer, or what a PROXY header or a transport says it is.
    pub ip: String,
    pub port: u16,
    /// `nats`, `websocket`, `mqtt`.
    pub client_type: String,
    /// A name of CORE-252.
    pub connection_type: String,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub account: String,
    /// `user:U`, `nkey:K`, `token` (CORE-251).
    pub user_label: String,
    pub user: String,
    pub nkey: String,
    pub rtt_ns: u64,
    pub tls_version: String,
    pub tls_cipher: String,
    pub tls_first: bool,
    pub last_activity_unix_ns: u64,
}

impl Facts {
    pub fn new(peer: SocketAddr, now_ns: u64, unix_ns: u64) -> Facts {
        Facts {
            start_unix_ns: unix_ns,
            start_ns: now_ns,
            ip: peer.ip().to_canonical().to_string(),
            port: peer.port(),
            client_type: "nats".to_owned(),
            connection_type: "STANDARD".to_owned(),
            last_activity_unix_ns: unix_ns,
            ..Facts::default()
        }
    }

    /// The start of log lines (CORE-251).
    pub fn label(&self, cid: u64) -> String {
        let id = if self.client_type == "websocket" { "wid" } else { "cid" };
        let mut label = match self.ip.contains(':') {
            true => format!("[{}]:{} - {id}:{cid}", self.ip, self.port),
            false => format!("{}:{} - {id}:{cid}", self.ip, self.port),
        };
        if !self.lang.is_empty() || !self.name.is_empty() || !self.version.is_empty() {
            label.push_str(&format!(" - {:?}", self.client_text()));
        }
        if !self.account.is_empty() && !self.user_label.is_empty() {
            label.push_str(&format!(" - \"{}/{}\"", self.account, self.user_label));
        }
        label
    }

    fn client_text(&self) -> String {
        let mut text = String::new();
        if !self.version.is_empty() {
            text = format!("v{}", self.version);
        }
        for part in [&self.lang, &self.name] {
            if !part.is_empty() {
                if !text.is_empty() {
                    text.push(':');
                }
                text.push_str(part);
            }
        }
        text
    }
}
