//! What X.509 signs, certificates and OCSP answers alike: content, algorithm, signature.
//!
//! The content is taken as it stands: encoded again it might differ, and the signature with it.

use rustls::crypto::aws_lc_rs;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::{Decode, Error, Reader, SliceReader};

pub(super) struct Signed<'a> {
    pub content: &'a [u8],
    /// Without tag and length, as the table of algorithms has it.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// What follows, if anything does: an OCSP answer's certificates.
    pub rest: Option<&'a [u8]>,
}

impl<'a> Signed<'a> {
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(|fields| {
            let content = fields.tlv_bytes()?;
            let algorithm = AnyRef::decode(fields)?.value();
            let signature = BitStringRef::decode(fields)?.raw_bytes();
            let rest = if fields.is_finished() { None } else { Some(fields.tlv_bytes()?) };
            Ok(Signed { content, algorithm, signature, rest })
        })?;
        reader.finish(signed)
    }

    /// By the owner of a public key (SPKI). Algorithms that TLS takes for certificates, so no SHA-1.
    pub fn is_by(&self, spki: &[u8]) -> bool {
        let Ok((key_algorithm, key)) = key(spki) else { return false };
        aws_lc_rs::default_provider().signature_verification_algorithms.all.iter().any(|known| {
            known.public_key_alg_id().as_ref() == key_algorithm
                && known.signature_alg_id().as_ref() == self.algorithm
                && known.verify_signature(key, self.content, self.signature).is_ok()
        })
    }
}

fn key(spki: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = SliceReader::new(spki)?;
    reader.sequence(|fields| {
        let algorithm = AnyRef::decode(fields)?.value();
        Ok((algorithm, BitStringRef::decode(fields)?.raw_bytes()))
    })
}
