//! The request that a service reads (CALL-003, CALL-004).

use super::Callout;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{AuthRequest, ServerIdentity};

/// The claims, but for `jti`.
pub fn claims(
    callout: &Callout,
    request: &AuthRequest,
    server: &ServerIdentity,
    user: &str,
    unix_s: i64,
) -> Value {
    let host = server.client_address.rsplit_once(':').map_or("", |(host, _)| host);
    let mut server_id =
        json!({"name": server.name, "host": host, "id": server.id, "version": server.version});
    if let Some(tags) = server.extra.get("tags").filter(|tags| tags.as_array().is_some_and(|t| !t.is_empty()))
    {
        server_id["tags"] = tags.clone();
    }
    if !callout.xkey.is_empty() {
        server_id["xkey"] = server.extra.get("xkey").cloned().unwrap_or_default();
    }
    let mut nats = json!({
        "server_id": server_id,
        "user_nkey": user,
        "client_info": client_info(callout, request),
        "connect_opts": connect_opts(request),
    });
    if request.tls {
        nats["client_tls"] = json!({"certs": certificates(request)});
    }
    nats["type"] = "authorization_request".into();
    nats["version"] = 2.into();
    json!({
        "aud": "nats-authorization-request",
        "exp": unix_s.saturating_add(callout.timeout.as_secs() as i64),
        "iat": unix_s,
        "iss": server.id,
        "sub": callout.subject,
        "nats": nats,
    })
}

fn client_info(callout: &Callout, request: &AuthRequest) -> Value {
    let address = request.remote.rsplit_once(':').map_or(request.remote.as_str(), |(host, _)| host);
    let host = address.trim_matches(['[', ']']);
    let mut info = Map::new();
    info.insert("host".to_owned(), host.into());
    info.insert("id".to_owned(), request.connection_id.into());
    let name_tag = callout.token.as_ref().map_or("", |token| &token.name);
    let sent_name = request.field("name").unwrap_or_default();
    for (name, value) in [("user", shown_user(callout, request)), ("name", sent_name), ("name_tag", name_tag)]
    {
        if !value.is_empty() {
            info.insert(name.to_owned(), value.into());
        }
    }
    info.insert("kind".to_owned(), "Client".into());
    let kind = if request.kind == "client" { "nats" } else { &request.kind };
    info.insert("type".to_owned(), kind.into());
    if request.field("sig").is_some_and(|sig| !sig.is_empty()) {
        info.insert("nonce".to_owned(), request.nonce.clone().unwrap_or_default().into());
    }
    info.into()
}

/// Who the client says it is.
pub fn shown_user<'a>(callout: &'a Callout, request: &'a AuthRequest) -> &'a str {
    let sent = ["nkey", "user"].iter().find_map(|name| request.field(name).filter(|text| !text.is_empty()));
    sent.unwrap_or_else(|| callout.token.as_ref().map_or("", |token| &token.user))
}

fn connect_opts(request: &AuthRequest) -> Value {
    let mut options = Map::new();
    for name in ["jwt", "nkey", "sig", "auth_token", "user", "pass", "name", "lang", "version"] {
        if let Some(value) = request.field(name).filter(|value| !value.is_empty()) {
            options.insert(name.to_owned(), value.into());
        }
    }
    options
        .insert("protocol".to_owned(), request.connect.get("protocol").cloned().unwrap_or_else(|| 0.into()));
    options.into()
}

/// As PEM.
fn certificates(request: &AuthRequest) -> Vec<String> {
    let pem = |certificate: &String| {
        let der = BASE64_STANDARD.decode(certificate).unwrap_or_default();
        let text = BASE64_STANDARD.encode(der);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for at in (0..text.len()).step_by(64) {
            pem.push_str(&text[at..text.len().min(at + 64)]);
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    };
    request.peer_certificates.iter().map(pem).collect()
}
