//! `redb`: streams kept in a redb database, as an example of `natsd.stream-store/1`.
//!
//! ```text
//! plugins { redb { config { file: "/data/streams.redb" } } }
//! jetstream { store_engine: redb }      # for all streams with storage `file`; or for one, by its metadata:
//!                                       # "natsd.store": "redb"
//! ```
//!
//! The modules: `backend` lets redb use the files that the host lends, `database` writes what all streams have committed in one
//! transaction at a time, `index` knows in memory which message is where, `store` is a stream, `engine` finds them.
//!
//! What it does not do: an index of all messages is in memory, and a message that was erased stays readable in free
//! pages of the file until redb uses them again. Streams that must forget belong into natsd's own store.

mod backend;
mod database;
mod engine;
mod index;
mod record;
mod store;

pub use database::Run;
pub use engine::RedbEngine;

use natsd_plugin_api::{
    Error, Health, Host, Manifest, Plugin, Registrar, Result, Section, export_plugin, stream_store,
};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};

/// What configurations and metadata call it.
const NAME: &str = "redb";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Made when it is not there; its folder is not.
    file: String,
}

struct Redb {
    host: Host,
    config: Config,
    engine: OnceLock<Arc<RedbEngine>>,
}

impl Plugin for Redb {
    fn manifest() -> Manifest {
        Manifest { provides: vec![stream_store::service_name(NAME)], ..Manifest::default() }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config: Config = section.parse()?;
        if config.file.is_empty() {
            return Err(Error::config("config.file", "must name the database's file"));
        }
        Ok(Self { host, config, engine: OnceLock::new() })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        let (host, file) = (self.host.clone(), self.config.file.clone());
        let opened = self.host.blocking(move || {
            let backend = backend::Lent::open(&host.files(), &file)?;
            RedbEngine::open(backend, Run::OnThreads(host))
        });
        let engine = Arc::new(opened.await??);
        register.stream_store(NAME, engine.clone())?;
        // `start` is called once.
        let _ = self.engine.set(engine);
        Ok(())
    }

    fn health(&self) -> Health {
        match self.engine.get().map(|engine| stream_store::StreamEngine::trouble(&**engine)) {
            Some(trouble) if !trouble.is_empty() => Health::failing(trouble),
            _ => Health::ok(),
        }
    }
}

export_plugin!(Redb, "redb");
