//! The hot path: a message arrives, is checked, stored and acknowledged.
//!
//! A message without headers takes no detour: no parsing, nothing allocated but by the store.

use super::answer::Extra;
use super::headers::{PublishHeaders, Stripped, without_status};
use super::ingest::{Record, Stored};
use super::{Call, Stream};
use crate::wire::{ApiError, error};
use std::borrow::Cow;

/// JS-146.
const HEADERS_BYTES_MAX: usize = 65_535;

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
pub enum Published {
    /// It has this sequence, whether or not anyone keeps it.
    Stored(u64),
    Duplicate(u64),
}

impl Stream {
    /// Takes a message in, and answers.
    pub fn publish(&mut self, message: &Inbound<'_>, call: &mut Call<'_>) {
        let outcome = self.take_in(message, call);
        if message.reply.is_empty() || self.config.no_ack {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        match outcome {
            Ok(Published::Stored(seq)) => self.answers.success(seq, Extra::None, &mut text),
            Ok(Published::Duplicate(seq)) => self.answers.success(seq, Extra::Duplicate, &mut text),
            Err(why) => text = self.answers.failure(&why),
        }
        call.out.answer(message.reply, b"", &text);
        self.text = text;
    }

    /// The inbox had no room for a message with that reply (JS-142).
    pub fn overrun(&mut self, reply: &[u8], call: &mut Call<'_>) {
        if !self.config.no_ack {
            let text = self.answers.failure(&error::STREAM_TOO_MANY_REQUESTS);
            call.out.answer(reply, b"NATS/1.0 429 Too Many Requests\r\n\r\n", &text);
        }
    }

    fn take_in(&mut self, message: &Inbound<'_>, call: &mut Call<'_>) -> Result<Published, ApiError> {
        if self.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        let headers = match without_status(message.headers) {
            Stripped::Same(block) => Cow::Borrowed(block),
            Stripped::Lines(lines) => Cow::Owned([b"NATS/1.0\r\n", lines].concat()),
        };
        if headers.len() > HEADERS_BYTES_MAX {
            return Err(error::STREAM_HEADER_EXCEEDS_MAXIMUM);
        }
        if headers.len() + message.payload.len() > self.rules.size_max {
            return Err(error::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
        }
        if headers.is_empty() {
            let record = Record { subject: message.subject, payload: message.payload, ..Record::default() };
            return self.ingest(&record, call).map(|stored: Stored| Published::Stored(stored.seq));
        }
        self.take_in_with_headers(message, &headers, call)
    }

    /// The order of the checks is the reference's (JS-150 to JS-159).
    fn take_in_with_headers(
        &mut self,
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        let headers = PublishHeaders::read(block);
        let ttl = self.check_before(message.subject, &headers)?;
        if let Some(id) = headers.msg_id
            && let Some(seq) = self.dedup.seen(id, call.now_ns)
        {
            return Ok(Published::Duplicate(seq));
        }
        let rollup = self.check_after(&headers)?;
        let block = self.block_to_store(block, &headers);
        let record = Record {
            subject: message.subject,
            headers: &block,
            payload: message.payload,
            ttl,
            rollup,
            msg_id: headers.msg_id.unwrap_or_default(),
            ..Record::default()
        };
        self.ingest(&record, call).map(|stored: Stored| Published::Stored(stored.seq))
    }
}
