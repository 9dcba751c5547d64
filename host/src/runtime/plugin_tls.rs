//! TLS for the byte streams that plugins are lent.

use super::plugin_net::{LentStream, TlsAccept, TlsConnect, TlsProvider};
use crate::config::options::TlsOptions;
use crate::tls::client::{TlsClient, server_name};
use crate::tls::names;
use crate::tls::pins::PinnedCerts;
use crate::tls::server::TlsServer;
use base64::Engine;
use natsd_plugin_api::net::{RawStream, TlsFacts};
use natsd_plugin_api::{BoxFuture, Error, ErrorKind, Result, boxed};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[derive(Default)]
pub struct PluginTls {
    of_server: OnceLock<Arc<TlsOptions>>,
}

impl PluginTls {
    /// The `tls` block of the server, known once the configuration is read.
    pub fn set_server(&self, options: &Arc<TlsOptions>) {
        // Plugins listen with what the server was started with.
        let _ = self.of_server.set(options.clone());
    }

    fn options(&self, section: &Value) -> Result<TlsOptions> {
        if section.get("use").and_then(Value::as_str) != Some("server") {
            return crate::config::tls_of_json(section).map_err(Error::other);
        }
        let of_server = self.of_server.get();
        let of_server = of_server.ok_or_else(|| Error::not_found("the server has no tls block to use"))?;
        let mut options = TlsOptions::clone(of_server);
        if section.get("verify") == Some(&Value::Bool(false)) {
            options.verify = false;
            options.verify_and_map = false;
            options.pinned_certs.clear();
        }
        Ok(options)
    }
}

impl TlsProvider for PluginTls {
    fn server(&self, section: &Value) -> Result<Arc<dyn TlsAccept>> {
        let options = self.options(section)?;
        let tls = TlsServer::build(&options, &super::files::read_bytes);
        let tls = tls.map_err(|e| Error::other(e.to_string()))?;
        Ok(Arc::new(Accept { acceptor: TlsAcceptor::from(tls.rustls_config().clone()), tls }))
    }

    fn client(&self, section: &Value) -> Result<Arc<dyn TlsConnect>> {
        let options = crate::config::tls_of_json(section).map_err(Error::other)?;
        let tls = TlsClient::build(&options, &super::files::read_bytes);
        let tls = tls.map_err(|e| Error::other(e.to_string()))?;
        Ok(Arc::new(Connect { connector: TlsConnector::from(tls.rustls_config().clone()), tls }))
    }
}

struct Accept {
    acceptor: TlsAcceptor,
    tls: TlsServer,
}

impl TlsAccept for Accept {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        let (accepting, tls) = (self.acceptor.clone(), self.tls.clone());
        boxed(async move {
            let addresses = LentStream::<TcpStream>::addresses(&stream);
            let stream = accepting.accept(stream).await.map_err(Error::from)?;
            let session = stream.get_ref().1;
            check_pins(tls.pins(), session)?;
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
