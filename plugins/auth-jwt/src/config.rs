//! The plugin's configuration keys: operators, resolver, preload, pinned accounts (CFG-085 to CFG-091, section 6).

use crate::claims::{Operator, UserLimits};
use crate::keys::{self, Role};
use crate::resolver::{Address, DirectoryOptions, ResolverOptions};
use crate::token;
use natsd_plugin_api::files::Files;
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{Error, Result, Section};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The keys that this plugin owns.
pub const KEYS: [&str; 8] = [
    "operator",
    "resolver",
    "resolver_tls",
    "resolver_preload",
    "resolver_pinned_accounts",
    "trusted_keys",
    "default_sentinel",
    "authorization.auth_callout",
];

/// Operator mode.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub operators: Vec<Operator>,
    /// Theirs, as they were configured.
    pub operator_tokens: Vec<String>,
    /// Keys that may sign accounts.
    pub trusted: BTreeSet<String>,
    pub resolver: ResolverOptions,
    /// Account keys with their claims.
    pub preload: BTreeMap<String, String>,
    /// `None`: users of all accounts.
    pub pinned: Option<BTreeSet<String>>,
    pub system_account: Option<String>,
    pub default_sentinel: String,
    /// How long a client may take, and so a service that is asked about it.
    pub auth_timeout: Duration,
}

impl Config {
    /// `None`: nobody is trusted, so this is no operator mode.
    pub fn read(section: &Section, files: &Files) -> Result<Option<Self>> {
        let operator_tokens = operator_tokens(section, files)?;
        let operators = operators(&operator_tokens)?;
        let trusted = trusted(section)?;
        let resolver = resolver(section, &operators)?;
        let preload = preload(section)?;
        let default_sentinel = text(section, "default_sentinel")?.unwrap_or_default();
        if operators.is_empty() && trusted.is_empty() {
            if !default_sentinel.is_empty() {
                let text = "default sentinel requires operators and accounts";
                return Err(wrong("default_sentinel", text).at_start());
            }
            return Ok(None);
        }
        let mut config = Self {
            trusted: trusted.into_iter().chain(operators.iter().flat_map(signers)).collect(),
            pinned: pinned(section)?,
            system_account: None,
            operators,
            operator_tokens,
            resolver,
            preload,
            default_sentinel,
            auth_timeout: section
                .core
                .get("auth_timeout_ms")
                .and_then(Value::as_u64)
                .map_or(crate::callout::AUTH_TIMEOUT, Duration::from_millis),
        };
        config.check(section).map_err(Error::at_start)?;
        Ok(Some(config))
    }

    /// The operator's own key, when accounts must not be signed with it (JWT-032).
    pub fn strict_operator(&self) -> Option<&str> {
        let operator = self.operators.first().filter(|operator| operator.nats.strict_signing_key_usage)?;
        Some(&operator.common.sub)
    }

    /// Whether users of an account that this key issued need one of the account's signing keys (JWT-032).
    pub fn is_strict_about(&self, issuer: &str) -> bool {
        self.operators
            .iter()
            .map(|operator| &operator.nats)
            .any(|nats| nats.strict_signing_key_usage && nats.signing_keys.iter().any(|key| key == issuer))
    }

    /// CFG-192, CFG-193
    fn check(&mut self, section: &Section) -> Result<()> {
        let core = |name: &str| section.core.get(name).filter(|value| !value.is_null());
        let some = |name: &str| core(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        let operator = "operator";
        self.check_sentinel()?;
        // With trusted keys alone nobody is found then, so that nobody is let in.
        if matches!(self.resolver, ResolverOptions::None) && !self.operators.is_empty() {
            return Err(wrong(operator, "operators require an account resolver to be configured"));
        }
        if some("accounts") {
            return Err(wrong(operator, "operators do not allow Accounts to be configured directly"));
        }
        if some("users") {
            return Err(wrong(operator, "operators do not allow users to be configured directly"));
        }
        if core("no_auth_user").is_some() {
            return Err(wrong(operator, "no_auth_user not compatible with Trusted Operator"));
        }
        if section.key("trusted_keys").is_some() && !self.operators.is_empty() {
            return Err(wrong(
                "trusted_keys",
                "conflicting options for 'TrustedKeys' and 'TrustedOperators'",
            ));
        }
        if section.key("authorization.auth_callout").is_some() {
            let text = "operators do not allow authorization callouts to be configured directly";
            return Err(wrong("authorization.auth_callout", text));
        }
        self.find_system_account(core("system_account").and_then(Value::as_str))?;
        self.check_version()?;
        if let Some(key) = self.trusted.iter().find(|key| !keys::is(key, Role::Operator)) {
            let text = format!("trusted Keys {key:?} are required to be a valid public operator nkey");
            return Err(wrong(operator, text));
        }
        if let Some(pinned) = &mut self.pinned {
            if let Some(key) = pinned.iter().find(|key| !keys::is(key, Role::Account)) {
                let text = format!("pinned account key {key:?} is not a valid public account nkey");
                return Err(wrong("resolver_pinned_accounts", text));
            }
            pinned.extend(self.system_account.clone());
        }
        if !self.preload.is_empty() && matches!(self.resolver, ResolverOptions::Url(_)) {
            let text = "resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR";
            return Err(wrong("resolver_preload", text));
        }
        Ok(())
    }

    /// JWT-038
    fn check_sentinel(&self) -> Result<()> {
        if self.default_sentinel.is_empty() {
            return Ok(());
        }
        let user = token::decode_user(&self.default_sentinel)
            .map_err(|_| wrong("default_sentinel", "default sentinel JWT not valid"))?;
        let is_scoped = !user.nats.issuer_account.is_empty() && user.nats.limits == UserLimits::default();
        if user.nats.limits.bearer_token || is_scoped {
            return Ok(());
        }
        Err(wrong("default_sentinel", "default sentinel must be a bearer token"))
    }

    fn find_system_account(&mut self, configured: Option<&str>) -> Result<()> {
        let named: Vec<&str> = self
            .operators
            .iter()
            .map(|op| op.nats.system_account.as_str())
            .filter(|a| !a.is_empty())
            .collect();
        if let Some(configured) = configured {
            if !named.is_empty() && !named.contains(&configured) {
                let text = "system_account in config and operator JWT must be identical";
                return Err(wrong("operator", text));
            }
            self.system_account = Some(configured.to_owned());
            return Ok(());
        }
        self.system_account = named.first().map(|account| (*account).to_owned());
        if self.system_account.is_none() && matches!(self.resolver, ResolverOptions::Directory(_)) {
            let text = "using nats based account resolver - the system account needs to be specified in \
                        configuration or the operator jwt";
            return Err(wrong("resolver", text));
        }
        Ok(())
    }

    /// JWT-010: `assert_server_version`.
    fn check_version(&self) -> Result<()> {
        for operator in &self.operators {
            let wanted = &operator.nats.assert_server_version;
            if wanted.is_empty() {
                continue;
            }
            let key = &operator.common.sub;
            let parts = version(wanted).ok_or_else(|| {
                let text =
                    format!("operator {key} expects version {wanted} got error instead: not a version");
                wrong("operator", text)
            })?;
            let names = ["major", "minor", "update"];
            let differing = parts.iter().zip(COMPATIBLE).zip(names).find(|((wanted, own), _)| *wanted != own);
            if let Some(((wanted, own), name)) = differing
                && *wanted > own
            {
                let text =
                    format!("operator {key} expected {name} version {wanted} > server {name} version {own}");
                return Err(wrong("operator", text));
            }
        }
        Ok(())
    }
}

/// The version that clients are told.
const COMPATIBLE: [u32; 3] = [2, 15, 1];

fn version(text: &str) -> Option<[u32; 3]> {
    let parts: Option<Vec<u32>> = text.split('-').next()?.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// The keys that sign for an operator.
fn signers(operator: &Operator) -> Vec<String> {
    let own = (!operator.nats.strict_signing_key_usage).then(|| operator.common.sub.clone());
    own.into_iter().chain(operator.nats.signing_keys.iter().cloned()).collect()
}

fn wrong(key: &str, text: impl std::fmt::Display) -> Error {
    Error::config(key, text)
}

fn text(section: &Section, key: &str) -> Result<Option<String>> {
    match section.key(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(key, format!("expected a string, got {}", kind(other)))),
    }
}

/// A text or a list of texts.
fn texts(section: &Section, key: &str, doing: &str) -> Result<Vec<String>> {
    let wrong_type =
        |value: &Value| wrong(key, format!("error parsing {doing}: unsupported type {}", kind(value)));
    match section.key(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(item)))
            .collect(),
        Some(other) => Err(wrong_type(other)),
    }
}

/// As nats-server names types.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Each a file, or the JWT itself.
fn operator_tokens(section: &Section, files: &Files) -> Result<Vec<String>> {
    let read = |named: String| match named.starts_with("eyJ") {
        true => Ok(named),
        false => {
            files.read_text(&named).map(|text| token_in(&text)).map_err(|e| bad_operator(&e.to_string()))
        }
    };
    texts(section, "operator", "operators")?.into_iter().map(read).collect()
}

fn operators(tokens: &[String]) -> Result<Vec<Operator>> {
    let decode = |token: &String| token::decode_operator(token).map_err(|e| bad_operator(&e.to_string()));
    tokens.iter().map(decode).collect()
}

fn bad_operator(cause: &str) -> Error {
    wrong("operator", format!("error parsing operator JWT: {cause}"))
}

/// The token of a file: all of it, or what stands between the lines of dashes.
pub fn token_in(content: &str) -> String {
    let mut lines = content.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN"));
    match lines.next() {
        None => content.trim().to_owned(),
        Some(_) => {
            lines.take_while(|line| !line.starts_with("-----") && !line.starts_with("------")).collect()
        }
    }
}

fn trusted(section: &Section) -> Result<Vec<String>> {
    let keys = texts(section, "trusted_keys", "trusted")?;
    match keys.iter().find(|key| !keys::is(key, Role::Operator)) {
        Some(key) => {
            let text = format!("trust key {key:?} required to be a valid public operator nkey");
            Err(wrong("trusted_keys", text))
        }
        None => Ok(keys),
    }
}

fn pinned(section: &Section) -> Result<Option<BTreeSet<String>>> {
    let key = "resolver_pinned_accounts";
    if section.key(key).is_none() {
        return Ok(None);
    }
    Ok(Some(texts(section, key, key)?.into_iter().collect()))
}

fn preload(section: &Section) -> Result<BTreeMap<String, String>> {
    let key = "resolver_preload";
    let Some(value) = section.key(key) else { return Ok(BTreeMap::new()) };
    let Value::Object(map) = value else {
        return Err(wrong(key, "preload should be a map of account_public_key:account_jwt"));
    };
    let entry = |(account, token): (&String, &Value)| {
        if section.is_variable(&format!("{key}.{account}")) {
            return None;
        }
        let place = format!("{key}.{account}");
        Some(match token.as_str() {
            None => Err(wrong(&place, "preload map value should be a string JWT")),
            Some(token) if token::decode_account(token).is_err() => Err(wrong(&place, "invalid account JWT")),
            Some(token) => Ok((account.clone(), token.to_owned())),
        })
    };
    map.iter().filter_map(entry).collect()
}

fn resolver(section: &Section, operators: &[Operator]) -> Result<ResolverOptions> {
    let tls = section.key("resolver_tls").cloned();
    match section.key("resolver") {
        None => match operators {
            [operator] if !operator.nats.account_server_url.is_empty() => {
                let url = format!("{}/accounts", operator.nats.account_server_url);
                Ok(ResolverOptions::Url(Address { url: url_with_slash(&url)?, tls }))
            }
            _ => Ok(ResolverOptions::None),
        },
        Some(Value::String(text)) => {
            let upper = text.trim().to_ascii_uppercase();
            if upper.contains("MEM") {
                return Ok(ResolverOptions::Memory);
            }
            let inner = upper.find("URL(").and_then(|at| text.trim().get(at + 4..)?.strip_suffix(')'));
            match inner {
                Some(url) => {
                    let url = url_with_slash(url.trim().trim_matches('"'))?;
                    Ok(ResolverOptions::Url(Address { url, tls }))
                }
                None => Err(bad_resolver()),
            }
        }
        Some(Value::Object(_)) => directory(section),
        Some(_) => Err(bad_resolver()),
    }
}

fn bad_resolver() -> Error {
    let text = "error parsing account resolver, should be MEM or  URL(\"url\") or a map containing dir and type \
                state=[FULL|CACHE])";
    wrong("resolver", text)
}

fn url_with_slash(url: &str) -> Result<String> {
    let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match address {
        Some(address) if !address.is_empty() => {
            Ok(if url.ends_with('/') { url.to_owned() } else { format!("{url}/") })
        }
        _ => Err(wrong("resolver", format!("error parsing account resolver url [{url:?}]"))),
    }
}

/// CFG-191
fn directory(section: &Section) -> Result<ResolverOptions> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Block {
        dir: String,
        #[serde(rename = "type")]
        kind: String,
        allow_delete: bool,
        hard_delete: Option<bool>,
        limit: i64,
        ttl: Option<String>,
        interval: Option<String>,
        timeout: Option<String>,
    }
    let Some(block) = section.parse_key::<Block>("resolver")? else { return Ok(ResolverOptions::None) };
    let time = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => duration(text)
            .map(Some)
            .ok_or_else(|| wrong(&format!("resolver.{name}"), format!("time: invalid duration {text:?}"))),
    };
    let (ttl, interval) = (time("ttl", &block.ttl)?, time("interval", &block.interval)?);
    let timeout = time("timeout", &block.timeout)?;
    let is_full = match block.kind.to_ascii_uppercase().as_str() {
        "FULL" => true,
        "CACHE" => false,
        "MEM" | "MEMORY" => return Ok(ResolverOptions::Memory),
        _ => return Err(bad_resolver()),
    };
    if block.dir.is_empty() {
        return Err(wrong("resolver", "dir has no value and needs to point to a directory"));
    }
    let refused = match is_full {
        true => [
            (ttl.is_some(), "ttl", "FULL does not accept ttl"),
            (
                block.hard_delete.is_some() && !block.allow_delete,
                "hard_delete",
                "hard_delete has no effect without delete",
            ),
            (false, "", ""),
        ],
        false => [
            (interval.is_some(), "interval", "CACHE does not accept sync"),
            (block.allow_delete, "allow_delete", "CACHE does not accept allow_delete"),
            (block.hard_delete.is_some(), "hard_delete", "CACHE does not accept hard_delete"),
        ],
    };
    if let Some((_, name, text)) = refused.into_iter().find(|(refused, ..)| *refused) {
        return Err(wrong(&format!("resolver.{name}"), text));
    }
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(wrong("resolver.timeout", "Fetch timeout 0s is too smal"));
    }
    let limit = if is_full { usize::MAX } else { 1000 };
    Ok(ResolverOptions::Directory(DirectoryOptions {
        dir: block.dir,
        is_full,
        allow_delete: block.allow_delete,
        hard_delete: block.hard_delete.unwrap_or(false),
        limit: usize::try_from(block.limit).ok().filter(|limit| *limit > 0).unwrap_or(limit),
        ttl,
        interval: interval.unwrap_or(Duration::from_secs(60)),
        timeout: timeout.unwrap_or(crate::resolver::FETCH_TIMEOUT),
    }))
}

/// A duration in the language of the configuration, not negative: `1m30s`, `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_s = 0.0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_s = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total_s += number.parse::<f64>().ok()? * unit_s;
        rest = after;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total_s).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_tokens_of_files() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "1", "x", "-1s", "1d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(token_in("eyJa.b.c\n"), "eyJa.b.c");
        let decorated = "-----BEGIN NATS OPERATOR JWT-----\neyJa.b.c\n------END NATS OPERATOR JWT------\n";
        assert_eq!(token_in(decorated), "eyJa.b.c");
    }
}
