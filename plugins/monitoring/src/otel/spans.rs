//! Spans of one message's way through the server, in OTLP's JSON form.
//!
//! One span for the message, a child of the publisher's own; below it one for each receiver. What else happened on
//! the way (mappings, borders between accounts) are events of the first. Values in, values out.

use crate::time::nanos;
use natsd_plugin_api::serde_json::{Map, Value, json};

/// SPAN_KIND_CONSUMER and SPAN_KIND_PRODUCER: the server takes a message and hands it on.
const TAKES: u8 = 5;
const HANDS_ON: u8 = 4;
const STATUS_ERROR: u8 = 2;

/// Which trace a message belongs to (W3C trace context).
struct Parent<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    state: &'a str,
}

/// The spans of a trace event; none of one without a valid `traceparent`.
pub fn spans(event: &Value, span_id: &mut dyn FnMut() -> String) -> Vec<Value> {
    let Some(parent) = parent(event) else { return Vec::new() };
    let steps = event["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some((ingress, steps)) = steps.split_first() else { return Vec::new() };
    let start_ns = at_ns(ingress);
    let end_ns = steps.iter().map(at_ns).max().unwrap_or(start_ns).max(start_ns);
    let own_id = span_id();
    let subject = text(ingress, "subj");
    let mut own =
        span(&parent, parent.span_id, &own_id, &format!("process {subject}"), TAKES, start_ns, end_ns);
    let mut attributes = about_client(ingress);
    attributes.extend([
        attribute("messaging.operation.type", "process".into()),
        attribute("messaging.destination.name", subject.into()),
        attribute("messaging.message.envelope.size", event["request"]["msgsize"].clone()),
        attribute("nats.account", text(ingress, "acc").into()),
    ]);
    own["attributes"] = attributes.into();
    fail(&mut own, ingress);
    let passed: Vec<Value> = steps.iter().filter_map(happening).collect();
    if !passed.is_empty() {
        own["events"] = passed.into();
    }
    let mut spans = vec![own];
    for step in steps.iter().filter(|step| step["type"] == "eg") {
        let name = format!("deliver {}", text(step, "sub"));
        let mut delivery =
            span(&parent, &own_id, &span_id(), &name, HANDS_ON, start_ns, at_ns(step).max(start_ns));
        let mut attributes = about_client(step);
        attributes.push(attribute("messaging.operation.type", "send".into()));
        attributes.push(attribute("nats.subscription", text(step, "sub").into()));
        for (name, field) in [("nats.queue", "queue"), ("nats.account", "acc")] {
            if !text(step, field).is_empty() {
                attributes.push(attribute(name, text(step, field).into()));
            }
        }
        delivery["attributes"] = attributes.into();
        fail(&mut delivery, step);
        spans.push(delivery);
    }
    spans
}

fn parent(event: &Value) -> Option<Parent<'_>> {
    let header = |wanted: &str| {
        let mut headers = event["request"]["header"].as_object()?.iter();
        let (_, values) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        values[0].as_str()
    };
    let mut parts = header("traceparent")?.split('-');
    let (_, trace_id, span_id) = (parts.next()?, parts.next()?, parts.next()?);
    let is_id = |id: &str, len: usize| {
        id.len() == len
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0')
    };
    let valid = is_id(trace_id, 32) && is_id(span_id, 16);
    valid.then(|| Parent { trace_id, span_id, state: header("tracestate").unwrap_or_default() })
}

fn span(parent: &Parent, above: &str, id: &str, name: &str, kind: u8, start_ns: u64, end_ns: u64) -> Value {
    json!({
        "traceId": parent.trace_id,
        "spanId": id,
        "parentSpanId": above,
        "traceState": parent.state,
        "name": name,
        "kind": kind,
        // 64 bits do not fit a number of JSON.
        "startTimeUnixNano": start_ns.to_string(),
        "endTimeUnixNano": end_ns.to_string(),
    })
}

/// Whose connection it is.
fn about_client(step: &Value) -> Vec<Value> {
    let mut attributes = vec![attribute("messaging.system", "nats".into())];
    if let Some(cid) = step["cid"].as_u64() {
        attributes.push(attribute("nats.client.id", cid.into()));
    }
    if !text(step, "name").is_empty() {
        attributes.push(attribute("messaging.client.id", text(step, "name").into()));
    }
    attributes
}

/// A mapping, a border between accounts, or what a stream did.
fn happening(step: &Value) -> Option<Value> {
    let name = match text(step, "type") {
        "sm" => "subject mapping",
        "se" => "stream export",
        "si" => "service import",
        "js" => "JetStream",
        _ => return None,
    };
    let told = [
        ("acc", "nats.account"),
        ("from", "nats.from"),
        ("to", "nats.to"),
        ("stream", "nats.stream"),
        ("subject", "nats.subject"),
        ("error", "error.message"),
    ];
    let attributes: Vec<Value> = told
        .into_iter()
        .filter(|(field, _)| !text(step, field).is_empty())
        .map(|(field, name)| attribute(name, text(step, field).into()))
        .collect();
    Some(json!({ "timeUnixNano": at_ns(step).to_string(), "name": name, "attributes": attributes }))
}

fn fail(span: &mut Value, step: &Value) {
    if let Some(error) = step["error"].as_str() {
        span["status"] = json!({ "code": STATUS_ERROR, "message": error });
    }
}

pub fn attribute(name: &str, value: Value) -> Value {
    let value = match value {
        Value::Number(number) => Map::from_iter([("intValue".to_owned(), number.to_string().into())]),
        value => Map::from_iter([("stringValue".to_owned(), value)]),
    };
    json!({ "key": name, "value": value })
}

fn at_ns(step: &Value) -> u64 {
    nanos(text(step, "ts")).unwrap_or_default()
}

fn text<'a>(step: &'a Value, name: &str) -> &'a str {
    step[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::spans;
    use natsd_plugin_api::serde_json::{Value, json};

    fn event(traceparent: &str) -> Value {
        json!({
            "request": { "header": { "Traceparent": [traceparent], "tracestate": ["a=b"] }, "msgsize": 70 },
            "events": [
                { "type": "in", "ts": "1970-01-01T00:00:01Z", "cid": 5, "name": "p", "acc": "A", "subj": "x" },
                { "type": "sm", "ts": "1970-01-01T00:00:01.1Z", "to": "y" },
                { "type": "eg", "ts": "1970-01-01T00:00:01.000000002Z", "cid": 6, "sub": "y", "queue": "q",
                  "error": "why" },
            ],
        })
    }

    #[test]
    fn a_message_is_a_child_of_its_publishers_span_and_deliveries_are_its_children() {
        let mut next = 0;
        let mut ids = || {
            next += 1;
            format!("{next:016x}")
        };
        let made = spans(&event("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &mut ids);
        assert_eq!(made.len(), 2);
        assert_eq!(
            (&made[0]["name"], &made[0]["parentSpanId"]),
            (&json!("process x"), &json!("00f067aa0ba902b7"))
        );
        assert_eq!(
            (&made[0]["traceState"], &made[0]["endTimeUnixNano"]),
            (&json!("a=b"), &json!("1100000000"))
        );
        assert_eq!(made[0]["events"][0]["name"], "subject mapping");
        assert_eq!((&made[1]["parentSpanId"], &made[1]["name"]), (&made[0]["spanId"], &json!("deliver y")));
        assert_eq!(made[1]["endTimeUnixNano"], "1000000002");
        assert_eq!(made[1]["status"], json!({ "code": 2, "message": "why" }));
    }

    #[test]
    fn what_belongs_to_no_trace_makes_no_spans() {
        let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for bad in ["", "00-a-b-01", "00-zz", &zeros] {
            assert_eq!(spans(&event(bad), &mut String::new), Vec::<Value>::new(), "{bad}");
        }
    }
}
