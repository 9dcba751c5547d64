//! Who is kept after a reload, and who is not.
#![allow(clippy::panic, clippy::unwrap_used)]

use crate::auth::fixtures::*;
use crate::auth::identity::{Credentials, Decision, DenyReason};
use crate::config::options::{AuthOptions, PermissionsOptions, SubjectPermissions, UserOptions};

use super::*;

/// What became of a client after a reload.
fn after_reload(identity: &Identity, now: &Authenticator) -> &'static str {
    match now.re_check(identity, None) {
        Recheck::Keep(_) => "kept",
        Recheck::AccountChanged => "moved",
        Recheck::Gone => "gone",
        Recheck::Refuse(denial) if denial.reason == DenyReason::Authentication => "refused",
        Recheck::Refuse(_) => "refused for its proxy",
        Recheck::NeedsBcrypt(check) => match check.run() {
            Decision::Allow(_) => "kept after bcrypt",
            _ => "refused after bcrypt",
        },
    }
}

#[test]
fn a_reload_keeps_who_is_still_allowed() {
    // CFG-147
    let then = authenticator(users(vec![user("joe", "secret"), user("ann", BCRYPT_OF_SECRET)]));
    let joe = admitted(&then, password("joe", "secret"));
    let ann = admitted(&then, password("ann", "secret"));
    let now = |list| authenticator(users(list));
    assert_eq!(after_reload(&joe, &now(vec![user("joe", "secret")])), "kept");
    assert_eq!(after_reload(&joe, &now(vec![user("joe", "new")])), "refused");
    assert_eq!(after_reload(&joe, &now(vec![user("ann", "secret")])), "gone");
    assert_eq!(after_reload(&joe, &now(vec![user("joe", BCRYPT_OF_SECRET)])), "kept after bcrypt");
    assert_eq!(after_reload(&ann, &now(vec![user("ann", "secret")])), "kept after bcrypt");
    assert_eq!(after_reload(&ann, &now(vec![user("ann", "other")])), "refused after bcrypt");
    assert_eq!(after_reload(&joe, &authenticator(AuthOptions::default())), "kept");

    let moved = with_accounts(vec![account("ONE", vec![user("joe", "secret")])]);
    let moved = Authenticator::new(&AuthOptions::default(), &moved).unwrap();
    assert_eq!(after_reload(&joe, &moved), "moved");
    let in_one = admitted(&moved, password("joe", "secret"));
    assert_eq!(after_reload(&in_one, &authenticator(AuthOptions::default())), "moved");

    let limited = UserOptions { allowed_connection_types: ["MQTT".into()].into(), ..user("joe", "secret") };
    assert_eq!(after_reload(&joe, &now(vec![limited])), "refused");
}

#[test]
fn a_reload_gives_new_permissions() {
    let joe = admitted(&authenticator(users(vec![user("joe", "pw")])), password("joe", "pw"));
    let permissions = PermissionsOptions {
        publish: SubjectPermissions { allow: Some(vec!["y".into()]), deny: vec![] },
        ..Default::default()
    };
    let limited = UserOptions { permissions: Some(Arc::new(permissions)), ..user("joe", "pw") };
    let Recheck::Keep(now) = authenticator(users(vec![limited])).re_check(&joe, None) else {
        panic!("not kept")
    };
    assert!(!now.permissions.unwrap().may_publish(b"x"));
}

#[test]
fn a_reload_asks_again_whoever_was_let_in_without_asking() {
    // CFG-147
    let open = authenticator(AuthOptions::default());
    let anonymous = admitted(&open, Credentials::default());
    let joe = admitted(&open, password("joe", "pw"));
    let closed = authenticator(users(vec![user("joe", "pw")]));
    assert_eq!(after_reload(&anonymous, &closed), "refused");
    assert_eq!(after_reload(&joe, &closed), "gone");
    assert_eq!(after_reload(&joe, &open), "kept");
    let lenient =
        authenticator(AuthOptions { no_auth_user: Some("joe".into()), ..users(vec![user("joe", "pw")]) });
    assert_eq!(after_reload(&anonymous, &lenient), "kept");
    let system = with_accounts(vec![account("$SYS", vec![user("admin", "pw")])]);
    let hidden = Authenticator::new(&AuthOptions::default(), &system).unwrap();
    assert_eq!(after_reload(&anonymous, &hidden), "kept");
    assert_eq!(after_reload(&admitted(&hidden, Credentials::default()), &hidden), "kept");
}

#[test]
fn a_reload_looks_at_tokens_keys_and_proxies() {
    // CFG-147, AUTH-032
    let with_token =
        |token: &str| authenticator(AuthOptions { token: Some(token.into()), ..Default::default() });
    let by_token = admitted(&with_token("one"), token("one"));
    assert_eq!(after_reload(&by_token, &with_token("one")), "kept");
    assert_eq!(after_reload(&by_token, &with_token("two")), "refused");

    let single = |pw: &str| {
        authenticator(AuthOptions { user: Some("u".into()), password: Some(pw.into()), ..Default::default() })
    };
    let by_single = admitted(&single("one"), password("u", "one"));
    assert_eq!(after_reload(&by_single, &single("one")), "kept");
    assert_eq!(after_reload(&by_single, &single("two")), "refused");
    assert_eq!(after_reload(&by_single, &with_token("one")), "gone");

    let ((alice, alice_public), (proxy, proxy_public)) = (key(1), key(3));
    let with = |nkey: &str, trusted: &str| {
        authenticator(AuthOptions { trusted_proxies: vec![trusted.into()], ..users(vec![nkey_user(nkey)]) })
    };
    let then = with(&alice_public, &proxy_public);
    let (signature, proxy_signature) = (signed(&alice), signed(&proxy));
    let credentials =
        Credentials { proxy_signature: &proxy_signature, ..with_nkey(&alice_public, &signature) };
    let by_nkey = admitted(&then, credentials);
    assert_eq!(after_reload(&by_nkey, &then), "kept");
    assert_eq!(after_reload(&by_nkey, &with(&proxy_public, &proxy_public)), "gone");
    assert_eq!(after_reload(&by_nkey, &with(&alice_public, &alice_public)), "refused for its proxy");
}
