//! Publishing: acknowledgements, header checks, ids, rollups, counters.

use super::{Rig, SECOND_NS, code, ok};
use crate::wire::Retention;

const DUPLICATE: &str = r#"{"stream":"S","seq":1,"duplicate": true}"#;

#[test]
fn a_message_is_stored_and_acknowledged() {
    let mut rig = Rig::new(|_| {});
    assert_eq!(rig.publish("s.a", &[], "hello"), ok(1));
    assert_eq!(rig.publish("s.a", &["A: b"], "x"), ok(2));
    assert_eq!(rig.stored(1), ("s.a".into(), String::new(), "hello".into()));
    assert_eq!(rig.stored(2).1, "NATS/1.0\r\nA: b\r\n\r\n");
    assert!(rig.stream.needs_commit());
}

#[test]
fn without_a_reply_or_with_no_ack_nothing_is_said() {
    let mut rig = Rig::new(|config| config.no_ack = true);
    rig.publish_to("reply", "s.a", &[], "x");
    rig.publish_to("reply", "s.a", &["Nats-Incr: 1"], "x");
    assert!(rig.said().is_empty());
    let mut rig = Rig::new(|_| {});
    rig.publish_to("", "s.a", &[], "x");
    assert!(rig.said().is_empty() && rig.seqs() == [1]);
}

#[test]
fn a_status_is_not_stored_and_a_trace_that_is_made_is_disabled() {
    let mut rig = Rig::new(|_| {});
    let publish = |rig: &mut Rig, headers: &'static [u8]| {
        let message = crate::stream::Inbound { subject: b"s.a", headers, ..Default::default() };
        rig.call(|stream, call| stream.publish(&message, call));
    };
    publish(&mut rig, b"NATS/1.0 503 x\r\nA: b\r\n\r\n");
    publish(&mut rig, b"NATS/1.0 503\r\n\r\n");
    assert_eq!((rig.stored(1).1, rig.stored(2).1), ("NATS/1.0\r\nA: b\r\n\r\n".into(), String::new()));
    let traced = |rig: &mut Rig, headers: &'static [u8], asks_again| {
        let message = crate::stream::Inbound { subject: b"s.a", headers, ..Default::default() };
        rig.call(|stream, call| stream.publish_traced(&message, asks_again, call));
    };
    const BLOCK: &str = "NATS/1.0\r\nNats-Trace-Dest: t\r\nFoo: x\r\n\r\n";
    traced(&mut rig, BLOCK.as_bytes(), true);
    traced(&mut rig, b"NATS/1.0\r\ntraceparent: x\r\n\r\n", true);
    traced(&mut rig, BLOCK.as_bytes(), false);
    publish(&mut rig, BLOCK.as_bytes());
    assert_eq!(rig.stored(3).1, BLOCK.replace(": t\r", ": trace disabled\r"));
    let added = "NATS/1.0\r\ntraceparent: x\r\nNats-Trace-Dest: trace disabled\r\n\r\n";
    assert_eq!((rig.stored(4).1.as_str(), rig.stored(5).1.as_str()), (added, BLOCK));
    assert_eq!(rig.stored(6).1, BLOCK);
}

#[test]
fn headers_are_checked_as_the_reference_does() {
    let mut rig = Rig::new(|config| config.max_msg_size = 150);
    rig.publish("s.a", &["Nats-Msg-Id: a"], "x");
    let expected = "Nats-Expected-Last-Subject-Sequence";
    for (lines, expected) in [
        (&["Nats-Expected-Stream: q"][..], 10060),
        (&["Nats-TTL: z"], 10165),
        (&["Nats-TTL: 5"], 10166),
        (&["Nats-Incr: z"], 10171),
        (&["Nats-Incr: 1"], 10168),
        (&["Nats-Expected-Last-Sequence: 99"], 10071),
        (&["Nats-Expected-Last-Sequence: 1x"], 10071),
        (&["Nats-Msg-Id: a", "Nats-Expected-Last-Sequence: 99"], 10071),
        (&[&format!("{expected}: zz")], 10071),
        (&[&format!("{expected}-Subject: zz")], 10193),
        (&[&format!("{expected}: 0"), &format!("{expected}-Subject: s.*")], 10071),
        (&["Nats-Stream-Source: foo"], 10227),
        (&["Nats-Expected-Last-Msg-Id: foo"], 10070),
        (&["Nats-Schedule: foo"], 10188),
        (&["Nats-Schedule-Next: foo"], 10212),
        (&["Nats-Batch-Id: foo"], 10174),
        (&["Nats-Rollup: sub"], 10111),
    ] {
        assert_eq!(code(&rig.publish("s.a", lines, "x")), expected, "{lines:?}");
    }
    let long = "x".repeat(200);
    assert_eq!(code(&rig.publish("s.a", &["Nats-Expected-Stream: q"], &long)), 10054);
    assert_eq!(rig.seqs(), [1]);
    for lines in [
        &["Nats-TTL:"][..],
        &["Nats-Expected-Last-Sequence: 2"],
        &["Nats-Expected-Last-Subject-Sequence: 3", "Nats-Expected-Stream: S"],
        &["Nats-Expected-Last-Subject-Sequence: 0", "Nats-Expected-Last-Subject-Sequence-Subject: s.z"],
    ] {
        assert_eq!(code(&rig.publish("s.a", lines, "x")), 0, "{lines:?}");
    }
}

#[test]
fn a_known_id_is_a_duplicate_until_the_window_is_over() {
    let mut rig = Rig::new(|_| {});
    assert_eq!(rig.publish("s.a", &["Nats-Msg-Id: a"], "x"), ok(1));
    assert_eq!(rig.publish("s.b", &["Nats-Msg-Id:a", "Nats-Rollup: bad"], "y"), DUPLICATE);
    let mut rig = rig.restart();
    assert_eq!(rig.publish("s.b", &["Nats-Msg-Id: a"], "y"), DUPLICATE);
    rig.pass(120 * SECOND_NS);
    assert_eq!(rig.publish("s.b", &["Nats-Msg-Id: a"], "y"), ok(2));
}

#[test]
fn the_last_id_is_known_after_a_restart() {
    let mut rig = Rig::new(|_| {});
    rig.publish("s.a", &["Nats-Msg-Id: a"], "x");
    let mut rig = rig.restart();
    let answer = rig.publish("s.a", &["Nats-Expected-Last-Msg-Id: b"], "x");
    assert!(answer.contains("wrong last msg ID: a"), "{answer}");
    assert_eq!(rig.publish("s.a", &["Nats-Expected-Last-Msg-Id: a"], "x"), ok(2));
    let answer = rig.publish("s.a", &["Nats-Expected-Last-Msg-Id: a"], "x");
    assert!(answer.contains("wrong last msg ID: \""), "{answer}");
}

#[test]
fn without_interest_only_the_sequence_is_used() {
    let mut rig = Rig::new(|config| config.retention = Retention::Interest);
    assert_eq!(rig.publish("s.a", &["Nats-Msg-Id: a"], "x"), ok(1));
    assert_eq!(rig.publish("s.a", &["Nats-Msg-Id: a"], "x"), DUPLICATE);
    assert_eq!(rig.publish("s.a", &["Nats-Expected-Last-Msg-Id: a"], "x"), ok(2));
    assert!(rig.seqs().is_empty());
    assert_eq!(rig.stream.state().first_seq, 3);
}

#[test]
fn rollups_replace_what_is_older() {
    let mut rig = Rig::new(|config| config.allow_rollup_hdrs = true);
    for subject in ["s.a", "s.a", "s.b"] {
        rig.publish(subject, &[], "x");
    }
    assert_eq!(rig.publish("s.a", &["Nats-Rollup: SUB"], "x"), ok(4));
    assert_eq!(rig.seqs(), [3, 4]);
    assert_eq!(rig.publish("s.a", &["Nats-Rollup: all"], "x"), ok(5));
    assert_eq!(rig.seqs(), [5]);
    let answer = rig.publish("s.a", &["Nats-Rollup: x"], "x");
    assert!(answer.contains(r#"rollup value invalid: \"x\""#), "{answer}");
}

#[test]
fn counters_add_up() {
    let mut rig = Rig::new(|config| config.allow_msg_counter = true);
    let val = |seq: u64, total: &str| format!(r#"{{"stream":"S","seq":{seq},"val":"{total}"}}"#);
    assert_eq!(code(&rig.publish("s.a", &[], "")), 10169);
    assert_eq!(rig.publish("s.a", &["Nats-Incr: 5"], ""), val(1, "5"));
    assert_eq!(rig.publish("s.a", &["Nats-Incr: -123456789012345678901234567890"], ""), {
        val(2, "-123456789012345678901234567885")
    });
    assert_eq!(rig.publish("s.b", &["Nats-Incr: +1"], ""), val(3, "1"));
    assert_eq!(
        rig.stored(3),
        ("s.b".into(), "NATS/1.0\r\nNats-Incr: +1\r\n\r\n".into(), r#"{"val":"1"}"#.into())
    );
    assert_eq!(code(&rig.publish("s.a", &["Nats-Incr: 1"], "x")), 10170);
    assert_eq!(code(&rig.publish("s.a", &["Nats-Incr: 1", "Nats-Expected-Stream: S"], "")), 10171);
}

#[test]
fn a_sealed_stream_takes_nothing() {
    let mut rig = Rig::new(|config| config.sealed = true);
    assert_eq!(code(&rig.publish("s.a", &[], "x")), 10109);
    assert_eq!(rig.call(|stream, call| stream.purge("", 0, 0, call)).map_err(|why| why.err_code), Err(10109));
}
