//! Who asked, as advisories name it (JS-270): what the import that the request came by says, else the connection.

use crate::stream::headers;
use crate::wire::Time;
use natsd_plugin_api::Host;
use natsd_plugin_api::serde_json::{self, Map, Value};

/// Never told to others.
const SECRETS: [&str; 2] = ["jwt", "alts"];

/// `connection` is 0 where the server itself asked, `block` the headers of the request.
pub fn requestor(host: &Host, server: &str, connection: u64, block: &[u8]) -> Value {
    let told = headers::value(block, headers::REQUEST_INFO);
    let told = told.and_then(|text| serde_json::from_slice::<Map<String, Value>>(text).ok());
    let mut client = told.unwrap_or_else(|| of_connection(host, server, connection));
    SECRETS.iter().for_each(|secret| drop(client.remove(*secret)));
    Value::Object(client)
}

fn of_connection(host: &Host, server: &str, connection: u64) -> Map<String, Value> {
    let mut client = Map::new();
    let Ok(facts) = host.connection(connection) else { return client };
    let number = |key: &str| facts.extra.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |key: &str| facts.extra.get(key).and_then(Value::as_str).unwrap_or_default();
    let start = Time(i64::try_from(number("start_unix_ns")).unwrap_or_default());
    let fields: [(&str, Value); 13] = [
        ("start", start.to_string().into()),
        ("host", text("ip").into()),
        ("id", facts.id.into()),
        ("acc", facts.account.as_str().into()),
        ("user", text("auth_user").into()),
        ("name", facts.name.as_deref().unwrap_or_default().into()),
        ("lang", text("lang").into()),
        ("ver", text("version").into()),
        ("rtt", number("rtt_ns").into()),
        ("server", server.into()),
        ("kind", facts.kind.as_str().into()),
        ("client_type", text("type").into()),
        ("tags", facts.extra.get("tags").cloned().unwrap_or_default()),
    ];
    for (key, value) in fields {
        let is_empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Number(number) => number.as_u64() == Some(0),
            _ => true,
        };
        if !is_empty {
            client.insert(key.to_owned(), value);
        }
    }
    client
}
