//! Operators, accounts and users for tests: keys that are the same for the same name, and tokens signed with them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::NoOp;
use crate::nkey::crc16;
use crate::{Client, Server};

/// A key pair of a role: `O` operator, `A` account, `U` user.
#[derive(Clone)]
pub struct Key {
    prefix: u8,
    signing: SigningKey,
}

impl Key {
    pub fn operator(name: &str) -> Self {
        Self::of(14, name)
    }

    pub fn account(name: &str) -> Self {
        Self::of(0, name)
    }

    pub fn user(name: &str) -> Self {
        Self::of(20, name)
    }

    fn of(letter: u8, name: &str) -> Self {
        let seed = Sha256::digest(format!("{letter} {name}"));
        Self { prefix: letter << 3, signing: SigningKey::from_bytes(&seed.into()) }
    }

    pub fn public(&self) -> String {
        let mut raw = vec![self.prefix];
        raw.extend_from_slice(self.signing.verifying_key().as_bytes());
        let check = crc16(&raw).to_le_bytes();
        raw.extend_from_slice(&check);
        BASE32_NOPAD.encode(&raw)
    }

    pub fn sign(&self, text: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.signing.sign(text).to_bytes())
    }

    /// A token with these claims in the names of this key.
    pub fn token(&self, claims: Value) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let body = part(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#) + "." + &part(&claims.to_string());
        format!("{body}.{}", self.sign(body.as_bytes()))
    }
}

pub fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Puts the fields of `over` over those of `base`, objects within objects.
pub fn merged(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (name, value) in over {
                let old = base.remove(&name).unwrap_or(Value::Null);
                base.insert(name, merged(old, value));
            }
            Value::Object(base)
        }
        (_, over) => over,
    }
}

/// An operator with a system account, and tokens in its name.
pub struct Realm {
    pub operator: Key,
    pub system: Key,
}

impl Default for Realm {
    fn default() -> Self {
        Self { operator: Key::operator("O"), system: Key::account("SYS") }
    }
}

impl Realm {
    pub fn operator_token(&self, more: Value) -> String {
        let own = self.operator.public();
        let nats = json!({"type": "operator", "version": 2, "system_account": self.system.public()});
        let claims = json!({"iss": own, "sub": own, "name": "O", "iat": unix_s(), "nats": nats});
        self.operator.token(merged(claims, more))
    }

    /// An account without limits; `more` lies over the claims.
    pub fn account_token(&self, account: &Key, more: Value) -> String {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1
        });
        let nats = json!({"type": "account", "version": 2, "limits": limits});
        let sub = account.public();
        let claims =
            json!({"iss": self.operator.public(), "sub": sub, "name": "A", "iat": unix_s(), "nats": nats});
        self.operator.token(merged(claims, more))
    }

    /// A configuration with the MEMORY resolver and these accounts.
    pub fn config(&self, accounts: &[(&Key, Value)]) -> String {
        let mut preload = String::new();
        for (key, more) in accounts {
            preload += &format!("  {}: {}\n", key.public(), self.account_token(key, more.clone()));
        }
        let system = format!("  {}: {}\n", self.system.public(), self.account_token(&self.system, json!({})));
        let operator = self.operator_token(json!({}));
        format!("operator: {operator}\nresolver: MEMORY\nresolver_preload {{\n{system}{preload}}}\n")
    }
}

/// A user without limits, signed by an account's key (or a signing key: name the account in `more`).
pub fn user_token(signer: &Key, user: &Key, more: Value) -> String {
    let nats = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let claims =
        json!({"iss": signer.public(), "sub": user.public(), "name": "u", "iat": unix_s(), "nats": nats});
    signer.token(merged(claims, more))
}

/// The nonce of an INFO line.
pub fn nonce(info: &[u8]) -> String {
    let json = info.strip_prefix(b"INFO ").unwrap_or(info);
    let info: Value = serde_json::from_slice(json).unwrap_or_default();
    info["nonce"].as_str().unwrap_or_default().to_owned()
}

/// CONNECT with a JWT, the nonce signed by the user's key; PING follows, its answer is not yet read.
pub fn login(client: &mut Client, token: &str, user: Option<&Key>, more: &str) {
    let info = client.expect_op("INFO ");
    let sig = user.map(|user| user.sign(nonce(&info).as_bytes())).unwrap_or_default();
    let comma = if more.is_empty() { "" } else { "," };
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"jwt\":\"{token}\",\"sig\":\"{sig}\"{comma}{more}}}\r\nPING\r\n"
    );
    // A refusal may come before all of it is sent.
    let _ = client.send(connect.as_bytes());
}

/// What becomes of a login: `PONG`, or the error.
pub fn attempt(server: &Server, token: &str, user: Option<&Key>, more: &str) -> String {
    let mut client = server.connect();
    login(&mut client, token, user, more);
    loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"INFO") => {}
            Ok(op) => return String::from_utf8_lossy(&op).trim().to_owned(),
            Err(NoOp::Closed { .. }) => return "closed".to_owned(),
            Err(NoOp::Silent { .. }) => return "silent".to_owned(),
        }
    }
}

/// A client that is let in.
pub fn join(server: &Server, token: &str, user: &Key) -> Client {
    let mut client = server.connect();
    login(&mut client, token, Some(user), "");
    client.expect_op("PONG");
    client
}

/// Sends a request in the system account and returns the body of the answer.
pub fn request(client: &mut Client, subject: &str, body: &str) -> String {
    // A reply of its own each time: answers may have several messages.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let len = body.len();
    let text = format!("SUB answer.{n} {n}\r\nUNSUB {n} 1\r\nPUB {subject} answer.{n} {len}\r\n{body}\r\n");
    client.send(text.as_bytes()).expect("the server takes requests");
    let op = loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"MSG") || op.starts_with(b"HMSG") => break op,
            Ok(_) => {}
            Err(why) => panic!("no answer to {subject}: {why:?}"),
        }
    };
    let text = String::from_utf8_lossy(&op).into_owned();
    if text.starts_with("HMSG") {
        return "no responders".to_owned();
    }
    text.split_once("\r\n").map_or("", |(_, body)| body).trim_end().to_owned()
}

/// `data` or `error` of an answer, without the server.
pub fn outcome(answer: &str) -> Value {
    let mut answer: Value = serde_json::from_str(answer).unwrap_or_else(|_| json!(answer));
    if let Some(answer) = answer.as_object_mut() {
        assert!(answer["server"]["id"].is_string(), "{answer:?}");
        answer.remove("server");
    }
    answer
}
