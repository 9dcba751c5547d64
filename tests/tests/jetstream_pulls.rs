//! Pulls of clients that have left (JC-129).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{Folder, natsd, reference};
use serde_json::{Value, json};

#[test]
fn a_pull_that_nobody_listens_for_takes_no_message() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!("jetstream {{ store_dir: \"{}\" }}\n", store.path().display());
        let server = Launch::new(program).config(config).start();
        let mut client = JetStream::join(server.address(), "pulls").unwrap();
        let stream = json!({"name": "S", "subjects": ["s"]});
        assert!(client.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
        // Delivered once at most: a delivery to nobody would be its last.
        let consumer = json!({"durable_name": "C", "ack_policy": "explicit", "max_deliver": 1});
        let consumer = json!({"stream_name": "S", "config": consumer});
        assert!(client.api("CONSUMER.CREATE.S.C", &consumer).unwrap()["error"].is_null());
        let pull = json!({"batch": 1, "expires": 60_000_000_000_u64}).to_string();
        client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "left", pull.as_bytes()).unwrap();
        client.store("s", b"x").unwrap();
        let info = client.api("CONSUMER.INFO.S.C", &Value::Null).unwrap();
        let seen = (&info["num_pending"], &info["num_ack_pending"], &info["delivered"]["consumer_seq"]);
        assert_eq!(seen, (&json!(1), &json!(0), &json!(0)), "{}", server.program().display());
        let messages = client.fetch("S", "C", 1).unwrap();
        assert_eq!(messages.len(), 1, "{}", server.program().display());
        assert_eq!(messages[0].deliveries(), 1);
    }
}
