//! When the server sends a PING: on natsd and, where it is at hand, on the reference.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, Server};

fn servers(config: &str) -> impl Iterator<Item = Server> {
    let programs = [Some(natsd()), reference()].into_iter().flatten();
    programs.map(move |program| Launch::new(program).config(config).start())
}

#[test]
fn a_pong_does_not_stand_in_for_the_next_ping() {
    // CORE-201
    for server in servers("ping_interval: \"100ms\"") {
        let mut client = Client::join(server.address(), "").unwrap();
        client.expect_op("PING");
        let began = Instant::now();
        for _ in 0..10 {
            client.send(b"PONG\r\n").unwrap();
            client.expect_op("PING");
        }
        let taken = began.elapsed();
        assert!(taken < Duration::from_millis(1600), "{}: {taken:?}", server.program().display());
    }
}

#[test]
fn who_is_heard_of_is_not_pinged() {
    // CORE-201: also when it owes a PONG.
    for server in servers("ping_interval: \"300ms\"\nping_max: 1") {
        for op in ["PUB a 0\r\n\r\n", "SUB a 1\r\n", "UNSUB 1\r\n", "PING\r\n"] {
            let mut client = Client::join(server.address(), "").unwrap();
            client.expect_op("PING");
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(1000) {
                client.send(op.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            client.half_close().unwrap();
            let heard = client.until_closed();
            let pinged = heard.iter().any(|op| op.starts_with(b"PING") || op.starts_with(b"-ERR"));
            assert!(!pinged, "{} {op:?}", server.program().display());
        }
    }
}
