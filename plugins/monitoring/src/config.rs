//! The keys of monitoring (CFG-049 to CFG-051) and what they come to.

use crate::otel::OtelConfig;
use natsd_plugin_api::net::ListenOptions;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{Error, ErrorKind, Result, Section};

pub const KEYS: [&str; 7] =
    ["http", "http_port", "https", "https_port", "http_base_path", "dashboard", "opentelemetry"];

/// As configured: -1 takes a free port, 0 is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `None`: the host that clients are accepted on.
    pub host: Option<String>,
    pub http_port: i64,
    pub https_port: i64,
    pub base_path: String,
    /// The built-in page is shown.
    pub dashboard: bool,
    /// Where spans of traced messages go.
    pub otel: Option<OtelConfig>,
}

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub protocol: Protocol,
    pub host: Option<String>,
    pub port: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Https,
}

impl Config {
    /// The keys in their order: of two that say the same, the later one stands.
    pub fn read(section: &Section) -> Result<Self> {
        let mut config = Config::default();
        for (key, value) in &section.keys {
            match key.as_str() {
                "http" => config.http_port = config.address(key, value)?,
                "https" => config.https_port = config.address(key, value)?,
                "http_port" => config.http_port = port(key, value)?,
                "https_port" => config.https_port = port(key, value)?,
                "http_base_path" => config.base_path = text(key, value)?,
                "dashboard" => config.dashboard = flag(key, value)?,
                "opentelemetry" => config.otel = Some(OtelConfig::read(value)?),
                _ => {}
            }
        }
        Ok(config)
    }

    /// `None` when both ports are 0. What nats-server finds wrong at start only is found here (CFG-050).
    pub fn listen(&self) -> Result<Option<Listen>> {
        let (protocol, port) = match (self.http_port, self.https_port) {
            (0, 0) if self.dashboard => {
                let text = "the dashboard needs the monitoring port: add http: \"127.0.0.1:8222\" or remove dashboard";
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            (0, 0) => return Ok(None),
            (port, 0) => (Protocol::Http, port),
            (0, port) => (Protocol::Https, port),
            (http, https) => {
                let text = format!("can't specify both HTTP ({http}) and HTTPs ({https}) ports");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        };
        if !(-1..=65535).contains(&port) {
            let text = format!("can't listen to the monitor port: {port} is not a port (-1, or 1 to 65535)");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Some(Listen { protocol, host: self.host.clone(), port: port as i32 }))
    }

    /// The first setting that differs, as nats-server names it.
    pub fn difference(&self, new: &Config) -> Option<String> {
        let host = |config: &Config| config.host.clone().unwrap_or_default();
        [
            ("HTTPHost", host(self), host(new)),
            ("HTTPPort", self.http_port.to_string(), new.http_port.to_string()),
            ("HTTPBasePath", self.base_path.clone(), new.base_path.clone()),
            ("HTTPSPort", self.https_port.to_string(), new.https_port.to_string()),
            ("Dashboard", self.dashboard.to_string(), new.dashboard.to_string()),
            // With what is sent along, which may be secret.
            ("OpenTelemetry", String::new(), if self.otel == new.otel { "" } else { "changed" }.to_owned()),
        ]
        .into_iter()
        .find(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name}: old={old}, new={new}"))
    }

    /// The settings as `/varz` shows them (MON-023): as configured, not as bound.
    pub fn varz(&self, bound_host: Option<&str>) -> Map<String, Value> {
        let host = self.host.as_deref().or(bound_host).unwrap_or_default();
        let fields = [
            ("http_host", json!(host)),
            ("http_port", json!(self.http_port)),
            ("http_base_path", json!(self.base_path)),
            ("https_port", json!(self.https_port)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// `"host:port"` or a port.
    fn address(&mut self, key: &str, value: &Value) -> Result<i64> {
        let address = match value {
            Value::String(address) => address,
            Value::Number(_) => return port(key, value),
            other => {
                return Err(Error::config(key, format!("expected port or host:port, got {}", kind(other))));
            }
        };
        let (host, number) = split(address)
            .ok_or_else(|| Error::config(key, format!("could not parse address string {address:?}")))?;
        let number =
            number.parse().map_err(|_| Error::config(key, format!("could not parse port {number:?}")))?;
        self.host = Some(host.to_owned()).filter(|host| !host.is_empty());
        Ok(number)
    }
}

impl Listen {
    /// `default_host`: where clients are accepted.
    pub fn options(&self, default_host: &str) -> ListenOptions {
        ListenOptions {
            host: self.host.clone().unwrap_or_else(|| default_host.to_owned()),
            port: self.port,
            // The server's own `tls {}`, client certificates not asked for (MON-002).
            tls: (self.protocol == Protocol::Https).then(|| json!({ "use": "server", "verify": false })),
        }
    }
}

impl Protocol {
    pub fn scheme(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Https => "https",
        }
    }
}

/// Host and port; an IPv6 host stands in brackets.
fn split(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, port)),
        None => (!host.contains(':')).then_some((host, port)),
    }
}

fn port(key: &str, value: &Value) -> Result<i64> {
    value.as_i64().ok_or_else(|| Error::config(key, format!("expected a port number, got {}", kind(value))))
}

fn flag(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| Error::config(key, format!("expected true or false, got {}", kind(value))))
}

fn text(key: &str, value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| Error::config(key, format!("expected a string, got {}", kind(value))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Config, Protocol};
    use natsd_plugin_api::serde_json::{Value, json};
    use natsd_plugin_api::{Result, Section};

    fn read(keys: Value) -> Result<Config> {
        Config::read(&Section { keys: keys.as_object().unwrap().clone(), ..Section::default() })
    }

    #[test]
    fn addresses_are_a_port_or_host_and_port() {
        let config = read(json!({ "http": "localhost:-1" })).unwrap();
        assert_eq!((config.host.as_deref(), config.http_port), (Some("localhost"), -1));
        let config = read(json!({ "http": "[::1]:8222" })).unwrap();
        assert_eq!((config.host.as_deref(), config.http_port), (Some("::1"), 8222));
        let config = read(json!({ "http": ":8222" })).unwrap();
        assert_eq!((config.host, config.http_port), (None, 8222));
        assert_eq!(read(json!({ "http_port": 1, "http": 2 })).unwrap().http_port, 2);
    }

    #[test]
    fn wrong_values_are_refused_as_nats_server_does() {
        for (keys, text) in [
            (json!({ "http": "8222" }), r#"http: could not parse address string "8222""#),
            (json!({ "http": "a:b:c" }), r#"http: could not parse address string "a:b:c""#),
            (json!({ "http": "x:y" }), r#"http: could not parse port "y""#),
            (json!({ "http": true }), "http: expected port or host:port, got a boolean"),
            (json!({ "http_port": "x" }), "http_port: expected a port number, got a string"),
            (json!({ "http_port": 1.5 }), "http_port: expected a port number, got a float"),
            (json!({ "dashboard": 1 }), "dashboard: expected true or false, got a number"),
            (json!({ "http_base_path": 3 }), "http_base_path: expected a string, got a number"),
        ] {
            assert_eq!(read(keys).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn both_protocols_at_once_are_refused_at_start() {
        let both = read(json!({ "http": 1, "https": 2 })).unwrap();
        assert_eq!(both.listen().unwrap_err().to_string(), "can't specify both HTTP (1) and HTTPs (2) ports");
        let alone = read(json!({ "dashboard": true })).unwrap().listen().unwrap_err().to_string();
        assert!(alone.starts_with("the dashboard needs the monitoring port"), "{alone}");
        assert!(read(json!({ "http": 70000 })).unwrap().listen().is_err());
        assert_eq!(read(json!({ "http": 0 })).unwrap().listen().unwrap(), None);
        let https = read(json!({ "https_port": 8443 })).unwrap().listen().unwrap().unwrap();
        assert_eq!((https.protocol, https.port), (Protocol::Https, 8443));
    }

    #[test]
    fn a_reload_names_what_differs() {
        let old = read(json!({ "http": "127.0.0.1:14444" })).unwrap();
        let new = read(json!({ "http": "127.0.0.1:14445" })).unwrap();
        assert_eq!(old.difference(&new).unwrap(), "HTTPPort: old=14444, new=14445");
        assert_eq!(old.difference(&old.clone()), None);
    }
}
