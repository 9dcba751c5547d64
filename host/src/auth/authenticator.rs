//! Decides whether a client may connect, and as whom (AUTH-001 to AUTH-013, AUTH-020 to AUTH-031).
//!
//! Holds the users of the configuration, ready to be looked up. Not here: operator mode and callouts,
//! which plugins decide, and the slow half of bcrypt, which the caller runs.

use std::sync::Arc;

use hashbrown::HashMap;
use thiserror::Error;

use super::certificate::CertificateFacts;
use super::credentials::{Secret, SecretCheck, check_nonce_signature, decode_signature};
use super::distinguished_name::DistinguishedName;
use super::identity::{
    Admission, BcryptCheck, ConnectFacts, ConnectionType, ConnectionTypes, Credentials,
    DEFAULT_SYSTEM_ACCOUNT, Decision, Denial, DenyReason, GLOBAL_ACCOUNT, Given, Identity, ListenerAuth,
    Recheck, UserLabel,
};
use super::nkey::{NkeyKind, Verifier};
use super::permissions::{Permissions, PermissionsError};
use crate::config::options::{AccountsOptions, AuthOptions, PermissionsOptions, UserOptions};
use crate::proto::quote::Quoted;

/// What the configuration says about who may connect. Another one is made for every reload.
#[derive(Debug)]
pub struct Authenticator {
    required: bool,
    users: HashMap<Arc<str>, PasswordUser>,
    nkeys: HashMap<Arc<str>, NkeyUser>,
    /// Users whose name is a distinguished name, in the order of the file (AUTH-020).
    named_by_certificate: Vec<(DistinguishedName, Arc<str>)>,
    /// The server's own user, password, token and `no_auth_user`.
    own: ListenerAuth,
    /// Lets plain clients in when only the system account has users (AUTH-012).
    hidden_user: Option<Arc<Grant>>,
    /// Of clients that are neither users nor nkeys.
    proxy_required: bool,
    trusted_proxies: Vec<(Verifier, Arc<str>)>,
    /// Connections that are mapped by certificate somewhere (AUTH-006).
    mapped_types: ConnectionTypes,
    global_account: Arc<str>,
}

#[derive(Debug)]
struct PasswordUser {
    grant: Arc<Grant>,
    password: Secret,
}

#[derive(Debug)]
struct NkeyUser {
    grant: Arc<Grant>,
    key: Verifier,
}

/// What a user gets.
#[derive(Debug)]
struct Grant {
    label: UserLabel,
    account: Arc<str>,
    permissions: Option<Arc<Permissions>>,
    /// Empty: all.
    connection_types: ConnectionTypes,
    proxy_required: bool,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthConfigError {
    #[error("User entry requires a user")]
    NamelessUser,
    #[error("Duplicate user {} detected", Quoted(.0.as_bytes()))]
    DuplicateUser(String),
    #[error("Duplicate nkey {} detected", Quoted(.0.as_bytes()))]
    DuplicateNkey(String),
    #[error("Not a valid public nkey for a user: {}", Quoted(.0.as_bytes()))]
    InvalidNkey(String),
    #[error("Not a valid public nkey for a trusted proxy: {}", Quoted(.0.as_bytes()))]
    InvalidProxyKey(String),
    #[error("unknown connection type {}", Quoted(.0.as_bytes()))]
    UnknownConnectionType(String),
    #[error("invalid permissions for {kind} {}: {source}", Quoted(name.as_bytes()))]
    Permissions { kind: &'static str, name: String, source: PermissionsError },
    #[error("no_auth_user: \"{0}\" present, but users/nkeys are not defined")]
    NoAuthUserWithoutUsers(String),
    #[error(
        "no_auth_user: \"{0}\" not present as user or nkey in authorization block or account configuration"
    )]
    NoAuthUserUnknown(String),
}

impl Authenticator {
    pub fn new(auth: &AuthOptions, accounts: &AccountsOptions) -> Result<Self, AuthConfigError> {
        let mut users = Users::default();
        for user in &auth.users {
            users.add(user, user.account.as_deref().unwrap_or(GLOBAL_ACCOUNT))?;
        }
        for account in &accounts.accounts {
            for user in &account.users {
                users.add(user, &account.name)?;
            }
        }
        let Users { users, nkeys, named_by_certificate, .. } = users;
        let own = ListenerAuth {
            user: auth.user.as_deref().map(Arc::from),
            password: auth.user.as_ref().map(|_| Secret::parse(auth.password.as_deref().unwrap_or_default())),
            token: auth.token.as_deref().map(Secret::parse),
            no_auth_user: auth.no_auth_user.as_deref().map(Arc::from),
        };
        let global_account: Arc<str> = GLOBAL_ACCOUNT.into();
        let authenticator = Self {
            required: !users.is_empty() || !nkeys.is_empty() || own.user.is_some() || own.token.is_some(),
            hidden_user: has_hidden_user(auth, accounts).then(|| hidden_user(&global_account)),
            users,
            nkeys,
            named_by_certificate,
            own,
            proxy_required: auth.proxy_required,
            trusted_proxies: trusted_proxies(&auth.trusted_proxies)?,
            mapped_types: ConnectionTypes::NONE,
            global_account,
        };
        if let Some(name) = &authenticator.own.no_auth_user {
            authenticator.check_no_auth_user(name)?;
        }
        Ok(authenticator)
    }

    /// Says which connections some listener maps by certificate. A user without password that may use
    /// one of them needs a certificate everywhere (AUTH-006).
    pub fn with_mapped_types(mut self, mapped_types: ConnectionTypes) -> Self {
        self.mapped_types = mapped_types;
        self
    }

    /// Whether anybody has to authenticate (AUTH-001): INFO's `auth_required`.
    pub fn auth_required(&self) -> bool {
        self.required
    }

    /// The first INFO does not ask clients for what they may leave out (CORE-018).
    pub fn hides_auth_required(&self) -> bool {
        self.own.no_auth_user.is_some()
    }

    /// Whether INFO has to carry a nonce (CORE-026).
    pub fn nonce_required(&self) -> bool {
        !self.nkeys.is_empty() || !self.trusted_proxies.is_empty()
    }

    /// The server warns about this at its start (AUTH-005).
    pub fn has_plaintext_passwords(&self) -> bool {
        let is_plain = |secret: &Secret| matches!(secret, Secret::Plain(_));
        self.own.password.as_ref().is_some_and(|password| is_plain(password) && !password.is_empty())
            || self.users.values().any(|user| is_plain(&user.password) && !self.needs_certificate(user))
    }

    /// For listeners with a `no_auth_user` of their own, too (AUTH-003).
    pub fn check_no_auth_user(&self, name: &str) -> Result<(), AuthConfigError> {
        if self.users.contains_key(name) || self.nkeys.contains_key(name) {
            Ok(())
        } else if self.users.is_empty() && self.nkeys.is_empty() {
            Err(AuthConfigError::NoAuthUserWithoutUsers(name.to_owned()))
        } else {
            Err(AuthConfigError::NoAuthUserUnknown(name.to_owned()))
        }
    }

    /// In the order of AUTH-002; the first method that applies is final. A client that sends another
    /// operation before CONNECT is asked about with empty credentials (CORE-068).
    pub fn decide(&self, facts: &ConnectFacts<'_>) -> Decision {
        match self.admit(facts) {
            Ok(decision) => decision,
            Err((reason, detail)) => {
                Decision::Deny(Denial { reason, detail, label: UserLabel::as_sent(&facts.credentials) })
            }
        }
    }

    fn admit(&self, facts: &ConnectFacts<'_>) -> Result<Decision, Refusal> {
        let Credentials { user, password, token, nkey, .. } = facts.credentials;
        let proxy_key = self.proxy_key(facts)?;
        if !self.required && facts.listener.is_none() {
            let label = UserLabel::as_sent(&facts.credentials);
            let anonymous = facts.credentials == Credentials::default();
            return Ok(Decision::Allow(Identity {
                account: Arc::clone(&self.global_account),
                label,
                permissions: None,
                proxy_key,
                connection_type: facts.connection_type,
                admission: Admission::Open { anonymous },
            }));
        }
        let own = facts.listener.unwrap_or(&self.own);
        let anonymous = user.is_empty() && password.is_empty() && token.is_empty();
        let no_auth_user = own.no_auth_user.as_deref().filter(|_| anonymous);

        let assumed_nkey = no_auth_user.filter(|_| nkey.is_empty()).and_then(|name| self.nkeys.get(name));
        if let Some(assumed) = assumed_nkey {
            let identity = assumed.grant.identify(facts.connection_type, proxy_key, Admission::NoAuthUser)?;
            return Ok(Decision::Allow(identity));
        }
        if !self.nkeys.is_empty() && !nkey.is_empty() {
            let known = self.nkeys.get(nkey).ok_or(UNKNOWN)?;
            let identity = known.grant.identify(facts.connection_type, proxy_key, Admission::Nkey)?;
            check_nonce_signature(&known.key, facts.nonce, facts.credentials.signature)
                .map_err(|bad| (DenyReason::Authentication, bad.0))?;
            return Ok(Decision::Allow(identity));
        }
        if !self.users.is_empty() && facts.maps_certificates {
            let known = self.user_of_certificate(facts)?;
            let identity = known.grant.identify(facts.connection_type, proxy_key, Admission::Certificate)?;
            return self.prove(&known.password, password, identity);
        }
        if let Some(assumed) = no_auth_user.and_then(|name| self.users.get(name)) {
            let identity = assumed.grant.identify(facts.connection_type, proxy_key, Admission::NoAuthUser)?;
            return Ok(Decision::Allow(identity));
        }
        if let Some(hidden) = self.hidden_user.as_ref().filter(|_| anonymous && facts.listener.is_none()) {
            let identity = hidden.identify(facts.connection_type, proxy_key, Admission::NoAuthUser)?;
            return Ok(Decision::Allow(identity));
        }
        if !self.users.is_empty() && !user.is_empty() {
            let known = self.users.get(user).ok_or(UNKNOWN)?;
            let admission = Admission::Password(known.password.clone());
            let identity = known.grant.identify(facts.connection_type, proxy_key, admission)?;
            if self.needs_certificate(known) {
                return Err((DenyReason::Authentication, "User requires a client certificate"));
            }
            return self.prove(&known.password, password, identity);
        }
        self.admit_single(facts, own, proxy_key)
    }

    /// The token, or the one user of the authorization block or the listener.
    fn admit_single(
        &self,
        facts: &ConnectFacts<'_>,
        own: &ListenerAuth,
        proxy_key: Option<Arc<str>>,
    ) -> Result<Decision, Refusal> {
        if self.proxy_required && proxy_key.is_none() {
            return Err(PROXY_REQUIRED);
        }
        let Credentials { user, password, token, .. } = facts.credentials;
        let identity = |label, admission| Identity {
            account: Arc::clone(&self.global_account),
            label,
            permissions: None,
            proxy_key,
            connection_type: facts.connection_type,
            admission,
        };
        if let Some(expected) = &own.token {
            let identity = identity(UserLabel::Token, Admission::Token(expected.clone()));
            return self.prove(expected, token, identity);
        }
        match (&own.user, &own.password) {
            (Some(name), Some(expected)) if **name == *user => {
                let label = UserLabel::User(Arc::clone(name));
                self.prove(expected, password, identity(label, Admission::SingleUser(expected.clone())))
            }
            _ => Err(UNKNOWN),
        }
    }

    /// Lets `identity` in when `given` is what is expected.
    fn prove(&self, expected: &Secret, given: &str, identity: Identity) -> Result<Decision, Refusal> {
        match expected.check(given) {
            SecretCheck::Match => Ok(Decision::Allow(identity)),
            SecretCheck::Mismatch => Err(WRONG_SECRET),
            SecretCheck::NeedsBcrypt => {
                Ok(Decision::NeedsBcrypt(bcrypt_check(expected, given.into(), identity)))
            }
        }
    }

    /// The trusted proxy that signed the nonce (AUTH-030).
    fn proxy_key(&self, facts: &ConnectFacts<'_>) -> Result<Option<Arc<str>>, Refusal> {
        let signature = facts.credentials.proxy_signature;
        if signature.is_empty() || self.trusted_proxies.is_empty() {
            return Ok(None);
        }
        let signature = decode_signature(signature)
            .ok_or((DenyReason::ProxyNotTrusted, "Proxy signature not valid base64"))?;
        self.trusted_proxies
            .iter()
            .find(|(key, _)| key.verifies(facts.nonce.as_bytes(), &signature))
            .map(|(_, name)| Some(Arc::clone(name)))
            .ok_or(PROXY_NOT_TRUSTED)
    }

    fn user_of_certificate(&self, facts: &ConnectFacts<'_>) -> Result<&PasswordUser, Refusal> {
        let certificate = facts
            .certificate
            .ok_or((DenyReason::Authentication, "User required in cert, no peer certificates found"))?;
        self.mapped_user(certificate, facts.connection_type)
            .ok_or((DenyReason::Authentication, "User in cert not found"))
    }

    /// In the order of AUTH-020.
    fn mapped_user(&self, certificate: &CertificateFacts, kind: ConnectionType) -> Option<&PasswordUser> {
        let allowed = |user: &&PasswordUser| user.grant.allows(kind);
        let by_name = |name: &str| self.users.get(name).filter(allowed);
        let by_dn = |same: fn(&DistinguishedName, &DistinguishedName) -> bool| {
            let subject = certificate.distinguished_name.as_ref()?;
            self.named_by_certificate
                .iter()
                .filter(|(name, _)| same(name, subject))
                .find_map(|(_, user)| by_name(user))
        };
        certificate
            .alternative_names()
            .find_map(by_name)
            .or_else(|| by_dn(DistinguishedName::eq))
            .or_else(|| by_dn(DistinguishedName::eq_in_any_order))
            .or_else(|| by_name(certificate.subject_with_domain.as_deref()?))
            .or_else(|| by_name(&certificate.subject))
    }

    /// Without a password and on a mapped listener: the certificate is the only proof (AUTH-006).
    fn needs_certificate(&self, user: &PasswordUser) -> bool {
        let types = user.grant.connection_types;
        let may_be_mapped = match types.is_empty() {
            true => !self.mapped_types.is_empty(),
            false => types.intersects(self.mapped_types),
        };
        user.password.is_empty() && may_be_mapped
    }

    /// Asks again about a client that an earlier configuration let in (CFG-147). The client's password is
    /// not at hand, so a proof holds while its secret is the same, or can be seen to be.
    pub fn re_check(&self, identity: &Identity, listener: Option<&ListenerAuth>) -> Recheck {
        let refuse =
            |(reason, detail)| Recheck::Refuse(Denial { reason, detail, label: identity.label.clone() });
        let (now, proof) = match self.identify_again(identity, listener) {
            Ok(found) => found,
            Err(refusal) => return refuse(refusal),
        };
        if now.account != identity.account {
            return Recheck::AccountChanged;
        }
        match proof {
            Proof::Holds => Recheck::Keep(now),
            Proof::Lost => refuse(WRONG_SECRET),
            Proof::Slow { hash, given } => Recheck::NeedsBcrypt(bcrypt_check(&hash, given, now)),
        }
    }

    fn identify_again(
        &self,
        identity: &Identity,
        listener: Option<&ListenerAuth>,
    ) -> Result<(Identity, Proof), Refusal> {
        if identity.admission == Admission::Plugin {
            return Ok((identity.clone(), Proof::Holds));
        }
        let proxy_key = identity.proxy_key.clone();
        if proxy_key.as_ref().is_some_and(|key| !self.trusted_proxies.iter().any(|(_, known)| known == key)) {
            return Err(PROXY_NOT_TRUSTED);
        }
        if !self.required && listener.is_none() {
            let anonymous =
                matches!(identity.admission, Admission::NoAuthUser | Admission::Open { anonymous: true });
            let account = Arc::clone(&self.global_account);
            let admission = Admission::Open { anonymous };
            return Ok((
                Identity { account, permissions: None, admission, ..identity.clone() },
                Proof::Holds,
            ));
        }
        let own = listener.unwrap_or(&self.own);
        let kind = identity.connection_type;
        match &identity.admission {
            Admission::Nkey => {
                let known = self.nkeys.get(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                Ok((known.grant.identify(kind, proxy_key, Admission::Nkey)?, Proof::Holds))
            }
            Admission::Password(old) => {
                let known = self.users.get(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                let admission = Admission::Password(known.password.clone());
                let now = known.grant.identify(kind, proxy_key, admission)?;
                Ok((now, Proof::of(old, &known.password)))
            }
            Admission::Certificate => {
                let known = self.users.get(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                Ok((known.grant.identify(kind, proxy_key, Admission::Certificate)?, Proof::Holds))
            }
            Admission::NoAuthUser | Admission::Open { anonymous: true } => {
                let grant = self.anonymous_grant(own, listener.is_none()).ok_or(UNKNOWN)?;
                Ok((grant.identify(kind, proxy_key, Admission::NoAuthUser)?, Proof::Holds))
            }
            Admission::Token(old) => {
                let new = own.token.as_ref().ok_or(UNKNOWN)?;
                let admission = Admission::Token(new.clone());
                let now = Identity { admission, ..identity.clone() };
                Ok((self.behind_proxy(now)?, Proof::of(old, new)))
            }
            Admission::SingleUser(old) => match (&own.user, &own.password) {
                (Some(name), Some(new)) if Some(&**name) == identity.label.name() => {
                    let admission = Admission::SingleUser(new.clone());
                    let now = Identity { admission, ..identity.clone() };
                    Ok((self.behind_proxy(now)?, Proof::of(old, new)))
                }
                _ => Err(UNKNOWN),
            },
            Admission::Open { anonymous: false } | Admission::Plugin => Err(UNKNOWN),
        }
    }

    fn anonymous_grant(&self, own: &ListenerAuth, is_own: bool) -> Option<&Arc<Grant>> {
        let Some(name) = own.no_auth_user.as_deref() else {
            return self.hidden_user.as_ref().filter(|_| is_own);
        };
        let nkey = self.nkeys.get(name).map(|user| &user.grant);
        nkey.or_else(|| self.users.get(name).map(|user| &user.grant))
    }

    fn behind_proxy(&self, identity: Identity) -> Result<Identity, Refusal> {
        match self.proxy_required && identity.proxy_key.is_none() {
            true => Err(PROXY_REQUIRED),
            false => Ok(identity),
        }
    }
}

/// A denial before it is known to whom; the text is for the debug log.
type Refusal = (DenyReason, &'static str);

const UNKNOWN: Refusal = (DenyReason::Authentication, "Credentials not known");
const WRONG_SECRET: Refusal = (DenyReason::Authentication, "Password or token does not match");
const WRONG_CONNECTION_TYPE: Refusal = (DenyReason::Authentication, "Connection type not allowed");
const PROXY_REQUIRED: Refusal = (DenyReason::ProxyRequired, "Proxy is required");
const PROXY_NOT_TRUSTED: Refusal = (DenyReason::ProxyNotTrusted, "Proxy is not trusted");

impl Grant {
    fn allows(&self, kind: ConnectionType) -> bool {
        self.connection_types.is_empty() || self.connection_types.contains(kind)
    }

    /// Who a client becomes that proves to be this user (AUTH-008, AUTH-031).
    fn identify(
        &self,
        connection_type: ConnectionType,
        proxy_key: Option<Arc<str>>,
        admission: Admission,
    ) -> Result<Identity, Refusal> {
        if !self.allows(connection_type) {
            return Err(WRONG_CONNECTION_TYPE);
        }
        if self.proxy_required && proxy_key.is_none() {
            return Err(PROXY_REQUIRED);
        }
        Ok(Identity {
            account: Arc::clone(&self.account),
            label: self.label.clone(),
            permissions: self.permissions.clone(),
            proxy_key,
            connection_type,
            admission,
        })
    }
}

/// Whether a client that proved it knows one secret knows another.
enum Proof {
    Holds,
    Lost,
    Slow { hash: Secret, given: Arc<str> },
}

impl Proof {
    fn of(old: &Secret, new: &Secret) -> Self {
        match (old, new) {
            (old, new) if old == new => Self::Holds,
            // A password that was hashed in place, or a hash that was replaced by its password.
            (Secret::Plain(given), hash @ Secret::Bcrypt(_))
            | (hash @ Secret::Bcrypt(_), Secret::Plain(given)) => {
                Self::Slow { hash: hash.clone(), given: Arc::clone(given) }
            }
            _ => Self::Lost,
        }
    }
}

fn bcrypt_check(hash: &Secret, given: Arc<str>, on_match: Identity) -> Box<BcryptCheck> {
    let (Secret::Bcrypt(hash) | Secret::Plain(hash)) = hash;
    let (reason, detail) = WRONG_SECRET;
    let on_mismatch = Denial { reason, detail, label: on_match.label.clone() };
    Box::new(BcryptCheck { hash: Arc::clone(hash), given: Given(given), on_match, on_mismatch })
}

/// Users as they are collected from the configuration.
#[derive(Default)]
struct Users {
    users: HashMap<Arc<str>, PasswordUser>,
    nkeys: HashMap<Arc<str>, NkeyUser>,
    named_by_certificate: Vec<(DistinguishedName, Arc<str>)>,
    /// Users that share options share what they compile to.
    compiled: Vec<(Arc<PermissionsOptions>, Arc<Permissions>)>,
    accounts: HashMap<String, Arc<str>>,
}

impl Users {
    fn add(&mut self, options: &UserOptions, account: &str) -> Result<(), AuthConfigError> {
        match (&options.nkey, &options.user) {
            (Some(nkey), _) => self.add_nkey(nkey, options, account),
            (None, Some(user)) => self.add_user(user, options, account),
            (None, None) => Err(AuthConfigError::NamelessUser),
        }
    }

    fn add_nkey(&mut self, nkey: &str, options: &UserOptions, account: &str) -> Result<(), AuthConfigError> {
        let key = Verifier::parse(nkey, Some(NkeyKind::User))
            .map_err(|_| AuthConfigError::InvalidNkey(nkey.to_owned()))?;
        if self.nkeys.contains_key(nkey) {
            return Err(AuthConfigError::DuplicateNkey(nkey.to_owned()));
        }
        let name: Arc<str> = nkey.into();
        let grant = self.grant("nkey", UserLabel::Nkey(Arc::clone(&name)), options, account)?;
        self.nkeys.insert(name, NkeyUser { grant, key });
        Ok(())
    }

    fn add_user(&mut self, user: &str, options: &UserOptions, account: &str) -> Result<(), AuthConfigError> {
        if self.users.contains_key(user) {
            return Err(AuthConfigError::DuplicateUser(user.to_owned()));
        }
        let name: Arc<str> = user.into();
        let grant = self.grant("user", UserLabel::User(Arc::clone(&name)), options, account)?;
        let password = Secret::parse(options.password.as_deref().unwrap_or_default());
        if let Some(dn) = DistinguishedName::parse(user) {
            self.named_by_certificate.push((dn, Arc::clone(&name)));
        }
        self.users.insert(name, PasswordUser { grant, password });
        Ok(())
    }

    fn grant(
        &mut self,
        kind: &'static str,
        label: UserLabel,
        options: &UserOptions,
        account: &str,
    ) -> Result<Arc<Grant>, AuthConfigError> {
        let permissions = match &options.permissions {
            Some(permissions) => Some(self.compile(permissions).map_err(|source| {
                let name = label.name().unwrap_or_default().to_owned();
                AuthConfigError::Permissions { kind, name, source }
            })?),
            None => None,
        };
        let account = self.accounts.entry_ref(account).or_insert_with(|| account.into());
        Ok(Arc::new(Grant {
            label,
            account: Arc::clone(account),
            permissions,
            connection_types: parse_connection_types(&options.allowed_connection_types)?,
            proxy_required: options.proxy_required,
        }))
    }

    fn compile(&mut self, options: &Arc<PermissionsOptions>) -> Result<Arc<Permissions>, PermissionsError> {
        if let Some((_, compiled)) = self.compiled.iter().find(|(known, _)| Arc::ptr_eq(known, options)) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(Permissions::compile(options)?);
        self.compiled.push((Arc::clone(options), Arc::clone(&compiled)));
        Ok(compiled)
    }
}

fn parse_connection_types(names: &[String]) -> Result<ConnectionTypes, AuthConfigError> {
    let parse = |name: &String| {
        ConnectionType::parse(name).ok_or_else(|| AuthConfigError::UnknownConnectionType(name.clone()))
    };
    names.iter().map(parse).collect()
}

fn trusted_proxies(keys: &[String]) -> Result<Vec<(Verifier, Arc<str>)>, AuthConfigError> {
    let parse = |key: &String| match Verifier::parse(key, None) {
        Ok(verifier) => Ok((verifier, key.as_str().into())),
        Err(_) => Err(AuthConfigError::InvalidProxyKey(key.clone())),
    };
    keys.iter().map(parse).collect()
}

/// Only the global and the system account exist, the latter has users, and nothing is said about
/// authorization: then plain clients keep working (AUTH-012).
fn has_hidden_user(auth: &AuthOptions, accounts: &AccountsOptions) -> bool {
    let system = accounts.system_account.as_deref().unwrap_or(DEFAULT_SYSTEM_ACCOUNT);
    let is_system = |name: &str| name == system && !accounts.no_system_account;
    let has_users =
        accounts.accounts.iter().any(|account| is_system(&account.name) && !account.users.is_empty());
    *auth == AuthOptions { trusted_proxies: auth.trusted_proxies.clone(), ..AuthOptions::default() }
        && has_users
        && accounts.accounts.iter().all(|account| is_system(&account.name) || account.name == GLOBAL_ACCOUNT)
}

/// It is in no table, so that its name opens nothing.
fn hidden_user(global_account: &Arc<str>) -> Arc<Grant> {
    Arc::new(Grant {
        label: UserLabel::User("nats-global".into()),
        account: Arc::clone(global_account),
        permissions: None,
        connection_types: ConnectionTypes::NONE,
        proxy_required: false,
    })
}

#[cfg(test)]
mod tests;
