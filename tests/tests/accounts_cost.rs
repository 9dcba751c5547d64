//! What accounts cost: CPU of natsd beside the reference server for messages over borders and mappings, logins by JWT,
//! and many accounts. Takes long, so without `ACCOUNTS_COST` nothing is measured:
//!
//! ```sh
//! cargo build --release -p natsd -p natsd-auth-jwt
//! ACCOUNTS_COST=1 NATSD=target/release/natsd NATS_SERVER=nats-server \
//!     cargo test --release -p natsd-tests --test accounts_cost -- --nocapture --test-threads 1
//! ```
//!
//! Each figure is the median of the ratios of `ROUNDS` rounds, printed; the floor of each is asserted with some room
//! for a machine that does something else meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jwt::{Key, Realm, join, user_token};
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Launch, Server};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// Room for a busy machine.
const ROOM: f64 = 1.15;
const PAYLOAD: [u8; 128] = [b'x'; 128];
const MESSAGES: usize = 1_000_000;
const BLOCK: usize = 5_000;
const CONNECTS: usize = 2_000;

/// CPU that a server has used, in seconds.
fn cpu_s(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Measures natsd and the reference in turns; prints and checks the ratio.
fn compare(name: &str, floor: f64, measure: impl Fn(&Path) -> f64) {
    let (true, Some(reference)) = (std::env::var_os("ACCOUNTS_COST").is_some(), reference()) else {
        eprintln!("{name}: not measured, ACCOUNTS_COST is not set or there is no nats-server");
        return;
    };
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (theirs, ours) = (measure(&reference), measure(&natsd()));
        println!("{name}: natsd {ours:.3}, nats-server {theirs:.3}, ratio {:.2}", ours / theirs);
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    println!("{name}: median {ratio:.2}, floor {floor}");
    assert!(ratio <= floor * ROOM, "{name}: {ratio:.2} is more than {floor}");
}

fn login(server: &Server, user: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"user\":\"{user}\",\"pass\":\"p\"}}\r\nPING\r\n"
    );
    stream.write_all(connect.as_bytes()).unwrap();
    read_until(&mut stream, b"PONG\r\n");
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut seen, mut chunk) = (Vec::new(), [0; 65536]);
    while !seen.ends_with(end) {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
    seen
}

fn read_exactly(stream: &mut TcpStream, mut bytes: usize) {
    let mut chunk = vec![0; 256 << 10];
    while bytes > 0 {
        let wanted = bytes.min(chunk.len());
        let count = stream.read(&mut chunk[..wanted]).unwrap();
        assert!(count > 0, "closed");
        bytes -= count;
    }
}

/// CPU of one publisher's messages to one subscriber, who sees `seen` where `published` is published.
fn one_to_one(program: &Path, config: &str, published: &str, subscribed: &str, seen: &str) -> f64 {
    let server = Launch::new(program).config(config).start();
    let mut subscriber = login(&server, "sub");
    subscriber.write_all(format!("SUB {subscribed} 1\r\nPING\r\n").as_bytes()).unwrap();
    read_until(&mut subscriber, b"PONG\r\n");
    let mut publisher = login(&server, "pub");
    let one = [format!("PUB {published} 128\r\n").as_bytes(), &PAYLOAD, b"\r\n"].concat();
    let block = one.repeat(BLOCK);
    let expected = (format!("MSG {seen} 1 128\r\n").len() + PAYLOAD.len() + 2) * BLOCK;
    let before = cpu_s(&server);
    for _ in 0..MESSAGES / BLOCK {
        std::thread::scope(|scope| {
            scope.spawn(|| publisher.write_all(&block).unwrap());
            read_exactly(&mut subscriber, expected);
        });
    }
    cpu_s(&server) - before
}

#[test]
fn a_subscriber_behind_a_stream_import() {
    let config = "accounts {
      A { users: [ {user: pub, password: p} ], exports: [ {stream: s} ] }
      B { users: [ {user: sub, password: p} ], imports: [ {stream: {account: A, subject: s}} ] }
    }";
    compare("stream import, CPU of 1M messages", 0.6, |program| one_to_one(program, config, "s", "s", "s"));
}

#[test]
fn a_weighted_mapping() {
    // Both destinations are as long as each other, and reach the same subscription.
    let config = "accounts { A {
      users: [ {user: pub, password: p}, {user: sub, password: p} ]
      mappings: { s: [ {destination: t.1, weight: 60}, {destination: t.2, weight: 40} ] }
    } }";
    compare("weighted mapping, CPU of 1M messages", 0.6, |program| {
        one_to_one(program, config, "s", "t.*", "t.1")
    });
}

const ROUND_TRIPS: usize = 200_000;
const UNDER_WAY: usize = 50;

/// Requests of one client, 50 under way, answered by another.
fn requests(program: &Path, config: &str) -> f64 {
    let server = Launch::new(program).config(config).start();
    let mut responder = login(&server, "sub");
    responder.write_all(b"SUB s 1\r\nPING\r\n").unwrap();
    read_until(&mut responder, b"PONG\r\n");
    let mut requestor = login(&server, "pub");
    requestor.write_all(b"SUB in.* 1\r\nPING\r\n").unwrap();
    read_until(&mut requestor, b"PONG\r\n");
    let one = [&b"PUB s in.1 128\r\n"[..], &PAYLOAD, b"\r\n"].concat();
    let block = one.repeat(UNDER_WAY);
    let expected = ("MSG in.1 1 128\r\n".len() + PAYLOAD.len() + 2) * UNDER_WAY;
    let before = cpu_s(&server);
    for _ in 0..ROUND_TRIPS / UNDER_WAY {
        requestor.write_all(&block).unwrap();
        let mut answered = 0;
        let mut pending = Vec::new();
        while answered < UNDER_WAY {
            let mut chunk = [0; 65536];
            let count = responder.read(&mut chunk).unwrap();
            pending.extend_from_slice(&chunk[..count]);
            let (replies, used) = replies_in(&pending);
            pending.drain(..used);
            let mut answers = Vec::new();
            for reply in &replies {
                answers.extend_from_slice(format!("PUB {reply} 128\r\n").as_bytes());
                answers.extend_from_slice(&PAYLOAD);
                answers.extend_from_slice(b"\r\n");
            }
            answered += replies.len();
            responder.write_all(&answers).unwrap();
        }
        read_exactly(&mut requestor, expected);
    }
    cpu_s(&server) - before
}

/// The replies of all whole messages, and how many bytes those are.
fn replies_in(bytes: &[u8]) -> (Vec<String>, usize) {
    let (mut replies, mut at) = (Vec::new(), 0);
    while let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        if !matches!(words[0], "MSG" | "HMSG") {
            at += end + 2;
            continue;
        }
        let size: usize = words[words.len() - 1].parse().unwrap();
        let whole = end + 2 + size + 2;
        if bytes.len() - at < whole {
            break;
        }
        replies.push(words[3].to_owned());
        at += whole;
    }
    (replies, at)
}

#[test]
fn requests_behind_a_service_import() {
    let config = "accounts {
      A { users: [ {user: sub, password: p} ], exports: [ {service: s} ] }
      B { users: [ {user: pub, password: p} ], imports: [ {service: {account: A, subject: s}} ] }
    }";
    compare("service import, CPU of 200k round trips", 0.6, |program| requests(program, config));
}

#[test]
fn logins_by_jwt() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let config = realm.config(&[(&account, json!({}))]);
    let token = user_token(&account, &user, json!({}));
    compare("logins by JWT, CPU of 2000", 0.8, |program| {
        let server = Launch::new(program).config(config.clone()).start();
        join(&server, &token, &user);
        let before = cpu_s(&server);
        for _ in 0..CONNECTS {
            join(&server, &token, &user);
        }
        cpu_s(&server) - before
    });
}

const ACCOUNTS: usize = 1_000;
const USERS: usize = 100;

#[test]
fn many_accounts_with_many_users() {
    let mut config = String::from("accounts {\n");
    for account in 0..ACCOUNTS {
        write!(config, "  A{account} {{ users: [").unwrap();
        for user in 0..USERS {
            write!(config, "{{user: u{account}_{user}, password: p{user}}},").unwrap();
        }
        config.push_str("] }\n");
    }
    config.push_str("}\n");
    let start = |program: &Path| {
        let started = Instant::now();
        let server = Launch::new(program).config(config.clone()).start();
        let took = started.elapsed();
        // What starting needed and does not need any more may be given back.
        std::thread::sleep(Duration::from_secs(1));
        (took, server.resident_kib())
    };
    compare("1,000 accounts of 100 users, start in seconds", 0.5, |program| start(program).0.as_secs_f64());
    compare("1,000 accounts of 100 users, memory in MB", 0.5, |program| start(program).1 as f64 / 1024.0);
}
