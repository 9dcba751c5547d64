//! Every monitoring endpoint answers with the fields of the reference, all the way down.
//!
//! Where the reference is at hand both servers are asked; elsewhere its recorded fields stand in for it
//! (`tests/monitoring/*.json`, written anew with `RECORD=1`). Not here: what the values mean (`monitoring.rs`).
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use natsd_tests::Client;
use natsd_tests::jetstream::JetStream;
use natsd_tests::monitored::Monitored;
use natsd_tests::server::{natsd, reference};
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
    "/expvarz",
    "/nothing",
];

/// Fields with all below them that only one of the two has, and why that is right.
const ONLY_REFERENCE: &[&str] = &[
    // Nobody reads it.
    "git_commit",
    // Accounts ask the system account without an import of their own.
    "account_detail.imports",
    "account_detail.exports",
    // natsd has no such limit by default, and no other limit is set here.
    "limits",
    "jetstream.limits",
];
const ONLY_NATSD: &[&str] = &[
    "natsd",
    // natsd syncs before it acknowledges unless told otherwise.
    "config.sync_always",
    "jetstream.config.sync_always",
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
    let differences: Vec<String> =
        paths.iter().filter_map(|path| difference(path, &expected[*path], &seen[*path])).collect();
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
    let answers = paths.iter().map(|path| ((*path).to_owned(), shape(&server, path))).collect();
    drop((open, nobody, kept));
    answers
}

/// Status, type and fields of an answer; of one that is no JSON object, its text.
fn shape(server: &Monitored, path: &str) -> Value {
    let answer = server.get(path);
    let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    let body = match serde_json::from_str(&answer.body) {
        Ok(value @ Value::Object(_)) => {
            let mut fields = BTreeSet::new();
            collect("", &value, &mut fields);
            // Errors say the same in both, and so does a short answer.
            let text = if answer.body.contains('\n') { Value::Null } else { answer.body.as_str().into() };
            json!({ "fields": fields, "text": text })
        }
        _ => json!({ "text": answer.body }),
    };
    json!({ "status": answer.status, "type": kind, "body": body })
}

/// All fields below a value as paths, with what they hold.
fn collect(path: &str, value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            fields.insert(format!("{path} {{}}"));
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, fields);
            }
        }
        Value::Array(items) => {
            fields.insert(format!("{path} []"));
            items.iter().for_each(|item| collect(&format!("{path}[]"), item, fields));
        }
        Value::Null => drop(fields.insert(format!("{path} null"))),
        Value::Bool(_) => drop(fields.insert(format!("{path} bool"))),
        Value::Number(_) => drop(fields.insert(format!("{path} number"))),
        Value::String(_) => drop(fields.insert(format!("{path} string"))),
    }
}

fn difference(path: &str, expected: &Value, seen: &Value) -> Option<String> {
    let set = |answer: &Value, without: &[&str]| -> BTreeSet<String> {
        let fields = answer["body"]["fields"].as_array().into_iter().flatten();
        let names = fields.map(|field| field.as_str().unwrap().to_owned());
        let is_left_out = |field: &str| {
            without
                .iter()
                .any(|name| field.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '['])))
        };
        names.filter(|field| !is_left_out(field)).collect()
    };
    let (wanted, present) = (set(expected, ONLY_REFERENCE), set(seen, ONLY_NATSD));
    let missing: Vec<_> = wanted.difference(&present).collect();
    let extra: Vec<_> = present.difference(&wanted).collect();
    let same = ["status", "type"].iter().all(|part| expected[part] == seen[part])
        && expected["body"]["text"] == seen["body"]["text"];
    let same = same && missing.is_empty() && extra.is_empty();
    (!same).then(|| {
        let head =
            |answer: &Value| format!("{} {} {}", answer["status"], answer["type"], answer["body"]["text"]);
        format!(
            "{path}\n  wanted {}\n  seen   {}\n  missing {missing:?}\n  extra {extra:?}",
            head(expected),
            head(seen)
        )
    })
}
