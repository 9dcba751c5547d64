//! The command line as a process: output that nobody reads, secrets among the arguments, where a server is found, and
//! why it does not start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use natsd_tests::server::{Folder, natsd, reference};
use natsd_tests::{Client, Launch, PATIENCE};
use rustix::process::Signal;

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

#[test]
fn the_ports_file_has_the_name_that_the_server_was_started_by() {
    // CFG-331. Test suites of clients start what the path calls `nats-server`, and read `nats-server_<pid>.ports`.
    let folder = Folder::new();
    let link = folder.path().join("nats-server");
    std::os::unix::fs::symlink(natsd(), &link).unwrap();
    let server = Launch::new(&link).config("ports_file_dir: \"{{dir}}\"\n").start();
    let file = server.dir().join(format!("nats-server_{}.ports", server.pid()));
    let deadline = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < deadline, "no {}", file.display());
        std::thread::yield_now();
    }
}

/// CFG-320: also where nobody debugs.
#[test]
fn the_log_says_which_signal_came() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let mut server = Launch::new(&program).start();
        server.signal(Signal::TERM);
        server.wait_for_exit(PATIENCE).unwrap();
        let log = server.log().text();
        assert!(log.contains("[INF] Trapped \"terminated\" signal"), "{}: {log}", program.display());
    }
}

/// CFG-025, CFG-307
#[test]
fn what_is_wrong_with_a_file_is_said_first_in_the_same_words() {
    let cases = [
        ("\ntls {\n  hello: 1\n}\n", "test.conf:3:3: error parsing tls config, unknown field \"hello\""),
        ("\naccounts = [foo, \"$G\"]\n", "test.conf:2:19: \"$G\" is a Reserved Account"),
        ("\n \"other\": 2\n", "test.conf:2:3: unknown field \"other\""),
        (
            "\naccounts { A { imports = [{service: {account: A, subject: a}] }\n}\n",
            "Parse error on line 2: 'Expected a map value terminator \",\" or a map terminator \"}\", but got ']' instead.'",
        ),
        (
            "\nauthorization {\n  users = false\n}\n",
            "test.conf:3:3: Expected users field to be an array, got false",
        ),
        (
            "\naccounts {\n  A { imports: [{stream: {account: B, subject: a}}] }\n}\n",
            "test.conf:2:1: \"B\" account not defined for stream import",
        ),
        (
            "\nauthorization { users: [\n  {user: a, password: b, allowed_connection_types: [\n 123 ]}\n] }\n",
            "test.conf:4:2: error parsing allowed connection types: unsupported type in array int64",
        ),
        (
            "\ntls { certs: [ {cert_file: none, key_file: none} ] }\n",
            "test.conf:2:1: error parsing X509 certificate/key pair 1/1: open none: no such file or directory",
        ),
    ];
    for (text, expected) in cases {
        for program in [Some(natsd()), reference()].into_iter().flatten() {
            let folder = Folder::new();
            folder.write("test.conf", text);
            let output = Command::new(&program)
                .args(["-t", "-c", "test.conf"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let first = told.lines().find_map(|line| line.split_once(": ")).map(|(_, text)| text.to_owned());
            assert_eq!(first.as_deref(), Some(expected), "{}: {told}", program.display());
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

#[test]
fn who_listens_at_every_ipv4_address_is_found_by_ipv6_too() {
    // The default, and 0.0.0.0 in a configuration. Clients that try all addresses of a name take any of them.
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let config = "host: 0.0.0.0\nport: -1\nhttp: \"0.0.0.0:-1\"\n";
        let server = Launch::new(&program).config(config).own_address().start();
        let http = server.log().wait(0, PATIENCE, |line| {
            line.split_once("Starting http monitor on 0.0.0.0:")?.1.trim().parse::<u16>().ok()
        });
        TcpStream::connect((Ipv6Addr::LOCALHOST, http.unwrap())).unwrap();
        assert_eq!(server.address().ip(), Ipv4Addr::UNSPECIFIED);
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let mut client = Client::open((ip, server.address().port()).into()).unwrap();
            let info = String::from_utf8(client.expect_op("INFO")).unwrap();
            assert!(info.contains(&format!("\"client_ip\":\"{ip}\"")), "{}: {info}", program.display());
            assert!(info.contains("\"host\":\"0.0.0.0\""), "{info}");
        }
    }
}

#[test]
fn a_store_folder_that_is_a_file_is_refused_in_words_that_tools_look_for() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let launch = Launch::new(&program).file("taken", "").args(["-js", "-sd", "taken"]);
        let why = launch.try_start().err().unwrap();
        for words in ["[FTL]", "Can't start JetStream: ", "storage directory is not a directory"] {
            assert!(why.contains(words), "{}: {why}", program.display());
        }
    }
}
