//! The configuration as a whole: file and flags in, options, sections and printed errors out.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::options::{HandshakeFirst, ResponsePermission, UserOptions};
use super::{Available, Config, ConfigErrors, Inputs, Options, PluginKeys, load, parse, read};
use crate::cli::{Command, Flags, parse as parse_command_line};

/// Files by name; everything else is missing.
fn load_files(files: &[(&str, &str)], flags: &Flags, available: &Available) -> Result<Config, ConfigErrors> {
    let files: BTreeMap<PathBuf, String> =
        files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect();
    let read_file = |path: &Path| files.get(path).cloned().ok_or_else(|| rustix::io::Errno::NOENT.into());
    let inputs = Inputs { read_file: &read_file, env: &|_| None };
    load(Some(Path::new("a.conf")), &inputs, flags, available)
}

fn load_text(text: &str) -> Result<Config, ConfigErrors> {
    load_files(&[("a.conf", text), ("c", ""), ("k", "")], &Flags::default(), &Available::bundled())
}

fn options(text: &str) -> Options {
    load_text(text).unwrap_or_else(|errors| panic!("{errors}")).options
}

fn errors(text: &str) -> String {
    load_text(text).unwrap_err().to_string()
}

fn flags(line: &str) -> Flags {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse_command_line("natsd", &words) {
        Command::Run(flags) => *flags,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_shows_place_line_and_remedy() {
    assert_eq!(
        errors("port: 4222\ndebug: \"true\"\n"),
        "a.conf:2:1: debug must be a boolean, not a string\n   | debug: \"true\"\n   = remove the quotes: debug: true"
    );
}

#[test]
fn all_errors_are_collected_in_the_order_of_the_file() {
    // CFG-025
    let text = errors("foo: 1\nport: \"x\"\nauthorization { users: [ {bar: 2}, 5 ] }\nbaz: 3\n");
    let places: Vec<&str> = text.lines().filter(|line| line.starts_with("a.conf")).collect();
    assert_eq!(
        places,
        [
            "a.conf:1:1: unknown field \"foo\"",
            "a.conf:2:1: port must be an integer, not a string",
            "a.conf:3:26: User entry requires a user",
            "a.conf:3:27: unknown field \"bar\"",
            "a.conf:3:36: Expected user entry to be a map/struct, got 5",
            "a.conf:4:1: unknown field \"baz\"",
        ]
    );
}

#[test]
fn many_errors_are_counted_after_the_first_hundred() {
    let text: String = (0..20_000).map(|at| format!("key{at}: 1\n")).collect();
    let shown = errors(&text);
    assert!(shown.ends_with("\nand 19900 more"), "{}", &shown[shown.len() - 100..]);
}

#[test]
fn lines_that_may_hold_secrets_are_not_shown() {
    let text = errors("authorization { user: a, password: hunter2, foo: 1 }\n");
    assert_eq!(text, "a.conf:1:45: unknown field \"foo\"");
}

#[test]
fn an_error_in_an_include_names_the_included_file() {
    let files = [
        ("a.conf", "include 'sub/b.conf'\n"),
        ("sub/b.conf", "include c.conf\n"),
        ("sub/c.conf", "\nbar: 1\n"),
    ];
    let text = load_files(&files, &Flags::default(), &Available::bundled()).unwrap_err().to_string();
    assert!(text.starts_with("sub/c.conf:2:1: unknown field \"bar\""), "{text}");
    let files = [("a.conf", "include 'sub/b.conf'\n"), ("sub/b.conf", "x: \"\\q\"\n")];
    let text = load_files(&files, &Flags::default(), &Available::bundled()).unwrap_err().to_string();
    assert!(
        text.starts_with("sub/b.conf:1:6: error parsing include file 'sub/b.conf', Parse error on line 1"),
        "{text}"
    );
}

#[test]
fn a_missing_file_is_said_as_go_says_it() {
    // CFG-308
    let text = load_files(&[], &Flags::default(), &Available::bundled()).unwrap_err().to_string();
    assert!(text.starts_with("open a.conf: no such file or directory"), "{text}");
}

#[test]
fn without_a_file_everything_is_default() {
    let read_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let inputs = Inputs { read_file: &read_file, env: &|_| None };
    let config = load(None, &inputs, &Flags::default(), &Available::default()).unwrap();
    assert_eq!((config.options, config.digest.as_str()), (Options::default(), ""));
}

#[test]
fn limits_have_the_values_of_the_reference() {
    // CFG-052 to CFG-062
    let limits =
        options("max_payload: 2MB\nmax_conn: 0\nmax_subs: -1\nmax_control_line: 1k\nmax_sub_tokens: 9\n")
            .limits;
    assert_eq!(limits.max_payload_bytes, 2 << 20);
    assert_eq!(limits.max_connections, None);
    assert_eq!(limits.max_subscriptions, None);
    assert_eq!(limits.max_control_line_bytes, 1000);
    assert_eq!(limits.max_sub_tokens, Some(9));
    assert_eq!(options("max_payload: -1\nmax_pending: 5mb").limits.max_payload_bytes, 5 << 20);
}

#[test]
fn bare_numbers_for_durations_are_seconds_with_a_warning() {
    // CFG-017, CFG-018
    let config = load_text("ping_interval: 1m\nwrite_deadline: 2s\n").unwrap();
    assert_eq!(config.options.timing.ping_interval, Duration::from_secs(1_000_000));
    assert_eq!(config.options.timing.write_deadline, Duration::from_secs(2));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings_text().starts_with("a.conf:1:1: invalid use of field \"ping_interval\""));
}

#[test]
fn permissions_follow_the_block_where_a_user_has_none() {
    // CFG-164, CFG-167, PERM-005
    let options = options(
        "authorization {
           default_permissions { publish: \"d\" }
           users: [
             {user: plain}
             {user: own, permissions { subscribe { allow: [\"s q\"], deny: x }, allow_responses: true } }
             {user: slow, permissions { publish: p, allow_responses { max: -1, expires: \"5s\" } } }
             {user: open, permissions { publish: [] } }
           ] }",
    );
    let of = |at: usize| options.auth.users[at].permissions.clone().unwrap();
    assert_eq!(of(0).publish.allow, Some(vec!["d".to_owned()]));
    assert_eq!(of(1).publish.allow, Some(Vec::new()));
    assert_eq!(of(1).subscribe.allow, Some(vec!["s q".to_owned()]));
    assert_eq!(of(1).subscribe.deny, ["x"]);
    let default = ResponsePermission { max_msgs: Some(1), ttl: Some(Duration::from_secs(120)) };
    assert_eq!(of(1).allow_responses, Some(default));
    let slow = ResponsePermission { max_msgs: None, ttl: Some(Duration::from_secs(5)) };
    assert_eq!(
        (of(2).allow_responses, of(2).publish.allow.clone()),
        (Some(slow), Some(vec!["p".to_owned()]))
    );
    assert_eq!(of(3).publish.allow, None);
}

#[test]
fn permissions_that_are_equal_are_one_wherever_they_stand() {
    let options = options(
        "authorization { users: [ {user: a, permissions { publish: p }}, {user: b, permissions { pub: [p] }} ] }
         accounts { A { users: [ {user: c, permissions { publish { allow: p } }}, {user: d, permissions { sub: p }} ] } }",
    );
    let of = |users: &[UserOptions], at: usize| users[at].permissions.clone().unwrap();
    let first = of(&options.auth.users, 0);
    assert!(Arc::ptr_eq(&first, &of(&options.auth.users, 1)));
    assert!(Arc::ptr_eq(&first, &of(&options.accounts.accounts[0].users, 0)));
    assert!(!Arc::ptr_eq(&first, &of(&options.accounts.accounts[0].users, 1)));
}

#[test]
fn users_of_accounts_know_their_account() {
    // CFG-170 to CFG-179
    let options = options(
        "accounts { B { users: [ {user: b} ], limits { max_conn: 5, max_subs: -1 } }
                    A { msg_trace { dest: t, sampling: \"20%\" } } }
         no_auth_user: b",
    );
    let accounts = options.accounts.accounts;
    assert_eq!(accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(), ["B", "A"]);
    assert_eq!(accounts[0].users[0].account.as_deref(), Some("B"));
    assert_eq!((accounts[0].max_connections, accounts[0].max_subscriptions), (Some(5), None));
    let trace = accounts[1].msg_trace.clone().unwrap();
    assert_eq!((trace.dest.as_str(), trace.sampling_percent), ("t", 20));
}

#[test]
fn tls_is_read_with_its_aliases() {
    // CFG-240 to CFG-251
    let tls =
        options("tls { cert_file: c, key_file: k, verify_and_map: true, timeout: 1.5, first: \"100ms\" }")
            .tls
            .unwrap();
    assert!(tls.verify && tls.verify_and_map);
    assert_eq!(tls.timeout, Duration::from_millis(1500));
    assert_eq!(tls.handshake_first, HandshakeFirst::Auto(Duration::from_millis(100)));
    assert_eq!(tls.certs, [(PathBuf::from("c"), PathBuf::from("k"))]);
}

#[test]
fn keys_of_plugins_become_sections_with_places() {
    let config = load_text(
        "ws { Port: 8080\n  tls { cert_file: x } }\naccounts { A { jetstream { max_mem: 1k } } }\nhttp_port: 8222\n",
    )
    .unwrap();
    let keys: Vec<(String, &str)> =
        config.sections.iter().map(|section| (section.key(), section.plugin.as_str())).collect();
    assert_eq!(
        keys,
        [
            ("websocket".to_owned(), "websocket"),
            ("accounts.A.jetstream".to_owned(), "jetstream"),
            ("http_port".to_owned(), "monitoring"),
        ]
    );
    assert_eq!(config.owned_keys()[1].1, json!({"max_mem": 1000}));
    let place = |plugin, text| {
        let problem = config.plugin_problem(plugin, text);
        config.errors(vec![problem]).to_string().lines().next().unwrap().to_owned()
    };
    assert_eq!(place("websocket", "websocket.port: in use"), "a.conf:1:6: websocket.port: in use");
    assert_eq!(
        place("websocket", "websocket.tls.key_file: missing"),
        "a.conf:2:3: websocket.tls.key_file: missing"
    );
    assert_eq!(
        place("jetstream", "accounts.A.jetstream.max_mem: no"),
        "a.conf:3:28: accounts.A.jetstream.max_mem: no"
    );
    assert_eq!(place("jetstream", "nothing to do with a key"), "nothing to do with a key");
}

#[test]
fn a_tls_block_of_a_plugin_is_read_like_the_core_s() {
    let config =
        load_text("websocket {\n  tls { cert_file: c, key_file: k }\n}\nmqtt {\n  tls { cert_file: c } }\n")
            .unwrap();
    let read_file = |_: &Path| Ok(String::new());
    let inputs = Inputs { read_file: &read_file, env: &|_| None };
    let tls = config.section_tls(&config.sections[0], "/tls", &inputs).unwrap();
    assert_eq!(tls.certs.len(), 1);
    let text = config.section_tls(&config.sections[1], "/tls", &inputs).unwrap_err().to_string();
    assert!(text.starts_with("a.conf:5:3: missing 'key_file' in TLS configuration"), "{text}");
}

#[test]
fn a_key_of_an_absent_plugin_names_the_plugin() {
    let available = Available { plugins: Vec::new(), searched: vec![PathBuf::from("./plugins")] };
    let files = [("a.conf", "port: 4222\njetstream: true\n")];
    assert_eq!(
        load_files(&files, &Flags::default(), &available).unwrap_err().to_string(),
        "a.conf:2:1: `jetstream` needs the plugin `jetstream`, which is not in ./plugins\n   \
         | jetstream: true\n   \
         | looked for ./plugins/libnatsd_jetstream.so\n   \
         = put the plugin there, name its folder with --plugins-dir, or remove the key"
    );
}

#[test]
fn a_third_party_plugin_brings_its_keys() {
    let text = "my_key { a: 1 }\nplugins {\n  dirs: [p]\n  my { path: \"x.so\", required: true, config { url: \"u\" } }\n}\n";
    let keys = vec!["my_key".to_owned()];
    let mut available = Available::bundled();
    assert!(errors(text).starts_with("a.conf:1:1: unknown field \"my_key\""));
    available.plugins.push(PluginKeys { name: "my".to_owned(), owned_keys: keys });
    let config = load_files(&[("a.conf", text)], &Flags::default(), &available).unwrap();
    let declared = &config.options.plugins.declared[0];
    assert_eq!((declared.name.as_str(), declared.required), ("my", true));
    assert_eq!(declared.config, json!({"url": "u"}));
    assert_eq!(config.sections[0].value, json!({"a": 1}));
    let problem = config.plugin_problem("my", "config.url: not a URL");
    assert!(config.errors(vec![problem]).to_string().starts_with("a.conf:4:47: config.url"));
}

#[test]
fn plugin_folders_are_known_before_the_rest_is_read() {
    let read_file = |_: &Path| Ok("plugins { dirs: [b] }\nnonsense: 1\n".to_owned());
    let inputs = Inputs { read_file: &read_file, env: &|_| None };
    let draft = read(Some(Path::new("a.conf")), &inputs, &flags("--plugins-dir a")).unwrap();
    assert_eq!(draft.plugins.dirs, [PathBuf::from("a"), PathBuf::from("b")]);
}

#[test]
fn flags_win_over_the_file() {
    // CFG-305
    let text = "port: 4000\nhost: 1.1.1.1\ndebug: true\ntrace: true\nhttp: \"127.0.0.1:8222\"\njetstream { store_dir: a }\n";
    let flags = flags("-p 5000 -D=false -VV --name n -m 9000 -js -sd dir --max_traced_msg_len 7 --pid p");
    let config = load_files(&[("a.conf", text)], &flags, &Available::bundled()).unwrap();
    let options = &config.options;
    assert_eq!((options.port, options.host.as_str(), options.server_name.as_str()), (5000, "1.1.1.1", "n"));
    assert_eq!((options.log.debug, options.log.trace, options.log.trace_verbose), (false, true, true));
    assert_eq!(options.limits.max_traced_msg_len, 7);
    assert_eq!(options.files.pid_file, Some(PathBuf::from("p")));
    let keys = config.owned_keys();
    assert!(keys.contains(&("http".to_owned(), json!("127.0.0.1:9000"))), "{keys:?}");
    assert!(keys.contains(&("jetstream".to_owned(), json!({"enabled": true}))), "{keys:?}");
    assert!(keys.contains(&("store_dir".to_owned(), json!("dir"))), "{keys:?}");
}

#[test]
fn cluster_flags_make_the_cluster_block() {
    // CFG-302
    let flags = flags(
        "--cluster nats://u:p@127.0.0.1:-1 --routes nats://a:1,nats://b:2 --cluster_name C --no_advertise",
    );
    let text = "cluster { LISTEN: \"x:1\", pool_size: 5 }\n";
    let config = load_files(&[("a.conf", text)], &flags, &Available::bundled()).unwrap();
    assert_eq!(
        config.owned_keys()[0].1,
        json!({
            "pool_size": 5, "host": "127.0.0.1", "port": -1, "authorization": {"user": "u", "password": "p"},
            "routes": ["nats://a:1", "nats://b:2"], "name": "C", "no_advertise": true
        })
    );
    let files = [("a.conf", "port: 4222\n")];
    let alone = load_files(&files, &self::flags("--routes nats://a:1"), &Available::bundled()).unwrap_err();
    assert_eq!(alone.to_string(), "solicited routes require cluster capabilities, e.g. --cluster");
}

#[test]
fn hostile_texts_end_quickly_with_an_error() {
    for text in [
        "a: ".to_owned() + &"[".repeat(1_000_000),
        "a {".repeat(1_000_000),
        "a: ".to_owned() + &"{{".repeat(500_000),
        "\"".repeat(999_999),
        "a: x".to_owned() + &"\\".repeat(999_999),
        "a: ".to_owned() + &"9".repeat(1_000_000),
        "a: 1.".to_owned() + &"9".repeat(1_000_000) + "x",
        "a: (\n".to_owned() + &")x\n".repeat(300_000),
        "(".repeat(1_000_000),
        "a: $".to_owned() + &"$".repeat(1_000_000),
        "include ".to_owned() + &"x".repeat(1_000_000),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..20]);
    }
}

#[test]
fn variables_do_not_explode() {
    let mut wide = "a0: [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut deep = "a0: {x: y}\n".to_owned();
    for at in 1..60 {
        let before = at - 1;
        wide += &format!("a{at}: [{}]\n", format!("$a{before},").repeat(10));
        deep += &format!("a{at}: {{x: {{x: $a{before}}}}}\n");
    }
    assert!(parse(&wide).unwrap_err().text.contains("variables expand to more than"));
    assert!(parse(&deep).unwrap_err().text.contains("nest deeper than"));
    let long = format!("a: \"{}\"\n{}", "x".repeat(1 << 20), "b: $a\n".repeat(200));
    assert!(parse(&long).unwrap_err().text.contains("variables expand to more than"));
}

#[test]
fn cut_and_shuffled_files_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/configs/valid");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    texts.sort();
    let mut state: u64 = 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    const ODD: [&str; 14] = ["{", "}", "[", "]", "(\n", "\n)\n", "\"", "'", "\\", "$", "-", "1.", "é", "\r"];
    for _ in 0..5_000 {
        let mut chars: Vec<char> = texts[next(texts.len())].chars().collect();
        for _ in 0..=next(4) {
            let at = next(chars.len());
            match next(3) {
                0 => chars.truncate(at),
                1 => drop(chars.splice(at..at, ODD[next(ODD.len())].chars())),
                _ if at < chars.len() => drop(chars.remove(at)),
                _ => {}
            }
        }
        let text: String = chars.into_iter().collect();
        let _ = load_text(&text);
    }
}
