//! What reads bytes from outside, for the tests that throw hostile ones at it.

use crate::claims::Account;
use crate::token::{self, Claims};
use crate::{admit, borders, config, definition, keys, scope, times};
use natsd_plugin_api::serde_json;

/// Reads a token as logins and resolvers do; the kind of its claims if it is one.
pub fn token(text: &str) -> Option<&'static str> {
    token::decode(text).ok().map(|claims| used(&claims))
}

/// Reads the claims of a token whose signature was good.
pub fn claims(body: &[u8]) -> Option<&'static str> {
    let body = serde_json::from_slice(body).ok()?;
    token::claims(body).ok().map(|(claims, _)| used(&claims))
}

/// A public key, as it would be written again.
pub fn key(text: &str) -> Option<String> {
    keys::decode(text).map(|(role, bytes)| keys::encode(role, &bytes))
}

/// The token in a file, plain or between lines of dashes.
pub fn creds(content: &str) -> String {
    config::token_in(content)
}

/// Does with claims what a server does that trusts them.
fn used(claims: &Claims) -> &'static str {
    match claims {
        Claims::Account(account) => {
            drop(account.problems());
            let imports = borders::imports(account, 0, |_| Some(Account::clone(account).into()));
            drop(definition::of(account, imports.list, false));
            "account"
        }
        Claims::User(user) => {
            // Whatever comes of it: it must come.
            drop(admit::check_validity(user, 0));
            let limits = &user.nats.limits;
            let _ = times::allowed_until(&limits.times, &limits.times_location, 0);
            drop(scope::apply(limits, user, &Account::default()));
            "user"
        }
        Claims::Operator(_) => "operator",
        Claims::Activation(_) => "activation",
        Claims::AuthRequest(_) => "authorization_request",
        Claims::AuthResponse(_) => "authorization_response",
        Claims::Generic(_) => "generic",
    }
}
