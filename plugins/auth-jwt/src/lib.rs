//! Operator mode: accounts and users that prove themselves with JWTs, and authentication by callout.
//!
//! Reading order: `config` says whom to trust and where accounts come from; `admit` decides about a user; `accounts`
//! keeps the accounts, `borders` says what passes between them; `resolver` finds claims; `requests` serves the
//! system account. Claims and signatures are in `token`, `claims`, `keys`.

mod accounts;
mod admit;
mod borders;
mod callout;
mod claims;
mod config;
mod definition;
mod keys;
mod network;
#[doc(hidden)]
pub mod outside;
mod permissions;
mod report;
mod requests;
mod resolver;
mod scope;
mod subjects;
mod times;
mod token;

use accounts::{Leaving, Realm};
use admit::Admitted;
use bytes::Bytes;
use callout::{ByService, Callout, CalloutConfig, ClientToken, Rules};
use config::Config;
use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{
    Apply, AuthRequest, AuthStage, Authenticator, AuthenticatorOptions, BoxFuture, Error, Host, Manifest,
    Plugin, Registrar, Registration, Result, Section, Service, Verdict, export_plugin, tracing,
};
use parking_lot::Mutex;
use requests::Requests;
use resolver::{Resolver, ResolverOptions};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The service that finds accounts by name, which the host knows then.
const LOOKUP: &str = "natsd.accounts/1";
/// How often a system account is asked for that could not be found (JWT-060).
const BOOTSTRAP_POLL: Duration = Duration::from_secs(1);

pub struct AuthJwt {
    host: Host,
    config: Option<Arc<Config>>,
    callout: Option<Arc<CalloutConfig>>,
    realm: OnceLock<Arc<Realm>>,
    registered: Mutex<Vec<Registration>>,
    requests: Mutex<Option<Requests>>,
}

export_plugin!(AuthJwt, "auth-jwt", keys: &config::KEYS);

impl Plugin for AuthJwt {
    fn manifest() -> Manifest {
        Manifest {
            config_keys: config::KEYS.map(str::to_owned).into(),
            decides_logins: true,
            provides: vec![LOOKUP.to_owned()],
            ..Manifest::default()
        }
    }

    fn create(host: Host, section: &Section) -> Result<Self> {
        let config = Config::read(section, &host.files())?.map(Arc::new);
        let callout = CalloutConfig::read(section)?.map(Arc::new);
        Ok(Self {
            host,
            config,
            callout,
            realm: OnceLock::new(),
            registered: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        if let Some(config) = &self.callout {
            let options = AuthenticatorOptions { stage: AuthStage::Last, nonce: false };
            let by_service = ByService { host: self.host.clone(), config: config.clone() };
            self.registered.lock().push(register.authenticator_with(Arc::new(by_service), &options)?);
        }
        let Some(config) = self.config.clone() else { return Ok(()) };
        let resolver = Resolver::open(&self.host, &config.resolver, &config.preload).await?;
        if let Resolver::Directory(directory) = &resolver {
            match directory.options.is_full {
                true => tracing::info!("Managing all jwt in exclusive directory {}", directory.options.dir),
                false => tracing::info!("Managing some jwt in exclusive directory {}", directory.options.dir),
            }
        }
        for operator in &config.operators {
            tracing::info!("Trusted Operator: {:?}", operator.common.name);
        }
        if config.system_account.is_none() && !config.operators.is_empty() {
            tracing::warn!("Trusted Operators should utilize a System Account");
        }
        let realm = Realm::new(self.host.clone(), config.clone(), resolver);
        for (key, token) in &config.preload {
            warn_of_problems(&realm, key, token);
        }
        // `start` is called once.
        let _ = self.realm.set(realm.clone());
        self.open_system_account(&realm, &config).await?;
        let options = AuthenticatorOptions { nonce: true, ..AuthenticatorOptions::default() };
        let authenticator = register.authenticator_with(Arc::new(ByToken(realm.clone())), &options)?;
        register.service(LOOKUP, Arc::new(Lookup(realm.clone())))?;
        let observer = register.observer(Leaving(realm))?;
        self.registered.lock().extend([authenticator, observer]);
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        let next = Config::read(&section, &self.host.files())?;
        if CalloutConfig::read(&section)? != self.callout.as_deref().cloned() {
            return Err(Error::unsupported("config reload not supported for AuthCallout"));
        }
        fixed_trust(self.config.as_deref(), next.as_ref())?;
        let (Some(config), Some(next), Some(realm)) = (&self.config, next, self.realm.get()) else {
            return Ok(Box::new(|| ()));
        };
        let moves =
            matches!((&config.resolver, &next.resolver), (ResolverOptions::Url(_), ResolverOptions::Url(_)));
        if config.resolver != next.resolver && !moves {
            return Err(Error::unsupported("config reload not supported for AccountResolver"));
        }
        let (realm, next) = (realm.clone(), Arc::new(next));
        Ok(Box::new(move || {
            realm.resolver.move_to(&next.resolver);
            realm.resolver.replace_preload(next.preload.clone());
            *realm.config.write() = next.clone();
            realm.preload_changed(&next.preload);
        }))
    }

    async fn stop(self: Arc<Self>) -> Result<()> {
        self.requests.lock().take();
        self.registered.lock().clear();
        Ok(())
    }

    /// What claims add to `varz`, and to an account in `accountz`; without a kind, what there is at all.
    fn introspect(&self, query: &Value) -> Result<Value> {
        let Some(config) = &self.config else { return Ok(Value::Null) };
        if let Some(kind) = query.get("kind").and_then(Value::as_str) {
            let account = query.pointer("/params/account").and_then(Value::as_str).unwrap_or_default();
            let realm = self.realm.get();
            let unpinned_logins = realm.map_or(0, |realm| realm.unpinned_logins.load(Relaxed));
            return Ok(match (kind, realm.and_then(|realm| realm.known(account))) {
                ("varz", _) => json!({ "varz": report::operators(config, unpinned_logins) }),
                ("accountz", Some(known)) => json!({ "accountz": report::account(&known) }),
                _ => Value::Null,
            });
        }
        let operators: Vec<&str> = config.operators.iter().map(|op| op.common.name.as_str()).collect();
        let accounts = self.realm.get().map_or(0, |realm| realm.known_count());
        Ok(json!({"operators": operators, "accounts": accounts, "system_account": config.system_account}))
    }
}

impl AuthJwt {
    /// The system account comes first: others are asked for through it.
    async fn open_system_account(&self, realm: &Arc<Realm>, config: &Config) -> Result<()> {
        let Some(system) = &config.system_account else { return Ok(()) };
        if let Err(error) = realm.lookup(system).await {
            tracing::debug!("System account {system}: {error}");
            tracing::info!("Using bootstrapping system account");
            realm.define_bootstrap(system)?;
            self.host.spawn("system account", wait_for(realm.clone(), system.clone()));
        }
        *self.requests.lock() = Some(Requests::open(realm, system)?);
        if let Resolver::Directory(directory) = &realm.resolver {
            directory.set_system_account(system);
            if directory.options.is_full {
                let task = resolver::peers::synchronise(realm.clone(), directory.clone(), system.clone());
                self.host.spawn("claims of other servers", async move {
                    if let Err(error) = task.await {
                        tracing::error!("DirResolver - not synchronised any more: {error}");
                    }
                });
            }
        }
        Ok(())
    }
}

async fn wait_for(realm: Arc<Realm>, key: String) {
    loop {
        realm.host.sleep(BOOTSTRAP_POLL).await;
        if realm.lookup(&key).await.is_ok() {
            tracing::info!("System account fetched and updated");
            return;
        }
    }
}

/// Refuses a reload that would change who is trusted. The names are those of nats-server's fields, which tools know.
fn fixed_trust(was: Option<&Config>, is: Option<&Config>) -> Result<()> {
    let fixed = |field: &str, shown: &dyn Fn(Option<&Config>) -> String| {
        let (old, new) = (shown(was), shown(is));
        let text = format!("config reload not supported for {field}: old={old}, new={new}");
        if old == new { Ok(()) } else { Err(Error::unsupported(text)) }
    };
    fixed("SystemAccount", &|config| config.and_then(|c| c.system_account.clone()).unwrap_or_default())?;
    let had_operators = was.is_some_and(|config| !config.operators.is_empty());
    fixed(if had_operators { "TrustedOperators" } else { "TrustedKeys" }, &|config| {
        let keys = config.iter().flat_map(|config| {
            let operators = config.operators.iter().map(|operator| operator.common.sub.as_str());
            operators.chain(config.trusted.iter().map(String::as_str))
        });
        let keys: BTreeSet<&str> = keys.collect();
        format!("[{}]", keys.into_iter().collect::<Vec<_>>().join(" "))
    })
}

/// Preloaded claims need not be in force; whoever runs the server should know.
fn warn_of_problems(realm: &Realm, key: &str, token: &str) {
    let Ok(claims) = token::decode_account(token) else {
        tracing::error!("Preloaded account [{key}] not valid");
        return;
    };
    let untimely = claims.common.untimely(realm.unix_s()).map(str::to_owned);
    let problems: Vec<String> = untimely.into_iter().chain(claims.problems()).collect();
    if !problems.is_empty() {
        tracing::warn!("Account [{key}] has validation issues:");
        problems.iter().for_each(|problem| tracing::warn!("  - {problem}"));
    }
}

/// Finds accounts for other plugins.
struct Lookup(Arc<Realm>);

impl Service for Lookup {
    fn call(&self, method: &str, payload: Bytes) -> BoxFuture<'static, Result<Bytes>> {
        let (realm, is_lookup) = (self.0.clone(), method == "lookup");
        Box::pin(async move {
            if !is_lookup {
                return Err(Error::unsupported("accounts can only be looked up"));
            }
            realm.lookup(&String::from_utf8_lossy(&payload)).await.map(|_| Bytes::new())
        })
    }
}

/// Lets users in by their JWT.
struct ByToken(Arc<Realm>);

impl Authenticator for ByToken {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'static, Verdict> {
        let realm = self.0.clone();
        Box::pin(async move {
            match realm.admit(&request).await {
                Ok(mut admitted) => {
                    if let Some(callout) = callout_of(&realm, &admitted) {
                        return callout.decide(&request).await;
                    }
                    realm.joined(request.connection_id, admitted.member.clone());
                    // PERM-008
                    if !admitted.account.claims.nats.authorization.auth_users.is_empty() {
                        let permissions = admitted.identity.permissions.take();
                        admitted.identity.permissions =
                            Some(permissions::denying_publish(permissions, callout::SUBJECT));
                    }
                    Verdict::Allow(admitted.identity)
                }
                Err(refusal) => {
                    tracing::debug!("cid:{} - {refusal}", request.connection_id);
                    Verdict::deny(shown(&request))
                }
            }
        })
    }
}

/// The service that decides in place of a JWT, if the account has one (CALL-001).
fn callout_of(realm: &Arc<Realm>, admitted: &Admitted) -> Option<Callout> {
    let claims = &admitted.account.claims;
    let external = &claims.nats.authorization;
    if external.auth_users.is_empty() || external.auth_users.contains(&admitted.member.user) {
        return None;
    }
    Some(Callout {
        host: realm.host.clone(),
        account: claims.common.sub.clone(),
        subject: claims.common.sub.clone(),
        xkey: external.xkey.clone(),
        timeout: realm.config().auth_timeout,
        rules: Rules::Operator { realm: realm.clone(), allowed: external.allowed_accounts.clone() },
        client_account: claims.name_tag().to_owned(),
        token: Some(ClientToken {
            jwt: admitted.identity.jwt.clone(),
            user: admitted.identity.user.clone(),
            name: admitted.identity.name_tag.clone(),
            issuer_key: admitted.identity.issuer_key.clone(),
        }),
    })
}

/// The line of the log: who it was, as far as can be told (AUTH-004).
fn shown(request: &AuthRequest) -> String {
    let by_token = request.field("jwt").and_then(|token| token::decode_user(token).ok());
    match (by_token, request.field("nkey"), request.user()) {
        (Some(user), ..) => format!("authentication error - JWT User {:?}", user.common.sub),
        (_, Some(nkey), _) => format!("authentication error - Nkey {nkey:?}"),
        (_, _, Some(user)) => format!("authentication error - User {user:?}"),
        _ => "authentication error".to_owned(),
    }
}
