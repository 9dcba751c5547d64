//! What plugins have to say about connections: authenticators and observers.

use crate::auth::permissions::Permissions;
use crate::auth::{ConnectFacts, Decision, Denial, Identity};
use crate::config::section::permissions_of_json;
use crate::conn::Connection;
use crate::conn::context::Hooks;
use crate::plugins::Plugins;
use crate::proto::error::ClosedReason;
use base64::Engine;
use natsd_plugin_api::{AuthRequest, ConnectionFacts, Event, Verdict};
use serde_json::{Map, json};
use std::pin::Pin;
use std::sync::Arc;

pub struct PluginHooks {
    pub plugins: Arc<Plugins>,
    pub server_id: String,
    pub server_name: String,
}

impl Hooks for PluginHooks {
    fn authenticate<'a>(
        &'a self,
        facts: &'a ConnectFacts,
    ) -> Pin<Box<dyn Future<Output = Option<Decision>> + Send + 'a>> {
        Box::pin(async move {
            let verdict = self.plugins.points().authenticate(&self.request(facts)).await;
            match verdict {
                Verdict::Abstain => None,
                Verdict::Deny { reason } => Some(deny(reason)),
                Verdict::Allow(identity) => Some(allow(identity, facts).unwrap_or_else(deny)),
            }
        })
    }

    fn has_authenticators(&self) -> bool {
        !self.plugins.points().has_no_authenticators()
    }

    fn connected(&self, connection: &Connection) {
        let points = self.plugins.points();
        if !points.has_no_observers() {
            points.notify(&Event::Connected { connection: facts_of(connection) });
        }
    }

    fn disconnected(&self, connection: &Connection, reason: ClosedReason) {
        let points = self.plugins.points();
        if !points.has_no_observers() {
            let connection = facts_of(connection);
            points.notify(&Event::Disconnected { connection, reason: reason.to_string() });
        }
    }
}

impl PluginHooks {
    fn request(&self, facts: &ConnectFacts) -> AuthRequest {
        let o = &facts.options;
        let mut connect = Map::new();
        for (name, value) in [
            ("user", &o.user),
            ("pass", &o.pass),
            ("auth_token", &o.auth_token),
            ("nkey", &o.nkey),
            ("sig", &o.sig),
            ("jwt", &o.jwt),
            ("name", &o.name),
            ("lang", &o.lang),
            ("version", &o.version),
        ] {
            if !value.is_empty() {
                connect.insert(name.to_owned(), value.as_str().into());
            }
        }
        for (name, value) in [("verbose", o.verbose), ("pedantic", o.pedantic), ("echo", o.echo)] {
            connect.insert(name.to_owned(), value.into());
        }
        let base64 = base64::engine::general_purpose::STANDARD;
        AuthRequest {
            connection_id: facts.cid,
            kind: if facts.client_type == "nats" { "client".to_owned() } else { facts.client_type.clone() },
            remote: format!("{}:{}", facts.ip, facts.port),
            connect,
            nonce: (!facts.nonce.is_empty()).then(|| facts.nonce.clone()),
            tls: !facts.peer_certificates.is_empty(),
            peer_certificates: facts.peer_certificates.iter().map(|c| base64.encode(c)).collect(),
            server_id: self.server_id.clone(),
            server_name: self.server_name.clone(),
        }
    }
}

fn deny(log: String) -> Decision {
    Decision::Deny(Denial { reason: ClosedReason::AuthenticationFailure, log })
}

fn allow(identity: natsd_plugin_api::Identity, facts: &ConnectFacts) -> Result<Decision, String> {
    let types = &identity.allowed_connection_types;
    if !types.is_empty() && !types.iter().any(|t| t.eq_ignore_ascii_case(&facts.connection_type)) {
        return Err(format!("connection type {} is not allowed", facts.connection_type));
    }
    let permissions = match &identity.permissions {
        None => None,
        Some(json) => {
            let options = permissions_of_json(json)?;
            Some(Arc::new(Permissions::compile(&options).map_err(|e| e.to_string())?))
        }
    };
    Ok(Decision::Allow(Identity {
        account: identity.account,
        label: format!("user:{}", identity.user),
        user: identity.user,
        permissions,
        expires_unix_ns: identity.expires_unix_ns,
        by_plugin: true,
        ..Identity::anonymous()
    }))
}

/// A connection as plugins see it.
pub fn facts_of(connection: &Connection) -> ConnectionFacts {
    let facts = connection.facts.lock();
    let mut extra = Map::new();
    extra.insert("lang".to_owned(), json!(facts.lang));
    extra.insert("version".to_owned(), json!(facts.version));
    extra.insert("type".to_owned(), json!(facts.client_type));
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    ConnectionFacts {
        id: connection.receiver.cid,
        kind: "Client".to_owned(),
        remote: format!("{}:{}", facts.ip, facts.port),
        account: facts.account.clone(),
        user: some(&facts.user),
        name: some(&facts.name),
        extra,
    }
}
