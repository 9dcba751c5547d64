//! The host's side of the line: the trait a host implements, and the functions in its tables.
//!
//! Files are in `files`, connections and the server as a whole in `server`, accounts, authenticators and keys in
//! `identities`. Every function catches the host's own panics: they become errors in the plugin.

mod files;
mod identities;
mod server;

use super::error::{FfiError, guarded, guarded_or};
use super::future::FfiFuture;
use super::interface::{FfiTable, HostRef, Interface, Offer, Wanted, refusal};
use super::message::{FfiSink, Outcome, PublishRef};
use super::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use super::prelude::*;
use super::stream::{FfiListener, FfiStream};
use super::tables::*;
use crate::BoxFuture;
use crate::auth::AuthenticatorOptions;
use crate::error::{Error, Result};
use crate::files::RawFiles;
use crate::host::AccountDefinition;
use crate::net::{DialOptions, ListenOptions, RawListener, RawStream};
use crate::subscribe::SubscribeOptions;
use crate::transport::{CloseReason, ListenerFacts, ListenerSpec};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What the host is to one plugin. Called from any thread.
pub trait HostSide: Send + Sync + 'static {
    fn log(&self, level: u8, target: &str, message: &str, fields: &[(&str, &str)]);

    /// The plugin means something else by an interface; `report` is long, for the debug log.
    fn mismatch(&self, interface: &str, report: &str);

    fn monotonic_ns(&self) -> u64;
    fn unix_ns(&self) -> u64;
    fn sleep_until_ns(&self, deadline_ns: u64) -> BoxFuture<'static, Result<()>>;
    fn fill_random(&self, buffer: &mut [u8]);

    /// Runs until it ends, `abort`, or the plugin's stop. A panic inside is its result.
    fn spawn(&self, name: &str, task: BoxFuture<'static, Result<()>>) -> u64;
    fn abort(&self, task: u64);
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) -> Result<()>;

    fn listen(&self, options: ListenOptions) -> BoxFuture<'static, Result<Box<dyn RawListener>>>;
    fn dial(&self, options: DialOptions) -> BoxFuture<'static, Result<Box<dyn RawStream>>>;
    fn files(&self) -> Result<Arc<dyn RawFiles>>;

    /// `outcomes` is empty or as long as `messages`. Answers with the number of deliveries.
    fn publish(&self, account: &str, messages: &[PublishRef<'_>], outcomes: &mut [Outcome]) -> Result<u64>;
    fn subscribe(&self, options: SubscribeOptions, sink: FfiSink) -> Result<u64>;
    fn unsubscribe(&self, subscription: u64);
    /// With an empty queue all subscriptions count.
    /// Since 1.1, as the two after it: a host written for 1.0 still builds.
    fn count_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        let _ = (account, subject, queue);
        Err(no_interest())
    }
    /// Since 1.5.
    fn count_exact_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        let _ = (account, subject, queue);
        Err(no_interest())
    }
    fn watch_interest(&self, account: &str, subject: &[u8], sink: FfiSink) -> Result<u64> {
        let _ = (account, subject, sink);
        Err(no_interest())
    }
    fn unwatch_interest(&self, watch: u64) {
        let _ = watch;
    }

    fn accounts(&self) -> Result<Value>;
    fn account(&self, name: &str) -> Result<Value>;
    fn connection(&self, id: u64) -> Result<Value>;
    fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()>;
    /// Tells one client that the server is about to go. Since 1.3.
    fn lame_duck_connection(&self, id: u64) -> Result<()> {
        let _ = id;
        Err(Error::unsupported("this host cannot tell one client of lame duck mode"))
    }
    /// `None`: everything is allowed. Since 1.5.
    fn set_permissions(&self, id: u64, permissions: Option<Value>) -> Result<()> {
        let _ = (id, permissions);
        Err(Error::unsupported("this host does not change a connection's permissions"))
    }
    fn identity(&self) -> Result<Value>;
    /// Reads the configuration again, all or nothing. Since 1.3.
    fn reload(&self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Err(Error::unsupported("this host does not reload for plugins")) })
    }
    /// JSON text, made by the server itself.
    fn snapshot(&self, kind: &str, params: Value) -> Result<String>;

    fn add_listener(
        &self,
        spec: ListenerSpec,
        factory: FfiTransportFactory,
    ) -> BoxFuture<'static, Result<ListenerFacts>>;
    fn remove_listener(&self, id: u64);
    /// Whether the configuration being read would let the listener be opened.
    /// Since 1.2, as the two after it.
    fn check_listener(&self, spec: ListenerSpec) -> Result<()> {
        let _ = spec;
        Ok(())
    }
    fn prepare_listener(&self, id: u64, spec: ListenerSpec) -> Result<()> {
        let _ = (id, spec);
        Err(crate::error::Error::unsupported("this host cannot change an open listener"))
    }
    fn finish_listener(&self, id: u64, commit: bool) {
        let _ = (id, commit);
    }
    fn add_authenticator(&self, authenticator: FfiAuthenticator) -> Result<u64>;
    /// Since 1.4, as the three after it.
    fn add_authenticator_with(
        &self,
        authenticator: FfiAuthenticator,
        options: AuthenticatorOptions,
    ) -> Result<u64> {
        let _ = (authenticator, options);
        Err(Error::unsupported("this host knows no options of authenticators"))
    }
    fn define_account(&self, name: &str, definition: AccountDefinition) -> Result<()> {
        let _ = (name, definition);
        Err(Error::unsupported("this host takes no accounts from plugins"))
    }
    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let _ = message;
        Err(Error::unsupported("this host does not sign for plugins"))
    }
    fn agree(&self, public: &[u8; 32]) -> Result<[u8; 32]> {
        let _ = public;
        Err(Error::unsupported("this host does not sign for plugins"))
    }
    fn remove_authenticator(&self, id: u64);
    fn add_observer(&self, observer: FfiObserver) -> Result<u64>;
    fn remove_observer(&self, id: u64);
    fn set_info(&self, kind: &str, fields: Map<String, Value>) -> Result<()>;
    fn plugins(&self) -> Result<Value>;
    fn introspect(&self, plugin: &str, query: Value) -> Result<Value>;
    fn provide(&self, service: &str, call: FfiCall) -> Result<()>;
    fn find(&self, service: &str) -> Result<FfiCall>;
}

fn no_interest() -> crate::error::Error {
    crate::error::Error::unsupported("this host does not tell plugins of interest")
}

type Side = Box<dyn HostSide>;

/// Makes the reference that a plugin gets. The side lives for ever, as the plugin's code does.
pub fn serve(side: Side) -> HostRef {
    let side: &'static Side = Box::leak(Box::new(side));
    HostRef { host: std::ptr::from_ref(side).cast(), query }
}

/// # Safety
/// `host` is that of a `HostRef` made by `serve`.
unsafe fn side<'a>(host: *const ()) -> &'a dyn HostSide {
    // SAFETY: by the caller; leaked, so it lives for ever.
    unsafe { (*host.cast::<Side>()).as_ref() }
}

unsafe extern "C" fn query(host: *const (), wanted: *const Wanted<'_>) -> RResult<FfiTable, FfiError> {
    guarded(|| {
        // SAFETY: the plugin passes a value that lives for the call.
        let wanted = unsafe { &*wanted };
        let id = wanted.id.as_str();
        let offer = offers().into_iter().find(|offer| offer.0 == id).map(|offer| offer.1);
        let offer = offer.ok_or_else(|| Error::not_found(format!("this host has no interface {id}")))?;
        let served = offer.serve(&wanted.shape);
        served.map(FfiTable).map_err(|mismatch| {
            if let Some(mismatch) = &mismatch {
                // SAFETY: see below.
                unsafe { side(host) }.mismatch(id, &mismatch.detail);
            }
            refusal(id, offer.shape.version, wanted.shape.version, mismatch.as_ref())
        })
    })
}

/// Every interface of this host.
pub fn offers() -> Vec<(&'static str, Offer)> {
    fn entry<I: Interface>(table: I) -> (&'static str, Offer) {
        (I::ID, Offer::of(table))
    }
    vec![
        entry(LogTableRef(LOG.static_as_prefix())),
        entry(ClockTableRef(CLOCK.static_as_prefix())),
        entry(RandomTableRef(RANDOM.static_as_prefix())),
        entry(TasksTableRef(TASKS.static_as_prefix())),
        entry(NetTableRef(NET.static_as_prefix())),
        entry(FilesTableRef(files::FILES.static_as_prefix())),
        entry(PublisherTableRef(PUBLISHER.static_as_prefix())),
        entry(SubscriptionsTableRef(SUBSCRIPTIONS.static_as_prefix())),
        super::trace::offer(),
        entry(InterestTableRef(INTEREST.static_as_prefix())),
        entry(AccountsTableRef(identities::ACCOUNTS.static_as_prefix())),
        entry(ConnectionsTableRef(server::CONNECTIONS.static_as_prefix())),
        entry(ServerTableRef(server::SERVER.static_as_prefix())),
        entry(ListenersTableRef(LISTENERS.static_as_prefix())),
        entry(AuthenticatorsTableRef(identities::AUTHENTICATORS.static_as_prefix())),
        entry(KeysTableRef(identities::KEYS.static_as_prefix())),
        entry(ObserversTableRef(OBSERVERS.static_as_prefix())),
        entry(InfoTableRef(INFO.static_as_prefix())),
        entry(IntrospectTableRef(INTROSPECT.static_as_prefix())),
        entry(ServicesTableRef(SERVICES.static_as_prefix())),
    ]
}

// In all functions below: the plugin passes its own `HostRef`'s `host`, and arguments that live for the call.

static LOG: &WithMetadata<LogTable> = &WithMetadata::new(LogTable { log, module });

unsafe extern "C" fn log(
    host: *const (),
    level: u8,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: RSlice<'_, Tuple2<RStr<'static>, RString>>,
) {
    guarded_or((), || {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|field| (field.0.as_str(), field.1.as_str())).collect();
        // SAFETY: see above.
        unsafe { side(host) }.log(level, target.as_str(), message.as_str(), &fields);
    })
}

unsafe extern "C" fn module(_host: *const ()) -> *const () {
    crate::log::module_address()
}

static CLOCK: &WithMetadata<ClockTable> =
    &WithMetadata::new(ClockTable { monotonic_ns, unix_ns, sleep_until_ns });

unsafe extern "C" fn monotonic_ns(host: *const ()) -> u64 {
    // SAFETY: see above.
    guarded_or(0, || unsafe { side(host) }.monotonic_ns())
}

unsafe extern "C" fn unix_ns(host: *const ()) -> u64 {
    // SAFETY: see above.
    guarded_or(0, || unsafe { side(host) }.unix_ns())
}

unsafe extern "C" fn sleep_until_ns(host: *const (), deadline_ns: u64) -> FfiFuture<()> {
    // SAFETY: see above.
    started(|| Ok(unsafe { side(host) }.sleep_until_ns(deadline_ns)))
}

/// A future that began here; a panic in the beginning is its result.
fn started<T: Send + 'static>(begin: impl FnOnce() -> Result<BoxFuture<'static, Result<T>>>) -> FfiFuture<T> {
    match guarded(begin) {
        ROk(future) => FfiFuture::new(future),
        RErr(error) => FfiFuture::new(std::future::ready(Err(Error::from(error)))),
    }
}

static RANDOM: &WithMetadata<RandomTable> = &WithMetadata::new(RandomTable { fill });

unsafe extern "C" fn fill(host: *const (), ptr: *mut u8, len: usize) {
    // SAFETY: see above; `ptr` is initialised memory of `len` bytes.
    guarded_or((), || unsafe { side(host).fill_random(std::slice::from_raw_parts_mut(ptr, len)) })
}

static TASKS: &WithMetadata<TasksTable> = &WithMetadata::new(TasksTable { spawn, abort, spawn_blocking });

unsafe extern "C" fn spawn(host: *const (), name: RStr<'_>, task: FfiFuture<()>) -> u64 {
    // SAFETY: see above.
    guarded_or(0, || unsafe { side(host) }.spawn(name.as_str(), Box::pin(task.import())))
}

unsafe extern "C" fn abort(host: *const (), task: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.abort(task))
}

unsafe extern "C" fn spawn_blocking(host: *const (), job: FfiJob) -> RResult<(), FfiError> {
    guarded(|| {
        let job = super::import::ImportedJob::new(job);
        // SAFETY: see above.
        unsafe { side(host) }.spawn_blocking(Box::new(move || job.run()))
    })
}

static NET: &WithMetadata<NetTable> = &WithMetadata::new(NetTable { listen, dial });

unsafe extern "C" fn listen(host: *const (), options: RStr<'_>) -> FfiFuture<FfiListener> {
    started(|| {
        // SAFETY: see above.
        let listening = unsafe { side(host) }.listen(serde_json::from_str(options.as_str())?);
        Ok(Box::pin(async { listening.await.map(FfiListener::new) }))
    })
}

unsafe extern "C" fn dial(host: *const (), options: RStr<'_>) -> FfiFuture<FfiStream> {
    started(|| {
        // SAFETY: see above.
        let dialling = unsafe { side(host) }.dial(serde_json::from_str(options.as_str())?);
        Ok(Box::pin(async { dialling.await.map(FfiStream::new) }))
    })
}

static PUBLISHER: &WithMetadata<PublisherTable> = &WithMetadata::new(PublisherTable { publish });

unsafe extern "C" fn publish(
    host: *const (),
    account: RStr<'_>,
    messages: RSlice<'_, PublishRef<'_>>,
    outcomes: *mut Outcome,
) -> RResult<u64, FfiError> {
    guarded(|| {
        let outcomes = if outcomes.is_null() {
            &mut []
        } else {
            // SAFETY: the caller gives room for one initialised outcome a message.
            unsafe { std::slice::from_raw_parts_mut(outcomes, messages.len()) }
        };
        // SAFETY: see above.
        unsafe { side(host) }.publish(account.as_str(), messages.as_slice(), outcomes)
    })
}

static SUBSCRIPTIONS: &WithMetadata<SubscriptionsTable> =
    &WithMetadata::new(SubscriptionsTable { subscribe, unsubscribe });

unsafe extern "C" fn subscribe(host: *const (), options: RStr<'_>, sink: FfiSink) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.subscribe(serde_json::from_str(options.as_str())?, sink))
}

unsafe extern "C" fn unsubscribe(host: *const (), subscription: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.unsubscribe(subscription))
}

static INTEREST: &WithMetadata<InterestTable> = &WithMetadata::new(InterestTable {
    count: count_interest,
    watch: watch_interest,
    unwatch,
    count_exact: count_exact_interest,
});

unsafe extern "C" fn count_exact_interest(
    host: *const (),
    account: RStr<'_>,
    subject: RSlice<'_, u8>,
    queue: RSlice<'_, u8>,
) -> RResult<u64, FfiError> {
    guarded(|| {
        // SAFETY: see above.
        unsafe { side(host) }.count_exact_interest(account.as_str(), subject.as_slice(), queue.as_slice())
    })
}

unsafe extern "C" fn count_interest(
    host: *const (),
    account: RStr<'_>,
    subject: RSlice<'_, u8>,
    queue: RSlice<'_, u8>,
) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.count_interest(account.as_str(), subject.as_slice(), queue.as_slice()))
}

unsafe extern "C" fn watch_interest(
    host: *const (),
    account: RStr<'_>,
    subject: RSlice<'_, u8>,
    sink: FfiSink,
) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.watch_interest(account.as_str(), subject.as_slice(), sink))
}

unsafe extern "C" fn unwatch(host: *const (), watch: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.unwatch_interest(watch))
}

/// A JSON answer as text.
fn json(answer: impl FnOnce() -> Result<Value>) -> RResult<RString, FfiError> {
    guarded(|| Ok(answer()?.to_string().into()))
}

static LISTENERS: &WithMetadata<ListenersTable> = &WithMetadata::new(ListenersTable {
    add: listener_add,
    remove: listener_remove,
    check: listener_check,
    prepare: listener_prepare,
    finish: listener_finish,
});

unsafe extern "C" fn listener_add(
    host: *const (),
    spec: RStr<'_>,
    factory: FfiTransportFactory,
) -> FfiFuture<RString> {
    started(|| {
        // SAFETY: see above.
        let adding = unsafe { side(host) }.add_listener(serde_json::from_str(spec.as_str())?, factory);
        Ok(Box::pin(async { Ok(serde_json::to_string(&adding.await?)?.into()) }))
    })
}

unsafe extern "C" fn listener_remove(host: *const (), id: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.remove_listener(id))
}

unsafe extern "C" fn listener_check(host: *const (), spec: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.check_listener(serde_json::from_str(spec.as_str())?))
}

unsafe extern "C" fn listener_prepare(host: *const (), id: u64, spec: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.prepare_listener(id, serde_json::from_str(spec.as_str())?))
}

unsafe extern "C" fn listener_finish(host: *const (), id: u64, commit: bool) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.finish_listener(id, commit))
}

static OBSERVERS: &WithMetadata<ObserversTable> =
    &WithMetadata::new(ObserversTable { add: observer_add, remove: observer_remove });

unsafe extern "C" fn observer_add(host: *const (), observer: FfiObserver) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.add_observer(observer))
}

unsafe extern "C" fn observer_remove(host: *const (), id: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.remove_observer(id))
}

static INFO: &WithMetadata<InfoTable> = &WithMetadata::new(InfoTable { set: info_set });

unsafe extern "C" fn info_set(host: *const (), kind: RStr<'_>, fields: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.set_info(kind.as_str(), serde_json::from_str(fields.as_str())?))
}

static INTROSPECT: &WithMetadata<IntrospectTable> =
    &WithMetadata::new(IntrospectTable { plugins, read: introspect_read });

unsafe extern "C" fn plugins(host: *const ()) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.plugins())
}

unsafe extern "C" fn introspect_read(
    host: *const (),
    plugin: RStr<'_>,
    query: RStr<'_>,
) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.introspect(plugin.as_str(), serde_json::from_str(query.as_str())?))
}

static SERVICES: &WithMetadata<ServicesTable> =
    &WithMetadata::new(ServicesTable { provide: service_provide, find: service_find });

unsafe extern "C" fn service_provide(
    host: *const (),
    service: RStr<'_>,
    call: FfiCall,
) -> RResult<(), FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.provide(service.as_str(), call))
}

unsafe extern "C" fn service_find(host: *const (), service: RStr<'_>) -> RResult<FfiCall, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.find(service.as_str()))
}
