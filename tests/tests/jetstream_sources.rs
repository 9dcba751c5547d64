//! Mirrors and sources over the wire: what they copy, how it looks, and that a restart goes on where it was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{Folder, natsd};
use natsd_tests::streams::{info, make, wait_for, wait_for_messages};
use natsd_tests::{Launch, Server};
use serde_json::{Value, json};
use std::time::Duration;

fn start(store: &Folder) -> Server {
    Launch::new(natsd())
        .config(format!("jetstream {{ store_dir: {:?} }}\n", store.path().to_string_lossy()))
        .start()
}

fn join(server: &Server) -> JetStream {
    JetStream::join(server.address(), "t").unwrap()
}

/// Subject, headers, payload and time of a stored message.
fn get(js: &mut JetStream, stream: &str, seq: u64) -> (String, String, String, String) {
    let found = js.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq})).unwrap();
    assert!(found["error"].is_null(), "{stream} {seq}: {found}");
    let message = &found["message"];
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    (text("subject"), decode(&text("hdrs")), decode(&text("data")), text("time"))
}

/// The value of `Nats-Stream-Source` without the identity of the origin, which is of eight characters.
fn source(message: &(String, String, String, String)) -> String {
    let value = message.1.strip_prefix("NATS/1.0\r\nNats-Stream-Source: ").expect("names its source");
    let (place, identity) = value.trim_end().rsplit_once(' ').unwrap();
    assert_eq!(identity.len(), 8, "{value}");
    place.to_owned()
}

fn decode(base64: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in base64.bytes().filter(|&byte| byte != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|&one| one == digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_mirror_has_the_sequences_and_times_of_its_origin() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "O", "subjects": ["o.*"]}));
    for n in 1..=20 {
        js.store(&format!("o.{}", n % 3), n.to_string().as_bytes()).unwrap();
    }
    for seq in [1, 2, 7, 8] {
        let gone = js.api("STREAM.MSG.DELETE.O", &json!({"seq": seq})).unwrap();
        assert_eq!(gone["success"], json!(true));
    }
    make(&mut js, &json!({"name": "M", "mirror": {"name": "O"}}));
    let mirror = wait_for_messages(&mut js, "M", 16);
    let origin = info(&mut js, "O");
    for key in ["first_seq", "last_seq", "first_ts", "last_ts", "num_deleted"] {
        assert_eq!(mirror["state"][key], origin["state"][key], "{key}");
    }
    assert_eq!(get(&mut js, "M", 5), get(&mut js, "O", 5));
    assert_eq!(mirror["mirror"]["name"], json!("O"));
    assert_eq!(mirror["mirror"]["lag"], json!(0));
    assert!(mirror["mirror"]["active"].as_i64().unwrap() >= 0, "{mirror}");
    assert!(mirror["mirror"]["error"].is_null());
    // What comes later comes too, and again after a restart.
    js.store("o.9", b"later").unwrap();
    wait_for_messages(&mut js, "M", 17);
    drop(js);
    drop(server);
    let server = start(&store);
    let mut js = join(&server);
    js.store("o.9", b"after").unwrap();
    let mirror = wait_for_messages(&mut js, "M", 18);
    assert_eq!(mirror["state"]["last_seq"], json!(22));
    assert_eq!(get(&mut js, "M", 22), get(&mut js, "O", 22));
}

#[test]
fn sources_name_where_messages_are_from() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "A", "subjects": ["a.*"]}));
    make(&mut js, &json!({"name": "B", "subjects": ["b.*"]}));
    for n in 1..=5 {
        js.store(&format!("a.{n}"), b"x").unwrap();
        js.store(&format!("b.{n}"), b"y").unwrap();
    }
    make(
        &mut js,
        &json!({"name": "S", "subjects": ["s"], "sources": [
            {"name": "A", "filter_subject": "a.3"},
            {"name": "B", "opt_start_seq": 4, "subject_transforms": [{"src": "b.*", "dest": "t.{{wildcard(1)}}"}]},
        ]}),
    );
    let found = wait_for_messages(&mut js, "S", 3);
    assert_eq!(found["sources"].as_array().unwrap().len(), 2);
    let found = wait_for(&mut js, "S", |info| info["sources"][1]["seq"] == json!(5));
    assert_eq!(found["sources"][0]["seq"], json!(3));
    let all: Vec<_> = (1..=3).map(|seq| get(&mut js, "S", seq)).collect();
    let header = |subject: &str| {
        let found = all.iter().find(|message| message.0 == subject);
        source(found.unwrap_or_else(|| panic!("{subject} in {all:?}")))
    };
    assert_eq!(header("a.3"), "A 3 a.3 > a.3");
    assert_eq!(header("t.5"), "B 5 b.* t.{{wildcard(1)}} b.5");
    // Its own subjects go on, and an update adds a source.
    js.store("s", b"own").unwrap();
    make(&mut js, &json!({"name": "C", "subjects": ["c"]}));
    js.store("c", b"z").unwrap();
    let updated = js
        .api("STREAM.UPDATE.S", &json!({"name": "S", "subjects": ["s"], "sources": [{"name": "A", "filter_subject": "a.3"}, {"name": "C"}]}))
        .unwrap();
    assert!(updated["error"].is_null(), "{updated}");
    wait_for_messages(&mut js, "S", 5);
    assert_eq!(source(&get(&mut js, "S", 5)), "C 1 > > c");
}

#[test]
fn a_restart_copies_nothing_twice_even_what_is_removed() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    make(&mut js, &json!({"name": "S", "sources": [{"name": "A"}]}));
    for n in 1..=50 {
        js.store("a", n.to_string().as_bytes()).unwrap();
    }
    wait_for_messages(&mut js, "S", 50);
    let purged = js.api("STREAM.PURGE.S", &Value::Null).unwrap();
    assert_eq!(purged["purged"], json!(50));
    drop(js);
    drop(server);
    let server = start(&store);
    let mut js = join(&server);
    js.store("a", b"51").unwrap();
    let found = wait_for(&mut js, "S", |info| info["state"]["last_seq"].as_u64() > Some(50));
    assert_eq!(found["state"]["last_seq"], json!(51), "{found}");
    assert_eq!(get(&mut js, "S", 51).2, "51");
}

#[test]
fn an_origin_may_come_later() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "S", "sources": [{"name": "A"}]}));
    wait_for(&mut js, "S", |info| !info["sources"][0]["error"].is_null());
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    js.store("a", b"1").unwrap();
    let found = wait_for_messages(&mut js, "S", 1);
    assert!(found["sources"][0]["error"].is_null());
}

#[test]
fn a_mirror_may_follow_a_work_queue() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "W", "subjects": ["w"], "retention": "workqueue"}));
    for n in 1..=30 {
        js.store("w", n.to_string().as_bytes()).unwrap();
    }
    make(&mut js, &json!({"name": "M", "mirror": {"name": "W"}}));
    wait_for_messages(&mut js, "M", 30);
    // What the mirror has is taken from the queue.
    wait_for_messages(&mut js, "W", 0);
}

#[test]
fn a_mirror_answers_direct_gets_of_an_origin_that_is_not_here() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "O", "subjects": ["o.*"], "allow_direct": true}));
    js.store("o.1", b"one").unwrap();
    make(&mut js, &json!({"name": "M", "mirror": {"name": "O"}, "mirror_direct": true}));
    wait_for_messages(&mut js, "M", 1);
    let gone = js.api("STREAM.DELETE.O", &Value::Null).unwrap();
    assert_eq!(gone["success"], json!(true));
    let found = js.request("$JS.API.DIRECT.GET.O.o.1", b"").unwrap();
    assert_eq!(found.payload, b"one", "{found:?}");
}

#[test]
fn an_origin_made_again_is_read_from_its_beginning() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    for n in 1..=5 {
        js.store("a", n.to_string().as_bytes()).unwrap();
    }
    make(&mut js, &json!({"name": "S", "sources": [{"name": "A"}]}));
    wait_for_messages(&mut js, "S", 5);
    assert_eq!(js.api("STREAM.DELETE.A", &Value::Null).unwrap()["success"], json!(true));
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    js.store("a", b"again").unwrap();
    wait_for_messages(&mut js, "S", 6);
    assert_eq!(get(&mut js, "S", 6).2, "again");
}

#[test]
fn duplicates_are_left_out_of_a_stream_with_sources() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    make(&mut js, &json!({"name": "B", "subjects": ["b"]}));
    for subject in ["a", "b"] {
        let headers = "NATS/1.0\r\nNats-Msg-Id: same\r\nNats-Expected-Last-Sequence: 0\r\n\r\n";
        js.send(
            format!("HPUB {subject} {} {}\r\n{headers}x\r\n", headers.len(), headers.len() + 1).as_bytes(),
        )
        .unwrap();
        js.store(subject, b"y").unwrap();
    }
    let sources = json!([{"name": "A"}, {"name": "B"}]);
    make(&mut js, &json!({"name": "S", "sources": sources, "duplicate_window": 60_000_000_000u64}));
    wait_for(&mut js, "S", |info| {
        let is_done = |source: &Value| source["lag"] == json!(0) && source["active"].as_i64() >= Some(0);
        info["state"]["messages"].as_u64() >= Some(3)
            && info["sources"].as_array().unwrap().iter().all(is_done)
    });
    assert_eq!(info(&mut js, "S")["state"]["messages"], json!(3));
    let first = get(&mut js, "S", 1).1;
    assert!(first.contains("Nats-Msg-Id: same") && !first.contains("Nats-Expected"), "{first}");
}

#[test]
fn an_origin_may_be_behind_another_prefix() {
    let store = Folder::new();
    let config = format!("jetstream {{ store_dir: {:?}, domain: hub }}\n", store.path().to_string_lossy());
    let server = Launch::new(natsd()).config(config).start();
    let mut js = join(&server);
    make(&mut js, &json!({"name": "O", "subjects": ["o.*"]}));
    for n in 1..=6 {
        js.store(&format!("o.{}", n % 2), n.to_string().as_bytes()).unwrap();
    }
    let external = json!({"api": "$JS.hub.API", "deliver": ""});
    make(&mut js, &json!({"name": "M", "mirror": {"name": "O", "external": external}}));
    make(&mut js, &json!({"name": "S", "sources": [{"name": "O", "external": external}]}));
    let mirror = wait_for_messages(&mut js, "M", 6);
    assert_eq!(mirror["mirror"]["external"], external);
    assert_eq!(get(&mut js, "M", 5), get(&mut js, "O", 5));
    wait_for_messages(&mut js, "S", 6);
    let place = source(&get(&mut js, "S", 4));
    assert!(place.starts_with("O:") && place.ends_with(" 4 > > o.0"), "{place}");
}

#[test]
fn mirrors_filter_and_transform() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "O", "subjects": ["o.*"]}));
    for n in 1..=6 {
        js.store(&format!("o.{}", n % 3), n.to_string().as_bytes()).unwrap();
    }
    let transforms = json!([{"src": "o.1", "dest": "one"}, {"src": "o.2", "dest": ""}]);
    make(&mut js, &json!({"name": "T", "mirror": {"name": "O", "subject_transforms": transforms}}));
    make(&mut js, &json!({"name": "F", "mirror": {"name": "O", "filter_subject": "o.0"}}));
    make(&mut js, &json!({"name": "L", "mirror": {"name": "O", "opt_start_seq": 5}}));
    wait_for_messages(&mut js, "T", 4);
    let subjects: Vec<String> = [1, 2, 4, 5].map(|seq| get(&mut js, "T", seq).0).into();
    assert_eq!(subjects, ["one", "o.2", "one", "o.2"]);
    let filtered = wait_for_messages(&mut js, "F", 2);
    assert_eq!((&filtered["state"]["first_seq"], &filtered["state"]["last_seq"]), (&json!(3), &json!(6)));
    let late = wait_for_messages(&mut js, "L", 2);
    assert_eq!((&late["state"]["first_seq"], &late["state"]["last_seq"]), (&json!(5), &json!(6)));
    // What does not match later uses up a sequence only when something follows.
    js.store("o.1", b"7").unwrap();
    js.store("o.0", b"8").unwrap();
    wait_for_messages(&mut js, "F", 3);
    assert_eq!(get(&mut js, "F", 8).2, "8");
}

#[test]
fn a_mirror_becomes_a_stream_of_its_own() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "O", "subjects": ["o"]}));
    js.store("o", b"1").unwrap();
    make(&mut js, &json!({"name": "M", "mirror": {"name": "O"}}));
    wait_for_messages(&mut js, "M", 1);
    let updated = js.api("STREAM.UPDATE.M", &json!({"name": "M", "subjects": ["m"]})).unwrap();
    assert!(updated["error"].is_null() && updated["mirror"].is_null(), "{updated}");
    js.store("o", b"2").unwrap();
    assert_eq!(js.store("m", b"own").unwrap(), 2);
    assert_eq!(get(&mut js, "M", 2).0, "m");
}

#[test]
fn counters_of_sources_are_added_up() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    for name in ["A", "B"] {
        let subjects = [format!("{}.hits", name.to_lowercase())];
        make(&mut js, &json!({"name": name, "subjects": subjects, "allow_msg_counter": true}));
    }
    let sources: Vec<Value> = ["A", "B"]
        .map(|name| {
            let src = format!("{}.*", name.to_lowercase());
            json!({"name": name, "subject_transforms": [{"src": src, "dest": "all.{{wildcard(1)}}"}]})
        })
        .into();
    make(&mut js, &json!({"name": "S", "sources": sources, "allow_msg_counter": true}));
    for (subject, by) in [("a.hits", "5"), ("b.hits", "10"), ("a.hits", "-2")] {
        let headers = format!("NATS/1.0\r\nNats-Incr: {by}\r\n\r\n");
        let (len, reply) = (headers.len(), js.reply());
        js.send(format!("HPUB {subject} {reply} {len} {len}\r\n{headers}\r\n").as_bytes()).unwrap();
    }
    wait_for_messages(&mut js, "S", 3);
    let last = get(&mut js, "S", 3);
    assert_eq!((last.0.as_str(), last.2.as_str()), ("all.hits", r#"{"val":"13"}"#), "{last:?}");
}

#[test]
fn a_full_stream_takes_the_rest_when_it_has_room() {
    let store = Folder::new();
    let server = start(&store);
    let mut js = join(&server);
    make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
    for n in 1..=5 {
        js.store("a", n.to_string().as_bytes()).unwrap();
    }
    make(&mut js, &json!({"name": "S", "sources": [{"name": "A"}], "max_msgs": 3, "discard": "new"}));
    wait_for_messages(&mut js, "S", 3);
    js.api("STREAM.PURGE.S", &Value::Null).unwrap();
    wait_for_messages(&mut js, "S", 2);
    assert_eq!((get(&mut js, "S", 4).2, get(&mut js, "S", 5).2), ("4".to_owned(), "5".to_owned()));
}

#[test]
fn kills_neither_lose_nor_double_anything() {
    let store = Folder::new();
    let mut sent = 0;
    for life in 0..6 {
        let server = start(&store);
        let mut js = join(&server);
        if life == 0 {
            make(&mut js, &json!({"name": "A", "subjects": ["a"]}));
            make(&mut js, &json!({"name": "M", "mirror": {"name": "A"}}));
            make(&mut js, &json!({"name": "S", "sources": [{"name": "A"}], "max_msgs": 50}));
        }
        for _ in 0..200 {
            js.store("a", b"x").unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(life * 13));
    }
    let server = start(&store);
    let mut js = join(&server);
    let last = |seq: u64| move |info: &Value| info["state"]["last_seq"].as_u64() >= Some(seq);
    assert_eq!(wait_for(&mut js, "M", last(sent))["state"]["messages"], json!(sent));
    assert_eq!(wait_for(&mut js, "S", last(sent))["state"]["last_seq"], json!(sent));
    assert_eq!(source(&get(&mut js, "S", sent)), format!("A {sent} > > a"));
}
