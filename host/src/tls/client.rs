//! Makes the dialling side's configuration of `TlsOptions`: routes, gateways, leaf nodes, resolvers.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::error::TlsConfigError;
use super::files::{self, ReadFile};
use super::names;
use super::pins::PinnedCerts;
use super::verify::{AnyServer, ServerVerifier};
use crate::config::options::TlsOptions;

/// What a dialling connection needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) pins: Arc<PinnedCerts>,
    pub warnings: Vec<String>,
}

impl TlsClient {
    pub fn pins(&self) -> &PinnedCerts {
        &self.pins
    }

    pub fn rustls_config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub fn build(options: &TlsOptions, read_file: ReadFile<'_>) -> Result<Self, TlsConfigError> {
        let algorithms = names::algorithms(options)?;
        let provider = Arc::new(algorithms.provider);
        let own = (options.certs.first())
            .map(|(cert, key)| files::certified_key(cert, key, &provider, read_file))
            .transpose()?;
        let pins = PinnedCerts::parse(&options.pinned_certs).map_err(TlsConfigError::BadPin)?;
        let verifier = server_verifier(options, &provider, read_file)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(algorithms.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match own {
            Some(key) => builder.with_client_cert_resolver(resolver(key)),
            None => builder.with_no_client_auth(),
        };
        Ok(TlsClient { config: Arc::new(config), pins: Arc::new(pins), warnings: algorithms.warnings })
    }
}

/// The name to verify a server by: a host name or an IP address, without brackets.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsConfigError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsConfigError::BadServerName(host.to_owned()))
}

fn resolver(key: Arc<CertifiedKey>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(key))
}

fn server_verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    read_file: ReadFile<'_>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    if options.insecure {
        return Ok(Arc::new(AnyServer { provider: Arc::clone(provider) }));
    }
    let ca_file = options.ca_file.as_deref();
    let roots = files::roots(ca_file, read_file)?;
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(Arc::new(ServerVerifier { chain, trusted: files::root_certificates(ca_file, read_file) }))
}
