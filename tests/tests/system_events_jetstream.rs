//! What a server with JetStream tells: its own events, and the advisories of streams and consumers, as somebody in the
//! system account sees them who imports them (EVT-001, EVT-012, EVT-023). The fields are the reference's.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-jetstream -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use natsd_tests::backup::{Backup, Manner};
use natsd_tests::events::{Seen, Watched, join, same_as_the_reference};
use natsd_tests::jetstream::JetStream;
use natsd_tests::{Launch, Server};
use serde_json::{Value, json};

const CONFIG: &str = r#"
server_name: srv
jetstream { store_dir: "{{dir}}/js", domain: hub, max_mem: 1G, max_file: 1G }
accounts {
  A { jetstream: enabled, users: [{ user: a, password: a }], exports: [{ stream: "$JS.EVENT.>" }] }
  SYS { users: [{ user: s, password: s }], imports: [{ stream: { account: A, subject: "$JS.EVENT.>" } }] }
}
system_account: SYS
"#;

fn watched(program: &Path) -> Watched {
    Watched::of(Launch::new(program).config(CONFIG).start())
}

fn jetstream(server: &Server) -> JetStream {
    let fields = r#""user":"a","pass":"a","name":"n-a","lang":"test","version":"1""#;
    JetStream::join_as(server.address(), "a", fields).unwrap()
}

fn events(program: &Path) -> Seen {
    let mut on = watched(program);
    let mut seen = Seen::new();
    on.listen("$SYS.ACCOUNT.>");
    on.listen("$SYS.SERVER.>");
    let mut note = |name: &str, value: Value| drop(seen.insert(name.to_owned(), value));
    let a = join(&on.server, "a");
    note("connect", on.event("ACCOUNT.A.CONNECT"));
    drop(a);
    note("disconnect", on.event("ACCOUNT.A.DISCONNECT"));
    on.system.send(format!("PUB $SYS.REQ.SERVER.{}.STATSZ 0\r\n\r\n", on.id).as_bytes()).unwrap();
    note("statsz", on.event(".STATSZ"));
    seen
}

fn advisories(program: &Path) -> Seen {
    let mut on = watched(program);
    let mut seen = Seen::new();
    let mut js = jetstream(&on.server);
    // Requests of an account that nobody waits for would be told of, too.
    js.api("INFO", &Value::Null).unwrap();
    on.listen("$JS.EVENT.>");
    let mut note = |on: &mut Watched, end: &str| drop(seen.insert(end.to_owned(), on.event(end)));

    let stream = json!({ "name": "S", "subjects": ["s"] });
    ok(js.api("STREAM.CREATE.S", &stream).unwrap());
    note(&mut on, "ADVISORY.API");
    note(&mut on, "STREAM.CREATED.S");
    ok(js.api("STREAM.UPDATE.S", &json!({ "name": "S", "subjects": ["s"], "description": "d" })).unwrap());
    note(&mut on, "STREAM.UPDATED.S");
    // What is refused is told of with its error.
    js.api("STREAM.CREATE.S", &json!({ "name": "S", "subjects": ["other"] })).unwrap();

    let consumer =
        json!({ "durable_name": "C", "ack_policy": "explicit", "max_deliver": 1, "sample_freq": "100%" });
    ok(js.api("CONSUMER.CREATE.S.C", &json!({ "stream_name": "S", "config": consumer })).unwrap());
    note(&mut on, "CONSUMER.CREATED.S.C");
    for answer in ["+ACK", "+TERM", "-NAK"] {
        js.store("s", b"hello").unwrap();
        // A consumer of nats-server may learn of a message after its publisher did.
        let message = std::iter::repeat_with(|| js.fetch("S", "C", 1).unwrap().pop()).find_map(|found| found);
        let message = message.unwrap();
        js.request(&message.reply, answer.as_bytes()).unwrap();
    }
    note(&mut on, "METRIC.CONSUMER.ACK.S.C");
    note(&mut on, "CONSUMER.MSG_TERMINATED.S.C");
    note(&mut on, "CONSUMER.MSG_NAKED.S.C");
    // It may not be delivered again, which shows when somebody asks.
    js.fetch("S", "C", 1).unwrap();
    note(&mut on, "CONSUMER.MAX_DELIVERIES.S.C");
    let pause = json!({ "pause_until": "2100-01-01T00:00:00Z" });
    ok(js.api("CONSUMER.PAUSE.S.C", &pause).unwrap());
    note(&mut on, "CONSUMER.PAUSE.S.C");
    let backup = Backup::take(&mut js, "S", &json!({})).unwrap();
    note(&mut on, "STREAM.SNAPSHOT_CREATE.S");
    note(&mut on, "STREAM.SNAPSHOT_COMPLETE.S");
    ok(js.api("CONSUMER.DELETE.S.C", &Value::Null).unwrap());
    note(&mut on, "CONSUMER.DELETED.S.C");
    ok(js.api("STREAM.DELETE.S", &Value::Null).unwrap());
    note(&mut on, "STREAM.DELETED.S");
    ok(backup.restore(&mut js, Manner::Proper).unwrap());
    note(&mut on, "STREAM.RESTORE_CREATE.S");
    note(&mut on, "STREAM.RESTORE_COMPLETE.S");
    seen
}

fn ok(answer: Value) {
    assert!(answer["error"].is_null(), "{answer}");
}

#[test]
fn events_of_a_server_with_jetstream_have_the_fields_of_the_reference() {
    same_as_the_reference("events_jetstream", events);
}

#[test]
fn advisories_reach_the_system_account_with_the_fields_of_the_reference() {
    same_as_the_reference("advisories", advisories);
}
