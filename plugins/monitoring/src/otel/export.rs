//! Sends spans by OTLP over HTTP, in JSON, in batches. A collector that is slow or gone costs spans, never memory.

use super::config::OtelConfig;
use super::spans::{attribute, spans};
use crate::stream::HttpStream;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use natsd_plugin_api::net::DialOptions;
use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Error, ErrorKind, Host, Result, ServerIdentity, tracing};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What happened in this time goes together.
const EVERY: Duration = Duration::from_millis(500);
const BATCH_MAX: usize = 512;
/// More spans than this do not wait: the newest are lost.
const WAITING_MAX: usize = 8192;
/// From dialling to the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to leave a collector alone that did not take what it was sent.
const PAUSE: Duration = Duration::from_secs(5);

pub struct Exporter {
    host: Host,
    config: OtelConfig,
    /// Who says so.
    resource: Value,
    version: String,
    waiting: Mutex<VecDeque<Value>>,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Exporter {
    pub fn new(host: Host, config: OtelConfig, identity: &ServerIdentity) -> Self {
        let resource = json!({ "attributes": [
            attribute("service.name", config.service_name.as_str().into()),
            attribute("service.instance.id", identity.id.as_str().into()),
            attribute("service.version", identity.natsd_version.as_str().into()),
            attribute("nats.server.name", identity.name.as_str().into()),
        ] });
        let version = identity.natsd_version.clone();
        let (waiting, sent, lost) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Self { host, config, resource, version, waiting, sent, lost }
    }

    pub fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    /// One trace event of the host.
    pub fn take(&self, event: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(event) else { return };
        let made = spans(&event, &mut || format!("{:016x}", self.host.random_u64() | 1));
        let mut waiting = self.lock();
        if waiting.len() + made.len() > WAITING_MAX {
            self.lost.fetch_add(made.len() as u64, Ordering::Relaxed);
            return;
        }
        waiting.extend(made);
    }

    /// Sends what there is, for as long as the plugin runs.
    pub fn start(self: Arc<Self>) {
        let host = self.host.clone();
        // A task goes on without its handle.
        drop(host.clone().spawn("spans", async move {
            loop {
                host.sleep(EVERY).await;
                loop {
                    let batch = self.batch();
                    if batch.is_empty() {
                        break;
                    }
                    let count = batch.len() as u64;
                    if let Err(error) = self.send(batch).await {
                        self.lost.fetch_add(count, Ordering::Relaxed);
                        tracing::warn!("{count} spans are lost: {}: {error}", self.config.address);
                        host.sleep(PAUSE).await;
                        break;
                    }
                    self.sent.fetch_add(count, Ordering::Relaxed);
                }
            }
        }));
    }

    fn batch(&self) -> Vec<Value> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH_MAX);
        waiting.drain(..count).collect()
    }

    async fn send(&self, spans: Vec<Value>) -> Result<()> {
        let body = json!({ "resourceSpans": [{
            "resource": self.resource,
            "scopeSpans": [{ "scope": { "name": "natsd", "version": self.version }, "spans": spans }],
        }] });
        match self.host.timeout(PATIENCE, self.post(body.to_string())).await? {
            Ok(status) if status.is_success() => Ok(()),
            Ok(status) => Err(Error::new(ErrorKind::Other, format!("the collector answers {status}"))),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, body: String) -> Result<StatusCode> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Other, format!("{what}: {error}"))
        };
        let options = DialOptions {
            address: self.config.address.clone(),
            tls: self.config.is_secure.then(|| json!({})),
            ..DialOptions::default()
        };
        let stream = HttpStream::new(self.host.clone(), self.host.dial(&options).await?);
        let (mut sender, connection) =
            http1::handshake(stream).await.map_err(|error| failed("HTTP", &error))?;
        // It ends with the connection, which ends with the sender.
        drop(self.host.spawn("span connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!("span connection: {error}");
            }
        }));
        let mut request = Request::post(&self.config.path)
            .header("host", &self.config.address)
            .header("content-type", "application/json")
            .header("connection", "close");
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| failed("request", &error))?;
        let answer = sender.send_request(request).await.map_err(|error| failed("request", &error))?;
        let status = answer.status();
        // Read to its end, so that the collector sees no reset.
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| failed("answer", &error))?;
        }
        Ok(status)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Value>> {
        // Each change is one call: a panic leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
