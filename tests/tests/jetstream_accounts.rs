//! JetStream used from another account than the one that has it: its API, streams' subjects, acknowledgements and
//! deliveries come by imports (ACC-017). On natsd, and on the reference server where it is installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::jetstream::JetStream;
use natsd_tests::server::{self, Folder};
use natsd_tests::{Launch, PATIENCE, Server};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

#[test]
fn natsd_serves_jetstream_to_another_account() {
    serves_another_account(&server::natsd());
}

#[test]
fn the_reference_serves_jetstream_to_another_account() {
    match server::reference() {
        Some(program) => serves_another_account(&program),
        None => eprintln!("not checked: there is no nats-server"),
    }
}

fn serves_another_account(program: &Path) {
    let store = Folder::new();
    let server = start(program, &store);
    let mut app = join(&server, "app");
    create_stream(&mut app);
    let stored = publish_and_fetch(&mut app);
    push_to_another_account(&mut app, stored);
    owner_sees_the_same(&server, stored + 1);
}

fn start(program: &Path, store: &Folder) -> Server {
    let store = store.path().to_string_lossy().into_owned();
    Launch::new(program)
        .config(format!(
            r#"
            jetstream {{ store_dir: "{store}" }}
            accounts {{
              JS {{
                jetstream: enabled
                users: [ {{ user: js, password: p }} ]
                exports: [
                  {{ service: "$JS.API.>", response_type: stream }}
                  {{ service: "$JS.ACK.>" }}
                  {{ service: "orders.>" }}
                  {{ stream: "deliver.>" }}
                ]
              }}
              APP {{
                users: [ {{ user: app, password: p }} ]
                imports: [
                  {{ service: {{ account: JS, subject: "$JS.API.>" }} }}
                  {{ service: {{ account: JS, subject: "$JS.ACK.>" }} }}
                  {{ service: {{ account: JS, subject: "orders.>" }}, to: "shop.>" }}
                  {{ stream: {{ account: JS, subject: "deliver.>" }} }}
                ]
              }}
            }}
            "#
        ))
        .start()
}

fn join(server: &Server, user: &str) -> JetStream {
    let fields = format!(r#""user":"{user}","pass":"p""#);
    JetStream::join_as(server.address(), user, &fields).unwrap()
}

fn api(client: &mut JetStream, subject: &str, body: &Value) -> Value {
    let answer = client.api(subject, body).unwrap();
    assert!(answer["error"].is_null(), "{subject}: {answer}");
    answer
}

fn create_stream(app: &mut JetStream) {
    let config = json!({"name": "ORDERS", "subjects": ["orders.>"]});
    let made = api(app, "STREAM.CREATE.ORDERS", &config);
    assert_eq!(made["config"]["name"], "ORDERS");
    let missing = app.api("STREAM.INFO.NONE", &Value::Null).unwrap();
    assert_eq!(missing["error"]["code"], 404);
}

/// Gives how many messages are stored.
fn publish_and_fetch(app: &mut JetStream) -> u64 {
    for seq in 1..=3 {
        assert_eq!(app.store(&format!("shop.{seq}"), b"one order").unwrap(), seq);
    }
    let config = json!({"durable_name": "C", "ack_policy": "explicit"});
    api(app, "CONSUMER.CREATE.ORDERS.C", &json!({"stream_name": "ORDERS", "config": config}));
    let fetched = app.fetch("ORDERS", "C", 3).unwrap();
    let subjects: Vec<&str> = fetched.iter().map(|message| message.subject.as_str()).collect();
    assert_eq!(subjects, ["orders.1", "orders.2", "orders.3"]);
    for message in &fetched {
        assert!(message.reply.starts_with("$JS.ACK.ORDERS.C."), "{}", message.reply);
        app.double_ack(message).unwrap();
    }
    let info = api(app, "CONSUMER.INFO.ORDERS.C", &Value::Null);
    assert_eq!((&info["ack_floor"]["stream_seq"], &info["num_pending"]), (&json!(3), &json!(0)));
    3
}

fn push_to_another_account(app: &mut JetStream, stored: u64) {
    let config = json!({"durable_name": "P", "ack_policy": "explicit", "deliver_subject": "deliver.app"});
    api(app, "CONSUMER.CREATE.ORDERS.P", &json!({"stream_name": "ORDERS", "config": config}));
    // Interest in another account starts the deliveries.
    app.send(b"SUB deliver.app 2\r\n").unwrap();
    for seq in 1..=stored {
        let message = app.next_message().unwrap();
        assert_eq!((message.subject.as_str(), message.stream_seq()), (&*format!("orders.{seq}"), seq));
        app.publish(&message.reply, "", b"").unwrap();
    }
    app.publish("shop.4", "", b"another").unwrap();
    let message = app.next_message().unwrap();
    assert_eq!((message.subject.as_str(), message.stream_seq()), ("orders.4", stored + 1));
}

fn owner_sees_the_same(server: &Server, stored: u64) {
    let info = api(&mut join(server, "js"), "STREAM.INFO.ORDERS", &Value::Null);
    assert_eq!(info["state"]["messages"], stored);
}

/// An account without JetStream is told so, whoever else listens there; one that imports the API of another hears of
/// nobody for what it does not import.
#[test]
fn accounts_without_jetstream_are_told_so_unless_they_import_it() {
    for program in [Some(server::natsd()), server::reference()].into_iter().flatten() {
        let store = Folder::new();
        let config = format!(
            r#"
            jetstream {{ store_dir: "{}" }}
            accounts {{
              JS {{ jetstream: enabled, users: [{{ user: js, password: p }}], exports: [{{ service: "$JS.API.INFO" }}] }}
              APP {{
                users: [{{ user: app, password: p }}]
                imports: [{{ service: {{ account: JS, subject: "$JS.API.INFO" }} }}]
              }}
              NONE {{ users: [{{ user: none, password: p }}] }}
            }}
            "#,
            store.path().display()
        );
        let server = Launch::new(program).config(config).start();
        let program = server.program().display();
        let mut app = join(&server, "app");
        assert!(api(&mut app, "INFO", &Value::Null)["memory"].is_number());
        let answer = app.request("$JS.API.STREAM.NAMES", b"").unwrap();
        assert!(answer.headers.starts_with("NATS/1.0 503\r\n"), "{program}: {answer:?}");
        let mut none = join(&server, "none");
        none.listen(">").unwrap();
        for subject in ["INFO", "STREAM.NAMES"] {
            let answer = none.api(subject, &Value::Null).unwrap();
            assert_eq!(answer["error"]["err_code"], 10039, "{program}: {answer}");
        }
    }
}

/// JC-121, JC-128
#[test]
fn pulls_of_another_account_end_when_nobody_listens_there_any_more() {
    for program in [Some(server::natsd()), server::reference()].into_iter().flatten() {
        let store = Folder::new();
        let server = start(&program, &store);
        let program = server.program().display();
        let (mut app, mut owner) = (join(&server, "app"), join(&server, "js"));
        create_stream(&mut app);
        let config = json!({"durable_name": "C", "ack_policy": "explicit"});
        api(&mut app, "CONSUMER.CREATE.ORDERS.C", &json!({"stream_name": "ORDERS", "config": config}));
        app.listen("left").unwrap();
        app.listen("stays").unwrap();
        for reply in ["left", "left", "stays"] {
            app.publish("$JS.API.CONSUMER.MSG.NEXT.ORDERS.C", reply, b"{\"batch\":2}").unwrap();
        }
        assert_eq!(waiting(&mut owner, 3), 3, "{program}");
        app.send(b"UNSUB 2\r\n").unwrap();
        assert_eq!(waiting(&mut owner, 1), 1, "{program}");
        app.publish("shop.1", "", b"one order").unwrap();
        assert_eq!(app.next_message().unwrap().sid, "3", "{program}");
    }
}

/// How many pulls wait, at last: so many if that comes to be.
fn waiting(owner: &mut JetStream, count: u64) -> u64 {
    let since = Instant::now();
    loop {
        let info = api(owner, "CONSUMER.INFO.ORDERS.C", &Value::Null);
        let seen = info["num_waiting"].as_u64().unwrap();
        if seen == count || since.elapsed() > PATIENCE {
            return seen;
        }
    }
}
