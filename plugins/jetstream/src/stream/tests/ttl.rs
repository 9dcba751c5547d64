//! Ages: of the stream, of single messages, and the markers they leave.

use super::{Rig, SECOND_NS, ok};

#[test]
fn old_messages_go_but_those_that_never_do() {
    let mut rig = Rig::new(|config| {
        config.max_age = 10 * SECOND_NS;
        config.allow_msg_ttl = true;
    });
    rig.publish("s.a", &["Nats-TTL: never"], "x");
    rig.publish("s.a", &[], "x");
    rig.pass(5 * SECOND_NS);
    rig.publish("s.a", &[], "x");
    rig.publish("s.a", &["Nats-TTL: 1h"], "x");
    rig.pass(5 * SECOND_NS);
    assert_eq!(rig.seqs(), [1, 3, 4]);
    let mut rig = rig.restart();
    rig.pass(5 * SECOND_NS);
    assert_eq!(rig.seqs(), [1]);
    assert_eq!(rig.publish("s.a", &[], "x"), ok(5));
    rig.pass(10 * SECOND_NS);
    assert_eq!(rig.seqs(), [1]);
}

#[test]
fn messages_go_at_their_own_time_also_after_a_restart() {
    let mut rig = Rig::new(|config| config.allow_msg_ttl = true);
    for ttl in ["Nats-TTL: 3", "Nats-TTL: 1500ms", "Nats-TTL: 2s", "X: y"] {
        rig.publish("s.a", &[ttl], "x");
    }
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [1, 3, 4]);
    let mut rig = rig.restart();
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [1, 4]);
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [4]);
}

#[test]
fn the_last_of_a_subject_leaves_a_marker() {
    let mut rig = Rig::new(|config| {
        config.max_age = SECOND_NS;
        config.subject_delete_marker_ttl = 60 * SECOND_NS;
        config.allow_msg_ttl = true;
        config.allow_rollup_hdrs = true;
    });
    rig.publish("s.a", &[], "1");
    rig.publish("s.a", &[], "2");
    rig.publish("s.k", &["KV-Operation: PURGE"], "");
    rig.publish("s.d", &["KV-Operation: DEL"], "");
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [5, 6]);
    let marker = "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1m0s\r\nNats-Rollup: sub\r\n\r\n";
    assert_eq!(rig.stored(5), ("s.a".into(), marker.into(), String::new()));
    assert_eq!(rig.stored(6).0, "s.d");
    rig.pass(SECOND_NS);
    assert!(rig.seqs().is_empty(), "markers leave no markers");
}

#[test]
fn a_ttl_is_not_shorter_than_that_of_the_marker() {
    let mut rig = Rig::new(|config| {
        config.subject_delete_marker_ttl = 2 * SECOND_NS;
        config.allow_msg_ttl = true;
        config.allow_rollup_hdrs = true;
    });
    rig.publish("s.a", &["Nats-TTL: 1", "Q: r"], "x");
    rig.publish("s.b", &["Nats-TTL: 5", "Q: r"], "x");
    assert_eq!(rig.stored(1).1, "NATS/1.0\r\nQ: r\r\nNats-TTL: 2\r\n\r\n");
    assert_eq!(rig.stored(2).1, "NATS/1.0\r\nNats-TTL: 5\r\nQ: r\r\n\r\n");
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [1, 2]);
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [2, 3]);
}

#[test]
fn an_older_message_of_the_subject_stands_in_for_a_marker() {
    let mut rig = Rig::new(|config| {
        config.subject_delete_marker_ttl = SECOND_NS;
        config.allow_msg_ttl = true;
    });
    rig.publish("s.a", &[], "old");
    rig.publish("s.a", &["Nats-TTL: 1"], "new");
    rig.pass(2 * SECOND_NS);
    assert_eq!(rig.seqs(), [1]);
}
