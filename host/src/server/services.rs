//! What plugins are lent of the server.

use super::Server;
use super::hooks::{all_facts_of, permissions_of};
use super::plugin_listeners::PluginListeners;
use super::to_plugin::ToPlugin;
use crate::account::Account;
use crate::conn::crossing;
use crate::conn::registry::Signal;
use crate::conn::session::ListenerFacts as SessionListener;
use crate::plugins::points::{Subscriber, TransportPoint};
use crate::plugins::services::HostServices;
use crate::proto::error::ClosedReason;
use crate::proto::info::{COMPATIBLE_VERSION, InfoTemplate, ServerInfo};
use crate::routing::publish::{self, Message};
use crate::routing::receiver::{Kind, Receiver};
use crate::routing::subscriptions;
use crate::runtime::{Mutex, tasks};
use crate::subject;
use core::net::SocketAddr;
use natsd_plugin_api::subscribe::TRACES;
use natsd_plugin_api::{
    AccountDefinition, AccountFacts, BoxFuture, CloseReason, ConnectionFacts, Error, ErrorKind, Event,
    ListenerFacts, ListenerSpec, MessageRef, Outcome, PublishRef, Result, ServerIdentity,
};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Services {
    server: OnceLock<Weak<Server>>,
    subscriptions: Mutex<HashMap<u64, Subscription>>,
    /// Watched subjects by number.
    watches: Mutex<HashMap<u64, Watch>>,
    pub(super) next_id: AtomicU64,
    /// Of plugins.
    pub(super) listeners: PluginListeners,
    /// Fields of INFO by connection kind and plugin.
    info: Mutex<HashMap<(String, String), Map<String, Value>>>,
}

/// Each subscription of a plugin is a receiver of its own.
struct Subscription {
    receiver: Arc<Receiver>,
    account: Arc<Account>,
    /// It is told of traces.
    hears_traces: bool,
}

/// A watched subject of an account.
type Watch = (Arc<Account>, Arc<[u8]>);

impl Services {
    pub fn attach(&self, server: &Arc<Server>) {
        // Set once, by the server that owns this value.
        let _ = self.server.set(Arc::downgrade(server));
    }

    fn server(&self) -> Result<Arc<Server>> {
        let server = self.server.get().and_then(Weak::upgrade);
        server.ok_or_else(|| Error::new(ErrorKind::Closed, "the server is not running"))
    }

    fn account_named(&self, name: &str) -> Result<Arc<Account>> {
        let accounts = &self.server()?.context.accounts;
        match name {
            "" => Ok(accounts.global.clone()),
            name => {
                accounts.get(name).ok_or_else(|| Error::not_found(format!("there is no account {name:?}")))
            }
        }
    }

    /// INFO of all plugin listeners anew, after a reload.
    pub fn refresh_info(&self, server: &Server) {
        for listener in self.listeners.all() {
            listener.facts.info.store(Arc::new(self.template(server, &listener.facts)));
        }
    }

    fn template(&self, server: &Server, listener: &SessionListener) -> InfoTemplate {
        let mut info = server.info(&listener.kind);
        // WS-008: each listener names itself.
        info.host = listener.address.ip().to_string();
        info.port = listener.address.port();
        info.tls_required = listener.tls;
        // What clients are asked for is said as on the server's own port (WS-008).
        info.tls_available = listener.tls;
        info.auth_required |= listener.auth.overrides();
        InfoTemplate::new(&info)
    }

    /// What plugins listen on: kind, whether with TLS, address.
    pub fn addresses(&self) -> Vec<(String, bool, SocketAddr)> {
        self.listeners.all().iter().map(|l| (l.facts.kind.clone(), l.facts.tls, l.facts.address)).collect()
    }

    /// The INFO fields of plugins for a kind of connections.
    pub fn extra_of(&self, kind: &str) -> Map<String, Value> {
        let info = self.info.lock();
        info.iter().filter(|((k, _), _)| k == kind).flat_map(|(_, fields)| fields.clone()).collect()
    }
}

/// A plugin's message, if its subjects can be published to. `max_payload` is a limit for clients: what a plugin answers
/// may be longer than any request.
fn sendable<'m>(message: &PublishRef<'m>) -> Option<Message<'m>> {
    let (subject, shown) = (message.match_subject(), message.shown_subject());
    let reply = message.reply_subject();
    let deliver_as = if shown == subject { b"" } else { shown };
    let is_sendable = subject::is_publishable(subject)
        && [deliver_as, reply].iter().all(|part| part.is_empty() || subject::is_publishable(part));
    let (headers, payload) = (message.header_block(), message.payload());
    is_sendable.then_some(Message { subject, deliver_as, reply, headers, payload })
}

impl HostServices for Services {
    fn publish(
        &self,
        _plugin: &str,
        account: &str,
        messages: &[PublishRef<'_>],
        outcomes: &mut [Outcome],
    ) -> Result<u64> {
        let account = self.account_named(account)?;
        let (mut total, mut at, is_refused) = (0, 0, Cell::new(false));
        let outcomes = Cell::from_mut(outcomes).as_slice_of_cells();
        let sendable = messages.iter().enumerate().filter_map(|(i, m)| {
            let message = sendable(m);
            match outcomes.get(i).filter(|_| message.is_none()) {
                Some(outcome) => outcome.set(Outcome::refused()),
                None => is_refused.set(is_refused.get() | message.is_none()),
            }
            message
        });
        publish::publish(&account, sendable, |published| {
            total += published.receivers as u64;
            while outcomes.get(at).is_some_and(|outcome| outcome.get().is_refused()) {
                at += 1;
            }
            if let Some(outcome) = outcomes.get(at) {
                let flags = if published.slow { Outcome::SLOW } else { 0 };
                outcome.set(Outcome { flags, ..Outcome::delivered(published.receivers) });
            }
            at += 1;
        });
        if is_refused.get() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a message has no valid subject; others were published",
            ));
        }
        Ok(total)
    }

    fn subscribe(
        &self,
        plugin: &str,
        account: &str,
        subject: &str,
        queue: &str,
        subscriber: Arc<Subscriber>,
    ) -> Result<u64> {
        if !subject::is_valid(subject.as_bytes()) {
            return Err(Error::new(ErrorKind::Invalid, format!("{subject:?} is not a valid subject")));
        }
        let account = self.account_named(account)?;
        let server = self.server()?;
        let (id, cid) = server.context.registry.new_internal_ids();
        let receiver = Receiver::inline(id, cid, Kind::System, Arc::new(ToPlugin(subscriber)));
        receiver.label.store(Some(Arc::new(format!("plugin:{plugin} - cid:{cid}"))));
        let receiver = Arc::new(receiver);
        subscriptions::subscribe(
            &receiver,
            &account,
            subject.as_bytes(),
            queue.as_bytes(),
            b"1",
            false,
            None,
        );
        let number = self.next_id.fetch_add(1, Relaxed) + 1;
        let hears_traces = subject == TRACES && server.context.accounts.is_system(&account);
        server.context.trace_listeners.fetch_add(usize::from(hears_traces), Relaxed);
        self.subscriptions.lock().insert(number, Subscription { receiver, account, hears_traces });
        Ok(number)
    }

    fn unsubscribe(&self, subscription: u64) {
        let Some(removed) = self.subscriptions.lock().remove(&subscription) else { return };
        let Subscription { receiver, account, hears_traces } = removed;
        receiver.out.lock().close(ClosedReason::InternalClient);
        subscriptions::remove_all(&receiver, &account);
        if let Ok(server) = self.server() {
            server.context.registry.free_id(receiver.id);
            server.context.trace_listeners.fetch_sub(usize::from(hears_traces), Relaxed);
        }
    }

    fn count_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        let account = self.account_named(account)?;
        let count = account.sublist.read().count_interest(subject, queue);
        // All responses to another account go through one gate, which listens for ever.
        let may_be_over = count > 0 && crossing::is_response(subject);
        let is_over = may_be_over && self.server()?.context.is_awaited(&account, subject) == Some(false);
        Ok(if is_over { 0 } else { count as u64 })
    }

    fn count_exact_interest(&self, account: &str, subject: &[u8], queue: &[u8]) -> Result<u64> {
        let account = self.account_named(account)?;
        let count = account.sublist.read().count_exact_interest(subject, queue);
        Ok(count as u64)
    }

    fn watch_interest(&self, account: &str, subject: &[u8], changed: Arc<Subscriber>) -> Result<u64> {
        if !subject::is_valid_literal(subject) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "only a valid subject without wildcards can be watched",
            ));
        }
        let account = self.account_named(account)?;
        let number = self.next_id.fetch_add(1, Relaxed) + 1;
        let watched: Arc<[u8]> = subject.into();
        let call = watched.clone();
        account.watches.add(
            &watched,
            number,
            Arc::new(move || changed.deliver(&[MessageRef::new(&call, &[], &[], &[])])),
        );
        self.watches.lock().insert(number, (account, watched));
        Ok(number)
    }

    fn unwatch_interest(&self, watch: u64) {
        if let Some((account, subject)) = self.watches.lock().remove(&watch) {
            account.watches.remove(&subject, watch);
        }
    }

    fn accounts(&self) -> Vec<String> {
        let Ok(server) = self.server() else { return Vec::new() };
        server.context.accounts.all().iter().map(|a| a.name.to_string()).collect()
    }

    fn account(&self, name: &str) -> Result<AccountFacts> {
        let account = self.account_named(name)?;
        let accounts = &self.server()?.context.accounts;
        let subscriptions = account.sublist.read().trie.len() as u64;
        let mut extra = Map::clone(&account.notes());
        if let Some(defined) = accounts.defined_as(name) {
            let imports = defined.imported_services();
            if !imports.is_empty() {
                extra.insert("service_imports".to_owned(), imports.into());
            }
        }
        Ok(AccountFacts {
            name: account.name.to_string(),
            connections: account.connections() as u64,
            subscriptions,
            is_system: accounts.is_system(&account),
            extra,
        })
    }

    fn define_account(&self, name: &str, definition: AccountDefinition) -> Result<()> {
        let server = self.server()?;
        let is_new = server.context.accounts.get(name).is_none();
        let account = server.context.define_account(name, definition);
        let name = name.to_owned();
        if is_new {
            server.plugins.points().notify(&Event::AccountAdded { account: name });
            return Ok(());
        }
        server.plugins.points().notify(&Event::AccountChanged { account: name });
        for connection in server.context.registry.all() {
            if connection.account.read().id == account.id {
                connection.signal(Signal::Recheck);
            }
        }
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        Ok(self.server()?.keys.sign(message))
    }

    fn agree(&self, public: &[u8; 32]) -> Result<[u8; 32]> {
        Ok(self.server()?.keys.agree(public))
    }

    fn connection(&self, id: u64) -> Result<ConnectionFacts> {
        let connection = self.server()?.context.registry.get(id);
        let connection = connection.ok_or_else(|| Error::not_found(format!("no connection {id}")))?;
        Ok(all_facts_of(&connection))
    }

    fn close_connection(&self, id: u64, reason: CloseReason, text: &str) -> Result<()> {
        let connection = self.server()?.context.registry.get(id);
        let connection = connection.ok_or_else(|| Error::not_found(format!("no connection {id}")))?;
        if !text.is_empty() {
            connection.receiver.send(format!("-ERR '{}'\r\n", text.replace(['\r', '\n'], " ")).as_bytes());
        }
        connection.close(super::transport::closed_reason(reason));
        Ok(())
    }

    fn lame_duck_connection(&self, id: u64) -> Result<()> {
        let connection = self.server()?.context.registry.get(id);
        let connection = connection.ok_or_else(|| Error::not_found(format!("no connection {id}")))?;
        if !connection.takes_info.load(Acquire) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "client does not support Lame Duck Mode or is not ready to receive the notification",
            ));
        }
        connection.signal(Signal::LameDuck);
        Ok(())
    }

    fn set_permissions(&self, id: u64, permissions: Option<Value>) -> Result<()> {
        let connection = self.server()?.context.registry.get(id);
        let connection = connection.ok_or_else(|| Error::not_found(format!("no connection {id}")))?;
        let permissions =
            permissions_of(permissions.as_ref()).map_err(|why| Error::new(ErrorKind::Invalid, why))?;
        *connection.new_permissions.lock() = Some(permissions);
        connection.signal(Signal::Recheck);
        Ok(())
    }

    fn reload(&self) -> BoxFuture<'static, Result<()>> {
        let server = self.server();
        Box::pin(async move {
            let server = server?;
            let (done, outcome) = oneshot::channel();
            // A task of its own: half a reload is worse than none, whatever becomes of who asked.
            tasks::spawn(async move {
                // Who asked may be gone.
                let _ = done.send(server.reload().await);
            });
            match outcome.await {
                Ok(outcome) => outcome.map_err(|why| Error::new(ErrorKind::Invalid, why)),
                Err(_) => Err(Error::new(ErrorKind::Closed, "the server is going down")),
            }
        })
    }

    fn identity(&self) -> ServerIdentity {
        let Ok(server) = self.server() else { return ServerIdentity::default() };
        let system = server.context.accounts.system();
        let options = server.context.options.load();
        ServerIdentity {
            id: server.facts.server_id.clone(),
            name: server.facts.name.clone(),
            version: COMPATIBLE_VERSION.to_owned(),
            natsd_version: env!("CARGO_PKG_VERSION").to_owned(),
            system_account: system.map(|s| s.name.to_string()).unwrap_or_default(),
            started_unix_ns: server.facts.start_unix_ns,
            client_address: format!("{}:{}", options.host, server.port()),
            extra: Map::from_iter([
                ("max_payload".to_owned(), options.limits.max_payload_bytes.into()),
                ("xkey".to_owned(), server.facts.xkey.clone().into()),
                ("feature_flags".to_owned(), json!(options.shown_feature_flags())),
                ("tags".to_owned(), json!(options.server_tags)),
            ]),
        }
    }

    fn snapshot(&self, kind: &str, params: &Value) -> Result<String> {
        self.server()?.snapshot(kind, params)
    }

    fn add_listener(
        &self,
        _plugin: &str,
        spec: ListenerSpec,
        transports: Arc<TransportPoint>,
    ) -> BoxFuture<'static, Result<ListenerFacts>> {
        let server = self.server();
        Box::pin(async move { server?.add_plugin_listener(spec, transports).await })
    }

    fn remove_listener(&self, id: u64) {
        if let Ok(server) = self.server() {
            server.listeners.stop(id);
        }
        self.listeners.remove(id);
    }

    fn prepare_listener(&self, id: u64, spec: ListenerSpec) -> Result<()> {
        self.listeners.prepare(id, &spec)
    }

    fn finish_listener(&self, id: u64, commit: bool) {
        self.listeners.finish(id, commit);
    }

    fn set_info(&self, plugin: &str, kind: &str, fields: Map<String, Value>) -> Result<()> {
        let server = self.server()?;
        if let Some(name) = fields.keys().find(|name| CORE_FIELDS.contains(&name.as_str())) {
            return Err(Error::new(ErrorKind::Invalid, format!("INFO field {name:?} belongs to the core")));
        }
        self.info.lock().insert((kind.to_owned(), plugin.to_owned()), fields);
        server.refresh_info();
        Ok(())
    }
}

/// The fields of INFO that plugins cannot replace (CORE-010..037).
const CORE_FIELDS: [&str; 27] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "git_commit",
    "go",
    "host",
    "port",
    "headers",
    "auth_required",
    "tls_required",
    "tls_verify",
    "tls_available",
    "max_payload",
    "client_id",
    "client_ip",
    "nonce",
    "cluster_dynamic",
    "ldm",
    "connect_info",
    "remote_account",
    "acc_is_sys",
    "api_lvl",
    "xkey",
    "natsd_version",
    "connect_urls",
    "ws_connect_urls",
];

impl Server {
    pub(super) fn attach(self: &Arc<Self>) {
        self.services.attach(self);
        self.plugins.attach(self.services.clone());
        let context = self.context.clone();
        let hooks = super::hooks::PluginHooks {
            plugins: self.plugins.clone(),
            server_id: self.facts.server_id.clone(),
            server_name: self.facts.name.clone(),
            account_exists: Box::new(move |name| context.accounts.get(name).is_some()),
        };
        // Set once, before any connection.
        let _ = self.context.hooks.set(Box::new(hooks));
        let _ = self.context.peer_check.set(self.peers.clone());
        let _ = self.plugin_tls.peer_check.set(self.peers.clone());
    }

    /// INFO of a kind of connections as the options and plugins make it now.
    pub(super) fn info(&self, kind: &str) -> ServerInfo {
        let options = self.context.options.load();
        let authenticator = self.context.authenticator();
        let mut info = super::boot::server_info(&options, &self.facts, &authenticator, self.port());
        let hooks_require = !self.plugins.points().has_no_authenticators();
        info.auth_required |= hooks_require;
        info.lame_duck_mode = self.context.lame_duck.load(Relaxed);
        info.add_fields(self.services.extra_of(kind));
        info
    }

    pub(super) fn refresh_info(&self) {
        self.context.info.store(Arc::new(InfoTemplate::new(&self.info("client"))));
        self.services.refresh_info(self);
    }
}
