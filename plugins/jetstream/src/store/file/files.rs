//! The files of streams: made and opened when they are first used, and only some of them open at a time.

use super::place::{FileName, Home};
use crate::store::StoreError;
use crate::store::vfs::{Vfs, VfsFile};
use natsd_plugin_api::ErrorKind;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Weak};

/// Open files; others are opened again when they are needed. Processes may often have a thousand.
const OPEN_MAX: usize = 384;

/// A file of a stream.
pub struct Slot {
    pub home: Arc<Home>,
    pub name: FileName,
    /// The file that is always written with it.
    pub copy: Option<Arc<Self>>,
    file: Mutex<Option<Arc<dyn VfsFile>>>,
    /// The file is there.
    made: AtomicBool,
    removed: AtomicBool,
    /// Its name was synced for sure.
    lasting: AtomicBool,
    /// The generation of the log's segment that knows how long it is, or will with what is to be written to it next.
    pub known: AtomicU64,
    /// The same of one that durably does.
    pub logged: AtomicU64,
    /// The generation of the log's segment that waits for a sync of it.
    pub dirty: AtomicU64,
    /// Something that the log has is to come to it.
    pub pending: AtomicBool,
}

impl Slot {
    pub fn new(home: &Arc<Home>, name: FileName) -> Arc<Self> {
        Arc::new(Self {
            home: home.clone(),
            name,
            copy: name.copy().map(|name| Self::new(home, name)),
            file: Mutex::default(),
            made: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            lasting: AtomicBool::new(false),
            known: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            dirty: AtomicU64::new(0),
            pending: AtomicBool::new(false),
        })
    }

    /// A file that was found.
    pub fn found(home: &Arc<Home>, name: FileName) -> Arc<Self> {
        let slot = Self::new(home, name);
        slot.made.store(true, Relaxed);
        slot.copy.iter().for_each(|copy| copy.made.store(true, Relaxed));
        slot
    }

    pub fn path(&self) -> String {
        self.name.path(&self.home.path)
    }

    /// Whether there is nothing to write to any more.
    pub fn is_gone(&self) -> bool {
        self.removed.load(Acquire) || self.home.gone.load(Acquire)
    }

    pub fn is_lasting(&self) -> bool {
        self.lasting.load(Relaxed)
    }

    /// Its folder and those above were synced.
    pub fn mark_lasting(&self) {
        self.lasting.store(true, Relaxed);
        self.home.lasting.store(true, Relaxed);
    }

    pub fn remove(&self) {
        self.removed.store(true, Release);
        self.close();
        self.copy.iter().for_each(|copy| copy.remove());
    }

    /// Gives the descriptor back; the next use opens it again.
    pub fn close(&self) {
        *self.file.lock() = None;
    }

    pub fn failed(&self, error: &natsd_plugin_api::Error) -> StoreError {
        failed(&self.path(), error)
    }
}

/// The file system, with the files that are open.
pub struct Disk {
    pub vfs: Arc<dyn Vfs>,
    open: Mutex<VecDeque<Weak<Slot>>>,
}

impl Disk {
    pub fn new(vfs: Arc<dyn Vfs>) -> Self {
        Self { vfs, open: Mutex::default() }
    }

    /// The open file, which is there.
    pub fn open(&self, slot: &Arc<Slot>) -> Result<Arc<dyn VfsFile>, StoreError> {
        self.open_or(slot, |path| self.vfs.open(path, false))
    }

    /// The open file, made if it is not there, as is its folder; and whether it is new.
    pub fn make(&self, slot: &Arc<Slot>) -> Result<(Arc<dyn VfsFile>, bool), StoreError> {
        let file = self.open_or(slot, |path| {
            if !slot.home.made.load(Acquire) {
                self.vfs.create_dir_all(&slot.home.path)?;
                slot.home.made.store(true, Release);
            }
            self.vfs.open(path, true)
        })?;
        Ok((file, !slot.made.swap(true, Relaxed)))
    }

    fn open_or(
        &self,
        slot: &Arc<Slot>,
        open: impl FnOnce(&str) -> natsd_plugin_api::Result<Arc<dyn VfsFile>>,
    ) -> Result<Arc<dyn VfsFile>, StoreError> {
        let mut file = slot.file.lock();
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let path = slot.path();
        let opened = open(&path).map_err(|error| failed(&path, &error))?;
        *file = Some(opened.clone());
        drop(file);
        self.note(slot);
        Ok(opened)
    }

    /// Closes the file that was opened first when there are many.
    fn note(&self, slot: &Arc<Slot>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(slot));
        let mut spare = Vec::new();
        while open.len() > OPEN_MAX {
            spare.extend(open.pop_front());
        }
        drop(open);
        spare.iter().filter_map(Weak::upgrade).for_each(|slot| slot.close());
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>, StoreError> {
        self.vfs.read(path).map_err(|error| failed(path, &error))
    }

    pub fn read_into(&self, path: &str, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        self.vfs.read_into(path, buffer).map_err(|error| failed(path, &error))
    }

    pub fn list(&self, path: &str) -> Result<Vec<String>, StoreError> {
        self.vfs.list(path).map_err(|error| failed(path, &error))
    }
}

/// Numbers of Linux: no space left, quota exceeded.
const FULL: [i32; 2] = [28, 122];

pub fn failed(path: &str, error: &natsd_plugin_api::Error) -> StoreError {
    let path = path.to_owned();
    let is_full = error.errno().is_some_and(|errno| FULL.contains(&errno))
        || matches!(
            error.kind(),
            ErrorKind::Full | ErrorKind::Io(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        );
    if is_full {
        return StoreError::Full { path };
    }
    StoreError::Io { path, why: error.to_string() }
}

/// Marks that a generation's segment waits for a file; whether it did not before.
pub fn mark_dirty(slot: &Slot, generation: u64) -> bool {
    slot.dirty.swap(generation, AcqRel) != generation
}

/// Whether the segment of a generation knows how long the file is; from now on it does.
pub fn mark_known(slot: &Slot, generation: u64) -> bool {
    slot.known.swap(generation, Relaxed) == generation
}
