//! The files of streams, seen from outside: encrypted ones say nothing (G1.2), compressed ones are smaller (G1.3), and
//! damage to them is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::monitored::Monitored;
use natsd_tests::server::{Folder, natsd};
use natsd_tests::{Launch, PATIENCE, Server};
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;

const SECRET: &str = "a payload that must not be found";

fn config(folder: &Folder, jetstream: &str) -> String {
    format!("jetstream {{ store_dir: \"{}\", {jetstream} }}\n", folder.path().display())
}

fn start(folder: &Folder, jetstream: &str) -> Server {
    Launch::new(natsd()).config(config(folder, jetstream)).start()
}

fn join(server: &Server) -> JetStream {
    JetStream::join(server.address(), "files").unwrap()
}

fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0));
}

/// The content of every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// Files in which one of the words stands.
fn files_that_say(folder: &Path, words: &[&str]) -> Vec<String> {
    let says = |content: &[u8]| {
        words.iter().any(|word| content.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    files(folder).into_iter().filter(|(_, content)| says(content)).map(|(path, _)| path).collect()
}

fn fill(js: &mut JetStream) {
    let stream = json!({"name": "S", "subjects": ["hidden.subject.*"]});
    assert!(js.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
    for n in 1..=50u64 {
        assert_eq!(js.store(&format!("hidden.subject.{n}"), SECRET.as_bytes()).unwrap(), n);
    }
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}});
    assert!(js.api("CONSUMER.CREATE.S.C", &consumer).unwrap()["error"].is_null());
    for message in js.fetch("S", "C", 10).unwrap() {
        js.double_ack(&message).unwrap();
    }
}

fn check(js: &mut JetStream) {
    let info = js.api("STREAM.INFO.S", &json!(null)).unwrap();
    assert_eq!(info["state"]["messages"], 50, "{info}");
    let rest = js.fetch("S", "C", 100).unwrap();
    assert_eq!(
        rest.iter().map(|message| message.stream_seq()).collect::<Vec<_>>(),
        (11..=50).collect::<Vec<_>>()
    );
    assert!(rest.iter().all(|message| message.payload == SECRET.as_bytes()));
}

#[test]
fn an_encrypted_store_says_nothing_and_opens_with_its_key_only() {
    const WORDS: [&str; 2] = [SECRET, "hidden.subject"];
    for cipher in ["aes", "chachapoly"] {
        let folder = Folder::new();
        let keyed = format!("key: \"correct horse\", cipher: {cipher}");
        let server = start(&folder, &keyed);
        fill(&mut join(&server));
        assert_eq!(files_that_say(folder.path(), &WORDS), Vec::<String>::new(), "{cipher}: while it runs");
        server.signal(Signal::KILL);
        drop(server);
        assert_eq!(files_that_say(folder.path(), &WORDS), Vec::<String>::new(), "{cipher}: after a kill");
        // With another key nothing is served, and nothing is overwritten.
        if let Ok(wrong) = Launch::new(natsd()).config(config(&folder, "key: wrong")).try_start() {
            let info = join(&wrong).api("STREAM.INFO.S", &json!(null)).unwrap();
            assert!(!info["error"].is_null(), "{info}");
            assert!(wrong.log().text().contains("key"), "{}", wrong.log().text());
            stop(wrong);
        }
        // A new key, with the old one beside it, takes over.
        let renewed = format!("key: \"battery staple\", prev_key: \"correct horse\", cipher: {cipher}");
        let server = start(&folder, &renewed);
        stop(server);
        let server = start(&folder, &format!("key: \"battery staple\", cipher: {cipher}"));
        check(&mut join(&server));
        assert_eq!(files_that_say(folder.path(), &WORDS), Vec::<String>::new(), "{cipher}: renewed");
    }
}

#[test]
fn a_compressed_stream_takes_less_room_and_is_there_after_a_restart() {
    let bytes = |compression: &str| {
        let folder = Folder::new();
        let server = start(&folder, "");
        let mut js = join(&server);
        let stream = json!({"name": "S", "subjects": ["s"], "compression": compression});
        assert!(js.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
        let payload = SECRET.repeat(1000);
        for n in 1..=600u64 {
            assert_eq!(js.store("s", payload.as_bytes()).unwrap(), n);
        }
        stop(server);
        let server = start(&folder, "");
        let message = join(&server).api("STREAM.MSG.GET.S", &json!({"seq": 17})).unwrap();
        assert_eq!(message["message"]["seq"], 17);
        assert_eq!(message["message"]["data"].as_str().unwrap().len(), payload.len().div_ceil(3) * 4);
        stop(server);
        files(folder.path()).iter().map(|(_, content)| content.len()).sum::<usize>()
    };
    let (plain, compressed) = (bytes("none"), bytes("s2"));
    assert!(plain > 600 * 32 * 1000, "{plain}");
    assert!(compressed < plain * 3 / 4, "{compressed} of {plain}");
}

/// Whoever looks at the health of the server, at its streams, at the stream itself, or at the log sees it.
#[test]
fn damage_is_told_wherever_someone_looks() {
    let folder = Folder::new();
    let server = start(&folder, "");
    fill(&mut join(&server));
    stop(server);
    let blocks = files(folder.path()).into_iter().filter(|(path, _)| path.ends_with(".blk"));
    for (path, mut content) in blocks {
        let place = content.windows(SECRET.len()).position(|window| window == SECRET.as_bytes()).unwrap();
        content[place..place + 8].fill(b'?');
        std::fs::write(path, content).unwrap();
    }
    let launch = Launch::new(natsd()).config(format!("http: \"127.0.0.1:-1\"\n{}", config(&folder, "")));
    let monitored = Monitored::of(launch.start());
    let health = monitored.get("/healthz");
    assert_eq!(health.status, 200, "what is left is served");
    assert_eq!(
        health.json(),
        json!({"status": "ok", "warnings": ["plugin `jetstream`: damaged: messages of $G/streams/S"]})
    );
    let info = join(&monitored.server).api("STREAM.INFO.S", &json!(null)).unwrap();
    assert_eq!(
        (&info["state"]["messages"], &info["state"]["lost"]["msgs"]),
        (&json!(49), &json!([1])),
        "{info}"
    );
    let jsz = monitored.json("/jsz?streams=1");
    let state = &jsz["account_details"][0]["stream_detail"][0]["state"];
    assert_eq!(state["lost"]["msgs"], json!([1]), "{state}");
    let told = monitored
        .server
        .log()
        .wait(0, PATIENCE, |line| line.contains("damage took 1 messages").then_some(()));
    assert!(told.is_some(), "the log says nothing");
}
