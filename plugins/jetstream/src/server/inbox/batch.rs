//! What waits for a stream: letters and commands in the order in which they came.

use crate::outbox::empty_calmly;
use natsd_plugin_api::{MessageRef, Trace};

/// A buffer that grew beyond this is kept only as long as it is used.
const KEPT_BYTES: usize = 64 * 1024;

/// What a letter counts beside its content.
const ITEM_BYTES: usize = 64;

/// What a message is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Publish,
    /// An acknowledgement; the subject says of what.
    Ack,
    /// A request for the next messages of a consumer.
    Pull,
    /// The answer to flow control.
    Flow,
    DirectGet,
    /// From an origin of a mirror or a stream with sources, with the number of the attempt to read it.
    Origin(u32),
    /// The inbox was full: only the reply is there.
    Overrun,
}

/// How much may wait; more is refused (JS-142).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub messages_max: usize,
    pub bytes_max: usize,
}

/// One message in the buffer: the lengths of its parts, which follow each other.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: Kind,
    subject: u16,
    reply: u16,
    headers: u32,
    payload: u32,
}

/// A message for the stream.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub kind: Kind,
    pub subject: &'a [u8],
    pub reply: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// Something to do in the stream's task.
pub type Command<T> = Box<dyn FnOnce(&mut T) + Send>;

pub enum Item<'a, T> {
    Letter(Letter<'a>),
    /// A message with its trace.
    Traced(Letter<'a>, Trace),
    Command(Command<T>),
}

impl Letter<'_> {
    /// What a stream may keep of it, about. Never nothing: who goes on until much has come must come to an end.
    pub fn size_bytes(&self) -> usize {
        ITEM_BYTES + self.headers.len() + self.payload.len()
    }
}

impl<'a> Letter<'a> {
    pub fn new(kind: Kind, message: &MessageRef<'a>) -> Self {
        Self {
            kind,
            subject: message.subject(),
            reply: message.reply(),
            headers: message.headers(),
            payload: message.payload(),
        }
    }
}

/// Letters and commands in the order in which they came.
pub struct Batch<T> {
    buffer: Vec<u8>,
    heads: Vec<Head>,
    /// Each with the number of letters before it.
    commands: Vec<(usize, Command<T>)>,
    /// Each with the place of its letter.
    traces: Vec<(usize, Trace)>,
    interest_changed: bool,
    closed: bool,
    /// Since heads and buffer were filled well.
    pauses: [u8; 2],
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            heads: Vec::new(),
            commands: Vec::new(),
            traces: Vec::new(),
            interest_changed: false,
            closed: false,
            pauses: [0; 2],
        }
    }
}

impl<T> Batch<T> {
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.commands.is_empty() && !self.interest_changed
    }

    /// Neither commands nor traces, and no changes of interest.
    pub fn is_only_letters(&self) -> bool {
        self.commands.is_empty() && self.traces.is_empty() && !self.interest_changed
    }

    /// Who listens may have changed for something that the stream's consumers watch.
    pub fn interest_changed(&self) -> bool {
        self.interest_changed
    }

    /// The letters, which stay.
    pub fn letters(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        let mut at = 0;
        self.heads.iter().map(move |head| {
            let subject = &self.buffer[at..at + usize::from(head.subject)];
            let others = usize::from(head.reply) + (head.headers + head.payload) as usize;
            at += subject.len() + others;
            (head.kind, subject)
        })
    }

    pub fn letters_len(&self) -> usize {
        self.heads.len()
    }

    /// Everything in order; the batch is empty afterwards.
    pub fn drain(&mut self, mut take: impl FnMut(Item<'_, T>)) {
        let mut commands = std::mem::take(&mut self.commands).into_iter().peekable();
        let mut traces = std::mem::take(&mut self.traces).into_iter().peekable();
        let mut at = 0;
        for (n, head) in self.heads.iter().enumerate() {
            while let Some((_, command)) = commands.next_if(|(before, _)| *before <= n) {
                take(Item::Command(command));
            }
            let mut part = |len: usize| {
                at += len;
                &self.buffer[at - len..at]
            };
            let letter = Letter {
                kind: head.kind,
                subject: part(usize::from(head.subject)),
                reply: part(usize::from(head.reply)),
                headers: part(head.headers as usize),
                payload: part(head.payload as usize),
            };
            match traces.next_if(|(of, _)| *of == n) {
                Some((_, trace)) => take(Item::Traced(letter, trace)),
                None => take(Item::Letter(letter)),
            }
        }
        commands.for_each(|(_, command)| take(Item::Command(command)));
        self.interest_changed = false;
        empty_calmly(&mut self.heads, KEPT_BYTES / size_of::<Head>(), &mut self.pauses[0]);
        empty_calmly(&mut self.buffer, KEPT_BYTES, &mut self.pauses[1]);
    }

    /// Whether it was taken.
    pub fn push_command(&mut self, command: Command<T>) -> bool {
        if !self.closed {
            self.commands.push((self.heads.len(), command));
        }
        !self.closed
    }

    pub fn push_traced(&mut self, message: &MessageRef<'_>, trace: Option<Trace>, room: Room) {
        let place = self.heads.len();
        self.push(Kind::Publish, message, room);
        let is_there = self.heads.get(place).is_some_and(|head| head.kind == Kind::Publish);
        if let Some(trace) = trace.filter(|_| is_there) {
            self.traces.push((place, trace));
        }
    }

    pub fn note_interest(&mut self) {
        self.interest_changed = true;
    }

    /// No commands are taken any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Everything goes to an empty batch.
    pub fn exchange(&mut self, batch: &mut Self) {
        batch.closed = self.closed;
        std::mem::swap(self, batch);
    }

    pub fn push(&mut self, kind: Kind, message: &MessageRef<'_>, room: Room) {
        let (subject, reply) = (message.subject(), message.reply());
        let (Ok(subject_len), Ok(reply_len)) = (u16::try_from(subject.len()), u16::try_from(reply.len()))
        else {
            // A control line is far shorter than that.
            return;
        };
        let full = self.heads.len() >= room.messages_max || self.buffer.len() >= room.bytes_max;
        if full && kind == Kind::Publish {
            if !reply.is_empty() {
                let head = Head { kind: Kind::Overrun, subject: 0, reply: reply_len, headers: 0, payload: 0 };
                self.heads.push(head);
                self.buffer.extend_from_slice(reply);
            }
            return;
        }
        let (headers, payload) = (message.headers(), message.payload());
        self.heads.push(Head {
            kind,
            subject: subject_len,
            reply: reply_len,
            headers: headers.len() as u32,
            payload: payload.len() as u32,
        });
        for part in [subject, reply, headers, payload] {
            self.buffer.extend_from_slice(part);
        }
    }
}
