//! The check of clients' certificates by OCSP (CFG-253, CFG-261), by natsd and, where it is at hand, by the reference.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-websocket -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use natsd_tests::events::Watched;
use natsd_tests::monitored::{Monitored, programs};
use natsd_tests::ocsp::{Answer, Authority, Kind};
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, PATIENCE, Server};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn authority() -> Authority {
    let ca = Authority::new();
    ca.issue("server", Kind::default()).issue("client", Kind::default());
    ca.issue("silent", Kind { silent: true, ..Kind::default() });
    ca
}

/// A server that checks its clients so.
fn checking(ca: &Authority, peer: &str) -> String {
    format!("tls {{ {}, verify: true, ocsp_peer: {peer} }}\nocsp_cache: false\n", ca.tls("server"))
}

fn start(program: &Path, config: &str) -> Server {
    Launch::new(program).config(config).start()
}

fn wire(address: SocketAddr) -> TcpStream {
    let wire = TcpStream::connect(address).unwrap();
    wire.set_read_timeout(Some(PATIENCE)).unwrap();
    wire
}

fn secured(
    ca: &Authority,
    wire: TcpStream,
    name: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> Tls {
    let session = ClientConnection::new(ca.client_config(name, version), "localhost".try_into().unwrap());
    StreamOwned::new(session.unwrap(), wire)
}

/// Whether the client is let in; the error of its TLS if not.
fn enter_by(
    server: &Server,
    ca: &Authority,
    name: &str,
    version: &'static SupportedProtocolVersion,
) -> Result<(), String> {
    let mut info = BufReader::new(wire(server.address()));
    info.read_line(&mut String::new()).unwrap();
    let mut tls = secured(ca, info.into_inner(), Some(name), version);
    let mut answer = vec![0; 1024];
    let spoken = tls.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").and_then(|()| tls.flush());
    match spoken.and_then(|()| tls.read(&mut answer)) {
        Ok(n) if answer[..n].starts_with(b"PONG\r\n") => Ok(()),
        Ok(n) => Err(format!("{:?}", String::from_utf8_lossy(&answer[..n]))),
        Err(error) => Err(error.to_string()),
    }
}

fn enter(server: &Server, ca: &Authority, name: &str) -> Result<(), String> {
    enter_by(server, ca, name, &TLS13)
}

#[test]
fn who_is_let_in_is_for_the_issuer_to_say() {
    use Answer::*;
    let ca = authority();
    for program in programs() {
        for (peer, let_in, refused) in [
            (
                "true",
                &[Good, GoodFor(PATIENCE), NoNextUpdate, Delegate][..],
                &[
                    Revoked,
                    Unknown,
                    Expired,
                    Future,
                    WrongSigner,
                    BadDelegate,
                    Garbage,
                    TryLater,
                    HttpError,
                    Unreachable,
                ][..],
            ),
            (
                "{ verify: true, warn_only: true }",
                &[Good, Revoked, Unknown, Expired, WrongSigner, BadDelegate, Garbage, HttpError, Unreachable],
                &[],
            ),
            ("{ verify: true, unknown_is_good: true }", &[Good, Unknown], &[Revoked, Garbage, Unreachable]),
            (
                "{ verify: true, allow_when_ca_unreachable: true }",
                &[Good, HttpError, Unreachable],
                &[Revoked, Unknown, Expired, Garbage, TryLater],
            ),
            ("{ verify: true, allowed_clockskew: \"150m\" }", &[Expired, Future], &[Revoked]),
            ("{ verify: true, cache_ttl_when_next_update_unset: 7200 }", &[NoNextUpdate], &[Revoked]),
        ] {
            let server = start(&program, &checking(&ca, peer));
            for (answers, is_let_in) in [(let_in, true), (refused, false)] {
                for answer in answers {
                    ca.say(*answer);
                    let entered = enter(&server, &ca, "client");
                    let what = format!("{} {peer} {answer:?}: {entered:?}", program.display());
                    assert_eq!(entered.is_ok(), is_let_in, "{what}\n{}", server.log().text());
                }
            }
            // Whose issuer names no responder is not asked about.
            ca.say(Revoked);
            assert_eq!(enter(&server, &ca, "silent"), Ok(()));
        }
    }
}

#[test]
fn who_is_refused_is_told_by_an_alert() {
    let ca = authority();
    ca.say(Answer::Revoked);
    for program in programs() {
        let server = start(&program, &checking(&ca, "true"));
        for version in [&TLS13, &TLS12] {
            let refused = enter_by(&server, &ca, "client", version).unwrap_err();
            assert!(refused.contains("BadCertificate"), "{} {version:?}: {refused}", program.display());
        }
        for line in ["OCSP verify fail for [CN=client] with CA status [revoked]", "client not OCSP valid"] {
            assert!(server.log().wait_for(line, PATIENCE), "{line}: {}", server.log().text());
        }
    }
}

#[test]
fn a_certificate_between_has_to_hold_too() {
    let ca = authority();
    ca.issue_below("between", Kind::default(), "below");
    for program in programs() {
        let server = start(&program, &checking(&ca, "true"));
        ca.say(Answer::Good);
        assert_eq!(enter(&server, &ca, "below"), Ok(()));
        ca.say(Answer::Revoked);
        assert!(enter(&server, &ca, "below").is_err());
        let line = "OCSP verify fail for [CN=between] with CA status [revoked]";
        assert!(server.log().wait_for(line, PATIENCE), "{}", server.log().text());
    }
}

#[test]
fn what_a_client_sends_at_once_counts_once_it_is_let_in() {
    let ca = authority();
    ca.say(Answer::Good);
    let server = start(&natsd(), &checking(&ca, "true"));
    for pieces in [1, 7, 64] {
        let mut info = BufReader::new(wire(server.address()));
        info.read_line(&mut String::new()).unwrap();
        let mut tls = secured(&ca, info.into_inner(), Some("client"), &TLS13);
        let mut all = b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\n".to_vec();
        all.extend(b"PUB a 5\r\nhello\r\n".repeat(pieces));
        all.extend(b"PING\r\n");
        for piece in all.chunks(all.len().div_ceil(pieces)) {
            tls.write_all(piece).unwrap();
        }
        let mut got = String::new();
        while !got.ends_with("PONG\r\n") {
            let mut some = [0; 4096];
            let n = tls.read(&mut some).unwrap();
            assert!(n > 0, "{got}");
            got += std::str::from_utf8(&some[..n]).unwrap();
        }
        assert_eq!(got.matches("hello").count(), pieces);
    }
}

#[test]
fn who_speaks_and_is_gone_at_once_is_checked_and_heard() {
    let ca = authority();
    for program in programs() {
        ca.say(Answer::Good);
        let server = start(&program, &format!("allow_non_tls: true\n{}", checking(&ca, "true")));
        let mut listener = Client::join(server.address(), "").unwrap();
        listener.send(b"SUB a 1\r\n").unwrap();
        listener.sync();
        let speak = |text: &str| {
            let mut info = BufReader::new(wire(server.address()));
            info.read_line(&mut String::new()).unwrap();
            let mut tls = secured(&ca, info.into_inner(), Some("client"), &TLS13);
            let size = text.len();
            let all = format!("CONNECT {{\"verbose\":false}}\r\nPUB a {size}\r\n{text}\r\n");
            tls.write_all(all.as_bytes()).unwrap();
            tls.conn.send_close_notify();
            let _ = tls.flush();
            // Until the server has closed, too.
            let _ = tls.read_to_end(&mut Vec::new());
        };
        ca.say(Answer::Revoked);
        speak("refused");
        ca.say(Answer::Good);
        speak("good");
        assert_eq!(listener.expect_op("MSG "), b"MSG a 1 4\r\ngood\r\n");
    }
}

#[test]
fn a_responder_that_takes_too_long_ends_the_handshake() {
    let ca = authority();
    ca.say(Answer::Never);
    for program in programs() {
        let tls = ca.tls("server");
        let config =
            format!("tls {{ {tls}, verify: true, timeout: 0.5, ocsp_peer: true }}\nocsp_cache: false\n");
        let server = start(&program, &config);
        assert!(enter(&server, &ca, "client").is_err());
        let config =
            format!("tls {{ {tls}, verify: true, ocsp_peer: {{ verify: true, ca_timeout: 0.3 }} }}\n");
        let server = start(&program, &(config + "ocsp_cache: false\n"));
        assert!(enter(&server, &ca, "client").is_err());
        assert!(server.log().wait_for("failed:", PATIENCE), "{}", server.log().text());
    }
}

/// EVT-015, EVT-016
#[test]
fn refusals_are_told_in_the_system_account() {
    let ca = authority();
    ca.issue_below("between", Kind::default(), "below");
    let seen: Vec<_> = programs()
        .map(|program| {
            ca.say(Answer::Good);
            let config = format!(
                "{}accounts {{ S: {{ users: [{{user: s, password: s}}] }}, A: {{ users: [{{user: a, password: a}}] }} }}\n\
                 system_account: S\nno_auth_user: a\nallow_non_tls: true\n",
                checking(&ca, "true"),
            );
            let mut watched = Watched::start(&program, &config);
            watched.listen("$SYS.SERVER.*.OCSP.PEER.>");
            ca.say(Answer::Revoked);
            let mut told = Vec::new();
            for name in ["client", "below"] {
                assert!(enter(&watched.server, &ca, name).is_err());
                for what in ["OCSP.PEER.LINK.INVALID", "OCSP.PEER.CONN.REJECT"] {
                    let mut event = watched.event(what);
                    for field in ["id", "timestamp", "server"] {
                        let value = event.as_object_mut().unwrap().shift_remove(field);
                        assert!(value.is_some(), "{field} of {what}");
                    }
                    told.push(event);
                }
            }
            told
        })
        .collect();
    let natsds = &seen[0];
    assert_eq!(natsds[0]["type"], "io.nats.server.advisory.v1.ocsp_peer_link_invalid");
    assert_eq!(natsds[0]["link"], natsds[0]["peer"]);
    assert_eq!(natsds[0]["reason"], "Invalid OCSP response status: revoked");
    assert_eq!(natsds[1]["kind"], "Client");
    assert_eq!(natsds[1]["reason"], "client not OCSP valid");
    assert_eq!(natsds[2]["link"]["subject"], "CN=between");
    assert_eq!(natsds[2]["peer"]["subject"], "CN=below");
    assert!(seen.iter().all(|others| others == natsds), "{seen:#?}");
}

#[test]
fn what_an_issuer_said_is_kept_over_restarts_for_either_server() {
    let ca = authority();
    let programs: Vec<_> = programs().collect();
    for (first, then) in programs.iter().zip(programs.iter().rev()) {
        let folder = ca.file(&format!("cache of {}", first.file_name().unwrap().display()));
        let tls = ca.tls("server");
        let config = format!(
            "http: \"127.0.0.1:-1\"\ntls {{ {tls}, verify: true, ocsp_peer: true }}\n\
             ocsp_cache {{ local_store: \"{}\", save_interval: 1 }}\n",
            folder.display(),
        );
        ca.say(Answer::Good);
        let mut server = Monitored::start(first.clone(), &config);
        let asked = ca.gets();
        for _ in 0..3 {
            assert_eq!(enter(&server.server, &ca, "client"), Ok(()));
        }
        assert_eq!((ca.gets() - asked, ca.posts()), (1, 0));
        let varz = server.json("/varz");
        assert_eq!(varz["tls_ocsp_peer_verify"], true);
        let counts = |hits: u64, misses: u64| {
            serde_json::json!({
                "cache_type": "local", "cache_hits": hits, "cache_misses": misses, "cached_responses": 1,
                "cached_good_responses": 1,
            })
        };
        assert_eq!(varz["ocsp_peer_cache"], counts(2, 1));
        server.server.signal(Signal::TERM);
        assert!(server.server.wait_for_exit(PATIENCE).is_some());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("cache.json"))), (0o700, 0o600));

        ca.say(Answer::Unreachable);
        let server = Monitored::start(then.clone(), &config);
        assert_eq!(enter(&server.server, &ca, "client"), Ok(()), "{}", server.server.log().text());
        let mut expected = counts(1, 0);
        expected.as_object_mut().unwrap().remove("cache_misses");
        assert_eq!(server.json("/varz")["ocsp_peer_cache"], expected);
    }
}

#[test]
fn a_damaged_cache_is_told_of_and_begun_anew() {
    let ca = authority();
    let folder = ca.file("damaged");
    std::fs::create_dir(&folder).unwrap();
    for program in programs() {
        let tls = ca.tls("server");
        let config = format!(
            "tls {{ {tls}, verify: true, ocsp_peer: true }}\nocsp_cache {{ local_store: \"{}\" }}\n",
            folder.display(),
        );
        std::fs::write(folder.join("cache.json"), b"{ damage").unwrap();
        ca.say(Answer::Good);
        let server = start(&program, &config);
        assert!(server.log().wait_for("Unable to load OCSP peer cache", PATIENCE));
        assert_eq!(enter(&server, &ca, "client"), Ok(()));
    }
}

#[test]
fn a_revocation_that_is_over_may_be_remembered() {
    for program in programs() {
        for (preserve, is_let_in) in [(false, true), (true, false)] {
            let ca = authority();
            let tls = ca.tls("server");
            let config = format!(
                "tls {{ {tls}, verify: true, ocsp_peer: {{ verify: true, allow_when_ca_unreachable: true, \
                 allowed_clockskew: 0 }} }}\n\
                 ocsp_cache {{ local_store: \"{}\", preserve_revoked: {preserve} }}\n",
                ca.file("cache").display(),
            );
            let server = start(&program, &config);
            ca.say(Answer::RevokedFor(std::time::Duration::from_secs(1)));
            assert!(enter(&server, &ca, "client").is_err());
            ca.say(Answer::Unreachable);
            // The response is over by then, in whole seconds.
            std::thread::sleep(std::time::Duration::from_millis(2100));
            // What is over and not preserved is forgotten by the first look, which still knows it.
            assert!(enter(&server, &ca, "client").is_err());
            let second = enter(&server, &ca, "client");
            assert_eq!(second.is_ok(), is_let_in, "{} {preserve}: {second:?}", program.display());
        }
    }
}

#[test]
fn websocket_clients_are_checked_before_anything_is_answered() {
    let ca = authority();
    for program in programs() {
        let config = format!(
            "http: \"127.0.0.1:-1\"\nwebsocket {{ listen: \"127.0.0.1:-1\", \
             tls {{ {}, verify: true, ocsp_peer: true }} }}\nocsp_cache: false\n",
            ca.tls("server"),
        );
        ca.say(Answer::Good);
        let server = Monitored::start(program, &config);
        let websocket = server.json("/varz")["websocket"].clone();
        assert_eq!(websocket["tls_ocsp_peer_verify"], true, "{websocket}");
        assert!(websocket["tls_cert_not_after"].is_string(), "{websocket}");
        let port = websocket["port"].as_u64().unwrap() as u16;
        let port = if port > 0 { port } else { websocket_port(&server.server) };
        let upgrade = || {
            let mut tls = secured(&ca, wire(([127, 0, 0, 1], port).into()), Some("client"), &TLS13);
            tls.write_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .unwrap();
            let mut answer = [0; 12];
            tls.read_exact(&mut answer).map(|()| answer).map_err(|error| error.to_string())
        };
        assert_eq!(upgrade().unwrap(), *b"HTTP/1.1 101");
        ca.say(Answer::Revoked);
        let refused = upgrade().unwrap_err();
        assert!(refused.contains("BadCertificate"), "{refused}");
    }
}

fn websocket_port(server: &Server) -> u16 {
    let found = server.log().wait(0, PATIENCE, |line| {
        line.split_once("Listening for websocket clients on wss://")?
            .1
            .rsplit_once(':')?
            .1
            .trim()
            .parse()
            .ok()
    });
    found.unwrap()
}

/// MON-002
#[test]
fn monitoring_over_https_checks_as_well() {
    let ca = authority();
    for program in programs() {
        ca.say(Answer::Good);
        let server =
            Monitored::start(program, &format!("https: \"127.0.0.1:-1\"\n{}", checking(&ca, "true")));
        let asked = |name| {
            let mut tls = secured(&ca, server.wire(), name, &TLS13);
            tls.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            tls.read_exact(&mut answer).map(|()| answer).map_err(|error| error.to_string())
        };
        assert_eq!(asked(Some("client")).unwrap(), *b"HTTP/1.1 200");
        assert!(asked(None).is_err());
        ca.say(Answer::Revoked);
        assert!(asked(Some("client")).is_err());
    }
}

#[test]
fn a_reload_begins_and_ends_the_check() {
    let ca = authority();
    for program in programs() {
        let config = |peer: &str| checking(&ca, peer);
        ca.say(Answer::Revoked);
        let server = start(&program, &config("false"));
        assert_eq!(enter(&server, &ca, "client"), Ok(()));
        assert!(server.reload(&config("true")).starts_with("Reloaded"));
        assert!(enter(&server, &ca, "client").is_err());
        assert!(server.reload(&config("{ verify: true, warn_only: true }")).starts_with("Reloaded"));
        assert_eq!(enter(&server, &ca, "client"), Ok(()));
        let kept = config("true")
            .replace("false\n", &format!("{{ local_store: \"{}\" }}\n", ca.file("c").display()));
        assert!(server.reload(&kept).starts_with("Reloaded"));
        assert!(server.log().text().contains("Reloaded OCSP peer cache"), "{}", server.log().text());
        assert!(enter(&server, &ca, "client").is_err());
        assert!(server.reload(&config("false")).starts_with("Reloaded"));
        assert_eq!(enter(&server, &ca, "client"), Ok(()));
    }
}

#[test]
fn without_verify_a_server_does_not_start() {
    let ca = authority();
    for program in programs() {
        let config = format!("tls {{ {}, ocsp_peer: true }}\n", ca.tls("server"));
        let error = Launch::new(program).config(config).try_start().err().expect("it does not start");
        assert!(
            error.contains("OCSP peer verification for client connections requires TLS verify"),
            "{error}"
        );
    }
}
