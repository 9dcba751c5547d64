//! Sessions against each other and against files in memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

use super::client::{TlsClient, server_name};
use super::error::TlsConfigError;
use super::pins::spki_digest;
use super::server::TlsServer;
use super::session::{TlsSession, looks_like_tls};
use crate::config::options::{HandshakeFirst, TlsOptions, TlsVersion};
use crate::proto::error::ClosedReason;
use crate::proto::layer::{Layer, LayerError, LayerErrorKind, Progress};

/// Files by path: an authority `ca.pem`, and `NAME.pem` with `NAME.key` for each made name.
struct Files {
    files: HashMap<PathBuf, Vec<u8>>,
    ca: Certificate,
    ca_key: KeyPair,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "natsd test authority");
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let files = HashMap::from([(PathBuf::from("ca.pem"), ca.pem().into_bytes())]);
        let mut files = Files { files, ca, ca_key };
        files.signed("server", &["localhost", "*.example.org"]);
        files.signed("client", &["client.example.org"]);
        files
    }

    fn signed(&mut self, name: &str, dns: &[&str]) {
        let params = CertificateParams::new(dns.iter().map(|&d| d.to_owned()).collect::<Vec<_>>());
        let key = KeyPair::generate().unwrap();
        let cert = params.unwrap().signed_by(&key, &self.ca, &self.ca_key).unwrap();
        self.put(name, &cert, &key);
    }

    fn must_staple(&mut self, name: &str) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let feature =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        params.custom_extensions.push(feature);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca, &self.ca_key).unwrap();
        self.put(name, &cert, &key);
    }

    fn self_signed(&mut self, name: &str) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        self.put(name, &cert, &key);
    }

    fn put(&mut self, name: &str, cert: &Certificate, key: &KeyPair) {
        self.files.insert(format!("{name}.pem").into(), cert.pem().into_bytes());
        self.files.insert(format!("{name}.key").into(), key.serialize_pem().into_bytes());
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn server(&self, options: &TlsOptions) -> Result<TlsServer, TlsConfigError> {
        TlsServer::build(options, &|path| self.read(path))
    }

    fn client(&self, options: &TlsOptions) -> TlsClient {
        TlsClient::build(options, &|path| self.read(path)).unwrap()
    }

    fn pin(&self, name: &str) -> String {
        use rustls::pki_types::pem::PemObject;
        let pem = &self.files[Path::new(&format!("{name}.pem"))];
        let cert = CertificateDer::from_pem_slice(pem).unwrap();
        data_encoding::HEXLOWER.encode(&spki_digest(&cert).unwrap())
    }
}

fn options(cert: Option<&str>) -> TlsOptions {
    let pair = |name: &str| (format!("{name}.pem").into(), format!("{name}.key").into());
    TlsOptions {
        certs: cert.map(pair).into_iter().collect(),
        ca_file: Some("ca.pem".into()),
        verify: false,
        verify_and_map: false,
        insecure: false,
        timeout: Duration::from_secs(2),
        cipher_suites: Vec::new(),
        curve_preferences: Vec::new(),
        min_version: TlsVersion::V1_2,
        handshake_first: HandshakeFirst::No,
        pinned_certs: Vec::new(),
        connection_rate_limit: None,
        ocsp_peer: None,
    }
}

fn server_options() -> TlsOptions {
    options(Some("server"))
}

/// A pair of sessions with the wire between them cut into pieces of `chunk_bytes`.
struct Pair {
    server: TlsSession,
    client: TlsSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    server_plain: Vec<u8>,
    client_plain: Vec<u8>,
    chunk_bytes: usize,
}

impl Pair {
    fn new(files: &Files, server: &TlsOptions, client: &TlsOptions) -> Self {
        let mut to_server = Vec::new();
        let name = server_name("localhost").unwrap();
        let client = TlsSession::client(&files.client(client), name, &mut to_server).unwrap();
        let server = TlsSession::server(&files.server(server).unwrap()).unwrap();
        Pair {
            server,
            client,
            to_server,
            to_client: Vec::new(),
            server_plain: Vec::new(),
            client_plain: Vec::new(),
            chunk_bytes: usize::MAX,
        }
    }

    /// Moves bytes until the wire is silent. The error is the side's that failed first.
    fn settle(&mut self) -> Result<(Progress, Progress), LayerError> {
        let mut progress = (Progress::Handshaking, Progress::Handshaking);
        loop {
            let mut moved = std::mem::take(&mut self.to_server);
            for chunk in moved.chunks_mut(self.chunk_bytes) {
                let wire = &mut self.to_client;
                progress.0 = self.server.on_read(chunk, &mut self.server_plain, wire)?;
            }
            let mut moved = std::mem::take(&mut self.to_client);
            for chunk in moved.chunks_mut(self.chunk_bytes) {
                let wire = &mut self.to_server;
                progress.1 = self.client.on_read(chunk, &mut self.client_plain, wire)?;
            }
            if self.to_server.is_empty() && self.to_client.is_empty() {
                return Ok(progress);
            }
        }
    }

    fn handshake(&mut self) {
        self.settle().unwrap();
        assert!(!self.server.is_handshaking() && !self.client.is_handshaking());
    }

    fn exchange(&mut self, bytes: usize) {
        let sent: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect();
        self.server.on_write(&sent, &mut self.to_client).unwrap();
        self.client.on_write(&sent, &mut self.to_server).unwrap();
        self.settle().unwrap();
        assert!(self.server_plain == sent && self.client_plain == sent);
        self.server_plain.clear();
        self.client_plain.clear();
    }
}

#[test]
fn a_certificate_that_asks_for_a_staple_is_seen() {
    // CFG-260
    let mut files = Files::new();
    files.must_staple("stapled");
    assert!(files.server(&options(Some("stapled"))).unwrap().certificates[0].must_staple());
    assert!(!files.server(&server_options()).unwrap().certificates[0].must_staple());
}

#[test]
fn bytes_arrive_whole_whatever_pieces_the_wire_is_cut_into() {
    let files = Files::new();
    for min_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for chunk_bytes in [1, 5, 1000, 20_000, 131_072] {
            let client = TlsOptions { min_version, ..options(None) };
            let mut pair = Pair::new(&files, &server_options(), &client);
            pair.chunk_bytes = chunk_bytes;
            pair.handshake();
            for bytes in [1, 16_384, 16_385, 200_000] {
                pair.exchange(bytes);
            }
        }
    }
}

#[test]
fn tls_1_2_works_and_is_named_as_go_names_it() {
    let files = Files::new();
    let suites = vec!["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256".to_owned()];
    let mut config = files.client(&options(None));
    let provider = config.config.crypto_provider().clone();
    config.config = std::sync::Arc::new(
        rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(super::verify::AnyServer {
                provider: config.config.crypto_provider().clone(),
            }))
            .with_no_client_auth(),
    );
    let server = TlsOptions { cipher_suites: suites, ..server_options() };
    let mut pair = Pair::new(&files, &server, &options(None));
    pair.to_server.clear();
    pair.client =
        TlsSession::client(&config, server_name("localhost").unwrap(), &mut pair.to_server).unwrap();
    pair.handshake();
    pair.exchange(100_000);
    let details = pair.server.details().unwrap();
    assert_eq!(details.version, "1.2");
    assert_eq!(details.cipher_suite, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
}

#[test]
fn tls_1_3_prefers_aes_128_as_go_does() {
    let mut pair = Pair::new(&Files::new(), &server_options(), &options(None));
    assert_eq!(pair.server.details(), None);
    pair.handshake();
    let details = pair.server.details().unwrap();
    assert_eq!((details.version, details.cipher_suite), ("1.3", "TLS_AES_128_GCM_SHA256"));
}

#[test]
fn what_is_written_during_the_handshake_goes_out_at_its_end() {
    let mut pair = Pair::new(&Files::new(), &server_options(), &options(None));
    let mut none = Vec::new();
    pair.server.on_write(b"INFO {}\r\n", &mut none).unwrap();
    assert!(none.is_empty());
    pair.handshake();
    assert_eq!(pair.client_plain, b"INFO {}\r\n");
}

#[test]
fn a_close_is_seen_as_the_end_of_the_stream() {
    let mut pair = Pair::new(&Files::new(), &server_options(), &options(None));
    pair.handshake();
    pair.client.on_write(b"PING\r\n", &mut pair.to_server).unwrap();
    pair.client.on_close(ClosedReason::ClientClosed, &mut pair.to_server);
    assert_eq!(pair.settle().unwrap().0, Progress::PeerClosed);
    assert_eq!(pair.server_plain, b"PING\r\n");
}

#[test]
fn plain_text_is_refused_without_a_byte_on_the_wire() {
    // CORE-231
    let mut server = TlsSession::server(&Files::new().server(&server_options()).unwrap()).unwrap();
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    let error = server.on_read(&mut b"CONNECT {}\r\n".to_vec(), &mut plain, &mut wire).unwrap_err();
    assert_eq!(error.kind, LayerErrorKind::NotThisLayer);
    assert_eq!(error.text, "tls: first record does not look like a TLS handshake");
    assert!(plain.is_empty() && wire.is_empty());
    assert!(looks_like_tls(0x16) && !looks_like_tls(b'C'));
}

#[test]
fn damage_on_the_wire_is_a_stream_error_with_an_alert() {
    let mut pair = Pair::new(&Files::new(), &server_options(), &options(None));
    pair.handshake();
    pair.client.on_write(b"PUB a 0\r\n\r\n", &mut pair.to_server).unwrap();
    pair.to_server[9] ^= 1;
    let error = pair.settle().unwrap_err();
    assert_eq!(error.kind, LayerErrorKind::Stream);
    assert_eq!(error.text, "local error: tls: bad record MAC");
    assert!(pair.server_plain.is_empty() && !pair.to_client.is_empty());
}

#[test]
fn verify_wants_a_certificate_of_the_authority() {
    let mut files = Files::new();
    files.self_signed("stranger");
    let server = TlsOptions { verify: true, ..server_options() };

    let mut pair = Pair::new(&files, &server, &options(Some("client")));
    pair.handshake();
    assert_eq!(pair.server.peer_certificates().len(), 1);

    let error = Pair::new(&files, &server, &options(None)).settle().unwrap_err();
    assert_eq!(error.text, "tls: client didn't provide a certificate");
    let error = Pair::new(&files, &server, &options(Some("stranger"))).settle().unwrap_err();
    let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(error.text.starts_with(unknown), "{error}");
    assert_eq!(error.kind, LayerErrorKind::Handshake);
}

#[test]
fn a_self_signed_certificate_is_welcome_when_it_is_the_ca_file() {
    let mut files = Files::new();
    files.self_signed("own");
    let own = TlsOptions { ca_file: Some("own.pem".into()), verify: true, ..options(Some("own")) };
    Pair::new(&files, &own, &own).handshake();
}

#[test]
fn pinned_certificates_are_checked_after_the_handshake() {
    // AUTH-022
    let files = Files::new();
    let pinned =
        |name: &str| TlsOptions { verify: true, pinned_certs: vec![files.pin(name)], ..server_options() };
    Pair::new(&files, &pinned("client"), &options(Some("client"))).handshake();
    let mut pair = Pair::new(&files, &pinned("server"), &options(Some("client")));
    pair.client.on_write(b"PING\r\n", &mut Vec::new()).unwrap();
    assert_eq!(pair.settle().unwrap_err().text, "certificate not pinned");
    assert!(pair.server_plain.is_empty());
}

#[test]
fn the_certificate_follows_the_name_that_the_client_asks_for() {
    let mut files = Files::new();
    files.signed("other", &["other.example.net"]);
    let mut server = options(Some("other"));
    server.certs.extend(server_options().certs);
    let mut pair = Pair::new(&files, &server, &options(None));
    pair.handshake();
    assert_eq!(
        data_encoding::HEXLOWER.encode(&spki_digest(&pair.client.peer_certificates()[0]).unwrap()),
        files.pin("server")
    );
}

#[test]
fn a_client_checks_the_name_unless_insecure() {
    let mut files = Files::new();
    files.signed("other", &["other.example.net"]);
    let server = options(Some("other"));
    let error = Pair::new(&files, &server, &options(None)).settle().unwrap_err();
    assert!(error.text.contains("is valid for"), "{error}");
    assert!(error.text.ends_with("not localhost"), "{error}");
    Pair::new(&files, &server, &TlsOptions { insecure: true, ..options(None) }).handshake();
}

#[test]
fn errors_of_the_configuration_name_the_file_and_the_remedy() {
    let mut files = Files::new();
    let text = |files: &Files, options: &TlsOptions| files.server(options).unwrap_err().to_string();
    assert!(text(&files, &options(None)).starts_with("TLS Server certificate must be present and valid"));
    assert_eq!(
        text(&files, &options(Some("missing"))),
        "error parsing X509 certificate/key pair: open missing.pem: no such file or directory"
    );
    let verify = TlsOptions { verify: true, ca_file: Some("no.pem".into()), ..server_options() };
    assert!(text(&files, &verify).starts_with("open no.pem: no such file or directory"));

    let mut swapped = server_options();
    swapped.certs[0].1 = "client.key".into();
    assert!(text(&files, &swapped).contains("private key does not match public key"));

    files.files.insert("junk.pem".into(), b"junk".to_vec());
    files.files.insert("junk.key".into(), b"junk".to_vec());
    assert!(text(&files, &options(Some("junk"))).contains("junk.pem must hold a certificate"));
    swapped.certs[0].1 = "junk.key".into();
    assert!(text(&files, &swapped).contains("junk.key must hold a private key"));
    let verify = TlsOptions { verify: true, ca_file: Some("junk.pem".into()), ..server_options() };
    assert!(text(&files, &verify).starts_with("failed to parse root ca certificate: junk.pem"));

    let pins = TlsOptions { pinned_certs: vec!["abc".into()], ..server_options() };
    assert!(text(&files, &pins).contains("\"abc\""));
}

#[test]
fn names_of_suites_and_curves_are_known_left_out_or_wrong() {
    // CFG-247
    let files = Files::new();
    let suites = |names: &[&str]| TlsOptions {
        cipher_suites: names.iter().map(|&name| name.to_owned()).collect(),
        ..server_options()
    };
    let curves = |names: &[&str]| TlsOptions {
        curve_preferences: names.iter().map(|&name| name.to_owned()).collect(),
        ..server_options()
    };
    let text = |options: &TlsOptions| files.server(options).unwrap_err().to_string();
    assert!(text(&suites(&["TLS_FOO"])).starts_with("unrecognized cipher TLS_FOO"));
    assert!(text(&curves(&["Curve1"])).starts_with("unrecognized curve preference Curve1"));
    assert!(text(&suites(&["TLS_RSA_WITH_AES_128_CBC_SHA"])).contains("supported are TLS_ECDHE"));
    assert!(text(&curves(&["CurveP521"])).contains("supported are X25519MLKEM768"));

    let both = ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
    let server = files.server(&suites(&both)).unwrap();
    assert_eq!(
        server.warnings,
        ["cipher suites not supported by natsd are left out: TLS_RSA_WITH_AES_128_CBC_SHA"]
    );
    // The key is for ECDSA, the one suite of TLS 1.2 for RSA: only TLS 1.3 is left.
    let server = files.server(&suites(&["TLS_AES_256_GCM_SHA384"])).unwrap();
    assert!(server.warnings.is_empty());
}

/// Whatever a stranger sends, and in whatever pieces, is an error or a wait, never a panic.
#[test]
fn damaged_handshakes_and_streams_do_no_harm() {
    let files = Files::new();
    let config = files.server(&server_options()).unwrap();
    let mut hello = Vec::new();
    let name = server_name("localhost").unwrap();
    TlsSession::client(&files.client(&options(None)), name, &mut hello).unwrap();
    for at in 0..hello.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = hello.clone();
            damaged[at] ^= flip;
            // Followed by more of the same, as an attacker would.
            damaged.extend_from_slice(&hello);
            let chunk_bytes = [7, 100, usize::MAX][at % 3];
            let mut server = TlsSession::server(&config).unwrap();
            let (mut plain, mut wire) = (Vec::new(), Vec::new());
            for chunk in damaged.chunks_mut(chunk_bytes) {
                let _ = server.on_read(chunk, &mut plain, &mut wire);
            }
            server.on_close(ClosedReason::ClientClosed, &mut wire);
            assert!(plain.is_empty());
        }
    }
    for at in 0..40 {
        let mut pair = Pair::new(&files, &server_options(), &options(None));
        pair.handshake();
        pair.client.on_write(b"PING\r\n", &mut pair.to_server).unwrap();
        pair.client.on_write(b"PONG\r\n", &mut pair.to_server).unwrap();
        let last = pair.to_server.len() - 1;
        pair.to_server[at.min(last)] ^= 0x40;
        pair.chunk_bytes = 1 + at;
        let _ = pair.settle();
    }
}
