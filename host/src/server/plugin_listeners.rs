//! Listeners of plugins: checked, opened, and followed through a reload.
//!
//! Not here: accepting (`listeners`), and which part of a plugin's block makes a listener (the plugin).

use super::Server;
use super::listeners::PluginListener;
use crate::auth::credentials::Secret;
use crate::auth::{Authenticator, ListenerAuth};
use crate::config::{Config, Options};
use crate::conn::session::ListenerFacts as SessionListener;
use crate::plugins::points::TransportPoint;
use crate::plugins::services::Surroundings;
use crate::proto::info::{InfoTemplate, ServerInfo};
use crate::runtime::{Listener, Mutex, files};
use crate::tls::error::TlsConfigError;
use crate::tls::server::TlsServer;
use arc_swap::{ArcSwap, ArcSwapOption};
use natsd_plugin_api::{Error, ErrorKind, ListenerFacts, ListenerSpec, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;

/// Those that are open, by id.
#[derive(Default)]
pub struct PluginListeners {
    open: Mutex<HashMap<u64, Arc<PluginListener>>>,
}

impl PluginListeners {
    pub fn all(&self) -> Vec<Arc<PluginListener>> {
        self.open.lock().values().cloned().collect()
    }

    pub fn remove(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    /// The first phase of a reload: only TLS can change.
    pub fn prepare(&self, id: u64, spec: &ListenerSpec) -> Result<()> {
        let listener = self.open.lock().get(&id).cloned();
        let listener = listener.ok_or_else(|| Error::not_found(format!("there is no listener {id}")))?;
        let as_opened = ListenerSpec { tls: listener.spec.tls.clone(), ..spec.clone() };
        if as_opened != listener.spec || spec.tls.is_some() != listener.spec.tls.is_some() {
            let text = "of an open listener only the content of `tls` can change: restart the server";
            return Err(Error::unsupported(text));
        }
        *listener.next_tls.lock() = tls_of(spec)?.map(Arc::new);
        Ok(())
    }

    /// The second phase.
    pub fn finish(&self, id: u64, commit: bool) {
        if let Some(listener) = self.open.lock().get(&id) {
            finish(listener, commit);
        }
    }

    /// A reload reads the files of certificates again, also for plugins that have nothing to change.
    pub fn prepare_others(&self) -> Result<()> {
        for listener in self.all() {
            let mut next = listener.next_tls.lock();
            if next.is_none() {
                let name = &listener.spec.name;
                *next = tls_of(&listener.spec).map_err(|error| error.within(name))?.map(Arc::new);
            }
        }
        Ok(())
    }

    /// Those of the reload that is under way.
    pub fn prepared(&self) -> Vec<Arc<TlsServer>> {
        self.all().iter().filter_map(|listener| listener.next_tls.lock().clone()).collect()
    }

    pub fn finish_all(&self, commit: bool) {
        self.all().iter().for_each(|listener| finish(listener, commit));
    }
}

fn finish(listener: &PluginListener, commit: bool) {
    if let Some(next) = listener.next_tls.lock().take()
        && commit
    {
        listener.facts.maps_certificates.store(next.maps_certificates, Relaxed);
        listener.tls.store(Some(next));
    }
}

impl Server {
    pub(super) async fn add_plugin_listener(
        self: Arc<Self>,
        spec: ListenerSpec,
        transports: Arc<TransportPoint>,
    ) -> Result<ListenerFacts> {
        let tls = tls_of(&spec)?;
        if let Some(tls) = &tls {
            let options = self.context.options.load_full();
            self.staple(&options, tls).await.map_err(Error::other)?;
            self.check_peers_of(tls);
        }
        let auth = listener_auth(&spec);
        check_auth(&self.context.authenticator(), &spec, &auth)?;
        let port = u16::try_from(spec.port.max(0))
            .map_err(|_| Error::new(ErrorKind::Invalid, format!("{} is not a port", spec.port)))?;
        let host = if spec.host.is_empty() { "0.0.0.0" } else { &spec.host };
        let listener = Listener::bind(host, port).await.map_err(|e| {
            Error::from(e).context(format_args!("{} cannot listen on {host}:{port}", spec.name))
        })?;
        let address = listener.local_addr().map_err(Error::from)?;
        let requires_auth = auth.user.is_some() || auth.token.is_some();
        let facts = Arc::new(SessionListener {
            name: spec.name.clone(),
            kind: spec.kind.clone(),
            tls: tls.is_some(),
            address,
            auth,
            maps_certificates: tls.as_ref().is_some_and(|tls| tls.maps_certificates).into(),
            info: ArcSwap::from_pointee(InfoTemplate::new(&ServerInfo::default())),
        });
        self.context.listeners.lock().push(Arc::downgrade(&facts));
        let id = self.services.next_id.fetch_add(1, Relaxed) + 1;
        let with = Arc::new(PluginListener {
            spec,
            tls: ArcSwapOption::from_pointee(tls),
            next_tls: Mutex::new(None),
            transports,
            facts,
            requires_auth,
        });
        self.services.listeners.open.lock().insert(id, with.clone());
        self.services.refresh_info(&self);
        self.listeners.serve_plugin(&self.context, id, listener, with);
        Ok(ListenerFacts { id, address: address.to_string() })
    }
}

/// Credentials of the listener itself, in place of the server's (AUTH-009).
fn listener_auth(spec: &ListenerSpec) -> ListenerAuth {
    let text = |name: &str| spec.options.get(name).and_then(Value::as_str);
    ListenerAuth {
        user: text("username").map(Arc::from),
        password: text("password").map(Secret::parse),
        token: text("token").map(Secret::parse),
        no_auth_user: text("no_auth_user").map(Arc::from),
    }
}

fn tls_of(spec: &ListenerSpec) -> Result<Option<TlsServer>> {
    let Some(block) = &spec.tls else { return Ok(None) };
    let options = crate::config::tls_of_json(block).map_err(|e| Error::config("tls", e))?;
    TlsServer::build(&options, &files::read_bytes).map(Some).map_err(|error| {
        let is_at_start =
            matches!(error, TlsConfigError::OcspPeerWithoutVerify | TlsConfigError::NoCertificate);
        let error = Error::config("tls", error);
        if is_at_start { error.at_start() } else { error }
    })
}

/// AUTH-003, AUTH-009, WS-002.
fn check_auth(users: &Authenticator, spec: &ListenerSpec, auth: &ListenerAuth) -> Result<()> {
    let own = [("username", auth.user.is_some()), ("token", auth.token.is_some())];
    if let Some((what, _)) = own.into_iter().find(|(_, set)| *set && users.has_users()) {
        let kind = &spec.kind;
        let text = format!("{kind} authentication {what} not compatible with presence of users/nkeys");
        return Err(Error::config("authorization", text));
    }
    let Some(name) = &auth.no_auth_user else { return Ok(()) };
    users.check_no_auth_user(name).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))
}

/// What plugins may ask of a configuration that is not in force yet.
pub struct NextConfig {
    options: Options,
    variables: Vec<String>,
    /// Somebody may be there who understands a JWT.
    takes_jwts: bool,
}

impl NextConfig {
    pub fn of(config: &Config) -> Self {
        let operators = config.sections.iter().any(|section| section.plugin == "auth-jwt");
        Self {
            options: config.options.clone(),
            variables: config.sections.iter().flat_map(|section| section.variable_paths()).collect(),
            takes_jwts: operators || !config.options.plugins.declared.is_empty(),
        }
    }
}

/// There may be a hundred thousand, and every plugin would be told all their names.
const USERS_TOLD_MAX: usize = 1_000;

impl Surroundings for NextConfig {
    fn check_listener(&self, spec: &ListenerSpec) -> Result<()> {
        tls_of(spec)?;
        if let (Some(cookie), false) =
            (spec.options.get("jwt_cookie").and_then(Value::as_str), self.takes_jwts)
        {
            let text = format!(
                "trusted operators or trusted keys configuration is required for JWT authentication via cookie \
                 {cookie:?}"
            );
            return Err(Error::config("jwt_cookie", text).at_start());
        }
        let users = Authenticator::of_server(&self.options).map_err(Error::other)?;
        check_auth(&users, spec, &listener_auth(spec)).map_err(Error::at_start)
    }

    fn variables(&self) -> &[String] {
        &self.variables
    }

    fn core(&self) -> Map<String, Value> {
        let Options { auth, accounts, .. } = &self.options;
        let users = auth.users.iter().chain(accounts.accounts.iter().flat_map(|account| &*account.users));
        let names = users.filter_map(|user| user.user.as_deref().or(user.nkey.as_deref()));
        let names: Vec<&str> = names.take(USERS_TOLD_MAX).collect();
        let accounts_named: Vec<&str> = accounts.accounts.iter().map(|a| a.name.as_str()).collect();
        let timeout_ms = auth.timeout.map(|timeout| timeout.as_millis() as u64);
        Map::from_iter(
            [
                ("system_account", json!(accounts.system_account)),
                ("no_auth_user", json!(auth.no_auth_user)),
                ("auth_timeout_ms", json!(timeout_ms)),
                ("accounts", json!(accounts_named)),
                ("users", json!(names)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}
