//! Bodies of requests: which may be empty and which must (JS-003, JS-004), and what they say (JS-005).
//!
//! Each function does the checks that come before a stream is looked up, in the order in which nats-server
//! answers them.

use serde::de::DeserializeOwned;

use super::json::{self, Struct};
use super::{level, shapes};
use crate::filter::is_literal;
use crate::wire::requests::{
    ConsumerCreateRequest, ListRequest, MsgDeleteRequest, MsgGetRequest, PauseRequest, PurgeRequest,
    ResetRequest, RestoreRequest, SnapshotRequest, StreamConfigRequest, StreamInfoRequest, UnpinRequest,
};
use crate::wire::{ApiError, error};

use super::validate::subjects::is_valid_subject;

/// Of a direct get: instead of a JSON error, a status line without `NATS/1.0` (JS-231).
pub type Status = &'static str;

pub const EMPTY_REQUEST: Status = "408 Empty Request";
pub const MALFORMED_REQUEST: Status = "408 Malformed Request";
pub const BAD_REQUEST: Status = "408 Bad Request";
pub const REQUIRED_LEVEL: Status = "412 Required Api Level";

/// What came, and what it may be.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub body: &'a [u8],
    /// The header `Nats-Required-Api-Level`.
    pub required_level: Option<&'a [u8]>,
    /// Whether unknown fields are errors.
    pub is_strict: bool,
    /// Whether the account has JetStream.
    pub is_enabled: bool,
}

impl Input<'_> {
    /// Whatever the body says does not matter: `INFO`, and what only a cluster has.
    pub fn ignored(&self) -> Result<(), ApiError> {
        self.allowed()
    }

    /// `STREAM.DELETE`, `CONSUMER.DELETE`.
    pub fn empty(&self) -> Result<(), ApiError> {
        self.allowed()?;
        self.must_be_empty()
    }

    /// `CONSUMER.INFO`.
    pub fn consumer_info(&self) -> Result<(), ApiError> {
        self.must_be_empty()?;
        self.allowed()
    }

    /// `STREAM.CREATE` and `STREAM.UPDATE`.
    pub fn stream_config(&self) -> Result<StreamConfigRequest, ApiError> {
        self.allowed()?;
        self.strict(&shapes::STREAM_CONFIG_REQUEST)
    }

    pub fn stream_names(&self) -> Result<ListRequest, ApiError> {
        self.paged(&shapes::STREAM_NAMES)
    }

    pub fn stream_list(&self) -> Result<ListRequest, ApiError> {
        self.paged(&shapes::STREAM_LIST)
    }

    /// `CONSUMER.NAMES` and `CONSUMER.LIST`.
    pub fn consumers(&self) -> Result<ListRequest, ApiError> {
        self.paged(&shapes::CONSUMERS)
    }

    pub fn stream_info(&self) -> Result<StreamInfoRequest, ApiError> {
        self.paged(&shapes::STREAM_INFO)
    }

    pub fn purge(&self) -> Result<PurgeRequest, ApiError> {
        let request: PurgeRequest = self.paged(&shapes::STREAM_PURGE)?;
        match request.seq > 0 && request.keep > 0 {
            true => Err(error::BAD_REQUEST),
            false => Ok(request),
        }
    }

    pub fn msg_delete(&self) -> Result<MsgDeleteRequest, ApiError> {
        self.allowed()?;
        self.must_not_be_empty()?;
        self.strict(&shapes::MSG_DELETE)
    }

    /// JS-223
    pub fn msg_get(&self) -> Result<MsgGetRequest, ApiError> {
        self.allowed()?;
        self.must_not_be_empty()?;
        let request: MsgGetRequest = self.strict(&shapes::MSG_GET)?;
        let (by_seq, by_time) = (request.seq > 0, request.start_time.is_some());
        let (last, next) = (!request.last_by_subj.is_empty(), !request.next_by_subj.is_empty());
        let is_batch = request.batch > 0 || request.max_bytes > 0;
        let conflicts = (by_seq && by_time) || (last && (by_seq || by_time || next));
        if is_batch || conflicts || !(by_seq || by_time || last || next) {
            return Err(error::BAD_REQUEST);
        }
        Ok(request)
    }

    /// Before the stream is looked up; the body is read after it, by [`Self::snapshot`].
    pub fn snapshot_allowed(&self) -> Result<(), ApiError> {
        self.allowed()?;
        self.must_not_be_empty()
    }

    pub fn snapshot(&self) -> Result<SnapshotRequest, ApiError> {
        let request: SnapshotRequest = self.strict(&shapes::STREAM_SNAPSHOT)?;
        let subject = &request.deliver_subject;
        match is_valid_subject(subject) && is_literal(subject.as_bytes()) {
            true => Ok(request),
            false => Err(error::SNAPSHOT_DELIVER_SUBJECT_INVALID),
        }
    }

    pub fn restore(&self) -> Result<RestoreRequest, ApiError> {
        self.allowed()?;
        self.must_not_be_empty()?;
        self.strict(&shapes::STREAM_RESTORE)
    }

    pub fn consumer_create(&self) -> Result<ConsumerCreateRequest, ApiError> {
        let request = self.strict(&shapes::CONSUMER_CREATE)?;
        self.allowed()?;
        Ok(request)
    }

    pub fn pause(&self) -> Result<PauseRequest, ApiError> {
        let request = match looks_like_json(self.body) {
            true => self.strict(&shapes::CONSUMER_PAUSE)?,
            false => PauseRequest::default(),
        };
        self.allowed()?;
        Ok(request)
    }

    /// JC-164
    pub fn unpin(&self) -> Result<UnpinRequest, ApiError> {
        level::check_required(self.required_level)?;
        let request: UnpinRequest = self.lenient(&shapes::CONSUMER_UNPIN)?;
        if request.group.is_empty() {
            return Err(error::INVALID_JSON.with("consumer group not specified"));
        }
        if !is_valid_group(&request.group) {
            return Err(error::CONSUMER_INVALID_GROUP_NAME);
        }
        self.enabled()?;
        Ok(request)
    }

    /// JC-173
    pub fn reset(&self) -> Result<ResetRequest, ApiError> {
        level::check_required(self.required_level)?;
        match self.body {
            [] => Ok(ResetRequest::default()),
            _ => self.lenient(&shapes::CONSUMER_RESET),
        }
    }

    /// `DIRECT.GET.<stream>` (JS-233).
    pub fn direct_get(&self) -> Result<MsgGetRequest, Status> {
        level::check_required(self.required_level).map_err(|_| REQUIRED_LEVEL)?;
        if self.body.is_empty() {
            return Err(EMPTY_REQUEST);
        }
        let request = self.direct()?;
        let (by_seq, by_time) = (request.seq > 0, request.start_time.is_some());
        let (last, next) = (!request.last_by_subj.is_empty(), !request.next_by_subj.is_empty());
        let multi = !request.multi_last.is_empty();
        if !(by_seq || by_time || last || next || multi) {
            return Err(EMPTY_REQUEST);
        }
        let last_with_another = last && (by_seq || by_time || next || multi || request.batch > 0);
        let two_ends = request.up_to_seq > 0 && request.up_to_time.is_some();
        match last_with_another || (by_seq && by_time) || (next && multi) || two_ends {
            true => Err(BAD_REQUEST),
            false => Ok(request),
        }
    }

    /// `DIRECT.GET.<stream>.<subject>` (JS-236).
    pub fn direct_get_last(&self, subject: &str) -> Result<MsgGetRequest, Status> {
        level::check_required(self.required_level).map_err(|_| REQUIRED_LEVEL)?;
        let request = match self.body {
            [] => MsgGetRequest::default(),
            _ => self.direct()?,
        };
        let only =
            MsgGetRequest { max_bytes: request.max_bytes, no_hdr: request.no_hdr, ..Default::default() };
        match request == only && !subject.is_empty() {
            true => Ok(MsgGetRequest { last_by_subj: subject.to_owned(), ..request }),
            false => Err(BAD_REQUEST),
        }
    }

    fn direct(&self) -> Result<MsgGetRequest, Status> {
        self.lenient(&shapes::MSG_GET).map_err(|_| MALFORMED_REQUEST)
    }

    fn paged<T: DeserializeOwned + Default>(&self, shape: &'static Struct) -> Result<T, ApiError> {
        self.allowed()?;
        match looks_like_json(self.body) {
            true => self.strict(shape),
            false => Ok(T::default()),
        }
    }

    fn strict<T: DeserializeOwned>(&self, shape: &'static Struct) -> Result<T, ApiError> {
        json::decode(self.body, shape, self.is_strict).map_err(|why| error::INVALID_JSON.with(why))
    }

    /// For those that nats-server reads leniently, whatever `strict` says.
    fn lenient<T: DeserializeOwned>(&self, shape: &'static Struct) -> Result<T, ApiError> {
        json::decode_leniently(self.body, shape).map_err(|why| error::INVALID_JSON.with(why))
    }

    fn allowed(&self) -> Result<(), ApiError> {
        level::check_required(self.required_level)?;
        self.enabled()
    }

    fn enabled(&self) -> Result<(), ApiError> {
        if self.is_enabled { Ok(()) } else { Err(error::NOT_ENABLED_FOR_ACCOUNT) }
    }

    fn must_be_empty(&self) -> Result<(), ApiError> {
        if is_empty(self.body) { Ok(()) } else { Err(error::NOT_EMPTY_REQUEST) }
    }

    fn must_not_be_empty(&self) -> Result<(), ApiError> {
        if is_empty(self.body) { Err(error::BAD_REQUEST) } else { Ok(()) }
    }
}

/// Letters, digits and `-_/=`, at most 16 (JC-046).
pub fn is_valid_group(group: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'=');
    (1..=16).contains(&group.len()) && group.bytes().all(allowed)
}

/// Nothing, or an object without members.
fn is_empty(body: &[u8]) -> bool {
    match body {
        [] | b"{}" => true,
        _ => json::read_one(body)
            .is_ok_and(|node| matches!(node.value, json::Value::Object(fields) if fields.is_empty())),
    }
}

/// Where a body is optional, anything else is not looked at.
fn looks_like_json(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'['))
}

#[cfg(test)]
mod tests;
