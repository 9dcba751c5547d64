//! The third-party examples in use: what a plugin's author and an operator rely on.

use crate::build::{empty, example};
use crate::stand_in::{Collected, Stage, declared, soon};
use natsd_plugin_api::{AuthRequest, Close, CloseReason, ErrorKind, Event, Peer, Verdict};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn tap_counts_through_an_inline_subscription_and_publishes_totals() {
    let config = json!({ "subjects": ["orders.>"], "totals_subject": "tap.totals", "interval_ms": 5 });
    let stage = Stage::start(&declared(&[("tap", &example("tap"), config)]));
    stage.server.client_publishes("orders.new", &[b"12", b"345"]);
    stage.server.client_publishes("other", &[b"x"]);
    let expected = json!({ "orders.>": { "messages": 2, "bytes": 5 } });
    assert_eq!(stage.plugins.introspect("tap", &Value::Null).unwrap(), expected);
    soon("a publication of the totals", || {
        let published = stage.server.published.lock().unwrap();
        published.iter().any(|(subject, payload)| {
            subject == "tap.totals" && serde_json::from_slice::<Value>(payload).unwrap() == expected
        })
    });
    stage.runtime.block_on(stage.plugins.stop());
    assert_eq!((stage.state("tap").as_str(), stage.server.subscriptions()), ("stopped", 0));
}

#[test]
fn a_reload_is_all_or_nothing_over_several_plugins() {
    let folder = empty("reload");
    let users = users_file(&folder, &[("alice", "secret")]);
    let (tap, auth) = (example("tap"), example("auth-file"));
    let options = |subject: &str, file: &Path| {
        declared(&[
            ("tap", &tap, json!({ "subjects": [subject] })),
            ("auth-file", &auth, json!({ "file": file.to_str().unwrap() })),
        ])
    };
    let stage = Stage::start(&options("a", &users));
    let refused = stage.reload(&options("b", Path::new("/nonexistent/users"))).unwrap_err();
    assert!(refused.starts_with("plugin `auth-file`: config.file: /nonexistent/users: "), "{refused}");
    // tap had agreed, and is as it was; the old subscription is the only one.
    assert_eq!(
        (stage.server.client_publishes("a", &[b"1"]), stage.server.client_publishes("b", &[b"1"])),
        (1, 0)
    );
    std::fs::write(&users, "not a line").unwrap();
    assert!(stage.reload(&options("b", &users)).unwrap_err().contains("line 1"));
    users_file(&folder, &[("alice", "secret"), ("bob", "word")]);
    stage.reload(&options("b", &users)).unwrap();
    assert_eq!(
        (stage.server.client_publishes("a", &[b"1"]), stage.server.client_publishes("b", &[b"1"])),
        (0, 1)
    );
    assert_eq!(stage.plugins.introspect("auth-file", &Value::Null).unwrap()["users"], 2);
}

#[test]
fn auth_file_allows_denies_and_leaves_strangers_to_others() {
    let users = users_file(&empty("auth"), &[("alice", "secret")]);
    let config =
        json!({ "file": users.to_str().unwrap(), "account": "APP", "permissions": { "publish": "a.>" } });
    let stage = Stage::start(&declared(&[("auth-file", &example("auth-file"), config)]));
    let ask = |user: &str, pass: &str| {
        let connect = json!({ "user": user, "pass": pass }).as_object().unwrap().clone();
        let request = AuthRequest { connect, ..AuthRequest::default() };
        stage.runtime.block_on(stage.plugins.points().authenticate(&request))
    };
    let Verdict::Allow(identity) = ask("alice", "secret") else { unreachable!() };
    assert_eq!((identity.account.as_deref(), identity.user.as_str()), (Some("APP"), "alice"));
    assert_eq!(identity.permissions, Some(json!({ "publish": "a.>" })));
    assert_eq!(ask("alice", "wrong"), Verdict::deny("wrong password for user `alice`"));
    assert_eq!(ask("mallory", "secret"), Verdict::Abstain);
    let nobody = stage.runtime.block_on(stage.plugins.points().authenticate(&AuthRequest::default()));
    assert_eq!(nobody, Verdict::Abstain);
}

/// A file as `htpasswd -B` writes it, with the cheapest hash.
fn users_file(folder: &Path, users: &[(&str, &str)]) -> std::path::PathBuf {
    let line = |(user, password): &(&str, &str)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap());
    let path = folder.join("users");
    std::fs::write(&path, users.iter().map(line).collect::<String>()).unwrap();
    path
}

#[test]
fn a_configuration_that_a_plugin_refuses_names_plugin_and_key() {
    let options = declared(&[
        ("tap", &example("tap"), json!({ "interval_ms": 0 })),
        ("faulty", &example("faulty"), json!({ "panic_in": ["everything"] })),
    ]);
    let stage = Stage::load(&options);
    let errors: Vec<String> =
        stage.plugins.configure(&options, &[]).iter().map(ToString::to_string).collect();
    assert_eq!(errors[0], "plugin `tap`: config.interval_ms: must be at least 1");
    assert!(
        errors[1].starts_with("plugin `faulty`: config.panic_in: `everything` is no point"),
        "{errors:?}"
    );
    assert_eq!(stage.state("tap"), "failed");
}

fn faulty(points: &[&str]) -> Stage {
    let config = json!({ "panic_in": points, "listen": "127.0.0.1:4333" });
    Stage::start(&declared(&[("faulty", &example("faulty"), config)]))
}

#[test]
fn a_panic_in_create_or_start_fails_the_plugin_and_nothing_is_left_behind() {
    for (point, place) in [("create", "configure"), ("start", "start")] {
        let options = declared(&[("faulty", &example("faulty"), json!({ "panic_in": [point] }))]);
        let stage = Stage::load(&options);
        let error = match stage.plugins.configure(&options, &[]).pop() {
            Some(error) => error,
            None => stage.runtime.block_on(stage.plugins.start()).unwrap_err(),
        };
        assert_eq!(
            error.to_string(),
            format!("plugin `faulty`: panicked: faulty was told to panic in {point}"),
            "{place}"
        );
        assert_eq!((stage.state("faulty").as_str(), stage.server.subscriptions()), ("failed", 0));
    }
}

#[test]
fn a_subscriber_that_panics_loses_its_messages_and_no_more() {
    let stage = faulty(&["subscriber", "queued"]);
    for _ in 0..3 {
        assert_eq!(stage.server.client_publishes("faulty.inline", &[b"1", b"2"]), 1);
    }
    assert_eq!((stage.faults("faulty"), stage.state("faulty").as_str()), (3, "faulted"));
    stage.server.client_publishes("faulty.queued", &[b"1"]);
    soon("the queued subscriber's panic", || stage.faults("faulty") == 4);
    // It goes on, and gets what comes later.
    stage.server.client_publishes("faulty.queued", &[b"1"]);
    soon("the next panic", || stage.faults("faulty") == 5);
}

#[test]
fn an_authenticator_that_panics_denies() {
    let stage = faulty(&["authenticator"]);
    let verdict = stage.runtime.block_on(stage.plugins.points().authenticate(&AuthRequest::default()));
    let Verdict::Deny { reason } = verdict else { unreachable!() };
    assert!(reason.starts_with("the authenticator of plugin `faulty` failed: panicked"), "{reason}");
    assert_eq!(stage.faults("faulty"), 1);
}

#[test]
fn a_transport_that_panics_loses_its_own_connection() {
    for point in ["read", "write"] {
        let stage = faulty(&[point]);
        let transports = stage.server.listeners.lock().unwrap().values().next().unwrap().1.clone();
        let mut broken = transports.open(&Peer::default()).unwrap();
        let mut out = Collected::default();
        broken.on_open(&mut out).unwrap();
        assert!(out.ready.is_some());
        let first =
            if point == "read" { broken.on_read(b"x", &mut out) } else { broken.on_write(b"x", &mut out) };
        assert_eq!(first.unwrap_err().reason, CloseReason::InternalClient);
        // It is not called again: its state means nothing any more.
        assert!(broken.on_read(b"PING\r\n", &mut out).is_err());
        broken.on_close(&Close::new(CloseReason::ClientClosed, ""), &mut out);
        assert_eq!((stage.faults("faulty"), out.plain.len(), out.wire.len()), (1, 0, 0));
    }
    let stage = faulty(&["open"]);
    let transports = stage.server.listeners.lock().unwrap().values().next().unwrap().1.clone();
    assert_eq!(transports.open(&Peer::default()).err().unwrap().kind(), ErrorKind::Panicked);
}

#[test]
fn a_transport_hands_bytes_both_ways() {
    let stage = faulty(&[]);
    let transports = stage.server.listeners.lock().unwrap().values().next().unwrap().1.clone();
    let (mut transport, mut out) = (transports.open(&Peer::default()).unwrap(), Collected::default());
    transport.on_read(b"PING\r\n", &mut out).unwrap();
    transport.on_write(b"PONG\r\n", &mut out).unwrap();
    assert_eq!((&out.plain[..], &out.wire[..]), (&b"PING\r\n"[..], &b"PONG\r\n"[..]));
    transport.on_read(b"", &mut out).unwrap();
}

#[test]
fn panics_in_tasks_jobs_observers_health_and_introspection_stay_where_they_are() {
    let stage = faulty(&["task", "blocking", "observer", "health", "introspect"]);
    soon("the task's panic", || stage.faults("faulty") >= 1);
    stage.plugins.points().notify(&Event::LameDuck);
    let error = stage.plugins.introspect("faulty", &Value::Null).unwrap_err();
    assert_eq!(error.message(), "panicked: faulty was told to panic in introspect");
    let facts = stage.plugins.facts();
    assert!(!facts[0].healthy && facts[0].state == "faulted", "{facts:?}");
}

#[test]
fn a_panic_while_reloading_refuses_and_one_while_applying_or_stopping_is_survived() {
    let stage = faulty(&["reconfigure"]);
    let same = declared(&[("faulty", &example("faulty"), json!({ "panic_in": [] }))]);
    assert!(stage.reload(&same).unwrap_err().contains("panicked"));
    assert_eq!(stage.faults("faulty"), 1);
    let stage = faulty(&["apply", "stop"]);
    stage.reload(&same).unwrap();
    stage.runtime.block_on(stage.plugins.stop());
    assert_eq!((stage.faults("faulty"), stage.state("faulty").as_str()), (2, "stopped"));
    assert_eq!((stage.server.subscriptions(), stage.server.listeners.lock().unwrap().len()), (0, 0));
    assert!(stage.plugins.points().has_no_authenticators() && stage.plugins.points().has_no_observers());
}
