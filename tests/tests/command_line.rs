//! The command line as a process: output that nobody reads, secrets among the arguments.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Stdio};

use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, PATIENCE};

#[test]
fn output_that_nobody_reads_is_no_reason_to_fail() {
    for (arg, code) in [("-v", 0), ("--help", 0), ("--help_tls", 0), ("plugins", 0), ("nonsense", 1)] {
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        };
        let status = Command::new(natsd()).arg(arg).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arg}");
    }
}

#[test]
fn secrets_among_the_arguments_are_not_logged() {
    // CFG-305. What `/proc` shows of a process, nats-server does not change either.
    let server = Launch::new(natsd()).args(["--user", "u", "--pass", "s3cret", "-DV"]).start();
    let mut client = Client::join(server.address(), r#""user":"u","pass":"s3cret""#).unwrap();
    client.sync();
    assert!(server.log().wait_for("PONG", PATIENCE), "{}", server.log().text());
    assert!(!server.log().contains("s3cret"), "{}", server.log().text());
}
