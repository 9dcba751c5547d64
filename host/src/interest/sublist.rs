//! The subscriptions of one account: the trie and the receivers behind its numbers.

use super::matched::{Matched, Target};
use super::sid::Sid;
use super::trie::{Sub, SubFlags, Trie};
use crate::account::StreamImport;
use crate::routing::receiver::Receiver;
use std::sync::Arc;

#[derive(Default)]
pub struct Sublist {
    pub trie: Trie,
    members: Vec<Option<Member>>,
    free_members: Vec<u32>,
}

/// Who has subscriptions here.
pub struct Member {
    pub receiver: Arc<Receiver>,
    /// From another account, by this import.
    pub via: Option<Arc<StreamImport>>,
}

impl Sublist {
    /// Gives a receiver its number here.
    pub fn join(&mut self, receiver: Arc<Receiver>, via: Option<Arc<StreamImport>>) -> u32 {
        let member = Some(Member { receiver, via });
        match self.free_members.pop() {
            Some(n) => {
                self.members[n as usize] = member;
                n
            }
            None => {
                self.members.push(member);
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
    pub fn member(&self, member: u32) -> Option<&Member> {
        self.members.get(member as usize).and_then(Option::as_ref)
    }

    /// The receivers that have subscriptions in this account.
    pub fn receivers(&self) -> impl Iterator<Item = &Arc<Receiver>> {
        self.members.iter().flatten().filter(|member| member.via.is_none()).map(|member| &member.receiver)
    }

    /// Whether a filtered subscription may see `subject` (CORE-273).
    #[inline]
    pub fn may_deliver(&self, sub: &Sub, subject: &[u8]) -> bool {
        if sub.index & SubFlags::FILTERED == 0 {
            return true;
        }
        let queue = (sub.queue != 0).then(|| self.trie.queue_name(sub.queue));
        self.member(sub.member).is_some_and(|member| match &member.via {
            None => !member.receiver.denies_delivery(subject, queue),
            Some(import) => !member.receiver.denies_delivery(&import.renaming.to_local(subject), queue),
        })
    }

    /// The whole answer for `subject`, to be kept in a cache.
    pub fn matched(&self, account: u32, generation: u64, subject: &[u8]) -> Matched {
        let mut shown = vec![];
        let mut found = self.find(account, generation, subject, &mut shown);
        found.shown = shown.into();
        found
    }

    /// The answer for messages to `published` that a mapping sends to `subject`.
    pub fn matched_elsewhere(
        &self,
        account: u32,
        generation: u64,
        published: &[u8],
        subject: &[u8],
    ) -> Matched {
        let mut shown = vec![subject.into()];
        let mut found = self.find(account, generation, subject, &mut shown);
        let targets = found.plain.iter_mut().chain(found.queues.iter_mut().flatten());
        targets.filter(|target| target.shown == 0).for_each(|target| target.shown = 1);
        found.subject = published.into();
        found.mapped = Some(subject.into());
        found.shown = shown.into();
        found
    }

    /// Receivers of `subject`; to `shown` are added the names by which importers know it.
    fn find(&self, account: u32, generation: u64, subject: &[u8], shown: &mut Vec<Box<[u8]>>) -> Matched {
        let mut plain = vec![];
        let mut queued: Vec<(u32, Target)> = vec![];
        let mut limited = false;
        if is_matchable(subject) {
            self.trie.matches(subject, |_, sub| {
                if !self.may_deliver(sub, subject) {
                    return;
                }
                let Some(member) = self.member(sub.member) else { return };
                let target = Target {
                    receiver: member.receiver.clone(),
                    sid: sub.sid,
                    index: sub.index & SubFlags::INDEX,
                    shown: member.via.as_ref().map_or(0, |import| shown_as(import, subject, shown)),
                    imported: member.via.is_some(),
                };
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

    /// Subscriptions to exactly this subject: without a queue name those of no group, else of that group.
    pub fn count_exact_interest(&self, subject: &[u8], queue: &[u8]) -> usize {
        let mut count = 0;
        self.trie.matches(subject, |number, sub| {
            let name = if sub.queue == 0 { b"" } else { self.trie.queue_name(sub.queue) };
            count += usize::from(name == queue && self.trie.subject(number) == subject);
        });
        count
    }

    pub fn has_interest(&self, subject: &[u8]) -> bool {
        let mut any = false;
        self.trie.matches(subject, |_, _| any = true);
        any
    }
}

/// The number of an import's name for a subject among those already there.
fn shown_as(import: &StreamImport, subject: &[u8], shown: &mut Vec<Box<[u8]>>) -> u32 {
    if import.renaming.is_identity() {
        return 0;
    }
    let local = import.renaming.to_local(subject);
    let at = shown.iter().position(|name| **name == *local).unwrap_or_else(|| {
        shown.push(local.into());
        shown.len() - 1
    });
    at as u32 + 1
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
