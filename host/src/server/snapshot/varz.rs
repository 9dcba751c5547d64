//! `/varz`: the server as a whole (MON-020 to MON-041).

use super::text;
use crate::config::options::{Options, WriteTimeout};
use crate::conn::Context;
use crate::proto::info::{COMPATIBLE_VERSION, go_name};
use crate::runtime::usage::Usage;
use crate::tls::server::TlsServer;
use natsd_plugin_api::PluginFacts;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What the context does not know of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerFacts<'a> {
    pub server_id: &'a str,
    pub server_name: &'a str,
    /// As bound.
    pub port: u16,
    pub start_unix_ns: u64,
    pub now_unix_ns: u64,
    pub config_load_unix_ns: u64,
    /// Empty without a configuration file.
    pub config_digest: &'a str,
    /// Why the last reload changed nothing.
    pub reload_error: Option<&'a str>,
    pub usage: Usage,
    pub plugins: &'a [PluginFacts],
    /// `None`: peers are not checked, or nothing is kept.
    pub ocsp_peer_cache: Option<&'a Value>,
}

/// The fields in their order (MON-038). Plugins may add to those that are here, and to no others.
const ORDER: [&str; 78] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "git_commit",
    "go",
    "host",
    "port",
    "auth_required",
    "tls_required",
    "tls_verify",
    "tls_ocsp_peer_verify",
    "ip",
    "connect_urls",
    "ws_connect_urls",
    "max_connections",
    "max_subscriptions",
    "ping_interval",
    "ping_max",
    "http_host",
    "http_port",
    "http_base_path",
    "https_port",
    "auth_timeout",
    "max_control_line",
    "max_payload",
    "max_pending",
    "cluster",
    "gateway",
    "leaf",
    "mqtt",
    "websocket",
    "jetstream",
    "tls_timeout",
    "write_deadline",
    "write_timeout",
    "start",
    "now",
    "uptime",
    "mem",
    "cores",
    "gomaxprocs",
    "gomemlimit",
    "cpu",
    "connections",
    "total_connections",
    "routes",
    "remotes",
    "leafnodes",
    "in_msgs",
    "in_bytes",
    "in_client_msgs",
    "in_client_bytes",
    "out_msgs",
    "out_bytes",
    "out_client_msgs",
    "out_client_bytes",
    "slow_consumers",
    "stale_connections",
    "stalled_clients",
    "subscriptions",
    "http_req_stats",
    "config_load_time",
    "config_digest",
    "tags",
    "metadata",
    "feature_flags",
    "trusted_operators_jwt",
    "trusted_operators_claim",
    "system_account",
    "pinned_account_fails",
    "ocsp_peer_cache",
    "slow_consumer_stats",
    "stale_connection_stats",
    "disk_io_wait_stats",
    "proxies",
    "tls_cert_not_after",
    // natsd's own.
    "natsd",
];

/// Flags of nats-server 2.15 with their defaults; shown whether natsd reads them or not (MON-033).
const FEATURE_FLAGS: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

const DEFAULT_AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Shown without a `tls` block.
const DEFAULT_TLS_TIMEOUT: Duration = Duration::from_secs(2);

/// `plugins`: fields of plugins. Their numbers are added to the host's, what is in
/// their blocks to its blocks, everything else stands in its place.
pub fn varz(server: &ServerFacts<'_>, context: &Context, plugins: &[Value]) -> Value {
    let options = context.options.load();
    let mut fields = Map::new();
    identity(&mut fields, server, context);
    limits(&mut fields, &options);
    timing(&mut fields, server, &options);
    counters(&mut fields, context);
    configuration(&mut fields, server, context, &options);
    for plugin in plugins {
        add(&mut fields, plugin);
    }
    Value::Object(ORDER.iter().filter_map(|name| fields.remove_entry(*name)).collect())
}

fn identity(fields: &mut Map<String, Value>, server: &ServerFacts<'_>, context: &Context) {
    let options = context.options.load();
    put(fields, "server_id", server.server_id);
    put(fields, "server_name", server.server_name);
    put(fields, "version", COMPATIBLE_VERSION);
    put(fields, "proto", 1);
    put(fields, "go", go_name().as_str());
    put(fields, "host", options.host.as_str());
    put(fields, "port", server.port);
    let tls = options.tls.as_ref();
    let on = [
        ("auth_required", context.authenticator().auth_required()),
        ("tls_required", tls.is_some() && !options.allow_non_tls),
        ("tls_verify", tls.is_some_and(|tls| tls.verify || tls.verify_and_map)),
        ("tls_ocsp_peer_verify", !options.allow_non_tls && tls.is_some_and(|tls| tls.ocsp_peer.is_some())),
    ];
    for (name, _) in on.into_iter().filter(|(_, on)| *on) {
        put(fields, name, true);
    }
}

fn limits(fields: &mut Map<String, Value>, options: &Options) {
    let limits = &options.limits;
    // Nobody at all is -1 (CFG-055).
    put(fields, "max_connections", limits.max_connections.map_or(-1, |max| max as i64));
    if let Some(max) = limits.max_subscriptions {
        put(fields, "max_subscriptions", max);
    }
    put(fields, "ping_interval", ns(options.timing.ping_interval));
    put(fields, "ping_max", options.timing.ping_max);
    for (name, value) in [
        ("http_host", json!("")),
        ("http_port", json!(0)),
        ("http_base_path", json!("")),
        ("https_port", json!(0)),
    ] {
        put(fields, name, value);
    }
    let auth_timeout = options.auth.timeout.unwrap_or_else(|| match &options.tls {
        Some(tls) => tls.timeout + Duration::from_secs(1),
        None => DEFAULT_AUTH_TIMEOUT,
    });
    put(fields, "auth_timeout", text::number(auth_timeout.as_secs_f64()));
    put(fields, "max_control_line", limits.max_control_line_bytes);
    put(fields, "max_payload", limits.max_payload_bytes);
    put(fields, "max_pending", limits.max_pending_bytes);
    for block in ["cluster", "gateway", "leaf", "mqtt", "websocket", "jetstream"] {
        put(fields, block, json!({}));
    }
}

fn timing(fields: &mut Map<String, Value>, server: &ServerFacts<'_>, options: &Options) {
    let tls_timeout = options.tls.as_ref().map_or(DEFAULT_TLS_TIMEOUT, |tls| tls.timeout);
    put(fields, "tls_timeout", text::number(tls_timeout.as_secs_f64()));
    put(fields, "write_deadline", ns(options.timing.write_deadline));
    match options.timing.write_timeout {
        WriteTimeout::Default => {}
        WriteTimeout::Close => put(fields, "write_timeout", "close"),
        WriteTimeout::Retry => put(fields, "write_timeout", "retry"),
    }
    put(fields, "start", text::time(server.start_unix_ns));
    put(fields, "now", text::time(server.now_unix_ns));
    put(fields, "uptime", text::uptime(server.now_unix_ns.saturating_sub(server.start_unix_ns)));
    put(fields, "mem", server.usage.mem_bytes);
    put(fields, "cores", server.usage.cores);
    put(fields, "gomaxprocs", server.usage.cores);
    put(fields, "cpu", text::number(server.usage.cpu_percent));
}

fn counters(fields: &mut Map<String, Value>, context: &Context) {
    let registry = &context.registry;
    put(fields, "connections", registry.len());
    put(fields, "total_connections", registry.total());
    for links in ["routes", "remotes", "leafnodes"] {
        put(fields, links, 0);
    }
    let traffic = registry.traffic();
    for (name, client_name, count) in [
        ("in_msgs", "in_client_msgs", traffic.in_msgs),
        ("in_bytes", "in_client_bytes", traffic.in_bytes),
        ("out_msgs", "out_client_msgs", traffic.out_msgs),
        ("out_bytes", "out_client_bytes", traffic.out_bytes),
    ] {
        put(fields, name, count);
        put(fields, client_name, count);
    }
    let slow = context.slow_consumers.load(Relaxed);
    let stale = context.stale_connections.load(Relaxed);
    put(fields, "slow_consumers", slow);
    put(fields, "stale_connections", stale);
    put(fields, "stalled_clients", traffic.stalls);
    let subscriptions: usize = context.accounts.all().iter().map(|a| a.sublist.read().trie.len()).sum();
    put(fields, "subscriptions", subscriptions);
    put(fields, "http_req_stats", json!({}));
    let by_kind = |clients: u64| json!({ "clients": clients, "routes": 0, "gateways": 0, "leafs": 0 });
    put(fields, "slow_consumer_stats", by_kind(slow));
    put(fields, "stale_connection_stats", by_kind(stale));
    put(
        fields,
        "disk_io_wait_stats",
        json!({ "waiters": 0, "waits": 0, "wait_time": 0, "max_wait_time": 0 }),
    );
}

fn configuration(
    fields: &mut Map<String, Value>,
    server: &ServerFacts<'_>,
    context: &Context,
    options: &Options,
) {
    put(fields, "config_load_time", text::time(server.config_load_unix_ns));
    put(fields, "config_digest", server.config_digest);
    if !options.server_tags.is_empty() {
        put(fields, "tags", json!(options.server_tags));
    }
    if !options.server_metadata.is_empty() {
        put(fields, "metadata", json!(options.server_metadata));
    }
    let mut flags: BTreeMap<&str, bool> = BTreeMap::from(FEATURE_FLAGS);
    flags.extend(options.feature_flags.iter().map(|(name, on)| (name.as_str(), *on)));
    put(fields, "feature_flags", json!(flags));
    if let Some(system) = context.accounts.system() {
        put(fields, "system_account", &*system.name);
    }
    if !options.auth.trusted_proxies.is_empty() {
        let keys: Vec<Value> = options.auth.trusted_proxies.iter().map(|key| json!({ "key": key })).collect();
        put(fields, "proxies", json!({ "trusted": keys }));
    }
    let not_after_unix_s = context.tls.load().as_ref().and_then(|tls| tls.cert_not_after_unix_s);
    if let Some(not_after) = not_after_unix_s.and_then(text::time_of_seconds) {
        put(fields, "tls_cert_not_after", not_after);
    }
    if let Some(cache) = server.ocsp_peer_cache {
        put(fields, "ocsp_peer_cache", cache.clone());
    }
    let mut own = json!({ "version": env!("CARGO_PKG_VERSION") });
    if let Some(error) = server.reload_error {
        own["reload_error"] = json!(error);
    }
    let plugins = server.plugins.iter().map(|plugin| {
        let state = json!({ "version": plugin.version, "state": plugin.state, "healthy": plugin.healthy });
        (plugin.name.clone(), state)
    });
    own["plugins"] = Value::Object(plugins.collect());
    put(fields, "natsd", own);
}

fn add(fields: &mut Map<String, Value>, plugin: &Value) {
    for (name, value) in
        plugin.as_object().into_iter().flatten().filter(|(name, _)| ORDER.contains(&name.as_str()))
    {
        if let (Some(Value::Object(own)), Value::Object(more)) = (fields.get_mut(name), value) {
            own.extend(more.clone());
            continue;
        }
        let sum = fields.get(name).and_then(Value::as_i64).zip(value.as_i64()).map(|(own, more)| own + more);
        fields.insert(name.clone(), sum.map_or_else(|| value.clone(), Value::from));
    }
}

/// MON-027, MON-028: at the end of what a plugin tells of its listener.
pub fn of_listener(tls: &TlsServer) -> Value {
    let mut fields = Map::new();
    if tls.peers.is_some() {
        put(&mut fields, "tls_ocsp_peer_verify", true);
    }
    if let Some(not_after) = tls.cert_not_after_unix_s.and_then(text::time_of_seconds) {
        put(&mut fields, "tls_cert_not_after", not_after);
    }
    Value::Object(fields)
}

fn put(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
