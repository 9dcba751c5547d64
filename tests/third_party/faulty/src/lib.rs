//! `faulty`: panics wherever it is told to. What it breaks must stay its own.
//!
//! ```text
//! plugins { faulty { required: false, config { panic_in: ["subscriber", "authenticator"] } } }
//! ```
//!
//! `panic_in` takes: create, start, stop, reconfigure, apply, health, introspect, subscriber, queued, task,
//! blocking, authenticator, observer, service, open, read, write, close. It subscribes to `faulty.inline` and
//! `faulty.queued`, lets everybody in when well, and opens a listener on `listen` (`host:port`), whose transport hands
//! bytes through as they are.

use natsd_plugin_api::bytes::Bytes;
use natsd_plugin_api::{
    Apply, Attributes, AuthRequest, Authenticator, BoxFuture, Close, Delivery, Error, Event, EventObserver,
    Health, Host, Identity, ListenerFacts, ListenerSpec, Manifest, Peer, Plugin, Registrar, Registration,
    Result, Section, Service, SubscribeOptions, Subscription, Transport, TransportFactory, TransportSink,
    Verdict, export_plugin,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

const POINTS: &[&str] = &[
    "create",
    "start",
    "stop",
    "reconfigure",
    "apply",
    "health",
    "introspect",
    "subscriber",
    "queued",
    "task",
    "blocking",
    "authenticator",
    "observer",
    "service",
    "open",
    "read",
    "write",
    "close",
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    panic_in: BTreeSet<String>,
    listen: Option<String>,
}

/// Panics if told to; shared by all callbacks.
#[derive(Clone, Default)]
struct Trap(Arc<RwLock<BTreeSet<String>>>);

impl Trap {
    fn spring(&self, point: &str) {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).contains(point) {
            panic!("faulty was told to panic in {point}");
        }
    }

    fn set(&self, points: BTreeSet<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = points;
    }
}

struct Faulty {
    host: Host,
    config: Config,
    trap: Trap,
    subscriptions: Mutex<Vec<Subscription>>,
    registrations: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl Plugin for Faulty {
    fn manifest() -> Manifest {
        Manifest { provides: vec!["faulty.echo/1".into()], ..Manifest::default() }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let (config, trap) = (read(section)?, Trap::default());
        trap.set(config.panic_in.clone());
        trap.spring("create");
        Ok(Self { host, config, trap, subscriptions: Mutex::default(), registrations: Mutex::default() })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        self.trap.spring("start");
        self.subscribe("faulty.inline", "subscriber", Delivery::Inline)?;
        self.subscribe("faulty.queued", "queued", Delivery::queued())?;
        register.service("faulty.echo/1", Arc::new(Echo(self.trap.clone())))?;
        let mut registrations: Vec<Box<dyn Any + Send>> = vec![
            Box::new(register.authenticator(Arc::new(Door(self.trap.clone())))?),
            Box::new(register.observer(Watcher(self.trap.clone()))?),
        ];
        if let Some(listen) = &self.config.listen {
            registrations.push(Box::new(open(&register, listen, self.trap.clone()).await?));
        }
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner).extend(registrations);
        let trap = self.trap.clone();
        drop(self.host.spawn("trap", async move { trap.spring("task") }));
        let trap = self.trap.clone();
        // The task's or the job's panic is an error here, and nothing else.
        if let Err(error) = self.host.blocking(move || trap.spring("blocking")).await {
            natsd_plugin_api::tracing::warn!("blocking: {error}");
        }
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        let config = read(&section)?;
        self.trap.spring("reconfigure");
        Ok(Box::new(move || {
            self.trap.spring("apply");
            self.trap.set(config.panic_in);
        }))
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        self.trap.spring("stop");
        Ok(())
    }

    fn health(&self) -> Health {
        self.trap.spring("health");
        Health::ok()
    }

    fn introspect(&self, _query: &Value) -> Result<Value> {
        self.trap.spring("introspect");
        Ok(json!({ "points": POINTS }))
    }
}

impl Faulty {
    fn subscribe(&self, subject: &str, point: &'static str, delivery: Delivery) -> Result<()> {
        let (options, trap) =
            (SubscribeOptions { delivery, ..SubscribeOptions::to(subject) }, self.trap.clone());
        let subscription = self.host.subscribe(&options, move |_| trap.spring(point))?;
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).push(subscription);
        Ok(())
    }
}

fn read(section: &Section) -> Result<Config> {
    let config: Config = section.parse()?;
    match config.panic_in.iter().find(|point| !POINTS.contains(&point.as_str())) {
        Some(point) => Err(Error::config(
            "config.panic_in",
            format!("`{point}` is no point; there are: {}", POINTS.join(", ")),
        )),
        None => Ok(config),
    }
}

async fn open(register: &Registrar, listen: &str, trap: Trap) -> Result<Registration<ListenerFacts>> {
    let wrong = || Error::config("config.listen", format!("`{listen}` is not `host:port`"));
    let (host, port) = listen.rsplit_once(':').ok_or_else(wrong)?;
    let spec = ListenerSpec {
        name: "faulty".into(),
        kind: "client".into(),
        host: host.into(),
        port: port.parse().map_err(|_| wrong())?,
        ..ListenerSpec::default()
    };
    register.listener(&spec, Plain(trap)).await
}

struct Door(Trap);

impl Authenticator for Door {
    fn authenticate(&self, _request: AuthRequest) -> BoxFuture<'static, Verdict> {
        let trap = self.0.clone();
        Box::pin(async move {
            trap.spring("authenticator");
            Verdict::Allow(Identity::default())
        })
    }
}

struct Watcher(Trap);

impl EventObserver for Watcher {
    fn on_event(&self, _event: &Event) {
        self.0.spring("observer");
    }
}

struct Echo(Trap);

impl Service for Echo {
    fn call(&self, _method: &str, payload: Bytes) -> BoxFuture<'static, Result<Bytes>> {
        let trap = self.0.clone();
        Box::pin(async move {
            trap.spring("service");
            Ok(payload)
        })
    }
}

struct Plain(Trap);

impl TransportFactory for Plain {
    fn open(&self, _peer: &Peer) -> Result<Box<dyn Transport>> {
        self.0.spring("open");
        Ok(Box::new(PlainTransport(self.0.clone())))
    }
}

/// Hands bytes through.
struct PlainTransport(Trap);

impl Transport for PlainTransport {
    fn on_open(&mut self, out: &mut TransportSink<'_>) -> Result<(), Close> {
        out.ready(Attributes::default());
        Ok(())
    }

    fn on_read(&mut self, wire: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        self.0.spring("read");
        out.plain(wire);
        Ok(())
    }

    fn on_write(&mut self, plain: &[u8], out: &mut TransportSink<'_>) -> Result<(), Close> {
        self.0.spring("write");
        out.wire(plain);
        Ok(())
    }

    fn on_close(&mut self, _close: &Close, _out: &mut TransportSink<'_>) {
        self.0.spring("close");
    }
}

export_plugin!(Faulty, "faulty");
