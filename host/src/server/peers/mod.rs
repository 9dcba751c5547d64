//! Checks peers by OCSP (CFG-253): whether the issuers of their certificates still vouch for them.
//!
//! `cache` keeps what issuers said. Not here: when a peer is checked (`conn::vet`), what makes a response a good one
//! (`tls::ocsp`).

mod cache;

use super::{Server, responders};
use crate::auth::CertificateFacts;
use crate::config::options::{OcspCacheOptions, OcspPeerOptions};
use crate::plugins::Plugins;
use crate::runtime::tasks::{Task, blocking};
use crate::runtime::{Mutex, clock, unix_ns};
use crate::tls::ocsp::{Link, Response, ResponseError, Status, chains};
use crate::tls::peers::{CheckPeer, PeerPolicy, PeerRefused};
use crate::tls::server::TlsServer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cache::Cache;
use natsd_plugin_api::{Event, PeerCertificate};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What peers of this kind are called in events.
const CLIENT: &str = "Client";

pub struct Peers {
    plugins: Arc<Plugins>,
    cache: Mutex<Option<Kept>>,
}

/// The cache with what saves it now and then.
struct Kept {
    cache: Arc<Cache>,
    _saving: Option<Task>,
}

impl Peers {
    pub fn new(plugins: Arc<Plugins>) -> Self {
        Self { plugins, cache: Mutex::default() }
    }

    /// Some listener checks its peers. Only the first call counts until `stop`.
    pub fn start(&self, options: Option<&OcspCacheOptions>) {
        let mut kept = self.cache.lock();
        if kept.is_some() {
            return;
        }
        let options = options.cloned().unwrap_or_default();
        let interval = options.save_interval;
        let cache = Arc::new(Cache::load(options));
        crate::log::notice!("OCSP peer cache online, type [{}]", cache.kind());
        let saving = cache.is_kept().then(|| Task::spawn(save_now_and_then(cache.clone(), interval)));
        *kept = Some(Kept { cache, _saving: saving });
    }

    /// Saves what is kept.
    pub fn stop(&self) {
        if let Some(kept) = self.cache.lock().take() {
            kept.cache.save();
        }
    }

    /// MON-035; `None`: nothing is kept.
    pub fn shown(&self) -> Option<Value> {
        self.cache.lock().as_ref().and_then(|kept| kept.cache.shown())
    }

    async fn is_valid(&self, sent: &[CertificateDer<'static>], policy: &PeerPolicy) -> bool {
        use crate::log::debug;
        let Some(peer) = sent.first() else {
            crate::log::error!("Peer certificate is nil, rejecting OCSP peer");
            return false;
        };
        let chains = chains(sent, &policy.trusted, UnixTime::since_unix_epoch(now()));
        debug!("Peer OCSP enabled: {} TLS client chain(s) will be evaluated", chains.len());
        for (number, links) in chains.iter().enumerate() {
            debug!("Chain [{number}]: {} total link(s)", links.len() + 1);
            let eligible: Vec<_> = links.iter().filter(|link| !web_responders(link).is_empty()).collect();
            match (links.is_empty(), eligible.is_empty()) {
                (true, _) => debug!("Chain [{number}] is self-signed, thus peer is valid"),
                (_, true) => debug!("Chain [{number}] has no OCSP eligible links, thus peer is valid"),
                _ => {
                    debug!("Chain [{number}] has {} OCSP eligible link(s)", eligible.len());
                    if let Err((link, reason)) = self.all_good(&eligible, &policy.ocsp).await {
                        debug!("{reason}");
                        let (link, peer) = (shown(&link.certificate), shown(peer));
                        self.plugins.points().notify(&Event::PeerLinkInvalid { link, peer, reason });
                        continue;
                    }
                    debug!("Chain [{number}] is OCSP valid for all eligible links, thus peer is valid");
                }
            }
            return true;
        }
        debug!("No OCSP valid chains, thus peer is invalid");
        false
    }

    async fn all_good<'a>(
        &self,
        links: &[&'a Link],
        options: &OcspPeerOptions,
    ) -> Result<(), (&'a Link, String)> {
        for link in links {
            let subject = CertificateFacts::from_der(&link.certificate).map(|facts| facts.subject);
            let subject = subject.unwrap_or_default();
            match self.status(link, &subject, options).await {
                Ok(()) => crate::log::debug!("OCSP verify pass for [{subject}]"),
                // It was told why.
                Err(_) if options.warn_only => {
                    crate::log::warn!("OCSP verify fail for [{subject}] but WarnOnly is true so allowing");
                }
                Err(reason) => return Err((link, reason)),
            }
        }
        Ok(())
    }

    /// What the issuer says of a certificate; the reason if that is not good.
    async fn status(&self, link: &Link, subject: &str, options: &OcspPeerOptions) -> Result<(), String> {
        let fingerprint = STANDARD.encode(link.sha256());
        let cache = self.cache.lock().as_ref().map(|kept| kept.cache.clone());
        let known = cache.as_ref().and_then(|cache| in_force(cache, link, &fingerprint, subject, options));
        let (response, was_revoked) = match known {
            Some((response, true)) => (Some(response), false),
            Some((response, false)) => (None, response.status == Status::Revoked),
            None => (None, false),
        };
        let response = match response {
            Some(response) => response,
            None => {
                let Some(fetched) = fetch(link, subject, options, was_revoked).await? else { return Ok(()) };
                if let Some(cache) = &cache {
                    cache.put(&fingerprint, &fetched, subject, unix_ns());
                }
                fetched
            }
        };
        match response.status {
            Status::Good => Ok(()),
            Status::Unknown if options.unknown_is_good => Ok(()),
            status => {
                let status = status.text();
                crate::log::warn!("OCSP verify fail for [{subject}] with CA status [{status}]");
                Err(format!("Invalid OCSP response status: {status}"))
            }
        }
    }
}

impl Server {
    /// A listener is about to let peers in by this.
    pub(super) fn check_peers_of(&self, tls: &TlsServer) {
        if tls.peers.is_some() {
            self.peers.start(self.context.options.load().ocsp_cache.as_ref());
        }
    }
}

impl CheckPeer for Peers {
    fn check(
        self: Arc<Self>,
        sent: Vec<CertificateDer<'static>>,
        policy: Arc<PeerPolicy>,
    ) -> Pin<Box<dyn Future<Output = Result<(), PeerRefused>> + Send>> {
        Box::pin(async move {
            if self.is_valid(&sent, &policy).await {
                return Ok(());
            }
            if let Some(peer) = sent.first() {
                let (kind, reason) = (CLIENT.to_owned(), PeerRefused.to_string());
                self.plugins.points().notify(&Event::PeerRefused { kind, peer: shown(peer), reason });
            }
            Err(PeerRefused)
        })
    }
}

async fn save_now_and_then(cache: Arc<Cache>, interval: Duration) {
    loop {
        clock::sleep(interval).await;
        let cache = cache.clone();
        blocking(move || cache.save()).await;
    }
}

/// What the cache has of a certificate, and whether that still holds; what does not is forgotten.
fn in_force(
    cache: &Cache,
    link: &Link,
    fingerprint: &str,
    subject: &str,
    options: &OcspPeerOptions,
) -> Option<(Response, bool)> {
    let der = cache.get(fingerprint)?;
    let Ok(response) = Response::parse(&der, link) else {
        crate::log::debug!("Invalid cached OCSP response for [{subject}] with fingerprint [{fingerprint}]");
        cache.forget(fingerprint);
        return None;
    };
    let holds = is_in_force(&response, options, now());
    let (how, status) = (if holds { "current" } else { "expired" }, response.status.text());
    crate::log::debug!("Cached OCSP response is {how}, status [{status}]");
    if !holds {
        cache.forget(fingerprint);
    }
    Some((response, holds))
}

/// Asks the responders. `None`: they do not answer, and that is to be no reason.
async fn fetch(
    link: &Link,
    subject: &str,
    options: &OcspPeerOptions,
    was_revoked: bool,
) -> Result<Option<Response>, String> {
    use crate::log::warn;
    let answer = match link.request() {
        Ok(request) => responders::get(&web_responders(link), &request, options.ca_timeout).await,
        Err(error) => Err(error.to_string()),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            warn!("Attempt to obtain OCSP response from CA responder for [{subject}] failed: {error}");
            let failed = "Failed OCSP response fetch".to_owned();
            if !options.allow_when_ca_unreachable || options.warn_only {
                return Err(failed);
            }
            let so = if was_revoked {
                "cached revocation exists so rejecting"
            } else {
                "no cached revocation so allowing"
            };
            warn!("Failed to obtain OCSP CA response for [{subject}] but AllowWhenCAUnreachable set; {so}");
            return if was_revoked { Err(failed) } else { Ok(None) };
        }
    };
    match Response::parse(&answer, link) {
        Ok(response) if is_in_force(&response, options, now()) => Ok(Some(response)),
        Ok(_) => {
            warn!("New OCSP CA response obtained for [{subject}] but not current");
            Err("OCSP response not in effectivity window".to_owned())
        }
        Err(ResponseError::BadDelegate) => {
            let reason = format!("Invalid OCSP response delegation: {subject}");
            warn!("{reason}");
            Err(reason)
        }
        Err(error) => {
            crate::log::error!("Could not parse OCSP CA response for [{subject}]: {error}");
            Err("Failed OCSP response parse".to_owned())
        }
    }
}

/// Responders that can be asked.
fn web_responders(link: &Link) -> Vec<String> {
    let is_web = |url: &String| {
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        matches!(scheme.as_str(), "http" | "https")
    };
    link.responders().into_iter().filter(is_web).collect()
}

/// Clocks may differ, and a response need not say when it is over.
fn is_in_force(response: &Response, options: &OcspPeerOptions, now: Duration) -> bool {
    let made = Duration::from_secs(response.this_update_unix_s);
    let over = match response.next_update_unix_s {
        Some(next) => Duration::from_secs(next),
        None => made.saturating_add(options.cache_ttl_when_next_update_unset),
    };
    let skew = options.allowed_clockskew;
    over.saturating_add(skew) >= now && made <= now.saturating_add(skew)
}

fn shown(certificate: &CertificateDer<'_>) -> PeerCertificate {
    let facts = CertificateFacts::from_der(certificate).ok();
    let (subject, issuer) = facts.map(|facts| (facts.subject, facts.issuer)).unwrap_or_default();
    PeerCertificate {
        subject,
        issuer,
        fingerprint: STANDARD.encode(crate::tls::ocsp::sha256(certificate)),
        raw: STANDARD.encode(certificate),
    }
}

fn now() -> Duration {
    Duration::from_nanos(unix_ns())
}
