//! What waits for a stream's task: messages as publishers' threads left them, and commands of the API.
//!
//! Filled by inline subscribers, so nothing here blocks for long: a message is copied once, into a buffer that the
//! task takes whole and gives back empty.

use super::turns::{Turn, Turns};
use crate::outbox::empty_calmly;
use natsd_plugin_api::MessageRef;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// A buffer that grew beyond this is kept only as long as it is used.
const KEPT_BYTES: usize = 64 * 1024;

/// What an item counts beside its content.
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
    Command(Command<T>),
}

impl<T> Item<'_, T> {
    /// What a stream may keep of it, about. Never nothing: who goes on until much has come must come to an end.
    pub fn size_bytes(&self) -> usize {
        let content_bytes = match self {
            Self::Letter(letter) => letter.headers.len() + letter.payload.len(),
            Self::Command(_) => 0,
        };
        ITEM_BYTES + content_bytes
    }
}

/// Letters and commands in the order in which they came.
pub struct Batch<T> {
    buffer: Vec<u8>,
    heads: Vec<Head>,
    /// Each with the number of letters before it.
    commands: Vec<(usize, Command<T>)>,
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
        let mut at = 0;
        for (n, head) in self.heads.iter().enumerate() {
            while let Some((_, command)) = commands.next_if(|(before, _)| *before <= n) {
                take(Item::Command(command));
            }
            let mut part = |len: usize| {
                at += len;
                &self.buffer[at - len..at]
            };
            take(Item::Letter(Letter {
                kind: head.kind,
                subject: part(usize::from(head.subject)),
                reply: part(usize::from(head.reply)),
                headers: part(head.headers as usize),
                payload: part(head.payload as usize),
            }));
        }
        commands.for_each(|(_, command)| take(Item::Command(command)));
        self.interest_changed = false;
        empty_calmly(&mut self.heads, KEPT_BYTES / size_of::<Head>(), &mut self.pauses[0]);
        empty_calmly(&mut self.buffer, KEPT_BYTES, &mut self.pauses[1]);
    }

    fn push(&mut self, kind: Kind, message: &MessageRef<'_>, room: Room) {
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

/// The inbox of a stream. Shared by all that send to it.
pub struct Inbox<T> {
    waiting: Mutex<Batch<T>>,
    wake: Notify,
    room: Room,
    pub turn: Turn,
}

impl<T> Inbox<T> {
    pub fn new(room: Room, turns: &Arc<Turns>) -> Arc<Self> {
        let (waiting, turn) = (Mutex::new(Batch::default()), Turn::new(turns));
        Arc::new(Self { waiting, wake: Notify::new(), room, turn })
    }

    pub fn letters(&self, kind: Kind, messages: &[MessageRef<'_>]) {
        let was_empty = {
            let mut waiting = self.waiting.lock();
            let was_empty = waiting.is_empty();
            messages.iter().for_each(|message| waiting.push(kind, message, self.room));
            was_empty
        };
        if was_empty {
            self.turn.is_next();
            self.wake.notify_one();
        }
    }

    /// `false`: the task has ended, and the command is gone.
    pub fn command(&self, command: impl FnOnce(&mut T) + Send + 'static) -> bool {
        let was_empty = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return false;
            }
            let was_empty = waiting.is_empty();
            let before = waiting.heads.len();
            waiting.commands.push((before, Box::new(command)));
            was_empty
        };
        if was_empty {
            self.turn.is_next();
            self.wake.notify_one();
        }
        true
    }

    pub fn interest_changed(&self) {
        self.waiting.lock().interest_changed = true;
        self.wake.notify_one();
    }

    /// Exchanges what waits for an empty batch.
    pub fn take(&self, batch: &mut Batch<T>) {
        let mut waiting = self.waiting.lock();
        batch.closed = waiting.closed;
        std::mem::swap(&mut *waiting, batch);
    }

    /// Nothing is taken any more. What waits stays to be drained.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
    }

    /// Lets the task look again.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Until something may have come.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Batch, Inbox, Item, Kind, Room};
    use natsd_plugin_api::MessageRef;
    use std::sync::Arc;

    const ROOM: Room = Room { messages_max: 100, bytes_max: 1000 };

    #[test]
    fn letters_and_commands_come_in_order() {
        let inbox = Inbox::<Vec<String>>::new(ROOM, &Arc::default());
        inbox.letters(Kind::Publish, &[MessageRef::new(b"a", b"r", b"", b"one")]);
        assert!(inbox.command(|log| log.push("command".into())));
        inbox.letters(Kind::Ack, &[MessageRef::new(b"b", b"", b"NATS/1.0\r\n\r\n", b"")]);
        let (mut batch, mut log) = (Batch::default(), Vec::new());
        inbox.take(&mut batch);
        batch.drain(|item| match item {
            Item::Command(command) => command(&mut log),
            Item::Letter(letter) => {
                let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
                log.push(format!(
                    "{:?} {} {} {}",
                    letter.kind,
                    text(letter.subject),
                    text(letter.reply),
                    text(letter.payload)
                ));
            }
        });
        assert_eq!(log, ["Publish a r one", "command", "Ack b  "]);
        assert!(batch.is_empty());
        inbox.close();
        assert!(!inbox.command(|_| ()));
    }

    /// A flood of empty messages once would have been gathered without an end.
    #[test]
    fn items_without_content_count() {
        let inbox = Inbox::<()>::new(ROOM, &Arc::default());
        inbox.letters(Kind::Publish, &[MessageRef::new(b"a", b"", b"", b"")]);
        assert!(inbox.command(|()| ()));
        let (mut batch, mut sizes) = (Batch::default(), Vec::new());
        inbox.take(&mut batch);
        batch.drain(|item| sizes.push(item.size_bytes()));
        assert!(sizes.len() == 2 && sizes.iter().all(|size| *size > 0), "{sizes:?}");
    }

    #[test]
    fn a_full_inbox_keeps_the_replies() {
        let inbox = Inbox::<()>::new(ROOM, &Arc::default());
        let message = MessageRef::new(b"a", b"r", b"", b"");
        inbox.letters(Kind::Publish, &vec![message; ROOM.messages_max + 2]);
        let (mut batch, mut refused) = (Batch::default(), 0);
        inbox.take(&mut batch);
        batch.drain(|item| {
            if let Item::Letter(letter) = item {
                refused += usize::from(letter.kind == Kind::Overrun && letter.reply == b"r");
            }
        });
        assert_eq!(refused, 2);
    }
}
