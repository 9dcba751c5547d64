//! Accounts: separate subject spaces (ACC-001), their limits and who is in them.

mod definitions;
mod imports;
mod mappings;

use crate::config::options::{
    AccountOptions, AccountsOptions, ImportOptions, MappingOptions, ServiceOptions,
};
use crate::interest::{Sublist, Watches};
use crate::routing::subscriptions;
use crate::runtime::{Mutex, RwLock, RwLockReadGuard};
use arc_swap::ArcSwap;
use definitions::Definitions;
pub use imports::StreamImport;
pub use mappings::{Mapping, Mappings};
use natsd_plugin_api::AccountDefinition;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

pub const GLOBAL: &str = "$G";
pub const SYSTEM: &str = "$SYS";

pub struct Account {
    pub id: u32,
    pub name: Arc<str>,
    pub sublist: RwLock<Sublist>,
    /// Who is told when the interest in a subject changes.
    pub watches: Watches,
    generation: AtomicU64,
    limits: RwLock<AccountLimits>,
    mappings: ArcSwap<Mappings>,
    stream_imports: ArcSwap<Vec<Arc<StreamImport>>>,
    has_mappings: AtomicBool,
    connections: AtomicUsize,
    limited: AtomicU32,
    /// Subjects that no cache had an answer for.
    pub searches: AtomicU64,
    pub slow_consumers: AtomicU64,
    /// What the plugin that defined it tells other plugins.
    notes: RwLock<Arc<Map<String, Value>>>,
}

/// `None`: unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountLimits {
    pub max_connections: Option<u32>,
    pub max_subscriptions: Option<u32>,
    pub max_payload_bytes: Option<u32>,
    pub max_leafnodes: Option<u32>,
    /// Where and how often `traceparent` messages are traced (CORE-293).
    pub msg_trace: Option<(Box<str>, u8)>,
}

impl Account {
    fn new(id: u32, name: &str) -> Self {
        Account {
            id,
            name: name.into(),
            sublist: RwLock::default(),
            watches: Watches::default(),
            generation: AtomicU64::new(1),
            limits: RwLock::default(),
            mappings: ArcSwap::default(),
            stream_imports: ArcSwap::default(),
            has_mappings: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            limited: AtomicU32::new(0),
            searches: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            notes: RwLock::default(),
        }
    }

    /// The sublist changed: cached answers are void. Called under the sublist's write lock.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Release);
    }

    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Some subscription has an UNSUB max.
    #[inline]
    pub fn has_limited(&self) -> bool {
        self.limited.load(Relaxed) > 0
    }

    pub fn count_limited(&self, more: bool) {
        if more {
            self.limited.fetch_add(1, Relaxed);
        } else {
            self.limited.fetch_sub(1, Relaxed);
        }
    }

    /// The mapping of a subject that a client publishes.
    #[inline]
    pub fn mapping(&self, subject: &[u8]) -> Option<Arc<Mapping>> {
        if !self.has_mappings.load(Acquire) {
            return None;
        }
        self.mappings.load().find(subject).cloned()
    }

    /// Asked for each SUB, not for messages.
    pub fn stream_imports(&self) -> Arc<Vec<Arc<StreamImport>>> {
        self.stream_imports.load_full()
    }

    fn set_mappings(&self, options: &[MappingOptions]) {
        if options.is_empty() && !self.has_mappings.load(Acquire) {
            return;
        }
        let _sublist = self.sublist.write();
        let mappings = Mappings::new(options);
        self.has_mappings.store(!mappings.is_empty(), Release);
        self.mappings.store(Arc::new(mappings));
        self.changed();
    }

    pub fn limits(&self) -> RwLockReadGuard<'_, AccountLimits> {
        self.limits.read()
    }

    pub fn notes(&self) -> Arc<Map<String, Value>> {
        self.notes.read().clone()
    }

    /// What the plugin that defined it calls it, else its name.
    pub fn name_tag(&self) -> Arc<str> {
        let notes = self.notes();
        let tag = notes.get("name_tag").and_then(Value::as_str).filter(|tag| !tag.is_empty());
        tag.map_or_else(|| self.name.clone(), Arc::from)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Counts a connection in; false if the limit is reached (AUTH-013).
    pub fn enter(&self) -> bool {
        let max = self.limits.read().max_connections.map_or(usize::MAX, |m| m as usize);
        self.connections.fetch_update(AcqRel, Acquire, |n| (n < max).then_some(n + 1)).is_ok()
    }

    /// Counts a connection out if there are more than the limit now allows; false then.
    pub fn stay(&self) -> bool {
        let max = self.limits.read().max_connections.map_or(usize::MAX, |m| m as usize);
        self.connections.fetch_update(AcqRel, Acquire, |n| (n > max).then_some(n - 1)).is_err()
    }

    pub fn leave(&self) {
        self.connections.fetch_sub(1, AcqRel);
    }
}

/// All accounts by name. Accounts live as long as the server, so that connections can keep them.
pub struct Accounts {
    by_name: RwLock<HashMap<Arc<str>, Arc<Account>>>,
    next_id: AtomicU32,
    pub global: Arc<Account>,
    system: RwLock<Option<Arc<Account>>>,
    /// The system account that a plugin named; a reload leaves it.
    system_by_plugin: RwLock<Option<Arc<Account>>>,
    definitions: Mutex<Definitions>,
    /// What the imported streams of each account in `stream_imports` were made of.
    imported: Mutex<HashMap<u32, Vec<ImportOptions>>>,
}

/// The services that an account imports from now on.
pub struct ServiceImports {
    pub account: Arc<Account>,
    pub services: Vec<(ImportOptions, ServiceOptions)>,
}

impl Default for Accounts {
    /// The global account alone.
    fn default() -> Self {
        let global = Arc::new(Account::new(1, GLOBAL));
        Accounts {
            by_name: RwLock::new(HashMap::from([(global.name.clone(), global.clone())])),
            next_id: AtomicU32::new(2),
            global,
            system: RwLock::new(None),
            system_by_plugin: RwLock::new(None),
            definitions: Mutex::default(),
            imported: Mutex::default(),
        }
    }
}

impl Accounts {
    /// Makes the accounts of a configuration and sets their limits, at start and on reload. Gives the services of
    /// those whose imports may have changed.
    pub fn configure(&self, options: &AccountsOptions) -> Vec<ServiceImports> {
        for account in &options.accounts {
            let named = self.get_or_create(&account.name);
            *named.limits.write() = limits_of(account);
            named.set_mappings(&account.mappings);
        }
        self.global.set_mappings(&options.mappings);
        self.configure_system(options);
        let mut definitions = self.definitions.lock();
        let changed = definitions.configure(&options.accounts);
        self.import_again(&definitions, changed)
    }

    fn configure_system(&self, options: &AccountsOptions) {
        if let Some(system) = self.system_by_plugin.read().clone() {
            *self.system.write() = Some(system);
            return;
        }
        let default = (!options.by_claims).then_some(SYSTEM);
        let system = options.system_account.as_deref().or(default).filter(|_| !options.no_system_account);
        *self.system.write() = system.map(|system| self.get_or_create(system));
    }

    /// An account as a plugin defines it; made if it is not there. Gives the services as `configure` does.
    pub fn define(&self, name: &str, definition: AccountDefinition) -> (Arc<Account>, Vec<ServiceImports>) {
        let account = self.get_or_create(name);
        let options = definitions::options_of(name, &definition);
        *account.limits.write() = limits_of(&options);
        account.set_mappings(&options.mappings);
        *account.notes.write() = Arc::new(definition.extra);
        if definition.is_system {
            *self.system_by_plugin.write() = Some(account.clone());
            *self.system.write() = Some(account.clone());
        }
        let mut definitions = self.definitions.lock();
        let changed = definitions.define(options);
        let services = self.import_again(&definitions, changed);
        (account, services)
    }

    /// Makes the imported streams of these accounts anew where they differ, for those who have subscribed already
    /// too. Called with the definitions locked, so that the last of them are those in force.
    fn import_again(&self, definitions: &Definitions, changed: BTreeSet<String>) -> Vec<ServiceImports> {
        let mut imported = self.imported.lock();
        let renew = |name: String| {
            let account = self.get_or_create(&name);
            let allowed = definitions.allowed(&name);
            let before = imported.entry(account.id).or_default();
            if *before != allowed.streams {
                let made = allowed.streams.iter();
                let made = made.filter_map(|i| StreamImport::new(&account, i, |n| self.get_or_create(n)));
                account.stream_imports.store(Arc::new(made.collect()));
                let receivers: Vec<_> = account.sublist.read().receivers().cloned().collect();
                for receiver in receivers {
                    subscriptions::import_again(&receiver, &account);
                }
                *before = allowed.streams;
            }
            ServiceImports { account, services: allowed.services }
        };
        changed.into_iter().map(renew).collect()
    }

    pub fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.by_name.read().get(name).cloned()
    }

    /// What the configuration or a plugin says of an account.
    pub fn defined_as(&self, name: &str) -> Option<AccountOptions> {
        self.definitions.lock().options(name).cloned()
    }

    pub fn get_or_create(&self, name: &str) -> Arc<Account> {
        if let Some(account) = self.get(name) {
            return account;
        }
        let mut by_name = self.by_name.write();
        if let Some(account) = by_name.get(name) {
            return account.clone();
        }
        let account = Arc::new(Account::new(self.next_id.fetch_add(1, Relaxed), name));
        by_name.insert(account.name.clone(), account.clone());
        account
    }

    pub fn system(&self) -> Option<Arc<Account>> {
        self.system.read().clone()
    }

    pub fn is_system(&self, account: &Account) -> bool {
        self.system.read().as_ref().is_some_and(|s| s.id == account.id)
    }

    pub fn all(&self) -> Vec<Arc<Account>> {
        self.by_name.read().values().cloned().collect()
    }
}

fn limits_of(options: &AccountOptions) -> AccountLimits {
    AccountLimits {
        max_connections: options.max_connections,
        max_subscriptions: options.max_subscriptions,
        max_payload_bytes: options.max_payload_bytes,
        max_leafnodes: options.max_leafnodes,
        msg_trace: options.msg_trace.as_ref().map(|t| (t.dest.as_str().into(), t.sampling_percent)),
    }
}
