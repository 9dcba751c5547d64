//! Scheduled messages.

use super::{Rig, SECOND_NS, code, ok};

fn rig() -> Rig {
    Rig::new(|config| {
        config.allow_msg_schedules = true;
        config.allow_rollup_hdrs = true;
        config.allow_msg_ttl = true;
    })
}

const TARGET: &str = "Nats-Schedule-Target: s.t";

#[test]
fn a_schedule_for_once_runs_and_goes() {
    let mut rig = rig();
    let at = "Nats-Schedule: @at 2026-01-01T00:00:05Z";
    let more = ["Nats-Schedule-TTL: 5m", "Nats-Schedule-Rollup: sub", "Nats-Msg-Id: m", "A: b"];
    let lines: Vec<&str> = [at, TARGET].into_iter().chain(more).collect();
    assert_eq!(rig.publish("s.once", &lines, "body"), ok(1));
    assert!(rig.stored(1).1.ends_with("A: b\r\nNats-Rollup: sub\r\n\r\n"));
    let mut rig = rig.restart();
    rig.pass(4 * SECOND_NS);
    assert_eq!(rig.seqs(), [1]);
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [2]);
    let headers = "NATS/1.0\r\nA: b\r\nNats-Scheduler: s.once\r\nNats-Schedule-Next: purge\r\nNats-TTL: 5m\r\n\
                   Nats-Rollup: sub\r\n\r\n";
    assert_eq!(rig.stored(2), ("s.t".into(), headers.into(), "body".into()));
    rig.pass(300 * SECOND_NS);
    assert!(rig.seqs().is_empty());
}

#[test]
fn a_schedule_goes_on_where_it_was_after_a_restart() {
    let mut rig = rig();
    rig.publish("s.many", &["Nats-Schedule: @every 10s", TARGET], "body");
    rig.pass(25 * SECOND_NS);
    assert_eq!(rig.seqs(), [1, 2, 3]);
    assert!(rig.stored(3).1.contains("Nats-Schedule-Next: 2026-01-01T00:00:30Z"), "{}", rig.stored(3).1);
    let mut rig = rig.restart();
    rig.pass(4 * SECOND_NS);
    assert_eq!(rig.seqs(), [1, 2, 3]);
    rig.pass(SECOND_NS);
    assert_eq!(rig.seqs(), [1, 2, 3, 4]);
    rig.now_ns += 100 * SECOND_NS;
    rig.pass(0);
    assert_eq!(rig.seqs(), [1, 2, 3, 4, 5], "missed runs are one");
}

#[test]
fn a_new_schedule_of_the_subject_replaces_the_old_one() {
    let mut rig = rig();
    rig.publish("s.x", &["Nats-Schedule: @every 10s", TARGET], "old");
    rig.publish("s.x", &["Nats-Schedule: @every 20s", TARGET], "new");
    rig.pass(20 * SECOND_NS);
    assert_eq!(rig.seqs(), [2, 3]);
    assert_eq!(rig.stored(3).2, "new");
    let lines = ["Nats-Scheduler: s.x", "Nats-Schedule-Next: purge"];
    assert_eq!(code(&rig.publish("s.x", &lines, "")), 10212);
    assert_eq!(rig.publish("s.end", &lines, ""), ok(4));
    assert_eq!(rig.seqs(), [3, 4]);
    rig.pass(100 * SECOND_NS);
    assert_eq!(rig.seqs(), [3, 4]);
}

#[test]
fn the_content_may_come_from_another_subject() {
    let mut rig = rig();
    let lines = ["Nats-Schedule: * * * * * *", TARGET, "Nats-Schedule-Source: s.src"];
    rig.publish("s.x", &lines, "own");
    rig.pass(SECOND_NS);
    assert_eq!(rig.stored(2).2, "own");
    rig.publish("s.src", &["H: i", "Nats-Msg-Id: z"], "theirs");
    rig.pass(SECOND_NS);
    let (_, headers, payload) = rig.stored(4);
    assert_eq!(payload, "theirs");
    assert!(headers.starts_with("NATS/1.0\r\nH: i\r\nNats-Scheduler: s.x\r\n"), "{headers}");
}

#[test]
fn bad_schedules_are_refused() {
    let mut rig = rig();
    let at = "Nats-Schedule: @at 2030-01-01T00:00:00Z";
    for (lines, expected) in [
        (&["Nats-Schedule: bad", TARGET][..], 10189),
        (&["Nats-Schedule: 0 0 0 30 2 *", TARGET], 10189),
        (&["Nats-Schedule: @daily", TARGET, "Nats-Schedule-Time-Zone: No/Where"], 10223),
        (&[at], 10190),
        (&[at, "Nats-Schedule-Target: s.x"], 10190),
        (&[at, "Nats-Schedule-Target: other"], 10190),
        (&[at, "Nats-Schedule-Target: s.*"], 10190),
        (&[at, TARGET, "Nats-Schedule-Source: s.t"], 10203),
        (&[at, TARGET, "Nats-Schedule-Source: zz"], 10203),
        (&[at, TARGET, "Nats-Schedule-TTL: x"], 10191),
        (&[at, TARGET, "Nats-Schedule-Rollup: all"], 10192),
        (&[at, TARGET, "Nats-Rollup: all"], 10192),
        (&["Nats-Scheduler: x"], 10212),
        (&["Nats-Scheduler: s.zz", "Nats-Schedule-Next: x"], 10212),
    ] {
        assert_eq!(code(&rig.publish("s.x", lines, "")), expected, "{lines:?}");
    }
    assert!(rig.seqs().is_empty());
}
