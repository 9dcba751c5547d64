//! A client of the JetStream API for tests: requests with JSON, publishes with acks, fetches with acknowledgements.
//!
//! A lost connection is an answer here and not a panic, as tests kill servers.

use crate::client::NoOp;
use crate::server::{Folder, natsd, reference};
use crate::{Client, Launch, Server};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// The connection is gone, or nothing came in time.
#[derive(Debug)]
pub struct Lost;

/// One client with its inbox.
pub struct JetStream {
    client: Client,
    inbox: String,
    next: u64,
    /// The number of the last subscription.
    listening: u64,
}

/// Runs a test on natsd and, where it is at hand, on the reference: each with a stream `S` of the subject `s`.
pub fn on_each_server(mut test: impl FnMut(&Server, &mut JetStream)) {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!("jetstream {{ store_dir: \"{}\" }}\n", store.path().display());
        let server = Launch::new(program).config(config).start();
        let mut client = JetStream::join(server.address(), "test").expect("a connection");
        let stream = json!({"name": "S", "subjects": ["s"]});
        let made = client.api("STREAM.CREATE.S", &stream).expect("an answer");
        assert!(made["error"].is_null(), "{made}");
        test(&server, &mut client);
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub subject: String,
    /// Of the subscription.
    pub sid: String,
    pub reply: String,
    /// With the status line.
    pub headers: String,
    pub payload: Vec<u8>,
}

impl Received {
    /// Sequence in the stream, from the subject of its acknowledgement (JC-081).
    pub fn stream_seq(&self) -> u64 {
        self.reply.split('.').nth(5).and_then(|token| token.parse().ok()).unwrap_or(0)
    }

    /// How often it was delivered.
    pub fn deliveries(&self) -> u64 {
        self.reply.split('.').nth(4).and_then(|token| token.parse().ok()).unwrap_or(0)
    }

    pub fn is_status(&self) -> bool {
        self.reply.is_empty() && self.payload.is_empty() && self.headers.starts_with("NATS/1.0 ")
    }
}

impl JetStream {
    pub fn join(address: SocketAddr, name: &str) -> Result<Self, Lost> {
        Self::join_as(address, name, "")
    }

    /// The same, with more fields of CONNECT.
    pub fn join_as(address: SocketAddr, name: &str, fields: &str) -> Result<Self, Lost> {
        let comma = if fields.is_empty() { "" } else { "," };
        let fields = format!(r#""headers":true,"no_responders":true{comma}{fields}"#);
        let mut client = Client::join(address, &fields).map_err(|_| Lost)?;
        let inbox = format!("_INBOX.{name}");
        client.send(format!("SUB {inbox}.> 1\r\n").as_bytes()).map_err(|_| Lost)?;
        Ok(Self { client, inbox, next: 0, listening: 1 })
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.client.set_patience(patience);
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.client.send(bytes).map_err(|_| Lost)
    }

    /// Messages on the subject come as well.
    pub fn listen(&mut self, subject: &str) -> Result<(), Lost> {
        self.listening += 1;
        let line = format!("SUB {subject} {}\r\n", self.listening);
        self.send(line.as_bytes())
    }

    /// A subject of the inbox that was not used before.
    pub fn reply(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", self.inbox, self.next)
    }

    /// The next message, whatever it answers.
    pub fn next_message(&mut self) -> Result<Received, Lost> {
        loop {
            match self.client.next_op() {
                Ok(op) if op == b"PING\r\n" => self.send(b"PONG\r\n")?,
                Ok(op) => {
                    if let Some(message) = parse(&op) {
                        return Ok(message);
                    }
                }
                Err(NoOp::Closed { .. } | NoOp::Silent { .. }) => return Err(Lost),
            }
        }
    }

    /// The next message on a subject; others are dropped.
    pub fn next_on(&mut self, subject: &str) -> Result<Received, Lost> {
        loop {
            let message = self.next_message()?;
            if message.subject == subject {
                return Ok(message);
            }
        }
    }

    /// A request under `$JS.API.` and its answer.
    pub fn api(&mut self, subject: &str, body: &Value) -> Result<Value, Lost> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.request(&format!("$JS.API.{subject}"), body.as_bytes())?;
        serde_json::from_slice(&answer.payload).map_err(|_| Lost)
    }

    pub fn request(&mut self, subject: &str, body: &[u8]) -> Result<Received, Lost> {
        let reply = self.reply();
        self.publish(subject, &reply, body)?;
        self.next_on(&reply)
    }

    pub fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) -> Result<(), Lost> {
        let mut bytes = format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes)
    }

    /// Publishes and answers with the sequence that the ack says.
    pub fn store(&mut self, subject: &str, payload: &[u8]) -> Result<u64, Lost> {
        let ack = self.request(subject, payload)?;
        let ack: Value = serde_json::from_slice(&ack.payload).map_err(|_| Lost)?;
        ack["seq"].as_u64().filter(|_| ack["error"].is_null()).ok_or(Lost)
    }

    /// What a pull with `no_wait` gives, and whether it ended as it should.
    pub fn fetch(&mut self, stream: &str, consumer: &str, batch: usize) -> Result<Vec<Received>, Lost> {
        let reply = self.reply();
        let body = json!({"batch": batch, "no_wait": true}).to_string();
        self.publish(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), &reply, body.as_bytes())?;
        let mut messages = Vec::new();
        while messages.len() < batch {
            let message = self.next_message()?;
            // A message to a pull carries the stored subject: only a status has the request's own.
            match message.is_status() {
                true if message.subject == reply => break,
                true => {}
                false => messages.push(message),
            }
        }
        Ok(messages)
    }

    /// Acknowledges and waits for the server to say that it knows.
    pub fn double_ack(&mut self, message: &Received) -> Result<(), Lost> {
        self.request(&message.reply, b"+ACK").map(drop)
    }
}

fn parse(op: &[u8]) -> Option<Received> {
    let line_len = op.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&op[..line_len]).ok()?;
    let body = &op[line_len + 2..op.len() - 2];
    let args: Vec<&str> = line.split(' ').collect();
    let (header_len, reply) = match args[..] {
        ["MSG", _, _, _] => (0, ""),
        ["MSG", _, _, reply, _] => (0, reply),
        ["HMSG", _, _, len, _] => (len.parse().ok()?, ""),
        ["HMSG", _, _, reply, len, _] => (len.parse().ok()?, reply),
        _ => return None,
    };
    Some(Received {
        subject: args[1].to_owned(),
        sid: args[2].to_owned(),
        reply: reply.to_owned(),
        headers: String::from_utf8_lossy(&body[..header_len]).into_owned(),
        payload: body[header_len..].to_vec(),
    })
}
