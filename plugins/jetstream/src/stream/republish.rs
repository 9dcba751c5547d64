//! Publishes stored messages again, on other subjects (JS-255).

use super::headers::{Block, LAST_SEQUENCE, MSG_SIZE};
use super::ingest::{Record, Stored};
use super::{Call, Stream};
use crate::outbox::{Content, Post};
use crate::transform::Transform;

#[derive(Debug)]
pub(super) struct Republishing {
    pub transform: Transform,
    pub headers_only: bool,
}

impl Stream {
    /// `last_seq`: of the message of the subject before this one, 0 when there was none.
    pub(super) fn republish(&self, record: &Record<'_>, stored: Stored, last_seq: u64, call: &mut Call<'_>) {
        let Some(republishing) = &self.rules.republishing else { return };
        let mut subject = Vec::with_capacity(record.subject.len() + 32);
        if !republishing.transform.apply(record.subject, call.random, &mut subject) {
            return;
        }
        let mut block = Block::copy(record.headers);
        self.describe(stored.seq, stored.time_ns, record.subject, &mut block);
        block.add_number(LAST_SEQUENCE, last_seq);
        let mut payload = record.payload;
        if republishing.headers_only {
            block.add_number(MSG_SIZE, payload.len() as u64);
            payload = b"";
        }
        call.out.push(Post {
            subject: &subject,
            headers: Content::Copied(&block.finish()),
            payload: Content::Copied(payload),
            ..Post::default()
        });
    }
}
