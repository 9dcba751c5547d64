//! System events and requests: the same script on natsd and on the reference, and the same fields from both
//! (EVT-001 to EVT-014, SYS-002 to SYS-016).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use natsd_tests::Client;
use natsd_tests::events::{Seen, Watched, join, message, request, same_as_the_reference};
use rustix::process::Signal;
use serde_json::{Value, json};

const CONFIG: &str = r#"
server_name: srv
server_tags: ["az:1"]
accounts {
  A { users: [{ user: a, password: a }] }
  B { users: [{ user: b, password: b, permissions: {
    publish: { allow: ["x", "$SYS.>"], deny: "y" }, subscribe: "_INBOX.>", allow_responses: { max: 2, expires: "1m" }
  } }] }
  SYS { users: [{ user: s, password: s }] }
}
system_account: SYS
"#;

fn events(program: &Path) -> Seen {
    let mut on = Watched::start(program, CONFIG);
    let mut seen = Seen::new();
    for subject in ["$SYS.ACCOUNT.>", "$SYS.SERVER.>"] {
        on.listen(subject);
    }
    let mut note = |name: &str, value: Value| drop(seen.insert(name.to_owned(), value));
    let mut a = join(&on.server, "a");
    note("conns_old", on.event("SERVER.ACCOUNT.A.CONNS"));
    note("conns", on.event("ACCOUNT.A.SERVER.CONNS"));
    let connect = on.event("ACCOUNT.A.CONNECT");
    note("connect", connect);
    a.send(b"SUB foo 1\r\nPUB foo 5\r\nhello\r\n").unwrap();
    a.expect_op("MSG foo");
    drop(a);
    let conns = on.event("ACCOUNT.A.SERVER.CONNS");
    assert_eq!(
        (&conns["conns"], &conns["sent"]["msgs"], &conns["received"]["bytes"]),
        (&json!(0), &json!(1), &json!(5))
    );
    let disconnect = on.event("ACCOUNT.A.DISCONNECT");
    assert_eq!(disconnect["sent"], json!({ "msgs": 1, "bytes": 5 }));
    assert_eq!(disconnect["received"], json!({ "msgs": 1, "bytes": 5 }));
    note("disconnect", disconnect);

    let wrong = r#""user":"x","pass":"x","name":"n-x","lang":"test","version":"1""#;
    let mut refused = Client::join(on.server.address(), wrong).unwrap();
    refused.until_closed();
    let error = on.event("CLIENT.AUTH.ERR");
    assert_eq!((&error["client"]["user"], &error["client"]["acc"]), (&json!("x"), &json!("$G")));
    note("auth_err", error);
    let gone = on.event("ACCOUNT.$G.DISCONNECT");
    assert_eq!(gone["reason"], "Authentication Failure");
    note("disconnect_of_refused", gone);

    let mut kicked = join(&on.server, "b");
    let cid = on.event("ACCOUNT.B.CONNECT")["client"]["id"].clone();
    on.ask("KICK", &json!({ "cid": cid }).to_string());
    kicked.until_closed();
    let disconnect = on.event("ACCOUNT.B.DISCONNECT");
    assert_eq!(disconnect["reason"], "Kicked");
    note("disconnect_of_kicked", disconnect);
    let mut rude = join(&on.server, "a");
    rude.send(b"NONSENSE\r\n").unwrap();
    rude.until_closed();
    note("disconnect_of_rude", on.event("ACCOUNT.A.DISCONNECT"));
    let mut system = join(&on.server, "s");
    system.sync();
    note("connect_of_system", on.event("ACCOUNT.SYS.CONNECT"));
    note("conns_of_system", on.event("ACCOUNT.SYS.SERVER.CONNS"));

    // Whoever asks without a reply has them told to all.
    on.system.send(format!("PUB $SYS.REQ.SERVER.{}.STATSZ 0\r\n\r\n", on.id).as_bytes()).unwrap();
    note("statsz", on.event(".STATSZ"));

    on.server.signal(Signal::USR2);
    note("lameduck", on.event(".LAMEDUCK"));
    drop(on);

    let mut on = Watched::start(program, CONFIG);
    on.listen("$SYS.SERVER.*.SHUTDOWN");
    on.server.signal(Signal::TERM);
    note("shutdown", on.event(".SHUTDOWN"));
    note("auth_err_in_account", refused_in_account(program));
    seen
}

/// EVT-004: who was refused was in the global account until then.
fn refused_in_account(program: &Path) -> Value {
    let config = format!("{CONFIG}authorization {{ users: [{{ user: g, password: g }}] }}\n");
    let on = Watched::start(program, &config);
    let mut g = join(&on.server, "g");
    g.send(b"SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 1\r\n").unwrap();
    g.sync();
    let wrong = r#""user":"x","pass":"x","name":"n-x","lang":"test","version":"1""#;
    Client::join(on.server.address(), wrong).unwrap().until_closed();
    message(&g.expect_op("MSG ")).1
}

/// What one server is asked by its id.
const ASKED: &[(&str, &str)] = &[
    ("IDZ", ""),
    ("STATSZ", ""),
    ("VARZ", ""),
    ("SUBSZ", ""),
    ("CONNZ", r#"{"auth":true,"limit":1}"#),
    ("ROUTEZ", ""),
    ("GATEWAYZ", ""),
    ("LEAFZ", ""),
    ("ACCOUNTZ", ""),
    ("ACCOUNTZ", r#"{"account":"A"}"#),
    ("ACCOUNTZ", r#"{"account":"SYS"}"#),
    ("ACCOUNTZ", r#"{"account":"zz"}"#),
    ("JSZ", ""),
    ("HEALTHZ", ""),
    ("HEALTHZ", r#"{"stream":"x"}"#),
    ("HEALTHZ", r#"{"stream":"x","details":true}"#),
    ("PROFILEZ", ""),
    ("PROFILEZ", r#"{"name":"zz"}"#),
    ("RAFTZ", ""),
    ("RELOAD", ""),
    ("KICK", ""),
    ("KICK", r#"{"cid":999}"#),
    ("LDM", r#"{"cid":999}"#),
    ("CONNZ", "{bad"),
    ("CONNZ", r#"{"limit":"x"}"#),
    ("CONNZ", r#"{"sort":"x"}"#),
    ("VARZ", r#"{"server_name":"other"}"#),
    ("HEALTHZ", r#"{"server_name":"sr"}"#),
    ("HEALTHZ", r#"{"server_name":"sr","exact_match":true}"#),
    ("HEALTHZ", r#"{"tags":["az:1"]}"#),
    ("HEALTHZ", r#"{"tags":["az:1","other"]}"#),
    ("HEALTHZ", r#"{"cluster":"c"}"#),
    ("STATSZ", r#"{"domain":"d"}"#),
    ("OTHERZ", ""),
];

/// What is asked otherwise in the system account, behind `$SYS.REQ.`.
const SUBJECTS: &[&str] = &[
    "SERVER.PING",
    "SERVER.PING.HEALTHZ",
    "SERVER.PING.RELOAD",
    "ACCOUNT.A.CONNZ",
    "ACCOUNT.A.SUBSZ",
    "ACCOUNT.A.INFO",
    "ACCOUNT.A.STATZ",
    "ACCOUNT.A.CONNS",
    "ACCOUNT.A.JSZ",
    "ACCOUNT.A.LEAFZ",
    "ACCOUNT.zz.CONNZ",
    "ACCOUNT.zz.INFO",
    "ACCOUNT.zz.STATZ",
    "ACCOUNT.zz.CONNS",
    "ACCOUNT.PING.STATZ",
    "USER.INFO",
];

fn requests(program: &Path) -> Seen {
    let mut on = Watched::start(program, CONFIG);
    let mut a = join(&on.server, "a");
    let mut b = join(&on.server, "b");
    let mut seen = Seen::new();
    let mut note = |name: &str, answer: Option<Value>| drop(seen.insert(name.to_owned(), json!(answer)));
    for (kind, body) in ASKED {
        let answer = on.ask(kind, body);
        note(&format!("{kind} {body}"), answer);
    }
    for subject in SUBJECTS {
        note(subject, request(&mut on.system, &format!("$SYS.REQ.{subject}"), ""));
    }
    for (client, name) in [(&mut a, "a"), (&mut b, "b")] {
        client.send(b"SUB _INBOX.> 1\r\n").unwrap();
        for subject in
            ["USER.INFO", "ACCOUNT.PING.CONNZ", "SERVER.PING.CONNZ", "ACCOUNT.PING.STATZ", "SERVER.PING.VARZ"]
        {
            let answer = request(client, &format!("$SYS.REQ.{subject}"), "");
            note(&format!("{subject} of {name}"), answer);
        }
    }
    seen
}

#[test]
fn events_have_the_fields_of_the_reference() {
    same_as_the_reference("events", events);
}

#[test]
fn requests_are_answered_as_by_the_reference() {
    same_as_the_reference("requests", requests);
}

/// natsd, and the reference if there is one.
fn both() -> impl Iterator<Item = Watched> {
    natsd_tests::monitored::programs().map(|program| Watched::start(&program, CONFIG))
}

/// SYS-007
#[test]
fn one_client_is_kicked_or_told_that_the_server_goes() {
    for mut on in both() {
        let mut old = join(&on.server, "a");
        let options = r#""user":"a","pass":"a","name":"new","lang":"test","version":"1","protocol":1"#;
        let mut new = Client::join(on.server.address(), options).unwrap();
        new.sync();
        let connz = on.ask("CONNZ", r#"{"acc":"A"}"#).unwrap();
        let connections = connz["data"]["connections"].as_array().unwrap();
        let cid =
            |name: &str| connections.iter().find(|c| c["name"] == name).unwrap()["cid"].as_u64().unwrap();
        let (old_cid, new_cid) = (cid("n-a"), cid("new"));

        let refused = on.ask("LDM", &format!(r#"{{"cid":{old_cid}}}"#)).unwrap();
        assert_eq!(refused["error"]["code"], 500, "{refused}");
        let told = on.ask("LDM", &format!(r#"{{"cid":{new_cid}}}"#)).unwrap();
        assert_eq!(told.as_object().unwrap().len(), 1, "{told}");
        let mut told = String::new();
        while !told.contains(r#""ldm":true"#) {
            told = String::from_utf8(new.expect_op("INFO ")).unwrap();
        }

        on.listen("$SYS.ACCOUNT.A.DISCONNECT");
        on.ask("KICK", &format!(r#"{{"cid":{new_cid}}}"#)).unwrap();
        // No error on the wire.
        assert_eq!(new.until_closed(), Vec::<Vec<u8>>::new());
        old.sync();
    }
}

/// SYS-009
#[test]
fn answers_are_compressed_as_wanted() {
    for mut on in both() {
        for (wanted, said, start) in [
            ("gzip", "gzip", &b"\x1f\x8b"[..]),
            ("snappy", "snappy", b"\xff\x06\x00\x00sNaPpY"),
            ("s2", "snappy", b"\xff\x06\x00\x00sNaPpY"),
            ("other", "identity", b"{\"server\""),
        ] {
            let headers = format!("NATS/1.0\r\nAccept-Encoding: {wanted}\r\n\r\n");
            let len = headers.len();
            let subject = format!("$SYS.REQ.SERVER.{}.VARZ", on.id);
            on.system
                .send(format!("HPUB {subject} _INBOX.y {len} {len}\r\n{headers}\r\n").as_bytes())
                .unwrap();
            let answer = on.system.expect_op("HMSG _INBOX.y ");
            let head = format!("NATS/1.0\r\nContent-Encoding: {said}\r\n\r\n");
            let at = answer.windows(head.len()).position(|part| part == head.as_bytes());
            let body = &answer[at.expect("the header") + head.len()..];
            assert!(body.starts_with(start), "{wanted}: {body:?}");
        }
    }
}

/// EVT-030
#[test]
fn events_stay_in_the_system_account() {
    for mut on in both() {
        let mut b = join(&on.server, "a");
        b.send(b"SUB > 1\r\n").unwrap();
        b.sync();
        on.listen("$SYS.ACCOUNT.A.>");
        drop(join(&on.server, "a"));
        on.event("ACCOUNT.A.DISCONNECT");
        assert_eq!(b.sync(), Vec::<Vec<u8>>::new());
    }
}

/// EVT-010: both accounts are told of when a client says CONNECT again for another one.
#[test]
fn a_client_that_changes_its_account_is_counted_in_both() {
    for mut on in both() {
        let mut client = join(&on.server, "a");
        for subject in ["$SYS.ACCOUNT.A.>", "$SYS.ACCOUNT.B.>"] {
            on.listen(subject);
        }
        client.send(b"CONNECT {\"user\":\"b\",\"pass\":\"b\"}\r\n").unwrap();
        assert_eq!(on.event("ACCOUNT.A.SERVER.CONNS")["conns"], 0);
        assert_eq!(on.event("ACCOUNT.B.SERVER.CONNS")["conns"], 1);
        assert_eq!(on.event("ACCOUNT.B.CONNECT")["client"]["user"], "b");
    }
}
