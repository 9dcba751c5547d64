//! `/accountz`: which accounts there are, or one of them in detail (MON-080, MON-081).

use super::{subsz, text};
use crate::account::Account;
use crate::conn::Context;
use crate::runtime::unix_ns;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// SYS-025
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    account: String,
}

#[derive(Serialize)]
struct Accountz {
    server_id: String,
    now: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Detail>,
}

#[derive(Serialize)]
struct Detail {
    account_name: String,
    update_time: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: usize,
    name_tag: String,
    sublist_stats: Value,
}

/// Accounts are as old as the configuration in force.
pub fn accountz(
    server_id: &str,
    context: &Context,
    config_load_unix_ns: u64,
    params: &Value,
) -> Result<Value, String> {
    let params: Params = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let mut page = Accountz {
        server_id: server_id.to_owned(),
        now: text::time(unix_ns()),
        system_account: context.accounts.system().map(|system| system.name.to_string()),
        accounts: Vec::new(),
        account_detail: None,
    };
    if params.account.is_empty() {
        page.accounts = context.accounts.all().iter().map(|account| account.name.to_string()).collect();
        page.accounts.sort();
    } else {
        let account = context.accounts.get(&params.account);
        let account = account.ok_or_else(|| format!("Account {} does not exist", params.account))?;
        page.account_detail = Some(detail(server_id, context, config_load_unix_ns, &account)?);
    }
    serde_json::to_value(page).map_err(|error| error.to_string())
}

fn detail(
    server_id: &str,
    context: &Context,
    config_load_unix_ns: u64,
    account: &Account,
) -> Result<Detail, String> {
    let subsz = subsz::subsz(server_id, context, &json!({ "account": &*account.name }))?;
    let stats = [
        "num_subscriptions",
        "num_cache",
        "num_inserts",
        "num_removes",
        "num_matches",
        "cache_hit_rate",
        "max_fanout",
        "avg_fanout",
    ];
    let stats = stats.map(|name| (name.to_owned(), subsz[name].clone()));
    Ok(Detail {
        account_name: account.name.to_string(),
        update_time: text::time(config_load_unix_ns),
        is_system: context.accounts.is_system(account),
        expired: false,
        complete: true,
        jetstream_enabled: false,
        leafnode_connections: 0,
        client_connections: account.connections(),
        subscriptions: account.sublist.read().trie.len(),
        name_tag: account.name.to_string(),
        sublist_stats: Value::Object(stats.into_iter().collect()),
    })
}
