//! The table of consumers: deliveries, what acknowledgements remove, consumers that sleep.

use super::{Rig, SECOND_NS};
use crate::wire::{AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, Retention};

fn pulling(name: &str, filter: &str) -> ConsumerConfig {
    ConsumerConfig {
        name: name.to_owned(),
        durable_name: name.to_owned(),
        filter_subject: filter.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: 30 * SECOND_NS,
        max_deliver: -1,
        max_ack_pending: 1000,
        max_waiting: 512,
        ..ConsumerConfig::default()
    }
}

impl Rig {
    fn create(&mut self, config: ConsumerConfig) -> ConsumerInfo {
        self.call(|stream, call| stream.create_consumer(config, call)).expect("created")
    }

    fn consumer(&mut self, name: &str) -> ConsumerInfo {
        self.call(|stream, call| stream.consumer_info(name, call)).expect("is there")
    }

    /// Asks for messages and lets them be delivered: their acknowledgement subjects.
    fn pull(&mut self, name: &str, body: &str) -> Vec<String> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}");
        self.call(|stream, call| stream.pull(subject.as_bytes(), b"", body.as_bytes(), b"inbox", call));
        self.deliver(1)
    }

    fn deliver(&mut self, receivers: u32) -> Vec<String> {
        while self.call(|stream, call| stream.run(100, call)) {}
        let acks: Vec<String> =
            self.out.iter().map(|post| String::from_utf8_lossy(post.reply_subject()).into_owned()).collect();
        let deliveries: Vec<_> = self.out.deliveries().cloned().collect();
        self.out.clear();
        for delivery in deliveries.iter().filter(|_| receivers == 0) {
            self.call(|stream, call| stream.undelivered(delivery, call));
        }
        acks.into_iter().filter(|ack| ack.starts_with("$JS.ACK.")).collect()
    }

    fn ack(&mut self, subject: &str) {
        self.call(|stream, call| stream.ack(subject.as_bytes(), b"", b"", call));
    }
}

#[test]
fn an_acknowledged_message_leaves_a_work_queue() {
    let mut rig = Rig::new(|config| config.retention = Retention::WorkQueue);
    (0..3).for_each(|_| drop(rig.publish("s.a", &[], "x")));
    rig.create(pulling("C", ""));
    let acks = rig.pull("C", "2");
    assert_eq!(acks.len(), 2);
    assert!(acks[0].starts_with("$JS.ACK.S.C.1.1.1.") && acks[0].ends_with(".2"), "{}", acks[0]);
    rig.ack(&acks[0]);
    assert_eq!(rig.seqs(), [2, 3]);
    rig.ack(&acks[0]);
    rig.ack(&acks[1]);
    assert_eq!(rig.seqs(), [3]);
    assert_eq!(rig.consumer("C").num_pending, 1);
}

#[test]
fn an_interest_stream_keeps_what_someone_needs() {
    let mut rig = Rig::new(|config| config.retention = Retention::Interest);
    rig.create(pulling("A", ""));
    rig.create(pulling("B", "s.b"));
    for subject in ["s.a", "s.b", "s.b"] {
        rig.publish(subject, &[], "x");
    }
    let acks = rig.pull("A", "10");
    acks.iter().for_each(|ack| rig.ack(ack));
    assert_eq!(rig.seqs(), [2, 3]);
    let acks = rig.pull("B", "1");
    rig.ack(&acks[0]);
    assert_eq!(rig.seqs(), [3]);
    rig.call(|stream, call| stream.delete_consumer("B", call)).expect("deleted");
    assert!(rig.seqs().is_empty());
    rig.publish("s.b", &[], "x");
    assert_eq!(rig.seqs(), [4]);
}

#[test]
fn sleeping_consumers_know_what_is_pending_when_asked() {
    let mut rig = Rig::new(|config| config.max_msgs = 5);
    rig.create(pulling("all", ""));
    rig.create(pulling("one", "s.1"));
    rig.create(pulling("wild", "*.2"));
    for n in 0..9 {
        rig.publish(&format!("s.{}", n % 3), &[], "x");
    }
    let pending = ["all", "one", "wild"].map(|name| rig.consumer(name).num_pending);
    assert_eq!(pending, [5, 2, 2]);
    assert_eq!(rig.pull("one", "10").len(), 2);
    rig.publish("s.1", &[], "x");
    assert_eq!(rig.deliver(1).len(), 1, "the request still waits");
    for _ in 0..1000 {
        rig.publish("s.0", &[], "x");
    }
    let pending = ["all", "one", "wild"].map(|name| rig.consumer(name).num_pending);
    assert_eq!(pending, [5, 0, 0]);
}

#[test]
fn a_message_that_reached_no_one_is_delivered_again() {
    let mut rig = Rig::new(|_| {});
    rig.create(pulling("C", ""));
    rig.publish("s.a", &[], "x");
    rig.call(|stream, call| stream.pull(b"$JS.API.CONSUMER.MSG.NEXT.S.C", b"", b"1", b"gone", call));
    assert_eq!(rig.deliver(0).len(), 1);
    assert_eq!(rig.pull("C", "1").len(), 1);
}

#[test]
fn unacknowledged_messages_come_again_also_after_a_restart() {
    let mut rig = Rig::new(|_| {});
    rig.create(pulling("C", ""));
    rig.publish("s.a", &[], "x");
    rig.publish("s.a", &[], "x");
    let acks = rig.pull("C", "2");
    rig.ack(&acks[0]);
    let mut rig = rig.restart();
    assert_eq!(rig.consumer("C").num_ack_pending, 1);
    rig.pass(30 * SECOND_NS);
    let acks = rig.pull("C", "2");
    assert!(acks.len() == 1 && acks[0].starts_with("$JS.ACK.S.C.2.2."), "{acks:?}");
}

#[test]
fn a_pull_of_no_consumer_is_told_that_nobody_listens() {
    let mut rig = Rig::new(|_| {});
    rig.call(|stream, call| stream.pull(b"$JS.API.CONSUMER.MSG.NEXT.S.C", b"", b"1", b"r", call));
    let headers = "NATS/1.0 503\r\nNats-Subject: $JS.API.CONSUMER.MSG.NEXT.S.C\r\n\r\n";
    assert_eq!(rig.said(), [("r".to_owned(), headers.to_owned(), String::new())]);
}

#[test]
fn a_pull_at_the_end_of_another_does_not_find_it_pending() {
    // JC-123. Clients that fetch again and again ask anew when the last request has expired, to the microsecond.
    let mut rig = Rig::new(|_| ());
    rig.create(ConsumerConfig { max_ack_pending: 1, ..pulling("C", "") });
    (0..2).for_each(|_| drop(rig.publish("s.a", &[], "x")));
    let pull = |rig: &mut Rig, body: &str| {
        let subject = b"$JS.API.CONSUMER.MSG.NEXT.S.C";
        drop(rig.said());
        rig.call(|stream, call| stream.pull(subject, b"", body.as_bytes(), b"inbox", call));
        let said = rig.said().into_iter().map(|(_, headers, _)| headers);
        said.filter(|headers| headers.starts_with("NATS/1.0 4")).collect::<Vec<_>>()
    };
    assert!(pull(&mut rig, r#"{"batch":4,"expires":1000000}"#).is_empty());
    let pending = pull(&mut rig, r#"{"batch":4,"expires":1000000,"no_wait":true}"#);
    assert!(pending.len() == 1 && pending[0].starts_with("NATS/1.0 408 Requests Pending"), "{pending:?}");
    // The stream's task has not looked yet.
    rig.now_ns += 1_000_000;
    let ended = pull(&mut rig, r#"{"batch":4,"expires":1000000,"no_wait":true}"#);
    assert!(ended.len() == 1 && ended[0].starts_with("NATS/1.0 408 Request Timeout"), "{ended:?}");
}

#[test]
fn only_a_pull_that_can_get_nothing_ends_at_the_end_of_another() {
    // JC-123: a request that does not wait and has got something.
    for (max_ack_pending, held) in [(2, true), (1000, false)] {
        let mut rig = Rig::new(|_| ());
        rig.create(ConsumerConfig { max_ack_pending, ..pulling("C", "") });
        (0..5).for_each(|_| drop(rig.publish("s.a", &[], "x")));
        let pull = |rig: &mut Rig, reply: &[u8], body: &str| {
            let subject = b"$JS.API.CONSUMER.MSG.NEXT.S.C";
            rig.call(|stream, call| stream.pull(subject, b"", body.as_bytes(), reply, call));
        };
        pull(&mut rig, b"first", r#"{"batch":5,"no_wait":true,"expires":60000000000}"#);
        pull(&mut rig, b"second", r#"{"batch":5,"expires":1000000}"#);
        // Each gets one at once, more are there.
        rig.call(|stream, call| stream.run(2, call));
        rig.said();
        rig.pass(1_000_000);
        let ended: Vec<String> = rig.said().into_iter().map(|(subject, ..)| subject).collect();
        assert_eq!(ended, if held { vec!["first", "second"] } else { vec!["second"] }, "{max_ack_pending}");
    }
}

/// JC-201
#[test]
fn what_was_given_up_is_kept_after_a_restart_as_before() {
    let mut rig = Rig::new(|config| config.retention = Retention::Interest);
    rig.create(ConsumerConfig { max_deliver: 1, ..pulling("A", "") });
    rig.create(pulling("B", ""));
    (0..2).for_each(|_| drop(rig.publish("s.a", &[], "x")));
    let given_up = rig.pull("A", "1");
    rig.pass(31 * SECOND_NS);
    let mut rig = rig.restart();
    let info = rig.consumer("A");
    assert_eq!((info.ack_floor.stream_seq, info.num_ack_pending), (0, 0));
    let acks = rig.pull("B", "2");
    acks.iter().for_each(|ack| rig.ack(ack));
    assert_eq!(rig.seqs(), [1, 2]);
    rig.ack(&given_up[0]);
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn the_floor_is_the_same_after_a_restart() {
    for ack_policy in [AckPolicy::Explicit, AckPolicy::All] {
        let mut rig = Rig::new(|_| {});
        rig.create(ConsumerConfig { ack_policy, ..pulling("C", "") });
        (0..3).for_each(|_| drop(rig.publish("s.a", &[], "x")));
        rig.pull("C", "3");
        rig.pass(31 * SECOND_NS);
        let again = rig.pull("C", "3");
        (0..2).for_each(|at| rig.ack(&again[at]));
        let floor = rig.consumer("C").ack_floor;
        let expected = if ack_policy == AckPolicy::All { (5, 2) } else { (2, 2) };
        assert_eq!((floor.consumer_seq, floor.stream_seq), expected);
        let floor = rig.restart().consumer("C").ack_floor;
        assert_eq!((floor.consumer_seq, floor.stream_seq), expected);
    }
}

#[test]
fn a_purge_of_one_of_its_subjects_takes_no_other_message_from_a_consumer() {
    let mut rig = Rig::new(|_| {});
    let filter_subjects = vec!["s.a".to_owned(), "s.b".to_owned()];
    rig.create(ConsumerConfig { filter_subjects, ..pulling("C", "") });
    ["s.a", "s.b", "s.a"].into_iter().for_each(|subject| drop(rig.publish(subject, &[], "x")));
    rig.call(|stream, call| stream.purge("s.a", 0, 0, call)).expect("purged");
    assert_eq!(rig.consumer("C").num_pending, 1);
    let mut rig = rig.restart();
    assert_eq!(rig.consumer("C").delivered.stream_seq, 1);
    assert_eq!(rig.pull("C", "1").len(), 1);
}
