//! Decides whether a client may connect, and as whom (AUTH-001 to AUTH-013, AUTH-020 to AUTH-031).
//!
//! Holds the users of the configuration, ready to be looked up. Not here: operator mode and callouts,
//! which plugins decide, and the slow half of bcrypt, which the caller runs.

use std::sync::Arc;

use super::credentials::{Secret, SecretCheck, check_nonce_signature, decode_signature};
use super::identity::{
    Admission, BcryptCheck, ConnectFacts, ConnectionType, ConnectionTypes, Credentials, Decision, Denial,
    DenyReason, GLOBAL_ACCOUNT, Given, Identity, ListenerAuth, UserLabel, UserLimits,
};
use super::refusal::{
    NEEDS_CERTIFICATE, NO_CERTIFICATE, PROXY_NOT_TRUSTED, PROXY_REQUIRED, PROXY_SIGNATURE, Refusal, UNKNOWN,
    UNKNOWN_CERTIFICATE, WRONG_SECRET,
};
use super::users::{AuthConfigError, User, Users};
use crate::config::options::{AccountsOptions, AuthOptions, Options};
use crate::proto::nkey::Verifier;

/// What the configuration says about who may connect. Another one is made for every reload.
#[derive(Debug)]
pub struct Authenticator {
    pub(super) required: bool,
    pub(super) users: Users,
    /// The server's own user, password, token and `no_auth_user`.
    pub(super) own: ListenerAuth,
    /// Of clients that are neither users nor nkeys.
    pub(super) proxy_required: bool,
    pub(super) trusted_proxies: Vec<(Verifier, Arc<str>)>,
    /// Connections that are mapped by certificate somewhere (AUTH-006).
    mapped_types: ConnectionTypes,
    pub(super) global_account: Arc<str>,
}

impl Authenticator {
    pub fn new(auth: &AuthOptions, accounts: &AccountsOptions) -> Result<Self, AuthConfigError> {
        let users = Users::new(auth, accounts)?;
        let own = ListenerAuth {
            user: auth.user.as_deref().map(Arc::from),
            password: auth.user.as_ref().map(|_| Secret::parse(auth.password.as_deref().unwrap_or_default())),
            token: auth.token.as_deref().map(Secret::parse),
            no_auth_user: auth.no_auth_user.as_deref().map(Arc::from),
        };
        let authenticator = Self {
            required: !users.is_empty() || own.user.is_some() || own.token.is_some(),
            users,
            own,
            proxy_required: auth.proxy_required,
            trusted_proxies: trusted_proxies(&auth.trusted_proxies)?,
            mapped_types: ConnectionTypes::NONE,
            global_account: GLOBAL_ACCOUNT.into(),
        };
        if let Some(name) = &authenticator.own.no_auth_user {
            authenticator.check_no_auth_user(name)?;
        }
        Ok(authenticator)
    }

    /// The server's own: its client listener may map certificates to users.
    pub fn of_server(options: &Options) -> Result<Self, AuthConfigError> {
        let maps = options.tls.as_ref().is_some_and(|tls| tls.verify_and_map);
        let mapped_types = maps.then_some(ConnectionType::Standard).into_iter().collect();
        Ok(Self::new(&options.auth, &options.accounts)?.with_mapped_types(mapped_types))
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
        self.users.has_nkeys() || !self.trusted_proxies.is_empty()
    }

    /// The server warns about this at its start (AUTH-005).
    pub fn has_plaintext_passwords(&self) -> bool {
        let is_plain = |secret: &Secret| matches!(secret, Secret::Plain(_));
        self.own.password.as_ref().is_some_and(|password| is_plain(password) && !password.is_empty())
            || self.users.with_password().any(|user| {
                user.has_plain_password() && !self.needs_certificate(&user, ConnectionTypes::NONE)
            })
    }

    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// For listeners with a `no_auth_user` of their own, too (AUTH-003).
    pub fn check_no_auth_user(&self, name: &str) -> Result<(), AuthConfigError> {
        if self.users.by_name(name).is_some() || self.users.by_nkey(name).is_some() {
            Ok(())
        } else if self.users.is_empty() {
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

    /// The trusted proxy that vouches for a client, if one does; for plugins, which decide in this place.
    pub fn trusted_proxy(&self, nonce: &str, signature: &str) -> Option<Arc<str>> {
        self.proxy_key(nonce, signature).ok().flatten()
    }

    fn admit(&self, facts: &ConnectFacts<'_>) -> Result<Decision, Refusal> {
        let proxy_key = self.proxy_key(facts.nonce, facts.credentials.proxy_signature)?;
        let listener = facts.listener.filter(|listener| listener.overrides());
        if !self.required && listener.is_none() {
            return Ok(Decision::Allow(self.open_identity(facts, proxy_key)));
        }
        let own = listener.unwrap_or(&self.own);
        let Credentials { user, password, token, nkey, .. } = facts.credentials;
        let kind = facts.connection_type;
        let anonymous = user.is_empty() && password.is_empty() && token.is_empty();
        let no_auth_user = own.no_auth_user.as_deref().filter(|_| anonymous);
        let assume = |user: User<'_>, proxy_key| {
            user.identify(kind, proxy_key, Admission::NoAuthUser).map(Decision::Allow)
        };

        if let Some(assumed) =
            no_auth_user.filter(|_| nkey.is_empty()).and_then(|name| self.users.by_nkey(name))
        {
            return assume(assumed.0, proxy_key);
        }
        if self.users.has_nkeys() && !nkey.is_empty() {
            let (known, key) = self.users.by_nkey(nkey).ok_or(UNKNOWN)?;
            let identity = known.identify(kind, proxy_key, Admission::Nkey)?;
            check_nonce_signature(key, facts.nonce, facts.credentials.signature)
                .map_err(|bad| (DenyReason::Authentication, bad.0))?;
            return Ok(Decision::Allow(identity));
        }
        if self.users.has_passwords() && facts.maps_certificates {
            let certificate = facts.certificate.ok_or(NO_CERTIFICATE)?;
            let known = self.users.by_certificate(certificate, kind).ok_or(UNKNOWN_CERTIFICATE)?;
            let identity = known.identify(kind, proxy_key, Admission::Certificate)?;
            return prove(&known.password(), password, identity);
        }
        if let Some(assumed) = no_auth_user.and_then(|name| self.users.by_name(name)) {
            return assume(assumed, proxy_key);
        }
        if let Some(hidden) = self.users.hidden().filter(|_| anonymous && listener.is_none()) {
            return assume(hidden, proxy_key);
        }
        if self.users.has_passwords() && !user.is_empty() {
            let known = self.users.by_name(user).ok_or(UNKNOWN)?;
            let expected = known.password();
            let identity = known.identify(kind, proxy_key, Admission::Password(expected.clone()))?;
            // Who says nothing is let in as this one, so saying its name cannot be worse.
            let is_anybody = own.no_auth_user.as_deref() == Some(user);
            if !is_anybody && self.needs_certificate(&known, facts.mapped_types) {
                return Err(NEEDS_CERTIFICATE);
            }
            return prove(&expected, password, identity);
        }
        self.admit_single(facts, own, proxy_key)
    }

    /// Nobody has to say who they are; what they say is shown in logs.
    fn open_identity(&self, facts: &ConnectFacts<'_>, proxy_key: Option<Arc<str>>) -> Identity {
        Identity {
            account: Arc::clone(&self.global_account),
            label: UserLabel::as_sent(&facts.credentials),
            permissions: None,
            proxy_key,
            connection_type: facts.connection_type,
            tags: Arc::default(),
            limits: UserLimits::default(),
            publish_denied: Arc::default(),
            token: None,
            admission: Admission::Open { anonymous: facts.credentials == Credentials::default() },
        }
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
            tags: Arc::default(),
            limits: UserLimits::default(),
            publish_denied: Arc::default(),
            token: None,
            admission,
        };
        if let Some(expected) = &own.token {
            let identity = identity(UserLabel::Token, Admission::Token(expected.clone()));
            return prove(expected, token, identity);
        }
        match (&own.user, &own.password) {
            (Some(name), Some(expected)) if **name == *user => {
                let label = UserLabel::User(Arc::clone(name));
                prove(expected, password, identity(label, Admission::SingleUser(expected.clone())))
            }
            _ => Err(UNKNOWN),
        }
    }

    /// The trusted proxy that signed the nonce (AUTH-030).
    fn proxy_key(&self, nonce: &str, signature: &str) -> Result<Option<Arc<str>>, Refusal> {
        if signature.is_empty() || self.trusted_proxies.is_empty() {
            return Ok(None);
        }
        let signature = decode_signature(signature).ok_or(PROXY_SIGNATURE)?;
        self.trusted_proxies
            .iter()
            .find(|(key, _)| key.verifies(nonce.as_bytes(), &signature))
            .map(|(_, name)| Some(Arc::clone(name)))
            .ok_or(PROXY_NOT_TRUSTED)
    }

    /// Without a password and on a mapped listener: the certificate is the only proof (AUTH-006).
    fn needs_certificate(&self, user: &User<'_>, elsewhere: ConnectionTypes) -> bool {
        if user.has_password() {
            return false;
        }
        let types = user.connection_types();
        match types.is_empty() {
            true => !self.mapped_types.is_empty() || !elsewhere.is_empty(),
            false => types.intersects(self.mapped_types) || types.intersects(elsewhere),
        }
    }
}

/// Lets `identity` in when `given` is what is expected.
fn prove(expected: &Secret, given: &str, identity: Identity) -> Result<Decision, Refusal> {
    match expected.check(given) {
        SecretCheck::Match => Ok(Decision::Allow(identity)),
        SecretCheck::Mismatch => Err(WRONG_SECRET),
        SecretCheck::NeedsBcrypt => Ok(Decision::NeedsBcrypt(bcrypt_check(expected, given.into(), identity))),
    }
}

fn trusted_proxies(keys: &[String]) -> Result<Vec<(Verifier, Arc<str>)>, AuthConfigError> {
    let parse = |key: &String| match Verifier::parse(key, None) {
        Ok(verifier) => Ok((verifier, key.as_str().into())),
        Err(_) => Err(AuthConfigError::InvalidProxyKey(key.clone())),
    };
    keys.iter().map(parse).collect()
}

pub(super) fn bcrypt_check(hash: &Secret, given: Arc<str>, on_match: Identity) -> Box<BcryptCheck> {
    let (Secret::Bcrypt(hash) | Secret::Plain(hash)) = hash;
    let (reason, detail) = WRONG_SECRET;
    let on_mismatch = Denial { reason, detail, label: on_match.label.clone() };
    Box::new(BcryptCheck { hash: Arc::clone(hash), given: Given(given), on_match, on_mismatch })
}

#[cfg(test)]
mod tests;
