//! What may stand in the body of a request: options with their types (SYS-020 to SYS-032), and which servers are
//! meant (SYS-008).
//!
//! What is not known here is left out, as nats-server does.

use natsd_plugin_api::serde_json::{self, Map, Value};

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is no JSON: {0}")]
    Json(String),
    #[error("the body must be a JSON object with options")]
    NoObject,
    #[error("option {name:?} must be {expected}")]
    Type { name: &'static str, expected: &'static str },
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Flag,
    Int,
    Uint,
    Texts,
}

use Type::{Flag, Int, Text, Texts, Uint};

type Options = &'static [(&'static str, Type)];

const FILTERS: Options = &[
    ("server_name", Text),
    ("cluster", Text),
    ("host", Text),
    ("exact_match", Flag),
    ("tags", Texts),
    ("domain", Text),
];

fn options_of(kind: &str) -> Options {
    match kind {
        "CONNZ" => &[
            ("sort", Text),
            ("auth", Flag),
            ("subscriptions", Flag),
            ("subscriptions_detail", Flag),
            ("offset", Int),
            ("limit", Int),
            ("cid", Uint),
            ("mqtt_client", Text),
            ("state", Int),
            ("user", Text),
            ("acc", Text),
            ("filter_subject", Text),
        ],
        "ROUTEZ" => &[("subscriptions", Flag), ("subscriptions_detail", Flag)],
        "SUBSZ" => {
            &[("offset", Int), ("limit", Int), ("subscriptions", Flag), ("account", Text), ("test", Text)]
        }
        "GATEWAYZ" => &[
            ("name", Text),
            ("accounts", Flag),
            ("account_name", Text),
            ("subscriptions", Flag),
            ("subscriptions_detail", Flag),
        ],
        "LEAFZ" => &[("subscriptions", Flag), ("account", Text)],
        "ACCOUNTZ" => &[("account", Text)],
        "STATZ" => &[("accounts", Texts), ("include_unused", Flag)],
        "JSZ" => &[
            ("account", Text),
            ("accounts", Flag),
            ("streams", Flag),
            ("consumer", Flag),
            ("direct_consumer", Flag),
            ("config", Flag),
            ("leader_only", Flag),
            ("offset", Int),
            ("limit", Int),
            ("raft", Flag),
            ("stream_leader_only", Flag),
        ],
        "HEALTHZ" => &[
            ("js-enabled", Flag),
            ("js-enabled-only", Flag),
            ("js-server-only", Flag),
            ("js-meta-only", Flag),
            ("account", Text),
            ("stream", Text),
            ("consumer", Text),
            ("details", Flag),
        ],
        "PROFILEZ" => &[("name", Text), ("debug", Int), ("duration", Int)],
        "KICK" | "LDM" => &[("cid", Uint)],
        _ => &[],
    }
}

/// A request's options, checked.
#[derive(Debug, Default)]
pub struct Body {
    options: Map<String, Value>,
}

impl Body {
    /// An empty body has no options.
    pub fn parse(kind: &str, body: &[u8]) -> Result<Self, BodyError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let given = match serde_json::from_slice(body).map_err(|error| BodyError::Json(error.to_string()))? {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            _ => return Err(BodyError::NoObject),
        };
        let mut options = Map::new();
        for (name, kind) in options_of(kind).iter().chain(FILTERS) {
            if let Some(value) = given.get(*name).filter(|value| !value.is_null()) {
                kind.check(name, value)?;
                options.insert((*name).to_owned(), value.clone());
            }
        }
        Ok(Self { options })
    }

    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.options.insert(name.to_owned(), value.into());
    }

    pub fn text(&self, name: &str) -> &str {
        self.options.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.options.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    pub fn uint(&self, name: &str) -> u64 {
        self.options.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    pub fn int(&self, name: &str) -> i64 {
        self.options.get(name).and_then(Value::as_i64).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The options as a snapshot's parameters: they have the same names.
    pub fn params(&self) -> Value {
        Value::Object(self.options.clone())
    }

    /// Only some servers shall answer.
    pub fn picks(&self) -> bool {
        FILTERS.iter().any(|(name, _)| self.options.contains_key(*name))
    }

    /// Whether this server is among those that shall answer.
    pub fn means(&self, server: &Value) -> bool {
        let exact = self.flag("exact_match");
        let named = |option: &str, field: &str| {
            let (wanted, is) = (self.text(option), server[field].as_str().unwrap_or_default());
            wanted.is_empty() || if exact { is == wanted } else { is.contains(wanted) }
        };
        let domain = self.text("domain");
        let has_tag = |wanted: &str| {
            let mut tags = server["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.any(|tag| tag.eq_ignore_ascii_case(wanted.trim()))
        };
        named("server_name", "name")
            && named("host", "host")
            && named("cluster", "cluster")
            && (domain.is_empty() || server["domain"] == domain)
            && self.texts("tags").all(has_tag)
    }
}

impl Type {
    fn check(self, name: &'static str, value: &Value) -> Result<(), BodyError> {
        let (fits, expected) = match self {
            Text => (value.is_string(), "a string"),
            Flag => (value.is_boolean(), "true or false"),
            Int => (value.is_i64(), "an integer"),
            Uint => (value.is_u64(), "an integer that is not negative"),
            Texts => {
                (value.as_array().is_some_and(|list| list.iter().all(Value::is_string)), "a list of strings")
            }
        };
        if fits { Ok(()) } else { Err(BodyError::Type { name, expected }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Body, BodyError};
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn bodies_are_checked_and_unknown_options_left_out() {
        let body = Body::parse("CONNZ", br#"{"limit":3,"x":1,"acc":null}"#).unwrap();
        assert_eq!(body.params(), json!({ "limit": 3 }));
        assert!(Body::parse("VARZ", b"").unwrap().params().as_object().unwrap().is_empty());
        assert_eq!(Body::parse("VARZ", b"[]").unwrap_err(), BodyError::NoObject);
        assert!(matches!(Body::parse("VARZ", b"{bad").unwrap_err(), BodyError::Json(_)));
        let text = Body::parse("CONNZ", br#"{"limit":"3"}"#).unwrap_err().to_string();
        assert_eq!(text, "option \"limit\" must be an integer");
    }

    #[test]
    fn filters_pick_servers() {
        let server = json!({ "name": "srv-1", "host": "127.0.0.1", "tags": ["az:1", "x"] });
        let means = |body: &str| Body::parse("VARZ", body.as_bytes()).unwrap().means(&server);
        for body in [
            r#"{"server_name":"srv"}"#,
            r#"{"server_name":"srv-1","exact_match":true}"#,
            r#"{"tags":["AZ:1","x"]}"#,
            r#"{"host":"127"}"#,
        ] {
            assert!(means(body), "{body}");
        }
        for body in [
            r#"{"server_name":"srv","exact_match":true}"#,
            r#"{"cluster":"c"}"#,
            r#"{"domain":"d"}"#,
            r#"{"tags":["az:1","y"]}"#,
        ] {
            assert!(!means(body), "{body}");
        }
    }
}
