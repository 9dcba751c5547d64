//! A folder: the names in it now, and those that a crash leaves.

use super::file::Node;
use crate::random::Random;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
pub enum Entry {
    File(Arc<Node>),
    Folder(Arc<Folder>),
}

#[derive(Default)]
pub struct Folder(Mutex<State>);

#[derive(Default)]
struct State {
    now: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    /// Since the last sync, in order. What one call does to two names happens to both or to none.
    pending: Vec<Vec<(String, Option<Entry>)>>,
}

fn apply(names: &mut BTreeMap<String, Entry>, change: Vec<(String, Option<Entry>)>) {
    for (name, entry) in change {
        match entry {
            Some(entry) => drop(names.insert(name, entry)),
            None => drop(names.remove(&name)),
        }
    }
}

impl Folder {
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.0.lock().now.get(name).cloned()
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().now.keys().cloned().collect()
    }

    pub fn change(&self, change: Vec<(String, Option<Entry>)>) {
        let mut state = self.0.lock();
        apply(&mut state.now, change.clone());
        state.pending.push(change);
    }

    pub fn sync(&self) {
        let mut state = self.0.lock();
        let State { durable, pending, .. } = &mut *state;
        pending.drain(..).for_each(|change| apply(durable, change));
    }

    /// The power goes: of what was not synced, anything may have happened.
    pub fn crash(&self, random: &mut Random) {
        let mut state = self.0.lock();
        let State { now, durable, pending } = &mut *state;
        let all = random.below(3);
        for change in pending.drain(..) {
            if all == 1 || all == 2 && random.one_in(2) {
                apply(durable, change);
            }
        }
        *now = durable.clone();
        for entry in now.values() {
            match entry {
                Entry::File(node) => node.crash(random),
                Entry::Folder(folder) => folder.crash(random),
            }
        }
    }

    /// The same, everything of it durable.
    pub fn copy(&self) -> Self {
        let now: BTreeMap<String, Entry> =
            self.0.lock().now.iter().map(|(n, e)| (n.clone(), e.copy())).collect();
        Self(Mutex::new(State { durable: now.clone(), now, pending: Vec::new() }))
    }

    /// All files below, by path.
    pub fn files(&self, under: &str, found: &mut Vec<(String, Arc<Node>)>) {
        for (name, entry) in &self.0.lock().now {
            let path = format!("{under}{name}");
            match entry {
                Entry::File(node) => found.push((path, node.clone())),
                Entry::Folder(folder) => folder.files(&format!("{path}/"), found),
            }
        }
    }
}

impl Entry {
    fn copy(&self) -> Self {
        match self {
            Self::File(node) => Self::File(Arc::new(node.copy())),
            Self::Folder(folder) => Self::Folder(Arc::new(folder.copy())),
        }
    }
}
