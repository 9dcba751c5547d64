//! The plugin `websocket`: NATS clients over WebSocket.
//!
//! - [`config`] reads `websocket {}`; [`duration`] its durations
//! - [`request`], [`origin`] and [`handshake`] decide about an upgrade
//! - [`frame`] and [`deflate`] are the two codecs of RFC 6455 and RFC 7692
//! - [`transport`] puts them together for a connection
//!
//! All of them are free of I/O; the host owns the socket, TLS and the NATS protocol.

pub mod config;
pub mod deflate;
pub mod duration;
pub mod frame;
pub mod handshake;
pub mod origin;
pub mod request;
pub mod transport;

use arc_swap::ArcSwap;
use config::{Config, KEY};
use natsd_plugin_api::tracing::{info, warn};
use natsd_plugin_api::{
    Apply, Error, Host, ListenerFacts, Manifest, Plugin, Registrar, Registration, Result, Section,
    export_plugin,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use transport::{Factory, Shared};

/// What the server takes without `max_payload`.
const DEFAULT_MAX_PAYLOAD: u64 = 1 << 20;

pub struct WebSocket {
    host: Host,
    shared: Arc<Shared>,
    /// In effect.
    config: Mutex<Config>,
    listener: Mutex<Option<Registration<ListenerFacts>>>,
}

export_plugin!(WebSocket, "websocket", keys: &[KEY]);

impl Plugin for WebSocket {
    fn manifest() -> Manifest {
        Manifest { config_keys: vec![KEY.to_owned()], ..Manifest::default() }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config = Config::checked(section, &host)?;
        let rules = ArcSwap::from_pointee(config.upgrade.clone());
        let shared = Arc::new(Shared { rules, max_payload: AtomicU64::new(DEFAULT_MAX_PAYLOAD) });
        Ok(Self { host, shared, config: Mutex::new(config), listener: Mutex::new(None) })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        let config = self.config.lock().clone();
        if config.listen.port == 0 {
            return Ok(());
        }
        self.note_max_payload();
        let factory = Factory { shared: self.shared.clone() };
        let listener = register
            .listener(&config.spec(), factory)
            .await
            .map_err(|error| error.context("Unable to listen for websocket connections"))?;
        let scheme = if config.listen.tls.is_some() { "wss" } else { "ws" };
        let port = port_of(listener.facts());
        info!("Listening for websocket clients on {scheme}://{}:{port}", config.listen.host());
        if config.listen.tls.is_none() {
            warn!("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
        }
        *self.listener.lock() = Some(listener);
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        let new = Config::checked(&section, &self.host)?;
        if let Some((key, old, new)) = self.config.lock().listen.fixed_difference(&new.listen) {
            let text = format!("config reload not supported for Websocket: old={old}, new={new}");
            return Err(Error::config(&format!("{KEY}.{key}"), text));
        }
        let listener = self.listener.lock();
        let change = listener.as_ref().map(|listener| listener.prepare(&new.spec()));
        let change = change.transpose().map_err(|error| error.within(KEY))?;
        drop(listener);
        Ok(Box::new(move || {
            if let Some(change) = change {
                change.apply();
            }
            self.note_max_payload();
            self.shared.rules.store(Arc::new(new.upgrade.clone()));
            *self.config.lock() = new;
        }))
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        drop(self.listener.lock().take());
        Ok(())
    }

    fn introspect(&self, _query: &Value) -> Result<Value> {
        let port = self.listener.lock().as_ref().map(|listener| port_of(listener.facts()));
        let facts = port.map_or_else(|| json!({}), |port| self.config.lock().facts(port));
        Ok(json!({ "varz": { KEY: facts } }))
    }
}

impl WebSocket {
    /// How big messages may be is the server's to say; an older host does not tell.
    fn note_max_payload(&self) {
        let told = self.host.identity().ok().and_then(|identity| identity.extra.get("max_payload")?.as_u64());
        self.shared.max_payload.store(told.unwrap_or(DEFAULT_MAX_PAYLOAD), Ordering::Relaxed);
    }
}

/// As bound: a configured -1 says nothing.
fn port_of(facts: &ListenerFacts) -> u16 {
    facts.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
}
