//! Asks a service about one client, and judges what it answers (CALL-003 to CALL-010).

use super::{Callout, Rules, SUBJECT, request, seal};
use crate::accounts::Known;
use crate::admit::{self, Granted, Refusal};
use crate::claims::{Account, Common, User};
use crate::keys::{self, KeyPair, Role};
use crate::{permissions, token};
use natsd_plugin_api::{AuthRequest, Identity, PublishRef, ServerIdentity, SubscribeOptions};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Why the client is not let in. The client does not learn it.
pub struct Failure {
    pub text: String,
    /// Nobody did anything wrong: for the debug log only.
    pub is_silent: bool,
}

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_silent: false }
    }
}

/// One exchange: the key that the answer has to be about.
struct Question<'a> {
    callout: &'a Callout,
    request: &'a AuthRequest,
    server: ServerIdentity,
    user: String,
    unix_s: i64,
}

impl Callout {
    pub async fn ask(&self, request: &AuthRequest) -> Result<Identity, Failure> {
        let host = &self.host;
        let server = host.identity().map_err(|error| Failure::new(error.to_string()))?;
        let mut seed = [0; 32];
        host.random(&mut seed);
        let user = KeyPair::from_seed(Role::User, &seed).public();
        let unix_s = (host.unix_ns() / 1_000_000_000) as i64;
        let question = Question { callout: self, request, server, user, unix_s };
        let answer = question.send().await?;
        let user = question.user_in(&answer)?;
        question.check_proxy(&user)?;
        question.identity(&user).await
    }
}

impl Question<'_> {
    /// Publishes the request and waits for the first answer.
    async fn send(&self) -> Result<Vec<u8>, Failure> {
        let Callout { host, account, xkey, timeout, .. } = self.callout;
        let claims = request::claims(self.callout, self.request, &self.server, &self.user, self.unix_s);
        let token = token::encode(claims, |text| host.sign(text)).map_err(|error| {
            Failure::new(format!("Error encoding auth request claim on account {account:?}: {error}"))
        })?;
        let (body, headers) = match xkey.as_str() {
            "" => (token.into_bytes(), String::new()),
            peer => {
                let failed = |error| {
                    Failure::new(format!(
                        "Error encrypting auth request claim on account {account:?}: {error}"
                    ))
                };
                let own = self.server.extra.get("xkey").and_then(|xkey| xkey.as_str()).unwrap_or_default();
                let headers = format!("NATS/1.0\r\nNats-Server-Xkey: {own}\r\n\r\n");
                (seal::seal(host, peer, token.as_bytes()).map_err(failed)?, headers)
            }
        };
        let inbox = format!("$SYS._INBOX.{:08x}.{:016x}", host.random_u64() as u32, host.random_u64());
        let (sender, receiver) = oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let options = SubscribeOptions { account: account.clone(), ..SubscribeOptions::to(&inbox) };
        let subscription = host.subscribe(&options, move |batch| {
            // What comes after the first answer is nobody's.
            if let (Some(message), Some(sender)) = (batch.first(), sender.lock().take()) {
                let _ = sender.send(message.payload().to_vec());
            }
        });
        let _subscription = subscription.map_err(|error| {
            Failure::new(format!("Error setting up reply subscription for auth request: {error}"))
        })?;
        let message =
            PublishRef::new(SUBJECT.as_bytes(), &body).reply(inbox.as_bytes()).headers(headers.as_bytes());
        let late = || Failure {
            text: format!("Authorization callout response not received in time on account {account:?}"),
            is_silent: true,
        };
        // With nobody there it is waited, too: who is refused at once comes again at once, and clients give up for good
        // after two refusals, which a service that starts anew should not cost them.
        host.publish(account, message)
            .map_err(|error| Failure::new(format!("Error sending authorization request: {error}")))?;
        // What the client has left is no more than this, and a refusal should come before its end.
        let patience = timeout.mul_f64(0.95);
        host.timeout(patience, receiver).await.ok().and_then(Result::ok).ok_or_else(late)
    }

    /// The user's claims in an answer that is what it should be (CALL-005, CALL-007).
    fn user_in(&self, answer: &[u8]) -> Result<User, Failure> {
        let Callout { host, account, xkey, .. } = self.callout;
        if answer.is_empty() {
            return Err(Failure::new(format!(
                "Auth callout violation: \"no reason supplied\" on account {account:?}"
            )));
        }
        let is_sealed = !xkey.is_empty() && !answer.starts_with(b"eyJ");
        let answer = match is_sealed {
            false => answer.to_vec(),
            true => seal::open(host, xkey, answer).map_err(|error| {
                Failure::new(format!(
                    "Error decrypting auth callout response on account {account:?}: {error}"
                ))
            })?,
        };
        let response = token::decode_auth_response(&String::from_utf8_lossy(&answer))
            .map_err(|error| Failure::new(title(&error.to_string())))?;
        let (error, inner) = (&response.nats.error, &response.nats.jwt);
        let Common { sub, aud, .. } = &response.common;
        let issuer_account = &response.nats.issuer_account;
        let problem = match (error.is_empty(), inner.is_empty()) {
            _ if !keys::is(sub, Role::User) => Some("Subject must be a user public key"),
            _ if !keys::is(aud, Role::Server) => Some("Audience must be a server public key"),
            _ if !issuer_account.is_empty() && !keys::is(issuer_account, Role::Account) => {
                Some("issuer_account is not an account public key")
            }
            _ if response.common.untimely(self.unix_s).is_some() => response.common.untimely(self.unix_s),
            (true, true) => Some("Error or Jwt is required"),
            (false, false) => Some("Only Error or Jwt can be set"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Failure::new(format!("Authorization response had validation errors: {problem}")));
        }
        if response.common.sub != self.user {
            return Err(Failure::new(
                "Auth callout violation: auth callout response is not for expected user",
            ));
        }
        if response.common.aud != self.server.id {
            return Err(Failure::new("Auth callout violation: auth callout response is not for server"));
        }
        if !is_sealed {
            self.check_signer(&response.common.iss, &response.nats.issuer_account)?;
        }
        if !error.is_empty() {
            return Err(Failure::new(format!("Auth callout service returned an error: {error}")));
        }
        let user = token::decode_user(inner).map_err(|error| Failure::new(title(&error.to_string())))?;
        admit::check_validity(&user, self.unix_s)
            .map_err(|error| Failure::new(format!("Error validating user JWT: {}", invalid(&error))))?;
        if user.common.sub != self.user {
            return Err(Failure::new(format!(
                "Expected authorized user of {:?} but got {:?} on account {account:?}",
                self.user, user.common.sub
            )));
        }
        Ok(user)
    }

    /// The user that the client asked to be may need a trusted proxy, or the one that it is to become; templates of
    /// signing keys do not count, as with nats-server.
    fn check_proxy(&self, user: &User) -> Result<(), Failure> {
        let lacks_proxy = self.request.decided.as_ref().is_some_and(|decided| decided.lacks_proxy);
        let is_required = lacks_proxy || user.nats.limits.proxy_required;
        match is_required && !self.request.through_proxy {
            true => Err(Failure::new("Proxy connection required")),
            false => Ok(()),
        }
    }

    fn check_signer(&self, signer: &str, issuer_account: &str) -> Result<(), Failure> {
        let account = &self.callout.account;
        let is_known = match &self.callout.rules {
            Rules::Configured { issuer } => signer == issuer,
            Rules::Operator { realm, .. } => {
                if !issuer_account.is_empty() && issuer_account != account {
                    return Err(Failure::new(format!(
                        "Auth callout response issuer account {issuer_account:?} is not the callout account"
                    )));
                }
                // Its own key may answer, even where it may not sign users.
                let of_account = |known: &Known| known.claims.signer(signer).is_some();
                signer == account || realm.known(account).is_some_and(|known| of_account(&known))
            }
        };
        if is_known { Ok(()) } else { Err(Failure::new("Auth callout signing key is unknown")) }
    }

    /// Who the client is then. What is left to check is checked as for users that log in by themselves.
    async fn identity(&self, user: &User) -> Result<Identity, Failure> {
        let account = &self.callout.account;
        let (target, claims) = match &self.callout.rules {
            Rules::Configured { issuer } => (self.configured_target(user, issuer)?, configured_account(user)),
            Rules::Operator { realm, allowed } => {
                let target = admit::account_of(user);
                let is_allowed =
                    target == account || allowed.iter().any(|known| known == "*" || known == target);
                if !is_allowed {
                    return Err(Failure::new(format!(
                        "Account {:?} not permitted as valid account option for auth callout for account {account:?}",
                        user.common.iss
                    )));
                }
                let known =
                    realm.lookup(target).await.map_err(|error| self.no_account(target, error.message()))?;
                (target.to_owned(), Account::clone(&known.claims))
            }
        };
        let granted = Granted::new(user, &claims).map_err(|refusal| self.refused(&refusal))?;
        granted.check_known_types().map_err(|refusal| self.refused(&refusal))?;
        let mut identity =
            granted.unlimited_identity(self.unix_s).map_err(|refusal| self.refused(&refusal))?;
        // Which they are is not checked, as with nats-server.
        identity.allowed_connection_types.clear();
        identity.account = Some(target.clone());
        // CALL-006
        if !user.common.name.is_empty() {
            identity.user = user.common.name.clone();
            identity.user_kind = String::new();
        }
        if target == *account {
            identity.permissions = Some(permissions::denying_publish(identity.permissions.take(), SUBJECT));
        }
        if let Rules::Operator { realm, .. } = &self.callout.rules {
            realm.joined(self.request.connection_id, granted.member());
        }
        Ok(identity)
    }

    /// In config mode the user's audience names the account.
    fn configured_target(&self, user: &User, issuer: &str) -> Result<String, Failure> {
        let account = &self.callout.account;
        if !user.nats.issuer_account.is_empty() {
            return Err(Failure::new(format!(
                "Error non operator mode account {account:?}: attempted to use issuer_account"
            )));
        }
        if user.common.iss != issuer {
            return Err(Failure::new(format!(
                "Wrong issuer for auth callout response on account {account:?}, expected {issuer:?} got {:?}",
                user.common.iss
            )));
        }
        let target = &user.common.aud;
        match self.callout.host.account(target) {
            Ok(_) if !target.is_empty() => Ok(target.clone()),
            _ => Err(self.no_account(target, "account missing")),
        }
    }

    fn no_account(&self, target: &str, cause: &str) -> Failure {
        let account = &self.callout.account;
        Failure::new(format!(
            "No valid account {target:?} for auth callout response on account {account:?}: {cause}"
        ))
    }

    fn refused(&self, refusal: &Refusal) -> Failure {
        let account = &self.callout.account;
        Failure::new(match refusal {
            Refusal::Time => format!("Authorized user on account {account:?} outside of valid connect times"),
            Refusal::ConnectionType => {
                format!("Authorized user on account {account:?} using invalid connection type")
            }
            other => format!("Could not register auth callout user: {other}"),
        })
    }
}

/// An account of the configuration has no claims; it signs for itself.
fn configured_account(user: &User) -> Account {
    let mut account = Account::default();
    account.common.sub = user.common.iss.clone();
    account
}

/// What is wrong, without whose it is.
fn invalid(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid(problems) => problems.clone(),
        other => other.to_string(),
    }
}

/// The first letter large, as in the reference's log.
fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
