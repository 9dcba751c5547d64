//! What the host lends to a plugin.
//!
//! tokio's timers, sockets and `spawn` do not work inside a plugin file: they look for a runtime in a
//! thread-local of their own copy. Use these instead; `tokio::sync`, hyper and rustls work as they are.

use crate::abi::error::panicked;
use crate::abi::future::{FfiFuture, Imported};
use crate::abi::import::{self, Tables};
use crate::abi::message::{MessageRef, Outcome, PublishRef};
use crate::abi::tables::FfiJob;
use crate::account::{AccountExport, AccountImport, AccountMapping};
use crate::error::{Error, ErrorKind, Result};
use crate::events::ConnectionFacts;
use crate::files::Files;
use crate::net::{ByteStream, DialOptions, ListenOptions, Listener};
use crate::services::ServiceClient;
use crate::stream_store::{StreamEngineClient, service_name};
use crate::subscribe::{InterestWatch, SubscribeOptions, Subscription};
use crate::task::{Task, task};
use crate::trace::Trace;
use crate::transport::{CloseReason, ListenerSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The host, as one plugin sees it. Cheap to clone; may be used from any thread.
#[derive(Clone)]
pub struct Host {
    pub(crate) tables: Arc<Tables>,
}

/// Clock and timers.
impl Host {
    pub(crate) fn new(tables: Tables) -> Self {
        Self { tables: Arc::new(tables) }
    }

    /// Never goes back; its zero means nothing.
    pub fn monotonic_ns(&self) -> u64 {
        import::monotonic_ns(&self.tables)
    }

    /// Nanoseconds since 1970.
    pub fn unix_ns(&self) -> u64 {
        import::unix_ns(&self.tables)
    }

    /// Waits; dropping it cancels the timer.
    pub async fn sleep(&self, duration: Duration) {
        let wait_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sleep_until_ns(self.monotonic_ns().saturating_add(wait_ns)).await;
    }

    /// Waits until the monotonic clock shows `deadline_ns`.
    pub async fn sleep_until_ns(&self, deadline_ns: u64) {
        if import::sleep_until_ns(&self.tables, deadline_ns).await.is_err() {
            // The host is going down and has no timers any more: the task will be ended.
            std::future::pending::<()>().await;
        }
    }

    /// The future's output, or an error of kind `TimedOut`.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T> {
        let (mut future, mut timer) = (pin!(future), pin!(self.sleep(limit)));
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let late = || Err(Error::new(ErrorKind::TimedOut, format!("no answer within {limit:?}")));
            timer.as_mut().poll(context).map(|()| late())
        })
        .await
    }

    pub fn random(&self, buffer: &mut [u8]) {
        import::random(&self.tables, buffer);
    }

    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// Tasks.
impl Host {
    /// Runs a future on the host's runtime. `name` is for the log. It goes on if the task is dropped; it ends at
    /// the latest when the plugin stops. A panic in it is the task's error and marks the plugin as faulted.
    ///
    /// There is no budget that makes it yield: a loop over something that is always ready must yield by itself
    /// ([`Host::yield_now`]).
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (handle, finish) = task();
        let run = async move {
            let mut future = Box::pin(future);
            let polled =
                poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                    Err(panic) => Poll::Ready(Err(panicked(panic))),
                });
            let output = polled.await;
            let outcome = output.as_ref().map(drop).map_err(Clone::clone);
            finish.with(output);
            outcome
        };
        let id = import::spawn(&self.tables, name, FfiFuture::new(run));
        handle.with_abort(self.clone(), id)
    }

    pub(crate) fn abort(&self, task: u64) {
        import::abort(&self.tables, task);
    }

    /// Runs a function on a thread where it may block.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (handle, finish) = task();
        import::spawn_blocking(
            &self.tables,
            FfiJob::new(move || finish.with(catch_unwind(AssertUnwindSafe(work)).map_err(panicked))),
        )?;
        handle.await
    }

    /// Lets other tasks run.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Network and files.
impl Host {
    /// A listening socket with byte streams, for protocols that are not NATS's own (HTTP). Clients of the server
    /// come through [`crate::Registrar::listener`].
    pub async fn listen(&self, options: &ListenOptions) -> Result<Listener> {
        let listening: Imported<_> = import::listen(&self.tables, &serde_json::to_string(options)?);
        listening.await.map(Listener::new)
    }

    pub async fn dial(&self, options: &DialOptions) -> Result<ByteStream> {
        let dialling: Imported<_> = import::dial(&self.tables, &serde_json::to_string(options)?);
        dialling.await.map(ByteStream::new)
    }

    pub fn files(&self) -> Files {
        Files(self.clone())
    }
}

/// Messages.
impl Host {
    /// Publishes to an account (empty: the global one). Answers with the number of receivers.
    pub fn publish(&self, account: &str, message: PublishRef<'_>) -> Result<u64> {
        import::publish(&self.tables, account, &[message], &mut [])
    }

    /// Publishes a batch in order, in one crossing. `outcomes` is empty, or as long as `messages` and says what
    /// became of each. A message whose subject is empty or has blanks is refused, which is an error of kind `Invalid`
    /// if there are no outcomes to tell it; the others are published all the same.
    pub fn publish_batch(
        &self,
        account: &str,
        messages: &[PublishRef<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<u64> {
        if !outcomes.is_empty() && outcomes.len() != messages.len() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "there must be one outcome for each message, or none",
            ));
        }
        import::publish(&self.tables, account, messages, outcomes)
    }

    pub fn subscribe(
        &self,
        options: &SubscribeOptions,
        callback: impl Fn(&[MessageRef<'_>]) + Send + Sync + 'static,
    ) -> Result<Subscription> {
        Subscription::new(self, options, callback)
    }

    /// The trace of a message that a subscriber is being called with, to be kept. Since 1.6.
    pub fn trace_of(&self, message: &MessageRef<'_>) -> Option<Trace> {
        import::trace_of(&self.tables, message).map(Trace)
    }

    /// How many subscriptions of the account match the subject; with a queue name only members of that group.
    /// Those of plugins count too. Since 1.1.
    pub fn interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        import::interest_count(&self.tables, account, subject, queue)
    }

    /// How many subscriptions of the account are to exactly this subject, wildcards not counted: without a queue
    /// name those of no group, else the members of that group. Since 1.5.
    pub fn exact_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        import::interest_count_exact(&self.tables, account, subject, queue)
    }

    /// Calls `changed` after each subscription that matches the subject (without wildcards) has come or gone. It
    /// runs on the thread of whoever subscribed, and must not block. Since 1.1.
    pub fn watch_interest(
        &self,
        account: &str,
        subject: &[u8],
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<InterestWatch> {
        InterestWatch::new(self, account, subject, changed)
    }
}

/// The server: accounts, connections, identity, other plugins.
impl Host {
    pub fn accounts(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_str(&import::account_list(&self.tables)?)?)
    }

    pub fn account(&self, name: &str) -> Result<AccountFacts> {
        Ok(serde_json::from_str(&import::account_lookup(&self.tables, name)?)?)
    }

    /// Makes an account, or gives it another definition: limits hold for clients that are connected, too. The account
    /// lives as long as the server. Since 1.4.
    pub fn define_account(&self, name: &str, definition: &AccountDefinition) -> Result<()> {
        import::account_define(&self.tables, name, &serde_json::to_string(definition)?)
    }

    /// Signs with the key whose public half is the server's id. Since 1.4.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let signature = import::sign(&self.tables, message)?;
        signature.as_ref().try_into().map_err(|_| Error::other("a signature has 64 bytes"))
    }

    /// The X25519 secret that the server's curve key (`xkey` of INFO) shares with a public key. Since 1.4.
    pub fn agree(&self, public: &[u8; 32]) -> Result<[u8; 32]> {
        let shared = import::agree(&self.tables, public)?;
        shared.as_ref().try_into().map_err(|_| Error::other("a shared secret has 32 bytes"))
    }

    pub fn connection(&self, id: u64) -> Result<ConnectionFacts> {
        Ok(serde_json::from_str(&import::connection_lookup(&self.tables, id)?)?)
    }

    /// Closes a connection; the client reads `text` as an error when it is not empty.
    pub fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()> {
        import::connection_close(&self.tables, id, reason as u32, text)
    }

    /// Sends one client an INFO that says the server is about to go, as in lame duck mode. An error of kind
    /// `NotFound` if there is no such client, of kind `Invalid` if it does not take INFO now. Since 1.3.
    pub fn lame_duck_connection(&self, id: u64) -> Result<()> {
        import::connection_lame_duck(&self.tables, id)
    }

    /// Gives a connection that an authenticator let in other permissions: a `permissions {}` block as JSON, `None` for
    /// all. What it subscribed to and may not any more is removed. Since 1.5.
    pub fn set_permissions(&self, id: u64, permissions: Option<&Value>) -> Result<()> {
        let text = permissions.map_or_else(|| "null".to_owned(), Value::to_string);
        import::connection_set_permissions(&self.tables, id, &text)
    }

    /// Has the server read its configuration again, as the signal for it does; all or nothing. Plugins are asked
    /// to reconfigure meanwhile, the caller too. Since 1.3.
    pub async fn reload(&self) -> Result<()> {
        import::reload(&self.tables)?.await
    }

    /// Whether the configuration that is being read would let a listener be opened: its `tls {}` with the files, its
    /// users. For `create` and `reconfigure`, so that `natsd -t` finds out. The error's place is a key of the spec, as
    /// in `tls`; see [`Error::within`]. Since 1.2.
    pub fn check_listener(&self, spec: &ListenerSpec) -> Result<()> {
        import::listener_check(&self.tables, &serde_json::to_string(spec)?)
    }

    pub fn identity(&self) -> Result<ServerIdentity> {
        Ok(serde_json::from_str(&import::identity(&self.tables)?)?)
    }

    /// The server's monitoring data as JSON text: `kind` is `varz`, `connz`, `subsz`, …; parameters are those of
    /// the endpoint of that name.
    pub fn snapshot(&self, kind: &str, params: &Value) -> Result<String> {
        import::snapshot(&self.tables, kind, &params.to_string())
    }

    /// All plugins of the server.
    pub fn plugins(&self) -> Result<Vec<PluginFacts>> {
        Ok(serde_json::from_str(&import::plugins(&self.tables)?)?)
    }

    /// Another plugin's snapshot, as its `introspect` answers.
    pub fn introspect(&self, plugin: &str, query: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&import::introspect(&self.tables, plugin, &query.to_string())?)?)
    }

    /// A service of another plugin, by name. There from the moment the other plugin has started: list it in the
    /// manifest's `requires` or `wants`.
    pub fn service(&self, name: &str) -> Result<ServiceClient> {
        import::find(&self.tables, name).map(ServiceClient)
    }

    /// The streams that another plugin keeps, by the name it has registered them under. Since 1.5.
    pub fn stream_store(&self, name: &str) -> Result<StreamEngineClient> {
        StreamEngineClient::new(import::find(&self.tables, &service_name(name))?)
    }
}

/// An account of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountFacts {
    pub name: String,
    pub connections: u64,
    pub subscriptions: u64,
    pub is_system: bool,
    /// Whatever else the host knows, and what the plugin that defined the account noted. `service_imports`: the subjects
    /// under which it uses services of other accounts, if there are any.
    pub extra: Map<String, Value>,
}

/// What a plugin says of an account. `None` is unlimited. Since 1.4.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountDefinition {
    pub max_connections: Option<u32>,
    pub max_subscriptions: Option<u32>,
    pub max_payload_bytes: Option<u32>,
    pub max_leafnodes: Option<u32>,
    /// This is the system account, in place of the one in force.
    pub is_system: bool,
    /// `msg_trace` of the account.
    pub trace: Option<AccountTrace>,
    /// Since 1.5.
    pub exports: Vec<AccountExport>,
    /// Since 1.5.
    pub imports: Vec<AccountImport>,
    /// Since 1.5.
    pub mappings: Vec<AccountMapping>,
    /// What other plugins may want to know of the account, as they find it in [`AccountFacts::extra`].
    pub extra: Map<String, Value>,
}

/// Where and how often messages with `traceparent` are traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountTrace {
    pub dest: String,
    pub sampling_percent: u8,
}

/// Which server this is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerIdentity {
    pub id: String,
    pub name: String,
    /// What clients read as the server's version.
    pub version: String,
    /// natsd's own version.
    pub natsd_version: String,
    pub system_account: String,
    pub started_unix_ns: u64,
    /// `address:port` of the client listener.
    pub client_address: String,
    /// Whatever else the host knows.
    pub extra: Map<String, Value>,
}

/// A plugin, as in `natsd plugins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginFacts {
    pub name: String,
    pub version: String,
    pub api_version: String,
    /// `static` or `dynamic`.
    pub linkage: String,
    /// `declared`, `loaded`, `configured`, `started`, `draining`, `stopped`, `failed` or `faulted`.
    pub state: String,
    /// Why it failed; empty otherwise.
    pub why: String,
    pub faults: u64,
    pub path: Option<String>,
    pub healthy: bool,
    pub health: String,
    /// What its manifest says that it provides. Since 1.5.
    #[serde(default)]
    pub provides: Vec<String>,
}

/// Boxes a future, for traits that return one.
pub fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}
