//! Configurations read from JSON as the host gives it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use natsd_plugin_api::Section;
use serde_json::{Value, json};

use super::{Cipher, Config, Sync};
use crate::api::limits::Tiers;

fn read(keys: Value) -> Result<Config, String> {
    let section =
        Section { keys: keys.as_object().unwrap().clone(), config: Value::Null, ..Section::default() };
    Config::read(&section).map_err(|error| error.to_string())
}

#[test]
fn a_switch_or_a_block() {
    // CFG-270
    for (value, enabled) in [
        (json!(true), true),
        (json!(false), false),
        (json!("enabled"), true),
        (json!("Enable"), true),
        (json!("disabled"), false),
        (json!({}), true),
        (json!({"enabled": false}), false),
    ] {
        assert_eq!(read(json!({"jetstream": value.clone()})).unwrap().enabled, enabled, "{value}");
    }
    assert!(!read(json!({"store_dir": "x"})).unwrap().enabled);
}

#[test]
fn every_key_of_the_block() {
    // JS-294
    let config = read(json!({"jetstream": {
        "Store_Dir": "/data/", "max_mem": "1G", "max_file_store": 1000, "sync": "ALWAYS", "domain": "D",
        "strict": false, "ek": "secret", "prev_key": "old", "cipher": "AES", "unique_tag": " AZ:", "extension_hint": "no_extend",
        "limits": {"default_max_consumers": 9, "max_ack_pending": 5, "max_ha_assets": 6, "max_request_batch": 7, "duplicate_window": "1m",
            "batch": {"max_inflight_per_stream": 1, "max_inflight_total": 2, "max_msgs": 3, "timeout": "4s"}},
        "max_outstanding_catchup": "64M", "max_buffered_size": "1M", "max_buffered_msgs": 10,
        "request_queue_limit": 11, "info_queue_limit": 12, "meta_compact": 1, "meta_compact_size": "1K",
        "meta_compact_sync": true, "max_concurrent_io": 8,
    }}))
    .unwrap();
    assert_eq!(config.store_dir("/tmp"), "/data/jetstream");
    assert_eq!((config.max_memory, config.max_file, config.sync), (Some(1 << 30), Some(1000), Sync::Always));
    let encryption = config.encryption.clone().unwrap();
    assert_eq!((encryption.key.as_str(), encryption.previous_key.as_str()), ("secret", "old"));
    assert_eq!(encryption.cipher, Cipher::AesGcm);
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(
        (config.limits.duplicate_window_ns, config.limits.batch.timeout_ns),
        (60_000_000_000, 4_000_000_000)
    );
    assert_eq!((config.queues.requests_max, config.queues.info_requests_max), (11, 12));
    assert_eq!(config.cluster.unique_tag, "az:");
}

#[test]
fn defaults() {
    // JS-292
    let config = read(json!({"jetstream": true})).unwrap();
    assert_eq!((config.sync, config.strict), (Sync::Always, true));
    assert_eq!(config.store_dir("/tmp/"), "/tmp/nats/jetstream");
    assert_eq!((config.memory_bytes_max(Some(1000)), config.memory_bytes_max(None)), (750, 256 << 20));
    assert_eq!((config.storage_bytes_max(Some(400)), config.storage_bytes_max(None)), (300, 1 << 40));
    assert_eq!(read(json!({"store_dir": "a/jetstream"})).unwrap().store_dir("/tmp"), "a/jetstream");
    let sync = |value: Value| read(json!({"jetstream": {"sync_interval": value}})).unwrap().sync;
    assert_eq!(sync(json!("2m")), Sync::Interval(Duration::from_secs(120)));
    assert_eq!((sync(json!(0)), sync(json!("-1s"))), (Sync::Always, Sync::Always));
    assert_eq!(sync(json!(5)), Sync::Interval(Duration::from_secs(5)));
}

#[test]
fn accounts() {
    // JS-293
    let config = read(json!({
        "jetstream": true,
        "accounts.A.jetstream": {"mem": 1, "disk": "2K", "streams": 3, "consumers": 4, "max_bytes": true,
            "mem_max_stream_bytes": 5, "disk_max_stream_bytes": 6, "max_ack_pending": 7, "cluster_traffic": "owner"},
        "accounts.B.jetstream": "enabled",
        "accounts.C.jetstream": false,
        "accounts.T.jetstream": {"tiers": {"R1": {"max_streams": 1}, "R3": {"max_streams": 3}}},
        "default_js_domain": {"C": "hub", "X": ""},
    }))
    .unwrap();
    let Some(Tiers::Flat(limits)) = config.account("A") else { unreachable!() };
    assert_eq!(
        (limits.max_memory, limits.max_storage, limits.max_streams, limits.max_consumers),
        (1, 2048, 3, 4)
    );
    assert_eq!((limits.memory_max_stream_bytes, limits.storage_max_stream_bytes), (5, 6));
    assert!(limits.max_bytes_required && limits.max_ack_pending == 7);
    assert_eq!(config.account("B"), Some(Tiers::default()));
    assert_eq!((config.account("C"), config.account("$G")), (None, None));
    let tiers = config.account("T").unwrap();
    assert_eq!(tiers.select(3).map(|limits| limits.max_streams), Some(3));
    assert!(tiers.select(5).is_none());
    assert_eq!(config.default_domains["C"], "hub");
    assert_eq!(read(json!({"jetstream": true})).unwrap().account("$G"), Some(Tiers::default()));
}

#[test]
fn wrong_values_are_named_with_their_place() {
    for (keys, text) in [
        (
            json!({"jetstream": 1}),
            "jetstream: expected map, bool or string to define JetStream, found a number",
        ),
        (
            json!({"jetstream": "on"}),
            "jetstream: Expected 'enabled' or 'disabled' for string value, got 'on'",
        ),
        (json!({"jetstream": {"foo": 1}}), "jetstream.foo: unknown field \"foo\""),
        (json!({"jetstream": {"limits": {"x": 1}}}), "jetstream.limits.x: unknown field \"x\""),
        (
            json!({"jetstream": {"max_mem": "1GB"}}),
            "jetstream.max_mem: sizes defined as strings must end in K, M, G, T",
        ),
        (
            json!({"jetstream": {"sync": "5y"}}),
            "jetstream.sync: error parsing sync: time: unknown unit \"y\" in duration \"5y\"",
        ),
        (
            json!({"jetstream": {"domain": "a.b"}}),
            "jetstream.domain: invalid domain name: may not contain ., * or >",
        ),
        (
            json!({"jetstream": {"max_concurrent_io": 3}}),
            "jetstream.max_concurrent_io: 3 is out of range: use 4 to 8192",
        ),
        (
            json!({"jetstream": {"tpm": {"keys_file": "x"}}}),
            "jetstream.tpm: not supported: natsd reads no keys from a TPM; give the key as `key` instead",
        ),
        (
            json!({"store_dir": "a", "jetstream": {"store_dir": "b"}}),
            "jetstream.store_dir: Duplicate 'store_dir' configuration",
        ),
        (
            json!({"accounts.A.jetstream": {"max_mem": true}}),
            "accounts.A.jetstream.max_mem: expected a number of bytes or a size such as \"10G\", found a boolean",
        ),
        (
            json!({"accounts.A.jetstream": true, "default_js_domain": {"A": "x"}}),
            "default_js_domain: contains account name \"A\" with enabled JetStream",
        ),
    ] {
        assert_eq!(read(keys).unwrap_err(), text);
    }
}

#[test]
fn what_a_reload_may_change() {
    // CFG-142
    let with = |block: Value| read(json!({"jetstream": block})).unwrap();
    let old = with(json!({"max_mem": 10, "store_dir": "a"}));
    let check = |block: Value| old.check_reload(&with(block));
    assert_eq!(check(json!({"max_mem": 20, "store_dir": "a", "limits": {"max_ack_pending": 1}})), Ok(()));
    assert_eq!(check(json!(false)), Ok(()));
    for (block, text) in [
        (
            json!({"max_mem": 5, "store_dir": "a"}),
            "config reload not supported for decreasing jetstream max memory and store",
        ),
        (json!({"store_dir": "a"}), "config reload not supported for jetstream dynamic max memory and store"),
        (
            json!({"max_mem": 10, "store_dir": "b"}),
            "config reload not supported for jetstream storage directory",
        ),
        (
            json!({"max_mem": 10, "store_dir": "a", "domain": "D"}),
            "config reload not supported for jetstream domain: restart the server",
        ),
    ] {
        assert_eq!(check(block), Err(text.to_owned()));
    }
}
