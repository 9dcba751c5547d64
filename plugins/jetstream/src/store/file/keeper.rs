//! What can happen beside the writing: files are synced so that a segment of the log can be used again, and what was
//! removed is deleted. One thread, in order.

use super::files::{Disk, Slot, failed};
use super::place::ancestors;
use crate::store::StoreError;
use crate::store::vfs::VfsFile;
use natsd_plugin_api::tracing;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Files and folders with content or names that are not durable.
#[derive(Default)]
pub struct Dirty {
    pub files: Vec<Arc<Slot>>,
    /// Files that were written before there was a slot for them.
    pub opened: Vec<(String, Arc<dyn VfsFile>)>,
    pub dirs: BTreeSet<String>,
}

impl Dirty {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.opened.is_empty() && self.dirs.is_empty()
    }

    /// A name in the folder of a stream is new or gone, and perhaps the folder is new.
    pub fn note_names(&mut self, root: &str, slot: &Slot) {
        if self.dirs.contains(&slot.home.path) {
            return;
        }
        self.dirs.insert(slot.home.path.clone());
        if !slot.home.lasting.load(Relaxed) {
            self.dirs.extend(ancestors(root, &slot.home.path));
        }
    }

    pub fn sync(&mut self, disk: &Disk) -> Result<(), StoreError> {
        for (path, file) in self.opened.drain(..) {
            file.sync().map_err(|error| failed(&path, &error))?;
        }
        for slot in self.files.drain(..) {
            if slot.is_gone() {
                continue;
            }
            let synced = disk.open(&slot).and_then(|file| file.sync().map_err(|error| slot.failed(&error)));
            // It may have been removed meanwhile.
            if synced.is_err() && !slot.is_gone() {
                return synced;
            }
        }
        for dir in std::mem::take(&mut self.dirs) {
            // The folder of a stream that was removed meanwhile is not there.
            if let Err(error) = disk.vfs.sync_dir(&dir)
                && disk.vfs.list(&dir).is_ok_and(|names| !names.is_empty())
            {
                return Err(failed(&dir, &error));
            }
        }
        Ok(())
    }
}

/// Writes to a file of a stream, made if it is not there, and to its copy; notes what is to be synced but the file itself.
pub fn write(
    disk: &Disk,
    root: &str,
    slot: &Arc<Slot>,
    at: u64,
    content: &[u8],
    dirty: &mut Dirty,
) -> Result<(), StoreError> {
    let (file, is_new) = disk.make(slot)?;
    if is_new {
        dirty.note_names(root, slot);
        // What an earlier try left.
        if file.size().map_err(|error| slot.failed(&error))? > 0 {
            file.set_size(0).map_err(|error| slot.failed(&error))?;
        }
    }
    file.write_all_at(at, content).map_err(|error| slot.failed(&error))?;
    match &slot.copy {
        Some(copy) => write(disk, root, copy, at, content, dirty),
        None => Ok(()),
    }
}

/// Work for the keeper.
pub enum Chore {
    DeleteFile(Arc<Slot>),
    DeleteFolder(String),
    /// Everything of a generation is in its files: they are synced, and the generation is done.
    Settle(u64, Dirty),
}

pub struct Keeper {
    disk: Arc<Disk>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    chores: VecDeque<Chore>,
    settled: u64,
    closed: bool,
    ended: bool,
    failed: Option<StoreError>,
}

impl Keeper {
    pub fn new(disk: Arc<Disk>) -> Arc<Self> {
        Arc::new(Self { disk, state: Mutex::default(), wake: Condvar::new() })
    }

    pub fn push(&self, chore: Chore) {
        self.state.lock().chores.push_back(chore);
        self.wake.notify_all();
    }

    /// A failed sync is final.
    pub fn failure(&self) -> Option<StoreError> {
        self.state.lock().failed.clone()
    }

    /// Nothing was logged in generations up to this one that is not done.
    pub fn assume(&self, generation: u64) {
        let mut state = self.state.lock();
        state.settled = state.settled.max(generation);
    }

    /// Waits until a generation is done.
    pub fn wait(&self, generation: u64) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        while state.settled < generation && state.failed.is_none() && !state.ended {
            self.wake.wait(&mut state);
        }
        match &state.failed {
            Some(error) => Err(error.clone()),
            None if state.settled < generation => Err(StoreError::Closed),
            None => Ok(()),
        }
    }

    /// The thread.
    pub fn run(&self) {
        loop {
            let mut state = self.state.lock();
            while state.chores.is_empty() && !state.closed {
                self.wake.wait(&mut state);
            }
            let Some(chore) = state.chores.pop_front() else {
                state.ended = true;
                self.wake.notify_all();
                return;
            };
            drop(state);
            self.work(chore);
        }
    }

    /// Does what waits, on the caller's thread.
    pub fn run_once(&self) {
        loop {
            let chore = self.state.lock().chores.pop_front();
            match chore {
                Some(chore) => self.work(chore),
                None => return,
            }
        }
    }

    /// Does everything that waits; the thread ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.wake.notify_all();
        while !state.ended {
            self.wake.wait(&mut state);
        }
    }

    fn work(&self, chore: Chore) {
        match chore {
            Chore::DeleteFile(slot) => {
                let path = slot.path();
                // A file that was never made is not missed.
                if let Err(error) = self.disk.vfs.remove_file(&path)
                    && self.disk.vfs.read(&path).is_ok()
                {
                    tracing::warn!("{path} could not be removed: {error}");
                }
            }
            Chore::DeleteFolder(path) => {
                if let Err(error) = self.disk.vfs.remove_dir_all(&path)
                    && self.disk.list(&path).is_ok_and(|names| !names.is_empty())
                {
                    tracing::warn!("{path} could not be removed: {error}");
                }
            }
            Chore::Settle(generation, mut dirty) => {
                let synced = dirty.sync(&self.disk);
                let mut state = self.state.lock();
                match synced {
                    Ok(()) => state.settled = state.settled.max(generation),
                    Err(error) => {
                        tracing::error!("JetStream's store stopped writing: {error}");
                        state.failed.get_or_insert(error);
                    }
                }
                self.wake.notify_all();
            }
        }
    }
}
