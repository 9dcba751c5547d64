//! What the callout's account is told of a client that was not let in (CALL-008).

use super::Callout;
use crate::requests::server_object;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{AuthRequest, PublishRef, tracing};

const SUBJECT: &[u8] = b"$SYS.ACCOUNT.CLIENT.AUTH.ERR";
const KIND: &str = "io.nats.server.advisory.v1.client_disconnect";

/// Publishes the event if anybody in the account listens.
pub fn tell(callout: &Callout, request: &AuthRequest, reason: &str) {
    let Callout { host, account, .. } = callout;
    if host.interest(account, SUBJECT, b"").unwrap_or(0) == 0 {
        return;
    }
    let none = json!({"msgs": 0, "bytes": 0});
    let event = json!({
        "type": KIND,
        "id": id(callout),
        "timestamp": time(host.unix_ns()),
        "server": server_object(host, None),
        "client": client(callout, request),
        "sent": none,
        "received": none,
        "reason": reason,
    });
    if let Err(error) = host.publish(account, PublishRef::new(SUBJECT, event.to_string().as_bytes())) {
        tracing::debug!("no event about a refused client: {error}");
    }
}

fn client(callout: &Callout, request: &AuthRequest) -> Value {
    let facts = callout.host.connection(request.connection_id).unwrap_or_default();
    let number = |name: &str| facts.extra.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut client = Map::new();
    let mut put = |name: &str, value: Value| {
        if value.as_str() != Some("") {
            client.insert(name.to_owned(), value);
        }
    };
    let sent = |name: &str| request.field(name).unwrap_or_default();
    let address = request.remote.rsplit_once(':').map_or(request.remote.as_str(), |(host, _)| host);
    put("start", time(number("start_unix_ns")).into());
    put("host", address.trim_matches(['[', ']']).into());
    put("id", request.connection_id.into());
    put("acc", callout.account.as_str().into());
    put("user", super::request::shown_user(callout, request).into());
    put("name", sent("name").into());
    put("lang", sent("lang").into());
    put("ver", sent("version").into());
    put("rtt", number("rtt_ns").max(1).into());
    put("stop", time(callout.host.unix_ns()).into());
    if let Some(token) = &callout.token {
        put("jwt", token.jwt.as_str().into());
        put("issuer_key", token.issuer_key.as_str().into());
    }
    put("name_tag", callout.client_account.as_str().into());
    put("kind", "Client".into());
    put("client_type", if request.kind == "client" { "nats" } else { request.kind.as_str() }.into());
    client.into()
}

fn time(unix_ns: u64) -> String {
    let time = i64::try_from(unix_ns).ok().map(i128::from);
    let time = time.and_then(|ns| jiff::Timestamp::from_nanosecond(ns).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// 22 letters and digits.
fn id(callout: &Callout) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = [0; 22];
    callout.host.random(&mut random);
    random.iter().map(|byte| char::from(DIGITS[usize::from(byte % 62)])).collect()
}
