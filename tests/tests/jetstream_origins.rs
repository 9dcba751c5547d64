//! What mirrors and sources and their origins owe each other: the consumers that they read by, and what they say when
//! they cannot. On natsd and, where there is one, the reference server. Not here: what is copied (`jetstream_sources`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jetstream::{JetStream, on_each_server};
use natsd_tests::server::{Folder, natsd};
use natsd_tests::streams::{info, make, wait_for, wait_for_messages};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn on_natsd(test: impl FnOnce(&mut JetStream)) {
    let store = Folder::new();
    let config = format!("jetstream {{ store_dir: \"{}\" }}\n", store.path().display());
    let server = Launch::new(natsd()).config(config).start();
    test(&mut JetStream::join(server.address(), "test").unwrap());
}

/// A stream on either server whose messages wait for their readers, with one that reads it.
fn waiting(js: &mut JetStream, retention: &str, reader: &Value) {
    make(js, &json!({"name": "O", "subjects": ["o.*"], "retention": retention}));
    make(js, reader);
    wait_for_consumers(js, 1);
}

fn wait_for_consumers(js: &mut JetStream, count: u64) {
    wait_for(js, "O", |info| info["state"]["consumer_count"] == json!(count));
}

/// JS-245: the consumer of the one who leaves would keep the messages for ever.
#[test]
fn who_reads_no_more_leaves_nothing_behind_in_the_origin() {
    on_each_server(|_, js| {
        for retention in ["workqueue", "interest"] {
            waiting(js, retention, &json!({"name": "M", "mirror": {"name": "O"}}));
            assert_eq!(js.api("STREAM.DELETE.M", &Value::Null).unwrap()["success"], json!(true));
            wait_for_consumers(js, 0);
            make(js, &json!({"name": "N", "mirror": {"name": "O"}}));
            wait_for_consumers(js, 1);
            let updated = js.api("STREAM.UPDATE.N", &json!({"name": "N"})).unwrap();
            assert!(updated["error"].is_null(), "{updated}");
            wait_for_consumers(js, 0);
            for name in ["N", "O"] {
                assert_eq!(
                    js.api(&format!("STREAM.DELETE.{name}"), &Value::Null).unwrap()["success"],
                    json!(true)
                );
            }
        }
    });
}

#[test]
fn a_source_that_is_taken_out_leaves_nothing_behind_in_the_origin() {
    on_each_server(|_, js| {
        waiting(js, "interest", &json!({"name": "A", "subjects": ["a"], "sources": [{"name": "O"}]}));
        let filtered =
            json!([{"name": "O", "filter_subject": "o.1"}, {"name": "O", "filter_subject": "o.2"}]);
        for (sources, consumers) in [(filtered, 2), (json!([]), 0)] {
            let config = json!({"name": "A", "subjects": ["a"], "sources": sources});
            let updated = js.api("STREAM.UPDATE.A", &config).unwrap();
            assert!(updated["error"].is_null(), "{updated}");
            wait_for_consumers(js, consumers);
        }
        js.store("o.1", b"nobody reads it").unwrap();
        assert_eq!(info(js, "O")["state"]["messages"], json!(0));
    });
}

/// JC-009, JC-048: who reads for a mirror takes no place of a client's consumer.
#[test]
fn a_mirror_takes_no_place_among_the_consumers_of_its_origin() {
    on_each_server(|_, js| {
        let origin = json!({"name": "O", "subjects": ["o"], "retention": "workqueue", "max_consumers": 1});
        make(js, &origin);
        make(js, &json!({"name": "M", "mirror": {"name": "O"}}));
        wait_for_consumers(js, 1);
        let mut add = |name: &str| {
            let config = json!({"durable_name": name, "ack_policy": "explicit"});
            let request = json!({"stream_name": "O", "config": config});
            js.api(&format!("CONSUMER.CREATE.O.{name}"), &request).unwrap()["error"]["err_code"].clone()
        };
        assert_eq!((add("c"), add("d")), (Value::Null, json!(10026)));
        wait_for_consumers(js, 2);
    });
}

/// JS-020: the stream does not show it, the account counts it.
#[test]
fn the_consumer_of_a_mirror_counts_in_the_account() {
    on_each_server(|_, js| {
        make(js, &json!({"name": "O", "subjects": ["o"]}));
        make(js, &json!({"name": "M", "mirror": {"name": "O"}}));
        js.store("o", b"x").unwrap();
        wait_for_messages(js, "M", 1);
        let account = js.api("INFO", &Value::Null).unwrap();
        let origin = info(js, "O");
        assert_eq!((&account["consumers"], &origin["state"]["consumer_count"]), (&json!(1), &json!(0)));
    });
}

fn store_for(js: &mut JetStream, subject: &str, ttl: &str) {
    let headers = format!("NATS/1.0\r\nNats-TTL: {ttl}\r\n\r\n");
    let (len, reply) = (headers.len(), js.reply());
    js.send(format!("HPUB {subject} {reply} {len} {len}\r\n{headers}\r\n").as_bytes()).unwrap();
}

/// JS-152: what the header says is known from the beginning, and in force when it may be.
#[test]
fn a_time_to_live_that_was_copied_holds_when_the_stream_allows_it() {
    on_each_server(|_, js| {
        make(js, &json!({"name": "O", "subjects": ["o"], "allow_msg_ttl": true}));
        let mut copies = [
            json!({"name": "M", "mirror": {"name": "O"}}),
            json!({"name": "D", "sources": [{"name": "O"}]}),
            json!({"name": "E", "sources": [{"name": "O"}], "storage": "memory"}),
            json!({"name": "A", "sources": [{"name": "O"}], "max_age": 1_000_000_000}),
        ];
        copies.iter().for_each(|copy| make(js, copy));
        for ttl in ["1s", "never", "1h"] {
            store_for(js, "o", ttl);
        }
        wait_for_messages(js, "O", 2);
        // By age all of them go, but for the one that never does.
        wait_for_messages(js, "A", 1);
        for copy in &mut copies[..3] {
            let name = copy["name"].as_str().unwrap().to_owned();
            assert_eq!(info(js, &name)["state"]["messages"], json!(3), "{name}");
            copy["allow_msg_ttl"] = json!(true);
            let updated = js.api(&format!("STREAM.UPDATE.{name}"), copy).unwrap();
            assert!(updated["error"].is_null(), "{updated}");
            wait_for_messages(js, &name, 2);
        }
    });
}

/// JS-241
#[test]
fn a_consumer_that_does_not_acknowledge_by_flow_control_is_not_read() {
    on_each_server(|_, js| {
        make(js, &json!({"name": "O", "subjects": ["o"]}));
        let config = json!({"durable_name": "C", "ack_policy": "explicit", "deliver_subject": "d"});
        let request = json!({"stream_name": "O", "config": config});
        let made = js.api("CONSUMER.CREATE.O.C", &request).unwrap();
        assert!(made["error"].is_null(), "{made}");
        let origin = json!({"name": "O", "consumer": {"name": "C", "deliver_subject": "d"}});
        make(js, &json!({"name": "M", "mirror": origin}));
        make(js, &json!({"name": "A", "sources": [origin]}));
        for (stream, place, code, what) in
            [("M", "/mirror", 10214, "mirror"), ("A", "/sources/0", 10217, "source")]
        {
            let told = wait_for(js, stream, |info| !info.pointer(place).unwrap()["error"].is_null());
            let told = told.pointer(place).unwrap();
            let text = format!("stream {what} consumer requires flow control ack policy");
            assert_eq!(told["error"], json!({"code": 400, "err_code": code, "description": text}));
            assert_eq!(told["active"], json!(-1));
        }
    });
}

/// What comes on the subjects where consumers are asked for, for a while: subject and headers.
fn asked(listener: &mut JetStream, patience: Duration) -> Vec<(String, String)> {
    listener.set_patience(patience);
    let asked = std::iter::from_fn(|| listener.next_message().ok());
    asked.map(|message| (message.subject, message.headers.replace("\r\n", "|"))).collect()
}

/// JS-244: who imports the API of another account has permissions for these subjects.
#[test]
fn origins_are_asked_with_their_filter_and_for_what_is_needed() {
    on_each_server(|server, js| {
        let mut listener = JetStream::join(server.address(), "listener").unwrap();
        listener.listen("$JS.API.CONSUMER.CREATE.>").unwrap();
        listener.request("$JS.API.INFO", b"").unwrap();
        make(js, &json!({"name": "O", "subjects": ["o.*"]}));
        let two = json!([{"src": "o.a", "dest": "a"}, {"src": "o.b", "dest": "b"}]);
        let mirror = "NATS/1.0|Nats-Required-Api-Level: 4||";
        let source = "NATS/1.0|Nats-Required-Api-Level: 5|Nats-Stream-Identity: ||";
        for (config, place, headers) in [
            (json!({"name": "A", "mirror": {"name": "O"}}), "O", mirror),
            (json!({"name": "B", "sources": [{"name": "O"}]}), "O", source),
            (json!({"name": "C", "sources": [{"name": "O", "subject_transforms": two}]}), "O", source),
            (
                json!({"name": "D", "mirror": {"name": "O", "filter_subject": "o.a"}}),
                "O.JS_MIRROR_ID.o.a",
                mirror,
            ),
            (
                json!({"name": "E", "sources": [{"name": "O", "filter_subject": "o.a"}]}),
                "O.JS_SRC_ID.o.a",
                source,
            ),
            (
                json!({"name": "F", "sources": [{"name": "O", "filter_subject": "o.*"}]}),
                "O.JS_SRC_ID.o.*",
                source,
            ),
        ] {
            make(js, &config);
            let found = asked(&mut listener, Duration::from_millis(500));
            let [(subject, found)] = &found[..] else { panic!("{config}: {found:?}") };
            let mut tokens: Vec<&str> = subject.split('.').skip(4).collect();
            let name = tokens.get(1).and_then(|name| name.rsplit_once('_'));
            let name = name.map(|(kind, id)| (format!("{kind}_ID"), id.len()));
            if let Some((name, len)) = &name {
                assert_eq!(*len, 8, "{subject}");
                tokens[1] = name;
            }
            assert_eq!((tokens.join("."), found.as_str()), (place.to_owned(), headers), "{config}");
        }
    });
}

/// JS-246
#[test]
fn an_origin_that_is_not_there_is_not_asked_all_the_time() {
    on_each_server(|server, js| {
        let mut listener = JetStream::join(server.address(), "listener").unwrap();
        listener.listen("$JS.API.CONSUMER.CREATE.>").unwrap();
        listener.request("$JS.API.INFO", b"").unwrap();
        make(js, &json!({"name": "A", "sources": [{"name": "O"}]}));
        assert_eq!(asked(&mut listener, Duration::from_secs(3)).len(), 1);
    });
}

/// JS-250, for a consumer that was made before.
#[test]
fn an_origin_made_again_with_its_consumer_is_read_from_its_beginning() {
    // nats-server takes as long as it likes to look again.
    on_natsd(|js| {
        let config = json!({"durable_name": "C", "ack_policy": "flow_control", "deliver_subject": "d",
            "deliver_policy": "by_start_sequence", "opt_start_seq": 2});
        // Other than nats-server natsd sees it also when there are as many messages again, or more.
        for (life, count, copied) in [(1, 3, 2), (2, 2, 3)] {
            make(js, &json!({"name": "O", "subjects": ["o"]}));
            let made = js.api("CONSUMER.CREATE.O.C", &json!({"stream_name": "O", "config": config})).unwrap();
            assert!(made["error"].is_null(), "{made}");
            if life == 1 {
                let origin = json!({"name": "O", "consumer": {"name": "C", "deliver_subject": "d"}});
                make(js, &json!({"name": "A", "sources": [origin]}));
            }
            for n in 1..=count {
                js.store("o", n.to_string().as_bytes()).unwrap();
            }
            wait_for_messages(js, "A", copied);
            assert_eq!(js.api("STREAM.DELETE.O", &Value::Null).unwrap()["success"], json!(true));
        }
    });
}

/// JS-249
#[test]
fn a_full_stream_has_no_error_and_goes_on_as_soon_as_it_is_read() {
    on_each_server(|_, js| {
        make(js, &json!({"name": "O", "subjects": ["o"]}));
        for n in 1..=6 {
            js.store("o", n.to_string().as_bytes()).unwrap();
        }
        let queue = json!({"name": "Q", "sources": [{"name": "O"}], "max_msgs": 3, "discard": "new"});
        make(js, &queue);
        for seq in 1..=3 {
            // Long enough that a wait that grows would be longer than the one that is allowed.
            let full = Instant::now();
            while full.elapsed() < Duration::from_millis(1200) {
                let told = wait_for_messages(js, "Q", 3);
                assert!(told["sources"][0]["error"].is_null(), "{told}");
            }
            js.api("STREAM.MSG.DELETE.Q", &json!({"seq": seq})).unwrap();
            let read = Instant::now();
            wait_for_messages(js, "Q", 3);
            assert!(read.elapsed() < Duration::from_secs(3), "{:?}", read.elapsed());
        }
    });
}

fn consumers(js: &mut JetStream) -> Value {
    js.api("CONSUMER.NAMES.O", &Value::Null).unwrap()["consumers"].clone()
}

/// JS-243: an origin elsewhere goes on with the consumer that it has, whichever server reads it, and whatever of it.
#[test]
fn the_consumers_of_an_origin_keep_their_names_and_what_was_not_read() {
    on_each_server(|_, js| {
        waiting(js, "interest", &json!({"name": "M", "mirror": {"name": "O"}}));
        make(js, &json!({"name": "A", "sources": [{"name": "O"}], "max_msgs": 1, "discard": "new"}));
        wait_for_consumers(js, 2);
        for n in 1..=3 {
            js.store("o.1", n.to_string().as_bytes()).unwrap();
        }
        wait_for_messages(js, "M", 3);
        wait_for_messages(js, "A", 1);
        let names = json!(["JS_MIRROR_ih8eMwqr", "JS_SRC_LTl3xeTE"]);
        assert_eq!(consumers(js), names);
        let filtered =
            json!({"name": "A", "sources": [{"name": "O", "filter_subject": "o.1"}], "discard": "new"});
        let updated = js.api("STREAM.UPDATE.A", &filtered).unwrap();
        assert!(updated["error"].is_null(), "{updated}");
        // nats-server brings the first one once more.
        wait_for(js, "A", |info| info["state"]["messages"].as_u64() >= Some(3));
        wait_for_messages(js, "O", 0);
        assert_eq!(consumers(js), names);
    });
}
