//! `/healthz`: whether the server takes clients, and whether its plugins are well (MON-110 to MON-120).
//!
//! The host answers for itself; a started plugin that says it is unwell makes the server unavailable.

use crate::answer::Answer;
use hyper::StatusCode;
use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Host, PluginFacts, Result, tracing};

/// One thing that is wrong.
struct Problem {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

pub fn check(host: &Host, params: &Value) -> Answer {
    if params["js-enabled"] == true {
        tracing::warn!("Healthcheck: js-enabled deprecated, use js-enabled-only instead");
    }
    let details = params["details"] == true;
    let problems = match problems(host, params) {
        Ok(problems) => problems,
        Err(error) => return Answer::bad_request(error),
    };
    let Some(first) = problems.first() else {
        return Answer::health(StatusCode::OK, &json!({ "status": "ok" }));
    };
    if !details {
        tracing::warn!("Healthcheck failed: {:?}", first.text);
        let status = match first.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_FOUND => "unavailable",
            _ => "error",
        };
        return Answer::health(first.status, &json!({ "status": status, "error": first.text }));
    }
    tracing::warn!("Healthcheck failed: {} errors", problems.len());
    let errors: Vec<Value> =
        problems.iter().map(|problem| json!({ "type": problem.kind, "error": problem.text })).collect();
    Answer::health(first.status, &json!({ "status": "error", "errors": errors }))
}

/// In the order of MON-118; the first decides the status.
fn problems(host: &Host, params: &Value) -> Result<Vec<Problem>> {
    let mut problems: Vec<Problem> = wrong_params(params).into_iter().collect();
    let own: Value = serde_json::from_str(&host.snapshot("healthz", &json!({}))?)?;
    if let Some(error) = own["error"].as_str() {
        problems.push(Problem {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "CONNECTION",
            text: error.to_owned(),
        });
    }
    if params["js-server-only"] != true {
        problems.extend(host.plugins()?.iter().filter_map(unwell));
    }
    Ok(problems)
}

/// MON-113
fn wrong_params(params: &Value) -> Option<Problem> {
    let empty = |name: &str| params[name].as_str().unwrap_or_default().is_empty();
    let text = if empty("account") && !empty("stream") {
        "\"account\" must not be empty when checking stream health"
    } else if empty("stream") && !empty("consumer") {
        "\"stream\" must not be empty when checking consumer health"
    } else {
        return None;
    };
    Some(Problem { status: StatusCode::BAD_REQUEST, kind: "BAD_REQUEST", text: text.to_owned() })
}

/// A plugin that never started is not the server's health: whether that matters is said by `required`.
fn unwell(plugin: &PluginFacts) -> Option<Problem> {
    let running = matches!(plugin.state.as_str(), "started" | "faulted" | "draining");
    (running && !plugin.healthy).then(|| Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "PLUGIN",
        text: format!("plugin `{}` is unwell: {}", plugin.name, plugin.health),
    })
}
