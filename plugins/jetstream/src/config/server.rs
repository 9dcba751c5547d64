//! `jetstream {}` of the server (JS-294, CFG-270 to CFG-279).

use std::time::Duration;

use natsd_plugin_api::{PutOff, Result};
use serde_json::Value;

use super::field::Field;
use super::{Cipher, Config, Encryption, Sync, switch, unsupported};
use crate::api::limits::{BatchLimits, ServerLimits};
use crate::api::validate::subjects::is_valid_subject;

const CONCURRENT_IO: std::ops::RangeInclusive<i64> = 4..=8192;

pub(super) fn read(config: &mut Config, field: &Field<'_>) -> Result<()> {
    let Value::Object(_) = field.value else {
        config.enabled = switch(field)?;
        return Ok(());
    };
    config.enabled = true;
    let (mut keys, mut put_off) = (Keys::default(), PutOff::default());
    for field in field.fields()? {
        put_off.check(key(config, &mut keys, &field))?;
    }
    config.encryption = keys.encryption();
    put_off.finish()
}

/// What belongs together but stands apart.
#[derive(Default)]
struct Keys {
    current: Option<String>,
    previous: Option<String>,
    cipher: Cipher,
}

impl Keys {
    fn encryption(self) -> Option<Encryption> {
        let (key, previous_key) = (self.current.unwrap_or_default(), self.previous.unwrap_or_default());
        let is_used = !key.is_empty() || !previous_key.is_empty();
        is_used.then_some(Encryption { key, previous_key, cipher: self.cipher })
    }
}

fn key(config: &mut Config, keys: &mut Keys, field: &Field<'_>) -> Result<()> {
    match field.name().as_str() {
        "enabled" | "enable" => config.enabled = field.flag()?,
        "strict" => config.strict = field.flag()?,
        "store_dir" | "store" | "storedir" => {
            // It may stand at the top level too, but not at both.
            if config.folder.as_ref().is_some_and(|folder| !folder.is_empty()) {
                return Err(field.wrong("Duplicate 'store_dir' configuration"));
            }
            config.folder = Some(field.text()?);
        }
        "store_engine" => config.store_engine = Some(field.text()?).filter(|name| !name.is_empty()),
        "sync_interval" | "sync" => config.sync = sync(field)?,
        "max_memory_store" | "max_mem_store" | "max_mem" => config.max_memory = limit(field)?,
        "max_file_store" | "max_file" => config.max_file = limit(field)?,
        "domain" => config.domain = domain(field)?,
        "key" | "ek" | "encryption_key" => keys.current = Some(field.text()?),
        "prev_key" | "prev_ek" | "prev_encryption_key" => keys.previous = Some(field.text()?),
        "cipher" => keys.cipher = cipher(field)?,
        "limits" => config.limits = limits(field)?,
        "tpm" => {
            return Err(unsupported(field, "natsd reads no keys from a TPM; give the key as `key` instead"));
        }
        "max_buffered_size" => config.queues.message_bytes_max = positive(field, field.size()?)?,
        "max_buffered_msgs" => config.queues.messages_max = field.count()?,
        "request_queue_limit" => {
            config.queues.requests_max = field.count()?;
        }
        "info_queue_limit" => config.queues.info_requests_max = field.count()?,
        "max_concurrent_io" => {
            let number = field.number()?;
            if !CONCURRENT_IO.contains(&number) {
                return Err(field.wrong(format_args!("{number} is out of range: use 4 to 8192")));
            }
            config.queues.concurrent_io_max = positive(field, number)?;
        }
        _ => return cluster(config, field),
    }
    Ok(())
}

/// What one server alone has no use for.
fn cluster(config: &mut Config, field: &Field<'_>) -> Result<()> {
    let cluster = &mut config.cluster;
    match field.name().as_str() {
        "unique_tag" => cluster.unique_tag = field.text()?.trim().to_lowercase(),
        "extension_hint" => cluster.extension_hint = field.text()?,
        "max_outstanding_catchup" => cluster.max_outstanding_catchup = field.size()?,
        "meta_compact" => cluster.meta_compact = positive(field, field.number()?)? as i64,
        "meta_compact_size" => cluster.meta_compact_size = positive(field, field.size()?)? as i64,
        "meta_compact_sync" => cluster.meta_compact_sync = field.flag()?,
        _ => return Err(field.unknown()),
    }
    Ok(())
}

/// Below 0 means as if it were absent.
fn limit(field: &Field<'_>) -> Result<Option<i64>> {
    Ok(Some(field.size()?).filter(|&size| size >= 0))
}

fn positive(field: &Field<'_>, number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| field.wrong(format_args!("{number} is negative: use 0 or more")))
}

fn sync(field: &Field<'_>) -> Result<Sync> {
    if field.value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("always")) {
        return Ok(Sync::Always);
    }
    let interval_ns = field.duration_ns()?;
    match u64::try_from(interval_ns) {
        Ok(1..) => Ok(Sync::Interval(Duration::from_nanos(interval_ns.unsigned_abs()))),
        // Without a pause.
        _ => Ok(Sync::Always),
    }
}

/// JS-063
fn domain(field: &Field<'_>) -> Result<String> {
    let domain = field.text()?;
    if !domain.is_empty() {
        check_domain(field, &domain)?;
        if domain.contains(['.', '*', '>']) {
            return Err(field.wrong("invalid domain name: may not contain ., * or >").at_start());
        }
    }
    Ok(domain)
}

pub(super) fn check_domain(field: &Field<'_>, domain: &str) -> Result<()> {
    let subject = format!("$JS.{domain}.API.>");
    match is_valid_subject(&subject) {
        true => Ok(()),
        false => {
            Err(field.wrong(format_args!("invalid domain name: derived {subject:?} is not a valid subject")))
        }
    }
}

fn cipher(field: &Field<'_>) -> Result<Cipher> {
    let name = field.text()?;
    match name.to_ascii_lowercase().as_str() {
        "chacha" | "chachapoly" => Ok(Cipher::ChaCha20Poly1305),
        "aes" => Ok(Cipher::AesGcm),
        _ => Err(field.wrong(format_args!("Unknown cipher type: {name:?} (use \"chacha\" or \"aes\")"))),
    }
}

fn limits(block: &Field<'_>) -> Result<ServerLimits> {
    let mut limits = ServerLimits::default();
    for field in block.fields()? {
        match field.name().as_str() {
            "default_max_consumers" => limits.default_max_consumers = field.number()?,
            "max_ack_pending" => limits.max_ack_pending = field.number()?,
            "max_ha_assets" => limits.max_ha_assets = field.number()?,
            "max_request_batch" => limits.max_request_batch = field.number()?,
            "duplicate_window" => limits.duplicate_window_ns = field.duration_ns()?,
            "batch" => limits.batch = batch(&field)?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(limits)
}

fn batch(block: &Field<'_>) -> Result<BatchLimits> {
    let mut limits = BatchLimits::default();
    for field in block.fields()? {
        match field.name().as_str() {
            "max_inflight_per_stream" => limits.max_inflight_per_stream = field.number()?,
            "max_inflight_total" => limits.max_inflight_total = field.number()?,
            "max_msgs" => limits.max_msgs = field.number()?,
            "timeout" => limits.timeout_ns = field.duration_ns()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(limits)
}
