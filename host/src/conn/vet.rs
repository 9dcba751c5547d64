//! The check of a peer that TLS has let in (CFG-253), before anything it says counts.

use super::session::{Failure, Session};
use crate::routing::layer::{LayerError, LayerErrorKind};
use crate::runtime::{clock, now_ns};
use crate::tls::peers::PeerRefused;
use std::time::Duration;

impl Session {
    /// Part of the handshake, also for its deadline.
    pub(super) async fn vet(&mut self, deadline_ns: Option<u64>) -> Result<(), Failure> {
        let left = deadline_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now_ns())));
        let checked = match left {
            None => Some(self.is_vetted().await),
            Some(left) => clock::timeout(left, self.is_vetted()).await,
        };
        let receiver = &self.connection.receiver;
        match checked {
            None => return Err(self.handshake_timed_out()),
            Some(Err(refused)) => {
                receiver.out.lock().refuse();
                return Err(
                    self.layer_failed(LayerError::new(LayerErrorKind::Handshake, refused.to_string()))
                );
            }
            Some(Ok(())) => {}
        }
        if let Some(layer) = receiver.out.lock().layer() {
            layer.admit();
        }
        self.peer_policy = None;
        self.admitted = true;
        Ok(())
    }

    /// Without somebody to ask nobody gets in.
    async fn is_vetted(&self) -> Result<(), PeerRefused> {
        let facts = self.connection.receiver.out.lock().layer().and_then(|layer| layer.tls());
        let (Some(facts), Some(policy), Some(check)) =
            (facts, &self.peer_policy, self.context.peer_check.get())
        else {
            return Err(PeerRefused);
        };
        let sent = facts.peer_certificates.into_iter().map(Into::into).collect();
        check.clone().check(sent, policy.clone()).await
    }
}
