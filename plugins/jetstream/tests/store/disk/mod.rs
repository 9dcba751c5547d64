//! A disk in memory that fails as disks do: what was not synced is lost at a crash, whole, in part or in another
//! order; names come and go with the sync of their folder; reads and syncs fail, bits flip, room runs out.

mod content;
mod faults;
mod file;
mod folder;

pub use content::Content;
pub use faults::Faults;

use crate::random::Random;
use faults::Fate;
use file::{Node, Open};
use folder::{Entry, Folder};
use natsd_jetstream::store::vfs::{Vfs, VfsFile};
use natsd_plugin_api::{Error, Result};
use std::io;
use std::sync::Arc;

pub struct Disk {
    root: Folder,
    pub faults: Arc<Faults>,
}

fn missing(path: &str) -> Error {
    Error::from(io::Error::from_raw_os_error(2)).context(path)
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The folder that a path lies in, and the name there.
fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path))
}

impl Disk {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { root: Folder::default(), faults: Arc::new(Faults::new(seed)) })
    }

    /// The power was cut, and is there again.
    pub fn crash(&self, random: &mut Random) {
        self.faults.power_on();
        self.root.crash(random);
    }

    /// Another disk with the same content, all of it durable, and no faults.
    pub fn copy(&self, seed: u64) -> Arc<Self> {
        Arc::new(Self { root: self.root.copy(), faults: Arc::new(Faults::new(seed)) })
    }

    /// All files with their length and what of it is not zeros at the end.
    pub fn files(&self) -> Vec<(String, u64, u64)> {
        let found = self.nodes().into_iter();
        found.map(|(path, node)| (path, node.with(Content::len), node.with(Content::used))).collect()
    }

    fn nodes(&self) -> Vec<(String, Arc<Node>)> {
        let mut found = Vec::new();
        self.root.files("", &mut found);
        found
    }

    /// Changes a file behind the store's back.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Content)) {
        if let Some((_, node)) = self.nodes().into_iter().find(|(other, _)| other == path) {
            node.damage(change);
        }
    }

    fn find(&self, path: &str) -> Option<Entry> {
        let mut parts = parts(path).peekable();
        let mut entry = self.root.get(parts.next()?)?;
        for part in parts {
            let Entry::Folder(folder) = entry else { return None };
            entry = folder.get(part)?;
        }
        Some(entry)
    }

    fn within<T>(&self, path: &str, look: impl FnOnce(&Folder) -> T) -> Result<T> {
        if parts(path).next().is_none() {
            return Ok(look(&self.root));
        }
        match self.find(path) {
            Some(Entry::Folder(folder)) => Ok(look(&folder)),
            _ => Err(missing(path)),
        }
    }

    fn file(&self, path: &str) -> Result<Arc<Node>> {
        match self.find(path) {
            Some(Entry::File(node)) => Ok(node),
            _ => Err(missing(path)),
        }
    }

    /// Changes names in a folder: one step.
    fn rename_in(&self, folder: &str, change: Vec<(String, Option<Entry>)>) -> Result<()> {
        match self.faults.before(folder) {
            Fate::Done => self.within(folder, |folder| folder.change(change)),
            Fate::Lost(error) => Err(error),
            Fate::Cut(error) => {
                self.within(folder, |folder| folder.change(change))?;
                Err(error)
            }
        }
    }

    fn remove(&self, path: &str, entry: &Entry) -> Result<()> {
        match entry {
            Entry::File(node) => self.faults.shrink(node.with(Content::len)),
            Entry::Folder(folder) => {
                for name in folder.names() {
                    if let Some(entry) = folder.get(&name) {
                        self.remove(&format!("{path}/{name}"), &entry)?;
                    }
                }
            }
        }
        let (folder, name) = split(path);
        self.rename_in(folder, vec![(name.to_owned(), None)])
    }

    fn open_node(&self, path: &str, node: Arc<Node>) -> Arc<dyn VfsFile> {
        Arc::new(Open { faults: self.faults.clone(), path: path.to_owned(), node })
    }
}

impl Vfs for Disk {
    fn open(&self, path: &str, create: bool) -> Result<Arc<dyn VfsFile>> {
        self.faults.before_read(path)?;
        if let Ok(node) = self.file(path) {
            return Ok(self.open_node(path, node));
        }
        if !create {
            return Err(missing(path));
        }
        let (folder, name) = split(path);
        let node = Arc::new(Node::default());
        self.rename_in(folder, vec![(name.to_owned(), Some(Entry::File(node.clone())))])?;
        Ok(self.open_node(path, node))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.faults.before_read(path)?;
        Ok(self.file(path)?.with(Content::all))
    }

    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        let (folder, name) = split(path);
        let beside = format!("{path}.tmp");
        let (_, beside_name) = split(&beside);
        if let Some(old) = self.find(&beside) {
            self.remove(&beside, &old)?;
        }
        let file = Vfs::open(self, &beside, true)?;
        file.write_all_at(0, content)?;
        file.sync()?;
        let Some(written) = self.find(&beside) else { return Err(missing(&beside)) };
        if let Ok(old) = self.file(path) {
            self.faults.shrink(old.with(Content::len));
        }
        self.rename_in(folder, vec![(beside_name.to_owned(), None), (name.to_owned(), Some(written))])?;
        self.sync_dir(folder)
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        self.faults.before_read(path)?;
        Ok(self.within(path, Folder::names).unwrap_or_default())
    }

    fn create_dir_all(&self, path: &str) -> Result<()> {
        let mut at = String::new();
        for part in parts(path) {
            let there = format!("{at}/{part}");
            if self.find(&there).is_none() {
                self.rename_in(&at, vec![(part.to_owned(), Some(Entry::Folder(Arc::default())))])?;
            }
            at = there;
        }
        Ok(())
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        let node = self.file(path)?;
        self.remove(path, &Entry::File(node))
    }

    fn remove_dir_all(&self, path: &str) -> Result<()> {
        let entry = self.find(path).ok_or_else(|| missing(path))?;
        self.remove(path, &entry)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let ((folder, name), (to_folder, to_name)) = (split(from), split(to));
        assert_eq!(folder, to_folder, "a move to another folder is not simulated");
        let entry = self.find(from).ok_or_else(|| missing(from))?;
        if let Ok(old) = self.file(to) {
            self.faults.shrink(old.with(Content::len));
        }
        self.rename_in(folder, vec![(name.to_owned(), None), (to_name.to_owned(), Some(entry))])
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        match self.faults.before(path) {
            Fate::Done => self.within(path, Folder::sync),
            Fate::Lost(error) => Err(error),
            Fate::Cut(error) => {
                if self.faults.random().one_in(2) {
                    self.within(path, Folder::sync)?;
                }
                Err(error)
            }
        }
    }
}
