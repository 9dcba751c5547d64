//! No secret is ever shown: servers with every kind of secret in their configurations, on their command lines and from
//! their clients, are asked for everything they tell.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream -p natsd-websocket`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use natsd_tests::certs::Certs;
use natsd_tests::monitored::{Monitored, REQUESTS};
use natsd_tests::nkey::UserKey;
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch};

const BCRYPT: &str = "$2a$04$P/.bd.7unw9Ew7yWJqXsl.f4oNRLQGvadEL2YnqQXbbb.IVQajRdK";

const PATHS: &[&str] = &[
    "/",
    "/varz",
    "/connz?subs=detail&auth=1",
    "/connz?subs=1&auth=1&state=all",
    "/connz?auth=1&state=closed",
    "/routez?subs=detail",
    "/gatewayz?accs=1&subs=detail",
    "/leafz?subs=1",
    "/subsz?subs=1&limit=1000",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=SYS",
    "/accountz?acc=$G",
    "/accstatz?unused=1",
    "/jsz?accounts=1&streams=1&consumers=1&config=1&raft=1",
    "/healthz?details=1",
    "/ipqueuesz?all=1",
    "/raftz",
    "/stacksz",
    "/debug/vars",
    "/pluginz",
    "/metrics",
    "/dashboard",
];

/// Everything over HTTP must be free of these.
fn nothing_over_http(server: &Monitored, secrets: &[String]) {
    for path in PATHS {
        nothing_in(path, &server.get(path).body, secrets);
    }
}

fn nothing_in(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret.as_str()), "{what} shows {secret}:\n{text}");
    }
}

#[test]
fn passwords_and_keys_of_accounts_stay_secret() {
    let certs = Certs::new();
    let dir = certs.path().display();
    let key = UserKey::named("secret");
    let config = format!(
        r#"
        http: "127.0.0.1:-1"
        dashboard: true
        jetstream {{ store_dir: "{{{{dir}}}}/js" }}
        tls {{ cert_file: "{dir}/server.pem", key_file: "{dir}/server.key" }}
        allow_non_tls: true
        websocket {{ port: -1, host: "127.0.0.1", no_tls: true }}
        opentelemetry {{ endpoint: "http://127.0.0.1:1", headers: {{ authorization: "otel-secret-1" }} }}
        accounts {{
            A {{ jetstream: enabled, users: [
                {{ user: a, password: "plain-secret-1" }}
                {{ user: b, password: "{BCRYPT}" }}
                {{ nkey: {} }}
            ] }}
            SYS {{ users: [ {{ user: s, password: "system-secret-1" }} ] }}
        }}
        system_account: SYS
        "#,
        key.public()
    );
    let server = Monitored::of(Launch::new(natsd()).config(config).start());
    let pem = std::fs::read_to_string(certs.path().join("server.key")).unwrap();
    let mut secrets: Vec<String> = [
        "plain-secret-1",
        "system-secret-1",
        "otel-secret-1",
        "wrong-secret-1",
        "wrong-token-1",
        "token-of-nobody",
        BCRYPT,
    ]
    .map(str::to_owned)
    .into();
    secrets.extend(pem.lines().filter(|line| !line.starts_with("---")).map(str::to_owned));

    let mut system = Client::join(server.server.address(), r#""user":"s","pass":"system-secret-1""#).unwrap();
    system.send(b"SUB > 1\r\n").unwrap();
    system.sync();
    let mut good =
        Client::join(server.server.address(), r#""user":"a","pass":"plain-secret-1","name":"good""#).unwrap();
    good.send(b"SUB x 1\r\n").unwrap();
    good.sync();
    be_refused(&server);
    nothing_over_http(&server, &secrets);
    for kind in REQUESTS {
        let body = r#"{"auth":true,"subscriptions":true,"state":2,"account":"A","accounts":true,"config":true,"name":"heap"}"#;
        let request = format!("PUB $SYS.REQ.SERVER.PING.{kind} answers.{kind} {}\r\n{body}\r\n", body.len());
        system.send(request.as_bytes()).unwrap();
    }
    // Events of all these clients, and the answers.
    system.set_patience(Duration::from_millis(1500));
    let mut told = String::new();
    while let Ok(op) = system.next_op() {
        told += &String::from_utf8_lossy(&op);
    }
    for kind in REQUESTS {
        assert!(told.contains(&format!("MSG answers.{kind} ")), "no answer to {kind}");
    }
    assert!(told.contains("CLIENT.AUTH.ERR") && told.contains("DISCONNECT"), "{told}");
    nothing_in("the system account", &told, &secrets);
}

/// Clients with secrets that do not fit.
fn be_refused(server: &Monitored) {
    for wrong in [
        r#""user":"a","pass":"wrong-secret-1""#,
        r#""auth_token":"wrong-token-1""#,
        r#""jwt":"token-of-nobody","sig":"wrong-secret-1""#,
        r#""user":"nobody","pass":"wrong-secret-1","auth_token":"wrong-token-1""#,
    ] {
        Client::join(server.server.address(), wrong).unwrap().until_closed();
    }
}

#[test]
fn tokens_and_secrets_of_the_command_line_stay_secret() {
    let config = "http: \"127.0.0.1:-1\"\nauthorization { token: \"conf-token-1\" }\n";
    let server = Monitored::start(natsd(), config);
    let mut client = Client::join(server.server.address(), r#""auth_token":"conf-token-1""#).unwrap();
    client.sync();
    let connz = server.wait("/connz?auth=1", |connz| connz["num_connections"] == 1);
    assert_eq!(connz["connections"][0]["authorized_user"], "[REDACTED]");
    nothing_over_http(&server, &["conf-token-1".to_owned()]);

    let websocket =
        "websocket { port: -1, host: \"127.0.0.1\", no_tls: true, authorization { token: \"ws-token-1\" } }";
    let server = Monitored::start(natsd(), &format!("http: \"127.0.0.1:-1\"\n{websocket}\n"));
    nothing_over_http(&server, &["ws-token-1".to_owned()]);

    let args = ["--user", "flag-user", "--pass", "flag-secret-1", "-m", "-1"];
    let server = Monitored::of(Launch::new(natsd()).args(args).start());
    let mut client =
        Client::join(server.server.address(), r#""user":"flag-user","pass":"flag-secret-1""#).unwrap();
    client.sync();
    nothing_over_http(&server, &["flag-secret-1".to_owned()]);
    assert!(server.get("/debug/vars").body.contains("--pass"));
}
