//! `/accstatz`: connections and traffic by account (MON-084 to MON-086).

use super::text;
use crate::account::Account;
use crate::conn::Context;
use crate::conn::registry::Traffic;
use crate::runtime::unix_ns;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::Ordering::Relaxed;

/// SYS-026
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    /// Empty: all.
    accounts: Vec<String>,
    include_unused: bool,
}

#[derive(Serialize)]
struct Accstatz {
    server_id: String,
    now: String,
    account_statz: Vec<AccountStat>,
}

/// MON-085
#[derive(Serialize)]
struct AccountStat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    sent: DataStats,
    received: DataStats,
    slow_consumers: u64,
}

#[derive(Default, Serialize)]
struct DataStats {
    msgs: u64,
    bytes: u64,
    gateways: MsgBytes,
    routes: MsgBytes,
    leafs: MsgBytes,
}

#[derive(Default, Serialize)]
struct MsgBytes {
    msgs: u64,
    bytes: u64,
}

pub fn accstatz(server_id: &str, context: &Context, params: &Value) -> Result<Value, String> {
    let params: Params = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let mut accounts = context.accounts.all();
    if !params.accounts.is_empty() {
        accounts.retain(|account| params.accounts.iter().any(|name| **name == *account.name));
    }
    accounts.retain(|account| params.include_unused || account.connections() > 0);
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    let mut traffic = context.registry.traffic_by_account();
    let stats = accounts
        .iter()
        .map(|account| stat(account, traffic.remove(&account.id).unwrap_or_default()))
        .collect();
    let now = text::time(unix_ns());
    let answer = Accstatz { server_id: server_id.to_owned(), now, account_statz: stats };
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

/// MON-086: sent is what clients got, received what came from them.
fn stat(account: &Account, traffic: Traffic) -> AccountStat {
    let data = |msgs: u64, bytes: u64| DataStats { msgs, bytes, ..DataStats::default() };
    let conns = account.connections();
    AccountStat {
        acc: account.name.to_string(),
        name: account.name.to_string(),
        conns,
        leafnodes: 0,
        total_conns: conns,
        num_subscriptions: account.sublist.read().trie.len(),
        sent: data(traffic.out_msgs, traffic.out_bytes),
        received: data(traffic.in_msgs, traffic.in_bytes),
        slow_consumers: account.slow_consumers.load(Relaxed),
    }
}
