//! What a new configuration, or new claims of an account, change while the server runs (CFG-142, JWT-057): limits, and
//! which accounts have JetStream.

use super::Server;
use super::account::Account;
use super::worker::Worker;
use crate::api::limits::{AccountLimits, Tiers};
use crate::config::Config;
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{Host, tracing};
use std::sync::{Arc, Weak};

/// What the plugin that read an account's claims says of them: `null` without JetStream.
const CLAIMED: &str = "jetstream_limits";

impl Server {
    /// Takes over a checked configuration.
    pub fn reconfigure(self: &Arc<Self>, config: Arc<Config>) {
        self.limit(&config);
        *self.config.write() = config;
        let names = match self.host.accounts() {
            Ok(names) => names,
            Err(error) => {
                tracing::error!("JetStream cannot tell which accounts there are: {error}");
                return;
            }
        };
        for name in names {
            match self.account(&name) {
                Some(account) => self.update_account(&account),
                None => self.account_added(&name),
            }
        }
    }

    /// Of files only what is configured: a full disk says so by itself, and what is free now says little of what is there
    /// already.
    pub(super) fn limit(&self, config: &Config) {
        self.usage.limit(config.memory_bytes_max(self.memory_bytes), config.max_file.unwrap_or(-1));
        self.batches.set(&config.limits.batch);
    }

    /// Notes an account that the server has.
    pub(super) fn add_account(&self, name: &str) -> Arc<Account> {
        let is_system = name == self.identity.system_account;
        let account = Account::new(name, self.tiers(name).filter(|_| !is_system), is_system);
        self.accounts.write().insert(name.to_owned(), account.clone());
        account
    }

    /// An account that came later.
    pub fn account_added(self: &Arc<Self>, name: &str) {
        if self.account(name).is_some() {
            return;
        }
        let account = self.add_account(name);
        if let Err(error) = account.open(&self.host, &Arc::downgrade(self), &self.config().domain) {
            tracing::error!("JetStream cannot serve account {name}: {error}");
        }
    }

    /// An account whose claims are others now.
    pub fn account_changed(self: &Arc<Self>, name: &str) {
        if let Some(account) = self.account(name) {
            self.update_account(&account);
        }
    }

    /// What an account may have: by its claims, or else by the configuration. None: no JetStream.
    fn tiers(&self, name: &str) -> Option<Tiers> {
        let claimed = self.host.account(name).ok().and_then(|facts| facts.extra.get(CLAIMED).cloned());
        match claimed {
            Some(limits) => claimed_tiers(&limits),
            None => self.config().account(name),
        }
    }

    fn update_account(self: &Arc<Self>, account: &Arc<Account>) {
        let was_enabled = account.is_enabled();
        account.set_tiers(self.tiers(&account.name).filter(|_| !account.is_system));
        if let Err(error) = account.offer_api(&self.host, &Arc::downgrade(self), &self.config().domain) {
            tracing::error!("JetStream cannot serve account {}: {error}", account.name);
        }
        match (was_enabled, account.is_enabled()) {
            (true, false) => account.suspend(),
            (false, true) => {
                let (server, account) = (self.clone(), account.clone());
                drop(self.host.spawn("enable", async move { server.enable(&account).await }));
            }
            _ => {}
        }
    }

    /// The streams that an account had before, or that were found for it, run again.
    async fn enable(self: &Arc<Self>, account: &Arc<Account>) {
        let _changing = account.changing.lock().await;
        let parked: Vec<_> = account.parked.lock().drain(..).collect();
        for stored in parked {
            let name = stored.name.clone();
            if let Err(error) = self.recover_stream(account, stored).await {
                tracing::error!("JetStream stream '{} > {name}' does not run: {error}", account.name);
            }
        }
        account.resume(&self.host, &Arc::downgrade(self));
    }
}

impl Account {
    /// Its streams take nothing, deliver nothing and keep what they have.
    fn suspend(&self) {
        for stream in self.streams.read().values() {
            stream.deafen();
            stream.inbox.command(Worker::suspend);
        }
    }

    fn resume(self: &Arc<Self>, host: &Host, server: &Weak<Server>) {
        if let Err(error) = self.hear_acks(host, server) {
            tracing::error!("JetStream hears no acknowledgements of account {}: {error}", self.name);
        }
        for stream in self.streams.read().values() {
            stream.inbox.command(Worker::resume);
            stream.inbox.interest_changed();
            if let Err(error) = stream.listen(host, &self.name) {
                tracing::error!("JetStream stream '{} > {}' hears nothing: {error}", self.name, stream.name);
            }
        }
        self.retry_origins(None);
    }
}

/// The limits of claims (JWT-012), by tier or under an empty name.
fn claimed_tiers(limits: &Value) -> Option<Tiers> {
    let tiers = limits.as_object()?;
    let of = |limits: &Value| {
        let number = |name: &str| limits[name].as_i64().unwrap_or(0);
        // 0 says nothing here, other than with what is stored.
        let positive = |name: &str| Some(number(name)).filter(|value| *value > 0).unwrap_or(-1);
        AccountLimits {
            max_memory: number("mem_storage"),
            max_storage: number("disk_storage"),
            max_streams: number("streams"),
            max_consumers: number("consumer"),
            max_ack_pending: positive("max_ack_pending"),
            memory_max_stream_bytes: positive("mem_max_stream_bytes"),
            storage_max_stream_bytes: positive("disk_max_stream_bytes"),
            max_bytes_required: limits["max_bytes_required"].as_bool().unwrap_or(false),
        }
    };
    Some(match tiers.get("") {
        Some(flat) => Tiers::Flat(of(flat)),
        None => Tiers::ByReplicas(tiers.iter().map(|(tier, limits)| (tier.clone(), of(limits))).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn limits_of_claims() {
        // JWT-012
        assert_eq!(claimed_tiers(&Value::Null), None);
        let limits = json!({"mem_storage": 0, "disk_storage": -1, "streams": 3, "consumer": -1});
        let wanted = AccountLimits { max_memory: 0, max_streams: 3, ..AccountLimits::default() };
        assert_eq!(claimed_tiers(&json!({"": limits})), Some(Tiers::Flat(wanted.clone())));
        let by_replicas = Tiers::ByReplicas([("R1".to_owned(), wanted)].into());
        assert_eq!(claimed_tiers(&json!({"R1": limits})), Some(by_replicas));
    }
}
