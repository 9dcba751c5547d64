//! Which engine keeps a stream: natsd's files, memory, or another plugin's, by the server's configuration and the
//! stream's metadata.

use super::Server;
use crate::api::validate::STORE_ENGINE;
use crate::config::Config;
use crate::store::StoreEngine;
use crate::store::foreign::ForeignEngine;
use crate::wire::{ApiError, Storage, StreamConfig, error};
use natsd_plugin_api::{Error, Host, Result, stream_store, tracing};
use std::collections::BTreeMap;
use std::sync::Arc;

/// natsd's own files, as a name.
pub const FILE: &str = "file";

pub struct Engines {
    memory: Arc<dyn StoreEngine>,
    /// With [`FILE`] among them.
    named: BTreeMap<String, Arc<dyn StoreEngine>>,
    /// For file streams that name none.
    default: String,
}

impl Engines {
    /// Finds what other plugins provide.
    pub fn gather(
        host: &Host,
        config: &Config,
        file: Arc<dyn StoreEngine>,
        memory: Arc<dyn StoreEngine>,
    ) -> Result<Self> {
        let mut named = BTreeMap::from([(FILE.to_owned(), file)]);
        for plugin in host.plugins()? {
            let provided = plugin.provides.iter().filter_map(|name| engine_name(name));
            for name in provided {
                match host.stream_store(name) {
                    Ok(_) if named.contains_key(name) => {
                        tracing::error!(
                            "JetStream: the stream store of plugin '{}' is called `{name}`, as another is: left out",
                            plugin.name
                        );
                    }
                    Ok(client) => {
                        named.insert(name.to_owned(), Arc::new(ForeignEngine::new(name, client)));
                    }
                    Err(error) => {
                        tracing::warn!(
                            "JetStream: no stream store `{name}` from plugin '{}': {error}",
                            plugin.name
                        );
                    }
                }
            }
        }
        let default = config.store_engine.clone().unwrap_or_else(|| FILE.to_owned());
        let engines = Self { memory, named, default };
        if !engines.named.contains_key(&engines.default) {
            return Err(Error::config("jetstream.store_engine", engines.unknown(&engines.default)));
        }
        Ok(engines)
    }

    /// The engine of a new stream.
    pub fn choose(&self, config: &StreamConfig) -> Result<Arc<dyn StoreEngine>, ApiError> {
        let invalid = |why: String| error::STREAM_INVALID_CONFIG.with(why);
        let wanted = config.metadata.get(STORE_ENGINE);
        match (config.storage, wanted) {
            (Storage::Memory, None) => Ok(self.memory.clone()),
            (Storage::Memory, Some(_)) => {
                Err(invalid(format!("metadata '{STORE_ENGINE}' needs storage type file")))
            }
            (Storage::File, wanted) => {
                let name = wanted.unwrap_or(&self.default);
                let engine = self.named.get(name);
                engine
                    .cloned()
                    .ok_or_else(|| invalid(format!("metadata '{STORE_ENGINE}': {}", self.unknown(name))))
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
        format!("no plugin that has started provides a stream store '{name}'; there is: {}", known.join(", "))
    }

    /// Those that outlive a restart, with their names.
    pub fn lasting(&self) -> impl Iterator<Item = (&str, &Arc<dyn StoreEngine>)> {
        self.named.iter().map(|(name, engine)| (name.as_str(), engine))
    }

    /// What is wrong with any of them; empty when nothing is.
    pub fn trouble(&self) -> String {
        let all = self.lasting().map(|(_, engine)| engine.trouble());
        all.filter(|trouble| !trouble.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// What damage cost any of them since the start; empty when there was none.
    pub fn damage(&self) -> String {
        let all = self.lasting().map(|(_, engine)| engine.damage());
        all.filter(|damage| !damage.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

fn engine_name(provided: &str) -> Option<&str> {
    provided.strip_prefix(stream_store::INTERFACE)?.strip_prefix('/').filter(|name| !name.is_empty())
}

impl Server {
    /// The engine that keeps a stream of this configuration.
    pub(super) fn engine_of(&self, config: &StreamConfig) -> Result<Arc<dyn StoreEngine>, ApiError> {
        let engines = self.engines.get();
        let engines = engines.ok_or_else(|| error::STREAM_STORE_FAILED.with("the store is not open"))?;
        engines.choose(config)
    }
}
