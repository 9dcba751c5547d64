//! A certificate of a listener, and what clients see of it now: alone, with an OCSP response, or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use super::files;

#[derive(Debug)]
pub struct Presented {
    pub file: PathBuf,
    key: Arc<CertifiedKey>,
    /// `None`: its response is over, and it may not be shown without.
    shown: ArcSwapOption<CertifiedKey>,
    /// Somebody wanted it meanwhile.
    asked: AtomicBool,
}

impl Presented {
    pub(super) fn new(file: PathBuf, key: Arc<CertifiedKey>) -> Self {
        let shown = ArcSwapOption::new(Some(Arc::clone(&key)));
        Presented { file, key, shown, asked: AtomicBool::new(false) }
    }

    pub(super) fn key(&self) -> &CertifiedKey {
        &self.key
    }

    pub(super) fn show(&self) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load_full();
        if shown.is_none() {
            self.asked.store(true, Relaxed);
        }
        shown
    }

    pub fn certificate(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], AsRef::as_ref)
    }

    pub fn chain(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        &self.key.cert
    }

    /// It asks for a stapled response (RFC 7633).
    pub fn must_staple(&self) -> bool {
        files::must_staple(&self.key.cert)
    }

    pub fn staple(&self, response: &[u8]) {
        let key = CertifiedKey { ocsp: Some(response.to_owned()), ..CertifiedKey::clone(&self.key) };
        self.shown.store(Some(Arc::new(key)));
    }

    pub fn hide(&self) {
        self.shown.store(None);
    }

    pub fn take_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }
}
