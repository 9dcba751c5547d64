//! The server's own certificates that are shown with an OCSP response (CFG-260), and what is known of each.
//!
//! A certificate that several listeners show is watched once. Not here: fetching (`server::stapling`).

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::link::Link;
use super::response::{Response, Status};
use crate::config::options::OcspMode;
use crate::tls::presented::Presented;

/// Those that are watched.
#[derive(Default)]
pub struct Staples {
    watched: Mutex<Vec<Arc<Watched>>>,
}

/// One certificate, wherever it is shown.
pub struct Watched {
    pub link: Link,
    pub file: PathBuf,
    /// The server does not go on with a certificate that its issuer took back.
    pub must_be_good: bool,
    response: Mutex<Option<Arc<Response>>>,
    shown_by: Mutex<Vec<Weak<Presented>>>,
}

/// What the configuration says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// It asks for a response that the configuration forbids.
    Forbidden,
    Staple {
        must_be_good: bool,
    },
}

impl Need {
    pub fn of(mode: Option<OcspMode>, must_staple: bool) -> Self {
        match (mode, must_staple) {
            (Some(OcspMode::Never), true) => Need::Forbidden,
            (Some(OcspMode::Always), _) | (Some(OcspMode::Must), true) => Need::Staple { must_be_good: true },
            (None | Some(OcspMode::Auto), true) => Need::Staple { must_be_good: false },
            _ => Need::Nothing,
        }
    }
}

impl Staples {
    pub fn all(&self) -> Vec<Arc<Watched>> {
        self.watched.lock().clone()
    }

    pub fn replace(&self, watched: Vec<Arc<Watched>>) {
        *self.watched.lock() = watched;
    }

    pub fn add(&self, watched: Arc<Watched>) {
        self.watched.lock().push(watched);
    }

    pub fn find(&self, certificate: &[u8]) -> Option<Arc<Watched>> {
        self.watched.lock().iter().find(|watched| watched.link.certificate.as_ref() == certificate).cloned()
    }

    /// Certificates that are watched already get their response, and those that follow.
    pub fn attach<'a>(&self, certificates: impl IntoIterator<Item = &'a Arc<Presented>>) {
        for presented in certificates {
            if let Some(watched) = self.find(presented.certificate()) {
                watched.show_by(presented);
            }
        }
    }
}

impl Watched {
    pub fn new(link: Link, file: PathBuf, must_be_good: bool) -> Self {
        let (response, shown_by) = (Mutex::default(), Mutex::default());
        Watched { link, file, must_be_good, response, shown_by }
    }

    pub fn response(&self) -> Option<Arc<Response>> {
        self.response.lock().clone()
    }

    pub fn show_by(&self, presented: &Arc<Presented>) {
        self.shown_by.lock().push(Arc::downgrade(presented));
        if let Some(response) = self.response() {
            presented.staple(&response.der);
        }
    }

    /// From now on this one is shown.
    pub fn set(&self, response: Arc<Response>) {
        self.each(|presented| presented.staple(&response.der));
        *self.response.lock() = Some(response);
    }

    /// The response is over, and clients want none without.
    pub fn hide(&self) {
        self.each(Presented::hide);
    }

    /// Whether a client wanted to see it while it could not be shown.
    pub fn take_asked(&self) -> bool {
        let mut asked = false;
        self.each(|presented| asked |= presented.take_asked());
        asked
    }

    fn each(&self, mut action: impl FnMut(&Presented)) {
        self.shown_by.lock().retain(|presented| match presented.upgrade() {
            Some(presented) => {
                action(&presented);
                true
            }
            None => false,
        });
    }

    /// Why the server cannot go on with what was answered.
    pub fn refuses(&self, response: &Response) -> bool {
        self.must_be_good && response.status != Status::Good
    }
}
