//! Atomic and fast batches.

use super::{Rig, SECOND_NS, code, ok};

fn send(rig: &mut Rig, id: &str, seq: u64, lines: &[&str]) -> String {
    let (id, seq) = (format!("Nats-Batch-Id: {id}"), format!("Nats-Batch-Sequence: {seq}"));
    let lines: Vec<&str> = [&*id, &*seq].into_iter().chain(lines.iter().copied()).collect();
    rig.publish("s.a", &lines, "x")
}

const COMMIT: &str = "Nats-Batch-Commit: 1";

fn done(seq: u64, id: &str, count: u64) -> String {
    format!(r#"{{"stream":"S","seq":{seq},"batch":"{id}","count":{count}}}"#)
}

fn atomic() -> Rig {
    Rig::new(|config| {
        config.allow_atomic = true;
        config.allow_rollup_hdrs = true;
    })
}

#[test]
fn a_batch_is_stored_at_its_commit() {
    let mut rig = atomic();
    assert_eq!((send(&mut rig, "b", 1, &[]), send(&mut rig, "b", 2, &[])), (String::new(), String::new()));
    assert!(rig.seqs().is_empty());
    assert_eq!(send(&mut rig, "b", 3, &[COMMIT]), done(3, "b", 3));
    assert_eq!(rig.seqs(), [1, 2, 3]);
    send(&mut rig, "c", 1, &[]);
    assert_eq!(send(&mut rig, "c", 2, &["Nats-Batch-Commit: eob"]), done(4, "c", 1));
    assert_eq!(
        rig.stored(4).1,
        "NATS/1.0\r\nNats-Batch-Id: c\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: 1\r\n\r\n"
    );
    assert_eq!(send(&mut rig, "d", 1, &[COMMIT]), done(5, "d", 1));
}

#[test]
fn a_batch_with_a_gap_is_dropped() {
    let mut rig = atomic();
    assert_eq!(code(&send(&mut rig, "b", 2, &[])), 10176);
    send(&mut rig, "b", 1, &[]);
    rig.publish_to("reply", "s.a", &["Nats-Batch-Id: b", "Nats-Batch-Sequence: 3"], "x");
    let said = rig.said();
    assert_eq!(said[0].0, "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S");
    assert!(said[0].2.contains(r#""reason":"incomplete""#), "{}", said[0].2);
    assert_eq!(code(&said[1].2), 10176);
    assert_eq!(code(&send(&mut rig, "b", 2, &[COMMIT])), 10176);
    assert_eq!(code(&send(&mut rig, "e", 1, &["Nats-Batch-Commit: eob"])), 10176);
    assert_eq!(code(&send(&mut rig, "e", 1, &["Nats-Batch-Commit: 2"])), 10200);
    assert_eq!(code(&send(&mut rig, &"x".repeat(65), 1, &[])), 10179);
    assert_eq!(code(&rig.publish("s.a", &["Nats-Batch-Id: b"], "")), 10175);
    assert!(rig.seqs().is_empty());
}

#[test]
fn a_failed_check_refuses_all_of_a_batch() {
    for (first, second, expected) in [
        (&["Nats-Expected-Last-Msg-Id: q"][..], &[][..], 10177),
        (&["Nats-Expected-Last-Sequence: 99"], &[], 10071),
        (&[], &["Nats-Expected-Last-Sequence: 0"], 10071),
        (&[], &["Nats-Expected-Last-Sequence: 1"], 10164),
        (&["Nats-Msg-Id: m"], &["Nats-Msg-Id: m"], 10201),
        (&["Nats-Rollup: sub"], &["Nats-Rollup: sub"], 10111),
        (&[], &["Nats-Rollup: all"], 10111),
        (&[], &["Nats-Expected-Last-Subject-Sequence: 0"], 10164),
        (&["Nats-Expected-Stream: Z"], &[], 10060),
        (&["Nats-TTL: 5"], &[], 10166),
    ] {
        let mut rig = atomic();
        assert_eq!(send(&mut rig, "b", 1, first), "");
        let second: Vec<&str> = second.iter().copied().chain([COMMIT]).collect();
        assert_eq!(code(&send(&mut rig, "b", 2, &second)), expected, "{first:?} {second:?}");
        assert!(rig.seqs().is_empty());
    }
}

#[test]
fn batches_have_limits() {
    let mut rig = atomic();
    for id in 0..50 {
        assert_eq!(send(&mut rig, &id.to_string(), 1, &[]), "");
    }
    assert_eq!(code(&send(&mut rig, "50", 1, &[])), 10210);
    rig.pass(10 * SECOND_NS);
    assert_eq!(rig.said().len(), 50);
    for seq in 1..=1000 {
        assert_eq!(send(&mut rig, "b", seq, &[]), "");
    }
    assert_eq!(code(&send(&mut rig, "b", 1001, &[])), 10199);
}

#[test]
fn a_torn_batch_is_gone_after_a_restart() {
    let mut rig = atomic();
    rig.publish("s.a", &[], "before");
    send(&mut rig, "b", 1, &[]);
    send(&mut rig, "b", 2, &[]);
    send(&mut rig, "b", 3, &[COMMIT]);
    let mut rig = rig.restart();
    assert_eq!(rig.seqs(), [1, 2, 3, 4]);
    rig.stream.store.truncate(3).expect("truncates");
    let mut rig = rig.restart();
    assert_eq!(rig.seqs(), [1]);
    assert_eq!(rig.publish("s.a", &[], "x"), ok(2));
}

/// What is said to one step of a fast batch.
fn step(rig: &mut Rig, step: &str, lines: &[&str]) -> Vec<String> {
    let reply = format!("fi.{step}.$FI");
    rig.publish_to(&reply, "s.a", lines, "x");
    rig.said().into_iter().filter(|said| said.0 == reply).map(|said| said.2).collect()
}

const WRONG: &[&str] = &["Nats-Expected-Last-Sequence: 999"];

fn ack(seq: u64, messages: u64) -> String {
    format!(r#"{{"type":"ack","seq":{seq},"msgs":{messages}}}"#)
}

fn gap(expected: u64, seq: u64) -> String {
    format!(r#"{{"type":"gap","last_seq":{expected},"seq":{seq}}}"#)
}

fn fast() -> Rig {
    Rig::new(|config| config.allow_batched = true)
}

#[test]
fn fast_batches_are_acknowledged_now_and_then() {
    let mut rig = fast();
    assert_eq!(step(&mut rig, "a.2.ok.1.0", &[]), [ack(0, 2)]);
    assert!(step(&mut rig, "a.2.ok.2.1", &[]) == [ack(2, 2)] && step(&mut rig, "a.2.ok.3.1", &[]).is_empty());
    assert_eq!(step(&mut rig, "a.2.ok.3.4", &[]), [ack(2, 2)]);
    assert_eq!(step(&mut rig, "b.10.ok.1.0", &[]), [ack(0, 1), ack(1, 2)]);
    assert_eq!(step(&mut rig, "a.2.ok.4.2", &[]), [done(5, "a", 4)]);
    assert_eq!(step(&mut rig, "b.10.ok.2.3", &[]), [done(4, "b", 1)]);
    assert_eq!(step(&mut rig, "c.10.ok.1.2", &[]), [done(6, "c", 1)]);
}

#[test]
fn gaps_are_told_and_end_a_strict_batch() {
    let mut rig = fast();
    step(&mut rig, "a.10.ok.1.0", &[]);
    assert_eq!(step(&mut rig, "a.10.ok.3.1", &[]), [gap(2, 3)]);
    assert_eq!(step(&mut rig, "a.10.ok.6.4", &[]), [gap(4, 7), ack(0, 10)]);
    assert_eq!(step(&mut rig, "a.10.ok.3.2", &[]), [gap(7, 3), done(2, "a", 6)]);
    step(&mut rig, "b.10.fail.1.0", &[]);
    assert_eq!(step(&mut rig, "b.10.fail.5.2", &[]), [gap(2, 5), done(3, "b", 1)]);
    assert_eq!(code(&step(&mut rig, "b.10.fail.6.1", &[])[0]), 10208);
}

#[test]
fn errors_in_a_fast_batch() {
    let mut rig = fast();
    for (reply, expected) in [
        ("x.10.bad.1.0", 10206),
        ("x.10.ok.1.1", 10206),
        ("x.10.ok.1.3", 10206),
        ("x.10.ok.1.4", 10208),
        ("x.10.ok.2.1", 10208),
    ] {
        assert_eq!(code(&step(&mut rig, reply, &[])[0]), expected, "{reply}");
    }
    let said = step(&mut rig, "a.10.fail.1.0", WRONG);
    assert!(said[0] == ack(0, 10) && code(&said[1]) == 10071 && said.len() == 2, "{said:?}");
    let said = step(&mut rig, "b.10.ok.1.0", WRONG);
    assert!(said[1].starts_with(r#"{"type":"err","seq":1,"error":{"code":400,"err_code":10071"#), "{said:?}");
    assert_eq!(step(&mut rig, "b.10.ok.2.2", &[]), [done(1, "b", 2)]);
    step(&mut rig, "c.10.fail.1.0", &[]);
    assert_eq!(step(&mut rig, "c.10.fail.2.1", WRONG)[1], done(2, "c", 1));
    let mut rig = Rig::new(|_| {});
    assert_eq!(code(&step(&mut rig, "a.10.ok.1.0", &[])[0]), 10205);
}
