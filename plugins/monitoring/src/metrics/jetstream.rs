//! The `jetstream_*` metrics: of the server, of accounts, streams, consumers, mirrors and sources.

use super::text::{Labels, Metrics};
use crate::time::millis;
use natsd_plugin_api::serde_json::{Value, json};

/// `server`: the label that all metrics have.
pub fn jsz(metrics: &mut Metrics, jsz: &Value, server_name: &str, server: &Labels) {
    let meta = &jsz["meta_cluster"];
    let meta_leader = text(&meta["leader"]);
    let labels = server
        .clone()
        .with("server_name", server_name)
        .with("cluster", text(&meta["name"]))
        .with("domain", text(&jsz["config"]["domain"]))
        .with("meta_leader", meta_leader)
        .with("is_meta_leader", yes(meta_leader, server_name));
    let disabled = json!(u8::from(jsz["disabled"] == true));
    for (name, value) in [
        ("jetstream_disabled", &disabled),
        ("total_streams", &jsz["streams"]),
        ("total_consumers", &jsz["consumers"]),
        ("total_messages", &jsz["messages"]),
        ("total_message_bytes", &jsz["bytes"]),
        ("max_memory", &jsz["config"]["max_memory"]),
        ("max_storage", &jsz["config"]["max_storage"]),
    ] {
        metrics.gauge(&format!("jetstream_server_{name}"), &labels, value);
    }
    for detail in list(&jsz["account_details"]) {
        account(metrics, detail, server_name, &labels);
    }
}

fn account(metrics: &mut Metrics, account: &Value, server_name: &str, server: &Labels) {
    let name = text(&account["name"]);
    let labels = server.clone().with("account", name).with("account_name", name);
    let labels = labels.with("account_id", text(&account["id"]));
    for (name, value) in [
        ("max_memory", &account["reserved_memory"]),
        ("max_storage", &account["reserved_storage"]),
        ("storage_used", &account["storage"]),
        ("memory_used", &account["memory"]),
    ] {
        metrics.gauge(&format!("jetstream_account_{name}"), &labels, value);
    }
    for detail in list(&account["stream_detail"]) {
        stream(metrics, detail, server_name, &labels);
    }
}

fn stream(metrics: &mut Metrics, stream: &Value, server_name: &str, account: &Labels) {
    let leader = text(&stream["cluster"]["leader"]);
    let labels = account
        .clone()
        .with("stream_name", text(&stream["name"]))
        .with("stream_leader", leader)
        .with("is_stream_leader", yes(leader, server_name))
        .with("stream_raft_group", text(&stream["stream_raft_group"]));
    let (state, config) = (&stream["state"], &stream["config"]);
    // Left out of the state when there are none.
    let subjects = json!(state["num_subjects"].as_u64().unwrap_or(0));
    for (name, value) in [
        ("total_messages", &state["messages"]),
        ("total_bytes", &state["bytes"]),
        ("first_seq", &state["first_seq"]),
        ("last_seq", &state["last_seq"]),
        ("consumer_count", &state["consumer_count"]),
        ("subject_count", &subjects),
        ("limit_messages", &config["max_msgs"]),
        ("limit_bytes", &config["max_bytes"]),
    ] {
        metrics.gauge(&format!("jetstream_stream_{name}"), &labels, value);
    }
    for source in list(&stream["sources"]) {
        origin(metrics, "source", source, &labels);
    }
    if stream["mirror"].is_object() {
        origin(metrics, "mirror", &stream["mirror"], &labels);
    }
    for detail in list(&stream["consumer_detail"]) {
        consumer(metrics, detail, server_name, &labels);
    }
}

/// A mirror or source. Nanoseconds since something came; -1: never.
fn origin(metrics: &mut Metrics, kind: &str, origin: &Value, stream: &Labels) {
    let labels = stream
        .clone()
        .with(&format!("{kind}_name"), text(&origin["name"]))
        .with(&format!("{kind}_api"), text(&origin["external"]["api"]))
        .with(&format!("{kind}_deliver"), text(&origin["external"]["deliver"]));
    metrics.gauge(&format!("jetstream_stream_{kind}_lag"), &labels, &origin["lag"]);
    metrics.gauge(&format!("jetstream_stream_{kind}_active_duration_ns"), &labels, &origin["active"]);
}

fn consumer(metrics: &mut Metrics, consumer: &Value, server_name: &str, stream: &Labels) {
    let leader = text(&consumer["cluster"]["leader"]);
    let labels = stream
        .clone()
        .with("consumer_name", text(&consumer["name"]))
        .with("consumer_leader", leader)
        .with("is_consumer_leader", yes(leader, server_name))
        .with("consumer_desc", text(&consumer["config"]["description"]));
    let (delivered, floor) = (&consumer["delivered"], &consumer["ack_floor"]);
    let now_ms = millis(text(&consumer["ts"]));
    let seconds_since = |place: &Value| {
        let then_ms = millis(text(&place["last_active"]));
        json!(now_ms.zip(then_ms).map(|(now, then)| (now - then) as f64 / 1000.0))
    };
    for (name, value) in [
        ("delivered_consumer_seq", &delivered["consumer_seq"]),
        ("delivered_stream_seq", &delivered["stream_seq"]),
        ("last_delivery_seconds", &seconds_since(delivered)),
        ("last_ack_seconds", &seconds_since(floor)),
        ("num_ack_pending", &consumer["num_ack_pending"]),
        ("num_redelivered", &consumer["num_redelivered"]),
        ("num_waiting", &consumer["num_waiting"]),
        ("num_pending", &consumer["num_pending"]),
        ("ack_floor_stream_seq", &floor["stream_seq"]),
        ("ack_floor_consumer_seq", &floor["consumer_seq"]),
    ] {
        metrics.gauge(&format!("jetstream_consumer_{name}"), &labels, value);
    }
}

/// Without a leader this server leads.
fn yes(leader: &str, server_name: &str) -> &'static str {
    if leader.is_empty() || leader == server_name { "true" } else { "false" }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
