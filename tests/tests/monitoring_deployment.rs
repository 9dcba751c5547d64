//! One deployment of 50 connections in three accounts with imports, exports, mappings, streams and consumers: every
//! endpoint and every request in the system account answers with the fields of the reference, all the way down.
//!
//! Where the reference is at hand both servers are asked; elsewhere its recorded fields stand in for it
//! (`tests/monitoring/deployment.json`, written anew with `RECORD=1`).
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use natsd_tests::jetstream::JetStream;
use natsd_tests::monitored::{Monitored, REQUESTS};
use natsd_tests::server::{natsd, reference};
use natsd_tests::shape::{self, Known};
use natsd_tests::{Client, system};
use serde_json::{Value, json};

const CONFIG: &str = r#"
    http: "127.0.0.1:-1"
    server_name: "one"
    server_tags: ["az:1"]
    jetstream { store_dir: "{{dir}}/js", domain: hub, max_mem: 1G, max_file: 1G }
    accounts {
      A {
        jetstream: enabled
        users: [ { user: a, password: a } ]
        mappings: {
          "old.*": "new.$1"
          "split": [ { destination: one, weight: 30% }, { destination: two, weight: 50% } ]
          "near": [ { destination: here, weight: 100%, cluster: c1 } ]
        }
        exports: [
          { stream: "prices.>", accounts: [B] }
          { stream: "open.*.x" }
          { service: "help", response_type: stream, threshold: "3s" }
          { service: "parts", response_type: chunked }
          { service: "timed", latency: { sampling: 50%, subject: lat.timed } }
          { service: "asked", latency: { sampling: headers, subject: lat.asked } }
          { service: "tok.*", account_token_position: 2 }
          { service: "traced", allow_trace: true }
        ]
      }
      B {
        jetstream: { max_mem: 10M, max_file: 20M, max_streams: 3, max_consumers: 4 }
        users: [ { user: b, password: b, permissions: { publish: ["b.>", "$SYS.>", "_INBOX.>", "$JS.>", "near"] } } ]
        imports: [
          { stream: { account: A, subject: "prices.>" }, prefix: from.a }
          { stream: { account: A, subject: "open.*.x" }, to: "opened.$1", allow_trace: true }
          { service: { account: A, subject: "help" }, to: "a.help", share: true }
          { service: { account: A, subject: "timed" } }
          { service: { account: A, subject: "asked" } }
          { service: { account: A, subject: "tok.B" } }
          { service: { account: SYS, subject: "$SYS.DEBUG.SUBSCRIBERS" }, to: "subscribers" }
        ]
      }
      SYS { users: [ { user: s, password: s } ], exports: [ { service: "$SYS.DEBUG.SUBSCRIBERS" } ] }
    }
    system_account: SYS
    no_auth_user: a
"#;

/// Over HTTP. Not `/stacksz`, which is text: Go tells the stacks of its goroutines, natsd what its threads are doing.
const PATHS: &[&str] = &[
    "/",
    "/varz",
    "/connz",
    "/connz?subs=1&auth=1",
    "/connz?subs=detail&auth=true&limit=60",
    "/connz?sort=start&limit=5",
    "/connz?sort=subs&limit=5",
    "/connz?sort=pending&limit=5",
    "/connz?sort=msgs_to&limit=5",
    "/connz?sort=msgs_from&limit=5",
    "/connz?sort=bytes_to&limit=5",
    "/connz?sort=bytes_from&limit=5",
    "/connz?sort=last&limit=5",
    "/connz?sort=idle&limit=5",
    "/connz?sort=uptime&limit=5",
    "/connz?sort=rtt&limit=5",
    "/connz?sort=stop&state=closed&subs=1",
    "/connz?sort=reason&state=closed&auth=1",
    "/connz?state=any&limit=3&offset=48&auth=1",
    "/connz?acc=B&user=b&auth=1",
    "/connz?user=nobody",
    "/connz?mqtt_client=none",
    "/connz?cid=5&auth=1&subs=detail",
    "/routez?subs=1",
    "/gatewayz?gw_name=x&accs=1",
    "/leafz?subs=1",
    "/subsz?subs=1&limit=500",
    "/subsz?subs=1&acc=B&offset=1&limit=2",
    "/subsz?subs=1&acc=A&test=prices.eur",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=B",
    "/accountz?acc=SYS",
    "/accountz?acc=$G",
    "/accstatz",
    "/accstatz?unused=1",
    "/jsz",
    "/jsz?accounts=1&streams=1&consumers=1&config=1",
    "/jsz?acc=B&consumers=1&config=1&raft=1",
    "/jsz?acc=A&direct-consumers=1",
    "/jsz?streams=1&limit=1",
    "/jsz?accounts=1&limit=-1",
    "/jsz?leader-only=1",
    "/jsz?stream-leader-only=1&streams=1",
    "/healthz",
    "/healthz?account=A&stream=ORDERS&consumer=pull&details=1",
    "/healthz?account=A&stream=none&consumer=none&details=1",
    "/raftz",
    "/ipqueuesz",
    "/debug/vars",
    "/subscriptionsz?subs=1",
    // There only as a request.
    "/expvarz",
    "/varz/",
    "/nothing",
];

/// Of one server, by its id: what and with which body.
const OF_SERVER: &[(&str, &str)] = &[
    ("IDZ", ""),
    ("STATSZ", ""),
    ("VARZ", ""),
    ("CONNZ", ""),
    ("CONNZ", r#"{"auth":true,"subscriptions":true,"limit":60}"#),
    ("CONNZ", r#"{"auth":true,"subscriptions_detail":true,"subscriptions":true}"#),
    ("CONNZ", r#"{"state":1,"sort":"reason","auth":true,"subscriptions":true}"#),
    ("CONNZ", r#"{"state":2,"offset":3,"limit":4}"#),
    ("CONNZ", r#"{"sort":"stop"}"#),
    ("CONNZ", r#"{"state":7}"#),
    ("CONNZ", r#"{"acc":"A","filter_subject":"prices.eur"}"#),
    ("CONNZ", r#"{"acc":"A","filter_subject":"prices.>","subscriptions":true}"#),
    ("CONNZ", r#"{"filter_subject":"prices.eur"}"#),
    ("CONNZ", r#"{"user":"b","acc":"B"}"#),
    ("CONNZ", r#"{"mqtt_client":"none"}"#),
    ("ROUTEZ", r#"{"subscriptions":true}"#),
    ("GATEWAYZ", r#"{"name":"x","accounts":true,"subscriptions_detail":true}"#),
    ("LEAFZ", r#"{"subscriptions":true,"account":"A"}"#),
    ("SUBSZ", ""),
    ("SUBSZ", r#"{"subscriptions":true,"account":"B","offset":1,"limit":2}"#),
    ("SUBSZ", r#"{"subscriptions":true,"account":"A","test":"prices.eur"}"#),
    ("SUBSZ", r#"{"subscriptions":true,"test":"a.*"}"#),
    ("ACCOUNTZ", ""),
    ("ACCOUNTZ", r#"{"account":"A"}"#),
    ("ACCOUNTZ", r#"{"account":"B"}"#),
    ("ACCOUNTZ", r#"{"account":"SYS"}"#),
    ("ACCOUNTZ", r#"{"account":"nobody"}"#),
    ("JSZ", ""),
    ("JSZ", r#"{"accounts":true}"#),
    ("JSZ", r#"{"streams":true,"consumer":true,"config":true}"#),
    ("JSZ", r#"{"account":"B","consumer":true,"raft":true}"#),
    ("JSZ", r#"{"account":"nobody","streams":true}"#),
    ("JSZ", r#"{"accounts":true,"offset":1,"limit":1}"#),
    ("JSZ", r#"{"leader_only":true}"#),
    ("JSZ", r#"{"stream_leader_only":true,"streams":true}"#),
    ("JSZ", r#"{"direct_consumer":true,"account":"A"}"#),
    ("HEALTHZ", ""),
    ("HEALTHZ", r#"{"account":"A","stream":"ORDERS","consumer":"pull"}"#),
    ("HEALTHZ", r#"{"account":"A","stream":"none"}"#),
    ("HEALTHZ", r#"{"account":"A","stream":"ORDERS","consumer":"none","details":true}"#),
    ("HEALTHZ", r#"{"js-enabled-only":true}"#),
    ("HEALTHZ", r#"{"js-meta-only":true}"#),
    ("HEALTHZ", r#"{"js-server-only":true}"#),
    ("PROFILEZ", ""),
    ("PROFILEZ", r#"{"name":"zz"}"#),
    ("PROFILEZ", r#"{"name":"cpu","duration":20000000000}"#),
    ("EXPVARZ", ""),
    ("IPQUEUESZ", ""),
    ("IPQUEUESZ", r#"{"filter":"none of them"}"#),
    ("RAFTZ", r#"{"account":"A"}"#),
    ("VARZ", r#"{"domain":"hub"}"#),
    ("VARZ", r#"{"domain":"hu"}"#),
    ("IDZ", r#"{"domain":"other"}"#),
    ("EXPVARZ", r#"{"server_name":"other"}"#),
];

/// What changes something, and what there is not.
const OTHER_REQUESTS: [&str; 4] = ["RELOAD", "KICK", "LDM", "NOTHING"];

/// In the system account, behind `$SYS.`.
const SUBJECTS: &[(&str, &str)] = &[
    ("REQ.SERVER.PING", ""),
    ("REQ.SERVER.PING.STATSZ", r#"{"server_name":"on"}"#),
    ("REQ.SERVER.PING.JSZ", ""),
    ("REQ.SERVER.PING.EXPVARZ", ""),
    ("REQ.SERVER.PING.CONNZ", r#"{"limit":1}"#),
    ("REQ.ACCOUNT.A.CONNZ", r#"{"auth":true,"subscriptions":true}"#),
    ("REQ.ACCOUNT.A.SUBSZ", ""),
    ("REQ.ACCOUNT.A.LEAFZ", ""),
    ("REQ.ACCOUNT.A.JSZ", ""),
    ("REQ.ACCOUNT.B.JSZ", r#"{"streams":true,"config":true}"#),
    ("REQ.ACCOUNT.SYS.JSZ", ""),
    ("REQ.ACCOUNT.nobody.JSZ", ""),
    ("REQ.ACCOUNT.A.INFO", ""),
    ("REQ.ACCOUNT.B.INFO", ""),
    ("REQ.ACCOUNT.SYS.INFO", ""),
    ("REQ.ACCOUNT.nobody.INFO", ""),
    ("REQ.ACCOUNT.A.STATZ", ""),
    ("REQ.ACCOUNT.PING.STATZ", r#"{"accounts":["A","B","$G"],"include_unused":true}"#),
    ("REQ.ACCOUNT.A.CONNS", ""),
    ("REQ.ACCOUNT.nobody.CONNS", ""),
    ("REQ.USER.INFO", ""),
    ("DEBUG.SUBSCRIBERS", ""),
    ("DEBUG.SUBSCRIBERS", "events"),
    ("DEBUG.SUBSCRIBERS", "events workers"),
    ("DEBUG.SUBSCRIBERS", "events.>"),
];

/// What a user of account B asks.
const OF_B: &[(&str, &str)] = &[
    ("$SYS.REQ.USER.INFO", ""),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", r#"{"subscriptions":true}"#),
    ("$SYS.REQ.SERVER.PING.CONNZ", r#"{"acc":"A","auth":true}"#),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", ""),
    ("$SYS.REQ.SERVER.PING.VARZ", ""),
    ("$SYS.REQ.ACCOUNT.B.INFO", ""),
    ("$SYS.DEBUG.SUBSCRIBERS", "to.b"),
    ("subscribers", "to.b"),
    ("subscribers", "to.b group"),
    ("subscribers", "to.*"),
    ("subscribers", "no..subject"),
];

const ONLY_REFERENCE: &[Known] = &[
    ("git_commit", "nobody reads it"),
    ("memstats", "Go's runtime tells more of itself"),
    ("SendQ", "a queue of nats-server's"),
    ("System recvQ", "the same"),
    ("System recvQ Pings", "the same"),
    ("System sendQ", "the same"),
    ("JetStream API queue", "the same"),
    ("JetStream API info queue", "the same"),
];
const ONLY_NATSD: &[Known] = &[
    ("natsd", "its own"),
    ("config.sync_always", "natsd syncs before it acknowledges unless told otherwise"),
    ("jetstream.config.sync_always", "the same"),
    ("statsz.jetstream.config.sync_always", "the same"),
    ("memstats", "only what there is without Go"),
];

type Answers = BTreeMap<String, Value>;

#[test]
fn a_deployment_is_shown_as_by_the_reference() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/deployment.json");
    let expected: Answers = match reference() {
        Some(program) => {
            let answers = ask(&program);
            if std::env::var_os("RECORD").is_some() {
                std::fs::write(&file, serde_json::to_string_pretty(&answers).unwrap() + "\n").unwrap();
            }
            answers
        }
        None => serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap(),
    };
    let seen = ask(&natsd());
    let differences: Vec<String> = expected
        .iter()
        .filter_map(|(what, expected)| {
            shape::difference(what, expected, &seen[what], ONLY_REFERENCE, ONLY_NATSD)
        })
        .collect();
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
}

fn ask(program: &Path) -> Answers {
    let server = Monitored::start(program.to_owned(), CONFIG);
    let address = server.server.address();
    let kept = deploy(&server);
    let mut answers = Answers::new();
    for path in PATHS {
        let answer = server.get(path);
        // The page is each server's own; that it is there is what counts.
        let shape = if *path == "/" { json!({ "status": answer.status }) } else { shape::of_http(&answer) };
        answers.insert((*path).to_owned(), shape);
    }
    let mut system = system::join(address, "s");
    let idz = system::request(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "").unwrap();
    let id = idz["id"].as_str().unwrap();
    let mut note = |client: &mut Client, what: &str, subject: &str, body: &str| {
        let answer = system::request(client, subject, body);
        let shape = match &answer {
            Some(number @ Value::Number(_)) => json!({ "status": number, "body": {} }),
            answer => shape::of_request(answer.as_ref()),
        };
        answers.insert(format!("{what} {body}"), shape);
    };
    for (kind, body) in OF_SERVER {
        note(&mut system, kind, &format!("$SYS.REQ.SERVER.{id}.{kind}"), body);
    }
    // Of all servers: the same (SYS-002).
    for kind in REQUESTS.iter().chain(&OTHER_REQUESTS) {
        note(&mut system, &format!("PING.{kind}"), &format!("$SYS.REQ.SERVER.PING.{kind}"), "");
    }
    for (subject, body) in SUBJECTS {
        note(&mut system, subject, &format!("$SYS.{subject}"), body);
    }
    let mut b = system::join(address, "b");
    for (subject, body) in OF_B {
        note(&mut b, &format!("{subject} of B"), subject, body);
    }
    drop(kept);
    answers
}

/// Messages in all streams, those of the mirror and the copy too.
const STORED: u64 = 4 + 4 + 10 + 3 + 1;

/// Keeps the deployment's connections open.
struct Kept {
    _clients: Vec<Client>,
    _streams: Vec<JetStream>,
}

/// 50 connections that stay: 30 of A, 15 of B, 2 of SYS and 3 with streams; and 4 that went, each otherwise.
fn deploy(server: &Monitored) -> Kept {
    let address = server.server.address();
    let join = |user: &str, name: &str| {
        let fields =
            format!(r#""user":"{user}","pass":"{user}","name":"{name}","lang":"test","version":"1""#);
        let mut client = Client::join(address, &fields).unwrap();
        client.sync();
        client
    };
    leave(server, &join);
    let mut clients = Vec::new();
    for number in 0..30 {
        let mut client = join("a", &format!("a{number}"));
        client.send(b"SUB prices.* 1\r\nSUB events workers 2\r\nUNSUB 2 100\r\nSUB help 3\r\n").unwrap();
        clients.push(client);
    }
    for number in 0..15 {
        let mut client = join("b", &format!("b{number}"));
        client
            .send(b"SUB from.a.prices.> 1\r\nSUB opened.* 2\r\nSUB to.b 3\r\nSUB to.b group 4\r\n")
            .unwrap();
        clients.push(client);
    }
    for number in 0..2 {
        let mut client = join("s", &format!("s{number}"));
        client.send(b"SUB events.seen 1\r\nSUB $SYS.ACCOUNT.> 2\r\n").unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        client.sync();
    }
    clients[0].send(b"PUB prices.eur 5\r\nhello\r\nPUB old.x 1\r\nx\r\nPUB events 2\r\nhi\r\n").unwrap();
    for client in &mut clients {
        client.sync();
    }
    let streams = vec![orders(address), copies(address), backlog(address)];
    server.wait("/jsz", |jsz| jsz["messages"] == STORED);
    server.wait("/connz?state=closed", |connz| connz["num_connections"] == 4);
    server.wait("/connz", |connz| connz["num_connections"] == 50);
    Kept { _clients: clients, _streams: streams }
}

fn leave(server: &Monitored, join: &dyn Fn(&str, &str) -> Client) {
    let address = server.server.address();
    let mut gone = join("a", "gone");
    gone.send(b"SUB left 1\r\nSUB left group 2\r\nPUB events 2\r\nhi\r\n").unwrap();
    gone.sync();
    drop(gone);
    let mut rude = join("b", "rude");
    rude.send(b"NONSENSE\r\n").unwrap();
    rude.until_closed();
    let mut refused = Client::join(address, r#""user":"x","pass":"y","name":"refused""#).unwrap();
    refused.until_closed();
    let mut long = join("b", "long");
    long.send(b"PUB b.x 2000000\r\n").unwrap();
    long.until_closed();
}

/// Account A: a stream with everything, a mirror of it, and consumers of all kinds.
fn orders(address: std::net::SocketAddr) -> JetStream {
    let mut client = JetStream::join(address, "orders").unwrap();
    let stream = json!({
        "name": "ORDERS", "subjects": ["orders.>"], "max_msgs": 100, "max_age": 3_600_000_000_000_u64,
        "max_msg_size": 1000, "description": "of tests", "metadata": { "of": "tests" }, "allow_direct": true,
        "republish": { "src": "orders.>", "dest": "copied.>" },
        "subject_transform": { "src": "orders.in.*", "dest": "orders.out.{{wildcard(1)}}" },
    });
    ok(client.api("STREAM.CREATE.ORDERS", &stream).unwrap());
    for (name, config) in [
        ("pull", json!({ "ack_policy": "explicit", "filter_subject": "orders.1", "max_deliver": 5 })),
        ("push", json!({ "ack_policy": "explicit", "deliver_subject": "to", "deliver_group": "g" })),
        (
            "many",
            json!({ "ack_policy": "all", "filter_subjects": ["orders.1", "orders.2"], "metadata": { "a": "b" } }),
        ),
    ] {
        let mut config = config;
        (config["name"], config["durable_name"]) = (name.into(), name.into());
        let body = json!({ "stream_name": "ORDERS", "config": config });
        ok(client.api(&format!("CONSUMER.DURABLE.CREATE.ORDERS.{name}"), &body).unwrap());
    }
    for number in 1..6 {
        client.store(&format!("orders.{number}"), b"hello").unwrap();
    }
    ok(client.api("STREAM.MSG.DELETE.ORDERS", &json!({ "seq": 3 })).unwrap());
    let mirror = json!({ "name": "MIRROR", "mirror": { "name": "ORDERS" }, "storage": "memory" });
    ok(client.api("STREAM.CREATE.MIRROR", &mirror).unwrap());
    client.fetch("ORDERS", "pull", 1).unwrap();
    client
}

/// Account B: a stream that gathers from another.
fn copies(address: std::net::SocketAddr) -> JetStream {
    let mut client = JetStream::join_as(address, "copies", r#""user":"b","pass":"b""#).unwrap();
    ok(client
        .api("STREAM.CREATE.SOURCE", &json!({ "name": "SOURCE", "subjects": ["b.s.*"], "max_bytes": 10_000 }))
        .unwrap());
    let copy = json!({ "name": "COPY", "max_bytes": 10_000,
        "sources": [{ "name": "SOURCE", "filter_subject": "b.s.1" }] });
    ok(client.api("STREAM.CREATE.COPY", &copy).unwrap());
    for number in 1..4 {
        client.store(&format!("b.s.{number}"), b"hello").unwrap();
    }
    client
}

/// Account A again: a stream whose consumer is behind.
fn backlog(address: std::net::SocketAddr) -> JetStream {
    let mut client = JetStream::join(address, "backlog").unwrap();
    let stream = json!({ "name": "WORK", "subjects": ["work"], "retention": "workqueue", "discard": "new", "max_msgs": 50 });
    ok(client.api("STREAM.CREATE.WORK", &stream).unwrap());
    let worker =
        json!({ "stream_name": "WORK", "config": { "durable_name": "w", "ack_policy": "explicit" } });
    ok(client.api("CONSUMER.DURABLE.CREATE.WORK.w", &worker).unwrap());
    for _ in 0..10 {
        client.store("work", b"hello").unwrap();
    }
    client
}

fn ok(answer: Value) {
    assert!(answer["error"].is_null(), "{answer}");
}
