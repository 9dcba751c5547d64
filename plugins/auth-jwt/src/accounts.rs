//! The accounts that were needed so far: their claims in force, and who is connected to them.
//!
//! New claims take effect here, for clients that are connected too (JWT-057). Not here: who may connect (`admit`).

use crate::claims::account::Import;
use crate::claims::{Account, Common, SigningKey, UserLimits};
use crate::config::Config;
use crate::resolver::Resolver;
use crate::{borders, callout, definition, permissions, token};
use natsd_plugin_api::{
    AccountDefinition, BoxFuture, CloseReason, ConnectionEvent, ConnectionFacts, Error, ErrorKind, Event,
    EventObserver, Host, Result, tracing,
};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

const NS_PER_S: i64 = 1_000_000_000;
/// How long claims that were asked for count as new (JWT-057).
const REFRESH: Duration = Duration::from_secs(1);

/// All of operator mode.
pub struct Realm {
    pub host: Host,
    pub config: RwLock<Arc<Config>>,
    pub resolver: Resolver,
    accounts: Mutex<HashMap<String, Arc<Known>>>,
    /// What the system account is until its claims are found (JWT-060).
    bootstrap: OnceLock<Arc<Known>>,
    /// Who imports from an account by an activation token.
    activated: Mutex<HashMap<String, BTreeSet<String>>>,
    /// One definition after the other, so that the last is of the claims in force.
    defining: Mutex<()>,
    /// Clients that were let in, by connection id, which is their age.
    members: Mutex<BTreeMap<u64, Member>>,
    /// Logins of users whose account is none of the pinned ones, for `/varz`.
    pub unpinned_logins: AtomicU64,
    this: Weak<Realm>,
}

/// An account with the claims in force.
pub struct Known {
    pub token: String,
    pub claims: Arc<Account>,
    /// Its time is over, or it was deleted.
    expired: AtomicBool,
    removed: AtomicBool,
    updated_ns: u64,
}

impl Known {
    fn new(token: String, claims: Account, updated_ns: u64) -> Self {
        let (expired, removed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { token, claims: Arc::new(claims), expired, removed, updated_ns }
    }

    pub fn is_expired(&self) -> bool {
        self.expired.load(Acquire)
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Acquire)
    }
}

/// A client that was let in.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub account: String,
    pub user: String,
    pub issued_unix_s: i64,
    pub is_bearer: bool,
    /// What signed the user, with its scope then.
    pub signer: String,
    pub scope: Option<Box<UserLimits>>,
    /// Its permissions are the account's.
    pub has_default_permissions: bool,
}

/// Why an account is not to be had; for the log.
pub fn validation_failed() -> Error {
    Error::new(ErrorKind::Denied, "account validation failed")
}

impl Realm {
    pub fn new(host: Host, config: Arc<Config>, resolver: Resolver) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            host,
            config: RwLock::new(config),
            resolver,
            accounts: Mutex::default(),
            bootstrap: OnceLock::new(),
            activated: Mutex::default(),
            defining: Mutex::default(),
            members: Mutex::default(),
            unpinned_logins: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    pub fn unix_s(&self) -> i64 {
        self.host.unix_ns() as i64 / NS_PER_S
    }

    pub fn known(&self, key: &str) -> Option<Arc<Known>> {
        self.accounts.lock().get(key).cloned()
    }

    pub fn known_count(&self) -> usize {
        self.accounts.lock().len()
    }

    /// The account, fetched if it was not needed before. One whose time is over is looked for anew (JWT-058).
    pub fn lookup<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Arc<Known>>> {
        Box::pin(self.find(key))
    }

    async fn find(&self, key: &str) -> Result<Arc<Known>> {
        let known = self.known(key);
        if let Some(known) = &known {
            let age_ns = self.host.monotonic_ns().saturating_sub(known.updated_ns);
            if !known.is_expired() {
                return Ok(known.clone());
            }
            if u128::from(age_ns) < REFRESH.as_nanos() {
                return Err(Error::other("account expired"));
            }
        }
        let token = self.resolver.fetch(&self.host, key).await.inspect_err(|error| {
            tracing::debug!("Account fetch failed: {error}");
        })?;
        if known.is_some_and(|known| known.token == token) {
            return Err(Error::other("account expired"));
        }
        let claims = self.verified(key, &token)?;
        let known = self.install(key, token, claims);
        self.load_exporters(&known.claims).await;
        Ok(known)
    }

    /// Fetches the accounts that others import from; each of them is known before its own are fetched.
    fn load_exporters<'a>(&'a self, claims: &'a Account) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for import in self.unknown_exporters(claims) {
                if let Err(error) = self.lookup(&import.account).await {
                    tracing::error!(
                        "Can't locate account [{}] for import of [{}] {} (err={error})",
                        import.account,
                        import.subject,
                        import.kind
                    );
                }
            }
        })
    }

    fn unknown_exporters<'a>(&self, claims: &'a Account) -> impl Iterator<Item = &'a Import> {
        let mut unknown: Vec<&Import> = Vec::new();
        for import in &claims.nats.imports {
            if self.known(&import.account).is_none() && unknown.iter().all(|i| i.account != import.account) {
                unknown.push(import);
            }
        }
        unknown.into_iter()
    }

    /// Fetches whom claims import from, which an update of an account in use will need.
    pub async fn prepare(&self, token: &str) {
        let Ok(claims) = token::decode_account(token) else { return };
        let key = &claims.common.sub;
        if self.known(key).is_some()
            && let Ok(claims) = self.verified(key, token)
        {
            self.load_exporters(&claims).await;
        }
    }

    /// Claims that may be used: signed by a trusted operator, valid and in force.
    fn verified(&self, key: &str, token: &str) -> Result<Account> {
        let mut claims = token::decode_account(token).map_err(Error::other)?;
        let config = self.config();
        let trusted = config.trusted.contains(&claims.common.iss);
        claims.is_strict = config.is_strict_about(&claims.common.iss);
        let untimely = claims.common.untimely(self.unix_s());
        let problems = claims.problems();
        if claims.common.sub != key || !trusted || untimely.is_some() || !problems.is_empty() {
            tracing::debug!("Account [{key}] has validation issues: {untimely:?} {problems:?}");
            return Err(validation_failed());
        }
        Ok(claims)
    }

    /// New claims for an account that is in use; `false`: it is not.
    pub fn update(&self, key: &str, token: &str) -> Result<bool> {
        let Some(known) = self.known(key).or_else(|| self.bootstrapping(key)) else { return Ok(false) };
        if known.token == token && !known.is_expired() {
            return Ok(true);
        }
        let claims = self.verified(key, token)?;
        let known = self.install(key, token.to_owned(), claims);
        if self.unknown_exporters(&known.claims).next().is_some() {
            let realm = self.this.clone();
            self.host.spawn("exporters", async move {
                if let Some(realm) = realm.upgrade() {
                    realm.load_exporters(&known.claims).await;
                }
            });
        }
        Ok(true)
    }

    fn install(&self, key: &str, token: String, claims: Account) -> Arc<Known> {
        let bootstrap = self.bootstrapping(key);
        let known = Arc::new(Known::new(token, claims, self.host.monotonic_ns()));
        let before = self.accounts.lock().insert(key.to_owned(), known.clone()).or(bootstrap);
        self.note_activated(key, before.as_deref().map(|before| &*before.claims), &known.claims);
        self.define(key);
        // Their tokens may be good now, or not any more.
        let importers = self.activated.lock().get(key).cloned().unwrap_or_default();
        importers.iter().filter(|importer| *importer != key).for_each(|importer| self.define(importer));
        if before.is_some() {
            tracing::debug!("Updated account claims: {key}");
            self.recheck(key, &known.claims);
        }
        if let Some(before) = before {
            self.renew_default_permissions(key, &before.claims, &known.claims);
        }
        self.watch_expiry(key, &known);
        known
    }

    fn note_activated(&self, key: &str, before: Option<&Account>, now: &Account) {
        let mut activated = self.activated.lock();
        for import in before.iter().flat_map(|before| &before.nats.imports) {
            if let Some(importers) = activated.get_mut(&import.account) {
                importers.remove(key);
            }
        }
        for import in now.nats.imports.iter().filter(|import| !import.token.is_empty()) {
            activated.entry(import.account.clone()).or_default().insert(key.to_owned());
        }
    }

    /// Tells the host what the account is by the claims in force, and again when the first of its activation tokens
    /// is over.
    fn define(&self, key: &str) {
        let _turn = self.defining.lock();
        let Some(known) = self.known(key) else { return };
        if known.is_removed() {
            return;
        }
        let exporter = |name: &str| self.known(name).map(|known| known.claims.clone());
        let imports = borders::imports(&known.claims, self.unix_s(), exporter);
        let definition = definition::of(&known.claims, imports.list, self.is_system(key));
        if let Err(error) = self.host.define_account(key, &definition) {
            tracing::error!("Account [{key}] cannot be defined: {error}");
        }
        let Some(until_s) = imports.until_unix_s else { return };
        let (realm, key, known) = (self.this.clone(), key.to_owned(), Arc::downgrade(&known));
        let wait = self.wait_until(until_s);
        let host = self.host.clone();
        self.host.spawn("activation expiry", async move {
            host.sleep(wait).await;
            let (Some(realm), Some(known)) = (realm.upgrade(), known.upgrade()) else { return };
            if realm.is_in_force(&key, &known) {
                tracing::debug!("Account [{key}]: an activation has expired");
                realm.define(&key);
            }
        });
    }

    fn wait_until(&self, unix_s: i64) -> Duration {
        let wait_ns = unix_s.saturating_mul(NS_PER_S).saturating_sub(self.host.unix_ns() as i64);
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(0))
    }

    fn is_in_force(&self, key: &str, known: &Arc<Known>) -> bool {
        self.known(key).is_some_and(|now| Arc::ptr_eq(&now, known))
    }

    fn is_system(&self, key: &str) -> bool {
        self.config().system_account.as_deref() == Some(key)
    }

    /// The system account while its claims cannot be found (JWT-060). Users that are signed by its own key can bring
    /// them, if one operator alone may have issued it.
    pub fn define_bootstrap(&self, key: &str) -> Result<()> {
        let exports = borders::exports(&Account::default(), true);
        let definition = AccountDefinition { is_system: true, exports, ..AccountDefinition::default() };
        self.host.define_account(key, &definition)?;
        if let [operator] = &*self.config().operators
            && !matches!(self.resolver, Resolver::Memory(_))
        {
            let (iss, sub) = (operator.common.iss.clone(), key.to_owned());
            let common = Common { iss, sub, ..Common::default() };
            let claims = Account { common, ..Account::default() };
            // The system account is opened once.
            let _ = self.bootstrap.set(Arc::new(Known::new(String::new(), claims, 0)));
        }
        Ok(())
    }

    /// The account if it is there without claims.
    pub fn bootstrapping(&self, key: &str) -> Option<Arc<Known>> {
        let known = self.bootstrap.get().filter(|known| known.claims.common.sub == key)?;
        self.known(key).is_none().then(|| known.clone())
    }

    /// Closes who does not fit the new claims.
    fn recheck(&self, key: &str, claims: &Account) {
        let mut members: Vec<(u64, Member)> = Vec::new();
        for (id, member) in self.members.lock().iter() {
            if member.account == key {
                members.push((*id, member.clone()));
            }
        }
        let max = usize::try_from(claims.nats.limits.conn).unwrap_or(usize::MAX);
        for (at, (id, member)) in members.iter().enumerate() {
            let close = if at >= max {
                Some((
                    CloseReason::MaxAccountConnectionsExceeded,
                    "maximum account active connections exceeded",
                ))
            } else if member.is_bearer && claims.nats.limits.disallow_bearer {
                Some((CloseReason::AuthenticationViolation, "Authorization Violation"))
            } else if claims.nats.revocations.revoke(&member.user, member.issued_unix_s) {
                Some((CloseReason::Revocation, "User Authentication Revoked"))
            } else if claims.signer(&member.signer) != Some(SigningKey { scope: member.scope.clone() }) {
                Some((CloseReason::AuthenticationViolation, ""))
            } else {
                None
            };
            if let Some((reason, text)) = close {
                self.close(*id, reason, text);
            }
        }
    }

    /// New defaults hold for who has no other permissions (JWT-057).
    fn renew_default_permissions(&self, key: &str, before: &Account, now: &Account) {
        let defaults = &now.nats.default_permissions;
        if before.nats.default_permissions == *defaults {
            return;
        }
        let block = match now.nats.authorization.auth_users.is_empty() {
            true => permissions::block(defaults),
            // PERM-008
            false => Some(permissions::denying_publish(permissions::block(defaults), callout::SUBJECT)),
        };
        let members: Vec<u64> = {
            let members = self.members.lock();
            let by_default = members.iter().filter(|(_, m)| m.account == key && m.has_default_permissions);
            by_default.map(|(id, _)| *id).collect()
        };
        for id in members {
            // It may be gone by itself.
            let _ = self.host.set_permissions(id, block.as_ref());
        }
    }

    fn close(&self, id: u64, reason: CloseReason, text: &str) {
        // It may be gone by itself.
        let _ = self.host.close_connection(id, reason, text);
    }

    fn watch_expiry(&self, key: &str, known: &Arc<Known>) {
        let until_s = known.claims.common.exp;
        if until_s == 0 {
            return;
        }
        let wait = self.wait_until(until_s);
        let (realm, known, key) = (self.this.clone(), Arc::downgrade(known), key.to_owned());
        let host = self.host.clone();
        self.host.spawn("account expiry", async move {
            host.sleep(wait).await;
            let (Some(realm), Some(known)) = (realm.upgrade(), known.upgrade()) else { return };
            if realm.is_in_force(&key, &known) {
                realm.expire(&key, &known);
            }
        });
    }

    /// The account's time is over: its clients have to go (JWT-037).
    fn expire(&self, key: &str, known: &Known) {
        known.expired.store(true, Release);
        tracing::debug!("Account [{key}] has expired");
        let ids: Vec<u64> =
            self.members.lock().iter().filter(|(_, m)| m.account == key).map(|(id, _)| *id).collect();
        for id in ids {
            self.close(id, CloseReason::AuthenticationExpired, "Account Authentication Expired");
        }
    }

    /// The account was deleted: nobody may use it any more (JWT-055).
    pub fn remove(&self, key: &str) {
        let Some(known) = self.known(key) else { return };
        tracing::debug!("Disable account {key} due to remove");
        known.removed.store(true, Release);
        // Before its limits change: its clients are to read why, and not that they have too many subscriptions.
        self.expire(key, &known);
        let _turn = self.defining.lock();
        let nothing = AccountDefinition {
            max_connections: Some(0),
            max_subscriptions: Some(0),
            max_payload_bytes: Some(0),
            max_leafnodes: Some(0),
            ..AccountDefinition::default()
        };
        if let Err(error) = self.host.define_account(key, &nothing) {
            tracing::error!("Account [{key}] cannot be disabled: {error}");
        }
    }

    /// The claims of the accounts that are in use are compared with those of a new configuration.
    pub fn preload_changed(&self, preload: &BTreeMap<String, String>) {
        for (key, token) in preload {
            if let Err(error) = self.update(key, token) {
                tracing::error!("Reload: account [{key}] keeps its claims: {error}");
            }
        }
    }

    pub fn joined(&self, id: u64, member: Member) {
        self.members.lock().insert(id, member);
    }

    pub fn left(&self, id: u64) {
        self.members.lock().remove(&id);
    }
}

/// Forgets clients that are gone.
pub struct Leaving(pub Arc<Realm>);

impl EventObserver for Leaving {
    fn on_event(&self, event: &Event) {
        if let Event::Disconnected { connection: ConnectionFacts { id, .. }, .. } = event {
            self.0.left(*id);
        }
    }

    fn wants(&self, what: ConnectionEvent, _: &str) -> bool {
        what == ConnectionEvent::Disconnected
    }
}
