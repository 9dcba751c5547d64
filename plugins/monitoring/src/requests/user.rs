//! `$SYS.REQ.USER.INFO`: who the asking connection is, and what it may do (SYS-016).

use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{ErrorKind, Host, Result};

/// Of a connection that is gone, or of the server itself, nothing is known.
pub fn info(host: &Host, connection: u64) -> Result<Value> {
    let facts = match host.connection(connection) {
        Ok(facts) => facts,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(json!({ "user": "", "account": "" })),
        Err(error) => return Err(error),
    };
    let text = |name: &str| facts.extra.get(name).and_then(Value::as_str).unwrap_or_default();
    let account = host.account(&facts.account)?;
    let account_name = account.extra.get("name_tag").and_then(Value::as_str).unwrap_or(&facts.account);
    // Users of claims have a key, and a name beside it.
    let user =
        if text("jwt").is_empty() { text("auth_user") } else { facts.user.as_deref().unwrap_or_default() };
    let mut info = json!({ "user": user, "account": facts.account, "account_name": account_name });
    if !text("name_tag").is_empty() {
        info["user_name"] = text("name_tag").into();
    }
    if let Some(permissions) = facts.extra.get("permissions").filter(|permissions| !permissions.is_null()) {
        info["permissions"] = permissions.clone();
    }
    if let Some(expires) = facts.extra.get("expires_unix_ns").and_then(Value::as_u64) {
        info["expires"] = expires.saturating_sub(host.unix_ns()).into();
    }
    Ok(info)
}
