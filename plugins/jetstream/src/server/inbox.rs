//! Where messages and commands for a stream come in, and where its owner is while nobody works with it.
//!
//! Who brings messages handles them at once if the owner is free and nothing came before them; the task commits what
//! they changed, and answers. Otherwise they wait: nothing here blocks for long, as publishers' threads call. A message
//! is copied once then, into a buffer that the task takes whole and gives back empty.

use super::turns::{Turn, Turns};
use crate::outbox::empty_calmly;
use natsd_plugin_api::{MessageRef, Trace};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

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

/// What became of letters that were to be handled at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handled {
    /// So many, the first ones; the others wait for the task.
    pub count: usize,
    pub then: Then,
}

/// What follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The task goes on with it, and knows.
    #[default]
    Wait,
    /// The task has to be told.
    Tell,
    /// All that there was to do is done; the turn is over.
    Rest,
}

/// Who handles letters.
pub trait Owner {
    /// On the thread that brought them.
    fn handle_now(&mut self, kind: Kind, messages: &[MessageRef<'_>]) -> Handled;
}

/// The inbox of a stream. Shared by all that send to it.
pub struct Inbox<T> {
    /// Where the owner is while nobody works with it. Locked before `waiting`, and as long as what was taken of that is
    /// not handled: letters keep their order.
    desk: Mutex<Option<Box<T>>>,
    waiting: Mutex<Batch<T>>,
    wake: Notify,
    room: Room,
    pub turn: Turn,
}

impl<T: Owner> Inbox<T> {
    pub fn letters(&self, kind: Kind, messages: &[MessageRef<'_>]) {
        let Handled { count, then } = self.handle_now(kind, messages).unwrap_or_default();
        let mut is_news = then == Then::Tell;
        if count < messages.len() {
            let mut waiting = self.waiting.lock();
            is_news |= waiting.is_empty();
            messages[count..].iter().for_each(|message| waiting.push(kind, message, self.room));
        }
        if is_news {
            self.turn.is_next();
            self.wake.notify_one();
        } else if then == Then::Rest {
            self.turn.is_over();
        }
    }

    /// A message whose trace the task completes.
    pub fn traced(&self, message: &MessageRef<'_>, trace: Option<Trace>) {
        if trace.is_none() && message.is_trace_only() {
            // Without its trace it would be a message like others, and be stored.
            return;
        }
        let is_news = {
            let mut waiting = self.waiting.lock();
            let (was_empty, place) = (waiting.is_empty(), waiting.heads.len());
            waiting.push(Kind::Publish, message, self.room);
            let is_there = waiting.heads.get(place).is_some_and(|head| head.kind == Kind::Publish);
            if let Some(trace) = trace.filter(|_| is_there) {
                waiting.traces.push((place, trace));
            }
            was_empty
        };
        if is_news {
            self.turn.is_next();
            self.wake.notify_one();
        }
    }

    /// `None`: others are there, or come first.
    fn handle_now(&self, kind: Kind, messages: &[MessageRef<'_>]) -> Option<Handled> {
        let mut desk = self.desk.try_lock()?;
        if !self.waiting.lock().is_empty() {
            return None;
        }
        work_at(&mut desk, |owner| owner.handle_now(kind, messages))
    }
}

/// `None`: the owner is gone. A panic takes it along: nobody goes on with what is half changed.
fn work_at<T, R>(desk: &mut Option<Box<T>>, work: impl FnOnce(&mut T) -> R) -> Option<R> {
    let mut owner = desk.take()?;
    let done = work(&mut owner);
    *desk = Some(owner);
    Some(done)
}

impl<T> Inbox<T> {
    pub fn new(room: Room, turns: &Arc<Turns>) -> Arc<Self> {
        let (desk, waiting, turn) = (Mutex::new(None), Mutex::new(Batch::default()), Turn::new(turns));
        Arc::new(Self { desk, waiting, wake: Notify::new(), room, turn })
    }

    /// The owner begins to work.
    pub fn come(&self, owner: Box<T>) {
        *self.desk.lock() = Some(owner);
    }

    /// The owner works no more: everything waits from now on.
    pub fn leave(&self) -> Option<Box<T>> {
        self.desk.lock().take()
    }

    /// Works with the owner. `None`: it is gone.
    pub fn work<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        work_at(&mut self.desk.lock(), work)
    }

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

    use super::{Batch, Handled, Inbox, Item, Kind, Letter, Owner, Room, Then};
    use natsd_plugin_api::MessageRef;
    use std::sync::Arc;

    const ROOM: Room = Room { messages_max: 100, bytes_max: 1000 };

    /// Writes down what it gets; takes a few letters at once.
    #[derive(Default)]
    struct Clerk {
        log: Vec<String>,
        takes: usize,
    }

    impl Clerk {
        fn note(&mut self, letter: &Letter<'_>) {
            let [subject, reply, payload] = [letter.subject, letter.reply, letter.payload]
                .map(|part| String::from_utf8(part.to_vec()).unwrap());
            self.log.push(format!("{:?} {subject} {reply} {payload}", letter.kind));
        }
    }

    impl Owner for Clerk {
        fn handle_now(&mut self, kind: Kind, messages: &[MessageRef<'_>]) -> Handled {
            let count = self.takes.min(messages.len());
            self.takes -= count;
            for message in &messages[..count] {
                assert_ne!(message.payload(), b"panic");
                self.note(&Letter::new(kind, message));
            }
            let then = if count > 0 && self.log.len() == count { Then::Tell } else { Then::Wait };
            Handled { count, then }
        }
    }

    fn new() -> Arc<Inbox<Clerk>> {
        Inbox::new(ROOM, &Arc::default())
    }

    fn drained(inbox: &Inbox<Clerk>, clerk: &mut Clerk) {
        let mut batch = Batch::default();
        inbox.take(&mut batch);
        batch.drain(|item| match item {
            Item::Command(command) => command(clerk),
            Item::Letter(letter) | Item::Traced(letter, _) => clerk.note(&letter),
        });
        assert!(batch.is_empty());
    }

    #[test]
    fn letters_and_commands_come_in_order() {
        let (inbox, mut clerk) = (new(), Clerk::default());
        inbox.letters(Kind::Publish, &[MessageRef::new(b"a", b"r", b"", b"one")]);
        assert!(inbox.command(|clerk| clerk.log.push("command".into())));
        inbox.letters(Kind::Ack, &[MessageRef::new(b"b", b"", b"NATS/1.0\r\n\r\n", b"")]);
        drained(&inbox, &mut clerk);
        assert_eq!(clerk.log, ["Publish a r one", "command", "Ack b  "]);
        inbox.close();
        assert!(!inbox.command(|_| ()));
    }

    #[test]
    fn what_the_owner_does_not_take_waits_and_all_after_it() {
        let (inbox, message) = (new(), |subject| MessageRef::new(subject, b"", b"", b""));
        inbox.come(Box::new(Clerk { takes: 3, ..Clerk::default() }));
        inbox.letters(Kind::Publish, &[message(b"a"), message(b"b")]);
        assert_eq!(inbox.work(|clerk| clerk.log.len()), Some(2));
        inbox.letters(Kind::Publish, &[message(b"c"), message(b"d")]);
        assert_eq!(inbox.work(|clerk| std::mem::replace(&mut clerk.takes, 10)), Some(0));
        inbox.letters(Kind::Publish, &[message(b"e")]);
        let log = inbox.work(|clerk| {
            // Somebody is at work: it waits, and nobody waits for it.
            inbox.letters(Kind::Publish, &[message(b"f")]);
            assert_eq!(clerk.log.len(), 3);
            drained(&inbox, clerk);
            clerk.log.concat().replace("Publish ", "").replace(' ', "")
        });
        assert_eq!(log.unwrap(), "abcdef");
        inbox.letters(Kind::Publish, &[message(b"g")]);
        assert_eq!(inbox.leave().unwrap().log.len(), 7);
        inbox.letters(Kind::Publish, &[message(b"h")]);
        assert!(inbox.work(|_| ()).is_none());
    }

    #[test]
    fn a_panic_takes_the_owner_along() {
        let inbox = new();
        inbox.come(Box::new(Clerk { takes: 1, ..Clerk::default() }));
        let call = || inbox.letters(Kind::Publish, &[MessageRef::new(b"a", b"", b"", b"panic")]);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        assert!(inbox.work(|_| ()).is_none() && inbox.leave().is_none());
    }

    /// A flood of empty messages once would have been gathered without an end.
    #[test]
    fn letters_without_content_count() {
        assert!(Letter::new(Kind::Publish, &MessageRef::new(b"a", b"", b"", b"")).size_bytes() > 0);
    }

    #[test]
    fn a_full_inbox_keeps_the_replies() {
        let (inbox, message) = (new(), MessageRef::new(b"a", b"r", b"", b""));
        inbox.letters(Kind::Publish, &vec![message; ROOM.messages_max + 2]);
        let mut clerk = Clerk::default();
        drained(&inbox, &mut clerk);
        assert_eq!(clerk.log.iter().filter(|line| *line == "Overrun  r ").count(), 2);
    }
}
