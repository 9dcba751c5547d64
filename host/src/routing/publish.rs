//! Messages that the server and its plugins publish: the same chunk, without a connection.

use super::chunk::{Chunk, Guard, Item, Sender, Span};
use super::format::put_number;
use crate::account::Account;
use crate::interest::Matched;
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
            let mut one = std::iter::once(message);
            CHUNK.with_borrow_mut(|chunk| publish_now(chunk, account, &mut one, &mut |_| {}));
        }
    }
}

/// Publishes in order; `outcome` is told what became of each. Called from within a delivery (an inline
/// subscriber), the messages go out when that delivery is over, and the outcome counts the interest there is.
pub fn publish<'m>(
    account: &Arc<Account>,
    messages: impl IntoIterator<Item = Message<'m>>,
    mut outcome: impl FnMut(Published),
) {
    let mut messages = messages.into_iter();
    let free = CHUNK.with(|chunk| chunk.try_borrow_mut().is_ok());
    if free {
        return with_chunk(|chunk| publish_now(chunk, account, &mut messages, &mut outcome));
    }
    for m in messages {
        let matched = account.sublist.read().matched(account.id, 0, m.subject);
        outcome(Published { receivers: receivers(&matched), slow: false });
        let parts = [m.subject, m.deliver_as, m.reply, m.headers, m.payload].map(<[u8]>::to_vec);
        DEFERRED.with_borrow_mut(|d| d.push(Deferred { account: account.clone(), parts }));
    }
}

/// Messages of the server itself, on their way into a chunk. Used again and again.
#[derive(Default)]
pub(super) struct Copies {
    /// As if they had been read from a connection.
    buf: Vec<u8>,
    /// The receivers of each; `None`: its subject is to be resolved.
    receivers: Vec<Option<u32>>,
}

/// What is copied before it is delivered. More would leave the caches of the processor, and come from fresh memory.
const COPIED_MAX: usize = 128 * 1024;

fn receivers(matched: &Matched) -> u32 {
    (matched.plain.len() + matched.queues.len()) as u32
}

fn publish_now(
    chunk: &mut Chunk,
    account: &Account,
    messages: &mut dyn Iterator<Item = Message<'_>>,
    outcome: &mut dyn FnMut(Published),
) {
    let sender = Sender { account, receiver: None, echo: true, no_responders: false };
    let mut copies = std::mem::take(&mut chunk.copies);
    loop {
        let generation = account.generation();
        let mut guard: Guard<'_> = None;
        while copies.buf.len() < COPIED_MAX
            && let Some(message) = messages.next()
        {
            let receivers = record(chunk, &sender, generation, &message, &mut copies.buf, &mut guard);
            copies.receivers.push(receivers);
        }
        if copies.receivers.is_empty() {
            break;
        }
        let slow = chunk.deliver(&sender, &copies.buf, &mut guard).is_some();
        let mut resolved = std::mem::take(&mut chunk.resolved);
        let mut later = resolved.drain(..);
        for known in copies.receivers.drain(..) {
            let receivers = known.or_else(|| later.next()).unwrap_or_default();
            outcome(Published { receivers, slow });
        }
        drop(later);
        chunk.resolved = resolved;
        copies.buf.clear();
    }
    copies.buf.shrink_to(2 * COPIED_MAX);
    chunk.copies = copies;
}

/// Copies a message and records it. Answers how many receivers it has; `None`: that is known when it is delivered.
fn record<'a>(
    chunk: &mut Chunk,
    sender: &Sender<'a>,
    generation: u64,
    m: &Message<'_>,
    buf: &mut Vec<u8>,
    guard: &mut Guard<'a>,
) -> Option<u32> {
    let account = sender.account;
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
    let size_at = buf.len() as u32;
    put_number(buf, body.len as u64 - 2);
    let size_text = Span { at: size_at, len: buf.len() as u32 - size_at };
    let line = chunk.next_line();
    let item = Item { subject, reply, header_len: m.headers.len() as u32, size_text, body, line };
    chunk.note_large(m.payload.len());
    // Only what clients publish is mapped.
    let cached = match account.mapping(m.subject) {
        Some(_) => None,
        None => chunk.lookup(account, generation, m.subject, guard),
    };
    let hit = match cached {
        Some(hit) => hit,
        // Answers, each to a subject of its own: found together, and nothing is kept of them.
        None if m.deliver_as.is_empty() && !account.has_limited() => {
            chunk.record_unknown(item, sender, buf, guard);
            return None;
        }
        None => {
            let sublist = guard.get_or_insert_with(|| account.sublist.read());
            Arc::new(sublist.matched(account.id, generation, m.subject))
        }
    };
    if hit.is_empty() {
        return Some(0);
    }
    match m.deliver_as.is_empty() {
        true => chunk.record(item, &hit, sender),
        // Importers see the same subject as everybody.
        false => {
            chunk.note_interest(item.line, interest);
            let is_named = !hit.shown.is_empty();
            let seen = if is_named { Arc::new(hit.under_one_name()) } else { hit.clone() };
            chunk.record(item, &seen, sender);
        }
    }
    Some(receivers(&hit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{COPIED_MAX, Message, publish};
    use crate::account::Accounts;
    use crate::routing::receiver::{Kind, Receiver};
    use crate::routing::seen::Seen;
    use crate::routing::subscriptions::{subscribe, unsubscribe};
    use std::sync::Arc;

    /// Subjects that are known, those that are looked for together, and messages seen under another subject, in more than
    /// is copied at a time.
    #[test]
    fn each_message_is_told_its_receivers_and_all_come_in_order() {
        let accounts = Accounts::default();
        let account = &accounts.global;
        let seen = Arc::new(Seen::default());
        let receiver = Arc::new(Receiver::inline(1, 1, Kind::Client, seen.clone()));
        subscribe(&receiver, account, b"*.x", b"", b"1", false, None);
        let others: Vec<_> = (2..5)
            .map(|id| {
                let other = Arc::new(Receiver::inline(id, id.into(), Kind::Client, Arc::<Seen>::default()));
                let queue: &[u8] = if id < 4 { b"q" } else { b"" };
                subscribe(&other, account, b"two.*", queue, b"1", false, None);
                other
            })
            .collect();
        let payload = vec![0; COPIED_MAX / 50];
        let subjects: Vec<String> = (0..200)
            .map(|n| match n % 4 {
                0 => "often.x".to_owned(),
                1 => format!("once{n}.x"),
                2 => "two.x".to_owned(),
                _ => format!("none.{n}"),
            })
            .collect();
        let messages = || {
            let numbered = subjects.iter().enumerate();
            numbered.map(|(n, subject)| Message {
                deliver_as: if n % 8 == 0 { b"shown" } else { b"" },
                ..Message::new(subject.as_bytes(), &payload)
            })
        };
        let expected = |n: usize| [1, 1, 3, 0][n % 4];
        let shown = |n: usize| if n.is_multiple_of(8) { "shown" } else { &*subjects[n] };
        let expected_seen: Vec<&str> = (0..200).filter(|n| n % 4 != 3).map(shown).collect();
        for limited in [false, true] {
            if limited {
                unsubscribe(&others[2], account, b"1", 1_000_000);
            }
            let mut told = Vec::new();
            publish(account, messages(), |published| told.push(published.receivers));
            assert_eq!(told, (0..200).map(expected).collect::<Vec<_>>(), "limited {limited}");
            assert_eq!(std::mem::take(&mut *seen.0.lock()), expected_seen, "limited {limited}");
        }
    }
}
