//! Whether a peer will do whose certificate is good in itself: what a listener asks for (CFG-253), and who answers.

use std::pin::Pin;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::config::options::OcspPeerOptions;

#[derive(Debug)]
pub struct PeerPolicy {
    pub ocsp: OcspPeerOptions,
    /// Where chains of certificates end.
    pub trusted: Vec<CertificateDer<'static>>,
}

/// Takes as long as responders do.
pub trait CheckPeer: Send + Sync {
    /// `sent`: the peer's own certificate first. A refusal has been told in the log and by events when this returns.
    fn check(
        self: Arc<Self>,
        sent: Vec<CertificateDer<'static>>,
        policy: Arc<PeerPolicy>,
    ) -> Pin<Box<dyn Future<Output = Result<(), PeerRefused>> + Send>>;
}

#[derive(Debug, thiserror::Error)]
#[error("client not OCSP valid")]
pub struct PeerRefused;
