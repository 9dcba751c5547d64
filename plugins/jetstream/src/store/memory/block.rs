//! Some messages in a row: what is known of each in one vector, their contents in one buffer.
//!
//! A message costs 32 bytes beside its content. Removed ones stay until half of a block is unused, so that nothing is
//! moved for most of them.

use crate::store::loaded::{Payload, SHARED_MIN};
use crate::store::subjects::Id;
use crate::store::{Flags, NewMessage};
use bytes::Bytes;

/// Content of a block, unless one message is larger. Below what the allocator asks the system for each time.
const BYTES_MAX: usize = if cfg!(test) { 256 } else { 64 * 1024 };
/// Messages of a block.
const HEADS_MAX: usize = if cfg!(test) { 16 } else { 2048 };
/// Unused bytes and heads that are not worth moving the others.
const UNUSED_BYTES_MIN: usize = if cfg!(test) { 16 } else { 4 * 1024 };
const UNUSED_HEADS_MIN: usize = if cfg!(test) { 2 } else { 16 };
/// Of headers: the length shares four bytes with the flags.
pub const HEADERS_MAX: usize = 0xFF_FFFF;

/// No subject has this number: the message was removed.
const REMOVED: Id = Id::MAX;

/// What is known of a message besides its content.
#[derive(Clone, Copy)]
pub struct Head {
    pub time_ns: i64,
    pub subject: Id,
    /// To the message of the same subject before this one.
    pub before: Distance,
    /// To the one after it.
    pub after: Distance,
    /// From the block's first sequence.
    delta: u32,
    /// Where the headers begin, which the payload follows up to the next message.
    at: u32,
    headers_len_and_flags: u32,
}

const _: () = assert!(size_of::<Head>() == 32);

/// Between two sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distance(u32);

impl Distance {
    /// There is no other.
    pub const NONE: Self = Self(0);
    /// It is there, but too far away to be said.
    pub const FAR: Self = Self(u32::MAX);

    /// `to` 0: there is none.
    pub fn between(from: u64, to: u64) -> Self {
        match (from, to) {
            (0, _) | (_, 0) => Self::NONE,
            (from, to) => u32::try_from(to.abs_diff(from)).map_or(Self::FAR, Self),
        }
    }

    pub fn get(self) -> u64 {
        u64::from(self.0)
    }
}

impl Head {
    pub fn flags(&self) -> Flags {
        Flags((self.headers_len_and_flags >> 24) as u8)
    }

    pub fn is_live(&self) -> bool {
        self.subject != REMOVED
    }

    fn headers_len(&self) -> usize {
        (self.headers_len_and_flags & 0xFF_FFFF) as usize
    }
}

/// Messages with ascending sequences. At least one of them is there.
pub struct Block {
    pub first_seq: u64,
    heads: Vec<Head>,
    live: usize,
    live_bytes: usize,
    content: Content,
}

enum Content {
    Open(Vec<u8>),
    Sealed(Bytes),
}

/// Buffers of a block that went, to be used again.
#[derive(Default)]
pub struct Spare {
    heads: Vec<Head>,
    content: Vec<u8>,
}

/// Headers and payload.
pub type Parts = (Bytes, Bytes);

impl Block {
    pub fn new(first_seq: u64, spare: Spare) -> Self {
        let Spare { heads, content } = spare;
        Self { first_seq, heads, live: 0, live_bytes: 0, content: Content::Open(content) }
    }

    pub fn has_room(&self, seq: u64, bytes: usize) -> bool {
        let Content::Open(content) = &self.content else { return false };
        let fits = content.is_empty() || content.len() + bytes <= BYTES_MAX;
        fits && self.heads.len() < HEADS_MAX
            && seq - self.first_seq <= u64::from(u32::MAX)
            && self.heads.last().is_none_or(|last| self.first_seq + u64::from(last.delta) < seq)
    }

    /// There is room for it.
    pub fn push(&mut self, seq: u64, message: &NewMessage<'_>, subject: Id, before: Distance) {
        let Content::Open(content) = &mut self.content else { return };
        self.heads.push(Head {
            time_ns: message.time_ns,
            subject,
            before,
            after: Distance::NONE,
            delta: (seq - self.first_seq) as u32,
            at: content.len() as u32,
            headers_len_and_flags: u32::from(message.flags.0) << 24 | message.headers.len() as u32,
        });
        content.extend_from_slice(message.headers);
        content.extend_from_slice(message.payload);
        self.live += 1;
        self.live_bytes += message.headers.len() + message.payload.len();
    }

    /// Nothing more comes. What another block needs at first is the answer.
    pub fn seal(&mut self) -> Spare {
        let Content::Open(content) = &mut self.content else { return Spare::default() };
        let mut content = std::mem::take(content);
        if content.capacity() - content.len() > content.len() / 16 {
            content.shrink_to_fit();
        }
        self.heads.shrink_to_fit();
        let bytes = if content.len() < BYTES_MAX / 2 { content.len() } else { BYTES_MAX };
        let spare = Spare { heads: Vec::with_capacity(self.heads.len()), content: Vec::with_capacity(bytes) };
        self.content = Content::Sealed(content.into());
        spare
    }

    pub fn into_spare(self) -> Spare {
        let Content::Open(mut content) = self.content else { return Spare::default() };
        let mut heads = self.heads;
        heads.clear();
        content.clear();
        Spare { heads, content }
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub fn live(&self) -> u64 {
        self.live as u64
    }

    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    pub fn head_mut(&mut self, at: usize) -> &mut Head {
        &mut self.heads[at]
    }

    pub fn seq(&self, head: &Head) -> u64 {
        self.first_seq + u64::from(head.delta)
    }

    pub fn last_time_ns(&self) -> i64 {
        self.heads.last().map_or(0, |head| head.time_ns)
    }

    /// Where a message is that is there.
    pub fn find(&self, seq: u64) -> Option<usize> {
        let at = self.at_or_after(seq);
        self.heads.get(at).filter(|head| head.is_live() && self.seq(head) == seq).map(|_| at)
    }

    /// The first place with that sequence or a later one, removed or not.
    pub fn at_or_after(&self, seq: u64) -> usize {
        let delta = seq.saturating_sub(self.first_seq);
        // Where nothing was left out the place is the distance; it is never behind that.
        let guess = usize::try_from(delta).unwrap_or(usize::MAX);
        match self.heads.get(guess) {
            Some(head) if u64::from(head.delta) == delta => guess,
            _ => {
                let end = self.heads.len().min(guess);
                self.heads[..end].partition_point(|head| u64::from(head.delta) < delta)
            }
        }
    }

    pub fn lens(&self, at: usize) -> (usize, usize) {
        let (head, end) = (&self.heads[at], self.end(at));
        (head.headers_len(), end - head.at as usize - head.headers_len())
    }

    pub fn parts(&self, at: usize) -> Parts {
        let (head, end) = (&self.heads[at], self.end(at));
        let (start, middle) = (head.at as usize, head.at as usize + head.headers_len());
        let part = |start: usize, end: usize| match &self.content {
            _ if start == end => Bytes::new(),
            Content::Open(content) => Bytes::copy_from_slice(&content[start..end]),
            Content::Sealed(content) => content.slice(start..end),
        };
        (part(start, middle), part(middle, end))
    }

    /// Headers and payload, copied as little as possible.
    pub fn lend(&self, at: usize) -> (&[u8], Payload<'_>) {
        let (head, end) = (&self.heads[at], self.end(at));
        let (start, middle) = (head.at as usize, head.at as usize + head.headers_len());
        let bytes = self.bytes();
        let payload = match &self.content {
            Content::Sealed(content) if end - middle >= SHARED_MIN => {
                Payload::Shared(content.slice(middle..end))
            }
            _ => Payload::Copied(&bytes[middle..end]),
        };
        (&bytes[start..middle], payload)
    }

    pub fn remove(&mut self, at: usize) {
        let (headers, payload) = self.lens(at);
        self.heads[at].subject = REMOVED;
        self.live -= 1;
        self.live_bytes -= headers + payload;
        if self.live > 0
            && (self.heads.len() > 2 * self.live + UNUSED_HEADS_MIN
                || self.content_len() > 2 * self.live_bytes + UNUSED_BYTES_MIN)
        {
            self.move_together();
        }
    }

    /// Forgets removed messages at the end, whose sequences may be used again.
    pub fn trim(&mut self) {
        while let Some(last) = self.heads.pop_if(|last| !last.is_live()) {
            match &mut self.content {
                Content::Open(content) => content.truncate(last.at as usize),
                Content::Sealed(content) => content.truncate(last.at as usize),
            }
        }
    }

    fn end(&self, at: usize) -> usize {
        self.heads.get(at + 1).map_or(self.content_len(), |next| next.at as usize)
    }

    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Open(content) => content,
            Content::Sealed(content) => content,
        }
    }

    fn content_len(&self) -> usize {
        self.bytes().len()
    }

    fn move_together(&mut self) {
        let mut content = Vec::with_capacity(self.live_bytes);
        let mut heads = Vec::with_capacity(self.live);
        for (at, head) in self.heads.iter().enumerate().filter(|(_, head)| head.is_live()) {
            let start = content.len() as u32;
            content.extend_from_slice(&self.bytes()[head.at as usize..self.end(at)]);
            heads.push(Head { at: start, ..*head });
        }
        self.heads = heads;
        self.content = match self.content {
            Content::Open(_) => Content::Open(content),
            Content::Sealed(_) => Content::Sealed(content.into()),
        };
    }
}
