//! Monitoring: what the server knows of itself as JSON, for people, probes and scrapers, over HTTP (MON-001) and
//! in the system account (EVT-001, SYS-001); and the traces of messages, by OTLP.
//!
//! The data comes from the host's snapshots and from other plugins; this crate is what stands in front of them.
//! Reading order: `config` says where to listen, `serve` accepts and speaks HTTP, `endpoints` answers; `events`
//! tells what happens, `requests` answers in the system account.

mod answer;
mod config;
mod dashboard;
mod endpoints;
mod events;
mod expvar;
mod health;
mod json;
mod lenient;
mod metrics;
mod otel;
mod page;
pub mod params;
pub mod query;
mod requests;
mod serve;
mod stacks;
mod stats;
mod stream;
mod time;

use config::Config;
use endpoints::Endpoints;
use events::Events;
use natsd_plugin_api::serde_json::{self, Map, Value};
use natsd_plugin_api::{
    Apply, Error, Health, Host, Manifest, Plugin, Registrar, Registration, Result, Section, export_plugin,
    tracing,
};
use otel::Otel;
use requests::Requests;
use serve::Serving;
use std::sync::{Arc, OnceLock};

pub struct Monitoring {
    host: Host,
    config: Config,
    endpoints: Arc<Endpoints>,
    /// Set once it listens.
    serving: OnceLock<Serving>,
    /// Set once it sends spans.
    otel: OnceLock<Otel>,
    events: Events,
    requests: Requests,
    /// Set once it watches.
    watching: OnceLock<[Registration; 2]>,
}

export_plugin!(Monitoring, "monitoring");

impl Plugin for Monitoring {
    fn manifest() -> Manifest {
        Manifest {
            config_keys: config::KEYS.map(str::to_owned).into(),
            // It may define the system account.
            wants: vec!["auth-jwt".to_owned()],
            autostart: true,
            ..Manifest::default()
        }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config = Config::read(section)?;
        let endpoints = Arc::new(Endpoints::new(host.clone(), &config));
        let events = Events::new(host.clone());
        let requests = Requests::new(host.clone(), events.clone());
        let (serving, watching, otel) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Self { host, config, endpoints, serving, otel, events, requests, watching })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        let watching = [register.observer(self.requests.clone())?, register.observer(self.events.clone())?];
        // `start` is called once.
        let _ = self.watching.set(watching);
        self.requests.serve_all()?;
        events::timers::start(&self.host, &self.events);
        if let Some(config) = &self.config.otel {
            // `start` is called once.
            let _ = self.otel.set(Otel::start(&self.host, config)?);
            tracing::info!("Sending spans of traced messages to {}", config.address);
        }
        let Some(listen) = self.config.listen().map_err(cannot_start)? else { return Ok(()) };
        let serving = Serving::open(&self.host, &listen, &self.endpoints).await.map_err(cannot_start)?;
        tracing::info!("Starting {} monitor on {}", listen.protocol.scheme(), serving.shown_address());
        // `start` is called once.
        let _ = self.serving.set(serving);
        Ok(())
    }

    /// Nothing here changes without a restart (CFG-049 to CFG-051).
    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        match self.config.difference(&Config::read(&section)?) {
            None => Ok(Box::new(|| ())),
            Some(difference) => {
                Err(Error::unsupported(format!("config reload not supported for {difference}")))
            }
        }
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        if let Some(serving) = self.serving.get() {
            serving.stop();
        }
        Ok(())
    }

    fn health(&self) -> Health {
        match self.serving.get() {
            Some(serving) if !serving.is_accepting() => {
                Health::failing("the monitoring port is not served any more")
            }
            _ => Health::ok(),
        }
    }

    /// `varz`: fields for `/varz`; `listeners`: what the ports file lists; `accountz`: how an account asks. The
    /// query's `kind` picks one.
    fn introspect(&self, query: &Value) -> Result<Value> {
        let mut varz = self.config.varz(self.serving.get().map(Serving::host));
        if let Some(otel) = self.otel.get() {
            varz.insert("natsd".to_owned(), serde_json::json!({ "opentelemetry": otel.facts() }));
        }
        varz.insert("http_req_stats".to_owned(), self.endpoints.request_counts());
        let listeners: Vec<Value> = self.serving.get().map(Serving::facts).into_iter().collect();
        let mut parts = Map::new();
        parts.insert("varz".to_owned(), Value::Object(varz));
        parts.insert("listeners".to_owned(), Value::Array(listeners));
        if let Some(account) = query.pointer("/params/account").and_then(Value::as_str) {
            parts.insert("accountz".to_owned(), self.requests.borders(account)?);
        }
        if let Some(kind) = query.get("kind").and_then(Value::as_str) {
            parts.retain(|name, _| name == kind);
        }
        Ok(Value::Object(parts))
    }
}

fn cannot_start(error: Error) -> Error {
    error.context("Can't start monitoring")
}
