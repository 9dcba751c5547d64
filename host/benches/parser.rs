//! The client parser: what an operation costs before anything is done about it.
//!
//! `cargo bench -p natsd --bench parser`
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use natsd::proto::parse::{self, Line, Verb};

/// Operations in the buffer, as one read of a busy connection brings.
const OPERATIONS: usize = 1_000;
const CONTROL_LINE_BYTES_MAX: usize = 4096;

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    let payload = "x".repeat(128);
    for (name, operation) in [
        ("PING", "PING\r\n".to_owned()),
        ("SUB", "SUB orders.*.created workers 1234\r\n".to_owned()),
        ("PUB_16B", format!("PUB orders.new 16\r\n{}\r\n", &payload[..16])),
        ("PUB_128B_reply", format!("PUB orders.new _INBOX.abcdefgh.1 128\r\n{payload}\r\n")),
        ("HPUB_128B", format!("HPUB orders.new 18 146\r\nNATS/1.0\r\nA: b\r\n\r\n{payload}\r\n")),
    ] {
        let buffer = operation.repeat(OPERATIONS).into_bytes();
        group.bench_function(name, |bench| bench.iter(|| assert_eq!(parse_all(&buffer), OPERATIONS)));
    }
}

/// Goes through whole operations as a connection does.
fn parse_all(buffer: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < buffer.len() {
        let rest = black_box(&buffer[at..]);
        let Line::Whole { verb, args, len } = parse::line(rest, CONTROL_LINE_BYTES_MAX) else {
            panic!("the buffer holds whole operations");
        };
        at += len;
        match verb {
            Verb::Pub | Verb::Hpub => {
                let line = parse::publish(rest, args, verb == Verb::Hpub).expect("valid arguments");
                at += line.size_bytes as usize + 2;
            }
            Verb::Sub => drop(black_box(parse::words::<3>(&rest[args.0..args.1], 2))),
            _ => {}
        }
        count += 1;
    }
    count
}

criterion_group!(benches, parser);
criterion_main!(benches);
