//! Certificates for tests: a CA, the server's, two clients' and a stranger's, in a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use crate::server::Folder;

const CA: &str = "natsd test CA";

/// A folder with `ca.pem` and, for each name, `<name>.pem` and `<name>.key`; removed when dropped.
///
/// Names: `server` (localhost), `client` (e-mail alice@example.com, CN=client), `dns` (DNS name
/// derek.example.com, CN=dns), `worker` (with all the parts that a subject may have, and a domain component), `stranger` (signed by a CA that the server does not know), `impostor` (by one that has
/// the name of a CA that it knows).
pub struct Certs(Folder);

impl Certs {
    pub fn new() -> Self {
        let certs = Self(Folder::new());
        let ca = Authority::new(CA);
        certs.0.write("ca.pem", &ca.cert.pem());
        let dns = |name: &str| SanType::DnsName(name.try_into().expect("ASCII"));
        let mail = SanType::Rfc822Name("alice@example.com".try_into().expect("ASCII"));
        let loopback = SanType::IpAddress([127, 0, 0, 1].into());
        certs.add("server", &ca, vec![dns("localhost"), loopback]);
        certs.add("client", &ca, vec![mail]);
        certs.add("dns", &ca, vec![dns("derek.example.com")]);
        let domain = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]);
        let parts = [
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "CA"),
            (DnType::LocalityName, "Here"),
            (DnType::CustomDnType(vec![2, 5, 4, 9]), "Main Street"),
            (DnType::CustomDnType(vec![2, 5, 4, 17]), "90210"),
            (DnType::OrganizationName, "Acme"),
            (DnType::OrganizationalUnitName, "Works"),
            (domain, "example"),
        ];
        certs.add_with("worker", &ca, vec![], &parts);
        certs.add("stranger", &Authority::new("somebody else's CA"), vec![dns("stranger.example.com")]);
        certs.add("impostor", &Authority::new(CA), vec![dns("impostor.example.com")]);
        certs
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The TLS client's side: trusts `ca.pem`, shows the named certificate if asked for one.
    pub fn client_config(&self, cert: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).expect("a CA certificate");
        let builder = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(match cert {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.file(name, "key")).expect("a key");
                let chain = vec![self.certificate(name)];
                builder.with_client_auth_cert(chain, key).expect("key and certificate match")
            }
        })
    }

    /// What `pinned_certs` lists for a certificate: the SHA-256 of its public key (AUTH-022).
    pub fn pin(&self, name: &str) -> String {
        let pem = std::fs::read_to_string(self.file(name, "key")).expect("a key");
        let spki = KeyPair::from_pem(&pem).expect("a key").public_key_der();
        Sha256::digest(spki).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn add(&self, name: &str, ca: &Authority, alternatives: Vec<SanType>) {
        self.add_with(name, ca, alternatives, &[]);
    }

    fn add_with(&self, name: &str, ca: &Authority, alternatives: Vec<SanType>, parts: &[(DnType, &str)]) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = alternatives;
        let cert = params.signed_by(&key, &ca.cert, &ca.key).expect("a certificate");
        self.0.write(&format!("{name}.pem"), &cert.pem());
        self.0.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(name, "pem")).expect("a certificate")
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.path().join(format!("{name}.{kind}"))
    }
}

impl Default for Certs {
    fn default() -> Self {
        Self::new()
    }
}

struct Authority {
    cert: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.self_signed(&key).expect("a certificate");
        Self { cert, key }
    }
}
