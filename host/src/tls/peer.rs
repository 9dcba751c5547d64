//! A peer's certificate as monitoring shows it: who it is for, and its digests.

use super::pins::spki_digest;
use crate::auth::CertificateFacts;
use data_encoding::HEXLOWER;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCert {
    /// `CN=joe,O=acme`; empty when the certificate cannot be read.
    pub subject: String,
    pub spki_sha256: String,
    pub cert_sha256: String,
}

impl PeerCert {
    pub fn of(der: &[u8]) -> Self {
        let spki = spki_digest(&CertificateDer::from(der));
        PeerCert {
            subject: CertificateFacts::from_der(der).map(|facts| facts.subject).unwrap_or_default(),
            spki_sha256: spki.map(|digest| HEXLOWER.encode(&digest)).unwrap_or_default(),
            cert_sha256: HEXLOWER.encode(&Sha256::digest(der)),
        }
    }
}
