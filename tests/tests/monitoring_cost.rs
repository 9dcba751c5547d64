//! What monitoring costs: a benchmark of our own, beside nats-server where it is at hand. Nothing is measured
//! unless `BENCH` is set.
//!
//! ```text
//! cargo build --release -p natsd -p natsd-monitoring
//! BENCH=1 NATSD=target/release/natsd cargo test --release -p natsd-tests --test monitoring_cost -- --nocapture --test-threads 1
//! ```
//!
//! - `/connz?subs=1&limit=10000` with 10,000 connections: the server's CPU for each answer, and what asking without
//!   pause does to the latency of requests between two clients.
//! - A monitoring port that nobody asks: the server's CPU for each message with it and without.
//!
//! CPU is what the kernel counts for the process, so that other work on the machine counts little.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use natsd_tests::monitored::{Monitored, programs};
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, Server};

const CONNECTIONS: usize = 10_000;
const ANSWERS: u32 = 20;
/// How long latency is measured, in each state.
const WATCH: Duration = Duration::from_secs(4);
/// On a machine that does something else, too, shorter delays say nothing.
const NOTICED_US: u64 = 200;
/// Room for such a machine.
const ROOM: f64 = 1.15;

#[test]
fn connz_of_10000_connections() {
    if !is_wanted() {
        return;
    }
    let mut seen = Vec::new();
    for program in programs() {
        let config = "http: \"127.0.0.1:-1\"\nping_interval: \"10m\"\n";
        let server = Monitored::of(Launch::new(&program).config(config).open_files_max(20_000).start());
        let _clients = crowd(&server.server);
        let path = "/connz?subs=1&limit=10000";
        let bytes = server.get(path).body.len();
        let before_ns = cpu_ns(server.server.pid());
        for _ in 0..ANSWERS {
            assert_eq!(server.get(path).status, 200);
        }
        let each_ms = (cpu_ns(server.server.pid()) - before_ns) as f64 / f64::from(ANSWERS) / 1e6;

        let quiet = Latency::watch(&server.server);
        let stop = Arc::new(AtomicBool::new(false));
        let asking = {
            let (http, stop) = (server.http, stop.clone());
            std::thread::spawn(move || {
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    let wire = std::net::TcpStream::connect(http).unwrap();
                    asked += u32::from(natsd_tests::monitored::exchange(wire, path).status == 200);
                }
                asked
            })
        };
        let asked = Latency::watch(&server.server);
        stop.store(true, Ordering::Relaxed);
        let answers = asking.join().unwrap();
        println!(
            "{}: {each_ms:.1} ms of CPU for an answer of {} KiB; requests p50 {} µs, p99 {} µs when quiet; \
             p50 {} µs, p99 {} µs while asked {answers} times",
            program.display(),
            bytes / 1024,
            quiet.of(50),
            quiet.of(99),
            asked.of(50),
            asked.of(99),
        );
        assert!(
            asked.of(99) < 2 * quiet.of(99).max(NOTICED_US),
            "{}: answers delay messages",
            program.display()
        );
        seen.push(each_ms);
    }
    if let [natsd, reference] = seen[..] {
        println!("CPU for an answer: {:.2} of nats-server's", natsd / reference);
        assert!(natsd <= 0.5 * ROOM * reference, "{natsd:.1} ms are more than half of {reference:.1} ms");
    }
}

/// Only who asks for it waits for a benchmark.
fn is_wanted() -> bool {
    std::env::var_os("BENCH").is_some()
}

/// Connected, each with a name and two subscriptions.
fn crowd(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|number| {
            let mut client =
                Client::join(server.address(), &format!(r#""name":"client {number}","lang":"test""#))
                    .unwrap();
            client
                .send(format!("SUB orders.{number}.> 1\r\nSUB stock.{} 2\r\n", number % 100).as_bytes())
                .unwrap();
            client
        })
        .collect();
    clients.iter_mut().for_each(|client| drop(client.sync()));
    clients
}

/// Times of requests and their answers between two clients, microseconds, sorted.
struct Latency(Vec<u64>);

impl Latency {
    fn watch(server: &Server) -> Self {
        let mut service = Client::join(server.address(), "").unwrap();
        service.send(b"SUB service 1\r\n").unwrap();
        service.sync();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let answering = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                service.expect_op("MSG service ");
                service.send(b"PUB answer 2\r\nok\r\n").unwrap();
            }
        });
        let mut client = Client::join(server.address(), "").unwrap();
        client.send(b"SUB answer 1\r\n").unwrap();
        client.sync();
        let mut took_us = Vec::new();
        let end = Instant::now() + WATCH;
        while Instant::now() < end {
            let start = Instant::now();
            client.send(b"PUB service answer 2\r\nhi\r\n").unwrap();
            client.expect_op("MSG answer ");
            took_us.push(start.elapsed().as_micros() as u64);
        }
        stop.store(true, Ordering::Relaxed);
        client.send(b"PUB service answer 2\r\nhi\r\n").unwrap();
        answering.join().unwrap();
        took_us.sort_unstable();
        Self(took_us)
    }

    fn of(&self, percent: usize) -> u64 {
        self.0[self.0.len() * percent / 100]
    }
}

const MESSAGES: usize = 300_000;
/// Short ones, by turns, so that what else goes on meets both, and few of them.
const ROUNDS: usize = 41;

#[test]
fn a_monitoring_port_that_nobody_asks_costs_nothing() {
    if !is_wanted() {
        return;
    }
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let measure = |config| ns_per_message(&natsd(), config);
            let port = "http: \"127.0.0.1:-1\"\n";
            // Who is first has a colder machine.
            let (with, without) = if round % 2 == 0 {
                let with = measure(port);
                (with, measure(""))
            } else {
                let without = measure("");
                (measure(port), without)
            };
            with / without
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (low, middle, high) = (ratios[ROUNDS / 4], ratios[ROUNDS / 2], ratios[ROUNDS * 3 / 4]);
    println!(
        "CPU for a message with the port, of that without: median {middle:.3}, quarters {low:.3} and {high:.3}"
    );
    assert!(middle <= 1.01 * ROOM, "a port that nobody asks costs");
}

/// One publisher, two subscribers.
fn ns_per_message(program: &Path, config: &str) -> f64 {
    let server = Launch::new(program).config(config).start();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut reader = Client::join(server.address(), "").unwrap();
            reader.send(b"SUB x 1\r\n").unwrap();
            reader.sync();
            std::thread::spawn(move || {
                reader.set_patience(Duration::from_secs(60));
                for _ in 0..MESSAGES {
                    reader.expect_op("MSG x 1 128");
                }
            })
        })
        .collect();
    let mut publisher = Client::join(server.address(), "").unwrap();
    let batch = [b"PUB x 128\r\n", &[b'x'; 128][..], b"\r\n"].concat().repeat(100);
    let before_ns = cpu_ns(server.pid());
    for _ in 0..MESSAGES / 100 {
        publisher.send(&batch).unwrap();
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    (cpu_ns(server.pid()) - before_ns) as f64 / MESSAGES as f64
}

/// Of all threads of a process, user and system.
fn cpu_ns(pid: u32) -> u64 {
    let mut sum_ns = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
        sum_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    sum_ns
}
