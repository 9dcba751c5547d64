//! What plugins have registered, wrapped in the fault policy of each point.
//!
//! A subscriber that panics loses the batch; a transport that panics loses its connection; an authenticator that
//! fails in any way denies; an observer that panics has missed the event.

use super::faults::Faults;
use super::queue::Queue;
use arc_swap::ArcSwap;
use natsd_plugin_api::abi::message::FfiSink;
use natsd_plugin_api::abi::points::{
    FfiAuthenticator, FfiObserver, FfiTransport, FfiTransportFactory, TransportEnd,
};
use natsd_plugin_api::abi::trace::HostTrace;
use natsd_plugin_api::{
    AuthRequest, AuthStage, AuthenticatorOptions, Close, CloseReason, ConnectionEvent, Event, MessageRef,
    Peer, Result, TransportOut, Verdict,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A subscription's callback. `deliver` never blocks.
pub struct Subscriber {
    target: Target,
    /// It was asked for with `SubscribeOptions::traces`.
    takes_traces: bool,
    faults: Arc<Faults>,
}

enum Target {
    Inline(FfiSink),
    Queued(Arc<Queue>),
}

impl Subscriber {
    pub fn inline(sink: FfiSink, faults: Arc<Faults>) -> Self {
        Self { target: Target::Inline(sink), takes_traces: false, faults }
    }

    pub fn queued(queue: Arc<Queue>, faults: Arc<Faults>) -> Self {
        Self { target: Target::Queued(queue), takes_traces: false, faults }
    }

    pub fn with_traces(mut self, takes_traces: bool) -> Self {
        self.takes_traces = takes_traces;
        self
    }

    pub fn takes_traces(&self) -> bool {
        self.takes_traces
    }

    /// A message with a trace, which a queue holds as long as the message.
    pub fn deliver_traced(&self, message: MessageRef<'_>, trace: &Arc<dyn HostTrace>) {
        match &self.target {
            Target::Queued(queue) => queue.push_traced(&message, trace.clone()),
            Target::Inline(_) => self.deliver(&[message.with_trace(trace)]),
        }
    }

    /// One call for all messages that a chunk has for this subscription.
    pub fn deliver(&self, batch: &[MessageRef<'_>]) {
        match &self.target {
            Target::Queued(queue) => queue.push(batch),
            Target::Inline(sink) => {
                if sink.deliver(batch).is_err() {
                    self.faults.record("subscriber", "its messages were dropped");
                }
            }
        }
    }

    pub fn plugin(&self) -> &str {
        self.faults.plugin()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Target::Queued(queue) = &self.target {
            queue.close();
        }
    }
}

/// Makes transports for the connections of a plugin's listener.
pub struct TransportPoint {
    factory: FfiTransportFactory,
    faults: Arc<Faults>,
}

impl TransportPoint {
    pub fn new(factory: FfiTransportFactory, faults: Arc<Faults>) -> Self {
        Self { factory, faults }
    }

    pub fn open(&self, peer: &Peer) -> Result<PluginTransport> {
        let transport = self
            .factory
            .open(peer)
            .map_err(|error| self.faults.note("transport factory", "the connection was refused", error))?;
        Ok(PluginTransport { transport, faults: self.faults.clone(), broken: false })
    }

    pub fn plugin(&self) -> &str {
        self.faults.plugin()
    }
}

/// One connection's transport. Calls come one after the other, under the connection's outbound lock.
pub struct PluginTransport {
    transport: FfiTransport,
    faults: Arc<Faults>,
    /// After a panic its state means nothing: it is not called again.
    broken: bool,
}

impl PluginTransport {
    /// Once, before anything else, after TLS.
    pub fn on_open(&mut self, out: &mut dyn TransportOut) -> Result<(), Close> {
        self.call(|transport| transport.on_open(out))
    }

    /// Bytes from the socket to `out.plain` (for the protocol) and `out.wire` (for the socket).
    pub fn on_read(&mut self, wire: &[u8], out: &mut dyn TransportOut) -> Result<(), Close> {
        self.call(|transport| transport.on_read(wire, out))
    }

    /// Bytes of the protocol to `out.wire`.
    pub fn on_write(&mut self, plain: &[u8], out: &mut dyn TransportOut) -> Result<(), Close> {
        self.call(|transport| transport.on_write(plain, out))
    }

    /// The last words before the socket is closed.
    pub fn on_close(&mut self, close: &Close, out: &mut dyn TransportOut) {
        // Closing goes on whatever the transport says.
        let _ = self.call(|transport| transport.on_close(close, out));
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut FfiTransport) -> std::result::Result<(), TransportEnd>,
    ) -> Result<(), Close> {
        let broken = |plugin: &str| {
            Close::new(CloseReason::InternalClient, format!("the transport of plugin `{plugin}` panicked"))
        };
        if self.broken {
            return Err(broken(self.faults.plugin()));
        }
        match call(&mut self.transport) {
            Ok(()) => Ok(()),
            Err(TransportEnd::Close(close)) => Err(close),
            Err(TransportEnd::Panicked) => {
                self.broken = true;
                self.faults.record("transport", "the connection was closed");
                Err(broken(self.faults.plugin()))
            }
        }
    }
}

/// The registered authenticators and observers, in the order of registration, which is that of starting.
#[derive(Default)]
pub struct Points {
    authenticators: ArcSwap<Vec<Arc<Registered<Asked>>>>,
    observers: ArcSwap<Vec<Arc<Registered<FfiObserver>>>>,
    next_id: AtomicU64,
}

/// An authenticator, and when it is asked.
struct Asked {
    authenticator: FfiAuthenticator,
    options: AuthenticatorOptions,
}

struct Registered<T> {
    id: u64,
    object: T,
    faults: Arc<Faults>,
}

impl Points {
    pub fn add_authenticator(
        &self,
        authenticator: FfiAuthenticator,
        options: AuthenticatorOptions,
        faults: Arc<Faults>,
    ) -> u64 {
        self.add(&self.authenticators, Asked { authenticator, options }, faults)
    }

    pub fn remove_authenticator(&self, id: u64) {
        Self::remove(&self.authenticators, id);
    }

    pub fn add_observer(&self, observer: FfiObserver, faults: Arc<Faults>) -> u64 {
        self.add(&self.observers, observer, faults)
    }

    pub fn remove_observer(&self, id: u64) {
        Self::remove(&self.observers, id);
    }

    /// True if nobody need be asked.
    pub fn has_no_authenticators(&self) -> bool {
        self.authenticators.load().is_empty()
    }

    /// Whether anybody need be asked at this stage.
    pub fn has_authenticators_at(&self, stage: AuthStage) -> bool {
        self.authenticators.load().iter().any(|asked| asked.object.options.stage == stage)
    }

    /// Whether INFO has to carry a nonce for one of them.
    pub fn need_nonce(&self) -> bool {
        self.authenticators.load().iter().any(|asked| asked.object.options.nonce)
    }

    /// Asks those of the stage one after the other (the last, if the request says what the host decided); the first
    /// that does not abstain decides. A failure denies. The caller limits the
    /// time, and denies when it is over.
    pub async fn authenticate(&self, request: &AuthRequest) -> Verdict {
        let chain = self.authenticators.load_full();
        let stage = if request.decided.is_some() { AuthStage::Last } else { AuthStage::First };
        for registered in chain.iter().filter(|asked| asked.object.options.stage == stage) {
            match registered.object.authenticator.authenticate(request).await {
                Ok(Verdict::Abstain) => {}
                Ok(verdict) => return verdict,
                Err(error) => {
                    let error = registered.faults.note("authenticator", "the connection was denied", error);
                    let plugin = registered.faults.plugin();
                    return Verdict::deny(format!("the authenticator of plugin `{plugin}` failed: {error}"));
                }
            }
        }
        Verdict::Abstain
    }

    /// True if an event need not even be made.
    pub fn has_no_observers(&self) -> bool {
        self.observers.load().is_empty()
    }

    pub fn notify(&self, event: &Event) {
        self.tell(&self.observers.load(), event);
    }

    /// An event of a connection, which is made only if somebody wants it.
    pub fn notify_of(&self, what: ConnectionEvent, account: &str, event: impl FnOnce() -> Event) {
        let observers = self.observers.load();
        let wants = |observer: &&Arc<Registered<FfiObserver>>| observer.object.wants(what, account);
        let wanting: Vec<_> = observers.iter().filter(wants).cloned().collect();
        if !wanting.is_empty() {
            self.tell(&wanting, &event());
        }
    }

    fn tell(&self, observers: &[Arc<Registered<FfiObserver>>], event: &Event) {
        if observers.is_empty() {
            return;
        }
        let Ok(text) = serde_json::to_string(event) else { return };
        for registered in observers {
            if let Err(error) = registered.object.on_event(&text) {
                let error = registered.faults.note("observer", "it missed the event", error);
                tracing::debug!("observer of plugin `{}`: {error}", registered.faults.plugin());
            }
        }
    }

    fn add<T>(&self, list: &ArcSwap<Vec<Arc<Registered<T>>>>, object: T, faults: Arc<Faults>) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let registered = Arc::new(Registered { id, object, faults });
        list.rcu(|old| old.iter().cloned().chain([registered.clone()]).collect::<Vec<_>>());
        id
    }

    fn remove<T>(list: &ArcSwap<Vec<Arc<Registered<T>>>>, id: u64) {
        list.rcu(|old| old.iter().filter(|registered| registered.id != id).cloned().collect::<Vec<_>>());
    }
}
