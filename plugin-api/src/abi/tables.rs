//! The host's services: one table of functions for each named interface.
//!
//! The first argument is always the host's side for this plugin. Functions are only ever appended, after the
//! last prefix field, with a higher minor version of this crate.

use super::bytes::FfiBytes;
use super::error::FfiError;
use super::future::FfiFuture;
use super::message::{FfiSink, MessageRef, Outcome, PublishRef};
use super::points::{FfiAuthenticator, FfiCall, FfiObserver, FfiTransportFactory};
use super::prelude::*;
use super::stream::{FfiListener, FfiStream};

type Host = *const ();
type Answer<T> = RResult<T, FfiError>;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = LogTableRef)))]
#[sabi(missing_field(option))]
pub struct LogTable {
    /// Level (1 error … 5 trace), target, message, fields.
    pub log: unsafe extern "C" fn(Host, u8, RStr<'_>, RStr<'_>, RSlice<'_, Tuple2<RStr<'static>, RString>>),
    /// An address of the host's copy of this crate: equal to the plugin's own when linked statically.
    #[sabi(last_prefix_field)]
    pub module: unsafe extern "C" fn(Host) -> *const (),
}
interface!(LogTableRef, "natsd.log/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ClockTableRef)))]
#[sabi(missing_field(option))]
pub struct ClockTable {
    pub monotonic_ns: unsafe extern "C" fn(Host) -> u64,
    pub unix_ns: unsafe extern "C" fn(Host) -> u64,
    /// Ready once the monotonic clock shows this.
    #[sabi(last_prefix_field)]
    pub sleep_until_ns: unsafe extern "C" fn(Host, u64) -> FfiFuture<()>,
}
interface!(ClockTableRef, "natsd.clock/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RandomTableRef)))]
#[sabi(missing_field(option))]
pub struct RandomTable {
    #[sabi(last_prefix_field)]
    pub fill: unsafe extern "C" fn(Host, *mut u8, usize),
}
interface!(RandomTableRef, "natsd.random/1");

/// A job for a thread that may block.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiJob {
    pub(super) state: *mut (),
    /// Takes the state.
    pub(super) run: unsafe extern "C" fn(*mut ()),
    /// Takes the state without running it.
    pub(super) drop: unsafe extern "C" fn(*mut ()),
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = TasksTableRef)))]
#[sabi(missing_field(option))]
pub struct TasksTable {
    /// A name for the log, and the task; answers with its id.
    pub spawn: unsafe extern "C" fn(Host, RStr<'_>, FfiFuture<()>) -> u64,
    pub abort: unsafe extern "C" fn(Host, u64),
    #[sabi(last_prefix_field)]
    pub spawn_blocking: unsafe extern "C" fn(Host, FfiJob) -> Answer<()>,
}
interface!(TasksTableRef, "natsd.tasks/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = NetTableRef)))]
#[sabi(missing_field(option))]
pub struct NetTable {
    /// JSON of `ListenOptions`.
    pub listen: unsafe extern "C" fn(Host, RStr<'_>) -> FfiFuture<FfiListener>,
    /// JSON of `DialOptions`.
    #[sabi(last_prefix_field)]
    pub dial: unsafe extern "C" fn(Host, RStr<'_>) -> FfiFuture<FfiStream>,
}
interface!(NetTableRef, "natsd.net/1");

#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct FfiFileFacts {
    pub size_bytes: u64,
    pub modified_unix_ns: u64,
    /// 0 file, 1 directory, 2 other.
    pub kind: u32,
    pub reserved: u32,
}

/// Functions over paths. They block: call them from `spawn_blocking`, or while starting.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = FilesTableRef)))]
#[sabi(missing_field(option))]
pub struct FilesTable {
    pub read: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<FfiBytes>,
    /// Write beside, sync, rename, sync the directory.
    pub write_atomic: unsafe extern "C" fn(Host, RStr<'_>, RSlice<'_, u8>) -> Answer<()>,
    pub facts: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<FfiFileFacts>,
    /// JSON: names in the directory.
    pub list: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<RString>,
    pub create_dir_all: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<()>,
    pub rename: unsafe extern "C" fn(Host, RStr<'_>, RStr<'_>) -> Answer<()>,
    pub remove_file: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<()>,
    pub remove_dir_all: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<()>,
    pub sync_dir: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<()>,
    /// Flags are those of `OpenOptions`.
    #[sabi(last_prefix_field)]
    pub open: unsafe extern "C" fn(Host, RStr<'_>, u32) -> Answer<FfiFile>,
    /// What may still be written to the file system of a path, in bytes. Since 1.7.
    pub free_bytes: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<u64>,
}
interface!(FilesTableRef, "natsd.files/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = FileTableRef)))]
#[sabi(missing_field(option))]
pub struct FileTable {
    pub read_at: unsafe extern "C" fn(*const (), u64, *mut u8, usize) -> Answer<usize>,
    pub write_all_at: unsafe extern "C" fn(*const (), u64, RSlice<'_, u8>) -> Answer<()>,
    pub size: unsafe extern "C" fn(*const ()) -> Answer<u64>,
    pub set_size: unsafe extern "C" fn(*const (), u64) -> Answer<()>,
    /// True: also the metadata.
    pub sync: unsafe extern "C" fn(*const (), bool) -> Answer<()>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiFile {
    pub(super) state: *mut (),
    pub(super) table: FileTableRef,
}

// SAFETY: made from `Send + Sync` files only (`serve`), used through shared references.
unsafe impl Send for FfiFile {}
// SAFETY: as above.
unsafe impl Sync for FfiFile {}

impl Drop for FfiFile {
    fn drop(&mut self) {
        // SAFETY: `state` and `table` belong together; called once.
        unsafe { (self.table.drop())(self.state) }
    }
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PublisherTableRef)))]
#[sabi(missing_field(option))]
pub struct PublisherTable {
    /// Account, messages, and room for as many outcomes (or null). Answers with the number of deliveries.
    #[sabi(last_prefix_field)]
    pub publish:
        unsafe extern "C" fn(Host, RStr<'_>, RSlice<'_, PublishRef<'_>>, *mut Outcome) -> Answer<u64>,
}
interface!(PublisherTableRef, "natsd.publisher/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = SubscriptionsTableRef)))]
#[sabi(missing_field(option))]
pub struct SubscriptionsTable {
    /// JSON of `SubscribeOptions`; answers with an id.
    pub subscribe: unsafe extern "C" fn(Host, RStr<'_>, FfiSink) -> Answer<u64>,
    #[sabi(last_prefix_field)]
    pub unsubscribe: unsafe extern "C" fn(Host, u64),
}
interface!(SubscriptionsTableRef, "natsd.subscriptions/1");

/// The traces of messages. Since 1.6.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = TracesTableRef)))]
#[sabi(missing_field(option))]
pub struct TracesTable {
    /// The message that the plugin is being called with; answers with its trace, or null.
    pub keep: unsafe extern "C" fn(Host, *const MessageRef<'_>) -> *const (),
    /// A kept trace, the type of a step, and JSON of its other fields.
    pub add: unsafe extern "C" fn(Host, *const (), RStr<'_>, RStr<'_>) -> Answer<()>,
    /// A kept trace, once.
    #[sabi(last_prefix_field)]
    pub release: unsafe extern "C" fn(Host, *const ()),
}
interface!(TracesTableRef, "natsd.traces/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = InterestTableRef)))]
#[sabi(missing_field(option))]
pub struct InterestTable {
    /// Account, subject, queue group or nothing: how many subscriptions match.
    pub count: unsafe extern "C" fn(Host, RStr<'_>, RSlice<'_, u8>, RSlice<'_, u8>) -> Answer<u64>,
    /// Account, subject without wildcards, and whom to call with one empty message on that subject.
    pub watch: unsafe extern "C" fn(Host, RStr<'_>, RSlice<'_, u8>, FfiSink) -> Answer<u64>,
    #[sabi(last_prefix_field)]
    pub unwatch: unsafe extern "C" fn(Host, u64),
    /// As `count`, but only subscriptions to exactly this subject; without a queue group only those of no group.
    /// Since 1.5.
    pub count_exact: unsafe extern "C" fn(Host, RStr<'_>, RSlice<'_, u8>, RSlice<'_, u8>) -> Answer<u64>,
}
interface!(InterestTableRef, "natsd.interest/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AccountsTableRef)))]
#[sabi(missing_field(option))]
pub struct AccountsTable {
    /// JSON: names.
    pub list: unsafe extern "C" fn(Host) -> Answer<RString>,
    /// JSON of `AccountFacts`.
    #[sabi(last_prefix_field)]
    pub lookup: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<RString>,
    /// A name and JSON of `AccountDefinition`. Since 1.4.
    pub define: unsafe extern "C" fn(Host, RStr<'_>, RStr<'_>) -> Answer<()>,
}
interface!(AccountsTableRef, "natsd.accounts/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ConnectionsTableRef)))]
#[sabi(missing_field(option))]
pub struct ConnectionsTable {
    /// JSON of `ConnectionFacts`.
    pub lookup: unsafe extern "C" fn(Host, u64) -> Answer<RString>,
    /// Id, number of a `CloseReason`, text.
    #[sabi(last_prefix_field)]
    pub close: unsafe extern "C" fn(Host, u64, u32, RStr<'_>) -> Answer<()>,
    /// Id. Since 1.3.
    pub lame_duck: unsafe extern "C" fn(Host, u64) -> Answer<()>,
    /// Id and JSON of a `permissions {}` block, or `null`. Since 1.5.
    pub set_permissions: unsafe extern "C" fn(Host, u64, RStr<'_>) -> Answer<()>,
}
interface!(ConnectionsTableRef, "natsd.connections/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ServerTableRef)))]
#[sabi(missing_field(option))]
pub struct ServerTable {
    /// JSON of `ServerIdentity`.
    pub identity: unsafe extern "C" fn(Host) -> Answer<RString>,
    /// A kind (`varz`, `connz`, `subsz`, …) and JSON parameters; answers with JSON.
    #[sabi(last_prefix_field)]
    pub snapshot: unsafe extern "C" fn(Host, RStr<'_>, RStr<'_>) -> Answer<RString>,
    /// Reads the configuration again. Since 1.3.
    pub reload: unsafe extern "C" fn(Host) -> FfiFuture<()>,
}
interface!(ServerTableRef, "natsd.server/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ListenersTableRef)))]
#[sabi(missing_field(option))]
pub struct ListenersTable {
    /// JSON of `ListenerSpec`; answers with JSON of `ListenerFacts`.
    pub add: unsafe extern "C" fn(Host, RStr<'_>, FfiTransportFactory) -> FfiFuture<RString>,
    /// Stops accepting; what was accepted stays.
    #[sabi(last_prefix_field)]
    pub remove: unsafe extern "C" fn(Host, u64),
    /// JSON of `ListenerSpec`: whether the configuration being read would let it be opened. Since 1.2.
    pub check: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<()>,
    /// Id and JSON of the new `ListenerSpec`; waits for `finish`. Since 1.2.
    pub prepare: unsafe extern "C" fn(Host, u64, RStr<'_>) -> Answer<()>,
    /// Id; true: what was prepared takes effect, false: it is forgotten. Since 1.2.
    pub finish: unsafe extern "C" fn(Host, u64, bool),
}
interface!(ListenersTableRef, "natsd.listeners/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AuthenticatorsTableRef)))]
#[sabi(missing_field(option))]
pub struct AuthenticatorsTable {
    pub add: unsafe extern "C" fn(Host, FfiAuthenticator) -> Answer<u64>,
    #[sabi(last_prefix_field)]
    pub remove: unsafe extern "C" fn(Host, u64),
    /// With JSON of `AuthenticatorOptions`. Since 1.4.
    pub add_with: unsafe extern "C" fn(Host, FfiAuthenticator, RStr<'_>) -> Answer<u64>,
}
interface!(AuthenticatorsTableRef, "natsd.authenticators/1");

/// The keys that the server made for itself at start. Since 1.4.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = KeysTableRef)))]
#[sabi(missing_field(option))]
pub struct KeysTable {
    /// The Ed25519 signature of the server's id over a message: 64 bytes.
    pub sign: unsafe extern "C" fn(Host, RSlice<'_, u8>) -> Answer<FfiBytes>,
    /// X25519 of the server's curve key with a public key of 32 bytes: 32 bytes.
    #[sabi(last_prefix_field)]
    pub agree: unsafe extern "C" fn(Host, RSlice<'_, u8>) -> Answer<FfiBytes>,
}
interface!(KeysTableRef, "natsd.keys/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ObserversTableRef)))]
#[sabi(missing_field(option))]
pub struct ObserversTable {
    pub add: unsafe extern "C" fn(Host, FfiObserver) -> Answer<u64>,
    #[sabi(last_prefix_field)]
    pub remove: unsafe extern "C" fn(Host, u64),
}
interface!(ObserversTableRef, "natsd.observers/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = InfoTableRef)))]
#[sabi(missing_field(option))]
pub struct InfoTable {
    /// Connection kind and a JSON object of fields; replaces what this plugin set before for the kind.
    #[sabi(last_prefix_field)]
    pub set: unsafe extern "C" fn(Host, RStr<'_>, RStr<'_>) -> Answer<()>,
}
interface!(InfoTableRef, "natsd.info/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = IntrospectTableRef)))]
#[sabi(missing_field(option))]
pub struct IntrospectTable {
    /// JSON: an array of `PluginFacts`.
    pub plugins: unsafe extern "C" fn(Host) -> Answer<RString>,
    /// A plugin's name and a JSON query; answers with JSON.
    #[sabi(last_prefix_field)]
    pub read: unsafe extern "C" fn(Host, RStr<'_>, RStr<'_>) -> Answer<RString>,
}
interface!(IntrospectTableRef, "natsd.introspect/1");

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ServicesTableRef)))]
#[sabi(missing_field(option))]
pub struct ServicesTable {
    pub provide: unsafe extern "C" fn(Host, RStr<'_>, FfiCall) -> Answer<()>,
    #[sabi(last_prefix_field)]
    pub find: unsafe extern "C" fn(Host, RStr<'_>) -> Answer<FfiCall>,
}
interface!(ServicesTableRef, "natsd.services/1");
