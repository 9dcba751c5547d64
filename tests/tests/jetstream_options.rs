//! What `jetstream {}` of the server and of accounts says, and what of it changes while the server runs: limits,
//! queues, which accounts have JetStream (CFG-142, CFG-270 to CFG-279, JS-010, JS-142, JS-293, G7.3, G14.6).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::{JetStream, Received, on_each_server};
use natsd_tests::server::{self, Folder};
use natsd_tests::{Launch, Server, schemas};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A configuration with the `jetstream {}` of the server and of account A.
struct Setting {
    store: Folder,
}

impl Setting {
    fn new() -> Self {
        Self { store: Folder::new() }
    }

    fn config(&self, server: &str, account: &str) -> String {
        let store = self.store.path().to_string_lossy();
        format!(
            r#"
            jetstream {{ store_dir: "{store}", {server} }}
            accounts {{
              A {{ users: [ {{ user: a, password: p }} ], {account} }}
              SYS {{ users: [ {{ user: sys, password: p }} ] }}
            }}
            system_account: SYS
            "#
        )
    }

    fn start(&self, server: &str, account: &str) -> Server {
        Launch::new(server::natsd()).config(self.config(server, account)).start()
    }
}

const ENABLED: &str = "jetstream: enabled";

fn join(server: &Server, user: &str) -> JetStream {
    let fields = format!(r#""user":"{user}","pass":"p""#);
    JetStream::join_as(server.address(), user, &fields).unwrap()
}

fn error_code(answer: &Value) -> u64 {
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}

/// Asks again until the answer is as wanted.
fn eventually(client: &mut JetStream, subject: &str, body: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = client.api(subject, body).unwrap();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{subject}: {answer}");
    }
}

fn assert_reloaded(server: &Server, config: &str) {
    let outcome = server.reload(config);
    assert!(outcome.starts_with("Reloaded"), "{outcome}");
}

/// JS-292: three quarters of it.
#[test]
fn without_a_limit_streams_may_reserve_most_of_what_is_free() {
    let facts = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    let free_bytes = facts.f_bavail * facts.f_frsize;
    on_each_server(|_, client| {
        let mut reserve = |name: &str, tenths: u64| {
            let config = json!({"name": name, "subjects": [name], "max_bytes": free_bytes / 10 * tenths});
            client.api(&format!("STREAM.CREATE.{name}"), &config).unwrap()["error"]["err_code"].clone()
        };
        assert_eq!(
            [reserve("A", 9), reserve("B", 5), reserve("C", 5)],
            [json!(10047), Value::Null, json!(10047)]
        );
    });
}

#[test]
fn an_account_s_limits_change_while_the_server_runs() {
    let setting = Setting::new();
    let limits =
        |bytes: u64| format!("jetstream {{ max_file: {bytes}, max_streams: 1, max_ack_pending: 10 }}");
    let server = setting.start("", &limits(1000));
    let mut client = join(&server, "a");
    assert_eq!(client.api("INFO", &Value::Null).unwrap()["limits"]["max_storage"], 1000);
    let stream = |name: &str, bytes: u64| json!({"name": name, "max_bytes": bytes});
    let refused = client.api("STREAM.CREATE.S", &stream("S", 2000)).unwrap();
    assert_eq!(error_code(&refused), 10047);
    assert_eq!(error_code(&client.api("STREAM.CREATE.S", &stream("S", 900)).unwrap()), 0);
    assert_eq!(error_code(&client.api("STREAM.CREATE.T", &stream("T", 10)).unwrap()), 10027);

    assert_reloaded(&server, &setting.config("", "jetstream { max_file: 5000, max_ack_pending: 20 }"));
    assert_eq!(client.api("INFO", &Value::Null).unwrap()["limits"]["max_storage"], 5000);
    assert_eq!(error_code(&client.api("STREAM.UPDATE.S", &stream("S", 2000)).unwrap()), 0);
    assert_eq!(error_code(&client.api("STREAM.CREATE.T", &stream("T", 10)).unwrap()), 0);
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}});
    let made = client.api("CONSUMER.CREATE.S.C", &consumer).unwrap();
    assert_eq!(made["config"]["max_ack_pending"], 20);
}

#[test]
fn what_an_account_may_store_grows_with_a_reload() {
    let setting = Setting::new();
    let server = setting.start("", "jetstream { max_file: 3000 }");
    let mut client = join(&server, "a");
    client.api("STREAM.CREATE.S", &json!({"name": "S"})).unwrap();
    let mut publish = |count: usize| -> Vec<u64> {
        let answers = (0..count).map(|_| client.request("S", &[b'x'; 1000]).unwrap());
        answers.map(|answer| error_code(&serde_json::from_slice(&answer.payload).unwrap())).collect()
    };
    let full = publish(4);
    assert!(full.contains(&10002), "{full:?}");
    assert_reloaded(&server, &setting.config("", "jetstream { max_file: 100K }"));
    // The stream's task takes it over with its next turn.
    publish(1);
    assert_eq!(publish(3), [0, 0, 0]);
}

#[test]
fn an_account_gets_jetstream_loses_it_and_has_its_streams_again() {
    let setting = Setting::new();
    let server = setting.start("", "");
    let mut client = join(&server, "a");
    assert_eq!(error_code(&client.api("INFO", &Value::Null).unwrap()), 10039);

    assert_reloaded(&server, &setting.config("", ENABLED));
    eventually(&mut client, "INFO", &Value::Null, |answer| error_code(answer) == 0);
    client.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]})).unwrap();
    client.store("s", b"kept").unwrap();

    assert_reloaded(&server, &setting.config("", ""));
    eventually(&mut client, "STREAM.INFO.S", &Value::Null, |answer| error_code(answer) == 10039);
    assert!(client.request("s", b"nobody hears").unwrap().headers.starts_with("NATS/1.0 503"));

    assert_reloaded(&server, &setting.config("", ENABLED));
    eventually(&mut client, "STREAM.INFO.S", &Value::Null, |answer| answer["state"]["messages"] == 1);
    assert_eq!(client.store("s", b"more").unwrap(), 2);
}

#[test]
fn streams_of_an_account_that_had_no_jetstream_at_the_start_come_with_a_reload() {
    let setting = Setting::new();
    {
        let server = setting.start("", ENABLED);
        let mut client = join(&server, "a");
        client.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]})).unwrap();
        client.store("s", b"kept").unwrap();
    }
    let server = setting.start("", "");
    assert_reloaded(&server, &setting.config("", ENABLED));
    let mut client = join(&server, "a");
    eventually(&mut client, "STREAM.INFO.S", &Value::Null, |answer| answer["state"]["messages"] == 1);
    assert_eq!(client.store("s", b"more").unwrap(), 2);
}

#[test]
fn an_account_that_comes_with_a_reload_has_jetstream() {
    let setting = Setting::new();
    let server = setting.start("", "");
    let new = setting.config("", ENABLED).replace(
        "system_account",
        "accounts { B { users: [ { user: b, password: p } ], jetstream: enabled }, \
         SYS { users: [ { user: sys, password: p } ] } }\nsystem_account",
    );
    assert_reloaded(&server, &new);
    let mut client = join(&server, "b");
    eventually(&mut client, "INFO", &Value::Null, |answer| error_code(answer) == 0);
    assert_eq!(error_code(&client.api("STREAM.CREATE.S", &json!({"name": "S"})).unwrap()), 0);
}

#[test]
fn what_needs_a_restart_is_refused_with_its_name() {
    let setting = Setting::new();
    let server = setting.start("max_mem: 1G, max_file: 1G", ENABLED);
    for (change, text) in [
        ("max_mem: 1G, max_file: 500M", "decreasing jetstream max memory and store"),
        ("max_mem: 1G", "dynamic max memory and store"),
        ("max_mem: 1G, max_file: 1G, domain: D", "domain"),
        ("max_mem: 1G, max_file: 1G, strict: false", "strict"),
        ("max_mem: 1G, max_file: 1G, sync_interval: 5s", "sync_interval"),
        ("max_mem: 1G, max_file: 1G, unique_tag: az", "unique_tag"),
        ("max_mem: 1G, max_file: 1G, request_queue_limit: 5", "request_queue_limit"),
        ("max_mem: 1G, max_file: 1G, max_buffered_msgs: 5", "max_buffered_msgs"),
        ("max_mem: 1G, max_file: 1G, max_concurrent_io: 5", "max_concurrent_io"),
        ("max_mem: 1G, max_file: 1G, max_outstanding_catchup: 1M", "max_outstanding_catchup"),
    ] {
        let outcome = server.reload(&setting.config(change, ENABLED));
        assert!(outcome.starts_with("Failed") && outcome.contains(text), "{change}: {outcome}");
    }
    let more = "max_mem: 2G, max_file: 2G, meta_compact: 5, limits { max_request_batch: 7, duplicate_window: \"1m\" }";
    assert_reloaded(&server, &setting.config(more, ENABLED));
    let mut client = join(&server, "a");
    let made = client.api("STREAM.CREATE.S", &json!({"name": "S"})).unwrap();
    assert_eq!(made["config"]["duplicate_window"], 60_000_000_000u64);
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "C"}});
    assert_eq!(client.api("CONSUMER.CREATE.S.C", &consumer).unwrap()["config"]["max_batch"], 7);
}

#[test]
fn a_stream_without_a_limit_of_consumers_has_the_server_s() {
    // MON-092: as nats-server 2.15 has it, 1,000 unless told otherwise.
    for (server, account, max) in [
        ("", ENABLED, 1000),
        ("limits { default_max_consumers: 3 }", ENABLED, 3),
        ("limits { default_max_consumers: 3 }", "jetstream { max_consumers: 5 }", 5),
    ] {
        let setting = Setting::new();
        let running = setting.start(server, account);
        let mut client = join(&running, "a");
        client.api("STREAM.CREATE.S", &json!({"name": "S", "storage": "memory"})).unwrap();
        for number in 0..=max {
            let name = format!("c{number}");
            let config = json!({"name": name, "durable_name": name, "ack_policy": "explicit"});
            let body = json!({"stream_name": "S", "config": config});
            let answer = client.api(&format!("CONSUMER.CREATE.S.{name}"), &body).unwrap();
            let wanted = if number < max { 0 } else { 10026 };
            assert_eq!(error_code(&answer), wanted, "{server} {account} {number}: {answer}");
        }
    }
}

#[test]
fn limits_of_batches_change_while_the_server_runs() {
    let setting = Setting::new();
    let server = setting.start("limits { batch { max_msgs: 1 } }", ENABLED);
    let mut client = join(&server, "a");
    client.api("STREAM.CREATE.S", &json!({"name": "S", "allow_atomic": true})).unwrap();
    assert_eq!(error_code(&batched(&mut client, 2)), 10199);
    assert_reloaded(&server, &setting.config("limits { batch { max_msgs: 5 } }", ENABLED));
    assert_eq!(error_code(&batched(&mut client, 2)), 0);
}

/// Publishes a batch of so many messages; the answer to the last.
fn batched(client: &mut JetStream, count: u64) -> Value {
    let mut answer = Value::Null;
    for n in 1..=count {
        let commit = if n == count { "Nats-Batch-Commit: 1\r\n" } else { "" };
        let headers =
            format!("NATS/1.0\r\nNats-Batch-Id: b{count}\r\nNats-Batch-Sequence: {n}\r\n{commit}\r\n");
        let reply = client.reply();
        let line = format!("HPUB S {reply} {0} {0}\r\n{headers}\r\n", headers.len());
        client.send(line.as_bytes()).unwrap();
        answer = serde_json::from_slice(&client.next_message().unwrap().payload).unwrap_or_default();
    }
    answer
}

#[test]
fn a_stream_that_cannot_keep_up_says_so() {
    let setting = Setting::new();
    let server = setting.start("max_buffered_msgs: 5", ENABLED);
    let mut client = join(&server, "a");
    client.api("STREAM.CREATE.S", &json!({"name": "S"})).unwrap();
    // More than a disk takes in the time in which it is sent: a stream has few commits under way at once.
    let answers = flood(&mut client, "S", 1000, 64 * 1024);
    let refused: Vec<_> = answers.iter().filter(|answer| !answer.headers.is_empty()).collect();
    assert!(!refused.is_empty() && refused.len() < 1000, "{}", refused.len());
    for answer in &refused {
        assert_eq!(answer.headers, "NATS/1.0 429 Too Many Requests\r\n\r\n");
        assert_eq!(error_code(&serde_json::from_slice(&answer.payload).unwrap()), 10167);
    }
    let stored = (answers.len() - refused.len()) as u64;
    assert_eq!(client.api("STREAM.INFO.S", &Value::Null).unwrap()["state"]["messages"], stored);
}

#[test]
fn a_flood_of_requests_is_refused_and_others_are_served() {
    let setting = Setting::new();
    let server = setting.start("info_queue_limit: 5, request_queue_limit: 100", ENABLED);
    let mut system = join(&server, "sys");
    system.listen("$JS.EVENT.ADVISORY.API.LIMIT_REACHED").unwrap();
    system.request("nothing", b"").unwrap();
    let mut client = join(&server, "a");
    client.api("STREAM.CREATE.S", &json!({"name": "S"})).unwrap();

    let answers = flood(&mut client, "$JS.API.STREAM.INFO.S", 500, 0);
    let told = |answer: &Received| serde_json::from_slice::<Value>(&answer.payload).unwrap();
    let refused = answers.iter().filter(|answer| error_code(&told(answer)) == 10167).count();
    assert!(refused > 0, "nothing was refused");
    let answer = answers.iter().map(told).find(|answer| error_code(answer) == 10167).unwrap();
    assert_eq!(answer["type"], "io.nats.jetstream.api.v1.stream_info_response");
    assert_eq!(answer["error"]["code"], 429);
    let advisory = system.next_message().unwrap();
    assert_eq!(schemas::misfits(&advisory.payload, false), Vec::<String>::new());
    assert!(told(&advisory)["dropped"].as_u64() >= Some(6), "{}", told(&advisory));
    assert_eq!(error_code(&client.api("STREAM.CREATE.T", &json!({"name": "T"})).unwrap()), 0);
}

/// Sends so many at once, and gives the answers: not all of a flood are answered.
fn flood(client: &mut JetStream, subject: &str, count: usize, size_bytes: usize) -> Vec<Received> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.extend_from_slice(format!("PUB {subject} {} {size_bytes}\r\n", client.reply()).as_bytes());
        bytes.resize(bytes.len() + size_bytes, b'x');
        bytes.extend_from_slice(b"\r\n");
    }
    client.send(&bytes).unwrap();
    client.set_patience(Duration::from_millis(500));
    let mut answers = Vec::new();
    while answers.len() < count
        && let Ok(answer) = client.next_message()
    {
        answers.push(answer);
    }
    client.set_patience(natsd_tests::PATIENCE);
    answers
}
