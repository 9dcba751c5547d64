//! Atomic batches: collected in memory, checked as a whole at the commit, stored in one go (JS-200 to JS-206).

use super::Staged;
use crate::stream::checks::{Prepared, Verdict};
use crate::stream::direct::requires_too_much;
use crate::stream::headers::{BATCH_COMMIT, Block, EXPECTED_LAST_MSG_ID, PublishHeaders, number};
use crate::stream::ingest::Record;
use crate::stream::publish::{Inbound, Published};
use crate::stream::{Call, Stream};
use crate::wire::{ApiError, error};

/// JS-200.
const ID_LEN_MAX: usize = 64;

/// A batch that waits for its end.
pub struct Atomic {
    messages: Vec<Kept>,
    pub(super) idle_until_ns: i64,
}

/// A message of it.
struct Kept {
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Kept {
    fn new(message: &Inbound<'_>, block: &[u8]) -> Self {
        Self { subject: message.subject.to_vec(), headers: block.to_vec(), payload: message.payload.to_vec() }
    }

    fn inbound(&self) -> Inbound<'_> {
        Inbound { subject: &self.subject, headers: &self.headers, payload: &self.payload, reply: b"" }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    WithThis,
    BeforeThis,
}

impl Stream {
    /// A message with `Nats-Batch-Id`.
    pub(in crate::stream) fn take_in_batched(
        &mut self,
        id: &[u8],
        message: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        if !self.config.allow_atomic {
            return Err(error::ATOMIC_PUBLISH_DISABLED);
        }
        if id.len() > ID_LEN_MAX {
            return Err(error::ATOMIC_PUBLISH_INVALID_BATCH_ID);
        }
        let Some(seq) = headers.batch_sequence.and_then(number) else {
            return Err(error::ATOMIC_PUBLISH_MISSING_SEQ);
        };
        let commit = headers.batch_commit;
        self.check_batch_begins(id, seq, commit == Some(b"eob"))?;
        if requires_too_much(block) {
            self.batches.close_atomic(id);
            self.tell_abandoned(id, "unsupported", call);
            return Err(error::REQUIRED_API_LEVEL);
        }
        let end = match commit {
            None => End::NotYet,
            Some(b"1") => End::WithThis,
            Some(b"eob") => End::BeforeThis,
            Some(_) => {
                self.batches.close_atomic(id);
                return Err(error::ATOMIC_PUBLISH_INVALID_BATCH_COMMIT);
            }
        };
        self.check_batch_seq(id, seq, end, call)?;
        if end == End::NotYet {
            self.keep(id, message, block, call)?;
            return Ok(Published::Staged);
        }
        let mut messages = self.batches.close_atomic(id).map(|batch| batch.messages).unwrap_or_default();
        match end {
            End::BeforeThis => {
                if let Some(last) = messages.last_mut() {
                    last.headers = Block::copy(&last.headers).add_and_finish(BATCH_COMMIT, "1");
                }
            }
            _ => messages.push(Kept::new(message, block)),
        }
        let (seq, count) = (self.store_batch(&messages, call)?, messages.len() as u64);
        Ok(Published::Batch { id: id.into(), seq, count, refused: None })
    }

    /// A batch that is not open begins with its first message.
    fn check_batch_begins(&self, id: &[u8], seq: u64, is_end: bool) -> Result<(), ApiError> {
        if seq == 1 || self.batches.atomic.contains_key(id) {
            return Ok(());
        }
        let max = self.batches.limits.messages_max();
        // Whatever number that gives, as in nats-server.
        let size = if is_end { seq.wrapping_sub(1) } else { seq };
        if size > max {
            Err(error::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with(max))
        } else {
            Err(error::ATOMIC_PUBLISH_INCOMPLETE_BATCH)
        }
    }

    fn check_batch_seq(
        &mut self,
        id: &[u8],
        seq: u64,
        end: End,
        call: &mut Call<'_>,
    ) -> Result<(), ApiError> {
        let open = self.batches.atomic.get(id).map_or(0, |batch| batch.messages.len() as u64);
        if end == End::BeforeThis && seq == 1 {
            self.tell_abandoned(id, "incomplete", call);
            self.batches.close_atomic(id);
            return Err(error::ATOMIC_PUBLISH_INCOMPLETE_BATCH);
        }
        if seq != open + 1 {
            self.abandon(id, "incomplete", call);
            return Err(error::ATOMIC_PUBLISH_INCOMPLETE_BATCH);
        }
        // The message that only ends it is not part of it.
        let size = if end == End::BeforeThis { open } else { seq };
        let max = self.batches.limits.messages_max();
        if size > max {
            self.abandon(id, "large", call);
            return Err(error::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with(max));
        }
        Ok(())
    }

    fn keep(
        &mut self,
        id: &[u8],
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<(), ApiError> {
        let idle_until_ns = self.batches.idle_until_ns(call.now_ns);
        let batches = &mut self.batches;
        if !batches.atomic.contains_key(id) {
            if !batches.limits.may_open_atomic(batches.atomic.len()) {
                return Err(error::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT);
            }
            batches.atomic.insert(id.into(), Atomic { messages: Vec::new(), idle_until_ns });
        }
        if let Some(batch) = batches.atomic.get_mut(id) {
            batch.idle_until_ns = idle_until_ns;
            batch.messages.push(Kept::new(message, block));
        }
        Ok(())
    }

    /// All or nothing: everything is checked before the first message is stored.
    fn store_batch(&mut self, messages: &[Kept], call: &mut Call<'_>) -> Result<u64, ApiError> {
        let mut staged = Staged::default();
        let mut all: Vec<Prepared<'_>> = Vec::with_capacity(messages.len());
        for kept in messages {
            let headers = PublishHeaders::read(&kept.headers);
            if headers.expected_last_msg_id.is_some() {
                return Err(error::ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH.with(EXPECTED_LAST_MSG_ID));
            }
            let verdict =
                self.prepare(&kept.inbound(), &kept.headers, &headers, Some(&staged), call.now_ns)?;
            let Verdict::Store(prepared) = verdict else {
                return Err(error::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE);
            };
            self.check_room(&prepared.record(), Some(&staged))?;
            staged.add(&prepared, self.rules.size_bytes_of(&prepared.record()));
            all.push(prepared);
        }
        let mut last_seq = 0;
        for (n, prepared) in all.iter().enumerate() {
            let record = Record { unfinished: n + 1 < all.len(), ..prepared.record() };
            last_seq = self.ingest(&record, call)?.seq;
        }
        Ok(last_seq)
    }
}
