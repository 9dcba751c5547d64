//! What a service answers that decides about logins (CALL-003 to CALL-007), as a case describes it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::jwt::{Key, merged, unix_s};

/// Body of the answer to a request. Of `description`:
/// `by` names the issuer's key; `user` lies over the claims of the user (`null`: none), `user_by` names another
/// issuer for it; `response` lies over the claims of the answer, `nats` over their content; `raw` is sent as it is.
pub fn answer(request: &[u8], description: &Value) -> Result<String, String> {
    if let Some(raw) = description["raw"].as_str() {
        return Ok(raw.to_owned());
    }
    let asked = claims_of(request)?;
    let key_named = |field: &str| description[field].as_str().map(Key::account);
    let by = key_named("by").unwrap_or_else(|| Key::account("issuer"));
    let mut nats = json!({"type": "authorization_response", "version": 2});
    if !description["user"].is_null() {
        let user_by = key_named("user_by").unwrap_or_else(|| by.clone());
        let user = json!({
            "iss": user_by.public(), "sub": asked["nats"]["user_nkey"], "iat": unix_s(), "name": "u",
            "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        });
        nats["jwt"] = user_by.token(merged(user, description["user"].clone())).into();
    }
    if !description["nats"].is_null() {
        nats = merged(nats, description["nats"].clone());
    }
    let claims = json!({
        "iss": by.public(), "sub": asked["nats"]["user_nkey"], "aud": asked["nats"]["server_id"]["id"],
        "iat": unix_s(), "nats": nats
    });
    let over = description["response"].clone();
    Ok(by.token(if over.is_null() { claims } else { merged(claims, over) }))
}

/// The claims of the token in a message.
fn claims_of(request: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(request);
    let token = text.trim_end().rsplit_once("\r\n").ok_or("a request without body")?.1;
    let part = token.split('.').nth(1).ok_or("a request without token")?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string())?;
    serde_json::from_slice(&claims).map_err(|error| error.to_string())
}
