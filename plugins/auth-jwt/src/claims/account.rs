//! The claims of an account (JWT-011 to JWT-015), and what makes them invalid (JWT-018).

use super::{Common, Permissions, Revocations, UserLimits};
use crate::keys::{self, Role};
use crate::subjects::{self, is_within};
use crate::token;
use natsd_plugin_api::serde_json::{self, Value};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Account {
    #[serde(flatten)]
    pub common: Common,
    pub nats: AccountData,
    /// Its own key signs no users: the operator that issued it is strict (JWT-032).
    #[serde(skip)]
    pub is_strict: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AccountData {
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
    pub limits: Limits,
    #[serde(deserialize_with = "signing_keys")]
    pub signing_keys: HashMap<String, SigningKey>,
    pub revocations: Revocations,
    pub default_permissions: Permissions,
    pub mappings: BTreeMap<String, Vec<WeightedMapping>>,
    pub authorization: ExternalAuthorization,
    pub trace: Option<Trace>,
    pub cluster_traffic: String,
    pub description: String,
    pub tags: Vec<String>,
}

/// JWT-012: -1 is unlimited, absent is nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub subs: i64,
    pub data: i64,
    pub payload: i64,
    pub imports: i64,
    pub exports: i64,
    pub wildcards: bool,
    pub disallow_bearer: bool,
    pub conn: i64,
    pub leaf: i64,
    #[serde(flatten)]
    pub jetstream: JetStreamLimits,
    pub tiered_limits: BTreeMap<String, JetStreamLimits>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct JetStreamLimits {
    pub mem_storage: i64,
    pub disk_storage: i64,
    pub streams: i64,
    pub consumer: i64,
    pub max_ack_pending: i64,
    pub mem_max_stream_bytes: i64,
    pub disk_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

/// What a signing key may do: with a scope, only sign users that the template decides about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SigningKey {
    pub scope: Option<Box<UserLimits>>,
}

/// JWT-013
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Export {
    pub name: String,
    pub subject: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub token_req: bool,
    pub revocations: Revocations,
    pub response_type: String,
    pub response_threshold: i64,
    pub service_latency: Option<ServiceLatency>,
    pub account_token_position: u64,
    pub allow_trace: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceLatency {
    /// A percentage, or the text `headers`.
    pub sampling: Value,
    pub results: String,
}

/// JWT-014
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Import {
    pub name: String,
    pub subject: String,
    pub account: String,
    pub token: String,
    pub to: String,
    pub local_subject: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub share: bool,
    pub allow_trace: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WeightedMapping {
    pub subject: String,
    pub weight: u8,
    pub cluster: String,
}

/// Who authenticates users in the account's place (CALL-001).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalAuthorization {
    pub auth_users: Vec<String>,
    pub allowed_accounts: Vec<String>,
    pub xkey: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Trace {
    pub dest: String,
    pub sampling: i64,
}

/// Keys alone, and keys with a scope (JWT-015).
fn signing_keys<'de, D: Deserializer<'de>>(from: D) -> Result<HashMap<String, SigningKey>, D::Error> {
    use serde::de::Error;
    #[derive(Deserialize)]
    struct Scoped {
        kind: String,
        key: String,
        #[serde(default)]
        template: Map,
    }
    type Map = serde_json::Map<String, Value>;
    let mut keys = HashMap::new();
    for item in Vec::<Value>::deserialize(from)? {
        if let Value::String(key) = item {
            keys.insert(key, SigningKey::default());
            continue;
        }
        let Scoped { kind, key, mut template } = serde_json::from_value(item).map_err(D::Error::custom)?;
        if kind != "user_scope" {
            return Err(D::Error::custom(format!("unknown signing key scope {kind:?}")));
        }
        // A template without limits sets none.
        for limit in ["subs", "data", "payload"] {
            template.entry(limit).or_insert_with(|| (-1).into());
        }
        let template = serde_json::from_value(template.into()).map_err(D::Error::custom)?;
        keys.insert(key, SigningKey { scope: Some(Box::new(template)) });
    }
    Ok(keys)
}

impl Account {
    /// Why the account cannot be used, whatever the time; empty if it can.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !keys::is(&self.common.sub, Role::Account) {
            problems.push(format!("{:?} is not an account public key", self.common.sub));
        }
        let data = &self.nats;
        data.check_imports(&self.common.sub, &mut problems);
        data.check_exports(&mut problems);
        let limits = &data.limits;
        if limits.tiered_limits.contains_key("") {
            problems.push("Tiered JetStream Limits can not contain a blank \"\" tier name".to_owned());
        }
        problems.extend(data.default_permissions.problems());
        data.check_mappings(&mut problems);
        data.authorization.check(&mut problems);
        data.check_trace(&mut problems);
        for key in data.signing_keys.keys().filter(|key| !keys::is(key, Role::Account)) {
            problems.push(format!("{key:?} is not a valid account signing key"));
        }
        if !["", "system", "owner"].contains(&data.cluster_traffic.as_str()) {
            problems.push(format!("unknown cluster traffic option: {:?}", data.cluster_traffic));
        }
        problems
    }

    /// What it is called, else its key.
    pub fn name_tag(&self) -> &str {
        if self.common.name.is_empty() { &self.common.sub } else { &self.common.name }
    }

    /// How a signing key (or the account's own, unless that is not to be used) may sign; `None` if it is none of them.
    pub fn signer(&self, key: &str) -> Option<SigningKey> {
        if key == self.common.sub && !self.is_strict {
            return Some(SigningKey::default());
        }
        self.nats.signing_keys.get(key).cloned()
    }
}

impl AccountData {
    fn check_imports(&self, own: &str, problems: &mut Vec<String>) {
        let mut services: Vec<(&str, String)> = Vec::new();
        for import in &self.imports {
            if import.kind == "service" {
                let local = import.shown_subject();
                for (account, other) in &services {
                    if *account == import.account && (is_within(&local, other) || is_within(other, &local)) {
                        problems.push(format!(
                            "overlapping subject namespace for {local:?} and {other:?} in same account {account:?}"
                        ));
                    }
                }
                services.push((&import.account, local));
            }
            import.check(own, problems);
        }
        let max = self.limits.imports;
        if max != -1 && self.imports.len() as i64 > max {
            problems.push("the account contains more imports than allowed by the operator".to_owned());
        }
    }

    fn check_exports(&self, problems: &mut Vec<String>) {
        for kind in ["service", "stream"] {
            let of_kind: Vec<&str> =
                self.exports.iter().filter(|e| e.kind == kind).map(|e| e.subject.as_str()).collect();
            for (at, inner) in of_kind.iter().enumerate() {
                for (_, outer) in of_kind.iter().enumerate().filter(|(other, _)| *other != at) {
                    if is_within(inner, outer) {
                        problems.push(format!("{kind} export subject {outer:?} already exports {inner:?}"));
                    }
                }
            }
        }
        self.exports.iter().for_each(|export| export.check(problems));
        let limits = &self.limits;
        if limits.exports == -1 {
            return;
        }
        if self.exports.len() as i64 > limits.exports {
            problems.push("the account contains more exports than allowed by the operator".to_owned());
        }
        if !limits.wildcards && self.exports.iter().any(|e| subjects::has_wildcards(&e.subject)) {
            problems.push(
                "the account contains wildcard exports that are not allowed by the operator".to_owned(),
            );
        }
    }

    fn check_mappings(&self, problems: &mut Vec<String>) {
        for (from, to) in &self.mappings {
            problems.extend(subjects::problem(from));
            let mut totals: HashMap<&str, u32> = HashMap::new();
            for mapping in to {
                problems.extend(subjects::problem(&mapping.subject));
                // MAP-005
                let weight = if mapping.weight == 0 { 100 } else { u32::from(mapping.weight) };
                *totals.entry(&mapping.cluster).or_default() += weight;
            }
            for cluster in totals.iter().filter(|(_, total)| **total > 100).map(|(cluster, _)| cluster) {
                let within =
                    if cluster.is_empty() { String::new() } else { format!(" in cluster {cluster:?}") };
                problems.push(format!(
                    "Mapping {from:?}{within} exceeds 100% among all of it's weighted to mappings"
                ));
            }
        }
    }

    fn check_trace(&self, problems: &mut Vec<String>) {
        let Some(trace) = &self.trace else { return };
        if let Some(problem) = subjects::problem(&trace.dest) {
            problems.push(format!("the account Trace.Destination {problem}"));
        }
        if subjects::has_wildcards(&trace.dest) {
            problems.push(format!(
                "the account Trace.Destination subject {:?} is not a valid publish subject",
                trace.dest
            ));
        }
        if !(0..=100).contains(&trace.sampling) {
            problems.push(format!(
                "the account Trace.Sampling value '{}' is not valid, should be in the range [1..100]",
                trace.sampling
            ));
        }
    }
}

impl Export {
    fn check(&self, problems: &mut Vec<String>) {
        if self.kind != "service" && self.kind != "stream" {
            problems.push(format!("invalid export type: {:?}", self.kind));
        }
        let is_service = self.kind == "service";
        let known = ["", "Singleton", "Stream", "Chunked"].contains(&self.response_type.as_str());
        if is_service && !known {
            problems.push(format!("invalid response type for service: {:?}", self.response_type));
        }
        if !is_service && !self.response_type.is_empty() {
            problems.push(format!("invalid response type for stream: {:?}", self.response_type));
        }
        if !is_service && self.allow_trace {
            problems.push("AllowTrace only valid for service export".to_owned());
        }
        if let Some(latency) = &self.service_latency {
            if !is_service {
                problems.push("latency tracking only permitted for services".to_owned());
            }
            latency.check(problems);
        }
        if self.response_threshold < 0 {
            problems.push("negative response threshold is invalid".to_owned());
        }
        if self.response_threshold > 0 && !is_service {
            problems.push("response threshold only valid for services".to_owned());
        }
        problems.extend(subjects::problem(&self.subject));
        let position = self.account_token_position;
        if position > 0 {
            let index = usize::try_from(position - 1).unwrap_or(usize::MAX);
            if !subjects::has_wildcards(&self.subject) {
                problems.push(format!(
                    "Account Token Position can only be used with wildcard subjects: {}",
                    self.subject
                ));
            } else {
                match self.subject.split('.').nth(index) {
                    None => problems.push(format!(
                        "Account Token Position {position} exceeds length of subject '{}'",
                        self.subject
                    )),
                    Some("*") => {}
                    Some(token) => problems.push(format!(
                        "Account Token Position {position} matches '{token}' but must match a * in: {}",
                        self.subject
                    )),
                }
            }
        }
    }
}

impl ServiceLatency {
    fn check(&self, problems: &mut Vec<String>) {
        if crate::borders::sampling(&self.sampling).is_none() {
            problems.push("sampling percentage needs to be between 1-100".to_owned());
        }
        problems.extend(subjects::problem(&self.results));
        if subjects::has_wildcards(&self.results) {
            problems.push("results subject can not contain wildcards".to_owned());
        }
    }
}

impl Import {
    /// The local side, wildcard references as wildcards.
    fn shown_subject(&self) -> String {
        if !self.to.is_empty() {
            return self.to.clone();
        }
        let local = if self.local_subject.is_empty() { &self.subject } else { &self.local_subject };
        let is_reference = |token: &str| {
            token.strip_prefix('$').is_some_and(|index| !index.is_empty() && index.parse::<u32>().is_ok())
        };
        let tokens: Vec<&str> =
            local.split('.').map(|token| if is_reference(token) { "*" } else { token }).collect();
        tokens.join(".")
    }

    fn check(&self, own: &str, problems: &mut Vec<String>) {
        let is_service = self.kind == "service";
        if !is_service && self.kind != "stream" {
            problems.push(format!("invalid import type: {:?}", self.kind));
        }
        if is_service && self.allow_trace {
            problems.push("AllowTrace only valid for stream import".to_owned());
        }
        if self.account.is_empty() {
            problems.push("account to import from is not specified".to_owned());
        }
        problems.extend(subjects::problem(&self.subject));
        if !self.local_subject.is_empty() {
            problems.extend(subjects::problem(&self.local_subject));
            if !self.to.is_empty() {
                problems.push("Local Subject replaces To".to_owned());
            }
        }
        if self.share && !is_service {
            problems.push(format!(
                "sharing information (for latency tracking) is only valid for services: {:?}",
                self.subject
            ));
        }
        if !self.token.is_empty() {
            self.check_activation(own, problems);
        }
    }

    fn check_activation(&self, own: &str, problems: &mut Vec<String>) {
        let subject = &self.subject;
        let Ok(activation) = token::decode_activation(&self.token) else {
            problems.push(format!("import {subject:?} contains an invalid activation token"));
            return;
        };
        if activation.common.iss != self.account && activation.nats.issuer_account != self.account {
            problems.push(format!("activation token doesn't match account for import {subject:?}"));
        }
        if activation.common.sub != own {
            problems
                .push(format!("activation token doesn't match account it is being included in, {subject:?}"));
        }
        if activation.nats.kind != self.kind {
            problems.push(format!(
                "mismatch between token import type {} and type of import {}",
                activation.nats.kind, self.kind
            ));
        }
        let imported = if self.kind == "service" && !self.to.is_empty() { &self.to } else { subject };
        if !is_within(imported, &activation.nats.subject) {
            let granted = &activation.nats.subject;
            problems.push(format!(
                "activation token import subject {granted:?} doesn't match import {subject:?}"
            ));
        }
    }
}

impl ExternalAuthorization {
    fn check(&self, problems: &mut Vec<String>) {
        if !self.allowed_accounts.is_empty() && self.auth_users.is_empty() {
            problems.push("External authorization cannot have accounts without users specified".to_owned());
        }
        for user in self.auth_users.iter().filter(|user| !keys::is(user, Role::User)) {
            problems.push(format!("AuthUser {user:?} is not a valid user public key"));
        }
        for account in &self.allowed_accounts {
            if account == "*" && self.allowed_accounts.len() > 1 {
                problems.push("AllowedAccounts can only be a list of accounts or \"*\"".to_owned());
            } else if account != "*" && !keys::is(account, Role::Account) {
                problems.push(format!("Account {account:?} is not a valid account public key"));
            }
        }
        if !self.xkey.is_empty() && !keys::is(&self.xkey, Role::Curve) {
            problems.push(format!("XKey {:?} is not a valid public xkey", self.xkey));
        }
    }
}
