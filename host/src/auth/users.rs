//! The users of the configuration, ready to be looked up by what a client shows.
//!
//! Not here: what a client has to show, and whether it proves it (`authenticator`).

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use thiserror::Error;

use super::certificate::CertificateFacts;
use super::credentials::{Secret, is_bcrypt};
use super::distinguished_name::DistinguishedName;
use super::identity::{
    Admission, ConnectionType, ConnectionTypes, DEFAULT_SYSTEM_ACCOUNT, GLOBAL_ACCOUNT, Identity, UserLabel,
    UserLimits,
};
use super::permissions::{Permissions, PermissionsError};
use super::refusal::{PROXY_REQUIRED, Refusal, WRONG_CONNECTION_TYPE};
use crate::config::options::{AccountsOptions, AuthOptions, PermissionsOptions, UserOptions};
use crate::config::value::Text;
use crate::proto::nkey::{NkeyKind, Verifier};
use crate::proto::quote::Quoted;

/// All users of the authorization block and of accounts. They stay where the options have them: here is only
/// how to find them, and what their permissions compile to.
#[derive(Debug, Default)]
pub(super) struct Users {
    lists: Vec<List>,
    /// Of users with a password, by name.
    names: HashTable<Place>,
    hasher: DefaultHashBuilder,
    nkeys: HashMap<Text, (Place, Verifier)>,
    /// Users whose name is a distinguished name, in the order of the file (AUTH-020).
    named_by_certificate: Vec<(DistinguishedName, Place)>,
    /// By the address that the options have them at: users that share options share what they compile to.
    permissions: HashMap<usize, Arc<Permissions>>,
    /// Lets plain clients in when only the system account has users (AUTH-012). It is in no table, so
    /// that its name opens nothing.
    hidden: Option<List>,
}

/// Users of one block; their options live as long as this.
#[derive(Debug)]
struct List {
    account: Arc<str>,
    users: Arc<[UserOptions]>,
}

/// Where a user is: in which list, and where there.
#[derive(Clone, Copy, Debug)]
struct Place {
    list: u32,
    at: u32,
}

/// A user, and what it gets.
#[derive(Clone, Copy)]
pub(super) struct User<'u> {
    options: &'u UserOptions,
    account: &'u Arc<str>,
    permissions: Option<&'u Arc<Permissions>>,
}

impl Users {
    pub fn new(auth: &AuthOptions, accounts: &AccountsOptions) -> Result<Self, AuthConfigError> {
        let mut users = Self::default();
        users.add_all(GLOBAL_ACCOUNT, &auth.users)?;
        for account in accounts.accounts.iter().filter(|account| !account.users.is_empty()) {
            users.add_all(&account.name, &account.users)?;
        }
        users.hidden = has_hidden_user(auth, accounts).then(hidden_user);
        Ok(users)
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.nkeys.is_empty()
    }

    pub fn has_passwords(&self) -> bool {
        !self.names.is_empty()
    }

    pub fn has_nkeys(&self) -> bool {
        !self.nkeys.is_empty()
    }

    pub fn by_name(&self, name: &str) -> Option<User<'_>> {
        let same = |place: &Place| self.options(*place).user.as_deref() == Some(name);
        self.names.find(self.hasher.hash_one(name), same).map(|place| self.user(*place))
    }

    pub fn by_nkey(&self, nkey: &str) -> Option<(User<'_>, &Verifier)> {
        self.nkeys.get(nkey).map(|(place, key)| (self.user(*place), key))
    }

    pub fn with_password(&self) -> impl Iterator<Item = User<'_>> {
        self.names.iter().map(|place| self.user(*place))
    }

    pub fn hidden(&self) -> Option<User<'_>> {
        let List { account, users } = self.hidden.as_ref()?;
        users.first().map(|options| User { options, account, permissions: None })
    }

    /// In the order of AUTH-020.
    pub fn by_certificate(&self, certificate: &CertificateFacts, kind: ConnectionType) -> Option<User<'_>> {
        let allowed = |user: &User<'_>| user.allows(kind);
        let by_name = |name: &str| self.by_name(name).filter(allowed);
        let by_dn = |same: fn(&DistinguishedName, &DistinguishedName) -> bool| {
            let subject = certificate.distinguished_name.as_ref()?;
            self.named_by_certificate
                .iter()
                .filter(|(name, _)| same(name, subject))
                .map(|(_, place)| self.user(*place))
                .find(allowed)
        };
        certificate
            .alternative_names()
            .find_map(by_name)
            .or_else(|| by_dn(DistinguishedName::eq))
            .or_else(|| by_dn(DistinguishedName::eq_in_any_order))
            .or_else(|| by_name(certificate.subject_with_domain.as_deref()?))
            .or_else(|| by_name(&certificate.subject))
    }

    fn options(&self, place: Place) -> &UserOptions {
        &self.lists[place.list as usize].users[place.at as usize]
    }

    fn user(&self, place: Place) -> User<'_> {
        let options = self.options(place);
        let permissions = options.permissions.as_ref().and_then(|p| self.permissions.get(&address_of(p)));
        User { options, account: &self.lists[place.list as usize].account, permissions }
    }

    fn add_all(&mut self, account: &str, users: &Arc<[UserOptions]>) -> Result<(), AuthConfigError> {
        let list = self.lists.len() as u32;
        self.lists.push(List { account: account.into(), users: Arc::clone(users) });
        for (at, user) in (0..).zip(users.iter()) {
            let place = Place { list, at };
            match (&user.nkey, &user.user) {
                (Some(nkey), _) => self.add_nkey(nkey, place)?,
                (None, Some(name)) => self.add_name(name, place)?,
                (None, None) => return Err(AuthConfigError::NamelessUser),
            }
        }
        Ok(())
    }

    fn add_nkey(&mut self, nkey: &Text, place: Place) -> Result<(), AuthConfigError> {
        let key = Verifier::parse(nkey, Some(NkeyKind::User))
            .map_err(|_| AuthConfigError::InvalidNkey(nkey.to_string()))?;
        if self.nkeys.contains_key(nkey) {
            return Err(AuthConfigError::DuplicateNkey(nkey.to_string()));
        }
        self.check("nkey", nkey, place)?;
        self.nkeys.insert(nkey.clone(), (place, key));
        Ok(())
    }

    fn add_name(&mut self, name: &Text, place: Place) -> Result<(), AuthConfigError> {
        self.check("user", name, place)?;
        let (lists, hasher) = (&self.lists, &self.hasher);
        let name_of = |place: &Place| {
            let user = &lists[place.list as usize].users[place.at as usize];
            user.user.as_deref().unwrap_or_default()
        };
        let hash_of = |place: &Place| hasher.hash_one(name_of(place));
        match self.names.entry(hasher.hash_one(name.as_str()), |known| name_of(known) == name, hash_of) {
            Entry::Occupied(_) => return Err(AuthConfigError::DuplicateUser(name.to_string())),
            Entry::Vacant(free) => free.insert(place),
        };
        if let Some(dn) = DistinguishedName::parse(name) {
            self.named_by_certificate.push((dn, place));
        }
        Ok(())
    }

    /// Compiles the permissions, unless they are, and looks whether the rest makes sense.
    fn check(&mut self, kind: &'static str, name: &Text, place: Place) -> Result<(), AuthConfigError> {
        let user = &self.lists[place.list as usize].users[place.at as usize];
        connection_types(user)?;
        let Some(options) = &user.permissions else { return Ok(()) };
        if !self.permissions.contains_key(&address_of(options)) {
            let compiled = Permissions::compile(options).map_err(|source| AuthConfigError::Permissions {
                kind,
                name: name.to_string(),
                source,
            })?;
            self.permissions.insert(address_of(options), Arc::new(compiled));
        }
        Ok(())
    }
}

impl User<'_> {
    /// Empty: all.
    pub fn connection_types(&self) -> ConnectionTypes {
        // They were looked at when the user was added.
        connection_types(self.options).unwrap_or_default()
    }

    pub fn allows(&self, kind: ConnectionType) -> bool {
        let types = self.connection_types();
        types.is_empty() || types.contains(kind)
    }

    pub fn has_password(&self) -> bool {
        self.options.password.as_ref().is_some_and(|password| !password.is_empty())
    }

    pub fn has_plain_password(&self) -> bool {
        !is_bcrypt(self.options.password.as_deref().unwrap_or_default())
    }

    pub fn password(&self) -> Secret {
        Secret::parse(self.options.password.as_deref().unwrap_or_default())
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
        if self.options.proxy_required && proxy_key.is_none() {
            return Err(PROXY_REQUIRED);
        }
        let label = match (&self.options.nkey, &self.options.user) {
            (Some(nkey), _) => UserLabel::Nkey(nkey.as_str().into()),
            (None, Some(name)) => UserLabel::User(name.as_str().into()),
            (None, None) => UserLabel::None,
        };
        Ok(Identity {
            account: Arc::clone(self.account),
            label,
            permissions: self.permissions.cloned(),
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

fn address_of(options: &Arc<PermissionsOptions>) -> usize {
    Arc::as_ptr(options).addr()
}

fn connection_types(user: &UserOptions) -> Result<ConnectionTypes, AuthConfigError> {
    let parse = |name: &String| {
        ConnectionType::parse(name).ok_or_else(|| AuthConfigError::UnknownConnectionType(name.clone()))
    };
    user.allowed_connection_types.iter().map(parse).collect()
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

fn hidden_user() -> List {
    let user = UserOptions { user: Some("nats-global".into()), ..UserOptions::default() };
    List { account: GLOBAL_ACCOUNT.into(), users: Arc::new([user]) }
}
