//! OCSP responses beside the server's own certificate (CFG-260), to natsd and, where it is at hand, to the reference.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-websocket -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use natsd_tests::ocsp::{Answer, Authority, Kind};
use natsd_tests::server::{natsd, reference};
use natsd_tests::{Client, Launch, PATIENCE, Server};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

const MUST_STAPLE: Kind = Kind { must_staple: true, silent: false, is_ca: false };

fn programs() -> impl Iterator<Item = PathBuf> {
    std::iter::once(natsd()).chain(reference())
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("server", Kind::default()).issue("stapled", MUST_STAPLE);
    authority
}

fn start(program: PathBuf, config: &str) -> Result<Server, String> {
    Launch::new(program).config(config).try_start()
}

/// Takes any certificate and keeps the response beside it.
#[derive(Debug, Default)]
struct Seen(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap() = Some(ocsp_response.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The response that a client gets with the certificate; empty: none. `Err`: the handshake fails.
fn staple(server: &Server) -> Result<Vec<u8>, String> {
    let seen = Arc::new(Seen::default());
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(seen.clone());
    let mut client = Client::open(server.address()).unwrap();
    client.expect_op("INFO ");
    let mut client =
        client.start_tls(Arc::new(config.with_no_client_auth())).map_err(|error| error.to_string())?;
    client.send(b"CONNECT {\"verbose\":false}\r\n").unwrap();
    client.sync();
    Ok(seen.0.lock().unwrap().take().expect("a certificate was shown"))
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_response_is_stapled_where_mode_and_certificate_ask_for_it() {
    let ca = authority();
    for program in programs() {
        for (ocsp, certificate, is_stapled) in [
            ("", "server", false),
            ("", "stapled", true),
            ("ocsp: true", "server", false),
            ("ocsp: true", "stapled", true),
            ("ocsp: false", "stapled", false),
            ("ocsp: { mode: must }", "server", false),
            ("ocsp: { mode: must }", "stapled", true),
            ("ocsp: { mode: always }", "server", true),
        ] {
            let config = format!("tls {{ {} }}\n{ocsp}\n", ca.tls(certificate));
            let server = start(program.clone(), &config).unwrap();
            let what = format!("{} {ocsp} {certificate}", program.display());
            assert_eq!(!staple(&server).unwrap().is_empty(), is_stapled, "{what}");
            let told = server.log().text();
            let forbidden = "has MustStaple but OCSP is disabled";
            // nats-server has no log yet when it says so.
            let is_told = told.contains(forbidden) || program != natsd();
            assert_eq!(is_told, ocsp == "ocsp: false" || program != natsd(), "{what}: {told}");
        }
    }
}

#[test]
fn a_server_does_not_start_with_a_bad_response_or_none() {
    let ca = authority();
    for program in programs() {
        for (answer, why) in [
            (Answer::Revoked, "found existing OCSP status for certificate at"),
            (Answer::Unknown, "found existing OCSP status for certificate at"),
            (Answer::Expired, "invalid ocsp NextUpdate, is past time"),
            (Answer::Future, "invalid ocsp ThisUpdate, is future time"),
            (Answer::WrongSigner, "bad OCSP signature"),
            (Answer::Garbage, "failed to get remote status"),
            (Answer::TryLater, "ocsp: error from server: try later"),
            (Answer::HttpError, "exhausted ocsp servers: non-ok http status on POST request"),
            (Answer::Unreachable, "exhausted ocsp servers"),
        ] {
            ca.say(answer);
            let config = format!("tls {{ {} }}\nocsp: {{ mode: always }}\n", ca.tls("server"));
            let error = start(program.clone(), &config).err().expect("it does not start");
            assert!(error.contains(why), "{} {answer:?}: {error}", program.display());
        }
    }
}

#[test]
fn who_signs_for_the_issuer_must_be_entrusted_by_it() {
    let ca = authority();
    let config = format!("tls {{ {} }}\nocsp: {{ mode: always }}\n", ca.tls("server"));
    ca.say(Answer::Delegate);
    for program in programs() {
        assert!(!staple(&start(program, &config).unwrap()).unwrap().is_empty());
    }
    // Stricter than nats-server, which takes any certificate of the issuer, and answers about any other.
    for (answer, why) in
        [(Answer::BadDelegate, "no authorization"), (Answer::OtherSerial, "no response matching")]
    {
        ca.say(answer);
        let error = start(natsd(), &config).err().expect("it does not start");
        assert!(error.contains(why), "{answer:?}: {error}");
    }
}

#[test]
fn in_mode_auto_a_revoked_certificate_is_shown_as_such() {
    let ca = authority();
    ca.say(Answer::Revoked);
    for program in programs() {
        let server = start(program, &format!("tls {{ {} }}\n", ca.tls("stapled"))).unwrap();
        assert!(!staple(&server).unwrap().is_empty());
    }
}

#[test]
fn the_configured_responder_is_asked_in_place_of_the_certificates() {
    let (ca, elsewhere) = (authority(), Authority::new());
    ca.issue("silent", Kind { silent: true, ..Kind::default() });
    for program in programs() {
        let config =
            |ocsp: &str, name| format!("tls {{ {} }}\nocsp: {{ mode: always, {ocsp} }}\n", ca.tls(name));
        let error = start(program.clone(), &config("", "silent")).err().unwrap();
        assert!(error.contains("no available ocsp servers"), "{error}");
        let server = start(program.clone(), &config(&format!("url: \"{}\"", ca.url()), "silent")).unwrap();
        assert!(!staple(&server).unwrap().is_empty());
        // Another CA's responder knows this certificate's issuer not.
        let error =
            start(program, &config(&format!("url: \"{}/\"", elsewhere.url()), "server")).err().unwrap();
        assert!(error.contains("bad OCSP signature"), "{error}");
    }
}

#[test]
fn a_stored_response_is_used_while_it_is_in_force() {
    for program in programs() {
        let ca = authority();
        let tls = ca.tls("server");
        let dir = ca.file("store");
        let config = format!(
            "tls {{ {tls} }}\nocsp: {{ mode: always }}\njetstream {{ store_dir: \"{}\" }}\n",
            dir.display()
        );
        let first = staple(&start(program.clone(), &config).unwrap()).unwrap();
        let files: Vec<_> = std::fs::read_dir(dir.join("ocsp")).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].file_name().len(), 64);
        assert_eq!(std::fs::read(files[0].path()).unwrap(), first);

        ca.say(Answer::Unreachable);
        assert_eq!(staple(&start(program.clone(), &config).unwrap()).unwrap(), first);
        // What was stored does not count when it is damaged.
        std::fs::write(files[0].path(), b"damage").unwrap();
        assert!(start(program, &config).err().unwrap().contains("exhausted ocsp servers"));
    }
}

#[test]
fn a_newer_response_replaces_the_one_that_ends() {
    for program in programs() {
        let ca = authority();
        ca.say(Answer::GoodFor(Duration::from_secs(4)));
        let server =
            start(program, &format!("tls {{ {} }}\nocsp: {{ mode: always }}\n", ca.tls("server"))).unwrap();
        let first = staple(&server).unwrap();
        eventually(|| (staple(&server).unwrap() != first).then_some(()));
        assert!(server.log().text().contains("Received OCSP status for Client certificate"));
    }
}

#[test]
fn a_server_ends_when_its_certificate_is_revoked() {
    let answers = [Answer::Revoked, Answer::RevokedAtNoTime];
    for (program, revoked) in programs().flat_map(|program| answers.map(|answer| (program.clone(), answer))) {
        let ca = authority();
        ca.say(Answer::GoodFor(Duration::from_secs(3)));
        let config = format!("tls {{ {} }}\nocsp: {{ mode: must }}\n", ca.tls("stapled"));
        let mut server = start(program, &config).unwrap();
        ca.say(revoked);
        assert_eq!(server.wait_for_exit(2 * PATIENCE), Some(0), "{}", server.log().text());
        assert!(server.log().text().contains("Received OCSP status for Client certificate"));
    }
}

#[test]
fn without_a_response_in_force_nobody_is_let_in_until_there_is_one() {
    for program in programs() {
        let ca = authority();
        ca.say(Answer::GoodFor(Duration::from_secs(2)));
        let server = start(program, &format!("tls {{ {} }}\n", ca.tls("stapled"))).unwrap();
        ca.say(Answer::Unreachable);
        eventually(|| staple(&server).err());
        ca.say(Answer::Good);
        assert!(!eventually(|| staple(&server).ok()).is_empty());
    }
}

#[test]
fn a_reload_begins_and_ends_stapling() {
    let ca = authority();
    for program in programs() {
        ca.say(Answer::Good);
        let config = |ocsp: &str| format!("tls {{ {} }}\n{ocsp}\n", ca.tls("server"));
        let server = start(program, &config("")).unwrap();
        assert!(staple(&server).unwrap().is_empty());
        assert!(server.reload(&config("ocsp: { mode: always }")).starts_with("Reloaded"));
        assert!(!staple(&server).unwrap().is_empty());
        assert!(server.log().text().contains("Reloaded: OCSP"));
        assert!(server.reload(&config("ocsp: false")).starts_with("Reloaded"));
        assert!(staple(&server).unwrap().is_empty());

        ca.say(Answer::Unreachable);
        assert!(server.reload(&config("ocsp: { mode: always }")).starts_with("Reloaded"));
        assert!(server.log().text().contains("Can't restart OCSP features"));
        assert!(staple(&server).unwrap().is_empty());
    }
}
