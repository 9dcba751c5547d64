//! What a plugin is: the trait its author writes, and what it says of itself.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::points::Registrar;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::Arc;

/// One plugin. The host makes one instance in a process.
///
/// `create` and `reconfigure` check and prepare but change nothing outside: `natsd -t` runs `create` and never
/// starts the plugin.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// What the plugin owns, provides and needs. Name and version are filled in by `export_plugin!`.
    fn manifest() -> Manifest {
        Manifest::default()
    }

    fn create(host: Host, config: &Section) -> Result<Self>;

    /// Opens what the plugin needs and registers what it provides. An error fails the plugin; what was
    /// registered until then is taken back.
    fn start(self: Arc<Self>, register: Registrar) -> impl Future<Output = Result<()>> + Send;

    /// Checks a new configuration and answers with the function that makes it take effect. That function is
    /// called only if every plugin and the core agreed, and must not fail.
    fn reconfigure(self: Arc<Self>, config: Section) -> impl Future<Output = Result<Apply>> + Send {
        let _ = config;
        std::future::ready(Err(Error::unsupported("its configuration cannot change without a restart")))
    }

    /// The server stops. Afterwards the host ends what is left of the plugin's tasks and registrations.
    fn stop(self: Arc<Self>) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    fn health(&self) -> Health {
        Health::ok()
    }

    /// A snapshot of the plugin as JSON, for monitoring; `query` says which part, null is all.
    fn introspect(&self, query: &Value) -> Result<Value> {
        let _ = query;
        Ok(Value::Null)
    }
}

/// Makes a checked configuration take effect.
pub type Apply = Box<dyn FnOnce() + Send>;

/// What a plugin says of itself before it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    /// The version of this crate that it was built with.
    pub api_version: String,
    /// Configuration keys that only this plugin reads, with `*` for any name: `jetstream`,
    /// `accounts.*.jetstream`. It starts when one of them is present.
    pub config_keys: Vec<String>,
    /// Names that others may require: services such as `natsd.raft/1`. The plugin's own name is implied.
    pub provides: Vec<String>,
    /// Must be there and start earlier.
    pub requires: Vec<String>,
    /// Starts earlier when it is there. A name that ends in `/*` means all that begin with what is before the star.
    pub wants: Vec<String>,
    /// Starts without any key.
    pub autostart: bool,
    /// Decides who may connect: the server does not go on without it, whatever `required` says.
    pub decides_logins: bool,
}

/// A plugin's part of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Section {
    /// The owned keys that are present, by their full path: `websocket`, `accounts.A.jetstream`.
    pub keys: Map<String, Value>,
    /// `config {}` of the plugin's entry in `plugins {}`.
    pub config: Value,
    /// Full paths, as `websocket.NAME`, of what stands in owned keys for `$NAME` to refer to: not an error when the
    /// plugin does not know it. Since 1.2.
    pub variables: Vec<String>,
    /// What the core's keys say that plugins may not contradict: `system_account`, `no_auth_user`, `auth_timeout_ms`;
    /// `accounts`: names of `accounts {}`; `users`: names and nkeys of users, wherever they stand,
    /// but not of more than a thousand. Since 1.4.
    pub core: Map<String, Value>,
}

impl Section {
    /// An owned key.
    pub fn key(&self, path: &str) -> Option<&Value> {
        self.keys.get(path)
    }

    /// Whether `$NAME` refers to what stands at this path.
    pub fn is_variable(&self, path: &str) -> bool {
        self.variables.iter().any(|variable| variable == path)
    }

    /// `config {}` as a type; absent reads as an empty block.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let value = match &self.config {
            Value::Null => Value::Object(Map::new()),
            value => value.clone(),
        };
        serde_json::from_value(value).map_err(|error| Error::config("config", error))
    }

    /// An owned key as a type; `None` when it is absent.
    pub fn parse_key<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(value) = self.key(path) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|error| Error::config(path, error))
    }
}

/// How a plugin is. Separate from its state: a started plugin may be unwell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub ok: bool,
    /// Why it is not, or what is worth knowing.
    #[serde(default)]
    pub text: String,
}

impl Health {
    pub fn ok() -> Self {
        Self { ok: true, text: String::new() }
    }

    pub fn failing(why: impl Into<String>) -> Self {
        Self { ok: false, text: why.into() }
    }
}
