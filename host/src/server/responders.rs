//! Asks OCSP responders (RFC 6960, appendix A).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

use crate::runtime::http::{self, Content};

/// As in nats-server: a POST, and a GET where that fails. The first responder that answers counts.
pub(super) async fn post_or_get(
    responders: &[String],
    request: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let mut failures = Vec::new();
    for responder in responders {
        let url = responder.strip_suffix('/').unwrap_or(responder);
        let (kind, accepts) = ("application/ocsp-request", "application/ocsp-response");
        let posted = http::request(url, Some(Content { bytes: request, kind, accepts }), limit).await;
        match answered("POST", posted) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failures.push(failure),
        }
        match answered("GET", http::request(&with_request(url, request), None, limit).await) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() {
        return Err("no available ocsp servers".to_owned());
    }
    Err(format!("exhausted ocsp servers: {}", failures.join("\n")))
}

/// As nats-server asks about peers: by GET, so that answers may come from caches on the way. What is not an answer at
/// all is left to the next responder.
pub(super) async fn get(responders: &[String], request: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    let mut last = "no available OCSP servers".to_owned();
    for responder in responders {
        crate::log::debug!("Trying OCSP responder url [{responder}]");
        let url = responder.strip_suffix('/').unwrap_or(responder);
        last = match http::request(&with_request(url, request), None, limit).await {
            Ok((200, body)) if body.is_empty() => "an empty answer".to_owned(),
            Ok((200, body)) => return Ok(body),
            Ok((status, _)) => format!("bad OCSP responder http status: [{status}]"),
            Err(error) => error,
        };
    }
    Err(format!("exhausted OCSP responders: {last}"))
}

fn answered(method: &str, answer: Result<(u16, Vec<u8>), String>) -> Result<Vec<u8>, String> {
    match answer {
        Ok((200..=299, body)) => Ok(body),
        Ok((status, _)) => Err(format!("non-ok http status on {method} request: {status}")),
        Err(error) => Err(error),
    }
}

/// The request in the path, with the characters escaped that mean something else there.
fn with_request(url: &str, request: &[u8]) -> String {
    let text = STANDARD.encode(request).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("{url}/{text}")
}
