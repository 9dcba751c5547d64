//! From a published batch to its receivers: matching, grouping, and writing to sockets.
//!
//! `cargo bench -p natsd --bench delivery`
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use natsd::account::{Account, Accounts};
use natsd::proto::error::ClosedReason;
use natsd::routing::outbound::Outbound;
use natsd::routing::publish::{Message, publish};
use natsd::routing::receiver::{Delivery, InlineSubscriber, Kind, Receiver};
use natsd::routing::subscriptions::subscribe;
use natsd::runtime::Listener;

/// Messages in a batch, as one read of a busy publisher brings.
const MESSAGES: usize = 100;
const RECEIVERS: [usize; 3] = [1, 10, 100];
const PENDING_BYTES_MAX: usize = 64 << 20;

fn delivery(criterion: &mut Criterion) {
    let payload = [b'x'; 128];
    let batch = [Message::new(b"orders.new", &payload); MESSAGES];
    let mut group = criterion.benchmark_group("delivery_128B");
    for count in RECEIVERS {
        group.throughput(Throughput::Elements((MESSAGES * count) as u64));
        let account = account();
        for n in 0..count {
            let receiver = Receiver::inline(n as u32, n as u64, Kind::System, Arc::new(Ignored));
            join(&account, Arc::new(receiver));
        }
        group.bench_function(BenchmarkId::new("callback", count), |bench| {
            bench.iter(|| publish(&account, batch, |_| {}));
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for count in RECEIVERS {
        group.throughput(Throughput::Elements((MESSAGES * count) as u64));
        let account = account();
        let receivers: Vec<_> = (0..count).map(|n| runtime.block_on(socket(n))).collect();
        receivers.iter().for_each(|receiver| join(&account, receiver.clone()));
        group.bench_function(BenchmarkId::new("socket", count), |bench| {
            bench.iter(|| {
                publish(&account, batch, |_| {});
                receivers.iter().for_each(flush);
            });
        });
        receivers.iter().for_each(|receiver| receiver.out.lock().finish(ClosedReason::ClientClosed));
    }
}

struct Ignored;

impl InlineSubscriber for Ignored {
    fn deliver(&self, batch: &[Delivery<'_>]) {
        black_box(batch);
    }
}

fn account() -> Arc<Account> {
    Accounts::default().global.clone()
}

fn join(account: &Account, receiver: Arc<Receiver>) {
    subscribe(&receiver, account, b"orders.*", b"", b"1", false, None);
}

/// A receiver whose other side reads all that comes.
async fn socket(n: usize) -> Arc<Receiver> {
    let listener = Listener::bind("127.0.0.1", 0).await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while peer.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    let (read, wire) = stream.split();
    // The socket stays open for as long as the program runs.
    std::mem::forget(read);
    Arc::new(Receiver::new(n as u32, n as u64, Kind::Client, Outbound::new(wire, PENDING_BYTES_MAX)))
}

/// What a connection's task does when the socket was full.
fn flush(receiver: &Arc<Receiver>) {
    while !receiver.out.lock().flush() {
        std::thread::yield_now();
    }
}

criterion_group!(benches, delivery);
criterion_main!(benches);
