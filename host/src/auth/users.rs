//! The users of the configuration, ready to be looked up by what a client shows.
//!
//! Not here: what a client has to show, and whether it proves it (`authenticator`).

use std::sync::Arc;

use hashbrown::HashMap;
use thiserror::Error;

use super::certificate::CertificateFacts;
use super::credentials::Secret;
use super::distinguished_name::DistinguishedName;
use super::identity::{
    Admission, ConnectionType, ConnectionTypes, DEFAULT_SYSTEM_ACCOUNT, GLOBAL_ACCOUNT, Identity, UserLabel,
    UserLimits,
};
use super::permissions::{Permissions, PermissionsError};
use super::refusal::{PROXY_REQUIRED, Refusal, WRONG_CONNECTION_TYPE};
use crate::config::options::{AccountsOptions, AuthOptions, PermissionsOptions, UserOptions};
use crate::proto::nkey::{NkeyKind, Verifier};
use crate::proto::quote::Quoted;

/// All users of the authorization block and of accounts.
#[derive(Debug, Default)]
pub(super) struct Users {
    passwords: HashMap<Arc<str>, PasswordUser>,
    nkeys: HashMap<Arc<str>, NkeyUser>,
    /// Users whose name is a distinguished name, in the order of the file (AUTH-020).
    named_by_certificate: Vec<(DistinguishedName, Arc<str>)>,
    /// Lets plain clients in when only the system account has users (AUTH-012). It is in no table, so
    /// that its name opens nothing.
    pub hidden: Option<Arc<Grant>>,
}

#[derive(Debug)]
pub(super) struct PasswordUser {
    pub grant: Arc<Grant>,
    pub password: Secret,
}

#[derive(Debug)]
pub(super) struct NkeyUser {
    pub grant: Arc<Grant>,
    pub key: Verifier,
}

/// What a user gets.
#[derive(Debug)]
pub(super) struct Grant {
    label: UserLabel,
    account: Arc<str>,
    permissions: Option<Arc<Permissions>>,
    /// Empty: all.
    pub connection_types: ConnectionTypes,
    proxy_required: bool,
}

impl Users {
    pub fn new(auth: &AuthOptions, accounts: &AccountsOptions) -> Result<Self, AuthConfigError> {
        let mut collected = Collected::default();
        for user in &auth.users {
            collected.add(user, user.account.as_deref().unwrap_or(GLOBAL_ACCOUNT))?;
        }
        for account in &accounts.accounts {
            for user in &account.users {
                collected.add(user, &account.name)?;
            }
        }
        let hidden = has_hidden_user(auth, accounts).then(hidden_user);
        Ok(Self { hidden, ..collected.users })
    }

    pub fn is_empty(&self) -> bool {
        self.passwords.is_empty() && self.nkeys.is_empty()
    }

    pub fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    pub fn has_nkeys(&self) -> bool {
        !self.nkeys.is_empty()
    }

    pub fn by_name(&self, name: &str) -> Option<&PasswordUser> {
        self.passwords.get(name)
    }

    pub fn by_nkey(&self, nkey: &str) -> Option<&NkeyUser> {
        self.nkeys.get(nkey)
    }

    pub fn with_password(&self) -> impl Iterator<Item = &PasswordUser> {
        self.passwords.values()
    }

    /// In the order of AUTH-020.
    pub fn by_certificate(
        &self,
        certificate: &CertificateFacts,
        kind: ConnectionType,
    ) -> Option<&PasswordUser> {
        let allowed = |user: &&PasswordUser| user.grant.allows(kind);
        let by_name = |name: &str| self.by_name(name).filter(allowed);
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
}

impl Grant {
    pub fn allows(&self, kind: ConnectionType) -> bool {
        self.connection_types.is_empty() || self.connection_types.contains(kind)
    }

    /// Who a client becomes that proves to be this user (AUTH-008, AUTH-031).
    pub fn identify(
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
            tags: Arc::default(),
            limits: UserLimits::default(),
            publish_denied: Arc::default(),
            token: None,
            admission,
        })
    }
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

/// Users on the way from the configuration.
#[derive(Default)]
struct Collected {
    users: Users,
    /// Users that share options share what they compile to.
    compiled: Vec<(Arc<PermissionsOptions>, Arc<Permissions>)>,
    accounts: HashMap<String, Arc<str>>,
}

impl Collected {
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
        if self.users.nkeys.contains_key(nkey) {
            return Err(AuthConfigError::DuplicateNkey(nkey.to_owned()));
        }
        let name: Arc<str> = nkey.into();
        let grant = self.grant("nkey", UserLabel::Nkey(Arc::clone(&name)), options, account)?;
        self.users.nkeys.insert(name, NkeyUser { grant, key });
        Ok(())
    }

    fn add_user(&mut self, user: &str, options: &UserOptions, account: &str) -> Result<(), AuthConfigError> {
        if self.users.passwords.contains_key(user) {
            return Err(AuthConfigError::DuplicateUser(user.to_owned()));
        }
        let name: Arc<str> = user.into();
        let grant = self.grant("user", UserLabel::User(Arc::clone(&name)), options, account)?;
        let password = Secret::parse(options.password.as_deref().unwrap_or_default());
        if let Some(dn) = DistinguishedName::parse(user) {
            self.users.named_by_certificate.push((dn, Arc::clone(&name)));
        }
        self.users.passwords.insert(name, PasswordUser { grant, password });
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

fn hidden_user() -> Arc<Grant> {
    Arc::new(Grant {
        label: UserLabel::User("nats-global".into()),
        account: GLOBAL_ACCOUNT.into(),
        permissions: None,
        connection_types: ConnectionTypes::NONE,
        proxy_required: false,
    })
}
