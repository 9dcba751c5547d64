//! JetStream by the claims of accounts: who has it, how much of it, and what new claims change (JWT-012, JWT-057).
//! On natsd and, where there is one, the reference server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jwt::{Key, Realm, join, outcome, request, user_token};
use natsd_tests::monitored::programs;
use natsd_tests::server::Folder;
use natsd_tests::{Client, Launch, PATIENCE, Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

struct Deployment {
    realm: Realm,
    store: Folder,
}

impl Deployment {
    fn start(&self, program: &Path) -> Server {
        let system = self.realm.account_token(&self.realm.system, json!({}));
        let dir = self.store.path().to_string_lossy().into_owned();
        let config = format!(
            "jetstream {{ store_dir: \"{dir}/js\" }}\noperator: {}\nresolver {{ type: full, dir: \"{dir}/jwt\" }}\nresolver_preload {{ {}: {system} }}\n",
            self.realm.operator_token(json!({})),
            self.realm.system.public(),
        );
        Launch::new(program).config(config).start()
    }

    fn push(&self, server: &Server, account: &Key, limits: Value) {
        let admin = Key::user("admin");
        let mut client = join(server, &user_token(&self.realm.system, &admin, json!({})), &admin);
        let token = self.realm.account_token(account, json!({"nats": {"limits": limits}}));
        let answer = outcome(&request(&mut client, "$SYS.REQ.CLAIMS.UPDATE", &token));
        assert_eq!(answer["data"]["message"], "jwt updated", "{answer}");
    }
}

fn user_of(server: &Server, account: &Key) -> Client {
    let user = Key::user("u");
    join(server, &user_token(account, &user, json!({})), &user)
}

/// The code of the error of an API request; 0 without one, 503 if nobody answers.
fn asked(client: &mut Client, subject: &str, body: &Value) -> u64 {
    let answer = request(client, &format!("$JS.API.{subject}"), &body.to_string());
    if answer == "no responders" {
        return 503;
    }
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}

fn stream(name: &str) -> Value {
    json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file"})
}

const NOT_ENABLED: u64 = 10039;
const MAXIMUM_STREAMS: u64 = 10027;
const NO_LIMITS_FOR_TIER: u64 = 10120;

#[test]
fn claims_say_who_has_jetstream_and_how_much() {
    let (with, without, tiered) = (Key::account("with"), Key::account("without"), Key::account("tiered"));
    for program in programs() {
        let deployment = Deployment { realm: Realm::default(), store: Folder::new() };
        let mut server = deployment.start(&program);
        let all = json!({"mem_storage": -1, "disk_storage": -1, "streams": 1, "consumer": -1});
        deployment.push(&server, &with, all.clone());
        deployment.push(&server, &without, json!({}));
        deployment.push(&server, &tiered, json!({"tiered_limits": {"R3": all}}));
        let mut client = user_of(&server, &with);
        assert_eq!(asked(&mut client, "STREAM.CREATE.ONE", &stream("ONE")), 0);
        assert_eq!(asked(&mut client, "STREAM.CREATE.TWO", &stream("TWO")), MAXIMUM_STREAMS);
        let mut other = user_of(&server, &without);
        let told = asked(&mut other, "STREAM.CREATE.ONE", &stream("ONE"));
        assert!(told == NOT_ENABLED || told == 503, "{told} on {}", program.display());
        let mut third = user_of(&server, &tiered);
        assert_eq!(asked(&mut third, "STREAM.CREATE.ONE", &stream("ONE")), NO_LIMITS_FOR_TIER);

        // More for the one, JetStream for the other, while they are connected.
        let since = Instant::now();
        deployment.push(
            &server,
            &with,
            json!({"mem_storage": -1, "disk_storage": -1, "streams": 2, "consumer": -1}),
        );
        until(since, || asked(&mut client, "STREAM.CREATE.TWO", &stream("TWO")) == 0);
        let since = Instant::now();
        deployment.push(&server, &without, json!({"disk_storage": -1, "streams": -1, "consumer": -1}));
        until(since, || asked(&mut other, "STREAM.CREATE.ONE", &stream("ONE")) == 0);
        assert!(request(&mut client, "ONE.a", "x").contains("\"seq\":1"));
        server.signal(Signal::TERM);
        server.wait_for_exit(PATIENCE).expect("it stops when it is told to");

        // Streams of accounts are there before anybody of theirs is.
        let server = deployment.start(&program);
        let mut client = user_of(&server, &with);
        let answer = request(&mut client, "$JS.API.STREAM.INFO.ONE", "");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["state"]["messages"], 1, "{answer}");
    }
}

/// Seen within a second.
fn until(since: Instant, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "it is never so");
    }
    assert!(since.elapsed() < Duration::from_secs(1), "it took {:?}", since.elapsed());
}
