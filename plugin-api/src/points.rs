//! Registering what a plugin provides: listeners with transports, authenticators, observers, INFO fields,
//! services, stream stores. Subscriptions are opened on [`Host`].

use crate::abi::import;
use crate::abi::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use crate::auth::{Authenticator, AuthenticatorOptions};
use crate::error::Result;
use crate::events::EventObserver;
use crate::host::Host;
use crate::services::Service;
use crate::stream_store::{StreamEngine, service_name};
use crate::transport::{ListenerFacts, ListenerSpec, TransportFactory};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Given to `start`; may be kept for later, for example to open a listener after a reload.
///
/// What is registered stays until the returned value is dropped, or the plugin has stopped.
#[derive(Clone)]
pub struct Registrar(pub(crate) Host);

impl Registrar {
    /// Opens a listening socket whose connections go through `factory`'s transports.
    pub async fn listener(
        &self,
        spec: &ListenerSpec,
        factory: impl TransportFactory,
    ) -> Result<Registration<ListenerFacts>> {
        let factory = FfiTransportFactory::new(Box::new(factory));
        let adding = import::listener_add(&self.0.tables, &serde_json::to_string(spec)?, factory);
        let facts: ListenerFacts = serde_json::from_str(adding.await?.as_str())?;
        Ok(self.registration(facts.id, import::listener_remove, facts))
    }

    pub fn authenticator(&self, authenticator: Arc<dyn Authenticator>) -> Result<Registration> {
        let id = import::authenticator_add(&self.0.tables, FfiAuthenticator::new(authenticator))?;
        Ok(self.registration(id, import::authenticator_remove, ()))
    }

    /// As [`Registrar::authenticator`], with options. Since 1.4.
    pub fn authenticator_with(
        &self,
        authenticator: Arc<dyn Authenticator>,
        options: &AuthenticatorOptions,
    ) -> Result<Registration> {
        let options = serde_json::to_string(options)?;
        let authenticator = FfiAuthenticator::new(authenticator);
        let id = import::authenticator_add_with(&self.0.tables, authenticator, &options)?;
        Ok(self.registration(id, import::authenticator_remove, ()))
    }

    pub fn observer(&self, observer: impl EventObserver) -> Result<Registration> {
        let id = import::observer_add(&self.0.tables, FfiObserver::new(Box::new(observer)))?;
        Ok(self.registration(id, import::observer_remove, ()))
    }

    /// Adds fields to the INFO of connections of a kind (`client`, `websocket`, …), in place of what this plugin
    /// added for the kind before. A field of the core cannot be replaced. Ends with the plugin.
    pub fn info(&self, kind: &str, fields: &Map<String, Value>) -> Result<()> {
        import::info_set(&self.0.tables, kind, &serde_json::to_string(fields)?)
    }

    /// Provides a service to other plugins under a name such as `acme.geo/1`, which the manifest's `provides`
    /// should list. Ends with the plugin.
    pub fn service(&self, name: &str, service: Arc<dyn Service>) -> Result<()> {
        import::provide(&self.0.tables, name, FfiCall::new(service))
    }

    /// Provides streams to `jetstream` under a name, by which configurations and the metadata of streams choose it.
    /// The manifest's `provides` must list `natsd.stream-store/1/` with the name behind it. Ends with the plugin.
    /// Since 1.5.
    pub fn stream_store(&self, name: &str, engine: Arc<dyn StreamEngine>) -> Result<()> {
        import::provide(&self.0.tables, &service_name(name), FfiCall::stream_engine(engine))
    }

    fn registration<T>(&self, id: u64, remove: fn(&import::Tables, u64), facts: T) -> Registration<T> {
        Registration { host: self.0.clone(), id, remove, facts }
    }
}

/// Something registered; dropping it takes it back.
#[must_use = "dropping a registration takes it back"]
pub struct Registration<T = ()> {
    host: Host,
    id: u64,
    remove: fn(&import::Tables, u64),
    facts: T,
}

impl<T> Registration<T> {
    /// What the host answered, such as the address of a listener.
    pub fn facts(&self) -> &T {
        &self.facts
    }
}

impl Registration<ListenerFacts> {
    /// Checks and prepares what changes at an open listener, for `reconfigure`. Only TLS can change, and whether
    /// there is any cannot; connections that are open stay as they are. Since 1.2.
    pub fn prepare(&self, spec: &ListenerSpec) -> Result<ListenerChange> {
        import::listener_prepare(&self.host.tables, self.id, &serde_json::to_string(spec)?)?;
        Ok(ListenerChange { host: self.host.clone(), id: self.id, applied: false })
    }
}

/// A prepared change of a listener. Dropped, it is forgotten.
#[must_use = "a change takes effect when it is applied"]
pub struct ListenerChange {
    host: Host,
    id: u64,
    applied: bool,
}

impl ListenerChange {
    pub fn apply(mut self) {
        self.applied = true;
    }
}

impl Drop for ListenerChange {
    fn drop(&mut self) {
        import::listener_finish(&self.host.tables, self.id, self.applied);
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        (self.remove)(&self.host.tables, self.id);
    }
}
