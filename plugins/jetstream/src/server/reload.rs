//! What a new configuration changes while the server runs (CFG-142): limits, and which accounts have JetStream.

use super::Server;
use super::account::Account;
use super::worker::Worker;
use crate::config::Config;
use natsd_plugin_api::{Host, tracing};
use std::sync::{Arc, Weak};

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

    /// Only what is configured: a full disk says so by itself.
    pub(super) fn limit(&self, config: &Config) {
        self.usage.limit(config.max_memory.unwrap_or(-1), config.max_file.unwrap_or(-1));
        self.batches.set(&config.limits.batch);
    }

    /// Notes an account that the server has.
    pub(super) fn add_account(&self, name: &str) -> Arc<Account> {
        let is_system = name == self.identity.system_account;
        let tiers = self.config().account(name).filter(|_| !is_system);
        let account = Account::new(name, tiers, is_system);
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

    fn update_account(self: &Arc<Self>, account: &Arc<Account>) {
        let was_enabled = account.is_enabled();
        account.set_tiers(self.config().account(&account.name).filter(|_| !account.is_system));
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
