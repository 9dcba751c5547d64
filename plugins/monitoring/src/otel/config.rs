//! The block `opentelemetry {}`: where spans go, and under which name.

use natsd_plugin_api::serde_json::{Map, Value};
use natsd_plugin_api::{Error, Result};

const DEFAULT_SERVICE: &str = "natsd";
/// OTLP over HTTP, where the endpoint names no path.
const DEFAULT_PATH: &str = "/v1/traces";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtelConfig {
    /// With TLS.
    pub is_secure: bool,
    /// `host:port`
    pub address: String,
    pub path: String,
    pub service_name: String,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
}

impl OtelConfig {
    pub fn read(value: &Value) -> Result<Self> {
        let wrong = |place: &str, text: &str| Err(Error::config(&format!("opentelemetry{place}"), text));
        let Value::Object(block) = value else {
            return wrong("", "write opentelemetry { endpoint: \"http://host:4318\" }");
        };
        let mut config = OtelConfig { service_name: DEFAULT_SERVICE.to_owned(), ..OtelConfig::default() };
        for (name, value) in block {
            match (name.as_str(), value) {
                ("endpoint", Value::String(endpoint)) => config.set_endpoint(endpoint)?,
                ("service_name", Value::String(name)) => config.service_name.clone_from(name),
                ("headers", Value::Object(headers)) => config.headers = read_headers(headers)?,
                ("endpoint" | "service_name", _) => return wrong(&format!(".{name}"), "expected a string"),
                ("headers", _) => return wrong(".headers", "expected a map of names to strings"),
                (other, _) => {
                    return wrong(
                        &format!(".{other}"),
                        "unknown field: endpoint, service_name and headers are known",
                    );
                }
            }
        }
        if config.address.is_empty() {
            return wrong("", "endpoint is missing: add endpoint: \"http://host:4318\"");
        }
        Ok(config)
    }

    fn set_endpoint(&mut self, endpoint: &str) -> Result<()> {
        let wrong =
            || Error::config("opentelemetry.endpoint", format!("{endpoint:?} is no http:// or https:// URL"));
        let (is_secure, rest, port) = match endpoint.split_once("://") {
            Some(("http", rest)) => (false, rest, 4318),
            Some(("https", rest)) => (true, rest, 443),
            _ => return Err(wrong()),
        };
        let (host, path) =
            rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path.trim_end_matches('/')));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        if host.is_empty() || !is_plain(host) || !is_plain(path) {
            return Err(wrong());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        self.is_secure = is_secure;
        self.address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        self.path = if path.is_empty() { DEFAULT_PATH.to_owned() } else { format!("/{path}") };
        Ok(())
    }
}

fn read_headers(headers: &Map<String, Value>) -> Result<Vec<(String, String)>> {
    let read = headers.iter().map(|(name, value)| {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match value {
            Value::String(text) if is_name && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                Ok((name.clone(), text.clone()))
            }
            _ => Err(Error::config(
                &format!("opentelemetry.headers.{name}"),
                "expected a header's name and a string",
            )),
        }
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::OtelConfig;
    use natsd_plugin_api::serde_json::{Value, json};

    fn read(value: Value) -> Result<OtelConfig, String> {
        OtelConfig::read(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_urls() {
        let of =
            |endpoint: &str| read(json!({ "endpoint": endpoint })).map(|c| (c.is_secure, c.address, c.path));
        let at = |is_secure, address: &str, path: &str| Ok((is_secure, address.to_owned(), path.to_owned()));
        assert_eq!(of("http://localhost"), at(false, "localhost:4318", "/v1/traces"));
        assert_eq!(of("https://otel.test/api/v1/traces"), at(true, "otel.test:443", "/api/v1/traces"));
        assert_eq!(of("http://[::1]:99/"), at(false, "[::1]:99", "/v1/traces"));
        for bad in ["", "localhost:4318", "ftp://x", "http://", "http://a b", "http://user@host"] {
            assert!(of(bad).unwrap_err().contains("no http:// or https:// URL"), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, text) in [
            (json!(true), "opentelemetry: write opentelemetry {"),
            (json!({}), "opentelemetry: endpoint is missing"),
            (json!({ "endpoint": 1 }), "opentelemetry.endpoint: expected a string"),
            (json!({ "endpoint": "http://a", "sampling": 1 }), "opentelemetry.sampling: unknown field"),
            (
                json!({ "endpoint": "http://a", "headers": { "a b": "c" } }),
                "opentelemetry.headers.a b: expected",
            ),
        ] {
            let why = read(value).unwrap_err();
            assert!(why.starts_with(text), "{why}");
        }
        let config = read(json!({ "endpoint": "http://a", "headers": { "x-key": "v" } })).unwrap();
        assert_eq!(config.headers, [("x-key".to_owned(), "v".to_owned())]);
    }
}
