//! A certificate with that of its issuer: what a responder is asked about.

use rustls::pki_types::CertificateDer;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString, Uint};
use x509_cert::der::{Encode, Error};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{CertId, OcspRequest, Request, TbsRequest};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Access method of Authority Information Access: an OCSP responder.
const AD_OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// What every responder knows; it only names the issuer, nothing rests on its strength.
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub certificate: CertificateDer<'static>,
    pub issuer: CertificateDer<'static>,
}

impl Link {
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// The request as DER; one certificate, no nonce, so that answers can be prepared and cached.
    pub fn request(&self) -> Result<Vec<u8>, Error> {
        let not_read = |_| Error::from(x509_cert::der::ErrorKind::Failed);
        let (_, issuer) = X509Certificate::from_der(&self.issuer).map_err(not_read)?;
        let (_, certificate) = X509Certificate::from_der(&self.certificate).map_err(not_read)?;
        let sha1 = |bytes: &[u8]| OctetString::new(Sha1::digest(bytes).to_vec());
        let serial = Uint::new(certificate.raw_serial())?;
        let cert_id = CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Any::null()) },
            issuer_name_hash: sha1(issuer.subject().as_raw())?,
            issuer_key_hash: sha1(&issuer.public_key().subject_public_key.data)?,
            serial_number: SerialNumber::new(serial.as_bytes())?,
        };
        let request = Request { req_cert: cert_id, single_request_extensions: None };
        let tbs_request = TbsRequest { request_list: vec![request], ..TbsRequest::default() };
        OcspRequest { tbs_request, optional_signature: None }.to_der()
    }

    /// The addresses that the certificate names.
    pub fn responders(&self) -> Vec<String> {
        responders(&self.certificate).unwrap_or_default()
    }
}

/// What a certificate is known by.
pub fn sha256(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

fn responders(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut responders = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { continue };
        for description in &access.accessdescs {
            if description.access_method.to_id_string() == AD_OCSP
                && let GeneralName::URI(uri) = description.access_location
            {
                responders.push(uri.to_owned());
            }
        }
    }
    Some(responders)
}
