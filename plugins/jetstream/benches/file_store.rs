//! The file store on a disk in memory, so that what it does itself is what is measured: append with commits, reading
//! on, recovery, and the next message that a filter matches.
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use natsd_jetstream::config::Sync;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::file::{FileEngine, Options};
use natsd_jetstream::store::vfs::{Vfs, VfsFile};
use natsd_jetstream::store::{NewMessage, StoreEngine, StoreSettings, StreamStore};
use natsd_plugin_api::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

const MESSAGES: u64 = 100_000;

#[derive(Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    dirs: Mutex<BTreeSet<String>>,
}

#[derive(Default)]
struct MemoryFile(Mutex<Vec<u8>>);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing() -> Error {
    std::io::Error::from(std::io::ErrorKind::NotFound).into()
}

impl Memory {
    /// The same content, not shared.
    fn copy(&self) -> Self {
        let copy = |file: &MemoryFile| Arc::new(MemoryFile(Mutex::new(lock(&file.0).clone())));
        let files = lock(&self.files).iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        Self { files: Mutex::new(files), dirs: Mutex::new(lock(&self.dirs).clone()) }
    }
}

impl Vfs for Memory {
    fn open(&self, path: &str, create: bool) -> Result<Arc<dyn VfsFile>> {
        let mut files = lock(&self.files);
        match files.get(path) {
            Some(file) => Ok(file.clone()),
            None if create => Ok(files.entry(path.to_owned()).or_default().clone()),
            None => Err(missing()),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        lock(&self.files).get(path).map(|file| lock(&file.0).clone()).ok_or_else(missing)
    }

    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        lock(&self.files).insert(path.to_owned(), Arc::new(MemoryFile(Mutex::new(content.to_vec()))));
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let start = format!("{path}/");
        let (files, dirs) = (lock(&self.files), lock(&self.dirs));
        let below = files.keys().chain(dirs.iter()).filter_map(|name| name.strip_prefix(&start));
        Ok(below.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn create_dir_all(&self, path: &str) -> Result<()> {
        let mut path = path;
        while let Some((parent, _)) = path.rsplit_once('/') {
            lock(&self.dirs).insert(path.to_owned());
            path = parent;
        }
        Ok(())
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        lock(&self.files).remove(path).map(drop).ok_or_else(missing)
    }

    fn remove_dir_all(&self, path: &str) -> Result<()> {
        let start = format!("{path}/");
        lock(&self.files).retain(|name, _| !name.starts_with(&start));
        lock(&self.dirs).retain(|name| name != path && !name.starts_with(&start));
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> Result<()> {
        Err(Error::unsupported("nothing is renamed here"))
    }

    fn sync_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

impl VfsFile for MemoryFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let content = lock(&self.0);
        let rest = content.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut content = lock(&self.0);
        let end = at as usize + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        lock(&self.0).resize(size_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn engine(disk: Memory, compress: bool) -> (FileEngine, Option<Box<dyn StreamStore>>) {
    let options = Options { sync: Sync::Always, random: 7, keys: None };
    let engine = FileEngine::open(Arc::new(disk), "store/js", options, None).unwrap();
    let settings = StoreSettings { compress, ..StoreSettings::default() };
    let store = engine.create("A", "S", &settings, b"meta").ok();
    (engine, store)
}

/// `batch` messages a commit.
fn fill(store: &mut dyn StreamStore, messages: u64, batch: u64) {
    let payload = [b'x'; 128];
    for n in 0..messages {
        let subject = format!("bench.{}", n % 1000);
        let message = NewMessage {
            subject: subject.as_bytes(),
            payload: &payload,
            time_ns: n as i64 * 1000,
            ..NewMessage::default()
        };
        store.append(&message).unwrap();
        if n % batch == 0 {
            drop(store.commit());
        }
    }
    drop(store.commit());
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for (name, batch, compress) in
        [("one a commit", 1, false), ("100", 100, false), ("100, compressed", 100, true)]
    {
        group.throughput(Throughput::Elements(10_000));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || engine(Memory::default(), compress).1.unwrap(),
                |mut store| {
                    fill(&mut *store, 10_000, batch);
                    store
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let mut store = engine(Memory::default(), false).1.unwrap();
    fill(&mut *store, MESSAGES, 100);
    let mut seq = 0;
    group.bench_function("the next message", |bencher| {
        bencher.iter(|| {
            seq = seq % MESSAGES + 1;
            store.load(seq).unwrap().unwrap()
        });
    });
    let frequent = Filter::new(["bench.*"]);
    let rare = Filter::new(["bench.77"]);
    for (name, filter) in
        [("next of a filter that all match", &frequent), ("next of one subject in 1000", &rare)]
    {
        let mut from = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = store.next(filter, from).unwrap();
                from = found.as_ref().map_or(0, |message| message.seq + 1);
                found
            });
        });
    }
    group.finish();
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery");
    group.throughput(Throughput::Elements(MESSAGES)).sample_size(10);
    let disk = Arc::new(Memory::default());
    let options = Options { sync: Sync::Always, random: 7, keys: None };
    let engine = FileEngine::open(disk.clone(), "store/js", options.clone(), None).unwrap();
    let mut store = engine.create("A", "S", &StoreSettings::default(), b"meta").unwrap();
    fill(&mut *store, MESSAGES, 100);
    let killed = disk.copy();
    store.close().unwrap();
    engine.close().unwrap();
    for (name, disk) in [("after a close", &*disk), ("after a kill", &killed)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Arc::new(disk.copy()),
                |disk| {
                    let engine = FileEngine::open(disk, "store/js", options.clone(), None).unwrap();
                    engine.recover().unwrap()
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, append, read, recovery);
criterion_main!(benches);
