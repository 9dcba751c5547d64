//! Subject transforms and republishing.

use super::Rig;
use crate::wire::stream::{Republish, SubjectTransform};

fn transform(src: &str, dest: &str) -> SubjectTransform {
    SubjectTransform { src: src.to_owned(), dest: dest.to_owned() }
}

#[test]
fn a_stored_message_is_published_again() {
    let republish =
        Republish { src: "s.*.x".to_owned(), dest: "out.{{wildcard(1)}}".to_owned(), headers_only: false };
    let mut rig = Rig::new(|config| config.republish = Some(republish));
    let mut said = |subject: &str, lines: &[&str]| {
        rig.publish_to("reply", subject, lines, "body");
        rig.said()
    };
    assert_eq!(said("s.1.y", &[]).len(), 1);
    assert_eq!(said("s.1.x", &[]).len(), 2);
    let said = said("s.1.x", &["A: b"]);
    let headers = "NATS/1.0\r\nA: b\r\nNats-Stream: S\r\nNats-Subject: s.1.x\r\nNats-Sequence: 3\r\n\
                   Nats-Time-Stamp: 2026-01-01T00:00:00Z\r\nNats-Last-Sequence: 2\r\n\r\n";
    assert_eq!(said[0], ("out.1".to_owned(), headers.to_owned(), "body".to_owned()));
    assert_eq!(said[1].0, "reply");
}

#[test]
fn the_headers_alone_say_how_long_the_message_was() {
    let republish = Republish { src: ">".to_owned(), dest: "out.>".to_owned(), headers_only: true };
    let mut rig = Rig::new(|config| config.republish = Some(republish));
    rig.publish_to("", "s.a", &[], "hello");
    let said = rig.said();
    assert_eq!((&*said[0].0, &*said[0].2), ("out.s.a", ""));
    assert!(said[0].1.ends_with("Nats-Last-Sequence: 0\r\nNats-Msg-Size: 5\r\n\r\n"), "{}", said[0].1);
}

#[test]
fn a_transform_changes_what_is_stored() {
    let mut rig = Rig::new(|config| {
        config.subject_transform = Some(transform("s.a.*", "t.{{wildcard(1)}}"));
        config.allow_atomic = true;
    });
    rig.publish("s.a.1", &[], "x");
    rig.publish("s.b.1", &["A: b"], "x");
    rig.publish("s.a.1", &["Nats-Expected-Last-Subject-Sequence: 1"], "x");
    rig.publish("s.a.2", &["Nats-Batch-Id: b", "Nats-Batch-Sequence: 1", "Nats-Batch-Commit: 1"], "x");
    let subjects: Vec<String> = (1..=4).map(|seq| rig.stored(seq).0).collect();
    assert_eq!(subjects, ["t.1", "s.b.1", "t.1", "t.2"]);
}
