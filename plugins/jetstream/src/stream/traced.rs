//! What a stream has to say of a message that is traced (CORE-296), in nats-server's words.

use super::checks::Verdict;
use super::headers::{Block, PublishHeaders, TRACE_DEST, number};
use super::publish::{Inbound, Published};
use super::{Call, Stream};
use crate::wire::{ApiError, error};
use serde::Serialize;
use std::borrow::Cow;

/// What became of a message here.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    stream: String,
    /// Under which it is stored; empty: it did not get so far.
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: String,
    /// Nobody asks for it, so that it is not kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nointerest: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Stream {
    /// Takes a traced message in, and answers. `asks_again`: what is stored must not start a trace at each delivery
    /// (JS-161).
    pub fn publish_traced(
        &mut self,
        message: &Inbound<'_>,
        asks_again: bool,
        call: &mut Call<'_>,
    ) -> TraceStep {
        let mut headers = Cow::Borrowed(message.headers);
        if asks_again {
            let mut block = Block::copy(message.headers);
            block.replace(TRACE_DEST, "trace disabled");
            headers = block.finish().into();
        }
        let message = Inbound { headers: &headers, ..*message };
        let mut transformed = Vec::new();
        let outcome = self.take_in(&message, &mut transformed, call);
        self.answer(message.reply, &outcome, call);
        self.tell(&message, &transformed, outcome)
    }

    /// Only checks a message, and answers if it would not be stored.
    pub fn check_traced(&mut self, message: &Inbound<'_>, call: &mut Call<'_>) -> TraceStep {
        let mut transformed = Vec::new();
        let outcome = self.check_only(message, &mut transformed, call);
        self.answer(message.reply, &outcome, call);
        self.tell(message, &transformed, outcome)
    }

    /// The stream takes nothing any more.
    pub fn tell_closed(&self) -> TraceStep {
        self.told_of("", Some("stream closed".to_owned()))
    }

    /// A part of a batch is looked at by itself: the batch knows nothing of it.
    fn check_only(
        &mut self,
        message: &Inbound<'_>,
        transformed: &mut Vec<u8>,
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        let block = self.admit(message, transformed, call)?;
        let message = Inbound { subject: stored_subject(message, transformed), ..*message };
        if !block.is_empty() || self.config.allow_msg_counter {
            let headers = PublishHeaders::read(&block);
            match self.prepare(&message, &block, &headers, None, call.now_ns) {
                Ok(Verdict::Duplicate(seq)) => return Ok(Published::Duplicate(seq)),
                Err(why) if !is_late(&why) => return Err(why),
                Ok(Verdict::Store(_)) | Err(_) => {}
            }
        }
        match self.lacks_room() {
            Some(why) if !is_late(&why) => Err(why),
            _ => Ok(Published::Told),
        }
    }

    fn tell(
        &mut self,
        message: &Inbound<'_>,
        transformed: &[u8],
        outcome: Result<Published, ApiError>,
    ) -> TraceStep {
        let subject = stored_subject(message, transformed);
        let why = match outcome {
            Err(why) => why,
            Ok(Published::Refused(why) | Published::Batch { refused: Some(why), .. }) => *why,
            Ok(Published::Duplicate(_)) => return self.told_of("", Some("msgid is duplicate".to_owned())),
            // What becomes of it is decided when its batch ends.
            Ok(Published::Staged) => return self.told_of("", None),
            Ok(_) => return self.told_with_interest(subject, None),
        };
        let words = self.words(&why, message, subject);
        match is_late(&why) {
            true => self.told_with_interest(subject, Some(words)),
            false => self.told_of("", Some(words)),
        }
    }

    fn told_with_interest(&mut self, subject: &[u8], error: Option<String>) -> TraceStep {
        let nointerest = self.rules.on_interest && !self.consumers.any_for(subject);
        TraceStep { nointerest, ..self.told_of(&String::from_utf8_lossy(subject), error) }
    }

    fn told_of(&self, subject: &str, error: Option<String>) -> TraceStep {
        let (stream, subject) = (self.config.name.clone(), subject.to_owned());
        TraceStep { stream, subject, nointerest: false, error }
    }

    /// Why a message is refused: some checks have other words for a trace than for the publisher.
    fn words(&mut self, why: &ApiError, message: &Inbound<'_>, subject: &[u8]) -> String {
        let headers = PublishHeaders::read(message.headers);
        let is = |other: ApiError| why.err_code == other.err_code;
        if is(error::STREAM_NOT_MATCH) {
            "expected stream does not match".to_owned()
        } else if is(error::MESSAGE_TTL_DISABLED) {
            "message TTL disabled".to_owned()
        } else if is(error::STREAM_MESSAGE_EXCEEDS_MAXIMUM) || is(error::STREAM_HEADER_EXCEEDS_MAXIMUM) {
            "maximum payload exceeded".to_owned()
        } else if is(error::STREAM_ROLLUP_FAILED) || is(error::STREAM_STORE_FAILED) {
            why.description.to_string()
        } else if is(error::STREAM_WRONG_LAST_SEQUENCE) {
            self.words_of_sequences(&headers, subject)
        } else if is(error::STREAM_WRONG_LAST_MSG_ID) {
            let expected = String::from_utf8_lossy(headers.expected_last_msg_id.unwrap_or_default());
            let last = String::from_utf8_lossy(&self.last_msg_id);
            format!("last msgid mismatch: {expected:?} vs {last:?}")
        } else {
            why.to_string()
        }
    }

    /// Nothing has changed since the check, so that it comes to the same again.
    fn words_of_sequences(&mut self, headers: &PublishHeaders<'_>, subject: &[u8]) -> String {
        // What is no number reads as the largest there is.
        let read = |text: &[u8]| number(text).unwrap_or(u64::MAX);
        if let Some(expected) = headers.expected_last_subject_seq {
            let about = headers.expected_last_subject_seq_subject.unwrap_or(subject);
            let last_seq = self.last_seq_of(about).unwrap_or_default();
            if number(expected) != Some(last_seq) {
                return format!("last sequence by subject mismatch: {} vs {last_seq}", read(expected));
            }
        }
        let expected = headers.expected_last_seq.map_or(0, read);
        format!("last sequence mismatch: {expected} vs {}", self.store.state().last_seq)
    }
}

/// The subject that a message is stored under, if it is.
fn stored_subject<'a>(message: &Inbound<'a>, transformed: &'a [u8]) -> &'a [u8] {
    if transformed.is_empty() { message.subject } else { transformed }
}

/// It shows when the message is stored, and not when it is only checked.
fn is_late(why: &ApiError) -> bool {
    [error::ACCOUNT_RESOURCES_EXCEEDED, error::STREAM_STORE_FAILED, error::MESSAGE_TTL_INVALID]
        .iter()
        .any(|late| late.err_code == why.err_code)
}
