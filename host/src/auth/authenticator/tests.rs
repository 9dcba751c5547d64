//! What the authenticator decides, rule by rule.
#![allow(clippy::unwrap_used, clippy::panic)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;

use super::*;
use crate::auth::certificate::CertificateFacts;
use crate::auth::distinguished_name::DistinguishedName;
use crate::auth::fixtures::*;
use crate::config::options::{PermissionsOptions, SubjectPermissions, UserOptions};
use crate::proto::error::ClosedReason;

#[test]
fn without_users_everybody_is_in_the_global_account() {
    // AUTH-001
    let open = authenticator(AuthOptions::default());
    assert!(!open.auth_required() && !open.nonce_required());
    let identity = admitted(&open, password("joe", "any"));
    assert_eq!(&*identity.account, "$G");
    assert_eq!(identity.label.to_string(), "user:joe");
    assert!(identity.permissions.is_none());
    assert_eq!(admitted(&open, Credentials::default()).label, UserLabel::None);
}

#[test]
fn a_token_has_to_match() {
    // AUTH-002, AUTH-005
    let auth = authenticator(AuthOptions { token: Some("s3cret".into()), ..Default::default() });
    assert!(auth.auth_required() && !auth.hides_auth_required());
    assert_eq!(admitted(&auth, token("s3cret")).label, UserLabel::Token);
    for wrong in ["", "s3cre", "s3crets"] {
        let denial = decide(&auth, &facts(token(wrong))).unwrap_err();
        assert_eq!(denial.closed_reason(), ClosedReason::AuthenticationFailure);
    }
    let hashed = authenticator(AuthOptions { token: Some(BCRYPT_OF_SECRET.into()), ..Default::default() });
    assert!(allows(&hashed, token("secret")));
    assert!(!allows(&hashed, token(BCRYPT_OF_SECRET)));
}

#[test]
fn a_single_user_has_to_match() {
    let options = AuthOptions { user: Some("joe".into()), password: Some("pw".into()), ..Default::default() };
    let auth = authenticator(options);
    assert!(auth.has_plaintext_passwords());
    assert_eq!(admitted(&auth, password("joe", "pw")).label.to_string(), "user:joe");
    for (name, given) in [("joe", "PW"), ("jim", "pw"), ("joe", ""), ("", "pw"), ("", "")] {
        assert!(!allows(&auth, password(name, given)), "{name} {given}");
    }
}

#[test]
fn users_are_told_apart_and_denials_name_them() {
    // AUTH-002, AUTH-004, AUTH-006
    let auth = authenticator(users(vec![user("joe", "pw"), user("ann", BCRYPT_OF_SECRET), user("bare", "")]));
    assert!(allows(&auth, password("joe", "pw")));
    assert!(allows(&auth, password("ann", "secret")));
    assert!(!allows(&auth, password("ann", "Secret")));
    assert!(allows(&auth, password("bare", "")));
    assert!(!allows(&auth, password("bare", "x")));
    let denial = decide(&auth, &facts(password("joe", "no"))).unwrap_err();
    assert_eq!(denial.to_string(), "authentication error - User \"joe\"");
    let denial = decide(&auth, &facts(Credentials::default())).unwrap_err();
    assert_eq!(denial.to_string(), "authentication error");
}

#[test]
fn bcrypt_is_left_to_the_caller() {
    let auth = authenticator(users(vec![user("ann", BCRYPT_OF_SECRET)]));
    let Decision::NeedsBcrypt(check) = auth.decide(&facts(password("ann", "secret"))) else {
        panic!("decided at once")
    };
    assert!(!format!("{check:?}").contains("secret"));
    assert!(matches!(check.run(), Decision::Allow(identity) if identity.label.to_string() == "user:ann"));
    assert!(!auth.has_plaintext_passwords());
}

#[test]
fn an_nkey_is_proved_by_signing_the_nonce() {
    // AUTH-007
    let (alice, alice_public) = key(1);
    let (mallory, mallory_public) = key(2);
    let auth = authenticator(users(vec![nkey_user(&alice_public), user("joe", "pw")]));
    assert!(auth.nonce_required());
    let identity = admitted(&auth, with_nkey(&alice_public, &signed(&alice)));
    assert_eq!(identity.label, UserLabel::Nkey(alice_public.as_str().into()));
    let standard = STANDARD.encode(alice.sign(NONCE.as_bytes()).to_bytes());
    assert!(allows(&auth, with_nkey(&alice_public, &standard)));
    assert!(allows(&auth, password("joe", "pw")));
    for (nkey, signature, detail) in [
        (&alice_public, signed(&mallory), "Signature not verified"),
        (&alice_public, String::new(), "Signature missing"),
        (&alice_public, "???".to_owned(), "Signature not valid base64"),
        (&mallory_public, signed(&mallory), "Credentials not known"),
    ] {
        let denial = decide(&auth, &facts(with_nkey(nkey, &signature))).unwrap_err();
        assert_eq!(denial.detail, detail);
        assert_eq!(denial.to_string(), format!("authentication error - Nkey \"{nkey}\""));
    }
    let mut other_nonce = facts(with_nkey(&alice_public, ""));
    let signature = signed(&alice);
    other_nonce.credentials.signature = &signature;
    other_nonce.nonce = "another";
    assert!(decide(&auth, &other_nonce).is_err());
}

#[test]
fn a_wrong_nkey_does_not_fall_back_to_the_password() {
    // AUTH-002
    let (_, alice) = key(1);
    let (mallory, mallory_public) = key(2);
    let auth = authenticator(users(vec![nkey_user(&alice), user("joe", "pw")]));
    let signature = signed(&mallory);
    let credentials = Credentials { nkey: &mallory_public, signature: &signature, ..password("joe", "pw") };
    assert!(!allows(&auth, credentials));
    // Without any nkey user the field means nothing.
    let auth = authenticator(users(vec![user("joe", "pw")]));
    assert!(allows(&auth, credentials));
}

#[test]
fn who_sends_nothing_is_the_no_auth_user() {
    // AUTH-003, CORE-018, CORE-068
    let accounts = with_accounts(vec![account("ONE", vec![user("joe", "pw")])]);
    let options = AuthOptions { no_auth_user: Some("joe".into()), ..Default::default() };
    let auth = Authenticator::new(&options, &accounts).unwrap();
    assert!(auth.auth_required() && auth.hides_auth_required());
    let identity = admitted(&auth, Credentials::default());
    assert_eq!((&*identity.account, identity.label.to_string()), ("ONE", "user:joe".to_owned()));
    assert!(!allows(&auth, password("joe", "no")));
    assert!(!allows(&auth, password("nobody", "")));
    assert!(!allows(&auth, password("", "pw")));
    assert!(!allows(&auth, token("x")));

    let (_, alice) = key(1);
    let options = AuthOptions { no_auth_user: Some(alice.clone()), ..users(vec![nkey_user(&alice)]) };
    let auth = authenticator(options);
    assert_eq!(admitted(&auth, Credentials::default()).label, UserLabel::Nkey(alice.as_str().into()));
}

#[test]
fn a_no_auth_user_has_to_exist() {
    // AUTH-003
    let error =
        |auth: AuthOptions| Authenticator::new(&auth, &AccountsOptions::default()).unwrap_err().to_string();
    let named = |users| AuthOptions { no_auth_user: Some("X".into()), users, ..Default::default() };
    assert_eq!(error(named(Arc::default())), "no_auth_user: \"X\" present, but users/nkeys are not defined");
    assert_eq!(
        error(named(Arc::new([user("joe", "pw")]))),
        "no_auth_user: \"X\" not present as user or nkey in authorization block or account configuration"
    );
}

#[test]
fn users_of_accounts_are_in_their_account() {
    let accounts = with_accounts(vec![
        account("ONE", vec![user("joe", "pw")]),
        account("TWO", vec![user("ann", "pw"), user("jim", "pw")]),
    ]);
    let auth = Authenticator::new(&users(vec![user("top", "pw")]), &accounts).unwrap();
    for (name, account) in [("joe", "ONE"), ("ann", "TWO"), ("jim", "TWO"), ("top", "$G")] {
        assert_eq!(&*admitted(&auth, password(name, "pw")).account, account);
    }
}

#[test]
fn plain_clients_keep_working_when_only_the_system_account_has_users() {
    // AUTH-012
    let system = with_accounts(vec![account("$SYS", vec![user("admin", "pw")])]);
    let auth = Authenticator::new(&AuthOptions::default(), &system).unwrap();
    assert!(auth.auth_required() && !auth.hides_auth_required());
    assert_eq!(&*admitted(&auth, Credentials::default()).account, "$G");
    assert_eq!(&*admitted(&auth, password("admin", "pw")).account, "$SYS");
    assert!(!allows(&auth, password("admin", "no")));
    assert!(!allows(&auth, password("nats-global", "")));

    let renamed = AccountsOptions {
        system_account: Some("S".into()),
        ..with_accounts(vec![account("S", vec![user("admin", "pw")])])
    };
    let auth = Authenticator::new(&AuthOptions::default(), &renamed).unwrap();
    assert!(allows(&auth, Credentials::default()));

    let timeout = AuthOptions { timeout: Some(std::time::Duration::from_secs(1)), ..Default::default() };
    let auth = Authenticator::new(&timeout, &system).unwrap();
    assert!(!allows(&auth, Credentials::default()));
    let more =
        with_accounts(vec![account("$SYS", vec![user("admin", "pw")]), account("A", vec![user("a", "a")])]);
    let auth = Authenticator::new(&AuthOptions::default(), &more).unwrap();
    assert!(!allows(&auth, Credentials::default()));
}

#[test]
fn connection_types_limit_a_user() {
    // AUTH-008, CORE-252
    let limited = UserOptions {
        allowed_connection_types: ["websocket".into(), "MQTT".into()].into(),
        ..user("ann", "pw")
    };
    let options = AuthOptions { no_auth_user: Some("ann".into()), ..users(vec![limited]) };
    let auth = authenticator(options);
    for (kind, expected) in [
        (ConnectionType::Standard, false),
        (ConnectionType::Websocket, true),
        (ConnectionType::Mqtt, true),
        (ConnectionType::MqttWs, false),
    ] {
        for credentials in [password("ann", "pw"), Credentials::default()] {
            let facts = ConnectFacts { connection_type: kind, ..facts(credentials) };
            assert_eq!(decide(&auth, &facts).is_ok(), expected, "{kind:?}");
        }
    }
}

#[test]
fn a_listener_may_have_its_own_credentials() {
    // AUTH-009
    let auth = authenticator(users(vec![user("joe", "pw")]));
    let own = ListenerAuth { token: Some(Secret::parse("ws")), ..Default::default() };
    let at_listener = |credentials| ConnectFacts { listener: Some(&own), ..facts(credentials) };
    assert!(decide(&auth, &at_listener(token("ws"))).is_ok());
    assert!(decide(&auth, &at_listener(token("no"))).is_err());
    assert!(decide(&auth, &at_listener(password("joe", "pw"))).is_ok());
    let open = authenticator(AuthOptions::default());
    assert!(decide(&open, &at_listener(Credentials::default())).is_err());
    let silent = ListenerAuth::default();
    assert!(
        decide(&open, &ConnectFacts { listener: Some(&silent), ..facts(Credentials::default()) }).is_ok()
    );
    let anonymous = ListenerAuth { no_auth_user: Some("joe".into()), ..Default::default() };
    let facts = ConnectFacts { listener: Some(&anonymous), ..facts(Credentials::default()) };
    assert_eq!(decide(&auth, &facts).unwrap().label.to_string(), "user:joe");
}

#[test]
fn proxies_prove_themselves_and_may_be_required() {
    // AUTH-030, AUTH-031
    let (proxy, proxy_public) = key(3);
    let (mallory, _) = key(2);
    let required = UserOptions { proxy_required: true, ..user("joe", "pw") };
    let options = AuthOptions {
        trusted_proxies: vec![proxy_public.clone()],
        ..users(vec![required, user("ann", "pw")])
    };
    let auth = authenticator(options);
    assert!(auth.nonce_required());
    let good = signed(&proxy);
    fn through(signature: &str) -> Credentials<'_> {
        Credentials { proxy_signature: signature, ..password("joe", "pw") }
    }
    assert_eq!(admitted(&auth, through(&good)).proxy_key.as_deref(), Some(&*proxy_public));
    for bad in [signed(&mallory), "?".to_owned()] {
        let denial = decide(&auth, &facts(through(&bad))).unwrap_err();
        assert_eq!(denial.closed_reason(), ClosedReason::ProxyNotTrusted);
    }
    let denial = decide(&auth, &facts(password("joe", "pw"))).unwrap_err();
    assert_eq!(denial.closed_reason(), ClosedReason::ProxyRequired);
    assert!(allows(&auth, password("ann", "pw")));
    let block = AuthOptions { token: Some("t".into()), proxy_required: true, ..Default::default() };
    let denial = decide(&authenticator(block), &facts(token("t"))).unwrap_err();
    assert_eq!(denial.closed_reason(), ClosedReason::ProxyRequired);
}

fn certificate() -> CertificateFacts {
    CertificateFacts {
        emails: vec!["joe@acme.com".into()],
        dns_names: vec!["joe.acme.com".into()],
        uris: vec!["spiffe://acme/joe".into()],
        distinguished_name: DistinguishedName::parse("CN=joe,DC=acme,DC=com"),
        subject: "CN=joe".into(),
        issuer: "CN=ca".into(),
        subject_with_domain: Some("CN=joe,DC=com,DC=acme".into()),
    }
}

#[test]
fn a_certificate_names_its_user() {
    // AUTH-020, AUTH-021
    let certificate = certificate();
    let mapped = |credentials| ConnectFacts {
        maps_certificates: true,
        certificate: Some(&certificate),
        ..facts(credentials)
    };
    // In order of preference: each is found while the better ones are missing.
    let names = [
        "joe@acme.com",
        "joe.acme.com",
        "spiffe://acme/joe",
        "cn=joe, dc=acme, dc=com",
        "DC=com,CN=joe,DC=acme",
        "CN=joe,DC=com,DC=acme",
        "CN=joe",
    ];
    for at in 0..names.len() {
        let configured = names[at..].iter().rev().map(|name| user(name, "")).collect();
        let auth = authenticator(users(configured));
        let identity = decide(&auth, &mapped(password("someone", ""))).unwrap();
        // The sixth is a DN in another order, too: then the order of the file decides.
        let expected = if at == 4 { names[5] } else { names[at] };
        assert_eq!(identity.label.name(), Some(expected));
    }
    let auth = authenticator(users(vec![user("joe@acme.com", "pw")]));
    assert!(decide(&auth, &mapped(password("", "pw"))).is_ok());
    assert!(decide(&auth, &mapped(Credentials::default())).is_err());
    let auth = authenticator(users(vec![user("other", "pw")]));
    assert!(decide(&auth, &mapped(password("other", "pw"))).is_err());
    let without = ConnectFacts { certificate: None, ..mapped(password("other", "pw")) };
    assert!(decide(&auth, &without).is_err());
}

#[test]
fn a_certificate_skips_users_of_other_connection_types() {
    let certificate = certificate();
    let limited =
        UserOptions { allowed_connection_types: ["MQTT".into()].into(), ..user("joe@acme.com", "") };
    let auth = authenticator(users(vec![limited, user("joe.acme.com", "")]));
    let mapped = ConnectFacts {
        maps_certificates: true,
        certificate: Some(&certificate),
        ..facts(Credentials::default())
    };
    assert_eq!(decide(&auth, &mapped).unwrap().label.name(), Some("joe.acme.com"));
}

#[test]
fn a_user_that_has_only_a_certificate_needs_it_everywhere() {
    // AUTH-006
    let mapped: ConnectionTypes = [ConnectionType::Mqtt].into_iter().collect();
    let elsewhere = UserOptions { allowed_connection_types: ["STANDARD".into()].into(), ..user("plain", "") };
    let auth =
        authenticator(users(vec![user("cert", ""), elsewhere, user("joe", "pw")])).with_mapped_types(mapped);
    assert!(!allows(&auth, password("cert", "")));
    assert!(allows(&auth, password("plain", "")));
    assert!(allows(&auth, password("joe", "pw")));
}

#[test]
fn errors_of_the_configuration_name_what_is_wrong() {
    // CFG-163, PERM-010
    let error = |list: Vec<UserOptions>| {
        Authenticator::new(&users(list), &AccountsOptions::default()).unwrap_err().to_string()
    };
    let (_, alice) = key(1);
    assert_eq!(error(vec![user("a", ""), user("a", "")]), "Duplicate user \"a\" detected");
    assert_eq!(
        error(vec![nkey_user(&alice), nkey_user(&alice)]),
        format!("Duplicate nkey \"{alice}\" detected")
    );
    assert_eq!(error(vec![nkey_user("UABC")]), "Not a valid public nkey for a user: \"UABC\"");
    assert_eq!(error(vec![UserOptions::default()]), "User entry requires a user");
    let limited = UserOptions { allowed_connection_types: ["FOO".into()].into(), ..user("a", "") };
    assert_eq!(error(vec![limited]), "unknown connection type \"FOO\"");
    let permissions = PermissionsOptions {
        publish: SubjectPermissions { allow: Some(vec!["a..b".into()]), deny: vec![] },
        ..Default::default()
    };
    let broken = UserOptions { permissions: Some(Arc::new(permissions)), ..user("a", "") };
    assert_eq!(
        error(vec![broken]),
        "invalid permissions for user \"a\": publish allow: subject \"a..b\" is not a valid subject"
    );
}

#[test]
fn users_with_the_same_permissions_share_them() {
    let permissions = Some(Arc::new(PermissionsOptions::default()));
    let with = |name| UserOptions { permissions: permissions.clone(), ..user(name, "pw") };
    let auth = authenticator(users(vec![with("a"), with("b")]));
    let id = |name| admitted(&auth, password(name, "pw")).permissions.unwrap().id;
    assert_eq!(id("a"), id("b"));
}
