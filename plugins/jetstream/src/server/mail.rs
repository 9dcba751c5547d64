//! Answers of several streams whose changes became durable together: they leave together, on the thread that wrote,
//! without waking the streams' tasks.

use super::inbox::Inbox;
use super::worker::Worker;
use crate::outbox::Outbox;
use crate::store::{Sequel, StoreError};
use natsd_plugin_api::{Host, tracing};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{AcqRel, Acquire, Release, SeqCst},
    fence,
};

/// Answers that may leave, of all streams of a server.
pub struct Mail {
    host: Host,
    is_waiting: AtomicBool,
    letters: Mutex<Letters>,
    /// Held while they leave, so that those of a stream keep their order.
    sending: Mutex<()>,
}

#[derive(Default)]
struct Letters {
    bundles: Vec<Bundle>,
    /// Emptied outboxes of streams, to be used again.
    spare: Vec<Outbox>,
}

/// Outboxes that are kept.
const SPARE_MAX: usize = 64;

/// Answers of one account, and the streams that they are from.
struct Bundle {
    outbox: Outbox,
    from: Vec<Arc<Way>>,
}

/// The way of one stream's answers. One outbox at a time goes by it.
pub struct Way {
    account: Arc<str>,
    inbox: Arc<Inbox<Worker>>,
    mail: Arc<Mail>,
    state: AtomicU8,
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// The task waits until it is free.
const WANTED: u8 = 2;

/// An outbox that waits for a commit.
struct Answers {
    way: Arc<Way>,
    /// Empty once it is in the mail.
    outbox: Outbox,
    is_settled: bool,
}

impl Mail {
    pub fn new(host: Host) -> Arc<Self> {
        let (is_waiting, letters, sending) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Arc::new(Self { host, is_waiting, letters, sending })
    }

    fn add(&self, way: &Arc<Way>, mut outbox: Outbox) {
        let letters = &mut *self.letters.lock();
        let is_same = |bundle: &&mut Bundle| {
            bundle.from.last().is_some_and(|other| Arc::ptr_eq(&other.account, &way.account))
        };
        match letters.bundles.iter_mut().rev().find(is_same) {
            Some(bundle) => {
                bundle.outbox.append(&mut outbox);
                bundle.from.push(way.clone());
                if letters.spare.len() < SPARE_MAX {
                    letters.spare.push(outbox);
                }
            }
            None => letters.bundles.push(Bundle { outbox, from: vec![way.clone()] }),
        }
        self.is_waiting.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Everything that may leave does: here, or where somebody sends already. That may be this thread, as an answer can
    /// be a message for a stream.
    pub fn send(&self) {
        while self.is_waiting.load(SeqCst) {
            let Some(sending) = self.sending.try_lock() else { return };
            self.is_waiting.store(false, SeqCst);
            let bundles = std::mem::take(&mut self.letters.lock().bundles);
            bundles.into_iter().for_each(|bundle| self.send_bundle(bundle));
            drop(sending);
            // Who came meanwhile has left it to us: they must see the lock, or we what they brought.
            fence(SeqCst);
        }
    }

    fn send_bundle(&self, Bundle { mut outbox, from }: Bundle) {
        let Some(account) = from.first().map(|way| &way.account) else { return };
        if let Err(error) = outbox.send(&self.host, account, &mut Vec::new(), |_| ()) {
            tracing::debug!("JetStream could not publish for account {account}: {error}");
        }
        from.iter().for_each(|way| way.free());
    }
}

impl Way {
    pub fn new(account: Arc<str>, inbox: Arc<Inbox<Worker>>, mail: Arc<Mail>) -> Arc<Self> {
        Arc::new(Self { account, inbox, mail, state: AtomicU8::new(FREE) })
    }

    pub fn is_free(&self) -> bool {
        self.state.load(Acquire) == FREE
    }

    /// Like [`Way::is_free`]; if not, the inbox wakes the task when it is.
    pub fn is_free_soon(&self) -> bool {
        match self.state.compare_exchange(TAKEN, WANTED, AcqRel, Acquire) {
            Ok(_) => false,
            Err(state) => state == FREE,
        }
    }

    /// What is to happen with answers, which nothing is ahead of, once their commit is done.
    pub fn take(self: &Arc<Self>, outbox: Outbox) -> Box<dyn Sequel> {
        self.state.store(TAKEN, Release);
        Box::new(Answers { way: self.clone(), outbox, is_settled: false })
    }

    pub fn send(&self) {
        self.mail.send();
    }

    /// An empty outbox.
    pub fn fresh(&self) -> Outbox {
        self.mail.letters.lock().spare.pop().unwrap_or_default()
    }

    fn free(&self) {
        if self.state.swap(FREE, AcqRel) == WANTED {
            self.inbox.wake();
        }
    }
}

impl Answers {
    fn fail(&mut self, error: StoreError) {
        self.way.inbox.command(move |worker: &mut Worker| worker.fail(&error));
        self.way.free();
    }
}

impl Sequel for Answers {
    fn settle(mut self: Box<Self>, done: &Result<(), StoreError>) {
        self.is_settled = true;
        match done {
            Ok(()) => {
                let outbox = std::mem::take(&mut self.outbox);
                self.way.mail.add(&self.way, outbox);
            }
            Err(error) => self.fail(error.clone()),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if !self.is_settled {
            self.fail(StoreError::Closed);
        }
    }
}
