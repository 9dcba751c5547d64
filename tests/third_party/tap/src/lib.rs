//! `tap`: counts the messages on configured subjects, and publishes the totals from time to time.
//!
//! ```text
//! plugins { tap { config {
//!   subjects: ["orders.>"], totals_subject: "tap.totals", interval_ms: 1000
//! } } }
//! ```
//!
//! Shows an inline subscription (it only counts), a timer task, introspection, and a reload that swaps both.

use natsd_plugin_api::{
    Apply, Error, Host, Manifest, Plugin, PublishRef, Registrar, Result, Section, SubscribeOptions,
    Subscription, Task, export_plugin,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    account: String,
    subjects: Vec<String>,
    /// Empty: totals are only shown on request.
    totals_subject: String,
    interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: String::new(),
            subjects: Vec::new(),
            totals_subject: String::new(),
            interval_ms: 1000,
        }
    }
}

impl Config {
    fn read(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        if config.interval_ms == 0 {
            return Err(Error::config("config.interval_ms", "must be at least 1"));
        }
        if config.subjects.iter().any(String::is_empty) {
            return Err(Error::config("config.subjects", "a subject must not be empty"));
        }
        Ok(config)
    }
}

struct Tap {
    host: Host,
    running: Mutex<Running>,
}

/// What a configuration has set in motion; replaced as a whole by a reload.
struct Running {
    config: Config,
    taps: Vec<Arc<Count>>,
    subscriptions: Vec<Subscription>,
    publisher: Option<Task<()>>,
}

/// One subject's totals.
struct Count {
    subject: String,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Plugin for Tap {
    fn manifest() -> Manifest {
        Manifest::default()
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config = Config::read(section)?;
        let running = Running { config, taps: Vec::new(), subscriptions: Vec::new(), publisher: None };
        Ok(Self { host, running: Mutex::new(running) })
    }

    async fn start(self: Arc<Self>, _register: Registrar) -> Result<()> {
        let config = self.lock().config.clone();
        let running = self.run(config)?;
        *self.lock() = running;
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        // Subscribing may fail, so it is done now; until the reload is agreed on, both sets count.
        let next = self.run(Config::read(&section)?)?;
        Ok(Box::new(move || {
            let old = std::mem::replace(&mut *self.lock(), next);
            old.stop();
        }))
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        let mut running = self.lock();
        running.subscriptions.clear();
        Ok(())
    }

    fn introspect(&self, _query: &Value) -> Result<Value> {
        Ok(totals(&self.lock().taps))
    }
}

impl Tap {
    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, config: Config) -> Result<Running> {
        let (mut taps, mut subscriptions) = (Vec::new(), Vec::new());
        for subject in &config.subjects {
            let count = Arc::new(Count { subject: subject.clone(), messages: 0.into(), bytes: 0.into() });
            let options =
                SubscribeOptions { account: config.account.clone(), ..SubscribeOptions::to(subject) };
            let counted = count.clone();
            let subscription = self.host.subscribe(&options, move |batch| {
                // Once a batch, not once a message: the counters are shared.
                let bytes: usize = batch.iter().map(|message| message.payload().len()).sum();
                counted.messages.fetch_add(batch.len() as u64, Ordering::Relaxed);
                counted.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            });
            subscriptions.push(
                subscription.map_err(|error| error.context(format_args!("config.subjects: {subject}")))?,
            );
            taps.push(count);
        }
        let publisher = (!config.totals_subject.is_empty()).then(|| {
            self.host.spawn("totals", publish_totals(self.host.clone(), config.clone(), taps.clone()))
        });
        Ok(Running { config, taps, subscriptions, publisher })
    }
}

impl Running {
    fn stop(self) {
        if let Some(publisher) = &self.publisher {
            publisher.abort();
        }
    }
}

async fn publish_totals(host: Host, config: Config, taps: Vec<Arc<Count>>) {
    loop {
        host.sleep(Duration::from_millis(config.interval_ms)).await;
        let text = totals(&taps).to_string();
        let message = PublishRef::new(config.totals_subject.as_bytes(), text.as_bytes());
        if let Err(error) = host.publish(&config.account, message) {
            natsd_plugin_api::tracing::warn!("cannot publish the totals: {error}");
        }
    }
}

fn totals(taps: &[Arc<Count>]) -> Value {
    let totals = taps.iter().map(|count| {
        let (messages, bytes) = (count.messages.load(Ordering::Relaxed), count.bytes.load(Ordering::Relaxed));
        (count.subject.clone(), json!({ "messages": messages, "bytes": bytes }))
    });
    Value::Object(totals.collect())
}

export_plugin!(Tap, "tap");
