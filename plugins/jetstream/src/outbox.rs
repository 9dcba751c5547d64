//! What a stream wants to publish, collected until it may leave: answers wait for the commit of what they promise.
//!
//! Small parts lie in one buffer; payloads of stored messages are shared, not copied.

use crate::consumer::Delivery;
use bytes::Bytes;
use natsd_plugin_api::{Host, Outcome, PublishRef, Result};
use std::ops::Range;

/// Messages to publish, in order.
#[derive(Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    messages: Vec<Entry>,
    promises: bool,
}

struct Entry {
    subject: Range<usize>,
    shown: Range<usize>,
    reply: Range<usize>,
    headers: Part,
    payload: Part,
    delivery: Option<Delivery>,
}

enum Part {
    Buffered(Range<usize>),
    Shared(Bytes),
}

/// A part of a message to publish: small things are copied, stored ones shared.
pub enum Content<'a> {
    Copied(&'a [u8]),
    Shared(Bytes),
}

/// A message to publish.
#[derive(Default)]
pub struct Post<'a> {
    /// Whose subscribers get it.
    pub subject: &'a [u8],
    /// What they see as its subject; empty: `subject`.
    pub shown: &'a [u8],
    pub reply: &'a [u8],
    pub headers: Content<'a>,
    pub payload: Content<'a>,
    /// Whom to tell what became of it.
    pub delivery: Option<Delivery>,
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Copied(&[])
    }
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn push(&mut self, post: Post<'_>) {
        let entry = Entry {
            subject: self.copy(post.subject),
            shown: self.copy(post.shown),
            reply: self.copy(post.reply),
            headers: self.part(post.headers),
            payload: self.part(post.payload),
            delivery: post.delivery,
        };
        self.messages.push(entry);
    }

    /// An answer: it must not leave before everything changed until now is durable.
    pub fn answer(&mut self, reply: &[u8], headers: &[u8], payload: &[u8]) {
        if reply.is_empty() {
            return;
        }
        self.promises = true;
        let (headers, payload) = (Content::Copied(headers), Content::Copied(payload));
        self.push(Post { subject: reply, headers, payload, ..Post::default() });
    }

    /// Marks what is in here as leaving only after a commit.
    pub fn promise(&mut self) {
        self.promises = true;
    }

    /// Whether something in here promises that changes are durable.
    pub fn promises(&self) -> bool {
        self.promises
    }

    /// Publishes everything, and tells `undelivered` of each delivery without a receiver.
    pub fn send(
        &mut self,
        host: &Host,
        account: &str,
        outcomes: &mut Vec<Outcome>,
        mut delivered: impl FnMut(&Delivery, Outcome),
    ) -> Result<()> {
        outcomes.clear();
        outcomes.resize(self.messages.len(), Outcome::default());
        {
            let messages: Vec<PublishRef<'_>> = self.messages.iter().map(|entry| self.view(entry)).collect();
            host.publish_batch(account, &messages, outcomes)?;
        }
        for (entry, outcome) in self.messages.iter().zip(outcomes.iter()) {
            if let Some(delivery) = &entry.delivery {
                delivered(delivery, *outcome);
            }
        }
        self.clear();
        Ok(())
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
        self.messages.clear();
        self.promises = false;
    }

    /// What is in here, for tests and for other ways out: subject, shown subject, reply, headers, payload.
    pub fn iter(&self) -> impl Iterator<Item = PublishRef<'_>> {
        self.messages.iter().map(|entry| self.view(entry))
    }

    /// The marks of the deliveries in here.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.messages.iter().filter_map(|entry| entry.delivery.as_ref())
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> PublishRef<'a> {
        PublishRef::new(&self.buffer[entry.subject.clone()], self.read(&entry.payload))
            .deliver_as(&self.buffer[entry.shown.clone()])
            .reply(&self.buffer[entry.reply.clone()])
            .headers(self.read(&entry.headers))
    }

    fn read<'a>(&'a self, part: &'a Part) -> &'a [u8] {
        match part {
            Part::Buffered(range) => &self.buffer[range.clone()],
            Part::Shared(bytes) => bytes,
        }
    }

    fn part(&mut self, content: Content<'_>) -> Part {
        match content {
            Content::Copied(bytes) => Part::Buffered(self.copy(bytes)),
            Content::Shared(bytes) => Part::Shared(bytes),
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }
}
