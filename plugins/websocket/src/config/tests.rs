//! CFG-230, WS-001, WS-002.

#![allow(clippy::unwrap_used)]

use super::*;

fn read(block: Value) -> Result<Config> {
    let keys = [(KEY.to_owned(), block)].into_iter().collect();
    let (config, put_off) = Config::read(&Section { keys, ..Section::default() })?;
    put_off.finish().map(|()| config)
}

fn refused(block: Value) -> String {
    read(block).unwrap_err().to_string()
}

#[test]
fn every_key_is_read() {
    let config = read(json!({
        "listen": "127.0.0.1:8080",
        "advertise": "ws.example.com:443",
        "tls": {"cert_file": "c.pem", "key_file": "k.pem"},
        "no_tls": true,
        "same_origin": true,
        "allowed_origins": ["https://a.com", "http://b.com:81"],
        "handshake_timeout": "2s",
        "compression": true,
        "authorization": {"username": "u", "password": "p", "token": "t", "timeout": 1.5},
        "jwt_cookie": "j", "user_cookie": "uc", "pass_cookie": "pc", "token_cookie": "tc",
        "no_auth_user": "n",
        "headers": {"X-A": "b", "X-C": "d"},
        "ping_interval": "30s",
    }))
    .unwrap();
    let spec = config.spec();
    assert_eq!((spec.name.as_str(), spec.kind.as_str()), ("websocket", "websocket"));
    assert_eq!((spec.host.as_str(), spec.port), ("127.0.0.1", 8080));
    assert_eq!(spec.tls, Some(json!({"cert_file": "c.pem", "key_file": "k.pem"})));
    assert_eq!(spec.handshake_timeout_ms, Some(2_000));
    let options = json!({
        "advertise": "ws.example.com:443", "no_auth_user": "n", "username": "u", "password": "p", "token": "t",
        "jwt_cookie": "j", "auth_timeout_ms": 1_500, "ping_interval_ms": 30_000,
    });
    assert_eq!(Value::from(spec.options), options);
    let upgrade = config.upgrade;
    assert!(upgrade.compression && upgrade.origins.same_origin);
    assert_eq!(upgrade.origins.allowed.len(), 2);
    assert_eq!(upgrade.headers, "X-A: b\r\nX-C: d\r\n");
    assert_eq!(upgrade.cookies.user.as_deref(), Some("uc"));
    assert_eq!(upgrade.cookies.token.as_deref(), Some("tc"));
}

#[test]
fn keys_have_aliases_and_any_case() {
    for key in ["allowed_origins", "allowed_origin", "allow_origins", "allow_origin", "origins", "origin"] {
        let config = read(json!({"port": 1, "no_tls": true, key: "http://a.com"})).unwrap();
        assert_eq!(config.allowed_origins, ["http://a.com"], "{key}");
    }
    let config =
        read(json!({"PORT": -1, "Net": "h", "no_tls": true, "compress": true, "authentication": {"user": "u", "pass": "p"}}))
            .unwrap();
    assert_eq!((config.listen.host(), config.listen.port), ("h", -1));
    assert!(config.upgrade.compression);
    assert_eq!(config.listen.password.as_deref(), Some("p"));
}

#[test]
fn addresses_are_a_port_or_host_and_port() {
    for (listen, host, port) in [
        (json!(8080), "0.0.0.0", 8080),
        (json!(":1"), "0.0.0.0", 1),
        (json!("[::1]:2"), "::1", 2),
        (json!("a:-1"), "a", -1),
    ] {
        let config = read(json!({"listen": listen, "no_tls": true})).unwrap();
        assert_eq!((config.listen.host(), config.listen.port), (host, port));
    }
    for (listen, why) in [
        (json!("nowhere"), "websocket.listen: could not parse address string \"nowhere\""),
        (json!("::1:2"), "websocket.listen: could not parse address string \"::1:2\""),
        (json!("a:b"), "websocket.listen: could not parse port \"b\""),
        (json!(true), "websocket.listen: expected port or host:port, found a boolean"),
        (json!(70_000), "websocket.listen: port 70000 is out of range: use 1 to 65535, or -1 for a free one"),
    ] {
        assert_eq!(refused(json!({"listen": listen, "no_tls": true})), why);
    }
}

#[test]
fn a_block_without_a_port_means_nothing() {
    assert_eq!(read(json!({"compression": true})).unwrap().listen.port, 0);
    assert_eq!(Config::read(&Section::default()).unwrap(), (Config::default(), PutOff::default()));
}

#[test]
fn tls_is_required_unless_waived() {
    assert_eq!(refused(json!({"port": 1})), "websocket: websocket requires TLS configuration");
    assert!(read(json!({"port": 1, "tls": {}})).is_ok());
}

#[test]
fn durations_are_seconds_or_text() {
    let timeout = |value: Value| {
        read(json!({"port": 1, "no_tls": true, "handshake_timeout": value}))
            .map(|config| config.listen.handshake_timeout)
    };
    assert_eq!(timeout(json!(3)).unwrap(), Some(Duration::from_secs(3)));
    assert_eq!(timeout(json!("10ms")).unwrap(), Some(Duration::from_millis(10)));
    assert_eq!(timeout(json!(0)).unwrap(), None);
    assert_eq!(
        timeout(json!("soon")).unwrap_err().to_string(),
        "websocket.handshake_timeout: error parsing handshake_timeout: time: invalid duration \"soon\""
    );
    assert!(timeout(json!(true)).is_err());
}

#[test]
fn wrong_blocks_are_refused_with_their_place() {
    let with = |key: &str, value: Value| refused(json!({"port": 1, "no_tls": true, key: value}));
    assert_eq!(refused(json!(5)), "websocket: expected a map, found a number");
    assert_eq!(with("prot", json!(1)), "websocket.prot: unknown field \"prot\"");
    assert_eq!(with("a.port", json!(1)), "websocket.a.port: unknown field \"a.port\"");
    assert_eq!(
        with("compression", json!("on")),
        "websocket.compression: expected true or false, found a string"
    );
    assert_eq!(
        with("authorization", json!({"users": []})),
        "websocket.authorization.users: unknown field \"users\""
    );
    assert_eq!(
        with("origin", json!("null")),
        "websocket.origin: unable to parse allowed origin: parse \"null\": invalid URI for request"
    );
    assert_eq!(
        with("origin", json!("ftp://a")),
        "websocket.origin: unable to parse allowed origin \"ftp://a\": allowed origins must be absolute URLs \
         with http or https scheme"
    );
    assert_eq!(
        with("origin", json!("http:///x")),
        "websocket.origin: unable to parse allowed origin \"http:///x\": host is required"
    );
    assert_eq!(
        with("headers", json!({"Upgrade": "x"})),
        "websocket.headers.Upgrade: websocket: invalid header \"Upgrade\" not allowed"
    );
    assert_eq!(
        with("headers", json!({"sec-websocket-x": "x"})),
        "websocket.headers.sec-websocket-x: websocket: invalid header \"sec-websocket-x\", \"Sec-WebSocket-\" prefix \
         not allowed"
    );
    assert!(with("headers", json!({"X": "a\r\nB: c"})).contains("not an HTTP header"));
    assert!(with("headers", json!({"X": 1})).contains("expected a string"));
}

#[test]
fn a_listener_cannot_change_what_it_was_opened_with() {
    // WS-034
    let base = json!({"port": 1, "no_tls": true, "token": "unused"});
    let config = |key: &str, value: Value| {
        let mut block = base.clone();
        block.as_object_mut().unwrap().remove("token");
        block[key] = value;
        read(block).unwrap()
    };
    let old = config("port", json!(1));
    let difference = |key: &str, value: Value| old.listen.fixed_difference(&config(key, value).listen);
    assert_eq!(difference("port", json!(2)), Some(("port", "1".to_owned(), "2".to_owned())));
    assert_eq!(difference("host", json!("0.0.0.0")), None);
    assert_eq!(difference("compression", json!(true)), None);
    assert_eq!(difference("origin", json!("http://a.com")), None);
    let (key, _, shown) = difference("authorization", json!({"user": "u", "password": "p"})).unwrap();
    assert_eq!((key, shown.as_str()), ("authorization.user", "\"u\""));
    let (_, _, shown) = difference("authorization", json!({"token": "secret"})).unwrap();
    assert!(!shown.contains("secret"));
}

#[test]
fn monitoring_shows_what_is_set() {
    let config =
        read(json!({"port": -1, "no_tls": true, "origin": "http://a.com", "handshake_timeout": 2})).unwrap();
    assert_eq!(
        config.facts(4_567),
        json!({
            "host": "0.0.0.0", "port": 4_567, "handshake_timeout": 2_000_000_000, "no_tls": true,
            "allowed_origins": ["http://a.com"],
        })
    );
}
