//! `/healthz`: whether clients are accepted, and what plugins say of themselves and of what they keep (MON-110 to
//! MON-120).
//!
//! The answer is the one of requests over `$SYS`, with `status_code`; over HTTP that becomes the status. What a plugin
//! says that is well, such as that damage took some messages, is among the `warnings`: no reason to send clients away.

use super::parts_of_plugins;
use crate::conn::Context;
use crate::plugins::Plugins;
use natsd_plugin_api::PluginFacts;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

pub fn healthz(context: &Context, plugins: &Plugins, params: &Value) -> Value {
    if params["js-enabled"] == true {
        tracing::warn!("Healthcheck: js-enabled deprecated, use js-enabled-only instead");
    }
    let mut answer = judged(problems(context, plugins, params), params);
    let warnings: Vec<Value> = plugins.facts().iter().filter_map(warning).collect();
    if !warnings.is_empty() {
        answer["warnings"] = warnings.into();
    }
    answer
}

fn judged(problems: Vec<Value>, params: &Value) -> Value {
    let Some(first) = problems.first() else { return json!({ "status": "ok", "status_code": 200 }) };
    let code = first["status_code"].as_u64().unwrap_or(SERVER_ERROR);
    if params["details"] == true {
        tracing::warn!("Healthcheck failed: {} errors", problems.len());
        let errors: Vec<Value> = problems.into_iter().map(without_code).collect();
        return json!({ "status": "error", "status_code": code, "errors": errors });
    }
    tracing::warn!("Healthcheck failed: {:?}", first["error"].as_str().unwrap_or_default());
    // MON-112
    let status = if matches!(code, NOT_FOUND | UNAVAILABLE) { "unavailable" } else { "error" };
    json!({ "status": status, "status_code": code, "error": first["error"] })
}

const BAD_REQUEST: u64 = 400;
const NOT_FOUND: u64 = 404;
const SERVER_ERROR: u64 = 500;
const UNAVAILABLE: u64 = 503;

/// In the order of MON-118; the first decides the status. Each has `status_code`, and the fields of MON-119.
fn problems(context: &Context, plugins: &Plugins, params: &Value) -> Vec<Value> {
    if let Some(wrong) = wrong_params(params) {
        return vec![wrong];
    }
    let mut problems = Vec::new();
    if context.lame_duck.load(Relaxed) {
        // MON-114
        let error = "failed to be ready for connections after 1ms: server";
        problems.push(json!({ "status_code": SERVER_ERROR, "type": "CONNECTION", "error": error }));
    }
    if params["js-server-only"] == true {
        return problems;
    }
    problems.extend(plugins.facts().iter().filter_map(unwell));
    for part in parts_of_plugins(plugins, "healthz", params) {
        problems.extend(part.as_array().into_iter().flatten().cloned());
    }
    problems
}

/// MON-113
fn wrong_params(params: &Value) -> Option<Value> {
    let empty = |name: &str| params[name].as_str().unwrap_or_default().is_empty();
    let error = if empty("account") && !empty("stream") {
        "\"account\" must not be empty when checking stream health"
    } else if empty("stream") && !empty("consumer") {
        "\"stream\" must not be empty when checking consumer health"
    } else {
        return None;
    };
    Some(json!({ "status_code": BAD_REQUEST, "type": "BAD_REQUEST", "error": error }))
}

/// A plugin that never started is not the server's health: whether that matters is said by `required`.
fn unwell(plugin: &PluginFacts) -> Option<Value> {
    let running = matches!(plugin.state.as_str(), "started" | "faulted" | "draining");
    (running && !plugin.healthy).then(|| {
        let error = format!("plugin `{}` is unwell: {}", plugin.name, plugin.health);
        json!({ "status_code": UNAVAILABLE, "type": "PLUGIN", "error": error })
    })
}

fn warning(plugin: &PluginFacts) -> Option<Value> {
    let speaks = plugin.healthy && plugin.state == "started" && !plugin.health.is_empty();
    speaks.then(|| format!("plugin `{}`: {}", plugin.name, plugin.health).into())
}

fn without_code(mut problem: Value) -> Value {
    if let Some(fields) = problem.as_object_mut() {
        fields.shift_remove("status_code");
    }
    problem
}
