//! Backups: one of nats-server restores on natsd and the reverse, with the same messages and consumers; what is not a
//! backup leaves nothing; a client that does not keep up is given up (JS-260 to JS-266).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::backup::{Backup, Manner, consumers, messages, state};
use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Launch, PATIENCE, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ERROR_RESTORE: u64 = 10062;

fn start(program: &PathBuf) -> (Server, JetStream) {
    let server = Launch::new(program).config("jetstream { store_dir: '{{dir}}/js' }\n").start();
    let js = JetStream::join(server.address(), "test").unwrap();
    (server, js)
}

fn ok(answer: Value) -> Value {
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// What cannot be compressed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = seed;
    let next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn put(js: &mut JetStream, subject: &str, headers: &str, payload: &[u8]) {
    let reply = js.reply();
    let block = if headers.is_empty() { String::new() } else { format!("NATS/1.0\r\n{headers}\r\n") };
    let mut bytes = match block.len() {
        0 => format!("PUB {subject} {reply} {}\r\n", payload.len()),
        len => format!("HPUB {subject} {reply} {len} {}\r\n{block}", len + payload.len()),
    }
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    js.send(&bytes).unwrap();
    loop {
        let ack = js.next_message().unwrap();
        if ack.subject == reply {
            ok(serde_json::from_slice(&ack.payload).unwrap());
            return;
        }
    }
}

/// A stream with all that a backup has to keep, and no consumers yet.
fn fill(js: &mut JetStream, storage: &str) {
    let config = json!({
        "name": "S", "subjects": ["s.>"], "storage": storage, "allow_msg_ttl": true, "allow_direct": true,
        "max_msgs_per_subject": 50, "metadata": {"of": "tests"},
    });
    ok(js.api("STREAM.CREATE.S", &config).unwrap());
    for n in 0..60u32 {
        let headers = match n % 4 {
            0 => "",
            1 => "A: 1\r\nA: 2\r\nB:\r\n",
            2 => "Nats-TTL: 1h\r\n",
            _ => "Nats-Msg-Id: once\r\n",
        };
        let headers = headers.replace("once", &format!("once-{n}"));
        let payload = noise(u64::from(n), [0, 1, 200, 30_000][n as usize % 4]);
        put(js, &format!("s.{}", n % 7), &headers, &payload);
    }
    // First ones, some between, and the last one are gone.
    ok(js.api("STREAM.PURGE.S", &json!({"seq": 4})).unwrap());
    for seq in [10, 11, 30, 60] {
        ok(js.api("STREAM.MSG.DELETE.S", &json!({"seq": seq})).unwrap());
    }
}

/// Consumers of all kinds in the middle of their work.
fn consume(js: &mut JetStream) {
    let mut make = |name: &str, mut config: Value| {
        config["name"] = json!(name);
        let body = json!({"stream_name": "S", "config": config});
        ok(js.api(&format!("CONSUMER.CREATE.S.{name}"), &body).unwrap());
    };
    let wait = 600_000_000_000u64;
    make("EXPLICIT", json!({"durable_name": "EXPLICIT", "ack_policy": "explicit", "ack_wait": wait}));
    make(
        "AGAIN",
        json!({"durable_name": "AGAIN", "ack_policy": "explicit", "ack_wait": wait, "max_deliver": 5}),
    );
    make(
        "ALL",
        json!({"durable_name": "ALL", "ack_policy": "all", "ack_wait": wait, "filter_subject": "s.3"}),
    );
    make("NONE", json!({"durable_name": "NONE", "ack_policy": "none", "description": "takes"}));
    make("LAST", json!({"durable_name": "LAST", "ack_policy": "explicit", "deliver_policy": "last"}));
    make(
        "FRESH",
        json!({"durable_name": "FRESH", "ack_policy": "explicit", "filter_subjects": ["s.1", "s.2"]}),
    );
    make(
        "PUSH",
        json!({"durable_name": "PUSH", "ack_policy": "explicit", "deliver_subject": "to.nobody", "ack_wait": wait}),
    );
    make("PASSING", json!({"ack_policy": "explicit", "inactive_threshold": wait, "mem_storage": true}));

    let got = js.fetch("S", "EXPLICIT", 12).unwrap();
    for at in [0, 1, 4, 7] {
        js.double_ack(&got[at]).unwrap();
    }
    let got = js.fetch("S", "AGAIN", 6).unwrap();
    for message in &got[1..4] {
        js.request(&message.reply, b"-NAK").unwrap();
    }
    assert!(
        js.fetch("S", "AGAIN", 4).unwrap().iter().filter(|message| message.deliveries() == 2).count() >= 3
    );
    let got = js.fetch("S", "ALL", 4).unwrap();
    js.double_ack(&got[1]).unwrap();
    assert_eq!(js.fetch("S", "NONE", 5).unwrap().len(), 5);
    let got = js.fetch("S", "PASSING", 3).unwrap();
    js.double_ack(&got[0]).unwrap();
}

/// A backup of one server becomes the same stream on another one.
fn travels(from: &PathBuf, to: &PathBuf, storage: &str) {
    let (_one, mut source) = start(from);
    fill(&mut source, storage);
    consume(&mut source);
    let backup = Backup::take(&mut source, "S", &json!({"chunk_size": 16384})).unwrap();
    assert!(backup.chunks > 1, "{} chunks", backup.chunks);
    assert!(backup.end.starts_with("NATS/1.0 204"), "{}", backup.end);

    let (_two, mut target) = start(to);
    let made = ok(backup.restore(&mut target, Manner::Proper).unwrap());
    assert_eq!(made["type"], "io.nats.jetstream.api.v1.stream_create_response");
    let (expected, seen) = (messages(&mut source, "S").unwrap(), messages(&mut target, "S").unwrap());
    assert_eq!(expected.len(), 53);
    assert_eq!(seen, expected);
    let (mut expected, mut seen) = (state(&mut source, "S").unwrap(), state(&mut target, "S").unwrap());
    if *to != natsd() {
        // The last message is deleted, and nats-server forgets its time with a restore.
        expected["last_ts"] = Value::Null;
        seen["last_ts"] = Value::Null;
    }
    assert_eq!(seen, expected, "from {from:?} on {to:?}");
    let (expected, seen) = (consumers(&mut source, "S").unwrap(), consumers(&mut target, "S").unwrap());
    assert_eq!(expected.len(), 8);
    for (name, expected) in expected {
        assert_eq!(seen.get(&name), Some(&expected), "consumer {name} from {from:?} on {to:?}");
    }

    // What comes next is the same as well.
    for name in ["EXPLICIT", "AGAIN", "ALL", "NONE", "LAST", "FRESH", "PASSING"] {
        let next = |js: &mut JetStream| -> Vec<(u64, u64, String)> {
            let got = js.fetch("S", name, 6).unwrap();
            got.iter()
                .map(|message| (message.stream_seq(), message.deliveries(), message.subject.clone()))
                .collect()
        };
        assert_eq!(next(&mut target), next(&mut source), "consumer {name} from {from:?} on {to:?}");
    }
    assert_eq!(target.store("s.new", b"new").unwrap(), 61);
}

/// What is delivered and not acknowledged comes again after a restore, counted on.
fn comes_again(from: &PathBuf, to: &PathBuf) {
    let (_one, mut source) = start(from);
    ok(source.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]})).unwrap());
    let config = json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": 300_000_000});
    ok(source.api("CONSUMER.CREATE.S.C", &json!({"stream_name": "S", "config": config})).unwrap());
    for n in 0..3 {
        source.store("s", format!("{n}").as_bytes()).unwrap();
    }
    assert_eq!(source.fetch("S", "C", 3).unwrap().len(), 3);
    let again = fetch_when_due(&mut source, 1);
    assert_eq!(again, [(1, 2)]);
    let backup = Backup::take(&mut source, "S", &json!({})).unwrap();

    let (_two, mut target) = start(to);
    ok(backup.restore(&mut target, Manner::Proper).unwrap());
    assert_eq!(fetch_when_due(&mut target, 3), [(1, 3), (2, 2), (3, 2)]);
}

/// The first `count` messages that come again, by sequence, with their deliveries: as soon as they are due.
fn fetch_when_due(client: &mut JetStream, count: usize) -> Vec<(u64, u64)> {
    let deadline = Instant::now() + PATIENCE;
    let mut come = BTreeMap::new();
    while come.len() < count {
        assert!(Instant::now() < deadline, "only {come:?} came again");
        for message in client.fetch("S", "C", 1).unwrap() {
            come.entry(message.stream_seq()).or_insert(message.deliveries());
        }
    }
    come.into_iter().collect()
}

/// Backups of nats-server as they were recorded, in both forms: the current one, and that of 2.14 and before.
/// `BACKUP_RECORD=NAME` records one of the reference server.
#[test]
fn recorded_backups_restore() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jetstream/backups");
    if let Some(name) = std::env::var_os("BACKUP_RECORD") {
        record(&reference().expect("NATS_SERVER names one"), &folder.join(name));
    }
    let mut restored = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let told: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let backup = Backup {
            config: told["config"].clone(),
            state: told["state"].clone(),
            bytes: std::fs::read(path.with_extension("s2")).unwrap(),
            chunks: 0,
            end: String::new(),
        };
        let (_server, mut js) = start(&natsd());
        ok(backup.restore(&mut js, Manner::Proper).unwrap());
        let seen = json!({"messages": messages(&mut js, "S").unwrap(), "consumers": consumers(&mut js, "S").unwrap()});
        for part in ["messages", "consumers"] {
            assert_eq!(seen[part], told[part], "{part} of {}", path.display());
        }
        restored += 1;
    }
    assert!(restored >= 2);
}

fn record(program: &PathBuf, file: &Path) {
    let (_server, mut js) = start(program);
    let config = json!({"name": "S", "subjects": ["s.>"], "max_msgs_per_subject": 50});
    ok(js.api("STREAM.CREATE.S", &config).unwrap());
    for n in 0..16u64 {
        let headers = if n % 3 == 0 { "A: 1\r\nA: 2\r\n" } else { "" };
        put(&mut js, &format!("s.{}", n % 4), headers, &noise(n, n as usize * 3));
    }
    for seq in [1, 5, 6, 16] {
        ok(js.api("STREAM.MSG.DELETE.S", &json!({"seq": seq})).unwrap());
    }
    for (name, policy) in [("A", "explicit"), ("B", "all")] {
        let config =
            json!({"durable_name": name, "ack_policy": policy, "ack_wait": 31_536_000_000_000_000u64});
        ok(js
            .api(&format!("CONSUMER.CREATE.S.{name}"), &json!({"stream_name": "S", "config": config}))
            .unwrap());
        let got = js.fetch("S", name, 6).unwrap();
        js.double_ack(&got[0]).unwrap();
        js.double_ack(&got[2]).unwrap();
        js.request(&got[4].reply, b"-NAK").unwrap();
        js.fetch("S", name, 1).unwrap();
    }
    let backup = Backup::take(&mut js, "S", &json!({})).unwrap();
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file.with_extension("s2"), &backup.bytes).unwrap();
    let told = json!({
        "config": backup.config, "state": backup.state,
        "messages": messages(&mut js, "S").unwrap(), "consumers": consumers(&mut js, "S").unwrap(),
    });
    std::fs::write(file.with_extension("json"), serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
}

/// Without the reference server only natsd's own backups can be compared.
fn pairs() -> Vec<(PathBuf, PathBuf)> {
    let mut pairs = vec![(natsd(), natsd())];
    match reference() {
        Some(reference) => {
            pairs.push((reference.clone(), natsd()));
            pairs.push((natsd(), reference));
        }
        None => eprintln!("not compared: there is no nats-server on the path, and NATS_SERVER is not set"),
    }
    pairs
}

#[test]
fn file_streams_travel_between_servers() {
    pairs().iter().for_each(|(from, to)| travels(from, to, "file"));
}

#[test]
fn memory_streams_travel_between_servers() {
    pairs().iter().for_each(|(from, to)| travels(from, to, "memory"));
}

#[test]
fn what_is_pending_comes_again_after_a_restore() {
    pairs().iter().for_each(|(from, to)| comes_again(from, to));
}

#[test]
fn a_large_stream_takes_many_chunks_under_flow_control() {
    let (_server, mut js) = start(&natsd());
    ok(js.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s.>"]})).unwrap());
    for n in 0..300 {
        js.store(&format!("s.{n}"), &noise(n, 40_000)).unwrap();
    }
    let options = json!({"chunk_size": 8192, "window_size": 16384});
    let backup = Backup::take(&mut js, "S", &options).unwrap();
    assert!(backup.chunks > 1400, "{} chunks", backup.chunks);
    let before = messages(&mut js, "S").unwrap();
    ok(js.api("STREAM.DELETE.S", &Value::Null).unwrap());
    ok(backup.restore(&mut js, Manner::Proper).unwrap());
    assert!(messages(&mut js, "S").unwrap() == before);
}

/// A window's worth of chunks comes, and after five seconds without an acknowledgement the end (JS-261).
#[test]
fn a_client_that_does_not_acknowledge_is_given_up() {
    let (_server, mut js) = start(&natsd());
    fill(&mut js, "memory");
    js.send(b"SUB $JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE.S 3\r\n").unwrap();
    js.set_patience(Duration::from_secs(8));
    let deliver = js.reply();
    let body = json!({"deliver_subject": deliver, "chunk_size": 1024, "window_size": 2048});
    ok(js.api("STREAM.SNAPSHOT.S", &body).unwrap());
    let (mut chunks, mut end) = (0, String::new());
    let advisory = loop {
        let message = js.next_message().unwrap();
        match message.subject == deliver {
            true if message.payload.is_empty() => end = message.headers,
            true => chunks += 1,
            false => break serde_json::from_slice::<Value>(&message.payload).unwrap(),
        }
    };
    assert_eq!((chunks, end.as_str()), (2, "NATS/1.0 408 No Flow Response\r\n\r\n"));
    assert!(!advisory["error"].as_str().unwrap().is_empty(), "{advisory}");
    // The stream is as it was.
    js.store("s.1", b"on").unwrap();
}

/// A listener that leaves ends it at once (JS-261).
#[test]
fn a_client_that_vanishes_is_given_up() {
    let (server, mut js) = start(&natsd());
    fill(&mut js, "memory");
    js.send(b"SUB $JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE.S 3\r\n").unwrap();
    let mut other = JetStream::join(server.address(), "other").unwrap();
    other.send(b"SUB to.other 2\r\n").unwrap();
    let body = json!({"deliver_subject": "to.other", "chunk_size": 1024, "window_size": 2048});
    ok(other.api("STREAM.SNAPSHOT.S", &body).unwrap());
    other.next_message().unwrap();
    drop(other);
    let advisory: Value = serde_json::from_slice(&js.next_message().unwrap().payload).unwrap();
    assert_eq!(advisory["type"], "io.nats.jetstream.advisory.v1.snapshot_complete");
    assert!(!advisory["error"].as_str().unwrap().is_empty(), "{advisory}");
}

#[test]
fn advisories_tell_of_backups() {
    let (server, mut js) = start(&natsd());
    fill(&mut js, "file");
    let backup = Backup::take(&mut js, "S", &json!({})).unwrap();
    // Of its own: who waits for an answer drops other messages.
    let mut watcher = JetStream::join(server.address(), "watcher").unwrap();
    watcher.send(b"SUB $JS.EVENT.ADVISORY.STREAM.> 3\r\n").unwrap();
    watcher.api("INFO", &Value::Null).unwrap();
    let subject = js.reply();
    ok(js.api("STREAM.SNAPSHOT.S", &json!({"deliver_subject": subject})).unwrap());
    let mut seen = Vec::new();
    let mut note = |until: &str| loop {
        let message = watcher.next_message().unwrap();
        let Some(kind) = message.subject.strip_prefix("$JS.EVENT.ADVISORY.STREAM.") else { continue };
        let advisory: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(advisory["stream"], "S");
        seen.push((kind.to_owned(), advisory));
        if kind == until {
            return;
        }
    };
    note("SNAPSHOT_COMPLETE.S");
    ok(js.api("STREAM.DELETE.S", &Value::Null).unwrap());
    note("DELETED.S");
    let answer = ok(backup.begin(&mut js, "S").unwrap());
    let to = answer["deliver_subject"].as_str().unwrap().to_owned();
    for (number, chunk) in backup.bytes.chunks(4096).chain([&b""[..]]).enumerate() {
        js.publish(&to, &format!("answers.{number}"), chunk).unwrap();
    }
    note("RESTORE_COMPLETE.S");
    let kinds: Vec<_> =
        seen.iter().map(|(kind, _)| kind.as_str()).filter(|kind| !kind.starts_with("CREATED")).collect();
    let expected =
        ["SNAPSHOT_CREATE.S", "SNAPSHOT_COMPLETE.S", "DELETED.S", "RESTORE_CREATE.S", "RESTORE_COMPLETE.S"];
    assert_eq!(kinds, expected);
    let (_, complete) = seen.last().unwrap();
    assert_eq!(complete["bytes"], json!(backup.bytes.len()));
    assert!(complete["start"].is_string() && complete["end"].is_string() && complete["client"].is_object());
}

/// Nothing is left of what is not a backup, and a proper one is taken afterwards.
#[test]
fn a_bad_backup_leaves_no_stream() {
    let (server, mut js) = start(&natsd());
    fill(&mut js, "file");
    consume(&mut js);
    let good = Backup::take(&mut js, "S", &json!({})).unwrap();
    // There already.
    let refused = good.restore(&mut js, Manner::Proper).unwrap();
    assert_eq!(refused["error"]["err_code"], 10130, "{refused}");
    ok(js.api("STREAM.DELETE.S", &Value::Null).unwrap());

    let refused = good.begin(&mut js, "T").unwrap();
    assert_eq!(refused["error"]["err_code"], 10056, "{refused}");

    let with = |bytes: Vec<u8>| Backup { bytes, ..good.clone() };
    let mut flipped = good.bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let noise = noise(3, 5000);
    let marked = [&good.bytes[..10], &noise[..]].concat();
    let cut = good.bytes[..good.bytes.len() - 3].to_vec();
    for (why, bad, manner) in [
        ("half", good.clone(), Manner::Half),
        ("nothing", with(Vec::new()), Manner::Proper),
        ("cut", with(cut), Manner::Proper),
        ("flipped", with(flipped), Manner::Proper),
        ("noise", with(noise), Manner::Proper),
        ("noise behind the mark", with(marked), Manner::Proper),
    ] {
        let refused = bad.restore(&mut js, manner).unwrap();
        assert_eq!(refused["error"]["err_code"], ERROR_RESTORE, "{why}: {refused}");
        let names = ok(js.api("STREAM.NAMES", &Value::Null).unwrap());
        assert_eq!(names["total"], 0, "{why}: {names}");
        let stores = server.dir().join("js/jetstream/$G/streams");
        let left = std::fs::read_dir(&stores).map_or(0, |folder| folder.count());
        assert_eq!(left, 0, "{why}: something is left in {}", stores.display());
    }
    let account = ok(js.api("INFO", &Value::Null).unwrap());
    assert_eq!((&account["storage"], &account["streams"]), (&json!(0), &json!(0)), "{account}");
    ok(good.restore(&mut js, Manner::Proper).unwrap());
}

/// While a restore waits for chunks its name is taken; five seconds without one end it (JS-264).
#[test]
fn a_stalled_restore_is_given_up() {
    let (_server, mut js) = start(&natsd());
    fill(&mut js, "file");
    let backup = Backup::take(&mut js, "S", &json!({})).unwrap();
    ok(js.api("STREAM.DELETE.S", &Value::Null).unwrap());
    let answer = ok(backup.begin(&mut js, "S").unwrap());
    let subject = answer["deliver_subject"].as_str().unwrap().to_owned();
    js.request(&subject, &backup.bytes[..5000]).unwrap();
    let refused = backup.begin(&mut js, "S").unwrap();
    assert_eq!(refused["error"]["err_code"], 10130, "{refused}");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = backup.restore(&mut js, Manner::Proper).unwrap();
        if answer["error"]["err_code"] != 10130 {
            ok(answer);
            return;
        }
        assert!(Instant::now() < deadline, "the restore still waits for chunks: {answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
