//! The targets on stable Rust: every stored input, then mutations of them for `FUZZ_SECONDS` each.
//!
//! The mutations begin with a fixed seed (`FUZZ_SEED` chooses another), so that a run repeats up to where
//! its time is over. A finding is written to the test's folder below `target`, named in the failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use natsd_fuzz::{TARGETS, Target};

const SECONDS: u64 = 2;
const SEED: u64 = 0x6E61_7473_6400_0001;
const INPUT_BYTES_MAX: usize = 4096;

#[test]
fn api_requests() {
    fuzz("api_requests");
}

#[test]
fn client_parser() {
    fuzz("client_parser");
}

#[test]
fn config_parser() {
    fuzz("config_parser");
}

#[test]
fn creds() {
    fuzz("creds");
}

#[test]
fn jwt() {
    fuzz("jwt");
}

#[test]
fn nkeys() {
    fuzz("nkeys");
}

#[test]
fn proxy_header() {
    fuzz("proxy_header");
}

#[test]
fn query_string() {
    fuzz("query_string");
}

#[test]
fn snapshot_archive() {
    fuzz("snapshot_archive");
}

#[test]
fn store_files() {
    fuzz("store_files");
}

#[test]
fn websocket_frames() {
    fuzz("websocket_frames");
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, input) in &corpus {
        run(target, input, &path.display().to_string());
    }
    let mut random = Random(setting("FUZZ_SEED", SEED) | 1);
    let end = Instant::now() + Duration::from_secs(setting("FUZZ_SECONDS", SECONDS));
    let mut runs = 0u64;
    while Instant::now() < end {
        let input = mutated(&corpus, target, &mut random);
        run(target, &input, "a mutation");
        runs += 1;
    }
    println!("{name}: {} stored inputs, {runs} mutations", corpus.len());
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in target.corpora {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn run(target: &Target, input: &[u8], origin: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.finding", target.name));
        std::fs::write(&kept, input).unwrap();
        panic!(
            "{} found something with {origin}: {}\n{:?}",
            target.name,
            kept.display(),
            input.escape_ascii().to_string()
        );
    }
}

/// A stored input with a few changes.
fn mutated(corpus: &[(PathBuf, Vec<u8>)], target: &Target, random: &mut Random) -> Vec<u8> {
    let mut input = random.of(corpus).1.clone();
    for _ in 0..1 + random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(32) + 1);
        match random.below(7) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..end, random.of(target.words).iter().copied())),
            2 => drop(input.splice(at..at, random.of(target.words).iter().copied())),
            3 => input.insert(at, random.next() as u8),
            4 if at < input.len() => input[at] ^= 1 << random.below(8),
            5 => {
                let copied = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, copied));
            }
            _ => {
                let other = &random.of(corpus).1;
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
