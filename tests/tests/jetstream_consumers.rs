//! What consumers count and keep when messages are not acknowledged in time (JC-111, JC-180, JC-201).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, Received, on_each_server};
use serde_json::{Value, json};

fn servers(mut test: impl FnMut(&str, &mut JetStream)) {
    on_each_server(|server, client| test(&server.program().display().to_string(), client));
}

/// Makes or changes a consumer of the stream `S`, which acknowledges each message if nothing else is said.
fn consumer(client: &mut JetStream, name: &str, mut config: Value) {
    config["durable_name"] = name.into();
    if config["ack_policy"].is_null() {
        config["ack_policy"] = "explicit".into();
    }
    let request = json!({"stream_name": "S", "config": config});
    let made = client.api(&format!("CONSUMER.CREATE.S.{name}"), &request).unwrap();
    assert!(made["error"].is_null(), "{made}");
}

fn info(client: &mut JetStream, name: &str) -> Value {
    client.api(&format!("CONSUMER.INFO.S.{name}"), &Value::Null).unwrap()
}

/// Asks for so many messages and waits for them.
fn pull(client: &mut JetStream, name: &str, batch: usize) -> Vec<Received> {
    let (reply, body) = (client.reply(), json!({"batch": batch, "expires": 60_000_000_000_u64}));
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}");
    client.publish(&subject, &reply, body.to_string().as_bytes()).unwrap();
    (0..batch).map(|_| client.next_message().unwrap()).collect()
}

/// Sequences of the consumer and of the stream.
fn place(info: &Value, field: &str) -> [u64; 2] {
    ["consumer_seq", "stream_seq"].map(|of| info[field][of].as_u64().unwrap())
}

#[test]
fn the_floor_goes_by_first_deliveries() {
    servers(|program, client| {
        consumer(client, "C", json!({"ack_wait": 300_000_000}));
        for _ in 0..4 {
            client.store("s", b"x").unwrap();
        }
        pull(client, "C", 4);
        let again = pull(client, "C", 4);
        assert!(again.iter().all(|message| message.deliveries() == 2), "{program}: {again:?}");
        for (at, floor) in [(0, [1, 1]), (1, [2, 2]), (3, [2, 2]), (2, [8, 4])] {
            client.double_ack(&again[at]).unwrap();
            assert_eq!(place(&info(client, "C"), "ack_floor"), floor, "{program}");
        }
    });
}

#[test]
fn the_floor_of_ack_policy_all_goes_by_what_is_acknowledged() {
    servers(|program, client| {
        consumer(client, "C", json!({"ack_policy": "all", "ack_wait": 300_000_000}));
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
        }
        pull(client, "C", 3);
        let again = pull(client, "C", 3);
        client.double_ack(&again[1]).unwrap();
        assert_eq!(place(&info(client, "C"), "ack_floor"), [5, 2], "{program}");
    });
}
