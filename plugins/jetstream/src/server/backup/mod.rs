//! Backups on their way: chunks to and from a client, with flow control (JS-260, JS-261, JS-264). What is in them is
//! `crate::backup`.

pub mod restore;
pub mod snapshot;

use crate::api::advisory::Advisory;
use crate::context::unique_id;
use crate::server::Server;
use crate::server::account::Account;
use crate::server::queue::Request;
use crate::server::requestor::requestor;
use crate::wire::Time;
use natsd_plugin_api::serde_json::Value;
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
    fn new(server: &Arc<Server>, account: &Arc<Account>, stream: &str, request: &Request) -> Self {
        Self {
            server: server.clone(),
            account: account.clone(),
            stream: stream.to_owned(),
            client: requestor(&server.host, &server.identity.name, request.connection, &request.headers),
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
