//! Operator mode: the same keys, tokens and exchanges against natsd and, where there is one, the reference server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jwt::{Key, Realm, attempt, join, outcome, request, unix_s, user_token};
use natsd_tests::monitored::programs;
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, Server};
use serde_json::{Value, json};

/// Runs on both servers.
fn on_both(config: &str, test: impl Fn(&Server)) {
    for program in programs() {
        let server = Launch::new(program).config(config).start();
        eprintln!("on {}", server.program().display());
        test(&server);
    }
}

const REFUSED: &str = "-ERR 'Authorization Violation'";

type Case = (&'static str, String, Option<Key>, &'static str);

/// Tokens of a user of the account, and what becomes of logins with them.
fn logins(realm: &Realm, account: &Key, other: &Key, user: &Key, signing: &Key) -> Vec<Case> {
    let now = unix_s();
    let by = |more: Value| user_token(account, user, more);
    let issuer = json!({"nats": {"issuer_account": account.public()}});
    let revoked = Key::user("revoked");
    let unlimited = json!({"nats": {"issuer_account": account.public()}});
    let zero = json!({"nats": {"issuer_account": account.public(), "subs": 0, "data": 0, "payload": 0}});
    let good = by(json!({}));
    let forged = format!("{}x{}", &good[..good.len() - 10], &good[good.len() - 9..]);
    let mut cases = vec![
        ("good", good.clone(), Some(user.clone()), "PONG"),
        ("wrong key", good.clone(), Some(revoked.clone()), REFUSED),
        ("no signature", good, None, REFUSED),
        ("forged", forged, Some(user.clone()), REFUSED),
        ("no token", String::new(), None, REFUSED),
        ("garbage", "a.b.c".to_owned(), Some(user.clone()), REFUSED),
        ("expired", by(json!({"exp": now - 5})), Some(user.clone()), REFUSED),
        ("not yet", by(json!({"nbf": now + 60})), Some(user.clone()), REFUSED),
        ("bearer", by(json!({"nats": {"bearer_token": true}})), None, "PONG"),
        ("bearer elsewhere", user_token(other, user, json!({"nats": {"bearer_token": true}})), None, REFUSED),
        ("signing key", user_token(signing, user, issuer.clone()), Some(user.clone()), "PONG"),
        ("signing key, no account", user_token(signing, user, json!({})), Some(user.clone()), REFUSED),
        ("unknown signer", user_token(&Key::account("X"), user, issuer), Some(user.clone()), REFUSED),
        ("unknown account", user_token(&Key::account("X"), user, json!({})), Some(user.clone()), REFUSED),
        ("revoked", user_token(account, &revoked, json!({})), Some(revoked.clone()), REFUSED),
        ("scoped", user_token(&Key::account("scoped"), user, zero), Some(user.clone()), "PONG"),
        (
            "scoped with limits",
            user_token(&Key::account("scoped"), user, unlimited),
            Some(user.clone()),
            REFUSED,
        ),
        ("types", by(json!({"nats": {"allowed_connection_types": ["MQTT"]}})), Some(user.clone()), REFUSED),
        (
            "own type",
            by(json!({"nats": {"allowed_connection_types": ["STANDARD"]}})),
            Some(user.clone()),
            "PONG",
        ),
        (
            "unknown types",
            by(json!({"nats": {"allowed_connection_types": ["FOO"]}})),
            Some(user.clone()),
            REFUSED,
        ),
        (
            "one known type",
            by(json!({"nats": {"allowed_connection_types": ["FOO", "STANDARD"]}})),
            Some(user.clone()),
            "PONG",
        ),
        ("src", by(json!({"nats": {"src": ["10.0.0.0/8"]}})), Some(user.clone()), REFUSED),
        ("own src", by(json!({"nats": {"src": "10.0.0.0/8,127.0.0.0/8"}})), Some(user.clone()), "PONG"),
        ("bad src", by(json!({"nats": {"src": ["x"]}})), Some(user.clone()), REFUSED),
        ("newer", by(json!({"nats": {"version": 3}})), Some(user.clone()), REFUSED),
        ("wrong kind", realm.account_token(account, json!({})), Some(user.clone()), REFUSED),
    ];
    cases.extend(timed_logins(account, user));
    cases
}

/// As `logins`, about times of day.
fn timed_logins(account: &Key, user: &Key) -> Vec<Case> {
    let by = |more: Value| user_token(account, user, more);
    vec![
        (
            "all day",
            by(
                json!({"nats": {"times": [{"start": "00:00:00", "end": "23:59:59"}], "times_location": "UTC"}}),
            ),
            Some(user.clone()),
            "PONG",
        ),
        (
            "bad times",
            by(json!({"nats": {"times": [{"start": "x", "end": "y"}]}})),
            Some(user.clone()),
            REFUSED,
        ),
        ("bad zone", by(json!({"nats": {"times_location": "Nowhere/Land"}})), Some(user.clone()), REFUSED),
    ]
}

#[test]
fn users_are_let_in_by_their_token() {
    let (realm, account, other) = (Realm::default(), Key::account("A"), Key::account("B"));
    let (user, signing) = (Key::user("u"), Key::account("A signing"));
    let now = unix_s();
    let revocations = json!({Key::user("revoked").public(): now + 10});
    let scope = json!({"kind": "user_scope", "key": Key::account("scoped").public(), "role": "r",
        "template": {"pub": {"allow": ["{{name()}}.>"]}, "subs": -1, "data": -1, "payload": -1}});
    let claims = json!({"nats": {"signing_keys": [signing.public(), scope], "revocations": revocations}});
    let bearers = json!({"nats": {"limits": {"disallow_bearer": true}}});
    let config = realm.config(&[(&account, claims), (&other, bearers)]);
    let cases = logins(&realm, &account, &other, &user, &signing);
    on_both(&config, |server| {
        let info = server.connect().expect_op("INFO ");
        let info: Value = serde_json::from_slice(&info[5..]).unwrap();
        assert_eq!((&info["auth_required"], info["nonce"].is_string()), (&json!(true), true));
        for (name, token, user, outcome) in &cases {
            let found = attempt(server, token, user.as_ref(), "");
            assert_eq!(found, *outcome, "{name} on {}", server.program().display());
        }
    });
}

/// JWT-032
#[test]
fn a_strict_operator_lets_in_users_of_signing_keys_alone() {
    let realm = Realm::default();
    let (operator_key, account) = (Key::operator("O signing"), Key::account("A"));
    let (signing, user) = (Key::account("A signing"), Key::user("u"));
    let keys = json!({"nats": {"signing_keys": [operator_key.public()], "strict_signing_key_usage": true}});
    // The operator's own key signs no accounts then.
    let signer = Realm { operator: operator_key, ..Realm::default() };
    let system = signer.account_token(&realm.system, json!({}));
    let token = signer.account_token(&account, json!({"nats": {"signing_keys": [signing.public()]}}));
    let config = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload {{\n{}: {system}\n{}: {token}\n}}\n",
        realm.operator_token(keys),
        realm.system.public(),
        account.public()
    );
    let named = json!({"nats": {"issuer_account": account.public()}});
    on_both(&config, |server| {
        let told = |token: &str| attempt(server, token, Some(&user), "");
        assert_eq!(told(&user_token(&signing, &user, named.clone())), "PONG");
        assert_eq!(told(&user_token(&account, &user, json!({}))), REFUSED);
        assert_eq!(told(&user_token(&account, &user, named.clone())), REFUSED);
    });
}

#[test]
fn permissions_and_limits_of_claims_hold() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let scoped = Key::account("scoped");
    let template = json!({"pub": {"allow": ["own.{{name()}}.{{tag(team)}}"]}, "sub": {"allow": ["_INBOX.>"]},
        "subs": 1, "data": -1, "payload": 5});
    let scope = json!({"kind": "user_scope", "key": scoped.public(), "role": "r", "template": template});
    let defaults = json!({"sub": {"deny": ["secret.>"]}});
    let claims = json!({"nats": {"signing_keys": [scope], "default_permissions": defaults}});
    let config = realm.config(&[(&account, claims)]);
    let own = json!({"nats": {"pub": {"deny": ["no"]}, "sub": {"allow": ["yes", "q w"]}, "resp": {"max": 1, "ttl": 0}}});
    let zero = json!({"nats": {"issuer_account": account.public(), "subs": 0, "data": 0, "payload": 0,
        "tags": ["team:red", "team:blue"]}});
    let told = |client: &mut Client, text: &str| {
        client.send(text.as_bytes()).unwrap();
        let ops = client.sync();
        ops.iter().map(|op| String::from_utf8_lossy(op).trim().to_owned()).collect::<Vec<_>>()
    };
    on_both(&config, |server| {
        let mut plain = join(server, &user_token(&account, &user, json!({})), &user);
        assert_eq!(
            told(&mut plain, "SUB secret.a 1\r\nSUB open 2\r\n"),
            ["-ERR 'Permissions Violation for Subscription to \"secret.a\"'"]
        );
        let mut limited = join(server, &user_token(&account, &user, own.clone()), &user);
        assert_eq!(
            told(&mut limited, "SUB yes 1\r\nSUB no 2\r\nSUB q w 3\r\nSUB q 4\r\nPUB x 0\r\n\r\n"),
            [
                "-ERR 'Permissions Violation for Subscription to \"no\"'",
                "-ERR 'Permissions Violation for Subscription to \"q\"'",
                "-ERR 'Permissions Violation for Publish to \"x\"'",
            ]
        );
        let mut scoped = join(server, &user_token(&scoped, &user, zero.clone()), &user);
        assert_eq!(
            told(&mut scoped, "PUB own.u.red 1\r\nx\r\nPUB own.u.blue 1\r\nx\r\nPUB own.u.green 1\r\nx\r\n"),
            ["-ERR 'Permissions Violation for Publish to \"own.u.green\"'"]
        );
        assert_eq!(
            told(&mut scoped, "SUB _INBOX.a 1\r\nSUB _INBOX.b 2\r\n"),
            ["-ERR 'maximum subscriptions exceeded'"]
        );
        scoped.send(b"PUB own.u.red 6\r\n123456\r\n").unwrap();
        let last = scoped.until_closed();
        assert_eq!(last, [b"-ERR 'Maximum Payload Violation'\r\n"]);
    });
}

/// What the server says last; PINGs do not count.
fn last_words(client: &mut Client) -> String {
    let mut ops = client.until_closed();
    ops.retain(|op| op != b"PING\r\n");
    String::from_utf8_lossy(&ops.concat()).trim().to_owned()
}

#[test]
fn what_is_over_is_closed() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let short = Key::account("short");
    for program in programs() {
        let now = unix_s();
        let config = realm.config(&[(&account, json!({})), (&short, json!({"exp": now + 3}))]);
        let server = Launch::new(program).config(config).start();
        let until = json!({"exp": unix_s() + 2});
        let mut expiring = join(&server, &user_token(&account, &user, until), &user);
        let mut account_expiring = join(&server, &user_token(&short, &user, json!({})), &user);
        assert_eq!(last_words(&mut expiring), "-ERR 'User Authentication Expired'");
        assert_eq!(last_words(&mut account_expiring), "-ERR 'Account Authentication Expired'");
        let again = attempt(&server, &user_token(&short, &user, json!({})), Some(&user), "");
        assert_eq!(again, REFUSED);
    }
}

#[test]
fn new_claims_change_what_is_connected() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let (admin, signing) = (Key::user("admin"), Key::account("signing"));
    let with_key = json!({"nats": {"signing_keys": [signing.public()]}});
    let config = realm.config(&[(&account, with_key.clone())]);
    on_both(&config, |server| {
        let mut system = join(server, &user_token(&realm.system, &admin, json!({})), &admin);
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account.public());
        let mut push =
            |more: Value| outcome(&request(&mut system, &subject, &realm.account_token(&account, more)));
        let updated = json!({"data": {"account": account.public(), "code": 200, "message": "jwt updated"}});

        // Not loaded yet: there is nothing to update.
        let skipped =
            json!({"data": {"account": account.public(), "code": 200, "message": "jwt update skipped"}});
        assert_eq!(push(with_key.clone()), skipped);
        let plain = user_token(&account, &user, json!({}));
        let mut first = join(server, &plain, &user);
        let mut second = join(server, &plain, &user);
        assert_eq!(
            push(json!({"nats": {"signing_keys": [signing.public()], "limits": {"conn": 1}}})),
            updated
        );
        assert_eq!(second.until_closed(), [b"-ERR 'maximum account active connections exceeded'\r\n"]);
        first.sync();
        let more = attempt(server, &plain, Some(&user), "");
        assert_eq!(more, "-ERR 'maximum account active connections exceeded'");

        // A smaller payload holds for who is connected.
        assert_eq!(
            push(json!({"nats": {"signing_keys": [signing.public()], "limits": {"payload": 3}}})),
            updated
        );
        first.send(b"PUB a 4\r\n1234\r\n").unwrap();
        assert_eq!(first.until_closed(), [b"-ERR 'Maximum Payload Violation'\r\n"]);

        // Revocation, and the loss of a signing key.
        assert_eq!(push(with_key.clone()), updated);
        let mut revoked = join(server, &plain, &user);
        let by_key = json!({"nats": {"issuer_account": account.public()}});
        let other = Key::user("other");
        let mut signed = join(server, &user_token(&signing, &other, by_key), &other);
        let mut kept = join(server, &user_token(&account, &other, json!({})), &other);
        let revocations = json!({user.public(): unix_s() + 5});
        assert_eq!(push(json!({"nats": {"revocations": revocations}})), updated);
        assert_eq!(revoked.until_closed(), [b"-ERR 'User Authentication Revoked'\r\n"]);
        assert!(signed.until_closed().is_empty());
        kept.sync();

        let error = outcome(&request(&mut system, &subject, "garbage"));
        let text = "jwt update resulted in error - expected 3 chunks";
        assert_eq!(error, json!({"error": {"account": account.public(), "code": 500, "description": text}}));
        let other = realm.account_token(&realm.system, json!({}));
        let error = outcome(&request(&mut system, &subject, &other));
        let text = "jwt update resulted in error - subject does not match jwt content";
        assert_eq!(error["error"]["description"], text);
        assert_eq!(request(&mut system, "$SYS.REQ.CLAIMS.LIST", ""), "no responders");
    });
}

#[test]
fn a_full_directory_keeps_claims() {
    let (realm, account, user, admin) =
        (Realm::default(), Key::account("A"), Key::user("u"), Key::user("admin"));
    let system_token = realm.account_token(&realm.system, json!({}));
    let config = format!(
        "operator: {}\nresolver {{ type: full, dir: \"{{{{dir}}}}/jwt\", allow_delete: true }}\nresolver_preload {{ {}: {system_token} }}\n",
        realm.operator_token(json!({})),
        realm.system.public(),
    );
    on_both(&config, |server| {
        let mut system = join(server, &user_token(&realm.system, &admin, json!({})), &admin);
        let plain = user_token(&account, &user, json!({}));
        assert_eq!(attempt(server, &plain, Some(&user), ""), REFUSED);
        let token = realm.account_token(&account, json!({}));
        let pushed = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.UPDATE", &token));
        assert_eq!(
            pushed,
            json!({"data": {"account": account.public(), "code": 200, "message": "jwt updated"}})
        );
        let mut client = join(server, &plain, &user);
        assert!(server.dir().join("jwt").join(format!("{}.jwt", account.public())).exists());

        let lookup = |key: &str| format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP");
        assert_eq!(request(&mut system, &lookup(&account.public()), ""), token);
        assert_eq!(request(&mut system, &lookup(&Key::account("none").public()), ""), "");
        let mut listed = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.LIST", ""));
        let mut wanted = vec![json!(account.public()), json!(realm.system.public())];
        wanted.sort_by_key(Value::to_string);
        listed["data"].as_array_mut().unwrap().sort_by_key(Value::to_string);
        assert_eq!(listed["data"], json!(wanted));
        let packed = request(&mut system, "$SYS.REQ.CLAIMS.PACK", "");
        assert!(packed.contains('|'), "{packed}");

        let bad = realm.account_token(&account, json!({"nats": {"exports": [
            {"name": "a", "subject": "a.>", "type": "stream"}, {"name": "b", "subject": "a.b", "type": "stream"}]}}));
        let error = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.UPDATE", &bad));
        let text = "jwt validation failed - validation errors: [stream export subject \"a.>\" already exports \"a.b\"]";
        assert_eq!(error["error"]["description"], text);

        let delete = |by: &Key, accounts: Value| {
            let own = by.public();
            by.token(json!({"iss": own, "sub": own, "iat": unix_s(), "nats": {"accounts": accounts}}))
        };
        let refused = outcome(&request(
            &mut system,
            "$SYS.REQ.CLAIMS.DELETE",
            &delete(&realm.operator, json!([realm.system.public()])),
        ));
        let text = refused["error"]["description"].as_str().unwrap();
        assert!(text.ends_with("failed - not allowed to delete system account"), "{text}");
        let stranger = delete(&Key::operator("stranger"), json!([account.public()]));
        let refused = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.DELETE", &stranger));
        assert!(
            refused["error"]["description"].as_str().unwrap().ends_with("failed - not trusted"),
            "{refused}"
        );
        let deletion = delete(&realm.operator, json!([account.public()]));
        let deleted = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.DELETE", &deletion));
        assert_eq!(deleted["data"]["message"], "deleted 1 accounts");
        assert_eq!(client.until_closed(), [b"-ERR 'Account Authentication Expired'\r\n"]);
        assert_eq!(attempt(server, &plain, Some(&user), ""), REFUSED);
    });
}

/// JWT-060
#[test]
fn users_of_a_system_account_without_claims_bring_them() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let (admin, second) = (Key::user("admin"), Key::user("second"));
    let config = format!(
        "operator: {}\nresolver {{ type: full, dir: \"{{{{dir}}}}/jwt\" }}\n",
        realm.operator_token(json!({}))
    );
    on_both(&config, |server| {
        let forged = user_token(&account, &admin, json!({"nats": {"issuer_account": realm.system.public()}}));
        assert_eq!(attempt(server, &forged, Some(&admin), ""), REFUSED);
        let admins = user_token(&realm.system, &admin, json!({}));
        let mut system = join(server, &admins, &admin);
        let mut push = |token: &str| {
            let answer = outcome(&request(&mut system, "$SYS.REQ.CLAIMS.UPDATE", token));
            assert_eq!(answer["data"]["message"], "jwt updated", "{answer}");
        };
        push(&realm.account_token(&account, json!({})));
        join(server, &user_token(&account, &user, json!({})), &user);
        // Its own claims hold for who is connected, too.
        let mut other = join(server, &user_token(&realm.system, &second, json!({})), &second);
        let revoked = json!({"nats": {"revocations": {second.public(): unix_s() + 5}}});
        push(&realm.account_token(&realm.system, revoked));
        let last = other.until_closed().concat();
        assert!(last.ends_with(b"-ERR 'User Authentication Revoked'\r\n"), "{}", last.escape_ascii());
        assert_eq!(
            attempt(server, &user_token(&realm.system, &second, json!({})), Some(&second), ""),
            REFUSED
        );
        join(server, &admins, &admin);
    });
}

#[test]
fn a_reload_brings_new_preloaded_claims() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let config = realm.config(&[(&account, json!({}))]);
    on_both(&config, |server| {
        let plain = user_token(&account, &user, json!({}));
        let mut client = join(server, &plain, &user);
        let changed = realm.config(&[(&account, json!({"nats": {"revocations": {"*": unix_s() + 5}}}))]);
        // An operator may not change, not even in the second it was issued.
        let (_, accounts) = changed.split_once('\n').unwrap();
        let changed = format!("{}\n{accounts}", config.lines().next().unwrap());
        let told = server.reload(&changed);
        assert!(told.starts_with("Reloaded"), "{told}");
        assert_eq!(client.until_closed(), [b"-ERR 'User Authentication Revoked'\r\n"]);
        assert_eq!(attempt(server, &plain, Some(&user), ""), REFUSED);
    });
}

#[test]
fn trusted_keys_without_a_resolver_let_nobody_in() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let config = format!(
        "trusted: {}\nresolver_preload {{ {}: {} }}\n",
        realm.operator.public(),
        account.public(),
        realm.account_token(&account, json!({}))
    );
    on_both(&config, |server| {
        assert_eq!(attempt(server, &user_token(&account, &user, json!({})), Some(&user), ""), REFUSED);
        assert_eq!(attempt(server, "", None, ""), REFUSED);
    });
}

/// A server that cannot read what decides about logins does not serve everybody instead.
#[test]
fn without_its_operator_the_server_does_not_start() {
    let realm = Realm::default();
    let config = realm.config(&[]).replacen("operator: ", "operator: x", 1);
    let config = format!("{config}\nplugins {{ auth-jwt {{ required: false }} }}\n");
    let refused = Launch::new(natsd()).config(&config).try_start().err().expect("it does not start");
    assert!(refused.contains("error parsing operator JWT"), "{refused}");
}
