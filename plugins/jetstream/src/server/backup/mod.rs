//! Backups on their way: chunks to and from a client, with flow control (JS-260, JS-261, JS-264). What is in them is
//! `crate::backup`.

pub mod restore;
pub mod snapshot;

use crate::api::advisory::Advisory;
use crate::context::unique_id;
use crate::server::Server;
use crate::server::account::Account;
use crate::wire::Time;
use natsd_plugin_api::serde_json::{Map, Value};
use natsd_plugin_api::{Host, PublishRef, tracing};
use std::sync::Arc;
use std::time::Duration;

/// Without a chunk, or an acknowledgement of one, for so long it is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose backup it is.
#[derive(Clone)]
struct Scene {
    server: Arc<Server>,
    account: Arc<Account>,
    stream: String,
    /// Who asked, for advisories.
    client: Value,
    started: Time,
}

impl Scene {
    fn new(server: &Arc<Server>, account: &Arc<Account>, stream: &str, connection: u64) -> Self {
        Self {
            server: server.clone(),
            account: account.clone(),
            stream: stream.to_owned(),
            client: client(&server.host, connection),
            started: Time(server.host.unix_ns() as i64),
        }
    }

    fn host(&self) -> &Host {
        &self.server.host
    }

    fn now(&self) -> Time {
        Time(self.host().unix_ns() as i64)
    }

    fn unique_id(&self) -> String {
        unique_id(&mut || self.host().random_u64())
    }

    fn advise(&self, advisory: &Advisory) {
        self.server.advise(&self.account.name, advisory);
    }

    fn publish(&self, message: PublishRef<'_>) {
        if let Err(why) = self.host().publish(&self.account.name, message) {
            tracing::debug!("a message of the backup of stream {} was not published: {why}", self.stream);
        }
    }

    /// `ACCOUNT > STREAM`, for the log.
    fn full_name(&self) -> String {
        format!("{} > {}", self.account.name, self.stream)
    }

    fn seconds(&self) -> f64 {
        (self.now().0 - self.started.0) as f64 / 1e9
    }
}

fn client(host: &Host, connection: u64) -> Value {
    let mut client = Map::new();
    if let Ok(facts) = host.connection(connection) {
        let address = facts.remote.rsplit_once(':').map_or(facts.remote.as_str(), |(address, _)| address);
        client.insert("host".to_owned(), address.into());
        client.insert("id".to_owned(), facts.id.into());
        client.insert("acc".to_owned(), facts.account.into());
        let known = |key: &str| facts.extra.get(key).and_then(Value::as_str).map(str::to_owned);
        let rest = [
            ("user", facts.user.clone()),
            ("name", facts.name.clone()),
            ("lang", known("lang")),
            ("ver", known("version")),
        ];
        for (key, value) in rest {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                client.insert(key.to_owned(), value.into());
            }
        }
    }
    Value::Object(client)
}
