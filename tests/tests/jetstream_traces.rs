//! What traces say of messages that come to a stream (CORE-296, CORE-299), and what only tracing leaves undone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jetstream::{JetStream, on_each_server};
use natsd_tests::server::{Folder, natsd, reference};
use serde_json::{Value, json};

const ONLY: &str = "Nats-Trace-Only: true\r\n";

fn servers(mut test: impl FnMut(&str, &mut JetStream)) {
    on_each_server(|server, client| {
        client.listen("trace").unwrap();
        test(&server.program().display().to_string(), client);
    });
}

/// Publishes a traced message with more headers.
fn send(client: &mut JetStream, subject: &str, headers: &str, payload: &[u8]) {
    let block = format!("NATS/1.0\r\nNats-Trace-Dest: trace\r\n{headers}\r\n");
    let head = format!("HPUB {subject} {} {}\r\n{block}", block.len(), block.len() + payload.len());
    client.send(&[head.as_bytes(), payload, b"\r\n"].concat()).unwrap();
}

/// The steps of the next trace after the first, without their times, the streams' last.
fn steps(client: &mut JetStream) -> Vec<Value> {
    let message = loop {
        let message = client.next_message().unwrap();
        if message.subject == "trace" {
            break message;
        }
    };
    let mut event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&event["server"]["jetstream"], &event["server"]["flags"]), (&json!(true), &json!(7)));
    let mut steps = event["events"].as_array_mut().unwrap().split_off(1);
    for step in &mut steps {
        let step = step.as_object_mut().unwrap();
        assert!(step.remove("ts").is_some_and(|ts| ts.as_str().unwrap().starts_with("20")));
        step.remove("cid");
    }
    steps.sort_by_key(|step| (step["type"] == "js", step.to_string()));
    steps
}

fn trace(client: &mut JetStream, subject: &str, headers: &str, payload: &[u8]) -> Vec<Value> {
    send(client, subject, headers, payload);
    steps(client)
}

fn api(client: &mut JetStream, request: &str, body: &Value) -> Value {
    let answer = client.api(request, body).unwrap();
    assert!(answer["error"].is_null(), "{request}: {answer}");
    answer
}

fn update(client: &mut JetStream, fields: Value) {
    let mut config = json!({"name": "S", "subjects": ["s"], "allow_rollup_hdrs": true});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    api(client, "STREAM.UPDATE.S", &config);
}

fn messages(client: &mut JetStream, stream: &str) -> u64 {
    let info = api(client, &format!("STREAM.INFO.{stream}"), &Value::Null);
    info["state"]["messages"].as_u64().unwrap()
}

fn header(client: &mut JetStream, stream: &str) -> Value {
    let last = api(client, &format!("STREAM.MSG.GET.{stream}"), &json!({"last_by_subj": ">"}));
    last["message"]["hdrs"].clone()
}

fn js(stream: &str, fields: Value) -> Value {
    let mut step = json!({"type": "js", "stream": stream});
    step.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    step
}

#[test]
fn a_message_is_stored_and_one_that_is_only_traced_is_not() {
    servers(|program, client| {
        update(client, json!({"subject_transform": {"src": "s", "dest": "t"}}));
        let stored = [js("S", json!({"subject": "t"}))];
        assert_eq!(trace(client, "s", ONLY, b"x"), stored, "{program}");
        assert_eq!(messages(client, "S"), 0, "{program}");
        assert_eq!(trace(client, "s", "", b"x"), stored, "{program}");
        assert_eq!(messages(client, "S"), 1, "{program}");
        // JS-161. "NATS/1.0\r\nNats-Trace-Dest: trace disabled\r\n\r\n" in base64.
        let disabled = "TkFUUy8xLjANCk5hdHMtVHJhY2UtRGVzdDogdHJhY2UgZGlzYWJsZWQNCg0K";
        assert_eq!(header(client, "S"), disabled, "{program}");
    });
}

#[test]
fn a_message_that_is_refused_has_the_reason_in_its_trace() {
    servers(|program, client| {
        update(client, json!({}));
        trace(client, "s", "Nats-Msg-Id: a\r\n", b"x");
        trace(client, "s", "", b"x");
        let by_subject = "Nats-Expected-Last-Subject-Sequence";
        for (headers, why) in [
            ("Nats-Expected-Stream: x".to_owned(), "expected stream does not match"),
            ("Nats-Msg-Id: a".to_owned(), "msgid is duplicate"),
            (format!("{by_subject}: 10"), "last sequence by subject mismatch: 10 vs 2"),
            (format!("{by_subject}: x"), "last sequence by subject mismatch: 18446744073709551615 vs 2"),
            (
                format!("{by_subject}: 1\r\n{by_subject}-Subject: y"),
                "last sequence by subject mismatch: 1 vs 0",
            ),
            (
                format!("{by_subject}-Subject: y"),
                "missing sequence for expected last sequence per subject (10193)",
            ),
            ("Nats-Expected-Last-Sequence: 10".to_owned(), "last sequence mismatch: 10 vs 2"),
            (
                format!("{by_subject}: 2\r\nNats-Expected-Last-Sequence: 10"),
                "last sequence mismatch: 10 vs 2",
            ),
            ("Nats-Expected-Last-Msg-Id: b".to_owned(), "last msgid mismatch: \"b\" vs \"\""),
            ("Nats-Rollup: wrong".to_owned(), "rollup value invalid: \"wrong\""),
            ("Nats-TTL: 5s".to_owned(), "message TTL disabled"),
            ("Nats-Incr: 1".to_owned(), "message counters is disabled (10168)"),
            ("Nats-Stream-Source: x".to_owned(), "message stream source header is not allowed (10227)"),
        ] {
            for only in ["", ONLY] {
                let told = trace(client, "s", &format!("{headers}\r\n{only}"), b"");
                assert_eq!(told, [js("S", json!({"error": why}))], "{program}: {headers} {only}");
            }
        }
        update(client, json!({"allow_rollup_hdrs": false, "max_msg_size": 100}));
        for only in ["", ONLY] {
            let told = trace(client, "s", &format!("Nats-Rollup: sub\r\n{only}"), b"");
            assert_eq!(told, [js("S", json!({"error": "rollup not permitted"}))], "{program} {only}");
            let told = trace(client, "s", only, &[b'x'; 200]);
            assert_eq!(told, [js("S", json!({"error": "maximum payload exceeded"}))], "{program} {only}");
        }
        assert_eq!(messages(client, "S"), 2, "{program}");
        update(client, json!({"sealed": true}));
        for only in ["", ONLY] {
            let sealed = "invalid operation on sealed stream (10109)";
            assert_eq!(
                trace(client, "s", only, b""),
                [js("S", json!({"error": sealed}))],
                "{program} {only}"
            );
        }
    });
}

/// What shows only when a message is stored is no error of one that is not.
#[test]
fn a_full_stream_refuses_what_is_stored() {
    servers(|program, client| {
        update(client, json!({"max_msgs": 1, "discard": "new"}));
        trace(client, "s", "", b"");
        let full = json!({"subject": "s", "error": "maximum messages exceeded"});
        assert_eq!(trace(client, "s", "", b""), [js("S", full)], "{program}");
        assert_eq!(trace(client, "s", ONLY, b""), [js("S", json!({"subject": "s"}))], "{program}");
        let invalid = json!({"subject": "s", "error": "invalid per-message TTL (10165)"});
        update(client, json!({}));
        assert_eq!(trace(client, "s", "Nats-TTL: x\r\n", b""), [js("S", invalid)], "{program}");
    });
}

#[test]
fn a_message_that_nobody_asks_for_is_not_kept() {
    servers(|program, client| {
        let config = json!({"name": "I", "subjects": ["i"], "retention": "interest"});
        api(client, "STREAM.CREATE.I", &config);
        let nobody = [js("I", json!({"subject": "i", "nointerest": true}))];
        assert_eq!(trace(client, "i", ONLY, b""), nobody, "{program}");
        assert_eq!(trace(client, "i", "", b""), nobody, "{program}");
        let consumer = json!({"stream_name": "I", "config": {"durable_name": "c", "ack_policy": "explicit"}});
        api(client, "CONSUMER.DURABLE.CREATE.I.c", &consumer);
        let somebody = [js("I", json!({"subject": "i"}))];
        assert_eq!(trace(client, "i", ONLY, b""), somebody, "{program}");
        assert_eq!(messages(client, "I"), 0, "{program}");
        assert_eq!(trace(client, "i", "", b""), somebody, "{program}");
        assert_eq!(messages(client, "I"), 1, "{program}");
    });
}

/// Only tracing never says that something was stored; that it would not be is said.
#[test]
fn who_only_traces_is_answered_only_if_the_message_is_refused() {
    servers(|program, client| {
        let reply = client.reply();
        for headers in ["", "Nats-Expected-Stream: x\r\n"] {
            let block = format!("NATS/1.0\r\nNats-Trace-Dest: trace\r\n{ONLY}{headers}\r\n");
            let message = format!("HPUB s {reply} {0} {0}\r\n{block}\r\n", block.len());
            client.send(message.as_bytes()).unwrap();
        }
        // An answer to the first would have come before.
        let answer = loop {
            let message = client.next_message().unwrap();
            if message.subject == reply {
                break String::from_utf8(message.payload).unwrap();
            }
        };
        assert!(answer.contains("10060"), "{program}: {answer}");
    });
}

#[test]
fn receivers_beside_the_stream_are_told_as_well() {
    servers(|program, client| {
        client.listen("*").unwrap();
        let told = trace(client, "s", ONLY, b"x");
        let receiver = json!({"type": "eg", "kind": 0, "sub": "*"});
        assert_eq!(told, [receiver, js("S", json!({"subject": "s"}))], "{program}");
        assert_eq!(messages(client, "S"), 0, "{program}");
    });
}

/// Each in an account, on both servers: who imports services and streams of whom, with and without `allow_trace`.
fn neighbours(mut test: impl FnMut(&str, &mut JetStream, &mut JetStream)) {
    for program in [Some(natsd()), reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!(
            "jetstream {{ store_dir: \"{}\" }}
             accounts {{
               A {{ jetstream: enabled, msg_trace: {{dest: trace}}, users: [{{user: a, password: a}}], exports: [
                 {{service: svc, allow_trace: true}}, {{service: dark}}, {{stream: \"ev.>\"}}, {{stream: \"no.>\"}}] }}
               B {{ jetstream: enabled, users: [{{user: b, password: b}}], imports: [
                 {{service: {{account: A, subject: svc}}, to: my.svc}},
                 {{service: {{account: A, subject: dark}}, to: my.dark}},
                 {{stream: {{account: A, subject: \"ev.>\"}}, allow_trace: true}},
                 {{stream: {{account: A, subject: \"no.>\"}}}}] }}
             }}",
            store.path().display()
        );
        let server = Launch::new(&program).config(config).start();
        let join = |user: &str| {
            let fields = format!("\"user\":\"{user}\",\"pass\":\"{user}\"");
            let mut client = JetStream::join_as(server.address(), user, &fields).unwrap();
            client.listen("trace").unwrap();
            client
        };
        let (mut a, mut b) = (join("a"), join("b"));
        test(&program.display().to_string(), &mut a, &mut b);
    }
}

fn create(client: &mut JetStream, name: &str, subject: &str) {
    api(client, &format!("STREAM.CREATE.{name}"), &json!({"name": name, "subjects": [subject]}));
}

#[test]
fn a_trace_goes_along_to_a_stream_behind_a_service_that_allows_it() {
    neighbours(|program, a, b| {
        create(a, "SVC", "svc");
        create(a, "DARK", "dark");
        let si =
            |subject: &str| json!({"type": "si", "acc": "A", "from": format!("my.{subject}"), "to": subject});
        let told = [si("svc"), js("SVC", json!({"subject": "svc"}))];
        assert_eq!(trace(b, "my.svc", ONLY, b""), told, "{program}");
        assert_eq!(messages(a, "SVC"), 0, "{program}");
        assert_eq!(trace(b, "my.svc", "", b""), told, "{program}");
        assert_eq!(messages(a, "SVC"), 1, "{program}");
        let told = [si("svc"), js("SVC", json!({"error": "expected stream does not match"}))];
        assert_eq!(trace(b, "my.svc", "Nats-Expected-Stream: x\r\n", b""), told, "{program}");
        assert_eq!(trace(b, "my.dark", ONLY, b""), [si("dark")], "{program}");
        assert_eq!(messages(a, "DARK"), 0, "{program}");
        assert_eq!(trace(b, "my.dark", "", b""), [si("dark")], "{program}");
        assert_eq!(messages(a, "DARK"), 1, "{program}");
    });
}

#[test]
fn a_stream_that_is_fed_by_an_import_tells_if_the_import_allows_it() {
    neighbours(|program, a, b| {
        create(b, "EV", "ev.>");
        create(b, "NO", "no.>");
        let se = |to: &str| json!({"type": "se", "acc": "B", "to": to});
        for (only, stored) in [(ONLY, 0), ("", 1)] {
            let told = [se("ev.1"), js("EV", json!({"subject": "ev.1"}))];
            assert_eq!(trace(a, "ev.1", only, b""), told, "{program}");
            assert_eq!(messages(b, "EV"), stored, "{program}");
            assert_eq!(trace(a, "no.1", only, b""), [se("no.1")], "{program}");
            assert_eq!(messages(b, "NO"), stored, "{program}");
        }
    });
}

/// JS-161: what is stored would be traced again, even if it only has the header of others.
#[test]
fn a_message_that_its_account_traces_is_stored_with_that_off() {
    neighbours(|program, a, _| {
        create(a, "S", "s");
        let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        let block = format!("NATS/1.0\r\n{parent}\r\n");
        a.send(format!("HPUB s {0} {0}\r\n{block}\r\n", block.len()).as_bytes()).unwrap();
        assert_eq!(steps(a), [js("S", json!({"subject": "s"}))], "{program}");
        let stored =
            api(a, "CONSUMER.CREATE.S", &json!({"stream_name": "S", "config": {"ack_policy": "none"}}));
        let message = a.fetch("S", stored["name"].as_str().unwrap(), 1).unwrap().remove(0);
        let expected = format!("NATS/1.0\r\n{parent}Nats-Trace-Dest: trace disabled\r\n\r\n");
        assert_eq!(message.headers, expected, "{program}");
    });
}

/// On natsd alone: nats-server publishes as soon as the first of two streams is done.
#[test]
fn a_trace_waits_for_every_stream() {
    neighbours(|program, a, b| {
        if program != natsd().display().to_string() {
            return;
        }
        create(a, "HERE", "ev.>");
        create(b, "THERE", "ev.>");
        for only in ["", ONLY] {
            let told = trace(a, "ev.1", only, b"");
            let streams = ["HERE", "THERE"].map(|stream| js(stream, json!({"subject": "ev.1"})));
            assert_eq!(told[1..], streams, "{only}");
        }
    });
}
