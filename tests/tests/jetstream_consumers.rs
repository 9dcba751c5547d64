//! What consumers count and keep when messages are not acknowledged in time (JC-111, JC-180, JC-201).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, Received, on_each_server};
use natsd_tests::server::{self, Folder};
use natsd_tests::{Launch, PATIENCE};
use serde_json::{Value, json};
use std::time::Instant;

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

/// Makes the stream again, otherwise.
fn remake(client: &mut JetStream, mut stream: Value) {
    client.api("STREAM.DELETE.S", &Value::Null).unwrap();
    stream["name"] = "S".into();
    let made = client.api("STREAM.CREATE.S", &stream).unwrap();
    assert!(made["error"].is_null(), "{made}");
}

fn messages(client: &mut JetStream) -> u64 {
    client.api("STREAM.INFO.S", &Value::Null).unwrap()["state"]["messages"].as_u64().unwrap()
}

/// Asks until a consumer is as expected.
fn until(client: &mut JetStream, name: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let info = info(client, name);
        if is_so(&info) || since.elapsed() > PATIENCE {
            return info;
        }
    }
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

/// JC-201
#[test]
fn an_interest_stream_keeps_what_was_given_up() {
    servers(|program, client| {
        remake(client, json!({"subjects": ["s"], "retention": "interest"}));
        consumer(client, "A", json!({"ack_wait": 300_000_000, "max_deliver": 1}));
        client.store("s", b"x").unwrap();
        let given_up = pull(client, "A", 1);
        let info = until(client, "A", |info| info["num_ack_pending"] == 0);
        assert_eq!(place(&info, "ack_floor"), [0, 0], "{program}");
        consumer(client, "B", json!({}));
        let message = pull(client, "B", 1);
        client.double_ack(&message[0]).unwrap();
        assert_eq!(messages(client), 1, "{program}");
        // JC-111: it is late, but an acknowledgement.
        client.double_ack(&given_up[0]).unwrap();
        assert_eq!(messages(client), 0, "{program}");
    });
}

/// JC-111
#[test]
fn what_was_given_up_holds_the_floor_until_nothing_is_pending() {
    servers(|program, client| {
        consumer(client, "C", json!({"ack_wait": 300_000_000, "max_deliver": 1}));
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
        }
        pull(client, "C", 1);
        let given_up = until(client, "C", |info| info["num_ack_pending"] == 0);
        assert_eq!(place(&given_up, "ack_floor"), [0, 0], "{program}");
        let rest = pull(client, "C", 2);
        for (message, floor) in [(&rest[0], [0, 0]), (&rest[1], [3, 3])] {
            client.double_ack(message).unwrap();
            assert_eq!(place(&info(client, "C"), "ack_floor"), floor, "{program}");
        }
    });
}

/// JC-111
#[test]
fn what_was_given_up_counts_as_redelivered_where_messages_may_be() {
    servers(|program, client| {
        let config = |max_deliver: i64| json!({"ack_wait": 300_000_000, "max_deliver": max_deliver});
        consumer(client, "C", config(1));
        client.store("s", b"x").unwrap();
        pull(client, "C", 1);
        until(client, "C", |info| info["num_ack_pending"] == 0);
        for (max_deliver, redelivered) in [(1, 0), (2, 1), (-1, 1), (1, 0)] {
            consumer(client, "C", config(max_deliver));
            let info = info(client, "C");
            assert_eq!(info["num_redelivered"], redelivered, "{program}: {max_deliver}: {info}");
        }
    });
}

/// JC-061
#[test]
fn who_listens_elsewhere_gets_at_once_what_is_pending() {
    servers(|program, client| {
        let config = |subject: &str| json!({"deliver_subject": subject, "ack_wait": 60_000_000_000_u64});
        client.listen("before").unwrap();
        consumer(client, "C", config("before"));
        for _ in 0..2 {
            client.publish("s", "", b"x").unwrap();
            assert_eq!(client.next_message().unwrap().deliveries(), 1, "{program}");
        }
        client.send(b"UNSUB 2\r\n").unwrap();
        until(client, "C", |info| info["push_bound"] != true);
        client.store("s", b"x").unwrap();
        consumer(client, "C", config("after"));
        client.listen("after").unwrap();
        let messages: Vec<Received> = (0..3).map(|_| client.next_message().unwrap()).collect();
        let seen: Vec<_> = messages.iter().map(|of| (of.stream_seq(), of.deliveries())).collect();
        assert_eq!(seen, [(1, 2), (2, 2), (3, 1)], "{program}");
    });
}

/// Purges, and tells of consumers where they are, what they acknowledged, what is pending and what is to come.
fn purge(client: &mut JetStream, request: Value, names: &[&str]) -> Vec<([u64; 2], [u64; 2], u64, u64)> {
    let purged = client.api("STREAM.PURGE.S", &request).unwrap();
    assert_eq!(purged["success"], true, "{purged}");
    places(client, names)
}

fn places(client: &mut JetStream, names: &[&str]) -> Vec<([u64; 2], [u64; 2], u64, u64)> {
    let seen = |name: &&str| {
        let info = info(client, name);
        let number = |field: &str| info[field].as_u64().unwrap();
        let (delivered, floor) = (place(&info, "delivered"), place(&info, "ack_floor"));
        (delivered, floor, number("num_ack_pending"), number("num_pending"))
    };
    names.iter().map(seen).collect()
}

#[test]
fn who_wants_only_what_was_purged_goes_on_after_it() {
    servers(|program, client| {
        remake(client, json!({"subjects": ["s.>"]}));
        for name in ["a", "b"] {
            consumer(client, name, json!({"filter_subject": format!("s.{name}")}));
        }
        consumer(client, "wide", json!({"filter_subject": "s.>"}));
        consumer(client, "pending", json!({"filter_subject": "s.a"}));
        for _ in 0..3 {
            client.store("s.a", b"x").unwrap();
            client.store("s.b", b"x").unwrap();
        }
        pull(client, "pending", 2);
        let seen = purge(client, json!({"filter": "s.a", "keep": 1}), &["a", "b", "wide", "pending"]);
        let kept =
            [([0, 4], [0, 4], 0, 1), ([0, 0], [0, 0], 0, 3), ([0, 1], [0, 1], 0, 4), ([2, 4], [2, 4], 0, 1)];
        assert_eq!(seen, kept, "{program}");
        let seen = purge(client, json!({"filter": "s.*"}), &["a", "b", "wide", "pending"]);
        let gone =
            [([0, 6], [0, 6], 0, 0), ([0, 6], [0, 6], 0, 0), ([0, 6], [0, 6], 0, 0), ([2, 6], [2, 6], 0, 0)];
        assert_eq!(seen, gone, "{program}");
        client.store("s.a", b"x").unwrap();
        for name in ["a", "wide", "pending"] {
            assert_eq!(pull(client, name, 1)[0].stream_seq(), 7, "{program}");
        }
    });
}

#[test]
fn a_rollup_moves_consumers_as_a_purge_does() {
    servers(|program, client| {
        let names = ["a", "b", "wide", "pending"];
        for (rollup, seen) in [
            (
                "sub",
                [
                    ([0, 6], [0, 6], 0, 1),
                    ([0, 0], [0, 0], 0, 3),
                    ([0, 1], [0, 1], 0, 4),
                    ([2, 2], [1, 1], 1, 3),
                ],
            ),
            (
                "all",
                [
                    ([0, 6], [0, 6], 0, 1),
                    ([0, 6], [0, 6], 0, 0),
                    ([0, 6], [0, 6], 0, 1),
                    ([2, 6], [2, 6], 0, 1),
                ],
            ),
        ] {
            remake(client, json!({"subjects": ["s.>"], "allow_rollup_hdrs": true}));
            for name in ["a", "b"] {
                consumer(client, name, json!({"filter_subject": format!("s.{name}")}));
            }
            consumer(client, "wide", json!({}));
            consumer(client, "pending", json!({}));
            for _ in 0..3 {
                client.store("s.a", b"x").unwrap();
                client.store("s.b", b"x").unwrap();
            }
            pull(client, "pending", 2);
            let (reply, head) = (client.reply(), format!("NATS/1.0\r\nNats-Rollup: {rollup}\r\n\r\n"));
            let line = format!("HPUB s.a {reply} {} {}\r\n{head}x\r\n", head.len(), head.len() + 1);
            client.send(line.as_bytes()).unwrap();
            client.next_on(&reply).unwrap();
            assert_eq!(places(client, &names), seen, "{program}: {rollup}");
            assert_eq!(pull(client, "a", 1)[0].stream_seq(), 7, "{program}");
        }
    });
}

#[test]
fn a_purge_of_some_of_what_is_pending_leaves_the_rest() {
    servers(|program, client| {
        remake(client, json!({"subjects": ["s.>"]}));
        consumer(client, "C", json!({}));
        for _ in 0..3 {
            client.store("s.b", b"x").unwrap();
            client.store("s.a", b"x").unwrap();
        }
        pull(client, "C", 4);
        for (request, seen) in [
            (json!({"filter": "s.a"}), ([4, 4], [4, 0], 2, 1)),
            (json!({"seq": 3}), ([4, 4], [4, 2], 1, 1)),
            (json!({"keep": 1}), ([4, 4], [4, 4], 0, 1)),
        ] {
            assert_eq!(purge(client, request, &["C"]), [seen], "{program}");
        }
        assert!(info(client, "C")["ack_floor"]["last_active"].is_string(), "{program}");
        assert_eq!(pull(client, "C", 1)[0].stream_seq(), 5, "{program}");
    });
}

/// JC-070
#[test]
fn a_time_to_start_at_means_the_first_message_of_the_filter() {
    servers(|program, client| {
        remake(client, json!({"subjects": ["s.>"]}));
        for subject in ["s.a", "s.b", "s.c", "s.a", "s.d"] {
            client.store(subject, b"x").unwrap();
        }
        for (filters, start) in [
            (json!(["s.b"]), 1),
            (json!(["s.c", "s.b"]), 1),
            (json!(["s.d", "s.c"]), 2),
            (json!(["s.d"]), 0),
            (json!(["s.none"]), 0),
            (json!([]), 0),
        ] {
            let config = json!({
                "deliver_policy": "by_start_time",
                "opt_start_time": "2020-01-01T00:00:00Z",
                "filter_subjects": filters,
            });
            consumer(client, "C", config);
            let info = info(client, "C");
            let seen = (place(&info, "delivered"), place(&info, "ack_floor"));
            assert_eq!(seen, ([0, start], [0, start]), "{program}: {filters}");
            client.api("CONSUMER.DELETE.S.C", &Value::Null).unwrap();
        }
    });
}

/// JC-082, JC-150: with the flag domain and account stand in what clients answer to.
#[test]
fn answers_say_where_they_belong_if_the_server_wants_that() {
    let mut accounts = Vec::new();
    for program in [Some(server::natsd()), server::reference()].into_iter().flatten() {
        let store = Folder::new();
        let jetstream = format!("jetstream {{ store_dir: \"{}\", domain: hub }}", store.path().display());
        let config = format!("{jetstream}\nfeature_flags {{ js_ack_fc_v2: true }}\n");
        let server = Launch::new(program).config(config).start();
        let mut client = JetStream::join(server.address(), "test").unwrap();
        let program = server.program().display();
        client.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]})).unwrap();
        client.listen("there").unwrap();
        let config = json!({
            "deliver_subject": "there", "flow_control": true, "idle_heartbeat": 60_000_000_000_u64,
        });
        consumer(&mut client, "C", config);
        for _ in 0..3 {
            client.publish("s", "", &[b'x'; 500_000]).unwrap();
        }
        let mut messages = (0..4).map(|_| client.next_message().unwrap());
        let flow = messages.find(|message| message.headers.contains("FlowControl Request")).unwrap();
        let tokens: Vec<&str> = flow.reply.split('.').collect();
        assert!(matches!(tokens[..], ["$JS", "FC", "hub", _, "S", "C", _]), "{program}: {flow:?}");
        accounts.push(tokens[3].to_owned());

        client.send(b"UNSUB 2\r\n").unwrap();
        consumer(&mut client, "P", json!({}));
        let message = pull(&mut client, "P", 1).remove(0);
        let start = format!("$JS.ACK.hub.{}.S.P.1.1.1.", accounts[0]);
        assert!(message.reply.starts_with(&start), "{program}: {}", message.reply);
        client.double_ack(&message).unwrap();
        assert_eq!(place(&info(&mut client, "P"), "ack_floor"), [1, 1], "{program}");
    }
}
