//! Reads every file of `tests/configs` and compares with `expectations.tsv`, which was made with `nats-server -t`.
//!
//! A valid file must give the digest that nats-server prints; a broken one must be refused with the given text
//! (for most, nats-server's own). The third column says where natsd is stricter, with the reason in the last.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::path::{Path, PathBuf};

use natsd::cli::Flags;
use natsd::config::{self, Available, Config, ConfigErrors, Inputs};

struct Expectation {
    file: String,
    /// What `natsd -t` returns; `start`: 0, but it tells that a start would fail.
    natsd_code: String,
    /// The digest of a valid file, a part of the error of a broken one.
    text: String,
}

#[test]
fn every_file_is_taken_or_refused_as_the_table_says() {
    let mut wrong = Vec::new();
    let expectations = expectations();
    assert!(expectations.len() > 200, "the table is incomplete: {}", expectations.len());
    for expected in &expectations {
        let (code, text) = check(&expected.file);
        if code != expected.natsd_code || !text.contains(&expected.text) {
            let (want_code, want) = (&expected.natsd_code, &expected.text);
            wrong.push(format!("{}\n  expected {want_code}: {want}\n  got {code}: {text}", expected.file));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), expectations.len(), wrong.join("\n"));
}

#[test]
fn every_file_is_in_the_table() {
    let listed: Vec<String> = expectations().into_iter().map(|expected| expected.file).collect();
    for folder in ["valid", "broken"] {
        for entry in std::fs::read_dir(configs().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Parts are included by others.
            if !name.starts_with("part_") {
                assert!(listed.contains(&format!("{folder}/{name}")), "{folder}/{name} is not in the table");
            }
        }
    }
}

/// What `natsd -t` would return, and print.
fn check(file: &str) -> (&'static str, String) {
    match load(file) {
        Ok(config) if !config.warnings.is_empty() => ("1", config.warnings_text()),
        Ok(config) => match config.check_start() {
            Ok(()) => ("0", config.digest),
            Err(errors) => ("start", errors.to_string()),
        },
        Err(errors) => ("1", errors.to_string()),
    }
}

/// Loads as if natsd had been started in the folder of the file.
fn load(file: &str) -> Result<Config, ConfigErrors> {
    let path = configs().join(file);
    let folder = path.parent().unwrap();
    let read_file = |path: &Path| -> io::Result<String> { std::fs::read_to_string(folder.join(path)) };
    let inputs = Inputs { read_file: &read_file, env: &env };
    let name = Path::new(path.file_name().unwrap());
    config::load(Some(name), &inputs, &Flags::default(), &Available::bundled())
}

fn env(name: &str) -> Option<String> {
    let text = match name {
        "NATSD_TEST_PORT" => "4333",
        "NATSD_TEST_NAME" => "\"from env\"",
        "NATSD_TEST_SIZE" => "2MB",
        "NATSD_TEST_REF" => "$NATSD_TEST_PORT",
        "NATSD_TEST_CYCLE" => "$NATSD_TEST_CYCLE",
        "NATSD_TEST_BAD" => "1-2",
        _ => return None,
    };
    Some(text.to_owned())
}

fn expectations() -> Vec<Expectation> {
    let table = std::fs::read_to_string(configs().join("expectations.tsv")).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Expectation {
            file: columns[0].to_owned(),
            natsd_code: columns[2].to_owned(),
            text: columns[3].to_owned(),
        }
    };
    table.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/configs")
}

#[test]
fn the_configs_to_start_from_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The certificates are the operator's.
        let read_file = |path: &Path| -> io::Result<String> {
            if path.extension().is_some_and(|kind| kind == "pem") {
                return Ok(String::new());
            }
            std::fs::read_to_string(path)
        };
        let inputs = Inputs { read_file: &read_file, env: &|_| Some("secret".to_owned()) };
        let config = config::load(Some(&path), &inputs, &Flags::default(), &Available::bundled());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.warnings.is_empty(), "{}", config.warnings_text());
        seen += 1;
    }
    assert!(seen >= 3, "{seen} files in {}", folder.display());
}
