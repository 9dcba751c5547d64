//! The server killed with SIGKILL under load, again and again, over one store: what was answered still holds.
//!
//! After each start: every acknowledged message is there with its content, none that was deleted or purged is back,
//! none that was doubly acknowledged is delivered again, and nothing is stored twice (SD-120 to SD-125).
//!
//! `NATSD_KILLS` says how often; the default is short enough for every run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, Lost, Received};
use natsd_tests::server::{Folder, natsd};
use natsd_tests::{Launch, Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Messages of one write, so that acks of many are under way when the server dies.
const PIPELINE: u64 = 50;

/// What the clients were told, over all lives of the server.
#[derive(Default)]
struct Told {
    /// Acknowledged messages that nobody asked to remove, by sequence.
    stored: BTreeMap<u64, String>,
    /// Removal was confirmed.
    gone: BTreeSet<u64>,
    /// Removal was asked for; either way is right.
    unsure: BTreeSet<u64>,
    /// Everything below was purged, for sure.
    purged_below: u64,
    /// A purge up to here was asked for.
    perhaps_purged_below: u64,
    /// Doubly acknowledged, for sure.
    acknowledged: BTreeSet<u64>,
    lives: u64,
}

impl Display for Told {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let (stored, gone, acknowledged) = (self.stored.len(), self.gone.len(), self.acknowledged.len());
        let purged_below = self.purged_below;
        write!(to, "{stored} messages kept, {gone} deleted, purged below {purged_below}, ")?;
        write!(to, "{acknowledged} doubly acknowledged")
    }
}

#[test]
fn what_was_answered_survives_sigkill() {
    let kills = std::env::var("NATSD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let program = natsd();
    let store = Folder::new();
    let mut told = Told::default();
    for _ in 0..kills {
        let server = start(&program, &store);
        check(&server, &mut told);
        load_and_kill(server, &mut told);
        println!("life {}: {told}", told.lives);
    }
    check(&start(&program, &store), &mut told);
    assert!(told.acknowledged.len() > 10, "the consumer got nothing done");
    println!("{kills} kills: {told}");
}

fn start(program: &PathBuf, store: &Folder) -> Server {
    Launch::new(program)
        .config(format!("jetstream {{ store_dir: {:?} }}\n", store.path().to_string_lossy()))
        .start()
}

/// Compares everything that the server has with what was told.
fn check(server: &Server, told: &mut Told) {
    let mut js = JetStream::join(server.address(), "check").unwrap();
    if told.lives == 0 {
        let made = js.api("STREAM.CREATE.KILL", &json!({"name": "KILL", "subjects": ["kill.>"]})).unwrap();
        assert!(made["error"].is_null(), "{made}");
        let config = json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": 500_000_000});
        let made =
            js.api("CONSUMER.CREATE.KILL.C", &json!({"stream_name": "KILL", "config": config})).unwrap();
        assert!(made["error"].is_null(), "{made}");
    }
    told.lives += 1;
    let present = everything(&mut js, told.lives);
    for (seq, payload) in &told.stored {
        if *seq < told.perhaps_purged_below || told.unsure.contains(seq) {
            continue;
        }
        let (life, count) = (told.lives, present.len());
        let span = (present.keys().next(), present.keys().next_back());
        assert_eq!(
            present.get(seq),
            Some(payload),
            "life {life}: message {seq} was acknowledged; {count}, {span:?}"
        );
    }
    for seq in present.keys() {
        assert!(!told.gone.contains(seq), "life {}: message {seq} was deleted and is back", told.lives);
        assert!(*seq >= told.purged_below, "life {}: message {seq} was purged and is back", told.lives);
    }
    let mut payloads: Vec<&String> = present.values().collect();
    payloads.sort_unstable();
    let before = payloads.len();
    payloads.dedup();
    assert_eq!(payloads.len(), before, "life {}: something is stored twice", told.lives);
    // What was unsure is known now.
    for seq in std::mem::take(&mut told.unsure) {
        if !present.contains_key(&seq) {
            told.gone.insert(seq);
            told.stored.remove(&seq);
        }
    }
    let first = present.keys().next().copied().unwrap_or(told.perhaps_purged_below);
    if first >= told.perhaps_purged_below {
        told.purged_below = told.perhaps_purged_below;
    } else {
        told.perhaps_purged_below = told.purged_below;
    }
    told.stored.retain(|seq, _| *seq >= told.purged_below);
    // Those that nobody was told of are there as well, and stay.
    told.stored.extend(present);
}

/// All messages, by a push consumer.
fn everything(js: &mut JetStream, life: u64) -> BTreeMap<u64, String> {
    let info = js.api("STREAM.INFO.KILL", &Value::Null).unwrap();
    let expected = info["state"]["messages"].as_u64().unwrap();
    // The consumers of earlier lives may still be there: each delivers to a subject of its own.
    let (deliver, asked) = (format!("deliver.{life}"), js.reply());
    // nats-server does not count a wildcard as interest in a deliver subject.
    js.send(format!("SUB {deliver} 2\r\n").as_bytes()).unwrap();
    let config = json!({"deliver_subject": deliver, "ack_policy": "none"});
    let body = json!({"stream_name": "KILL", "config": config}).to_string();
    js.publish("$JS.API.CONSUMER.CREATE.KILL", &asked, body.as_bytes()).unwrap();
    let mut present = BTreeMap::new();
    while (present.len() as u64) < expected {
        let Ok(message) = js.next_message() else {
            panic!("{} of {} messages came: {info}", present.len(), expected);
        };
        if message.subject == asked {
            let made = String::from_utf8_lossy(&message.payload).into_owned();
            assert!(!made.contains("\"error\""), "{made}");
        }
        if message.reply.starts_with("$JS.ACK.KILL.") {
            present.insert(message.stream_seq(), String::from_utf8(message.payload).unwrap());
        }
    }
    present
}

/// What one life of the server added.
#[derive(Default)]
struct Life {
    stored: Vec<(u64, String)>,
    gone: Vec<u64>,
    unsure: Vec<u64>,
    purged_below: u64,
    perhaps_purged_below: u64,
    acknowledged: Vec<u64>,
}

fn load_and_kill(server: Server, told: &mut Told) {
    let address = server.address();
    let life = told.lives;
    let known: Vec<u64> = told.stored.keys().copied().collect();
    let acknowledged = told.acknowledged.clone();
    let publisher = thread::spawn(move || publish(address, life));
    let consumer = thread::spawn(move || consume(address, &acknowledged));
    let remover = thread::spawn(move || remove(address, life, &known));
    thread::sleep(Duration::from_millis(100 + (life * 37) % 250));
    server.signal(Signal::KILL);
    for part in [publisher.join().unwrap(), consumer.join().unwrap(), remover.join().unwrap()] {
        told.stored.extend(part.stored);
        told.acknowledged.extend(part.acknowledged);
        told.unsure.extend(part.unsure);
        for seq in part.gone {
            told.gone.insert(seq);
            told.stored.remove(&seq);
        }
        told.purged_below = told.purged_below.max(part.purged_below);
        told.perhaps_purged_below =
            told.perhaps_purged_below.max(part.perhaps_purged_below).max(told.purged_below);
    }
}

/// Publishes with many acks under way until the connection is lost.
fn publish(address: SocketAddr, life: u64) -> Life {
    let mut done = Life::default();
    let mut run = || -> Result<(), Lost> {
        let mut js = JetStream::join(address, "publisher")?;
        let mut next = 0u64;
        loop {
            let mut waiting = BTreeMap::new();
            for _ in 0..PIPELINE {
                let (reply, payload) = (js.reply(), format!("{life}.{next}"));
                js.publish(&format!("kill.{}", next % 7), &reply, payload.as_bytes())?;
                waiting.insert(reply, payload);
                next += 1;
            }
            while !waiting.is_empty() {
                let ack = js.next_message()?;
                let Some(payload) = waiting.remove(&ack.subject) else { continue };
                let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
                if ack["error"].is_null() {
                    done.stored.push((ack["seq"].as_u64().unwrap(), payload));
                }
            }
        }
    };
    let Lost = run().expect_err("the loop ends with the connection");
    done
}

/// Fetches and acknowledges doubly; what was acknowledged must not come again.
fn consume(address: SocketAddr, acknowledged: &BTreeSet<u64>) -> Life {
    let mut done = Life::default();
    let mut run = || -> Result<(), Lost> {
        let mut js = JetStream::join(address, "consumer")?;
        loop {
            let messages = js.fetch("KILL", "C", 20)?;
            for message in &messages {
                let seq = message.stream_seq();
                let again = acknowledged.contains(&seq) || done.acknowledged.contains(&seq);
                assert!(!again, "message {seq} was doubly acknowledged and comes again: {message:?}");
            }
            for message in messages.iter().filter(|message| !Received::is_status(message)) {
                js.double_ack(message)?;
                done.acknowledged.push(message.stream_seq());
            }
        }
    };
    let Lost = run().expect_err("the loop ends with the connection");
    done
}

/// Deletes some of what is known, and now and then purges the oldest.
fn remove(address: SocketAddr, life: u64, known: &[u64]) -> Life {
    let mut done = Life::default();
    let mut run = || -> Result<(), Lost> {
        let mut js = JetStream::join(address, "remover")?;
        for seq in known.iter().rev().step_by(11).take(40) {
            done.unsure.push(*seq);
            let body = json!({"seq": seq, "no_erase": seq % 2 == 0});
            let answer = js.api("STREAM.MSG.DELETE.KILL", &body)?;
            if answer["success"] == json!(true) {
                done.unsure.pop();
                done.gone.push(*seq);
            }
        }
        if life.is_multiple_of(3) && known.len() > 500 {
            let below = known[known.len() - 500];
            done.perhaps_purged_below = below;
            let answer = js.api("STREAM.PURGE.KILL", &json!({"seq": below}))?;
            if answer["success"] == json!(true) {
                done.purged_below = below;
            }
        }
        loop {
            js.next_message()?;
        }
    };
    let Lost = run().expect_err("the loop ends with the connection");
    done
}
