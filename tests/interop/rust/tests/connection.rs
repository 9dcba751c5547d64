//! Drain, reconnect, limits and lame duck: the life of a connection.

use async_nats::{ConnectOptions, PublishErrorKind, RequestErrorKind};
use futures_util::StreamExt;
use natsd_interop::{LIMIT, Peer, Server, Transport, certificate, on_every_transport, received};
use tokio::time::timeout;

on_every_transport! {
    draining_a_subscription_hands_over_what_is_pending
    draining_a_connection_closes_it_cleanly
    subscriptions_survive_a_restart_of_the_server
    the_client_refuses_more_than_max_payload
    lame_duck_moves_clients_to_another_server
}

async fn draining_a_subscription_hands_over_what_is_pending(transport: Transport) {
    let server = Server::start(transport).await;
    let (peer, publisher) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let mut subscriber = peer.subscribe("work").await;
    let mut observer = publisher.subscribe("work").await;
    peer.round_trip().await;
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for number in &numbers {
        publisher.publish("work", number).await;
    }
    received(&mut observer, 100).await;

    subscriber.drain().await.unwrap();
    peer.round_trip().await;
    publisher.publish("work", "too late").await;
    received(&mut observer, 1).await;
    assert_eq!(received(&mut subscriber, 100).await, numbers);
    assert!(timeout(LIMIT, subscriber.next()).await.unwrap().is_none());
}

async fn draining_a_connection_closes_it_cleanly(transport: Transport) {
    let server = Server::start(transport).await;
    let (peer, other) = (Peer::connect(&server).await, Peer::connect(&server).await);
    let mut pending = peer.subscribe("last").await;
    let mut after = other.subscribe("after").await;
    peer.round_trip().await;
    other.publish("last", "pending").await;
    other.round_trip().await;
    peer.publish("after", "sent before the close").await;

    peer.client.drain().await.unwrap();
    peer.saw("closed").await;
    assert_eq!(received(&mut pending, 1).await, ["pending"]);
    assert_eq!(received(&mut after, 1).await, ["sent before the close"]);
    let error = other.client.request("last", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

async fn subscriptions_survive_a_restart_of_the_server(transport: Transport) {
    let mut server = Server::start(transport).await;
    let peer = Peer::connect(&server).await;
    let mut news = peer.subscribe("news.*").await;
    let mut queued = peer.client.queue_subscribe("news.*", "readers".into()).await.unwrap();
    peer.publish("news.before", "before").await;
    assert_eq!(received(&mut news, 1).await, ["before"]);
    assert_eq!(received(&mut queued, 1).await, ["before"]);

    server.restart().await;
    peer.saw("disconnected").await;
    peer.saw_times(2, "connected").await;
    peer.publish("news.after", "after").await;
    assert_eq!(received(&mut news, 1).await, ["after"]);
    assert_eq!(received(&mut queued, 1).await, ["after"]);
}

async fn the_client_refuses_more_than_max_payload(transport: Transport) {
    let server = Server::with(transport, "small_payload", &[]).await;
    let peer = Peer::connect(&server).await;
    assert_eq!(peer.client.max_payload(), 1024);
    let mut subscriber = peer.subscribe("size").await;
    let error = peer.client.publish("size", vec![0; 1025].into()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::MaxPayloadExceeded);
    peer.client.publish("size", vec![0; 1024].into()).await.unwrap();
    assert_eq!(received(&mut subscriber, 1).await[0].len(), 1024);
}

async fn lame_duck_moves_clients_to_another_server(transport: Transport) {
    let mut leaving = Server::with(transport, "lame_duck", &[]).await;
    let staying = Server::start(transport).await;
    let peer = Peer::with(&[&leaving, &staying], ConnectOptions::new()).await.unwrap();
    let witness = Peer::connect(&staying).await;
    let mut subscriber = peer.subscribe("still.here").await;
    let mut seen_by_witness = witness.subscribe("still.here").await;
    peer.round_trip().await;
    witness.round_trip().await;

    leaving.signal("USR2");
    peer.saw("lame duck mode detected").await;
    leaving.exits_cleanly().await;
    peer.saw("disconnected").await;
    peer.publish("still.here", "moved").await;
    assert_eq!(received(&mut seen_by_witness, 1).await, ["moved"]);
    assert_eq!(received(&mut subscriber, 1).await, ["moved"]);
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    for transport in [Transport::Tls, Transport::Wss] {
        let server = Server::start(transport).await;
        let error = ConnectOptions::new().connect(server.url()).await.unwrap_err();
        assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_names_the_user() {
    let server = Server::start(Transport::Mtls).await;
    let options =
        ConnectOptions::new().add_client_certificate(certificate("client.pem"), certificate("client.key"));
    Peer::with(&[&server], options).await.unwrap().round_trip().await;
    assert!(Peer::with(&[&server], ConnectOptions::new()).await.is_err());
}
