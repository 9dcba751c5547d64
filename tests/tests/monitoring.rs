//! Monitoring over HTTP: the same requests to natsd and, where it is at hand, to the reference.
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use natsd_tests::monitored::{CONN_INFO, CONNZ, SUBSZ, VARZ, fields, names, programs, servers};
use natsd_tests::nkey::UserKey;
use natsd_tests::{Client, Launch, PATIENCE};
use rustix::process::Signal;
use serde_json::Value;

const CONFIG: &str = r#"
    http: "127.0.0.1:-1"
    server_name: "one"
    server_tags: ["a", "b"]
    server_metadata: { place: "here" }
    accounts {
        A { users: [ { user: "a", password: "a" } ] }
        SYS { users: [ { user: "s", password: "s" } ] }
    }
    system_account: SYS
"#;

#[test]
fn varz_has_the_fields_of_the_reference_in_its_order() {
    for server in servers(CONFIG) {
        let varz = server.json("/varz");
        let mut expected = VARZ.split_whitespace().collect::<Vec<_>>().join(" ");
        match server.is_natsd {
            true => expected.push_str(" natsd"),
            false => expected = expected.replace(" proto go ", " proto git_commit go "),
        }
        assert_eq!(fields(&varz), expected);
        assert_eq!(varz["server_name"], "one");
        let info = String::from_utf8(server.server.connect().expect_op("INFO")).unwrap();
        assert!(info.contains(&format!("\"go\":{}", varz["go"])) && varz["go"] != "", "{info}");
        assert_eq!((&varz["http_host"], &varz["http_port"]), (&"127.0.0.1".into(), &(-1).into()));
        assert_eq!(varz["port"], server.server.address().port());
        assert_eq!((&varz["tags"][1], &varz["metadata"]["place"]), (&"b".into(), &"here".into()));
        assert_eq!(varz["ping_interval"], 120_000_000_000_u64);
        assert_eq!(varz["config_digest"].as_str().unwrap().len(), "sha256:".len() + 64);
        assert!(varz["mem"].as_u64().unwrap() > 1 << 20 && varz["cores"].as_u64().unwrap() > 0);
        // MON-015: this request, and one before.
        server.get("/subscriptionsz");
        assert_eq!(server.json("/varz")["http_req_stats"], serde_json::json!({ "/subsz": 1, "/varz": 2 }));
    }
}

#[test]
fn varz_counts_messages_and_connections() {
    for server in servers(CONFIG) {
        let (mut reader, mut writer) = (server.client("reader"), server.client("writer"));
        reader.send(b"SUB x.* 1\r\nSUB x.> 2\r\n").unwrap();
        reader.sync();
        writer.send(b"PUB x.1 5\r\nhello\r\nPUB y 3\r\nabc\r\n").unwrap();
        writer.sync();
        drop(reader);
        let varz = server.wait("/varz", |varz| varz["connections"] == 1);
        let counts = ["total_connections", "in_msgs", "in_bytes", "in_client_msgs", "out_msgs", "out_bytes"];
        assert_eq!(counts.map(|name| varz[name].as_u64().unwrap()), [2, 2, 8, 2, 2, 10]);
    }
}

#[test]
fn connz_tells_what_a_connection_is_and_did() {
    for server in servers(CONFIG) {
        let mut reader = server.client("r<&>");
        reader.send(b"SUB x.* 1\r\nSUB q.> group 22\r\nSUB few a_long_subscription_id\r\n").unwrap();
        reader.send(b"UNSUB a_long_subscription_id 5\r\n").unwrap();
        reader.sync();
        let mut writer = server.client("writer");
        writer.send(b"PUB x.1 5\r\nhello\r\nPUB few 1\r\nx\r\n").unwrap();
        writer.sync();
        let answer = server.get("/connz?subs=1&auth=1");
        // MON-004, MON-007
        assert!(answer.body.contains("\"name\": \"r\\u003c\\u0026\\u003e\""), "{}", answer.body);
        assert!(answer.body.starts_with("{\n  \"server_id\": \"N"), "{}", answer.body);
        let connz = answer.json();
        assert_eq!(fields(&connz), CONNZ.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            (&connz["num_connections"], &connz["total"], &connz["limit"]),
            (&2.into(), &2.into(), &1024.into())
        );
        let info = &connz["connections"][0];
        assert_eq!(fields(info), CONN_INFO.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            (&info["kind"], &info["type"], &info["ip"]),
            (&"Client".into(), &"nats".into(), &"127.0.0.1".into())
        );
        assert_eq!(info["port"], reader.local_port());
        assert_eq!(
            (&info["out_msgs"], &info["out_bytes"], &info["in_msgs"]),
            (&2.into(), &6.into(), &0.into())
        );
        assert_eq!((&info["account"], &info["authorized_user"]), (&"A".into(), &"a".into()));
        assert_eq!(connz["connections"][1]["in_bytes"], 6);

        let detail = server.json("/connz?subs=detail");
        let mut detail = detail["connections"][0]["subscriptions_list_detail"].as_array().unwrap().clone();
        detail.sort_by_key(|sub| sub["sid"].to_string());
        let cid = &info["cid"];
        let expected = serde_json::json!([
            { "subject": "x.*", "sid": "1", "msgs": 1, "cid": cid },
            { "subject": "q.>", "qgroup": "group", "sid": "22", "msgs": 0, "cid": cid },
            { "subject": "few", "sid": "a_long_subscription_id", "msgs": 1, "max": 5, "cid": cid },
        ]);
        assert_eq!(Value::from(detail), expected);
    }
}

#[test]
fn connz_names_the_proxy_that_a_client_came_through() {
    // AUTH-030
    let proxy = UserKey::named("proxy");
    let config = format!(
        "http: \"127.0.0.1:-1\"\nproxies {{ trusted: [ {{ key: {} }} ] }}\nauthorization {{ user: joe, password: pw }}\n",
        proxy.public()
    );
    for server in servers(&config) {
        let mut client = server.server.connect();
        let info: Value = serde_json::from_slice(&client.expect_op("INFO ")[5..]).unwrap();
        let signature = proxy.sign(info["nonce"].as_str().unwrap());
        let connect = format!(
            "CONNECT {{\"user\":\"joe\",\"pass\":\"pw\",\"verbose\":false,\"proxy_sig\":\"{signature}\"}}\r\n"
        );
        client.send(connect.as_bytes()).unwrap();
        client.sync();
        let connz = server.json("/connz");
        assert_eq!(connz["connections"][0]["proxy"]["key"], proxy.public(), "{connz}");
    }
}

#[test]
fn activity_is_what_a_connection_sent_or_got() {
    for server in servers(CONFIG) {
        let (mut reader, mut writer) = (server.client("reader"), server.client("writer"));
        let _idle = server.client("idle");
        reader.send(b"SUB x 1\r\n").unwrap();
        reader.sync();
        // Times are compared, so that they must differ.
        std::thread::sleep(Duration::from_millis(20));
        writer.send(b"PUB x 1\r\na\r\n").unwrap();
        reader.expect_op("MSG x 1 1");
        let connz = server.json("/connz?sort=last");
        let mut order = names(&connz);
        assert_eq!(order.pop(), Some("idle"));
        order.sort_unstable();
        assert_eq!(order, ["reader", "writer"]);
    }
}

#[test]
fn closed_connections_are_kept_with_what_they_had() {
    for server in servers(CONFIG) {
        let mut gone = server.client("gone");
        gone.send(b"SUB a.b 7\r\nPING\r\n").unwrap();
        gone.expect_op("PONG");
        drop(gone);
        server.wait("/connz?state=closed", |connz| connz["total"] == 1);
        let mut refused =
            Client::join(server.server.address(), r#""user":"x","pass":"y","name":"refused""#).unwrap();
        refused.until_closed();
        let mut rude = server.client("rude");
        rude.send(b"NONSENSE\r\n").unwrap();
        rude.until_closed();
        server.wait("/connz?state=closed", |connz| connz["total"] == 3);

        let closed = server.json("/connz?state=closed&auth=1&subs=1");
        assert_eq!(names(&closed), ["gone", "refused", "rude"]);
        let infos = closed["connections"].as_array().unwrap();
        assert_eq!(
            (&infos[0]["reason"], &infos[0]["subscriptions_list"][0]),
            (&"Client Closed".into(), &"a.b".into())
        );
        assert_eq!((&infos[0]["subscriptions"], &infos[0]["account"]), (&1.into(), &"A".into()));
        assert_eq!(
            (&infos[1]["reason"], &infos[1]["authorized_user"]),
            (&"Authentication Failure".into(), &"x".into())
        );
        assert_eq!(infos[1].get("account"), None);
        assert_eq!(infos[2]["reason"], "Protocol Violation");
        assert!(infos.iter().all(|info| info["stop"].as_str().unwrap() >= info["start"].as_str().unwrap()));

        // MON-045, MON-059: by reason, and of one account.
        assert_eq!(names(&server.json("/connz?state=closed&sort=reason")), ["refused", "gone", "rude"]);
        assert_eq!(names(&server.json("/connz?state=closed&sort=stop")), ["rude", "refused", "gone"]);
        assert_eq!(names(&server.json("/connz?state=closed&acc=A")), ["gone", "rude"]);
        assert_eq!(server.json("/connz?state=closed&acc=$G")["total"], 0);
        assert_eq!(server.json("/connz")["total"], 0);
    }
}

#[test]
fn connz_sorts_narrows_and_pages() {
    for server in servers(CONFIG) {
        let mut clients: Vec<Client> = ["one", "two", "three"].map(|name| server.client(name)).into();
        clients[1].send(b"SUB a 1\r\nSUB b 2\r\n").unwrap();
        clients[2].send(b"SUB a 1\r\nPUB none 3\r\nabc\r\n").unwrap();
        for client in &mut clients {
            client.sync();
        }
        let get = |path: &str| server.json(path);
        assert_eq!(names(&get("/connz?sort=subs")), ["two", "three", "one"]);
        assert_eq!(names(&get("/connz?sort=bytes_from&limit=1")), ["three"]);
        assert_eq!(names(&get("/connz?sort=uptime")), ["three", "two", "one"]);
        let page = get("/connz?offset=1&limit=1");
        assert_eq!((names(&page), &page["total"], &page["offset"]), (vec!["two"], &3.into(), &1.into()));
        assert_eq!(get("/connz?offset=99")["connections"], serde_json::json!([]));
        let cid = &page["connections"][0]["cid"];
        let one = get(&format!("/connz?cid={cid}"));
        assert_eq!((names(&one), &one["limit"], &one["total"]), (vec!["two"], &1.into(), &3.into()));
        assert_eq!(get("/connz?cid=12345")["connections"], serde_json::json!([]));
        assert_eq!(get("/connz?user=b")["num_connections"], 0);
        assert_eq!(names(&get("/connz?user=a&acc=A&state=ALL")).len(), 3);
        let unknown = get("/connz?acc=zz");
        assert_eq!((&unknown["connections"], &unknown["server_id"]), (&Value::Null, &"".into()));
    }
}

#[test]
fn wrong_parameters_get_a_text_that_names_them() {
    let cases = [
        ("/connz?limit=x", "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "/connz?offset=9e9",
            "Error decoding int for 'offset': strconv.Atoi: parsing \"9e9\": invalid syntax",
        ),
        (
            "/connz?cid=-1",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        (
            "/connz?subs=x%22",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"x\\\"\": invalid syntax",
        ),
        (
            "/connz?auth=yes",
            "Error decoding boolean for 'auth': strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        ("/connz?state=foo", "Error decoding state for foo"),
        ("/connz?sort=foo", "invalid sorting option: foo"),
        ("/connz?sort=stop", "sort by stop only valid on closed connections"),
        ("/connz?sort=reason&state=all", "sort by reason only valid on closed connections"),
        ("/subsz?test=a.*", "invalid test subject, must be valid publish subject: a.*"),
        (
            "/subsz?limit=99999999999999999999",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"99999999999999999999\": value out of range",
        ),
        (
            "/healthz?details=maybe",
            "Error decoding boolean for 'details': strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
    ];
    for server in servers(CONFIG) {
        for (path, text) in cases {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (400, text), "{path}");
            assert!(answer.has("content-type: text/plain; charset=utf-8"), "{}", answer.head);
        }
        for path in ["/nope", "/varz/", "/VARZ", "/connz/1"] {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
        }
        // What cannot be decoded is left out, what is unknown ignored.
        assert_eq!(server.get("/%63onnz?subs=%zz&callback=f&colour=red").status, 200);
    }
}

#[test]
fn subsz_lists_subscriptions_of_accounts() {
    for server in servers(CONFIG) {
        let mut client = server.client("c");
        client.send(b"SUB foo.> 1\r\nSUB foo.*.x q 2\r\nSUB bar 3\r\nSUB gone 4\r\nUNSUB 4\r\n").unwrap();
        client.sync();
        let subsz = server.json("/subsz?subs=1&acc=A");
        assert_eq!(fields(&subsz), SUBSZ.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(subsz["num_removes"], 1);
        let find = |path: &str| {
            let subsz = server.json(path);
            let list = subsz.get("subscriptions_list").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut subjects: Vec<String> =
                list.iter().map(|sub| sub["subject"].as_str().unwrap().to_owned()).collect();
            subjects.sort();
            (subsz["total"].as_u64().unwrap(), subjects)
        };
        let (total, found) = find("/subsz?subs=1&test=foo.a.x");
        assert_eq!((total, found.join(" ").as_str()), (2, "foo.*.x foo.>"));
        assert_eq!(find("/subsz?test=foo.a.x").0, 0);
        assert_eq!(find("/subsz?subs=1&test=foo.a.x&limit=1").1.len(), 1);
        assert_eq!(find("/subsz?subs=1&test=foo.a.x&offset=2"), (2, vec![]));
        assert_eq!(find("/subsz?subs=1&acc=nobody").0, 0);
        let queue = server.json("/subsz?subs=1&test=foo.a.x");
        let queue =
            queue["subscriptions_list"].as_array().unwrap().iter().find(|sub| sub["sid"] == "2").unwrap();
        assert_eq!(fields(queue), "account account_tag subject qgroup sid msgs cid");
        assert_eq!((&queue["account"], &queue["qgroup"]), (&"A".into(), &"q".into()));
    }
}

#[test]
fn subsz_tells_what_the_cache_of_matches_is_worth() {
    // MON-076
    for server in servers(CONFIG) {
        let mut subscriber = server.client("s");
        subscriber.send(b"SUB foo.* 1\r\nSUB foo.a q 2\r\nSUB foo.a q 3\r\n").unwrap();
        subscriber.sync();
        let mut publisher = server.client("p");
        for _ in 0..40 {
            publisher.send(b"PUB foo.a 0\r\n\r\nPUB foo.b 0\r\n\r\n").unwrap();
            publisher.sync();
        }
        let subsz = server.json("/subsz?acc=A");
        let figure = |name: &str| subsz[name].as_f64().unwrap();
        assert!(figure("num_cache") >= 2.0 && figure("num_matches") >= 2.0, "{subsz}");
        assert!((0.0..1.0).contains(&figure("cache_hit_rate")), "{subsz}");
        assert!(
            !server.is_natsd || figure("cache_hit_rate") > 0.5,
            "the publisher goes back and forth: {subsz}"
        );
        // A queue group counts once.
        assert!(figure("max_fanout") <= 3.0 && figure("max_fanout") >= 2.0, "{subsz}");
        assert!((1.0..=2.0).contains(&figure("avg_fanout")), "{subsz}");
        let nobody = server.json("/subsz?acc=nobody");
        assert_eq!((&nobody["num_matches"], &nobody["avg_fanout"]), (&0.into(), &0.into()));
    }
}

#[test]
fn healthz_fails_in_lame_duck_mode_and_on_wrong_parameters() {
    let text = "failed to be ready for connections after 1ms: server";
    for server in servers(CONFIG) {
        let check = |path: &str, status: u16, body: &str| {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
            assert!(answer.has("content-type: application/json"), "{}", answer.head);
        };
        check("/healthz", 200, r#"{"status":"ok"}"#);
        check("/healthz?js-enabled-only=true&js-server-only=1&details=T", 200, r#"{"status":"ok"}"#);
        let missing =
            r#"{"status":"error","error":"\"account\" must not be empty when checking stream health"}"#;
        check("/healthz?stream=s", 400, missing);
        let client = server.client("stays");
        server.server.signal(Signal::USR2);
        assert!(server.server.log().wait_for("Entering lame duck mode", PATIENCE));
        let deadline = Instant::now() + PATIENCE;
        while server.get("/healthz").status == 200 {
            assert!(Instant::now() < deadline, "still healthy in lame duck mode");
        }
        check("/healthz", 500, &format!(r#"{{"status":"error","error":"{text}"}}"#));
        let details = format!(r#"{{"status":"error","errors":[{{"type":"CONNECTION","error":"{text}"}}]}}"#);
        check("/healthz?details=1", 500, &details);
        assert!(server.server.log().wait_for(&format!("Healthcheck failed: \"{text}\""), PATIENCE));
        assert!(server.server.log().wait_for("Healthcheck failed: 1 errors", PATIENCE));
        drop(client);
    }
}

#[test]
fn everything_stands_under_the_base_path() {
    for server in servers("http: \"127.0.0.1:-1\"\nhttp_base_path: \"nats/\"\n") {
        assert_eq!(server.json("/nats/varz")["http_base_path"], "nats/");
        let page = server.get("/nats");
        assert_eq!(page.status, 200);
        assert!(page.has("content-type: text/html; charset=utf-8"), "{}", page.head);
        assert!(page.body.contains("./nats/varz") && page.body.contains("v2.15"), "{}", page.body);
        assert_eq!(["/", "/varz", "/nats/"].map(|path| server.get(path).status), [404; 3]);
    }
}

#[test]
fn what_cannot_be_served_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cases = [
        ("https: 8443".to_owned(), "TLS cert and key required for HTTPS"),
        ("http: 1\nhttps: 2".to_owned(), "can't specify both HTTP (1) and HTTPs (2) ports"),
        ("http: 70000".to_owned(), "can't listen to the monitor port"),
        (format!("http: \"127.0.0.1:{port}\""), "can't listen to the monitor port"),
    ];
    for program in programs() {
        for (config, text) in &cases {
            let refused = Launch::new(&program).config(config.as_str()).try_start();
            let why = refused.err().expect("no start");
            assert!(why.contains("Can't start monitoring") && why.contains(text), "{why}");
        }
    }
}

#[test]
fn a_reload_that_would_move_the_monitor_is_refused_and_shown() {
    for server in servers(CONFIG) {
        let outcome = server.server.reload(&CONFIG.replace("127.0.0.1:-1", "127.0.0.1:12"));
        assert!(outcome.contains("config reload not supported for HTTPPort: old=-1, new=12"), "{outcome}");
        if server.is_natsd {
            let varz = server.json("/varz");
            let error = varz["natsd"]["reload_error"].as_str().unwrap();
            assert!(error.contains("HTTPPort"), "{error}");
        }
        let outcome = server.server.reload(&CONFIG.replace("here", "there"));
        assert!(outcome.contains("Reloaded server configuration"), "{outcome}");
        let varz = server.json("/varz");
        assert_eq!(varz["metadata"]["place"], "there");
        assert_eq!(varz.pointer("/natsd/reload_error"), None);
    }
}

#[test]
fn the_ports_file_lists_the_monitor() {
    for server in servers(&format!("{CONFIG}\nports_file_dir: \"{{{{dir}}}}\"\n")) {
        // Written once the server is ready, and not at one stroke.
        let find = || {
            std::fs::read_dir(server.server.dir()).unwrap().find_map(|entry| {
                let path = entry.unwrap().path();
                let text = (path.extension()? == "ports").then(|| std::fs::read_to_string(path).unwrap())?;
                serde_json::from_str::<Value>(&text).ok()
            })
        };
        let deadline = Instant::now() + PATIENCE;
        let ports = loop {
            match find() {
                Some(ports) => break ports,
                None => assert!(Instant::now() < deadline, "no ports file"),
            }
        };
        assert_eq!(ports["monitoring"], serde_json::json!([format!("http://{}", server.http)]));
    }
}

#[test]
fn a_producer_that_had_to_wait_shows_at_the_receiver_and_in_the_sum() {
    // The reference lets a producer wait when 3/4 of max_pending are there; natsd at 1 MiB already.
    for server in servers("http: \"127.0.0.1:-1\"\nmax_pending: 16MB\n") {
        let join =
            |name: &str| Client::join(server.server.address(), &format!("\"name\":\"{name}\"")).unwrap();
        let (mut reader, mut writer) = (join("reader"), join("writer"));
        reader.send(b"SUB x 1\r\n").unwrap();
        reader.sync();
        let message = [b"PUB x 60000\r\n", &[b'x'; 60_000][..], b"\r\n"].concat();
        let deadline = Instant::now() + PATIENCE;
        while server.json("/connz?sort=pending")["connections"][0].get("stalls").is_none() {
            assert!(Instant::now() < deadline, "no stall");
            writer.send(&message.repeat(10)).unwrap();
        }
        drop(reader);
        let closed = server.wait("/connz?state=closed", |connz| connz["total"] == 1);
        let stalls = closed["connections"][0]["stalls"].as_u64().unwrap();
        assert_eq!(server.json("/varz")["stalled_clients"], stalls);
    }
}

#[test]
fn odd_clients_hold_up_nobody() {
    for server in servers(CONFIG) {
        let mut slow: Vec<TcpStream> = (0..20).map(|_| server.wire()).collect();
        for wire in &mut slow {
            wire.write_all(b"GET /varz HTT").unwrap();
        }
        for garbage in [&b"\x16\x03\x01\x00\xff\r\n\r\n"[..], b"GET\r\n\r\n", b"\r\n\r\n\0\0\0\0 x\r\n\r\n"] {
            let mut wire = server.wire();
            wire.write_all(garbage).unwrap();
            let mut answer = Vec::new();
            let _ = wire.read_to_end(&mut answer);
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
        }
        assert_eq!(server.get("/healthz").status, 200);
        // MON-003: a head that does not end is given up after 5 s.
        let patience = Some(Duration::from_secs(10));
        for mut wire in slow {
            wire.set_read_timeout(patience).unwrap();
            let mut answer = Vec::new();
            wire.read_to_end(&mut answer).expect("the end, in time");
        }
    }
}

#[test]
fn one_connection_carries_many_requests() {
    for server in servers(CONFIG) {
        let mut wire = server.wire();
        let get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let post = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        wire.write_all(&[&get[..], post, get].concat()).unwrap();
        let mut answers = String::new();
        while answers.matches(r#"{"status":"ok"}"#).count() < 3 {
            let mut bytes = [0; 4096];
            let count = wire.read(&mut bytes).unwrap();
            assert!(count > 0, "{answers}");
            answers.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    }
}
