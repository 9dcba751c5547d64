//! What plugins need of the server, as two traits: the runtime below it, and the server itself.
//!
//! The runtime is implemented in `runtime` (and by the simulator), the server's part by `server`. Everything
//! that can be done without either, such as chains of authenticators, queues and limits, is done in this folder.

use super::points::{Subscriber, TransportPoint};
use natsd_plugin_api::files::RawFiles;
use natsd_plugin_api::net::{DialOptions, ListenOptions, RawListener, RawStream};
use natsd_plugin_api::{
    AccountDefinition, AccountFacts, BoxFuture, CloseReason, ConnectionFacts, Error, ListenerFacts,
    ListenerSpec, Outcome, PublishRef, Result, ServerIdentity,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Time, randomness, tasks, network and files.
pub trait RuntimeServices: Send + Sync + 'static {
    fn monotonic_ns(&self) -> u64;
    fn unix_ns(&self) -> u64;
    fn sleep_until_ns(&self, deadline_ns: u64) -> BoxFuture<'static, ()>;
    fn fill_random(&self, buffer: &mut [u8]);
    /// Runs beside the caller, never inside this call.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> Box<dyn TaskHandle>;
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>);
    fn listen(&self, options: ListenOptions) -> BoxFuture<'static, Result<Box<dyn RawListener>>>;
    fn dial(&self, options: DialOptions) -> BoxFuture<'static, Result<Box<dyn RawStream>>>;
    fn files(&self) -> Arc<dyn RawFiles>;
}

/// A running task.
pub trait TaskHandle: Send + Sync {
    fn abort(&self);
}

/// What plugins may ask of the rest of a configuration while they read their part of it.
pub trait Surroundings: Send + Sync + 'static {
    /// Whether a listener could be opened; the error's place is a key of the spec.
    fn check_listener(&self, spec: &ListenerSpec) -> Result<()>;
    /// Full paths of what serves as a variable in keys of plugins.
    fn variables(&self) -> &[String];
    /// `Section::core`
    fn core(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// Messages, listeners and what is known of the server.
///
/// `plugin` is the name of the plugin that asks, for the log and for clean-up.
pub trait HostServices: Send + Sync + 'static {
    /// Delivers in order to the interest of the account (empty: the global one). `outcomes` is empty or as long
    /// as `messages`; answers with the number of receivers. May be called from any thread outside of an inline
    /// subscriber.
    fn publish(
        &self,
        plugin: &str,
        account: &str,
        messages: &[PublishRef<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<u64>;

    /// `subscriber` is called once for each chunk of a publisher, on its thread. Empty `queue`: no queue group.
    fn subscribe(
        &self,
        plugin: &str,
        account: &str,
        subject: &str,
        queue: &str,
        subscriber: Arc<Subscriber>,
    ) -> Result<u64>;
    fn unsubscribe(&self, subscription: u64);

    /// Matching subscriptions; with a queue name only members of that group.
    fn count_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64>;
    /// Calls `changed` with one empty message after a matching subscription came or went.
    fn count_exact_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64>;
    fn watch_interest(&self, account: &str, subject: &[u8], changed: Arc<Subscriber>) -> Result<u64>;
    fn unwatch_interest(&self, watch: u64);

    fn accounts(&self) -> Vec<String>;
    fn account(&self, name: &str) -> Result<AccountFacts>;
    /// Makes an account or changes it, for its connected clients too.
    fn define_account(&self, name: &str, definition: AccountDefinition) -> Result<()> {
        let _ = (name, definition);
        Err(Error::unsupported("accounts cannot be defined here"))
    }
    /// With the key of the server's id.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let _ = message;
        Err(Error::unsupported("there is no key to sign with here"))
    }
    /// X25519 with the server's curve key.
    fn agree(&self, public: &[u8; 32]) -> Result<[u8; 32]> {
        let _ = public;
        Err(Error::unsupported("there is no curve key here"))
    }
    fn connection(&self, id: u64) -> Result<ConnectionFacts>;
    fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()>;
    /// Tells one client that the server is about to go.
    fn lame_duck_connection(&self, id: u64) -> Result<()>;
    /// `None`: everything is allowed.
    fn set_permissions(&self, id: u64, permissions: Option<Value>) -> Result<()>;
    fn identity(&self) -> ServerIdentity;
    /// Reads the configuration again, all or nothing.
    fn reload(&self) -> BoxFuture<'static, Result<()>>;
    /// Monitoring data as JSON text.
    fn snapshot(&self, kind: &str, params: &Value) -> Result<String>;

    /// Opens a listening socket; its connections are the server's, with a transport between socket and protocol.
    fn add_listener(
        &self,
        plugin: &str,
        spec: ListenerSpec,
        transports: Arc<TransportPoint>,
    ) -> BoxFuture<'static, Result<ListenerFacts>>;
    /// Stops accepting.
    fn remove_listener(&self, id: u64);
    /// Checks what shall change at an open listener, and keeps it for `finish_listener`.
    fn prepare_listener(&self, id: u64, spec: ListenerSpec) -> Result<()>;
    /// What was prepared, if anything was, takes effect or is forgotten.
    fn finish_listener(&self, id: u64, commit: bool);
    /// Fields for the INFO of connections of a kind, in place of this plugin's earlier ones. Empty: none.
    fn set_info(&self, plugin: &str, kind: &str, fields: Map<String, Value>) -> Result<()>;
}
