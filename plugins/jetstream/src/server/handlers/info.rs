//! What an account has and may have (JS-290), and advisories of the API.

use super::reply::{API_LEVEL, Body, fields};
use super::Call;
use crate::context::unique_id;
use crate::wire::{Storage, Time};
use natsd_plugin_api::{PublishRef, tracing};
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

impl Call<'_> {
    pub(super) fn account_info(&self) -> Body {
        let (mut memory, mut storage, mut consumers) = (0u64, 0u64, 0u64);
        let (mut reserved_memory, mut reserved_storage) = (0u64, 0u64);
        let streams = self.account.streams.read();
        for stream in streams.values() {
            let config = stream.config.read().clone();
            let stored = stream.gauges.stored_bytes.load(Relaxed);
            let reserved = u64::try_from(config.max_bytes).unwrap_or(0);
            match config.storage {
                Storage::Memory => (memory, reserved_memory) = (memory + stored, reserved_memory + reserved),
                Storage::File => {
                    (storage, reserved_storage) = (storage + stored, reserved_storage + reserved);
                }
            }
            consumers += stream.gauges.consumers.load(Relaxed);
        }
        let config = self.server.config();
        let mut body = fields(&json!({
            "memory": memory,
            "storage": storage,
            "reserved_memory": reserved_memory,
            "reserved_storage": reserved_storage,
            "streams": streams.len(),
            "consumers": consumers,
            "limits": config.account_limits(&self.account.name),
        }));
        if !config.domain.is_empty() {
            body.insert("domain".to_owned(), config.domain.clone().into());
        }
        body.insert(
            "api".to_owned(),
            json!({
                "level": API_LEVEL,
                // The request at hand does not count itself.
                "total": self.account.api_total.load(Relaxed).saturating_sub(1),
                "errors": self.account.api_errors.load(Relaxed),
            }),
        );
        Ok(body)
    }

    /// Tells the account, if anyone there listens. `kind` is the end of the type.
    pub(super) fn advise(&self, subject: &str, kind: &str, more: Value) {
        let host = &self.server.host;
        let account = &self.account.name;
        if !host.interest(account, subject.as_bytes(), b"").is_ok_and(|count| count > 0) {
            return;
        }
        let mut random = || host.random_u64();
        let mut advisory = fields(&json!({
            "type": format!("io.nats.jetstream.advisory.v1.{kind}"),
            "id": unique_id(&mut random),
            "timestamp": Time(host.unix_ns() as i64),
        }));
        advisory.extend(fields(&more));
        let domain = &self.server.config().domain;
        if !domain.is_empty() {
            advisory.insert("domain".to_owned(), domain.clone().into());
        }
        let text = Value::Object(advisory).to_string();
        if let Err(why) = host.publish(account, PublishRef::new(subject.as_bytes(), text.as_bytes())) {
            tracing::debug!("JetStream's advisory on {subject} was not published: {why}");
        }
    }
}
