//! Where messages and commands for a stream come in, and where its owner is while nobody works with it.
//!
//! Who brings messages handles them at once if the owner is free, and those that came before them; the task commits
//! what they changed, and answers. Otherwise they wait: nothing here blocks for long, as publishers' threads call. A
//! message is copied once then, into a buffer that is taken whole and given back empty.

mod batch;

pub use batch::{Batch, Item, Kind, Letter, Room};

use super::turns::{Turn, Turns};
use natsd_plugin_api::{MessageRef, Trace};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

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
    /// On the thread that brought them. What waits comes first: see [`Inbox::take_letters`].
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
            let was_empty = waiting.is_empty();
            waiting.push_traced(message, trace, self.room);
            was_empty
        };
        if is_news {
            self.turn.is_next();
            self.wake.notify_one();
        }
    }

    /// `None`: others are there.
    fn handle_now(&self, kind: Kind, messages: &[MessageRef<'_>]) -> Option<Handled> {
        let mut desk = self.desk.try_lock()?;
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
            let was_empty = waiting.is_empty();
            if !waiting.push_command(Box::new(command)) {
                return false;
            }
            was_empty
        };
        if was_empty {
            self.turn.is_next();
            self.wake.notify_one();
        }
        true
    }

    pub fn interest_changed(&self) {
        self.waiting.lock().note_interest();
        self.wake.notify_one();
    }

    /// Exchanges what waits for an empty batch.
    pub fn take(&self, batch: &mut Batch<T>) {
        self.waiting.lock().exchange(batch);
    }

    /// Exchanges what waits for an empty batch if it is nothing but letters. Whether nothing else waits.
    pub fn take_letters(&self, batch: &mut Batch<T>) -> bool {
        let mut waiting = self.waiting.lock();
        let is_all = waiting.is_only_letters();
        if is_all && !waiting.is_empty() {
            waiting.exchange(batch);
        }
        is_all
    }

    /// Nothing is taken any more. What waits stays to be drained.
    pub fn close(&self) {
        self.waiting.lock().close();
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
    use std::sync::{Arc, Weak};

    const ROOM: Room = Room { messages_max: 100, bytes_max: 1000 };

    /// Writes down what it gets; takes a few letters at once.
    #[derive(Default)]
    struct Clerk {
        log: Vec<String>,
        takes: usize,
        inbox: Weak<Inbox<Clerk>>,
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
            let mut batch = Batch::default();
            let inbox = self.inbox.upgrade().unwrap();
            if self.takes == 0 || !inbox.take_letters(&mut batch) {
                return Handled::default();
            }
            batch.drain(|item| match item {
                Item::Letter(letter) => self.note(&letter),
                _ => panic!("only letters"),
            });
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

    fn come(inbox: &Arc<Inbox<Clerk>>, takes: usize) {
        inbox.come(Box::new(Clerk { takes, inbox: Arc::downgrade(inbox), ..Clerk::default() }));
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
        come(&inbox, 3);
        inbox.letters(Kind::Publish, &[message(b"a"), message(b"b")]);
        assert_eq!(inbox.work(|clerk| clerk.log.len()), Some(2));
        inbox.letters(Kind::Publish, &[message(b"c"), message(b"d")]);
        assert_eq!(inbox.work(|clerk| std::mem::replace(&mut clerk.takes, 10)), Some(0));
        inbox.letters(Kind::Publish, &[message(b"e")]);
        let log = inbox.work(|clerk| {
            // Somebody is at work: it waits, and nobody waits for it.
            inbox.letters(Kind::Publish, &[message(b"f")]);
            assert_eq!(clerk.log.len(), 5);
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
    fn who_brings_more_handles_what_waits_if_that_is_only_letters() {
        let (inbox, message) = (new(), |subject| MessageRef::new(subject, b"", b"", b""));
        inbox.letters(Kind::Publish, &[message(b"a"), message(b"b")]);
        come(&inbox, 10);
        inbox.letters(Kind::Publish, &[message(b"c")]);
        assert_eq!(inbox.work(|clerk| clerk.log.len()), Some(3));
        inbox.command(|clerk| clerk.log.push("d".into()));
        inbox.letters(Kind::Publish, &[message(b"e")]);
        inbox.interest_changed();
        let mut clerk = inbox.leave().unwrap();
        assert_eq!(clerk.log.len(), 3, "a command comes first, and is the task's");
        drained(&inbox, &mut clerk);
        assert_eq!(clerk.log.concat().replace("Publish ", "").replace(' ', ""), "abcde");
    }

    #[test]
    fn a_panic_takes_the_owner_along() {
        let inbox = new();
        come(&inbox, 1);
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
