//! Advisories of the API: what happened to streams and consumers, and what was asked (JS-012, JS-270 to JS-273,
//! JS-278).

use serde_json::{Map, Value, json};

use super::reply::Paused;
use crate::wire::{StreamState, Time};

const PREFIX: &str = "$JS.EVENT.ADVISORY";

/// What to publish in the account, if anyone listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Advisory {
    pub subject: String,
    /// The whole type.
    pub kind: &'static str,
    pub fields: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Delete,
    /// Of streams only.
    Modify,
}

impl Advisory {
    pub const AUDIT_SUBJECT: &str = "$JS.EVENT.ADVISORY.API";

    fn new(subject: String, kind: &'static str, fields: Value) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self { subject, kind, fields }
    }

    pub fn stream(action: Action, stream: &str) -> Self {
        let subject = format!("{PREFIX}.STREAM.{}.{stream}", action.event());
        let fields = json!({ "stream": stream, "action": action.word() });
        Self::new(subject, "io.nats.jetstream.advisory.v1.stream_action", fields)
    }

    pub fn consumer(action: Action, stream: &str, consumer: &str) -> Self {
        let subject = format!("{PREFIX}.CONSUMER.{}.{stream}.{consumer}", action.event());
        let fields = json!({ "stream": stream, "consumer": consumer, "action": action.word() });
        Self::new(subject, "io.nats.jetstream.advisory.v1.consumer_action", fields)
    }

    pub fn pause(stream: &str, consumer: &str, paused: &Paused) -> Self {
        let mut fields = json!({ "stream": stream, "consumer": consumer, "paused": paused.paused });
        if !paused.pause_until.is_zero() {
            fields["pause_until"] = paused.pause_until.to_string().into();
        }
        let subject = format!("{PREFIX}.CONSUMER.PAUSE.{stream}.{consumer}");
        Self::new(subject, "io.nats.jetstream.advisory.v1.consumer_pause", fields)
    }

    /// Of a request and its reply. `client` is who asked.
    pub fn audit(server: &str, client: &Value, subject: &str, request: &[u8], response: &[u8]) -> Self {
        let mut fields = json!({ "server": server, "client": client, "subject": subject });
        if !request.is_empty() {
            fields["request"] = String::from_utf8_lossy(request).into();
        }
        fields["response"] = String::from_utf8_lossy(response).into();
        Self::new(Self::AUDIT_SUBJECT.to_owned(), "io.nats.jetstream.advisory.v1.api_audit", fields)
    }

    pub fn snapshot_create(stream: &str, state: &StreamState, client: &Value) -> Self {
        let fields = json!({ "stream": stream, "state": state, "client": client });
        let subject = format!("{PREFIX}.STREAM.SNAPSHOT_CREATE.{stream}");
        Self::new(subject, "io.nats.jetstream.advisory.v1.snapshot_create", fields)
    }

    /// `error` is empty when all went well.
    pub fn snapshot_complete(stream: &str, start: Time, end: Time, client: &Value, error: &str) -> Self {
        let mut fields = json!({ "stream": stream, "start": start, "end": end, "client": client });
        if !error.is_empty() {
            fields["error"] = error.into();
        }
        let subject = format!("{PREFIX}.STREAM.SNAPSHOT_COMPLETE.{stream}");
        Self::new(subject, "io.nats.jetstream.advisory.v1.snapshot_complete", fields)
    }

    pub fn restore_create(stream: &str, client: &Value) -> Self {
        let subject = format!("{PREFIX}.STREAM.RESTORE_CREATE.{stream}");
        let fields = json!({ "stream": stream, "client": client });
        Self::new(subject, "io.nats.jetstream.advisory.v1.restore_create", fields)
    }

    pub fn restore_complete(stream: &str, start: Time, end: Time, bytes: u64, client: &Value) -> Self {
        let fields =
            json!({ "stream": stream, "start": start, "end": end, "bytes": bytes, "client": client });
        let subject = format!("{PREFIX}.STREAM.RESTORE_COMPLETE.{stream}");
        Self::new(subject, "io.nats.jetstream.advisory.v1.restore_complete", fields)
    }

    /// Requests were dropped because too many waited (JS-010). Of the system account.
    pub fn limit_reached(server: &str, dropped: u64) -> Self {
        let fields = json!({ "server": server, "dropped": dropped });
        Self::new(
            format!("{PREFIX}.API.LIMIT_REACHED"),
            "io.nats.jetstream.advisory.v1.api_limit_reached",
            fields,
        )
    }

    /// The whole text. `domain` is empty where there is none.
    pub fn to_json(&self, id: &str, now: Time, domain: &str) -> Vec<u8> {
        let mut advisory = Map::new();
        advisory.insert("type".to_owned(), self.kind.into());
        advisory.insert("id".to_owned(), id.into());
        advisory.insert("timestamp".to_owned(), now.to_string().into());
        advisory.extend(self.fields.clone());
        if !domain.is_empty() {
            advisory.insert("domain".to_owned(), domain.into());
        }
        Value::Object(advisory).to_string().into_bytes()
    }
}

impl Action {
    fn event(self) -> &'static str {
        match self {
            Self::Create => "CREATED",
            Self::Delete => "DELETED",
            Self::Modify => "UPDATED",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Modify => "modify",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Action, Advisory};
    use crate::wire::Time;

    #[test]
    fn as_recorded() {
        // JS-270, JS-271, JS-272
        let deleted = Advisory::stream(Action::Delete, "B");
        assert_eq!(deleted.subject, "$JS.EVENT.ADVISORY.STREAM.DELETED.B");
        let text = deleted.to_json("ID", Time(1_000_000_000), "");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"type":"io.nats.jetstream.advisory.v1.stream_action","id":"ID","#.to_owned()
                + r#""timestamp":"1970-01-01T00:00:01Z","stream":"B","action":"delete"}"#
        );
        let audit = Advisory::audit("S", &json!({"acc": "$G"}), "$JS.API.INFO", b"", b"{}");
        let keys: Vec<_> = audit.fields.keys().map(String::as_str).collect();
        assert_eq!(keys, ["server", "client", "subject", "response"]);
    }
}
