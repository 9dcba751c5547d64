//! The pace of consumers: as the messages were stored, or so many bits a second (JC-030, JC-087).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, on_each_server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const APART: Duration = Duration::from_millis(100);

/// Makes a consumer that pushes to `d.NAME`, where the client listens when it is made: what came before the answer to
/// that would not be seen.
fn push(client: &mut JetStream, name: &str, fields: Value) {
    let mut config = json!({"name": name, "deliver_subject": format!("d.{name}"), "ack_policy": "none"});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = json!({"stream_name": "S", "config": config});
    let made = client.api(&format!("CONSUMER.CREATE.S.{name}"), &request).unwrap();
    assert!(made["error"].is_null(), "{made}");
    client.listen(&format!("d.{name}")).unwrap();
}

/// When each of the next messages came.
fn times(client: &mut JetStream, count: usize, since: Instant) -> Vec<Duration> {
    let mut come = Vec::new();
    while come.len() < count {
        let message = client.next_message().unwrap();
        if message.reply.starts_with("$JS.ACK.") {
            come.push(since.elapsed());
        }
    }
    come
}

#[test]
fn messages_come_in_the_pace_in_which_they_were_stored() {
    on_each_server(|server, client| {
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
            // The pace itself is what is tested.
            std::thread::sleep(APART);
        }
        let since = Instant::now();
        push(client, "slow", json!({"replay_policy": "original", "ack_policy": "explicit"}));
        let come = times(client, 3, since);
        let program = server.program().display();
        assert!(come[2] - come[0] >= 2 * APART - APART / 4, "{program}: {come:?}");
        // What waits for its time holds up nobody.
        push(client, "paced", json!({"replay_policy": "original", "idle_heartbeat": 1_000_000_000}));
        client.publish("s", "", b"x").unwrap();
        times(client, 5, since);
        assert_eq!(client.api("STREAM.INFO.S", &Value::Null).unwrap()["state"]["messages"], 4);
    });
}

#[test]
fn what_was_to_come_later_may_be_gone_by_then() {
    on_each_server(|_, client| {
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
            std::thread::sleep(APART);
        }
        let since = Instant::now();
        push(client, "slow", json!({"replay_policy": "original"}));
        times(client, 1, since);
        assert_eq!(client.api("STREAM.PURGE.S", &Value::Null).unwrap()["purged"], 3);
        client.publish("s", "", b"x").unwrap();
        times(client, 1, since);
    });
}

#[test]
fn a_rate_limit_counts_from_the_largest_message_on() {
    on_each_server(|server, client| {
        for _ in 0..40 {
            client.store("s", &[b'x'; 1000]).unwrap();
        }
        let program = server.program().display();
        // 5,000 bytes a second, but a message may have a million.
        let since = Instant::now();
        push(client, "large", json!({"rate_limit_bps": 40_000}));
        let come = times(client, 40, since);
        assert!(come[39] < Duration::from_secs(4), "{program}: {come:?}");
        // 100,000 bytes a second, of which 10,000 come at once.
        let largest = json!({"name": "S", "subjects": ["s"], "max_msg_size": 10_000});
        assert!(client.api("STREAM.UPDATE.S", &largest).unwrap()["error"].is_null());
        let since = Instant::now();
        push(client, "limited", json!({"rate_limit_bps": 800_000}));
        let come = times(client, 40, since);
        assert!(come[39] > Duration::from_millis(250), "{program}: {come:?}");
    });
}

#[test]
fn pulls_are_answered_in_the_pace_in_which_messages_were_stored() {
    on_each_server(|server, client| {
        for _ in 0..3 {
            client.store("s", b"x").unwrap();
            std::thread::sleep(APART);
        }
        let config = json!({"name": "P", "ack_policy": "explicit", "replay_policy": "original"});
        let made = client.api("CONSUMER.CREATE.S.P", &json!({"stream_name": "S", "config": config})).unwrap();
        assert!(made["error"].is_null(), "{made}");
        let program = server.program().display();
        let pull = |client: &mut JetStream, batch| {
            let (since, reply) = (Instant::now(), client.reply());
            let body = json!({"batch": batch, "expires": 5_000_000_000_u64}).to_string();
            client.publish("$JS.API.CONSUMER.MSG.NEXT.S.P", &reply, body.as_bytes()).unwrap();
            times(client, batch, since)
        };
        let come = pull(client, 2);
        assert!(come[1] - come[0] >= APART * 3 / 4, "{program}: {come:?}");
        // It comes as long after it is asked for.
        std::thread::sleep(2 * APART);
        let come = pull(client, 1);
        assert!(come[0] >= APART * 3 / 4, "{program}: {come:?}");
        // What was stored since is not replayed: it would wait for as long as all of this took.
        std::thread::sleep(3 * APART);
        client.publish("s", "", b"x").unwrap();
        let come = pull(client, 1);
        assert!(come[0] < 5 * APART, "{program}: {come:?}");
    });
}
