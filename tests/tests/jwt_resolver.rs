//! The URL resolver (JWT-050, JWT-061): redirects, and servers that hang, lie or talk nonsense. On natsd and, where there
//! is one, the reference server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jwt::{Key, Realm, attempt, join, unix_s, user_token};
use natsd_tests::monitored::programs;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const REFUSED: &str = "-ERR 'Authorization Violation'";

/// An HTTP server for the URL resolver: what it answers for a path, `None` for never.
fn resolver(answers: HashMap<String, Option<Vec<u8>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            std::thread::spawn(move || serve(stream, &answers));
        }
    });
    format!("http://{address}/accounts/")
}

fn serve(mut stream: TcpStream, answers: &HashMap<String, Option<Vec<u8>>>) {
    let mut request = [0; 4096];
    let count = stream.read(&mut request).unwrap_or(0);
    let line = String::from_utf8_lossy(&request[..count]).into_owned();
    let path = line.split_whitespace().nth(1).unwrap_or_default();
    let key = path.trim_start_matches("/accounts/");
    match answers.get(key) {
        Some(Some(answer)) => drop(stream.write_all(answer)),
        Some(None) => std::thread::sleep(3 * SECOND),
        None => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
    }
}

fn ok(body: &str) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Some((head + body).into_bytes())
}

/// JWT-050, JWT-061: whatever a resolver does, only good claims let somebody in, and nobody else has to wait.
#[test]
fn a_resolver_that_hangs_or_lies_lets_nobody_in() {
    let (realm, good, user) = (Realm::default(), Key::account("good"), Key::user("u"));
    let token = |account: &Key, more: Value| realm.account_token(account, more);
    let forged = |account: &Key| {
        let stranger = Realm { operator: Key::operator("stranger"), system: realm.system.clone() };
        stranger.account_token(account, json!({}))
    };
    let names = [
        "hangs",
        "another",
        "garbage",
        "error",
        "huge",
        "cut",
        "forged",
        "expired",
        "early",
        "a user",
        "no limits",
    ];
    let bad: Vec<Key> = names.iter().map(|name| Key::account(name)).collect();
    let bad_answer = |name: &str, key: &Key| match name {
        "hangs" => None,
        "another" => ok(&token(&good, json!({}))),
        "garbage" => ok("\u{0}\u{1}not.a.token"),
        "error" => Some(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec()),
        "huge" => ok(&"a".repeat(3 << 20)),
        "cut" => ok(&token(key, json!({}))).map(|answer| answer[..answer.len() - 40].to_vec()),
        "forged" => ok(&forged(key)),
        "expired" => ok(&token(key, json!({"exp": unix_s() - 10}))),
        "early" => ok(&token(key, json!({"nbf": unix_s() + 100}))),
        "a user" => ok(&user_token(&good, &user, json!({}))),
        _ => ok(&token(key, json!({"nats": {"limits": {"conn": 0}}}))),
    };
    for program in programs() {
        let mut answers: HashMap<String, Option<Vec<u8>>> =
            names.iter().zip(&bad).map(|(name, key)| (key.public(), bad_answer(name, key))).collect();
        answers.insert(good.public(), ok(&token(&good, json!({}))));
        answers.insert(realm.system.public(), ok(&token(&realm.system, json!({}))));
        let config =
            format!("operator: {}\nresolver: URL({})\n", realm.operator_token(json!({})), resolver(answers));
        let server = Launch::new(program).config(config).start();
        let mut first = join(&server, &user_token(&good, &user, json!({})), &user);
        for (name, key) in names.iter().zip(&bad) {
            let token = user_token(key, &user, json!({}));
            let started = Instant::now();
            let told = std::thread::scope(|scope| {
                let attempt = scope.spawn(|| attempt(&server, &token, Some(&user), ""));
                // Others are served meanwhile.
                while !attempt.is_finished() {
                    let asked = Instant::now();
                    first.sync();
                    assert!(asked.elapsed() < SECOND, "{name}: others wait");
                    std::thread::yield_now();
                }
                attempt.join().unwrap()
            });
            let is_refused = told == REFUSED
                || told == "-ERR 'Authentication Timeout'"
                || told.contains("maximum account active connections");
            assert!(is_refused, "{name}: {told} on {}", server.program().display());
            assert!(started.elapsed() < 4 * SECOND, "{name} took {:?}", started.elapsed());
        }
        join(&server, &user_token(&good, &user, json!({})), &user).sync();
    }
}

fn moved(code: u32, location: &str) -> Option<Vec<u8>> {
    let head = format!(
        "HTTP/1.1 {code} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    Some(head.into_bytes())
}

/// Ten requests in all, with every code that redirects and every form of a place; what leads nowhere lets nobody in.
#[test]
fn redirects_are_followed_as_by_the_reference() {
    let (realm, user) = (Realm::default(), Key::user("u"));
    let names =
        ["direct", "nine", "ten", "loop", "nowhere", "scheme", "not a redirect", "elsewhere", "relative"];
    let keys: HashMap<&str, Key> = names.iter().map(|name| (*name, Key::account(name))).collect();
    let token = |name: &str| ok(&realm.account_token(&keys[name], json!({})));
    // Another server, so that a place may be absolute.
    let other = resolver([("there".to_owned(), token("elsewhere"))].into());
    let mut answers: HashMap<String, Option<Vec<u8>>> = HashMap::new();
    let mut put = |name: &str, answer| drop(answers.insert(name.to_owned(), answer));
    put(&realm.system.public(), ok(&realm.account_token(&realm.system, json!({}))));
    for (name, hops) in [("nine", 9), ("ten", 10)] {
        let mut from = keys[name].public();
        for hop in 1..=hops {
            let to = format!("{name}{hop}");
            put(&from, moved([301, 302, 303, 307, 308][hop % 5], &format!("/accounts/{to}")));
            from = to;
        }
        put(&from, token(name));
    }
    put(&keys["direct"].public(), token("direct"));
    put(&keys["loop"].public(), moved(302, &keys["loop"].public()));
    put(&keys["nowhere"].public(), Some(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec()));
    put(&keys["scheme"].public(), moved(302, "ftp://127.0.0.1/x"));
    put(&keys["not a redirect"].public(), moved(300, "relative1"));
    put(&keys["elsewhere"].public(), moved(307, &format!("{other}there")));
    put(&keys["relative"].public(), moved(302, "../accounts/./relative1?x=y"));
    put("relative1?x=y", token("relative"));
    let config =
        format!("operator: {}\nresolver: URL({})\n", realm.operator_token(json!({})), resolver(answers));
    for program in programs() {
        let server = Launch::new(&program).config(config.clone()).start();
        for name in names {
            let told = attempt(&server, &user_token(&keys[name], &user, json!({})), Some(&user), "");
            let is_good = ["direct", "nine", "elsewhere", "relative"].contains(&name);
            let wanted = if is_good { "PONG" } else { REFUSED };
            assert_eq!(told, wanted, "{name} on {}", program.display());
        }
    }
}

/// Asked before the server takes clients: without an answer it does not start, and says why as the reference does.
#[test]
fn a_server_whose_resolver_does_not_answer_does_not_start() {
    let realm = Realm::default();
    let answers = |answer: Option<&str>| -> HashMap<String, Option<Vec<u8>>> {
        [(String::new(), answer.map(|text| text.as_bytes().to_vec()))].into()
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, why) in [
        (resolver(answers(Some("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))), ": 404 Not Found"),
        (resolver(answers(Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))), ": 503 Busy"),
        (resolver(answers(Some("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"))), ": 302 Found"),
        (resolver(answers(Some("HTTP/1.1 302 Found\r\nLocation: .\r\n\r\n"))), "stopped after 10 redirects"),
        (resolver(answers(Some("\u{1}nonsense\r\n\r\n"))), "malformed HTTP"),
        (resolver(answers(Some(""))), ": EOF"),
        (
            resolver(answers(None)),
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        (format!("http://{free}/accounts/"), "connection refused"),
    ] {
        let operator = realm.operator_token(json!({}));
        let config = format!(
            "operator: {operator}\nsystem_account: {}\nresolver: URL({url})\n",
            realm.system.public()
        );
        for program in programs() {
            let started = Instant::now();
            let told = Launch::new(&program).config(&config).try_start().err().expect(why);
            assert!(told.contains(&format!("could not fetch <{url:?}>: ")), "{}: {told}", program.display());
            assert!(told.contains(why), "{} does not say {why}: {told}", program.display());
            assert!(started.elapsed() < 4 * SECOND, "{why} after {:?}", started.elapsed());
        }
    }
}

#[test]
fn a_reload_brings_another_resolver() {
    let (realm, user) = (Realm::default(), Key::user("u"));
    let [first, second] = ["first", "second"].map(Key::account);
    let served = |account: &Key| {
        let tokens =
            [account, &realm.system].map(|key| (key.public(), ok(&realm.account_token(key, json!({})))));
        resolver(HashMap::from(tokens))
    };
    for program in programs() {
        let operator = realm.operator_token(json!({}));
        let config = |url: String| format!("operator: {operator}\nresolver: URL({url})\n");
        let server = Launch::new(program).config(config(served(&first))).start();
        let logins = || {
            [&first, &second].map(|key| attempt(&server, &user_token(key, &user, json!({})), Some(&user), ""))
        };
        let mut client = join(&server, &user_token(&first, &user, json!({})), &user);
        assert_eq!(logins(), ["PONG", REFUSED]);
        let told = server.reload(&config(served(&second)));
        assert!(told.starts_with("Reloaded"), "{told}");
        // What is known already is not asked for again.
        assert_eq!(logins(), ["PONG", "PONG"]);
        client.sync();
    }
}
