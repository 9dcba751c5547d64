//! What events say: the JSON of each kind (EVT-001 to EVT-016).
//!
//! Values in, values out. Not here: when an event happens, and to whom it goes.

use super::time_text;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{ConnectionFacts, PeerCertificate};

const CONNECT: &str = "io.nats.server.advisory.v1.client_connect";
const DISCONNECT: &str = "io.nats.server.advisory.v1.client_disconnect";
const PEER_REFUSED: &str = "io.nats.server.advisory.v1.ocsp_peer_reject";
const PEER_LINK_INVALID: &str = "io.nats.server.advisory.v1.ocsp_peer_link_invalid";
const CONNS: &str = "io.nats.server.advisory.v1.account_connections";

/// The account of clients that have not been let into one.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// What all typed events begin with (MON-162), and who says it.
pub struct Head {
    pub id: String,
    pub now_unix_ns: u64,
    pub server: Value,
}

impl Head {
    fn fields(self, kind: &str) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), kind.into());
        fields.insert("id".to_owned(), self.id.into());
        fields.insert("timestamp".to_owned(), time_text::utc(self.now_unix_ns).into());
        fields.insert("server".to_owned(), self.server);
        fields
    }
}

/// EVT-001
pub fn connect(head: Head, connection: &ConnectionFacts) -> Value {
    let mut fields = head.fields(CONNECT);
    fields.insert("client".to_owned(), client(connection, None));
    Value::Object(fields)
}

/// EVT-002, EVT-003: `sent` is what the client sent (EVT-005).
pub fn disconnect(head: Head, connection: &ConnectionFacts, reason: &str) -> Value {
    let stop_unix_ns = head.now_unix_ns;
    let mut fields = head.fields(DISCONNECT);
    fields.insert("client".to_owned(), client(connection, Some(stop_unix_ns)));
    let data = |msgs: &str, bytes: &str| json!({ "msgs": number(connection, msgs), "bytes": number(connection, bytes) });
    fields.insert("sent".to_owned(), data("in_msgs", "in_bytes"));
    fields.insert("received".to_owned(), data("out_msgs", "out_bytes"));
    fields.insert("reason".to_owned(), reason.into());
    Value::Object(fields)
}

/// EVT-010: the account's numbers stand beside the head.
pub fn account_connections(head: Head, stat: &Value) -> Value {
    let mut fields = head.fields(CONNS);
    fields.extend(stat.as_object().cloned().unwrap_or_default());
    Value::Object(fields)
}

/// EVT-012: numbers of the server, taken from `/varz`.
pub fn statsz(server: Value, varz: &Value, active_accounts: usize) -> Value {
    let mut stats = Map::new();
    for name in ["start", "mem", "cores", "cpu", "connections", "total_connections"] {
        stats.insert(name.to_owned(), varz[name].clone());
    }
    stats.insert("active_accounts".to_owned(), active_accounts.into());
    stats.insert("subscriptions".to_owned(), varz["subscriptions"].clone());
    for (name, msgs, bytes) in [
        ("sent", "out_msgs", "out_bytes"),
        ("sent_to_clients", "out_client_msgs", "out_client_bytes"),
        ("received", "in_msgs", "in_bytes"),
        ("received_from_clients", "in_client_msgs", "in_client_bytes"),
    ] {
        stats.insert(name.to_owned(), json!({ "msgs": varz[msgs], "bytes": varz[bytes] }));
    }
    stats.insert("slow_consumers".to_owned(), varz["slow_consumers"].clone());
    for (count, by_kind) in
        [("slow_consumers", "slow_consumer_stats"), ("stale_connections", "stale_connection_stats")]
    {
        if varz[count].as_u64().unwrap_or(0) > 0 {
            stats.insert(count.to_owned(), varz[count].clone());
            stats.insert(by_kind.to_owned(), varz[by_kind].clone());
        }
    }
    if varz["stalled_clients"].as_u64().unwrap_or(0) > 0 {
        stats.insert("stalled_clients".to_owned(), varz["stalled_clients"].clone());
    }
    stats.insert("active_servers".to_owned(), 1.into());
    if varz["jetstream"].as_object().is_some_and(|jetstream| !jetstream.is_empty()) {
        let mut jetstream = varz["jetstream"].clone();
        // Where it is kept is nobody's business elsewhere.
        if let Some(config) = jetstream["config"].as_object_mut() {
            config.shift_remove("store_dir");
        }
        stats.insert("jetstream".to_owned(), jetstream);
    }
    for name in ["gomemlimit", "gomaxprocs"] {
        if let Some(value) = varz.get(name) {
            stats.insert(name.to_owned(), value.clone());
        }
    }
    json!({ "server": server, "statsz": stats })
}

/// EVT-015
pub fn peer_refused(head: Head, kind: &str, peer: &PeerCertificate, reason: &str) -> Value {
    about_peer(head, PEER_REFUSED, [("kind", kind.into()), ("peer", certificate(peer))], reason)
}

/// EVT-016
pub fn peer_link_invalid(head: Head, link: &PeerCertificate, peer: &PeerCertificate, reason: &str) -> Value {
    about_peer(head, PEER_LINK_INVALID, [("link", certificate(link)), ("peer", certificate(peer))], reason)
}

/// Who says it stands behind what it is about.
fn about_peer(mut head: Head, kind: &str, about: [(&str, Value); 2], reason: &str) -> Value {
    let server = head.server.take();
    let mut fields = head.fields(kind);
    fields.shift_remove("server");
    fields.extend(about.map(|(name, value)| (name.to_owned(), value)));
    fields.insert("server".to_owned(), server);
    fields.insert("reason".to_owned(), reason.into());
    Value::Object(fields)
}

fn certificate(certificate: &PeerCertificate) -> Value {
    let PeerCertificate { subject, issuer, fingerprint, raw } = certificate;
    let fields = [("subject", subject), ("issuer", issuer), ("fingerprint", fingerprint), ("raw", raw)];
    let shown = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(shown.map(|(name, value)| (name.to_owned(), value.as_str().into())).collect())
}

/// MON-160, EVT-035: a client as events name it; never a password.
fn client(connection: &ConnectionFacts, stop_unix_ns: Option<u64>) -> Value {
    let account = account_of(connection);
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.as_str().is_some_and(str::is_empty) {
            fields.insert(name.to_owned(), value);
        }
    };
    put("start", time_text::utc(number(connection, "start_unix_ns")).into());
    put("host", text(connection, "ip").into());
    put("id", connection.id.into());
    put("acc", account.into());
    put("user", text(connection, "auth_user").into());
    put("name", connection.name.as_deref().unwrap_or_default().into());
    put("lang", text(connection, "lang").into());
    put("ver", text(connection, "version").into());
    if let Some(stop_unix_ns) = stop_unix_ns {
        let rtt_ns = number(connection, "rtt_ns");
        if rtt_ns > 0 {
            put("rtt", rtt_ns.into());
        }
        put("stop", time_text::utc(stop_unix_ns).into());
    }
    // JWTs and what signed them are there for users that have one.
    for name in ["jwt", "issuer_key"] {
        put(name, text(connection, name).into());
    }
    put("name_tag", account.into());
    if let Some(tags) =
        connection.extra.get("tags").filter(|tags| tags.as_array().is_some_and(|t| !t.is_empty()))
    {
        put("tags", tags.clone());
    }
    put("kind", connection.kind.as_str().into());
    put("client_type", text(connection, "type").into());
    put("client_id", text(connection, "mqtt_client").into());
    Value::Object(fields)
}

pub fn account_of(connection: &ConnectionFacts) -> &str {
    if connection.account.is_empty() { GLOBAL_ACCOUNT } else { &connection.account }
}

fn text<'a>(connection: &'a ConnectionFacts, name: &str) -> &'a str {
    connection.extra.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(connection: &ConnectionFacts, name: &str) -> u64 {
    connection.extra.get(name).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { id: "x".repeat(22), now_unix_ns: 1_795_478_238_000_000_000, server: json!({ "name": "n" }) }
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_client_that_was_not_let_in_is_one_of_the_global_account() {
        let event =
            disconnect(head(), &ConnectionFacts { id: 7, ..ConnectionFacts::default() }, "Client Closed");
        assert_eq!(event["client"]["acc"], "$G");
        assert_eq!(event["client"]["stop"], "2026-11-23T23:57:18Z");
        assert_eq!(keys(&event)[..4], ["type", "id", "timestamp", "server"]);
        assert_eq!(keys(&event)[4..], ["client", "sent", "received", "reason"]);
    }

    #[test]
    fn what_the_client_sent_is_what_the_server_got() {
        let extra = json!({ "in_msgs": 2, "in_bytes": 3, "out_msgs": 4, "out_bytes": 5, "rtt_ns": 9 });
        let extra = extra.as_object().cloned().unwrap_or_default();
        let facts = ConnectionFacts { account: "A".into(), extra, ..ConnectionFacts::default() };
        let event = disconnect(head(), &facts, "Kicked");
        assert_eq!(event["sent"], json!({ "msgs": 2, "bytes": 3 }));
        assert_eq!(event["received"], json!({ "msgs": 4, "bytes": 5 }));
        assert_eq!(event["client"]["rtt"], 9);
        assert!(connect(head(), &facts)["client"].get("rtt").is_none());
    }

    #[test]
    fn counts_of_what_did_not_happen_are_left_out() {
        let varz =
            json!({ "slow_consumers": 0, "stale_connections": 0, "stalled_clients": 2, "jetstream": {} });
        let event = statsz(json!({}), &varz, 1);
        let stats = &event["statsz"];
        assert_eq!((&stats["slow_consumers"], &stats["stalled_clients"]), (&json!(0), &json!(2)));
        assert!(stats.get("stale_connections").is_none() && stats.get("jetstream").is_none());
    }
}
