//! The configuration: the language, then the keys of core and plugins, as at start.

use std::io;
use std::path::Path;

use natsd::cli::Flags;
use natsd::config::{self, Available, Inputs};

/// Longer inputs find nothing new and are slow.
const TEXT_BYTES_MAX: usize = 16 << 10;

pub const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"=",
    b",",
    b"\n",
    b"#",
    b"//",
    b"\"",
    b"'",
    b"(",
    b")",
    b"\\x",
    b"\\",
    b"$",
    b"include ",
    b"include 'fuzz.conf'\n",
    b"$NAME",
    b"true",
    b"off",
    b"1k",
    b"1GB",
    b"-1",
    b"0.5",
    b"1.2.3.4",
    b"9223372036854775807",
    b"2026-05-01T12:00:00Z",
    b"\"10s\"",
    b"port: ",
    b"listen: ",
    b"authorization {",
    b"users: [",
    b"accounts {",
    b"permissions {",
    b"publish: ",
    b"tls {",
    b"cluster {",
    b"jetstream {",
    b"websocket {",
    b"max_payload: ",
    b"nkey: ",
    b"\xEF\xBB\xBF",
    b"\xff",
    b"\0",
];

/// No text panics, hangs or exhausts memory, and what is wrong with it can be shown.
pub fn config_parser(input: &[u8]) {
    let text = String::from_utf8_lossy(&input[..input.len().min(TEXT_BYTES_MAX)]);
    if let Err(problem) = config::parse(&text) {
        assert!(!format!("{problem:?}").is_empty());
    }
    let path = Path::new("/fuzz.conf");
    let read_file = |asked: &Path| match asked == path {
        true => Ok(text.clone().into_owned()),
        false => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let env = |name: &str| (name == "NAME").then(|| "[1, $NAME]".to_owned());
    let inputs = Inputs { read_file: &read_file, env: &env };
    match config::load(Some(path), &inputs, &Flags::default(), &Available::bundled()) {
        Ok(config) => drop(config.warnings_text()),
        Err(errors) => assert!(!errors.to_string().is_empty(), "an error says what is wrong"),
    }
}
