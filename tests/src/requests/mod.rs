//! Scripts of API requests with their recorded replies (`tests/jetstream/requests/*.txt`).
//!
//! ```text
//! == name (FACTS)                          a case, on a server of its own
//! config                                   beside `jetstream {}`, in lines that begin with two spaces
//! + Header: value                          of the next request
//! > STREAM.INFO.S {"body":1}               a request under $JS.API.
//! >> some.subject body                     a request to any subject
//! >* DIRECT.GET.S {"batch":2}              a request with more than one reply
//! >- some.subject body                     a message without a reply subject
//! = SUBJECT                                from here on its messages are seen too
//! ~ 1500                                   so many milliseconds pass
//! < {"type":…}                             what was answered: JSON, or headers and payload as text, or silence
//! <+ SUBJECT REPLY …                       what else came until the next step: deliveries in order, then advisories
//! ```
//!
//! In a body, `<<x*500>>` stands for 500 times x, and `\r\n` for a line's end. A consumer may deliver to
//! `_INBOX.requests.…`. Times, ids and versions are masked, in what is recorded and in what is compared. Of JSON the
//! order of keys does not count. Everything that has a schema must fit it, before it is masked.

mod mask;
mod play;

use serde_json::Value;

pub const SILENCE: &str = "(silence)";

pub struct Script {
    pub cases: Vec<Case>,
    lines: Vec<String>,
}

pub struct Case {
    pub name: String,
    pub facts: Vec<String>,
    config: String,
    pub steps: Vec<Step>,
}

pub struct Step {
    /// Counted from 1.
    pub line: usize,
    act: Act,
    pub expected: Seen,
}

enum Act {
    Ask(Message),
    /// More than one answer.
    AskMany(Message),
    Tell(Message),
    Listen(String),
    Wait(u64),
}

struct Message {
    subject: String,
    body: String,
    headers: Vec<String>,
}

/// What came of a step, masked.
#[derive(Clone, Default)]
pub struct Seen {
    pub answers: Vec<String>,
    pub more: Vec<String>,
    /// What does not fit its schema.
    pub misfits: Vec<String>,
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
                let (config, steps) = (String::new(), Vec::new());
                cases.push(Case { name: name.to_owned(), facts, config, steps });
                continue;
            }
            let case = cases.last_mut().ok_or_else(|| problem("before the first `== case`"))?;
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            match mark {
                "config" => {}
                "" => case.config += &format!("{}\n", rest.trim_start()),
                "+" => headers.push(rest.to_owned()),
                "<" | "<+" => {
                    let step =
                        case.steps.last_mut().ok_or_else(|| problem("an answer before any request"))?;
                    let to = if mark == "<" { &mut step.expected.answers } else { &mut step.expected.more };
                    to.push(rest.to_owned());
                }
                _ => {
                    let act = act(mark, rest, &mut headers).ok_or_else(|| problem("unknown line"))?;
                    case.steps.push(Step { line: number, act, expected: Seen::default() });
                }
            }
        }
        Ok(Self { cases, lines })
    }

    /// Not counting what only listens or waits.
    pub fn requests(&self) -> usize {
        let steps = self.cases.iter().flat_map(|case| &case.steps);
        steps.filter(|step| matches!(step.act, Act::Ask(_) | Act::AskMany(_) | Act::Tell(_))).count()
    }

    /// The file with what was seen, in the order of all steps, as it is recorded.
    pub fn with_answers(&self, seen: &[Seen]) -> String {
        let lines = self.cases.iter().flat_map(|case| &case.steps).map(|step| step.line);
        let seen: Vec<(usize, &Seen)> = lines.zip(seen).collect();
        let mut text = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            if !line.starts_with("< ") && !line.starts_with("<+ ") {
                text += &format!("{line}\n");
            }
            for (_, seen) in seen.iter().filter(|(number, _)| *number == at + 1) {
                seen.answers.iter().for_each(|answer| text += &format!("< {answer}\n"));
                seen.more.iter().for_each(|more| text += &format!("<+ {more}\n"));
            }
        }
        text
    }
}

fn act(mark: &str, rest: &str, headers: &mut Vec<String>) -> Option<Act> {
    let (subject, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut message = |prefix: &str| Message {
        subject: format!("{prefix}{subject}"),
        body: repeated(body).replace("\\r\\n", "\r\n"),
        headers: std::mem::take(headers),
    };
    match mark {
        ">" => Some(Act::Ask(message("$JS.API."))),
        ">>" => Some(Act::Ask(message(""))),
        ">*" => Some(Act::AskMany(message("$JS.API."))),
        ">-" => Some(Act::Tell(message(""))),
        "=" => Some(Act::Listen(rest.to_owned())),
        "~" => rest.parse().ok().map(Act::Wait),
        _ => None,
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

impl Step {
    /// How what was seen differs from what is recorded, if it does.
    pub fn difference(&self, seen: &Seen) -> Option<String> {
        let is_same = all_same(&seen.answers, &self.expected.answers)
            && all_same(&seen.more, &self.expected.more)
            && seen.misfits.is_empty();
        if is_same {
            return None;
        }
        let mut text = format!("  line {}: {}\n", self.line, self.act);
        for (mark, lines) in [
            ("-", &self.expected.answers),
            ("+", &seen.answers),
            ("- <+", &self.expected.more),
            ("+ <+", &seen.more),
            ("no schema fits:", &seen.misfits),
        ] {
            lines.iter().for_each(|line| text += &format!("    {mark} {line}\n"));
        }
        Some(text)
    }
}

impl std::fmt::Display for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ask(message) | Self::AskMany(message) | Self::Tell(message) => {
                let body: String = message.body.chars().take(200).collect();
                write!(f, "{} {body}", message.subject)
            }
            Self::Listen(subject) => write!(f, "listen to {subject}"),
            Self::Wait(ms) => write!(f, "{ms} ms later"),
        }
    }
}

fn all_same(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| same(one, other))
}

/// What stands before the JSON counts as it is.
fn same(one: &str, other: &str) -> bool {
    let parts = |text: &str| -> Option<(String, Value)> {
        let start = text.find('{')?;
        Some((text[..start].to_owned(), serde_json::from_str(&text[start..]).ok()?))
    };
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
