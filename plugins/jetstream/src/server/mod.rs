//! The plugin at work: its accounts, their streams, each with a task of its own, and the API's queue.
//!
//! Reading order: `account` (how messages find their stream), `inbox`, `worker` (the task of a stream), `queue` and
//! `handlers` (the API), `backup`.

pub mod account;
mod backup;
mod commits;
mod engines;
mod handlers;
pub mod inbox;
mod mail;
pub mod queue;
mod reload;
mod report;
mod requestor;
mod streams;
mod task;
mod turns;
mod usage;
pub mod worker;

use crate::config::Config;
use crate::store::StoreEngine;
use crate::store::file::{FileEngine, Keys, Options, Threads};
use crate::store::memory::MemoryEngine;
use crate::stream::BatchLimits;
use account::Account;
use engines::Engines;
use mail::Mail;
use natsd_plugin_api::{Error, Host, Result, ServerIdentity, Task, tracing};
use parking_lot::{Mutex, RwLock};
use queue::{Next, Queue};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use turns::Turns;
use usage::Usage;

/// How long the end of the server waits for what clients are told at most.
const GOODBYE_NS: u64 = 100_000_000;
/// Answers to requests that are being worked on at once.
const API_TASKS: usize = 4;

/// Everything that runs.
pub struct Server {
    pub host: Host,
    pub queue: Queue,
    pub identity: ServerIdentity,
    config: RwLock<Arc<Config>>,
    engines: OnceLock<Engines>,
    batches: Arc<BatchLimits>,
    turns: Arc<Turns>,
    mail: Arc<Mail>,
    usage: Arc<Usage>,
    accounts: RwLock<BTreeMap<String, Arc<Account>>>,
    tasks: Mutex<Vec<Task<()>>>,
    /// Of the machine, if it says.
    memory_bytes: Option<u64>,
    /// Where streams are kept, at the start.
    free_bytes: Option<u64>,
    /// Streams that are made, found or removed at once (`max_concurrent_io`).
    disk_turns: tokio::sync::Semaphore,
}

impl Server {
    pub fn new(host: Host, config: Arc<Config>) -> Result<Arc<Self>> {
        let identity = host.identity()?;
        Ok(Arc::new(Self {
            memory_bytes: memory_bytes(&host),
            free_bytes: free_bytes(&host, &config.store_dir(crate::TEMPORARY)),
            disk_turns: tokio::sync::Semaphore::new(config.queues.concurrent_io_max),
            queue: Queue::new(config.queues.requests_max, config.queues.info_requests_max),
            mail: Mail::new(host.clone()),
            turns: Arc::default(),
            host,
            identity,
            config: RwLock::new(config),
            engines: OnceLock::new(),
            batches: Arc::default(),
            usage: Usage::of_server(),
            accounts: RwLock::default(),
            tasks: Mutex::default(),
        }))
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    pub fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.accounts.read().get(name).cloned()
    }

    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.read().values().cloned().collect()
    }

    /// Memory and file bytes that the streams of all accounts have reserved.
    pub fn reserved(&self) -> (i64, i64) {
        self.accounts().iter().fold((0, 0), |(memory, file), account| {
            let (of_memory, of_file) = account.assets.read().reserved_on_server(None);
            (memory + of_memory, file + of_file)
        })
    }

    /// Work that waits for the disk, when it is its turn.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        // It is never closed; without a turn the work is done all the same.
        let _turn = self.disk_turns.acquire().await.ok();
        self.host.blocking(work).await
    }

    /// What memory streams may hold together.
    pub fn memory_bytes_max(&self) -> i64 {
        self.config().memory_bytes_max(self.memory_bytes)
    }

    /// What may be reserved for file streams (JS-292).
    pub fn storage_bytes_max(&self) -> i64 {
        self.config().storage_bytes_max(self.free_bytes)
    }

    /// What is lost, though all is well now: worth knowing to whoever looks at the health.
    pub fn damage(&self) -> String {
        self.engines.get().map(Engines::damage).unwrap_or_default()
    }

    /// What is wrong, for the health report; empty when nothing is.
    pub fn trouble(&self) -> String {
        let mut trouble = self.engines.get().map(Engines::trouble).unwrap_or_default();
        for account in self.accounts() {
            for stream in account.streams.read().values().filter(|stream| stream.has_failed()) {
                if !trouble.is_empty() {
                    trouble += "; ";
                }
                trouble += &format!("the store of stream '{} > {}' failed", account.name, stream.name);
            }
        }
        trouble
    }

    /// Opens the store, brings back what is in it, and takes requests.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        let config = self.config();
        let engine = self.open_engine(&config).await?;
        let memory = Arc::new(MemoryEngine::default());
        let engines = Engines::gather(&self.host, &config, engine, memory)?;
        self.turns.tell(engines.lasting().map(|(_, engine)| engine.clone()));
        if self.engines.set(engines).is_err() {
            return Err(Error::other("JetStream has been started before"));
        }
        self.limit(&config);
        for name in self.host.accounts()? {
            self.add_account(&name);
        }
        self.recover_all().await?;
        for account in self.accounts() {
            account.open(&self.host, &Arc::downgrade(self), &config.domain)?;
        }
        // What was asked of origins before nobody heard.
        self.accounts().iter().for_each(|account| account.retry_origins(None));
        let mut tasks = self.tasks.lock();
        for _ in 0..API_TASKS {
            let server = Arc::downgrade(self);
            tasks.push(self.host.spawn("api", async move {
                // The server lives until it is stopped, which ends this task.
                while let Some(server) = server.upgrade() {
                    match server.queue.next().await {
                        Next::Handle(request) => handlers::handle(&server, &request).await,
                        Next::Refuse { dropped, requests } => handlers::refuse(&server, dropped, &requests),
                    }
                }
            }));
        }
        Ok(())
    }

    async fn open_engine(&self, config: &Config) -> Result<Arc<dyn StoreEngine>> {
        let (host, config, mail) = (self.host.clone(), config.clone(), self.mail.clone());
        let opened = self.host.blocking(move || {
            let spawner = host.clone();
            let spawn = move |job: Box<dyn FnOnce() + Send>| {
                let host = spawner.clone();
                drop(spawner.spawn("log", async move { host.blocking(job).await }));
            };
            let clock = host.clone();
            let threads = Threads {
                spawn: &spawn,
                clock: Arc::new(move || clock.monotonic_ns()),
                settled: Arc::new(move || mail.send()),
            };
            let entropy = host.clone();
            let keys = config.encryption.as_ref().map(|encryption| Keys {
                current: encryption.key.clone(),
                previous: encryption.previous_key.clone(),
                cipher: encryption.cipher,
                entropy: Arc::new(move |buffer| entropy.random(buffer)),
            });
            let options = Options { sync: config.sync, random: host.random_u64(), keys };
            let vfs = Arc::new(host.files());
            FileEngine::open(vfs, &config.store_dir(crate::TEMPORARY), options, Some(threads))
        });
        let engine = opened.await?.map_err(|error| Error::other(error).context("Can't start JetStream"))?;
        Ok(Arc::new(engine))
    }

    /// Clients that wait for messages learn that none come while they can still be told (JC-137). Blocks for no longer
    /// than that takes, and at most for [`GOODBYE_NS`].
    pub fn end_pulls(&self) {
        let (sent, is_sent) = mpsc::channel();
        for account in self.accounts() {
            for stream in account.streams.read().values() {
                let sent = sent.clone();
                if stream.gauges.consumers.load(Relaxed) > 0 {
                    stream.inbox.command(move |worker| worker.end_pulls(sent));
                }
            }
        }
        drop(sent);
        let until_ns = self.host.monotonic_ns() + GOODBYE_NS;
        let left = || Duration::from_nanos(until_ns.saturating_sub(self.host.monotonic_ns()));
        // Ends when each has told it, or will not.
        while is_sent.recv_timeout(left()).is_ok() {}
    }

    /// Ends every stream's task, tells waiting clients, and closes the store.
    pub async fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        let accounts = self.accounts();
        accounts.iter().for_each(|account| account.close());
        let mut stores = Vec::new();
        for account in accounts {
            stores.extend(account.parked.lock().drain(..).filter_map(|stored| stored.store.ok()));
            let streams: Vec<_> = account.streams.read().values().cloned().collect();
            for stream in streams {
                stores.extend(stream.stop("Server Shutdown").await);
            }
            account.streams.write().clear();
        }
        let Some(engines) = self.engines.get() else { return };
        let engines: Vec<_> = engines.lasting().map(|(_, engine)| engine.clone()).collect();
        let closing = self.host.blocking(move || {
            for mut store in stores {
                if let Err(error) = store.close() {
                    tracing::error!("JetStream: a stream was not closed well: {error}");
                }
            }
            // All are closed, whatever one says.
            engines.iter().map(|engine| engine.close()).fold(Ok(()), Result::and)
        });
        match closing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("JetStream's store was not closed well: {error}"),
            Err(error) => tracing::error!("JetStream's store was not closed: {error}"),
        }
    }
}

/// Of the file system that a folder is on, or will be.
fn free_bytes(host: &Host, folder: &str) -> Option<u64> {
    let mut known = Path::new(folder).ancestors().filter_map(Path::to_str).map(|path| match path {
        "" => ".",
        path => path,
    });
    known.find_map(|path| host.files().free_bytes(path).ok())
}

/// As Linux tells it.
fn memory_bytes(host: &Host) -> Option<u64> {
    let text = host.files().read_text("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
