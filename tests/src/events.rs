//! What the server tells in the system account: a client there that waits for events, and what a script of it has seen
//! compared with what the reference showed.
//!
//! What the reference says is kept in `monitoring/events/*.json`, so that tests work without it. Where there is a
//! reference it is asked again, and `RECORD=1` writes down what it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::server::{natsd, reference};
use crate::{Client, Launch, PATIENCE, Server};

/// Fields that say something only of one of the two servers, at any depth: nobody reads the first, the second is
/// natsd's own, and natsd syncs unless told otherwise.
const NOT_COMPARED: [&str; 3] = ["git_commit", "natsd", "sync_always"];

/// What a script has seen, by the name of the step.
pub type Seen = BTreeMap<String, Value>;

/// A server, and a client of its system account.
pub struct Watched {
    pub server: Server,
    pub system: Client,
    pub id: String,
    /// Events that came before the one that was waited for: the reference tells some in any order.
    early: Vec<(String, Value)>,
}

impl Watched {
    pub fn start(program: &Path, config: &str) -> Self {
        Self::of(Launch::new(program).config(config).start())
    }

    pub fn of(server: Server) -> Self {
        let mut system = join(&server, "s");
        system.send(b"SUB _INBOX.> 1\r\n").unwrap();
        let idz = request(&mut system, "$SYS.REQ.SERVER.PING.IDZ", "").unwrap();
        let id = idz["id"].as_str().unwrap().to_owned();
        Self { server, system, id, early: Vec::new() }
    }

    pub fn listen(&mut self, subject: &str) {
        let sid = subject.replace(['.', '*', '>'], "-");
        self.system.send(format!("SUB {subject} {sid}\r\n").as_bytes()).unwrap();
        self.system.sync();
    }

    /// The next event of which the subject ends so.
    pub fn event(&mut self, end: &str) -> Value {
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

    /// Asks this server; events that come before the answer are kept.
    pub fn ask(&mut self, kind: &str, body: &str) -> Option<Value> {
        let subject = format!("$SYS.REQ.SERVER.{}.{kind}", self.id);
        let mut early = Vec::new();
        let answer = request_beside(&mut self.system, &subject, body, |event| early.push(message(event)));
        self.early.append(&mut early);
        answer
    }
}

/// A client whose password is its name.
pub fn join(server: &Server, user: &str) -> Client {
    let options = format!(
        r#""user":"{user}","pass":"{user}","name":"n-{user}","lang":"test","version":"1","headers":true"#
    );
    let mut client = Client::join(server.address(), &options).unwrap();
    client.sync();
    client
}

/// Subject and JSON of a MSG.
pub fn message(op: &[u8]) -> (String, Value) {
    let text = String::from_utf8_lossy(op);
    let (line, body) = text.split_once("\r\n").unwrap();
    let subject = line.split_ascii_whitespace().nth(1).unwrap().to_owned();
    (subject, serde_json::from_str(body.trim_end()).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

/// The answer on an inbox that the client listens to; `None`: none came.
pub fn request(client: &mut Client, subject: &str, body: &str) -> Option<Value> {
    request_beside(client, subject, body, |_| {})
}

fn request_beside(
    client: &mut Client,
    subject: &str,
    body: &str,
    mut other: impl FnMut(&[u8]),
) -> Option<Value> {
    client.send(format!("PUB {subject} _INBOX.x {}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
    client.set_patience(Duration::from_millis(700));
    let answer = loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"MSG _INBOX.x ") => break Some(message(&op).1),
            Ok(op) if op == b"PING\r\n" => client.send(b"PONG\r\n").unwrap(),
            Ok(op) if op.starts_with(b"MSG ") => other(&op),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    client.set_patience(PATIENCE);
    answer
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

/// Runs a script on both, and checks natsd and the record.
pub fn same_as_the_reference(name: &str, script: fn(&Path) -> Seen) {
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
