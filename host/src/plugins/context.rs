//! The host as one plugin sees it: what it asks for, with what it holds, so that a stop takes everything back.

use super::faults::Faults;
use super::points::{Subscriber, TransportPoint};
use super::queue::Queue;
use super::services::{HostServices, TaskHandle};
use super::{Shared, Warning};
use natsd_plugin_api::abi::message::FfiSink;
use natsd_plugin_api::abi::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use natsd_plugin_api::abi::serve::HostSide;
use natsd_plugin_api::files::RawFiles;
use natsd_plugin_api::net::{DialOptions, ListenOptions, RawListener, RawStream};
use natsd_plugin_api::{
    AccountDefinition, AuthenticatorOptions, BoxFuture, CloseReason, Delivery, Error, ErrorKind,
    ListenerFacts, ListenerSpec, Outcome, PublishRef, Result, SubscribeOptions, boxed,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

/// One plugin's hold on the host.
pub struct Context {
    name: String,
    shared: Weak<Shared>,
    pub faults: Arc<Faults>,
    held: Mutex<Held>,
}

/// What the plugin has, to be taken back when it stops.
#[derive(Default)]
struct Held {
    /// After the stop nothing new is lent.
    released: bool,
    next_task: u64,
    tasks: HashMap<u64, Box<dyn TaskHandle>>,
    subscriptions: BTreeSet<u64>,
    watches: BTreeSet<u64>,
    listeners: BTreeSet<u64>,
    authenticators: BTreeSet<u64>,
    observers: BTreeSet<u64>,
    info_kinds: BTreeSet<String>,
}

impl Context {
    pub fn new(name: &str, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            shared: Arc::downgrade(shared),
            faults: Arc::new(Faults::new(name)),
            held: Mutex::default(),
        })
    }

    /// Takes back everything that the plugin holds, and ends its tasks.
    pub fn release(&self) {
        let held = {
            let mut held = self.held.lock();
            std::mem::replace(&mut *held, Held { released: true, ..Held::default() })
        };
        let Some(shared) = self.shared.upgrade() else { return };
        held.tasks.values().for_each(|task| task.abort());
        held.authenticators.iter().for_each(|id| shared.points.remove_authenticator(*id));
        held.observers.iter().for_each(|id| shared.points.remove_observer(*id));
        shared.calls.lock().retain(|_, (plugin, _)| *plugin != self.name);
        let Some(services) = shared.services.get() else { return };
        held.subscriptions.iter().for_each(|id| services.unsubscribe(*id));
        held.watches.iter().for_each(|id| services.unwatch_interest(*id));
        held.listeners.iter().for_each(|id| services.remove_listener(*id));
        for kind in &held.info_kinds {
            // Only a field of the core is refused, and none is set here.
            let _ = services.set_info(&self.name, kind, Map::new());
        }
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the server has stopped"))
    }

    fn services(&self) -> Result<Arc<dyn HostServices>> {
        let not_yet = || Error::new(ErrorKind::Closed, "the server is not running yet: do this in `start`");
        self.shared()?.services.get().cloned().ok_or_else(not_yet)
    }

    /// Notes what was lent, or takes it back at once when the plugin has stopped meanwhile.
    fn hold<T: Copy>(&self, id: T, note: impl FnOnce(&mut Held, T), undo: impl FnOnce(T)) -> Result<T> {
        let mut held = self.held.lock();
        if held.released {
            drop(held);
            undo(id);
            return Err(Error::new(ErrorKind::Closed, "the plugin has stopped"));
        }
        note(&mut held, id);
        Ok(id)
    }

    /// Runs until it ends, is aborted, or the plugin stops. 0: not run, as the plugin or the server has stopped.
    fn run(self: &Arc<Self>, task: impl FnOnce(u64) -> BoxFuture<'static, ()>) -> u64 {
        let Ok(shared) = self.shared() else { return 0 };
        // The lock is held over the spawn, so that a task that ends at once finds its entry.
        let mut held = self.held.lock();
        if held.released {
            return 0;
        }
        held.next_task += 1;
        let id = held.next_task;
        let handle = shared.runtime.spawn(task(id));
        held.tasks.insert(id, handle);
        id
    }

    fn finished(&self, task: u64) {
        let handle = self.held.lock().tasks.remove(&task);
        drop(handle);
    }
}

/// The context as it is lent to the plugin.
pub struct Lent(pub Arc<Context>);

impl HostSide for Lent {
    fn log(&self, level: u8, target: &str, message: &str, fields: &[(&str, &str)]) {
        let mut line = message.to_owned();
        for (name, value) in fields {
            line.push_str(&format!(" {name}={value}"));
        }
        // What the plugin itself says stands as it is, in both linkages; libraries in it say where they are.
        let own = format!("natsd_{}", self.0.name.replace('-', "_"));
        if target.split("::").next() != Some(own.as_str()) {
            line = format!("{}: {line} from={target}", self.0.name);
        }
        // While the configuration is read at start there is no log yet.
        if level == 2
            && let Ok(shared) = self.0.shared()
            && shared.services.get().is_none()
        {
            shared.warnings.lock().push(Warning { plugin: self.0.name.clone(), text: line });
            return;
        }
        match level {
            1 => tracing::error!("{line}"),
            2 => tracing::warn!("{line}"),
            3 => tracing::info!("{line}"),
            4 => tracing::debug!("{line}"),
            _ => tracing::trace!("{line}"),
        }
    }

    fn mismatch(&self, interface: &str, report: &str) {
        if let Ok(shared) = self.0.shared() {
            shared.note_detail(format!("plugin `{}`, {interface}: {report}", self.0.name));
        }
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.shared().map_or(0, |shared| shared.runtime.monotonic_ns())
    }

    fn unix_ns(&self) -> u64 {
        self.0.shared().map_or(0, |shared| shared.runtime.unix_ns())
    }

    fn sleep_until_ns(&self, deadline_ns: u64) -> BoxFuture<'static, Result<()>> {
        let shared = self.0.shared();
        boxed(async move {
            let sleep = shared?.runtime.sleep_until_ns(deadline_ns);
            sleep.await;
            Ok(())
        })
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        if let Ok(shared) = self.0.shared() {
            shared.runtime.fill_random(buffer);
        }
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, Result<()>>) -> u64 {
        let (context, name) = (self.0.clone(), name.to_owned());
        self.0.run(move |id| {
            boxed(async move {
                if let Err(error) = task.await {
                    let error = context.faults.note(&format!("task `{name}`"), "the task has ended", error);
                    tracing::debug!("task `{name}` of plugin `{}` ended: {error}", context.name);
                }
                context.finished(id);
            })
        })
    }

    fn abort(&self, task: u64) {
        let handle = self.0.held.lock().tasks.remove(&task);
        if let Some(handle) = handle {
            handle.abort();
        }
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) -> Result<()> {
        self.0.shared()?.runtime.spawn_blocking(job);
        Ok(())
    }

    fn listen(&self, options: ListenOptions) -> BoxFuture<'static, Result<Box<dyn RawListener>>> {
        match self.0.shared() {
            Ok(shared) => shared.runtime.listen(options),
            Err(error) => boxed(async { Err(error) }),
        }
    }

    fn dial(&self, options: DialOptions) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        match self.0.shared() {
            Ok(shared) => shared.runtime.dial(options),
            Err(error) => boxed(async { Err(error) }),
        }
    }

    fn files(&self) -> Result<Arc<dyn RawFiles>> {
        Ok(self.0.shared()?.runtime.files())
    }

    fn publish(&self, account: &str, messages: &[PublishRef<'_>], outcomes: &mut [Outcome]) -> Result<u64> {
        self.0.services()?.publish(&self.0.name, account, messages, outcomes)
    }

    fn subscribe(&self, options: SubscribeOptions, sink: FfiSink) -> Result<u64> {
        let (context, faults) = (&self.0, self.0.faults.clone());
        let services = context.services()?;
        let subscriber = match options.delivery {
            Delivery::Inline => Subscriber::inline(sink, faults),
            Delivery::Queued { messages_max, bytes_max } => {
                let queue = Arc::new(Queue::new(messages_max, bytes_max));
                let (runner, owner, counted) = (queue.clone(), context.clone(), faults.clone());
                context.run(move |id| {
                    boxed(async move {
                        runner.run(sink, counted).await;
                        owner.finished(id);
                    })
                });
                Subscriber::queued(queue, faults)
            }
        };
        let SubscribeOptions { account, subject, queue, traces, .. } = &options;
        let subscriber = subscriber.with_traces(*traces);
        let id = services.subscribe(&context.name, account, subject, queue, Arc::new(subscriber))?;
        context.hold(
            id,
            |held, id| {
                held.subscriptions.insert(id);
            },
            |id| services.unsubscribe(id),
        )
    }

    fn count_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        self.0.services()?.count_interest(account, subject, queue)
    }

    fn count_exact_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        self.0.services()?.count_exact_interest(account, subject, queue)
    }

    fn watch_interest(&self, account: &str, subject: &[u8], sink: FfiSink) -> Result<u64> {
        let context = &self.0;
        let services = context.services()?;
        let changed = Arc::new(Subscriber::inline(sink, context.faults.clone()));
        let id = services.watch_interest(account, subject, changed)?;
        context.hold(
            id,
            |held, id| {
                held.watches.insert(id);
            },
            |id| services.unwatch_interest(id),
        )
    }

    fn unwatch_interest(&self, watch: u64) {
        let own = self.0.held.lock().watches.remove(&watch);
        if own && let Ok(services) = self.0.services() {
            services.unwatch_interest(watch);
        }
    }

    fn unsubscribe(&self, subscription: u64) {
        // Only what is its own: ids of other plugins are none of its business.
        let own = self.0.held.lock().subscriptions.remove(&subscription);
        if own && let Ok(services) = self.0.services() {
            services.unsubscribe(subscription);
        }
    }

    fn accounts(&self) -> Result<Value> {
        Ok(self.0.services()?.accounts().into())
    }

    fn account(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.0.services()?.account(name)?)?)
    }

    fn define_account(&self, name: &str, definition: AccountDefinition) -> Result<()> {
        self.0.services()?.define_account(name, definition)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        self.0.services()?.sign(message)
    }

    fn agree(&self, public: &[u8; 32]) -> Result<[u8; 32]> {
        self.0.services()?.agree(public)
    }

    fn connection(&self, id: u64) -> Result<Value> {
        Ok(serde_json::to_value(self.0.services()?.connection(id)?)?)
    }

    fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()> {
        self.0.services()?.close_connection(id, reason, text)
    }

    fn lame_duck_connection(&self, id: u64) -> Result<()> {
        self.0.services()?.lame_duck_connection(id)
    }

    fn set_permissions(&self, id: u64, permissions: Option<Value>) -> Result<()> {
        self.0.services()?.set_permissions(id, permissions)
    }

    fn reload(&self) -> BoxFuture<'static, Result<()>> {
        match self.0.services() {
            Ok(services) => services.reload(),
            Err(error) => boxed(async { Err(error) }),
        }
    }

    fn identity(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.0.services()?.identity())?)
    }

    fn snapshot(&self, kind: &str, params: Value) -> Result<String> {
        self.0.services()?.snapshot(kind, &params)
    }

    fn add_listener(
        &self,
        spec: ListenerSpec,
        factory: FfiTransportFactory,
    ) -> BoxFuture<'static, Result<ListenerFacts>> {
        let context = self.0.clone();
        boxed(async move {
            let services = context.services()?;
            let transports = Arc::new(TransportPoint::new(factory, context.faults.clone()));
            let facts = services.add_listener(&context.name, spec, transports).await?;
            let note = |held: &mut Held, id| {
                held.listeners.insert(id);
            };
            context.hold(facts.id, note, |id| services.remove_listener(id))?;
            Ok(facts)
        })
    }

    fn remove_listener(&self, id: u64) {
        let own = self.0.held.lock().listeners.remove(&id);
        if own && let Ok(services) = self.0.services() {
            services.remove_listener(id);
        }
    }

    fn check_listener(&self, spec: ListenerSpec) -> Result<()> {
        let surroundings = self.0.shared()?.surroundings.lock().clone();
        surroundings.map_or(Ok(()), |around| around.check_listener(&spec))
    }

    fn prepare_listener(&self, id: u64, spec: ListenerSpec) -> Result<()> {
        if !self.0.held.lock().listeners.contains(&id) {
            return Err(Error::not_found(format!("there is no listener {id}")));
        }
        self.0.services()?.prepare_listener(id, spec)
    }

    fn finish_listener(&self, id: u64, commit: bool) {
        let own = self.0.held.lock().listeners.contains(&id);
        if own && let Ok(services) = self.0.services() {
            services.finish_listener(id, commit);
        }
    }

    fn add_authenticator(&self, authenticator: FfiAuthenticator) -> Result<u64> {
        self.add_authenticator_with(authenticator, AuthenticatorOptions::default())
    }

    fn add_authenticator_with(
        &self,
        authenticator: FfiAuthenticator,
        options: AuthenticatorOptions,
    ) -> Result<u64> {
        let shared = self.0.shared()?;
        let id = shared.points.add_authenticator(authenticator, options, self.0.faults.clone());
        let note = |held: &mut Held, id| {
            held.authenticators.insert(id);
        };
        self.0.hold(id, note, |id| shared.points.remove_authenticator(id))
    }

    fn remove_authenticator(&self, id: u64) {
        let own = self.0.held.lock().authenticators.remove(&id);
        if own && let Ok(shared) = self.0.shared() {
            shared.points.remove_authenticator(id);
        }
    }

    fn add_observer(&self, observer: FfiObserver) -> Result<u64> {
        let shared = self.0.shared()?;
        let id = shared.points.add_observer(observer, self.0.faults.clone());
        let note = |held: &mut Held, id| {
            held.observers.insert(id);
        };
        self.0.hold(id, note, |id| shared.points.remove_observer(id))
    }

    fn remove_observer(&self, id: u64) {
        let own = self.0.held.lock().observers.remove(&id);
        if own && let Ok(shared) = self.0.shared() {
            shared.points.remove_observer(id);
        }
    }

    fn set_info(&self, kind: &str, fields: Map<String, Value>) -> Result<()> {
        self.0.services()?.set_info(&self.0.name, kind, fields)?;
        self.0.held.lock().info_kinds.insert(kind.to_owned());
        Ok(())
    }

    fn plugins(&self) -> Result<Value> {
        Ok(serde_json::to_value(self.0.shared()?.facts())?)
    }

    fn introspect(&self, plugin: &str, query: Value) -> Result<Value> {
        self.0.shared()?.introspect(plugin, &query)
    }

    fn provide(&self, service: &str, call: FfiCall) -> Result<()> {
        let shared = self.0.shared()?;
        let mut calls = shared.calls.lock();
        match calls.get(service) {
            Some((owner, _)) if *owner != self.0.name => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("the service {service} is already provided by plugin `{owner}`"),
            )),
            _ => {
                calls.insert(service.to_owned(), (self.0.name.clone(), call));
                Ok(())
            }
        }
    }

    fn find(&self, service: &str) -> Result<FfiCall> {
        let shared = self.0.shared()?;
        let calls = shared.calls.lock();
        let found = calls.get(service).map(|(_, call)| call.clone());
        found.ok_or_else(|| {
            Error::not_found(format!("no plugin that has started provides the service {service}"))
        })
    }
}
