//! Who may connect, and what they may do then.

use async_nats::{ConnectErrorKind, ConnectOptions, RequestErrorKind};
use futures_util::StreamExt;
use natsd_interop::{LIMIT, Peer, Server, Transport, on_every_transport, received};
use nkeys::KeyPair;
use tokio::time::timeout;

on_every_transport! {
    token
    user
    bcrypt
    nkey
    a_publish_violation_is_reported_and_the_connection_goes_on
    subscribe_permissions
    a_denied_subject_does_not_arrive_through_a_wildcard
    a_replier_may_answer_once
    accounts_do_not_see_each_other
}

/// The right options get in; the wrong ones and none at all do not.
async fn only(right: ConnectOptions, wrong: ConnectOptions, server: &Server) {
    Peer::with(&[server], right).await.unwrap().round_trip().await;
    for options in [wrong, ConnectOptions::new()] {
        let error = Peer::with(&[server], options).await.err().expect("a refusal");
        assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{error:?}");
    }
}

fn login(user: &str, password: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.into(), password.into())
}

async fn token(transport: Transport) {
    let server = Server::with(transport, "token", &[]).await;
    let token = |text: &str| ConnectOptions::with_token(text.into());
    only(token("s3cret-token"), token("wrong"), &server).await;
}

async fn user(transport: Transport) {
    let server = Server::with(transport, "user", &[]).await;
    only(login("ada", "lovelace"), login("ada", "wrong"), &server).await;
}

async fn bcrypt(transport: Transport) {
    let server = Server::with(transport, "bcrypt", &[]).await;
    only(login("ada", "lovelace-lovelace-lovelace"), login("ada", "wrong"), &server).await;
}

async fn nkey(transport: Transport) {
    let (right, wrong) = (KeyPair::new_user(), KeyPair::new_user());
    let server = Server::with(transport, "nkey", &[("INTEROP_NKEY", &right.public_key())]).await;
    let key = |pair: KeyPair| ConnectOptions::with_nkey(pair.seed().unwrap());
    only(key(right), key(wrong), &server).await;
}

async fn connect_as(user: &str, server: &Server) -> Peer {
    Peer::with(&[server], login(user, "pw")).await.unwrap()
}

async fn a_publish_violation_is_reported_and_the_connection_goes_on(transport: Transport) {
    let server = Server::with(transport, "permissions", &[]).await;
    let (admin, limited) = (connect_as("admin", &server).await, connect_as("limited", &server).await);
    let mut everything = admin.subscribe(">").await;
    let mut ready = admin.subscribe("ready").await;
    admin.publish("ready", "").await;
    received(&mut ready, 1).await;
    received(&mut everything, 1).await;

    for subject in ["closed", "open.secret"] {
        limited.publish(subject, "no").await;
        limited.saw(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }
    limited.publish("open.fine", "yes").await;
    assert_eq!(received(&mut everything, 1).await, ["yes"]);
    assert!(!limited.events().contains(&"disconnected".to_string()));
}

async fn subscribe_permissions(transport: Transport) {
    const CASES: [(&str, &str, &str); 6] = [
        ("closed", "", "Subscription to \"closed\""),
        ("open.secret", "", "Subscription to \"open.secret\""),
        ("jobs", "", "Subscription to \"jobs\""),
        ("jobs", "others", "Subscription to \"jobs\" using queue \"others\""),
        ("open.>", "", ""),
        ("jobs", "workers", ""),
    ];
    let server = Server::with(transport, "permissions", &[]).await;
    for (subject, queue, violation) in CASES {
        let limited = connect_as("limited", &server).await;
        let _subscriber = match queue {
            "" => limited.client.subscribe(subject).await,
            _ => limited.client.queue_subscribe(subject, queue.into()).await,
        };
        if violation.is_empty() {
            let mut fine = limited.subscribe("open.fine").await;
            limited.publish("open.fine", "").await;
            received(&mut fine, 1).await;
            assert_eq!(limited.events(), ["connected"], "{subject} {queue}");
        } else {
            limited.saw(&format!("Permissions Violation for {violation}")).await;
        }
    }
}

async fn a_denied_subject_does_not_arrive_through_a_wildcard(transport: Transport) {
    let server = Server::with(transport, "permissions", &[]).await;
    let (admin, limited) = (connect_as("admin", &server).await, connect_as("limited", &server).await);
    let mut open = limited.subscribe("open.*").await;
    limited.publish("open.ready", "ready").await;
    assert_eq!(received(&mut open, 1).await, ["ready"]);
    admin.publish("open.secret", "hidden").await;
    admin.publish("open.fine", "shown").await;
    assert_eq!(received(&mut open, 1).await, ["shown"]);
}

async fn a_replier_may_answer_once(transport: Transport) {
    let server = Server::with(transport, "permissions", &[]).await;
    let (admin, replier) = (connect_as("admin", &server).await, connect_as("replier", &server).await);
    let mut requests = replier.subscribe("service").await;
    let client = replier.client.clone();
    let service = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            for text in ["first", "second"] {
                client.publish(request.reply.clone().unwrap(), text.into()).await.unwrap();
            }
        }
    });
    // The replier may not publish, so only an answer shows that its subscription is there.
    let reply = loop {
        match admin.client.request("service", "".into()).await {
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {}
            reply => break reply.unwrap(),
        }
    };
    assert_eq!(reply.payload, "first");
    replier.saw("Permissions Violation for Publish to \"_INBOX.").await;
    service.abort();
}

async fn accounts_do_not_see_each_other(transport: Transport) {
    let server = Server::with(transport, "accounts", &[]).await;
    let (a, b) = (connect_as("a", &server).await, connect_as("b", &server).await);
    let anonymous = Peer::connect(&server).await; // no_auth_user puts it into b's account
    let mut in_a = a.subscribe("shared.name").await;
    let mut in_b = [b.subscribe("shared.name").await, anonymous.subscribe("shared.name").await];
    for peer in [&a, &b, &anonymous] {
        peer.round_trip().await;
    }
    a.publish("shared.name", "for a").await;
    assert_eq!(received(&mut in_a, 1).await, ["for a"]);
    b.publish("shared.name", "for b").await;
    for subscriber in &mut in_b {
        assert_eq!(received(subscriber, 1).await, ["for b"]);
    }
    in_a.drain().await.unwrap();
    assert!(timeout(LIMIT, in_a.next()).await.unwrap().is_none());
}
