//! Asks again, after a reload, about clients that an earlier configuration let in (CFG-147, AUTH-032).
//!
//! Not here: first decisions (`authenticator`), and what happens to the connection.

use std::sync::Arc;

use super::authenticator::{Authenticator, bcrypt_check};
use super::credentials::Secret;
use super::identity::{Admission, Denial, Identity, ListenerAuth, Recheck, UserLabel};
use super::refusal::{PROXY_NOT_TRUSTED, PROXY_REQUIRED, Refusal, UNKNOWN, WRONG_SECRET};
use super::users::User;

impl Authenticator {
    /// Asks again about a client that an earlier configuration let in (CFG-147). The client's password is
    /// not at hand, so a proof holds while its secret is the same, or can be seen to be.
    pub fn re_check(&self, identity: &Identity, listener: Option<&ListenerAuth>) -> Recheck {
        let refuse =
            |(reason, detail)| Recheck::Refuse(Denial { reason, detail, label: identity.label.clone() });
        let listener = listener.filter(|listener| listener.overrides());
        let (now, proof) = match self.identify_again(identity, listener) {
            Ok(found) => found,
            // The reference takes a named user that is gone for one that moved: no -ERR.
            Err(UNKNOWN) if identity.label != UserLabel::None => return Recheck::Gone,
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
                let (known, _) =
                    self.users.by_nkey(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                Ok((known.identify(kind, proxy_key, Admission::Nkey)?, Proof::Holds))
            }
            Admission::Password(old) => {
                let known = self.users.by_name(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                let new = known.password();
                let now = known.identify(kind, proxy_key, Admission::Password(new.clone()))?;
                Ok((now, Proof::of(old, &new)))
            }
            Admission::Certificate => {
                let known = self.users.by_name(identity.label.name().unwrap_or_default()).ok_or(UNKNOWN)?;
                Ok((known.identify(kind, proxy_key, Admission::Certificate)?, Proof::Holds))
            }
            Admission::NoAuthUser | Admission::Open { anonymous: true } => {
                let user = self.anonymous_user(own, listener.is_none()).ok_or(UNKNOWN)?;
                Ok((user.identify(kind, proxy_key, Admission::NoAuthUser)?, Proof::Holds))
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

    fn anonymous_user(&self, own: &ListenerAuth, is_own: bool) -> Option<User<'_>> {
        let Some(name) = own.no_auth_user.as_deref() else {
            return self.users.hidden().filter(|_| is_own);
        };
        let nkey = self.users.by_nkey(name).map(|(user, _)| user);
        nkey.or_else(|| self.users.by_name(name))
    }

    fn behind_proxy(&self, identity: Identity) -> Result<Identity, Refusal> {
        match self.proxy_required && identity.proxy_key.is_none() {
            true => Err(PROXY_REQUIRED),
            false => Ok(identity),
        }
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

#[cfg(test)]
mod tests;
