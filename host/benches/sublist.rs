//! The subject trie with a thousand, a hundred thousand and a million subscriptions.
//!
//! `cargo bench -p natsd --bench sublist`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use natsd::interest::Sid;
use natsd::interest::trie::Trie;

const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
/// Steps through all subscriptions without a pattern that a cache could follow.
const STRIDE: u32 = 7_919;
const MEMBER: u32 = 0;

fn sublist(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sublist");
    for size in SIZES {
        let mut trie = filled(size);
        let subjects: Vec<Vec<u8>> = (0..size).map(subject).collect();
        let mut at = 0;
        let mut next = move || {
            at = (at + STRIDE) % size;
            at as usize
        };
        group.bench_function(BenchmarkId::new("hit", size), |bench| {
            bench.iter(|| assert!(matches(&trie, &subjects[next()]) > 0));
        });
        let missing: Vec<Vec<u8>> = (0..size).map(|n| [&subject(n)[..], b".x"].concat()).collect();
        group.bench_function(BenchmarkId::new("miss", size), |bench| {
            bench.iter(|| assert_eq!(matches(&trie, &missing[next()]), 0));
        });
        // One goes, one comes.
        let mut numbers: Vec<u32> = trie.numbers().collect();
        group.bench_function(BenchmarkId::new("churn", size), |bench| {
            bench.iter(|| {
                let at = next();
                let subject = trie.subject(numbers[at]);
                trie.remove(numbers[at]);
                numbers[at] = trie.insert(black_box(&subject), b"", MEMBER, Sid::long(at as u32), 0);
            });
        });
    }
}

/// Nine of ten subscriptions are literal, one has a wildcard.
fn filled(size: u32) -> Trie {
    let mut trie = Trie::default();
    for n in 0..size {
        let subject = if n % 10 == 0 { format!("region.{}.*.{n}", n % 100).into_bytes() } else { subject(n) };
        trie.insert(&subject, b"", MEMBER, Sid::long(n), 0);
    }
    trie
}

fn subject(n: u32) -> Vec<u8> {
    format!("region.{}.device.{n}", n % 100).into_bytes()
}

fn matches(trie: &Trie, subject: &[u8]) -> usize {
    let mut count = 0;
    trie.matches(black_box(subject), |_, _| count += 1);
    count
}

criterion_group!(benches, sublist);
criterion_main!(benches);
