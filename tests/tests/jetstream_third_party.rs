//! Streams that a third party's plugin keeps: the real server with the example that stores in redb.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::plugins::third_party;
use natsd_tests::server::{Folder, natsd};
use natsd_tests::{Launch, PATIENCE, Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Instant;

fn config(folder: &Folder, jetstream: &str) -> String {
    let folder = folder.path().to_string_lossy().into_owned();
    format!(
        "plugins {{ redb {{ path: {:?}, config {{ file: \"{folder}/streams.redb\" }} }} }}\n\
         jetstream {{ store_dir: \"{folder}\", {jetstream} }}\n",
        third_party("redb")
    )
}

fn start(folder: &Folder, jetstream: &str) -> Server {
    Launch::new(natsd()).config(config(folder, jetstream)).start()
}

fn make(js: &mut JetStream, name: &str, config: Value) -> Value {
    let mut config = config;
    config["name"] = name.into();
    config["subjects"] = json!([format!("{name}.>")]);
    js.api(&format!("STREAM.CREATE.{name}"), &config).unwrap()
}

/// Messages, a deletion, a purge, a consumer with an acknowledgement.
fn fill(js: &mut JetStream, name: &str) {
    for n in 1..=20u64 {
        let seq = js.store(&format!("{name}.{}", n % 3), format!("payload {n}").as_bytes()).unwrap();
        assert_eq!(seq, n);
    }
    let deleted = js.api(&format!("STREAM.MSG.DELETE.{name}"), &json!({"seq": 5})).unwrap();
    assert_eq!(deleted["success"], true, "{deleted}");
    let purged = js.api(&format!("STREAM.PURGE.{name}"), &json!({"seq": 4})).unwrap();
    assert_eq!(purged["purged"], 3, "{purged}");
    let consumer = json!({"durable_name": "C", "ack_policy": "explicit", "ack_wait": 60_000_000_000u64});
    let request = json!({"stream_name": name, "config": consumer});
    let made = js.api(&format!("CONSUMER.CREATE.{name}.C"), &request).unwrap();
    assert!(made["error"].is_null(), "{made}");
    let fetched = js.fetch(name, "C", 3).unwrap();
    assert_eq!(fetched.iter().map(|message| message.stream_seq()).collect::<Vec<_>>(), [4, 6, 7]);
    for message in &fetched {
        js.double_ack(message).unwrap();
    }
}

/// All of [`fill`] is there, and nothing else.
fn check(js: &mut JetStream, name: &str) {
    let info = js.api(&format!("STREAM.INFO.{name}"), &json!({"deleted_details": true})).unwrap();
    let state = &info["state"];
    assert_eq!(
        (&state["messages"], &state["first_seq"], &state["last_seq"]),
        (&json!(16), &json!(4), &json!(20))
    );
    assert_eq!(state["deleted"], json!([5]), "{info}");
    let consumer = js.api(&format!("CONSUMER.INFO.{name}.C"), &Value::Null).unwrap();
    assert_eq!(consumer["ack_floor"]["stream_seq"], 7, "{consumer}");
    assert_eq!(consumer["num_pending"], 13, "{consumer}");
    let fetched = js.fetch(name, "C", 100).unwrap();
    assert_eq!(fetched.len(), 13);
    for (message, n) in fetched.iter().zip(8..) {
        assert_eq!((message.stream_seq(), &*message.payload), (n, format!("payload {n}").as_bytes()));
    }
}

/// Until natsd's own store has folders of these streams and no others. What is durable in its log comes to the folder
/// a moment later; behind the stream's name stands its id.
fn wait_for_folders(folder: &Folder, wanted: &[&str]) {
    let streams = folder.path().join("jetstream/$G/streams");
    let until = Instant::now() + PATIENCE;
    loop {
        let entries = std::fs::read_dir(&streams).into_iter().flatten();
        let names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut streams: Vec<&str> = names.iter().filter_map(|name| name.split('.').next()).collect();
        streams.sort_unstable();
        if streams == wanted {
            return;
        }
        assert!(Instant::now() < until, "{names:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_third_partys_streams_survive_a_kill() {
    let folder = Folder::new();
    // A server that is dropped is killed.
    let mut server = start(&folder, "");
    let mut js = JetStream::join(server.address(), "redb").unwrap();
    let made = make(&mut js, "FOREIGN", json!({"metadata": {"natsd.store": "redb"}}));
    assert!(made["error"].is_null(), "{made}");
    assert!(make(&mut js, "OWN", json!({}))["error"].is_null());
    fill(&mut js, "FOREIGN");
    fill(&mut js, "OWN");
    // Only natsd's own stream has a folder.
    wait_for_folders(&folder, &["OWN"]);
    drop(server);
    server = start(&folder, "");
    let mut js = JetStream::join(server.address(), "again").unwrap();
    check(&mut js, "FOREIGN");
    check(&mut js, "OWN");
    assert_eq!(js.store("FOREIGN.1", b"more").unwrap(), 21);
    // Deleted is deleted.
    assert_eq!(js.api("STREAM.DELETE.FOREIGN", &Value::Null).unwrap()["success"], true);
    drop(server);
    server = start(&folder, "");
    let mut js = JetStream::join(server.address(), "last").unwrap();
    assert_eq!(js.api("STREAM.NAMES", &Value::Null).unwrap()["streams"], json!(["OWN"]));
}

#[test]
fn the_configuration_chooses_a_store_for_streams_that_name_none() {
    let folder = Folder::new();
    let mut server = start(&folder, "store_engine: redb");
    let mut js = JetStream::join(server.address(), "redb").unwrap();
    for (name, config) in [
        ("A", json!({})),
        ("B", json!({"metadata": {"natsd.store": "file"}})),
        ("C", json!({"storage": "memory"})),
    ] {
        let made = make(&mut js, name, config);
        assert!(made["error"].is_null(), "{made}");
        fill(&mut js, name);
    }
    wait_for_folders(&folder, &["B"]);
    drop(js);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
    // What is in a store stays there, whatever the configuration says of new streams.
    let server = start(&folder, "");
    let mut js = JetStream::join(server.address(), "again").unwrap();
    check(&mut js, "A");
    check(&mut js, "B");
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let folder = Folder::new();
    let server = start(&folder, "");
    let mut js = JetStream::join(server.address(), "redb").unwrap();
    let description = |answer: Value| answer["error"]["description"].as_str().unwrap().to_owned();
    let refused = make(&mut js, "A", json!({"metadata": {"natsd.store": "fjall"}}));
    assert_eq!(
        description(refused),
        "metadata 'natsd.store': no plugin that has started provides a stream store 'fjall'; there is: file, redb"
    );
    let refused = make(&mut js, "A", json!({"metadata": {"natsd.store": "redb"}, "storage": "memory"}));
    assert_eq!(description(refused), "metadata 'natsd.store' needs storage type file");
    assert!(make(&mut js, "A", json!({}))["error"].is_null());
    let change = json!({"name": "A", "subjects": ["A.>"], "metadata": {"natsd.store": "redb"}});
    let refused = js.api("STREAM.UPDATE.A", &change).unwrap();
    assert_eq!(description(refused), "stream configuration update can not change metadata 'natsd.store'");
    drop((js, server));
    let started = Launch::new(natsd()).config(config(&folder, "store_engine: fjall")).try_start();
    let said = started.err().unwrap();
    assert!(
        said.contains("jetstream.store_engine: no plugin that has started provides a stream store 'fjall'"),
        "{said}"
    );
}
