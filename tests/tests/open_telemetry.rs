//! Traces by OTLP: what becomes of messages with a sampled `traceparent`, seen by a collector of the test's own.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use natsd_tests::jetstream::JetStream;
use natsd_tests::monitored::Monitored;
use natsd_tests::server::{Folder, natsd};
use natsd_tests::{Client, Launch, PATIENCE};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// What a collector is sent: head and JSON of each request.
struct Collector {
    address: SocketAddr,
    requests: Receiver<(String, Value)>,
}

impl Collector {
    /// Answers with these, one after the other, and then with 200.
    fn start(answers: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = channel();
        spawn(move || {
            let mut answers = answers.iter();
            for wire in listener.incoming() {
                let status = answers.next().copied().unwrap_or(200);
                if serve(wire.unwrap(), status, &seen).is_none() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    /// The spans of the next request.
    fn spans(&self) -> Vec<Value> {
        let (_, body) = self.requests.recv_timeout(PATIENCE).expect("spans");
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }
}

/// One request on one connection; `None`: the test is over.
fn serve(mut wire: TcpStream, status: u16, seen: &Sender<(String, Value)>) -> Option<()> {
    let mut bytes = Vec::new();
    let head_len = loop {
        let mut chunk = [0; 4096];
        let count = wire.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(count > 0, "half a request");
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).to_ascii_lowercase();
    let size: usize =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    while bytes.len() < head_len + size {
        let mut chunk = [0; 4096];
        let count = wire.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..count]);
    }
    wire.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).unwrap();
    let body = serde_json::from_slice(&bytes[head_len..]).unwrap();
    if status != 200 {
        return Some(());
    }
    seen.send((head, body)).ok()
}

fn server(collector: SocketAddr) -> Monitored {
    let config = format!(
        r#"
        http: "127.0.0.1:-1"
        server_name: "one"
        opentelemetry {{ endpoint: "http://{collector}", service_name: shop, headers: {{ x-key: "of-tests" }} }}
        mappings: {{ "old.*": "new.$1" }}
        accounts {{
            A {{ users: [ {{ user: a, password: a }} ], exports: [ {{ stream: "new.>" }} ], mappings: {{ "old.*": "new.$1" }} }}
            B {{ users: [ {{ user: b, password: b }} ], imports: [ {{ stream: {{ account: A, subject: "new.>" }}, allow_trace: true }} ] }}
        }}
        "#
    );
    Monitored::start(natsd(), &config)
}

fn join(server: &Monitored, user: &str, name: &str) -> Client {
    let options = format!(r#""user":"{user}","pass":"{user}","name":"{name}","headers":true"#);
    let mut client = Client::join(server.server.address(), &options).unwrap();
    client.sync();
    client
}

fn publish(client: &mut Client, subject: &str, flags: &str) {
    let headers = format!("NATS/1.0\r\ntraceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: a=b\r\n\r\n");
    let len = headers.len();
    client.send(format!("HPUB {subject} {len} {}\r\n{headers}hello\r\n", len + 5).as_bytes()).unwrap();
    client.sync();
}

fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
    let found = of["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == name);
    let value = &found.unwrap_or_else(|| panic!("no {name} in {of}"))["value"];
    value.as_object().unwrap().values().next().unwrap()
}

#[test]
fn a_sampled_message_is_a_span_with_its_deliveries_below_it() {
    let collector = Collector::start(&[]);
    let server = server(collector.address);
    let (mut near, mut far) = (join(&server, "a", "near"), join(&server, "b", "far"));
    near.send(b"SUB new.* workers 1\r\n").unwrap();
    far.send(b"SUB new.> 1\r\n").unwrap();
    near.sync();
    far.sync();
    let mut publisher = join(&server, "a", "publisher");
    publish(&mut publisher, "old.x", "00");
    publish(&mut publisher, "old.x", "01");

    let (head, body) = collector.requests.recv_timeout(PATIENCE).expect("spans");
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n") && head.contains("\r\nx-key: of-tests\r\n"),
        "{head}"
    );
    let group = &body["resourceSpans"][0];
    assert_eq!(attribute(&group["resource"], "service.name"), "shop");
    assert_eq!(attribute(&group["resource"], "nats.server.name"), "one");
    let spans = group["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 3, "only the sampled one: {body:#}");
    let own = &spans[0];
    assert_eq!((&own["traceId"], &own["parentSpanId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&own["name"], &own["traceState"]), (&json!("process old.x"), &json!("a=b")));
    assert_eq!(
        (attribute(own, "nats.account"), attribute(own, "messaging.client.id")),
        (&json!("A"), &json!("publisher"))
    );
    assert_eq!(own["events"][0]["name"], "subject mapping");
    let mut clients: Vec<&str> =
        spans[1..].iter().map(|span| attribute(span, "messaging.client.id").as_str().unwrap()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["far", "near"]);
    for span in &spans[1..] {
        assert_eq!((&span["parentSpanId"], &span["traceId"]), (&own["spanId"], &json!(TRACE)));
        let times = ["startTimeUnixNano", "endTimeUnixNano"]
            .map(|name| span[name].as_str().unwrap().parse::<u64>().unwrap());
        assert!(times[0] > 1_500_000_000_000_000_000 && times[0] <= times[1], "{span}");
    }
    // The message itself is as it was sent, for all.
    for reader in [&mut near, &mut far] {
        for flags in ["00", "01"] {
            let message = String::from_utf8(reader.expect_op("HMSG new.x ")).unwrap();
            assert!(message.contains(&format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\n")), "{message}");
        }
    }
    server
        .wait("/varz", |varz| varz["natsd"]["opentelemetry"] == json!({ "spans_sent": 3, "spans_lost": 0 }));
}

#[test]
fn what_a_stream_did_is_an_event_of_the_span() {
    let (collector, store) = (Collector::start(&[]), Folder::new());
    let config = format!(
        r#"
        http: "127.0.0.1:-1"
        opentelemetry {{ endpoint: "http://{}" }}
        jetstream {{ store_dir: "{}" }}
        "#,
        collector.address,
        store.path().display()
    );
    let server = Monitored::start(natsd(), &config);
    let mut client = JetStream::join(server.server.address(), "test").unwrap();
    let made = client.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]})).unwrap();
    assert!(made["error"].is_null(), "{made}");
    let mut publisher = Client::join(server.server.address(), r#""headers":true"#).unwrap();
    publish(&mut publisher, "s", "01");
    let spans = collector.spans();
    let done = &spans[0]["events"][0];
    assert_eq!((spans.len(), &done["name"]), (1, &json!("JetStream")));
    assert_eq!((attribute(done, "nats.stream"), attribute(done, "nats.subject")), (&json!("S"), &json!("s")));
    // Nobody but the plugin asked for the trace: the message is stored as it was sent.
    let last = client.api("STREAM.MSG.GET.S", &json!({"seq": 1})).unwrap();
    let headers = format!("NATS/1.0\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n\r\n");
    assert_eq!(last["message"]["hdrs"], STANDARD.encode(headers));
}

#[test]
fn a_message_without_receivers_is_a_span_alone() {
    let collector = Collector::start(&[]);
    let server = server(collector.address);
    let mut publisher = join(&server, "b", "publisher");
    publish(&mut publisher, "nobody", "01");
    let spans = collector.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(attribute(&spans[0], "nats.account"), "B");
}

#[test]
fn a_collector_that_refuses_costs_spans_and_nothing_else() {
    let collector = Collector::start(&[503]);
    let server = server(collector.address);
    let mut publisher = join(&server, "a", "publisher");
    publish(&mut publisher, "x", "01");
    assert!(server.server.log().wait_for("1 spans are lost", PATIENCE));
    let lost = |varz: &Value| varz["natsd"]["opentelemetry"]["spans_lost"] == 1;
    server.wait("/varz", lost);
    publish(&mut publisher, "y", "01");
    // It is left alone for a while after it refused.
    let (_, body) = collector.requests.recv_timeout(PATIENCE * 3).expect("spans");
    assert_eq!(body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"], "process y");
}

#[test]
fn without_a_system_account_there_are_no_traces_and_no_start() {
    let config = "no_system_account: true\nopentelemetry { endpoint: \"http://127.0.0.1:1\" }\n";
    let refused = Launch::new(natsd()).config(config).try_start().err().expect("no start");
    assert!(refused.contains("traces are told in the system account"), "{refused}");
}
