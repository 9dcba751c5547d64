//! Every monitoring endpoint answers with the fields of the reference, all the way down.
//!
//! Where the reference is at hand both servers are asked; elsewhere its recorded fields stand in for it
//! (`tests/monitoring/*.json`, written anew with `RECORD=1`). Not here: what the values mean (`monitoring.rs`).
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use natsd_tests::Client;
use natsd_tests::jetstream::JetStream;
use natsd_tests::monitored::Monitored;
use natsd_tests::server::{natsd, reference};
use natsd_tests::shape::{self, Known};
use serde_json::{Value, json};

const ACCOUNTS: &str = r#"
    http: "127.0.0.1:-1"
    server_name: "one"
    accounts {
        A { jetstream: JETSTREAM, users: [ { user: "a", password: "a" } ] }
        B { jetstream: JETSTREAM, users: [ { user: "b", password: "b" } ] }
        SYS { users: [ { user: "s", password: "s" } ] }
    }
    system_account: SYS
    no_auth_user: a
"#;

/// What any server is asked.
const GENERAL: &[&str] = &[
    "/varz",
    "/connz",
    "/connz?subs=1&auth=1",
    "/connz?subs=detail&auth=1",
    "/connz?state=closed&subs=1&auth=1",
    "/connz?state=closed&subs=detail&auth=1",
    "/connz?state=closed&sort=reason",
    "/connz?state=all&limit=1&offset=1",
    "/connz?acc=A&sort=rtt",
    "/connz?acc=nobody",
    "/connz?user=a&auth=1",
    "/connz?cid=999",
    "/connz?sort=stop",
    "/subsz",
    "/subsz?subs=1",
    "/subsz?subs=1&acc=A&test=orders.1",
    "/subsz?subs=1&test=a.*",
    "/routez",
    "/routez?subs=x",
    "/routez?subs=detail",
    "/gatewayz",
    "/gatewayz?accs=1&subs=1",
    "/gatewayz?accs=x",
    "/leafz",
    "/leafz?subs=1&acc=A",
    "/leafz?subs=x",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=SYS",
    "/accountz?acc=nobody",
    "/accstatz",
    "/accstatz?unused=1",
    "/accstatz?unused=x",
    "/jsz",
    "/jsz?accounts=1",
    "/jsz?streams=1",
    "/jsz?consumers=1&config=1",
    "/jsz?acc=A&streams=1",
    "/jsz?acc=nobody",
    "/jsz?raft=1&consumers=1",
    "/jsz?accounts=1&offset=1&limit=1",
    "/jsz?accounts=1&offset=9",
    "/jsz?limit=x",
    "/jsz?accounts=x",
    "/jsz?leader-only=1",
    "/jsz?stream-leader-only=1&streams=1",
    "/jsz?direct-consumers=1",
    "/healthz",
    "/healthz?details=1",
    "/healthz?js-enabled=1",
    "/healthz?js-enabled-only=1",
    "/healthz?js-server-only=1",
    "/healthz?js-meta-only=1",
    "/healthz?account=A",
    "/healthz?account=A&stream=ORDERS",
    "/healthz?account=A&stream=ORDERS&consumer=pull",
    "/healthz?account=nobody",
    "/healthz?account=A&stream=none",
    "/healthz?account=A&stream=ORDERS&consumer=none",
    "/healthz?account=A&stream=none&details=1",
    "/healthz?account=A&stream=ORDERS&consumer=none&details=1",
    "/healthz?stream=ORDERS",
    "/healthz?consumer=pull&account=A",
    "/healthz?consumer=pull&account=A&details=1",
    "/raftz",
    "/raftz?acc=A",
    "/debug/vars",
    "/expvarz",
    "/nothing",
];

const ONLY_REFERENCE: &[Known] =
    &[("git_commit", "nobody reads it"), ("memstats", "Go's runtime tells more of itself")];
const ONLY_NATSD: &[Known] = &[
    ("natsd", "its own"),
    ("config.sync_always", "natsd syncs before it acknowledges unless told otherwise"),
    ("jetstream.config.sync_always", "the same"),
    ("memstats", "only what there is without Go"),
];

#[test]
fn a_server_with_jetstream_has_the_fields_of_the_reference() {
    let config = format!(
        "jetstream {{ store_dir: \"{{{{dir}}}}/js\" }}\n{}",
        ACCOUNTS.replace("JETSTREAM", "enabled")
    );
    compare("jetstream", &config, GENERAL, |server| {
        let mut client = JetStream::join(server.server.address(), "w").unwrap();
        let stream = json!({
            "name": "ORDERS", "subjects": ["orders.>"], "max_msgs": 100, "metadata": { "of": "tests" },
        });
        ok(client.api("STREAM.CREATE.ORDERS", &stream).unwrap());
        ok(client.api("STREAM.CREATE.MEM", &json!({ "name": "MEM", "storage": "memory" })).unwrap());
        let pull = json!({ "stream_name": "ORDERS", "config": {
            "durable_name": "pull", "name": "pull", "ack_policy": "explicit", "filter_subject": "orders.1" } });
        ok(client.api("CONSUMER.CREATE.ORDERS.pull.orders.1", &pull).unwrap());
        let push = json!({ "stream_name": "ORDERS", "config": {
            "durable_name": "push", "name": "push", "deliver_subject": "to", "ack_policy": "none" } });
        ok(client.api("CONSUMER.CREATE.ORDERS.push", &push).unwrap());
        for n in 1..4 {
            client.store(&format!("orders.{n}"), b"hello").unwrap();
        }
        client.fetch("ORDERS", "pull", 1).unwrap();
        client
    });
}

#[test]
fn a_server_without_jetstream_has_the_fields_of_the_reference() {
    compare("plain", &ACCOUNTS.replace("jetstream: JETSTREAM, ", ""), GENERAL, |_| ());
}

fn ok(answer: Value) {
    assert!(answer["error"].is_null(), "{answer}");
}

/// Each path with what was answered.
type Answers = BTreeMap<String, Value>;

fn compare<T>(name: &str, config: &str, paths: &[&str], prepare: impl Fn(&Monitored) -> T) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(format!("{name}.json"));
    let expected = match reference() {
        Some(program) => {
            let answers = ask(program, config, paths, &prepare);
            if std::env::var_os("RECORD").is_some() {
                std::fs::write(&file, serde_json::to_string_pretty(&answers).unwrap() + "\n").unwrap();
            }
            answers
        }
        None => serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap(),
    };
    let seen = ask(natsd(), config, paths, &prepare);
    let differences: Vec<String> = paths
        .iter()
        .filter_map(|path| {
            shape::difference(path, &expected[*path], &seen[*path], ONLY_REFERENCE, ONLY_NATSD)
        })
        .collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn ask<T>(program: PathBuf, config: &str, paths: &[&str], prepare: &impl Fn(&Monitored) -> T) -> Answers {
    let server = Monitored::start(program, config);
    // One stays, one goes.
    let mut open = server.client("open");
    open.send(b"SUB orders.* 1\r\nSUB work q 2\r\nUNSUB 2 9\r\n").unwrap();
    let mut closed = server.client("closed");
    closed.send(b"SUB gone 1\r\nPUB orders.1 2\r\nhi\r\n").unwrap();
    closed.sync();
    drop(closed);
    let mut nobody = Client::join(server.server.address(), r#""name":"nobody""#).unwrap();
    nobody.sync();
    open.sync();
    let kept = prepare(&server);
    server.wait("/connz?state=closed", |connz| connz["num_connections"] == 1);
    let answers = paths.iter().map(|path| ((*path).to_owned(), shape::of_http(&server.get(path)))).collect();
    drop((open, nobody, kept));
    answers
}
