//! What the endpoints about accounts, JetStream and plugins say, and `/metrics`.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-jetstream`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Client;
use natsd_tests::jetstream::JetStream;
use natsd_tests::jwt::{Key, request};
use natsd_tests::monitored::{Monitored, servers};
use natsd_tests::server::natsd;
use serde_json::{Value, json};

const CONFIG: &str = r#"
    http: "127.0.0.1:-1"
    server_name: "one"
    jetstream { store_dir: "{{dir}}/js", max_mem: 1000000, max_file: 2000000 }
    accounts {
        A { jetstream: { max_mem: 5000, max_file: 6000 }, users: [ { user: "a", password: "a" } ] }
        B { jetstream: enabled, users: [ { user: "b", password: "b" } ] }
        SYS { users: [ { user: "s", password: "s" } ] }
    }
    system_account: SYS
    no_auth_user: a
"#;

/// Account A has a stream with two messages and a consumer that has one of them.
fn with_a_stream(server: &Monitored) -> JetStream {
    let mut client = JetStream::join(server.server.address(), "w").unwrap();
    let stream = json!({ "name": "S", "subjects": ["s.*"], "max_bytes": 1000 });
    assert!(client.api("STREAM.CREATE.S", &stream).unwrap()["error"].is_null());
    let consumer = json!({ "stream_name": "S", "config": { "name": "c", "durable_name": "c",
        "ack_policy": "explicit", "description": "to \"test\"" } });
    assert!(client.api("CONSUMER.CREATE.S.c", &consumer).unwrap()["error"].is_null());
    client.store("s.1", b"one").unwrap();
    client.store("s.2", b"two").unwrap();
    client.fetch("S", "c", 1).unwrap();
    client
}

#[test]
fn who_sends_no_user_is_shown_as_the_no_auth_user() {
    for server in servers(CONFIG) {
        let _client = JetStream::join(server.server.address(), "w").unwrap();
        // CONNECT may still be under way.
        let connz = server.wait("/connz?auth=1&user=a", |connz| connz["num_connections"] == 1);
        assert_eq!(connz["connections"][0]["authorized_user"], "a");
    }
}

#[test]
fn who_sends_nothing_is_shown_as_the_no_auth_user_by_its_nkey() {
    let nkey = Key::user("u").public();
    let config = format!(
        "http: \"127.0.0.1:-1\"\naccounts {{ A {{ users: [ {{ nkey: {nkey} }} ] }} }}\nno_auth_user: {nkey}\n"
    );
    for server in servers(&config) {
        let mut client = Client::join(server.server.address(), "\"name\":\"w\"").unwrap();
        let told: Value = serde_json::from_str(&request(&mut client, "$SYS.REQ.USER.INFO", "")).unwrap();
        assert_eq!((&told["data"]["user"], &told["data"]["account"]), (&nkey.as_str().into(), &"A".into()));
        let connz = server.json("/connz?auth=1");
        assert_eq!(connz["connections"][0]["authorized_user"], nkey.as_str());
    }
}

#[test]
fn jsz_counts_everything_and_shows_what_is_asked_for() {
    // MON-090, MON-101
    for server in servers(CONFIG) {
        let _client = with_a_stream(&server);
        let totals = |jsz: &Value| {
            ["accounts", "streams", "consumers", "messages", "bytes", "storage", "reserved_storage", "total"]
                .map(|name| jsz[name].as_u64().unwrap())
        };
        let jsz = server.wait("/jsz", |jsz| jsz["messages"] == 2);
        assert_eq!(totals(&jsz), [2, 1, 1, 2, 72, 72, 1000, 2]);
        assert_eq!(jsz["config"]["max_memory"], 1_000_000);
        let jsz = server.json("/jsz?acc=A&consumers=1");
        assert_eq!(totals(&jsz), [2, 1, 1, 2, 72, 72, 1000, 2]);
        let detail = &jsz["account_details"][0];
        assert_eq!((&detail["reserved_memory"], &detail["reserved_storage"]), (&5000.into(), &6000.into()));
        let stream = &detail["stream_detail"][0];
        assert_eq!((&stream["name"], &stream["state"]["last_seq"]), (&"S".into(), &2.into()));
        let consumer = &stream["consumer_detail"][0];
        assert_eq!((&consumer["num_pending"], &consumer["num_ack_pending"]), (&1.into(), &1.into()));
        let names = |path: &str| -> Vec<String> {
            let jsz = server.json(path);
            let details = jsz["account_details"].as_array().into_iter().flatten();
            details.map(|detail| detail["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("/jsz?accounts=1"), ["A", "B"]);
        assert_eq!(names("/jsz?accounts=1&offset=1&limit=1"), ["B"]);
        assert_eq!(names("/jsz"), [""; 0]);
    }
}

#[test]
fn accounts_tell_what_went_through_them() {
    // MON-085, MON-086
    for server in servers(CONFIG) {
        let mut reader = server.client("reader");
        reader.send(b"SUB x 1\r\n").unwrap();
        reader.sync();
        let mut writer = server.client("writer");
        writer.send(b"PUB x 5\r\nhello\r\nPUB y 2\r\nhi\r\n").unwrap();
        writer.sync();
        drop(writer);
        let accstatz = server.wait("/accstatz", |accstatz| accstatz["account_statz"][0]["conns"] == 1);
        let stat = &accstatz["account_statz"][0];
        assert_eq!((&stat["acc"], &stat["received"]["bytes"]), (&"A".into(), &7.into()));
        assert_eq!((&stat["sent"]["msgs"], &stat["sent"]["bytes"]), (&1.into(), &5.into()));
        assert_eq!(accstatz["account_statz"].as_array().unwrap().len(), 1);
        let unused = server.json("/accstatz?unused=1");
        assert_eq!(unused["account_statz"].as_array().unwrap().len(), 4);
        let detail = &server.json("/accountz?acc=B")["account_detail"];
        assert_eq!((&detail["jetstream_enabled"], &detail["client_connections"]), (&true.into(), &0.into()));
        assert_eq!(server.json("/accountz?acc=SYS")["account_detail"]["is_system"], true);
    }
}

#[test]
fn plugins_are_shown_with_their_state() {
    let server = Monitored::start(natsd(), CONFIG);
    let pluginz = server.json("/pluginz");
    let plugins = pluginz["plugins"].as_array().unwrap();
    let jetstream = plugins.iter().find(|plugin| plugin["name"] == "jetstream").unwrap();
    assert_eq!((&jetstream["state"], &jetstream["healthy"]), (&"started".into(), &true.into()));
    assert_eq!(server.json("/varz")["natsd"]["plugins"]["monitoring"]["state"], "started");
}

#[test]
fn metrics_have_the_names_of_the_exporter() {
    let server = Monitored::start(natsd(), &format!("http_base_path: nats\n{CONFIG}"));
    let _client = with_a_stream(&server);
    server.wait("/nats/jsz", |jsz| jsz["messages"] == 2);
    let answer = server.get("/nats/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", answer.head);
    let sample = |name: &str, label: &str| {
        let found = answer.body.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
        });
        let line = found.unwrap_or_else(|| panic!("no {name} with {label} in\n{}", answer.body));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    for (name, label, value) in [
        ("gnatsd_varz_connections", "server_id=\"N", 1.0),
        ("gnatsd_varz_jetstream_config_max_storage", "server_id=\"N", 2e6),
        ("gnatsd_varz_server_name", "value=\"one\"", 1.0),
        ("gnatsd_connz_num_connections", "server_id=\"N", 1.0),
        ("gnatsd_accstatz_current_connections", "account=\"A\"", 1.0),
        ("gnatsd_healthz_status", "server_id=\"N", 0.0),
        ("gnatsd_healthz_status_value", "value=\"ok\"", 1.0),
        ("gnatsd_routez_num_routes", "server_id=\"N", 0.0),
        ("jetstream_server_total_messages", "server_name=\"one\"", 2.0),
        ("jetstream_server_jetstream_disabled", "is_meta_leader=\"true\"", 0.0),
        ("jetstream_account_max_memory", "account_id=\"A\"", 5000.0),
        ("jetstream_stream_total_bytes", "stream_name=\"S\"", 72.0),
        ("jetstream_stream_limit_bytes", "stream_leader=\"one\"", 1000.0),
        ("jetstream_consumer_num_pending", "consumer_desc=\"to \\\"test\\\"\"", 1.0),
        ("natsd_plugin_healthy", "plugin=\"jetstream\"", 1.0),
    ] {
        assert_eq!(sample(name, label), value, "{name}");
    }
}

#[test]
fn what_only_go_has_is_refused_or_shown_in_part() {
    let server = Monitored::start(natsd(), CONFIG);
    let stacksz = server.get("/stacksz");
    assert_eq!(stacksz.status, 200);
    assert!(stacksz.has("content-type: application/json"), "{}", stacksz.body);
    for part in ["thread ", " natsd [", "user ", "For their stacks: gdb -p "] {
        assert!(stacksz.body.contains(part), "{part}: {}", stacksz.body);
    }
    let vars: Value = serde_json::from_str(&server.get("/debug/vars").body).unwrap();
    assert!(vars["cmdline"][0].as_str().unwrap().ends_with("natsd"), "{vars}");
    assert!(vars["memstats"].is_object());
    assert_eq!(server.json("/ipqueuesz?all=1"), json!({}));
}

/// Between open and closed connections none was counted for a moment.
#[test]
fn what_was_received_never_becomes_less() {
    let server = Monitored::start(natsd(), CONFIG);
    let _open = server.client("open");
    let total = 400;
    let publishing = {
        let address = server.server.address();
        std::thread::spawn(move || {
            for _ in 0..total {
                let mut client = Client::join(address, r#""user":"a","pass":"a""#).unwrap();
                client.send(b"PUB x 1\r\nx\r\n").unwrap();
                client.sync();
            }
        })
    };
    let mut last = 0;
    while last < total {
        let received = server.json("/accstatz")["account_statz"][0]["received"]["msgs"].as_u64().unwrap();
        assert!(received >= last, "{received} after {last}");
        last = received;
    }
    publishing.join().unwrap();
    assert_eq!(last, total);
}

#[test]
fn what_is_not_percent_encoded_is_understood() {
    // MON-003: Go's clients and curl send subjects as they are.
    for server in servers(CONFIG) {
        for path in ["/connz?filter_subject=foo.>", "/varz?x=\"a\"", "/varz?x=<a>", "/varz?x=\u{e9}"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
        let subsz = server.get("/subsz?test=foo.>");
        let text = "invalid test subject, must be valid publish subject: foo.>";
        assert_eq!((subsz.status, subsz.body.as_str()), (400, text));
        assert_eq!(server.get("/va<rz").status, 404);
    }
}

#[test]
fn paths_that_are_not_clean_lead_to_those_that_are() {
    // MON-010
    for server in servers(CONFIG) {
        for (path, location) in [
            ("//connz", "/connz"),
            ("/./varz?a=1&b=2", "/varz?a=1&b=2"),
            ("/varz/../connz?subs=1", "/connz?subs=1"),
            ("/a//b/", "/a/b/"),
            ("/..", "/"),
        ] {
            let answer = server.get(path);
            assert_eq!(answer.status, 307, "{path}");
            assert!(answer.has(&format!("location: {location}")), "{}", answer.head);
            assert!(answer.has("content-type: text/html; charset=utf-8"), "{}", answer.head);
            let shown = location.replace('&', "&amp;");
            assert_eq!(answer.body, format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n"));
        }
        assert_eq!(server.get("/%2e/varz").status, 404);
    }
}

#[test]
fn subsz_of_an_account_has_the_subscriptions_of_those_who_import_from_it() {
    // MON-075: under the name that the subject has there.
    let config = "http: \"127.0.0.1:-1\"\nno_auth_user: b\naccounts {\n\
        A { users: [{ user: a, password: a }], exports: [{ stream: \"st.>\" }] }\n\
        B { users: [{ user: b, password: b }], imports: [{ stream: { account: A, subject: \"st.>\" }, prefix: p }] }\n}\n";
    for monitored in servers(config) {
        let mut client = monitored.server.connect();
        client.send(b"CONNECT {\"verbose\":false}\r\nSUB p.st.x 7\r\nSUB other 8\r\n").unwrap();
        client.sync();
        for path in ["/subsz?subs=1&acc=A", "/subsz?subs=1&acc=A&test=st.x"] {
            let subsz = monitored.json(path);
            let listed: Vec<&Value> = subsz["subscriptions_list"].as_array().into_iter().flatten().collect();
            let imported = listed.iter().find(|sub| sub["subject"] == "st.x").expect("the importer's");
            assert_eq!((&imported["account"], &imported["sid"]), (&json!("B"), &json!("7")), "{subsz}");
        }
        assert_eq!(monitored.json("/subsz?subs=1&acc=B&test=p.st.x")["total"], 1);
    }
}
