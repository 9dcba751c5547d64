//! A new socket: INFO, PROXY header, TLS, then `serve`.

use super::context::Context;
use super::facts::Facts;
use super::registry::Connection;
use super::serve::{Duplex, serve};
use super::session::{Flags, Session, SessionLimits};
use crate::config::options::HandshakeFirst;
use crate::proto::connect::Connect;
use crate::proto::error::{ClosedReason, ErrText};
use crate::routing::layer::{Layer, LayerError, Progress};
use crate::routing::outbound::Outbound;
use crate::routing::receiver::{Kind, Receiver};
use crate::routing::subscriptions::LastSubs;
use crate::runtime::{ReadHalf, Stream, clock, now_ns, random_bytes, spawn, unix_ns};
use crate::tls::peer::PeerCert;
use crate::tls::session::TlsSession;
use base64::Engine;
use core::net::SocketAddr;
use natsd_plugin_api::AuthStage;
use std::sync::Arc;
use std::time::Duration;

/// How long a PROXY header may take (CORE-240).
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Accepts a client on the server's own port.
pub fn client(context: &Arc<Context>, stream: Stream, peer: SocketAddr) {
    let (read, wire) = stream.split();
    let session = new_session(context, wire, Facts::new(peer, now_ns(), unix_ns()));
    let duplex = Duplex { read };
    if context.tls.load().is_none() && !context.options.load().proxy_protocol {
        session.connection.receiver.send(&session.info_line(None));
        if admit(&session) {
            spawn(serve(session, duplex));
        } else {
            spawn(async move {
                // What was sent must be gone before the socket is.
                clock::sleep(Duration::from_millis(50)).await;
                drop((session, duplex));
            });
        }
        return;
    }
    let context = context.clone();
    spawn(async move { secured(context, session, duplex).await });
}

/// A session in the global account, not registered yet.
pub fn new_session(context: &Arc<Context>, wire: crate::runtime::Wire, facts: Facts) -> Box<Session> {
    let options = context.options.load();
    let (id, cid) = context.registry.new_ids();
    let mut out = Outbound::new(wire, options.limits.max_pending_bytes);
    out.drop_when_stalled = options.no_fast_producer_stall;
    let receiver = Arc::new(Receiver::new(id, cid, Kind::Client, out));
    receiver.label.store(Some(Arc::new(facts.label(cid))));
    let connection = Arc::new(Connection::new(receiver, facts, context.accounts.global.clone()));
    let authenticator = context.authenticator();
    let expects_connect = authenticator.auth_required()
        || context.hooks.get().is_some_and(|hooks| {
            [AuthStage::First, AuthStage::Last].into_iter().any(|stage| hooks.has_authenticators(stage))
        });
    let nonce = (authenticator.nonce_required()
        || context.hooks.get().is_some_and(|hooks| hooks.needs_nonce()))
    .then(new_nonce);
    let auth_timeout = options.auth.timeout.unwrap_or_else(|| match &options.tls {
        Some(tls) => tls.timeout + Duration::from_secs(1),
        None => Duration::from_secs(2),
    });
    Box::new(Session {
        context: context.clone(),
        connection,
        flags: Flags { expects_connect, ..Flags::default() },
        limits: SessionLimits {
            max_payload_bytes: options.limits.max_payload_bytes,
            max_control_line_bytes: options.limits.max_control_line_bytes,
            max_subscriptions: options.limits.max_subscriptions,
            max_sub_tokens: options.limits.max_sub_tokens,
            msg_trace: false,
        },
        permissions: None,
        left: Vec::new(),
        need: 0,
        memo: None,
        stall: None,
        active: false,
        pings_out: 0,
        ping_sent_ns: 0,
        first_pong_sent: false,
        resume: false,
        layered: false,
        layer_open: false,
        layer_end: None,
        handshake_timeout: None,
        peer_policy: None,
        admitted: false,
        auth_timeout,
        ping_interval: None,
        nonce,
        info_after_handshake: false,
        credentials: None,
        offered: None::<Box<Connect>>,
        identity: None,
        peer_certificates: Vec::new(),
        user_limits: Default::default(),
        entered: false,
        listener: None,
        expires_unix_ns: None,
    })
}

/// Registers the connection; false if there are too many (CORE-045, CORE-114).
pub fn admit(session: &Session) -> bool {
    let context = &session.context;
    let max = context.options.load().limits.max_connections.unwrap_or(0);
    if context.registry.len() >= max {
        let receiver = &session.connection.receiver;
        receiver.send(&ErrText::MaximumConnections.line());
        crate::log::error!("{} - {}", receiver.label(), ErrText::MaximumConnections);
        context.registry.refuse(&session.connection);
        return false;
    }
    context.registry.add(session.connection.clone());
    // Who comes through a transport is a client once its handshake is over.
    if session.listener.is_none() {
        session.log_created();
    }
    true
}

fn new_nonce() -> Box<str> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<11>()).into()
}

/// PROXY protocol and TLS, as configured; then the connection is served.
async fn secured(context: Arc<Context>, mut session: Box<Session>, mut duplex: Duplex) {
    let options = context.options.load_full();
    let tls = context.tls.load_full();
    let first = options.tls.as_ref().map_or(HandshakeFirst::No, |t| t.handshake_first);
    let mut tls_first = tls.is_some() && first == HandshakeFirst::Always;
    if let (Some(_), HandshakeFirst::Auto(wait)) = (&tls, first) {
        tls_first = clock::timeout(wait, duplex.read.peek()).await.is_some();
    }
    if !tls_first {
        session.connection.receiver.send(&session.info_line(None));
    }
    if !admit(&session) {
        clock::sleep(Duration::from_millis(50)).await;
        return;
    }
    if options.proxy_protocol && !read_proxy_header(&session, &mut duplex).await {
        return drop_unserved(session, ClosedReason::ProtocolViolation);
    }
    if let (Some(tls), Some(tls_options)) = (tls, &options.tls) {
        let plain = options.allow_non_tls
            && !tls_first
            && match clock::timeout(tls_options.timeout, duplex.read.peek()).await {
                Some(Ok(first)) => !first.is_some_and(crate::tls::session::looks_like_tls),
                _ => true,
            };
        if !plain {
            if context.tls_rate.lock().as_mut().is_some_and(|rate| !rate.allow(now_ns())) {
                let receiver = &session.connection.receiver;
                receiver.send(&ErrText::ConnectionThrottling.line());
                return drop_unserved(session, ClosedReason::MaximumConnections);
            }
            match TlsSession::server(&tls) {
                Ok(layer) => set_layer(&mut session, Box::new(layer)),
                Err(e) => {
                    crate::log::error!("{} - {e}", session.connection.receiver.label());
                    return drop_unserved(session, ClosedReason::ReadError);
                }
            }
            session.handshake_timeout = Some(tls_options.timeout);
            session.peer_policy.clone_from(&tls.peers);
            session.info_after_handshake = tls_first;
            session.connection.facts.lock().tls_first = tls_first;
        }
    }
    // A task of its own, so that what is needed only here is not kept for as long as the connection.
    spawn(serve(session, duplex));
}

/// From here on bytes pass through `layer`.
pub fn set_layer(session: &mut Session, layer: Box<dyn Layer>) {
    session.layered = true;
    session.connection.receiver.out.lock().set_layer(layer);
}

/// Tells the layer of its start; a transport without a handshake on plain TCP is open at once.
pub fn start_layer(session: &mut Session) -> Result<(), LayerError> {
    let started = session.connection.receiver.out.lock().decode(&mut [], &mut Vec::new());
    if started? != Progress::Handshaking {
        session.layer_opened();
    }
    Ok(())
}

impl Session {
    pub(super) fn log_created(&self) {
        crate::log::debug!("{} - Client connection created", self.connection.receiver.label());
    }

    /// The handshake of TLS or a transport is over.
    pub(super) fn layer_opened(&mut self) {
        self.layer_open = true;
        self.note_layer();
        if self.listener.is_some() {
            self.log_created();
        }
        if std::mem::take(&mut self.info_after_handshake) {
            let line = self.info_line(None);
            self.connection.receiver.send(&line);
        }
    }

    /// Takes over what TLS or a transport found out about the client.
    fn note_layer(&mut self) {
        let receiver = &self.connection.receiver;
        let mut out = receiver.out.lock();
        let Some(layer) = out.layer() else { return };
        let (tls, attributes) = (layer.tls(), layer.attributes());
        drop(out);
        let mut facts = self.connection.facts.lock();
        if let Some(tls) = tls {
            facts.tls_version = tls.version.to_owned();
            facts.tls_cipher = tls.cipher_suite.to_owned();
            facts.tls_peer_certs = tls.peer_certificates.iter().map(|der| PeerCert::of(der)).collect();
            self.peer_certificates = tls.peer_certificates;
        }
        let Some(attributes) = attributes else { return };
        let text = |name: &str| attributes.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        self.offered = Some(Box::new(Connect {
            user: text("user").into(),
            pass: text("pass").into(),
            auth_token: text("auth_token").into(),
            jwt: text("jwt").into(),
            ..Connect::default()
        }));
        facts.forwarded_for = Some(text("client_ip")).filter(|ip| !ip.is_empty()).map(String::into_boxed_str);
        receiver.label.store(Some(Arc::new(facts.label(receiver.cid))));
    }
}

fn drop_unserved(session: Box<Session>, reason: ClosedReason) {
    crate::log::debug!("{} - Client connection closed: {reason}", session.connection.receiver.label());
    session.context.registry.remove(&session.connection, reason, LastSubs::default());
}

/// Reads a PROXY header if there is one. False: it is broken, or nothing came in time, and the connection ends
/// (CORE-240, CORE-241).
async fn read_proxy_header(session: &Session, duplex: &mut Duplex) -> bool {
    use crate::proto::proxy::Parsed;
    let mut bytes = Vec::new();
    let read = clock::timeout(PROXY_TIMEOUT, proxy_header(&mut bytes, &mut duplex.read)).await;
    let mut facts = session.connection.facts.lock();
    let consumed = match read.unwrap_or_else(|| Err(timed_out(&bytes, &facts, &duplex.read))) {
        Ok(Parsed::NotProxy | Parsed::Incomplete) => 0,
        Ok(Parsed::Header { source, consumed, .. }) => {
            if let Some(source) = source {
                facts.ip = source.ip().to_canonical().to_string();
                facts.port = source.port();
            }
            consumed
        }
        Err(why) => {
            crate::log::warn!("Error reading PROXY protocol header from {}:{}: {why}", facts.ip, facts.port);
            return false;
        }
    };
    duplex.read.give_back(&bytes[consumed..]);
    session.connection.receiver.label.store(Some(Arc::new(facts.label(session.connection.receiver.cid))));
    true
}

async fn proxy_header(
    bytes: &mut Vec<u8>,
    read: &mut ReadHalf,
) -> Result<crate::proto::proxy::Parsed, String> {
    use crate::proto::proxy::{Missing, Parsed, parse};
    loop {
        match parse(bytes).map_err(|e| e.to_string())? {
            Parsed::Incomplete => {}
            decided => return Ok(decided),
        }
        if !matches!(read.read_some(bytes).await, Ok(1..)) {
            let missing = Missing::of(bytes);
            return Err(format!("failed to read {}: {}", missing.part, missing.end));
        }
    }
}

fn timed_out(bytes: &[u8], facts: &Facts, read: &ReadHalf) -> String {
    let missing = crate::proto::proxy::Missing::of(bytes);
    if missing.is_start() {
        return format!("failed to read {}: {}", missing.part, missing.end);
    }
    let local = read.local_addr().map(|a| a.to_string()).unwrap_or_default();
    format!("failed to read {}: read tcp {local}->{}:{}: i/o timeout", missing.part, facts.ip, facts.port)
}
#[cfg(test)]
mod tests {
    use super::{Duplex, Session, serve};

    #[test]
    fn what_an_idle_connection_holds_stays_small() {
        fn future_bytes<F>(_: fn(Box<Session>, Duplex) -> F) -> usize {
            size_of::<F>()
        }
        assert!(future_bytes(serve) <= 512, "{}", future_bytes(serve));
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
    }
}
