//! A stream: takes messages in, keeps what its limits allow, hands them to its consumers. A state machine without
//! I/O: time, random numbers and interest come with each [`Call`], answers go into its outbox.
//!
//! Reading order: `publish` (the hot path), `ingest` (storing), `limits` and `expiry` (removing), `get`,
//! `erase`, `consumers`.

mod answer;
mod batch;
mod call;
mod checks;
mod consumers;
mod counter;
mod dedup;
mod direct;
mod dispatch;
mod erase;
mod expiry;
mod get;
pub mod headers;
mod info;
mod ingest;
mod limits;
mod meta;
mod origin;
mod publish;
mod reading;
mod republish;
mod restoring;
mod rules;
mod schedule;
mod traced;
mod ttl;

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;

pub use batch::BatchLimits;
pub use call::Call;
pub use consumers::Consumers;
pub use get::GetRequest;
pub use info::{Info, InfoOptions};
pub use meta::is_unfinished;
pub use origin::hash;
pub use publish::Inbound;
pub use restoring::{is_subject, restored_flags};

use crate::context::StreamFacts;
use crate::store::{Commit, Loaded, Sequel, StoreError, StoreSettings, StreamStore};
use crate::wire::{ApiError, Retention, StreamConfig, error};
use answer::Answers;
use batch::Batches;
use dedup::Dedup;
use expiry::Expiry;
use origin::{Origins, POSITIONS_RECORD};
use rules::Rules;
use std::sync::Arc;
use ttl::Deadlines;

/// One stream with its messages and its consumers.
pub struct Stream {
    config: StreamConfig,
    created_ns: i64,
    facts: StreamFacts,
    /// Of the server.
    payload_bytes_max: u64,
    rules: Rules,
    answers: Answers,
    store: Box<dyn StreamStore>,
    consumers: Consumers,
    dedup: Dedup,
    expiry: Expiry,
    schedules: Deadlines,
    batches: Batches,
    origins: Origins,
    /// Of the last message; empty when it had none.
    last_msg_id: Vec<u8>,
    /// Times of messages never go back.
    last_time_ns: i64,
    /// What the account or the server leaves it.
    room: Option<Room>,
    /// Whether something changed since the last commit.
    changed: bool,
    /// Kept for their capacity.
    text: Vec<u8>,
    acked: Vec<u64>,
    loaded: Loaded,
}

/// Where a stream lives.
#[derive(Clone, Debug, Default)]
pub struct Home {
    pub account: String,
    /// Empty: none.
    pub domain: String,
    /// As in [`StreamFacts`].
    pub reply_space: String,
    pub batches: Arc<BatchLimits>,
    /// `max_payload` of the server.
    pub payload_bytes_max: u64,
}

/// The space for a stream by limits that it shares with others (JS-146).
#[derive(Clone, Debug)]
pub struct Room {
    /// With more than that in the stream, publishers are refused.
    pub bytes_max: u64,
    pub why: ApiError,
}

/// The largest message that there can be.
fn message_bytes_max(config: &StreamConfig, payload_bytes_max: u64) -> u64 {
    u64::try_from(config.max_msg_size).ok().filter(|max| *max > 0).unwrap_or(payload_bytes_max)
}

/// Making, finding and changing a stream.
impl Stream {
    /// What the store of a stream is told, and the metadata that it is made with.
    pub fn plan(config: &StreamConfig, created_ns: i64) -> (StoreSettings, Vec<u8>) {
        (rules::store_settings(config), meta::encode(config, created_ns))
    }

    /// A new stream over the empty store that was made as [`Stream::plan`] says.
    pub fn create(
        config: StreamConfig,
        created_ns: i64,
        home: &Home,
        store: Box<dyn StreamStore>,
        call: &mut Call<'_>,
    ) -> Result<Self, ApiError> {
        let parts = (Rules::new(&config)?, Origins::new(&config)?);
        Ok(Self::open(parts, config, created_ns, home, store, call))
    }

    /// A stream that was there: its metadata and its store as they were found.
    pub fn recover(
        meta: &[u8],
        home: &Home,
        mut store: Box<dyn StreamStore>,
        call: &mut Call<'_>,
    ) -> Result<Self, ApiError> {
        let (config, created_ns) =
            meta::decode(meta).map_err(|why| error::STREAM_OFFLINE_REASON.with(why))?;
        let parts = (Rules::new(&config)?, Origins::new(&config)?);
        store
            .configure(&rules::store_settings(&config))
            .map_err(|why| error::STREAM_OFFLINE_REASON.with(why))?;
        let mut stream = Self::open(parts, config, created_ns, home, store, call);
        stream.reread(call).map_err(|why| error::STREAM_OFFLINE_REASON.with(why))?;
        let mut positions = bytes::Bytes::new();
        for stored in stream.store.take_consumers() {
            if stored.name == POSITIONS_RECORD {
                positions = stored.state;
                continue;
            }
            let mut ctx = call.context(&mut *stream.store, &stream.facts);
            stream.consumers.recover(stored, &mut ctx)?;
        }
        stream.reread_positions(&positions).map_err(|why| error::STREAM_OFFLINE_REASON.with(why))?;
        Ok(stream)
    }

    fn open(
        (rules, origins): (Rules, Origins),
        config: StreamConfig,
        created_ns: i64,
        home: &Home,
        store: Box<dyn StreamStore>,
        call: &mut Call<'_>,
    ) -> Self {
        let facts = StreamFacts {
            account: home.account.clone(),
            name: config.name.clone(),
            domain: home.domain.clone(),
            reply_space: home.reply_space.clone(),
            retention: config.retention,
            storage: config.storage,
            message_bytes_max: message_bytes_max(&config, home.payload_bytes_max),
        };
        Self {
            rules,
            answers: Answers::new(&facts),
            dedup: Dedup::new(config.duplicate_window, (call.random)()),
            expiry: Expiry::default(),
            schedules: Deadlines::default(),
            batches: Batches::new(home.batches.clone()),
            origins,
            consumers: Consumers::default(),
            last_msg_id: Vec::new(),
            last_time_ns: store.state().last_time_ns,
            room: None,
            changed: true,
            text: Vec::new(),
            acked: Vec::new(),
            loaded: Loaded::default(),
            config,
            created_ns,
            payload_bytes_max: home.payload_bytes_max,
            facts,
            store,
        }
    }

    /// Takes over a configuration that `api` found to be allowed as an update. Tighter limits apply at once
    /// (JS-118).
    pub fn update(&mut self, config: StreamConfig, call: &mut Call<'_>) -> Result<(), ApiError> {
        let rules = Rules::new(&config)?;
        let failed = |why: StoreError| error::STREAM_UPDATE.with(why);
        self.store.put_meta(&meta::encode(&config, self.created_ns)).map_err(failed)?;
        self.store.configure(&rules::store_settings(&config)).map_err(failed)?;
        let before = std::mem::replace(&mut self.config, config);
        self.rules = rules;
        self.configure_origins(call)?;
        self.changed = true;
        self.facts.retention = self.config.retention;
        self.facts.message_bytes_max = message_bytes_max(&self.config, self.payload_bytes_max);
        self.dedup.set_window(self.config.duplicate_window);
        self.drop_disallowed_batches();
        self.apply_limits(call).map_err(failed)?;
        if before.max_age != self.config.max_age || before.allow_msg_ttl != self.config.allow_msg_ttl {
            self.rebuild_deadlines().map_err(failed)?;
        }
        if before.retention != self.config.retention && self.config.retention == Retention::Interest {
            let mut ctx = call.context(&mut *self.store, &self.facts);
            self.consumers.sweep(&crate::filter::Filter::all(), &mut ctx).map_err(failed)?;
        }
        Ok(())
    }

    /// `None`: no limit.
    pub fn set_room(&mut self, room: Option<Room>) {
        self.room = room;
    }

    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn created_ns(&self) -> i64 {
        self.created_ns
    }

    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}

/// The life of the store under it.
impl Stream {
    /// Whether anything changed since the last [`Stream::commit`], answered or not.
    pub fn needs_commit(&self) -> bool {
        self.changed
    }

    pub fn commit(&mut self) -> Commit {
        self.record_positions();
        self.consumers.record(&mut *self.store);
        self.changed = false;
        self.store.commit()
    }

    /// Whether [`Stream::commit_with`] may be used.
    pub fn shares_commits(&mut self) -> bool {
        self.store.shared_commits().is_some()
    }

    /// [`Stream::commit`] together with other streams: `sequel` is told. Whether it was at once.
    pub fn commit_with(&mut self, sequel: Box<dyn Sequel>) -> bool {
        self.record_positions();
        self.consumers.record(&mut *self.store);
        self.changed = false;
        match self.store.shared_commits() {
            Some(store) => store.commit_with(sequel),
            None => {
                sequel.settle(&Err(StoreError::Closed));
                true
            }
        }
    }

    /// For snapshots, and for what only the store knows.
    pub fn store(&mut self) -> &mut dyn StreamStore {
        self.changed = true;
        &mut *self.store
    }

    /// Ends the waiting of clients, with the status that they are told: `Server Shutdown`, `Consumer Deleted` (JC-171).
    pub fn end_pulls(&mut self, status: &str, call: &mut Call<'_>) {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.end_pulls(status, &mut ctx);
    }

    /// [`Stream::end_pulls`], and consumers do no more.
    pub fn close(&mut self, status: &str, call: &mut Call<'_>) {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.close(status, &mut ctx);
        self.changed = true;
    }

    /// The store, to close it or to destroy it where waiting is allowed.
    pub fn into_store(mut self) -> Box<dyn StreamStore> {
        self.record_positions();
        self.consumers.record(&mut *self.store);
        self.store
    }
}
