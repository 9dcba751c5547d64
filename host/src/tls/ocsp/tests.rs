//! Of what black-box tests (`ocsp_stapling`) do not reach: damaged answers, issuers that are none.
#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::der::Decode;
use x509_ocsp::OcspRequest;

use super::chains::chains;
use super::issuer::issuer;
use super::link::Link;
use super::response::{Response, Status};

fn signed(name: &str, is_ca: bool, by: Option<(&Certificate, &KeyPair)>) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = match by {
        None => params.self_signed(&key),
        Some((issuer, issuer_key)) => params.signed_by(&key, issuer, issuer_key),
    };
    (certificate.unwrap(), key)
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.der().clone()
}

#[test]
fn an_issuer_is_known_by_name_and_signature_and_is_an_authority() {
    let (ca, ca_key) = signed("ca", true, None);
    let (namesake, _) = signed("ca", true, None);
    let (leaf, leaf_key) = signed("leaf", false, Some((&ca, &ca_key)));
    let (below, _) = signed("below", false, Some((&leaf, &leaf_key)));
    let trusted = [der(&namesake), der(&ca)];
    assert_eq!(issuer(&[der(&leaf)], &trusted).unwrap(), der(&ca));
    assert_eq!(issuer(&[der(&leaf), der(&ca)], &[]).unwrap(), der(&ca));
    // A second certificate that is not the issuer is a mistake, whoever is trusted.
    assert_eq!(issuer(&[der(&leaf), der(&namesake)], &trusted).unwrap_err(), "no issuers found");
    assert_eq!(issuer(&[der(&leaf)], &trusted[..1]).unwrap_err(), "no issuers found");
    assert!(issuer(&[der(&below), der(&leaf)], &[]).unwrap_err().contains("is not ca"));
}

#[test]
fn an_answer_is_over_within_the_second_that_it_names() {
    let next_update_unix_s = Some(200);
    let answer = Response { der: vec![], status: Status::Good, this_update_unix_s: 100, next_update_unix_s };
    let is_in_force = |now_unix_s, skew_s| answer.check_times(now_unix_s, skew_s).is_ok();
    assert!(is_in_force(100, 0) && is_in_force(199, 0) && is_in_force(209, 10) && is_in_force(90, 10));
    assert!(!is_in_force(200, 0) && !is_in_force(210, 10) && !is_in_force(99, 0) && !is_in_force(89, 10));
}

#[test]
fn chains_end_where_trust_begins_and_go_over_authorities_only() {
    let now = UnixTime::now();
    let (ca, ca_key) = signed("ca", true, None);
    let (other, other_key) = signed("other", true, None);
    let (between, between_key) = signed("between", true, Some((&ca, &ca_key)));
    let (leaf, leaf_key) = signed("leaf", false, Some((&between, &between_key)));
    let trusted = [der(&other), der(&ca)];
    let way = |links: &[Link]| links.iter().map(|link| link.certificate.clone()).collect::<Vec<_>>();
    let found = chains(&[der(&leaf), der(&between)], &trusted, now);
    assert_eq!(found.iter().map(|links| way(links)).collect::<Vec<_>>(), [vec![der(&leaf), der(&between)]]);
    assert_eq!(found[0][1].issuer, der(&ca));
    assert!(chains(&[der(&leaf)], &trusted, now).is_empty());
    assert!(chains(&[], &trusted, now).is_empty());
    assert_eq!(chains(&[der(&ca)], &trusted, now), [Vec::new()]);
    assert_eq!(chains(&[der(&leaf), der(&between)], &[der(&between)], now)[0].len(), 1);

    // The same name and key, vouched for by another authority: a second way.
    let again = |by: &Certificate, by_key| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.signed_by(&between_key, by, by_key).unwrap()
    };
    let crossed = again(&other, &other_key);
    assert_eq!(chains(&[der(&leaf), der(&crossed), der(&between)], &trusted, now).len(), 2);
    // Vouched for by one who is no authority: none.
    let (servant, servant_key) = signed("servant", false, Some((&ca, &ca_key)));
    let forged = again(&servant, &servant_key);
    assert!(chains(&[der(&leaf), der(&forged), der(&servant)], &trusted, now).is_empty());
    // Many of one name do not take forever.
    let (below, _) = signed("below", false, Some((&leaf, &leaf_key)));
    let many: Vec<_> = (0..50).map(|_| der(&again(&between, &between_key))).collect();
    assert!(chains(&[vec![der(&below)], many].concat(), &trusted, now).is_empty());
}

#[test]
fn requests_can_be_read_and_damaged_answers_are_errors() {
    let (ca, ca_key) = signed("ca", true, None);
    let (leaf, _) = signed("leaf", false, Some((&ca, &ca_key)));
    let link = Link { certificate: der(&leaf), issuer: der(&ca) };
    let request = link.request().unwrap();
    let read = OcspRequest::from_der(&request).unwrap();
    assert_eq!(read.tbs_request.request_list.len(), 1);
    assert!(link.responders().is_empty());
    for end in 0..request.len() {
        assert!(Response::parse(&request[..end], &link).is_err());
    }
    let broken = Link { certificate: b"none".to_vec().into(), issuer: b"none".to_vec().into() };
    assert!(broken.request().is_err() && broken.responders().is_empty());
}
