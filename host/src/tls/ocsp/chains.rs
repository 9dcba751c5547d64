//! The ways from a peer's certificate to one that is trusted.
//!
//! rustls says that there is one, not which; each link of it may have to be asked about.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::issuer::{has_issued, is_named_by};
use super::link::Link;

/// A peer may send many certificates of one name, each of which could have issued the next.
const SIGNATURE_CHECKS_MAX: usize = 100;

/// Each chain without its root, from the peer on. `sent`: the peer's own certificate and what it sent with it. A chain
/// without links is that of a peer who itself is trusted.
pub fn chains(
    sent: &[CertificateDer<'static>],
    trusted: &[CertificateDer<'static>],
    now: UnixTime,
) -> Vec<Vec<Link>> {
    let Some((peer, between)) = sent.split_first() else { return Vec::new() };
    if trusted.contains(peer) {
        return vec![Vec::new()];
    }
    let mut search = Search { trusted, between, checks_left: SIGNATURE_CHECKS_MAX, found: Vec::new() };
    search.go_on_from(peer, &mut Vec::new());
    // Names and signatures are not all: a certificate that may not issue others must not stand in for one that may.
    search.found.retain(|links| is_valid(links, now));
    search.found
}

struct Search<'a> {
    trusted: &'a [CertificateDer<'static>],
    between: &'a [CertificateDer<'static>],
    checks_left: usize,
    found: Vec<Vec<Link>>,
}

impl Search<'_> {
    fn go_on_from(&mut self, certificate: &CertificateDer<'static>, links: &mut Vec<Link>) {
        let (trusted, between) = (self.trusted, self.between);
        let between = between.iter().filter(|one| !trusted.contains(one));
        for (issuer, is_root) in trusted.iter().map(|one| (one, true)).chain(between.map(|one| (one, false)))
        {
            let is_known = issuer == certificate || links.iter().any(|link| link.certificate == *issuer);
            if is_known || !self.has_issued(issuer, certificate) {
                continue;
            }
            links.push(Link { certificate: certificate.clone(), issuer: issuer.clone() });
            if is_root {
                self.found.push(links.clone());
            } else {
                self.go_on_from(issuer, links);
            }
            links.pop();
        }
    }

    fn has_issued(&mut self, issuer: &[u8], certificate: &[u8]) -> bool {
        if self.checks_left == 0 || !is_named_by(issuer, certificate) {
            return false;
        }
        self.checks_left -= 1;
        has_issued(issuer, certificate)
    }
}

fn is_valid(links: &[Link], now: UnixTime) -> bool {
    let (Some(first), Some(last)) = (links.first(), links.last()) else { return true };
    let mut root = RootCertStore::empty();
    if root.add(last.issuer.clone()).is_err() {
        return false;
    }
    let between: Vec<_> = links.iter().skip(1).map(|link| link.certificate.clone()).collect();
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(root), provider)
        .build()
        .is_ok_and(|verifier| verifier.verify_client_cert(&first.certificate, &between, now).is_ok())
}
