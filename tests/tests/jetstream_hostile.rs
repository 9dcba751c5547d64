//! Requests that no client sends: broken JSON, wrong types, huge names, random bytes, to every subject of the API.
//! The server goes on and answers as the reference server does where that is installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::{Launch, Server, server};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const ROUNDS: usize = 1500;
const SUBJECTS: &[&str] = &[
    "INFO",
    "STREAM.CREATE.{s}",
    "STREAM.UPDATE.{s}",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.INFO.{s}",
    "STREAM.PURGE.{s}",
    "STREAM.MSG.GET.{s}",
    "STREAM.MSG.DELETE.{s}",
    "STREAM.SNAPSHOT.{s}",
    "STREAM.RESTORE.{s}",
    "STREAM.PEER.REMOVE.{s}",
    "STREAM.LEADER.STEPDOWN.{s}",
    "STREAM.CANCEL_MOVE.{s}",
    "CONSUMER.CREATE.{s}",
    "CONSUMER.CREATE.{s}.{c}",
    "CONSUMER.CREATE.{s}.{c}.a.>",
    "CONSUMER.DURABLE.CREATE.{s}.{c}",
    "CONSUMER.NAMES.{s}",
    "CONSUMER.LIST.{s}",
    "CONSUMER.INFO.{s}.{c}",
    "CONSUMER.DELETE.{s}.X",
    "CONSUMER.PAUSE.{s}.{c}",
    "CONSUMER.UNPIN.{s}.{c}",
    "CONSUMER.RESET.{s}.{c}",
    "CONSUMER.LEADER.STEPDOWN.{s}.{c}",
    "DIRECT.GET.{s}",
    "DIRECT.GET.{s}.a.b",
];

/// Requests with these fields are good or bad by chance.
const FIELDS: &[&str] = &[
    "name",
    "subjects",
    "retention",
    "max_msgs",
    "max_age",
    "storage",
    "discard",
    "num_replicas",
    "duplicate_window",
    "placement",
    "mirror",
    "sources",
    "republish",
    "subject_transform",
    "consumer_limits",
    "metadata",
    "allow_direct",
    "stream_name",
    "config",
    "action",
    "durable_name",
    "deliver_policy",
    "ack_policy",
    "ack_wait",
    "backoff",
    "filter_subject",
    "filter_subjects",
    "opt_start_seq",
    "opt_start_time",
    "priority_groups",
    "pause_until",
    "offset",
    "seq",
    "keep",
    "filter",
    "last_by_subj",
    "next_by_subj",
    "batch",
    "multi_last",
    "up_to_time",
    "group",
    "state",
    "deliver_subject",
    "peer",
    "unknown",
];

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.next(if depth > 2 { 8 } else { 11 }) {
            0 => Value::Null,
            1 => json!(self.next(2) == 0),
            2 => json!(self.next(5)),
            3 => json!(-(self.next(1000) as i64)),
            4 => json!(1.5),
            5 => json!(u64::MAX - self.next(3) as u64),
            6 => json!(self.pick(&[
                "",
                "S",
                "a.>",
                "a..b",
                "limits",
                "explicit",
                "file",
                "2030-01-01T00:00:00Z",
                "\u{0}",
                "é"
            ])),
            7 => json!("x".repeat(self.next(400))),
            8 => Value::Array((0..self.next(4)).map(|_| self.value(depth + 1)).collect()),
            _ => self.object(depth + 1),
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let fields = (0..self.next(4)).map(|_| (self.pick(FIELDS).to_owned(), self.value(depth)));
        Value::Object(fields.collect())
    }

    fn body(&mut self) -> Vec<u8> {
        let text = self.object(0).to_string().into_bytes();
        match self.next(8) {
            0 => Vec::new(),
            1 => (0..self.next(60)).map(|_| self.next(256) as u8).collect(),
            2 => text[..self.next(text.len() + 1)].to_vec(),
            3 => {
                let mut text = text;
                let at = self.next(text.len());
                text[at] = self.next(256) as u8;
                text
            }
            4 => b"[".repeat(self.next(3000)),
            _ => text,
        }
    }

    fn subject(&mut self) -> String {
        let huge = "n".repeat(300);
        let stream = self.pick(&["S", "S", "S", "T", "NOT", &huge]).to_owned();
        let consumer = self.pick(&["C", "C", "D", "NOT", &huge]).to_owned();
        self.pick(SUBJECTS).replace("{s}", &stream).replace("{c}", &consumer)
    }
}

/// Type, code, and of an error with words that depend on nothing but the request, those.
fn play(program: &Path) -> Vec<(String, String)> {
    let config =
        "server_name: SERVER\njetstream { store_dir: \"{{dir}}/store\", max_mem: 1G, max_file: 1G }\n";
    let server: Server = Launch::new(program).config(config).start();
    let mut client = JetStream::join(server.address(), "hostile").unwrap();
    client.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["a.>"], "allow_direct": true})).unwrap();
    client.api("CONSUMER.CREATE.S.C", &json!({"stream_name": "S", "config": {"durable_name": "C"}})).unwrap();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut log = Vec::new();
    for _ in 0..ROUNDS {
        let (subject, body) = (dice.subject(), dice.body());
        let silent = subject.starts_with("CONSUMER.RESET");
        client.set_patience(if silent { Duration::from_millis(100) } else { natsd_tests::PATIENCE });
        let asked =
            format!("{} {}", subject.chars().take(60).collect::<String>(), String::from_utf8_lossy(&body));
        let answer = match client.request(&format!("$JS.API.{subject}"), &body) {
            Ok(answer) if answer.payload.is_empty() => answer.headers.lines().next().unwrap_or("").to_owned(),
            Ok(answer) => shown(&answer.payload),
            Err(_) => "nothing".to_owned(),
        };
        log.push((asked, answer));
    }
    client.set_patience(natsd_tests::PATIENCE);
    let info = client.api("STREAM.INFO.S", &Value::Null).unwrap();
    assert_eq!(info["config"]["name"], "S", "the server goes on");
    assert!(!server.log().text().contains("panicked"), "{}", server.log().text());
    log
}

fn shown(payload: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    let error = &answer["error"];
    format!("{} {} {}", answer["type"].as_str().unwrap_or("data"), error["code"], error["err_code"])
}

#[test]
fn natsd_answers_whatever_comes() {
    let answered = play(&server::natsd());
    assert_eq!(answered.len(), ROUNDS);
    let Some(program) = server::reference() else {
        eprintln!("not compared: there is no nats-server");
        return;
    };
    let expected = play(&program);
    let differ = answered.iter().zip(&expected).filter(|(seen, expected)| seen != expected);
    let differ: Vec<_> =
        differ.map(|((asked, seen), (_, wanted))| format!("{asked}\n  - {wanted}\n  + {seen}")).collect();
    assert!(differ.is_empty(), "{} of {ROUNDS}:\n{}", differ.len(), differ.join("\n"));
}
