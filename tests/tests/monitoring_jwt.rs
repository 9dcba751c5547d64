//! What is shown and told of accounts and users that came by JWTs: the same fields, down to the last, from natsd and from
//! the reference (MON-081, EVT-035, SYS-016).
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-auth-jwt`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use natsd_tests::events::{Seen, message, request, same_as_the_reference};
use natsd_tests::jwt::{Key, Realm, attempt, login, unix_s, user_token};
use natsd_tests::monitored::{Monitored, servers};
use natsd_tests::{Client, Server};
use serde_json::{Value, json};

/// How long the user lives who is there to expire.
const LIFE_S: i64 = 2;

struct Names {
    realm: Realm,
    shop: Key,
    other: Key,
    gone: Key,
}

impl Names {
    fn new() -> Self {
        let [shop, other] = ["shop", "other"].map(Key::account);
        Self { realm: Realm::default(), shop, other, gone: Key::user("gone") }
    }

    fn config(&self) -> String {
        let shop = json!({ "name": "shop", "nats": {
            "tags": ["eu"], "description": "of tests", "revocations": { self.gone.public(): unix_s() - 100 },
            "exports": [
                { "name": "prices", "subject": "prices.>", "type": "stream" },
                { "name": "help", "subject": "help", "type": "service", "response_type": "Stream" },
            ],
            "mappings": { "old": [{ "subject": "new", "weight": 100 }] },
        } });
        let other = json!({ "name": "other", "nats": { "imports": [
            { "name": "prices", "subject": "prices.>", "account": self.shop.public(), "type": "stream" },
            { "name": "help", "subject": "help", "account": self.shop.public(), "type": "service", "share": true },
        ] } });
        let accounts = self.realm.config(&[(&self.shop, shop), (&self.other, other)]);
        format!("server_name: srv\nhttp: \"127.0.0.1:-1\"\n{accounts}")
    }
}

fn join(server: &Server, account: &Key, user: &Key, more: Value) -> Client {
    let mut client = server.connect();
    let fields = r#""name":"n","lang":"test","version":"1""#;
    login(&mut client, &user_token(account, user, more), Some(user), fields);
    client.expect_op("PONG");
    client.send(b"SUB _INBOX.> 1\r\n").unwrap();
    client.sync();
    client
}

fn shown(program: &Path) -> Seen {
    let names = Names::new();
    let on = Monitored::start(program.to_owned(), &names.config());
    let tagged = json!({ "name": "joe", "nats": { "tags": ["t:1"], "pub": { "allow": ["a", "$SYS.>"] } } });
    let mut joe = join(&on.server, &names.shop, &Key::user("joe"), tagged);
    let mut sue = join(&on.server, &names.other, &Key::user("sue"), json!({}));
    let mut system = join(&on.server, &names.realm.system, &Key::user("sys"), json!({}));
    let mut seen = Seen::new();
    for (name, key) in [("shop", &names.shop), ("other", &names.other), ("system", &names.realm.system)] {
        let key = key.public();
        seen.insert(format!("accountz of {name}"), on.json(&format!("/accountz?acc={key}")));
        let info = request(&mut system, &format!("$SYS.REQ.ACCOUNT.{key}.INFO"), "");
        seen.insert(format!("info of {name}"), json!(info));
    }
    seen.insert("varz".to_owned(), without_numbers(on.json("/varz")));
    seen.insert("connz".to_owned(), on.json(&format!("/connz?auth=1&acc={}", names.shop.public())));
    seen.insert("accstatz".to_owned(), on.json("/accstatz"));
    seen.insert("joe".to_owned(), json!(request(&mut joe, "$SYS.REQ.USER.INFO", "")));
    seen.insert("sue".to_owned(), json!(request(&mut sue, "$SYS.REQ.USER.INFO", "")));
    seen
}

/// Of a page that other tests compare, what operators add.
fn without_numbers(varz: Value) -> Value {
    let names = ["trusted_operators_jwt", "trusted_operators_claim", "system_account", "auth_required"];
    names
        .iter()
        .map(|name| ((*name).to_owned(), varz[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn told(program: &Path) -> Seen {
    let names = Names::new();
    let on = Monitored::start(program.to_owned(), &names.config());
    let mut system = join(&on.server, &names.realm.system, &Key::user("sys"), json!({}));
    system.send(b"SUB $SYS.ACCOUNT.*.CONNECT 2\r\nSUB $SYS.ACCOUNT.*.DISCONNECT 3\r\n").unwrap();
    system.send(b"SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 4\r\n").unwrap();
    system.sync();
    let tagged = json!({ "exp": unix_s() + LIFE_S, "nats": { "tags": ["t:1"] } });
    let mut brief = join(&on.server, &names.shop, &Key::user("brief"), tagged);
    brief.until_closed();
    let mut seen = Seen::new();
    while !seen.contains_key("DISCONNECT") {
        let (subject, body) = message(&system.expect_op("MSG "));
        seen.insert(subject.rsplit('.').next().unwrap().to_owned(), body);
    }
    assert_eq!(seen["DISCONNECT"]["reason"], "Authentication Expired");
    seen
}

#[test]
fn accounts_and_users_of_jwts_are_shown_as_by_the_reference() {
    same_as_the_reference("jwt_shown", shown);
}

#[test]
fn clients_with_jwts_are_told_of_as_by_the_reference() {
    same_as_the_reference("jwt_told", told);
}

#[test]
fn accounts_of_jwts_show_their_claims() {
    let names = Names::new();
    for on in servers(&names.config()) {
        let _joe = join(&on.server, &names.shop, &Key::user("joe"), json!({}));
        let detail = on.json(&format!("/accountz?acc={}", names.shop.public()))["account_detail"].clone();
        assert_eq!((&detail["name_tag"], &detail["tags"]), (&json!("shop"), &json!(["eu"])));
        assert_eq!((&detail["expired"], &detail["complete"]), (&json!(false), &json!(true)));
        assert_eq!(detail["jwt"].as_str().unwrap().split('.').count(), 3);
        assert_eq!(detail["issuer_key"], names.realm.operator.public());
        assert_eq!(detail["decoded_jwt"]["nats"]["exports"][0]["name"], "prices");
        assert_eq!(detail["decoded_jwt"]["sub"], names.shop.public());
        assert!(detail["revoked_user"][names.gone.public()].as_str().unwrap().ends_with('Z'), "{detail}");
        assert_eq!(detail["mappings"]["old"][0]["weight"], 100);
    }
}

#[test]
fn who_reads_connz_cannot_log_in_with_what_is_there() {
    let names = Names::new();
    for on in servers(&names.config()) {
        let clients =
            [("joe", json!({ "name": "nm" })), ("sue", json!({ "nats": { "bearer_token": true } }))]
                .map(|(name, more)| join(&on.server, &names.shop, &Key::user(name), more));
        let row = |path: &str, name: &str| {
            let rows = on.wait(path, |page| page["num_connections"] == 2)["connections"].clone();
            let key = Key::user(name).public();
            // Without `auth` no names are shown; the first that came is joe.
            let is_row = |(at, row): &(usize, &Value)| match row["authorized_user"].as_str() {
                Some(user) => user == key,
                None => *at == usize::from(name != "joe"),
            };
            rows.as_array().unwrap().iter().enumerate().find(is_row).unwrap().1.clone()
        };
        let check = |path: &str, tags: [&str; 2]| {
            let (joe, sue) = (row(path, "joe"), row(path, "sue"));
            assert_eq!(joe["jwt"].as_str().unwrap().split('.').count(), 3);
            assert_eq!(sue["jwt"], Value::Null, "{sue}");
            for (row, tag) in [(joe, tags[0]), (sue, tags[1])] {
                assert_eq!(
                    (&row["issuer_key"], &row["name_tag"]),
                    (&json!(names.shop.public()), &json!(tag))
                );
            }
        };
        check("/connz?auth=1", ["shop", "shop"]);
        let open = row("/connz", "joe");
        assert_eq!(
            (&open["jwt"], &open["issuer_key"], &open["name_tag"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        drop(clients);
        check("/connz?state=closed&auth=1", ["shop", "shop"]);
        check("/connz?state=closed", ["nm", "u"]);
    }
}

/// SYS-013
#[test]
fn accounts_import_from_the_system_account_what_its_claims_do_not_export() {
    let realm = Realm::default();
    let [own, other] = ["own", "other"].map(Key::account);
    let asked = |kind: &str, of: &Key| format!("$SYS.REQ.ACCOUNT.{}.{kind}", of.public());
    let import = |subject: String, local: &str| {
        json!({ "name": local, "subject": subject, "local_subject": local, "account": realm.system.public(),
            "type": "service" })
    };
    let imports = [
        import(asked("CONNZ", &own), "connz"),
        import(asked("STATZ", &own), "statz"),
        import("$SYS.DEBUG.SUBSCRIBERS".to_owned(), "subscribers"),
        import(asked("INFO", &own), "info"),
        import(asked("CONNZ", &other), "foreign"),
    ];
    let config = realm.config(&[(&own, json!({ "nats": { "imports": imports } })), (&other, json!({}))]);
    for on in servers(&format!("http: \"127.0.0.1:-1\"\n{config}")) {
        let mut client = join(&on.server, &own, &Key::user("joe"), json!({}));
        let told = request(&mut client, "connz", "").unwrap();
        assert_eq!(told["data"]["num_connections"], 1, "{told}");
        let told = request(&mut client, "statz", "").unwrap();
        assert_eq!(told["data"]["account_statz"][0]["acc"], own.public(), "{told}");
        assert_eq!(request(&mut client, "subscribers", "_INBOX.x"), Some(json!(1)));
        assert_eq!(request(&mut client, "info", ""), None);
        assert_eq!(request(&mut client, "foreign", ""), None);
        let system = on.json(&format!("/accountz?acc={}", realm.system.public()));
        let exports = system["account_detail"]["exports"].as_array().unwrap();
        let mut subjects: Vec<&str> =
            exports.iter().map(|export| export["subject"].as_str().unwrap()).collect();
        subjects.sort_unstable();
        assert_eq!(
            subjects,
            [
                "$SYS.DEBUG.SUBSCRIBERS",
                "$SYS.REQ.ACCOUNT.*.CONNZ",
                "$SYS.REQ.ACCOUNT.*.STATZ",
                "$SYS.REQ.USER.*.INFO"
            ]
        );
    }
}

#[test]
fn logins_to_accounts_that_are_not_pinned_are_counted() {
    let names = Names::new();
    let config = format!("{}\nresolver_pinned_accounts: [ {} ]\n", names.config(), names.shop.public());
    for on in servers(&config) {
        let user = Key::user("joe");
        for (account, told, count) in [
            (&names.shop, "PONG", Value::Null),
            (&names.other, "-ERR 'Authorization Violation'", json!(1)),
            (&names.other, "-ERR 'Authorization Violation'", json!(2)),
        ] {
            assert_eq!(attempt(&on.server, &user_token(account, &user, json!({})), Some(&user), ""), told);
            assert_eq!(on.json("/varz")["pinned_account_fails"], count);
        }
    }
}

#[test]
fn users_are_told_the_name_of_their_account_or_its_key() {
    let (realm, account) = (Realm::default(), Key::account("nameless"));
    let config = realm.config(&[(&account, json!({ "name": "" }))]);
    for on in servers(&format!("http: \"127.0.0.1:-1\"\n{config}")) {
        let mut user = join(&on.server, &account, &Key::user("joe"), json!({}));
        let told = request(&mut user, "$SYS.REQ.USER.INFO", "").unwrap();
        assert_eq!(told["data"]["account_name"], account.public(), "{told}");
    }
}
