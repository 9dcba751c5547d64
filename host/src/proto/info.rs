//! The INFO line: what the server says about itself to one client (CORE-010 to CORE-037).
//!
//! `InfoTemplate` prepares what is the same for all clients of a listener; writing a client's line is then
//! a few copies. Not here: when INFO is sent, and to whom.

use serde_json::{Map, Value};

use super::json::{write_string, write_u64};

/// What the server is known to speak; clients gate features on it (CORE-012).
pub const COMPATIBLE_VERSION: &str = "2.15.1";

/// Where nats-server names the version of Go that it was built with.
pub fn go_name() -> String {
    format!("natsd {}", env!("CARGO_PKG_VERSION"))
}

/// CORE-001
const PROTOCOL: u64 = 1;

/// What a listener tells all its clients. The order of fields is that of the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerInfo {
    pub server_id: String,
    /// Empty: the server id.
    pub server_name: String,
    /// Empty: left out.
    pub git_commit: String,
    /// Clients of the reference find a compiler version here; they want some text (CORE-015).
    pub go: String,
    pub host: String,
    pub port: u16,
    pub headers: bool,
    pub auth_required: bool,
    pub tls_required: bool,
    pub tls_verify: bool,
    pub tls_available: bool,
    pub jetstream: bool,
    pub cluster: Option<String>,
    pub cluster_dynamic: bool,
    pub domain: Option<String>,
    pub connect_urls: Vec<String>,
    pub lame_duck_mode: bool,
    /// JetStream API level, 0: left out (CORE-036).
    pub api_level: u32,
    /// Public curve key (CORE-037).
    pub xkey: Option<String>,
    /// Fields of plugins that clients do not know. They follow the others.
    pub extra: Map<String, Value>,
}

impl ServerInfo {
    /// Fields of plugins; those that clients know come to their place.
    pub fn add_fields(&mut self, fields: Map<String, Value>) {
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("jetstream", Value::Bool(on)) => self.jetstream = on,
                ("domain", Value::String(domain)) => self.domain = Some(domain),
                (_, value) => drop(self.extra.insert(name, value)),
            }
        }
    }
}

/// What differs from client to client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo<'a> {
    pub client_id: u64,
    /// `None` before a PROXY header told it (CORE-025).
    pub client_ip: Option<&'a str>,
    /// First INFO only (CORE-026).
    pub nonce: Option<&'a str>,
    pub max_payload_bytes: u64,
    /// The first INFO says so when `no_auth_user` applies (CORE-018).
    pub hide_auth_required: bool,
    /// In the answer to the first PING after CONNECT (CORE-033).
    pub connected: Option<ConnectedInfo<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectedInfo<'a> {
    pub account: &'a str,
    pub is_system_account: bool,
}

/// The parts of the line that are the same for every client of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoTemplate {
    /// From `INFO {` up to `headers`.
    head: Box<[u8]>,
    auth_required: bool,
    /// The `tls_*` fields, up to the value of `max_payload`.
    tls: Box<[u8]>,
    /// After `max_payload`, up to the value of `client_id`.
    jetstream: Box<[u8]>,
    /// Cluster, domain, URLs, lame duck mode.
    cluster: Box<[u8]>,
    /// From `api_lvl` to the line's end.
    tail: Box<[u8]>,
    /// JetStream's domain, empty if it has none. `None`: there is no JetStream.
    pub domain: Option<Box<str>>,
}

impl InfoTemplate {
    pub fn new(info: &ServerInfo) -> Self {
        Self {
            head: head(info),
            auth_required: info.auth_required,
            tls: tls(info),
            jetstream: jetstream(info),
            cluster: cluster(info),
            tail: tail(info),
            domain: info.jetstream.then(|| info.domain.as_deref().unwrap_or_default().into()),
        }
    }

    /// Appends the line for one client.
    pub fn write(&self, client: &ClientInfo<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        if self.auth_required && !client.hide_auth_required {
            out.extend_from_slice(b",\"auth_required\":true");
        }
        out.extend_from_slice(&self.tls);
        write_u64(out, client.max_payload_bytes);
        out.extend_from_slice(&self.jetstream);
        if client.client_id != 0 {
            out.extend_from_slice(b",\"client_id\":");
            write_u64(out, client.client_id);
        }
        if let Some(ip) = client.client_ip {
            out.extend_from_slice(b",\"client_ip\":");
            write_string(out, ip);
        }
        if let Some(nonce) = client.nonce {
            out.extend_from_slice(b",\"nonce\":");
            write_string(out, nonce);
        }
        out.extend_from_slice(&self.cluster);
        if let Some(connected) = client.connected {
            out.extend_from_slice(b",\"connect_info\":true,\"remote_account\":");
            write_string(out, connected.account);
            if connected.is_system_account {
                out.extend_from_slice(b",\"acc_is_sys\":true");
            }
        }
        out.extend_from_slice(&self.tail);
    }
}

fn head(info: &ServerInfo) -> Box<[u8]> {
    let server_name = if info.server_name.is_empty() { &info.server_id } else { &info.server_name };
    let mut out = b"INFO {\"server_id\":".to_vec();
    write_string(&mut out, &info.server_id);
    write_text_field(&mut out, "server_name", server_name);
    write_text_field(&mut out, "version", COMPATIBLE_VERSION);
    write_number_field(&mut out, "proto", PROTOCOL);
    if !info.git_commit.is_empty() {
        write_text_field(&mut out, "git_commit", &info.git_commit);
    }
    write_text_field(&mut out, "go", &info.go);
    write_text_field(&mut out, "host", &info.host);
    write_number_field(&mut out, "port", u64::from(info.port));
    out.extend_from_slice(if info.headers { b",\"headers\":true" } else { b",\"headers\":false" });
    out.into()
}

fn tls(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    write_flag(&mut out, "tls_required", info.tls_required);
    write_flag(&mut out, "tls_verify", info.tls_verify);
    write_flag(&mut out, "tls_available", info.tls_available);
    out.extend_from_slice(b",\"max_payload\":");
    out.into()
}

fn jetstream(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    write_flag(&mut out, "jetstream", info.jetstream);
    out.into()
}

fn cluster(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    if let Some(cluster) = &info.cluster {
        write_text_field(&mut out, "cluster", cluster);
    }
    write_flag(&mut out, "cluster_dynamic", info.cluster_dynamic);
    if let Some(domain) = &info.domain {
        write_text_field(&mut out, "domain", domain);
    }
    if !info.connect_urls.is_empty() {
        out.extend_from_slice(b",\"connect_urls\":");
        for (at, url) in info.connect_urls.iter().enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            write_string(&mut out, url);
        }
        out.push(b']');
    }
    write_flag(&mut out, "ldm", info.lame_duck_mode);
    out.into()
}

fn tail(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    if info.api_level != 0 {
        write_number_field(&mut out, "api_lvl", u64::from(info.api_level));
    }
    if let Some(xkey) = &info.xkey {
        write_text_field(&mut out, "xkey", xkey);
    }
    for (name, value) in &info.extra {
        write_name(&mut out, name);
        out.extend_from_slice(value.to_string().as_bytes());
    }
    write_text_field(&mut out, "natsd_version", env!("CARGO_PKG_VERSION"));
    // The space before the line's end is the reference's.
    out.extend_from_slice(b"} \r\n");
    out.into()
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    write_string(out, name);
    out.push(b':');
}

fn write_text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    write_name(out, name);
    write_string(out, text);
}

fn write_number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    write_name(out, name);
    write_u64(out, value);
}

fn write_flag(out: &mut Vec<u8>, name: &str, value: bool) {
    if value {
        write_name(out, name);
        out.extend_from_slice(b"true");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(info: &ServerInfo, client: &ClientInfo<'_>) -> String {
        let mut out = Vec::new();
        InfoTemplate::new(info).write(client, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn plain() -> ServerInfo {
        ServerInfo {
            server_id: "NCX".into(),
            git_commit: "b2fd3ef".into(),
            go: "go1.27.2".into(),
            host: "0.0.0.0".into(),
            port: 4222,
            headers: true,
            api_level: 5,
            xkey: Some("XDR".into()),
            ..ServerInfo::default()
        }
    }

    fn own_tail() -> String {
        format!(",\"natsd_version\":\"{}\"}} \r\n", env!("CARGO_PKG_VERSION"))
    }

    #[test]
    fn a_plain_server_says_what_the_reference_says() {
        // CORE-010 to CORE-037: the expected text was read from nats-server.
        let client = ClientInfo {
            client_id: 5,
            client_ip: Some("127.0.0.1"),
            max_payload_bytes: 1_048_576,
            ..ClientInfo::default()
        };
        let expected = concat!(
            r#"INFO {"server_id":"NCX","server_name":"NCX","version":"2.15.1","proto":1,"#,
            r#""git_commit":"b2fd3ef","go":"go1.27.2","host":"0.0.0.0","port":4222,"headers":true,"#,
            r#""max_payload":1048576,"client_id":5,"client_ip":"127.0.0.1","api_lvl":5,"xkey":"XDR""#,
        );
        assert_eq!(line(&plain(), &client), expected.to_owned() + &own_tail());
    }

    #[test]
    fn every_field_has_its_place() {
        let mut info = ServerInfo {
            server_name: "q<".into(),
            headers: false,
            auth_required: true,
            tls_required: true,
            tls_verify: true,
            tls_available: true,
            cluster: Some("c1".into()),
            cluster_dynamic: true,
            connect_urls: vec!["a:1".into(), "b:2".into()],
            lame_duck_mode: true,
            ..plain()
        };
        let fields = [("plug", Value::from(1)), ("jetstream", true.into()), ("domain", "hub".into())];
        info.add_fields(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let client = ClientInfo {
            client_id: 6,
            client_ip: Some("::1"),
            nonce: Some("b_88CSlxqlsj53g"),
            max_payload_bytes: 10,
            hide_auth_required: false,
            connected: Some(ConnectedInfo { account: "A", is_system_account: true }),
        };
        let expected = concat!(
            r#"INFO {"server_id":"NCX","server_name":"q\u003c","version":"2.15.1","proto":1,"#,
            r#""git_commit":"b2fd3ef","go":"go1.27.2","host":"0.0.0.0","port":4222,"headers":false,"#,
            r#""auth_required":true,"tls_required":true,"tls_verify":true,"tls_available":true,"#,
            r#""max_payload":10,"jetstream":true,"client_id":6,"client_ip":"::1","#,
            r#""nonce":"b_88CSlxqlsj53g","cluster":"c1","cluster_dynamic":true,"domain":"hub","#,
            r#""connect_urls":["a:1","b:2"],"ldm":true,"connect_info":true,"remote_account":"A","#,
            r#""acc_is_sys":true,"api_lvl":5,"xkey":"XDR","plug":1"#,
        );
        assert_eq!(line(&info, &client), expected.to_owned() + &own_tail());
    }

    #[test]
    fn auth_required_is_hidden_from_a_client_that_need_not_authenticate() {
        // CORE-018
        let info = ServerInfo { auth_required: true, ..plain() };
        let client = ClientInfo { hide_auth_required: true, ..ClientInfo::default() };
        assert!(!line(&info, &client).contains("auth_required"));
    }
}
