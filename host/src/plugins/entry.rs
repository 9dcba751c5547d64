//! One plugin in the host: its state, its instance, and the calls that move it on.

use super::context::{Context, Lent};
use super::loader::{self, Linkage, LoadError, Loaded};
use super::order::Needs;
use super::{Shared, services::RuntimeServices};
use natsd_plugin_api::abi::lifecycle::Instance;
use natsd_plugin_api::abi::serve::serve;
use natsd_plugin_api::files::RawFiles;
use natsd_plugin_api::label::Label;
use natsd_plugin_api::{Error, ErrorKind, Health, Manifest, PluginFacts, Result, Section};
use parking_lot::Mutex;
use serde_json::Value;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

/// A plugin whose `start` needs longer than this has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A new configuration that is not checked within this is refused.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);
/// A plugin that does not stop within this is left behind: its tasks are ended.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A plugin that was named, found or linked.
pub struct Entry {
    pub name: String,
    /// False: the server goes on without it.
    pub required: bool,
    /// True when the configuration names it: then it starts whether one of its keys is present or not.
    pub named: bool,
    loaded: OnceLock<Loaded>,
    /// What a file says that is not opened before it is needed.
    asleep: Option<Asleep>,
    pub context: Arc<Context>,
    inner: Mutex<Inner>,
}

/// A plugin's file that has not been opened.
struct Asleep {
    path: PathBuf,
    manifest: Manifest,
}

struct Inner {
    state: State,
    instance: Option<Instance>,
    section: Section,
}

/// Where a plugin is in its life. Faulted is no state of its own: a started plugin that has panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Named, but not there.
    Declared,
    /// Its file is there and says what it is for; nothing has asked for it to be opened.
    Found,
    Loaded,
    Configured,
    Started,
    Draining,
    Stopped,
    Failed {
        why: String,
    },
}

impl Entry {
    pub fn new(
        name: &str,
        required: bool,
        named: bool,
        found: std::result::Result<Loaded, &LoadError>,
        shared: &Arc<Shared>,
    ) -> Self {
        let state = match &found {
            Ok(_) => State::Loaded,
            Err(LoadError::Missing { .. }) => State::Declared,
            Err(error) => State::Failed { why: error.to_string() },
        };
        Self {
            name: name.to_owned(),
            required,
            named,
            loaded: found.map_or_else(|_| OnceLock::new(), OnceLock::from),
            asleep: None,
            context: Context::new(name, shared),
            inner: Mutex::new(Inner { state, instance: None, section: Section::default() }),
        }
    }

    /// A plugin whose file has a label, and is opened when something asks for it.
    pub fn asleep(label: Label, path: PathBuf, shared: &Arc<Shared>) -> Self {
        let Label { name, version, api_version, config_keys } = label;
        let inner = Inner { state: State::Found, instance: None, section: Section::default() };
        Self {
            name: name.clone(),
            required: true,
            named: false,
            loaded: OnceLock::new(),
            context: Context::new(&name, shared),
            asleep: Some(Asleep {
                path,
                manifest: Manifest { name, version, api_version, config_keys, ..Manifest::default() },
            }),
            inner: Mutex::new(inner),
        }
    }

    /// Opens the file if that has waited until now.
    pub fn open(&self, files: &dyn RawFiles) -> std::result::Result<(), LoadError> {
        let Some(asleep) = self.asleep.as_ref().filter(|_| self.loaded.get().is_none()) else {
            return Ok(());
        };
        match loader::open(files, &self.name, &asleep.path) {
            Ok(loaded) => {
                self.loaded.get_or_init(|| loaded);
                self.inner.lock().state = State::Loaded;
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    pub fn manifest(&self) -> Option<&Manifest> {
        self.loaded().map(|loaded| &loaded.manifest).or(self.asleep.as_ref().map(|asleep| &asleep.manifest))
    }

    pub fn needs(&self) -> Needs {
        let manifest = self.manifest().cloned().unwrap_or_default();
        let Manifest { provides, requires, wants, .. } = manifest;
        Needs { name: self.name.clone(), provides, requires, wants }
    }

    pub fn state(&self) -> State {
        self.inner.lock().state.clone()
    }

    pub fn is(&self, state: State) -> bool {
        self.inner.lock().state == state
    }

    pub fn fail(&self, why: impl ToString) {
        self.inner.lock().state = State::Failed { why: why.to_string() };
        self.context.release();
    }

    /// Makes the instance, which checks the section.
    pub fn configure(&self, section: Section, log_level: u8) -> Result<()> {
        let Some(loaded) = self.loaded() else { return Err(Error::not_found("it is not loaded")) };
        let created = Instance::create(&loaded.root, serve(Box::new(Lent(self.context.clone()))), &section);
        let created =
            created.map_err(|error| self.context.faults.note("`create`", "it is not started", error));
        match created {
            Ok(instance) => {
                loaded.root.set_log_level(log_level);
                let mut inner = self.inner.lock();
                *inner = Inner { state: State::Configured, instance: Some(instance), section };
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    pub async fn start(&self, runtime: &dyn RuntimeServices) -> Result<()> {
        let Some(instance) = self.instance() else { return Err(Error::other("it is not configured")) };
        let started = limited(runtime, START_LIMIT, "start", instance.start()).await;
        match started.map_err(|error| self.context.faults.note("`start`", "it is stopped", error)) {
            Ok(()) => {
                self.inner.lock().state = State::Started;
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// The first phase of a reload. A plugin that cannot change without a restart agrees to an unchanged section.
    /// Answers whether there is something to finish.
    pub async fn prepare(&self, runtime: &dyn RuntimeServices, section: &Section) -> Result<bool> {
        let Some(instance) = self.instance() else { return Ok(false) };
        match limited(runtime, PREPARE_LIMIT, "reconfigure", instance.prepare(section)).await {
            Ok(()) => Ok(true),
            Err(error)
                if error.kind() == ErrorKind::Unsupported
                    && same_keys(&self.inner.lock().section, section) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.context.faults.note("`reconfigure`", "the reload was refused", error)),
        }
    }

    /// The second phase: nothing can be refused any more.
    pub fn finish(&self, commit: Option<Section>) {
        let Some(instance) = self.instance() else { return };
        let finished = instance.finish(commit.is_some());
        if let Err(error) = finished {
            let error =
                self.context.faults.note("`apply`", "its new configuration may be half applied", error);
            tracing::error!("plugin `{}`: the new configuration could not be applied: {error}", self.name);
        }
        if let Some(section) = commit {
            self.inner.lock().section = section;
        }
    }

    pub async fn stop(&self, runtime: &dyn RuntimeServices) {
        let Some(instance) = self.instance() else { return };
        self.inner.lock().state = State::Draining;
        if let Err(error) = limited(runtime, STOP_LIMIT, "stop", instance.stop()).await {
            let error = self.context.faults.note("`stop`", "it is stopped all the same", error);
            tracing::warn!("plugin `{}` did not stop as it should: {error}", self.name);
        }
        self.context.release();
        self.inner.lock().state = State::Stopped;
    }

    pub fn introspect(&self, query: &Value) -> Result<Value> {
        let Some(instance) = self.instance() else {
            return Err(Error::not_found(format!("plugin `{}` is not running", self.name)));
        };
        instance.introspect(query).map_err(|error| {
            self.context.faults.note("`introspect`", "the request was answered with an error", error)
        })
    }

    pub fn facts(&self) -> PluginFacts {
        let state = self.state();
        let faults = self.context.faults.count();
        let health = self.health(&state);
        let manifest = self.manifest().cloned().unwrap_or_default();
        let (linkage, path) = match self.loaded().map(|loaded| &loaded.linkage) {
            None => match &self.asleep {
                Some(asleep) => ("dynamic", Some(asleep.path.display().to_string())),
                None => ("", None),
            },
            Some(Linkage::Static) => ("static", None),
            Some(Linkage::Dynamic(path)) => ("dynamic", Some(path.display().to_string())),
        };
        PluginFacts {
            name: self.name.clone(),
            version: manifest.version,
            api_version: manifest.api_version,
            linkage: linkage.into(),
            state: if state == State::Started && faults > 0 { "faulted" } else { state.word() }.into(),
            why: if let State::Failed { why } = &state { why.clone() } else { String::new() },
            faults,
            path,
            healthy: health.ok,
            health: health.text,
            provides: manifest.provides,
        }
    }

    fn health(&self, state: &State) -> Health {
        match (state, self.instance()) {
            (State::Failed { why }, _) => Health::failing(why.clone()),
            (State::Started, Some(instance)) => instance.health().unwrap_or_else(|error| {
                Health::failing(
                    self.context.faults.note("`health`", "it counts as unhealthy", error).to_string(),
                )
            }),
            _ => Health::ok(),
        }
    }

    fn instance(&self) -> Option<Instance> {
        self.inner.lock().instance
    }
}

impl State {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Found => "found",
            Self::Loaded => "loaded",
            Self::Configured => "configured",
            Self::Started => "started",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A plugin's future, with a limit to its time.
async fn limited(
    runtime: &dyn RuntimeServices,
    limit: Duration,
    what: &str,
    future: impl Future<Output = Result<()>>,
) -> Result<()> {
    let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let mut timer = runtime.sleep_until_ns(runtime.monotonic_ns().saturating_add(limit_ns));
    let mut future = pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(answer) = future.as_mut().poll(context) {
            return Poll::Ready(answer);
        }
        let late = || Err(Error::new(ErrorKind::TimedOut, format!("`{what}` took longer than {limit:?}")));
        timer.as_mut().poll(context).map(|()| late())
    })
    .await
}

/// What the core says beside the plugin's own keys is no change of the plugin's.
fn same_keys(old: &Section, new: &Section) -> bool {
    old.keys == new.keys && old.config == new.config && old.variables == new.variables
}
