//! A disk in memory: what was not synced is lost at a crash, in part or whole.

use crate::store::vfs::{Vfs, VfsFile};
use natsd_plugin_api::{Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Disk(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, Arc<MemoryFile>>,
    durable: BTreeMap<String, Arc<MemoryFile>>,
    dirs: BTreeSet<String>,
    power: Arc<Power>,
}

struct Power {
    /// Calls until nothing works any more.
    calls: AtomicI64,
    /// Bytes by which files may still grow.
    room: AtomicI64,
    /// Bytes that were read from open files.
    read: AtomicU64,
}

impl Default for Power {
    fn default() -> Self {
        Self { calls: AtomicI64::new(i64::MAX), room: AtomicI64::new(i64::MAX), read: AtomicU64::new(0) }
    }
}

impl Power {
    fn use_some(&self) -> Result<()> {
        match self.calls.fetch_sub(1, Relaxed) {
            left if left > 0 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(5).into()),
        }
    }
}

#[derive(Default)]
struct MemoryFile {
    power: Arc<Power>,
    state: Mutex<FileState>,
}

#[derive(Default)]
struct FileState {
    now: Vec<u8>,
    synced: Vec<u8>,
    writes: Vec<(usize, Vec<u8>)>,
}

fn missing() -> Error {
    io::Error::from_raw_os_error(2).into()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk {
    /// After so many changing calls the power goes.
    pub fn cut_power_after(&self, calls: i64) {
        self.0.lock().power.calls.store(calls, Relaxed);
    }

    /// Bytes that were read from open files until now.
    pub fn bytes_read(&self) -> u64 {
        self.0.lock().power.read.load(Relaxed)
    }

    /// Files may grow by so many bytes together.
    pub fn set_room(&self, bytes: i64) {
        self.0.lock().power.room.store(bytes, Relaxed);
    }

    /// The power goes: names and content that were not synced are there or not.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let mut inner = self.0.lock();
        inner.power.calls.store(i64::MAX, Relaxed);
        inner.files = inner.durable.clone();
        for file in inner.files.values() {
            let mut state = file.state.lock();
            let mut content = state.synced.clone();
            for (at, bytes) in std::mem::take(&mut state.writes) {
                let keep = match random() % 3 {
                    0 => 0,
                    1 => bytes.len(),
                    _ => random() as usize % (bytes.len() + 1),
                };
                put(&mut content, at, &bytes[..keep]);
            }
            (state.now, state.synced) = (content.clone(), content);
        }
    }

    /// All files with their size.
    pub fn files(&self) -> Vec<(String, usize)> {
        self.0.lock().files.iter().map(|(path, file)| (path.clone(), file.state.lock().now.len())).collect()
    }

    pub fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.0.lock().files[path].clone();
        let mut state = file.state.lock();
        change(&mut state.now);
        state.synced = state.now.clone();
        state.writes.clear();
    }

    /// Writes that a crash may undo.
    pub fn unsynced(&self) -> usize {
        self.0.lock().files.values().map(|file| file.state.lock().writes.len()).sum()
    }

    pub fn content(&self, path: &str) -> Vec<u8> {
        self.0.lock().files[path].state.lock().now.clone()
    }

    /// Another disk with the same content, all of it durable.
    pub fn copy(&self) -> Arc<Self> {
        let inner = self.0.lock();
        let files: BTreeMap<_, _> = inner
            .files
            .iter()
            .map(|(path, file)| {
                let now = file.state.lock().now.clone();
                let state = FileState { synced: now.clone(), now, writes: Vec::new() };
                let power = Arc::default();
                (path.clone(), Arc::new(MemoryFile { power, state: Mutex::new(state) }))
            })
            .collect();
        let durable = files.clone();
        let (dirs, power) = (inner.dirs.clone(), Arc::default());
        Arc::new(Self(Mutex::new(Inner { files, durable, dirs, power })))
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Vfs for Disk {
    fn open(&self, path: &str, create: bool) -> Result<Arc<dyn VfsFile>> {
        let mut inner = self.0.lock();
        if let Some(file) = inner.files.get(path) {
            return Ok(file.clone());
        }
        if !create || !inner.dirs.contains(parent(path)) {
            return Err(missing());
        }
        inner.power.use_some()?;
        let file = Arc::new(MemoryFile { power: inner.power.clone(), ..MemoryFile::default() });
        inner.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open_direct(&self, path: &str) -> Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(Direct(self.open(path, true)?)))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.0.lock().files.get(path).map(|file| file.state.lock().now.clone()).ok_or_else(missing)
    }

    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        let mut inner = self.0.lock();
        let state = FileState { now: content.to_vec(), synced: content.to_vec(), writes: Vec::new() };
        inner.power.use_some()?;
        let file = Arc::new(MemoryFile { power: inner.power.clone(), state: Mutex::new(state) });
        inner.files.insert(path.to_owned(), file.clone());
        inner.durable.insert(path.to_owned(), file);
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let inner = self.0.lock();
        let all = inner.files.keys().chain(&inner.dirs);
        let names = all.filter(|name| parent(name) == path && *name != path);
        Ok(names.filter_map(|name| name.rsplit('/').next()).map(str::to_owned).collect())
    }

    fn create_dir_all(&self, path: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.power.use_some()?;
        let mut path = path;
        while !path.is_empty() {
            inner.dirs.insert(path.to_owned());
            path = parent(path);
        }
        Ok(())
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.power.use_some()?;
        inner.files.remove(path).map(|_| ()).ok_or_else(missing)
    }

    fn remove_dir_all(&self, path: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.power.use_some()?;
        let below = format!("{path}/");
        inner.files.retain(|name, _| !name.starts_with(&below));
        inner.durable.retain(|name, _| !name.starts_with(&below));
        inner.dirs.retain(|name| name != path && !name.starts_with(&below));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.power.use_some()?;
        let below = format!("{from}/");
        let moved = |name: &String| {
            if name == from {
                Some(to.to_owned())
            } else {
                Some(format!("{to}/{}", name.strip_prefix(&below)?))
            }
        };
        let rename = |files: &BTreeMap<String, Arc<MemoryFile>>| {
            files.iter().map(|(name, file)| (moved(name).unwrap_or(name.clone()), file.clone())).collect()
        };
        inner.files = rename(&inner.files);
        inner.durable = rename(&inner.durable);
        inner.dirs = inner.dirs.iter().map(|name| moved(name).unwrap_or(name.clone())).collect();
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        let mut inner = self.0.lock();
        inner.power.use_some()?;
        let Inner { files, durable, .. } = &mut *inner;
        durable.retain(|name, _| parent(name) != path);
        durable.extend(
            files.iter().filter(|(name, _)| parent(name) == path).map(|(n, f)| (n.clone(), f.clone())),
        );
        Ok(())
    }
}

impl VfsFile for MemoryFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let state = self.state.lock();
        let rest = state.now.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        self.power.read.fetch_add(len as u64, Relaxed);
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = self.power.use_some() {
            // The call that the power goes in does what it does in part.
            let part = &content[..content.len() / 2];
            put(&mut state.now, at as usize, part);
            state.writes.push((at as usize, part.to_vec()));
            return Err(error);
        }
        let grows = (at as usize + content.len()).saturating_sub(state.now.len()) as i64;
        if grows > 0 && self.power.room.fetch_sub(grows, Relaxed) < grows {
            self.power.room.fetch_add(grows, Relaxed);
            return Err(io::Error::from_raw_os_error(28).into());
        }
        put(&mut state.now, at as usize, content);
        state.writes.push((at as usize, content.to_vec()));
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        Ok(self.state.lock().now.len() as u64)
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        self.power.use_some()?;
        let mut state = self.state.lock();
        state.now.resize(size_bytes as usize, 0);
        state.synced.resize(size_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.power.use_some()?;
        let mut state = self.state.lock();
        // Only what was written: zeroing a large file is not worth a copy each time.
        for (at, bytes) in std::mem::take(&mut state.writes) {
            put(&mut state.synced, at, &bytes);
        }
        Ok(())
    }
}

/// A file past the cache: a real one takes nothing else.
struct Direct(Arc<dyn VfsFile>);

impl Direct {
    fn check(at: u64, buffer: &[u8]) {
        let places = [at as usize, buffer.len(), buffer.as_ptr().addr()];
        assert_eq!(places.map(|place| place % 4096), [0; 3]);
    }
}

impl VfsFile for Direct {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        Self::check(at, buffer);
        self.0.read_at(at, buffer)
    }

    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        Self::check(at, content);
        self.0.write_all_at(at, content)
    }

    fn size(&self) -> Result<u64> {
        self.0.size()
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        self.0.set_size(size_bytes)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
}
