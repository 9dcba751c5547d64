//! System events: what happens on the server, told in the system account (EVT-001 to EVT-016, EVT-030).
//!
//! `body` says what an event is made of, `ids` numbers them, `timers` are those that come by themselves. An event
//! that nobody listens for is not made.

mod body;
mod ids;
mod time_text;
pub mod timers;

use crate::json;
use body::Head;
use ids::Ids;
use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{
    ConnectionEvent, ConnectionFacts, Event, EventObserver, Host, PublishRef, Result, ServerIdentity, tracing,
};
use std::sync::{Arc, PoisonError, RwLock};

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    host: Host,
    ids: Arc<Ids>,
    /// As the configuration in force has it; events of connections come often.
    identity: Arc<RwLock<Option<Arc<ServerIdentity>>>>,
}

const ACCOUNT_AUTH_ERROR: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

impl EventObserver for Events {
    fn on_event(&self, event: &Event) {
        if let Err(error) = self.tell(event) {
            tracing::debug!("A system event is lost: {error}");
        }
    }

    fn wants(&self, what: ConnectionEvent, account: &str) -> bool {
        // An error is told when the event comes.
        self.has_listeners(what, account).unwrap_or(true)
    }
}

impl Events {
    pub fn new(host: Host) -> Self {
        let ids = Arc::new(Ids::new(&host));
        Self { host, ids, identity: Arc::default() }
    }

    fn tell(&self, event: &Event) -> Result<()> {
        match event {
            Event::Connected { connection } => {
                let to = self.identity()?;
                if let Some(left) = connection.extra.get("previous_account").and_then(Value::as_str) {
                    self.account_connections(&to, left)?;
                }
                // In this order (EVT-011).
                self.account_connections(&to, body::account_of(connection))?;
                self.connect(&to, connection)
            }
            Event::Disconnected { connection, reason } => {
                let to = self.identity()?;
                if !connection.account.is_empty() {
                    self.account_connections(&to, &connection.account)?;
                }
                let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", body::account_of(connection));
                self.disconnect(&to, &to.system_account, &subject, connection, reason)
            }
            Event::Refused { connection, reason } => {
                let to = self.identity()?;
                if !asked_plugins(connection) {
                    // EVT-004: in the account that it was in when it was refused.
                    self.disconnect(&to, body::GLOBAL_ACCOUNT, ACCOUNT_AUTH_ERROR, connection, reason)?;
                }
                let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", to.id);
                self.disconnect(&to, &to.system_account, &subject, connection, reason)
            }
            Event::PeerLinkInvalid { link, peer, reason } => self
                .of_server("OCSP.PEER.LINK.INVALID", |head| {
                    body::peer_link_invalid(head, link, peer, reason)
                }),
            Event::PeerRefused { kind, peer, reason } => {
                self.of_server("OCSP.PEER.CONN.REJECT", |head| body::peer_refused(head, kind, peer, reason))
            }
            Event::Reloaded { .. } => {
                *self.identity.write().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(())
            }
            Event::LameDuck => self.server_alone("LAMEDUCK"),
            Event::Shutdown => self.server_alone("SHUTDOWN"),
            _ => Ok(()),
        }
    }

    /// Whether somebody listens for what `tell` would publish.
    fn has_listeners(&self, what: ConnectionEvent, account: &str) -> Result<bool> {
        let to = self.identity()?;
        let shown = if account.is_empty() { body::GLOBAL_ACCOUNT } else { account };
        let subject = match what {
            ConnectionEvent::Connected => format!("$SYS.ACCOUNT.{shown}.CONNECT"),
            ConnectionEvent::Disconnected => format!("$SYS.ACCOUNT.{shown}.DISCONNECT"),
            _ => format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", to.id),
        };
        if self.is_wanted(&to, &subject)? {
            return Ok(true);
        }
        if what == ConnectionEvent::Refused {
            return self.is_wanted_in(&to, body::GLOBAL_ACCOUNT, ACCOUNT_AUTH_ERROR);
        }
        if shown == body::GLOBAL_ACCOUNT {
            return Ok(false);
        }
        let counts = account_connections_subjects(account);
        Ok(self.is_wanted(&to, &counts[0])? || self.is_wanted(&to, &counts[1])?)
    }

    fn connect(&self, to: &ServerIdentity, connection: &ConnectionFacts) -> Result<()> {
        let subject = format!("$SYS.ACCOUNT.{}.CONNECT", body::account_of(connection));
        if !self.is_wanted(to, &subject)? {
            return Ok(());
        }
        self.publish(to, &subject, &body::connect(self.head()?, connection))
    }

    fn disconnect(
        &self,
        to: &ServerIdentity,
        account: &str,
        subject: &str,
        connection: &ConnectionFacts,
        reason: &str,
    ) -> Result<()> {
        if !self.is_wanted_in(to, account, subject)? {
            return Ok(());
        }
        self.publish_in(account, subject, &body::disconnect(self.head()?, connection, reason))
    }

    /// EVT-010: under two subjects, the old one first; never of the global account.
    fn account_connections(&self, to: &ServerIdentity, account: &str) -> Result<()> {
        if account == body::GLOBAL_ACCOUNT {
            return Ok(());
        }
        let subjects = account_connections_subjects(account);
        let mut told: Option<Value> = None;
        for subject in &subjects {
            if !self.is_wanted(to, subject)? {
                continue;
            }
            let event = match told.take() {
                None => self.account_connections_now(account)?,
                // The same event, but each message has its own number.
                Some(mut event) => {
                    event["server"] = self.server()?;
                    event
                }
            };
            self.publish(to, subject, &event)?;
            told = Some(event);
        }
        Ok(())
    }

    /// The event about an account, as it is now; also the answer to who asks for it (SYS-014).
    pub fn account_connections_now(&self, account: &str) -> Result<Value> {
        let params = json!({ "accounts": [account], "include_unused": true });
        let stats = self.snapshot("accstatz", &params)?;
        Ok(body::account_connections(self.head()?, &stats["account_statz"][0]))
    }

    /// The body of the periodic event, also the answer to who asks for it (SYS-006).
    pub fn statsz_now(&self) -> Result<Value> {
        let varz = self.snapshot("varz", &json!({}))?;
        let accounts = self.snapshot("accstatz", &json!({}))?;
        let active = accounts["account_statz"].as_array().map_or(0, Vec::len);
        Ok(body::statsz(self.server()?, &varz, active))
    }

    /// EVT-012
    fn statsz(&self) -> Result<()> {
        let to = self.identity()?;
        let subject = format!("$SYS.SERVER.{}.STATSZ", to.id);
        if !self.is_wanted(&to, &subject)? {
            return Ok(());
        }
        self.publish(&to, &subject, &self.statsz_now()?)
    }

    /// EVT-013, EVT-014: the body is who says so, and nothing else.
    fn server_alone(&self, what: &str) -> Result<()> {
        let to = self.identity()?;
        let subject = format!("$SYS.SERVER.{}.{what}", to.id);
        if !self.is_wanted(&to, &subject)? {
            return Ok(());
        }
        self.publish(&to, &subject, &self.server()?)
    }

    /// Under a subject of this server.
    fn of_server(&self, what: &str, event: impl FnOnce(Head) -> Value) -> Result<()> {
        let to = self.identity()?;
        let subject = format!("$SYS.SERVER.{}.{what}", to.id);
        if !self.is_wanted(&to, &subject)? {
            return Ok(());
        }
        self.publish(&to, &subject, &event(self.head()?))
    }

    fn head(&self) -> Result<Head> {
        Ok(Head { id: self.ids.next(&self.host), now_unix_ns: self.host.unix_ns(), server: self.server()? })
    }

    /// MON-150; takes the next number.
    pub fn server(&self) -> Result<Value> {
        self.snapshot("server", &json!({}))
    }

    /// What JetStream says of itself, where it is on.
    pub fn jetstream(&self) -> Option<Value> {
        self.host.introspect("jetstream", &json!({})).ok().filter(|facts| facts["enabled"] == true)
    }

    /// Tells the numbers of the server to all because somebody asks for them (SYS-004).
    pub fn broadcast_statsz(&self) {
        if let Err(error) = self.statsz() {
            tracing::debug!("A system event is lost: {error}");
        }
    }

    pub fn identity(&self) -> Result<Arc<ServerIdentity>> {
        // What is kept is replaced as a whole: a panic leaves nothing half done.
        if let Some(known) = &*self.identity.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(known.clone());
        }
        let identity = Arc::new(self.host.identity()?);
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity.clone());
        Ok(identity)
    }

    pub fn snapshot(&self, kind: &str, params: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&self.host.snapshot(kind, params)?)?)
    }

    fn is_wanted(&self, to: &ServerIdentity, subject: &str) -> Result<bool> {
        self.is_wanted_in(to, &to.system_account, subject)
    }

    /// Somebody in the account listens; without a system account there are no events at all.
    fn is_wanted_in(&self, to: &ServerIdentity, account: &str, subject: &str) -> Result<bool> {
        Ok(!to.system_account.is_empty() && self.host.interest(account, subject.as_bytes(), b"")? > 0)
    }

    fn publish(&self, to: &ServerIdentity, subject: &str, event: &Value) -> Result<()> {
        self.publish_in(&to.system_account, subject, event)
    }

    fn publish_in(&self, account: &str, subject: &str, event: &Value) -> Result<()> {
        let payload = json::compact(event);
        self.host.publish(account, PublishRef::new(subject.as_bytes(), payload.as_bytes()))?;
        Ok(())
    }
}

/// Authenticators of plugins decided, and a callout tells its own account (CALL-008).
fn asked_plugins(connection: &ConnectionFacts) -> bool {
    connection.extra.get("asked_plugins").and_then(Value::as_bool).unwrap_or(false)
}

/// EVT-010: the old one first.
fn account_connections_subjects(account: &str) -> [String; 2] {
    [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")]
}
