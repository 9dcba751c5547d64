//! An OCSP responder of a test's own, and certificates that name it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use x509_cert::der::asn1::{BitString, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponderId, ResponseData,
    RevokedInfo, SingleResponse, Version,
};

use crate::server::Folder;

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// What the responder says from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    Revoked,
    Unknown,
    /// Good, but its time is over, or has not come.
    Expired,
    Future,
    /// The request is read, and nothing is said.
    Never,
    /// Revoked at Go's zero time, which responders send that were told none.
    RevokedAtNoTime,
    /// Revoked, for so long.
    RevokedFor(Duration),
    /// Good, for so long.
    GoodFor(Duration),
    /// Good, without a time of the next answer.
    NoNextUpdate,
    /// Good, signed by somebody else, by whom the issuer entrusted, or by whom it only gave a certificate.
    WrongSigner,
    Delegate,
    BadDelegate,
    /// Good, about another certificate.
    OtherSerial,
    Garbage,
    TryLater,
    HttpError,
    /// The connection is closed at once.
    Unreachable,
}

/// A CA with a responder that it runs, and a folder with its certificates: `ca.pem`, and for each
/// name `<name>.pem` and `<name>.key`.
pub struct Authority {
    folder: Folder,
    signers: Arc<Signers>,
    state: Arc<State>,
    address: SocketAddr,
}

struct State {
    answer: Mutex<Answer>,
    posts: AtomicUsize,
    gets: AtomicUsize,
}

struct Signers {
    ca: Signer,
    stranger: Signer,
    delegate: Signer,
    bad_delegate: Signer,
}

struct Signer {
    certificate: Certificate,
    key: KeyPair,
}

/// What a certificate is like.
#[derive(Clone, Copy, Default)]
pub struct Kind {
    pub must_staple: bool,
    /// It names no responder.
    pub silent: bool,
    pub is_ca: bool,
}

impl Authority {
    pub fn new() -> Self {
        let ca = Signer::new("OCSP test CA", None, &[], true);
        let stranger = Signer::new("somebody else", None, &[], true);
        let signing = [ExtendedKeyUsagePurpose::OcspSigning];
        let delegate = Signer::new("responder", Some(&ca), &signing, false);
        let bad_delegate = Signer::new("no responder", Some(&ca), &[], false);
        let signers = Arc::new(Signers { ca, stranger, delegate, bad_delegate });
        let answer = Mutex::new(Answer::Good);
        let state = Arc::new(State { answer, posts: AtomicUsize::new(0), gets: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = (signers.clone(), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (signers, state) = served.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &signers, &state));
            }
        });
        let folder = Folder::new();
        folder.write("ca.pem", &signers.ca.certificate.pem());
        Self { folder, signers, state, address }
    }

    pub fn say(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    pub fn posts(&self) -> usize {
        self.state.posts.load(SeqCst)
    }

    pub fn gets(&self) -> usize {
        self.state.gets.load(SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes `<name>.pem` and `<name>.key`.
    pub fn issue(&self, name: &str, kind: Kind) -> &Self {
        self.issue_by(&self.signers.ca, name, kind);
        self
    }

    /// Likewise, but by an authority between, whose own certificate is of this kind, and follows in the file.
    pub fn issue_below(&self, between: &str, between_kind: Kind, name: &str) -> &Self {
        let between = self.issue_by(&self.signers.ca, between, Kind { is_ca: true, ..between_kind });
        self.issue_by(&between, name, Kind { silent: true, ..Kind::default() });
        let chain = std::fs::read_to_string(self.file(&format!("{name}.pem"))).unwrap();
        self.folder.write(&format!("{name}.pem"), &(chain + &between.certificate.pem()));
        self
    }

    fn issue_by(&self, ca: &Signer, name: &str, kind: Kind) -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        if kind.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        if kind.must_staple {
            let feature = vec![0x30, 3, 2, 1, 5];
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], feature));
        }
        if !kind.silent {
            params.custom_extensions.push(self.responder_extension());
        }
        let certificate = params.signed_by(&key, &ca.certificate, &ca.key).unwrap();
        self.folder.write(&format!("{name}.pem"), &certificate.pem());
        self.folder.write(&format!("{name}.key"), &key.serialize_pem());
        Signer { certificate, key }
    }

    /// The TLS client's side, which shows this certificate if one is named. Any certificate of the server will do.
    pub fn client_config(
        &self,
        name: Option<&str>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.signers.ca.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
        let Some(name) = name else { return Arc::new(builder.with_no_client_auth()) };
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
        Arc::new(builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap())
    }

    /// Authority Information Access with the responder's address.
    fn responder_extension(&self) -> CustomExtension {
        let url = self.url().into_bytes();
        let access_method = [6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
        let location = tlv(0x86, &url);
        let description = tlv(0x30, &[&access_method[..], &location].concat());
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], tlv(0x30, &description))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files of a `tls` block.
    pub fn tls(&self, name: &str) -> String {
        let dir = self.folder.path().display();
        format!("cert_file: \"{dir}/{name}.pem\", key_file: \"{dir}/{name}.key\", ca_file: \"{dir}/ca.pem\"")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Signer {
    fn new(name: &str, by: Option<&Signer>, usages: &[ExtendedKeyUsagePurpose], is_ca: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.extended_key_usages = usages.to_vec();
        let certificate = match by {
            None => params.self_signed(&key),
            Some(by) => params.signed_by(&key, &by.certificate, &by.key),
        };
        Self { certificate: certificate.unwrap(), key }
    }

    fn sign(&self, content: &[u8]) -> BitString {
        let der = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        BitString::from_bytes(&signer.sign(content).unwrap()).unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128, "a short form of length");
    [&[tag, content.len() as u8], content].concat()
}

/// One request, one answer.
fn serve(mut stream: TcpStream, signers: &Signers, state: &State) {
    let Some((method, request)) = read_request(&stream) else { return };
    match method.as_str() {
        "POST" => state.posts.fetch_add(1, SeqCst),
        _ => state.gets.fetch_add(1, SeqCst),
    };
    let answer = *state.answer.lock().unwrap();
    let (status, body) = match answer {
        Answer::Unreachable => return,
        Answer::Never => {
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]);
            return;
        }
        Answer::HttpError => ("500 Internal Server Error", Vec::new()),
        Answer::Garbage => ("200 OK", b"garbage".to_vec()),
        Answer::TryLater => ("200 OK", OcspResponse::try_later().to_der().unwrap()),
        answer => ("200 OK", respond(&request, answer, signers)),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/ocsp-response\r\n");
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut body_bytes = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(length) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().ok()?;
        }
    }
    if method == "POST" {
        let mut body = vec![0; body_bytes];
        reader.read_exact(&mut body).ok()?;
        return Some((method, body));
    }
    let text = path.trim_start_matches('/').replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    Some((method, base64::engine::general_purpose::STANDARD.decode(text).ok()?))
}

fn respond(request: &[u8], answer: Answer, signers: &Signers) -> Vec<u8> {
    let request = OcspRequest::from_der(request).unwrap();
    let mut cert_id = request.tbs_request.request_list[0].req_cert.clone();
    if answer == Answer::OtherSerial {
        cert_id.serial_number = SerialNumber::new(&[1, 2, 3]).unwrap();
    }
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let (this, next) = match answer {
        Answer::Expired => (now - 3 * hour, Some(now - 2 * hour)),
        Answer::Future => (now + 2 * hour, Some(now + 3 * hour)),
        Answer::NoNextUpdate => (now, None),
        Answer::GoodFor(left) | Answer::RevokedFor(left) => (now, Some(now + left)),
        _ => (now, Some(now + hour)),
    };
    let at = |time| OcspGeneralizedTime::try_from(time).unwrap();
    let no_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let cert_status = match answer {
        Answer::RevokedAtNoTime => {
            CertStatus::Revoked(RevokedInfo { revocation_time: at(no_time), revocation_reason: None })
        }
        Answer::Revoked | Answer::RevokedFor(_) => {
            CertStatus::Revoked(RevokedInfo { revocation_time: at(now), revocation_reason: None })
        }
        Answer::Unknown => CertStatus::Unknown(Null),
        _ => CertStatus::Good(Null),
    };
    let (this_update, next_update) = (at(this), next.map(at));
    let single = SingleResponse { cert_id, cert_status, this_update, next_update, single_extensions: None };
    let (signer, embedded) = match answer {
        Answer::WrongSigner => (&signers.stranger, None),
        Answer::Delegate => (&signers.delegate, Some(&signers.delegate)),
        Answer::BadDelegate => (&signers.bad_delegate, Some(&signers.bad_delegate)),
        _ => (&signers.ca, None),
    };
    let data = ResponseData {
        version: Version::default(),
        responder_id: ResponderId::ByKey(OctetString::new(vec![7; 20]).unwrap()),
        produced_at: at(this),
        responses: vec![single],
        response_extensions: None,
    };
    let certificate = |signer: &Signer| x509_cert::Certificate::from_der(signer.certificate.der()).unwrap();
    let basic = BasicOcspResponse {
        signature: signer.sign(&at_no_time(data.to_der().unwrap())),
        tbs_response_data: data,
        signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None },
        certs: embedded.map(|signer| vec![certificate(signer)]),
    };
    at_no_time(OcspResponse::successful(basic).unwrap().to_der().unwrap())
}

/// The library writes no year before 1970, so one stands for it.
fn at_no_time(mut der: Vec<u8>) -> Vec<u8> {
    let (stand_in, meant) = (b"19700101000001Z", b"00010101000000Z");
    if let Some(at) = der.windows(stand_in.len()).position(|text| text == stand_in) {
        der[at..at + meant.len()].copy_from_slice(meant);
    }
    der
}
