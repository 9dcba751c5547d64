//! What follows from a message comes after it, at every client and in every stream: who answers has seen it, but others
//! may still be about to get it (CORE-270, for one publisher and one subscriber, is `publish_order`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::certs::Certs;
use natsd_tests::jetstream::on_each_server;
use natsd_tests::server::{natsd, reference};
use natsd_tests::streams::{make, wait_for_messages};
use natsd_tests::{Client, Launch};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const CLIENTS: usize = 200;
const ROUNDS: u64 = 10;

/// Many clients get a message and answer it. What the last one that listens to both gets first is the message.
fn answer_at_once(connect: &dyn Fn() -> Client, message: &str, answer: &str, is_heard: bool) {
    let listening = |subjects: &[&str]| {
        let mut client = connect();
        for (sid, subject) in subjects.iter().enumerate() {
            client.send(format!("SUB {subject} {sid}\r\n").as_bytes()).unwrap();
        }
        client.sync();
        client
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| listening(&[message])).collect();
    let mut last = is_heard.then(|| listening(&[message, answer]));
    let (mut publisher, mut other) = (connect(), connect());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Keeps the server's other threads awake.
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                other.sync();
            }
        });
        publisher.send(format!("PUB {message} 1\r\nm\r\n").as_bytes()).unwrap();
        for client in &mut clients {
            client.expect_op(&format!("MSG {message} "));
            client.send(format!("PUB {answer} 1\r\na\r\n").as_bytes()).unwrap();
        }
        is_over.store(true, Relaxed);
    });
    if let Some(last) = &mut last {
        last.expect_op(&format!("MSG {message} "));
        clients.iter().for_each(|_| drop(last.expect_op(&format!("MSG {answer} "))));
    }
}

#[test]
fn nobody_sees_an_answer_to_a_message_before_the_message() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).start();
        for round in 0..ROUNDS {
            answer_at_once(&|| server.connect(), &format!("all.{round}"), "answer", true);
        }
    }
}

#[test]
fn the_same_over_tls() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let config = format!("tls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }}");
    let tls = certs.client_config(None);
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).config(config.clone()).start();
        let connect = || {
            let mut client = Client::open(server.address()).unwrap();
            client.expect_op("INFO ");
            let mut client = client.start_tls(tls.clone()).unwrap();
            client.send(b"CONNECT {\"verbose\":false}\r\n").unwrap();
            client
        };
        for round in 0..ROUNDS {
            answer_at_once(&connect, &format!("all.{round}"), "answer", true);
        }
    }
}

#[test]
fn what_follows_from_a_message_is_stored_after_it() {
    on_each_server(|server, js| {
        make(js, &json!({"name": "ALL", "subjects": ["all.>"], "storage": "memory"}));
        for round in 0..ROUNDS {
            let (message, stored) = (format!("all.{round}"), CLIENTS as u64 + 1);
            answer_at_once(&|| server.connect(), &message, "all.answer", false);
            wait_for_messages(js, "ALL", (round + 1) * stored);
            let first = js.api("STREAM.MSG.GET.ALL", &json!({"seq": round * stored + 1})).unwrap();
            assert_eq!(first["message"]["subject"], message);
        }
    });
}
