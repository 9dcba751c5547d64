//! Plays `tests/jetstream/requests/*.txt` on natsd, and on the reference server where it is installed.
//!
//! `REQUESTS=part-of-a-name` plays only such cases. `REQUESTS_RECORD=1`, with the tests of `reference`, writes the
//! reference server's answers into the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use natsd_tests::requests::Script;
use natsd_tests::server;

/// What the files together must have.
const REQUESTS_MIN: usize = 250;

macro_rules! topics {
    ($($topic:ident),* $(,)?) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        mod natsd {
            $(#[test] fn $topic() { super::check(stringify!($topic), &super::server::natsd()); })*
        }

        mod reference {
            $(#[test] fn $topic() { super::reference(stringify!($topic)); })*
        }
    };
}

topics!(
    bodies, streams, updates, origins, consumers, messages, lists, account, advisories, deliveries, storing,
    system, found
);

fn reference(topic: &str) {
    let Some(program) = server::reference() else {
        eprintln!("not checked: there is no nats-server on the path, and NATS_SERVER is not set");
        return;
    };
    if std::env::var_os("REQUESTS_RECORD").is_none() {
        return check(topic, &program);
    }
    let script = script(topic);
    let seen: Vec<_> = script.cases.iter().flat_map(|case| case.play(&program, true)).collect();
    std::fs::write(file(topic), script.with_answers(&seen)).unwrap();
}

fn check(topic: &str, program: &Path) {
    let only = std::env::var("REQUESTS").unwrap_or_default();
    let script = script(topic);
    let (mut wrong, mut count, mut played) = (String::new(), 0, 0);
    for case in script.cases.iter().filter(|case| case.name.contains(&only)) {
        let seen = case.play(program, false);
        played += seen.len();
        let differences = case.steps.iter().zip(&seen).filter_map(|(step, seen)| step.difference(seen));
        let differences: Vec<String> = differences.collect();
        if !differences.is_empty() {
            count += differences.len();
            wrong += &format!("{} ({})\n{}", case.name, case.facts.join(" "), differences.concat());
        }
    }
    assert!(count == 0, "{count} of {played} requests of {topic}: - recorded, + seen\n{wrong}");
}

#[test]
fn every_file_has_its_tests_and_there_are_enough_requests() {
    let mut files = Vec::new();
    let mut requests = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let topic = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        requests += script(&topic).requests();
        files.push(topic);
    }
    files.sort();
    let mut topics = TOPICS.to_vec();
    topics.sort_unstable();
    assert_eq!(files, topics, "name each file of tests/jetstream/requests in topics!");
    assert!(requests >= REQUESTS_MIN, "{requests} requests");
    println!("{requests} requests");
}

fn script(topic: &str) -> Script {
    let text = std::fs::read_to_string(file(topic)).unwrap();
    Script::parse(&text).unwrap_or_else(|why| panic!("{topic}.txt: {why}"))
}

fn file(topic: &str) -> PathBuf {
    folder().join(format!("{topic}.txt"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jetstream/requests")
}
