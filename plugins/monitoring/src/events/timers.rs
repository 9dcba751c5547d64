//! Events that come by themselves: numbers of the server, and of accounts that are in use (EVT-010, EVT-012).

use super::Events;
use natsd_plugin_api::serde_json::json;
use natsd_plugin_api::{Host, Result, tracing};
use std::time::Duration;

/// The time before the first numbers of the server; it doubles up to the maximum.
const STATSZ_FIRST: Duration = Duration::from_millis(250);
const STATSZ_MAX: Duration = Duration::from_secs(10);
/// How often an account that is in use is told of.
const CONNS_EVERY: Duration = Duration::from_secs(30);

/// Starts both. They end with the plugin.
pub fn start(host: &Host, events: &Events) {
    let (own, statsz) = (host.clone(), events.clone());
    // A task goes on without its handle.
    drop(host.spawn("statsz", async move {
        let mut wait = STATSZ_FIRST;
        loop {
            own.sleep(wait).await;
            note(statsz.statsz());
            wait = (wait * 2).min(STATSZ_MAX);
        }
    }));
    let (own, conns) = (host.clone(), events.clone());
    drop(host.spawn("account connections", async move {
        loop {
            own.sleep(CONNS_EVERY).await;
            note(conns.all_accounts());
        }
    }));
}

impl Events {
    fn all_accounts(&self) -> Result<()> {
        let to = self.identity()?;
        let stats = self.snapshot("accstatz", &json!({}))?;
        let accounts = stats["account_statz"].as_array().into_iter().flatten();
        for account in accounts.filter_map(|stat| stat["acc"].as_str()) {
            self.account_connections(&to, account)?;
        }
        Ok(())
    }
}

fn note(outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!("A system event is lost: {error}");
    }
}
