//! Messages that the server and its plugins publish: the same chunk, without a connection.

use super::chunk::{Chunk, Guard, Item, Sender, Span};
use super::format::put_number;
use crate::account::Account;
use crate::runtime::random_u64;
use std::cell::RefCell;
use std::sync::Arc;

/// A message to publish.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Whose interest counts.
    pub subject: &'a [u8],
    /// What receivers see as the subject; empty: the same.
    pub deliver_as: &'a [u8],
    pub reply: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn new(subject: &'a [u8], payload: &'a [u8]) -> Self {
        Message { subject, deliver_as: b"", reply: b"", headers: b"", payload }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub receivers: u32,
    /// Some receiver is behind: slow down.
    pub slow: bool,
}

/// A message that came while this thread was delivering another.
struct Deferred {
    account: Arc<Account>,
    parts: [Vec<u8>; 5],
}

thread_local! {
    static CHUNK: RefCell<Chunk> = RefCell::new(Chunk::new(random_u64()));
    static DEFERRED: RefCell<Vec<Deferred>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's chunk; afterwards publishes what callbacks wanted to publish meanwhile.
pub fn with_chunk<T>(work: impl FnOnce(&mut Chunk) -> T) -> T {
    let result = CHUNK.with_borrow_mut(work);
    if DEFERRED.with_borrow(|d| !d.is_empty()) {
        publish_deferred();
    }
    result
}

#[cold]
fn publish_deferred() {
    loop {
        let deferred = DEFERRED.with_borrow_mut(std::mem::take);
        if deferred.is_empty() {
            return;
        }
        for Deferred { account, parts: [subject, deliver_as, reply, headers, payload] } in &deferred {
            let message = Message { subject, deliver_as, reply, headers, payload };
            CHUNK.with_borrow_mut(|chunk| publish_now(chunk, account, &[message], &mut |_| {}));
        }
    }
}

/// Publishes in order; `outcome` is told what became of each. Called from within a delivery (an inline
/// subscriber), the messages go out when that delivery is over, and the outcome counts the interest there is.
pub fn publish(account: &Arc<Account>, messages: &[Message<'_>], mut outcome: impl FnMut(Published)) {
    let free = CHUNK.with(|chunk| chunk.try_borrow_mut().is_ok());
    if free {
        return with_chunk(|chunk| publish_now(chunk, account, messages, &mut outcome));
    }
    for m in messages {
        let matched = account.sublist.read().matched(account.id, 0, m.subject);
        outcome(Published { receivers: receivers(&matched), slow: false });
        let parts = [m.subject, m.deliver_as, m.reply, m.headers, m.payload].map(<[u8]>::to_vec);
        DEFERRED.with_borrow_mut(|d| d.push(Deferred { account: account.clone(), parts }));
    }
}

fn receivers(matched: &crate::interest::Matched) -> u32 {
    (matched.plain.len() + matched.queues.len()) as u32
}

fn publish_now(
    chunk: &mut Chunk,
    account: &Account,
    messages: &[Message<'_>],
    outcome: &mut dyn FnMut(Published),
) {
    let size = messages.iter().map(|m| m.payload.len() + m.headers.len() + m.reply.len() + 2);
    let subjects = messages.iter().map(|m| m.subject.len() + m.deliver_as.len());
    let mut buf = Vec::with_capacity(size.sum::<usize>() + subjects.sum::<usize>());
    let sender = Sender { account, receiver: None, echo: true, no_responders: false };
    let mut guard: Guard<'_> = None;
    let generation = account.generation();
    let mut results = Vec::with_capacity(messages.len());
    for m in messages {
        let mut part = |bytes: &[u8]| {
            let at = buf.len() as u32;
            buf.extend_from_slice(bytes);
            Span { at, len: bytes.len() as u32 }
        };
        let subject = part(if m.deliver_as.is_empty() { m.subject } else { m.deliver_as });
        let interest = if m.deliver_as.is_empty() { subject } else { part(m.subject) };
        let reply = part(m.reply);
        let body = part(m.headers);
        part(m.payload);
        part(b"\r\n");
        let body = Span { at: body.at, len: (m.headers.len() + m.payload.len() + 2) as u32 };
        let mut digits = Vec::with_capacity(8);
        put_number(&mut digits, body.len as u64 - 2);
        let size_text = part(&digits);
        let line = chunk.next_line();
        let item = Item { subject, reply, header_len: m.headers.len() as u32, size_text, body, line };
        // Only what clients publish is mapped.
        let cached = match account.mapping(m.subject) {
            Some(_) => None,
            None => chunk.lookup(account, generation, m.subject, &mut guard),
        };
        let hit = cached.unwrap_or_else(|| {
            let sublist = guard.get_or_insert_with(|| account.sublist.read());
            Arc::new(sublist.matched(account.id, generation, m.subject))
        });
        results.push(receivers(&hit));
        chunk.note_large(m.payload.len());
        if hit.is_empty() {
            continue;
        }
        match m.deliver_as.is_empty() {
            true => chunk.record(item, &hit, &sender),
            // Importers see the same subject as everybody.
            false => {
                chunk.note_interest(item.line, interest);
                let is_named = !hit.shown.is_empty();
                let hit = if is_named { Arc::new(hit.under_one_name()) } else { hit };
                chunk.record(item, &hit, &sender);
            }
        }
    }
    let slow = chunk.deliver(&sender, &buf, &mut guard).is_some();
    for receivers in results {
        outcome(Published { receivers, slow });
    }
}
