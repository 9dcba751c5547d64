//! Why connections end (G10.7), as `/connz` tells it: each way to lose one, on natsd and, where it is at hand, on the
//! reference. And the ring that remembers them (G10.1).
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use natsd_tests::certs::Certs;
use natsd_tests::monitored::{Monitored, names, servers};
use natsd_tests::{Client, PATIENCE};
use serde_json::Value;

const CONFIG: &str = r#"
    http: "127.0.0.1:-1"
    max_payload: 1000
    max_control_line: 500
    ping_interval: "1s"
    ping_max: 1
    max_pending: 2MB
    write_deadline: "2s"
    accounts {
        A { users: [ { user: a, password: a }, { user: b, password: b } ], limits: { max_conn: 6 } }
        SYS { users: [ { user: s, password: s } ] }
    }
    authorization { timeout: 1 }
    system_account: SYS
"#;

fn join(server: &Monitored, user: &str, name: &str) -> Client {
    let fields = format!(r#""user":"{user}","pass":"{user}","name":"{name}","headers":true"#);
    let mut client = Client::join(server.server.address(), &fields).unwrap();
    client.sync();
    client
}

/// The reason of the closed connection of that name.
fn reason(server: &Monitored, name: &str) -> Value {
    let of_name = |connz: &Value| {
        let closed = connz["connections"].as_array().unwrap();
        closed
            .iter()
            .find(|info| info["name"].as_str().unwrap_or_default() == name)
            .map(|info| info["reason"].clone())
    };
    of_name(&server.wait("/connz?state=closed", |connz| of_name(connz).is_some())).unwrap()
}

#[test]
fn each_way_to_lose_a_connection_has_its_reason() {
    for server in servers(CONFIG) {
        let address = server.server.address();
        let ends = |name: &str, bytes: &[u8]| {
            let mut client = join(&server, "a", name);
            client.send(bytes).unwrap();
            client.until_closed();
            reason(&server, name)
        };
        assert_eq!(ends("garbage", b"NONSENSE\r\n"), "Protocol Violation");
        assert_eq!(ends("large", b"PUB x 2000\r\n"), "Maximum Message Payload Exceeded");
        let long = [b"PUB ", &[b'x'; 800][..]].concat();
        assert_eq!(ends("long", &long), "Maximum Control Line Exceeded");
        let mut plain = Client::join(address, r#""user":"a","pass":"a","name":"plain""#).unwrap();
        plain.send(b"HPUB x 12 12\r\nNATS/1.0\r\n\r\n\r\n").unwrap();
        plain.until_closed();
        assert_eq!(reason(&server, "plain"), "Protocol Violation");

        drop(join(&server, "a", "leaver"));
        assert_eq!(reason(&server, "leaver"), "Client Closed");
        let mut refused = Client::join(address, r#""user":"a","pass":"x","name":"refused""#).unwrap();
        refused.until_closed();
        assert_eq!(reason(&server, "refused"), "Authentication Failure");
        let mut mute = server.server.connect();
        mute.until_closed();
        assert_eq!(reason(&server, ""), "Authentication Timeout");
        let mut alone =
            Client::join(address, r#""user":"a","pass":"a","name":"alone","no_responders":true"#).unwrap();
        alone.until_closed();
        assert_eq!(reason(&server, "alone"), "No Responders Requires Headers");
        let mut old = Client::join(address, r#""user":"a","pass":"a","name":"old","protocol":7"#).unwrap();
        old.until_closed();
        assert_eq!(reason(&server, "old"), "Bad Client Protocol Version");

        let kept: Vec<Client> = (0..6).map(|number| join(&server, "a", &format!("kept{number}"))).collect();
        let mut seventh = Client::join(address, r#""user":"a","pass":"a","name":"seventh""#).unwrap();
        seventh.until_closed();
        assert_eq!(reason(&server, "seventh"), "Maximum Account Connections Exceeded");
        drop(kept);
    }
}

#[test]
fn a_client_that_does_not_answer_pings_is_stale_and_one_that_does_not_read_is_slow() {
    for server in servers(CONFIG) {
        let _stale = join(&server, "a", "stale");
        let mut slow = join(&server, "b", "slow");
        slow.send(b"SUB x 1\r\n").unwrap();
        slow.sync();
        let mut publisher = join(&server, "a", "publisher");
        let batch = [b"PUB x 1000\r\n", &[b'x'; 1000][..], b"\r\n"].concat().repeat(500);
        let deadline = Instant::now() + PATIENCE * 4;
        while server.json("/varz")["slow_consumers"] == 0 {
            assert!(Instant::now() < deadline, "nobody is slow");
            publisher.send(&batch).unwrap();
            publisher.sync();
        }
        let slow = reason(&server, "slow");
        assert!(slow.as_str().unwrap().starts_with("Slow Consumer"), "{slow}");
        let varz = server.json("/varz");
        assert_eq!(varz["slow_consumer_stats"]["clients"], varz["slow_consumers"]);
        let accounts = server.json("/accstatz");
        assert_eq!(accounts["account_statz"][0]["slow_consumers"], varz["slow_consumers"]);

        assert_eq!(reason(&server, "stale"), "Stale Connection");
        let varz = server.json("/varz");
        assert!(varz["stale_connections"].as_u64().unwrap() >= 1, "{varz}");
        assert_eq!(varz["stale_connection_stats"]["clients"], varz["stale_connections"]);
    }
}

#[test]
fn a_client_that_the_configuration_has_no_room_for_any_more_is_told_so() {
    for server in servers(CONFIG) {
        let mut gone = join(&server, "b", "gone");
        server.server.reload(&CONFIG.replace("password: b", "password: other"));
        gone.until_closed();
        assert_eq!(reason(&server, "gone"), "Authentication Failure");
    }
    for server in servers(
        "http: \"127.0.0.1:-1\"\nmax_connections: 1\naccounts { A { users: [ { user: a, password: a } ] } }\n",
    ) {
        let _one = join(&server, "a", "one");
        let mut two = Client::open(server.server.address()).unwrap();
        two.until_closed();
        let closed = server.wait("/connz?state=closed", |connz| connz["num_connections"] == 1);
        assert_eq!(closed["connections"][0]["reason"], "Maximum Connections Exceeded");
        let varz = server.json("/varz");
        assert_eq!((&varz["connections"], &varz["total_connections"]), (&1.into(), &2.into()));
    }
}

#[test]
fn a_handshake_that_fails_is_told_so() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let config = format!(
        "http: \"127.0.0.1:-1\"\ntls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", timeout: 1 }}\n"
    );
    for server in servers(&config) {
        let mut client = server.server.connect();
        client.expect_op("INFO ");
        client.send(b"this is no TLS at all, whatever it may be\r\n").unwrap();
        client.set_patience(Duration::from_secs(5));
        client.until_closed();
        let closed = server.wait("/connz?state=closed", |connz| connz["num_connections"] == 1);
        assert_eq!(closed["connections"][0]["reason"], "TLS Handshake Failure");
    }
}

#[test]
fn only_the_last_closed_connections_are_remembered() {
    // MON-059
    for server in servers(&format!("{CONFIG}\nmax_closed_clients: 3\n")) {
        for number in 0..5 {
            drop(join(&server, "a", &format!("c{number}")));
            reason(&server, &format!("c{number}"));
        }
        let closed = server.json("/connz?state=closed");
        assert_eq!(names(&closed), ["c2", "c3", "c4"]);
        assert_eq!(closed["total"], if server.is_natsd { 3 } else { closed["total"].as_u64().unwrap() });
    }
}

#[test]
fn connections_are_sorted_by_every_name_that_there_is() {
    // MON-045: what differs between these three is known for each order.
    for server in servers(CONFIG) {
        let mut one = join(&server, "a", "one");
        let mut two = join(&server, "a", "two");
        let mut three = join(&server, "a", "three");
        one.send(b"SUB x 1\r\nSUB y 2\r\n").unwrap();
        two.send(b"SUB x 1\r\n").unwrap();
        one.sync();
        two.sync();
        three.send(b"PUB x 3\r\nabc\r\nPUB y 9\r\nabcdefghi\r\n").unwrap();
        three.sync();
        one.sync();
        two.send(b"PUB none 1\r\na\r\n").unwrap();
        two.sync();
        for (sort, first) in [
            ("cid", "one"),
            ("start", "one"),
            ("subs", "one"),
            ("msgs_to", "one"),
            ("bytes_to", "one"),
            ("msgs_from", "three"),
            ("bytes_from", "three"),
            ("uptime", "three"),
        ] {
            let connz = server.json(&format!("/connz?sort={sort}"));
            assert_eq!(names(&connz)[0], first, "{sort}: {connz}");
        }
        for sort in ["pending", "last", "idle", "rtt"] {
            assert_eq!(server.json(&format!("/connz?sort={sort}"))["num_connections"], 3);
        }
    }
}
