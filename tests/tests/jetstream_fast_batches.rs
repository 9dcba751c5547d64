//! Fast batches step by step (JS-210 to JS-213): what is answered to steps in and out of order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jetstream::{JetStream, on_each_server};
use natsd_tests::server::{Folder, natsd, reference};
use serde_json::{Value, json};

/// Operation, sequence in the batch, what a gap is, headers; and what is answered, each in short.
type Step = (u8, u64, &'static str, &'static str, &'static [&'static str]);

const DUPLICATE: &str = "Nats-Msg-Id: first\r\n";
const FAILS: &str = "Nats-Expected-Last-Sequence: 100\r\n";
const BEGUN: &[&str] = &["ack 0 3"];
const INVALID: &[&str] = &["error 10206"];

const CASES: &[(&str, &[Step])] = &[
    ("a start that is not the first", &[(0, 2, "ok", "", INVALID)]),
    ("an end that is the first", &[(0, 1, "ok", "", BEGUN), (3, 1, "ok", "", INVALID)]),
    ("one more that is the first", &[(0, 1, "ok", "", BEGUN), (1, 1, "ok", "", INVALID)]),
    ("the last number there is", &[(0, 1, "ok", "", BEGUN), (4, u64::MAX, "ok", "", INVALID)]),
    (
        "a gap",
        &[(0, 1, "ok", "", BEGUN), (1, 5, "ok", "", &["gap 2 5", "ack 3 3"]), (2, 6, "ok", "", &["end 4 6"])],
    ),
    (
        "a ping after a gap",
        &[
            (0, 1, "ok", "", BEGUN),
            (4, 100, "ok", "", &["gap 2 101", "ack 99 3"]),
            (2, 101, "ok", "", &["end 3 101"]),
        ],
    ),
    (
        "a ping in between",
        &[(0, 1, "ok", "", BEGUN), (4, 1, "ok", "", &["ack 0 3"]), (3, 2, "ok", "", &["end 2 1"])],
    ),
    (
        "nothing but a duplicate",
        &[(0, 1, "fail", DUPLICATE, BEGUN), (1, 2, "fail", FAILS, &["err 2 10071", "end 0 1"])],
    ),
    ("a duplicate at the end", &[(0, 1, "ok", "", BEGUN), (2, 2, "ok", DUPLICATE, &["end 2 2"])]),
];

fn short(answer: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let pair = |kind: &str, one: &Value, other: &Value| format!("{kind} {} {}", number(one), number(other));
    match answer["type"].as_str() {
        Some("ack") => pair("ack", &answer["seq"], &answer["msgs"]),
        Some("gap") => pair("gap", &answer["last_seq"], &answer["seq"]),
        Some("err") => pair("err", &answer["seq"], &answer["error"]["err_code"]),
        _ if answer["error"].is_object() => format!("error {}", answer["error"]["err_code"]),
        _ => pair("end", &answer["seq"], &answer["count"]),
    }
}

fn take(client: &mut JetStream, inbox: &str, step: &Step) {
    let (operation, seq, gap, headers, _) = step;
    let reply = format!("{inbox}.id.3.{gap}.{seq}.{operation}.$FI");
    let block = format!("NATS/1.0\r\n{headers}\r\n");
    let line = format!("HPUB s {reply} {} {}\r\n{block}x\r\n", block.len(), block.len() + 1);
    client.send(line.as_bytes()).unwrap();
}

#[test]
fn every_step_has_its_answers() {
    for (name, steps) in CASES {
        on_each_server(|server, client| {
            let stream = json!({"name": "S", "subjects": ["s"], "allow_batched": true});
            assert!(client.api("STREAM.UPDATE.S", &stream).unwrap()["error"].is_null());
            let block = format!("NATS/1.0\r\n{DUPLICATE}\r\n");
            let first = client.reply();
            client.send(format!("HPUB s {first} {0} {0}\r\n{block}\r\n", block.len()).as_bytes()).unwrap();
            assert_eq!(client.next_message().unwrap().subject, first);
            let inbox = client.reply();
            for step in *steps {
                take(client, &inbox, step);
                let mut answers = Vec::new();
                while answers.len() < step.4.len() {
                    let message = client.next_message().unwrap();
                    answers.push(short(&serde_json::from_slice(&message.payload).unwrap()));
                }
                assert_eq!(answers, step.4, "{}: {name}: {step:?}", server.program().display());
            }
            // Nothing is left over.
            let last = client.request("$JS.API.INFO", b"").unwrap();
            assert!(last.payload.starts_with(b"{\"type\":\"io.nats.jetstream.api.v1.account_info"), "{name}");
        });
    }
}

/// What the reply says is known on the other side of an import (ACC-008).
#[test]
fn a_batch_may_come_by_an_import() {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!(
            r#"
            jetstream {{ store_dir: "{}" }}
            accounts {{
              JS {{ jetstream: enabled, users: [{{ user: js, password: p }}], exports: [{{ service: "s" }}] }}
              APP {{
                users: [{{ user: app, password: p }}]
                imports: [{{ service: {{ account: JS, subject: "s" }} }}]
              }}
            }}
            "#,
            store.path().display()
        );
        let server = Launch::new(&program).config(config).start();
        let join = |user: &str| {
            JetStream::join_as(server.address(), user, &format!("\"user\":\"{user}\",\"pass\":\"p\""))
                .unwrap()
        };
        let stream = json!({"name": "S", "subjects": ["s"], "allow_batched": true});
        assert!(join("js").api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
        let mut app = join("app");
        let reply = format!("{}.id.3.ok.1.2.$FI", app.reply());
        app.publish("s", &reply, b"x").unwrap();
        let answer = app.next_message().unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        let expected = json!({"stream": "S", "seq": 1, "batch": "id", "count": 1});
        assert_eq!(answer, expected, "{}", program.display());
    }
}
