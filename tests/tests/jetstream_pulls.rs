//! Pulls that wait while clients leave, pins change and streams go (JC-129, JC-162, JC-171).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::PATIENCE;
use natsd_tests::jetstream::{JetStream, on_each_server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Instant;

fn servers(mut test: impl FnMut(&str, &mut JetStream)) {
    on_each_server(|server, client| test(&server.program().display().to_string(), client));
}

fn consumer(client: &mut JetStream, mut config: Value) {
    (config["durable_name"], config["ack_policy"]) = ("C".into(), "explicit".into());
    let request = json!({"stream_name": "S", "config": config});
    assert!(client.api("CONSUMER.CREATE.S.C", &request).unwrap()["error"].is_null());
}

/// Asks for a message, to be sent to `reply`.
fn pull(client: &mut JetStream, reply: &str, fields: Value) {
    let mut body = json!({"batch": 1, "expires": 60_000_000_000_u64});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", reply, body.to_string().as_bytes()).unwrap();
}

#[test]
fn a_pull_that_nobody_listens_for_takes_no_message() {
    servers(|program, client| {
        // Delivered once at most: a delivery to nobody would be its last.
        consumer(client, json!({"max_deliver": 1}));
        pull(client, "left", json!({}));
        client.store("s", b"x").unwrap();
        let info = client.api("CONSUMER.INFO.S.C", &Value::Null).unwrap();
        let seen = (&info["num_pending"], &info["num_ack_pending"], &info["delivered"]["consumer_seq"]);
        assert_eq!(seen, (&json!(1), &json!(0), &json!(0)), "{program}");
        let messages = client.fetch("S", "C", 1).unwrap();
        assert_eq!(messages.len(), 1, "{program}");
        assert_eq!(messages[0].deliveries(), 1);
    });
}

#[test]
fn only_pulls_that_somebody_listens_for_are_counted() {
    servers(|program, client| {
        consumer(client, json!({}));
        let own = client.reply();
        for reply in ["left.1", "left.2", &own] {
            pull(client, reply, json!({}));
        }
        let counted = waiting(client, 1);
        assert!(counted, "{program}");
    });
}

/// Whether so many pulls wait, or soon will: nats-server takes them beside other requests.
fn waiting(client: &mut JetStream, count: u64) -> bool {
    let since = Instant::now();
    loop {
        let info = client.api("CONSUMER.INFO.S.C", &Value::Null).unwrap();
        if info["num_waiting"] == count || since.elapsed() > PATIENCE {
            return info["num_waiting"] == count;
        }
    }
}

#[test]
fn who_left_is_not_pinned() {
    servers(|program, client| {
        let group = json!({"group": "A"});
        consumer(client, json!({"priority_policy": "pinned_client", "priority_groups": ["A"]}));
        for reply in ["left.1", "left.2"] {
            pull(client, reply, group.clone());
        }
        let reply = client.reply();
        pull(client, &reply, group);
        client.publish("s", "", b"x").unwrap();
        let message = client.next_message().unwrap();
        assert_eq!(message.stream_seq(), 1, "{program}: {message:?}");
        assert!(message.headers.contains("Nats-Pin-Id: "), "{program}: {message:?}");
    });
}

#[test]
fn who_cannot_take_the_message_is_not_pinned() {
    servers(|program, client| {
        consumer(client, json!({"priority_policy": "pinned_client", "priority_groups": ["A"]}));
        let (small, large) = (client.reply(), client.reply());
        pull(client, &small, json!({"group": "A", "max_bytes": 10}));
        pull(client, &large, json!({"group": "A"}));
        client.publish("s", "", &[b'x'; 100]).unwrap();
        let refused = client.next_message().unwrap();
        assert!(refused.headers.starts_with("NATS/1.0 409 Message Size Exceeds MaxBytes"), "{refused:?}");
        let message = client.next_message().unwrap();
        assert_eq!(message.payload.len(), 100, "{program}: {message:?}");
    });
}

/// JC-140, JC-164
#[test]
fn who_is_pinned_no_more_is_told_when_there_is_a_message() {
    servers(|program, client| {
        consumer(client, json!({"priority_policy": "pinned_client", "priority_groups": ["A"]}));
        let group = json!({"group": "A", "batch": 5});
        for (reply, sid) in [("first", "2"), ("second", "3")] {
            client.listen(reply).unwrap();
            pull(client, reply, group.clone());
            if reply == "first" {
                client.publish("s", "", b"x").unwrap();
                assert_eq!(client.next_message().unwrap().sid, sid, "{program}");
            }
        }
        assert!(waiting(client, 2), "{program}");
        client.api("CONSUMER.UNPIN.S.C", &json!({"group": "A"})).unwrap();
        assert!(waiting(client, 2), "{program}");
        client.publish("s", "", b"x").unwrap();
        let told = client.next_message().unwrap();
        let status =
            "NATS/1.0 423 Nats-Wrong-Pin-Id\r\nNats-Pending-Messages: 4\r\nNats-Pending-Bytes: 0\r\n\r\n";
        assert_eq!((&*told.sid, &*told.headers), ("2", status), "{program}");
        assert_eq!(client.next_message().unwrap().sid, "3", "{program}");
    });
}

/// JC-140
#[test]
fn who_says_to_be_pinned_where_nobody_is_waits_for_a_message_to_be_refused() {
    servers(|program, client| {
        consumer(client, json!({"priority_policy": "pinned_client", "priority_groups": ["A"]}));
        let reply = client.reply();
        pull(client, &reply, json!({"group": "A", "id": "unknown"}));
        assert!(waiting(client, 1), "{program}");
        client.publish("s", "", b"x").unwrap();
        let told = client.next_message().unwrap();
        let status =
            "NATS/1.0 423 Nats-Wrong-Pin-Id\r\nNats-Pending-Messages: 1\r\nNats-Pending-Bytes: 0\r\n\r\n";
        assert_eq!(told.headers, status, "{program}");
    });
}

#[test]
fn the_end_of_a_stream_is_that_of_its_consumers() {
    servers(|program, client| {
        consumer(client, json!({}));
        let reply = client.reply();
        pull(client, &reply, json!({}));
        assert!(waiting(client, 1), "{program}");
        client.publish("$JS.API.STREAM.DELETE.S", "nobody", b"").unwrap();
        let told = client.next_message().unwrap();
        assert_eq!(told.headers, "NATS/1.0 409 Consumer Deleted\r\n\r\n", "{program}");
    });
}

/// JC-125, as nats-server does it: with each message the next request has its turn.
#[test]
fn pulls_take_turns_with_each_message() {
    servers(|program, client| {
        consumer(client, json!({}));
        for reply in ["one", "two"] {
            client.listen(reply).unwrap();
            pull(client, reply, json!({"batch": 3}));
        }
        assert!(waiting(client, 2), "{program}");
        for _ in 0..6 {
            client.publish("s", "", b"x").unwrap();
        }
        let takers: Vec<String> = (0..6).map(|_| client.next_message().unwrap().sid).collect();
        assert_eq!(takers, ["2", "3", "2", "3", "2", "3"], "{program}");
    });
}

/// JC-137
#[test]
fn who_waits_for_messages_is_told_that_the_server_stops() {
    on_each_server(|server, client| {
        consumer(client, json!({}));
        let reply = client.reply();
        pull(client, &reply, json!({"batch": 7}));
        assert!(waiting(client, 1));
        server.signal(Signal::TERM);
        let told = client.next_message().unwrap();
        let status =
            "NATS/1.0 409 Server Shutdown\r\nNats-Pending-Messages: 7\r\nNats-Pending-Bytes: 0\r\n\r\n";
        assert_eq!(told.headers, status, "{}", server.program().display());
    });
}

/// JC-162
#[test]
fn a_pull_by_a_plain_number_pins_nobody() {
    servers(|program, client| {
        consumer(client, json!({"priority_policy": "pinned_client", "priority_groups": ["A"]}));
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
        }
        for body in ["1", ""] {
            let reply = client.reply();
            client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", &reply, body.as_bytes()).unwrap();
            let message = client.next_message().unwrap();
            assert!(message.headers.contains("Nats-Pin-Id: \r\n"), "{program}: {message:?}");
        }
        let reply = client.reply();
        pull(client, &reply, json!({"group": "A"}));
        let message = client.next_message().unwrap();
        assert_eq!(message.stream_seq(), 3, "{program}: {message:?}");
        assert!(!message.headers.contains("Nats-Pin-Id: \r\n"), "{program}: {message:?}");
    });
}
