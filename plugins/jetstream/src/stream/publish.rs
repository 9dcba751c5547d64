//! The hot path: a message arrives, is checked, stored and acknowledged.
//!
//! A message without headers takes no detour: no parsing, nothing allocated but by the store.

use super::answer::Extra;
use super::batch::FAST_SUFFIX;
use super::checks::Verdict;
use super::counter::Total;
use super::headers::{PublishHeaders, REQUEST_INFO, Stripped, value, without_status};
use super::ingest::Record;
use super::{Call, Stream};
use crate::outbox::Post;
use crate::wire::{ApiError, error};
use natsd_plugin_api::serde_json::{self, Map, Value};
use std::borrow::Cow;

/// Replies to what came by an import.
const IMPORT_REPLY: &[u8] = b"_R_.";

/// A message that a client published to one of the stream's subjects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inbound<'a> {
    pub subject: &'a [u8],
    pub reply: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// What became of a message, as its publisher is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It has this sequence, whether or not anyone keeps it.
    Stored(u64),
    Duplicate(u64),
    Counted {
        seq: u64,
        total: Total,
    },
    /// It is part of a batch that is not finished: an empty answer.
    Staged,
    Batch {
        id: Box<[u8]>,
        seq: u64,
        count: u64,
        /// Why the message that ended the batch is not in it.
        refused: Option<Box<ApiError>>,
    },
    /// All was said already.
    Told,
    /// The same: it is not stored.
    Refused(Box<ApiError>),
}

impl Published {
    /// Where it went.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Stored(seq) | Self::Duplicate(seq) => *seq,
            Self::Counted { seq, .. } | Self::Batch { seq, .. } => *seq,
            Self::Staged | Self::Told | Self::Refused(_) => 0,
        }
    }
}

impl Stream {
    /// Takes a message in, and answers.
    pub fn publish(&mut self, message: &Inbound<'_>, call: &mut Call<'_>) {
        let outcome = self.take_in(message, &mut Vec::new(), call);
        self.answer(message.reply, &outcome, call);
    }

    pub(super) fn answer(
        &mut self,
        reply: &[u8],
        outcome: &Result<Published, ApiError>,
        call: &mut Call<'_>,
    ) {
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        match outcome {
            Ok(Published::Stored(seq)) => self.answers.success(*seq, Extra::None, &mut text),
            Ok(Published::Duplicate(seq)) => self.answers.success(*seq, Extra::Duplicate, &mut text),
            Ok(Published::Counted { seq, total }) => {
                self.answers.success(*seq, Extra::Total(&total.to_string()), &mut text);
            }
            Ok(Published::Batch { id, seq, count, .. }) => {
                self.answers.success(*seq, Extra::Batch { id, count: *count }, &mut text);
            }
            Ok(Published::Staged) => call.out.push(Post { subject: reply, ..Post::default() }),
            Ok(Published::Told | Published::Refused(_)) => {}
            Err(why) => text = self.answers.failure(why),
        }
        if !matches!(outcome, Ok(Published::Staged | Published::Told | Published::Refused(_))) {
            call.out.answer(reply, b"", &text);
        }
        self.text = text;
    }

    /// The inbox had no room for a message with that reply (JS-142).
    pub fn overrun(&mut self, reply: &[u8], call: &mut Call<'_>) {
        if !self.config.no_ack {
            let text = self.answers.failure(&error::STREAM_TOO_MANY_REQUESTS);
            call.out.answer(reply, b"NATS/1.0 429 Too Many Requests\r\n\r\n", &text);
        }
    }

    /// `transformed` becomes the subject that it is stored under, if that is another.
    pub(super) fn take_in(
        &mut self,
        message: &Inbound<'_>,
        transformed: &mut Vec<u8>,
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        let headers = self.admit(message, transformed, call)?;
        let subject = if transformed.is_empty() { message.subject } else { transformed };
        let message = &Inbound { subject, ..*message };
        if message.reply.ends_with(FAST_SUFFIX) {
            return self.take_in_fast(message.reply, message, &headers, call);
        }
        if let Some(reply) = reply_before_import(message.reply, &headers)
            && reply.ends_with(FAST_SUFFIX)
        {
            return self.take_in_fast(&reply, message, &headers, call);
        }
        if !headers.is_empty() {
            let known = PublishHeaders::read(&headers);
            if let Some(id) = known.batch_id {
                return self.take_in_batched(id, message, &headers, &known, call);
            }
        }
        self.take_in_one(message, &headers, call)
    }

    /// What holds for every message; its headers as they are to be read.
    pub(super) fn admit<'a>(
        &self,
        message: &Inbound<'a>,
        transformed: &mut Vec<u8>,
        call: &mut Call<'_>,
    ) -> Result<Cow<'a, [u8]>, ApiError> {
        if self.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        let headers = match without_status(message.headers) {
            Stripped::Same(block) => Cow::Borrowed(block),
            Stripped::Lines(lines) => Cow::Owned([b"NATS/1.0\r\n", lines].concat()),
        };
        self.check_size(&headers, message.payload)?;
        if let Some(transform) = &self.rules.transform
            && !transform.apply(message.subject, call.random, transformed)
        {
            transformed.clear();
        }
        Ok(headers)
    }

    /// A message for itself, whatever its headers say of batches.
    pub(super) fn take_in_one(
        &mut self,
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        if block.is_empty() && !self.config.allow_msg_counter {
            let record = Record { subject: message.subject, payload: message.payload, ..Record::default() };
            self.check_room(&record, None)?;
            return self.ingest(&record, call).map(|stored| Published::Stored(stored.seq));
        }
        let headers = PublishHeaders::read(block);
        match self.prepare(message, block, &headers, None, call.now_ns)? {
            Verdict::Duplicate(seq) => Ok(Published::Duplicate(seq)),
            Verdict::Store(prepared) => {
                let record = prepared.record();
                self.check_room(&record, None)?;
                let seq = self.ingest(&record, call)?.seq;
                Ok(match prepared.total {
                    Some(total) => Published::Counted { seq, total },
                    None => Published::Stored(seq),
                })
            }
        }
    }
}

/// The reply that the publisher gave, if the message came by an import, where it matters (ACC-008).
fn reply_before_import(reply: &[u8], headers: &[u8]) -> Option<Vec<u8>> {
    if !reply.starts_with(IMPORT_REPLY) {
        return None;
    }
    let told: Map<String, Value> = serde_json::from_slice(value(headers, REQUEST_INFO)?).ok()?;
    Some(told.get("reply")?.as_str()?.as_bytes().to_vec())
}
