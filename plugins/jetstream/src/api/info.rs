//! What `$JS.API.INFO` says of an account (JS-290, JS-291).

use std::collections::BTreeMap;

use serde::Serialize;

use super::assets::Assets;
use super::level::API_LEVEL;
use super::limits::{AccountLimits, Tiers, tier_name};
use crate::wire::is_default;

#[derive(Clone, Debug, Serialize)]
pub struct AccountInfo {
    #[serde(flatten)]
    pub total: Usage,
    #[serde(skip_serializing_if = "is_default")]
    pub domain: String,
    pub api: ApiStats,
    #[serde(skip_serializing_if = "is_default")]
    pub tiers: BTreeMap<String, Usage>,
}

/// Of the account, or of one tier of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub streams: u64,
    pub consumers: u64,
    pub limits: AccountLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ApiStats {
    pub level: u32,
    pub total: u64,
    pub errors: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub inflight: u64,
}

impl ApiStats {
    pub fn new(total: u64, errors: u64, inflight: u64) -> Self {
        Self { level: API_LEVEL, total, errors, inflight }
    }
}

/// What the streams with so many replicas hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub replicas: i64,
    pub memory: u64,
    pub storage: u64,
    pub streams: u64,
    pub consumers: u64,
}

impl AccountInfo {
    /// `held` has an entry for each number of replicas that streams have, or one for each stream.
    pub fn new(tiers: &Tiers, assets: &Assets, held: &[Held], domain: &str, api: ApiStats) -> Self {
        let (limits, by_replicas) = match tiers {
            Tiers::Flat(limits) => (limits.clone(), BTreeMap::new()),
            Tiers::ByReplicas(tiers) => (none(), of_tiers(tiers, assets, held)),
        };
        let total = Usage::new(held.iter(), assets.reserved_on_server(None), limits);
        Self { total, domain: domain.to_owned(), api, tiers: by_replicas }
    }
}

fn of_tiers(
    tiers: &BTreeMap<String, AccountLimits>,
    assets: &Assets,
    held: &[Held],
) -> BTreeMap<String, Usage> {
    let in_use = held.iter().map(|held| tier_name(held.replicas));
    let names: std::collections::BTreeSet<String> = tiers.keys().cloned().chain(in_use).collect();
    let usage = |name: &String| {
        let group = name.strip_prefix('R').and_then(|replicas| replicas.parse().ok());
        let of_tier = held.iter().filter(|held| tier_name(held.replicas) == *name);
        let limits = tiers.get(name).cloned().unwrap_or_else(none);
        Usage::new(of_tier, assets.reserved_on_server(group), limits)
    };
    names.iter().map(|name| (name.clone(), usage(name))).collect()
}

impl Usage {
    fn new<'a>(held: impl Iterator<Item = &'a Held>, reserved: (i64, i64), limits: AccountLimits) -> Self {
        let mut usage = Self {
            memory: 0,
            storage: 0,
            reserved_memory: reserved.0.max(0) as u64,
            reserved_storage: reserved.1.max(0) as u64,
            streams: 0,
            consumers: 0,
            limits,
        };
        for held in held {
            usage.memory += held.memory;
            usage.storage += held.storage;
            usage.streams += held.streams;
            usage.consumers += held.consumers;
        }
        usage
    }
}

/// With tiers the account as a whole has limits of 0.
fn none() -> AccountLimits {
    AccountLimits {
        max_memory: 0,
        max_storage: 0,
        max_streams: 0,
        max_consumers: 0,
        max_ack_pending: 0,
        memory_max_stream_bytes: 0,
        storage_max_stream_bytes: 0,
        max_bytes_required: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::{AccountInfo, ApiStats, Held};
    use crate::api::assets::Assets;
    use crate::api::limits::{AccountLimits, Tiers};
    use crate::wire::StreamConfig;

    #[test]
    fn of_an_account_without_tiers() {
        // JS-290; recorded from nats-server
        let info = AccountInfo::new(&Tiers::default(), &Assets::default(), &[], "", ApiStats::new(2, 1, 0));
        assert_eq!(
            serde_json::to_string(&info).unwrap(),
            r#"{"memory":0,"storage":0,"reserved_memory":0,"reserved_storage":0,"streams":0,"consumers":0,"#
                .to_owned()
                + r#""limits":{"max_memory":-1,"max_storage":-1,"max_streams":-1,"max_consumers":-1,"#
                + r#""max_ack_pending":-1,"memory_max_stream_bytes":-1,"storage_max_stream_bytes":-1,"#
                + r#""max_bytes_required":false},"api":{"level":5,"total":2,"errors":1}}"#
        );
    }

    #[test]
    fn tiers_have_their_own_usage() {
        // JS-291
        let tiers = Tiers::ByReplicas([("R3".to_owned(), AccountLimits::default())].into());
        let mut assets = Assets::default();
        assets.insert(Arc::new(StreamConfig { name: "S".to_owned(), max_bytes: 9, ..Default::default() }));
        let held = [Held { replicas: 1, storage: 5, streams: 1, consumers: 2, memory: 0 }];
        let info = AccountInfo::new(&tiers, &assets, &held, "D", ApiStats::new(0, 0, 0));
        assert_eq!((info.total.storage, info.total.limits.max_storage), (5, 0));
        let (r1, r3) = (&info.tiers["R1"], &info.tiers["R3"]);
        assert_eq!((r1.streams, r1.consumers, r1.reserved_storage), (1, 2, 9));
        assert_eq!((r3.streams, r3.limits.max_streams), (0, -1));
    }
}
