//! The state of one connection that only its own task touches.

use crate::account::Account;
use crate::auth::permissions::Permissions;
use crate::auth::{Identity, ListenerAuth, UserLimits};
use crate::conn::context::Context;
use crate::conn::registry::Connection;
use crate::interest::Matched;
use crate::proto::connect::Connect;
use crate::proto::error::{ClosedReason, ErrText};
use crate::proto::info::InfoTemplate;
use crate::proto::parse::PubLine;
use crate::routing::Receiver;
use crate::routing::chunk::Sender;
use crate::tls::peers::PeerPolicy;
use arc_swap::ArcSwap;
use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub struct Session {
    pub context: Arc<Context>,
    pub connection: Arc<Connection>,
    pub flags: Flags,
    pub limits: SessionLimits,
    pub permissions: Option<Arc<Permissions>>,
    /// Bytes that were read and not processed: the start of an operation.
    pub left: Vec<u8>,
    /// Bytes that the operation at the start of `left` needs in all; 0 is unknown.
    pub need: usize,
    pub(super) memo: Option<Box<Memo>>,
    /// Takes too long: wait for it before the next read.
    pub stall: Option<Arc<Receiver>>,
    /// A message, a change of subscriptions or a PING came since the ping timer last looked (CORE-201). A PONG is no
    /// such thing, or every other PING would be left out.
    pub active: bool,
    /// PONGs that are due (CORE-202).
    pub pings_out: u32,
    pub ping_sent_ns: u64,
    /// The first PONG was sent (CORE-041).
    pub first_pong_sent: bool,
    /// What stands in `left` can be processed without another read.
    pub resume: bool,
    /// Bytes pass through TLS or a transport; `layer_open`: its handshake is over.
    pub layered: bool,
    pub layer_open: bool,
    /// The layer is at its end; what it decoded before comes first.
    pub layer_end: Option<Box<Failure>>,
    pub handshake_timeout: Option<Duration>,
    /// How the certificates of its peer are checked after the handshake, and whether it passed just now.
    pub peer_policy: Option<Arc<PeerPolicy>>,
    pub admitted: bool,
    pub auth_timeout: Duration,
    /// The listener's own, if it has one.
    pub ping_interval: Option<Duration>,
    /// Signed by clients with an nkey.
    pub nonce: Option<Box<str>>,
    /// INFO waits for the end of the handshake (CORE-230).
    pub info_after_handshake: bool,
    /// The last CONNECT, if it carried credentials: another one may leave them out (CORE-066).
    pub credentials: Option<Box<Connect>>,
    /// Credentials that a transport found (cookies, CORE-067).
    pub offered: Option<Box<Connect>>,
    /// Who it is, once it has logged in.
    pub identity: Option<Box<Identity>>,
    /// The client's certificate chain, DER.
    pub peer_certificates: Vec<Vec<u8>>,
    /// Of its credentials.
    pub user_limits: UserLimits,
    /// Counted in its account.
    pub entered: bool,
    /// The plugin's listener it came through.
    pub listener: Option<Arc<ListenerFacts>>,
    /// When its authentication ends.
    pub expires_unix_ns: Option<u64>,
}

/// What a plugin's listener says of its connections.
pub struct ListenerFacts {
    pub name: String,
    pub kind: String,
    pub tls: bool,
    pub address: SocketAddr,
    pub auth: ListenerAuth,
    /// Its own: what the server's block says of certificates is for the server's own port (AUTH-009).
    pub maps_certificates: AtomicBool,
    pub info: ArcSwap<InfoTemplate>,
}

/// The options of CONNECT and where the connection stands. Defaults: CORE-065.
#[derive(Clone, Copy)]
pub struct Flags {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    /// CONNECT must come first (CORE-068).
    pub expects_connect: bool,
    pub connected: bool,
    /// CONNECT `protocol` >= 1: takes INFO at any time.
    pub async_info: bool,
    pub system_account: bool,
}

#[derive(Clone, Copy)]
pub struct SessionLimits {
    pub max_payload_bytes: usize,
    pub max_control_line_bytes: usize,
    pub max_subscriptions: Option<usize>,
    pub max_sub_tokens: Option<u8>,
    /// The account has a `msg_trace`: messages with `traceparent` may be traced (CORE-293).
    pub msg_trace: bool,
}

/// The last PUB or HPUB line and its match: most publishers repeat it.
#[derive(Default)]
pub(super) struct Memo {
    pub line: Vec<u8>,
    pub parsed: Option<PubLine>,
    /// The number of this line for `Item::line`.
    pub number: u64,
    pub hit: Option<Arc<Matched>>,
}

/// Why `process` stopped.
pub enum End {
    /// So many bytes are processed; the rest is the start of an operation.
    Used(usize),
    /// A CONNECT (its JSON) has to be answered before the rest from `used` on goes on.
    Login {
        json: Vec<u8>,
        used: usize,
    },
    /// First operation without CONNECT while a no_auth_user stands in (CORE-068).
    Anonymous {
        used: usize,
    },
    /// There is more, but others have waited long enough.
    Paused {
        used: usize,
    },
    /// The layer waits for a check of the peer.
    Vet,
    Fail(Failure),
}

/// The end of a connection: what the client is told, what is logged.
#[derive(Debug)]
pub struct Failure {
    pub error: Option<ErrText<'static>>,
    pub reason: ClosedReason,
    pub log: Option<String>,
}

impl Failure {
    pub fn told(error: ErrText<'static>, reason: ClosedReason) -> Failure {
        Failure { error: Some(error), reason, log: None }
    }

    pub fn silent(reason: ClosedReason, log: String) -> Failure {
        Failure { error: None, reason, log: Some(log) }
    }
}

impl Session {
    pub fn sender<'a>(&self, account: &'a Account, me: &'a Arc<Receiver>) -> Sender<'a> {
        Sender { account, receiver: Some(me), echo: self.flags.echo, no_responders: self.flags.no_responders }
    }

    /// What was remembered of the last line is void.
    pub fn forget(&mut self) {
        self.memo = None;
    }

    pub fn set_permissions(&mut self, permissions: Option<Arc<Permissions>>) {
        self.connection.receiver.permissions.store(permissions.clone());
        self.permissions = permissions;
        self.forget();
    }
}
