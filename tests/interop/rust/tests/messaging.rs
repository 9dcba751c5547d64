//! Publish, subscribe, request: what every application does, on every transport.

use async_nats::{HeaderMap, RequestErrorKind};
use futures_util::StreamExt;
use natsd_interop::{LIMIT, Peer, Server, Transport, on_every_transport, received};
use tokio::time::timeout;

on_every_transport! {
    a_message_reaches_each_subscriber_once
    a_large_message_arrives_whole
    no_echo_keeps_own_messages_away
    wildcards
    a_queue_group_shares_what_others_all_get
    unsubscribe_after_a_number_of_messages
    requests_get_their_own_reply
    a_request_nobody_serves_fails_at_once
    headers_arrive_as_sent
}

async fn a_message_reaches_each_subscriber_once(transport: Transport) {
    let server = Server::start(transport).await;
    let (first, second) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let mut subscribers = [first.subscribe("greet").await, second.subscribe("greet").await];
    second.round_trip().await;

    for text in ["one", "", "three"] {
        first.publish("greet", text).await;
    }
    for subscriber in &mut subscribers {
        assert_eq!(received(subscriber, 3).await, ["one", "", "three"]);
    }
}

async fn a_large_message_arrives_whole(transport: Transport) {
    let server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let mut subscriber = peer.subscribe("large").await;
    let body: Vec<u8> = (0..=255).cycle().take(1 << 20).collect(); // the default max_payload
    peer.client.publish("large", body.clone().into()).await.unwrap();
    let message = timeout(LIMIT, subscriber.next()).await.unwrap().unwrap();
    assert!(message.payload == body);
}

async fn no_echo_keeps_own_messages_away(transport: Transport) {
    let server = Server::start(transport).await;
    let options = async_nats::ConnectOptions::new().no_echo();
    let quiet = Peer::with(&[&server], options).await.unwrap();
    let other = Peer::connect(&server).await;
    let mut heard_by_quiet = quiet.subscribe("room").await;
    let mut heard_by_other = other.subscribe("room").await;
    other.round_trip().await;
    quiet.publish("room", "own").await;
    assert_eq!(received(&mut heard_by_other, 1).await, ["own"]);
    other.publish("room", "other").await;
    assert_eq!(received(&mut heard_by_quiet, 1).await, ["other"]);
}

async fn wildcards(transport: Transport) {
    const SUBJECTS: [&str; 6] = ["a", "a.b", "a.c", "x.b", "a.b.c", "end"];
    const PATTERNS: [(&str, &[&str]); 7] = [
        ("a.b", &["a.b"]),
        ("a.*", &["a.b", "a.c"]),
        ("*.b", &["a.b", "x.b"]),
        ("*.*", &["a.b", "a.c", "x.b"]),
        ("a.>", &["a.b", "a.c", "a.b.c"]),
        ("a.*.c", &["a.b.c"]),
        (">", &SUBJECTS),
    ];
    let server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let mut subscribers = Vec::new();
    for (pattern, _) in PATTERNS {
        subscribers.push(peer.subscribe(pattern).await);
    }
    for subject in SUBJECTS {
        peer.publish(subject, subject).await;
    }
    peer.client.flush().await.unwrap();
    for (mut subscriber, (pattern, expected)) in subscribers.into_iter().zip(PATTERNS) {
        assert_eq!(received(&mut subscriber, expected.len()).await, expected, "{pattern}");
        subscriber.drain().await.unwrap();
        assert!(timeout(LIMIT, subscriber.next()).await.unwrap().is_none(), "{pattern}");
    }
}

async fn a_queue_group_shares_what_others_all_get(transport: Transport) {
    let server = Server::start(transport).await;
    let (publisher, worker) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(worker.client.queue_subscribe("jobs.*", "workers".into()).await.unwrap());
    }
    let mut observer = worker.subscribe("jobs.>").await;
    worker.round_trip().await;

    for number in 0..300 {
        publisher.publish(&format!("jobs.{number}"), &number.to_string()).await;
    }
    let mut all = received(&mut observer, 300).await;
    let mut shared = Vec::new();
    for mut member in members {
        member.drain().await.unwrap();
        let share: Vec<_> = timeout(LIMIT, member.by_ref().collect()).await.unwrap();
        assert!(!share.is_empty(), "a member got nothing");
        shared.extend(share.iter().map(|job| String::from_utf8_lossy(&job.payload).into_owned()));
    }
    all.sort();
    shared.sort();
    assert_eq!(shared, all);
}

async fn unsubscribe_after_a_number_of_messages(transport: Transport) {
    let server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let mut limited = peer.subscribe("ticks").await;
    limited.unsubscribe_after(2).await.unwrap();
    let mut all = peer.subscribe("ticks").await;
    for text in ["0", "1", "2", "3"] {
        peer.publish("ticks", text).await;
    }
    assert_eq!(received(&mut all, 4).await, ["0", "1", "2", "3"]);
    assert_eq!(received(&mut limited, 2).await, ["0", "1"]);
    assert!(timeout(LIMIT, limited.next()).await.unwrap().is_none());
}

async fn requests_get_their_own_reply(transport: Transport) {
    let server = Server::start(transport).await;
    let (service, caller) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let mut requests = service.subscribe("double").await;
    service.round_trip().await;
    let answers = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let number: u32 = String::from_utf8_lossy(&request.payload).parse().unwrap();
            let answer = (2 * number).to_string().into();
            service.client.publish(request.reply.unwrap(), answer).await.unwrap();
        }
    });

    let client = &caller.client;
    let calls = (0..50u32).map(|n| async move {
        let reply = client.request("double", n.to_string().into()).await.unwrap();
        assert_eq!(reply.payload, (2 * n).to_string());
    });
    futures_util::future::join_all(calls).await;
    answers.abort();
}

async fn a_request_nobody_serves_fails_at_once(transport: Transport) {
    let server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let error = peer.client.request("nobody", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

async fn headers_arrive_as_sent(transport: Transport) {
    let server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let mut subscriber = peer.subscribe("headed").await;
    let mut headers = HeaderMap::new();
    headers.append("Many", "one");
    headers.append("Many", "two");
    headers.insert("lower-case", "kept");
    headers.insert("Spaced", "a b:c");
    for body in ["body", ""] {
        peer.client.publish_with_headers("headed", headers.clone(), body.into()).await.unwrap();
        let message = timeout(LIMIT, subscriber.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, body);
        assert_eq!(message.headers.as_ref(), Some(&headers));
    }
}
