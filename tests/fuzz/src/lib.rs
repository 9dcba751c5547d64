//! Hostile bytes for the parsers of outside bytes: one function a target.
//!
//! A target takes any bytes and panics when a rule of the parser is broken; how input is read does not
//! depend on how it was cut is the rule they share. Two drivers run the same functions:
//!
//! - `cargo test -p natsd-fuzz` on stable Rust: the stored corpus, then mutations of it for `FUZZ_SECONDS`;
//! - `cargo +nightly fuzz run --fuzz-dir tests/fuzz/libfuzzer TARGET`, guided by coverage.
//!
//! A finding becomes a file in `corpus/TARGET`, and so a test for ever.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_requests;
mod client_parser;
mod config_parser;
mod creds;
mod cuts;
#[path = "../../../plugins/jetstream/tests/store/disk/mod.rs"]
#[allow(dead_code)]
mod disk;
mod jwt;
mod nkeys;
mod proxy_header;
mod query_string;
#[path = "../../../plugins/jetstream/tests/store/random.rs"]
#[allow(dead_code)]
mod random;
mod snapshot_archive;
mod store_files;
mod websocket_frames;

pub use api_requests::api_requests;
pub use client_parser::client_parser;
pub use config_parser::config_parser;
pub use creds::creds;
pub use jwt::jwt;
pub use nkeys::nkeys;
pub use proxy_header::proxy_header;
pub use query_string::query_string;
pub use snapshot_archive::snapshot_archive;
pub use store_files::store_files;
pub use websocket_frames::websocket_frames;

/// A target, what its inputs are made of, and where samples lie (from the root of the repository).
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Words that mutations insert.
    pub words: &'static [&'static [u8]],
    pub corpora: &'static [&'static str],
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "api_requests",
        run: api_requests,
        words: api_requests::WORDS,
        corpora: &["tests/fuzz/corpus/api_requests"],
    },
    Target {
        name: "client_parser",
        run: client_parser,
        words: client_parser::WORDS,
        corpora: &["tests/fuzz/corpus/client_parser"],
    },
    Target {
        name: "config_parser",
        run: config_parser,
        words: config_parser::WORDS,
        corpora: &["tests/fuzz/corpus/config_parser", "tests/configs/valid", "tests/configs/broken"],
    },
    Target { name: "creds", run: creds, words: creds::WORDS, corpora: &["tests/fuzz/corpus/creds"] },
    Target { name: "jwt", run: jwt, words: jwt::WORDS, corpora: &["tests/fuzz/corpus/jwt"] },
    Target { name: "nkeys", run: nkeys, words: nkeys::WORDS, corpora: &["tests/fuzz/corpus/nkeys"] },
    Target {
        name: "proxy_header",
        run: proxy_header,
        words: proxy_header::WORDS,
        corpora: &["tests/fuzz/corpus/proxy_header"],
    },
    Target {
        name: "query_string",
        run: query_string,
        words: query_string::WORDS,
        corpora: &["tests/fuzz/corpus/query_string"],
    },
    Target {
        name: "snapshot_archive",
        run: snapshot_archive,
        words: snapshot_archive::WORDS,
        corpora: &["tests/fuzz/corpus/snapshot_archive"],
    },
    Target {
        name: "store_files",
        run: store_files,
        words: store_files::WORDS,
        corpora: &["tests/fuzz/corpus/store_files"],
    },
    Target {
        name: "websocket_frames",
        run: websocket_frames,
        words: websocket_frames::WORDS,
        corpora: &["tests/fuzz/corpus/websocket_frames"],
    },
];
