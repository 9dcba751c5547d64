//! Who gets a traced message, and what its event says of each (CORE-296, CORE-298).
//!
//! Matching is done anew and one message at a time, so that those who do not get it can be named too.
//! Not here: the delivery itself.

use super::event::{Step, text, timestamp};
use crate::account::Account;
use crate::conn::Registry;
use crate::interest::sublist::is_matchable;
use crate::interest::trie::SubFlags;
use crate::interest::{Matched, Target};
use crate::routing::Receiver;
use crate::routing::chunk::Sender;
use crate::runtime::random::random_below;
use crate::runtime::unix_ns;

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
}

/// A subscription that matches.
struct Candidate {
    target: Target,
    pattern: Vec<u8>,
    /// 0: none.
    queue: u32,
    queue_name: Vec<u8>,
    denied: bool,
}

impl Egress {
    pub fn find(sender: &Sender<'_>, registry: &Registry, subject: &[u8], trace_only: bool) -> Egress {
        let mut found = Finding { sender, registry, trace_only, steps: Vec::new() };
        let (mut plain, mut queues) = (Vec::new(), Vec::new());
        for mut group in candidates(sender.account, subject) {
            if group[0].queue == 0 {
                plain.extend(group.into_iter().filter(|c| found.takes(c)).map(|c| c.target));
                continue;
            }
            // CORE-157: a random member, or the next one that can take it.
            let start = random_below(group.len() as u64) as usize;
            group.rotate_left(start);
            if let Some(chosen) = group.into_iter().find(|c| found.takes(c)) {
                queues.push(Box::from([chosen.target]));
            }
        }
        let matched = Matched::new(sender.account.id, 0, subject, plain, queues, false);
        Egress { steps: found.steps, matched }
    }
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
            });
        });
    }
    all.sort_by_key(|candidate| candidate.queue);
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
    steps: Vec<Step>,
}

impl Finding<'_, '_> {
    /// Whether a subscription takes the message; notes the answer.
    fn takes(&mut self, candidate: &Candidate) -> bool {
        let receiver = &candidate.target.receiver;
        let error = self.obstacle(candidate);
        // As with the reference, subscriptions of the server itself and of plugins are not shown.
        if receiver.is_connection() {
            let connection = self.registry.get(receiver.cid);
            self.steps.push(Step::Eg {
                ts: timestamp(unix_ns()),
                kind: receiver.kind as u8,
                cid: receiver.cid,
                name: connection.map(|c| c.facts.lock().name.clone()).unwrap_or_default(),
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
    use crate::config::Options;
    use crate::proto::error::ClosedReason;
    use crate::routing::outbound::STALL_BYTES;
    use crate::routing::receiver::Kind;
    use crate::routing::{Outbound, subscriptions};
    use std::sync::Arc;

    const SUBJECT: &[u8] = b"a.b";

    fn account() -> Arc<Account> {
        Accounts::new(&Options::default().accounts).global.clone()
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
        let found = Egress::find(&sender, &Registry::new(0), SUBJECT, trace_only);
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
