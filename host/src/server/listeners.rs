//! Listening sockets: the server's own and those of plugins.

use crate::auth::ConnectionType;
use crate::conn::session::ListenerFacts;
use crate::conn::{Context, open};
use crate::plugins::points::TransportPoint;
use crate::proto::error::ClosedReason;
use crate::routing::layer::Stack;
use crate::runtime::{Listener, Mutex, Stream, clock, now_ns, spawn, unix_ns};
use crate::tls::server::TlsServer;
use crate::tls::session::TlsSession;
use arc_swap::ArcSwapOption;
use core::net::SocketAddr;
use natsd_plugin_api::{ListenerSpec, Peer};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

/// After an error of accept (no descriptors left), the next try comes this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is listening, and the switches that end it.
#[derive(Default)]
pub struct Listeners {
    open: Mutex<HashMap<u64, Arc<Stop>>>,
}

/// Ends an accept loop.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    wake: Mutex<Option<std::task::Waker>>,
}

impl Stop {
    fn stop(&self) {
        self.stopped.store(true, Release);
        if let Some(waker) = self.wake.lock().take() {
            waker.wake();
        }
    }
}

/// What a plugin's listener adds to a connection.
pub struct PluginListener {
    pub spec: ListenerSpec,
    /// `None`: plain, for as long as the listener is open.
    pub tls: ArcSwapOption<TlsServer>,
    /// Waits for the end of a reload.
    pub next_tls: Mutex<Option<Arc<TlsServer>>>,
    pub transports: Arc<TransportPoint>,
    pub facts: Arc<ListenerFacts>,
    /// The listener has credentials of its own (AUTH-009).
    pub requires_auth: bool,
}

impl Listeners {
    /// Accepts clients of the server's own protocol.
    pub fn serve_clients(&self, context: &Arc<Context>, listener: Listener) {
        let context = context.clone();
        self.accept(0, listener, move |stream, peer| open::client(&context, stream, peer));
    }

    /// Accepts clients through a plugin's transport.
    pub fn serve_plugin(
        &self,
        context: &Arc<Context>,
        id: u64,
        listener: Listener,
        with: Arc<PluginListener>,
    ) {
        let context = context.clone();
        self.accept(id, listener, move |stream, peer| {
            if let Err(e) = accept_transport(&context, &with, stream, peer) {
                crate::log::error!("{} listener: {e}", with.spec.name);
            }
        });
    }

    fn accept(&self, id: u64, listener: Listener, mut each: impl FnMut(Stream, SocketAddr) + Send + 'static) {
        let stop = Arc::new(Stop::default());
        self.open.lock().insert(id, stop.clone());
        spawn(async move {
            loop {
                let accepted = {
                    let mut accepting = std::pin::pin!(listener.accept());
                    std::future::poll_fn(|cx| {
                        if stop.stopped.load(Acquire) {
                            return std::task::Poll::Ready(None);
                        }
                        *stop.wake.lock() = Some(cx.waker().clone());
                        accepting.as_mut().poll(cx).map(Some)
                    })
                    .await
                };
                match accepted {
                    None => return,
                    Some(Ok((stream, peer))) => each(stream, peer),
                    Some(Err(e)) => {
                        crate::log::error!("Temporary Client Accept Error ({e}), sleeping 50ms");
                        clock::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    pub fn stop(&self, id: u64) {
        if let Some(stop) = self.open.lock().remove(&id) {
            stop.stop();
        }
    }

    pub fn stop_all(&self) {
        for (_, stop) in self.open.lock().drain() {
            stop.stop();
        }
    }
}

/// A connection whose bytes pass through TLS, if configured, and the plugin's transport.
fn accept_transport(
    context: &Arc<Context>,
    with: &PluginListener,
    stream: Stream,
    peer: SocketAddr,
) -> Result<(), String> {
    let local = stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let (read, wire) = stream.split();
    let mut facts = crate::conn::facts::Facts::new(peer, now_ns(), unix_ns());
    facts.client_type.clone_from(&with.spec.kind);
    facts.connection_type = ConnectionType::parse(&with.spec.kind).unwrap_or(ConnectionType::Standard);
    let mut session = open::new_session(context, wire, facts);
    let cid = session.connection.receiver.cid;
    let tls = with.tls.load_full();
    let facts = Peer { connection_id: cid, remote: peer.to_string(), local, tls: tls.is_some() };
    let transport = with.transports.open(&facts).map_err(|e| e.to_string())?;
    let upper: Box<dyn crate::routing::layer::Layer> =
        Box::new(super::transport::TransportLayer::new(transport));
    let layer = match tls {
        None => upper,
        Some(tls) => {
            let lower = match session.connection.facts.lock().connection_type {
                ConnectionType::Websocket => TlsSession::http_server(&tls),
                _ => TlsSession::server(&tls),
            };
            let lower = lower.map_err(|e| e.to_string())?;
            session.peer_policy.clone_from(&tls.peers);
            Box::new(Stack::new(Box::new(lower), upper))
        }
    };
    open::set_layer(&mut session, layer);
    session.info_after_handshake = true;
    session.handshake_timeout = with.spec.handshake_timeout_ms.map(Duration::from_millis);
    session.listener = Some(with.facts.clone());
    session.flags.expects_connect |= with.requires_auth;
    let millis = |name: &str| with.spec.options.get(name).and_then(|v| v.as_u64()).map(Duration::from_millis);
    session.ping_interval = millis("ping_interval_ms");
    if let Some(timeout) = millis("auth_timeout_ms") {
        session.auth_timeout = timeout;
    }
    if !open::admit(&session) {
        session.connection.receiver.out.lock().finish(ClosedReason::MaximumConnections);
        return Ok(());
    }
    if let Err(e) = open::start_layer(&mut session) {
        session.connection.receiver.out.lock().finish(e.kind.reason());
        return Err(e.to_string());
    }
    spawn(crate::conn::serve::serve(session, crate::conn::serve::Duplex { read }));
    Ok(())
}
