//! What streams do and answer at the edges: replies that nobody can get, floods, and headers that are hardly there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::client::Client;
use natsd_tests::jetstream::{JetStream, on_each_server};
use natsd_tests::server::{Folder, natsd};
use natsd_tests::{Launch, PATIENCE};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

fn servers(mut test: impl FnMut(&str, &mut JetStream)) {
    on_each_server(|server, client| test(&server.program().display().to_string(), client));
}

fn update(client: &mut JetStream, fields: Value) {
    let mut config = json!({"name": "S", "subjects": ["s", "s.>"]});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = client.api("STREAM.UPDATE.S", &config).unwrap();
    assert!(made["error"].is_null(), "{made}");
}

/// Publishes with headers; the answer, null if it is empty.
fn publish(client: &mut JetStream, subject: &str, headers: &str, payload: &str) -> Value {
    let reply = client.reply();
    let block = format!("NATS/1.0\r\n{headers}\r\n");
    let (block_len, len) = (block.len(), block.len() + payload.len());
    client
        .send(format!("HPUB {subject} {reply} {block_len} {len}\r\n{block}{payload}\r\n").as_bytes())
        .unwrap();
    loop {
        let message = client.next_message().unwrap();
        if message.subject == reply {
            return serde_json::from_slice(&message.payload).unwrap_or_default();
        }
    }
}

fn state(client: &mut JetStream) -> [u64; 3] {
    let info = client.api("STREAM.INFO.S", &Value::Null).unwrap();
    ["messages", "first_seq", "last_seq"].map(|field| info["state"][field].as_u64().unwrap())
}

/// One such answer once took those of all who were answered at the same time.
#[test]
fn an_answer_that_nobody_can_get_takes_no_other_along() {
    servers(|program, client| {
        client.listen("*").unwrap();
        for (bad, reaches) in [("a..b", false), (".a", false), ("a.", false), ("*", true), (">", true)] {
            let reply = client.reply();
            let both = format!("PUB s {bad} 1\r\nx\r\nPUB s {reply} 1\r\nx\r\n");
            client.send(both.as_bytes()).unwrap();
            let mut seen = Vec::new();
            while seen.last() != Some(&reply) {
                let message = client.next_message().unwrap_or_else(|_| panic!("{program}: {bad}: {seen:?}"));
                seen.push(message.subject);
            }
            assert_eq!(seen.iter().any(|subject| subject == bad), reaches, "{program}: {bad}: {seen:?}");
        }
    });
}

/// JS-255: the message is stored and acknowledged all the same.
#[test]
fn what_cannot_be_published_again_is_acknowledged() {
    servers(|program, client| {
        for dest in ["u no.>", "u\r\nno.>"] {
            update(client, json!({"republish": {"src": "s.>", "dest": dest}}));
            assert!(client.store("s.a", b"x").is_ok(), "{program}: {dest:?}");
        }
    });
}

/// A stream that commits much at once gathers what comes meanwhile: empty messages, too, must come to an end. On natsd
/// alone, whose fault that was: nats-server takes seconds for an answer here.
#[test]
fn a_flood_of_empty_messages_holds_up_nobody() {
    const FLOODED: usize = 20_000;
    let store = Folder::new();
    let config = format!("jetstream {{ store_dir: \"{}\" }}\n", store.path().display());
    let server = Launch::new(natsd()).config(config).start();
    let mut client = JetStream::join(server.address(), "answers").unwrap();
    let stream = json!({"name": "S", "subjects": ["s.>"], "max_msgs": 50_000});
    assert!(client.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut flood = Client::join(server.address(), "").unwrap();
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let (lines, since) = ("PUB s.x 0\r\n\r\n".repeat(1000), Instant::now());
            while !is_over.load(Relaxed) && since.elapsed() < 4 * PATIENCE {
                flood.send(lines.as_bytes()).unwrap();
                // As fast as it is read, and no faster.
                flood.sync();
                sent.fetch_add(1000, Relaxed);
            }
        });
        while sent.load(Relaxed) < FLOODED && !flooding.is_finished() {
            std::thread::yield_now();
        }
        for round in 0..5 {
            // That there is no room for it is an answer, too.
            assert!(client.request("s.seen", b"seen").is_ok(), "no answer in round {round}");
        }
        assert!(!flooding.is_finished(), "the flood ended early");
        is_over.store(true, Relaxed);
    });
}

/// JS-220: the stream goes on at a sequence that it had not reached.
#[test]
fn a_purge_up_to_a_later_sequence_moves_the_stream_there() {
    for storage in ["file", "memory"] {
        servers(|program, client| {
            let stream = json!({"name": "P", "subjects": ["p"], "storage": storage});
            assert!(client.api("STREAM.CREATE.P", &stream).unwrap()["error"].is_null());
            for (seq, purged) in [(1200, 0), (5000, 1)] {
                let answer = client.api("STREAM.PURGE.P", &json!({"seq": seq})).unwrap();
                assert_eq!(answer["purged"], purged, "{program}: {answer}");
                let info = client.api("STREAM.INFO.P", &Value::Null).unwrap();
                let seen = (&info["state"]["first_seq"], &info["state"]["last_seq"]);
                assert_eq!(seen, (&json!(seq), &json!(seq - 1)), "{program}, {storage}");
                assert_eq!(client.store("p", b"x").unwrap(), seq, "{program}, {storage}");
            }
        });
    }
}

/// JS-194.
#[test]
fn a_message_on_its_subject_cancels_a_schedule() {
    servers(|program, client| {
        update(client, json!({"allow_msg_schedules": true}));
        for name in ["cancelled", "kept"] {
            let headers = format!("Nats-Schedule: @every 1s\r\nNats-Schedule-Target: s.target.{name}\r\n");
            let answer = publish(client, &format!("s.{name}"), &headers, "x");
            assert!(answer["error"].is_null(), "{program}: {answer}");
        }
        assert_eq!(client.store("s.cancelled", b"plain").unwrap(), 3);
        let last = |client: &mut JetStream, subject: &str| {
            client.api("STREAM.MSG.GET.S", &json!({"last_by_subj": subject})).unwrap()
        };
        // The other one runs a second time when both should have run once.
        let since = Instant::now();
        while state(client)[2] < 5 && since.elapsed() < PATIENCE {}
        assert!(last(client, "s.target.kept")["error"].is_null(), "{program}");
        assert_eq!(last(client, "s.target.cancelled")["error"]["err_code"], 10037, "{program}");
    });
}

#[test]
fn a_rollup_that_interests_nobody_still_replaces() {
    for (rollup, left) in [("all", [0, 4, 3]), ("sub", [2, 1, 3])] {
        servers(|program, client| {
            let stream =
                json!({"name": "I", "subjects": ["i.*"], "retention": "interest", "allow_rollup_hdrs": true});
            assert!(client.api("STREAM.CREATE.I", &stream).unwrap()["error"].is_null());
            let config = json!({"durable_name": "C", "ack_policy": "explicit", "filter_subject": "i.a"});
            let request = json!({"stream_name": "I", "config": config});
            assert!(client.api("CONSUMER.CREATE.I.C", &request).unwrap()["error"].is_null());
            for seq in 1..=2 {
                assert_eq!(client.store("i.a", b"x").unwrap(), seq);
            }
            let answer = publish(client, "i.b", &format!("Nats-Rollup: {rollup}\r\n"), "x");
            assert_eq!(answer["seq"], 3, "{program}: {answer}");
            let info = client.api("STREAM.INFO.I", &Value::Null).unwrap();
            let seen =
                ["messages", "first_seq", "last_seq"].map(|field| info["state"][field].as_u64().unwrap());
            assert_eq!(seen, left, "{program}: {rollup}");
        });
    }
}

#[test]
fn headers_that_say_nothing_or_come_too_early_are_refused() {
    servers(|program, client| {
        let cases = [
            ("Nats-Schedule-Next: purge\r\nNats-Scheduler: s.x\r\n", 10188),
            ("Nats-Schedule-Next: other\r\nNats-Scheduler: s.x\r\n", 10212),
            ("Nats-Schedule-Next: purge\r\nNats-Scheduler: s\r\n", 10212),
        ];
        for (headers, code) in cases {
            assert_eq!(publish(client, "s", headers, "x")["error"]["err_code"], code, "{program}: {headers}");
        }
        update(client, json!({"allow_msg_schedules": true, "allow_atomic": true}));
        let schedule = "Nats-Schedule: 0 * * * * *\r\nNats-Schedule-Target: s.t\r\n";
        let answer = publish(client, "s", &format!("{schedule}Nats-Schedule-Time-Zone: \r\n"), "x");
        assert_eq!(answer["error"]["err_code"], 10223, "{program}: {answer}");
        publish(client, "s", "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\n", "x");
        let second = "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 2\r\nNats-Batch-Commit: \r\n";
        let answer = publish(client, "s", second, "x");
        assert_eq!(answer["error"]["err_code"], 10200, "{program}: {answer}");
    });
}

/// Streams that commit together answer together, and an answer may be a message for a stream that commits with others.
#[test]
fn answers_may_be_messages_of_streams() {
    const STREAMS: usize = 20;
    const ROUNDS: usize = 50;
    // Synced and not: whose thread writes, and answers, depends on how long that takes.
    for sync in ["always", "2m"] {
        let store = Folder::new();
        let path = store.path().display();
        let config = format!("jetstream {{ store_dir: \"{path}\", sync_interval: \"{sync}\" }}\n");
        let server = Launch::new(natsd()).config(config).start();
        let client = &mut JetStream::join(server.address(), "answers").unwrap();
        for n in 0..STREAMS {
            let name = format!("N{n}");
            let stream =
                json!({"name": name, "subjects": [format!("n.{n}"), format!("answer.{n}")], "max_msgs": 4});
            assert!(client.api(&format!("STREAM.CREATE.{name}"), &stream).unwrap()["error"].is_null());
        }
        for round in 0..ROUNDS {
            let last = client.reply();
            // The answer of each is stored by its neighbour, which answers nobody.
            let publish = |n: usize| format!("PUB n.{n} answer.{} 1\r\nx\r\n", (n + 1) % STREAMS);
            let together: String = (0..STREAMS).map(publish).collect();
            client.send(format!("{together}PUB n.0 {last} 1\r\nx\r\n").as_bytes()).unwrap();
            let answer = client.next_message().map(|message| message.subject);
            assert_eq!(answer.ok(), Some(last), "{sync}: round {round}");
        }
        let since = Instant::now();
        let stored = |client: &mut JetStream, n: usize| {
            let info = client.api(&format!("STREAM.INFO.N{n}"), &Value::Null).unwrap();
            info["state"]["last_seq"].as_u64().unwrap()
        };
        for n in 0..STREAMS {
            let expected = (if n == 0 { 3 } else { 2 }) * ROUNDS as u64;
            while stored(client, n) < expected && since.elapsed() < PATIENCE {}
            assert_eq!(stored(client, n), expected, "{sync}: stream {n}");
        }
    }
}
