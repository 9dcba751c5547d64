//! Whether a user may connect, and as whom (JWT-030 to JWT-039).

use crate::accounts::{Known, Member, Realm};
use crate::claims::{Account, Permissions, User, UserLimits};
use crate::network::Network;
use crate::{keys, permissions, scope, times, token};
use natsd_plugin_api::{AuthRequest, Identity};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use thiserror::Error;

const NS_PER_S: u64 = 1_000_000_000;
const CONNECTION_TYPES: [&str; 7] =
    ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];

/// Why not. The client never learns it; it is in the debug log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("Authentication requires a user JWT")]
    NoToken,
    #[error("User JWT not valid: {0}")]
    Token(#[from] token::TokenError),
    #[error("User JWT no longer valid: {0}")]
    Invalid(String),
    #[error("Account {0} not listed as operator pinned account")]
    NotPinned(String),
    #[error("Account JWT lookup error: {0}")]
    Account(String),
    #[error("Account JWT not signed by trusted operator")]
    Operator,
    #[error("User JWT issuer is not known")]
    Issuer,
    #[error("User JWT generated invalid permissions: {0}")]
    Scope(#[from] scope::ScopeError),
    #[error("Account JWT has expired")]
    AccountExpired,
    #[error("Account does not allow bearer tokens")]
    Bearer,
    #[error("Connection type not allowed")]
    ConnectionType,
    #[error("Signature missing")]
    NoSignature,
    #[error("Signature not valid")]
    Signature,
    #[error("User authentication revoked")]
    Revoked,
    #[error("Bad src Ip {0}")]
    Source(String),
    #[error("Outside connect times")]
    Time,
    #[error("Proxy connection required")]
    Proxy,
}

/// A user who may connect.
pub struct Admitted {
    pub identity: Identity,
    pub member: Member,
    pub account: Arc<Known>,
}

impl Realm {
    /// Reads the token, finds its account, and decides.
    pub async fn admit(&self, request: &AuthRequest) -> Result<Admitted, Refusal> {
        let config = self.config();
        let sent = request.field("jwt").filter(|token| !token.is_empty());
        // MQTT clients have no other place for it.
        let as_password = || request.password().filter(|_| request.kind.starts_with("mqtt"));
        let token = sent.or_else(as_password).unwrap_or(&config.default_sentinel);
        if token.is_empty() {
            return Err(Refusal::NoToken);
        }
        let user = token::decode_user(token)?;
        let now_s = self.unix_s();
        check_validity(&user, now_s)?;
        let account_key = account_of(&user);
        if config.pinned.as_ref().is_some_and(|pinned| !pinned.contains(account_key)) {
            self.unpinned_logins.fetch_add(1, Relaxed);
            return Err(Refusal::NotPinned(account_key.to_owned()));
        }
        let account = match self.bootstrapping(account_key) {
            Some(account) => account,
            None => {
                let found = self.lookup(account_key).await;
                found.map_err(|error| Refusal::Account(error.message().to_owned()))?
            }
        };
        if !config.trusted.contains(&account.claims.common.iss) {
            return Err(Refusal::Operator);
        }
        if account.is_expired() {
            return Err(Refusal::AccountExpired);
        }
        let granted = Granted::new(&user, &account.claims)?;
        if granted.limits.bearer_token && account.claims.nats.limits.disallow_bearer {
            return Err(Refusal::Bearer);
        }
        granted.check_connection_type(request)?;
        if !granted.limits.bearer_token {
            check_signature(&user, request)?;
        }
        let mut identity = granted.identity(request, now_s)?;
        token.clone_into(&mut identity.jwt);
        // What the scope of a signing key says does not count, as with nats-server.
        identity.bearer = user.nats.limits.bearer_token;
        identity.issuer_key.clone_from(&user.common.iss);
        identity.name_tag.clone_from(&user.common.name);
        let member = granted.member();
        Ok(Admitted { identity, member, account })
    }
}

/// JWT-032
pub fn account_of(user: &User) -> &str {
    if user.nats.issuer_account.is_empty() { &user.common.iss } else { &user.nats.issuer_account }
}

pub fn check_validity(user: &User, now_unix_s: i64) -> Result<(), Refusal> {
    let mut problems: Vec<String> = user.common.untimely(now_unix_s).map(str::to_owned).into_iter().collect();
    if !keys::is(&user.common.sub, keys::Role::User) {
        problems.push("its subject is no user's public key".to_owned());
    }
    problems.extend(user.nats.limits.problems());
    let issuer_account = &user.nats.issuer_account;
    if !issuer_account.is_empty() && !keys::is(issuer_account, keys::Role::Account) {
        problems.push("account_id is not an account public key".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems.join(", "))) }
}

fn check_signature(user: &User, request: &AuthRequest) -> Result<(), Refusal> {
    let signature = request.field("sig").filter(|sig| !sig.is_empty()).ok_or(Refusal::NoSignature)?;
    let signature = keys::decode_signature(signature).ok_or(Refusal::Signature)?;
    let nonce = request.nonce.as_deref().unwrap_or_default();
    if nonce.is_empty() || !keys::verifies(&user.common.sub, nonce.as_bytes(), &signature) {
        return Err(Refusal::Signature);
    }
    Ok(())
}

/// A user with the rights that its signer gives it.
pub struct Granted<'a> {
    user: &'a User,
    account: &'a Account,
    pub limits: UserLimits,
    scope: Option<Box<UserLimits>>,
}

impl<'a> Granted<'a> {
    pub fn new(user: &'a User, account: &'a Account) -> Result<Self, Refusal> {
        let signer = account.signer(&user.common.iss).ok_or(Refusal::Issuer)?;
        let limits = match &signer.scope {
            Some(template) => scope::apply(template, user, account)?,
            None => user.nats.limits.clone(),
        };
        Ok(Self { user, account, limits, scope: signer.scope })
    }

    /// AUTH-008, JWT-039
    pub fn check_connection_type(&self, request: &AuthRequest) -> Result<(), Refusal> {
        let types = &self.limits.allowed_connection_types;
        let own = match request.kind.as_str() {
            "client" | "" => "STANDARD".to_owned(),
            kind => kind.to_ascii_uppercase(),
        };
        if types.is_empty() || types.iter().any(|kind| kind.eq_ignore_ascii_case(&own)) {
            return Ok(());
        }
        Err(Refusal::ConnectionType)
    }

    /// JWT-039: of names of connection types one at least is known.
    pub fn check_known_types(&self) -> Result<(), Refusal> {
        let types = &self.limits.allowed_connection_types;
        let is_known = |kind: &String| CONNECTION_TYPES.contains(&kind.to_ascii_uppercase().as_str());
        if types.is_empty() || types.iter().any(is_known) { Ok(()) } else { Err(Refusal::ConnectionType) }
    }

    /// What is left to check, and who the client is then.
    pub fn identity(&self, request: &AuthRequest, now_unix_s: i64) -> Result<Identity, Refusal> {
        if self.limits.proxy_required && !request.through_proxy {
            return Err(Refusal::Proxy);
        }
        let common = &self.user.common;
        if self.account.nats.revocations.revoke(&common.sub, common.iat) {
            return Err(Refusal::Revoked);
        }
        check_source(&self.limits, &request.remote)?;
        let limit = |value: i64| (value != -1).then(|| u32::try_from(value.max(0)).unwrap_or(u32::MAX));
        Ok(Identity {
            max_subscriptions: limit(self.limits.subs),
            max_payload_bytes: limit(self.limits.payload),
            ..self.unlimited_identity(now_unix_s)?
        })
    }

    /// As whoever was let in by a service: without limits, and wherever it connects from (CALL-006).
    pub fn unlimited_identity(&self, now_unix_s: i64) -> Result<Identity, Refusal> {
        let user = self.user;
        let until = times::allowed_until(&self.limits.times, &self.limits.times_location, now_unix_s);
        let until = until.ok_or(Refusal::Time)?;
        let expires_s = [(user.common.exp > 0).then_some(user.common.exp), until].into_iter().flatten().min();
        let own: Permissions = self.limits.permissions();
        // JWT-035
        let permissions = if own.is_empty() { &self.account.nats.default_permissions } else { &own };
        let known_types = self.limits.allowed_connection_types.iter().map(|kind| kind.to_ascii_uppercase());
        Ok(Identity {
            account: Some(self.account.common.sub.clone()),
            user: user.common.sub.clone(),
            user_kind: "jwt".to_owned(),
            permissions: permissions::block(permissions),
            expires_unix_ns: expires_s
                .and_then(|s| u64::try_from(s).ok())
                .map(|s| s.saturating_mul(NS_PER_S)),
            allowed_connection_types: known_types
                .filter(|kind| CONNECTION_TYPES.contains(&kind.as_str()))
                .collect(),
            tags: user.nats.tags.clone(),
            ..Identity::default()
        })
    }

    pub fn member(&self) -> Member {
        Member {
            account: self.account.common.sub.clone(),
            user: self.user.common.sub.clone(),
            issued_unix_s: self.user.common.iat,
            is_bearer: self.limits.bearer_token,
            signer: self.user.common.iss.clone(),
            scope: self.scope.clone(),
            has_default_permissions: self.limits.permissions().is_empty(),
        }
    }
}

fn check_source(limits: &UserLimits, remote: &str) -> Result<(), Refusal> {
    if limits.src.0.is_empty() {
        return Ok(());
    }
    let address: Option<IpAddr> =
        remote.parse::<SocketAddr>().map(|address| address.ip()).ok().or_else(|| {
            let (host, _) = remote.rsplit_once(':')?;
            host.trim_matches(['[', ']']).parse().ok()
        });
    let within = |address: IpAddr| {
        limits.src.0.iter().any(|text| Network::parse(text).is_some_and(|network| network.contains(address)))
    };
    if address.is_some_and(within) { Ok(()) } else { Err(Refusal::Source(remote.to_owned())) }
}
