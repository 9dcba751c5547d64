//! Makes the accepting side's configuration of `TlsOptions`.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::error::TlsConfigError;
use super::files::{self, ReadFile};
use super::names;
use super::peers::PeerPolicy;
use super::pins::PinnedCerts;
use super::presented::Presented;
use super::resolver::ByServerName;
use super::verify::ClientVerifier;
use crate::config::options::TlsOptions;

/// What a listener needs to accept TLS. Cheap to clone; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    pub(super) pins: Arc<PinnedCerts>,
    /// For the log: what of the options natsd leaves out.
    pub warnings: Vec<String>,
    /// When the first certificate ends.
    pub cert_not_after_unix_s: Option<i64>,
    /// In the order of the file; what is shown of them may change.
    pub certificates: Vec<Arc<Presented>>,
    /// Whose certificates are trusted; `None`: those the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Users are found by the certificates of their clients.
    pub maps_certificates: bool,
    /// How peers are checked by OCSP, if they are.
    pub peers: Option<Arc<PeerPolicy>>,
}

impl TlsServer {
    /// Reads all files now, so that a reload can fail before anything is applied.
    pub fn build(options: &TlsOptions, read_file: ReadFile<'_>) -> Result<Self, TlsConfigError> {
        let algorithms = names::algorithms(options)?;
        let provider = Arc::new(algorithms.provider);
        let keys = (options.certs.iter())
            .map(|(cert, key)| files::certified_key(cert, key, &provider, read_file))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        let cert_not_after_unix_s = keys.first().and_then(|key| files::not_after_unix_s(&key.cert));
        let files = options.certs.iter().map(|(cert, _)| cert.clone());
        let certificates: Vec<_> =
            files.zip(keys).map(|(file, key)| Arc::new(Presented::new(file, key))).collect();
        let pins = PinnedCerts::parse(&options.pinned_certs).map_err(TlsConfigError::BadPin)?;
        let verify = options.verify || options.verify_and_map;
        if options.ocsp_peer.is_some() && !verify {
            return Err(TlsConfigError::OcspPeerWithoutVerify);
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(algorithms.versions)?;
        let builder = if verify {
            builder.with_client_cert_verifier(client_verifier(options, provider, read_file)?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName::new(&certificates)));
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // To tell a peer why it is refused (`alert`).
        config.enable_secret_extraction = options.ocsp_peer.is_some();
        if verify {
            // A resumed session would skip the check of a client's certificate.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = Ticketer::new()?;
            config.send_tls13_tickets = 1;
        }
        Ok(TlsServer {
            config: Arc::new(config),
            pins: Arc::new(pins),
            warnings: algorithms.warnings,
            cert_not_after_unix_s,
            certificates,
            ca_file: options.ca_file.clone(),
            maps_certificates: options.verify_and_map,
            peers: options.ocsp_peer.clone().map(|ocsp| {
                let trusted = files::trusted_certificates(options.ca_file.as_deref(), read_file);
                Arc::new(PeerPolicy { ocsp, trusted })
            }),
        })
    }

    /// For plugins that drive rustls themselves, with the protocols they negotiate (ALPN).
    pub fn rustls_config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    pub fn pins(&self) -> &PinnedCerts {
        &self.pins
    }
}

fn client_verifier(
    options: &TlsOptions,
    provider: Arc<CryptoProvider>,
    read_file: ReadFile<'_>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    let ca_file = options.ca_file.as_deref();
    let roots = files::roots(ca_file, read_file)?;
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(Arc::new(ClientVerifier { chain, trusted: files::root_certificates(ca_file, read_file) }))
}
