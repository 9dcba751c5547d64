//! What is wrong with accounts, streams and consumers, for `/healthz` (MON-115, MON-117 to MON-119).
//!
//! One server alone: there is no meta layer that could be behind.

use super::stream;
use crate::server::Server;
use crate::server::account::Account;
use serde_json::{Value, json};

const NOT_FOUND: u64 = 404;
const UNAVAILABLE: u64 = 503;

/// Each has `status_code`, and the fields of MON-119. `params` have the names of SYS-028.
pub fn problems(server: &Server, params: &Value) -> Vec<Value> {
    let is_on = |name: &str| params[name] == true;
    // MON-118: JetStream runs, and that is all they ask.
    if is_on("js-enabled") || is_on("js-enabled-only") || is_on("js-meta-only") {
        return Vec::new();
    }
    let text = |name: &str| params[name].as_str().unwrap_or_default();
    let (account, stream, consumer) = (text("account"), text("stream"), text("consumer"));
    if account.is_empty() {
        return server.enabled_accounts().iter().flat_map(|account| all_streams(account)).collect();
    }
    let Some(found) = server.account(account).filter(|account| account.is_enabled()) else {
        let error = format!("JetStream account {account:?} not found");
        return vec![
            json!({ "status_code": NOT_FOUND, "type": "ACCOUNT", "account": account, "error": error }),
        ];
    };
    if stream.is_empty() { all_streams(&found) } else { one_stream(&found, stream, consumer) }
}

/// Streams that could not be brought back, and those whose store refuses writes.
fn all_streams(account: &Account) -> Vec<Value> {
    let mut problems: Vec<Value> =
        account.damaged.lock().keys().map(|name| not_recovered(account, name)).collect();
    let failed = account.streams_now().into_iter().filter(|stream| stream.has_failed());
    problems.extend(failed.map(|stream| failing(account, &stream.name)));
    problems
}

fn one_stream(account: &Account, name: &str, consumer: &str) -> Vec<Value> {
    let Some(handle) = account.stream(name) else {
        if account.damaged.lock().contains_key(name) {
            return vec![not_recovered(account, name)];
        }
        let error = format!("JetStream stream {name:?} not found on account {:?}", account.name);
        return vec![of_stream(NOT_FOUND, account, name, error)];
    };
    if handle.has_failed() {
        return vec![failing(account, name)];
    }
    if consumer.is_empty() || stream::has_consumer(&handle, consumer) == Some(true) {
        return Vec::new();
    }
    let error = format!(
        "JetStream consumer {consumer:?} not found for stream {name:?} on account {:?}",
        account.name
    );
    vec![json!({
        "status_code": NOT_FOUND,
        "type": "CONSUMER",
        "account": &*account.name,
        "stream": name,
        "consumer": consumer,
        "error": error,
    })]
}

fn not_recovered(account: &Account, name: &str) -> Value {
    let error = format!("JetStream stream '{} > {name}' could not be recovered", account.name);
    of_stream(UNAVAILABLE, account, name, error)
}

fn failing(account: &Account, name: &str) -> Value {
    let error = format!("JetStream stream '{} > {name}' write error: its store failed", account.name);
    of_stream(UNAVAILABLE, account, name, error)
}

fn of_stream(code: u64, account: &Account, name: &str, error: String) -> Value {
    json!({
        "status_code": code,
        "type": "STREAM",
        "account": &*account.name,
        "stream": name,
        "error": error,
    })
}
