//! A plugin's transport as a layer of a connection.

use crate::plugins::points::PluginTransport;
use crate::proto::error::ClosedReason;
use crate::routing::layer::{Layer, LayerError, LayerErrorKind, Progress};
use natsd_plugin_api::{Attributes, Close, CloseReason, TransportOut};

pub struct TransportLayer {
    transport: PluginTransport,
    opened: bool,
    ready: bool,
    attributes: Option<Attributes>,
    /// NATS bytes that came before the handshake ended.
    held: Vec<u8>,
}

impl TransportLayer {
    pub fn new(transport: PluginTransport) -> Self {
        TransportLayer { transport, opened: false, ready: false, attributes: None, held: Vec::new() }
    }
}

/// Collects what a transport hands over in a call.
struct Sink<'a> {
    plain: Option<&'a mut Vec<u8>>,
    wire: &'a mut Vec<u8>,
    attributes: Option<Attributes>,
}

impl TransportOut for Sink<'_> {
    fn plain(&mut self, bytes: &[u8]) {
        if let Some(plain) = &mut self.plain {
            plain.extend_from_slice(bytes);
        }
    }

    fn wire(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }

    fn ready(&mut self, attributes: Attributes) {
        self.attributes = Some(attributes);
    }
}

impl Layer for TransportLayer {
    fn on_read(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Progress, LayerError> {
        let mut sink = Sink { plain: Some(plain), wire, attributes: None };
        if !std::mem::replace(&mut self.opened, true) {
            self.transport.on_open(&mut sink).map_err(failed)?;
        }
        if !input.is_empty() {
            self.transport.on_read(input, &mut sink).map_err(failed)?;
        }
        let attributes = sink.attributes;
        if attributes.is_some() {
            self.ready = true;
            self.attributes = attributes;
            let held = std::mem::take(&mut self.held);
            if !held.is_empty() {
                self.on_write(&held, wire)?;
            }
        }
        Ok(if self.ready { Progress::Open } else { Progress::Handshaking })
    }

    fn on_write(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError> {
        if !self.ready {
            self.held.extend_from_slice(plain);
            return Ok(());
        }
        let mut sink = Sink { plain: None, wire, attributes: None };
        self.transport.on_write(plain, &mut sink).map_err(failed)
    }

    fn on_close(&mut self, reason: ClosedReason, wire: &mut Vec<u8>) {
        if !self.ready {
            return;
        }
        let close = Close::new(reason_of(reason), reason.to_string());
        self.transport.on_close(&close, &mut Sink { plain: None, wire, attributes: None });
    }

    fn is_handshaking(&self) -> bool {
        !self.ready
    }

    fn attributes(&mut self) -> Option<serde_json::Value> {
        let a = self.attributes.take()?;
        let mut all = a.extra;
        for (name, value) in [
            ("user", a.user),
            ("pass", a.password),
            ("auth_token", a.token),
            ("jwt", a.jwt),
            ("client_ip", a.client_ip),
        ] {
            if let Some(value) = value {
                all.insert(name.to_owned(), value.into());
            }
        }
        Some(all.into())
    }
}

fn failed(close: Close) -> LayerError {
    let reason = closed_reason(close.reason);
    LayerError { kind: LayerErrorKind::Closed(reason), text: close.text }
}

/// The reason on the host's side of the line.
pub fn closed_reason(reason: CloseReason) -> ClosedReason {
    ClosedReason::by_text(reason.text()).unwrap_or(ClosedReason::InternalClient)
}

/// The same reason on the plugins' side of the line.
pub fn reason_of(reason: ClosedReason) -> CloseReason {
    let text = reason.to_string();
    (1..=37).map(CloseReason::from_number).find(|r| r.text() == text).unwrap_or(CloseReason::InternalClient)
}
