//! Mirrors and sources as the stream sees them: what it asks for, and what it does when something is missing.

use super::{Rig, SECOND_NS};
use crate::stream::Inbound;
use crate::wire::stream::StreamSource;
use serde_json::Value;

fn mirror() -> Rig {
    let source = StreamSource { name: "O".to_owned(), ..StreamSource::default() };
    Rig::new(|config| {
        config.subjects = Vec::new();
        config.mirror = Some(source);
    })
}

/// Lets it ask: the number of the attempt, and where it wants to begin.
fn attempt(rig: &mut Rig) -> (u32, u64) {
    rig.call(|stream, call| stream.tick(call));
    let said = rig.said();
    let asked = said.iter().find(|said| said.0.starts_with("$JS.API.CONSUMER.CREATE.O")).expect("asks");
    let body: Value = serde_json::from_str(&asked.2).expect("is JSON");
    let number = rig.stream.origin_inboxes().next().expect("listens").0;
    (number, body["config"]["opt_start_seq"].as_u64().unwrap_or(0))
}

/// A message with its place in the origin and its number from the consumer.
fn deliver(rig: &mut Rig, attempt: u32, seq: u64, consumer_seq: u64) {
    let reply = format!("$JS.ACK.O.C.1.{seq}.{consumer_seq}.{}.0", 1_700_000_000 * SECOND_NS);
    let message = Inbound { subject: b"o", reply: reply.as_bytes(), headers: b"", payload: b"x" };
    rig.call(|stream, call| stream.from_origin(attempt, &message, call));
}

#[test]
fn a_gap_in_what_comes_is_asked_for_again() {
    let mut rig = mirror();
    let (first, from) = attempt(&mut rig);
    assert_eq!(from, 0);
    deliver(&mut rig, first, 1, 1);
    deliver(&mut rig, first, 2, 2);
    deliver(&mut rig, first, 4, 4);
    assert_eq!(rig.seqs(), [1, 2]);
    assert_eq!(rig.stream.origin_inboxes().count(), 0);
    rig.now_ns += 3 * SECOND_NS;
    let (second, from) = attempt(&mut rig);
    assert_eq!(from, 3);
    // What is late from before is dropped.
    deliver(&mut rig, first, 3, 3);
    assert_eq!(rig.seqs(), [1, 2]);
    deliver(&mut rig, second, 3, 1);
    deliver(&mut rig, second, 7, 2);
    assert_eq!(rig.seqs(), [1, 2, 3, 7]);
}

#[test]
fn an_origin_that_is_silent_is_asked_again() {
    let mut rig = mirror();
    let (first, _) = attempt(&mut rig);
    deliver(&mut rig, first, 1, 1);
    rig.now_ns += 11 * SECOND_NS;
    rig.call(|stream, call| stream.tick(call));
    rig.now_ns += SECOND_NS;
    let (second, from) = attempt(&mut rig);
    assert!(second != first && from == 2);
}

/// JS-244: each is asked at once for less.
#[test]
fn an_older_origin_is_asked_for_what_it_knows() {
    let source = StreamSource { name: "O".to_owned(), ..StreamSource::default() };
    let mut rig = Rig::new(|config| config.sources = vec![source]);
    let mut levels = Vec::new();
    for _ in 0..3 {
        rig.call(|stream, call| stream.tick(call));
        let said = rig.said();
        let body: Value = serde_json::from_str(&said[0].2).expect("is JSON");
        let is_sourcing = body["config"]["sourcing"].as_bool().unwrap_or(false);
        levels.push((said[0].1.replace("\r\n", "|"), is_sourcing));
        let number = rig.stream.origin_inboxes().next().expect("listens").0;
        let payload = br#"{"error":{"code":412,"err_code":10185,"description":"api level not supported"}}"#;
        let answer = Inbound { subject: b"answers", reply: b"", headers: b"", payload };
        rig.call(|stream, call| stream.from_origin(number, &answer, call));
    }
    let level = |text: &str| format!("NATS/1.0|Nats-Required-Api-Level: {text}||");
    assert_eq!(
        levels,
        [(level("5|Nats-Stream-Identity: "), true), (level("4"), true), (String::new(), false)]
    );
    // There is no less: it waits.
    rig.call(|stream, call| stream.tick(call));
    assert_eq!(rig.said().len(), 0);
}
