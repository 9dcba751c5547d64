//! Gets OCSP responses for the server's own certificates, before they are shown and again in time (CFG-260).
//!
//! A response is taken from memory, else from `<store_dir>/ocsp`, else from a responder. Not here: what is shown
//! meanwhile (`tls::presented`), and what makes a response a good one (`tls::ocsp`).

use super::Server;
use super::responders::post_or_get;
use crate::config::duration;
use crate::config::options::Options;
use crate::runtime::plugin_tls::PluginTls;
use crate::runtime::tasks::Task;
use crate::runtime::{Mutex, clock, files, unix_ns};
use crate::tls::files::trusted_certificates;
use crate::tls::ocsp::staples::{Need, Staples, Watched};
use crate::tls::ocsp::{Link, Response, issuer};
use crate::tls::presented::Presented;
use crate::tls::server::TlsServer;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a responder may take.
const RESPONDER_LIMIT: Duration = Duration::from_secs(30);
/// A response that does not say when there is a newer one is asked for again after this.
const NEXT_UNSET: Duration = Duration::from_secs(24 * 3600);
/// One that is over is asked for so often, besides whenever a client needs it.
const NEXT_OVER: Duration = Duration::from_secs(120);
/// How soon it is seen that a client needs one.
const ASKED_POLL: Duration = Duration::from_secs(1);
/// Half of what is left becomes very little towards the end.
const NEXT_MIN: Duration = Duration::from_millis(100);

/// What keeps the responses fresh.
pub(super) struct Stapling {
    pub staples: Arc<Staples>,
    tasks: Mutex<Vec<Task>>,
}

impl Stapling {
    /// Streams that plugins are lent show the same responses.
    pub fn of(plugin_tls: &PluginTls) -> Self {
        Stapling { staples: plugin_tls.staples.clone(), tasks: Mutex::default() }
    }
}

impl Server {
    pub(super) async fn staple_at_start(self: &Arc<Self>) -> Result<(), String> {
        let options = self.context.options.load_full();
        match self.context.tls.load_full() {
            Some(tls) => self.staple(&options, &tls).await,
            None => Ok(()),
        }
    }

    /// Has a response for each certificate that needs one, or says why not. What is watched already is not asked for.
    pub(super) async fn staple(self: &Arc<Self>, options: &Options, tls: &TlsServer) -> Result<(), String> {
        for presented in &tls.certificates {
            let Need::Staple { must_be_good } = need(options, presented) else { continue };
            if let Some(watched) = self.stapling.staples.find(presented.certificate()) {
                watched.show_by(presented);
                continue;
            }
            let watched = Arc::new(watch(tls, presented, must_be_good, None)?);
            let file = watched.file.display();
            let response = self
                .first_response(options, &watched)
                .await
                .map_err(|why| format!("bad OCSP status update for certificate at '{file}': {why}"))?;
            if watched.refuses(&response) {
                let status = response.status.text();
                return Err(format!("found existing OCSP status for certificate at '{file}': {status}"));
            }
            watched.set(response);
            watched.show_by(presented);
            self.stapling.staples.add(watched.clone());
            self.keep_fresh(watched);
        }
        Ok(())
    }

    /// A reload begins anew with all certificates of the configuration to come. What cannot be had is told of; the
    /// certificate is shown without, as by nats-server, until there is a response.
    pub(super) async fn staple_again(self: &Arc<Self>, options: &Options, next: &[Arc<TlsServer>]) {
        let before = self.stapling.staples.all();
        self.stapling.tasks.lock().clear();
        self.stapling.staples.replace(Vec::new());
        for tls in next {
            for presented in &tls.certificates {
                let Need::Staple { must_be_good } = need(options, presented) else { continue };
                if self.stapling.staples.find(presented.certificate()).is_none() {
                    let known =
                        before.iter().find(|b| b.link.certificate.as_ref() == presented.certificate());
                    if let Err(why) = self.watch_again(options, tls, presented, must_be_good, known).await {
                        crate::log::warn!("Can't restart OCSP features: {why}");
                    }
                }
                self.stapling.staples.attach([presented]);
            }
        }
    }

    async fn watch_again(
        self: &Arc<Self>,
        options: &Options,
        tls: &TlsServer,
        presented: &Presented,
        must_be_good: bool,
        known: Option<&Arc<Watched>>,
    ) -> Result<(), String> {
        let response = known.and_then(|known| known.response());
        let watched = Arc::new(watch(tls, presented, must_be_good, response)?);
        let first = self.first_response(options, &watched).await;
        self.stapling.staples.add(watched.clone());
        self.keep_fresh(watched.clone());
        let file = watched.file.display();
        let response =
            first.map_err(|why| format!("bad OCSP status update for certificate at '{file}': {why}"))?;
        if watched.refuses(&response) {
            let status = response.status.text();
            return Err(format!("found existing OCSP status for certificate at '{file}': {status}"));
        }
        watched.set(response);
        Ok(())
    }

    async fn first_response(&self, options: &Options, watched: &Watched) -> Result<Arc<Response>, String> {
        let now = unix_s();
        if let Some(response) = watched.response().filter(|response| response.check_times(now, 0).is_ok()) {
            return Ok(response);
        }
        if let Some(path) = stored_at(options, watched)
            && let Ok(der) = files::read_bytes(&path)
            && let Ok(response) = Response::parse(&der, &watched.link)
            && response.check_times(now, 0).is_ok()
        {
            return Ok(Arc::new(response));
        }
        fetch(options, watched).await
    }

    fn keep_fresh(self: &Arc<Self>, watched: Arc<Watched>) {
        let server = Arc::downgrade(self);
        self.stapling.tasks.lock().push(Task::spawn(keep_fresh(server, watched)));
    }
}

fn need(options: &Options, presented: &Presented) -> Need {
    let need = Need::of(options.ocsp.as_ref().map(|ocsp| ocsp.mode), presented.must_staple());
    if need == Need::Forbidden {
        let file = presented.file.display();
        crate::log::warn!("Certificate at '{file}' has MustStaple but OCSP is disabled");
    }
    need
}

fn watch(
    tls: &TlsServer,
    presented: &Presented,
    must_be_good: bool,
    response: Option<Arc<Response>>,
) -> Result<Watched, String> {
    let trusted = || trusted_certificates(tls.ca_file.as_deref(), &files::read_bytes);
    let chain = presented.chain();
    let issuer = issuer(chain, &if chain.len() > 1 { Vec::new() } else { trusted() })?;
    let certificate = chain[0].clone();
    let watched = Watched::new(Link { certificate, issuer }, presented.file.clone(), must_be_good);
    if let Some(response) = response {
        watched.set(response);
    }
    Ok(watched)
}

fn stored_at(options: &Options, watched: &Watched) -> Option<PathBuf> {
    let name = data_encoding::HEXLOWER.encode(&watched.link.sha256());
    Some(options.store_dir.as_deref()?.join("ocsp").join(name))
}

/// Asks the responders; a response in force is stored.
async fn fetch(options: &Options, watched: &Watched) -> Result<Arc<Response>, String> {
    let request = watched.link.request().map_err(|error| error.to_string())?;
    let own = options.ocsp.as_ref().map_or(&[][..], |ocsp| &ocsp.urls);
    let responders = if own.is_empty() { watched.link.responders() } else { own.to_vec() };
    let der = post_or_get(&responders, &request, RESPONDER_LIMIT).await?;
    let response = Response::parse(&der, &watched.link)
        .map_err(|error| format!("failed to get remote status: {error}"))?;
    response.check_times(unix_s(), 0).map_err(|error| error.to_string())?;
    if let Some(path) = stored_at(options, watched) {
        store(&path, &der).map_err(|error| format!("failed to write ocsp status: {error}"))?;
    }
    Ok(Arc::new(response))
}

fn store(path: &Path, der: &[u8]) -> std::io::Result<()> {
    files::create_folder_of(path)?;
    files::replace(path, der)
}

/// Asks again in time, for as long as the configuration stands.
async fn keep_fresh(server: Weak<Server>, watched: Arc<Watched>) {
    let file = watched.file.display().to_string();
    if let Some(response) = watched.response() {
        tell("Found OCSP status for Client certificate at", &file, &response);
    }
    loop {
        wait(&watched).await;
        let Some(server) = server.upgrade() else { return };
        let options = server.context.options.load_full();
        let response = match fetch(&options, &watched).await {
            Ok(response) => response,
            Err(why) => {
                let again = duration::format(next_run(watched.response().as_deref()));
                crate::log::error!(
                    "Bad OCSP status update for certificate '{file}': {why}, trying again in {again}"
                );
                continue;
            }
        };
        tell("Received OCSP status for Client certificate", &file, &response);
        if watched.refuses(&response) {
            return server.stop();
        }
        watched.set(response);
    }
}

fn tell(what: &str, file: &str, response: &Response) {
    let status = response.status.text();
    if response.status != crate::tls::ocsp::Status::Good {
        return crate::log::error!("{what} '{file}': {status}");
    }
    let (next, again) = (response.next_update_text(), duration::format(next_run(Some(response))));
    crate::log::notice!("{what} '{file}': {status}, next update {next}, checking again in {again}");
}

/// Until it is time to ask again. A response that ends meanwhile is hidden.
async fn wait(watched: &Watched) {
    let response = watched.response();
    let run = next_run(response.as_deref());
    let over_unix_s = match response {
        None => return clock::sleep(run.min(NEXT_OVER)).await,
        Some(response) => response.next_update_unix_s,
    };
    let Some(left) = over_unix_s.map(|over| left_until(over.saturating_add(1))) else {
        return clock::sleep(run).await;
    };
    if run < left {
        return clock::sleep(run).await;
    }
    clock::sleep(left).await;
    watched.hide();
    let mut waited = Duration::ZERO;
    while waited < NEXT_OVER && !watched.take_asked() {
        clock::sleep(ASKED_POLL).await;
        waited += ASKED_POLL;
    }
}

fn next_run(response: Option<&Response>) -> Duration {
    let Some(response) = response else { return NEXT_OVER };
    match response.next_update_unix_s.map(left_until) {
        None => NEXT_UNSET,
        Some(Duration::ZERO) => NEXT_OVER,
        Some(left) => (left / 2).max(NEXT_MIN),
    }
}

fn left_until(at_unix_s: u64) -> Duration {
    Duration::from_secs(at_unix_s).saturating_sub(Duration::from_nanos(unix_ns()))
}

fn unix_s() -> u64 {
    unix_ns() / 1_000_000_000
}
