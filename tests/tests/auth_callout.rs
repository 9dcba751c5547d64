//! Authentication by callout, in config and in operator mode: a service of this test answers, on natsd and, where
//! there is one, on the reference server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use natsd_tests::jwt::{Key, Realm, login, merged, nonce, request, unix_s, user_token};
use natsd_tests::monitored::{programs, servers};
use natsd_tests::sealed::CurveKey;
use natsd_tests::{Client, Launch, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
const REFUSED: &str = "-ERR 'Authorization Violation'";

/// The service, connected and subscribed.
struct Service {
    client: Client,
    issuer: Key,
    seal: Option<CurveKey>,
}

/// A request as the service reads it.
struct Asked {
    reply: String,
    claims: Value,
    /// The server's curve key from the message's header.
    server_xkey: Option<String>,
}

impl Service {
    fn of(mut client: Client, issuer: &Key, seal: Option<CurveKey>) -> Self {
        client.send(format!("SUB {SUBJECT} 1\r\n").as_bytes()).unwrap();
        client.sync();
        Self { client, issuer: issuer.clone(), seal }
    }

    fn asked(&mut self) -> Asked {
        let op = loop {
            match self.client.next_op() {
                Ok(op) if op.starts_with(b"MSG") || op.starts_with(b"HMSG") => break op,
                Ok(op) if op == b"PING\r\n" => self.client.send(b"PONG\r\n").unwrap(),
                Ok(_) => {}
                Err(why) => panic!("the service was not asked: {why:?}"),
            }
        };
        let line_len = op.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let line = String::from_utf8_lossy(&op[..line_len]).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = &op[line_len..op.len() - 2];
        let (headers, body) = match words[0] {
            "HMSG" => rest.split_at(words[4].parse().unwrap()),
            _ => (&rest[..0], rest),
        };
        let headers = String::from_utf8_lossy(headers).into_owned();
        let server_xkey = headers.split("Nats-Server-Xkey: ").nth(1).map(|rest| rest.trim().to_owned());
        let token = match (&self.seal, &server_xkey) {
            (Some(own), Some(server)) => own.open(server, body).expect("the request opens"),
            _ => body.to_vec(),
        };
        let token = String::from_utf8(token).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        Asked { reply: words[3].to_owned(), claims: serde_json::from_slice(&claims).unwrap(), server_xkey }
    }

    fn answer(&mut self, asked: &Asked, body: &[u8]) {
        let head = format!("PUB {} {}\r\n", asked.reply, body.len());
        self.client.send(&[head.as_bytes(), body, b"\r\n"].concat()).unwrap();
    }

    /// A response in which `more` lies over what is right.
    fn response(&self, asked: &Asked, nats: Value, more: Value) -> String {
        let claims = json!({
            "iss": self.issuer.public(),
            "sub": asked.claims["nats"]["user_nkey"],
            "aud": asked.claims["nats"]["server_id"]["id"],
            "iat": unix_s(),
            "nats": merged(json!({"type": "authorization_response", "version": 2}), nats),
        });
        self.issuer.token(merged(claims, more))
    }

    /// The claims of the user that is asked about.
    fn user(&self, asked: &Asked, more: Value) -> String {
        let nats = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let claims = json!({
            "iss": self.issuer.public(), "sub": asked.claims["nats"]["user_nkey"], "iat": unix_s(), "nats": nats
        });
        self.issuer.token(merged(claims, more))
    }
}

/// CONNECT and PING, sent.
fn knock(server: &Server, options: &str) -> Client {
    let mut client = Client::join(server.address(), options).unwrap();
    client.send(b"PING\r\n").unwrap();
    client
}

fn outcome(client: &mut Client) -> String {
    loop {
        match client.next_op() {
            Ok(op) if op.starts_with(b"INFO") => {}
            Ok(op) => return String::from_utf8_lossy(&op).trim().to_owned(),
            Err(why) => return format!("{why:?}"),
        }
    }
}

fn config(issuer: &Key, more: &str) -> String {
    format!(
        "accounts {{ AUTH {{ users: [ {{user: auth, password: pwd}} ] }}, APP {{}}, SYS {{}} }}\nsystem_account: SYS\n\
         authorization {{ timeout: 1, auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth ]{more} }} }}\n",
        issuer.public()
    )
}

#[test]
fn a_service_decides_who_a_client_is() {
    let issuer = Key::account("issuer");
    for program in programs() {
        let config = format!("server_tags: [foo, bar]\n{}", config(&issuer, ""));
        let server = Launch::new(program).config(config).start();
        let client = Client::join(server.address(), r#""user":"auth","pass":"pwd""#).unwrap();
        let mut service = Service::of(client, &issuer, None);

        let mut client =
            knock(&server, r#""user":"joe","pass":"secret","name":"n","lang":"l","version":"1""#);
        let asked = service.asked();
        check_request(&asked, &issuer);
        let rights = json!({"aud": "APP", "name": "Joe", "nats": {"pub": {"allow": ["ok"]}}});
        let body = service.response(&asked, json!({"jwt": service.user(&asked, rights)}), json!({}));
        service.answer(&asked, body.as_bytes());
        assert_eq!(outcome(&mut client), "PONG");
        client.send(b"PUB no 0\r\n\r\nPUB ok 0\r\n\r\n").unwrap();
        let told = client.sync();
        assert_eq!(told, [b"-ERR 'Permissions Violation for Publish to \"no\"'\r\n"]);

        // The service's own users cannot ask.
        service.client.send(format!("PUB {SUBJECT} 0\r\n\r\n").as_bytes()).unwrap();
        let told = service.client.sync();
        let refused = format!("-ERR 'Permissions Violation for Publish to \"{SUBJECT}\"'\r\n");
        assert_eq!(told, [refused.as_bytes()]);
    }
}

fn check_request(asked: &Asked, issuer: &Key) {
    // CALL-003, CALL-004
    let claims = &asked.claims;
    let fields = |value: &Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(fields(claims), "aud exp iat iss jti nats sub");
    assert_eq!(claims["aud"], "nats-authorization-request");
    assert_eq!(claims["sub"], issuer.public());
    let nats = &claims["nats"];
    assert_eq!(claims["iss"], nats["server_id"]["id"]);
    assert_eq!(fields(nats), "client_info connect_opts server_id type user_nkey version");
    assert_eq!(fields(&nats["server_id"]), "host id name tags version");
    assert_eq!(nats["server_id"]["tags"], json!(["foo", "bar"]));
    assert_eq!(fields(&nats["client_info"]), "host id kind name type user");
    assert_eq!(nats["client_info"]["kind"], "Client");
    assert_eq!(nats["client_info"]["user"], "joe");
    assert_eq!(nats["client_info"]["type"], "nats");
    assert_eq!(fields(&nats["connect_opts"]), "lang name pass protocol user version");
    assert_eq!(nats["connect_opts"]["pass"], "secret");
    assert!(asked.reply.starts_with("$SYS._INBOX."), "{}", asked.reply);
}

type Make = fn(&Service, &Asked) -> String;

/// What a service may get wrong, and what the log says of it.
fn wrong_answers() -> Vec<(&'static str, Make, &'static str)> {
    vec![
        ("empty", |_, _| String::new(), "no reason supplied"),
        ("garbage", |_, _| "eyJgarbage".to_owned(), "xpected 3 chunks"),
        (
            "an error",
            |s, a| s.response(a, json!({"error": "not today"}), json!({})),
            "Auth callout service returned an error: not today",
        ),
        ("neither", |s, a| s.response(a, json!({}), json!({})), "had validation errors"),
        (
            "another user",
            |s, a| {
                let jwt = s.user(a, json!({"aud": "APP"}));
                s.response(a, json!({"jwt": jwt}), json!({"sub": Key::user("x").public()}))
            },
            "response is not for expected user",
        ),
        (
            "another server",
            |s, a| {
                let jwt = s.user(a, json!({"aud": "APP"}));
                s.response(a, json!({"jwt": jwt}), json!({"aud": "NX"}))
            },
            "Audience must be a server public key",
        ),
        (
            "another user inside",
            |s, a| {
                let jwt = s.user(a, json!({"aud": "APP", "sub": Key::user("x").public()}));
                s.response(a, json!({"jwt": jwt}), json!({}))
            },
            "Expected authorized user of",
        ),
        (
            "no such account",
            |s, a| s.response(a, json!({"jwt": s.user(a, json!({"aud": "Z"}))}), json!({})),
            "No valid account \"Z\" for auth callout response on account \"AUTH\": account missing",
        ),
        (
            "expired",
            |s, a| {
                s.response(
                    a,
                    json!({"jwt": s.user(a, json!({"aud": "APP", "exp": unix_s() - 5}))}),
                    json!({}),
                )
            },
            "claim is expired",
        ),
    ]
}

#[test]
fn wrong_answers_are_refused() {
    let issuer = Key::account("issuer");
    for program in programs() {
        let server = Launch::new(program).config(config(&issuer, "")).start();
        let client = Client::join(server.address(), r#""user":"auth","pass":"pwd""#).unwrap();
        let mut service = Service::of(client, &issuer, None);
        for (name, make, log) in wrong_answers() {
            let mark = server.log().mark();
            let mut client = knock(&server, r#""user":"joe""#);
            let asked = service.asked();
            let body = make(&service, &asked);
            service.answer(&asked, body.as_bytes());
            assert_eq!(outcome(&mut client), REFUSED, "{name} on {}", server.program().display());
            let told =
                server.log().wait(mark, natsd_tests::PATIENCE, |line| line.contains(log).then_some(()));
            assert!(told.is_some(), "{name}: no {log:?} in\n{}", server.log().text());
        }
        // No answer at all.
        let mut client = knock(&server, r#""user":"joe""#);
        service.asked();
        let told = outcome(&mut client);
        assert!(told == REFUSED || told == "-ERR 'Authentication Timeout'", "{told}");
    }
}

#[test]
fn requests_and_answers_are_sealed() {
    let (issuer, curve) = (Key::account("issuer"), CurveKey::named("service"));
    for program in programs() {
        let more = format!(", xkey: {}", curve.public());
        let server = Launch::new(program).config(config(&issuer, &more)).start();
        let client = Client::join(server.address(), r#""headers":true,"user":"auth","pass":"pwd""#).unwrap();
        let mut service = Service::of(client, &issuer, Some(curve.clone()));
        for sealed in [true, false] {
            let mut client = knock(&server, r#""user":"joe""#);
            let asked = service.asked();
            let server_xkey = asked.server_xkey.clone().expect("a header");
            assert_eq!(asked.claims["nats"]["server_id"]["xkey"], server_xkey);
            let jwt = service.user(&asked, json!({"aud": "APP"}));
            let body = service.response(&asked, json!({"jwt": jwt}), json!({}));
            let body = if sealed { curve.seal(&server_xkey, body.as_bytes()) } else { body.into_bytes() };
            service.answer(&asked, &body);
            assert_eq!(outcome(&mut client), "PONG", "sealed: {sealed}");
        }
        let mut client = knock(&server, r#""user":"joe""#);
        let asked = service.asked();
        let stranger = CurveKey::named("stranger").seal(asked.server_xkey.as_deref().unwrap(), b"eyJ");
        service.answer(&asked, &stranger);
        assert_eq!(outcome(&mut client), REFUSED);
    }
}

#[test]
fn in_operator_mode_an_account_has_the_service() {
    let (realm, auth, app) = (Realm::default(), Key::account("AUTH"), Key::account("APP"));
    let (service_user, sentinel) = (Key::user("service"), Key::user("sentinel"));
    let external = json!({"auth_users": [service_user.public()], "allowed_accounts": [app.public()]});
    let config = realm.config(&[(&auth, json!({"nats": {"authorization": external}})), (&app, json!({}))]);
    for program in programs() {
        let server = Launch::new(program).config(config.clone()).start();
        let mut client = server.connect();
        login(&mut client, &user_token(&auth, &service_user, json!({})), Some(&service_user), "");
        client.expect_op("PONG");
        let mut service = Service::of(client, &auth, None);
        let bearer = user_token(&auth, &sentinel, json!({"nats": {"bearer_token": true}}));
        for (target, told) in [(&app, "PONG"), (&auth, "PONG"), (&realm.system, REFUSED)] {
            let mut client = server.connect();
            login(&mut client, &bearer, None, r#""user":"joe","pass":"x""#);
            let asked = service.asked();
            assert_eq!(asked.claims["sub"], auth.public());
            assert_eq!(asked.claims["nats"]["connect_opts"]["user"], "joe");
            assert_eq!(asked.claims["nats"]["connect_opts"]["jwt"], bearer);
            let user = Service { client: server.connect(), issuer: target.clone(), seal: None };
            let jwt = user.user(&asked, json!({}));
            let body = service.response(&asked, json!({"jwt": jwt}), json!({}));
            service.answer(&asked, body.as_bytes());
            assert_eq!(outcome(&mut client), told);
        }
    }
}

#[test]
fn who_needs_a_proxy_is_not_let_in_without_one() {
    let (issuer, proxy) = (Key::account("issuer"), Key::user("proxy"));
    let config = format!(
        "proxies {{ trusted: [ {{ key: {} }} ] }}\n\
         accounts {{ AUTH {{ users: [ {{user: auth, password: pwd}} ] }}, APP {{}}, SYS {{}} }}\nsystem_account: SYS\n\
         authorization {{ timeout: 1, users: [ {{user: behind, password: pwd, proxy_required: true}} ]\n\
         auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth ] }} }}\n",
        proxy.public(),
        issuer.public()
    );
    let required = json!({"aud": "APP", "nats": {"proxy_required": true}});
    let plain = json!({"aud": "APP"});
    for program in programs() {
        let server = Launch::new(program).config(&config).start();
        let mut client = Client::join(server.address(), r#""user":"auth","pass":"pwd""#).unwrap();
        client.send(b"SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 9\r\n").unwrap();
        let mut service = Service::of(client, &issuer, None);
        let cases = [("joe", &required, REFUSED), ("behind", &plain, REFUSED), ("joe", &plain, "PONG")];
        for (user, rights, told) in cases {
            for through_proxy in [false, true] {
                let mut client = server.connect();
                let nonce = nonce(&client.expect_op("INFO "));
                let signed = if through_proxy { proxy.sign(nonce.as_bytes()) } else { String::new() };
                let connect = format!(
                    "CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"pwd\",\"proxy_sig\":\"{signed}\"}}\r\nPING\r\n"
                );
                client.send(connect.as_bytes()).unwrap();
                let asked = service.asked();
                let jwt = service.user(&asked, rights.clone());
                let body = service.response(&asked, json!({"jwt": jwt}), json!({}));
                service.answer(&asked, body.as_bytes());
                let told = if through_proxy { "PONG" } else { told };
                assert_eq!(outcome(&mut client), told, "{user} on {}", server.program().display());
                if told == REFUSED {
                    let event = String::from_utf8(service.client.expect_op("MSG ")).unwrap();
                    assert!(event.contains(r#""reason":"Proxy connection required""#), "{event}");
                }
            }
        }
    }
}

#[test]
fn a_client_is_called_as_the_service_calls_it() {
    // CALL-006
    let issuer = Key::account("issuer");
    let config = format!("http: \"127.0.0.1:-1\"\n{}", config(&issuer, ""));
    for monitored in servers(&config) {
        let server = &monitored.server;
        let client = Client::join(server.address(), r#""user":"auth","pass":"pwd""#).unwrap();
        let mut service = Service::of(client, &issuer, None);
        let token = r#""auth_token":"t","name":"c""#;
        for (credentials, name, shown) in [
            (token, "given", "given"),
            (token, "", "[REDACTED]"),
            (r#""user":"joe","pass":"x","name":"c""#, "given", "given"),
            (r#""user":"joe","pass":"x","name":"c""#, "", "joe"),
        ] {
            let more = r#""headers":true,"no_responders":true,"#;
            let mut client = knock(server, &format!("{more}{credentials}"));
            let asked = service.asked();
            let jwt = service.user(&asked, json!({"aud": "APP", "name": name}));
            let body = service.response(&asked, json!({"jwt": jwt}), json!({}));
            service.answer(&asked, body.as_bytes());
            assert_eq!(outcome(&mut client), "PONG");
            let info = natsd_tests::jwt::outcome(&request(&mut client, "$SYS.REQ.USER.INFO", ""));
            assert_eq!(info["data"]["user"], shown, "{credentials} as {name:?}: {info}");
            let connz = monitored.json("/connz?auth=1&state=open");
            let connections = connz["connections"].as_array().unwrap();
            let own = connections.iter().find(|connection| connection["name"] == "c").unwrap();
            assert_eq!(own["authorized_user"], shown, "{credentials} as {name:?}: {connz}");
            drop(client);
            monitored.wait("/connz", |connz| connz["num_connections"] == 1);
        }
    }
}

#[test]
fn without_a_service_clients_wait_as_if_there_were_one() {
    // CALL-007: libraries give up after two refusals, which come slowly so.
    let issuer = Key::account("issuer");
    for program in programs() {
        let server = Launch::new(program).config(config(&issuer, "")).start();
        let began = Instant::now();
        assert_eq!(outcome(&mut knock(&server, r#""user":"joe","pass":"x""#)), REFUSED);
        assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
    }
}
