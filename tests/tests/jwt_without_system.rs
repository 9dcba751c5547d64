//! Operators without a system account: nobody answers for the server, on natsd and, where it is at hand, on the
//! reference.
//!
//! Needs the plugins beside the binary: `cargo build -p natsd -p natsd-monitoring -p natsd-auth-jwt`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use natsd_tests::Launch;
use natsd_tests::jwt::{Key, Realm, join, request, user_token};
use natsd_tests::monitored::{programs, servers};
use serde_json::json;

#[test]
fn operators_have_only_the_system_account_that_was_named() {
    let (realm, account, user) = (Realm::default(), Key::account("A"), Key::user("u"));
    let operator = realm.operator_token(json!({"nats": {"system_account": ""}}));
    let preload = format!("{}: {}", account.public(), realm.account_token(&account, json!({})));
    let trusted = [format!("operator: {operator}"), format!("trusted_keys: {}", realm.operator.public())];
    for (trusted, warns) in trusted.iter().zip([true, false]) {
        let config = format!(
            "http: \"127.0.0.1:-1\"\n{trusted}\nresolver: MEMORY\nresolver_preload {{ {preload} }}\n"
        );
        for monitored in servers(&config) {
            let server = &monitored.server;
            let warning = "[WRN] Trusted Operators should utilize a System Account";
            assert_eq!(server.log().text().contains(warning), warns, "{}", server.log().text());
            let mut client = join(server, &user_token(&account, &user, json!({})), &user);
            let varz = monitored.json("/varz");
            assert_eq!(
                (&varz["system_account"], &varz["subscriptions"]),
                (&json!(null), &json!(0)),
                "{varz}"
            );
            for asked in
                ["USER.INFO", "ACCOUNT.PING.CONNZ", "ACCOUNT.PING.STATZ", "SERVER.PING.CONNZ", "SERVER.PING"]
            {
                let answer = request(&mut client, &format!("$SYS.REQ.{asked}"), "");
                assert_eq!(answer, "no responders", "{asked} on {}", server.program().display());
            }
            let accountz = monitored.json("/accountz");
            assert_eq!(accountz["system_account"], json!(null), "{accountz}");
        }
    }
}

#[test]
fn who_is_trusted_stays_so_until_a_restart() {
    // CFG-141
    let (realm, other, account) = (Realm::default(), Key::operator("P"), Key::account("A"));
    let without_system = json!({"nats": {"system_account": ""}});
    let (operator, own) = (realm.operator_token(without_system), realm.operator.public());
    let system = realm.system.public();
    let all = realm.config(&[(&account, json!({}))]);
    let memory = "resolver: MEMORY\n";
    let cases = [
        (all, String::new(), format!("SystemAccount: old={system}, new=")),
        (format!("operator: {operator}\n{memory}"), String::new(), "TrustedOperators: old=[".to_owned()),
        (
            format!("trusted_keys: {own}\n{memory}"),
            format!("trusted_keys: {}\n{memory}", other.public()),
            format!("TrustedKeys: old=[{own}], new=[{}]", other.public()),
        ),
    ];
    for (before, after, why) in cases {
        for program in programs() {
            let server = Launch::new(program).config(&before).start();
            let told = server.reload(&after);
            let expected =
                format!("Failed to reload server configuration: config reload not supported for {why}");
            assert!(told.starts_with(&expected), "{} says {told}", server.program().display());
        }
    }
}
