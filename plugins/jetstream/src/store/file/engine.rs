//! The store of a server: a folder for each account, a folder for each stream, one log for all of them.

use super::entry::{Job, Op};
use super::files::{Disk, Slot, failed};
use super::floors::Floor;
use super::io::{Clock, Io, Salts, Settled};
use super::keeper::Chore;
use super::log::{self, Log};
use super::place::{self, FileName, Home};
use super::record::Codec;
use super::recovery;
use super::replay::{self, Ends};
use super::seal::{Keys, Seal};
use super::state_log::{self, Fact};
use super::stream::{FileStore, Shared, StateLog};
use super::writer::Writer;
use crate::config::Sync;
use crate::store::vfs::Vfs;
use crate::store::{StoreEngine, StoreError, StoreSettings, StoredStream, StreamStore};
use hashbrown::HashSet;
use natsd_plugin_api::tracing;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The log's segments where there is no thread: small, so that simulations see them change.
const SEGMENT_MAX_INLINE: u64 = 64 * 1024;

/// Streams in files.
pub struct FileEngine {
    shared: Arc<Shared>,
    root: String,
    /// How much of the files counts, as the log had it at the start.
    ends: Mutex<Ends>,
}

/// How the file store is to work.
#[derive(Clone, Debug)]
pub struct Options {
    pub sync: Sync,
    /// Seeds the salts of files.
    pub random: u64,
    /// For encryption at rest.
    pub keys: Option<Keys>,
}

/// What the store needs of the host to write beside the tasks of streams.
pub struct Threads<'a> {
    pub spawn: &'a dyn Fn(Box<dyn FnOnce() + Send>),
    pub clock: Clock,
    /// Called after sequels of commits were told, without anything being held.
    pub settled: Settled,
}

impl FileEngine {
    /// `root` is made if it is not there. Without threads, commits write on the caller's.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        root: &str,
        options: Options,
        threads: Option<Threads<'_>>,
    ) -> Result<Self, StoreError> {
        let root = root.trim_end_matches('/');
        make_root(&*vfs, root)?;
        let random = AtomicU64::new(options.random);
        let salts: Salts = Arc::new(move || {
            let value = random.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
            xxhash_rust::xxh3::xxh3_64(&value.to_le_bytes())
        });
        let mut replayed = replay::replay(&*vfs, root)?;
        let disk = Arc::new(Disk::new(vfs));
        let log = find_log(&disk, root, &options, &mut replayed, &salts, threads.is_none())?;
        let next_id = Arc::new(AtomicU64::new(replayed.next_id));
        let clock = threads.as_ref().map(|threads| threads.clock.clone());
        let settled = threads.as_ref().map(|threads| threads.settled.clone());
        let io = Io::new(disk.clone(), root, log, salts.clone(), next_id.clone(), clock);
        let writer = Writer::new(io, options.sync, settled);
        writer.keeper.push(Chore::Settle(replayed.generation, replayed.dirty));
        if let Some(threads) = threads {
            let (thread, keeper) = (writer.clone(), writer.keeper.clone());
            (threads.spawn)(Box::new(move || thread.run()));
            (threads.spawn)(Box::new(move || keeper.run()));
        }
        let damaged = Mutex::new(replayed.damaged);
        let (keys, streams) = (options.keys, Mutex::default());
        let shared = Arc::new(Shared { disk, writer, salts, next_id, keys, streams, damaged });
        Ok(Self { shared, root: root.to_owned(), ends: Mutex::new(replayed.ends) })
    }
}

/// Makes the folder, so that it is there after a power cut too.
fn make_root(vfs: &dyn Vfs, root: &str) -> Result<(), StoreError> {
    let parent = |path: &str| match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    };
    let is_empty = |path: &str| vfs.list(path).is_ok_and(|names| names.is_empty());
    // Those that may be new, and the one that they lie in.
    let mut changed = Vec::new();
    let mut path = root.to_owned();
    while is_empty(&path) && path != "/" && path != "." {
        path = parent(&path);
        changed.push(path.clone());
    }
    vfs.create_dir_all(root).map_err(|error| no_root(root, &error))?;
    for dir in &changed {
        // One that was there already may be closed to this user, but then the name in it was made by another.
        if let Err(error) = vfs.sync_dir(dir) {
            tracing::debug!("{dir}: {error}");
        }
    }
    Ok(())
}

/// `EEXIST` and `ENOTDIR`: a file has the name of the folder, or of one above it.
const IN_THE_WAY: [i32; 2] = [17, 20];

/// In nats-server's words, which tools that start servers look for.
fn no_root(root: &str, error: &natsd_plugin_api::Error) -> StoreError {
    let is_file = error.errno().is_some_and(|errno| IN_THE_WAY.contains(&errno));
    let why = if is_file {
        "storage directory is not a directory".to_owned()
    } else {
        format!("could not create storage directory - {error}")
    };
    StoreError::Io { path: root.to_owned(), why }
}

/// The log. It is emptied when it is first used: whoever only reads does not wait until what it said is durable.
fn find_log(
    disk: &Disk,
    root: &str,
    options: &Options,
    replayed: &mut replay::Replayed,
    salts: &Salts,
    inline: bool,
) -> Result<Option<Log>, StoreError> {
    let (vfs, next_id) = (&*disk.vfs, replayed.next_id);
    if options.sync == Sync::Always {
        let size_max = if inline { SEGMENT_MAX_INLINE } else { log::SEGMENT_MAX };
        let mut log = Log::find(vfs, root, replayed.generation, size_max)?;
        // What it says may be done again until then: not where files are written anew, or cut, as the log does not
        // know.
        if options.keys.is_some() || replayed.ends.are_unsure {
            replayed.dirty.sync(disk)?;
            log.start(vfs, root, || salts(), next_id)?;
        }
        if options.keys.is_some() {
            // What was logged before there was a key lies there still.
            log.finish(salts(), next_id)?;
        }
        return Ok(Some(log));
    }
    replayed.dirty.sync(disk)?;
    let there = vfs.list(root).map_err(|error| failed(root, &error))?;
    for path in [log::path(root, 0), log::path(root, 1)] {
        if there.iter().any(|name| path.ends_with(&format!("/{name}"))) {
            vfs.remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
    }
    vfs.sync_dir(root).map_err(|error| failed(root, &error))?;
    Ok(None)
}

impl StoreEngine for FileEngine {
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StoreSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>, StoreError> {
        let base = place::base(account, stream);
        if !self.shared.streams.lock().insert(base.clone()) {
            return Err(StoreError::Exists);
        }
        let made = self.make(&base, settings, meta);
        if made.is_err() {
            self.shared.streams.lock().remove(&base);
        }
        made.map(|store| Box::new(store) as Box<dyn StreamStore>)
    }

    fn is_quick(&self) -> bool {
        self.shared.writer.is_idle_and_quick()
    }

    fn recover(&self) -> Result<Vec<StoredStream>, StoreError> {
        let disk = &self.shared.disk;
        let ends = std::mem::take(&mut *self.ends.lock());
        let mut found = Vec::new();
        for account in disk.list(&self.root)? {
            let streams = format!("{account}/streams");
            let Ok(names) = disk.list(&format!("{}/{streams}", self.root)) else { continue };
            for folder in names {
                let path = format!("{}/{streams}/{folder}", self.root);
                if folder.starts_with('.') {
                    // A deletion that did not come to its end.
                    let _ = disk.vfs.remove_dir_all(&path);
                    continue;
                }
                let Some((name, id)) = place::stream_of(&folder) else { continue };
                let there = disk.list(&path).unwrap_or_default();
                if there.iter().any(|name| FileName::parse(name).is_some()) {
                    found.push((place::unescape(&account), name, id, format!("{streams}/{folder}")));
                }
            }
        }
        found.sort_by(|a, b| (&a.0, &a.1, b.2).cmp(&(&b.0, &b.1, a.2)));
        let mut seen: HashSet<String> = HashSet::new();
        let mut streams = Vec::new();
        for (account, name, id, place) in found {
            let base = place::base(&account, &name);
            if !seen.insert(base.clone()) {
                tracing::warn!("{}/{place} is older than another of that name: left alone", self.root);
                continue;
            }
            self.shared.streams.lock().insert(base);
            let home = Arc::new(Home::found(&self.root, &place, id));
            let (meta, store) = match recovery::open(self.shared.clone(), home, &ends) {
                Ok(store) => (store.meta.clone(), Ok(Box::new(store) as Box<dyn StreamStore>)),
                Err(error) => (bytes::Bytes::new(), Err(error)),
            };
            streams.push(StoredStream { account, name, meta, store });
        }
        Ok(streams)
    }

    fn trouble(&self) -> String {
        self.shared.writer.refusal().map(|error| error.to_string()).unwrap_or_default()
    }

    fn damage(&self) -> String {
        let damaged = self.shared.damaged.lock();
        damaged.iter().map(|what| format!("damaged: {what}")).collect::<Vec<_>>().join("; ")
    }

    fn gathered(&self) {
        self.shared.writer.gathered();
    }

    fn close(&self) -> Result<(), StoreError> {
        self.shared.writer.close()
    }
}

impl FileEngine {
    /// Makes a stream: durable when the log has it, its folder comes later.
    fn make(&self, base: &str, settings: &StoreSettings, meta: &[u8]) -> Result<FileStore, StoreError> {
        let id = self.shared.next_id.fetch_add(1, Relaxed);
        let home = Arc::new(Home::new(&self.root, &format!("{base}.{id}"), id));
        let keys = self.shared.keys.as_ref().filter(|keys| !keys.current.is_empty());
        let seed = keys.map(Keys::draw).unwrap_or_default();
        let seal = keys.and_then(|keys| Seal::of(keys.wanted(), &seed)).map(Arc::new);
        let sealed = keys.and_then(|keys| keys.seal(base, &seed));
        let codec = Codec { salt: self.shared.salt(), seal: seal.clone() };
        let mut content = state_log::header(codec.salt, sealed.as_ref());
        state_log::push(&mut content, 0, &codec, 0, &Fact::Meta(meta));
        let first_seq = settings.first_seq.max(1);
        let floor = Fact::Floor { first_seq: settings.first_seq, last_seq: first_seq - 1, last_time_ns: 0 };
        state_log::push(&mut content, 0, &codec, 1, &floor);
        let slot = Slot::new(&home, FileName::State(1));
        let size = content.len() as u64;
        let create = Op::Create { slot: slot.clone(), content: content.into() };
        let job = Job {
            home: home.clone(),
            ops: vec![create],
            written: Arc::default(),
            number: 0,
            floor: Floor { generation: 1, number: 2, last_seq: first_seq - 1, last_time_ns: 0 },
            waits: true,
            gone: false,
            erases: false,
            done: None,
        };
        self.shared.writer.commit(job).wait_blocking()?;
        let log = StateLog {
            slot,
            generation: 1,
            codec,
            size,
            next_number: 2,
            short_size: size,
            outdated: false,
            open: Vec::new(),
        };
        let mut store = FileStore::new(self.shared.clone(), home, *settings, log);
        (store.seed, store.seal) = (seed, seal);
        store.meta = meta.to_vec().into();
        Ok(store)
    }
}
