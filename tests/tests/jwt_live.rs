//! Claims that are pushed, changed, revoked and over while clients are connected (G9.5 to G9.8): each effect within a
//! second. On natsd and, where there is one, the reference server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jwt::{Key, Realm, attempt, join, outcome, request, unix_s, user_token};
use natsd_tests::monitored::programs;
use natsd_tests::server::natsd;
use natsd_tests::{Client, Launch, PATIENCE, Server};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SECOND: Duration = Duration::from_secs(1);
const REFUSED: &str = "-ERR 'Authorization Violation'";

/// An operator's server with the accounts A and B, and who administrates it.
struct Live {
    realm: Realm,
    server: Server,
    admin: Client,
}

impl Live {
    fn start(program: std::path::PathBuf) -> Self {
        let realm = Realm::default();
        let system = realm.account_token(&realm.system, json!({}));
        let config = format!(
            "operator: {}\nresolver {{ type: full, dir: \"{{{{dir}}}}/jwt\", allow_delete: true }}\nresolver_preload {{ {}: {system} }}\n",
            realm.operator_token(json!({})),
            realm.system.public(),
        );
        let server = Launch::new(program).config(config).start();
        let key = Key::user("admin");
        let admin = join(&server, &user_token(&realm.system, &key, json!({})), &key);
        Self { realm, server, admin }
    }

    fn push(&mut self, account: &Key, more: Value) {
        let token = self.realm.account_token(account, more);
        let answer = outcome(&request(&mut self.admin, "$SYS.REQ.CLAIMS.UPDATE", &token));
        assert_eq!(answer["data"]["message"], "jwt updated", "{answer}");
    }

    fn user(&self, account: &Key, name: &str) -> Client {
        let key = Key::user(name);
        join(&self.server, &user_token(account, &key, json!({})), &key)
    }
}

/// Waits for an effect of what was done at `since`.
fn seen(what: &str, since: Instant, mut is_seen: impl FnMut() -> bool) {
    while !is_seen() {
        assert!(since.elapsed() < PATIENCE, "{what} is never seen");
    }
    let elapsed = since.elapsed();
    assert!(elapsed < SECOND, "{what} is seen after {elapsed:?}");
}

/// What came up to the answer of a PING, as text.
fn came(client: &mut Client) -> String {
    String::from_utf8_lossy(&client.sync().concat()).into_owned()
}

fn last_words(client: &mut Client) -> String {
    let mut ops = client.until_closed();
    ops.retain(|op| op != b"PING\r\n");
    String::from_utf8_lossy(&ops.concat()).trim().to_owned()
}

fn publish(client: &mut Client, subject: &str) {
    client.send(format!("PUB {subject} 1\r\nx\r\n").as_bytes()).unwrap();
    client.sync();
}

/// G9.6, G9.8: what an administrator pushes.
#[test]
fn pushed_claims_take_effect_within_a_second() {
    let (a, b) = (Key::account("A"), Key::account("B"));
    let export = json!({"nats": {"exports": [{"subject": "s", "type": "stream"}]}});
    let import = json!({"account": a.public(), "subject": "s", "type": "stream"});
    for program in programs() {
        let mut live = Live::start(program);
        let since = Instant::now();
        live.push(&a, export.clone());
        live.push(&b, json!({}));
        let (mut from, mut to) = (live.user(&a, "from"), live.user(&b, "to"));
        seen("an account", since, || true);
        to.send(b"SUB s 1\r\nSUB mapped 2\r\n").unwrap();
        to.sync();

        let since = Instant::now();
        live.push(&b, json!({"nats": {"imports": [import]}}));
        seen("an import", since, || {
            publish(&mut from, "s");
            came(&mut to).contains("MSG s 1")
        });
        let since = Instant::now();
        live.push(&a, json!({}));
        seen("an export that is gone", since, || {
            publish(&mut from, "s");
            !came(&mut to).contains("MSG s 1")
        });
        let since = Instant::now();
        live.push(&b, json!({"nats": {"mappings": {"m": [{"subject": "mapped"}]}}}));
        let mut other = live.user(&b, "other");
        seen("a mapping", since, || {
            publish(&mut other, "m");
            came(&mut to).contains("MSG mapped 2")
        });
        let since = Instant::now();
        live.push(&b, json!({"nats": {"default_permissions": {"pub": {"deny": ["m"]}}}}));
        seen("a permission", since, || {
            other.send(b"PUB m 0\r\n\r\n").unwrap();
            came(&mut other).contains("Permissions Violation")
        });
        let since = Instant::now();
        live.push(&b, json!({"nats": {"limits": {"conn": 1}}}));
        let told = last_words(&mut other);
        seen("a limit", since, || told.contains("maximum account active connections exceeded"));
        let since = Instant::now();
        live.push(&b, json!({"nats": {"revocations": {Key::user("to").public(): unix_s() + 5}}}));
        let told = last_words(&mut to);
        seen("a revocation", since, || told.contains("User Authentication Revoked"));
        delete(&mut live, &a);
        assert!(last_words(&mut from).contains("Account Authentication Expired"));
    }
}

fn delete(live: &mut Live, account: &Key) {
    let own = live.realm.operator.public();
    let claims = json!({"iss": own, "sub": own, "iat": unix_s(), "nats": {"accounts": [account.public()]}});
    let token = live.realm.operator.token(claims);
    let since = Instant::now();
    let answer = outcome(&request(&mut live.admin, "$SYS.REQ.CLAIMS.DELETE", &token));
    assert_eq!(answer["data"]["message"], "deleted 1 accounts");
    let user = Key::user("late");
    let token = user_token(account, &user, json!({}));
    seen("a deletion", since, || attempt(&live.server, &token, Some(&user), "") == REFUSED);
}

/// How long ago the second `unix_s` began.
fn since_unix(unix_s: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.saturating_sub(Duration::from_secs(u64::try_from(unix_s).unwrap()))
}

/// G9.5, G9.7: what time ends.
#[test]
fn what_is_over_has_its_effect_within_a_second() {
    let (a, b) = (Key::account("A"), Key::account("B"));
    for program in programs() {
        // The reference counts whole seconds.
        let limit = if program == natsd() { SECOND } else { 2 * SECOND };
        let mut live = Live::start(program);
        live.push(&a, json!({"nats": {"exports": [{"subject": "s", "type": "stream", "token_req": true}]}}));
        let end = unix_s() + 2;
        let activation = a.token(json!({
            "iss": a.public(), "sub": b.public(), "iat": unix_s(), "exp": end, "name": "s",
            "nats": {"type": "activation", "version": 2, "subject": "s", "kind": "stream"}
        }));
        let import = json!({"account": a.public(), "subject": "s", "type": "stream", "token": activation});
        live.push(&b, json!({"exp": end + 2, "nats": {"imports": [import]}}));
        let (mut from, mut to) = (live.user(&a, "from"), live.user(&b, "to"));
        to.send(b"SUB s 1\r\n").unwrap();
        to.sync();
        publish(&mut from, "s");
        assert!(came(&mut to).contains("MSG s 1"));
        let is_open = |from: &mut Client, to: &mut Client| {
            publish(from, "s");
            came(to).contains("MSG s 1")
        };
        while is_open(&mut from, &mut to) {
            assert!(since_unix(end) < limit, "the activation is still in force");
        }
        assert!(last_words(&mut to).contains("Account Authentication Expired"));
        let late = since_unix(end + 2);
        assert!(late < limit, "the end of an account is seen after {late:?}");
    }
}
