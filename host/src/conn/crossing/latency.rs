//! How long a service took, as its exporter is told (ACC-030 to ACC-034).

use super::client_info::ClientInfo;
use super::headers;
use crate::account::Account;
use crate::config::options::LatencyOptions;
use crate::conn::traced::event::{text, timestamp};
use crate::proto::json;
use crate::routing::publish::{Message, publish};
use crate::runtime::random::quick_u64;
use crate::runtime::unix_ns;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const KIND: &str = "io.nats.server.metric.v1.service_latency";
const ID_LETTERS: usize = 22;

/// Headers that made a measurement.
pub type Triggers = BTreeMap<String, Vec<String>>;

/// A measurement under way.
pub struct Measured {
    pub requestor: Option<ClientInfo>,
    pub triggers: Triggers,
    pub sent_unix_ns: u64,
}

/// Why there was no response.
#[derive(Clone, Copy)]
pub enum Failure {
    BadRequest,
    RequestTimeout,
    ServiceUnavailable,
    ServiceTimeout,
}

#[derive(Serialize)]
struct Metric<'a> {
    r#type: &'static str,
    id: String,
    timestamp: String,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestor: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: &'a Triggers,
    start: String,
    service: u64,
    system: u64,
    total: u64,
}

/// Whether a request is measured, and by which of its headers.
pub fn sampled(options: &LatencyOptions, block: &[u8]) -> Option<Triggers> {
    match options.sampling_percent {
        Some(percent) if quick_u64() % 100 < u64::from(percent) => Some(Triggers::new()),
        _ => triggers(block),
    }
}

/// ACC-033
fn triggers(block: &[u8]) -> Option<Triggers> {
    if block.is_empty() {
        return None;
    }
    let all = || headers::fields(block).map(|(name, value)| (canonical(name), text(value)));
    let first = |name: &str| all().find(|field| field.0 == name).map(|field| field.1);
    let kept = |wanted: &dyn Fn(&str) -> bool| {
        let mut kept = Triggers::new();
        for (name, value) in all().filter(|(name, _)| wanted(name)) {
            kept.entry(name).or_default().push(value);
        }
        kept
    };
    if let Some(id) = first("Uber-Trace-Id") {
        let flags: Vec<&str> = id.split(':').collect();
        let is_sampled = flags.len() == 4 && flags[3].len() <= 2 && is_odd(flags[3]);
        return is_sampled.then(|| kept(&|name| name == "Uber-Trace-Id" || name.starts_with("Uberctx-")));
    }
    let b3 = || kept(&|name| name.starts_with("X-B3-"));
    match first("X-B3-Sampled").as_deref() {
        Some("1") => return Some(b3()),
        Some("0") => return None,
        _ if first("X-B3-Traceid").is_some() => return Some(b3()),
        _ => {}
    }
    if let Some(b3) = first("B3") {
        let parts: Vec<&str> = b3.split('-').collect();
        let is_denied = parts.get(2) == Some(&"0") || parts == ["0"];
        return (!is_denied).then(|| kept(&|name| name == "B3"));
    }
    let parent = first("Traceparent")?;
    let flags: Vec<&str> = parent.split('-').collect();
    let is_sampled = flags.len() == 4 && flags[3].len() == 2 && is_odd(flags[3]);
    is_sampled.then(|| kept(&|name| name == "Traceparent" || name == "Tracestate"))
}

fn is_odd(hex: &str) -> bool {
    u8::from_str_radix(hex, 16).is_ok_and(|flags| flags & 1 == 1)
}

/// `x-b3-traceId` as `X-B3-Traceid`.
fn canonical(name: &[u8]) -> String {
    let mut name = text(name).to_ascii_lowercase().into_bytes();
    let mut starts_word = true;
    for byte in &mut name {
        if starts_word {
            byte.make_ascii_uppercase();
        }
        starts_word = *byte == b'-';
    }
    String::from_utf8(name).unwrap_or_default()
}

impl Measured {
    pub fn new(requestor: Option<ClientInfo>, triggers: Triggers) -> Self {
        Measured { requestor, triggers, sent_unix_ns: unix_ns() }
    }

    /// A response passes.
    pub fn answered(&self, exporter: &Arc<Account>, subject: &str, responder: Option<ClientInfo>) {
        let now_unix_ns = unix_ns();
        let service_ns = now_unix_ns.saturating_sub(self.sent_unix_ns);
        let rtt = |client: &Option<ClientInfo>| client.as_ref().map_or(0, |client| client.rtt);
        let (requestor_ns, responder_ns) = (rtt(&self.requestor), rtt(&responder));
        let system_ns = if responder_ns > 0 { unix_ns().saturating_sub(now_unix_ns) } else { 0 };
        let metric = Metric {
            responder: responder.as_ref(),
            start: timestamp(self.sent_unix_ns.saturating_sub(requestor_ns)),
            service: service_ns.saturating_sub(responder_ns),
            system: system_ns,
            total: requestor_ns + service_ns + system_ns,
            ..self.metric(200, "")
        };
        tell(exporter, subject, &metric);
    }

    pub fn failed(&self, exporter: &Arc<Account>, subject: &str, why: Failure) {
        let (status, description) = match why {
            Failure::BadRequest => (400, "Bad Request"),
            Failure::RequestTimeout => (408, "Request Timeout"),
            Failure::ServiceUnavailable => (503, "Service Unavailable"),
            Failure::ServiceTimeout => (504, "Service Timeout"),
        };
        tell(exporter, subject, &self.metric(status, description));
    }

    fn metric(&self, status: u16, description: &'static str) -> Metric<'_> {
        let requestor_ns = self.requestor.as_ref().map_or(0, |client| client.rtt);
        Metric {
            r#type: KIND,
            id: id(),
            timestamp: timestamp(unix_ns()),
            status,
            description,
            requestor: self.requestor.as_ref(),
            responder: None,
            header: &self.triggers,
            start: timestamp(self.sent_unix_ns.saturating_sub(requestor_ns)),
            service: 0,
            system: 0,
            total: 0,
        }
    }
}

fn tell(exporter: &Arc<Account>, subject: &str, metric: &Metric<'_>) {
    match json::to_vec(metric) {
        Ok(payload) => publish(exporter, [Message::new(subject.as_bytes(), &payload)], |_| {}),
        Err(e) => crate::log::error!("A service latency could not be written: {e}"),
    }
}

fn id() -> String {
    (0..ID_LETTERS).map(|_| super::response::letter(quick_u64() >> 32)).map(char::from).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn by(headers: &str) -> Option<String> {
        let block = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        triggers(block.as_bytes()).map(|kept| serde_json::to_string(&kept).unwrap())
    }

    #[test]
    fn headers_of_traces_start_a_measurement() {
        // ACC-033
        assert_eq!(by("uber-trace-id: 1:2:3:1").unwrap(), r#"{"Uber-Trace-Id":["1:2:3:1"]}"#);
        assert!(by("Uber-Trace-Id: 1:2:3:13\r\nUberctx-A: b").unwrap().contains("Uberctx-A"));
        assert!(by("X-B3-TraceId: 1").is_some() && by("B3: 1-2-1").is_some() && by("B3: d").is_some());
        assert!(by("Traceparent: 00-a-b-01").is_some());
        for none in [
            "A: b",
            "Uber-Trace-Id: 1:2:3:2",
            "Uber-Trace-Id: 1:2:3",
            "X-B3-Sampled: 0\r\nX-B3-TraceId: 1",
            "B3: 0",
            "B3: 1-2-0",
            "Traceparent: 00-a-b-00",
            "Traceparent: 00-a-01",
        ] {
            assert_eq!(by(none), None, "{none}");
        }
    }
}
