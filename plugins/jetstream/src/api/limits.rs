//! What an account and the server may hold (JS-104, JS-291), and whether a stream still fits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::assets::Assets;
use crate::wire::{ApiError, Storage, StreamConfig, error};

const DEFAULT_MAX_CONSUMERS: i64 = 1000;

/// Of an account, or of one tier of it; -1 is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLimits {
    pub max_memory: i64,
    pub max_storage: i64,
    pub max_streams: i64,
    pub max_consumers: i64,
    pub max_ack_pending: i64,
    pub memory_max_stream_bytes: i64,
    pub storage_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory: -1,
            max_storage: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            memory_max_stream_bytes: -1,
            storage_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}

/// One set of limits for everything, or one for each number of replicas (JS-291).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tiers {
    Flat(AccountLimits),
    ByReplicas(BTreeMap<String, AccountLimits>),
}

impl Default for Tiers {
    fn default() -> Self {
        Self::Flat(AccountLimits::default())
    }
}

impl Tiers {
    /// The limits that a stream with so many replicas counts against.
    pub fn select(&self, replicas: i64) -> Option<&AccountLimits> {
        match self {
            Self::Flat(limits) => Some(limits),
            Self::ByReplicas(tiers) => tiers.get(&tier_name(replicas)),
        }
    }

    /// Which replicas count together; None: all.
    pub fn group(&self, replicas: i64) -> Option<i64> {
        match self {
            Self::Flat(_) => None,
            Self::ByReplicas(_) => Some(replicas.max(1)),
        }
    }
}

pub fn tier_name(replicas: i64) -> String {
    format!("R{}", if replicas == 0 { 1 } else { replicas })
}

/// `limits {}` of the server (JS-294); 0 is unlimited or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// Of a stream that has no such limit, nor its account; -1 is unlimited.
    pub default_max_consumers: i64,
    pub max_ack_pending: i64,
    pub max_ha_assets: i64,
    pub max_request_batch: i64,
    pub duplicate_window_ns: i64,
    pub batch: BatchLimits,
}

impl ServerLimits {
    /// nats-server 2.15 has a limit here unless it is told otherwise (MON-092).
    pub fn default_max_consumers(&self) -> i64 {
        if self.default_max_consumers == 0 { DEFAULT_MAX_CONSUMERS } else { self.default_max_consumers }
    }
}

/// Of batch publishing (JS-202, JS-203, JS-210); 0 is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchLimits {
    pub max_inflight_per_stream: i64,
    pub max_inflight_total: i64,
    pub max_msgs: i64,
    pub timeout_ns: i64,
}

/// Bytes for all accounts together: what may be reserved, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerBytes {
    pub max_memory: i64,
    pub max_file: i64,
    pub reserved_memory: i64,
    pub reserved_file: i64,
}

/// Whether a stream with this configuration fits beside the account's others. `before` is the limit of bytes
/// that it has already.
pub fn check_bytes(
    config: &StreamConfig,
    before: Option<i64>,
    limits: &AccountLimits,
    tiers: &Tiers,
    assets: &Assets,
    server: &ServerBytes,
) -> Result<(), ApiError> {
    if config.max_consumers > 0 && limits.max_consumers > 0 && config.max_consumers > limits.max_consumers {
        return Err(error::MAXIMUM_CONSUMERS_LIMIT);
    }
    let reserve = |bytes: i64| reserved_bytes(tiers, config.num_replicas, bytes);
    let wanted = match config.max_bytes {
        // A new one without a limit of its own needs room for a byte at least.
        ..0 if before.is_none() => 1,
        bytes => bytes.max(0),
    };
    let more = (wanted - before.unwrap_or(0).max(0)).max(0);
    let group = tiers.group(config.num_replicas);
    let others = assets.reserved(config.storage, group, &config.name, tiers);
    let of_account = others.saturating_add(reserve(wanted));
    let (account_max, server_max, server_reserved, refusal) = match config.storage {
        Storage::Memory => {
            (limits.max_memory, server.max_memory, server.reserved_memory, error::MEMORY_RESOURCES_EXCEEDED)
        }
        Storage::File => {
            (limits.max_storage, server.max_file, server.reserved_file, error::STORAGE_RESOURCES_EXCEEDED)
        }
    };
    let account_is_over = account_max >= 0 && of_account > account_max;
    match account_is_over || server_reserved.saturating_add(more) > server_max {
        true => Err(refusal),
        false => Ok(()),
    }
}

/// What an account's limit counts: without tiers every replica.
pub fn reserved_bytes(tiers: &Tiers, replicas: i64, bytes: i64) -> i64 {
    match tiers {
        Tiers::Flat(_) => bytes.max(0).saturating_mul(replicas.max(1)),
        Tiers::ByReplicas(_) => bytes.max(0),
    }
}
