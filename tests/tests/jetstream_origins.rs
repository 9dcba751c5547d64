//! What mirrors and sources and their origins owe each other: the consumers that they read by, and what they say when
//! they cannot. On natsd and, where there is one, the reference server. Not here: what is copied (`jetstream_sources`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, on_each_server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn make(js: &mut JetStream, config: &Value) {
    let name = config["name"].as_str().unwrap();
    let made = js.api(&format!("STREAM.CREATE.{name}"), config).unwrap();
    assert!(made["error"].is_null(), "{made}");
}

fn info(js: &mut JetStream, stream: &str) -> Value {
    js.api(&format!("STREAM.INFO.{stream}"), &Value::Null).unwrap()
}

fn wait_for(js: &mut JetStream, stream: &str, what: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let info = info(js, stream);
        if what(&info) {
            return info;
        }
        assert!(begin.elapsed() < PATIENCE, "{stream} did not get there: {info}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_messages(js: &mut JetStream, stream: &str, messages: u64) -> Value {
    wait_for(js, stream, |info| info["state"]["messages"] == json!(messages))
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
