//! Errors of TLS: of its configuration, and of handshakes in the words that nats-server's users know.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use thiserror::Error as ThisError;

use crate::config::options::OCSP_PEER_WITHOUT_VERIFY;
use crate::proto::layer::{LayerError, LayerErrorKind};

/// Why a `tls {}` block cannot be used.
#[derive(Debug, ThisError)]
pub enum TlsConfigError {
    #[error("TLS Server certificate must be present and valid: set cert_file and key_file in the tls block")]
    NoCertificate,
    #[error("error parsing X509 certificate/key pair: open {}: {}", path.display(), reason(cause))]
    ReadPair { path: PathBuf, cause: io::Error },
    #[error(
        "error parsing X509 certificate/key pair: tls: failed to find any PEM data in certificate input: \
         {} must hold a certificate, its own first, then those of its issuers",
        path.display()
    )]
    NoPemCertificate { path: PathBuf },
    #[error("error parsing certificate: {}: {detail}", path.display())]
    BadCertificate { path: PathBuf, detail: String },
    #[error(
        "error parsing X509 certificate/key pair: tls: failed to find any PEM data in key input: \
         {} must hold a private key that is not encrypted (PKCS#8, PKCS#1 or SEC1)",
        path.display()
    )]
    NoPemKey { path: PathBuf },
    #[error("error parsing X509 certificate/key pair: {}: {detail}", path.display())]
    BadKey { path: PathBuf, detail: String },
    #[error(
        "error parsing X509 certificate/key pair: tls: private key does not match public key: \
         {} and {}",
        cert.display(), key.display()
    )]
    KeyMismatch { cert: PathBuf, key: PathBuf },
    #[error("open {}: {}: the ca_file of the tls block cannot be read", path.display(), reason(cause))]
    ReadCa { path: PathBuf, cause: io::Error },
    #[error("failed to parse root ca certificate: {}: {detail}", path.display())]
    BadCa { path: PathBuf, detail: String },
    #[error(
        "no certificate authorities: set ca_file in the tls block, as the system has no bundle of its own"
    )]
    NoSystemRoots,
    #[error("unrecognized cipher {0}: --help_tls lists the names")]
    UnknownCipher(String),
    #[error("none of these cipher suites is supported by natsd: {0}; supported are {1}")]
    NoUsableCipher(String, String),
    #[error("unrecognized curve preference {0}: --help_tls lists the names")]
    UnknownCurve(String),
    #[error("none of these curves is supported by natsd: {0}; supported are {1}")]
    NoUsableCurve(String, String),
    #[error("error parsing 'pinned_certs' key {0:?}: it must be the 64 hex digits of a SHA-256")]
    BadPin(String),
    #[error("{OCSP_PEER_WITHOUT_VERIFY}")]
    OcspPeerWithoutVerify,
    #[error("{0:?} is neither a host name nor an IP address that a certificate could be for")]
    BadServerName(String),
    #[error("error in the tls block: {0}")]
    Rustls(#[from] Error),
}

/// The system's text as Go prints it.
fn reason(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => cause.to_string(),
    }
}

/// The error of a handshake (or of a stream, with another kind) as nats-server would log it.
pub(super) fn handshake_error(error: Error) -> LayerError {
    LayerError::new(LayerErrorKind::Handshake, text(&error))
}

fn text(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::InvalidCertificate(cause) => {
            format!("tls: failed to verify certificate: x509: {}", certificate_text(cause))
        }
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            "tls: no key exchanges supported by both client and server".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Only clients older than TLS 1.2 leave it out.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "tls: client offered only unsupported versions".to_owned(),
        Error::DecryptError => "local error: tls: bad record MAC".to_owned(),
        other => format!("tls: {other}"),
    }
}

fn certificate_text(cause: &CertificateError) -> String {
    match cause {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("certificate is valid for {}, not {}", presented.join(", "), expected.to_str())
        }
        // What the path check has no own word for, such as an authority's certificate used by a client.
        CertificateError::Other(cause) => format!("certificate signed by unknown authority ({cause})"),
        other => other.to_string(),
    }
}

/// Go's texts of the alerts that occur.
fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::CertificateRequired => "certificate required",
        other => return format!("alert {}", u8::from(other)),
    };
    text.to_owned()
}
