//! Finds the certificate of who issued a certificate among those at hand.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::signed::Signed;

/// The issuer of the first certificate of a chain: the second if there is one, else one of `trusted`.
pub fn issuer(
    chain: &[CertificateDer<'_>],
    trusted: &[CertificateDer<'static>],
) -> Result<CertificateDer<'static>, String> {
    let none = || "no issuers found".to_owned();
    let first = chain.first().ok_or_else(none)?;
    let issuer = match chain.get(1) {
        Some(second) => has_issued(second, first).then(|| second.clone().into_owned()),
        None => trusted.iter().find(|candidate| has_issued(candidate, first)).cloned(),
    };
    let issuer = issuer.ok_or_else(none)?;
    let (_, parsed) = X509Certificate::from_der(&issuer).map_err(|_| none())?;
    if !parsed.is_ca() {
        return Err(format!("{} invalid ca basic constraints: is not ca", parsed.subject()));
    }
    Ok(issuer)
}

/// By name and by signature.
pub(super) fn has_issued(issuer: &[u8], certificate: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(issuer) else { return false };
    is_named_by(issuer, certificate)
        && Signed::parse(certificate).is_ok_and(|signed| signed.is_by(parsed.public_key().raw))
}

/// The certificate says that this one issued it.
pub(super) fn is_named_by(issuer: &[u8], certificate: &[u8]) -> bool {
    let parsed = |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed);
    match (parsed(issuer), parsed(certificate)) {
        (Ok(issuer), Ok(of)) => issuer.subject().as_raw() == of.issuer().as_raw(),
        _ => false,
    }
}
