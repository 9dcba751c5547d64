//! What plugins have to say about connections: authenticators and observers.

use crate::auth::permissions::Permissions;
use crate::auth::{Identity, TokenFacts, UserLabel, UserLimits};
use crate::config::options::PermissionsOptions;
use crate::conn::Connection;
use crate::conn::context::{Hooks, LoginFacts, OwnDecision, PluginVerdict};
use crate::conn::registry::Traffic;
use crate::plugins::Plugins;
use crate::proto::error::ClosedReason;
use base64::Engine;
use natsd_plugin_api::{AuthRequest, AuthStage, ConnectionEvent, ConnectionFacts, Decided, Event, Verdict};
use serde_json::{Map, Value, json};
use std::pin::Pin;
use std::sync::Arc;

pub struct PluginHooks {
    pub plugins: Arc<Plugins>,
    pub server_id: String,
    pub server_name: String,
    pub account_exists: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Hooks for PluginHooks {
    fn authenticate<'a>(
        &'a self,
        facts: &'a LoginFacts,
        decided: Option<OwnDecision<'a>>,
    ) -> Pin<Box<dyn Future<Output = PluginVerdict> + Send + 'a>> {
        Box::pin(async move {
            let request = AuthRequest { decided: decided.map(decided_of), ..self.request(facts) };
            let verdict = self.plugins.points().authenticate(&request).await;
            match verdict {
                Verdict::Abstain => PluginVerdict::Abstain,
                Verdict::Deny { reason } => PluginVerdict::Deny(reason),
                Verdict::Keep { deny_publish } => PluginVerdict::Keep { deny_publish },
                Verdict::Allow(identity) => self.allow(identity, facts).unwrap_or_else(PluginVerdict::Deny),
            }
        })
    }

    fn has_authenticators(&self, stage: AuthStage) -> bool {
        self.plugins.points().has_authenticators_at(stage)
    }

    fn needs_nonce(&self) -> bool {
        self.plugins.points().need_nonce()
    }

    fn connected(&self, connection: &Connection, before: Option<&str>) {
        let account = connection.facts.lock().account.clone();
        let before = before.filter(|before| *before != account);
        let event = || {
            let mut connection = facts_of(connection);
            if let Some(before) = before {
                connection.extra.insert("previous_account".to_owned(), before.into());
            }
            Event::Connected { connection }
        };
        match before {
            // What happened concerns two accounts.
            Some(_) => self.plugins.points().notify(&event()),
            None => self.plugins.points().notify_of(ConnectionEvent::Connected, &account, event),
        }
    }

    fn disconnected(&self, connection: &Connection, reason: ClosedReason) {
        self.ended(ConnectionEvent::Disconnected, connection, |connection| Event::Disconnected {
            connection,
            reason: reason.to_string(),
        });
    }

    fn refused(&self, connection: &Connection, reason: ClosedReason) {
        self.ended(ConnectionEvent::Refused, connection, |mut connection| {
            let asked = [AuthStage::First, AuthStage::Last].into_iter().any(|at| self.has_authenticators(at));
            connection.extra.insert("asked_plugins".to_owned(), asked.into());
            Event::Refused { connection, reason: reason.to_string() }
        });
    }
}

impl PluginHooks {
    fn ended(
        &self,
        what: ConnectionEvent,
        connection: &Connection,
        event: impl FnOnce(ConnectionFacts) -> Event,
    ) {
        let account = connection.facts.lock().account.clone();
        self.plugins.points().notify_of(what, &account, || event(facts_of(connection)));
    }
}

fn decided_of(decision: OwnDecision<'_>) -> Decided {
    match decision {
        Ok(identity) => Decided {
            allowed: true,
            account: identity.account.to_string(),
            user: identity.label.name().unwrap_or_default().to_owned(),
            lacks_proxy: false,
        },
        Err(reason) => Decided { lacks_proxy: reason == ClosedReason::ProxyRequired, ..Decided::default() },
    }
}

impl PluginHooks {
    fn request(&self, facts: &LoginFacts) -> AuthRequest {
        let c = &facts.connect;
        let mut connect = Map::new();
        for (name, value) in [
            ("user", &c.user),
            ("pass", &c.pass),
            ("auth_token", &c.auth_token),
            ("nkey", &c.nkey),
            ("sig", &c.sig),
            ("jwt", &c.jwt),
            ("name", &c.name),
            ("lang", &c.lang),
            ("version", &c.version),
        ] {
            if !value.is_empty() {
                connect.insert(name.to_owned(), (**value).into());
            }
        }
        connect.insert("protocol".to_owned(), c.protocol.into());
        for (name, value) in [("verbose", c.verbose), ("pedantic", c.pedantic), ("echo", c.echo)] {
            connect.insert(name.to_owned(), value.into());
        }
        let base64 = base64::engine::general_purpose::STANDARD;
        let kind = if facts.client_type == "nats" { "client" } else { &facts.client_type };
        AuthRequest {
            connection_id: facts.cid,
            kind: kind.to_owned(),
            remote: facts.remote.clone(),
            connect,
            nonce: facts.nonce.as_deref().map(str::to_owned),
            tls: !facts.peer_certificates.is_empty(),
            peer_certificates: facts.peer_certificates.iter().map(|c| base64.encode(c)).collect(),
            server_id: self.server_id.clone(),
            server_name: self.server_name.clone(),
            through_proxy: facts.proxy_key.is_some(),
            decided: None,
        }
    }

    fn allow(
        &self,
        identity: natsd_plugin_api::Identity,
        facts: &LoginFacts,
    ) -> Result<PluginVerdict, String> {
        let types = &identity.allowed_connection_types;
        let kind = facts.connection_type.name();
        if !types.is_empty() && !types.iter().any(|t| t.eq_ignore_ascii_case(kind)) {
            return Err(format!("connection type {kind} is not allowed"));
        }
        let account = identity.account.as_deref().unwrap_or(crate::account::GLOBAL);
        if !(self.account_exists)(account) {
            return Err(format!("there is no account {account:?}"));
        }
        let permissions = permissions_of(identity.permissions.as_ref())?;
        let expires = identity.expires_unix_ns;
        let kind = facts.connection_type;
        let limits = UserLimits {
            max_subscriptions: identity.max_subscriptions,
            max_payload_bytes: identity.max_payload_bytes,
        };
        let label = UserLabel::of_kind(&identity.user_kind, &identity.user);
        let token = (!identity.jwt.is_empty() || !identity.name_tag.is_empty()).then(|| {
            let natsd_plugin_api::Identity { jwt, bearer: is_bearer, issuer_key, name_tag, .. } = identity;
            Arc::new(TokenFacts { jwt, is_bearer, issuer_key, name_tag })
        });
        let mut made = Identity::by_plugin(account.into(), label, permissions, kind, identity.tags, limits);
        made.token = token;
        made.proxy_key.clone_from(&facts.proxy_key);
        Ok(PluginVerdict::Allow(made, expires))
    }
}

/// Those of a `permissions {}` block as JSON; without one everything is allowed.
pub fn permissions_of(json: Option<&Value>) -> Result<Option<Arc<Permissions>>, String> {
    let Some(json) = json else { return Ok(None) };
    let options = crate::config::permissions_of_json(json)?;
    Ok(Some(Arc::new(Permissions::compile(&options).map_err(|e| e.to_string())?)))
}

/// A connection as plugins see it, and what it may do (SYS-016).
pub fn all_facts_of(connection: &Connection) -> ConnectionFacts {
    let mut all = facts_of(connection);
    let facts = connection.facts.lock();
    if let Some(permissions) = &facts.permissions {
        all.extra.insert("permissions".to_owned(), shown_permissions(&permissions.source));
    }
    if let Some(expires) = facts.expires_unix_ns {
        all.extra.insert("expires_unix_ns".to_owned(), expires.into());
    }
    all
}

/// Lists that say nothing are left out.
fn shown_permissions(options: &PermissionsOptions) -> Value {
    let mut shown = Map::new();
    for (name, subjects) in [("publish", &options.publish), ("subscribe", &options.subscribe)] {
        let mut lists = Map::new();
        let allow = subjects.allow.as_deref().unwrap_or_default();
        for (name, list) in [("allow", allow), ("deny", subjects.deny.as_slice())] {
            if !list.is_empty() {
                lists.insert(name.to_owned(), json!(list));
            }
        }
        shown.insert(name.to_owned(), Value::Object(lists));
    }
    if let Some(responses) = &options.allow_responses {
        let max = responses.max_msgs.map_or(-1, i64::from);
        let ttl = responses.ttl.map_or(-1, |ttl| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
        shown.insert("responses".to_owned(), json!({ "max": max, "ttl": ttl }));
    }
    Value::Object(shown)
}

/// A connection as plugins see it.
pub fn facts_of(connection: &Connection) -> ConnectionFacts {
    let facts = connection.facts.lock();
    let mut extra = Map::new();
    extra.insert("lang".to_owned(), json!(facts.lang));
    extra.insert("version".to_owned(), json!(facts.version));
    extra.insert("type".to_owned(), json!(facts.client_type));
    extra.insert("ip".to_owned(), json!(facts.ip));
    extra.insert("auth_user".to_owned(), json!(facts.authorized_user()));
    extra.insert("tags".to_owned(), json!(*facts.tags));
    if let Some(token) = &facts.token {
        extra.insert("jwt".to_owned(), token.jwt.as_str().into());
        extra.insert("issuer_key".to_owned(), token.issuer_key.as_str().into());
        extra.insert("name_tag".to_owned(), token.name_tag.as_str().into());
    }
    let traffic = Traffic::of(&connection.receiver);
    for (name, value) in [
        ("start_unix_ns", facts.start_unix_ns),
        ("rtt_ns", facts.rtt_ns),
        ("in_msgs", traffic.in_msgs),
        ("in_bytes", traffic.in_bytes),
        ("out_msgs", traffic.out_msgs),
        ("out_bytes", traffic.out_bytes),
    ] {
        extra.insert(name.to_owned(), value.into());
    }
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
