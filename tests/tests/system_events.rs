//! System events and requests: the same script on natsd and on the reference, and the same fields from both
//! (EVT-001 to EVT-014, SYS-002 to SYS-016).
//!
//! What the reference answers is kept in `monitoring/events/*.json`, so that the test works without it. Where there
//! is a reference it is asked again, and `RECORD=1` writes down what it says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, Server};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

const CONFIG: &str = r#"
server_name: srv
server_tags: ["az:1"]
accounts {
  A { users: [{ user: a, password: a }] }
  B { users: [{ user: b, password: b, permissions: {
    publish: { allow: ["x", "$SYS.>"], deny: "y" }, subscribe: "_INBOX.>", allow_responses: { max: 2, expires: "1m" }
  } }] }
  SYS { users: [{ user: s, password: s }] }
}
system_account: SYS
"#;

/// Fields that say something only of one of the two servers, at any depth.
const NOT_COMPARED: [&str; 2] = ["git_commit", "natsd"];

/// What a script has seen, by the name of the step.
type Seen = BTreeMap<String, Value>;

/// A server, and a client of its system account.
struct Watched {
    server: Server,
    system: Client,
    id: String,
    /// Events that came before the one that was waited for: the reference tells some in any order.
    early: Vec<(String, Value)>,
}

impl Watched {
    fn start(program: &Path) -> Self {
        let server = Launch::new(program).config(CONFIG).start();
        let mut system = join(&server, "s");
        system.send(b"SUB _INBOX.> 1\r\n").unwrap();
        let idz = request(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "").unwrap();
        let id = idz["id"].as_str().unwrap().to_owned();
        Self { server, system, id, early: Vec::new() }
    }

    fn listen(&mut self, subject: &str) {
        let sid = subject.replace(['.', '*', '>'], "-");
        self.system.send(format!("SUB {subject} {sid}\r\n").as_bytes()).unwrap();
        self.system.sync();
    }

    /// The next event of which the subject ends so.
    fn event(&mut self, end: &str) -> Value {
        if let Some(at) = self.early.iter().position(|(subject, _)| subject.ends_with(end)) {
            return self.early.remove(at).1;
        }
        loop {
            let (subject, body) = match self.system.next_op() {
                Ok(op) if op.starts_with(b"MSG ") => message(&op),
                Ok(_) => continue,
                Err(why) => panic!("no event {end} of {}: {why:?}", self.server.program().display()),
            };
            if subject.ends_with(end) {
                return body;
            }
            self.early.push((subject, body));
        }
    }

    /// Asks this server.
    fn ask(&mut self, kind: &str, body: &str) -> Option<Value> {
        let subject = format!("$SYS.REQ.SERVER.{}.{kind}", self.id);
        request(&mut self.system, &subject, body)
    }
}

fn join(server: &Server, user: &str) -> Client {
    let options = format!(
        r#""user":"{user}","pass":"{user}","name":"n-{user}","lang":"test","version":"1","headers":true"#
    );
    let mut client = Client::join(server.address(), &options).unwrap();
    client.sync();
    client
}

/// Subject and JSON of a MSG.
fn message(op: &[u8]) -> (String, Value) {
    let text = String::from_utf8_lossy(op);
    let (line, body) = text.split_once("\r\n").unwrap();
    let subject = line.split_ascii_whitespace().nth(1).unwrap().to_owned();
    (subject, serde_json::from_str(body.trim_end()).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

/// The answer on an inbox that the client listens to; `None`: none came.
fn request(client: &mut Client, subject: &str, body: &str) -> Option<Value> {
    client.send(format!("PUB {subject} _INBOX.x {}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
    client.set_patience(Duration::from_millis(700));
    let answer = loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"MSG _INBOX.x ") => break Some(message(&op).1),
            Ok(op) if op == b"PING\r\n" => client.send(b"PONG\r\n").unwrap(),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    client.set_patience(natsd_tests::PATIENCE);
    answer
}

fn events(program: &Path) -> Seen {
    let mut on = Watched::start(program);
    let mut seen = Seen::new();
    for subject in ["$SYS.ACCOUNT.>", "$SYS.SERVER.>"] {
        on.listen(subject);
    }
    let mut note = |name: &str, value: Value| drop(seen.insert(name.to_owned(), value));
    let mut a = join(&on.server, "a");
    note("conns_old", on.event("SERVER.ACCOUNT.A.CONNS"));
    note("conns", on.event("ACCOUNT.A.SERVER.CONNS"));
    let connect = on.event("ACCOUNT.A.CONNECT");
    note("connect", connect);
    a.send(b"SUB foo 1\r\nPUB foo 5\r\nhello\r\n").unwrap();
    a.expect_op("MSG foo");
    drop(a);
    let conns = on.event("ACCOUNT.A.SERVER.CONNS");
    assert_eq!(
        (&conns["conns"], &conns["sent"]["msgs"], &conns["received"]["bytes"]),
        (&json!(0), &json!(1), &json!(5))
    );
    let disconnect = on.event("ACCOUNT.A.DISCONNECT");
    assert_eq!(disconnect["sent"], json!({ "msgs": 1, "bytes": 5 }));
    assert_eq!(disconnect["received"], json!({ "msgs": 1, "bytes": 5 }));
    note("disconnect", disconnect);

    let wrong = r#""user":"x","pass":"x","name":"n-x","lang":"test","version":"1""#;
    let mut refused = Client::join(on.server.address(), wrong).unwrap();
    refused.until_closed();
    let error = on.event("CLIENT.AUTH.ERR");
    assert_eq!((&error["client"]["user"], &error["client"]["acc"]), (&json!("x"), &json!("$G")));
    note("auth_err", error);
    let gone = on.event("ACCOUNT.$G.DISCONNECT");
    assert_eq!(gone["reason"], "Authentication Failure");
    note("disconnect_of_refused", gone);

    // Whoever asks without a reply has them told to all.
    on.system.send(format!("PUB $SYS.REQ.SERVER.{}.STATSZ 0\r\n\r\n", on.id).as_bytes()).unwrap();
    note("statsz", on.event(".STATSZ"));

    on.server.signal(Signal::USR2);
    note("lameduck", on.event(".LAMEDUCK"));
    drop(on);

    let mut on = Watched::start(program);
    on.listen("$SYS.SERVER.*.SHUTDOWN");
    on.server.signal(Signal::TERM);
    note("shutdown", on.event(".SHUTDOWN"));
    seen
}

/// What one server is asked by its id.
const ASKED: &[(&str, &str)] = &[
    ("IDZ", ""),
    ("STATSZ", ""),
    ("VARZ", ""),
    ("SUBSZ", ""),
    ("CONNZ", r#"{"auth":true,"limit":1}"#),
    ("ROUTEZ", ""),
    ("GATEWAYZ", ""),
    ("LEAFZ", ""),
    ("ACCOUNTZ", ""),
    ("ACCOUNTZ", r#"{"account":"A"}"#),
    ("ACCOUNTZ", r#"{"account":"SYS"}"#),
    ("ACCOUNTZ", r#"{"account":"zz"}"#),
    ("JSZ", ""),
    ("HEALTHZ", ""),
    ("HEALTHZ", r#"{"stream":"x"}"#),
    ("HEALTHZ", r#"{"stream":"x","details":true}"#),
    ("PROFILEZ", ""),
    ("PROFILEZ", r#"{"name":"zz"}"#),
    ("RAFTZ", ""),
    ("RELOAD", ""),
    ("KICK", ""),
    ("KICK", r#"{"cid":999}"#),
    ("LDM", r#"{"cid":999}"#),
    ("CONNZ", "{bad"),
    ("CONNZ", r#"{"limit":"x"}"#),
    ("CONNZ", r#"{"sort":"x"}"#),
    ("VARZ", r#"{"server_name":"other"}"#),
    ("HEALTHZ", r#"{"server_name":"sr"}"#),
    ("HEALTHZ", r#"{"server_name":"sr","exact_match":true}"#),
    ("HEALTHZ", r#"{"tags":["az:1"]}"#),
    ("HEALTHZ", r#"{"tags":["az:1","other"]}"#),
    ("HEALTHZ", r#"{"cluster":"c"}"#),
    ("STATSZ", r#"{"domain":"d"}"#),
    ("OTHERZ", ""),
];

/// What is asked otherwise in the system account, behind `$SYS.REQ.`.
const SUBJECTS: &[&str] = &[
    "SERVER.PING",
    "SERVER.PING.HEALTHZ",
    "SERVER.PING.RELOAD",
    "ACCOUNT.A.CONNZ",
    "ACCOUNT.A.SUBSZ",
    "ACCOUNT.A.INFO",
    "ACCOUNT.A.STATZ",
    "ACCOUNT.A.CONNS",
    "ACCOUNT.A.JSZ",
    "ACCOUNT.A.LEAFZ",
    "ACCOUNT.zz.CONNZ",
    "ACCOUNT.zz.INFO",
    "ACCOUNT.zz.STATZ",
    "ACCOUNT.zz.CONNS",
    "ACCOUNT.PING.STATZ",
    "USER.INFO",
];

fn requests(program: &Path) -> Seen {
    let mut on = Watched::start(program);
    let mut a = join(&on.server, "a");
    let mut b = join(&on.server, "b");
    let mut seen = Seen::new();
    let mut note = |name: &str, answer: Option<Value>| drop(seen.insert(name.to_owned(), json!(answer)));
    for (kind, body) in ASKED {
        let answer = on.ask(kind, body);
        note(&format!("{kind} {body}"), answer);
    }
    for subject in SUBJECTS {
        note(subject, request(&mut on.system, &format!("$SYS.REQ.{subject}"), ""));
    }
    for (client, name) in [(&mut a, "a"), (&mut b, "b")] {
        client.send(b"SUB _INBOX.> 1\r\n").unwrap();
        for subject in
            ["USER.INFO", "ACCOUNT.PING.CONNZ", "SERVER.PING.CONNZ", "ACCOUNT.PING.STATZ", "SERVER.PING.VARZ"]
        {
            let answer = request(client, &format!("$SYS.REQ.{subject}"), "");
            note(&format!("{subject} of {name}"), answer);
        }
    }
    seen
}

/// Fields that always have the same value.
const EXACT: [&str; 13] = [
    "type",
    "reason",
    "status",
    "status_code",
    "code",
    "acc",
    "account",
    "user",
    "kind",
    "client_type",
    "conns",
    "num_connections",
    "responses",
];

/// Of numbers and texts only what they are counts, of everything else the value.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        // The first stands for all; the reference has some lists in any order.
        Value::Array(list) => json!(list.iter().map(shape).min_by_key(Value::to_string).as_slice()),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
            Value::Object(
                kept.map(|(name, value)| {
                    let shown = if EXACT.contains(&name.as_str()) { value.clone() } else { shape(value) };
                    (name.clone(), shown)
                })
                .collect::<Map<_, _>>(),
            )
        }
    }
}

fn shapes(seen: &Seen) -> BTreeMap<String, Value> {
    seen.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
}

fn same_as_the_reference(name: &str, script: fn(&Path) -> Seen) {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("monitoring/events").join(format!("{name}.json"));
    let known = reference().map(|program| shapes(&script(&program)));
    if let Some(known) = known.as_ref().filter(|_| std::env::var_os("RECORD").is_some()) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, serde_json::to_string_pretty(&json!(known)).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&file).expect("recorded answers");
    let recorded: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    if let Some(known) = known {
        compare("the record, against the reference", &recorded, &known);
    }
    compare("natsd", &shapes(&script(&natsd())), &recorded);
}

fn compare(what: &str, seen: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) {
    let mut wrong = Vec::new();
    for (name, wanted) in wanted {
        let seen = seen.get(name).unwrap_or(&Value::Null);
        differences(name, seen, wanted, &mut wrong);
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

fn differences(place: &str, seen: &Value, wanted: &Value, wrong: &mut Vec<String>) {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                let place = format!("{place}.{name}");
                match seen.get(name) {
                    Some(seen) => differences(&place, seen, wanted, wrong),
                    None => wrong.push(format!("{place} is missing")),
                }
            }
            let more = seen.keys().filter(|name| !wanted.contains_key(*name));
            wrong.extend(more.map(|name| format!("{place}.{name} is too much")));
        }
        (Value::Array(seen), Value::Array(wanted)) if seen.len() == wanted.len() => {
            for (seen, wanted) in seen.iter().zip(wanted) {
                differences(&format!("{place}[0]"), seen, wanted, wrong);
            }
        }
        (seen, wanted) if seen == wanted => {}
        (seen, wanted) => wrong.push(format!("{place} is {seen}, not {wanted}")),
    }
}

#[test]
fn events_have_the_fields_of_the_reference() {
    same_as_the_reference("events", events);
}

#[test]
fn requests_are_answered_as_by_the_reference() {
    same_as_the_reference("requests", requests);
}

/// natsd, and the reference if there is one.
fn both() -> impl Iterator<Item = Watched> {
    natsd_tests::monitored::programs().map(|program| Watched::start(&program))
}

/// SYS-007
#[test]
fn one_client_is_kicked_or_told_that_the_server_goes() {
    for mut on in both() {
        let mut old = join(&on.server, "a");
        let options = r#""user":"a","pass":"a","name":"new","lang":"test","version":"1","protocol":1"#;
        let mut new = Client::join(on.server.address(), options).unwrap();
        new.sync();
        let connz = on.ask("CONNZ", r#"{"acc":"A"}"#).unwrap();
        let connections = connz["data"]["connections"].as_array().unwrap();
        let cid =
            |name: &str| connections.iter().find(|c| c["name"] == name).unwrap()["cid"].as_u64().unwrap();
        let (old_cid, new_cid) = (cid("n-a"), cid("new"));

        let refused = on.ask("LDM", &format!(r#"{{"cid":{old_cid}}}"#)).unwrap();
        assert_eq!(refused["error"]["code"], 500, "{refused}");
        let told = on.ask("LDM", &format!(r#"{{"cid":{new_cid}}}"#)).unwrap();
        assert_eq!(told.as_object().unwrap().len(), 1, "{told}");
        let mut told = String::new();
        while !told.contains(r#""ldm":true"#) {
            told = String::from_utf8(new.expect_op("INFO ")).unwrap();
        }

        on.listen("$SYS.ACCOUNT.A.DISCONNECT");
        on.ask("KICK", &format!(r#"{{"cid":{new_cid}}}"#)).unwrap();
        // No error on the wire.
        assert_eq!(new.until_closed(), Vec::<Vec<u8>>::new());
        old.sync();
    }
}

/// SYS-009
#[test]
fn answers_are_compressed_as_wanted() {
    for mut on in both() {
        for (wanted, said, start) in [
            ("gzip", "gzip", &b"\x1f\x8b"[..]),
            ("snappy", "snappy", b"\xff\x06\x00\x00sNaPpY"),
            ("s2", "snappy", b"\xff\x06\x00\x00sNaPpY"),
            ("other", "identity", b"{\"server\""),
        ] {
            let headers = format!("NATS/1.0\r\nAccept-Encoding: {wanted}\r\n\r\n");
            let len = headers.len();
            let subject = format!("$SYS.REQ.SERVER.{}.VARZ", on.id);
            on.system
                .send(format!("HPUB {subject} _INBOX.y {len} {len}\r\n{headers}\r\n").as_bytes())
                .unwrap();
            let answer = on.system.expect_op("HMSG _INBOX.y ");
            let head = format!("NATS/1.0\r\nContent-Encoding: {said}\r\n\r\n");
            let at = answer.windows(head.len()).position(|part| part == head.as_bytes());
            let body = &answer[at.expect("the header") + head.len()..];
            assert!(body.starts_with(start), "{wanted}: {body:?}");
        }
    }
}

/// EVT-030
#[test]
fn events_stay_in_the_system_account() {
    for mut on in both() {
        let mut b = join(&on.server, "a");
        b.send(b"SUB > 1\r\n").unwrap();
        b.sync();
        on.listen("$SYS.ACCOUNT.A.>");
        drop(join(&on.server, "a"));
        on.event("ACCOUNT.A.DISCONNECT");
        assert_eq!(b.sync(), Vec::<Vec<u8>>::new());
    }
}

/// EVT-010: both accounts are told of when a client says CONNECT again for another one.
#[test]
fn a_client_that_changes_its_account_is_counted_in_both() {
    for mut on in both() {
        let mut client = join(&on.server, "a");
        for subject in ["$SYS.ACCOUNT.A.>", "$SYS.ACCOUNT.B.>"] {
            on.listen(subject);
        }
        client.send(b"CONNECT {\"user\":\"b\",\"pass\":\"b\"}\r\n").unwrap();
        assert_eq!(on.event("ACCOUNT.A.SERVER.CONNS")["conns"], 0);
        assert_eq!(on.event("ACCOUNT.B.SERVER.CONNS")["conns"], 1);
        assert_eq!(on.event("ACCOUNT.B.CONNECT")["client"]["user"], "b");
    }
}
