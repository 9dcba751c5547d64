//! TLS for the byte streams that plugins are lent.

use super::plugin_net::{LentStream, TlsAccept, TlsConnect, TlsProvider};
use crate::config::options::TlsOptions;
use crate::tls::client::{TlsClient, server_name};
use crate::tls::names;
use crate::tls::ocsp::staples::Staples;
use crate::tls::peers::{CheckPeer, PeerRefused};
use crate::tls::pins::PinnedCerts;
use crate::tls::server::TlsServer;
use arc_swap::{ArcSwap, ArcSwapOption};
use base64::Engine;
use natsd_plugin_api::net::{RawStream, TlsFacts};
use natsd_plugin_api::{BoxFuture, Error, ErrorKind, Result, boxed};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::{Arc, OnceLock, Weak};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[derive(Default)]
pub struct PluginTls {
    /// The `tls` block of the server, known once the configuration is read.
    of_server: ArcSwapOption<TlsOptions>,
    /// Those in use: a reload reads their files again.
    accepting: Mutex<Vec<Weak<Accept>>>,
    next: Mutex<Option<Next>>,
    /// What certificates of the server are shown with.
    pub staples: Arc<Staples>,
    /// Who checks peers by OCSP.
    pub peer_check: Arc<OnceLock<Arc<dyn CheckPeer>>>,
}

/// What a reload changes at its end.
struct Next {
    of_server: Option<Arc<TlsOptions>>,
    accepting: Vec<(Arc<Accept>, Arc<TlsServer>)>,
}

impl PluginTls {
    pub fn set_server(&self, options: Option<Arc<TlsOptions>>) {
        self.of_server.store(options);
    }

    /// The first phase of a reload.
    pub fn prepare(&self, of_server: Option<&Arc<TlsOptions>>) -> Result<()> {
        let mut accepting = self.accepting.lock();
        accepting.retain(|accept| accept.strong_count() > 0);
        let again = accepting.iter().filter_map(Weak::upgrade).map(|accept| {
            let tls = tls_server(&accept.section, of_server)?;
            Ok((accept, Arc::new(tls)))
        });
        let accepting = again.collect::<Result<_>>()?;
        *self.next.lock() = Some(Next { of_server: of_server.cloned(), accepting });
        Ok(())
    }

    /// Those of the reload that is under way.
    pub fn prepared(&self) -> Vec<Arc<TlsServer>> {
        let next = self.next.lock();
        next.iter().flat_map(|next| &next.accepting).map(|(_, tls)| tls.clone()).collect()
    }

    /// The second phase.
    pub fn finish(&self, commit: bool) {
        let next = self.next.lock().take();
        let Some(next) = next.filter(|_| commit) else { return };
        self.of_server.store(next.of_server);
        for (accept, tls) in next.accepting {
            accept.tls.store(tls);
        }
    }
}

fn tls_server(section: &Value, of_server: Option<&Arc<TlsOptions>>) -> Result<TlsServer> {
    let options = options(section, of_server)?;
    TlsServer::build(&options, &super::files::read_bytes).map_err(|e| Error::other(e.to_string()))
}

fn options(section: &Value, of_server: Option<&Arc<TlsOptions>>) -> Result<TlsOptions> {
    if section.get("use").and_then(Value::as_str) != Some("server") {
        return crate::config::tls_of_json(section).map_err(Error::other);
    }
    let of_server = of_server.ok_or_else(|| Error::not_found("the server has no tls block to use"))?;
    let mut options = TlsOptions::clone(of_server);
    // Where the server checks its peers by OCSP, everybody has to show a certificate (MON-002).
    if section.get("verify") == Some(&Value::Bool(false)) && options.ocsp_peer.is_none() {
        options.verify = false;
        options.verify_and_map = false;
        options.pinned_certs.clear();
    }
    Ok(options)
}

impl TlsProvider for PluginTls {
    fn server(&self, section: &Value) -> Result<Arc<dyn TlsAccept>> {
        let tls = tls_server(section, self.of_server.load().as_ref())?;
        self.staples.attach(&tls.certificates);
        let (section, tls) = (section.clone(), ArcSwap::from_pointee(tls));
        let accept = Arc::new(Accept { section, tls, peer_check: self.peer_check.clone() });
        self.accepting.lock().push(Arc::downgrade(&accept));
        Ok(accept)
    }

    fn client(&self, section: &Value) -> Result<Arc<dyn TlsConnect>> {
        let options = crate::config::tls_of_json(section).map_err(Error::other)?;
        let tls = TlsClient::build(&options, &super::files::read_bytes);
        let tls = tls.map_err(|e| Error::other(e.to_string()))?;
        Ok(Arc::new(Connect { connector: TlsConnector::from(tls.rustls_config().clone()), tls }))
    }
}

struct Accept {
    section: Value,
    tls: ArcSwap<TlsServer>,
    peer_check: Arc<OnceLock<Arc<dyn CheckPeer>>>,
}

impl TlsAccept for Accept {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        let (tls, peer_check) = (self.tls.load_full(), self.peer_check.clone());
        boxed(async move {
            let addresses = LentStream::<TcpStream>::addresses(&stream);
            let stream =
                TlsAcceptor::from(tls.rustls_config().clone()).accept(stream).await.map_err(Error::from)?;
            let session = stream.get_ref().1;
            check_pins(tls.pins(), session)?;
            if let Some(policy) = &tls.peers {
                let sent = session.peer_certificates().unwrap_or_default().to_vec();
                let checked = match peer_check.get() {
                    Some(check) => check.clone().check(sent, policy.clone()).await,
                    None => Err(PeerRefused),
                };
                checked.map_err(|refused| Error::new(ErrorKind::Denied, refused.to_string()))?;
            }
            let server_name = session.server_name().map(str::to_owned);
            let facts = TlsFacts { server_name, ..facts_of(session) };
            Ok(Box::new(LentStream::tls(stream, addresses, facts)) as Box<dyn RawStream>)
        })
    }
}

struct Connect {
    connector: TlsConnector,
    tls: TlsClient,
}

impl TlsConnect for Connect {
    fn connect(&self, name: String, stream: TcpStream) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        let (connecting, tls) = (self.connector.clone(), self.tls.clone());
        boxed(async move {
            let name = server_name(&name).map_err(|e| Error::other(e.to_string()))?;
            let addresses = LentStream::<TcpStream>::addresses(&stream);
            let stream = connecting.connect(name, stream).await.map_err(Error::from)?;
            check_pins(tls.pins(), stream.get_ref().1)?;
            let facts = facts_of(stream.get_ref().1);
            Ok(Box::new(LentStream::tls(stream, addresses, facts)) as Box<dyn RawStream>)
        })
    }
}

/// AUTH-022.
fn check_pins(pins: &PinnedCerts, common: &rustls::CommonState) -> Result<()> {
    if pins.allow(common.peer_certificates().unwrap_or_default()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Denied, "certificate not pinned"))
}

fn facts_of(common: &rustls::CommonState) -> TlsFacts {
    let base64 = base64::engine::general_purpose::STANDARD;
    let suite = common.negotiated_cipher_suite();
    TlsFacts {
        version: common.protocol_version().map_or("", names::version).to_owned(),
        cipher_suite: suite.map_or("", |suite| names::cipher_suite(suite.suite())).to_owned(),
        server_name: None,
        peer_certificates: common
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| base64.encode(certificate))
            .collect(),
    }
}
