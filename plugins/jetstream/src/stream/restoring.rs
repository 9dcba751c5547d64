//! A stream out of a backup, and what a backup needs of a stream (JS-260 to JS-266).

use super::headers::{self, SCHEDULE, TTL};
use super::ttl::Ttl;
use super::{Call, Home, Stream, meta, rules};
use crate::backup::consumers::ConsumerBackup;
use crate::backup::restore::Restored;
use crate::store::{Flags, Message, StoreError, StoreSettings};
use crate::wire::{ApiError, StreamConfig, error};

impl Stream {
    /// As [`Stream::plan`], for a stream that is being restored.
    pub fn plan_restore(config: &StreamConfig, created_ns: i64) -> (StoreSettings, Vec<u8>) {
        (rules::store_settings(config), meta::encode_unfinished(config, created_ns))
    }

    /// The stream over a restored store. What its limits do not allow goes.
    pub fn restored(restored: Restored, home: &Home, call: &mut Call<'_>) -> Result<Self, ApiError> {
        let Restored { config, created_ns, mut store, consumers } = restored;
        let failed = |why: StoreError| error::STREAM_RESTORE.with(why);
        store.put_meta(&meta::encode(&config, created_ns)).map_err(failed)?;
        let mut stream = Self::open(config, created_ns, home, store, call)?;
        stream.changed = true;
        stream.reread(call).map_err(failed)?;
        for stored in consumers {
            let mut ctx = call.context(&mut *stream.store, &stream.facts);
            stream.consumers.recover(stored, &mut ctx)?;
        }
        stream.apply_limits(call).map_err(failed)?;
        Ok(stream)
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
    if config.allow_msg_ttl && headers::value(block, TTL).and_then(Ttl::parse).is_some() {
        flags = flags.union(Flags::TTL);
    }
    if config.allow_msg_schedules && headers::value(block, SCHEDULE).is_some() {
        flags = flags.union(Flags::SCHEDULE);
    }
    flags
}

/// Whether a message can have it.
pub fn is_subject(subject: &[u8]) -> bool {
    let bad = |byte: &u8| matches!(byte, 0..=b' ' | 0x7f);
    !subject.is_empty()
        && !subject.iter().any(bad)
        && subject.split(|&byte| byte == b'.').all(|token| !token.is_empty() && token != b"*" && token != b">")
}
