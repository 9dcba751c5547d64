//! The upgrade from HTTP to WebSocket: who is let through, what is answered, what was agreed.
//!
//! Pure: a request's bytes in, a decision with the bytes of the answer out.

use crate::origin::OriginRules;
use crate::request::{HEAD_MAX_BYTES, Request, RequestError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use natsd_plugin_api::Attributes;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::net::IpAddr;
use thiserror::Error;

/// What the configuration says of upgrades.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeRules {
    pub origins: OriginRules,
    pub compression: bool,
    pub cookies: CookieNames,
    /// Lines of `headers {}`, each with its line end.
    pub headers: String,
}

/// Cookies that carry credentials (WS-015).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieNames {
    pub jwt: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
}

/// What to do with the bytes of a client that has not been upgraded.
#[derive(Debug)]
pub enum Decision {
    /// More of the request is to come.
    Wait,
    /// `response` goes out and frames follow.
    Accept { response: String, agreed: Agreed },
    /// `response` goes out, if there is one, and the connection ends.
    Refuse { response: String, why: Refusal },
}

/// What the two sides agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    pub compression: bool,
    /// `Nats-No-Masking` (WS-010).
    pub masked: bool,
    pub browser: Browser,
    pub attributes: Attributes,
}

/// Browsers do better with short frames (WS-009), Safari not with fragments of compressed messages (WS-011).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    None,
    Safari,
    Other,
}

/// Why a request was not upgraded; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("{0}")]
    NotHttp(#[from] RequestError),
    #[error("request method must be GET")]
    Method,
    #[error("'Host' missing in request")]
    Host,
    #[error("invalid value for header 'Upgrade'")]
    Upgrade,
    #[error("invalid value for header 'Connection'")]
    Connection,
    #[error("key missing")]
    KeyMissing,
    #[error("invalid websocket key")]
    Key,
    #[error("invalid version")]
    Version,
    #[error("origin not allowed: {0}")]
    Origin(#[from] crate::origin::OriginError),
    #[error("mqtt websocket endpoint not enabled")]
    Mqtt,
    #[error("leafnode websocket endpoint not enabled")]
    Leafnode,
    #[error("client sent data before handshake is complete")]
    EarlyData,
}

/// Looks at all that a client has sent so far. `tls`: whether it came over TLS.
pub fn decide(received: &[u8], tls: bool, rules: &UpgradeRules) -> Decision {
    let request = match Request::parse(received) {
        Ok(Some(request)) => request,
        Ok(None) => return Decision::Wait,
        Err(why) => return Decision::Refuse { response: malformed(why), why: why.into() },
    };
    let key = match check(&request, tls, rules) {
        Ok(key) => key,
        Err(why) => return Decision::Refuse { response: refusal(&why, request.method), why },
    };
    if request.len < received.len() {
        // WS-004: what was sent before the answer belongs to some other protocol.
        return Decision::Refuse { response: String::new(), why: Refusal::EarlyData };
    }
    let agreed = Agreed {
        compression: rules.compression && offers_compression(&request),
        masked: request.header("Nats-No-Masking") != Some("true"),
        browser: browser(request.header("User-Agent").unwrap_or_default()),
        attributes: attributes(&request, &rules.cookies),
    };
    let response = accepted(key, &agreed, rules);
    if request.path.ends_with("/leafnode") {
        // As the reference: the upgrade succeeds, and nobody is there.
        return Decision::Refuse { response, why: Refusal::Leafnode };
    }
    Decision::Accept { response, agreed }
}

/// What is kept between calls never exceeds this.
pub const RECEIVED_MAX_BYTES: usize = HEAD_MAX_BYTES;

/// The checks in the order of WS-004; answers with the key.
fn check<'a>(request: &Request<'a>, tls: bool, rules: &UpgradeRules) -> Result<&'a str, Refusal> {
    if request.path.ends_with("/mqtt") {
        return Err(Refusal::Mqtt);
    }
    if request.method != "GET" {
        return Err(Refusal::Method);
    }
    if request.host.is_empty() {
        return Err(Refusal::Host);
    }
    if !request.lists("Upgrade", "websocket") {
        return Err(Refusal::Upgrade);
    }
    if !request.lists("Connection", "Upgrade") {
        return Err(Refusal::Connection);
    }
    let key = request.header("Sec-WebSocket-Key").filter(|key| !key.is_empty()).ok_or(Refusal::KeyMissing)?;
    if BASE64.decode(key).map(|key| key.len()) != Ok(16) {
        return Err(Refusal::Key);
    }
    if !request.lists("Sec-WebSocket-Version", "13") {
        return Err(Refusal::Version);
    }
    let origin = ["Origin", "Sec-WebSocket-Origin"]
        .into_iter()
        .filter_map(|name| request.header(name))
        .find(|origin| !origin.is_empty());
    rules.origins.check(origin, request.host, tls)?;
    Ok(key)
}

fn offers_compression(request: &Request<'_>) -> bool {
    let offers = request.headers_named("Sec-WebSocket-Extensions").flat_map(|list| list.split(','));
    offers
        .flat_map(|offer| offer.split(';'))
        .any(|part| part.trim_matches([' ', '\t']).eq_ignore_ascii_case("permessage-deflate"))
}

fn browser(user_agent: &str) -> Browser {
    match user_agent.starts_with("Mozilla/") {
        false => Browser::None,
        // Chrome says `Safari/` too.
        true if user_agent.contains("Version/") && user_agent.contains("Safari/") => Browser::Safari,
        true => Browser::Other,
    }
}

// --- What the request tells of the client ---

fn attributes(request: &Request<'_>, names: &CookieNames) -> Attributes {
    let client_ip = request.header("X-Forwarded-For").filter(|ip| ip.parse::<IpAddr>().is_ok());
    let mut attributes = Attributes { client_ip: client_ip.map(str::to_owned), ..Attributes::default() };
    for (name, value) in request.headers_named("Cookie").flat_map(cookies) {
        let is = |wanted: &Option<String>| wanted.as_deref() == Some(name);
        let place = match () {
            () if is(&names.jwt) => &mut attributes.jwt,
            () if is(&names.user) => &mut attributes.user,
            () if is(&names.password) => &mut attributes.password,
            () if is(&names.token) => &mut attributes.token,
            () => continue,
        };
        *place = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    attributes
}

/// The pairs of a `Cookie` header; what is not well-formed is left out.
fn cookies(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(';').filter_map(|pair| {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let is_well_formed =
            unquoted.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
        (!name.is_empty() && is_well_formed).then_some((name.trim_end_matches([' ', '\t']), unquoted))
    })
}

// --- Answers ---

/// The bytes of WS-006, in its order.
fn accepted(key: &str, agreed: &Agreed, rules: &UpgradeRules) -> String {
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        accept_key(key)
    );
    if agreed.compression {
        response.push_str(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover\r\n",
        );
    }
    if !agreed.masked {
        response.push_str("Nats-No-Masking: true\r\n");
    }
    response.push_str(&rules.headers);
    response.push_str("\r\n");
    response
}

/// The proof that the request was understood (RFC 6455 section 1.3).
fn accept_key(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

/// WS-005: the body says no more than the status.
fn refusal(why: &Refusal, method: &str) -> String {
    let (code, text) = match why {
        Refusal::Method => (405, "Method Not Allowed"),
        Refusal::Origin(_) => (403, "Forbidden"),
        Refusal::Mqtt => (404, "Not Found"),
        _ => (400, "Bad Request"),
    };
    let body: Cow<'_, str> = if method == "HEAD" { "".into() } else { format!("{text}\n").into() };
    format!(
        "HTTP/1.1 {code} {text}\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n\
         X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        text.len() + 1
    )
}

fn malformed(why: RequestError) -> String {
    format!("HTTP/1.1 {why}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{why}")
}

#[cfg(test)]
mod tests;
