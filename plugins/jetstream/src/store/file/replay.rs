//! After a start: what the log says is done again, so that the files of streams have all that was answered. What is
//! there already is not written again, so that little has to be synced; and who reads need not wait for that.

use super::entry::{self, Logged, LoggedOp, Scanned};
use super::files::failed;
use super::floors::Floor;
use super::keeper::Dirty;
use super::log::{self, DATA, Header};
use super::place::{FileName, ancestors, stream_of};
use crate::store::StoreError;
use crate::store::vfs::{Vfs, VfsFile};
use hashbrown::HashMap;
use natsd_plugin_api::tracing;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the log said.
#[derive(Default)]
pub struct Replayed {
    /// Of the newest segment.
    pub generation: u64,
    pub next_id: u64,
    pub ends: Ends,
    /// Segments with places that could not be read.
    pub damaged: BTreeSet<String>,
    /// Files of streams are up to date, but not durably: the log must not be emptied before.
    pub dirty: Dirty,
}

/// A segment of the log.
struct Segment {
    generation: u64,
    content: Vec<u8>,
    scanned: Scanned,
}

/// How much of the files counts.
#[derive(Default)]
pub struct Ends {
    /// What is behind that was never answered.
    pub files: HashMap<(u64, FileName), u64>,
    /// How far streams were when a segment of the log was begun.
    pub floors: HashMap<u64, Floor>,
    /// Something of the log cannot be read: it may have said more of files.
    pub are_unsure: bool,
}

/// Reads both segments and brings the files of all streams up to date.
pub fn replay(vfs: &dyn Vfs, root: &str) -> Result<Replayed, StoreError> {
    let mut segments = Vec::new();
    let mut replayed = Replayed { next_id: 1, ..Replayed::default() };
    let there = vfs.list(root).map_err(|error| failed(root, &error))?;
    for number in 0..2 {
        let path = log::path(root, number);
        if !there.iter().any(|name| path.ends_with(&format!("/{name}"))) {
            continue;
        }
        let mut content = Vec::new();
        vfs.read_into(&path, &mut content).map_err(|error| failed(&path, &error))?;
        let (header, is_damaged) = Header::read(&content);
        if is_damaged && content.len() as u64 >= DATA {
            tracing::warn!("{path}: a copy of the header is damaged");
        }
        replayed.ends.are_unsure |= header.is_none();
        if let Some(header) = header {
            replayed.generation = replayed.generation.max(header.generation);
            replayed.next_id = replayed.next_id.max(header.next_id);
            let scanned = entry::scan(&mut content, DATA as usize, header.salt);
            if scanned.mended > 0 {
                tracing::warn!("{path}: {} flipped bits were repaired", scanned.mended);
            }
            if scanned.damaged > 0 {
                tracing::error!("{path}: {} damaged places", scanned.damaged);
                replayed.damaged.insert(path);
            }
            replayed.ends.are_unsure |= scanned.is_cut_short || scanned.damaged > 0;
            segments.push(Segment { generation: header.generation, content, scanned });
        }
    }
    segments.sort_by_key(|segment| segment.generation);
    let mut work = Work::new(vfs, root)?;
    replayed.next_id = replayed.next_id.max(work.last_id + 1);
    for Segment { content, scanned, .. } in &segments {
        for logged in scanned.each(content) {
            replayed.next_id = replayed.next_id.max(logged.id + 1);
            work.look(&logged);
        }
    }
    for Segment { content, scanned, .. } in &segments {
        for logged in scanned.each(content) {
            work.redo(&logged, &mut replayed.ends)?;
        }
    }
    replayed.dirty = work.finish()?;
    Ok(replayed)
}

struct Work<'a> {
    vfs: &'a dyn Vfs,
    root: &'a str,
    /// Folders of streams.
    places: HashMap<u64, String>,
    last_id: u64,
    /// In an order, so that a simulation does the same each time.
    gone: BTreeSet<u64>,
    removed: BTreeSet<(u64, FileName)>,
    /// Open files, with what was written to them since they were opened.
    files: BTreeMap<(u64, FileName), (String, Arc<dyn VfsFile>)>,
    dirs: BTreeSet<String>,
    buffer: Vec<u8>,
}

/// Files that are open at a time.
const OPEN_MAX: usize = 256;

impl<'a> Work<'a> {
    fn new(vfs: &'a dyn Vfs, root: &'a str) -> Result<Self, StoreError> {
        let mut places = HashMap::new();
        for account in vfs.list(root).map_err(|error| failed(root, &error))? {
            let streams = format!("{account}/streams");
            for name in vfs.list(&format!("{root}/{streams}")).unwrap_or_default() {
                if let Some((_, id)) = stream_of(&name).filter(|_| !name.starts_with('.')) {
                    places.insert(id, format!("{streams}/{name}"));
                }
            }
        }
        let last_id = places.keys().max().copied().unwrap_or(0);
        let (gone, removed, files) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let (dirs, buffer) = (BTreeSet::new(), Vec::new());
        Ok(Self { vfs, root, places, last_id, gone, removed, files, dirs, buffer })
    }

    /// First all is looked at: what goes in the end need not be made.
    fn look(&mut self, logged: &Logged<'_>) {
        if let Some(place) = logged.place {
            self.places.insert(logged.id, place.to_owned());
        }
        if logged.gone {
            self.gone.insert(logged.id);
        }
        for op in &logged.ops {
            if let LoggedOp::Remove { file } = op {
                self.removed.insert((logged.id, *file));
                self.removed.extend(file.copy().map(|copy| (logged.id, copy)));
            }
        }
    }

    fn redo(&mut self, logged: &Logged<'_>, ends: &mut Ends) -> Result<(), StoreError> {
        if self.gone.contains(&logged.id) {
            return Ok(());
        }
        for op in &logged.ops {
            let (file, at, content) = match *op {
                LoggedOp::Create { file, content } => (file, 0, content),
                LoggedOp::Write { file, at, content } => (file, at, content),
                LoggedOp::Known { file, end } => {
                    let known = ends.files.entry((logged.id, file)).or_default();
                    *known = end.max(*known);
                    continue;
                }
                LoggedOp::Floor(floor) => {
                    ends.floors.insert(logged.id, floor);
                    continue;
                }
                LoggedOp::Rewrite { file, at, content } => {
                    if !self.removed.contains(&(logged.id, file)) {
                        self.write(logged.id, file, at, content)?;
                    }
                    continue;
                }
                LoggedOp::Remove { .. } => continue,
            };
            if self.removed.contains(&(logged.id, file)) {
                continue;
            }
            let known = ends.files.entry((logged.id, file)).or_default();
            *known = (at + content.len() as u64).max(*known);
            self.write(logged.id, file, at, content)?;
            if let Some(copy) = file.copy() {
                self.write(logged.id, copy, at, content)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, id: u64, name: FileName, at: u64, content: &[u8]) -> Result<(), StoreError> {
        if !self.files.contains_key(&(id, name)) && !self.open(id, name)? {
            return Ok(());
        }
        let Some((path, file)) = self.files.get(&(id, name)) else { return Ok(()) };
        self.buffer.resize(content.len(), 0);
        let mut got = 0;
        while got < content.len() {
            let read = file.read_at(at + got as u64, &mut self.buffer[got..]);
            match read.map_err(|error| failed(path, &error))? {
                0 => break,
                more => got += more,
            }
        }
        if self.buffer[..got] != *content {
            file.write_all_at(at, content).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }

    fn open(&mut self, id: u64, name: FileName) -> Result<bool, StoreError> {
        let Some(place) = self.places.get(&id) else {
            tracing::warn!("{}: the log does not say which stream {id} is", self.root);
            return Ok(false);
        };
        let dir = format!("{}/{place}", self.root);
        let path = name.path(&dir);
        let open = || {
            self.vfs.open(&path, false).or_else(|_| {
                self.vfs.create_dir_all(&dir)?;
                self.vfs.open(&path, true)
            })
        };
        let file = open().map_err(|error| failed(&path, &error))?;
        if self.files.len() >= OPEN_MAX {
            self.sync()?;
        }
        // Names that are there may still not be durable.
        if self.dirs.insert(dir.clone()) {
            self.dirs.extend(ancestors(self.root, &dir));
        }
        self.files.insert((id, name), (path, file));
        Ok(true)
    }

    /// What is there already may still not be durable either.
    fn sync(&mut self) -> Result<(), StoreError> {
        for (_, (path, file)) in std::mem::take(&mut self.files) {
            file.sync().map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    /// Removes what is to go. The answer is what has to be synced.
    fn finish(mut self) -> Result<Dirty, StoreError> {
        for id in &self.gone {
            if let Some(place) = self.places.get(id) {
                let path = format!("{}/{place}", self.root);
                if self.vfs.list(&path).is_ok_and(|names| !names.is_empty()) {
                    self.vfs.remove_dir_all(&path).map_err(|error| failed(&path, &error))?;
                }
                self.dirs.remove(&path);
                self.dirs.extend(ancestors(self.root, &path));
            }
        }
        for (id, name) in &self.removed {
            if let Some(place) = self.places.get(id).filter(|_| !self.gone.contains(id)) {
                let dir = format!("{}/{place}", self.root);
                let names = self.vfs.list(&dir).unwrap_or_default();
                let path = name.path(&dir);
                if names.iter().any(|name| path.ends_with(&format!("/{name}"))) {
                    self.vfs.remove_file(&path).map_err(|error| failed(&path, &error))?;
                }
                self.dirs.insert(dir);
            }
        }
        let (vfs, opened) = (self.vfs, self.files.into_values().collect());
        self.dirs.retain(|dir| vfs.list(dir).is_ok_and(|names| !names.is_empty()));
        Ok(Dirty { files: Vec::new(), opened, dirs: self.dirs })
    }
}
