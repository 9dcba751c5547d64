//! Third-party plugins in a real server: used, reloaded, broken, refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::monitored::Monitored;
use natsd_tests::plugins::third_party;
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, PATIENCE, Server};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

/// bcrypt of `secret` and `word`, at the lowest cost.
const SECRET: &str = "$2b$04$20VLbgkY8ve7NyvPGh2Wu.AOQA80vHu2DUpLCPmiTudqvbrmPG06S";
const WORD: &str = "$2b$04$sdaGB65N9Tf1/hd2VvhituIunLVvvKovX7.IuwRSWtlkdsbKuUAJO";

/// An entry of `plugins {}` for one of the examples.
fn entry(name: &str, rest: &str) -> String {
    format!("  {name} {{ path: \"{}\", {rest} }}\n", third_party(name).display())
}

fn plugins(entries: &[String]) -> String {
    format!("plugins {{\n{}}}\n", entries.concat())
}

fn start(config: String) -> Server {
    Launch::new(natsd()).config(config).start()
}

fn join(server: &Server, options: &str) -> Client {
    Client::join(server.address(), options).unwrap()
}

#[test]
fn tap_counts_what_clients_publish_and_publishes_totals() {
    let config = r#"config { subjects: ["orders.>"], totals_subject: "tap.totals", interval_ms: 20 }"#;
    let server = start(plugins(&[entry("tap", config)]));
    let mut client = join(&server, "");
    client
        .send(
            b"SUB tap.totals 1\r\nPUB orders.new 2\r\nab\r\nPUB orders.old.1 3\r\nabc\r\nPUB other 0\r\n\r\n",
        )
        .unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let op = client.expect_op("MSG tap.totals 1 ");
        let payload = op.splitn(2, |byte| *byte == b'\n').nth(1).unwrap();
        let totals: Value = serde_json::from_slice(payload).unwrap();
        if totals["orders.>"] == serde_json::json!({ "messages": 2, "bytes": 5 }) {
            break;
        }
        assert!(Instant::now() < until, "{totals}");
    }
}

#[test]
fn auth_file_decides_who_connects_and_a_reload_reads_it_again_all_or_nothing() {
    let config = |tap: &str| {
        let tap = entry("tap", &format!("config {{ {tap} }}"));
        format!(
            "{}accounts {{ APP {{}} }}\n",
            plugins(&[tap, entry("auth-file", "config { file: \"{{dir}}/users\", account: APP }")])
        )
    };
    let launch =
        Launch::new(natsd()).config(config("interval_ms: 50")).file("users", format!("alice:{SECRET}\n"));
    let server = launch.start();
    let mut alice = join(&server, r#""user":"alice","pass":"secret""#);
    alice.sync();
    let refused = |options: &str| {
        let mut client = server.connect();
        client.expect_op("INFO");
        client.send(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).unwrap();
        client.until_closed().concat().starts_with(b"-ERR 'Authorization Violation'")
    };
    assert!(refused(r#"{"user":"alice","pass":"word"}"#));
    // A file with a wrong line refuses the whole reload: neither tap nor the old users change.
    let users = server.dir().join("users");
    std::fs::write(&users, "alice\n").unwrap();
    let outcome = server.reload(&config("interval_ms: 60"));
    assert!(outcome.starts_with("Failed to reload server configuration"), "{outcome}");
    assert!(server.log().text().contains("line 1: expected `user:hash`"), "{}", server.log().text());
    join(&server, r#""user":"alice","pass":"secret""#).sync();
    std::fs::write(&users, format!("alice:{SECRET}\nbob:{WORD}\n")).unwrap();
    let outcome = server.reload(&config("interval_ms: 0"));
    assert!(outcome.starts_with("Failed"), "{outcome}");
    assert!(refused(r#"{"user":"bob","pass":"word"}"#));
    let outcome = server.reload(&config("interval_ms: 60"));
    assert!(outcome.starts_with("Reloaded"), "{outcome}");
    join(&server, r#""user":"bob","pass":"word""#).sync();
    // Alice was there all the time.
    assert!(alice.sync().is_empty());
}

#[test]
fn what_an_authenticator_says_of_a_client_stands_in_connz() {
    // MON-047
    let auth_file = entry("auth-file", "config { file: \"{{dir}}/users\", tags: [\"htpasswd\", \"b\"] }");
    let config = plugins(&[auth_file]) + "http: \"127.0.0.1:-1\"\n";
    let launch = Launch::new(natsd()).config(config).file("users", format!("alice:{SECRET}\n"));
    let server = Monitored::of(launch.start());
    let mut alice = join(&server.server, r#""user":"alice","pass":"secret""#);
    alice.sync();
    let info = &server.json("/connz?auth=1")["connections"][0];
    assert_eq!(info["tags"], serde_json::json!(["htpasswd", "b"]), "{info}");
    assert!(server.json("/connz")["connections"][0].get("tags").is_none());
}

#[test]
fn faulty_never_takes_the_server_down() {
    let points = [
        "subscriber",
        "queued",
        "task",
        "blocking",
        "observer",
        "health",
        "introspect",
        "service",
        "reconfigure",
        "stop",
        "close",
    ];
    let config = format!("required: false, config {{ panic_in: [{}] }}", points.join(", "));
    let mut server = start(plugins(&[entry("faulty", &config)]));
    let mut client = join(&server, r#""verbose":false"#);
    for _ in 0..100 {
        client.send(b"PUB faulty.inline 1\r\nx\r\nPUB faulty.queued 1\r\nx\r\n").unwrap();
    }
    assert!(client.sync().is_empty());
    let outcome = server.reload(&plugins(&[entry("faulty", "required: false, config {}")]));
    assert!(outcome.starts_with("Failed"), "{outcome}");
    drop(join(&server, ""));
    assert!(client.sync().is_empty());
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait_for_exit(PATIENCE), Some(0), "{}", server.log().text());
}

#[test]
fn a_panicking_authenticator_denies_and_other_logins_are_refused_the_same_way() {
    let server = start(plugins(&[entry("faulty", "config { panic_in: [authenticator] }")]));
    for _ in 0..3 {
        let mut client = server.connect();
        client.expect_op("INFO");
        client.send(b"CONNECT {}\r\nPING\r\n").unwrap();
        assert!(client.until_closed().concat().starts_with(b"-ERR 'Authorization Violation'"));
    }
    let outcome = server.reload(&plugins(&[entry("faulty", "config {}")]));
    assert!(outcome.starts_with("Reloaded"), "{outcome}");
    join(&server, "").sync();
}

#[test]
fn a_transport_serves_clients_and_its_panic_closes_only_its_own() {
    // The port is free for a moment only, as everywhere where a server cannot say which it took.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |points: &str| {
        plugins(&[entry("faulty", &format!("config {{ listen: \"{address}\", panic_in: [{points}] }}"))])
    };
    let server = start(config(""));
    let mut direct = join(&server, "");
    let through = |address: SocketAddr| Client::join(address, "").unwrap();
    let mut client = through(address);
    client.send(b"SUB a 1\r\nPUB a 5\r\nhello\r\n").unwrap();
    assert_eq!(client.expect_op("MSG"), b"MSG a 1 5\r\nhello\r\n");
    for points in ["read", "write", "open"] {
        assert!(server.reload(&config(points)).starts_with("Reloaded"));
        let mut broken = Client::open(address).unwrap();
        // The server may be faster: it has closed by the time the bytes are sent.
        let _ = broken.send(b"CONNECT {}\r\nPING\r\n");
        let before = broken.until_closed().concat();
        assert!(!before.ends_with(b"PONG\r\n"), "{points}: {}", String::from_utf8_lossy(&before));
        assert!(direct.sync().is_empty(), "{points}");
    }
    assert!(server.reload(&config("")).starts_with("Reloaded"));
    through(address).sync();
}

/// Starts a server that must refuse its configuration; what it said.
fn refusal(config: &str) -> String {
    let folder = natsd_tests::server::Folder::new();
    folder.write("test.conf", config);
    let output = Command::new(natsd())
        .arg("-c")
        .arg(folder.path().join("test.conf"))
        .args(["-a", "127.0.0.1", "-p", "-1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_plugin_that_cannot_be_loaded_ends_the_start_with_one_line() {
    let said = refusal("plugins { tap { path: \"/nonexistent/libnatsd_tap.so\" } }");
    assert!(said.contains("plugin `tap` cannot be loaded: /nonexistent/libnatsd_tap.so"), "{said}");
    let said = refusal(&format!("plugins {{ other {{ path: \"{}\" }} }}", third_party("tap").display()));
    assert!(said.contains("it has no symbol natsd_plugin__other"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    let said = refusal(&plugins(&[entry("tap", "config { interval_ms: none }")]));
    assert!(said.contains("config") && said.contains("test.conf:2:"), "{said}");
    let server = start("plugins { tap { path: \"/nonexistent/libnatsd_tap.so\", required: false } }".into());
    join(&server, "").sync();
    assert!(server.log().text().contains("going on without it"), "{}", server.log().text());
}

#[test]
fn natsd_plugins_lists_without_starting_a_server_also_what_is_broken() {
    let folder = natsd_tests::server::Folder::new();
    folder.write(
        "test.conf",
        &plugins(&[entry("tap", "config {}"), "gone { path: \"/nonexistent.so\" }".into()]),
    );
    let output =
        Command::new(natsd()).arg("plugins").arg("-c").arg(folder.path().join("test.conf")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line =
        |name: &str| text.lines().position(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    let cells: Vec<&str> = text.lines().nth(line("tap ")).unwrap().split_whitespace().collect();
    assert_eq!(cells[..4], ["tap", "0.1.0", "1.7.0", "dynamic"], "{text}");
    assert_eq!(cells[5], third_party("tap").to_str().unwrap(), "{text}");
    assert!(text.lines().nth(line("gone ") + 1).unwrap().contains("/nonexistent.so: No such file"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_file_of_a_plugin_that_nothing_asks_for_is_not_opened() {
    let states = |config: &str| {
        let server = Monitored::start(natsd(), &format!("http: \"127.0.0.1:-1\"\n{config}"));
        let pluginz = server.json("/pluginz");
        let plugin =
            pluginz["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == "websocket");
        let plugin = plugin.unwrap_or_else(|| panic!("{pluginz}"));
        assert_eq!((&plugin["version"], &plugin["api_version"]), (&"0.1.0".into(), &"1.7.0".into()));
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.server.pid())).unwrap();
        (plugin["state"].as_str().unwrap().to_owned(), maps.contains("libnatsd_websocket.so"))
    };
    assert_eq!(states(""), ("found".to_owned(), false));
    assert_eq!(states("websocket { port: -1, no_tls: true }"), ("started".to_owned(), true));
}
