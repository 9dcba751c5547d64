//! What a restart finds: it counts at once, and what came of age meanwhile is gone before anybody asks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, Received};
use natsd_tests::server::{Folder, natsd, reference};
use natsd_tests::{Launch, PATIENCE, Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn programs() -> impl Iterator<Item = PathBuf> {
    [Some(natsd()), reference()].into_iter().flatten()
}

fn start(program: &PathBuf, folder: &Folder, jetstream: &str) -> (Server, JetStream) {
    let config = format!("jetstream {{ store_dir: \"{}\", {jetstream} }}\n", folder.path().display());
    let server = Launch::new(program).config(config).start();
    let client = JetStream::join(server.address(), "restart").unwrap();
    (server, client)
}

fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    server.wait_for_exit(PATIENCE).unwrap();
}

fn make(client: &mut JetStream, name: &str, fields: Value) {
    let mut config = json!({"name": name, "subjects": [name]});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = client.api(&format!("STREAM.CREATE.{name}"), &config).unwrap();
    assert!(made["error"].is_null(), "{made}");
}

fn consumer(client: &mut JetStream, stream: &str) {
    let request = json!({"stream_name": stream, "config": {"durable_name": "C", "ack_policy": "explicit"}});
    assert!(client.api(&format!("CONSUMER.CREATE.{stream}.C"), &request).unwrap()["error"].is_null());
}

/// The next message of stream A, which a consumer may hear of a little later than who stored it.
fn next(client: &mut JetStream, consumer: &str) -> Received {
    let begin = Instant::now();
    loop {
        if let Some(message) = client.fetch("A", consumer, 1).unwrap().pop() {
            return message;
        }
        assert!(begin.elapsed() < PATIENCE, "{consumer} gets nothing");
    }
}

#[test]
fn what_was_stored_counts_at_once() {
    for program in programs() {
        let (folder, limit) = (Folder::new(), "max_file: 10000");
        let (server, mut client) = start(&program, &folder, limit);
        make(&mut client, "A", json!({}));
        make(&mut client, "B", json!({}));
        consumer(&mut client, "A");
        for _ in 0..8 {
            client.store("A", &[b'x'; 1000]).unwrap();
        }
        client.store("B", &[b'x'; 5000]).unwrap();
        let before = client.api("INFO", &Value::Null).unwrap();
        stop(server);
        let (server, mut client) = start(&program, &folder, limit);
        let after = client.api("INFO", &Value::Null).unwrap();
        for field in ["storage", "streams", "consumers"] {
            assert_eq!(after[field], before[field], "{}: {field}", program.display());
        }
        let refused = client.request("B", b"x").unwrap();
        let refused: Value = serde_json::from_slice(&refused.payload).unwrap();
        assert_eq!(refused["error"]["err_code"], 10023, "{}: {refused}", program.display());
        stop(server);
    }
}

/// JC-042: also for who has a name that lasts, and it makes room for the next of the name.
#[test]
fn consumers_in_memory_are_gone() {
    for program in programs() {
        let folder = Folder::new();
        let (server, mut client) = start(&program, &folder, "");
        make(&mut client, "A", json!({}));
        consumer(&mut client, "A");
        let in_memory = |config: Value| json!({"stream_name": "A", "config": config});
        let lasting = in_memory(json!({"durable_name": "M", "ack_policy": "explicit", "mem_storage": true}));
        assert_eq!(client.api("CONSUMER.CREATE.A.M", &lasting).unwrap()["config"]["mem_storage"], true);
        client.store("A", b"x").unwrap();
        for name in ["C", "M"] {
            let got = next(&mut client, name);
            client.double_ack(&got).unwrap();
        }
        stop(server);
        let (server, mut client) = start(&program, &folder, "");
        let names = client.api("CONSUMER.NAMES.A", &Value::Null).unwrap();
        assert_eq!(names["consumers"], json!(["C"]), "{}", program.display());
        let made = client.api("CONSUMER.CREATE.A.M", &lasting).unwrap();
        assert_eq!((&made["num_pending"], &made["error"]), (&json!(1), &Value::Null), "{made}");
        assert_eq!(client.api("CONSUMER.DELETE.A.M", &Value::Null).unwrap()["success"], true);
        stop(server);
    }
}

/// JC-074, SD-024: where an empty stream and its consumers stand.
#[test]
fn places_in_an_empty_stream_stay() {
    for program in programs() {
        let folder = Folder::new();
        let (server, mut client) = start(&program, &folder, "");
        for name in ["A", "B"] {
            make(&mut client, name, json!({}));
        }
        consumer(&mut client, "A");
        let reset = client.api("CONSUMER.RESET.A.C", &json!({"seq": 3})).unwrap();
        assert_eq!(reset["delivered"]["stream_seq"], 2, "{reset}");
        assert_eq!(client.api("STREAM.PURGE.B", &Value::Null).unwrap()["success"], true);
        stop(server);
        let (server, mut client) = start(&program, &folder, "");
        let first_seq = |client: &mut JetStream, name: &str| {
            client.api(&format!("STREAM.INFO.{name}"), &Value::Null).unwrap()["state"]["first_seq"].clone()
        };
        let found = ["A", "B"].map(|name| first_seq(&mut client, name));
        assert_eq!(found, [json!(0), json!(1)], "{}", program.display());
        let stored: Vec<u64> = (0..3).map(|_| client.store("A", b"x").unwrap()).collect();
        assert_eq!(stored, [1, 2, 3]);
        assert_eq!(next(&mut client, "C").stream_seq(), 3, "{}", program.display());
        stop(server);
    }
}

/// JS-172: also what could not go in one turn, and what is followed by messages that stay.
#[test]
fn what_came_of_age_meanwhile_is_not_there() {
    const MAX_AGE: Duration = Duration::from_secs(1);
    for program in programs() {
        let folder = Folder::new();
        let (server, mut client) = start(&program, &folder, "");
        let age = json!({"max_age": MAX_AGE.as_nanos() as u64});
        for name in ["A", "M"] {
            make(&mut client, name, age.clone());
            consumer(&mut client, name);
        }
        make(&mut client, "T", json!({"max_age": MAX_AGE.as_nanos() as u64, "allow_msg_ttl": true}));
        let old = ["A", "M", "T"].map(|name| format!("PUB {name} 3\r\nold\r\n").repeat(1500)).concat();
        client.send(old.as_bytes()).unwrap();
        for name in ["A", "M", "T"] {
            assert_eq!(client.store(name, b"old").unwrap(), 1501);
        }
        stop(server);
        // Nobody is there who could remove them.
        std::thread::sleep(MAX_AGE * 5 / 4);
        let (server, mut client) = start(&program, &folder, "");
        let program = program.display();
        for name in ["A", "M", "T"] {
            let state = client.api(&format!("STREAM.INFO.{name}"), &Value::Null).unwrap()["state"].take();
            let seen = (&state["messages"], &state["first_seq"], &state["last_seq"]);
            assert_eq!(seen, (&json!(0), &json!(1502), &json!(1501)), "{program}: {name}");
        }
        let info = client.api("CONSUMER.INFO.A.C", &Value::Null).unwrap();
        assert_eq!(info["num_pending"], 0, "{program}: {info}");
        assert_eq!(client.store("M", b"new").unwrap(), 1502);
        let messages = client.fetch("M", "C", 1).unwrap();
        assert_eq!(messages[0].stream_seq(), 1502, "{program}");
        stop(server);
    }
}
