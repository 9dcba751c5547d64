//! INFO (section 2 of core-protocol.md): a part that is the same for all, and a part for each client.

use crate::routing::format::put_number;
use serde::Serialize;

/// What clients are told the server is: they switch features on by it (CORE-012).
pub const VERSION: &str = "2.15.1";
pub const PROTO: u8 = 1;
/// JetStream API level of that version (CORE-006).
pub const API_LEVEL: u8 = 5;

/// The server's part of INFO, in the order of the wire.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    pub server_id: String,
    pub server_name: String,
    pub host: String,
    pub port: u16,
    pub headers: bool,
    pub auth_required: bool,
    pub tls_required: bool,
    pub tls_verify: bool,
    pub tls_available: bool,
    pub max_payload: usize,
    pub jetstream: bool,
    pub xkey: String,
    pub cluster: Option<String>,
    pub connect_urls: Vec<String>,
}

/// The client's part.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo<'a> {
    pub client_id: u64,
    pub client_ip: Option<&'a str>,
    pub nonce: Option<&'a str>,
    pub auth_required: bool,
    pub tls_required: bool,
    pub tls_available: bool,
    pub max_payload: usize,
    pub lame_duck: bool,
    /// Account and whether it is the system's: only in the INFO after the first PONG (CORE-033..035).
    pub connect_info: Option<(&'a str, bool)>,
}

/// Built once for a configuration; each client's line takes a few appends.
#[derive(Clone, Debug, Default)]
pub struct InfoTemplate {
    pub server: ServerInfo,
    head: String,
    /// From `cluster` to the end.
    urls: String,
    tail: String,
}

#[derive(Serialize)]
struct Head<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    go: &'a str,
    host: &'a str,
    port: u16,
    headers: bool,
}

impl InfoTemplate {
    pub fn new(server: ServerInfo) -> Self {
        let head = Head {
            server_id: &server.server_id,
            server_name: &server.server_name,
            version: VERSION,
            proto: PROTO,
            go: "",
            host: &server.host,
            port: server.port,
            headers: server.headers,
        };
        let mut head = serde_json::to_string(&head).unwrap_or_default();
        head.pop();
        let mut urls = String::new();
        if let Some(cluster) = &server.cluster {
            urls.push_str(&format!(",\"cluster\":{}", json(cluster)));
        }
        if !server.connect_urls.is_empty() {
            urls.push_str(&format!(",\"connect_urls\":{}", json(&server.connect_urls)));
        }
        let tail = format!(
            ",\"api_lvl\":{API_LEVEL},\"xkey\":{},\"natsd_version\":\"{}\"}} \r\n",
            json(&server.xkey),
            env!("CARGO_PKG_VERSION")
        );
        InfoTemplate { server, head, urls, tail }
    }

    /// The line for one client.
    pub fn line(&self, client: &ClientInfo) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head.len() + self.urls.len() + self.tail.len() + 256);
        out.extend_from_slice(b"INFO ");
        out.extend_from_slice(self.head.as_bytes());
        flag(&mut out, "auth_required", client.auth_required);
        flag(&mut out, "tls_required", client.tls_required);
        flag(&mut out, "tls_verify", self.server.tls_verify && (client.tls_required || client.tls_available));
        flag(&mut out, "tls_available", client.tls_available);
        number(&mut out, "max_payload", client.max_payload as u64);
        flag(&mut out, "jetstream", self.server.jetstream);
        number(&mut out, "client_id", client.client_id);
        if let Some(ip) = client.client_ip {
            text(&mut out, "client_ip", ip);
        }
        if let Some(nonce) = client.nonce {
            text(&mut out, "nonce", nonce);
        }
        if !client.lame_duck {
            out.extend_from_slice(self.urls.as_bytes());
        }
        flag(&mut out, "ldm", client.lame_duck);
        if let Some((account, is_system)) = client.connect_info {
            flag(&mut out, "connect_info", true);
            out.extend_from_slice(b",\"remote_account\":");
            out.extend_from_slice(json(account).as_bytes());
            flag(&mut out, "acc_is_sys", is_system);
        }
        out.extend_from_slice(self.tail.as_bytes());
        out
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn flag(out: &mut Vec<u8>, name: &str, on: bool) {
    if on {
        key(out, name);
        out.extend_from_slice(b"true");
    }
}

fn number(out: &mut Vec<u8>, name: &str, n: u64) {
    key(out, name);
    put_number(out, n);
}

/// For texts that need no escaping: addresses and nonces.
fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}
