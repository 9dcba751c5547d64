//! OpenTelemetry: what became of messages with a sampled `traceparent`, as spans to an OTLP collector.
//!
//! The host tells of such messages under one subject while somebody subscribes to it; nothing else asks for it, so
//! that without this configuration no message is looked at for it. `config` says where to send, `spans` makes spans
//! of what is told, `export` sends them.

mod config;
mod export;
mod spans;

pub use config::OtelConfig;

use export::Exporter;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::subscribe::TRACES;
use natsd_plugin_api::{Delivery, Error, ErrorKind, Host, Result, SubscribeOptions, Subscription};
use std::sync::Arc;

/// Ends with its subscription.
pub struct Otel {
    exporter: Arc<Exporter>,
    _subscription: Subscription,
}

impl Otel {
    pub fn start(host: &Host, config: &OtelConfig) -> Result<Self> {
        let identity = host.identity()?;
        if identity.system_account.is_empty() {
            let text = "opentelemetry: traces are told in the system account: remove no_system_account, or \
                        name one";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let exporter = Arc::new(Exporter::new(host.clone(), config.clone(), &identity));
        exporter.clone().start();
        let options = SubscribeOptions {
            account: identity.system_account,
            delivery: Delivery::queued(),
            ..SubscribeOptions::to(TRACES.to_owned())
        };
        let to = exporter.clone();
        let subscription = host.subscribe(&options, move |batch| {
            for message in batch {
                to.take(message.payload());
            }
        })?;
        Ok(Self { exporter, _subscription: subscription })
    }

    /// For `/varz`: spans that were sent, and those that were lost.
    pub fn facts(&self) -> Map<String, Value> {
        let (sent, lost) = self.exporter.counts();
        Map::from_iter([("spans_sent".to_owned(), json!(sent)), ("spans_lost".to_owned(), json!(lost))])
    }
}
