//! The built-in page: there when it is configured, and only beside the monitoring port. What it shows is looked at in
//! a browser (`tests/interop/browser`).
//!
//! Needs the plugin beside the binary: `cargo build -p natsd -p natsd-monitoring`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::monitored::Monitored;
use natsd_tests::server::natsd;

#[test]
fn the_page_is_served_with_its_files_and_loads_nothing_else() {
    let server = Monitored::start(natsd(), "http: \"127.0.0.1:-1\"\nhttp_base_path: nats\ndashboard: true\n");
    let page = server.get("/nats/dashboard");
    assert_eq!(page.status, 200);
    assert!(page.has("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(
        page.head.contains("content-security-policy: default-src 'none'; script-src 'self';"),
        "{}",
        page.head
    );
    for (file, kind) in [
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("chart.js", "text/javascript"),
        ("events.js", "text/javascript"),
        ("text.js", "text/javascript"),
    ] {
        let answer = server.get(&format!("/nats/dashboard/{file}"));
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.has(&format!("content-type: {kind}; charset=utf-8")), "{}", answer.head);
        assert!(answer.has("x-content-type-options: nosniff"), "{}", answer.head);
        assert!(!answer.body.contains("http://") || file == "chart.js", "{file} names another place");
    }
    assert_eq!(
        ["/dashboard", "/nats/dashboard/", "/nats/dashboard/x.js"].map(|path| server.get(path).status),
        [404; 3]
    );
    assert!(server.get("/nats").body.contains("./nats/dashboard"));
    assert_eq!(server.json("/nats/varz")["http_req_stats"]["/dashboard"], 1);
}

#[test]
fn without_its_setting_there_is_no_page() {
    for setting in ["", "dashboard: false\n"] {
        let server = Monitored::start(natsd(), &format!("http: \"127.0.0.1:-1\"\n{setting}"));
        for path in ["/dashboard", "/dashboard/app.js"] {
            assert_eq!(
                (server.get(path).status, server.get(path).body.as_str()),
                (404, "404 page not found\n")
            );
        }
        assert!(!server.get("/").body.contains("dashboard"));
    }
}

#[test]
fn without_the_monitoring_port_the_page_is_refused() {
    for (config, text) in [
        ("dashboard: true\n", "the dashboard needs the monitoring port: add http:"),
        ("http: \"127.0.0.1:-1\"\ndashboard: \"yes\"\n", "dashboard: expected true or false, got a string"),
    ] {
        let refused = Launch::new(natsd()).config(config).try_start().err().expect("no start");
        assert!(refused.contains(text), "{refused}");
    }
}
