//! Monitoring over HTTPS: the same requests to natsd and, where it is at hand, to the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::certs::Certs;
use natsd_tests::monitored::{Answer, Monitored, exchange, fields, servers};
use rustls::{ClientConnection, StreamOwned};

#[test]
fn https_shows_the_certificate_of_the_server_and_asks_for_none() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let tls =
        format!("cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", ca_file: \"{dir}/ca.pem\"");
    let config = format!("https: \"127.0.0.1:-1\"\ntls {{ {tls}, verify: true }}\n");
    for server in servers(&config) {
        let get = |path: &str| get_tls(&server, &certs, path);
        let varz = get("/varz").json();
        assert_eq!(
            (&varz["https_port"], &varz["tls_verify"], &varz["auth_timeout"]),
            (&(-1).into(), &true.into(), &3.into())
        );
        assert!(varz["tls_cert_not_after"].as_str().unwrap().ends_with('Z'));

        let mut client = server.server.connect();
        client.expect_op("INFO ");
        let mut client = client.start_tls(certs.client_config(Some("client"))).unwrap();
        client.send(b"CONNECT {\"verbose\":false,\"auth_token\":\"t\"}\r\n").unwrap();
        client.sync();
        let connz = get("/connz?auth=1").json();
        let info = &connz["connections"][0];
        assert_eq!((&info["tls_version"], &info["authorized_user"]), (&"1.3".into(), &"[REDACTED]".into()));
        let cert = &info["tls_peer_certs"][0];
        assert_eq!(
            (&cert["subject"], &cert["spki_sha256"]),
            (&"CN=client".into(), &certs.pin("client").into())
        );
    }
}

fn get_tls(server: &Monitored, certs: &Certs, path: &str) -> Answer {
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(certs.client_config(None), name).unwrap();
    exchange(StreamOwned::new(session, server.wire()), path)
}

#[test]
fn https_follows_the_certificate_through_a_reload() {
    // G14.3 of the checklist
    let (used, new) = (Certs::new(), Certs::new());
    let dir = used.path().display();
    let config = format!(
        "https: \"127.0.0.1:-1\"\ntls {{ cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\" }}\n"
    );
    for (server, certs) in servers(&config).zip([&new, &Certs::new()]) {
        for name in ["server.pem", "server.key"] {
            std::fs::copy(certs.path().join(name), used.path().join(name)).unwrap();
        }
        assert!(server.server.reload(&config).starts_with("Reloaded"));
        assert_eq!(get_tls(&server, certs, "/healthz").json()["status"], "ok");
    }
}

/// MON-028
#[test]
fn varz_shows_what_websocket_does_with_tls() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let config = format!(
        "http: \"127.0.0.1:-1\"\nwebsocket {{ listen: \"127.0.0.1:-1\", compression: true, tls {{ \
         cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server.key\", ca_file: \"{dir}/ca.pem\", \
         verify_and_map: true, pinned_certs: [\"{}\"] }} }}\n",
        certs.pin("client"),
    );
    for server in servers(&config) {
        let websocket = &server.json("/varz")["websocket"];
        let shown = "host port tls_map tls_pinned_certs compression tls_cert_not_after";
        assert_eq!(fields(websocket), shown, "{websocket}");
        assert_eq!(websocket["tls_pinned_certs"], serde_json::json!([certs.pin("client")]));
    }
}
