//! Handshakes of TLS that come to nothing: what is logged of them, and why the connection ends.
//!
//! Not here: the handshakes themselves (`tls`, the transports of plugins), and how long they may take (`timers`).

use super::session::{Failure, Session};
use crate::log;
use crate::proto::error::ClosedReason;
use crate::routing::layer::{LayerError, LayerErrorKind};
use std::io;

impl Session {
    /// The layer gave up.
    pub(super) fn layer_failed(&self, error: LayerError) -> Failure {
        let reason = error.kind.reason();
        match error.kind {
            LayerErrorKind::NotThisLayer => self.log_handshake(&error.text, true),
            LayerErrorKind::Handshake => self.log_handshake(&error.text, false),
            LayerErrorKind::Closed(_) if !error.text.is_empty() => {
                return Failure::silent(reason, error.text);
            }
            LayerErrorKind::Closed(_) => {}
            LayerErrorKind::Stream => {
                log::debug!("{} - {}", self.connection.receiver.label(), error.text);
            }
        }
        Failure { error: None, reason, log: None }
    }

    /// The socket is at its end, or broken (CORE-261).
    pub(super) fn ended(&self, result: io::Result<usize>) -> Failure {
        let reason = match (self.is_in_tls_handshake(), &result) {
            (true, Ok(_)) => {
                self.log_handshake("EOF", false);
                ClosedReason::TlsHandshakeFailure
            }
            (true, Err(error)) => {
                let text = match error.kind() {
                    io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
                    _ => error.to_string(),
                };
                self.log_handshake(&self.of_read(&text), false);
                ClosedReason::TlsHandshakeFailure
            }
            (false, Ok(_)) => ClosedReason::ClientClosed,
            (false, Err(_)) => ClosedReason::ReadError,
        };
        Failure { error: None, reason, log: None }
    }

    /// Of TLS or of a transport: of the latter nobody is told.
    pub(super) fn handshake_timed_out(&self) -> Failure {
        if self.is_in_tls_handshake() {
            self.log_handshake(&self.of_read("i/o timeout"), true);
        }
        if self.listener.is_none() {
            log::debug!("{} - TLS handshake timeout", self.connection.receiver.label());
        }
        Failure { error: None, reason: ClosedReason::TlsHandshakeFailure, log: None }
    }

    /// On the server's own port load balancers look in that say nothing, or speak no TLS: `is_probe`.
    fn log_handshake(&self, text: &str, is_probe: bool) {
        let receiver = &self.connection.receiver;
        match &self.listener {
            Some(listener) => {
                let remote = self.connection.facts.lock().address();
                log::error!("{}: TLS handshake error from {remote}: {text}", listener.name);
            }
            None if is_probe => log::debug!("{} - TLS handshake error: {text}", receiver.label()),
            None => log::error!("{} - TLS handshake error: {text}", receiver.label()),
        }
    }

    /// A transport may have a handshake after that of TLS.
    fn is_in_tls_handshake(&self) -> bool {
        let has_tls = self.layered && self.listener.as_ref().is_none_or(|listener| listener.tls);
        let mut out = self.connection.receiver.out.lock();
        has_tls && !self.layer_open && out.layer().is_some_and(|layer| layer.tls().is_none())
    }

    /// As Go puts it.
    fn of_read(&self, text: &str) -> String {
        let local = self.connection.receiver.out.lock().local_address();
        format!("read tcp {local}->{}: {text}", self.connection.facts.lock().address())
    }
}
