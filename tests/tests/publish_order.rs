//! What one client publishes in an order is stored in that order, whichever of a stream's subjects takes which message
//! (CORE-270). Between accounts: the exchange `stream_imports_keep_the_order_of_publishing`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{Folder, natsd, reference};
use natsd_tests::{Client, Launch};
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

#[test]
fn a_flood_through_an_import_arrives_whole_and_in_order_while_the_server_reloads() {
    const FLOOD: usize = 20_000;
    let config = "accounts {\n\
        A { users: [{user: a, password: a}], exports: [{service: in}] }\n\
        B { users: [{user: b, password: b}], imports: [{service: {account: A, subject: in}}] }\n}\n";
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).config(config).start();
        let mut service = Client::join(server.address(), r#""user":"a","pass":"a""#).unwrap();
        service.send(b"SUB in 1\r\n").unwrap();
        service.sync();
        let mut client = Client::join(server.address(), r#""user":"b","pass":"b""#).unwrap();
        client.sync();
        let got = std::thread::scope(|scope| {
            let receiving = scope.spawn(move || {
                let body = |op: Vec<u8>| String::from_utf8_lossy(&op).lines().nth(1).unwrap().to_owned();
                (0..FLOOD).map(|_| body(service.expect_op("MSG "))).collect::<Vec<_>>()
            });
            scope.spawn(move || {
                let bytes: String = (0..FLOOD).map(|n| format!("PUB in r.{n} 5\r\n{n:05}\r\n")).collect();
                client.send(bytes.as_bytes()).unwrap();
                // All of it counts, though nobody is there any more.
                drop(client);
            });
            for n in 0..5 {
                let reloaded = server.reload(&format!("{config}max_connections: {}\n", 100 + n));
                assert!(reloaded.starts_with("Reloaded"), "{reloaded}");
            }
            receiving.join().unwrap()
        });
        let sent: Vec<String> = (0..FLOOD).map(|n| format!("{n:05}")).collect();
        assert!(got == sent, "{}: {} messages", server.program().display(), got.len());
    }
}
