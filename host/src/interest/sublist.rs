//! The subscriptions of one account: the trie and the receivers behind its numbers.

use super::matched::{Matched, Target};
use super::sid::Sid;
use super::trie::{Sub, SubFlags, Trie};
use crate::routing::receiver::Receiver;
use std::sync::Arc;

#[derive(Default)]
pub struct Sublist {
    pub trie: Trie,
    members: Vec<Option<Arc<Receiver>>>,
    free_members: Vec<u32>,
}

impl Sublist {
    /// Gives a receiver its number here.
    pub fn join(&mut self, receiver: Arc<Receiver>) -> u32 {
        match self.free_members.pop() {
            Some(n) => {
                self.members[n as usize] = Some(receiver);
                n
            }
            None => {
                self.members.push(Some(receiver));
                self.members.len() as u32 - 1
            }
        }
    }

    /// Takes the number back; its subscriptions must be gone.
    pub fn leave(&mut self, member: u32) {
        self.members[member as usize] = None;
        self.free_members.push(member);
    }

    /// The receiver with this number; it exists while it has subscriptions.
    #[inline]
    pub fn member(&self, member: u32) -> Option<&Arc<Receiver>> {
        self.members.get(member as usize).and_then(Option::as_ref)
    }

    pub fn members(&self) -> impl Iterator<Item = &Arc<Receiver>> {
        self.members.iter().flatten()
    }

    /// Whether a filtered subscription may see `subject` (CORE-273).
    #[inline]
    pub fn may_deliver(&self, sub: &Sub, subject: &[u8]) -> bool {
        if sub.index & SubFlags::FILTERED == 0 {
            return true;
        }
        let queue = (sub.queue != 0).then(|| self.trie.queue_name(sub.queue));
        self.member(sub.member).is_some_and(|r| !r.denies_delivery(subject, queue))
    }

    /// The whole answer for `subject`, to be kept in a cache.
    pub fn matched(&self, account: u32, generation: u64, subject: &[u8]) -> Matched {
        let mut plain = vec![];
        let mut queued: Vec<(u32, Target)> = vec![];
        let mut limited = false;
        if is_matchable(subject) {
            self.trie.matches(subject, |_, sub| {
                if !self.may_deliver(sub, subject) {
                    return;
                }
                let Some(receiver) = self.member(sub.member) else { return };
                let target =
                    Target { receiver: receiver.clone(), sid: sub.sid, index: sub.index & SubFlags::INDEX };
                limited |= sub.index & SubFlags::LIMITED != 0;
                if sub.queue == 0 {
                    plain.push(target);
                } else {
                    queued.push((sub.queue, target));
                }
            });
        }
        queued.sort_by_key(|q| q.0);
        let mut queues: Vec<Box<[Target]>> = vec![];
        for group in queued.chunk_by(|a, b| a.0 == b.0) {
            queues.push(group.iter().map(|q| q.1.clone()).collect());
        }
        Matched::new(account, generation, subject, plain, queues, limited)
    }

    /// A plain subscription of `member` that matches `subject` (no responders, CORE-180).
    pub fn own_plain(&self, member: u32, subject: &[u8]) -> Option<Sid> {
        let mut own = None;
        self.trie.matches(subject, |_, sub| {
            if sub.member == member && sub.queue == 0 && own.is_none() {
                own = Some(sub.sid);
            }
        });
        own
    }

    /// Matching subscriptions; with a queue name only members of that group.
    pub fn count_interest(&self, subject: &[u8], queue: &[u8]) -> usize {
        let mut count = 0;
        self.trie.matches(subject, |_, sub| {
            let meant = queue.is_empty() || (sub.queue != 0 && self.trie.queue_name(sub.queue) == queue);
            count += usize::from(meant);
        });
        count
    }

    pub fn has_interest(&self, subject: &[u8]) -> bool {
        let mut any = false;
        self.trie.matches(subject, |_, _| any = true);
        any
    }
}

/// A subject with an empty token matches nothing (CORE-154).
#[inline]
pub fn is_matchable(subject: &[u8]) -> bool {
    let mut at_start = true;
    for &b in subject {
        let dot = b == b'.';
        if dot && at_start {
            return false;
        }
        at_start = dot;
    }
    !at_start
}
