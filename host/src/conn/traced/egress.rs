//! Who gets a traced message, and what its event says of each (CORE-296, CORE-298).
//!
//! Matching is done anew and one message at a time, so that those who do not get it can be named too.
//! Not here: the delivery itself.

use super::event::{Step, text, timestamp};
use crate::account::{Account, StreamImport};
use crate::conn::Registry;
use crate::interest::sublist::is_matchable;
use crate::interest::trie::SubFlags;
use crate::interest::{Matched, Target};
use crate::routing::Receiver;
use crate::routing::chunk::Sender;
use crate::routing::gate::Gate;
use crate::runtime::random::{quick_u64, random_below};
use crate::runtime::unix_ns;
use std::sync::Arc;

const NO_ECHO: &str = "Not delivered because of no echo";
const DENIED: &str = "Not delivered because subscription denies this subject";
const SPENT: &str = "Not delivered because auto-unsubscribe exceeded";
const NOT_STALLED: &str = "Not delivered because fast producer not stalled and consumer is slow";
const CLOSED: &str = "Not delivered because client is closed";

/// Where a traced message goes.
pub struct Egress {
    pub steps: Vec<Step>,
    /// Those who get it; in each queue group the one that was chosen.
    pub matched: Matched,
    /// Those who get it as well, in accounts whose imports let no trace through.
    pub unseen: Matched,
}

/// A subscription that matches.
struct Candidate {
    target: Target,
    pattern: Vec<u8>,
    /// 0: none.
    queue: u32,
    queue_name: Vec<u8>,
    denied: bool,
    /// By which it stands in another account.
    via: Option<Arc<StreamImport>>,
}

/// How many borders a trace follows.
const BORDERS_MAX: usize = 16;

impl Egress {
    /// `published` may be mapped to `subject`.
    pub fn find(
        sender: &Sender<'_>,
        registry: &Registry,
        published: &[u8],
        subject: &[u8],
        trace_only: bool,
    ) -> Egress {
        let mut found = Finding { sender, registry, trace_only, borders: Vec::new(), steps: Vec::new() };
        let (plain, queues) = found.select(sender.account, subject);
        let mut shown: Vec<Box<[u8]>> = Vec::new();
        let mut target = |candidate: Candidate| {
            let name = match &candidate.via {
                Some(import) => import.renaming.to_local(subject),
                None => subject.to_vec(),
            };
            let mut target = candidate.target;
            if name != published {
                shown.push(name.into());
                target.shown = shown.len() as u32;
            }
            target
        };
        let is_seen = |candidate: &Candidate| candidate.via.as_ref().is_none_or(|import| import.allow_trace);
        let (plain, unseen_plain): (Vec<_>, Vec<_>) = plain.into_iter().partition(is_seen);
        let (queues, unseen_queues): (Vec<_>, Vec<_>) = queues.into_iter().partition(is_seen);
        let mut all = [(plain, queues), (unseen_plain, unseen_queues)].map(|(plain, queues)| {
            let plain = plain.into_iter().map(&mut target).collect();
            let queues = queues.into_iter().map(|chosen| Box::from([target(chosen)])).collect();
            Matched::new(sender.account.id, 0, published, plain, queues, false)
        });
        for matched in &mut all {
            matched.shown = shown.iter().cloned().collect();
            matched.mapped = (published != subject).then(|| subject.into());
        }
        let [matched, unseen] = all;
        Egress { steps: found.steps, matched, unseen }
    }
}

/// Where an account's mappings send a subject; `None`: the message is lost.
pub fn destination(account: &Account, subject: &[u8]) -> Option<Vec<u8>> {
    let Some(mapping) = account.mapping(subject) else { return Some(subject.to_vec()) };
    let draw = random_below(100) as u8;
    let at = mapping.shares().position(|upto_percent| draw < upto_percent)?;
    Some(mapping.apply(at, subject, &mut quick_u64))
}

/// Plain subscriptions first, then queue group by queue group.
fn candidates(account: &Account, subject: &[u8]) -> Vec<Vec<Candidate>> {
    let mut all = Vec::new();
    if is_matchable(subject) {
        let sublist = account.sublist.read();
        sublist.trie.matches(subject, |number, sub| {
            let Some(member) = sublist.member(sub.member) else { return };
            let receiver = &member.receiver;
            all.push(Candidate {
                target: Target {
                    receiver: receiver.clone(),
                    sid: sub.sid,
                    index: sub.index & SubFlags::INDEX,
                    shown: 0,
                    imported: member.via.is_some(),
                },
                pattern: sublist.trie.subject(number),
                queue: sub.queue,
                queue_name: sublist.trie.queue_name(sub.queue).to_vec(),
                denied: !sublist.may_deliver(sub, subject),
                via: member.via.clone(),
            });
        });
    }
    // Those of other accounts come last.
    all.sort_by_key(|candidate| (candidate.queue, candidate.via.is_some()));
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for candidate in all {
        match groups.last_mut() {
            Some(group) if group[0].queue == candidate.queue => group.push(candidate),
            _ => groups.push(vec![candidate]),
        }
    }
    groups
}

struct Finding<'f, 's> {
    sender: &'f Sender<'s>,
    registry: &'f Registry,
    trace_only: bool,
    /// The accounts that the trace has come to, beyond the sender's.
    borders: Vec<Arc<Account>>,
    steps: Vec<Step>,
}

impl Finding<'_, '_> {
    /// Who gets the message in an account; of a queue group the one that is chosen.
    fn select(&mut self, account: &Account, subject: &[u8]) -> (Vec<Candidate>, Vec<Candidate>) {
        let (mut plain, mut queues) = (Vec::new(), Vec::new());
        for mut group in candidates(account, subject) {
            if group[0].queue == 0 {
                plain.extend(group.into_iter().filter(|c| self.takes(c, subject)));
                continue;
            }
            // CORE-157: a random member, or the next one that can take it.
            let start = random_below(group.len() as u64) as usize;
            group.rotate_left(start);
            queues.extend(group.into_iter().find(|c| self.takes(c, subject)));
        }
        (plain, queues)
    }

    /// A message goes on to another account, and its trace too if that is allowed (CORE-299): whether it is.
    fn cross(&mut self, gate: &dyn Gate, from: &[u8]) -> bool {
        let Some(border) = gate.border(from) else { return false };
        let account = border.account;
        let subject = destination(&account, &border.subject).unwrap_or_default();
        let (ts, acc) = (timestamp(unix_ns()), account.name.to_string());
        self.steps.push(Step::Si { ts, acc, from: text(from), to: text(&subject) });
        if border.allow_trace && self.borders.len() < BORDERS_MAX {
            self.borders.push(account.clone());
            self.select(&account, &subject);
            self.borders.pop();
        }
        border.allow_trace
    }

    /// Whether a subscription takes the message; notes the answer.
    fn takes(&mut self, candidate: &Candidate, subject: &[u8]) -> bool {
        let receiver = &candidate.target.receiver;
        // What came by a service is not exported as a stream (ACC-006).
        if candidate.via.is_some() && !self.borders.is_empty() {
            return false;
        }
        let error = self.obstacle(candidate);
        if let Some(gate) = receiver.leads_to()
            && !self.cross(&**gate, subject)
            && self.trace_only
        {
            // What is only traced goes no further.
            return false;
        }
        if let Some(import) = &candidate.via {
            let (ts, acc) = (timestamp(unix_ns()), import.importer.name.to_string());
            self.steps.push(Step::Se { ts, acc, to: text(&import.renaming.to_local(subject)) });
        }
        let is_told = candidate.via.as_ref().is_none_or(|import| import.allow_trace);
        // As with the reference, subscriptions of the server itself and of plugins are not shown: those say themselves
        // what they did.
        if receiver.is_connection() && is_told {
            let importer = candidate.via.as_ref().map(|import| &import.importer);
            let connection = self.registry.get(receiver.cid);
            self.steps.push(Step::Eg {
                ts: timestamp(unix_ns()),
                kind: receiver.kind as u8,
                cid: receiver.cid,
                name: connection.map(|c| c.facts.lock().name.clone()).unwrap_or_default(),
                acc: importer
                    .or(self.borders.last())
                    .map(|account| account.name.to_string())
                    .unwrap_or_default(),
                sub: text(&candidate.pattern),
                queue: text(&candidate.queue_name),
                error,
            });
        }
        error.is_none()
    }

    /// Why a subscription does not get the message (CORE-298).
    fn obstacle(&self, candidate: &Candidate) -> Option<&'static str> {
        let Target { receiver, index, .. } = &candidate.target;
        if self.sender.skips(receiver) {
            return Some(NO_ECHO);
        }
        if candidate.denied {
            return Some(DENIED);
        }
        // What is not delivered meets no further obstacle.
        if self.trace_only { None } else { self.obstacle_of_delivery(receiver, *index) }
    }

    fn obstacle_of_delivery(&self, receiver: &Receiver, index: u32) -> Option<&'static str> {
        let is_self = self.sender.receiver.is_some_and(|me| me.id == receiver.id);
        let out = receiver.out.lock();
        if out.limit(index).is_some_and(|max| out.delivered(index) >= max) {
            Some(SPENT)
        } else if out.drop_when_stalled && out.is_stalled() && !is_self {
            Some(NOT_STALLED)
        } else if out.closed().is_some() {
            Some(CLOSED)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Accounts;
    use crate::proto::error::ClosedReason;
    use crate::routing::outbound::STALL_BYTES;
    use crate::routing::receiver::Kind;
    use crate::routing::{Outbound, subscriptions};

    const SUBJECT: &[u8] = b"a.b";

    fn account() -> Arc<Account> {
        Accounts::default().global.clone()
    }

    /// A connection with one subscription, without a socket.
    fn subscriber(account: &Account, id: u32, queue: &[u8]) -> Arc<Receiver> {
        let receiver = Arc::new(Receiver::new(id, id.into(), Kind::Client, Outbound::default()));
        subscriptions::subscribe(&receiver, account, b"a.*", queue, b"1", false, None);
        receiver
    }

    /// Why each connection, in the order asked, does not get the message; and how many do.
    fn find(account: &Account, trace_only: bool) -> (Vec<(u64, Option<&'static str>)>, usize) {
        let sender = Sender { account, receiver: None, echo: true, no_responders: false };
        let found = Egress::find(&sender, &Registry::new(0), SUBJECT, SUBJECT, trace_only);
        let outcome = |step: &Step| match step {
            Step::Eg { cid, error, .. } => Some((*cid, *error)),
            _ => None,
        };
        let taken = found.matched.plain.len() + found.matched.queues.len();
        (found.steps.iter().filter_map(outcome).collect(), taken)
    }

    /// What a subscription with UNSUB max looks like between its last message and its end.
    fn spend(receiver: &Receiver) {
        let mut out = receiver.out.lock();
        out.set_limit(0, Some(1));
        out.count(0, 1);
    }

    #[test]
    fn a_spent_subscription_and_a_closed_client_are_named_with_the_reason() {
        // CORE-298
        let account = account();
        spend(&subscriber(&account, 1, b""));
        subscriber(&account, 2, b"").out.lock().close(ClosedReason::ClientClosed);
        subscriber(&account, 3, b"");
        let (mut outcomes, taken) = find(&account, false);
        outcomes.sort();
        assert_eq!(outcomes, [(1, Some(SPENT)), (2, Some(CLOSED)), (3, None)]);
        assert_eq!(taken, 1);
        // What is only traced meets no obstacle of delivery.
        let (outcomes, taken) = find(&account, true);
        assert!(outcomes.iter().all(|(_, error)| error.is_none()));
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_consumer_that_is_slow_is_named_where_producers_do_not_wait() {
        // CORE-298
        let account = account();
        let slow = subscriber(&account, 1, b"");
        slow.out.lock().enqueue(&vec![0; STALL_BYTES + 1]);
        assert_eq!(find(&account, false), (vec![(1, None)], 1), "the producer waits");
        slow.out.lock().drop_when_stalled = true;
        assert_eq!(find(&account, false), (vec![(1, Some(NOT_STALLED))], 0));
    }

    #[test]
    fn a_queue_group_goes_on_to_a_member_that_can_take_the_message() {
        // CORE-157
        let account = account();
        spend(&subscriber(&account, 1, b"q"));
        subscriber(&account, 2, b"q");
        for _ in 0..20 {
            let (outcomes, taken) = find(&account, false);
            assert_eq!(taken, 1);
            assert_eq!(outcomes.last(), Some(&(2, None)));
            assert!(outcomes.len() == 1 || outcomes[0] == (1, Some(SPENT)));
        }
    }
}
