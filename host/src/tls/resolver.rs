//! Picks one of several certificates for a client, as Go does.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::presented::Presented;

/// The certificates of a `tls {}` block in the order of the file.
#[derive(Debug)]
pub(super) struct ByServerName {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Lower-case DNS names of the certificate, `*.` at most in front.
    dns_names: Vec<String>,
    presented: Arc<Presented>,
}

impl ByServerName {
    pub fn new(certificates: &[Arc<Presented>]) -> Self {
        let entry = |presented: &Arc<Presented>| Entry {
            dns_names: dns_names(presented.key()),
            presented: Arc::clone(presented),
        };
        ByServerName { entries: certificates.iter().map(entry).collect() }
    }

    /// The first that is for the name and that the client can check; else the first it can check; else
    /// the first, so that the client sees something to complain about.
    fn pick(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |entry: &&Entry| entry.presented.key().key.choose_scheme(schemes).is_some();
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let named = |entry: &&Entry| name.as_deref().is_some_and(|name| entry.is_for(name));
        let entries = || self.entries.iter();
        let picked = entries().filter(usable).find(named).or_else(|| entries().find(usable));
        picked.or_else(|| self.entries.first()).and_then(|entry| entry.presented.show())
    }
}

impl Entry {
    fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.dns_names.iter().any(|known| match known.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => known == name,
        })
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name(), hello.signature_schemes())
    }
}

fn dns_names(key: &CertifiedKey) -> Vec<String> {
    let parsed = key.cert.first().and_then(|cert| X509Certificate::from_der(cert).ok());
    let Some((_, cert)) = parsed else { return Vec::new() };
    let Ok(Some(names)) = cert.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}
