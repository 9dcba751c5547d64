//! A stream out of a backup, and what a backup needs of a stream (JS-260 to JS-266).

use super::headers::{self, SCHEDULE, STREAM_SOURCE, TTL};
use super::origin::Origins;
use super::ttl::Ttl;
use super::{Call, Home, Stream, meta, rules};
use crate::backup::consumers::ConsumerBackup;
use crate::backup::restore::Restored;
use crate::store::{Flags, Message, StoreError, StoreSettings, StoredConsumer, StreamStore};
use crate::wire::{ApiError, StreamConfig, error};

/// A restored store that no stream could be made of.
pub struct Unopened {
    pub why: ApiError,
    pub store: Box<dyn StreamStore>,
}

impl Stream {
    /// As [`Stream::plan`], for a stream that is being restored.
    pub fn plan_restore(config: &StreamConfig, created_ns: i64) -> (StoreSettings, Vec<u8>) {
        (rules::store_settings(config), meta::encode_unfinished(config, created_ns))
    }

    /// The stream over a restored store. What its limits do not allow goes. That it is finished becomes durable with
    /// the next commit.
    pub fn restored(restored: Restored, home: &Home, call: &mut Call<'_>) -> Result<Self, Unopened> {
        let Restored { config, created_ns, store, consumers } = restored;
        let parts = rules::Rules::new(&config).and_then(|rules| Ok((rules, Origins::new(&config)?)));
        let parts = match parts {
            Ok(parts) => parts,
            Err(why) => return Err(Unopened { why, store }),
        };
        let mut stream = Self::open(parts, config, created_ns, home, store, call);
        match stream.take_over(consumers, call) {
            Ok(()) => Ok(stream),
            Err(why) => Err(Unopened { why, store: stream.into_store() }),
        }
    }

    fn take_over(&mut self, consumers: Vec<StoredConsumer>, call: &mut Call<'_>) -> Result<(), ApiError> {
        let failed = |why: StoreError| error::STREAM_RESTORE.with(why);
        self.changed = true;
        self.reread(call).map_err(failed)?;
        // A backup has no positions in origins: the messages tell them.
        self.reread_positions(&[]).map_err(failed)?;
        for stored in consumers {
            let mut ctx = call.context(&mut *self.store, &self.facts);
            self.consumers.recover(stored, &mut ctx)?;
        }
        self.apply_limits(call).map_err(failed)?;
        self.store.put_meta(&meta::encode(&self.config, self.created_ns)).map_err(failed)
    }

    /// The consumers that clients see.
    pub fn backup_consumers(&self) -> Vec<ConsumerBackup> {
        self.consumers
            .iter()
            .filter(|consumer| !consumer.config().direct)
            .map(|consumer| consumer.backup())
            .collect()
    }

    /// Messages of about so many bytes, from one sequence to another one.
    pub fn backup_messages(
        &mut self,
        mut from: u64,
        up_to: u64,
        bytes_max: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(message) = self.store.next(&crate::filter::Filter::all(), from)? else { break };
            if message.seq > up_to {
                break;
            }
            from = message.seq + 1;
            bytes += message.subject.len() + message.headers.len() + message.payload.len() + 64;
            messages.push(message);
        }
        Ok(messages)
    }
}

/// What a restart has to know of a message.
pub fn restored_flags(config: &StreamConfig, block: &[u8]) -> Flags {
    let mut flags = Flags::default();
    if headers::value(block, TTL).and_then(Ttl::parse).is_some() {
        flags = flags.union(Flags::TTL);
    }
    if config.allow_msg_schedules && headers::value(block, SCHEDULE).is_some() {
        flags = flags.union(Flags::SCHEDULE);
    }
    if headers::value(block, STREAM_SOURCE).is_some() {
        flags = flags.union(Flags::SOURCED);
    }
    flags
}

/// Whether a message can have it.
pub fn is_subject(subject: &[u8]) -> bool {
    let bad = |byte: &u8| matches!(byte, 0..=b' ' | 0x7f);
    !subject.is_empty()
        && !subject.iter().any(bad)
        && subject
            .split(|&byte| byte == b'.')
            .all(|token| !token.is_empty() && token != b"*" && token != b">")
}
