//! A backup becomes the store of a stream: the archive is read here, the older form by `folder`.
//!
//! Nothing is left of what cannot be restored: a store that is not finished is destroyed, and one that a crash leaves
//! behind says that it is unfinished.

use super::archive::{CONSUMERS, Head, MAGIC, Reader, STATE};
use super::consumers::ConsumerBackup;
use super::s2::{Expander, fill};
use super::{BackupError, folder};
use crate::consumer;
use crate::store::{NewMessage, StoreEngine, StoreError, StoredConsumer, StreamStore};
use crate::stream::{self, Stream};
use crate::wire::{ApiError, ConsumerConfig, StreamConfig, StreamState, Time};
use std::collections::BTreeSet;
use std::io::{Chain, Read};
use std::sync::Arc;

/// Sequences beyond are not those of a stream.
const SEQ_MAX: u64 = 1 << 62;

/// Sees whether a consumer may be, and fills in its defaults.
pub type CheckConsumer = Box<dyn Fn(&mut ConsumerConfig) -> Result<(), ApiError> + Send>;
/// Whether a stream may have so many bytes.
pub type CheckBytes = Box<dyn FnMut(u64) -> Result<(), ApiError> + Send>;

/// What a backup is to become.
pub struct Plan {
    pub engine: Arc<dyn StoreEngine>,
    pub account: String,
    /// Checked already.
    pub config: StreamConfig,
    /// Nanoseconds since 1970.
    pub now_ns: i64,
    pub check_consumer: CheckConsumer,
    pub check_bytes: CheckBytes,
}

/// What became of a backup.
pub struct Restored {
    pub config: StreamConfig,
    pub created_ns: i64,
    pub store: Box<dyn StreamStore>,
    pub consumers: Vec<StoredConsumer>,
}

/// Reads a backup of either form to its end.
pub fn restore(input: impl Read, plan: Plan) -> Result<Restored, BackupError> {
    let mut input = Expander::new(input);
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut input, &mut magic)? {
        return Err(BackupError::Truncated);
    }
    let mut target = Target::new(plan);
    if magic == *MAGIC {
        from_archive(Reader::new(input), &mut target)?;
    } else {
        let input: Chain<_, _> = (&magic[..]).chain(input);
        folder::read(input, &mut target)?;
    }
    target.finish()
}

fn from_archive<R: Read>(mut archive: Reader<R>, target: &mut Target) -> Result<(), BackupError> {
    let head = archive.next_head()?;
    if head.name != STATE.as_bytes() {
        return Err(BackupError::damaged(format_args!("it does not begin with {STATE}")));
    }
    let state = archive.content(&head)?;
    let state: StreamState =
        serde_json::from_slice(&state).map_err(|why| BackupError::damaged(format_args!("{STATE}: {why}")))?;
    target.check_bytes(state.bytes)?;
    target.begin(state.first_seq.max(1), target.plan.now_ns)?;
    for _ in 0..state.consumer_count {
        let head = archive.next_head()?;
        let name = std::str::from_utf8(&head.name).ok().and_then(|name| name.strip_prefix(CONSUMERS));
        let Some(name) = name else {
            let found = String::from_utf8_lossy(&head.name).into_owned();
            return Err(BackupError::damaged(format_args!("{found:?} is where a consumer should be")));
        };
        let content = archive.content(&head)?;
        let consumer: ConsumerBackup = serde_json::from_slice(&content)
            .map_err(|why| BackupError::damaged(format_args!("consumer {name:?}: {why}")))?;
        target.consumer(name, consumer, target.plan.now_ns)?;
    }
    loop {
        let head = archive.next_head()?;
        if head.is_end() {
            break;
        }
        let content = archive.content(&head)?;
        let Head { name: subject, time_ns, seq, headers_len, .. } = head;
        let (headers, payload) = content.split_at(headers_len as usize);
        target.message(
            seq,
            &NewMessage { subject: &subject, headers, payload, time_ns, ..Default::default() },
        )?;
    }
    target.not_before(state.last_ts);
    target.pad(state.last_seq)
}

/// The stream that is being made.
pub(super) struct Target {
    pub plan: Plan,
    created_ns: i64,
    /// Until it is handed on.
    store: Option<Box<dyn StreamStore>>,
    consumers: Vec<StoredConsumer>,
    names: BTreeSet<String>,
    last_time_ns: i64,
}

impl Target {
    fn new(plan: Plan) -> Self {
        let created_ns = plan.now_ns;
        Self { plan, created_ns, store: None, consumers: Vec::new(), names: BTreeSet::new(), last_time_ns: 0 }
    }

    /// Makes the store.
    pub fn begin(&mut self, first_seq: u64, created_ns: i64) -> Result<(), BackupError> {
        sequence(first_seq)?;
        let Plan { engine, account, config, .. } = &self.plan;
        let (mut settings, meta) = Stream::plan_restore(config, created_ns);
        settings.first_seq = first_seq;
        self.created_ns = created_ns;
        self.store = Some(engine.create(account, &config.name, &settings, &meta)?);
        Ok(())
    }

    pub fn store(&mut self) -> Result<&mut dyn StreamStore, BackupError> {
        match &mut self.store {
            Some(store) => Ok(&mut **store),
            None => Err(BackupError::damaged("it does not begin with the metadata of the stream")),
        }
    }

    pub fn check_bytes(&mut self, bytes: u64) -> Result<(), BackupError> {
        Ok((self.plan.check_bytes)(bytes)?)
    }

    /// Adds a message, and before it what sequences are left out.
    pub fn message(&mut self, seq: u64, message: &NewMessage<'_>) -> Result<(), BackupError> {
        let wrong = |why: &str| Err(BackupError::damaged(format_args!("message {seq}: {why}")));
        if !stream::is_subject(message.subject) {
            return wrong("its subject is not valid");
        }
        let headers = message.headers;
        let are_headers = headers.starts_with(b"NATS/1.0") && headers.ends_with(b"\r\n\r\n");
        if !headers.is_empty() && !are_headers {
            return wrong("its headers are not valid");
        }
        let len = headers.len() + message.payload.len();
        if usize::try_from(self.plan.config.max_msg_size).is_ok_and(|max| len > max) {
            return wrong("it is larger than the stream allows");
        }
        let last_seq = self.store()?.state().last_seq;
        if seq <= last_seq {
            return wrong("it is not after the one before it");
        }
        self.pad(seq - 1)?;
        self.last_time_ns = self.last_time_ns.max(message.time_ns);
        let flags = stream::restored_flags(&self.plan.config, headers);
        let message = NewMessage { time_ns: self.last_time_ns, flags, ..*message };
        let bytes = {
            let store = self.store()?;
            store.append(&message)?;
            store.state().bytes
        };
        self.check_bytes(bytes)
    }

    /// The time of the last message, which may be gone.
    fn not_before(&mut self, time: Time) {
        self.last_time_ns = self.last_time_ns.max(time.0);
    }

    /// Leaves out all sequences up to this one that are not there.
    pub fn pad(&mut self, last_seq: u64) -> Result<(), BackupError> {
        sequence(last_seq)?;
        let time_ns = self.last_time_ns;
        let store = self.store()?;
        let missing = last_seq.saturating_sub(store.state().last_seq);
        if missing > 0 {
            store.skip(missing, time_ns)?;
        }
        Ok(())
    }

    /// Adds a consumer.
    pub fn consumer(
        &mut self,
        name: &str,
        backup: ConsumerBackup,
        created_ns: i64,
    ) -> Result<(), BackupError> {
        let ConsumerBackup { mut config, state } = backup;
        if config.name.is_empty() {
            name.clone_into(&mut config.name);
        }
        if config.name != name || !self.names.insert(name.to_owned()) {
            return Err(BackupError::damaged(format_args!(
                "consumer {name:?} has another name inside, or is there twice"
            )));
        }
        sequence(state.delivered.stream_seq.max(state.ack_floor.stream_seq))?;
        (self.plan.check_consumer)(&mut config)?;
        let stored = consumer::stored(&config, created_ns, &state);
        if !config.mem_storage {
            let store = self.store()?;
            store.put_consumer(name, &stored.meta)?;
            store.put_consumer_state(name, &stored.state)?;
        }
        self.consumers.push(stored);
        Ok(())
    }

    fn finish(mut self) -> Result<Restored, BackupError> {
        let Some(store) = self.store.take() else { return Err(BackupError::Store(StoreError::Closed)) };
        Ok(Restored {
            config: self.plan.config.clone(),
            created_ns: self.created_ns,
            store,
            consumers: std::mem::take(&mut self.consumers),
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(mut store) = self.store.take() {
            // What stays says that it is unfinished, and goes with the next start.
            let _ = store.destroy();
        }
    }
}

fn sequence(seq: u64) -> Result<(), BackupError> {
    match seq < SEQ_MAX {
        true => Ok(()),
        false => Err(BackupError::damaged(format_args!("the sequence {seq} is too large"))),
    }
}
