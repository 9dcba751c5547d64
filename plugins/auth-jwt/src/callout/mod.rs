//! Authentication by callout: a service says who a client is (section 8 of the accounts facts).
//!
//! `exchange` asks the service and judges its answer; `seal` keeps what is said from others' eyes.

mod event;
mod exchange;
mod request;
mod seal;

use crate::accounts::Realm;
use crate::keys::{self, Role};
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{
    AuthRequest, Authenticator, BoxFuture, Decided, Error, Host, Result, Section, Verdict, tracing,
};
use std::sync::Arc;
use std::time::Duration;

/// Where the service is asked. Clients of its account cannot publish there (PERM-008).
pub const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
const GLOBAL: &str = "$G";
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(2);

/// `authorization { auth_callout {} }` (CFG-165).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalloutConfig {
    pub issuer: String,
    pub account: String,
    pub auth_users: Vec<String>,
    /// Empty: answers are not sealed.
    pub xkey: String,
    pub allowed_accounts: Vec<String>,
    pub timeout: Duration,
}

const KEY: &str = "authorization.auth_callout";

impl CalloutConfig {
    pub fn read(section: &Section) -> Result<Option<Self>> {
        let Some(value) = section.key(KEY) else { return Ok(None) };
        let wrong = |name: &str, text: String| {
            let place = if name.is_empty() { KEY.to_owned() } else { format!("{KEY}.{name}") };
            Error::config(&place, text)
        };
        let Value::Object(map) = value else {
            return Err(wrong("", format!("Expected authorization callout to be a map/struct, got {value}")));
        };
        let timeout = section.core.get("auth_timeout_ms").and_then(Value::as_u64);
        let timeout = timeout.map_or(AUTH_TIMEOUT, Duration::from_millis);
        let mut config = Self { account: GLOBAL.to_owned(), timeout, ..Self::default() };
        for (name, value) in map {
            let text = || {
                value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "expected a string".to_owned()))
            };
            let list = |what: &str| {
                let items = value
                    .as_array()
                    .ok_or_else(|| wrong(name, format!("Expected {what} field to be an array")))?;
                let item = |item: &Value| item.as_str().map(str::to_owned);
                let texts: Option<Vec<String>> = items.iter().map(item).collect();
                texts.ok_or_else(|| wrong(name, format!("Expected {what} to be strings")))
            };
            match name.to_ascii_lowercase().as_str() {
                "issuer" => {
                    config.issuer = text()?;
                    if !keys::is(&config.issuer, Role::Account) {
                        let cause = "Expected callout user to be a valid public account nkey";
                        return Err(wrong(name, format!("{cause}, got {:?}", config.issuer)));
                    }
                }
                "account" | "acc" => config.account = text()?,
                "auth_users" | "users" => config.auth_users = list("auth_users")?,
                "xkey" | "key" => {
                    config.xkey = text()?;
                    if !keys::is(&config.xkey, Role::Curve) {
                        let cause = "Expected callout xkey to be a valid public xkey";
                        return Err(wrong(name, format!("{cause}, got {:?}", config.xkey)));
                    }
                }
                "allowed_accounts" => config.allowed_accounts = list("allowed accounts")?,
                _ if section.is_variable(&format!("{KEY}.{name}")) => {}
                _ => {
                    return Err(wrong(name, format!("Unknown field {name:?} parsing authorization callout")));
                }
            }
        }
        if config.issuer.is_empty() {
            return Err(wrong("", "Authorization callouts require an issuer to be specified".to_owned()));
        }
        if config.auth_users.is_empty() {
            return Err(wrong(
                "",
                "Authorization callouts require authorized users to be specified".to_owned(),
            ));
        }
        let known = section.core.get("accounts").and_then(Value::as_array);
        let is_known = |name: &str| known.is_none_or(|known| known.iter().any(|known| known == name));
        if let Some(name) = config.allowed_accounts.iter().find(|name| *name != GLOBAL && !is_known(name)) {
            let text = format!("auth_callout allowed account {name:?} not found in configured accounts");
            return Err(wrong("allowed_accounts", text));
        }
        Ok(Some(config))
    }

    /// Whether the service decides about this client (CALL-002).
    fn delegates(&self, decided: &Decided) -> bool {
        if !decided.allowed || decided.account == GLOBAL {
            return true;
        }
        self.allowed_accounts.is_empty() || self.allowed_accounts.contains(&decided.account)
    }
}

/// One question to a service: which account it is asked in, and whom it may answer with.
pub struct Callout {
    pub host: Host,
    /// Where the service listens.
    pub account: String,
    /// Whom the request is for: the issuer, or the account itself.
    pub subject: String,
    pub xkey: String,
    pub timeout: Duration,
    pub rules: Rules,
    /// What the account is called that the client is in so far.
    pub client_account: String,
    /// The token that the client logged in with.
    pub token: Option<ClientToken>,
}

/// A client's own token, which was good but does not let it in alone.
pub struct ClientToken {
    pub jwt: String,
    pub user: String,
    pub name: String,
    pub issuer_key: String,
}

/// Who may sign an answer, and which account it may name.
pub enum Rules {
    /// The configured issuer; the account is the user's audience.
    Configured { issuer: String },
    /// Operator mode: the account that runs the service, or those it may speak for.
    Operator { realm: Arc<Realm>, allowed: Vec<String> },
}

/// Decides after the server's own authentication.
pub struct ByService {
    pub host: Host,
    pub config: Arc<CalloutConfig>,
}

impl Authenticator for ByService {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'static, Verdict> {
        let (host, config) = (self.host.clone(), self.config.clone());
        Box::pin(async move {
            let decided = request.decided.clone().unwrap_or_default();
            let sent =
                [request.field("nkey"), request.user()].into_iter().flatten().find(|id| !id.is_empty());
            let is_auth_user = sent.is_some_and(|id| config.auth_users.iter().any(|user| user == id));
            if is_auth_user || !config.delegates(&decided) {
                let in_callout_account = decided.allowed && decided.account == config.account;
                return match in_callout_account {
                    true => Verdict::Keep { deny_publish: vec![SUBJECT.to_owned()] },
                    false => Verdict::Abstain,
                };
            }
            let callout = Callout {
                host,
                account: config.account.clone(),
                subject: config.issuer.clone(),
                xkey: config.xkey.clone(),
                timeout: config.timeout,
                rules: Rules::Configured { issuer: config.issuer.clone() },
                client_account: match decided.account.as_str() {
                    "" => GLOBAL.to_owned(),
                    account => account.to_owned(),
                },
                token: None,
            };
            callout.decide(&request).await
        })
    }
}

impl Callout {
    /// Asks, and says what becomes of the client.
    pub async fn decide(&self, request: &AuthRequest) -> Verdict {
        match self.ask(request).await {
            Ok(identity) => Verdict::Allow(identity),
            Err(failure) => {
                match failure.is_silent {
                    true => tracing::debug!("{}", failure.text),
                    false => tracing::warn!("{}", failure.text),
                }
                event::tell(self, request, if failure.is_silent { "" } else { &failure.text });
                Verdict::deny(crate::shown(request))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keys::KeyPair;
    use natsd_plugin_api::serde_json::json;

    fn read(block: Value) -> Result<Option<CalloutConfig>> {
        let mut section = Section::default();
        section.keys.insert(KEY.to_owned(), block);
        section.core.insert("accounts".to_owned(), json!(["A"]));
        CalloutConfig::read(&section)
    }

    #[test]
    fn the_block_is_checked() {
        // CALL-011
        let issuer = KeyPair::from_seed(Role::Account, &[1; 32]).public();
        let told = |block: Value| read(block).unwrap_err().message().to_owned();
        assert!(told(json!({"auth_users": ["u"]})).ends_with("require an issuer to be specified"));
        assert!(told(json!({"issuer": issuer})).ends_with("require authorized users to be specified"));
        assert!(told(json!({"issuer": "x"})).contains("valid public account nkey, got \"x\""));
        assert!(told(json!({"issuer": issuer, "foo": 1})).contains("Unknown field \"foo\""));
        let unknown = json!({"issuer": issuer, "auth_users": ["u"], "allowed_accounts": ["B"]});
        assert!(told(unknown).contains("auth_callout allowed account \"B\" not found"));
        let config =
            read(json!({"issuer": issuer, "auth_users": ["u"], "allowed_accounts": ["A"]})).unwrap().unwrap();
        let decided =
            |allowed, account: &str| Decided { allowed, account: account.to_owned(), ..Decided::default() };
        assert!(config.delegates(&decided(false, "")) && config.delegates(&decided(true, "$G")));
        assert!(config.delegates(&decided(true, "A")) && !config.delegates(&decided(true, "B")));
    }
}
