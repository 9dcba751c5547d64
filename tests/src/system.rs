//! A client that asks the server in the system account, or what other accounts may ask there.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::{Client, PATIENCE};

/// How long no answer must come.
const QUIET: Duration = Duration::from_millis(700);

/// A client whose password is its name, with an inbox.
pub fn join(address: SocketAddr, user: &str) -> Client {
    let options = format!(
        r#""user":"{user}","pass":"{user}","name":"n-{user}","lang":"test","version":"1","headers":true,"no_responders":true"#
    );
    let mut client = Client::join(address, &options).unwrap();
    client.send(b"SUB _INBOX.> 1\r\n").unwrap();
    client.sync();
    client
}

/// The answer on the inbox; `None`: none came, or there is nobody to give one.
pub fn request(client: &mut Client, subject: &str, body: &str) -> Option<Value> {
    client.send(format!("PUB {subject} _INBOX.x {}\r\n{body}\r\n", body.len()).as_bytes()).unwrap();
    client.set_patience(QUIET);
    let answer = loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"MSG _INBOX.x ") => break Some(payload(&op)),
            Ok(op) if op.starts_with(b"HMSG _INBOX.x ") => break None,
            Ok(op) if op == b"PING\r\n" => client.send(b"PONG\r\n").unwrap(),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    client.set_patience(PATIENCE);
    answer
}

fn payload(op: &[u8]) -> Value {
    let text = String::from_utf8_lossy(op);
    let (_, body) = text.split_once("\r\n").unwrap();
    serde_json::from_str(body.trim_end()).unwrap_or_else(|_| panic!("no JSON: {text}"))
}
