//! The answers: what a request asks for, as JSON, or why not (SYS-005 to SYS-007, SYS-012 to SYS-016).
//!
//! Not here: subscriptions, and how an answer gets to who asked.

use super::options::{Body, BodyError};
use super::subjects::Topic;
use super::user;
use crate::events::Events;
use crate::expvar;
use crate::health;
use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{CloseReason, Error, ErrorKind, Host, Result, tracing};

/// What goes back.
pub enum Answer {
    /// With the server at its head, and compressed if that was asked for.
    Enveloped(Value),
    /// As it is.
    Bare(Value),
    /// This server has nothing to say.
    Silence,
}

/// Why there is no answer with data.
enum Refusal {
    Body(BodyError),
    /// With an empty place where the data would be.
    Data(String),
    /// Of what was to be done, where there are no data.
    Deed(String),
    /// Nobody is told.
    Silence,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Data(error.message().to_owned())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Refusal::Body(error)
    }
}

type Data = std::result::Result<Value, Refusal>;

/// Answers requests.
#[derive(Clone)]
pub struct Answers {
    pub host: Host,
    pub events: Events,
}

impl Answers {
    /// `origin`: the connection that asks. May take a while: large snapshots do.
    pub fn answer(&self, topic: &Topic, body: &[u8], origin: u64) -> Result<Answer> {
        let data = match topic {
            Topic::Server(kind) if kind == "IDZ" => {
                let server = self.events.server()?;
                let idz = json!({ "name": server["name"], "host": server["host"], "id": server["id"] });
                return Ok(Answer::Bare(idz));
            }
            Topic::Server(kind) if kind == "STATSZ" => match self.wanted(kind, body) {
                Ok(_) => return self.events.statsz_now().map(Answer::Bare),
                Err(refusal) => Err(refusal),
            },
            Topic::Account(account, kind) if kind == "CONNS" => {
                return if self.is_account(account)? {
                    self.events.account_connections_now(account).map(Answer::Bare)
                } else {
                    Ok(Answer::Silence)
                };
            }
            Topic::User => {
                let data = user::info(&self.host, origin)?;
                return Ok(Answer::Bare(json!({ "server": self.events.server()?, "data": data })));
            }
            Topic::Subscribers => return Ok(Answer::Silence),
            Topic::Server(kind) => self.of_server(kind, body),
            Topic::Account(account, kind) => self.of_account(account, kind, body),
        };
        self.envelope(data)
    }

    /// What became of a reload (SYS-003).
    pub fn reloaded(&self, outcome: Result<()>) -> Result<Answer> {
        self.envelope(match outcome {
            Ok(()) => Ok(Value::Null),
            Err(error) => Err(Refusal::Deed(error.message().to_owned())),
        })
    }

    /// SYS-005
    fn envelope(&self, data: Data) -> Result<Answer> {
        let error = |code: u16, text: String| json!({ "code": code, "description": text });
        let server = self.events.server()?;
        Ok(Answer::Enveloped(match data {
            // Of what was done there is nothing to tell.
            Ok(Value::Null) => json!({ "server": server }),
            Ok(data) => json!({ "server": server, "data": data }),
            Err(Refusal::Body(why)) => json!({ "server": server, "error": error(400, why.to_string()) }),
            Err(Refusal::Data(why)) => json!({ "server": server, "data": null, "error": error(500, why) }),
            Err(Refusal::Deed(why)) => json!({ "server": server, "error": error(500, why) }),
            Err(Refusal::Silence) => return Ok(Answer::Silence),
        }))
    }

    /// The options, if this server is meant (SYS-008).
    fn wanted(&self, kind: &str, body: &[u8]) -> std::result::Result<Body, Refusal> {
        let body = Body::parse(kind, body)?;
        if !body.picks() || body.means(&self.events.server()?) { Ok(body) } else { Err(Refusal::Silence) }
    }

    fn of_server(&self, kind: &str, body: &[u8]) -> Data {
        if matches!(kind, "KICK" | "LDM") {
            return self.to_connection(kind, body);
        }
        let body = self.wanted(kind, body)?;
        match kind {
            "HEALTHZ" => self.health(&body),
            "PROFILEZ" => Ok(no_profile(&body)),
            "EXPVARZ" => Ok(expvar::expvar(&self.host)?),
            // There are no queues and no Raft groups to show.
            "IPQUEUESZ" | "RAFTZ" => Ok(json!({})),
            kind => self.snapshot(kind, &body),
        }
    }

    fn of_account(&self, account: &str, kind: &str, body: &[u8]) -> Data {
        let mut body = self.wanted(kind, body)?;
        match kind {
            "CONNZ" => body.set("acc", account),
            "SUBSZ" => {
                body.set("account", account);
                body.set("subscriptions", true);
            }
            "JSZ" => return self.jetstream_of(account, body),
            "LEAFZ" => body.set("account", account),
            "INFO" => {
                body.set("account", account);
                let mut accountz = self.snapshot("ACCOUNTZ", &body)?;
                return Ok(accountz["account_detail"].take());
            }
            "STATZ" => {
                // In the system account this stands for all.
                if account != "PING" {
                    body.set("accounts", vec![account]);
                }
                let statz = self.snapshot("ACCSTATZ", &body)?;
                let is_empty = statz["account_statz"].as_array().is_none_or(Vec::is_empty);
                return if is_empty { Err(Refusal::Silence) } else { Ok(statz) };
            }
            _ => return Err(Refusal::Silence),
        }
        self.snapshot(kind, &body)
    }

    /// The account's part alone (MON-099).
    fn jetstream_of(&self, account: &str, mut body: Body) -> Data {
        let refused = |why: String| Err(Refusal::Data(why));
        if self.events.jetstream().is_none() {
            return refused("jetstream not enabled".to_owned());
        }
        if !self.is_account(account)? {
            return refused(format!("account {account:?} not found"));
        }
        body.set("account", account);
        match self.snapshot("JSZ", &body)?.pointer_mut("/account_details/0") {
            None => refused(format!("account {account:?} not jetstream enabled")),
            Some(detail) => Ok(detail.take()),
        }
    }

    /// The same data as over HTTP (SYS-010).
    fn snapshot(&self, kind: &str, body: &Body) -> Data {
        let name = kind.to_ascii_lowercase();
        Ok(self.events.snapshot(&name, &body.params())?)
    }

    fn health(&self, body: &Body) -> Data {
        let answer = health::check(&self.host, &body.params());
        let status_code = answer.status.as_u16();
        let told: Value = serde_json::from_str(answer.body()).map_err(Error::from)?;
        let mut data = json!({ "status": told["status"], "status_code": status_code });
        for name in ["error", "errors"] {
            if let Some(value) = told.get(name) {
                data[name] = value.clone();
            }
        }
        Ok(data)
    }

    /// SYS-003, SYS-007. Who asks for nobody in particular gets no answer.
    fn to_connection(&self, kind: &str, body: &[u8]) -> Data {
        let body = Body::parse(kind, if body.is_empty() { b"[]" } else { body }).map_err(|error| {
            tracing::error!("Error in a request to {} a client: {error}", kind.to_ascii_lowercase());
            Refusal::Silence
        })?;
        let (cid, unknown) = match kind {
            "KICK" => (body.uint("cid"), "no such client or leafnode id"),
            _ => (body.uint("cid"), "no such client id"),
        };
        let done = match kind {
            "KICK" => self.host.close_connection(cid, CloseReason::Kicked, ""),
            _ => self.host.lame_duck_connection(cid),
        };
        match done {
            Ok(()) => Ok(Value::Null),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Refusal::Deed(unknown.to_owned())),
            Err(error) => Err(Refusal::Deed(error.message().to_owned())),
        }
    }

    fn is_account(&self, name: &str) -> Result<bool> {
        match self.host.account(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// SYS-029: profiles are those of Go's runtime; there are none here.
fn no_profile(body: &Body) -> Value {
    let error = match (body.text("name"), body.int("duration")) {
        ("", _) => "Profile name not specified".to_owned(),
        ("cpu", duration_ns) if !(1..=PROFILE_NS_MAX).contains(&duration_ns) => {
            format!("Duration {} should be between 0s and 15s", go_seconds(duration_ns))
        }
        (name, _) => format!("Profile {name:?} not found"),
    };
    json!({ "profile": null, "error": error })
}

const PROFILE_NS_MAX: i64 = 15_000_000_000;

/// A duration as Go writes it, when it is whole seconds.
fn go_seconds(ns: i64) -> String {
    format!("{}s", ns as f64 / 1e9)
}
