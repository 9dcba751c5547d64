//! What bad, slow and vanishing clients may do: harm themselves, and nobody else.
//!
//! These hold for natsd by design and cannot be told by a transcript. `NATSD=<file>` names another
//! binary to try them on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use natsd_tests::certs::Certs;
use natsd_tests::client::NoOp;
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, PATIENCE, Server, nkey};

/// Two clients that do nothing wrong.
struct Bystanders {
    publisher: Client,
    subscriber: Client,
    sent: u32,
}

impl Bystanders {
    fn of(server: &Server) -> Self {
        let publisher = Client::join(server.address(), "").unwrap();
        let mut subscriber = Client::join(server.address(), "").unwrap();
        subscriber.send(b"SUB bystander 1\r\n").unwrap();
        subscriber.sync();
        Self { publisher, subscriber, sent: 0 }
    }

    /// A message still goes from one to the other, at once and unharmed.
    fn are_well(&mut self) {
        self.sent += 1;
        let payload = format!("message {}", self.sent);
        let publish = format!("PUB bystander {}\r\n{payload}\r\n", payload.len());
        self.publisher.send(publish.as_bytes()).unwrap();
        let op = self.subscriber.expect_op("MSG bystander 1 ");
        assert!(op.ends_with(format!("{payload}\r\n").as_bytes()));
    }
}

/// Sends until the server closes, and fails if it goes on listening.
fn send_until_closed(mut client: Client, chunk: &[u8], bytes_max: usize) {
    let mut sent = 0;
    while sent < bytes_max {
        match client.send_within(chunk, Duration::from_secs(2)) {
            Ok(true) => sent += chunk.len(),
            Ok(false) => panic!("after {sent} bytes the server neither reads nor closes"),
            Err(_) => return,
        }
    }
    client.until_closed();
}

/// Bytes that look random and are the same each time.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_line_without_end_closes_that_connection_only() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    for verb in ["PUB ", "SUB ", "CONNECT {", "UNSUB ", "XYZ"] {
        let mut client = server.connect();
        client.expect_op("INFO ");
        let _ = client.send(verb.as_bytes());
        send_until_closed(client, &[b'x'; 4096], 1 << 20);
        bystanders.are_well();
    }
}

#[test]
fn binary_noise_closes_that_connection_only() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    for seed in 0..50 {
        let mut client = server.connect();
        client.expect_op("INFO ");
        // A first byte that begins no verb, so that each is refused.
        let mut bytes = vec![0xff];
        bytes.extend(noise(seed, 3000));
        let _ = client.send(&bytes);
        client.until_closed();
        bystanders.are_well();
    }
}

#[test]
fn operations_with_one_byte_changed_close_at_most_that_connection() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    let whole = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB a.* q 1\r\nPUB a.b r 2\r\nhi\r\nHPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1 5\r\nPING\r\n";
    for at in 0..whole.len() {
        for change in [0x00, 0x20, 0x0a, 0x39, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[at] = change;
            let mut client = server.connect();
            client.expect_op("INFO ");
            client.send(&bytes).unwrap();
            client.half_close().unwrap();
            client.until_closed();
        }
        bystanders.are_well();
    }
}

#[test]
fn an_operation_cut_at_any_byte_harms_nobody() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    let whole = b"CONNECT {\"verbose\":false}\r\nSUB bystander 1\r\nPUB bystander.not 2\r\nhi\r\n";
    let mut half_open = Vec::new();
    for len in 0..whole.len() {
        let mut client = server.connect();
        client.expect_op("INFO ");
        client.send(&whole[..len]).unwrap();
        half_open.push(client);
    }
    bystanders.are_well();
    for client in half_open {
        client.reset();
    }
    bystanders.are_well();
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_served_and_disturbs_nobody() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    let mut slow = server.connect();
    slow.expect_op("INFO ");
    for byte in b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPUB a 11\r\nslow\r\nhello\r\n" {
        slow.send(&[*byte]).unwrap();
        bystanders.are_well();
    }
    assert_eq!(slow.expect_op("MSG "), b"MSG a 1 11\r\nslow\r\nhello\r\n");
}

#[test]
fn a_payload_that_never_ends_costs_its_sender_only() {
    let server = Launch::new(natsd()).start();
    let mut bystanders = Bystanders::of(&server);
    let mut client = Client::join(server.address(), "").unwrap();
    client.send(b"PUB a 1048576\r\n").unwrap();
    client.send(&vec![b'x'; 1 << 19]).unwrap();
    bystanders.are_well();
    // Longer than it said, without the line end: no message, and the end of the connection.
    send_until_closed(client, &[b'x'; 1 << 16], 8 << 20);
    bystanders.are_well();
}

#[test]
fn broken_tls_handshakes_harm_nobody() {
    let certs = Certs::new();
    let path = certs.path().display();
    let config = format!(
        "tls {{ cert_file: \"{path}/server.pem\", key_file: \"{path}/server.key\", timeout: 0.5 }}\nallow_non_tls: true"
    );
    let server = Launch::new(natsd()).config(config).start();
    let mut bystanders = Bystanders::of(&server);
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(1, 200)].concat();
    for cut in [1, 2, 5, 6, 11, 100, hello.len()] {
        let mut client = server.connect();
        client.expect_op("INFO ");
        client.send(&hello[..cut]).unwrap();
        client.half_close().unwrap();
        while !matches!(client.next_op(), Err(NoOp::Closed { .. })) {}
        bystanders.are_well();
    }
    // One that says no more is cut off when its time is over.
    let mut client = server.connect();
    client.expect_op("INFO ");
    client.send(&hello[..20]).unwrap();
    client.until_closed();
    bystanders.are_well();
}

#[test]
fn a_connection_silent_behind_a_proxy_is_closed_and_a_cut_header_too() {
    // CORE-240: 5 s.
    let mut at_once = Vec::new();
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        at_once.push(std::thread::spawn(|| {
            let config = "proxy_protocol: true\ndebug: true\nmax_connections: 2";
            let server = Launch::new(program).config(config).start();
            for (sent, why) in [("", "protocol version: EOF"), ("PROXY TCP4 1", "v1 line: read tcp 127.")] {
                let mut client = server.connect();
                client.expect_op("INFO ");
                client.send(sent.as_bytes()).unwrap();
                let port = client.local_port();
                let line = format!(
                    "[WRN] Error reading PROXY protocol header from 127.0.0.1:{port}: failed to read "
                );
                client.set_patience(Duration::from_secs(7));
                let start = Instant::now();
                assert!(client.until_closed().is_empty());
                assert!((4500..6500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
                assert!(server.log().wait_for(&(line + why), PATIENCE), "{}", server.log().text());
                let closed = format!("127.0.0.1:{port} - cid:");
                let closed =
                    |line: &str| line.contains(&closed) && line.ends_with("closed: Protocol Violation");
                assert!(server.log().wait(0, PATIENCE, |line| closed(line).then_some(())).is_some());
            }
        }));
    }
    at_once.into_iter().for_each(|checked| checked.join().unwrap());
}

#[test]
fn a_reader_that_stopped_is_cut_and_told_in_the_log() {
    let server = Launch::new(natsd()).config("max_pending: 2MB\nmax_payload: 1MB").arg("-D").start();
    let mut bystanders = Bystanders::of(&server);
    let mut stalled = Client::join(server.address(), "").unwrap();
    stalled.send(b"SUB flood 1\r\n").unwrap();
    stalled.sync();
    let mut publisher = Client::join(server.address(), "").unwrap();
    let message = [b"PUB flood 100000\r\n".as_slice(), &[b'x'; 100_000], b"\r\n"].concat();
    // The kernel's buffers take some megabytes before the server's own limit counts.
    for _ in 0..1000 {
        publisher.send(&message).unwrap();
        publisher.sync();
        if server.log().contains("Slow Consumer") {
            break;
        }
    }
    assert!(server.log().wait_for("Slow Consumer Detected", PATIENCE), "CORE-210");
    assert!(server.log().wait_for("Client connection closed: Slow Consumer", PATIENCE), "CORE-260");
    bystanders.are_well();
    publisher.sync();
}

#[test]
fn a_stalled_reader_does_not_hold_the_publisher_for_seconds() {
    const MESSAGES: usize = 1200;
    const SIZE: usize = 100_000;
    let server = Launch::new(natsd()).start();
    let subscribe = || {
        let mut client = Client::join(server.address(), "").unwrap();
        client.send(b"SUB flood 1\r\n").unwrap();
        client.sync();
        client
    };
    let _stalled = subscribe();
    let mut healthy = subscribe();
    let reader = std::thread::spawn(move || {
        for _ in 0..MESSAGES {
            assert_eq!(healthy.expect_op("MSG flood 1 ").len(), "MSG flood 1 100000\r\n".len() + SIZE + 2);
        }
    });
    let mut publisher = Client::join(server.address(), "").unwrap();
    let message = [format!("PUB flood {SIZE}\r\n").as_bytes(), &[b'x'; SIZE], b"\r\n"].concat();
    let mut longest = Duration::ZERO;
    for _ in 0..MESSAGES {
        let start = Instant::now();
        publisher.send(&message).unwrap();
        publisher.sync();
        longest = longest.max(start.elapsed());
    }
    reader.join().unwrap();
    assert!(longest < Duration::from_secs(1), "one publish took {longest:?}");
}

#[test]
fn two_publishers_lose_nothing_to_queue_members_that_end_after_a_few_messages() {
    // CORE-157, CORE-171: what one member does not take any more goes to another.
    const MEMBERS: usize = 4000;
    const EACH: usize = 1;
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let server = Launch::new(program).start();
        let mut worker = Client::join(server.address(), "").unwrap();
        let mut other = Client::join(server.address(), "").unwrap();
        for sid in 1..=MEMBERS {
            let member = format!("SUB jobs q {sid}\r\nUNSUB {sid} {EACH}\r\n");
            [&mut worker, &mut other][sid % 2].send(member.as_bytes()).unwrap();
        }
        worker.sync();
        other.sync();
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let mut publisher = Client::join(server.address(), "").unwrap();
                std::thread::spawn(move || {
                    for _ in 0..MEMBERS * EACH / 2 {
                        publisher.send(b"PUB jobs 1\r\nx\r\n").unwrap();
                    }
                    publisher.sync();
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let got: usize = [worker, other].iter_mut().map(|client| client.sync().len()).sum();
        assert_eq!(got, MEMBERS * EACH);
    }
}

#[test]
fn ten_thousand_connections_that_vanish_leave_nothing_behind() {
    const ROUNDS: usize = 5;
    const AT_ONCE: usize = 2000;
    raise_open_files(AT_ONCE as u64 + 500);
    // Closed connections are remembered for monitoring (CORE-262); here that would be growth.
    let config = "max_closed_clients: 10";
    let server = Launch::new(natsd()).config(config).open_files_max(AT_ONCE as u64 + 500).start();
    let mut bystanders = Bystanders::of(&server);
    come_and_vanish(&server, AT_ONCE);
    let files = settled_open_files(&server, usize::MAX);
    let (threads, resident_kib) = (server.threads(), server.resident_kib());
    for _ in 0..ROUNDS {
        come_and_vanish(&server, AT_ONCE);
        bystanders.are_well();
    }
    let files_after = settled_open_files(&server, files);
    let (threads_after, resident_kib_after) = (server.threads(), server.resident_kib());
    assert!(files_after <= files, "{files} descriptors before, {files_after} after");
    assert!(threads_after <= threads + 8, "{threads} threads before, {threads_after} after");
    let grown_kib = resident_kib_after.saturating_sub(resident_kib);
    assert!(grown_kib < 16 * 1024, "{grown_kib} KiB more than after the first {AT_ONCE} connections");
}

/// Opens connections all at once, each left in another state, and ends them in two ways.
fn come_and_vanish(server: &Server, count: usize) {
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let words: &[u8] = match number % 5 {
            0 => b"",
            1 => b"CONNECT {\"verb",
            2 => b"CONNECT {\"verbose\":false}\r\n",
            3 => b"CONNECT {\"verbose\":false}\r\nSUB vanish.* 1\r\nSUB vanish.> q 2\r\n",
            _ => b"CONNECT {\"verbose\":false}\r\nSUB vanish.x 1\r\nPUB vanish.x 100\r\nhalf",
        };
        client.send(words).unwrap();
    }
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.reset();
        }
    }
}

/// Waits until no more than `goal` descriptors are open, or until their number stays the same.
fn settled_open_files(server: &Server, goal: usize) -> usize {
    let deadline = Instant::now() + PATIENCE * 2;
    let mut last = server.open_files();
    let mut same = 0;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        let now = server.open_files();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same >= 5 && now <= goal {
            break;
        }
    }
    last
}

fn raise_open_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })
            .expect("this test needs some thousand descriptors: raise the hard limit (ulimit -Hn)");
    }
}

#[test]
fn a_server_out_of_descriptors_recovers() {
    let server = Launch::new(natsd()).open_files_max(64).start();
    let mut bystanders = Bystanders::of(&server);
    let crowd: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    bystanders.are_well();
    drop(crowd);
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let mut late = server.connect();
        late.set_patience(Duration::from_secs(1));
        if late.next_op().is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "no INFO although descriptors are free again");
    }
    bystanders.are_well();
}

#[test]
fn a_server_has_an_identity_of_its_own() {
    let id = || {
        let server = Launch::new(natsd()).start();
        let info = server.connect().expect_op("INFO ");
        let info: serde_json::Value = serde_json::from_slice(&info[5..]).unwrap();
        let text = |name: &str| info[name].as_str().unwrap().to_owned();
        assert!(nkey::is_public(&text("server_id"), 'N'), "CORE-010: {info}");
        assert!(nkey::is_public(&text("xkey"), 'X'), "CORE-037: {info}");
        text("server_id")
    };
    assert_ne!(id(), id());
}
