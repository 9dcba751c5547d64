//! Plays `tests/exchanges/*.txt` on natsd, and on the reference server where it is installed.
//!
//! `EXCHANGE=part-of-a-name` plays only such cases. `EXCHANGE_RECORD=1`, with the tests of
//! `reference`, writes the reference server's answers into the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use natsd_tests::exchange::run::{Played, difference, play};
use natsd_tests::exchange::script::{Case, Script};
use natsd_tests::server;

/// Cases mostly wait, so more of them run at once than there are processors.
const CASES_AT_ONCE: usize = 8;

macro_rules! topics {
    ($($topic:ident),* $(,)?) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        mod natsd {
            $(#[test] fn $topic() { super::natsd_answers_as_recorded(stringify!($topic)); })*
        }

        mod reference {
            $(#[test] fn $topic() { super::the_record_is_right(stringify!($topic)); })*
        }
    };
}

topics!(
    info,
    connect,
    parser,
    limits,
    publish,
    subscribe,
    responders,
    pings,
    auth,
    permissions,
    accounts,
    mappings,
    stream_imports,
    service_imports,
    trace_accounts,
    jwt_imports,
    jwt_claims,
    callout,
    tls,
    proxy,
    trace,
    lifecycle,
    reload,
    config,
    logs,
);

fn natsd_answers_as_recorded(topic: &str) {
    check(topic, &server::natsd());
}

fn the_record_is_right(topic: &str) {
    let Some(program) = server::reference() else {
        eprintln!("not checked: there is no nats-server on the path, and NATS_SERVER is not set");
        return;
    };
    if std::env::var_os("EXCHANGE_RECORD").is_some() {
        record(topic, &program);
    } else {
        check(topic, &program);
    }
}

#[test]
fn every_file_has_its_tests_and_every_case_a_name_of_its_own() {
    let mut names = Vec::new();
    let mut files: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let topic = file.file_stem().unwrap().to_string_lossy().into_owned();
        names.extend(script(&topic).cases.into_iter().map(|case| case.name));
        files.push(topic);
    }
    files.sort();
    let mut topics = TOPICS.to_vec();
    topics.sort_unstable();
    assert_eq!(files, topics, "name each file of tests/exchanges in topics!");
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two cases have the same name");
    println!("{count} cases");
}

fn check(topic: &str, program: &Path) {
    let script = script(topic);
    let played = play_all(&script, program);
    let mut wrong = String::new();
    let mut count = 0;
    for (case, played) in script.cases.iter().zip(&played) {
        if let Some(difference) = played.as_ref().and_then(|played| difference(case, played)) {
            wrong.push_str(&format!("\n{} ({})\n{difference}\n", case.name, case.facts.join(" ")));
            count += 1;
        }
    }
    assert!(count == 0, "{count} of {} cases of {topic}: - recorded, + seen\n{wrong}", script.cases.len());
}

fn record(topic: &str, program: &Path) {
    let script = script(topic);
    let played = play_all(&script, program);
    let failed: Vec<String> = script
        .cases
        .iter()
        .zip(&played)
        .filter_map(|(case, played)| Some(format!("{}: {}", case.name, played.as_ref()?.failure.as_ref()?)))
        .collect();
    let seen: Vec<_> = played.into_iter().map(|played| Some(played?.answers)).collect();
    std::fs::write(file(topic), script.with_answers(&seen)).unwrap();
    assert!(failed.is_empty(), "these cases could not be played:\n{}", failed.join("\n\n"));
}

/// Plays the cases that `EXCHANGE` picks; None for the others.
fn play_all(script: &Script, program: &Path) -> Vec<Option<Played>> {
    let only = std::env::var("EXCHANGE").unwrap_or_default();
    let picked =
        |case: &Case| case.name.contains(&only) || case.facts.iter().any(|fact| fact.contains(&only));
    let played: Vec<Mutex<Option<Played>>> = script.cases.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = script.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = script.cases.iter().position(|other| std::ptr::eq(other, case)).unwrap();
                    if picked(case) {
                        *played[at].lock().unwrap() = Some(play(case, program));
                    }
                }
            });
        }
    });
    played.into_iter().map(|played| played.into_inner().unwrap()).collect()
}

fn script(topic: &str) -> Script {
    let text = std::fs::read_to_string(file(topic)).unwrap();
    Script::parse(&text).unwrap_or_else(|why| panic!("{topic}.txt: {why}"))
}

fn file(topic: &str) -> PathBuf {
    folder().join(format!("{topic}.txt"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("exchanges")
}
