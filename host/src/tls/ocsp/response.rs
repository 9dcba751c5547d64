//! An answer of an OCSP responder: read, and checked to be about a certificate and by somebody who may say so.
//!
//! Whether it is still in force is asked with the time (`check_times`).

use std::borrow::Cow;

use rustls::pki_types::CertificateDer;
use thiserror::Error as ThisError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Error, Reader, SliceReader, Tag, TagNumber};
use x509_ocsp::{
    CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponseData, SingleResponse,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::issuer::has_issued;
use super::link::Link;
use super::signed::Signed;

const BASIC_RESPONSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

impl Status {
    pub fn text(self) -> &'static str {
        match self {
            Status::Good => "good",
            Status::Revoked => "revoked",
            Status::Unknown => "unknown",
        }
    }
}

/// An answer that its issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub der: Vec<u8>,
    pub status: Status,
    pub this_update_unix_s: u64,
    /// `None`: newer information may be had at any time.
    pub next_update_unix_s: Option<u64>,
}

#[derive(Debug, ThisError)]
pub enum ResponseError {
    #[error("ocsp: error from server: {0}")]
    Refused(&'static str),
    #[error("ocsp: the answer cannot be read: {0}")]
    Malformed(#[from] Error),
    #[error("ocsp: the answer is of another kind than OCSP's basic one")]
    OtherKind,
    #[error("ocsp: no response matching the supplied certificate")]
    OtherCertificate,
    #[error("ocsp: unsupported critical extension")]
    CriticalExtension,
    #[error("ocsp: bad OCSP signature")]
    BadSignature,
    #[error("ocsp: the signer has no authorization by its CA to act as OCSP signer")]
    BadDelegate,
    #[error("invalid ocsp NextUpdate, is past time: {0}")]
    Past(String),
    #[error("invalid ocsp ThisUpdate, is future time: {0}")]
    Future(String),
}

impl Response {
    /// Reads an answer about a certificate and checks who signed it.
    pub fn parse(der: &[u8], link: &Link) -> Result<Self, ResponseError> {
        let outer = OcspResponse::from_der(der)?;
        let bytes = match (outer.response_status, outer.response_bytes) {
            (OcspResponseStatus::Successful, Some(bytes)) => bytes,
            (status, _) => return Err(ResponseError::Refused(refusal(status))),
        };
        if bytes.response_type != BASIC_RESPONSE {
            return Err(ResponseError::OtherKind);
        }
        let signed = Signed::parse(bytes.response.as_bytes())?;
        let data = ResponseData::from_der(&without_years_before_1970(signed.content))?;
        let single = about(link, data.responses)?;
        check_signer(&signed, &link.issuer)?;
        if single.single_extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(ResponseError::CriticalExtension);
        }
        Ok(Response {
            der: der.to_owned(),
            status: match single.cert_status {
                CertStatus::Good(_) => Status::Good,
                CertStatus::Revoked(_) => Status::Revoked,
                CertStatus::Unknown(_) => Status::Unknown,
            },
            this_update_unix_s: unix_s(single.this_update),
            next_update_unix_s: single.next_update.map(unix_s),
        })
    }

    /// Whether it is in force. Clocks may differ by `skew_s`.
    pub fn check_times(&self, now_unix_s: u64, skew_s: u64) -> Result<(), ResponseError> {
        // What is left of the second that it names is after it.
        if self.next_update_unix_s.is_some_and(|next| next.saturating_add(skew_s) <= now_unix_s) {
            return Err(ResponseError::Past(self.next_update_text()));
        }
        if self.this_update_unix_s > now_unix_s.saturating_add(skew_s) {
            return Err(ResponseError::Future(rfc3339(self.this_update_unix_s)));
        }
        Ok(())
    }

    /// As the log shows it; Go's zero time if there is none.
    pub fn next_update_text(&self) -> String {
        self.next_update_unix_s.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339)
    }
}

/// Responders may say of a revocation that it was at no time at all, in the year 1. That it was counts, not when, and
/// times before 1970 cannot be read.
fn without_years_before_1970(content: &[u8]) -> Cow<'_, [u8]> {
    const HEAD: [u8; 2] = [0x18, 15];
    const EPOCH: &[u8; 15] = b"19700101000000Z";
    let is_early = |at: usize| {
        let text = content.get(at + HEAD.len()..at + HEAD.len() + EPOCH.len())?;
        let is_time = text[..14].iter().all(u8::is_ascii_digit) && text[14] == b'Z';
        (content[at..].starts_with(&HEAD) && is_time && text < EPOCH.as_slice()).then_some(at + HEAD.len())
    };
    let mut read = Cow::Borrowed(content);
    for at in (0..content.len()).filter_map(is_early) {
        read.to_mut()[at..at + EPOCH.len()].copy_from_slice(EPOCH);
    }
    read
}

/// The part that speaks of the certificate.
fn about(link: &Link, responses: Vec<SingleResponse>) -> Result<SingleResponse, ResponseError> {
    let (_, certificate) =
        X509Certificate::from_der(&link.certificate).map_err(|_| ResponseError::OtherCertificate)?;
    let plain = |serial: &[u8]| serial.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let serial = plain(certificate.raw_serial());
    let mut responses = responses.into_iter();
    responses
        .find(|response| plain(response.cert_id.serial_number.as_bytes()) == serial)
        .ok_or(ResponseError::OtherCertificate)
}

/// The issuer itself, or somebody to whom it gave a certificate for this (RFC 6960, 4.2.2.2).
fn check_signer(signed: &Signed<'_>, issuer: &CertificateDer<'_>) -> Result<(), ResponseError> {
    let spki_of = |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed.public_key().raw.to_vec());
    let Some(delegate) = signed.rest.map(first_certificate).transpose()?.flatten() else {
        let spki = spki_of(issuer).map_err(|_| ResponseError::BadSignature)?;
        return if signed.is_by(&spki) { Ok(()) } else { Err(ResponseError::BadSignature) };
    };
    let (_, parsed) = X509Certificate::from_der(delegate).map_err(|_| ResponseError::BadSignature)?;
    if !signed.is_by(parsed.public_key().raw) {
        return Err(ResponseError::BadSignature);
    }
    if delegate == issuer.as_ref() {
        return Ok(());
    }
    if !has_issued(issuer, delegate) {
        return Err(ResponseError::BadSignature);
    }
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if usage.value.ocsp_signing => Ok(()),
        _ => Err(ResponseError::BadDelegate),
    }
}

/// Of `[0] EXPLICIT SEQUENCE OF Certificate`; further ones would be of no use.
fn first_certificate(certificates: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut outer = SliceReader::new(certificates)?;
    let header = outer.peek_header()?;
    let expected = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    header.tag.assert_eq(expected)?;
    let list = x509_cert::der::asn1::AnyRef::decode(&mut outer)?.value();
    let mut inner = SliceReader::new(list)?;
    inner.sequence(|list| {
        if list.is_finished() {
            return Ok(None);
        }
        let first = list.tlv_bytes()?;
        while !list.is_finished() {
            list.tlv_bytes()?;
        }
        Ok(Some(first))
    })
}

fn refusal(status: OcspResponseStatus) -> &'static str {
    match status {
        OcspResponseStatus::Successful => "success without an answer",
        OcspResponseStatus::MalformedRequest => "malformed",
        OcspResponseStatus::InternalError => "internal error",
        OcspResponseStatus::TryLater => "try later",
        OcspResponseStatus::SigRequired => "signature required",
        OcspResponseStatus::Unauthorized => "unauthorized",
    }
}

fn unix_s(time: OcspGeneralizedTime) -> u64 {
    time.0.to_unix_duration().as_secs()
}

fn rfc3339(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
