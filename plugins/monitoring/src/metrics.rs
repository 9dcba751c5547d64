//! `/metrics`: the numbers of the endpoints in the text formats of Prometheus and OpenMetrics, with the names that the Prometheus
//! exporter for NATS gives them, so that its dashboards and alerts go on working without it.
//!
//! `gnatsd_*` come from varz, connz, subsz, routez, leafz, accstatz and healthz; `jetstream_*` from jsz (see
//! `jetstream`); `natsd_*` are natsd's own.

mod jetstream;
mod text;

use crate::time::millis;
use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Host, Result};
pub use text::Form;
use text::{Labels, Metrics};

/// Strings that become a label of a metric that is always 1.
const TOLD_AS_LABEL: [&str; 6] = ["server_id", "server_name", "version", "domain", "leader", "name"];
/// Times that become milliseconds since 1970.
const TIMES: [&str; 2] = ["start", "config_load_time"];
/// Settings of links that the exporter leaves out, and what has metrics of its own.
const LEFT_OUT: [&str; 10] = [
    "leaf",
    "natsd",
    "trusted_operators_claim",
    "cluster_tls_timeout",
    "cluster_cluster_port",
    "cluster_auth_timeout",
    "gateway_port",
    "gateway_auth_timeout",
    "gateway_tls_timeout",
    "gateway_connect_retries",
];

/// Everything, as one text.
pub fn text(host: &Host, form: Form) -> Result<String> {
    let ask = |kind: &str, params: Value| -> Result<Value> {
        Ok(serde_json::from_str(&host.snapshot(kind, &params)?)?)
    };
    let varz = ask("varz", json!({}))?;
    let server_id = varz["server_id"].as_str().unwrap_or_default();
    let labels = Labels::new().with("server_id", server_id);
    let mut metrics = Metrics::default();
    flatten(&mut metrics, "gnatsd_varz", "", &varz, &labels);
    flatten(&mut metrics, "gnatsd_subsz", "", &ask("subsz", json!({}))?, &labels);
    flatten(&mut metrics, "gnatsd_routez", "", &ask("routez", json!({}))?, &labels);
    connz(&mut metrics, &ask("connz", json!({}))?, &labels);
    metrics.gauge("gnatsd_leafz_conn_nodes_total", &labels, &ask("leafz", json!({}))?["leafnodes"]);
    accstatz(&mut metrics, &ask("accstatz", json!({}))?, &labels);
    healthz(&mut metrics, &ask("healthz", json!({}))?, &labels);
    let jsz = ask("jsz", json!({ "accounts": true, "consumer": true, "config": true, "raft": true }))?;
    let server_name = varz["server_name"].as_str().unwrap_or_default();
    jetstream::jsz(&mut metrics, &jsz, server_name, &labels);
    plugins(&mut metrics, host, &labels)?;
    Ok(metrics.into_text(form))
}

/// Every number below, its path as its name.
fn flatten(metrics: &mut Metrics, start: &str, path: &str, value: &Value, labels: &Labels) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = joined(path, key);
        if LEFT_OUT.contains(&path.as_str()) {
            continue;
        }
        let name = format!("{start}_{path}");
        match value {
            Value::Number(_) => metrics.gauge(&name, labels, value),
            Value::Object(_) => flatten(metrics, start, &path, value, labels),
            Value::String(text) if TIMES.contains(&key.as_str()) => {
                if let Some(millis) = millis(text) {
                    metrics.gauge(&name, labels, &json!(millis));
                }
            }
            Value::String(text) if TOLD_AS_LABEL.contains(&key.as_str()) => {
                metrics.gauge(&name, &labels.clone().with("value", text), &json!(1));
            }
            _ => {}
        }
    }
}

/// With single underscores where paths had slashes.
fn joined(path: &str, key: &str) -> String {
    let words = path.split(['_', '/']).chain(key.split(['_', '/']));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// The sums are those of the first page, as the exporter's are.
fn connz(metrics: &mut Metrics, connz: &Value, labels: &Labels) {
    for name in ["num_connections", "total", "offset", "limit"] {
        metrics.gauge(&format!("gnatsd_connz_{name}"), labels, &connz[name]);
    }
    for name in ["pending_bytes", "subscriptions", "in_bytes", "out_bytes", "in_msgs", "out_msgs"] {
        let connections = connz["connections"].as_array().into_iter().flatten();
        let sum: u64 = connections.filter_map(|connection| connection[name].as_u64()).sum();
        metrics.gauge(&format!("gnatsd_connz_{name}"), labels, &json!(sum));
    }
}

fn accstatz(metrics: &mut Metrics, accstatz: &Value, labels: &Labels) {
    for account in accstatz["account_statz"].as_array().into_iter().flatten() {
        let text = |name: &str| account[name].as_str().unwrap_or_default();
        let labels = labels.clone().with("account", text("acc")).with("account_id", text("acc"));
        let labels = labels.with("account_name", text("name"));
        for (name, value) in [
            ("current_connections", &account["conns"]),
            ("total_connections", &account["total_conns"]),
            ("subscriptions", &account["num_subscriptions"]),
            ("leaf_nodes", &account["leafnodes"]),
            ("sent_messages", &account["sent"]["msgs"]),
            ("sent_bytes", &account["sent"]["bytes"]),
            ("received_messages", &account["received"]["msgs"]),
            ("received_bytes", &account["received"]["bytes"]),
            ("slow_consumers", &account["slow_consumers"]),
        ] {
            metrics.gauge(&format!("gnatsd_accstatz_{name}"), &labels, value);
        }
    }
}

/// The first is 0 when all is well, the second 1: so it is in the exporter.
fn healthz(metrics: &mut Metrics, healthz: &Value, labels: &Labels) {
    let status = healthz["status"].as_str().unwrap_or_default();
    let is_ok = status == "ok";
    metrics.gauge("gnatsd_healthz_status", labels, &json!(u8::from(!is_ok)));
    let labels = labels.clone().with("value", status);
    metrics.gauge("gnatsd_healthz_status_value", &labels, &json!(u8::from(is_ok)));
}

fn plugins(metrics: &mut Metrics, host: &Host, labels: &Labels) -> Result<()> {
    for plugin in host.plugins()? {
        let labels = labels.clone().with("plugin", &plugin.name).with("version", &plugin.version);
        let labels = labels.with("state", &plugin.state);
        metrics.gauge("natsd_plugin_healthy", &labels, &json!(u8::from(plugin.healthy)));
        metrics.gauge("natsd_plugin_faults", &labels, &json!(plugin.faults));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Form, Labels, Metrics, flatten};
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn numbers_are_named_by_their_path() {
        let varz = json!({
            "server_id": "N1", "cpu": 0.5, "start": "2024-05-01T00:00:00.5Z", "go": "", "auth_required": true,
            "http_req_stats": { "/": 2, "/varz": 3 }, "jetstream": { "stats": { "api": { "total": 7 } } },
            "gateway": { "port": 1 }, "natsd": { "n": 1 },
        });
        let mut metrics = Metrics::default();
        flatten(&mut metrics, "gnatsd_varz", "", &varz, &Labels::new());
        let text = metrics.into_text(Form::Text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "gnatsd_varz_cpu 0.5",
                "gnatsd_varz_http_req_stats 2",
                "gnatsd_varz_http_req_stats_varz 3",
                "gnatsd_varz_jetstream_stats_api_total 7",
                "gnatsd_varz_server_id{value=\"N1\"} 1",
                "gnatsd_varz_start 1714521600500",
            ]
        );
    }
}
