//! Options about OCSP: responses for the server's own certificates, and questions about those of clients.

use std::path::PathBuf;
use std::time::Duration;

/// `ocsp` (CFG-260).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspOptions {
    pub mode: OcspMode,
    /// Asked in place of the responders that certificates name; empty: those.
    pub urls: Vec<String>,
}

/// When the server staples an OCSP response to its certificate (CFG-260); `Auto` and `Must`: if that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspMode {
    Auto,
    Never,
    Must,
    Always,
}

/// `ocsp_cache` (CFG-261): where responses about peers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspCacheOptions {
    /// The folder of its file; `None`: nothing is kept.
    pub local_store: Option<PathBuf>,
    /// A response that says revoked stays when it is over.
    pub preserve_revoked: bool,
    pub save_interval: Duration,
}

impl Default for OcspCacheOptions {
    fn default() -> Self {
        let local_store = Some(PathBuf::from("_rc_"));
        OcspCacheOptions { local_store, preserve_revoked: false, save_interval: Duration::from_secs(300) }
    }
}

/// Without `verify` there is nobody to ask about.
pub const OCSP_PEER_WITHOUT_VERIFY: &str =
    "OCSP peer verification for client connections requires TLS verify (mTLS) to be enabled";

/// `ocsp_peer` of a `tls {}` block that asks for the check (CFG-253).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspPeerOptions {
    /// How long a responder may take.
    pub ca_timeout: Duration,
    /// By how much clocks may differ.
    pub allowed_clockskew: Duration,
    /// Nobody is refused.
    pub warn_only: bool,
    pub unknown_is_good: bool,
    pub allow_when_ca_unreachable: bool,
    /// How long a response holds that does not say when it is over.
    pub cache_ttl_when_next_update_unset: Duration,
}

impl Default for OcspPeerOptions {
    fn default() -> Self {
        OcspPeerOptions {
            ca_timeout: Duration::from_secs(2),
            allowed_clockskew: Duration::from_secs(30),
            warn_only: false,
            unknown_is_good: false,
            allow_when_ca_unreachable: false,
            cache_ttl_when_next_update_unset: Duration::from_secs(3600),
        }
    }
}
