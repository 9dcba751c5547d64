//! What the kinds of tokens claim (section 5 of the accounts facts).
//!
//! A field that is absent has the value that nats-server gives it, which for limits is zero: nothing is allowed.

pub mod account;
pub mod user;

pub use account::{Account, JetStreamLimits, SigningKey};
pub use user::{Permissions, TimeRange, User, UserLimits};

use natsd_plugin_api::serde_json::{Map, Value};
use serde::Deserialize;
use std::collections::HashMap;

/// What every token has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Common {
    pub aud: String,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub name: String,
    pub nbf: i64,
    pub sub: String,
}

impl Common {
    /// Why it is not in force at this time (JWT-006).
    pub fn untimely(&self, unix_s: i64) -> Option<&'static str> {
        if self.exp > 0 && unix_s > self.exp {
            Some("claim is expired")
        } else if self.nbf > 0 && self.nbf > unix_s {
            Some("claim is not yet valid")
        } else {
            None
        }
    }
}

/// JWT-010
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Operator {
    #[serde(flatten)]
    pub common: Common,
    pub nats: OperatorData,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OperatorData {
    pub signing_keys: Vec<String>,
    pub account_server_url: String,
    pub operator_service_urls: Vec<String>,
    pub system_account: String,
    pub assert_server_version: String,
    pub strict_signing_key_usage: bool,
}

/// JWT-017
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Activation {
    #[serde(flatten)]
    pub common: Common,
    pub nats: ActivationData,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ActivationData {
    pub subject: String,
    pub kind: String,
    pub issuer_account: String,
}

/// CALL-005
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthResponse {
    #[serde(flatten)]
    pub common: Common,
    pub nats: AuthResponseData,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthResponseData {
    pub jwt: String,
    pub error: String,
    pub issuer_account: String,
}

/// Of a kind that is not known here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Generic {
    #[serde(flatten)]
    pub common: Common,
    pub nats: Map<String, Value>,
}

/// Keys (or `*` for all) with the time until which what was issued to them is void.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Revocations(pub HashMap<String, i64>);

impl Revocations {
    pub fn revoke(&self, key: &str, issued_unix_s: i64) -> bool {
        let until = |key: &str| self.0.get(key).is_some_and(|until| *until >= issued_unix_s);
        until("*") || until(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{Common, Revocations};

    #[test]
    fn times_are_inclusive() {
        // JWT-006
        let claims = Common { exp: 10, nbf: 5, ..Common::default() };
        assert_eq!(claims.untimely(10), None);
        assert_eq!(claims.untimely(11), Some("claim is expired"));
        assert_eq!(claims.untimely(5), None);
        assert_eq!(claims.untimely(4), Some("claim is not yet valid"));
    }

    #[test]
    fn a_revocation_counts_for_what_was_issued_before() {
        let list = Revocations([("UA".to_owned(), 10), ("*".to_owned(), 5)].into());
        assert!(list.revoke("UA", 10) && !list.revoke("UA", 11));
        assert!(list.revoke("UB", 5) && !list.revoke("UB", 6));
    }
}
