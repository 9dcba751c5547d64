//! Reads certificates, keys and authorities from PEM files that the caller opens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate, X509Extension};

use super::error::TlsConfigError;

/// The extension that names TLS extensions a server has to answer with.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// Among its features, each a small integer: status_request.
const STATUS_REQUEST: [u8; 3] = [2, 1, 5];

/// How files are read: `std::fs::read` in the running server.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Where systems keep their authorities; the first that can be read counts (as in Go).
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A chain with its key, checked against each other.
pub(super) fn certified_key(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
    read_file: ReadFile<'_>,
) -> Result<Arc<CertifiedKey>, TlsConfigError> {
    let read = |path: &Path| {
        read_file(path).map_err(|cause| TlsConfigError::ReadPair { path: path.to_owned(), cause })
    };
    let chain = certificates(cert, &read(cert)?)?;
    let first = chain.first().ok_or_else(|| TlsConfigError::NoPemCertificate { path: cert.to_owned() })?;
    let pem = read(key)?;
    let der =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsConfigError::NoPemKey { path: key.to_owned() })?;
    let signing_key = provider
        .key_provider
        .load_private_key(der)
        .map_err(|error| TlsConfigError::BadKey { path: key.to_owned(), detail: error.to_string() })?;
    // Not rustls' own check: it refuses certificates of X.509 version 1, which a server may well have.
    let bad = |detail: String| TlsConfigError::BadCertificate { path: cert.to_owned(), detail };
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| bad(format!("x509: {error}")))?;
    match signing_key.public_key() {
        Some(spki) if spki.as_ref() != parsed.public_key().raw => {
            Err(TlsConfigError::KeyMismatch { cert: cert.to_owned(), key: key.to_owned() })
        }
        _ => Ok(Arc::new(CertifiedKey::new(chain, signing_key))),
    }
}

/// When the first certificate of a chain ends.
pub(super) fn not_after_unix_s(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// Whether the first certificate of a chain asks for a stapled OCSP response (RFC 7633).
pub(super) fn must_staple(chain: &[CertificateDer<'_>]) -> bool {
    let Some((_, parsed)) = chain.first().and_then(|cert| X509Certificate::from_der(cert).ok()) else {
        return false;
    };
    let is_asked = |extension: &X509Extension<'_>| {
        extension.oid.to_id_string() == TLS_FEATURE && names_status_request(extension.value)
    };
    parsed.extensions().iter().any(is_asked)
}

fn names_status_request(features: &[u8]) -> bool {
    features.get(2..).is_some_and(|list| list.chunks(STATUS_REQUEST.len()).any(|one| one == STATUS_REQUEST))
}

/// The authorities of `ca_file`, or those of the system.
pub(super) fn roots(
    ca_file: Option<&Path>,
    read_file: ReadFile<'_>,
) -> Result<RootCertStore, TlsConfigError> {
    let Some(path) = ca_file else { return system_roots(read_file) };
    let pem = read_file(path).map_err(|cause| TlsConfigError::ReadCa { path: path.to_owned(), cause })?;
    let bad = |detail: String| TlsConfigError::BadCa { path: path.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&pem) {
        let cert = cert.map_err(|error| bad(error.to_string()))?;
        roots.add(cert).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("the file holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}

fn system_bundle(read_file: ReadFile<'_>) -> Option<Vec<u8>> {
    SYSTEM_BUNDLES.iter().find_map(|path| read_file(Path::new(path)).ok())
}

fn system_roots(read_file: ReadFile<'_>) -> Result<RootCertStore, TlsConfigError> {
    let pem = system_bundle(read_file);
    let mut roots = RootCertStore::empty();
    // A bundle may hold what rustls cannot use; what it can is enough.
    roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(&pem.ok_or(TlsConfigError::NoSystemRoots)?).flatten(),
    );
    if roots.is_empty() { Err(TlsConfigError::NoSystemRoots) } else { Ok(roots) }
}

/// Every certificate of a `ca_file`, for comparison with a peer's own.
pub(super) fn root_certificates(
    ca_file: Option<&Path>,
    read_file: ReadFile<'_>,
) -> Vec<CertificateDer<'static>> {
    let pem = ca_file.and_then(|path| read_file(path).ok()).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem).flatten().collect()
}

/// Who is trusted: the certificates of `ca_file`, or those of the system.
pub fn trusted_certificates(ca_file: Option<&Path>, read_file: ReadFile<'_>) -> Vec<CertificateDer<'static>> {
    if ca_file.is_some() {
        return root_certificates(ca_file, read_file);
    }
    let pem = system_bundle(read_file).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem).flatten().collect()
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain.map_err(|error| TlsConfigError::BadCertificate { path: path.to_owned(), detail: error.to_string() })
}
