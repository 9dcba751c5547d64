//! Reads single messages for the API (JS-223).

use super::Stream;
use crate::filter::Filter;
use crate::store::{Message, StoreError};
use crate::wire::stream::null_as_default;
use crate::wire::{ApiError, Time, error};
use serde::{Deserialize, Serialize};

/// Which message, or, for direct gets, which ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetRequest {
    pub seq: u64,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub batch: i64,
    pub max_bytes: i64,
    pub start_time: Option<Time>,
    #[serde(deserialize_with = "null_as_default")]
    pub multi_last: Vec<String>,
    pub up_to_seq: u64,
    pub up_to_time: Option<Time>,
    pub no_hdr: bool,
}

impl GetRequest {
    /// Whether it says which message at all.
    pub fn is_addressed(&self) -> bool {
        self.seq > 0
            || !self.last_by_subj.is_empty()
            || !self.next_by_subj.is_empty()
            || self.start_time.is_some()
    }

    fn has_conflict(&self) -> bool {
        self.seq > 0 && (!self.last_by_subj.is_empty() || self.start_time.is_some())
            || !self.last_by_subj.is_empty() && (self.start_time.is_some() || !self.next_by_subj.is_empty())
    }
}

impl Stream {
    /// `STREAM.MSG.GET`.
    pub fn get_message(&mut self, request: &GetRequest) -> Result<Message, ApiError> {
        let batched = request.batch > 0 || request.max_bytes > 0;
        if batched || !request.is_addressed() || request.has_conflict() {
            return Err(error::BAD_REQUEST);
        }
        self.find(request).ok().flatten().ok_or(error::NO_MESSAGE_FOUND)
    }

    /// The one message that a request without conflicts means.
    pub(super) fn find(&mut self, request: &GetRequest) -> Result<Option<Message>, StoreError> {
        if !request.last_by_subj.is_empty() {
            return self.store.last(&Filter::new([&request.last_by_subj]), u64::MAX);
        }
        let from = match request.start_time {
            Some(time) => self.store.seq_from_time(time.0)?,
            None => request.seq,
        };
        if !request.next_by_subj.is_empty() {
            return self.store.next(&Filter::new([&request.next_by_subj]), from);
        }
        match request.start_time {
            Some(_) => self.store.next(&Filter::all(), from),
            None => self.store.load(from),
        }
    }
}
