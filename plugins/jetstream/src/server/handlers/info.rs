//! What an account has and may have (JS-290), and advisories of the API.

use super::Call;
use super::reply::{Body, ok};
use crate::api::advisory::Advisory;
use crate::api::info::{AccountInfo, ApiStats, Held};
use crate::context::unique_id;
use crate::server::Server;
use crate::wire::{Storage, Time};
use natsd_plugin_api::{PublishRef, tracing};
use std::sync::atomic::Ordering::Relaxed;

impl Call<'_> {
    pub(super) fn account_info(&self) -> Body {
        self.input.ignored()?;
        let streams = self.account.streams.read();
        let held: Vec<Held> = streams
            .values()
            .map(|stream| {
                let config = stream.config.read().clone();
                let stored = stream.gauges.stored_bytes.load(Relaxed);
                let (memory, storage) = match config.storage {
                    Storage::Memory => (stored, 0),
                    Storage::File => (0, stored),
                };
                // All of them (JS-020).
                let consumers = stream.gauges.all_consumers.load(Relaxed);
                Held { replicas: config.num_replicas, memory, storage, streams: 1, consumers }
            })
            .collect();
        // The request at hand is counted when it is answered.
        let api =
            ApiStats::new(self.account.api_total.load(Relaxed), self.account.api_errors.load(Relaxed), 0);
        let domain = &self.server.config().domain;
        let (tiers, assets) = (self.account.tiers.read(), self.account.assets.read());
        ok(self.kind, &AccountInfo::new(&tiers, &assets, &held, domain, api))
    }

    /// Tells the account, if anyone there listens.
    pub(super) fn advise(&self, advisory: &Advisory) {
        self.server.advise(&self.account.name, advisory);
    }
}

impl Server {
    /// Tells an account, if anyone there listens.
    pub fn advise(&self, account: &str, advisory: &Advisory) {
        if !self.has_listener(account, &advisory.subject) {
            return;
        }
        let text = self.text_of(advisory);
        let message = PublishRef::new(advisory.subject.as_bytes(), &text);
        if let Err(why) = self.host.publish(account, message) {
            tracing::debug!("JetStream's advisory on {} was not published: {why}", advisory.subject);
        }
    }

    pub fn has_listener(&self, account: &str, subject: &str) -> bool {
        self.host.interest(account, subject.as_bytes(), b"").is_ok_and(|count| count > 0)
    }

    pub fn text_of(&self, advisory: &Advisory) -> Vec<u8> {
        let id = unique_id(&mut || self.host.random_u64());
        advisory.to_json(&id, Time(self.host.unix_ns() as i64), &self.config().domain)
    }
}
