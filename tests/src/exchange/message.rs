//! Messages as they are recorded: what differs from run to run is replaced by what it is.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{normalise, text};

/// What a request that crosses accounts says of its requestor.
const REQUEST_INFO: &str = "Nats-Request-Info: ";
const SERVICE_REPLY: &str = "_R_.";

/// The reply of MSG or HMSG.
pub fn reply(op: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(op);
    let words: Vec<&str> = line.split("\r\n").next()?.split_whitespace().collect();
    let sizes = if words.first() == Some(&"HMSG") { 2 } else { 1 };
    (words.len() == 4 + sizes).then(|| words[3].to_owned())
}

/// A message with a reply or headers that a server made up for another account.
pub fn is_across_accounts(op: &[u8]) -> bool {
    let op = String::from_utf8_lossy(op);
    op.contains(SERVICE_REPLY) || op.contains(REQUEST_INFO)
}

/// The same without random tokens, times, and sizes that depend on them.
pub fn across_accounts(op: &[u8]) -> String {
    let op = String::from_utf8_lossy(op);
    let Some((line, body)) = op.split_once("\r\n") else { return without_random(&op) };
    let mut words: Vec<String> = line.split_whitespace().map(without_random).collect();
    if words[0] == "HMSG" && body.contains(REQUEST_INFO) {
        words.truncate(words.len() - 2);
        words.push("<sizes>".to_owned());
    }
    format!("{}\\r\\n{}", words.join(" "), headers(body))
}

/// Lines of headers and of a payload, with what is said of a requestor normalised.
fn headers(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix(REQUEST_INFO) {
        Some(json) => format!("{REQUEST_INFO}{}", normalise::json_payload(json)),
        None => without_random(&text::escape(line.as_bytes())),
    };
    text.split("\r\n").map(line).collect::<Vec<_>>().join("\\r\\n")
}

/// `_R_.AbCdEf.GhIjKl` as `_R_.<6>.<6>`, wherever it stands.
fn without_random(text: &str) -> String {
    let Some((before, rest)) = text.split_once(SERVICE_REPLY) else { return text.to_owned() };
    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'));
    let (tokens, after) = rest.split_at(end.unwrap_or(rest.len()));
    let shown = tokens.split('.').map(|token| match token.len() {
        1 => token.to_owned(),
        len => format!("<{len}>"),
    });
    format!("{before}{SERVICE_REPLY}{}{after}", shown.collect::<Vec<_>>().join("."))
}

fn without_random_all(text: &str) -> String {
    text.split('"').map(without_random).collect::<Vec<_>>().join("\"")
}

/// What a message with a token says, the token's claims in its place.
pub fn with_token(op: &[u8]) -> Option<String> {
    let op = String::from_utf8_lossy(op);
    let (line, body) = op.split_once("\r\n")?;
    let claims = token_claims(body.trim_end())?;
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    words.pop();
    for word in words.iter_mut().filter(|word| word.starts_with("$SYS._INBOX.")) {
        "$SYS._INBOX.<reply>".clone_into(word);
    }
    Some(format!("{} <size>\\r\\n{}", words.join(" "), normalise::json_payload(&claims)))
}

fn token_claims(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('.').collect();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(parts.get(1).filter(|_| parts.len() == 3)?).ok()?;
    let mut claims: Value = serde_json::from_slice(&claims).ok()?;
    for name in ["exp", "iat", "iss", "jti", "aud"] {
        if let Some(value) = claims.get_mut(name) {
            *value = "*".into();
        }
    }
    // A server without a name has its id as one.
    if let Some(server) = claims.pointer_mut("/nats/server_id/name") {
        *server = "*".into();
    }
    Some(claims.to_string())
}

/// MSG or HMSG with a JSON payload: without identities, and without the size that depends on them.
pub fn json(op: &[u8]) -> String {
    let op = String::from_utf8_lossy(op);
    let Some((line, body)) = op.split_once("\r\n") else { return op.into_owned() };
    // A server may write two blanks where there is no reply (CORE-103).
    let mut words: Vec<String> = line.split_whitespace().map(without_random).collect();
    words.pop();
    let header_len = match words.first().map(String::as_str) {
        Some("HMSG") => words.last().and_then(|len| len.parse().ok()).unwrap_or(0),
        _ => 0,
    };
    let (block, payload) = body.split_at_checked(header_len).unwrap_or((body, ""));
    if block.contains(REQUEST_INFO) {
        words.pop();
    }
    format!(
        "{} <size>\\r\\n{}{}",
        words.join(" "),
        headers(block),
        without_random_all(&normalise::json_payload(payload))
    )
}
