//! Limits: what goes, and what is refused.

use super::{Rig, SECOND_NS, code, ok};
use crate::wire::Discard;

#[test]
fn discard_old_drops_from_the_head() {
    let mut rig = Rig::new(|config| config.max_msgs = 2);
    (0..4).for_each(|_| drop(rig.publish("s.a", &[], "x")));
    assert_eq!(rig.seqs(), [3, 4]);
    let mut rig = Rig::new(|config| config.max_bytes = 100);
    (0..10).for_each(|_| drop(rig.publish("s.a", &[], "0123456789")));
    assert_eq!(rig.seqs(), [8, 9, 10]);
    assert_eq!(rig.publish("s.a", &[], &"x".repeat(200)), ok(11));
    assert!(rig.seqs().is_empty());
}

#[test]
fn a_subject_keeps_its_newest() {
    let mut rig = Rig::new(|config| config.max_msgs_per_subject = 2);
    for subject in ["s.a", "s.b", "s.a", "s.a"] {
        rig.publish(subject, &[], "x");
    }
    assert_eq!(rig.seqs(), [2, 3, 4]);
}

#[test]
fn discard_new_refuses_when_full() {
    let mut rig = Rig::new(|config| {
        config.discard = Discard::New;
        config.max_msgs = 2;
        config.max_msgs_per_subject = 1;
    });
    for (subject, expected) in [("s.a", ok(1)), ("s.b", ok(2)), ("s.a", ok(3))] {
        assert_eq!(rig.publish(subject, &[], "x"), expected);
    }
    let answer = rig.publish("s.c", &[], "x");
    assert!(answer.contains("maximum messages exceeded") && code(&answer) == 10077, "{answer}");

    let mut rig = Rig::new(|config| {
        config.discard = Discard::New;
        config.max_bytes = 100;
    });
    assert_eq!(code(&rig.publish("s.a", &[], &"x".repeat(81))), 10077);
    assert_eq!(code(&rig.publish("s.a", &[], &"x".repeat(80))), 0);
}

#[test]
fn discard_new_per_subject_spares_rollups() {
    let mut rig = Rig::new(|config| {
        config.discard = Discard::New;
        config.max_msgs_per_subject = 1;
        config.discard_new_per_subject = true;
        config.allow_rollup_hdrs = true;
    });
    rig.publish("s.a", &[], "x");
    assert!(rig.publish("s.a", &[], "x").contains("maximum messages per subject exceeded"));
    assert_eq!(rig.publish("s.a", &["Nats-Rollup: sub"], "x"), ok(2));
    assert_eq!(rig.seqs(), [2]);
}

#[test]
fn tighter_limits_apply_at_once() {
    let mut rig = Rig::new(|_| {});
    for subject in ["s.a", "s.b", "s.a", "s.a"] {
        rig.publish(subject, &[], "x");
        rig.pass(SECOND_NS);
    }
    let mut config = rig.stream.config().clone();
    config.max_msgs_per_subject = 2;
    rig.call(|stream, call| stream.update(config.clone(), call)).expect("updates");
    assert_eq!(rig.seqs(), [2, 3, 4]);
    config.max_msgs = 2;
    rig.call(|stream, call| stream.update(config.clone(), call)).expect("updates");
    assert_eq!(rig.seqs(), [3, 4]);
    config.max_age = 2 * SECOND_NS;
    rig.call(|stream, call| stream.update(config, call)).expect("updates");
    rig.pass(0);
    assert_eq!(rig.seqs(), [4]);
    rig.pass(SECOND_NS);
    assert!(rig.seqs().is_empty());
}

#[test]
fn deletes_and_purges_say_what_they_did() {
    let mut rig = Rig::new(|_| {});
    for subject in ["s.a", "s.b", "s.a", "s.b", "s.a"] {
        rig.publish(subject, &[], "x");
    }
    let delete = |rig: &mut Rig, seq| rig.call(|stream, call| stream.delete_message(seq, true, call));
    assert_eq!(delete(&mut rig, 2), Ok(()));
    assert_eq!(
        delete(&mut rig, 2).map_err(|why| why.to_string()),
        Err("sequence 2 not found (10043)".into())
    );
    let purge = |rig: &mut Rig, filter: &str, seq, keep| {
        rig.call(|stream, call| stream.purge(filter, seq, keep, call)).map_err(|why| why.err_code)
    };
    assert_eq!(purge(&mut rig, "", 3, 1), Err(10003));
    assert_eq!(purge(&mut rig, "s.a", 0, 1), Ok(2));
    assert_eq!(purge(&mut rig, "", 5, 0), Ok(1));
    assert_eq!(purge(&mut rig, "", 0, 0), Ok(1));
    assert_eq!(rig.stream.state().first_seq, 6);
}
