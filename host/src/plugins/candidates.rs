//! Which plugins may be there, before any is opened.

use super::entry::Entry;
use super::loader::{self, LoadError, Loaded};
use super::services::RuntimeServices;
use super::{Shared, search};
use crate::config::options::PluginsOptions;
use std::path::PathBuf;
use std::sync::Arc;

/// A plugin that may be there.
pub struct Candidate {
    pub name: String,
    path: Option<PathBuf>,
    pub required: bool,
    /// By the configuration, and not only found in a folder.
    pub named: bool,
}

impl Candidate {
    /// Found in a folder, with a label: it is opened only when its keys are there.
    pub fn asleep(&self, shared: &Arc<Shared>) -> Option<Entry> {
        let path = self.path.clone().filter(|_| !self.named)?;
        let label = loader::label(&*shared.runtime.files(), &path)?;
        let is_its_own = label.name.replace('-', "_") == self.name.replace('-', "_");
        is_its_own.then(|| Entry::asleep(label, path, shared))
    }

    pub fn load(&self, folders: &[PathBuf], runtime: &dyn RuntimeServices) -> Result<Loaded, LoadError> {
        if let (None, Some(linked)) = (&self.path, loader::linked(&self.name)) {
            return linked;
        }
        let path = self.path.clone().or_else(|| search::find(&*runtime.files(), folders, &self.name));
        let Some(path) = path else { return Err(LoadError::missing(&self.name, folders)) };
        match loader::open(&*runtime.files(), &self.name, &path) {
            // A file that was only found: `_` in its name may stand for `-` in the plugin's.
            Err(LoadError::NoSymbol { .. }) if !self.named && self.name.contains('_') => {
                loader::open(&*runtime.files(), &self.name.replace('_', "-"), &path)
            }
            answer => answer,
        }
    }
}

/// Every plugin to load, once: named ones first, then linked ones, then those in the folders. An exact list
/// (`load`) leaves out all others.
pub fn candidates(
    options: &PluginsOptions,
    folders: &[PathBuf],
    runtime: &dyn RuntimeServices,
) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let exact = options.load.as_ref();
    let allowed = |name: &str| exact.is_none_or(|load| load.iter().any(|listed| listed == name));
    for declared in options.declared.iter().filter(|declared| allowed(&declared.name)) {
        candidates.push(Candidate {
            name: declared.name.clone(),
            path: declared.path.clone(),
            required: declared.required,
            named: true,
        });
    }
    let mut add = |name: &str, path: Option<PathBuf>, named: bool| {
        let same = |candidate: &Candidate| candidate.name.replace('-', "_") == name.replace('-', "_");
        if !candidates.iter().any(same) {
            candidates.push(Candidate { name: name.to_owned(), path, required: true, named });
        }
    };
    match exact {
        Some(load) => load.iter().for_each(|name| add(name, None, true)),
        None => {
            loader::linked_names().iter().for_each(|name| add(name, None, false));
            let found = search::scan(&*runtime.files(), folders);
            found.into_iter().for_each(|(name, path)| add(&name, Some(path), false));
        }
    }
    candidates
}
