//! JetStream under loads that need a benchmark of their own: many streams at once, and memory for much that is stored.
//!
//! Each server is started anew for each load, in turns, and the last columns are the ratios of the second server to
//! the first: median, least and most of the rounds.
//!
//! How to run, with a server built for release and its plugins beside it:
//!
//!     cargo run --release -p natsd-tests --example jetstream_load -- \
//!         go=/usr/local/bin/nats-server natsd=target/release/natsd
//!
//! `--rounds N` (default 3), `--scale X` (default 1: less than that for a quick look), `--only NAME`: `streams`,
//! `memory`, `subjects` or `messages`. Temporary files go where `TMPDIR` says: name a disk, not memory.
//!
//! - `streams`: 100 file streams, each with one publisher that waits for each answer, synced before it (natsd's
//!   default, `sync_interval: always` for the other); messages a second.
//! - `memory`: a memory stream of 600,000 messages of 128 bytes; resident bytes.
//! - `subjects`: a file stream of 1,000,000 subjects, one message of 128 bytes each; resident bytes.
//! - `messages`: a file stream of 5,000,000 messages of 128 bytes over 1,000 subjects; resident bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::{Launch, Server};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Answers that a publisher of many messages waits for at a time.
const UNDER_WAY: u64 = 1000;
const STREAMS: usize = 100;
const PAYLOAD: [u8; 128] = [b'j'; 128];
/// After so long without work a server holds what it means to hold.
const SETTLE: Duration = Duration::from_secs(2);

struct Options {
    servers: Vec<(String, PathBuf)>,
    rounds: usize,
    scale: f64,
    only: Option<String>,
}

struct Load {
    name: &'static str,
    unit: &'static str,
    run: fn(&Server, f64) -> f64,
    synced: bool,
}

const LOADS: [Load; 4] = [
    Load { name: "streams", unit: "msgs/s", run: many_streams, synced: true },
    Load { name: "memory", unit: "MB", run: memory, synced: false },
    Load { name: "subjects", unit: "MB", run: subjects, synced: false },
    Load { name: "messages", unit: "MB", run: messages, synced: false },
];

fn main() {
    let options = options();
    for load in LOADS.iter().filter(|load| options.only.as_ref().is_none_or(|only| only == load.name)) {
        let mut samples = vec![Vec::new(); options.servers.len()];
        for round in 0..options.rounds {
            let mut order: Vec<usize> = (0..options.servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for n in order {
                let (name, program) = &options.servers[n];
                let value = (load.run)(&start(program, load.synced), options.scale);
                println!("{:<10} {name:>8} #{round} {value:12.1} {}", load.name, load.unit);
                samples[n].push(value);
            }
        }
        report(load, &options.servers, &samples);
    }
}

fn report(load: &Load, servers: &[(String, PathBuf)], samples: &[Vec<f64>]) {
    print!("| {} ({}) |", load.name, load.unit);
    for ((name, _), values) in servers.iter().zip(samples) {
        print!(" {name} {:.1} |", median(values.clone()));
    }
    if let [first, second, ..] = samples {
        let ratios: Vec<f64> = first.iter().zip(second).map(|(first, second)| second / first).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        print!(" {:.2} ({least:.2}..{most:.2}) |", median(ratios));
    }
    println!();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn options() -> Options {
    let mut options = Options { servers: Vec::new(), rounds: 3, scale: 1.0, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("an option is followed by its value");
        match &*argument {
            "--rounds" => options.rounds = value().parse().expect("--rounds is a number"),
            "--scale" => options.scale = value().parse().expect("--scale is a number"),
            "--only" => options.only = Some(value()),
            server => {
                let (name, program) = server.split_once('=').expect("a server is NAME=PROGRAM");
                options.servers.push((name.to_owned(), PathBuf::from(program)));
            }
        }
    }
    assert!(!options.servers.is_empty() && options.rounds > 0, "name at least one server: NAME=PROGRAM");
    options
}

fn start(program: &PathBuf, synced: bool) -> Server {
    let sync = if synced { "sync_interval: always" } else { "sync_interval: 2m" };
    Launch::new(program).config(format!("jetstream {{ store_dir: \"{{{{dir}}}}/js\", {sync} }}")).start()
}

fn create(server: &Server, name: &str, subjects: &str, storage: &str) {
    let mut client = JetStream::join(server.address(), name).expect("the server takes a client");
    let config = json!({ "name": name, "subjects": [subjects], "storage": storage });
    let answer = client.api(&format!("STREAM.CREATE.{name}"), &config).expect("the server answers");
    assert!(answer["error"].is_null(), "{answer}");
}

/// Resident megabytes after a while without work.
fn resident(server: &Server) -> f64 {
    std::thread::sleep(SETTLE);
    server.resident_kib() as f64 / 1024.0
}

fn many_streams(server: &Server, scale: f64) -> f64 {
    let each = ((400.0 * scale) as u64).max(10);
    let mut publishers: Vec<Publisher> = (0..STREAMS)
        .map(|n| {
            create(server, &format!("S{n}"), &format!("many.{n}.>"), "file");
            Publisher::open(server)
        })
        .collect();
    let begin = Instant::now();
    for (n, publisher) in publishers.iter_mut().enumerate() {
        publisher.publish(&format!("many.{n}.x"));
        publisher.flush();
    }
    let mut left = STREAMS;
    while left > 0 {
        let mut waiting: Vec<PollFd<'_>> =
            publishers.iter().map(|publisher| PollFd::new(&publisher.socket, PollFlags::IN)).collect();
        poll(&mut waiting, None).expect("sockets can be waited for");
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        for n in (0..STREAMS).filter(|n| ready[*n]) {
            let publisher = &mut publishers[n];
            if publisher.read() == 0 {
                continue;
            }
            if publisher.answered < each {
                publisher.publish(&format!("many.{n}.x"));
                publisher.flush();
            } else {
                left -= 1;
            }
        }
    }
    STREAMS as f64 * each as f64 / begin.elapsed().as_secs_f64()
}

fn memory(server: &Server, scale: f64) -> f64 {
    create(server, "S", "js.>", "memory");
    publish(server, (600_000.0 * scale) as u64, |_| "js.a".to_owned());
    resident(server)
}

fn subjects(server: &Server, scale: f64) -> f64 {
    create(server, "S", "js.>", "file");
    let random = |n: u64| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    publish(server, (1_000_000.0 * scale) as u64, |n| format!("js.{:016x}", random(n)));
    resident(server)
}

fn messages(server: &Server, scale: f64) -> f64 {
    create(server, "S", "js.>", "file");
    publish(server, (5_000_000.0 * scale) as u64, |n| format!("js.{}", n % 1000));
    resident(server)
}

/// Publishes to subjects with some answers under way.
fn publish(server: &Server, count: u64, subject: impl Fn(u64) -> String) {
    let mut publisher = Publisher::open(server);
    let mut sent = 0;
    while publisher.answered < count {
        while sent < count && sent < publisher.answered + UNDER_WAY {
            publisher.publish(&subject(sent));
            sent += 1;
        }
        publisher.flush();
        publisher.read();
    }
}

/// A connection that publishes and counts the answers.
struct Publisher {
    socket: TcpStream,
    inbox: String,
    out: Vec<u8>,
    input: Vec<u8>,
    answered: u64,
}

impl Publisher {
    fn open(server: &Server) -> Self {
        let socket = TcpStream::connect(server.address()).expect("the server accepts connections");
        socket.set_nodelay(true).expect("a socket has options");
        let inbox = format!("_INBOX.{}", socket.local_addr().expect("it is connected").port());
        let out = format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox} 1\r\n").into_bytes();
        let mut publisher = Self { socket, inbox, out, input: Vec::new(), answered: 0 };
        publisher.flush();
        publisher
    }

    fn publish(&mut self, subject: &str) {
        write!(self.out, "PUB {subject} {} {}\r\n", self.inbox, PAYLOAD.len())
            .expect("memory can be written");
        self.out.extend_from_slice(&PAYLOAD);
        self.out.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) {
        self.socket.write_all(&self.out).expect("the server reads");
        self.out.clear();
    }

    /// Takes in what came; how many answers there were.
    fn read(&mut self) -> u64 {
        let mut buffer = [0; 64 * 1024];
        let len = self.socket.read(&mut buffer).expect("the server answers");
        assert!(len > 0, "the server closed the connection");
        self.input.extend_from_slice(&buffer[..len]);
        let (mut answers, mut start) = (0, 0);
        while let Some(len) = self.input[start..].iter().position(|&byte| byte == b'\n') {
            let line = &self.input[start..start + len];
            start += len + 1;
            match line.first() {
                Some(b'{') => {
                    let text = String::from_utf8_lossy(line);
                    assert!(!text.contains("\"error\""), "{text}");
                    answers += 1;
                }
                Some(b'P') if line.starts_with(b"PING") => self.out.extend_from_slice(b"PONG\r\n"),
                Some(b'-') => panic!("{}", String::from_utf8_lossy(line)),
                _ => {}
            }
        }
        self.input.drain(..start);
        self.answered += answers;
        answers
    }
}
