//! What the headers of a message demand before it is stored, in the reference's order (JS-150 to JS-164).

use super::Stream;
use super::headers::{Block, PublishHeaders, TRACE_DEST, number};
use super::ttl::Ttl;
use crate::filter::{Filter, is_literal};
use crate::store::StoreError;
use crate::wire::{ApiError, error};
use std::borrow::Cow;

/// What a message replaces (JS-159).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    /// Older messages of its subject.
    Subject,
    /// Everything older.
    All,
}

impl Stream {
    /// The checks before the look into the table of ids.
    pub(super) fn check_before(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
    ) -> Result<Option<Ttl>, ApiError> {
        if headers.expected_stream.is_some_and(|expected| expected != self.config.name.as_bytes()) {
            return Err(error::STREAM_NOT_MATCH);
        }
        let ttl = self.check_ttl(headers.ttl)?;
        self.check_subject_seq(subject, headers)?;
        if let Some(expected) = headers.expected_last_seq {
            let last_seq = self.store.state().last_seq;
            if number(expected) != Some(last_seq) {
                return Err(error::STREAM_WRONG_LAST_SEQUENCE.with(last_seq));
            }
        }
        if headers.stream_source.is_some() {
            return Err(error::MESSAGE_SOURCE_HDR_NOT_ALLOWED);
        }
        Ok(ttl)
    }

    /// The checks after it: a duplicate is not held to them.
    pub(super) fn check_after(&self, headers: &PublishHeaders<'_>) -> Result<Option<Rollup>, ApiError> {
        if let Some(expected) = headers.expected_last_msg_id
            && expected != self.last_msg_id
        {
            return Err(error::STREAM_WRONG_LAST_MSG_ID.with(String::from_utf8_lossy(&self.last_msg_id)));
        }
        headers.rollup.map(|value| self.rollup(value)).transpose()
    }

    pub(super) fn check_ttl(&self, value: Option<&[u8]>) -> Result<Option<Ttl>, ApiError> {
        let Some(value) = value else { return Ok(None) };
        let ttl = Ttl::parse(value).ok_or(error::MESSAGE_TTL_INVALID)?;
        if !self.config.allow_msg_ttl {
            return Err(error::MESSAGE_TTL_DISABLED);
        }
        Ok(Some(ttl))
    }

    pub(super) fn check_subject_seq(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
    ) -> Result<(), ApiError> {
        let Some(expected) = headers.expected_last_subject_seq else {
            return match headers.expected_last_subject_seq_subject {
                Some(_) => Err(error::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID),
                None => Ok(()),
            };
        };
        let about = headers.expected_last_subject_seq_subject.unwrap_or(subject);
        let last_seq = self.last_seq_of(about).map_err(store_failed)?;
        if number(expected) != Some(last_seq) {
            return Err(error::STREAM_WRONG_LAST_SEQUENCE.with(last_seq));
        }
        Ok(())
    }

    /// 0 when there is no match.
    fn last_seq_of(&mut self, pattern: &[u8]) -> Result<u64, StoreError> {
        if is_literal(pattern) {
            return Ok(self.store.subject(pattern)?.last_seq);
        }
        let last = self.store.last(&Filter::new([pattern]), u64::MAX)?;
        Ok(last.map_or(0, |message| message.seq))
    }

    pub(super) fn rollup(&self, value: &[u8]) -> Result<Rollup, ApiError> {
        if !self.config.allow_rollup_hdrs || self.config.deny_purge {
            return Err(error::STREAM_ROLLUP_FAILED.with("rollup not permitted"));
        }
        if value.eq_ignore_ascii_case(b"sub") {
            Ok(Rollup::Subject)
        } else if value.eq_ignore_ascii_case(b"all") {
            Ok(Rollup::All)
        } else {
            let value = String::from_utf8_lossy(value);
            Err(error::STREAM_ROLLUP_FAILED.with(format!("rollup value invalid: {value:?}")))
        }
    }

    /// What is stored of a block: all of it, but a trace must not start again at each delivery (JS-161), and who
    /// sent a message through an import is not part of it (JS-013).
    pub(super) fn block_to_store<'a>(&self, block: &'a [u8], headers: &PublishHeaders<'_>) -> Cow<'a, [u8]> {
        if headers.trace_dest.is_none() && !headers.request_info {
            return Cow::Borrowed(block);
        }
        let mut copy = Block::from(block, |line| line.name != b"Nats-Request-Info");
        if headers.trace_dest.is_some() {
            copy.replace(TRACE_DEST, "trace disabled");
        }
        Cow::Owned(copy.finish())
    }
}

/// A store that refused or failed, as a publisher is told.
pub(super) fn store_failed(why: StoreError) -> ApiError {
    match why {
        StoreError::Full { .. } => error::STREAM_STORE_FAILED.with("no space left on device"),
        why => error::STREAM_STORE_FAILED.with(why),
    }
}
