//! `jetstream` in the server's and in accounts' configuration (JS-292 to JS-294).

use natsd_plugin_api::{Error, Result, Section};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys that the plugin owns.
pub const KEYS: [&str; 4] = ["jetstream", "store_dir", "default_js_domain", "accounts.*.jetstream"];

/// When stored messages are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before they are acknowledged: the default, and `sync_interval: always`.
    #[default]
    Always,
    /// Every so often; a power cut loses what came since.
    Interval(Duration),
}

/// The plugin's configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub enabled: bool,
    /// With `jetstream` at its end.
    pub store_dir: String,
    pub sync: Sync,
    pub domain: String,
    pub strict: bool,
    pub limits: Limits,
    /// Accounts named in the configuration; without any, the global account has JetStream.
    pub accounts: BTreeMap<String, AccountConfig>,
    pub memory_bytes_max: i64,
    pub storage_bytes_max: i64,
}

/// `limits {}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub request_queue_limit: usize,
    /// Nanoseconds; 0: none.
    pub duplicate_window: i64,
    pub max_ack_pending: i64,
    pub max_request_batch: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_queue_limit: 10_000, duplicate_window: 0, max_ack_pending: 0, max_request_batch: 0 }
    }
}

/// JetStream of one account; -1: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    pub enabled: bool,
    pub limits: AccountLimits,
}

/// As account information shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountLimits {
    pub max_memory: i64,
    pub max_storage: i64,
    pub max_streams: i64,
    pub max_consumers: i64,
    pub max_ack_pending: i64,
    pub memory_max_stream_bytes: i64,
    pub storage_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory: -1,
            max_storage: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            memory_max_stream_bytes: -1,
            storage_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}

impl Config {
    /// `temporary` is the folder for what has no other place.
    pub fn read(section: &Section, temporary: &str) -> Result<Self> {
        let mut config = Self {
            enabled: false,
            store_dir: String::new(),
            sync: Sync::Always,
            domain: String::new(),
            strict: true,
            limits: Limits::default(),
            accounts: BTreeMap::new(),
            memory_bytes_max: -1,
            storage_bytes_max: -1,
        };
        if let Some(value) = section.key("store_dir") {
            config.store_dir = text("store_dir", value)?;
        }
        if section.key("default_js_domain").is_some() {
            return Err(unsupported("default_js_domain", "leaf nodes"));
        }
        match section.key("jetstream") {
            None => {}
            Some(Value::Object(block)) => config.block(block)?,
            Some(value) => config.enabled = switch("jetstream", value)?,
        }
        for (path, value) in &section.keys {
            let Some(name) = path.strip_prefix("accounts.").and_then(|rest| rest.strip_suffix(".jetstream"))
            else {
                continue;
            };
            config.accounts.insert(name.to_owned(), account(path, value)?);
        }
        if config.store_dir.is_empty() {
            config.store_dir = format!("{}/nats", temporary.trim_end_matches('/'));
        }
        config.store_dir = format!("{}/jetstream", config.store_dir.trim_end_matches('/'));
        Ok(config)
    }

    fn block(&mut self, block: &Map<String, Value>) -> Result<()> {
        self.enabled = true;
        for (key, value) in block {
            let place = format!("jetstream.{key}");
            match key.to_ascii_lowercase().as_str() {
                "enabled" | "enable" => self.enabled = switch(&place, value)?,
                "store_dir" | "storedir" | "store" => self.store_dir = text(&place, value)?,
                "max_memory_store" | "max_mem_store" | "max_mem" | "max_memory" => {
                    self.memory_bytes_max = size(&place, value)?;
                }
                "max_file_store" | "max_file" => self.storage_bytes_max = size(&place, value)?,
                "domain" => self.domain = domain(&place, value)?,
                "strict" => self.strict = switch(&place, value)?,
                "sync_interval" | "sync" => self.sync = sync(&place, value)?,
                "unique_tag" | "extension_hint" => return Err(unsupported(&place, "clusters")),
                "limits" => self.limits_block(&place, value)?,
                "request_queue_limit" => self.limits.request_queue_limit = count(&place, value)?,
                "info_queue_limit" => drop(count(&place, value)?),
                "key"
                | "ek"
                | "encryption_key"
                | "prev_key"
                | "prev_ek"
                | "prev_encryption_key"
                | "cipher"
                | "tpm" => return Err(unsupported(&place, "encryption")),
                _ => return Err(Error::config(&place, format_args!("unknown field {key:?}"))),
            }
        }
        Ok(())
    }

    fn limits_block(&mut self, place: &str, value: &Value) -> Result<()> {
        let Value::Object(block) = value else { return Err(Error::config(place, "expected a map")) };
        for (key, value) in block {
            let place = format!("{place}.{key}");
            match key.as_str() {
                "max_ack_pending" => self.limits.max_ack_pending = size(&place, value)?,
                "max_request_batch" => self.limits.max_request_batch = size(&place, value)?,
                "duplicate_window" => {
                    self.limits.duplicate_window = duration(&place, value)?.as_nanos() as i64;
                }
                "max_ha_assets" => drop(size(&place, value)?),
                _ => return Err(Error::config(&place, format_args!("unknown field {key:?}"))),
            }
        }
        Ok(())
    }

    /// Whether an account has JetStream.
    pub fn enables(&self, account: &str) -> bool {
        match self.accounts.get(account) {
            Some(account) => account.enabled,
            None => self.accounts.is_empty() && account == "$G",
        }
    }

    pub fn account_limits(&self, account: &str) -> AccountLimits {
        self.accounts.get(account).map(|account| account.limits.clone()).unwrap_or_default()
    }
}

fn account(place: &str, value: &Value) -> Result<AccountConfig> {
    let mut config = AccountConfig { enabled: true, limits: AccountLimits::default() };
    let Value::Object(block) = value else {
        config.enabled = switch(place, value)?;
        return Ok(config);
    };
    let limits = &mut config.limits;
    for (key, value) in block {
        let place = format!("{place}.{key}");
        match key.to_ascii_lowercase().as_str() {
            "max_memory" | "max_mem" | "mem" | "memory" => limits.max_memory = size(&place, value)?,
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => {
                limits.max_storage = size(&place, value)?;
            }
            "max_streams" | "streams" => limits.max_streams = size(&place, value)?,
            "max_consumers" | "consumers" => limits.max_consumers = size(&place, value)?,
            "max_ack_pending" => limits.max_ack_pending = size(&place, value)?,
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
                limits.max_bytes_required = switch(&place, value)?;
            }
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => {
                limits.memory_max_stream_bytes = size(&place, value)?;
            }
            "disk_max_stream_bytes" | "store_max_stream_bytes" => {
                limits.storage_max_stream_bytes = size(&place, value)?;
            }
            "cluster_traffic" => return Err(unsupported(&place, "clusters")),
            _ => return Err(Error::config(&place, format_args!("unknown field {key:?}"))),
        }
    }
    Ok(config)
}

fn unsupported(place: &str, what: &str) -> Error {
    Error::config(place, format_args!("natsd's JetStream does not support {what} yet: remove this"))
}

fn text(place: &str, value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| Error::config(place, "expected a text"))
}

fn switch(place: &str, value: &Value) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "enabled" | "enable" | "true" => Ok(true),
            "disabled" | "disable" | "false" => Ok(false),
            _ => Err(Error::config(place, "expected `enabled` or `disabled`")),
        },
        _ => Err(Error::config(place, "expected a boolean")),
    }
}

/// A number, or one with a suffix such as `1G`.
fn size(place: &str, value: &Value) -> Result<i64> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    let wrong = || Error::config(place, "expected a number or a size such as 1G");
    let text = value.as_str().ok_or_else(wrong)?.trim().to_ascii_uppercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1_i64 << 40,
        _ => return Err(wrong()),
    };
    text[..digits].parse::<i64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

fn count(place: &str, value: &Value) -> Result<usize> {
    usize::try_from(size(place, value)?).map_err(|_| Error::config(place, "must not be negative"))
}

fn domain(place: &str, value: &Value) -> Result<String> {
    let domain = text(place, value)?;
    if domain.contains(['.', '*', '>']) || domain.contains(char::is_whitespace) {
        return Err(Error::config(place, format_args!("invalid domain name {domain:?}")));
    }
    Ok(domain)
}

fn sync(place: &str, value: &Value) -> Result<Sync> {
    if value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("always")) {
        return Ok(Sync::Always);
    }
    duration(place, value).map(Sync::Interval)
}

/// Go's way of writing; a number is seconds.
fn duration(place: &str, value: &Value) -> Result<Duration> {
    if let Some(seconds) = value.as_u64() {
        return Ok(Duration::from_secs(seconds));
    }
    let text = text(place, value)?;
    crate::stream::go_duration::parse(&text)
        .and_then(|ns| u64::try_from(ns).ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| Error::config(place, format_args!("{text:?} is not a duration such as 2m")))
}
