//! What a stream wants to publish, collected until it may leave: answers wait for the commit of what they promise.
//!
//! What is copied lies in one buffer, a message's parts in a row; large payloads of stored messages are shared.

use crate::consumer::Delivery;
use bytes::Bytes;
use natsd_plugin_api::{Host, Outcome, PublishRef, Result, Trace};
use std::cell::Cell;
use std::ops::Range;

/// Emptied, an outbox keeps buffers of that size and of what the last messages needed.
const KEPT_BYTES: usize = 64 * 1024;
const KEPT_MESSAGES: usize = KEPT_BYTES / size_of::<Entry>();

/// What is copied once more rather than sent by itself.
const SHORT_BYTES: usize = 8 * 1024;

/// Messages that cross the line to the host together.
const CROSSING_MAX: usize = 1024;

thread_local! {
    /// Kept for its capacity: fresh memory for so many would cost more than what is done with it.
    static REFERENCES: Cell<Vec<PublishRef<'static>>> = const { Cell::new(Vec::new()) };
}

/// Messages to publish, in order.
#[derive(Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    messages: Vec<Entry>,
    shared: Vec<Bytes>,
    /// Each with the place of its message.
    deliveries: Vec<(u32, Delivery)>,
    /// Of messages that what is in here tells of: published when it has left.
    traces: Vec<Trace>,
    promises: bool,
}

/// Where a message's parts are. Copied ones follow each other in the buffer.
struct Entry {
    /// Where the subject begins: many messages in a row have the same.
    subject_at: usize,
    /// Where the other parts begin.
    at: usize,
    subject: u32,
    shown: u32,
    reply: u32,
    headers: u32,
    payload: u32,
    shared: Shared,
}

/// Which parts are shared.
#[derive(Clone, Copy)]
struct Shared {
    /// The place of the first one.
    at: u32,
    headers: bool,
    payload: bool,
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
    /// Whom to tell that nobody got it.
    pub delivery: Option<Delivery>,
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Copied(&[])
    }
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.traces.is_empty()
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn push(&mut self, post: Post<'_>) {
        let shared_at = self.shared.len() as u32;
        let subject_at = self.place_subject(post.subject);
        let at = self.buffer.len();
        self.buffer.extend_from_slice(post.shown);
        self.buffer.extend_from_slice(post.reply);
        let (headers, headers_shared) = self.part(post.headers);
        let (payload, payload_shared) = self.part(post.payload);
        if let Some(delivery) = post.delivery {
            self.deliveries.push((self.messages.len() as u32, delivery));
        }
        self.messages.push(Entry {
            subject_at,
            at,
            subject: post.subject.len() as u32,
            shown: post.shown.len() as u32,
            reply: post.reply.len() as u32,
            headers,
            payload,
            shared: Shared { at: shared_at, headers: headers_shared, payload: payload_shared },
        });
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

    /// A trace that must not be published before everything changed until now is durable.
    pub fn hold(&mut self, trace: Trace) {
        self.promises = true;
        self.traces.push(trace);
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
        mut undelivered: impl FnMut(&Delivery),
    ) -> Result<()> {
        outcomes.clear();
        if !self.deliveries.is_empty() {
            outcomes.resize(self.messages.len(), Outcome::default());
        }
        let (mut messages, mut outcomes_left) = (REFERENCES.take(), &mut outcomes[..]);
        let mut sent = Ok(());
        for entries in self.messages.chunks(CROSSING_MAX) {
            messages.extend(entries.iter().map(|entry| self.view(entry)));
            let (of_these, left) = outcomes_left.split_at_mut(messages.len().min(outcomes_left.len()));
            outcomes_left = left;
            sent = sent.and(host.publish_batch(account, &messages, of_these).map(drop));
            messages.clear();
        }
        REFERENCES.set(without_content(messages));
        for (place, delivery) in &self.deliveries {
            if outcomes.get(*place as usize).is_some_and(|outcome| outcome.receivers == 0) {
                undelivered(delivery);
            }
        }
        self.clear();
        sent
    }

    /// Adds everything of another one, which is empty then.
    pub fn append(&mut self, other: &mut Self) {
        let (at, shared_at, place) =
            (self.buffer.len(), self.shared.len() as u32, self.messages.len() as u32);
        self.buffer.extend_from_slice(&other.buffer);
        self.shared.append(&mut other.shared);
        self.messages.extend(other.messages.drain(..).map(|entry| Entry {
            subject_at: entry.subject_at + at,
            at: entry.at + at,
            shared: Shared { at: entry.shared.at + shared_at, ..entry.shared },
            ..entry
        }));
        let deliveries = other.deliveries.drain(..);
        self.deliveries.extend(deliveries.map(|(of, delivery)| (of + place, delivery)));
        self.traces.append(&mut other.traces);
        self.promises |= other.promises;
        other.clear();
    }

    pub fn clear(&mut self) {
        empty(&mut self.buffer, KEPT_BYTES);
        empty(&mut self.messages, KEPT_MESSAGES);
        empty(&mut self.deliveries, KEPT_MESSAGES);
        empty(&mut self.shared, KEPT_MESSAGES);
        self.traces.clear();
        self.promises = false;
    }

    /// What is in here, for tests and for other ways out: subject, shown subject, reply, headers, payload.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = PublishRef<'_>> {
        self.messages.iter().map(|entry| self.view(entry))
    }

    /// Whether it is answers and little else, and nobody has to know who got them.
    pub fn is_short(&self) -> bool {
        self.deliveries.is_empty() && self.shared.is_empty() && self.buffer.len() <= SHORT_BYTES
    }

    /// The marks of the deliveries in here.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter().map(|(_, delivery)| delivery)
    }

    fn view<'a>(&'a self, entry: &Entry) -> PublishRef<'a> {
        let mut at = entry.at;
        let mut copied = |len: u32| {
            at += len as usize;
            &self.buffer[at - len as usize..at]
        };
        let (shown, reply) = (copied(entry.shown), copied(entry.reply));
        let mut shared_at = entry.shared.at as usize;
        let mut shared = || {
            shared_at += 1;
            self.shared.get(shared_at - 1).map_or(&[][..], |bytes| bytes)
        };
        let headers = if entry.shared.headers { shared() } else { copied(entry.headers) };
        let payload = if entry.shared.payload { shared() } else { copied(entry.payload) };
        PublishRef::new(&self.buffer[subject_of(entry)], payload)
            .deliver_as(shown)
            .reply(reply)
            .headers(headers)
    }

    /// Where the subject is in the buffer: that of the message before, if it is the same.
    fn place_subject(&mut self, subject: &[u8]) -> usize {
        if let Some(last) = self.messages.last()
            && self.buffer[subject_of(last)] == *subject
        {
            return last.subject_at;
        }
        self.buffer.extend_from_slice(subject);
        self.buffer.len() - subject.len()
    }

    /// The length of what was copied, and whether the part is shared instead.
    fn part(&mut self, content: Content<'_>) -> (u32, bool) {
        match content {
            Content::Copied(bytes) => {
                self.buffer.extend_from_slice(bytes);
                (bytes.len() as u32, false)
            }
            Content::Shared(bytes) => {
                self.shared.push(bytes);
                (0, true)
            }
        }
    }
}

/// The same memory for other references.
fn without_content<'a>(mut messages: Vec<PublishRef<'_>>) -> Vec<PublishRef<'a>> {
    messages.clear();
    // There is none: the compiler makes this the same buffer.
    messages.into_iter().map(|_| PublishRef::new(b"", b"")).collect()
}

fn subject_of(entry: &Entry) -> Range<usize> {
    entry.subject_at..entry.subject_at + entry.subject as usize
}

/// Empties a buffer. One larger than `kept` that was hardly used gives memory back.
pub fn empty<T>(buffer: &mut Vec<T>, kept: usize) {
    let used = buffer.len();
    buffer.clear();
    if buffer.capacity() > kept && used < buffer.capacity() / 4 {
        buffer.shrink_to(kept.max(2 * used));
    }
}

/// How often a large buffer is hardly used before it gives memory back: the load may only pause.
const PAUSES_MAX: u8 = 32;

/// [`empty`] for what comes in bursts: fresh memory for each would cost more than what is done with it.
pub fn empty_calmly<T>(buffer: &mut Vec<T>, kept: usize, pauses: &mut u8) {
    let is_used = buffer.len() >= buffer.capacity() / 4;
    *pauses = if is_used { 0 } else { *pauses + 1 };
    if *pauses < PAUSES_MAX {
        buffer.clear();
        return;
    }
    *pauses = 0;
    empty(buffer, kept);
}

#[cfg(test)]
mod tests {
    use super::{Content, Outbox, Post};
    use crate::consumer::Delivery;
    use bytes::Bytes;
    use natsd_plugin_api::PublishRef;

    fn parts(message: &PublishRef<'_>) -> [String; 5] {
        [
            message.match_subject(),
            message.shown_subject(),
            message.reply_subject(),
            message.header_block(),
            message.payload(),
        ]
        .map(|part| String::from_utf8_lossy(part).into_owned())
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let shared = |text: &'static str| Content::Shared(Bytes::from_static(text.as_bytes()));
        let delivery = Delivery { consumer: 1, stream_seq: 2, consumer_seq: 3, request: 4 };
        let mut out = Outbox::default();
        for _ in 0..2 {
            out.push(Post {
                subject: b"a",
                shown: b"b",
                reply: b"c",
                headers: shared("d"),
                payload: shared("e"),
                ..Post::default()
            });
            out.push(Post {
                subject: b"a",
                payload: shared("f"),
                delivery: Some(delivery.clone()),
                ..Post::default()
            });
            out.push(Post {
                subject: b"ab",
                headers: Content::Copied(b"g"),
                payload: shared("h"),
                ..Post::default()
            });
            out.push(Post {
                subject: b"",
                headers: shared("i"),
                payload: Content::Copied(b"j"),
                ..Post::default()
            });
            out.answer(b"k", b"", b"l");
            out.answer(b"", b"", b"nobody asked");
            let seen: Vec<[String; 5]> = out.iter().map(|message| parts(&message)).collect();
            let expected = [
                ["a", "b", "c", "d", "e"],
                ["a", "a", "", "", "f"],
                ["ab", "ab", "", "g", "h"],
                ["", "", "", "i", "j"],
                ["k", "k", "", "", "l"],
            ];
            assert_eq!(seen, expected);
            assert_eq!(out.deliveries().collect::<Vec<_>>(), [&delivery]);
            assert!(out.promises());
            out.clear();
            assert!(out.is_empty() && !out.promises() && out.deliveries().next().is_none());
        }
    }

    #[test]
    fn an_outbox_behind_another_is_the_same() {
        let post = |subject: &'static [u8], out: &mut Outbox| {
            let payload = Content::Shared(Bytes::copy_from_slice(subject));
            out.push(Post { subject, reply: b"r", payload, ..Post::default() });
            out.answer(subject, b"", b"answer");
        };
        let (mut all, mut one, mut other) = (Outbox::default(), Outbox::default(), Outbox::default());
        post(b"a", &mut all);
        post(b"a", &mut one);
        post(b"bc", &mut all);
        post(b"bc", &mut other);
        one.append(&mut other);
        let seen = |out: &Outbox| out.iter().map(|message| parts(&message)).collect::<Vec<_>>();
        assert_eq!(seen(&one), seen(&all));
        assert!(one.promises() && other.is_empty() && !other.promises());
    }

    #[test]
    fn an_outbox_that_was_full_once_gives_its_memory_back() {
        let mut out = Outbox::default();
        for _ in 0..1000 {
            out.push(Post { subject: b"a", payload: Content::Copied(&[0; 1000]), ..Post::default() });
        }
        out.clear();
        assert!(out.buffer.capacity() >= 1_000_000);
        out.push(Post { subject: b"a", ..Post::default() });
        out.clear();
        assert!(out.buffer.capacity() <= super::KEPT_BYTES);
    }

    #[test]
    fn a_buffer_of_bursts_gives_its_memory_back_when_they_are_over() {
        let (mut buffer, mut pauses) = (Vec::new(), 0);
        for _ in 0..3 {
            buffer.resize(1_000_000, 0u8);
            for _ in 0..20 {
                super::empty_calmly(&mut buffer, super::KEPT_BYTES, &mut pauses);
                assert!(buffer.is_empty() && buffer.capacity() >= 1_000_000);
                buffer.push(1);
            }
        }
        for _ in 0..20 {
            super::empty_calmly(&mut buffer, super::KEPT_BYTES, &mut pauses);
        }
        assert!(buffer.capacity() <= super::KEPT_BYTES);
    }
}
