//! Stands in for the server: delivers to subscribers in memory, and remembers what plugins register.

use natsd::config::options::{PluginDeclaration, PluginsOptions};
use natsd::plugins::points::{Subscriber, TransportPoint};
use natsd::plugins::services::HostServices;
use natsd::plugins::{Plugins, PluginsError};
use natsd::runtime::plugin_tasks::TokioServices;
use natsd::runtime::plugin_tls::PluginTls;
use natsd_plugin_api::{
    AccountFacts, Attributes, BoxFuture, CloseReason, ConnectionFacts, Error, ListenerFacts, ListenerSpec,
    MessageRef, Outcome, PublishRef, Result, ServerIdentity, TransportOut,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct StandIn {
    next_id: AtomicU64,
    subscriptions: Mutex<BTreeMap<u64, (String, Arc<Subscriber>)>>,
    pub listeners: Mutex<BTreeMap<u64, (ListenerSpec, Arc<TransportPoint>)>>,
    pub published: Mutex<Vec<(String, Vec<u8>)>>,
    pub info: Mutex<BTreeMap<String, Map<String, Value>>>,
    pub finished: Mutex<Vec<(u64, bool)>>,
    pub closed: Mutex<Vec<(u64, CloseReason, String)>>,
}

impl StandIn {
    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// As a client would publish: one chunk with all payloads.
    pub fn client_publishes(&self, subject: &str, payloads: &[&[u8]]) -> usize {
        let receivers: Vec<Arc<Subscriber>> = {
            let subscriptions = self.subscriptions.lock().unwrap();
            subscriptions
                .values()
                .filter(|entry| covers(&entry.0, subject))
                .map(|entry| entry.1.clone())
                .collect()
        };
        let batch: Vec<MessageRef<'_>> =
            payloads.iter().map(|payload| MessageRef::new(subject.as_bytes(), b"", b"", payload)).collect();
        receivers.iter().for_each(|subscriber| subscriber.deliver(&batch));
        receivers.len()
    }

    pub fn subscriptions(&self) -> usize {
        self.subscriptions.lock().unwrap().len()
    }
}

fn covers(pattern: &str, subject: &str) -> bool {
    pattern == subject || pattern.strip_suffix('>').is_some_and(|prefix| subject.starts_with(prefix))
}

impl HostServices for StandIn {
    fn publish(
        &self,
        _plugin: &str,
        _account: &str,
        messages: &[PublishRef<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<u64> {
        let mut delivered = 0;
        for (at, message) in messages.iter().enumerate() {
            let subject = String::from_utf8_lossy(message.match_subject()).into_owned();
            let receivers = self.client_publishes(&subject, &[message.payload()]);
            self.published.lock().unwrap().push((subject, message.payload().to_vec()));
            if let Some(outcome) = outcomes.get_mut(at) {
                *outcome = Outcome::delivered(receivers as u32);
            }
            delivered += receivers as u64;
        }
        Ok(delivered)
    }

    fn subscribe(
        &self,
        _: &str,
        _: &str,
        subject: &str,
        _: &str,
        subscriber: Arc<Subscriber>,
    ) -> Result<u64> {
        if subject.contains(' ') {
            return Err(Error::other(format!("`{subject}` is not a subject")));
        }
        let id = self.id();
        self.subscriptions.lock().unwrap().insert(id, (subject.to_owned(), subscriber));
        Ok(id)
    }

    fn unsubscribe(&self, subscription: u64) {
        self.subscriptions.lock().unwrap().remove(&subscription);
    }

    fn count_interest(&self, _: &str, subject: &[u8], _: &[u8]) -> Result<u64> {
        let subscriptions = self.subscriptions.lock().unwrap();
        Ok(subscriptions.values().filter(|(wanted, _)| wanted.as_bytes() == subject).count() as u64)
    }

    fn count_exact_interest(&self, _: &str, subject: &[u8], _: &[u8]) -> Result<u64> {
        let subscriptions = self.subscriptions.lock().unwrap();
        Ok(subscriptions.values().filter(|(wanted, _)| wanted.as_bytes() == subject).count() as u64)
    }

    fn watch_interest(&self, _: &str, _: &[u8], _: Arc<Subscriber>) -> Result<u64> {
        Err(Error::unsupported("nothing can be watched here"))
    }

    fn unwatch_interest(&self, _: u64) {}

    fn accounts(&self) -> Vec<String> {
        vec!["$G".into(), "$SYS".into()]
    }

    fn account(&self, name: &str) -> Result<AccountFacts> {
        match name {
            "$G" => Ok(AccountFacts { name: name.into(), connections: 3, ..AccountFacts::default() }),
            _ => Err(Error::not_found(format!("there is no account `{name}`"))),
        }
    }

    fn connection(&self, id: u64) -> Result<ConnectionFacts> {
        Ok(ConnectionFacts { id, kind: "client".into(), ..ConnectionFacts::default() })
    }

    fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()> {
        self.closed.lock().unwrap().push((id, reason, text.into()));
        Ok(())
    }

    fn lame_duck_connection(&self, id: u64) -> Result<()> {
        Err(Error::not_found(format!("no connection {id}")))
    }

    fn set_permissions(&self, id: u64, _: Option<Value>) -> Result<()> {
        Err(Error::not_found(format!("no connection {id}")))
    }

    fn reload(&self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn identity(&self) -> ServerIdentity {
        ServerIdentity { name: "stand-in".into(), ..ServerIdentity::default() }
    }

    fn snapshot(&self, kind: &str, params: &Value) -> Result<String> {
        Ok(serde_json::json!({ "kind": kind, "params": params }).to_string())
    }

    fn add_listener(
        &self,
        _plugin: &str,
        spec: ListenerSpec,
        transports: Arc<TransportPoint>,
    ) -> BoxFuture<'static, Result<ListenerFacts>> {
        let id = self.id();
        let address = format!("{}:{}", spec.host, spec.port);
        self.listeners.lock().unwrap().insert(id, (spec, transports));
        Box::pin(async move { Ok(ListenerFacts { id, address }) })
    }

    fn remove_listener(&self, id: u64) {
        self.listeners.lock().unwrap().remove(&id);
    }

    fn prepare_listener(&self, id: u64, _spec: ListenerSpec) -> Result<()> {
        match self.listeners.lock().unwrap().contains_key(&id) {
            true => Ok(()),
            false => Err(Error::not_found("no such listener")),
        }
    }

    fn finish_listener(&self, id: u64, commit: bool) {
        self.finished.lock().unwrap().push((id, commit));
    }

    fn set_info(&self, plugin: &str, kind: &str, fields: Map<String, Value>) -> Result<()> {
        self.info.lock().unwrap().insert(format!("{plugin}/{kind}"), fields);
        Ok(())
    }
}

/// A host with plugins, on a runtime of its own.
pub struct Stage {
    pub runtime: tokio::runtime::Runtime,
    pub plugins: Plugins,
    pub server: Arc<StandIn>,
    pub load_errors: Vec<PluginsError>,
}

impl Stage {
    /// Loads, and attaches the stand-in; nothing is configured yet.
    pub fn load(options: &PluginsOptions) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let services = Arc::new(TokioServices::new(runtime.handle().clone(), Arc::new(PluginTls::default())));
        let (plugins, load_errors) = Plugins::load(options, None, services);
        let server = Arc::new(StandIn::default());
        plugins.attach(server.clone());
        Self { runtime, plugins, server, load_errors }
    }

    /// Loads, configures and starts; everything must go well.
    pub fn start(options: &PluginsOptions) -> Self {
        let stage = Self::load(options);
        assert!(stage.load_errors.is_empty(), "{:?}", stage.load_errors);
        let errors = stage.plugins.configure(options, &[]);
        assert!(errors.is_empty(), "{errors:?}");
        stage.runtime.block_on(stage.plugins.start()).unwrap();
        stage
    }

    /// Both phases; the error if one plugin refuses.
    pub fn reload(&self, options: &PluginsOptions) -> std::result::Result<(), String> {
        let prepared = self.runtime.block_on(self.plugins.prepare(options, &[]));
        prepared.map(|prepared| prepared.finish(true)).map_err(|error| error.to_string())
    }

    pub fn state(&self, plugin: &str) -> String {
        self.plugins
            .facts()
            .iter()
            .find(|facts| facts.name == plugin)
            .map(|facts| facts.state.clone())
            .unwrap()
    }

    pub fn faults(&self, plugin: &str) -> u64 {
        self.plugins.facts().iter().find(|facts| facts.name == plugin).map(|facts| facts.faults).unwrap()
    }
}

/// `plugins { NAME { path, required, config } }`, with `load` so that nothing else of this binary starts.
pub fn declared(plugins: &[(&str, &Path, Value)]) -> PluginsOptions {
    let declared: Vec<PluginDeclaration> = plugins
        .iter()
        .map(|(name, path, config)| PluginDeclaration {
            name: (*name).into(),
            path: Some(path.to_path_buf()),
            required: true,
            config: config.clone(),
        })
        .collect();
    let load = Some(declared.iter().map(|declared| declared.name.clone()).collect());
    PluginsOptions { load, declared, ..PluginsOptions::default() }
}

/// Waits for something that happens soon.
pub fn soon(what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < until, "{what} did not happen within 10 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Collects what a transport puts out.
#[derive(Default)]
pub struct Collected {
    pub plain: Vec<u8>,
    pub wire: Vec<u8>,
    pub ready: Option<Attributes>,
}

impl TransportOut for Collected {
    fn plain(&mut self, bytes: &[u8]) {
        self.plain.extend_from_slice(bytes);
    }
    fn wire(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }
    fn ready(&mut self, attributes: Attributes) {
        self.ready = Some(attributes);
    }
}
