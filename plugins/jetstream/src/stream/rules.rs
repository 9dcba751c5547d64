//! A configuration as the hot path needs it: limits without signs, things to compile compiled.

use super::ingest::Record;
use super::republish::Republishing;
use crate::store::StoreSettings;
use crate::transform::{self, Transform};
use crate::wire::stream::{Republish, SubjectTransform};
use crate::wire::{ApiError, Compression, Discard, PersistMode, Retention, Storage, StreamConfig, error};

#[derive(Debug)]
pub struct Rules {
    pub messages_max: u64,
    pub bytes_max: u64,
    pub subject_messages_max: u64,
    /// Of headers and payload.
    pub size_max: usize,
    pub discard_new: bool,
    pub discard_new_per_subject: bool,
    /// 0: none.
    pub age_max_ns: i64,
    /// 0: no markers.
    pub marker_ttl_ns: i64,
    pub on_interest: bool,
    /// Of the subjects that messages are published to.
    pub transform: Option<Transform>,
    pub republishing: Option<Republishing>,
    storage: Storage,
}

impl Rules {
    pub fn new(config: &StreamConfig) -> Result<Self, ApiError> {
        Ok(Self {
            messages_max: limit(config.max_msgs),
            bytes_max: limit(config.max_bytes),
            subject_messages_max: limit(config.max_msgs_per_subject),
            size_max: usize::try_from(config.max_msg_size)
                .ok()
                .filter(|&size| size > 0)
                .unwrap_or(usize::MAX),
            discard_new: config.discard == Discard::New,
            discard_new_per_subject: config.discard_new_per_subject,
            age_max_ns: config.max_age,
            marker_ttl_ns: config.subject_delete_marker_ttl,
            on_interest: config.retention == Retention::Interest,
            transform: transform(config)?,
            republishing: republishing(config)?,
            storage: config.storage,
        })
    }

    /// What a message counts for (JS-132).
    pub fn size_bytes(&self, subject: &[u8], headers: &[u8], payload: &[u8]) -> u64 {
        let content = subject.len() + headers.len() + payload.len();
        let frame = match (self.storage, headers.is_empty()) {
            (Storage::Memory, _) => 16,
            (Storage::File, true) => 30,
            (Storage::File, false) => 34,
        };
        (content + frame) as u64
    }

    pub(super) fn size_bytes_of(&self, record: &Record<'_>) -> u64 {
        self.size_bytes(record.subject, record.headers, record.payload)
    }

    pub fn has_limits(&self) -> bool {
        self.messages_max != u64::MAX || self.bytes_max != u64::MAX
    }
}

pub fn store_settings(config: &StreamConfig) -> StoreSettings {
    StoreSettings {
        first_seq: config.first_seq,
        compress: config.compression == Compression::S2,
        lazy: config.persist_mode == PersistMode::Async,
        size_bytes_max: u64::try_from(config.max_bytes).unwrap_or(0),
        subject_messages_max: u64::try_from(config.max_msgs_per_subject).unwrap_or(0),
    }
}

fn transform(config: &StreamConfig) -> Result<Option<Transform>, ApiError> {
    let Some(SubjectTransform { src, dest }) = &config.subject_transform else { return Ok(None) };
    transform::compile(src, dest).map_err(|why| error::STREAM_TRANSFORM_INVALID_DESTINATION.with(why))
}

fn republishing(config: &StreamConfig) -> Result<Option<Republishing>, ApiError> {
    let Some(Republish { src, dest, headers_only }) = &config.republish else { return Ok(None) };
    let refuse = |why| {
        let text = format!(
            "stream configuration for republish with transform from '{src}' to '{dest}' not valid: {why}"
        );
        error::STREAM_INVALID_CONFIG.with(text)
    };
    let transform = transform::compile(src, dest).map_err(refuse)?;
    Ok(transform.map(|transform| Republishing { transform, headers_only: *headers_only }))
}

/// 0 and below: none.
fn limit(value: i64) -> u64 {
    u64::try_from(value).ok().filter(|&value| value > 0).unwrap_or(u64::MAX)
}
