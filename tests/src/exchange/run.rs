//! Plays one case on a server of its own and writes down the answers.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::script::{Action, Case, ClientAction, Opening, Step};
use super::tokens::Claims;
use super::{message, normalise, service, text, tokens};
use crate::certs::Certs;
use crate::client::NoOp;
use crate::jwt::{self, Key};
use crate::nkey::UserKey;
use crate::{Client, Launch, PATIENCE, Server};

/// What happened: the answers of each step that was played, and why not all were.
pub struct Played {
    pub answers: Vec<Vec<String>>,
    pub failure: Option<String>,
}

/// Plays all steps, or as many as can be.
pub fn play(case: &Case, program: &Path) -> Played {
    let mut played = Played { answers: Vec::new(), failure: None };
    let mut session = match Session::start(case, program) {
        Ok(session) => session,
        Err(why) => {
            played.failure = Some(why);
            return played;
        }
    };
    for step in &case.steps {
        match session.step(&step.action) {
            Ok(()) => {
                let mut answers = std::mem::take(&mut session.answers);
                if case.any_order {
                    answers.sort();
                }
                answers = answers.into_iter().map(|answer| tokens::named(case, answer)).collect();
                played.answers.push(answers);
            }
            Err(why) => {
                let got = session.answers.join("\n    ");
                let log = session.server.log().text();
                let at = format!("line {}: `{}`: {why}", step.line, step.text);
                played.failure = Some(format!("{at}\n  had come:\n    {got}\n  log:\n{log}"));
                break;
            }
        }
    }
    played
}

/// What a server answered otherwise than the file says, or None.
pub fn difference(case: &Case, played: &Played) -> Option<String> {
    let wrong = |(step, seen): (&Step, &Vec<String>)| {
        (step.expected != *seen).then(|| {
            let expected = step.expected.join("\n  - ");
            let seen = seen.join("\n  + ");
            format!("line {}: `{}`\n  - {expected}\n  + {seen}\n", step.line, step.text)
        })
    };
    let mut text: String = case.steps.iter().zip(&played.answers).filter_map(wrong).collect();
    if let Some(failure) = &played.failure {
        text.push_str(failure);
    }
    (!text.is_empty()).then_some(text)
}

struct Session<'a> {
    claims: &'a Claims,
    // Before the certificates, so that the server ends first.
    server: Server,
    certs: OnceLock<Certs>,
    clients: BTreeMap<String, Peer>,
    json: bool,
    any_sid: bool,
    answers: Vec<String>,
}

/// A client of the script, also after its connection is gone.
#[derive(Default)]
struct Peer {
    connection: Option<Client>,
    nonce: String,
    port: u16,
    /// The reply of the last message with one.
    reply: String,
    /// The last message.
    message: Vec<u8>,
}

impl<'a> Session<'a> {
    fn start(case: &'a Case, program: &Path) -> Result<Self, String> {
        let certs = OnceLock::new();
        let mut launch = Launch::new(program).arg("-D");
        let mut config = config_text(case.config.as_deref().unwrap_or_default(), &certs)?;
        if !case.claims.is_empty() {
            config = case.claims.config()? + &config;
        }
        if !config.is_empty() {
            launch = launch.config(config);
        }
        for arg in &case.args {
            launch = launch.arg(config_text(arg, &certs)?);
        }
        for (name, text) in &case.files {
            launch = launch.file(name, config_text(text, &certs)?);
        }
        let server = launch.try_start()?;
        Ok(Self {
            claims: &case.claims,
            server,
            certs,
            clients: BTreeMap::new(),
            json: case.json,
            any_sid: case.any_sid,
            answers: Vec::new(),
        })
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Client { name, action } => self.client_step(name, action),
            Action::Log(text) => match self.server.log().wait_for(text, PATIENCE) {
                true => Ok(()),
                false => Err("no such line in the log".into()),
            },
            Action::NoLog(text) => match self.server.log().contains(text) {
                true => Err("the log has such a line".into()),
                false => Ok(()),
            },
            Action::Signal(name) => {
                self.server.signal(signal_named(name)?);
                Ok(())
            }
            Action::Reload(config) => {
                let outcome = self.server.reload(&config_text(config, &self.certs)?);
                self.answers.push(format!("server< {}", normalise::outcome(&outcome)));
                Ok(())
            }
            Action::Update { account, claims } => self.update(account, claims),
            Action::Refused => self.wait_until_refused(),
            Action::Exit => {
                let code = self.server.wait_for_exit(PATIENCE).ok_or("the process goes on")?;
                self.answers.push(format!("server< exit {code}"));
                Ok(())
            }
        }
    }

    fn client_step(&mut self, name: &str, action: &ClientAction) -> Result<(), String> {
        match action {
            ClientAction::Open { how, cert, record_info } => {
                self.open(name, *how, cert.as_deref(), *record_info)
            }
            ClientAction::Tls { cert, fails } => match (self.start_tls(name, cert.as_deref()), fails) {
                (Err(_), true) => Ok(()),
                (Ok(()), true) => Err("the handshake did not fail".into()),
                (outcome, false) => outcome,
            },
            ClientAction::Info => self.read_info(name, true),
            ClientAction::Join { fields } => self.join(name, fields),
            ClientAction::Rejoin { fields } => self.rejoin(name, fields),
            ClientAction::Login { signer, user, claims } => self.login(name, signer, user, claims),
            ClientAction::Answers { description } => self.answer(name, description),
            ClientAction::Repeat { text } => self.repeat(name, text),
            ClientAction::Send { text } => self.send(name, text),
            ClientAction::Dribble { text } => {
                let bytes = self.bytes(name, text)?;
                let client = self.connection(name)?;
                bytes.iter().try_for_each(|byte| client.send(&[*byte])).map_err(|error| error.to_string())
            }
            ClientAction::Sync => self.sync(name),
            ClientAction::Read { count } => (0..*count).try_for_each(|_| self.read_op(name).map(|_| ())),
            ClientAction::Closed => self.until_closed(name),
            ClientAction::Close => {
                self.connection(name)?;
                self.peer(name).connection = None;
                Ok(())
            }
            ClientAction::HalfClose => self.connection(name)?.half_close().map_err(|error| error.to_string()),
        }
    }

    fn open(&mut self, name: &str, how: Opening, cert: Option<&str>, record: bool) -> Result<(), String> {
        let client =
            Client::open(self.server.address()).map_err(|error| format!("cannot connect: {error}"))?;
        let peer = self.peer(name);
        peer.port = client.local_port();
        peer.connection = Some(client);
        match how {
            Opening::Raw => Ok(()),
            Opening::Plain => self.read_info(name, record),
            Opening::Tls => self.read_info(name, record).and_then(|()| self.start_tls(name, cert)),
            Opening::TlsFirst => self.start_tls(name, cert).and_then(|()| self.read_info(name, record)),
        }
    }

    fn join(&mut self, name: &str, fields: &str) -> Result<(), String> {
        self.open(name, Opening::Plain, None, false)?;
        let comma = if fields.is_empty() { "" } else { "," };
        let connect = format!(r#"CONNECT {{"verbose":false,"pedantic":false{comma}{fields}}}\r\n"#);
        self.send(name, &connect)
    }

    fn rejoin(&mut self, name: &str, fields: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let joined = self.join(name, fields).and_then(|()| self.sync(name));
            self.answers.clear();
            if joined.is_ok() || Instant::now() > deadline {
                return joined;
            }
        }
    }

    fn repeat(&mut self, name: &str, text: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.answers.is_empty() {
            if Instant::now() > deadline {
                return Err("nothing but PONG came".into());
            }
            self.send(name, text)?;
            self.sync(name)?;
        }
        Ok(())
    }

    fn login(&mut self, name: &str, signer: &str, user: &str, claims: &str) -> Result<(), String> {
        self.open(name, Opening::Plain, None, false)?;
        let key = Key::user(if user == "-" { name } else { user });
        let token = self.claims.user(signer, if user == "-" { name } else { user }, claims)?;
        let nonce = &self.peer(name).nonce;
        let sig = if user == "-" { String::new() } else { key.sign(nonce.as_bytes()) };
        let fields = format!(r#""headers":true,"no_responders":true,"jwt":"{token}","sig":"{sig}""#);
        self.send(name, &format!(r#"CONNECT {{"verbose":false,"pedantic":false,{fields}}}\r\n"#))
    }

    fn answer(&mut self, name: &str, description: &str) -> Result<(), String> {
        let description = self.claims.json(description)?;
        let peer = self.peer(name);
        let (reply, body) = (peer.reply.clone(), service::answer(&peer.message, &description)?);
        let line = format!("PUB {reply} {}\r\n{body}\r\n", body.len());
        self.connection(name)?.send(line.as_bytes()).map_err(|error| error.to_string())
    }

    /// New claims for an account, as an administrator in the system account pushes them.
    fn update(&mut self, account: &str, claims: &str) -> Result<(), String> {
        let token = self.claims.account(account, claims)?;
        let admin = Key::user("admin");
        let mut client = Client::open(self.server.address()).map_err(|error| error.to_string())?;
        jwt::login(&mut client, &self.claims.user("SYS", "admin", "{}")?, Some(&admin), "");
        client.expect_op("PONG");
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", Key::account(account).public());
        let request = format!("SUB answer 1\r\nPUB {subject} answer {}\r\n{token}\r\n", token.len());
        client.send(request.as_bytes()).map_err(|error| error.to_string())?;
        let answer = client.expect_op("MSG answer");
        let answer = String::from_utf8_lossy(&answer);
        let body = answer.split_once("\r\n").map_or("", |(_, body)| body.trim_end());
        let body: serde_json::Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let told = [&body["data"]["message"], &body["error"]["description"]];
        let told = told.iter().find_map(|text| text.as_str()).ok_or("an answer that says nothing")?;
        self.answers.push(format!("server< {told}"));
        Ok(())
    }

    fn start_tls(&mut self, name: &str, cert: Option<&str>) -> Result<(), String> {
        let config = self.certs.get_or_init(Certs::new).client_config(cert);
        self.connection(name)?;
        let plain = self.peer(name).connection.take().ok_or("no connection")?;
        let tls = plain.start_tls(config).map_err(|error| format!("TLS: {error}"))?;
        self.peer(name).connection = Some(tls);
        Ok(())
    }

    fn read_info(&mut self, name: &str, record: bool) -> Result<(), String> {
        let answers_before = self.answers.len();
        let op = self.read_op(name)?;
        let op = String::from_utf8_lossy(&op);
        let json = op.strip_prefix("INFO ").ok_or("this is no INFO")?;
        let info: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if let Some(nonce) = info.get("nonce").and_then(|nonce| nonce.as_str()) {
            self.peer(name).nonce = nonce.to_owned();
        }
        if !record {
            self.answers.truncate(answers_before);
        }
        Ok(())
    }

    fn send(&mut self, name: &str, text: &str) -> Result<(), String> {
        let bytes = self.bytes(name, text)?;
        self.connection(name)?.send(&bytes).map_err(|error| error.to_string())
    }

    fn bytes(&self, name: &str, text: &str) -> Result<Vec<u8>, String> {
        let nonce = self.clients.get(name).map_or("", |peer| &peer.nonce);
        text::unescape(text, &|field| {
            let (what, argument) = field.split_once(':').unwrap_or((field, ""));
            match what {
                "A" | "U" => Ok(self.claims.field(field)?.unwrap_or_default()),
                "nonce" => Ok(nonce.to_owned()),
                "reply" => match self.clients.get(argument) {
                    Some(peer) if !peer.reply.is_empty() => Ok(peer.reply.clone()),
                    _ => Err(format!("no message with a reply came to {argument}")),
                },
                "nkey" => Ok(UserKey::named(argument).public()),
                "sign" => Ok(UserKey::named(argument).sign(nonce)),
                "sign64" => Ok(UserKey::named(argument).sign_padded(nonce)),
                "port" => {
                    let peer = self.clients.get(argument).ok_or_else(|| format!("no client {argument}"))?;
                    Ok(peer.port.to_string())
                }
                _ => Err(format!("unknown field {field}")),
            }
        })
    }

    fn sync(&mut self, name: &str) -> Result<(), String> {
        self.connection(name)?.send(b"PING\r\n").map_err(|error| error.to_string())?;
        while self.read_op(name)? != b"PONG\r\n" {}
        self.answers.pop();
        Ok(())
    }

    fn read_op(&mut self, name: &str) -> Result<Vec<u8>, String> {
        match self.connection(name)?.next_op() {
            Ok(op) => {
                self.record(name, &op);
                Ok(op)
            }
            Err(NoOp::Closed { rest }) => {
                Err(format!("closed by the server after `{}`", text::escape(&rest)))
            }
            Err(NoOp::Silent { rest }) => Err(format!("silence after `{}`", text::escape(&rest))),
        }
    }

    fn until_closed(&mut self, name: &str) -> Result<(), String> {
        loop {
            match self.connection(name)?.next_op() {
                Ok(op) => self.record(name, &op),
                Err(NoOp::Closed { rest }) => {
                    if !rest.is_empty() {
                        self.record(name, &rest);
                    }
                    self.peer(name).connection = None;
                    return Ok(());
                }
                Err(NoOp::Silent { .. }) => return Err("the server does not close".into()),
            }
        }
    }

    fn record(&mut self, name: &str, op: &[u8]) {
        if is_message(op)
            && let Some(reply) = message::reply(op)
        {
            self.peer(name).reply = reply;
        }
        if is_message(op) {
            self.peer(name).message = op.to_vec();
        }
        let mut answer = match op.strip_suffix(b"\r\n") {
            None => format!("{name}<< {}", text::escape(op)),
            Some(line) if line.starts_with(b"INFO ") => {
                let line = String::from_utf8_lossy(line);
                format!("{name}< {}", normalise::info(&line, self.server.address().port()))
            }
            Some(op) if self.json && is_message(op) => {
                let shown = message::with_token(op).unwrap_or_else(|| message::json(op));
                format!("{name}< {shown}")
            }
            Some(op) => {
                let across = message::is_across_accounts(op);
                let shown = if across { message::across_accounts(op) } else { text::escape(op) };
                format!("{name}< {}", if self.any_sid { without_sid(&shown) } else { shown })
            }
        };
        // A blank at the end of a line is too easily lost in a file.
        if answer.ends_with(' ') {
            answer.truncate(answer.len() - 1);
            answer.push_str("\\x20");
        }
        self.answers.push(answer);
    }

    fn wait_until_refused(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.server.address()).is_ok() {
            if Instant::now() > deadline {
                return Err("connections are still accepted".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn peer(&mut self, name: &str) -> &mut Peer {
        self.clients.entry(name.to_owned()).or_default()
    }

    fn connection(&mut self, name: &str) -> Result<&mut Client, String> {
        let peer = self.clients.get_mut(name).and_then(|peer| peer.connection.as_mut());
        peer.ok_or_else(|| format!("{name} is not connected"))
    }
}

fn is_message(op: &[u8]) -> bool {
    op.starts_with(b"MSG ") || op.starts_with(b"HMSG ")
}

fn without_sid(shown: &str) -> String {
    let mut words: Vec<&str> = shown.split(' ').collect();
    if words.len() > 3 && matches!(words[0], "MSG" | "HMSG") {
        words[2] = "<sid>";
    }
    words.join(" ")
}

/// Fills in the fields of a config text. Others, like `{{wildcard(1)}}`, belong to the server.
fn config_text(text: &str, certs: &OnceLock<Certs>) -> Result<String, String> {
    let mut filled = text.to_owned();
    if filled.contains("{{certs}}") {
        let path = certs.get_or_init(Certs::new).path().to_string_lossy().into_owned();
        filled = filled.replace("{{certs}}", &path);
    }
    filled = fill(&filled, "{{pin:", |name| certs.get_or_init(Certs::new).pin(name))?;
    filled = fill(&filled, "{{A:", |name| Key::account(name).public())?;
    filled = fill(&filled, "{{U:", |name| Key::user(name).public())?;
    fill(&filled, "{{nkey:", |name| UserKey::named(name).public())
}

fn fill(text: &str, opening: &str, value: impl Fn(&str) -> String) -> Result<String, String> {
    let mut parts = text.split(opening);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").ok_or("`{{` without `}}` in the config")?;
        filled.push_str(&value(name));
        filled.push_str(rest);
    }
    Ok(filled)
}

fn signal_named(name: &str) -> Result<Signal, String> {
    Ok(match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        _ => return Err(format!("unknown signal {name}")),
    })
}
