//! The plugin's side of the line: the host's tables as safe functions.

use super::bytes::FfiBytes;
use super::error::{FfiError, guarded_or};
use super::future::{FfiFuture, Imported, WakerCache};
use super::interface::HostRef;
use super::message::{FfiSink, MessageRef, Outcome, PublishRef};
use super::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use super::prelude::*;
use super::stream::{FfiListener, FfiStream};
use super::tables::*;
use super::trace::KeptTrace;
use crate::error::{Error, Result};
use bytes::Bytes;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll};

/// Every interface that this version of the crate knows, asked for once, when the plugin is created. All of 1.0
/// are there on any later host; those that come later will be `Option`s.
#[derive(Clone, Copy)]
pub struct Tables {
    host: *const (),
    log: LogTableRef,
    clock: ClockTableRef,
    random: RandomTableRef,
    tasks: TasksTableRef,
    net: NetTableRef,
    files: FilesTableRef,
    publisher: PublisherTableRef,
    subscriptions: SubscriptionsTableRef,
    /// Since 1.6.
    traces: Option<TracesTableRef>,
    /// Since 1.1.
    interest: Option<InterestTableRef>,
    /// Since 1.4.
    keys: Option<KeysTableRef>,
    accounts: AccountsTableRef,
    connections: ConnectionsTableRef,
    server: ServerTableRef,
    listeners: ListenersTableRef,
    authenticators: AuthenticatorsTableRef,
    observers: ObserversTableRef,
    info: InfoTableRef,
    introspect: IntrospectTableRef,
    services: ServicesTableRef,
}

// SAFETY: the host's side is Send, Sync and lives for ever; tables are static.
unsafe impl Send for Tables {}
// SAFETY: as above.
unsafe impl Sync for Tables {}

impl Tables {
    /// Fails if the host means something else by an interface, which refuses the plugin.
    pub fn connect(host: HostRef) -> Result<Self> {
        Ok(Self {
            host: host.host,
            log: host.query()?,
            clock: host.query()?,
            random: host.query()?,
            tasks: host.query()?,
            net: host.query()?,
            files: host.query()?,
            publisher: host.query()?,
            subscriptions: host.query()?,
            traces: host.query().ok(),
            interest: host.query().ok(),
            keys: host.query().ok(),
            accounts: host.query()?,
            connections: host.query()?,
            server: host.query()?,
            listeners: host.query()?,
            authenticators: host.query()?,
            observers: host.query()?,
            info: host.query()?,
            introspect: host.query()?,
            services: host.query()?,
        })
    }
}

fn answer<T>(answer: RResult<T, FfiError>) -> Result<T> {
    answer.into_result().map_err(Error::from)
}

fn text(text: RResult<RString, FfiError>) -> Result<String> {
    answer(text).map(RString::into_string)
}

/// Declares safe functions over the tables. In each, the host pointer belongs to the table, and every argument
/// lives for the call.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident => $table:ident.$function:ident
        ($($arg:ident: $type:ty as $pass:expr),*) -> $out:ty, $wrap:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(tables: &Tables, $($arg: $type),*) -> $out {
            // SAFETY: `host` is the one that the table came from.
            let answer = unsafe { (tables.$table.$function())(tables.host $(, $pass)*) };
            $wrap(answer)
        }
    )*};
}

fn plain<T>(value: T) -> T {
    value
}

calls! {
    module => log.module() -> *const (), plain;
    monotonic_ns => clock.monotonic_ns() -> u64, plain;
    unix_ns => clock.unix_ns() -> u64, plain;
    sleep_until_ns => clock.sleep_until_ns(deadline_ns: u64 as deadline_ns) -> Imported<()>, FfiFuture::import;
    fill_random => random.fill(buffer: &mut [u8] as buffer.as_mut_ptr(), _len: usize as _len) -> (), plain;
    spawn => tasks.spawn(name: &str as name.into(), task: FfiFuture<()> as task) -> u64, plain;
    abort => tasks.abort(task: u64 as task) -> (), plain;
    spawn_blocking => tasks.spawn_blocking(job: FfiJob as job) -> Result<()>, answer;
    listen => net.listen(options: &str as options.into()) -> Imported<FfiListener>, FfiFuture::import;
    dial => net.dial(options: &str as options.into()) -> Imported<FfiStream>, FfiFuture::import;
    write_atomic => files.write_atomic(path: &str as path.into(), content: &[u8] as content.into()) -> Result<()>, answer;
    facts => files.facts(path: &str as path.into()) -> Result<FfiFileFacts>, answer;
    list => files.list(path: &str as path.into()) -> Result<String>, text;
    create_dir_all => files.create_dir_all(path: &str as path.into()) -> Result<()>, answer;
    rename => files.rename(from: &str as from.into(), to: &str as to.into()) -> Result<()>, answer;
    remove_file => files.remove_file(path: &str as path.into()) -> Result<()>, answer;
    remove_dir_all => files.remove_dir_all(path: &str as path.into()) -> Result<()>, answer;
    sync_dir => files.sync_dir(path: &str as path.into()) -> Result<()>, answer;
    open => files.open(path: &str as path.into(), flags: u32 as flags) -> Result<FfiFile>, answer;
    subscribe => subscriptions.subscribe(options: &str as options.into(), sink: FfiSink as sink) -> Result<u64>, answer;
    unsubscribe => subscriptions.unsubscribe(subscription: u64 as subscription) -> (), plain;
    account_list => accounts.list() -> Result<String>, text;
    account_lookup => accounts.lookup(name: &str as name.into()) -> Result<String>, text;
    connection_lookup => connections.lookup(id: u64 as id) -> Result<String>, text;
    connection_close => connections.close(id: u64 as id, reason: u32 as reason, words: &str as words.into()) -> Result<()>, answer;
    identity => server.identity() -> Result<String>, text;
    snapshot => server.snapshot(kind: &str as kind.into(), params: &str as params.into()) -> Result<String>, text;
    listener_remove => listeners.remove(id: u64 as id) -> (), plain;
    authenticator_add => authenticators.add(authenticator: FfiAuthenticator as authenticator) -> Result<u64>, answer;
    authenticator_remove => authenticators.remove(id: u64 as id) -> (), plain;
    observer_add => observers.add(observer: FfiObserver as observer) -> Result<u64>, answer;
    observer_remove => observers.remove(id: u64 as id) -> (), plain;
    info_set => info.set(kind: &str as kind.into(), fields: &str as fields.into()) -> Result<()>, answer;
    plugins => introspect.plugins() -> Result<String>, text;
    introspect => introspect.read(plugin: &str as plugin.into(), query: &str as query.into()) -> Result<String>, text;
    provide => services.provide(service: &str as service.into(), call: FfiCall as call) -> Result<()>, answer;
    find => services.find(service: &str as service.into()) -> Result<FfiCall>, answer;
}

/// An older host has no traces.
pub(crate) fn trace_of(tables: &Tables, message: &MessageRef<'_>) -> Option<KeptTrace> {
    KeptTrace::new(tables.host, tables.traces?, message)
}

fn interest(tables: &Tables) -> Result<InterestTableRef> {
    tables.interest.ok_or_else(|| Error::unsupported("this natsd does not tell plugins of interest"))
}

pub fn interest_count(tables: &Tables, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
    let count = interest(tables)?.count();
    // SAFETY: `host` is the one that the table came from.
    answer(unsafe { count(tables.host, account.into(), subject.into(), queue.into()) })
}

pub fn free_bytes(tables: &Tables, path: &str) -> Result<u64> {
    let free_bytes = tables.files.free_bytes();
    let free_bytes = free_bytes.ok_or_else(|| Error::unsupported("this natsd does not say what is free"))?;
    // SAFETY: as above.
    answer(unsafe { free_bytes(tables.host, path.into()) })
}

pub fn interest_count_exact(tables: &Tables, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
    let count = interest(tables)?.count_exact();
    let count = count.ok_or_else(|| Error::unsupported("this natsd does not count exact interest"))?;
    // SAFETY: as above.
    answer(unsafe { count(tables.host, account.into(), subject.into(), queue.into()) })
}

pub fn interest_watch(tables: &Tables, account: &str, subject: &[u8], sink: FfiSink) -> Result<u64> {
    let watch = interest(tables)?.watch();
    // SAFETY: as above.
    answer(unsafe { watch(tables.host, account.into(), subject.into(), sink) })
}

pub fn interest_unwatch(tables: &Tables, watch: u64) {
    if let Ok(table) = interest(tables) {
        // SAFETY: as above.
        unsafe { table.unwatch()(tables.host, watch) }
    }
}

pub fn account_define(tables: &Tables, name: &str, definition: &str) -> Result<()> {
    let define = tables.accounts.define();
    let define = define.ok_or_else(|| Error::unsupported("this natsd takes no accounts from plugins"))?;
    // SAFETY: as above.
    answer(unsafe { define(tables.host, name.into(), definition.into()) })
}

pub fn authenticator_add_with(
    tables: &Tables,
    authenticator: FfiAuthenticator,
    options: &str,
) -> Result<u64> {
    let add = tables.authenticators.add_with();
    let add = add.ok_or_else(|| Error::unsupported("this natsd knows no options of authenticators"))?;
    // SAFETY: as above.
    answer(unsafe { add(tables.host, authenticator, options.into()) })
}

fn keys(tables: &Tables) -> Result<KeysTableRef> {
    tables.keys.ok_or_else(|| Error::unsupported("this natsd does not sign for plugins"))
}

pub fn sign(tables: &Tables, message: &[u8]) -> Result<Bytes> {
    let sign = keys(tables)?.sign();
    // SAFETY: as above.
    answer(unsafe { sign(tables.host, message.into()) }).map(Bytes::from)
}

pub fn agree(tables: &Tables, public: &[u8]) -> Result<Bytes> {
    let agree = keys(tables)?.agree();
    // SAFETY: as above.
    answer(unsafe { agree(tables.host, public.into()) }).map(Bytes::from)
}

pub fn read(tables: &Tables, path: &str) -> Result<Bytes> {
    // SAFETY: `host` is the one that the table came from.
    answer::<FfiBytes>(unsafe { (tables.files.read())(tables.host, path.into()) }).map(Bytes::from)
}

pub fn random(tables: &Tables, buffer: &mut [u8]) {
    let len = buffer.len();
    fill_random(tables, buffer, len);
}

/// `outcomes` is empty or as long as `messages`.
pub fn publish(
    tables: &Tables,
    account: &str,
    messages: &[PublishRef<'_>],
    outcomes: &mut [Outcome],
) -> Result<u64> {
    assert!(outcomes.is_empty() || outcomes.len() == messages.len(), "one outcome for each message, or none");
    let room = if outcomes.is_empty() { std::ptr::null_mut() } else { outcomes.as_mut_ptr() };
    // SAFETY: `host` is the one that the table came from; `room` was checked.
    answer(unsafe { (tables.publisher.publish())(tables.host, account.into(), messages.into(), room) })
}

pub fn listener_add(tables: &Tables, spec: &str, factory: FfiTransportFactory) -> Imported<RString> {
    // SAFETY: `host` is the one that the table came from.
    unsafe { (tables.listeners.add())(tables.host, spec.into(), factory) }.import()
}

/// A host before 1.2 finds out when the listener is opened.
pub fn listener_check(tables: &Tables, spec: &str) -> Result<()> {
    let Some(check) = tables.listeners.check() else { return Ok(()) };
    // SAFETY: `host` is the one that the table came from.
    answer(unsafe { check(tables.host, spec.into()) })
}

pub fn listener_prepare(tables: &Tables, id: u64, spec: &str) -> Result<()> {
    let prepare = tables.listeners.prepare();
    let prepare = prepare.ok_or_else(|| Error::unsupported("this natsd cannot change an open listener"))?;
    // SAFETY: as above.
    answer(unsafe { prepare(tables.host, id, spec.into()) })
}

pub fn listener_finish(tables: &Tables, id: u64, commit: bool) {
    if let Some(finish) = tables.listeners.finish() {
        // SAFETY: as above.
        unsafe { finish(tables.host, id, commit) }
    }
}

pub fn connection_lame_duck(tables: &Tables, id: u64) -> Result<()> {
    let tell = tables.connections.lame_duck();
    let tell =
        tell.ok_or_else(|| Error::unsupported("this natsd cannot tell one client of lame duck mode"))?;
    // SAFETY: `host` is the one that the table came from.
    answer(unsafe { tell(tables.host, id) })
}

pub fn connection_set_permissions(tables: &Tables, id: u64, permissions: &str) -> Result<()> {
    let set = tables.connections.set_permissions();
    let set =
        set.ok_or_else(|| Error::unsupported("this natsd does not change a connection's permissions"))?;
    // SAFETY: `host` is the one that the table came from.
    answer(unsafe { set(tables.host, id, permissions.into()) })
}

pub fn reload(tables: &Tables) -> Result<Imported<()>> {
    let reload = tables.server.reload();
    let reload = reload.ok_or_else(|| Error::unsupported("this natsd does not reload for plugins"))?;
    // SAFETY: as above.
    Ok(unsafe { reload(tables.host) }.import())
}

pub fn log(tables: &Tables, level: u8, target: &str, message: &str, fields: Vec<(&'static str, String)>) {
    let fields: Vec<Tuple2<RStr<'static>, RString>> =
        fields.into_iter().map(|(name, value)| Tuple2(name.into(), value.into())).collect();
    // SAFETY: `host` is the one that the table came from.
    unsafe { (tables.log.log())(tables.host, level, target.into(), message.into(), fields.as_slice().into()) }
}

pub(crate) fn read_uninit(
    stream: &mut FfiStream,
    waker: &mut WakerCache,
    context: &mut Context<'_>,
    buffer: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    // SAFETY: memory to write to; what was read is initialised by the host.
    unsafe { stream.raw_read(waker, context, buffer.as_mut_ptr().cast(), buffer.len()) }
}

impl FfiFile {
    pub(crate) fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        // SAFETY: `state` and `table` belong together, here and below.
        answer(unsafe { (self.table.read_at())(self.state, at, buffer.as_mut_ptr(), buffer.len()) })
    }

    pub(crate) fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        // SAFETY: see `read_at`.
        answer(unsafe { (self.table.write_all_at())(self.state, at, content.into()) })
    }

    pub(crate) fn size(&self) -> Result<u64> {
        // SAFETY: see `read_at`.
        answer(unsafe { (self.table.size())(self.state) })
    }

    pub(crate) fn set_size(&self, size_bytes: u64) -> Result<()> {
        // SAFETY: see `read_at`.
        answer(unsafe { (self.table.set_size())(self.state, size_bytes) })
    }

    pub(crate) fn sync(&self, metadata: bool) -> Result<()> {
        // SAFETY: see `read_at`.
        answer(unsafe { (self.table.sync())(self.state, metadata) })
    }
}

// SAFETY: made from `Send` closures only.
unsafe impl Send for FfiJob {}

impl FfiJob {
    pub fn new(job: impl FnOnce() + Send + 'static) -> Self {
        type Job = Box<dyn FnOnce() + Send>;
        unsafe extern "C" fn run(state: *mut ()) {
            // SAFETY: `state` is the box below; taken once.
            guarded_or((), || unsafe { Box::from_raw(state.cast::<Job>()) }())
        }
        let job: Job = Box::new(job);
        Self { state: Box::into_raw(Box::new(job)).cast(), run, drop: super::future::drop_boxed::<Job> }
    }
}

/// A job of the other side: run once, or dropped unrun.
pub(super) struct ImportedJob(Option<FfiJob>);

impl ImportedJob {
    pub(super) fn new(job: FfiJob) -> Self {
        Self(Some(job))
    }

    pub(super) fn run(mut self) {
        if let Some(job) = self.0.take() {
            // SAFETY: `state` and `run` belong together; taken once.
            unsafe { (job.run)(job.state) }
        }
    }
}

impl Drop for ImportedJob {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            // SAFETY: `state` and `drop` belong together; taken once.
            unsafe { (job.drop)(job.state) }
        }
    }
}
