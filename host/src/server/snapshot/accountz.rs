//! `/accountz` and `/accstatz`: which accounts there are, one of them, and what they all did (MON-080 to MON-086).

use super::sublist::SublistStats;
use super::text;
use super::{borders, parts_of_plugins};
use crate::account::Account;
use crate::conn::Context;
use crate::conn::registry::Traffic;
use crate::plugins::Plugins;
use crate::runtime::unix_ns;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// SYS-025
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccountzParams {
    account: String,
}

/// SYS-026
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccstatzParams {
    /// Empty: all.
    accounts: Vec<String>,
    include_unused: bool,
}

/// `config_load_unix_ns`: since when accounts are as they are.
pub fn accountz(
    server_id: &str,
    context: &Context,
    plugins: &Plugins,
    config_load_unix_ns: u64,
    params: &Value,
) -> Result<Value, String> {
    let params: AccountzParams = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let mut body = json!({ "server_id": server_id, "now": text::time(unix_ns()) });
    if let Some(system) = context.accounts.system() {
        body["system_account"] = json!(&*system.name);
    }
    if params.account.is_empty() {
        let names: Vec<_> = by_name(context).iter().map(|account| account.name.to_string()).collect();
        body["accounts"] = json!(names);
        return Ok(body);
    }
    let account = context.accounts.get(&params.account);
    let account = account.ok_or_else(|| format!("Account {} does not exist", params.account))?;
    body["account_detail"] = detail(context, plugins, &account, config_load_unix_ns);
    Ok(body)
}

/// MON-081
fn detail(context: &Context, plugins: &Plugins, account: &Account, update_unix_ns: u64) -> Value {
    let stats = SublistStats::of([account]);
    let mut detail = Map::new();
    let mut put = |name: &str, value: Value| drop(detail.insert(name.to_owned(), value));
    put("account_name", json!(&*account.name));
    put("update_time", text::time(update_unix_ns).into());
    if context.accounts.is_system(account) {
        put("is_system", true.into());
    }
    put("expired", false.into());
    put("complete", true.into());
    put("jetstream_enabled", false.into());
    put("leafnode_connections", 0.into());
    put("client_connections", account.connections().into());
    put("subscriptions", account.sublist.read().trie.len().into());
    borders::add(&mut detail, &account.name, &context.accounts, &context.options.load().accounts.mappings);
    detail.insert("name_tag".to_owned(), json!(&*account.name));
    detail.insert("sublist_stats".to_owned(), json!(stats));
    for part in parts_of_plugins(plugins, "accountz", &json!({ "account": &*account.name })) {
        add_part(&mut detail, part);
    }
    Value::Object(detail)
}

/// What plugins know better of an account, and what they let it do across its borders.
fn add_part(detail: &mut Map<String, Value>, part: Value) {
    let Value::Object(part) = part else { return };
    for (name, value) in part {
        match (detail.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => add_new(list, more),
            (Some(Value::Object(map)), Value::Object(more)) => map.extend(more),
            (_, value) => drop(detail.insert(name, value)),
        }
    }
}

/// What exports and imports of the account's own cover is not there a second time.
fn add_new(list: &mut Vec<Value>, more: Vec<Value>) {
    let names = ["subject", "type", "local_subject"];
    for item in more {
        if !list.iter().any(|known| names.iter().all(|name| known[*name] == item[*name])) {
            list.push(item);
        }
    }
}

pub fn accstatz(server_id: &str, context: &Context, params: &Value) -> Result<Value, String> {
    let params: AccstatzParams = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let mut accounts = by_name(context);
    if !params.accounts.is_empty() {
        accounts.retain(|account| params.accounts.iter().any(|name| **name == *account.name));
    }
    if !params.include_unused {
        accounts.retain(|account| account.connections() > 0);
    }
    let traffic = context.registry.traffic_by_account();
    let rows: Vec<Value> = accounts
        .iter()
        .map(|account| account_stat(account, traffic.get(&account.id).copied().unwrap_or_default()))
        .collect();
    Ok(json!({ "server_id": server_id, "now": text::time(unix_ns()), "account_statz": rows }))
}

/// MON-085, MON-086
fn account_stat(account: &Account, traffic: Traffic) -> Value {
    let connections = account.connections();
    json!({
        "acc": &*account.name,
        "name": &*account.name,
        "conns": connections,
        "leafnodes": 0,
        "total_conns": connections,
        "num_subscriptions": account.sublist.read().trie.len(),
        "sent": data_stats(traffic.out_msgs, traffic.out_bytes),
        "received": data_stats(traffic.in_msgs, traffic.in_bytes),
        "slow_consumers": account.slow_consumers.load(Relaxed),
    })
}

/// MON-161, with every kind of link.
fn data_stats(msgs: u64, bytes: u64) -> Value {
    let none = json!({ "msgs": 0, "bytes": 0 });
    json!({ "msgs": msgs, "bytes": bytes, "gateways": none, "routes": none, "leafs": none })
}

fn by_name(context: &Context) -> Vec<Arc<Account>> {
    let mut accounts = context.accounts.all();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    accounts
}
