//! What the headers of a message demand before it is stored, in the reference's order (JS-150 to JS-164).

use super::Stream;
use super::batch::Staged;
use super::counter::Total;
use super::headers::{Block, Line, PublishHeaders, REQUEST_INFO, ROLLUP, TTL, number};
use super::ingest::Record;
use super::publish::Inbound;
use super::ttl::Ttl;
use crate::filter::{Filter, is_literal};
use crate::store::StoreError;
use crate::wire::{ApiError, error};
use std::borrow::Cow;

/// JS-146.
const HEADERS_BYTES_MAX: usize = 65_535;

/// What a message replaces (JS-159).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    /// Older messages of its subject.
    Subject,
    /// Everything older.
    All,
}

/// A message that passed its checks, as it is to be stored.
pub(super) struct Prepared<'a> {
    pub subject: Cow<'a, [u8]>,
    pub headers: Cow<'a, [u8]>,
    pub payload: Cow<'a, [u8]>,
    pub ttl: Option<Ttl>,
    pub rollup: Option<Rollup>,
    pub msg_id: &'a [u8],
    /// Of a counter.
    pub total: Option<Total>,
    /// When it runs first, if it is a schedule.
    pub runs_ns: Option<i64>,
    /// The subject of the schedule that it ends.
    pub ends: Option<&'a [u8]>,
}

pub(super) enum Verdict<'a> {
    Store(Prepared<'a>),
    Duplicate(u64),
}

impl Prepared<'_> {
    pub fn record(&self) -> Record<'_> {
        Record {
            subject: &self.subject,
            headers: &self.headers,
            payload: &self.payload,
            ttl: self.ttl,
            rollup: self.rollup,
            msg_id: self.msg_id,
            runs_ns: self.runs_ns,
            ends: self.ends,
            ..Record::default()
        }
    }
}

impl Stream {
    /// All checks of a message with headers. `staged` are the messages before it in its batch.
    pub(super) fn prepare<'a>(
        &mut self,
        message: &Inbound<'a>,
        block: &'a [u8],
        headers: &PublishHeaders<'a>,
        staged: Option<&Staged>,
        now_ns: i64,
    ) -> Result<Verdict<'a>, ApiError> {
        let subject = message.subject;
        let increment = self.check_increment(headers, message.payload)?;
        if headers.expected_stream.is_some_and(|expected| expected != self.config.name.as_bytes()) {
            return Err(error::STREAM_NOT_MATCH);
        }
        self.check_ttl_allowed(headers.ttl, staged.is_some())?;
        // A batch is checked in another order (JS-205).
        if staged.is_some() {
            if let Some(seq) = self.check_identity(headers, staged, now_ns)? {
                return Ok(Verdict::Duplicate(seq));
            }
            self.check_counts(increment.as_ref())?;
            self.check_last_seq(headers, staged)?;
            self.check_subject_seq(subject, headers, staged)?;
        } else {
            self.check_subject_seq(subject, headers, staged)?;
            self.check_last_seq(headers, staged)?;
        }
        let runs_ns = self.check_schedule(subject, headers, now_ns)?;
        let ends = self.check_scheduler(subject, headers)?;
        if staged.is_none()
            && let Some(seq) = self.check_identity(headers, staged, now_ns)?
        {
            return Ok(Verdict::Duplicate(seq));
        }
        // A duplicate is not held to the checks from here on.
        let mut rollup = self.check_rollup(subject, headers, staged)?;
        self.check_counts(increment.as_ref())?;
        let asked = headers.ttl.and_then(Ttl::parse);
        let ttl = self.raised_ttl(asked);
        let mut block = self.block_to_store(block, headers, ttl.filter(|_| ttl != asked));
        if runs_ns.is_some() && rollup.is_none() {
            // One schedule a subject (JS-192).
            rollup = Some(Rollup::Subject);
            block = Cow::Owned(Block::copy(&block).add_and_finish(ROLLUP, "sub"));
        }
        let (mut payload, mut total) = (Cow::Borrowed(message.payload), None);
        if let Some(increment) = increment {
            let counted = self.count(subject, &block, &increment, staged)?;
            let headers = counted.headers.into_owned();
            (payload, total, block) = (Cow::Owned(counted.body), Some(counted.total), Cow::Owned(headers));
        }
        self.check_size(&block, &payload)?;
        if headers.ttl.is_some() && ttl.is_none() && self.keeps(subject) {
            return Err(error::MESSAGE_TTL_INVALID);
        }
        let subject = Cow::Borrowed(subject);
        let (headers, msg_id) = (block, headers.msg_id.unwrap_or_default());
        Ok(Verdict::Store(Prepared { subject, headers, payload, ttl, rollup, msg_id, total, runs_ns, ends }))
    }

    /// JS-146, of what is stored.
    pub(super) fn check_size(&self, headers: &[u8], payload: &[u8]) -> Result<(), ApiError> {
        if headers.len() + payload.len() > self.rules.size_max {
            Err(error::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
        } else if headers.len() > HEADERS_BYTES_MAX {
            Err(error::STREAM_HEADER_EXCEEDS_MAXIMUM)
        } else {
            Ok(())
        }
    }

    /// That it is not a copy of another message; the sequence of that otherwise.
    fn check_identity(
        &mut self,
        headers: &PublishHeaders<'_>,
        staged: Option<&Staged>,
        now_ns: i64,
    ) -> Result<Option<u64>, ApiError> {
        if headers.stream_source.is_some() {
            return Err(error::MESSAGE_SOURCE_HDR_NOT_ALLOWED);
        }
        Ok(headers.msg_id.and_then(|id| self.seen(id, staged, now_ns)))
    }

    /// Every message of a counter counts.
    fn check_counts(&self, increment: Option<&Total>) -> Result<(), ApiError> {
        let is_missing = self.config.allow_msg_counter && increment.is_none();
        if is_missing { Err(error::MESSAGE_INCR_MISSING) } else { Ok(()) }
    }

    /// Where a message with that id went; 0: it is in the same batch.
    fn seen(&mut self, id: &[u8], staged: Option<&Staged>, now_ns: i64) -> Option<u64> {
        let in_batch = staged.is_some_and(|staged| staged.has_id(id)).then_some(0);
        in_batch.or_else(|| self.dedup.seen(id, now_ns))
    }

    fn check_rollup(
        &self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
        staged: Option<&Staged>,
    ) -> Result<Option<Rollup>, ApiError> {
        if let Some(expected) = headers.expected_last_msg_id
            && expected != self.last_msg_id
        {
            return Err(error::STREAM_WRONG_LAST_MSG_ID.with(String::from_utf8_lossy(&self.last_msg_id)));
        }
        let rollup = headers.rollup.map(|value| self.rollup(value)).transpose()?;
        if let (Some(rollup), Some(staged)) = (rollup, staged)
            && !staged.allows(rollup, subject)
        {
            let what = if rollup == Rollup::All { "all" } else { "sub" };
            return Err(error::STREAM_ROLLUP_FAILED.with(format!("batch rollup {what} invalid")));
        }
        Ok(rollup)
    }

    /// What is no time to live is told later, unless the message is part of a batch.
    fn check_ttl_allowed(&self, value: Option<&[u8]>, in_batch: bool) -> Result<(), ApiError> {
        let Some(value) = value else { return Ok(()) };
        match Ttl::parse(value) {
            None if !in_batch => Ok(()),
            _ if !self.config.allow_msg_ttl => Err(error::MESSAGE_TTL_DISABLED),
            None => Err(error::MESSAGE_TTL_INVALID),
            Some(_) => Ok(()),
        }
    }

    fn check_subject_seq(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
        staged: Option<&Staged>,
    ) -> Result<(), ApiError> {
        let Some(expected) = headers.expected_last_subject_seq else {
            return match headers.expected_last_subject_seq_subject {
                Some(_) => Err(error::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID),
                None => Ok(()),
            };
        };
        let about = headers.expected_last_subject_seq_subject.unwrap_or(subject);
        if staged.is_some_and(|staged| staged.has_subject(about)) {
            return Err(error::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
        }
        let last_seq = self.last_seq_of(about).map_err(store_failed)?;
        if number(expected) != Some(last_seq) {
            return Err(error::STREAM_WRONG_LAST_SEQUENCE.with(last_seq));
        }
        Ok(())
    }

    fn check_last_seq(&self, headers: &PublishHeaders<'_>, staged: Option<&Staged>) -> Result<(), ApiError> {
        let Some(expected) = headers.expected_last_seq else { return Ok(()) };
        let before = staged.map_or(0, |staged| staged.messages);
        let last_seq = self.store.state().last_seq + before;
        if number(expected) != Some(last_seq) {
            return Err(error::STREAM_WRONG_LAST_SEQUENCE.with(last_seq));
        }
        // Only the first message of a batch may ask.
        if before > 0 { Err(error::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) } else { Ok(()) }
    }

    /// A message must not go before the marker that would tell of it (JS-164).
    fn raised_ttl(&self, ttl: Option<Ttl>) -> Option<Ttl> {
        let least = self.rules.marker_ttl_ns / 1_000_000_000;
        let is_low = matches!(ttl, Some(Ttl::Seconds(seconds)) if seconds < least);
        if is_low && self.rules.subject_messages_max != 1 { Some(Ttl::Seconds(least)) } else { ttl }
    }

    /// Somebody is interested, where that counts (JS-163).
    fn keeps(&mut self, subject: &[u8]) -> bool {
        !self.rules.on_interest || self.consumers.any_for(subject)
    }

    /// 0 when there is no match.
    pub(super) fn last_seq_of(&mut self, pattern: &[u8]) -> Result<u64, StoreError> {
        if is_literal(pattern) {
            return Ok(self.store.subject(pattern)?.last_seq);
        }
        let last = self.store.last(&Filter::new([pattern]), u64::MAX)?;
        Ok(last.map_or(0, |message| message.seq))
    }

    fn rollup(&self, value: &[u8]) -> Result<Rollup, ApiError> {
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

    /// What is stored of a block: all of it, but who sent a message through an import is not part of it (JS-013), and a
    /// raised time to live is put right.
    fn block_to_store<'a>(
        &self,
        block: &'a [u8],
        headers: &PublishHeaders<'_>,
        raised: Option<Ttl>,
    ) -> Cow<'a, [u8]> {
        if !headers.request_info && raised.is_none() {
            return Cow::Borrowed(block);
        }
        let is_kept = |line: &Line<'_>| {
            line.name != REQUEST_INFO.as_bytes() && (raised.is_none() || line.name != TTL.as_bytes())
        };
        let mut copy = Block::from(block, is_kept);
        if let Some(Ttl::Seconds(seconds)) = raised {
            copy.add(TTL, seconds.to_string());
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
