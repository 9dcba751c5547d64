//! JetStream: streams that keep messages, and consumers that read them.
//!
//! Reading order: `wire` is what clients send and see, `store` keeps messages, `stream` and `consumer` are the
//! state machines, `api` has the rules of configurations, `server` runs it all.

pub mod api;
pub mod backup;
pub mod config;
pub mod consumer;
pub mod context;
mod duration;
pub mod filter;
pub mod outbox;
pub mod server;
pub mod store;
pub mod stream;
pub mod transform;
pub mod wire;

use config::Config;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{
    Apply, ConnectionEvent, Error, Event, EventObserver, Health, Host, Manifest, Plugin, Registrar,
    Registration, Result, Section, export_plugin, stream_store, tracing,
};
use parking_lot::Mutex;
use server::Server;
use std::sync::{Arc, OnceLock, Weak};

/// The folder for streams whose place is not configured.
const TEMPORARY: &str = "/tmp";

/// The configuration, without what nothing here can do yet.
fn read(section: &Section) -> Result<Config> {
    let config = Config::read(section)?;
    let unsupported = |place: &str, what: &str| {
        Err(Error::config(place, format_args!("natsd's JetStream does not support {what} yet: remove this")))
    };
    if config.default_domains.values().any(|domain| !domain.is_empty()) {
        return unsupported("default_js_domain", "leaf nodes");
    }
    Ok(config)
}

pub struct JetStream {
    host: Host,
    config: Mutex<Arc<Config>>,
    server: OnceLock<Arc<Server>>,
    observer: Mutex<Option<Registration>>,
}

export_plugin!(JetStream, "jetstream", keys: &config::KEYS);

impl Plugin for JetStream {
    fn manifest() -> Manifest {
        Manifest {
            config_keys: config::KEYS.map(str::to_owned).into(),
            // It may define the system account; and whoever keeps streams.
            wants: vec!["auth-jwt".to_owned(), format!("{}/*", stream_store::INTERFACE)],
            ..Manifest::default()
        }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config = read(section)?;
        Ok(Self {
            host,
            config: Mutex::new(Arc::new(config)),
            server: OnceLock::new(),
            observer: Mutex::default(),
        })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        let config = self.config.lock().clone();
        if !config.enabled {
            return Ok(());
        }
        tracing::info!("Starting JetStream");
        tracing::info!("  Store Directory: \"{}\"", config.store_dir(TEMPORARY));
        let server = Server::new(self.host.clone(), config.clone())?;
        server.start().await?;
        let mut info = Map::new();
        info.insert("jetstream".to_owned(), true.into());
        if !config.domain.is_empty() {
            info.insert("domain".to_owned(), config.domain.clone().into());
        }
        for kind in ["client", "websocket"] {
            register.info(kind, &info)?;
        }
        let accounts = Accounts(Arc::downgrade(&server));
        *self.observer.lock() = Some(register.observer(accounts)?);
        // `start` is called once.
        let _ = self.server.set(server);
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        let (before, after) = (self.config.lock().clone(), Arc::new(read(&section)?));
        if before.enabled != after.enabled {
            return Err(Error::unsupported("config reload not supported for jetstream: restart the server"));
        }
        before.check_reload(&after).map_err(Error::unsupported)?;
        Ok(Box::new(move || {
            *self.config.lock() = after.clone();
            if let Some(server) = self.server.get() {
                server.reconfigure(after);
            }
        }))
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        self.observer.lock().take();
        if let Some(server) = self.server.get() {
            server.stop().await;
        }
        Ok(())
    }

    fn health(&self) -> Health {
        let Some(server) = self.server.get() else { return Health::ok() };
        match server.trouble() {
            trouble if trouble.is_empty() => Health { text: server.damage(), ..Health::ok() },
            trouble => Health::failing(trouble),
        }
    }

    /// With a `kind`: the part of that monitoring endpoint, for its `params`. May wait for streams.
    fn introspect(&self, query: &Value) -> Result<Value> {
        let config = self.config.lock().clone();
        let Some(kind) = query.get("kind").and_then(Value::as_str) else {
            let store_dir = config.store_dir(TEMPORARY);
            return Ok(json!({ "enabled": config.enabled, "store_dir": store_dir, "domain": config.domain }));
        };
        let part = match self.server.get() {
            Some(server) => server.report(kind, query.get("params").unwrap_or(&Value::Null)),
            // MON-116: configured, but not running.
            None if config.enabled && kind == "healthz" => Some(json!([
                { "status_code": 503, "type": "JETSTREAM", "error": "JetStream not enabled" },
            ])),
            None => None,
        };
        Ok(part.map_or(Value::Null, |part| Value::Object(Map::from_iter([(kind.to_owned(), part)]))))
    }
}

/// Notes accounts that come later, what becomes of their limits, and the end of the server.
struct Accounts(Weak<Server>);

impl EventObserver for Accounts {
    fn on_event(&self, event: &Event) {
        let Some(server) = self.0.upgrade() else { return };
        match event {
            Event::AccountAdded { account } => server.account_added(account),
            Event::AccountChanged { account } => server.account_changed(account),
            Event::Shutdown => server.end_pulls(),
            _ => {}
        }
    }

    fn wants(&self, _: ConnectionEvent, _: &str) -> bool {
        false
    }
}
