//! `accounts.*.jetstream` (JS-293, CFG-174).

use std::collections::BTreeMap;

use natsd_plugin_api::Result;
use serde_json::Value;

use super::field::Field;
use super::switch;
use crate::api::limits::{AccountLimits, Tiers};

/// None: the account has no JetStream.
pub(super) fn read(field: &Field<'_>) -> Result<Option<Tiers>> {
    let Value::Object(_) = field.value else {
        return Ok(switch(field)?.then(Tiers::default));
    };
    let mut limits = AccountLimits::default();
    let mut tiers = BTreeMap::new();
    for field in field.fields()? {
        match field.name().as_str() {
            // Of clusters: whose traffic the copies make. One server alone makes none.
            "cluster_traffic" => {
                if !matches!(field.text()?.as_str(), "" | "system" | "owner") {
                    return Err(field.expected("'system' or 'owner'"));
                }
            }
            // In nats-server tiers come from an operator's tokens only.
            "tiers" => tiers = read_tiers(&field)?,
            _ => limit(&mut limits, &field)?,
        }
    }
    if tiers.is_empty() {
        return Ok(Some(Tiers::Flat(limits)));
    }
    if limits != AccountLimits::default() {
        return Err(field.wrong("limits stand either in `tiers` or beside it: move them into the tiers"));
    }
    Ok(Some(Tiers::ByReplicas(tiers)))
}

fn read_tiers(block: &Field<'_>) -> Result<BTreeMap<String, AccountLimits>> {
    let mut tiers = BTreeMap::new();
    for tier in block.fields()? {
        let replicas = tier.key.strip_prefix('R').and_then(|digits| digits.parse::<u8>().ok());
        if !replicas.is_some_and(|replicas| (1..=5).contains(&replicas)) {
            return Err(tier.wrong("a tier is named by its replicas: R1 to R5"));
        }
        let mut limits = AccountLimits::default();
        for field in tier.fields()? {
            limit(&mut limits, &field)?;
        }
        tiers.insert(tier.key.to_owned(), limits);
    }
    Ok(tiers)
}

fn limit(limits: &mut AccountLimits, field: &Field<'_>) -> Result<()> {
    match field.name().as_str() {
        "max_memory" | "max_mem" | "mem" | "memory" => limits.max_memory = field.size()?,
        "max_store" | "max_file" | "max_disk" | "store" | "disk" => limits.max_storage = field.size()?,
        "max_streams" | "streams" => limits.max_streams = field.number()?,
        "max_consumers" | "consumers" => limits.max_consumers = field.number()?,
        "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
            limits.max_bytes_required = field.flag()?
        }
        "mem_max_stream_bytes" | "memory_max_stream_bytes" => {
            limits.memory_max_stream_bytes = field.size()?
        }
        "disk_max_stream_bytes" | "store_max_stream_bytes" => {
            limits.storage_max_stream_bytes = field.size()?
        }
        "max_ack_pending" => limits.max_ack_pending = field.number()?,
        _ => return Err(field.unknown()),
    }
    Ok(())
}
