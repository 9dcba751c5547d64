//! Streams come and go: made by a request or found in the store, started, deleted.

use super::Server;
use super::account::{Account, StreamHandle};
use super::engines::Engines;
use super::inbox::{Inbox, Room};
use super::task;
use super::usage::Share;
use super::worker::Worker;
use crate::api::level;
use crate::api::validate::request::{free, restore};
use crate::backup::restore::Restored;
use crate::context::Interest;
use crate::outbox::Outbox;
use crate::store::{StoreEngine, StoreError, StoredStream, StreamStore};
use crate::stream::{self, Call, Home, InfoOptions, Stream};
use crate::wire::{ApiError, StreamConfig, StreamInfo, error};
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{Host, Result, tracing};
use std::sync::Arc;

/// The service that finds accounts by name.
const ACCOUNTS: &str = "natsd.accounts/1";

/// While a stream is made or recovered nobody is asked for anything.
struct Nobody;

impl Interest for Nobody {
    fn has(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// Calls into a stream outside of its task, before it has one; what it wants to publish is dropped.
fn quietly<R>(host: &Host, work: impl FnOnce(&mut Call<'_>) -> R) -> R {
    let mut out = Outbox::default();
    let mut random = || host.random_u64();
    let now_ns = host.unix_ns() as i64;
    work(&mut Call { now_ns, out: &mut out, interest: &Nobody, random: &mut random })
}

impl Server {
    /// Brings back what is in every store that outlives a restart.
    pub(super) async fn recover_all(self: &Arc<Self>) -> Result<()> {
        let engines = self.engines.get().into_iter().flat_map(Engines::lasting);
        let engines: Vec<_> = engines.map(|(name, engine)| (name.to_owned(), engine.clone())).collect();
        for (name, engine) in engines {
            let recovered = self.recover(engine).await;
            recovered.map_err(|error| error.context(format_args!("the stream store `{name}`")))?;
        }
        Ok(())
    }

    /// Brings back every stream of a store whose account is there.
    async fn recover(self: &Arc<Self>, engine: Arc<dyn StoreEngine>) -> Result<()> {
        let found = self.on_disk(move || engine.recover()).await?;
        let found = found.map_err(|error| natsd_plugin_api::Error::other(error).context("recovery"))?;
        for stored in found {
            let Some(account) = self.account_of(&stored.account).await else {
                tracing::warn!(
                    "JetStream: the store has stream '{} > {}', but there is no such account: left alone",
                    stored.account,
                    stored.name
                );
                continue;
            };
            if account.is_enabled() {
                self.recover_stream(&account, stored).await?;
            } else {
                tracing::warn!(
                    "JetStream: the store has stream '{} > {}', but its account has no JetStream: left alone",
                    stored.account,
                    stored.name
                );
                account.parked.lock().push(stored);
            }
        }
        Ok(())
    }

    /// An account, asked for of whoever finds accounts when the server has not needed it yet.
    async fn account_of(self: &Arc<Self>, name: &str) -> Option<Arc<Account>> {
        if let Some(known) = self.account(name) {
            return Some(known);
        }
        let accounts = self.host.service(ACCOUNTS).ok()?;
        if let Err(error) = accounts.call("lookup", name.as_bytes().to_vec()).await {
            tracing::debug!("JetStream: account {name}: {error}");
            return None;
        }
        Some(self.account(name).unwrap_or_else(|| self.add_account(name)))
    }

    /// Brings back one stream, or notes why it cannot be.
    pub(super) async fn recover_stream(
        self: &Arc<Self>,
        account: &Arc<Account>,
        stored: StoredStream,
    ) -> Result<()> {
        let (name, meta) = (stored.name, stored.meta);
        if account.streams.read().contains_key(&*name) {
            tracing::error!(
                "JetStream stream '{} > {name}' is in two stores: the second one is left alone",
                account.name
            );
            return Ok(());
        }
        let store = match stored.store {
            Ok(store) => store,
            Err(error) => {
                tracing::error!("JetStream stream '{} > {name}' is left alone: {error}", account.name);
                account.damaged.lock().insert(name, error.to_string());
                return Ok(());
            }
        };
        if stream::is_unfinished(&meta) {
            tracing::warn!("JetStream: the restore of '{} > {name}' was cut short: removed", account.name);
            return self.destroy(store).await;
        }
        let (host, home) = (self.host.clone(), self.home(account));
        let recovered =
            self.on_disk(move || quietly(&host, |call| Stream::recover(&meta, &home, store, call)));
        match recovered.await? {
            Ok(stream) => {
                let state = stream.state();
                tracing::info!(
                    "  Restored {} messages for stream '{} > {name}'",
                    state.messages,
                    account.name
                );
                if let Some(lost) = &state.lost {
                    tracing::warn!(
                        "JetStream stream '{} > {name}' lost {} messages ({} bytes) to damage",
                        account.name,
                        lost.msgs.len(),
                        lost.bytes
                    );
                }
                self.run(account, stream)?;
            }
            Err(error) => {
                tracing::error!("JetStream stream '{} > {name}' is offline: {error}", account.name);
                account.damaged.lock().insert(name, error.to_string());
            }
        }
        Ok(())
    }

    fn home(&self, account: &Account) -> Home {
        Home {
            account: account.name.to_string(),
            domain: self.config().domain.clone(),
            reply_space: self.reply_space(account),
            batches: self.batches.clone(),
            payload_bytes_max: self.identity.extra.get("max_payload").and_then(Value::as_u64).unwrap_or(0),
        }
    }

    /// JC-082: the flag cannot change while the server runs.
    fn reply_space(&self, account: &Account) -> String {
        let flags = self.identity.extra.get("feature_flags");
        if flags.and_then(|flags| flags["js_ack_fc_v2"].as_bool()) != Some(true) {
            return String::new();
        }
        let config = self.config();
        let domain = if config.domain.is_empty() { "_" } else { &config.domain };
        format!("{domain}.{}.", stream::hash(&account.name))
    }

    /// Makes a stream of a checked configuration, and runs it. Answers with what is told of it (JS-064).
    pub(super) async fn create(
        self: &Arc<Self>,
        account: &Arc<Account>,
        config: StreamConfig,
    ) -> Result<StreamInfo, ApiError> {
        let failed = |why: &dyn std::fmt::Display| {
            tracing::error!("JetStream stream '{} > {}': {why}", account.name, config.name);
            error::STREAM_STORE_FAILED.with(why)
        };
        let engine = self.engine_of(&config)?;
        let (host, home, wanted, is_quick) =
            (self.host.clone(), self.home(account), config.clone(), engine.is_quick());
        let make = move || {
            let created_ns = host.unix_ns() as i64;
            let (settings, meta) = Stream::plan(&wanted, created_ns);
            let store = engine
                .create(&home.account, &wanted.name, &settings, &meta)
                .map_err(|why: StoreError| why.to_string())?;
            let stream =
                quietly(&host, |call| Stream::create(wanted.clone(), created_ns, &home, store, call));
            Ok::<_, String>(stream)
        };
        let made = if is_quick { make() } else { self.on_disk(make).await.map_err(|why| failed(&why))? };
        let mut stream = made.map_err(|why| failed(&why))??;
        let info = self.told(&mut stream);
        self.run(account, stream).map_err(|why| failed(&why))?;
        Ok(info)
    }

    /// What is told of a stream before it has its task.
    fn told(&self, stream: &mut Stream) -> StreamInfo {
        let now_ns = self.host.unix_ns() as i64;
        let mut info = stream.info(&InfoOptions::default(), now_ns).info;
        info.domain.clear();
        level::show(&mut info.config.metadata, &self.identity.version);
        info
    }

    /// Whether a stream that is being restored may be there, now that it is complete.
    pub(super) fn has_place(&self, account: &Account, config: &StreamConfig) -> Result<(), ApiError> {
        self.judged(account, |rules| {
            restore(&config.name, config.clone(), rules)?;
            free(config, rules)
        })
    }

    /// Runs a stream that was restored.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        account: &Arc<Account>,
        restored: Restored,
    ) -> Result<StreamInfo, ApiError> {
        let failed = |why: &dyn std::fmt::Display| error::STREAM_RESTORE.with(why);
        let (host, home) = (self.host.clone(), self.home(account));
        let opened =
            self.on_disk(move || quietly(&host, |call| Stream::restored(restored, &home, call))).await;
        let mut stream = match opened.map_err(|why| failed(&why))? {
            Ok(stream) => stream,
            Err(unopened) => {
                self.destroy(unopened.store).await.map_err(|why| failed(&why))?;
                return Err(unopened.why);
            }
        };
        if let Err(why) = stream.commit().wait().await {
            self.destroy(stream.into_store()).await.map_err(|why| failed(&why))?;
            return Err(failed(&why));
        }
        let info = self.told(&mut stream);
        let handle = self.run(account, stream).map_err(|why| failed(&why))?;
        // Who listens already is not told again.
        handle.inbox.interest_changed();
        Ok(info)
    }

    /// Removes what has become nothing; what cannot be removed stays unfinished, and goes with the next start.
    async fn destroy(&self, mut store: Box<dyn StreamStore>) -> Result<()> {
        let destroyed = self.on_disk(move || store.destroy()).await?;
        if let Err(why) = destroyed {
            tracing::error!("JetStream: a stream that was not restored was not removed: {why}");
        }
        Ok(())
    }

    /// Gives a stream its task and its subscriptions.
    pub(super) fn run(&self, account: &Arc<Account>, stream: Stream) -> Result<Arc<StreamHandle>> {
        let queues = self.config().queues.clone();
        let room = Room { messages_max: queues.messages_max, bytes_max: queues.message_bytes_max };
        let (inbox, config) = (Inbox::new(room, &self.turns), stream.config().clone());
        let handle = StreamHandle::new(inbox.clone(), config);
        let share = Share::new(account.usage.clone(), self.usage.clone(), stream.config().storage);
        let (host, name) = (self.host.clone(), account.name.clone());
        let mut worker =
            Worker::new(host, name, inbox.clone(), stream, handle.gauges.clone(), share, self.mail.clone());
        worker.refresh_watches();
        // What was recovered counts before anything comes for it.
        worker.show();
        inbox.come(Box::new(worker));
        let task = self.host.spawn("stream", task::run(inbox));
        handle.started(task);
        handle.listen(&self.host, &account.name)?;
        account.streams.write().insert(handle.name.clone(), handle.clone());
        account.assets.write().insert(handle.config.read().clone());
        Ok(handle)
    }

    /// Ends a stream and removes everything of it.
    pub(super) async fn delete(&self, account: &Account, stream: &Arc<StreamHandle>) -> Result<(), ApiError> {
        account.streams.write().remove(&stream.name);
        account.assets.write().remove(&stream.name);
        stream.inbox.command(|worker: &mut Worker| {
            worker.call(Stream::leave_origins);
            worker.call(Stream::tell_consumers_deleted);
        });
        let store = stream.stop("Consumer Deleted").await;
        let Some(mut store) = store else { return Err(error::STREAM_NOT_FOUND) };
        let destroyed = self.on_disk(move || store.destroy()).await;
        let destroyed = destroyed.map_err(|why| error::STREAM_DELETE.with(why))?;
        destroyed.map_err(|why| error::STREAM_DELETE.with(why))
    }
}

impl StreamHandle {
    /// Ends the task; waiting clients are told `status`. Gives the store back, once.
    pub(super) async fn stop(&self, status: &'static str) -> Option<Box<dyn StreamStore>> {
        self.deafen();
        let task = self.take_task()?;
        self.inbox.command(move |worker: &mut Worker| {
            worker.call(|stream, call| stream.close(status, call));
            worker.end();
        });
        let worker = task.await.ok()??;
        Some(worker.into_store())
    }
}
