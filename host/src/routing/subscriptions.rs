//! Subscribing and unsubscribing: a receiver's table of subscriptions and the account's sublist.
//!
//! Lock order: the receiver's table, then the account's sublist, then the receiver's outbound.

use super::outbound::Outbound;
use super::receiver::Receiver;
use super::shadows::{self, Changed, Original, Shadows};
use crate::account::Account;
use crate::interest::Sid;
use crate::interest::trie::{SubFlags, Trie};
use hashbrown::HashTable;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Numbers of removed subscriptions rest while this many others are used, so that deliveries still under
/// way do not count for a new one.
const RESTING_NUMBERS: usize = 64;

/// A receiver's subscriptions, by subscription id.
#[derive(Default)]
pub struct SubTable {
    /// Numbers in the trie; the ids are read there.
    by_sid: HashTable<u32>,
    // Boxed: nearly no connection has any, and an idle one is to be small.
    long: Option<Box<LongSids>>,
    next_index: u32,
    free: VecDeque<u32>,
    member: Option<u32>,
    /// Where they stand in other accounts.
    shadows: Option<Box<Shadows>>,
}

/// Ids that are too long to be kept in place, by their entries in the outbound's table.
#[derive(Default)]
struct LongSids {
    entries: HashMap<Box<[u8]>, u32>,
    /// Of subscriptions that are gone. They rest with their texts, which deliveries still under way may need.
    free: VecDeque<u32>,
}

/// What became of a SUB.
#[derive(Debug, PartialEq, Eq)]
pub enum Subscribed {
    New(u32),
    /// The id is in use: the old subscription stays (CORE-094).
    InUse,
    TooMany,
}

/// A subscription as shown by monitoring.
#[derive(Clone, Debug)]
pub struct SubView {
    pub subject: Vec<u8>,
    pub queue: Vec<u8>,
    pub sid: Vec<u8>,
    pub index: u32,
    /// Messages delivered.
    pub msgs: u32,
    /// UNSUB max.
    pub max: Option<u32>,
}

/// The subscriptions that a connection had at its end.
#[derive(Clone, Debug, Default)]
pub struct LastSubs {
    pub count: usize,
    /// At most `LAST_SUBS_MAX` of them.
    pub views: Vec<SubView>,
}

/// Shown of a closed connection; many closed connections are kept.
const LAST_SUBS_MAX: usize = 100;

impl SubTable {
    pub fn len(&self) -> usize {
        self.by_sid.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_sid.is_empty()
    }

    pub fn member(&self) -> Option<u32> {
        self.member
    }

    fn sid(&mut self, text: &[u8], receiver: &Receiver) -> Sid {
        Sid::short(text).unwrap_or_else(|| {
            let long = self.long.get_or_insert_default();
            if let Some(&n) = long.entries.get(text) {
                return Sid::long(n);
            }
            let mut out = receiver.out.lock();
            let rested = (long.free.len() > RESTING_NUMBERS).then(|| long.free.pop_front()).flatten();
            let n = match rested {
                Some(n) => n,
                None => {
                    out.long_sids.push(Box::default());
                    out.long_sids.len() as u32 - 1
                }
            };
            out.long_sids[n as usize] = text.into();
            long.entries.insert(text.into(), n);
            Sid::long(n)
        })
    }

    fn known_sid(&self, text: &[u8]) -> Option<Sid> {
        Sid::short(text).or_else(|| self.long.as_ref()?.entries.get(text).map(|&n| Sid::long(n)))
    }

    fn find(&self, sid: Sid, trie: &Trie) -> Option<u32> {
        self.by_sid.find(sid.hash(), |&n| trie.sub(n).sid == sid).copied()
    }

    fn take_index(&mut self, receiver: &Receiver) -> u32 {
        if self.free.len() > RESTING_NUMBERS
            && let Some(index) = self.free.pop_front()
        {
            receiver.out.lock().reset_count(index);
            return index;
        }
        self.next_index += 1;
        self.next_index - 1
    }

    /// Takes a subscription out of both tables.
    fn remove(&mut self, receiver: &Receiver, account: &Account, sid: Sid, changed: &mut Changed) -> bool {
        let mut sublist = account.sublist.write();
        let trie = &mut sublist.trie;
        let Ok(entry) = self.by_sid.find_entry(sid.hash(), |&n| trie.sub(n).sid == sid) else {
            return false;
        };
        let (number, _) = entry.remove();
        let index = trie.sub(number).index & SubFlags::INDEX;
        let subject = account.watches.any().then(|| trie.subject(number));
        remove_from_trie(trie, number, account);
        account.changed();
        drop(sublist);
        if let Some(shadows) = &mut self.shadows {
            shadows.remove(index, changed);
        }
        if let Some(subject) = subject {
            account.watches.notify(&subject);
        }
        self.free.push_back(index);
        let mut out = receiver.out.lock();
        out.set_limit(index, None);
        if let Some(n) = sid.number()
            && let Some(long) = &mut self.long
        {
            long.entries.remove(&out.long_sids[n]);
            long.free.push_back(n as u32);
        }
        true
    }
}

pub(super) fn remove_from_trie(trie: &mut Trie, number: u32, account: &Account) {
    let sub = *trie.sub(number);
    if sub.index & SubFlags::LIMITED != 0 {
        account.count_limited(false);
    }
    trie.remove(number);
}

/// Adds a subscription. `filtered`: deny rules apply to its messages (CORE-273).
pub fn subscribe(
    receiver: &Arc<Receiver>,
    account: &Account,
    subject: &[u8],
    queue: &[u8],
    sid: &[u8],
    filtered: bool,
    max_subscriptions: Option<usize>,
) -> Subscribed {
    let mut table = receiver.subs.lock();
    if let Some(sid) = table.known_sid(sid)
        && table.find(sid, &account.sublist.read().trie).is_some()
    {
        return Subscribed::InUse;
    }
    if max_subscriptions.is_some_and(|max| table.len() >= max) {
        return Subscribed::TooMany;
    }
    let sid = table.sid(sid, receiver);
    let index = table.take_index(receiver);
    let mut sublist = account.sublist.write();
    let member = *table.member.get_or_insert_with(|| sublist.join(receiver.clone(), None));
    let flags = if filtered { SubFlags::FILTERED } else { 0 };
    let number = sublist.trie.insert(subject, queue, member, sid, index | flags);
    let trie = &sublist.trie;
    table.by_sid.insert_unique(sid.hash(), number, |&n| trie.sub(n).sid.hash());
    account.changed();
    drop(sublist);
    let mut changed = Changed::default();
    let imports = account.stream_imports();
    if !imports.is_empty() {
        let original = Original { subject, queue, sid, index: index | flags };
        shadows::add(&mut table.shadows, &imports, receiver, &original, &mut changed);
    }
    drop(table);
    account.watches.notify(subject);
    changed.notify();
    Subscribed::New(index)
}

/// UNSUB (CORE-095, CORE-170..172). `max` 0: now. Gives whether the subscription is gone.
pub fn unsubscribe(receiver: &Receiver, account: &Account, sid: &[u8], max: u32) -> bool {
    let mut table = receiver.subs.lock();
    let Some(sid) = table.known_sid(sid) else { return false };
    if max > 0 {
        let mut sublist = account.sublist.write();
        let Some(number) = table.find(sid, &sublist.trie) else { return false };
        let index = sublist.trie.sub(number).index & SubFlags::INDEX;
        let mut out = receiver.out.lock();
        if out.delivered(index) < max {
            out.set_limit(index, Some(max));
            drop(out);
            let sub = *sublist.trie.sub(number);
            if sub.index & SubFlags::LIMITED == 0 {
                account.count_limited(true);
            }
            sublist.trie.set_flag(number, SubFlags::LIMITED, true);
            account.changed();
            drop(sublist);
            if let Some(shadows) = &table.shadows {
                shadows.set_flag(index, SubFlags::LIMITED, true);
            }
            return false;
        }
    }
    let mut changed = Changed::default();
    let gone = table.remove(receiver, account, sid, &mut changed);
    drop(table);
    changed.notify();
    gone
}

/// Removes a subscription that got its last message.
pub fn remove_spent(receiver: &Receiver, account: &Account, sid: Sid, index: u32) {
    let mut table = receiver.subs.lock();
    // The message may have come from another account than the subscription is in.
    let home = table.shadows.as_ref().map(|shadows| shadows.home.clone());
    let account = home.as_deref().unwrap_or(account);
    let mut changed = Changed::default();
    let current = {
        let sublist = account.sublist.read();
        table.find(sid, &sublist.trie).map(|n| sublist.trie.sub(n).index & SubFlags::INDEX)
    };
    // The id may belong to a newer subscription by now.
    if current == Some(index) {
        table.remove(receiver, account, sid, &mut changed);
    }
    drop(table);
    changed.notify();
}

/// Removes all of a receiver's subscriptions, and the receiver from the account.
pub fn remove_all(receiver: &Receiver, account: &Account) {
    let mut subjects = Vec::new();
    let mut table = receiver.subs.lock();
    let numbers: Vec<u32> = table.by_sid.drain().collect();
    if let Some(member) = table.member.take() {
        let mut sublist = account.sublist.write();
        if account.watches.any() {
            subjects = numbers.iter().map(|&number| sublist.trie.subject(number)).collect();
        }
        for number in &numbers {
            remove_from_trie(&mut sublist.trie, *number, account);
        }
        sublist.leave(member);
        account.changed();
    }
    let mut changed = Changed::default();
    if let Some(shadows) = table.shadows.take() {
        shadows.remove_all(&mut changed);
    }
    *table = SubTable::default();
    {
        let mut out = receiver.out.lock();
        out.long_sids = Vec::new();
        out.reset_counts();
    }
    drop(table);
    changed.notify();
    subjects.iter().for_each(|subject| account.watches.notify(subject));
}

/// Asks `verdict` about each subscription again: `None` removes it, `Some(filtered)` keeps it. Gives the
/// removed ones (CORE-125).
pub fn review(
    receiver: &Receiver,
    account: &Account,
    mut verdict: impl FnMut(&[u8], &[u8]) -> Option<bool>,
) -> Vec<SubView> {
    let views = list(receiver, account, usize::MAX);
    let mut table = receiver.subs.lock();
    let mut removed = Vec::new();
    let mut changed = Changed::default();
    for view in views {
        let Some(sid) = table.known_sid(&view.sid) else { continue };
        match verdict(&view.subject, &view.queue) {
            None => {
                table.remove(receiver, account, sid, &mut changed);
                removed.push(view);
            }
            Some(filtered) => {
                let mut sublist = account.sublist.write();
                if let Some(number) = table.find(sid, &sublist.trie) {
                    sublist.trie.set_flag(number, SubFlags::FILTERED, filtered);
                }
                account.changed();
                drop(sublist);
                if let Some(shadows) = &table.shadows {
                    shadows.set_flag(view.index, SubFlags::FILTERED, filtered);
                }
            }
        }
    }
    drop(table);
    changed.notify();
    removed
}

/// The account's imports changed: shadows are made anew.
pub fn import_again(receiver: &Arc<Receiver>, account: &Account) {
    let mut changed = Changed::default();
    let mut table = receiver.subs.lock();
    if let Some(shadows) = table.shadows.take() {
        shadows.remove_all(&mut changed);
    }
    let imports = account.stream_imports();
    let numbers: Vec<u32> = table.by_sid.iter().copied().collect();
    for number in numbers.into_iter().filter(|_| !imports.is_empty()) {
        let (sub, subject, queue) = {
            let trie = &account.sublist.read().trie;
            let sub = *trie.sub(number);
            (sub, trie.subject(number), trie.queue_name(sub.queue).to_vec())
        };
        let original = Original { subject: &subject, queue: &queue, sid: sub.sid, index: sub.index };
        shadows::add(&mut table.shadows, &imports, receiver, &original, &mut changed);
    }
    drop(table);
    changed.notify();
}

/// What is kept of a connection's subscriptions when it closes.
pub fn last_of(receiver: &Receiver, account: &Account) -> LastSubs {
    let count = receiver.subs.lock().len();
    let views = if count == 0 { Vec::new() } else { list(receiver, account, LAST_SUBS_MAX) };
    LastSubs { count, views }
}

/// A receiver's subscriptions, up to `max` of them.
pub fn list(receiver: &Receiver, account: &Account, max: usize) -> Vec<SubView> {
    let table = receiver.subs.lock();
    let sublist = account.sublist.read();
    let out = receiver.out.lock();
    let view = |&number: &u32| view(&sublist.trie, number, &out);
    table.by_sid.iter().take(max).map(view).collect()
}

/// One subscription, by its number in the trie; `out` is that of its receiver.
pub fn view(trie: &Trie, number: u32, out: &Outbound) -> SubView {
    let sub = trie.sub(number);
    let index = sub.index & SubFlags::INDEX;
    let mut sid = Vec::new();
    sub.sid.write(&mut sid, &out.long_sids);
    SubView {
        subject: trie.subject(number),
        queue: trie.queue_name(sub.queue).to_vec(),
        sid,
        index,
        msgs: out.delivered(index),
        max: out.limit(index),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::account::Accounts;
    use crate::config::options::{AccountOptions, AccountsOptions};
    use crate::routing::receiver::Kind;

    #[test]
    fn the_text_of_a_long_id_rests_while_deliveries_may_need_it() {
        let accounts = Accounts::default();
        let options = AccountOptions { name: "A".to_owned(), ..AccountOptions::default() };
        accounts.configure(&AccountsOptions { accounts: vec![options], ..AccountsOptions::default() });
        let account = accounts.get("A").unwrap();
        let receiver = Arc::new(Receiver::new(1, 1, Kind::Client, Outbound::default()));
        let text_of = |n: usize| receiver.out.lock().long_sids[n].clone();
        for n in 0..=RESTING_NUMBERS {
            let sid = format!("subscription{n}");
            subscribe(&receiver, &account, b"a", b"", sid.as_bytes(), false, None);
            assert!(unsubscribe(&receiver, &account, sid.as_bytes(), 0));
            assert!(!unsubscribe(&receiver, &account, sid.as_bytes(), 0));
            assert_eq!(&*text_of(n), sid.as_bytes());
        }
        subscribe(&receiver, &account, b"a", b"", b"another one", false, None);
        assert_eq!(&*text_of(0), b"another one");
        assert_eq!(receiver.out.lock().long_sids.len(), RESTING_NUMBERS + 1);
    }
}
