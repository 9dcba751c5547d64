//! The plugins of this server: found, checked, configured, started, reloaded, stopped.
//!
//! - [`search`]: where files are looked for, `candidates`: which plugins may be there
//! - [`loader`]: opens and checks files, after `elf` had a look
//! - [`code`]: what is left of them in memory
//! - [`order`]: who starts first; [`entry`]: one plugin's life
//! - [`services`]: what plugins need of the runtime and the server; [`context`]: that, as one plugin sees it
//! - [`points`]: what plugins have registered, with the policy for faults; [`queue`]: queued subscriptions
//! - [`listing`]: what `natsd plugins` shows
//!
//! Not here: what the values on the line are (`natsd_plugin_api::abi`).

mod candidates;
pub mod code;
pub mod context;
mod elf;
pub mod entry;
pub mod faults;
pub mod listing;
pub mod loader;
pub mod order;
pub mod points;
pub mod queue;
pub mod search;
pub mod services;

use crate::config::options::PluginsOptions;
use candidates::candidates;
use entry::{Entry, State};
use loader::LoadError;
use natsd_plugin_api::abi::points::FfiCall;
use natsd_plugin_api::{Error, ErrorKind, Manifest, PluginFacts, Result, Section};
use order::{OrderError, start_order};
use parking_lot::{Mutex, RwLock};
use points::Points;
use serde_json::{Map, Value};
use services::{HostServices, RuntimeServices, Surroundings};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// All plugins of a server.
pub struct Plugins {
    shared: Arc<Shared>,
}

/// What contexts, points and the manager have in common.
pub struct Shared {
    pub(in crate::plugins) runtime: Arc<dyn RuntimeServices>,
    pub(in crate::plugins) services: OnceLock<Arc<dyn HostServices>>,
    pub(in crate::plugins) points: Points,
    /// Services by name, with the plugin that provides each.
    pub(in crate::plugins) calls: Mutex<HashMap<String, (String, FfiCall)>>,
    /// In the order of starting once that is known.
    entries: RwLock<Vec<Arc<Entry>>>,
    log_level: AtomicU8,
    notes: Mutex<Vec<Note>>,
    /// Of the configuration that was read last.
    surroundings: Mutex<Option<Arc<dyn Surroundings>>>,
    warnings: Mutex<Vec<Warning>>,
}

/// What a plugin has against its part of the configuration, short of refusing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub plugin: String,
    /// Begins with the path of a key, as errors do.
    pub text: String,
}

/// Something to tell the operator that is no error. Plugins are loaded before there is a log, so it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    /// Long, and for the debug log only.
    pub is_detail: bool,
}

/// Why the server cannot go on with its plugins.
#[derive(Debug, Error)]
pub enum PluginsError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The text of a configuration error begins with the path of its key.
    #[error("plugin `{plugin}`: {error}")]
    Plugin { plugin: String, error: Error },
    /// With the key that asks for the plugin.
    #[error(
        "{key}: config reload not supported: the plugin `{plugin}` is not running, and needs a restart of the server"
    )]
    NeedsRestart { plugin: String, key: String },
}

impl PluginsError {
    /// What `-t` only tells of.
    pub fn is_at_start(&self) -> bool {
        matches!(self, Self::Plugin { error, .. } if error.kind() == ErrorKind::AtStart)
    }
}

/// The keys of the configuration that plugins own, as full path and value.
pub type OwnedKeys = [(String, Value)];

impl Plugins {
    /// Loads what is linked in, what the configuration names, and what lies in the plugin folders. Answers also
    /// with the errors of those that are required; the others are logged and left out.
    pub fn load(
        options: &PluginsOptions,
        executable_dir: Option<&Path>,
        runtime: Arc<dyn RuntimeServices>,
    ) -> (Self, Vec<PluginsError>) {
        let shared = Arc::new(Shared {
            runtime,
            services: OnceLock::new(),
            points: Points::default(),
            calls: Mutex::default(),
            entries: RwLock::default(),
            log_level: AtomicU8::new(3),
            notes: Mutex::default(),
            surroundings: Mutex::default(),
            warnings: Mutex::default(),
        });
        let mut errors = Vec::new();
        let folders = search::folders(&options.dirs, executable_dir);
        for candidate in candidates(options, &folders, &*shared.runtime) {
            if let Some(entry) = candidate.asleep(&shared) {
                shared.entries.write().push(Arc::new(entry));
                continue;
            }
            let found = candidate.load(&folders, &*shared.runtime);
            let entry = match found {
                Ok(loaded) => Entry::new(
                    &loaded.manifest.name.clone(),
                    candidate.required,
                    candidate.named,
                    Ok(loaded),
                    &shared,
                ),
                Err(error) => {
                    if let Some(detail) = error.detail() {
                        shared.note_detail(detail.to_owned());
                    }
                    let entry = Entry::new(
                        &candidate.name,
                        candidate.required,
                        candidate.named,
                        Err(&error),
                        &shared,
                    );
                    if candidate.required && candidate.named {
                        errors.push(error.into());
                    } else {
                        shared.note(format!("{error}; going on without it"));
                    }
                    entry
                }
            };
            shared.entries.write().push(Arc::new(entry));
        }
        (Self { shared }, errors)
    }

    /// What the loaded plugins say of themselves: the configuration's reader learns from it who owns which key.
    pub fn manifests(&self) -> Vec<Manifest> {
        self.entries().iter().filter_map(|entry| entry.manifest().cloned()).collect()
    }

    /// The server that plugins publish to and register with; before it is there they can only be configured.
    pub fn attach(&self, services: Arc<dyn HostServices>) {
        // Attached once, by the server that owns this value; a second one would be ignored.
        let _ = self.shared.services.set(services);
    }

    /// To be told before `configure` and `prepare`, which read the plugins' part of the same configuration.
    pub fn set_surroundings(&self, surroundings: Arc<dyn Surroundings>) {
        *self.shared.surroundings.lock() = Some(surroundings);
    }

    /// What plugins warned of in `configure`.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut self.shared.warnings.lock())
    }

    pub fn points(&self) -> &Points {
        &self.shared.points
    }

    /// Creates the plugins that are to start: those named in the configuration, those with a key present, those
    /// that always start, and those that these require. Creating checks their configuration, so this is also what
    /// a test of the configuration does. All errors are answered.
    pub fn configure(&self, options: &PluginsOptions, keys: &OwnedKeys) -> Vec<PluginsError> {
        let entries = match self.opened(keys) {
            Ok(entries) => entries,
            Err(error) => return vec![error],
        };
        let mut errors = Vec::new();
        for entry in &entries {
            let section = self.section(entry, options, keys);
            let log_level = self.shared.log_level.load(Ordering::Relaxed);
            if let Err(error) = entry.configure(section, log_level) {
                self.failed(entry, error, &mut errors);
            }
        }
        self.sort(&entries);
        errors
    }

    /// The plugins that are to run, in order, each with its file open: what a plugin needs is known only then.
    fn opened(&self, keys: &OwnedKeys) -> Result<Vec<Arc<Entry>>, PluginsError> {
        let files = self.shared.runtime.files();
        for entry in wanted(&self.entries(), keys) {
            entry.open(&*files)?;
        }
        Ok(in_order(wanted(&self.entries(), keys))?)
    }

    /// What was noted since the last call. `start` logs it; who does not start shows it otherwise.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.shared.notes.lock())
    }

    /// Starts what was configured, in order. At the first failure of a required plugin the rest is not started.
    pub async fn start(&self) -> Result<(), PluginsError> {
        let started = self.start_in_order().await;
        self.log_notes();
        started
    }

    async fn start_in_order(&self) -> Result<(), PluginsError> {
        self.log_notes();
        for entry in self.entries().iter().filter(|entry| entry.is(State::Configured)) {
            let mut errors = Vec::new();
            if let Some(missing) = self.unmet(entry) {
                let error = Error::other(format!("it requires `{missing}`, which has not started"));
                entry.fail(&error);
                self.failed(entry, error, &mut errors);
            } else if let Err(error) = entry.start(&*self.shared.runtime).await {
                self.failed(entry, error, &mut errors);
            } else {
                let facts = entry.facts();
                tracing::info!("plugin `{}` {} started", facts.name, facts.version);
            }
            if let Some(error) = errors.pop() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The first phase of a reload: every plugin checks its new configuration. If one refuses, all stay as they
    /// were.
    pub async fn prepare(
        &self,
        options: &PluginsOptions,
        keys: &OwnedKeys,
    ) -> Result<Prepared, PluginsError> {
        let mut prepared = Prepared { plugins: Vec::new() };
        let entries = self.entries();
        if let Some(new) =
            wanted(&entries, keys).iter().find(|entry| entry.is(State::Loaded) || entry.is(State::Found))
        {
            let owned = |path: &str| new.manifest().is_some_and(|manifest| owns(manifest, path));
            let key = keys.iter().map(|(path, _)| path).find(|path| owned(path));
            let key = key.cloned().unwrap_or_else(|| format!("plugins.{}", new.name));
            return Err(PluginsError::NeedsRestart { plugin: new.name.clone(), key });
        }
        for entry in entries.iter().filter(|entry| entry.is(State::Started)) {
            let section = self.section(entry, options, keys);
            match entry.prepare(&*self.shared.runtime, &section).await {
                Ok(true) => prepared.plugins.push((entry.clone(), section)),
                Ok(false) => {}
                Err(error) => return Err(PluginsError::Plugin { plugin: entry.name.clone(), error }),
            }
        }
        Ok(prepared)
    }

    /// Stops in the opposite order of starting, and takes back what plugins hold.
    pub async fn stop(&self) {
        for entry in self.entries().iter().rev() {
            if matches!(entry.state(), State::Started | State::Configured) {
                entry.stop(&*self.shared.runtime).await;
            }
        }
    }

    /// 0 is off, 1 error … 5 trace.
    pub fn set_log_level(&self, level: u8) {
        self.shared.log_level.store(level, Ordering::Relaxed);
        for loaded in self.entries().iter().filter_map(|entry| entry.loaded()) {
            loaded.root.set_log_level(level);
        }
    }

    pub fn facts(&self) -> Vec<PluginFacts> {
        self.shared.facts()
    }

    /// A plugin's own snapshot.
    pub fn introspect(&self, plugin: &str, query: &Value) -> Result<Value> {
        self.shared.introspect(plugin, query)
    }

    fn log_notes(&self) {
        for Note { text, is_detail } in self.take_notes() {
            if is_detail {
                tracing::debug!("{text}");
            } else {
                tracing::warn!("{text}");
            }
        }
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.shared.entries.read().clone()
    }

    /// A failure ends the server if the plugin is required, or if without it more clients would get in; else it is
    /// logged.
    fn failed(&self, entry: &Entry, error: Error, errors: &mut Vec<PluginsError>) {
        let error = PluginsError::Plugin { plugin: entry.name.clone(), error };
        if entry.required || entry.manifest().is_some_and(|manifest| manifest.decides_logins) {
            errors.push(error);
        } else {
            self.shared.note(format!("{error}; going on without it"));
        }
    }

    /// The first requirement of a plugin whose provider has not started.
    fn unmet(&self, entry: &Entry) -> Option<String> {
        let entries = self.entries();
        let started = |required: &String| {
            entries.iter().any(|other| other.is(State::Started) && provides(other, required))
        };
        entry.needs().requires.into_iter().find(|required| !started(required))
    }

    /// A plugin's part of the configuration.
    fn section(&self, entry: &Entry, options: &PluginsOptions, keys: &OwnedKeys) -> Section {
        let declared = options.declared.iter().find(|declared| declared.name == entry.name);
        let owned = |path: &str| entry.manifest().is_some_and(|manifest| owns(manifest, path));
        let keys: Map<String, Value> = keys.iter().filter(|(path, _)| owned(path)).cloned().collect();
        let surroundings = self.shared.surroundings.lock().clone();
        let core = surroundings.as_ref().map_or_else(Map::new, |around| around.core());
        let mut variables = surroundings.map_or_else(Vec::new, |around| around.variables().to_vec());
        variables.retain(|path| keys.keys().any(|key| path.starts_with(&format!("{key}."))));
        let config = declared.map_or(Value::Null, |declared| declared.config.clone());
        Section { keys, config, variables, core }
    }

    /// Keeps the order of starting; those that do not start come last.
    fn sort(&self, order: &[Arc<Entry>]) {
        let position = |entry: &Arc<Entry>| order.iter().position(|other| Arc::ptr_eq(other, entry));
        self.shared.entries.write().sort_by_key(|entry| position(entry).unwrap_or(usize::MAX));
    }
}

impl Shared {
    fn note(&self, text: String) {
        self.notes.lock().push(Note { text, is_detail: false });
    }

    fn note_detail(&self, text: String) {
        self.notes.lock().push(Note { text, is_detail: true });
    }

    fn facts(&self) -> Vec<PluginFacts> {
        let entries = self.entries.read().clone();
        entries.iter().map(|entry| entry.facts()).collect()
    }

    fn introspect(&self, plugin: &str, query: &Value) -> Result<Value> {
        let entry = self.entries.read().iter().find(|entry| entry.name == plugin).cloned();
        entry.ok_or_else(|| Error::not_found(format!("there is no plugin `{plugin}`")))?.introspect(query)
    }
}

/// A configuration that every plugin has agreed to. Dropped unfinished, it is forgotten.
pub struct Prepared {
    plugins: Vec<(Arc<Entry>, Section)>,
}

impl Prepared {
    /// True: the new configuration takes effect; false: all stay as they were.
    pub fn finish(mut self, commit: bool) {
        for (entry, section) in self.plugins.drain(..) {
            entry.finish(commit.then_some(section));
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for (entry, _) in self.plugins.drain(..) {
            entry.finish(None);
        }
    }
}

/// The plugins that are to run: named, always starting, with a key present; and what these require.
fn wanted(entries: &[Arc<Entry>], keys: &OwnedKeys) -> Vec<Arc<Entry>> {
    let is_wanted = |entry: &Entry| {
        let owns_one = |manifest: &Manifest| keys.iter().any(|(path, _)| owns(manifest, path));
        entry.manifest().is_some_and(|manifest| entry.named || manifest.autostart || owns_one(manifest))
    };
    let mut wanted: Vec<Arc<Entry>> = entries.iter().filter(|entry| is_wanted(entry)).cloned().collect();
    let mut at = 0;
    while let Some(entry) = wanted.get(at).cloned() {
        for required in &entry.needs().requires {
            let provider = entries.iter().find(|other| other.loaded().is_some() && provides(other, required));
            if let Some(provider) =
                provider.filter(|provider| !wanted.iter().any(|other| Arc::ptr_eq(other, provider)))
            {
                wanted.push(provider.clone());
            }
        }
        at += 1;
    }
    wanted
}

fn in_order(entries: Vec<Arc<Entry>>) -> std::result::Result<Vec<Arc<Entry>>, OrderError> {
    let needs: Vec<_> = entries.iter().map(|entry| entry.needs()).collect();
    Ok(start_order(&needs)?.into_iter().map(|at| entries[at].clone()).collect())
}

fn provides(entry: &Entry, name: &str) -> bool {
    entry.name == name
        || entry.manifest().is_some_and(|manifest| manifest.provides.iter().any(|own| own == name))
}

/// Whether a plugin's key patterns cover a path: `*` stands for any one name.
fn owns(manifest: &Manifest, path: &str) -> bool {
    manifest.config_keys.iter().any(|pattern| {
        let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(wanted), Some(name)) if wanted == "*" || wanted == name => {}
                _ => return false,
            }
        }
    })
}
