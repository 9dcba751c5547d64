//! `jetstream` of the server and of accounts, `store_dir`, `default_js_domain` (JS-292 to JS-294, CFG-142).
//!
//! Not here: how large memory and disk are, and where temporary files lie; whoever asks knows.

mod account;
mod field;
mod reload;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use natsd_plugin_api::{Error, ErrorKind, Result, Section};
use serde_json::Value;

use crate::api::limits::{ServerLimits, Tiers};
use field::Field;

/// Keys that the plugin owns.
pub const KEYS: [&str; 4] = ["jetstream", "store_dir", "default_js_domain", "accounts.*.jetstream"];

const GLOBAL_ACCOUNT: &str = "$G";
/// In the folder that is configured.
const STORE_FOLDER: &str = "jetstream";
const MEMORY_DEFAULT: i64 = 256 << 20;
const STORAGE_DEFAULT: i64 = 1 << 40;

/// The plugin's configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub enabled: bool,
    /// As configured; see [`Config::store_dir`].
    pub folder: Option<String>,
    /// The stream store for file streams that name none; `None`: natsd's own.
    pub store_engine: Option<String>,
    pub sync: Sync,
    /// Empty: none.
    pub domain: String,
    /// Whether unknown fields of requests are errors (JS-005).
    pub strict: bool,
    /// None: by what the machine has; see [`Config::memory_bytes_max`].
    pub max_memory: Option<i64>,
    pub max_file: Option<i64>,
    pub limits: ServerLimits,
    pub queues: Queues,
    pub encryption: Option<Encryption>,
    /// Accounts that say something of JetStream; None: they have it not.
    pub accounts: BTreeMap<String, Option<Tiers>>,
    /// Of accounts without JetStream: which domain their requests go to; empty: none.
    pub default_domains: BTreeMap<String, String>,
    pub cluster: Cluster,
}

/// When stored messages are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before they are acknowledged: the default, and `sync_interval: always`.
    #[default]
    Always,
    /// Every so often; a power cut loses what came since.
    Interval(Duration),
}

/// How much may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Requests of the API (JS-010).
    pub requests_max: usize,
    pub info_requests_max: usize,
    /// Messages to store, a stream (JS-142).
    pub messages_max: usize,
    pub message_bytes_max: usize,
    /// Disk operations at once.
    pub concurrent_io_max: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            requests_max: 10_000,
            info_requests_max: 10_000,
            messages_max: 100_000,
            message_bytes_max: 128 << 20,
            concurrent_io_max: 4096,
        }
    }
}

/// At rest. The keys are the texts in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Empty: no longer encrypted, with a `previous_key` for what is.
    pub key: String,
    /// What files may still be encrypted with; empty: none.
    pub previous_key: String,
    pub cipher: Cipher,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    #[default]
    ChaCha20Poly1305,
    AesGcm,
}

/// Settings that mean something to servers in a cluster or with leaf nodes only. One server alone is the same
/// with and without them, in nats-server too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub unique_tag: String,
    pub extension_hint: String,
    pub max_outstanding_catchup: i64,
    pub meta_compact: i64,
    pub meta_compact_size: i64,
    pub meta_compact_sync: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            folder: None,
            store_engine: None,
            sync: Sync::Always,
            domain: String::new(),
            strict: true,
            max_memory: None,
            max_file: None,
            limits: ServerLimits::default(),
            queues: Queues::default(),
            encryption: None,
            accounts: BTreeMap::new(),
            default_domains: BTreeMap::new(),
            cluster: Cluster::default(),
        }
    }
}

impl Config {
    pub fn read(section: &Section) -> Result<Self> {
        let mut config = Self::default();
        if let Some(value) = section.key("store_dir").or_else(|| section.key("storedir")) {
            config.folder = Some(Field::top("store_dir", value).text()?);
        }
        if let Some(value) = section.key("jetstream") {
            server::read(&mut config, &Field::top("jetstream", value))?;
        }
        for (path, value) in &section.keys {
            let account = path.strip_prefix("accounts.").and_then(|rest| rest.strip_suffix(".jetstream"));
            if let Some(account) = account {
                config.accounts.insert(account.to_owned(), account::read(&Field::top(path, value))?);
            }
        }
        if let Some(value) = section.key("default_js_domain") {
            config.default_domains = default_domains(&Field::top("default_js_domain", value), &config)?;
        }
        Ok(config)
    }

    /// The limits of an account that has JetStream. Where no account says anything of it, the global one has it.
    pub fn account(&self, name: &str) -> Option<Tiers> {
        match self.accounts.get(name) {
            Some(tiers) => tiers.clone(),
            None if self.accounts.is_empty() && name == GLOBAL_ACCOUNT => Some(Tiers::default()),
            None => None,
        }
    }

    /// Where streams are kept; `temporary` is the folder for what may be lost at a restart of the machine (JS-292).
    pub fn store_dir(&self, temporary: &str) -> String {
        let folder = match self.folder.as_deref().filter(|folder| !folder.is_empty()) {
            Some(folder) => folder.trim_end_matches('/').to_owned(),
            None => format!("{}/nats", temporary.trim_end_matches('/')),
        };
        let is_named = folder.rsplit('/').next() == Some(STORE_FOLDER);
        if is_named { folder } else { format!("{folder}/{STORE_FOLDER}") }
    }

    /// For memory streams of all accounts; without a setting three quarters of the machine's (JS-292).
    pub fn memory_bytes_max(&self, of_machine: Option<u64>) -> i64 {
        self.max_memory.unwrap_or_else(|| of_machine.map_or(MEMORY_DEFAULT, three_quarters))
    }

    /// For file streams of all accounts; without a setting three quarters of what is free.
    pub fn storage_bytes_max(&self, free: Option<u64>) -> i64 {
        self.max_file.unwrap_or_else(|| free.map_or(STORAGE_DEFAULT, three_quarters))
    }
}

fn three_quarters(bytes: u64) -> i64 {
    i64::try_from(bytes / 4 * 3).unwrap_or(i64::MAX)
}

/// Which domain accounts without JetStream ask (JS-062).
fn default_domains(block: &Field<'_>, config: &Config) -> Result<BTreeMap<String, String>> {
    let mut domains = BTreeMap::new();
    for field in block.fields()? {
        let (account, domain) = (field.key.to_owned(), field.text()?);
        if !domain.is_empty() {
            if matches!(config.accounts.get(&account), Some(Some(_))) {
                let text = format!("contains account name {account:?} with enabled JetStream");
                return Err(block.wrong(text));
            }
            server::check_domain(&field, &domain)?;
        }
        domains.insert(account, domain);
    }
    Ok(domains)
}

/// Which part of a configuration nothing here can do yet, said in a way that names the remedy.
fn unsupported(field: &Field<'_>, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{}: not supported: {why}", field.place))
}

/// A value that is on or off: a boolean or a word.
fn switch(field: &Field<'_>) -> Result<bool> {
    match field.value {
        Value::Bool(is_on) => Ok(*is_on),
        Value::String(text) => {
            match text.to_ascii_lowercase().as_str() {
                "enabled" | "enable" => Ok(true),
                "disabled" | "disable" => Ok(false),
                _ => Err(field
                    .wrong(format_args!("Expected 'enabled' or 'disabled' for string value, got '{text}'"))),
            }
        }
        _ => Err(field.expected("map, bool or string to define JetStream")),
    }
}

#[cfg(test)]
mod tests;
