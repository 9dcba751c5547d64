//! Requests in the system account about the claims of accounts (JWT-051 to JWT-055).

use crate::accounts::Realm;
use crate::keys::{self, Role};
use crate::resolver::{Directory, Resolver};
use crate::token;
use natsd_plugin_api::serde_json::{Map, Value, json};
use natsd_plugin_api::{
    Delivery, Host, MessageRef, PublishRef, Result, SubscribeOptions, Subscription, tracing,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;

/// Requests that wait; what comes when there are more is dropped, and whoever asked asks again.
const WAITING_MAX: usize = 4096;
const NOT_APPLICABLE: &str = "n/a";

/// Answers while it lives.
pub struct Requests {
    _subscriptions: Vec<Subscription>,
}

/// Which request.
#[derive(Clone, Copy)]
enum Kind {
    /// The account is a token of the subject.
    UpdateOf,
    Update,
    Lookup,
    List,
    Delete,
    Pack,
}

struct Request {
    kind: Kind,
    subject: String,
    reply: String,
    body: Vec<u8>,
}

impl Request {
    fn new(kind: Kind, message: &MessageRef<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = message.payload().to_vec();
        Self { kind, subject: text(message.subject()), reply: text(message.reply()), body }
    }
}

struct Answerer {
    realm: Arc<Realm>,
    system: String,
    sequence: AtomicU64,
}

impl Requests {
    /// Subscribes to what the resolver answers (JWT-052).
    pub fn open(realm: &Arc<Realm>, system: &str) -> Result<Self> {
        let answerer = Arc::new(Answerer {
            realm: realm.clone(),
            system: system.to_owned(),
            sequence: AtomicU64::new(0),
        });
        let mut subjects = vec![
            ("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "", Kind::UpdateOf),
            ("$SYS.ACCOUNT.*.CLAIMS.UPDATE", "", Kind::UpdateOf),
        ];
        if let Resolver::Directory(directory) = &realm.resolver {
            subjects.extend([
                ("$SYS.REQ.CLAIMS.UPDATE", "", Kind::Update),
                ("$SYS.REQ.CLAIMS.LIST", "", Kind::List),
                ("$SYS.REQ.CLAIMS.DELETE", "", Kind::Delete),
            ]);
            if directory.options.is_full {
                subjects.extend([
                    ("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", "", Kind::Lookup),
                    ("$SYS.REQ.CLAIMS.PACK", "responder", Kind::Pack),
                ]);
            }
        }
        let (waiting, work) = mpsc::channel(WAITING_MAX);
        realm.host.spawn("claims requests", answerer.work(work));
        let subscriptions = subjects.into_iter().map(|(subject, queue, kind)| {
            let options = SubscribeOptions {
                account: system.to_owned(),
                queue: queue.to_owned(),
                delivery: Delivery::queued(),
                ..SubscribeOptions::to(subject)
            };
            let waiting = waiting.clone();
            realm.host.subscribe(&options, move |batch| {
                for message in batch {
                    if waiting.try_send(Request::new(kind, message)).is_err() {
                        tracing::warn!("too many requests about claims: one was dropped");
                    }
                }
            })
        });
        Ok(Self { _subscriptions: subscriptions.collect::<Result<_>>()? })
    }
}

impl Answerer {
    /// One after the other, in their order, where files may block.
    async fn work(self: Arc<Self>, mut waiting: mpsc::Receiver<Request>) {
        while let Some(request) = waiting.recv().await {
            if matches!(request.kind, Kind::UpdateOf | Kind::Update) {
                self.realm.prepare(String::from_utf8_lossy(&request.body).trim()).await;
            }
            let this = self.clone();
            let work = move || this.answer(request.kind, &request.subject, &request.reply, &request.body);
            if let Err(error) = self.realm.host.blocking(work).await {
                tracing::error!("a request about claims failed: {error}");
            }
        }
    }

    fn answer(&self, kind: Kind, subject: &str, reply: &str, body: &[u8]) {
        let token = String::from_utf8_lossy(body);
        let named = subject.split('.').rev().nth(2).unwrap_or_default();
        match (kind, &self.realm.resolver) {
            (Kind::UpdateOf, Resolver::Directory(directory)) => {
                self.store(directory, Some(named), token.trim(), reply);
            }
            (Kind::UpdateOf, _) => self.update(named, token.trim(), reply),
            (Kind::Update, Resolver::Directory(directory)) => {
                self.store(directory, None, token.trim(), reply)
            }
            (Kind::Lookup, Resolver::Directory(directory)) => match directory.load(named) {
                Ok(found) => self.send(reply, found.unwrap_or_default().as_bytes()),
                Err(error) => tracing::error!("DirResolver - Error looking up account {named:?}: {error}"),
            },
            (Kind::List, Resolver::Directory(directory)) => {
                let mut answer = self.server();
                answer.insert("data".to_owned(), json!(directory.list()));
                self.send(reply, Value::Object(answer).to_string().as_bytes());
            }
            (Kind::Pack, Resolver::Directory(directory)) => {
                if let Err(error) = self.pack(directory, body, reply) {
                    tracing::error!("DirResolver - Pack request error: {error}");
                }
            }
            (Kind::Delete, Resolver::Directory(directory)) => self.delete(directory, token.trim(), reply),
            _ => {}
        }
    }

    /// With a resolver that cannot keep it: for the account in use (JWT-052).
    fn update(&self, named: &str, token: &str, reply: &str) {
        let failed = "jwt update resulted in error";
        if token.is_empty() {
            return self.respond(reply, named, "jwt update error", Err("request body is empty".to_owned()));
        }
        let claims = match token::decode_account(token) {
            Ok(claims) => claims,
            Err(error) => return self.respond(reply, named, failed, Err(error.to_string())),
        };
        if claims.common.sub != named {
            return self.respond(reply, named, failed, Err("subject does not match jwt content".to_owned()));
        }
        match self.realm.update(named, token) {
            Ok(true) => self.respond(reply, named, "jwt updated", Ok(())),
            Ok(false) => self.respond(reply, named, "jwt update skipped", Ok(())),
            Err(error) => self.respond(reply, named, failed, Err(error.to_string())),
        }
    }

    fn store(&self, directory: &Directory, named: Option<&str>, token: &str, reply: &str) {
        let (failed, updated) = match directory.options.is_full {
            true => ("jwt update resulted in error", "jwt updated"),
            false => ("jwt update cache resulted in error", "jwt updated cache"),
        };
        let claims = match token::decode_account(token) {
            Ok(claims) => claims,
            Err(error) => return self.respond(reply, NOT_APPLICABLE, failed, Err(error.to_string())),
        };
        let own = claims.common.sub.as_str();
        let problems = claims.problems();
        if !problems.is_empty() {
            let cause = format!("validation errors: [{}]", problems.join(" "));
            return self.respond(reply, own, "jwt validation failed", Err(cause));
        }
        let shown = named.unwrap_or(own);
        if shown != own {
            return self.respond(reply, shown, failed, Err("subject does not match jwt content".to_owned()));
        }
        if self.realm.config().strict_operator() == Some(&claims.common.iss) {
            let cause = "operator requires issuer to be a signing key".to_owned();
            return self.respond(reply, own, failed, Err(cause));
        }
        if !directory.options.is_full && self.realm.known(own).is_none() {
            return self.respond(reply, own, "jwt update cache skipped", Ok(()));
        }
        if let Err(error) = directory.save(own, token) {
            return self.respond(reply, own, failed, Err(error.to_string()));
        }
        if let Err(error) = self.realm.update(own, token) {
            tracing::error!("DirResolver - Update for account {own:?} resulted in error {error}");
        }
        self.respond(reply, own, updated, Ok(()));
    }

    fn pack(&self, directory: &Directory, theirs: &[u8], reply: &str) -> Result<()> {
        if reply.is_empty() {
            return Ok(());
        }
        if directory.hash()? != theirs {
            for (key, token) in directory.all()? {
                self.send(reply, format!("{key}|{token}").as_bytes());
            }
        }
        self.send(reply, b"");
        Ok(())
    }

    /// JWT-055
    fn delete(&self, directory: &Directory, token: &str, reply: &str) {
        let (by, accounts) = self.deletion(directory, token);
        let accounts = match accounts {
            Ok(accounts) => accounts,
            Err(cause) => {
                let message = format!("delete accounts request by {by} failed");
                return self.respond(reply, "", &message, Err(cause));
            }
        };
        let mut failures = Vec::new();
        for account in &accounts {
            match directory.delete(account) {
                Ok(()) => self.realm.remove(account),
                Err(error) => failures.push(error.to_string()),
            }
        }
        let deleted = accounts.len() - failures.len();
        if failures.is_empty() {
            self.respond(reply, "", &format!("deleted {deleted} accounts"), Ok(()));
        } else {
            let message = format!("deleted {deleted} accounts, failed for {}", failures.len());
            self.respond(reply, "", &message, Err(failures.join("\n")));
        }
    }

    /// Who asks for a deletion, and of what.
    fn deletion(&self, directory: &Directory, token: &str) -> (String, Result<Vec<String>, String>) {
        let claims = match token::decode_generic(token) {
            Ok(claims) => claims,
            Err(error) => return (String::new(), Err(error.to_string())),
        };
        let by = claims.common.sub.clone();
        let refuse = |text: &str| Err(text.to_owned());
        let checked = if !directory.options.allow_delete {
            refuse("delete must be enabled in server config")
        } else if by != claims.common.iss {
            refuse("not self signed")
        } else if !self.realm.config().trusted.contains(&by) {
            refuse("not trusted")
        } else {
            let listed = claims.nats.get("accounts").and_then(Value::as_array);
            let keys: Option<Vec<String>> = listed.and_then(|list| {
                let key = |entry: &Value| {
                    entry.as_str().filter(|key| keys::is(key, Role::Account)).map(str::to_owned)
                };
                list.iter().map(key).collect()
            });
            match keys {
                None => refuse("malformed request"),
                Some(keys) if keys.contains(&self.system) => refuse("not allowed to delete system account"),
                Some(keys) => Ok(keys),
            }
        };
        (by, checked)
    }

    /// JWT-053
    fn respond(&self, reply: &str, account: &str, message: &str, outcome: Result<(), String>) {
        let mut answer = self.server();
        let mut details = Map::new();
        if !account.is_empty() {
            details.insert("account".to_owned(), account.into());
        }
        let shown_account = if account.is_empty() { String::new() } else { format!(" - {account}") };
        match outcome {
            Ok(()) => {
                tracing::debug!("{message}{shown_account}");
                details.insert("code".to_owned(), 200.into());
                details.insert("message".to_owned(), message.into());
                answer.insert("data".to_owned(), details.into());
            }
            Err(cause) => {
                tracing::error!("{message}{shown_account} - {cause}");
                details.insert("code".to_owned(), 500.into());
                details.insert("description".to_owned(), format!("{message} - {cause}").into());
                answer.insert("error".to_owned(), details.into());
            }
        }
        self.send(reply, Value::Object(answer).to_string().as_bytes());
    }

    /// What an answer begins with.
    fn server(&self) -> Map<String, Value> {
        let sequence = self.sequence.fetch_add(1, Relaxed) + 1;
        Map::from_iter([("server".to_owned(), server_object(&self.realm.host, Some(sequence)))])
    }

    fn send(&self, reply: &str, body: &[u8]) {
        if reply.is_empty() {
            return;
        }
        if let Err(error) = self.realm.host.publish(&self.system, PublishRef::new(reply.as_bytes(), body)) {
            tracing::debug!("no answer about claims: {error}");
        }
    }
}

/// Who says something in the system account, or to an account.
pub fn server_object(host: &Host, sequence: Option<u64>) -> Value {
    let identity = host.identity().unwrap_or_default();
    let address = identity.client_address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
    let now = i64::try_from(host.unix_ns())
        .ok()
        .and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok().map(|time| time.to_string()));
    json!({
        "name": identity.name,
        "host": address,
        "id": identity.id,
        "ver": identity.version,
        "jetstream": false,
        "flags": 0,
        "seq": sequence.unwrap_or(0),
        "time": now,
    })
}
