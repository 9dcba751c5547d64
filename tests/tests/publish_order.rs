//! What one client publishes in an order is stored in that order, whichever of a stream's subjects takes which message
//! (CORE-270). Between accounts: the exchange `stream_imports_keep_the_order_of_publishing`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{Folder, natsd, reference};
use serde_json::json;

const SUBJECTS: [&str; 4] = ["a.1", "b.1", "c", "a.2"];
const COUNT: usize = 400;

#[test]
fn a_stream_of_several_subjects_keeps_the_order_of_publishing() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!("jetstream {{ store_dir: \"{}\" }}\n", store.path().display());
        let server = Launch::new(program).config(config).start();
        let mut client = JetStream::join(server.address(), "order").unwrap();
        let stream = json!({"name": "S", "subjects": ["a.*", "b.*", "c"], "storage": "memory"});
        assert!(client.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
        let published: Vec<&str> = SUBJECTS.iter().copied().cycle().take(COUNT).collect();
        // In one write, so that the server reads many at once.
        let bytes: String = published.iter().map(|subject| format!("PUB {subject} 1\r\nx\r\n")).collect();
        client.send(bytes.as_bytes()).unwrap();
        let consumer = json!({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "none"}});
        assert!(client.api("CONSUMER.CREATE.S.C", &consumer).unwrap()["error"].is_null());
        let mut stored = Vec::new();
        while stored.len() < COUNT {
            stored.extend(client.fetch("S", "C", COUNT - stored.len()).unwrap());
        }
        let stored: Vec<&str> = stored.iter().map(|message| message.subject.as_str()).collect();
        assert_eq!(stored, published, "{}", server.program().display());
    }
}
