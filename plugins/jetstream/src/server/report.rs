//! What monitoring shows of JetStream: its parts of `/varz`, `/jsz`, `/healthz` and `/accountz` (MON-029, MON-090 to
//! MON-101, MON-115 to MON-117).
//!
//! Numbers come from gauges; what only a stream's task knows is asked of it, with a time limit. So this may wait, and
//! is not for a thread that serves connections.

mod borders;
mod health;
mod stream;

use super::Server;
use super::account::{Account, StreamHandle};
use crate::api::level::API_LEVEL;
use crate::config::{Config, Sync};
use crate::wire::Storage;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Accounts on one page (MON-090).
const ACCOUNTS_LIMIT: usize = 1024;
/// What nats-server shows where syncing is not by time.
const SYNC_INTERVAL_SHOWN_NS: u64 = 120_000_000_000;

/// SYS-027
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    account: String,
    accounts: bool,
    streams: bool,
    consumer: bool,
    direct_consumer: bool,
    config: bool,
    offset: i64,
    limit: i64,
    raft: bool,
}

impl Server {
    /// The part of the endpoint `kind`; `None` if there is nothing to say of it.
    pub fn report(&self, kind: &str, params: &Value) -> Option<Value> {
        match kind {
            "varz" => Some(json!({ "jetstream": self.varz() })),
            "jsz" => Some(self.jsz(params)),
            "healthz" => Some(health::problems(self, params).into()),
            "accountz" => {
                let name = params["account"].as_str()?;
                let system = self.host.identity().ok()?.system_account;
                let mut part = borders::borders(name, &system, &self.config().domain);
                if let Some(account) = self.account(name) {
                    part["jetstream_enabled"] = account.is_enabled().into();
                }
                Some(part)
            }
            _ => None,
        }
    }

    /// MON-029
    fn varz(&self) -> Value {
        let mut varz = json!({ "config": self.shown_config(), "stats": self.stats() });
        let limits = self.shown_limits();
        if !limits.is_empty() {
            varz["limits"] = limits.into();
        }
        varz
    }

    fn jsz(&self, params: &Value) -> Value {
        let params: Params = match serde_json::from_value(params.clone()) {
            Ok(params) => params,
            Err(why) => return json!({ "error": why.to_string() }),
        };
        let accounts = self.enabled_accounts();
        let streams = || accounts.iter().flat_map(|account| account.streams_now());
        let sum = |gauge: fn(&StreamHandle) -> u64| streams().map(|stream| gauge(&stream)).sum::<u64>();
        let (stream_count, consumer_count) =
            (streams().count(), sum(|stream| stream.gauges.consumers.load(Relaxed)));
        let mut body = self.stats();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put("config", self.shown_config());
        let limits = self.shown_limits();
        if !limits.is_empty() {
            put("limits", limits.into());
        }
        put("streams", stream_count.into());
        if params.raft {
            put("streams_leader", stream_count.into());
        }
        put("consumers", consumer_count.into());
        if params.raft {
            put("consumers_leader", consumer_count.into());
        }
        put("messages", sum(|stream| stream.gauges.messages.load(Relaxed)).into());
        put("bytes", sum(|stream| stream.gauges.stored_bytes.load(Relaxed)).into());
        let details = self.account_details(&accounts, &params);
        if !details.is_empty() {
            put("account_details", details.into());
        }
        put("total", accounts.len().into());
        Value::Object(body)
    }

    /// Memory and storage in use, over all accounts.
    fn stats(&self) -> Map<String, Value> {
        let accounts = self.enabled_accounts();
        let used = |storage| accounts.iter().map(|account| account.stored(storage)).sum::<u64>();
        let sum = |count: fn(&Account) -> u64| accounts.iter().map(|account| count(account)).sum::<u64>();
        let (reserved_memory, reserved_storage) = self.reserved();
        let api = json!({
            "level": API_LEVEL,
            "total": sum(|account| account.api_total.load(Relaxed)),
            "errors": sum(|account| account.api_errors.load(Relaxed)),
        });
        let fields = [
            ("memory", used(Storage::Memory).into()),
            ("storage", used(Storage::File).into()),
            ("reserved_memory", reserved_memory.max(0).into()),
            ("reserved_storage", reserved_storage.max(0).into()),
            ("accounts", accounts.len().into()),
            ("ha_assets", 0.into()),
            ("api", api),
        ];
        fields.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value)).collect()
    }

    fn shown_config(&self) -> Value {
        let config: Arc<Config> = self.config();
        let mut shown = json!({
            "max_memory": self.memory_bytes_max(),
            "max_storage": self.storage_bytes_max(),
            "store_dir": config.store_dir(crate::TEMPORARY),
        });
        match config.sync {
            Sync::Interval(interval) => shown["sync_interval"] = json!(interval.as_nanos() as u64),
            Sync::Always => {
                shown["sync_interval"] = SYNC_INTERVAL_SHOWN_NS.into();
                shown["sync_always"] = true.into();
            }
        }
        if !config.domain.is_empty() {
            shown["domain"] = json!(config.domain);
        }
        // As in nats-server: not where it found out itself what there is.
        if config.max_memory.is_some() && config.max_file.is_some() {
            shown["compress_ok"] = true.into();
        }
        if !config.cluster.unique_tag.is_empty() {
            shown["unique_tag"] = json!(config.cluster.unique_tag);
        }
        if config.strict {
            shown["strict"] = true.into();
        }
        shown
    }

    /// Those that are set (MON-092).
    fn shown_limits(&self) -> Map<String, Value> {
        let limits = self.config().limits.clone();
        let set = [
            ("default_max_consumers", limits.default_max_consumers()),
            ("max_request_batch", limits.max_request_batch),
            ("max_ack_pending", limits.max_ack_pending),
            ("max_ha_assets", limits.max_ha_assets),
            ("max_duplicate_window", limits.duplicate_window_ns),
            ("max_batch_inflight_per_stream", limits.batch.max_inflight_per_stream),
            ("max_batch_inflight_total", limits.batch.max_inflight_total),
            ("max_batch_size", limits.batch.max_msgs),
            ("max_batch_timeout", limits.batch.timeout_ns),
        ];
        let set = set.into_iter().filter(|(_, value)| *value != 0);
        set.map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    /// By name, a page of them, or the one asked for (MON-090, MON-100).
    fn account_details(&self, accounts: &[Arc<Account>], params: &Params) -> Vec<Value> {
        let with_streams = params.streams || params.consumer;
        let shown: Vec<&Arc<Account>> = if !params.account.is_empty() {
            accounts.iter().filter(|account| *account.name == *params.account).collect()
        } else if params.accounts || params.streams || params.consumer {
            let offset = usize::try_from(params.offset).unwrap_or(0);
            let limit = match usize::try_from(params.limit) {
                Ok(0) => ACCOUNTS_LIMIT,
                Ok(limit) => limit,
                Err(_) => usize::MAX,
            };
            accounts.iter().skip(offset).take(limit).collect()
        } else {
            return Vec::new();
        };
        let wanted = stream::Wanted {
            consumers: params.consumer,
            direct_consumers: params.direct_consumer,
            config: params.config,
            leader: self.identity.name.clone(),
        };
        let streams =
            shown.iter().map(|account| if with_streams { account.streams_now() } else { Vec::new() });
        let streams = stream::details(&self.host, streams.collect(), &wanted);
        shown.iter().zip(streams).map(|(account, streams)| account_detail(account, streams)).collect()
    }

    fn enabled_accounts(&self) -> Vec<Arc<Account>> {
        self.accounts().into_iter().filter(|account| account.is_enabled()).collect()
    }
}

impl Account {
    fn streams_now(&self) -> Vec<Arc<StreamHandle>> {
        self.streams.read().values().cloned().collect()
    }

    fn stored(&self, storage: Storage) -> u64 {
        let streams = self.streams_now();
        let of_kind = streams.iter().filter(|stream| stream.config.read().storage == storage);
        of_kind.map(|stream| stream.gauges.stored_bytes.load(Relaxed)).sum()
    }
}

/// MON-095
fn account_detail(account: &Account, streams: Vec<Value>) -> Value {
    let tiers = account.tiers.read();
    let limits = tiers.select(1);
    // Unlimited is -1, which nats-server shows as an unsigned number.
    let reserved = |max: Option<i64>| max.unwrap_or(0) as u64;
    let mut detail = json!({
        "name": &*account.name,
        "id": &*account.name,
        "memory": account.stored(Storage::Memory),
        "storage": account.stored(Storage::File),
        "reserved_memory": reserved(limits.map(|limits| limits.max_memory)),
        "reserved_storage": reserved(limits.map(|limits| limits.max_storage)),
        "accounts": 0,
        "ha_assets": 0,
        "api": {
            "level": 0,
            "total": account.api_total.load(Relaxed),
            "errors": account.api_errors.load(Relaxed),
        },
    });
    if !streams.is_empty() {
        detail["stream_detail"] = streams.into();
    }
    detail
}
