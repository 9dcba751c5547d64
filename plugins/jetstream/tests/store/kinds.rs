//! The stores there are, each opened the same way: natsd's files and memory, and a third party's over the plugin line.

use crate::disk::Disk;
use crate::natsd_redb::{RedbEngine, Run};
use natsd_jetstream::config::Sync;
use natsd_jetstream::store::file::{FileEngine, Options};
use natsd_jetstream::store::foreign::ForeignEngine;
use natsd_jetstream::store::memory::MemoryEngine;
use natsd_jetstream::store::vfs::{Vfs, VfsFile};
use natsd_jetstream::store::{StoreEngine, StoreError, StoreSettings, StreamStore};
use natsd_plugin_api::abi::points::FfiCall;
use natsd_plugin_api::stream_store::StreamEngineClient;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A kind of store, and where it keeps things.
pub trait Kind {
    /// The engine; a second one, after the first is dropped, is what a restarted server has.
    fn open(&self) -> Result<Box<dyn StoreEngine>, StoreError>;

    /// Whether a restart finds what was there.
    fn lasts(&self) -> bool {
        true
    }
}

pub struct Memory;

impl Kind for Memory {
    fn open(&self) -> Result<Box<dyn StoreEngine>, StoreError> {
        Ok(Box::new(MemoryEngine::default()))
    }

    fn lasts(&self) -> bool {
        false
    }
}

pub struct File {
    pub disk: Arc<Disk>,
    /// Seeds what the store draws.
    pub seed: u64,
}

impl File {
    pub fn new() -> Self {
        Self { disk: Disk::new(1), seed: 1 }
    }
}

impl Kind for File {
    fn open(&self) -> Result<Box<dyn StoreEngine>, StoreError> {
        let random = self.seed.wrapping_add(self.disk.faults.steps());
        let options = Options { sync: Sync::Always, random, keys: None };
        Ok(Box::new(FileEngine::open(self.disk.clone(), "/srv/js", options, None)?))
    }
}

/// The example of `tests/third_party`, through the tables that its plugin would give.
pub struct Redb {
    pub disk: Arc<Disk>,
}

impl Redb {
    pub fn new() -> Self {
        Self { disk: Disk::new(1) }
    }
}

impl Kind for Redb {
    fn open(&self) -> Result<Box<dyn StoreEngine>, StoreError> {
        let failed = |error: natsd_plugin_api::Error| StoreError::Io {
            path: "streams.redb".to_owned(),
            why: error.to_string(),
        };
        let file = Vfs::open(&*self.disk, "streams.redb", true).map_err(failed)?;
        self.disk.sync_dir("").map_err(failed)?;
        let engine = RedbEngine::open(Backend(file), Run::AtOnce).map_err(failed)?;
        let client = StreamEngineClient::new(FfiCall::stream_engine(Arc::new(engine))).map_err(failed)?;
        Ok(Box::new(ForeignEngine::new("redb", client)))
    }
}

/// redb's file on the simulated disk.
struct Backend(Arc<dyn VfsFile>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated file")
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.size()?)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut content = vec![0; len];
        match self.0.read_at(offset, &mut content)? {
            count if count == len => Ok(content),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_size(len)?;
        // As the plugin does it.
        Ok(self.0.sync()?)
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        Ok(self.0.sync()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.0.write_all_at(offset, data)?)
    }
}

pub fn create(engine: &dyn StoreEngine, name: &str, settings: &StoreSettings) -> Box<dyn StreamStore> {
    engine.create("A", name, settings, b"meta").unwrap()
}

/// The one stream of a restarted engine.
pub fn found(engine: &dyn StoreEngine) -> Box<dyn StreamStore> {
    let mut found = engine.recover().unwrap();
    assert_eq!(found.len(), 1);
    found.pop().unwrap().store.unwrap()
}

/// Until the changes are durable.
pub fn commit(store: &mut dyn StreamStore) -> Result<(), StoreError> {
    store.commit().wait_blocking()
}
