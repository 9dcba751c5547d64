//! `pinned_certs`: the certificates that alone are welcome (AUTH-022).

use std::collections::HashSet;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 digests of public keys (SPKI). Empty: every certificate is welcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinnedCerts(HashSet<[u8; 32]>);

impl PinnedCerts {
    /// Takes 64 hex digits each; the error is the entry at fault.
    pub fn parse(pins: &[String]) -> Result<Self, String> {
        let parse = |pin: &String| {
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(pin.as_bytes()).ok();
            bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| pin.clone())
        };
        pins.iter().map(parse).collect::<Result<_, _>>().map(PinnedCerts)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges a peer by the first certificate of its chain.
    pub fn allow(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.is_empty() || chain.first().and_then(spki_digest).is_some_and(|digest| self.0.contains(&digest))
    }
}

/// `None` if the certificate cannot be parsed.
pub fn spki_digest(cert: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(cert).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).into())
}
