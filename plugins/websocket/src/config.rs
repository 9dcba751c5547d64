//! The `websocket {}` block (CFG-230, WS-001, WS-002) as a type that cannot be wrong.
//!
//! Not here: what needs the rest of the server's configuration to be judged (users, operators) and what is in
//! `tls {}`; the host is asked about that.

use crate::duration;
use crate::handshake::UpgradeRules;
use crate::origin::Origin;
use natsd_plugin_api::tracing::warn;
use natsd_plugin_api::{Error, ErrorKind, Host, ListenerSpec, PutOff, Result, Section};
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::Duration;

/// The key of the block.
pub const KEY: &str = "websocket";
const DEFAULT_HOST: &str = "0.0.0.0";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub upgrade: UpgradeRules,
    /// As written, for monitoring.
    pub allowed_origins: Vec<String>,
}

/// What the listener is opened with, and cannot change while it is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listen {
    pub host: String,
    /// 0: there is no listener. -1: any free port.
    pub port: i32,
    pub advertise: Option<String>,
    pub no_tls: bool,
    /// `tls {}` as it stands.
    pub tls: Option<Value>,
    pub handshake_timeout: Option<Duration>,
    pub ping_interval: Option<Duration>,
    pub no_auth_user: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
    pub auth_timeout: Option<Duration>,
}

impl Config {
    /// Reads the block and has the host look at it. What only a start looks for comes last.
    pub fn checked(section: &Section, host: &Host) -> Result<Self> {
        let (config, mut put_off) = Self::read(section)?;
        put_off.check(config.check(host))?;
        put_off.finish().map(|()| config)
    }

    fn read(section: &Section) -> Result<(Self, PutOff)> {
        let (mut config, mut put_off) = (Self::default(), PutOff::default());
        let Some(block) = section.key(KEY) else { return Ok((config, put_off)) };
        let block = Field { section, place: KEY.to_owned(), key: KEY, value: block };
        for field in block.fields("a map")? {
            put_off.check(config.key(&field))?;
        }
        // Without a port the block is read, but means nothing.
        if config.listen.port != 0 {
            put_off.check(config.listen.check())?;
        }
        Ok((config, put_off))
    }

    fn key(&mut self, field: &Field<'_>) -> Result<()> {
        let (listen, upgrade) = (&mut self.listen, &mut self.upgrade);
        match field.name().as_str() {
            "listen" => (listen.host, listen.port) = field.address()?,
            "port" => listen.port = field.port()?,
            "host" | "net" => listen.host = field.text()?,
            "advertise" => {
                listen.advertise = field.name_or_none()?;
                if listen.advertise.as_deref().is_some_and(|text| text.contains(':')) {
                    field.address().map_err(Error::at_start)?;
                }
            }
            "no_tls" => listen.no_tls = field.flag()?,
            "tls" => listen.tls = Some(field.map("a map")?.clone().into()),
            "handshake_timeout" => listen.handshake_timeout = field.duration()?,
            "ping_interval" => {
                if field.value.is_i64() {
                    let key = field.key;
                    warn!(
                        "{}: invalid use of field {key:?}: ping_interval should be converted to a duration",
                        field.place
                    );
                }
                listen.ping_interval = field.duration()?;
            }
            "no_auth_user" => listen.no_auth_user = field.name_or_none()?,
            "authorization" | "authentication" => listen.authorization(field)?,
            "same_origin" => upgrade.origins.same_origin = field.flag()?,
            "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins"
            | "origin" => {
                (self.allowed_origins, upgrade.origins.allowed) = origins(field)?;
            }
            "compression" | "compress" => upgrade.compression = field.flag()?,
            "jwt_cookie" => upgrade.cookies.jwt = field.name_or_none()?,
            "user_cookie" => upgrade.cookies.user = field.name_or_none()?,
            "pass_cookie" => upgrade.cookies.password = field.name_or_none()?,
            "token_cookie" => upgrade.cookies.token = field.name_or_none()?,
            "headers" => upgrade.headers = headers(field)?,
            _ => field.unknown()?,
        }
        Ok(())
    }

    /// What only the host can judge: the files of `tls {}`, the users.
    fn check(&self, host: &Host) -> Result<()> {
        let spec = match (self.listen.port, &self.listen.tls) {
            (0, None) => return Ok(()),
            // Nothing listens, but nats-server reads the files nevertheless.
            (0, Some(_)) => ListenerSpec { options: Map::new(), ..self.spec() },
            _ => self.spec(),
        };
        match host.check_listener(&spec).map_err(|error| error.within(KEY)) {
            Err(error) if self.listen.port == 0 && error.kind() == ErrorKind::AtStart => Ok(()),
            result => result,
        }
    }

    /// What the host listens with. The options' names are those of the host.
    pub fn spec(&self) -> ListenerSpec {
        let listen = &self.listen;
        let mut options = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                options.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let ms = |duration: Option<Duration>| duration.map(|duration| json!(millis(duration)));
        add("advertise", text(&listen.advertise));
        add("no_auth_user", text(&listen.no_auth_user));
        add("username", text(&listen.username));
        add("password", text(&listen.password));
        add("token", text(&listen.token));
        add("jwt_cookie", text(&self.upgrade.cookies.jwt));
        add("auth_timeout_ms", ms(listen.auth_timeout));
        add("ping_interval_ms", ms(listen.ping_interval));
        ListenerSpec {
            name: KEY.to_owned(),
            kind: KEY.to_owned(),
            host: listen.host().to_owned(),
            port: listen.port,
            tls: listen.tls.clone(),
            handshake_timeout_ms: listen.handshake_timeout.map(millis),
            options,
        }
    }

    /// For monitoring, in the names and units of `varz`.
    pub fn facts(&self, port: u16) -> Value {
        let listen = &self.listen;
        let mut facts = json!({
            "host": listen.host(),
            "port": port,
            "advertise": listen.advertise,
            "no_auth_user": listen.no_auth_user,
            "jwt_cookie": self.upgrade.cookies.jwt,
            "handshake_timeout": listen.handshake_timeout.map(|timeout| timeout.as_nanos() as u64),
            "auth_timeout": listen.auth_timeout.map(|timeout| timeout.as_secs_f64()),
            "no_tls": listen.no_tls.then_some(true),
            "tls_map": listen.of_tls("verify_and_map").filter(|map| **map == true),
            "tls_pinned_certs": listen.of_tls("pinned_certs"),
            "same_origin": self.upgrade.origins.same_origin.then_some(true),
            "allowed_origins": (!self.allowed_origins.is_empty()).then_some(&self.allowed_origins),
            "compression": self.upgrade.compression.then_some(true),
        });
        if let Some(facts) = facts.as_object_mut() {
            facts.retain(|_, value| !value.is_null());
        }
        facts
    }
}

impl Listen {
    pub fn host(&self) -> &str {
        if self.host.is_empty() { DEFAULT_HOST } else { &self.host }
    }

    /// The host has checked it.
    fn of_tls(&self, key: &str) -> Option<&Value> {
        let block = self.tls.as_ref()?.as_object()?;
        block.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    fn check(&self) -> Result<()> {
        if self.tls.is_none() && !self.no_tls {
            return Err(Error::config(KEY, "websocket requires TLS configuration").at_start());
        }
        Ok(())
    }

    /// One user or token of this listener's own (AUTH-009).
    fn authorization(&mut self, block: &Field<'_>) -> Result<()> {
        for field in block.fields("a map")? {
            match field.name().as_str() {
                "user" | "username" => self.username = field.name_or_none()?,
                "pass" | "password" => self.password = field.name_or_none()?,
                "token" => self.token = field.name_or_none()?,
                "timeout" => {
                    let seconds = field.value.as_f64().ok_or_else(|| field.expected("seconds"))?;
                    let timeout = Duration::try_from_secs_f64(seconds).map_err(|why| field.wrong(why))?;
                    self.auth_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
                }
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    /// The first difference to `new` that an open listener cannot follow: key, old and new value.
    pub fn fixed_difference(&self, new: &Self) -> Option<(&'static str, String, String)> {
        fn differ<T: Clone + Into<Value>>(old: &T, new: &T) -> Option<(String, String)> {
            let (old, new): (Value, Value) = (old.clone().into(), new.clone().into());
            (old != new).then(|| (old.to_string(), new.to_string()))
        }
        let time = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
        // Secrets are compared, but not shown.
        let hidden = |is_other: bool| is_other.then(|| ("[REDACTED]".to_owned(), "[REDACTED]".to_owned()));
        [
            ("host", differ(&self.host(), &new.host())),
            ("port", differ(&self.port, &new.port)),
            ("advertise", differ(&self.advertise, &new.advertise)),
            ("no_tls", differ(&self.no_tls, &new.no_tls)),
            ("tls", differ(&self.tls.is_some(), &new.tls.is_some())),
            ("handshake_timeout", differ(&time(self.handshake_timeout), &time(new.handshake_timeout))),
            ("ping_interval", differ(&time(self.ping_interval), &time(new.ping_interval))),
            ("no_auth_user", differ(&self.no_auth_user, &new.no_auth_user)),
            ("authorization.user", differ(&self.username, &new.username)),
            ("authorization.password", hidden(self.password != new.password)),
            ("authorization.token", hidden(self.token != new.token)),
            ("authorization.timeout", differ(&time(self.auth_timeout), &time(new.auth_timeout))),
        ]
        .into_iter()
        .find_map(|(key, difference)| difference.map(|(old, new)| (key, old, new)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn origins(field: &Field<'_>) -> Result<(Vec<String>, Vec<Origin>)> {
    let texts = field.texts()?;
    let mut origins = Vec::new();
    for text in &texts {
        let origin = Origin::parse(text)
            .map_err(|why| field.wrong(format_args!("unable to parse allowed origin: {why}")).at_start())?;
        let refuse =
            |why| Err(field.wrong(format_args!("unable to parse allowed origin {text:?}: {why}")).at_start());
        match (origin.scheme.as_str(), origin.host.as_str()) {
            ("http" | "https", "") => return refuse("host is required"),
            ("http" | "https", _) => origins.push(origin),
            _ => return refuse("allowed origins must be absolute URLs with http or https scheme"),
        }
    }
    Ok((texts, origins))
}

/// Headers of the answer to an upgrade, as lines.
fn headers(block: &Field<'_>) -> Result<String> {
    let mut lines = String::new();
    for (name, value) in block.map("a map")? {
        let field = block.inner(name, value);
        let lower = name.to_ascii_lowercase();
        if matches!(lower.as_str(), "host" | "content-length" | "connection" | "upgrade" | "nats-no-masking")
        {
            return Err(field
                .wrong(format_args!("websocket: invalid header {name:?} not allowed"))
                .at_start());
        }
        if lower.starts_with("sec-websocket-") {
            let text = format!("websocket: invalid header {name:?}, \"Sec-WebSocket-\" prefix not allowed");
            return Err(field.wrong(text).at_start());
        }
        let value = field.text()?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !is_name || value.contains(['\r', '\n', '\0']) {
            return Err(
                field.wrong("not an HTTP header: remove spaces from its name, line breaks from its value")
            );
        }
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    Ok(lines)
}

/// A value with its path, for errors.
struct Field<'a> {
    section: &'a Section,
    place: String,
    key: &'a str,
    value: &'a Value,
}

impl<'a> Field<'a> {
    fn inner(&self, key: &'a str, value: &'a Value) -> Self {
        Self { section: self.section, place: format!("{}.{key}", self.place), key, value }
    }

    /// Keys count in any case.
    fn name(&self) -> String {
        self.key.to_ascii_lowercase()
    }

    fn wrong(&self, why: impl fmt::Display) -> Error {
        Error::config(&self.place, why)
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "a map",
        };
        self.wrong(format_args!("expected {what}, found {found}"))
    }

    /// An error, unless it is there for `$NAME` to refer to (CFG-023).
    fn unknown(&self) -> Result<()> {
        if self.section.is_variable(&self.place) {
            return Ok(());
        }
        Err(self.wrong(format_args!("unknown field {:?}", self.key)))
    }

    fn map(&self, what: &str) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.expected(what))
    }

    fn fields(&self, what: &str) -> Result<impl Iterator<Item = Field<'a>>> {
        let fields = self.map(what)?.iter();
        Ok(fields.map(|(key, value)| self.inner(key, value)))
    }

    fn text(&self) -> Result<String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.expected("a string"))
    }

    /// An empty text counts as absent.
    fn name_or_none(&self) -> Result<Option<String>> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    fn texts(&self) -> Result<Vec<String>> {
        match self.value {
            Value::String(text) => Ok(vec![text.clone()]),
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>();
                texts.ok_or_else(|| self.wrong("expected strings only in the array"))
            }
            _ => Err(self.expected("a string or an array of strings")),
        }
    }

    fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    fn port(&self) -> Result<i32> {
        let port = self.value.as_i64().ok_or_else(|| self.expected("a port"))?;
        self.checked_port(port)
    }

    fn checked_port(&self, port: i64) -> Result<i32> {
        match i32::try_from(port) {
            Ok(port @ -1..=65_535) => Ok(port),
            _ => {
                let text = format!("port {port} is out of range: use 1 to 65535, or -1 for a free one");
                Err(self.wrong(text).at_start())
            }
        }
    }

    /// `port` or `"host:port"`.
    fn address(&self) -> Result<(String, i32)> {
        if let Some(port) = self.value.as_i64() {
            return Ok((String::new(), self.checked_port(port)?));
        }
        let text = self.value.as_str().ok_or_else(|| self.expected("port or host:port"))?;
        let unreadable = || self.wrong(format_args!("could not parse address string {text:?}"));
        let (host, port) = text.rsplit_once(':').ok_or_else(unreadable)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or_else(unreadable)?,
            None if host.contains(':') => return Err(unreadable()),
            None => host,
        };
        let number = port.parse().map_err(|_| self.wrong(format_args!("could not parse port {port:?}")))?;
        Ok((host.to_owned(), self.checked_port(number)?))
    }

    /// Seconds as a number, or text; nought is none.
    fn duration(&self) -> Result<Option<Duration>> {
        let duration = match self.value {
            Value::String(text) => duration::parse(text)
                .map_err(|why| self.wrong(format_args!("error parsing {}: {why}", self.name())))?,
            value => {
                let seconds = value.as_u64().ok_or_else(|| self.expected("a duration such as \"2s\""))?;
                Duration::from_secs(seconds)
            }
        };
        Ok(Some(duration).filter(|duration| !duration.is_zero()))
    }
}

#[cfg(test)]
mod tests;
