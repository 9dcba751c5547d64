//! A message read into memory that is used again and again: to deliver one of usual size allocates nothing and counts
//! no references.

use super::{Flags, Message};
use crate::outbox::Content;
use bytes::Bytes;

/// Payloads from here on are shared instead of copied.
pub const SHARED_MIN: usize = 2048;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 64 * 1024;

/// The message that was read last.
#[derive(Default)]
pub struct Loaded {
    pub seq: u64,
    pub time_ns: i64,
    pub flags: Flags,
    /// Subject, headers, and the payload unless it is shared.
    buffer: Vec<u8>,
    subject_len: usize,
    headers_len: usize,
    shared: Option<Bytes>,
}

/// A payload as a store has it.
pub enum Payload<'a> {
    Copied(&'a [u8]),
    Shared(Bytes),
}

impl Loaded {
    /// Replaces what is in it.
    pub fn fill(&mut self, seq: u64, time_ns: i64, flags: Flags, parts: (&[u8], &[u8], Payload<'_>)) {
        let (subject, headers, payload) = parts;
        (self.seq, self.time_ns, self.flags) = (seq, time_ns, flags);
        (self.subject_len, self.headers_len) = (subject.len(), headers.len());
        self.shared = None;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(subject);
        self.buffer.extend_from_slice(headers);
        match payload {
            Payload::Copied(bytes) => self.buffer.extend_from_slice(bytes),
            Payload::Shared(bytes) => self.shared = Some(bytes),
        }
    }

    pub fn take(&mut self, message: Message) {
        let Message { seq, time_ns, flags, subject, headers, payload } = message;
        let shared = payload.len() >= SHARED_MIN;
        let content = if shared { Payload::Shared(payload.clone()) } else { Payload::Copied(&payload) };
        self.fill(seq, time_ns, flags, (&subject, &headers, content));
    }

    pub fn subject(&self) -> &[u8] {
        &self.buffer[..self.subject_len]
    }

    pub fn headers(&self) -> &[u8] {
        &self.buffer[self.subject_len..self.subject_len + self.headers_len]
    }

    pub fn payload(&self) -> &[u8] {
        match &self.shared {
            Some(bytes) => bytes,
            None => &self.buffer[self.subject_len + self.headers_len..],
        }
    }

    /// For the outbox.
    pub fn content(&self) -> Content<'_> {
        match &self.shared {
            Some(bytes) => Content::Shared(bytes.clone()),
            None => Content::Copied(self.payload()),
        }
    }

    /// Of subject, headers and payload.
    pub fn size(&self) -> usize {
        self.buffer.len() + self.shared.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::{Loaded, SHARED_MIN};
    use crate::store::Message;

    #[test]
    fn a_message_is_read_over_the_one_before() {
        let mut loaded = Loaded::default();
        for len in [3, SHARED_MIN, 0, 100_000, 7] {
            let payload = vec![b'p'; len];
            let message = Message {
                seq: 7,
                subject: "a.b".into(),
                headers: "NATS/1.0\r\n\r\n".into(),
                payload: payload.clone().into(),
                ..Message::default()
            };
            loaded.take(message);
            assert_eq!(
                (loaded.seq, loaded.subject(), loaded.headers()),
                (7, &b"a.b"[..], &b"NATS/1.0\r\n\r\n"[..])
            );
            assert_eq!((loaded.payload(), loaded.size()), (&payload[..], 15 + len));
        }
    }
}
