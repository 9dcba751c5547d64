//! Scripts of API requests and their recorded replies (`tests/jetstream/requests/*.txt`).
//!
//! ```text
//! == name (FACTS)                          a case, on a server of its own
//! config                                   beside `jetstream {}`, in lines that begin with two spaces
//! + Header: value                          of the next request
//! > STREAM.INFO.S {"body":1}               a request under $JS.API.
//! >> some.subject body                     a request to any subject
//! >* DIRECT.GET.S {"batch":2}              a request with more than one reply
//! < {"type":…}                             what was answered: JSON, or headers and payload as text, or silence
//! ```
//!
//! In a body, `<<x*500>>` stands for 500 times x. Times, ids and versions are masked, in what is recorded and in
//! what is compared. Of JSON the order of keys does not count.

use crate::jetstream::{JetStream, Lost, Received};
use crate::{Launch, Server};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

pub const SILENCE: &str = "(silence)";
/// How long no answer must come.
const QUIET: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Script {
    pub cases: Vec<Case>,
    lines: Vec<String>,
}

pub struct Case {
    pub name: String,
    pub facts: Vec<String>,
    config: String,
    pub requests: Vec<Request>,
}

pub struct Request {
    /// Counted from 1.
    pub line: usize,
    pub subject: String,
    body: String,
    headers: Vec<String>,
    takes_many: bool,
    pub expected: Vec<String>,
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut cases: Vec<Case> = Vec::new();
        let mut headers = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let number = at + 1;
            let problem = |what: &str| format!("line {number}: {what}: {line}");
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(title) = line.strip_prefix("== ") {
                let (name, facts) =
                    title.split_once(" (").ok_or_else(|| problem("expected `== name (FACTS)`"))?;
                let facts = facts.trim_end_matches(')').split_whitespace().map(str::to_owned).collect();
                cases.push(Case {
                    name: name.to_owned(),
                    facts,
                    config: String::new(),
                    requests: Vec::new(),
                });
                continue;
            }
            let case = cases.last_mut().ok_or_else(|| problem("before the first `== case`"))?;
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                "config" => {}
                "" => case.config += &format!("{}\n", rest.trim_start()),
                "+" => headers.push(rest.to_owned()),
                ">" | ">>" | ">*" => {
                    let (subject, body) = rest.split_once(' ').unwrap_or((rest, ""));
                    let prefix = if mark == ">>" { "" } else { "$JS.API." };
                    case.requests.push(Request {
                        line: number,
                        subject: format!("{prefix}{subject}"),
                        body: repeated(body),
                        headers: std::mem::take(&mut headers),
                        takes_many: mark == ">*",
                        expected: Vec::new(),
                    });
                }
                "<" => {
                    let request =
                        case.requests.last_mut().ok_or_else(|| problem("an answer before any request"))?;
                    request.expected.push(rest.to_owned());
                }
                _ => return Err(problem("unknown line")),
            }
        }
        Ok(Self { cases, lines })
    }

    pub fn requests(&self) -> usize {
        self.cases.iter().map(|case| case.requests.len()).sum()
    }

    /// The file with what was seen, one list of answers a request, as it is recorded.
    pub fn with_answers(&self, seen: &[Vec<Vec<String>>]) -> String {
        let requests = self.cases.iter().flat_map(|case| &case.requests);
        let answers: Vec<(usize, &Vec<String>)> =
            requests.map(|request| request.line).zip(seen.iter().flatten()).collect();
        let mut text = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            if !line.starts_with("< ") {
                text += &format!("{line}\n");
            }
            for (_, answers) in answers.iter().filter(|(number, _)| *number == at + 1) {
                for answer in *answers {
                    text += &format!("< {answer}\n");
                }
            }
        }
        text
    }
}

/// Puts in what `<<x*500>>` stands for.
fn repeated(body: &str) -> String {
    let Some((before, rest)) = body.split_once("<<") else { return body.to_owned() };
    let Some((what, after)) = rest.split_once(">>") else { return body.to_owned() };
    match what.split_once('*').and_then(|(text, count)| Some((text, count.parse().ok()?))) {
        Some((text, count)) => format!("{before}{}{}", text.repeat(count), repeated(after)),
        None => body.to_owned(),
    }
}

impl Case {
    /// The masked answers of a server to each request.
    pub fn play(&self, program: &Path, is_recording: bool) -> Vec<Vec<String>> {
        let block = "jetstream { store_dir: \"{{dir}}/store\", max_mem: 1G, max_file: 1G }\n";
        let block = if self.config.contains("jetstream {") { "" } else { block };
        let config = format!("server_name: SERVER\n{block}{}", self.config);
        let server = Launch::new(program).config(config).start();
        let mut client = self.client(&server);
        let answers = self.requests.iter().map(|request| {
            let silent = request.expected.iter().any(|answer| answer == SILENCE);
            client.set_patience(if is_recording || silent { QUIET } else { PATIENCE });
            request.play(&mut client)
        });
        answers.collect()
    }

    fn client(&self, server: &Server) -> JetStream {
        JetStream::join(server.address(), "requests").expect("the server accepts connections")
    }
}

impl Request {
    fn play(&self, client: &mut JetStream) -> Vec<String> {
        let reply = client.reply();
        self.send(client, &reply).expect("the connection is open");
        let mut answers = Vec::new();
        loop {
            match client.next_message() {
                Ok(message) if self.is_answer(&message, &reply) => {
                    answers.push(shown(&message));
                    if !self.takes_many || message.headers.starts_with("NATS/1.0 ") {
                        return answers;
                    }
                }
                Ok(_) => {}
                Err(Lost) if answers.is_empty() => return vec![SILENCE.to_owned()],
                Err(Lost) => return answers,
            }
        }
    }

    /// What comes to the inbox of a pull has the stored subject.
    fn is_answer(&self, message: &Received, reply: &str) -> bool {
        message.subject == reply || self.subject.contains(".MSG.NEXT.")
    }

    fn send(&self, client: &mut JetStream, reply: &str) -> Result<(), Lost> {
        if self.headers.is_empty() {
            return client.publish(&self.subject, reply, self.body.as_bytes());
        }
        let headers = format!("NATS/1.0\r\n{}\r\n\r\n", self.headers.join("\r\n"));
        let (header_len, total_len) = (headers.len(), headers.len() + self.body.len());
        let subject = &self.subject;
        client.send(
            format!("HPUB {subject} {reply} {header_len} {total_len}\r\n{headers}{}\r\n", self.body)
                .as_bytes(),
        )
    }

    /// How the answers differ from the recorded ones, if they do.
    pub fn difference(&self, seen: &[String]) -> Option<String> {
        let is_same = seen.len() == self.expected.len()
            && seen.iter().zip(&self.expected).all(|(seen, expected)| same(seen, expected));
        if is_same {
            return None;
        }
        let lines = |mark: char, answers: &[String]| -> String {
            answers.iter().map(|answer| format!("    {mark} {answer}\n")).collect()
        };
        let body: String = self.body.chars().take(200).collect();
        Some(format!(
            "  line {}: {} {body}\n{}{}",
            self.line,
            self.subject,
            lines('-', &self.expected),
            lines('+', seen)
        ))
    }
}

fn same(one: &str, other: &str) -> bool {
    match (serde_json::from_str::<Value>(one), serde_json::from_str::<Value>(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// An answer on one line, masked.
fn shown(message: &Received) -> String {
    let payload = String::from_utf8_lossy(&message.payload);
    let payload = match serde_json::from_str::<Value>(&payload) {
        Ok(value @ Value::Object(_)) => masked(value, "").to_string(),
        _ => payload.into_owned(),
    };
    if message.headers.is_empty() {
        return payload;
    }
    let lines = message.headers.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name @ "Nats-Time-Stamp", _)) => format!("{name}: TIME"),
        _ => line.to_owned(),
    });
    format!("{}{payload}", lines.collect::<Vec<_>>().join("\\r\\n"))
}

fn masked(value: Value, key: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                let value = masked(value, &key);
                (key, value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| masked(item, key)).collect()),
        Value::String(text) => Value::String(masked_text(text, key)),
        Value::Number(_) if key == "pause_remaining" => "TIME".into(),
        value => value,
    }
}

fn masked_text(text: String, key: &str) -> String {
    match key {
        "created" | "ts" | "time" | "first_ts" | "last_ts" | "last_active" | "timestamp"
            if !text.starts_with("0001-") =>
        {
            "TIME".to_owned()
        }
        "_nats.ver" => "VERSION".to_owned(),
        "id" | "pinned_client_id" => "ID".to_owned(),
        "deliver_subject" if text.starts_with("$JS.SNAPSHOT.") => {
            let (prefix, _) = text.rsplit_once('.').unwrap_or((&text, ""));
            format!("{prefix}.ID")
        }
        // Made up by the server.
        "name" if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            "NAME".to_owned()
        }
        _ => text,
    }
}
