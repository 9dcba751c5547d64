//! What claims say about imports, exports and mappings, in the host's words (JWT-011, JWT-013, JWT-014).
//!
//! Whether an activation token grants an import is decided here (JWT-017); the host only learns that it does. How
//! imports and exports fit together the host checks.

use crate::claims::account::{Export, Import};
use crate::claims::{Account, Activation};
use crate::subjects::is_within;
use crate::token;
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{
    AccountDestination, AccountExport, AccountImport, AccountLatency, AccountMapping, AccountResponse,
    AccountService,
};
use std::sync::Arc;

/// The imports of an account at one time.
#[derive(Default)]
pub struct Imports {
    pub list: Vec<AccountImport>,
    /// When the first of the tokens in force is over.
    pub until_unix_s: Option<i64>,
}

/// `exporter` gives the claims of an account that is known.
pub fn imports(importer: &Account, unix_s: i64, exporter: impl Fn(&str) -> Option<Arc<Account>>) -> Imports {
    let mut imports = Imports::default();
    for import in &importer.nats.imports {
        let activation = match import.token.as_str() {
            "" => None,
            token => token::decode_activation(token).ok(),
        };
        let granted = activation.filter(|activation| {
            exporter(&import.account).is_some_and(|exporter| grants(&exporter, import, activation, unix_s))
        });
        if let Some(activation) = &granted
            && activation.common.exp > 0
        {
            let until = activation.common.exp;
            imports.until_unix_s = Some(imports.until_unix_s.map_or(until, |first| first.min(until)));
        }
        imports.list.push(AccountImport { activated: granted.is_some(), ..import_of(import) });
    }
    imports
}

/// The token itself was checked with the importer's claims: whose it is, and for what.
fn grants(exporter: &Account, import: &Import, activation: &Activation, unix_s: i64) -> bool {
    let common = &activation.common;
    let by = &activation.nats.issuer_account;
    let is_issued_here =
        by.is_empty() || (*by == exporter.common.sub && exporter.nats.signing_keys.contains_key(&common.iss));
    // What ends now is over, other than with users and accounts.
    let is_over = common.exp > 0 && common.exp <= unix_s;
    if !is_issued_here || is_over || common.untimely(unix_s).is_some() {
        return false;
    }
    let remote = remote_subject(import);
    let mut exports = exporter.nats.exports.iter().filter(|export| export.kind == import.kind);
    let same = exports.clone().find(|export| export.subject == remote);
    let export = same.or_else(|| exports.find(|export| is_within(remote, &export.subject)));
    export.is_some_and(|export| !export.revocations.revoke(&common.sub, common.iat))
}

/// The exporter's name for what is imported.
fn remote_subject(import: &Import) -> &str {
    if import.kind == "service" && !import.to.is_empty() { &import.to } else { &import.subject }
}

fn import_of(import: &Import) -> AccountImport {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let is_service = import.kind == "service";
    let local = some(&import.local_subject);
    AccountImport {
        account: import.account.clone(),
        subject: remote_subject(import).to_owned(),
        // JWT-014: with the deprecated `to` of a service the two names are the other way round.
        to: match is_service && !import.to.is_empty() {
            true => some(&import.subject),
            false => local,
        },
        prefix: if is_service { None } else { some(&import.to) },
        service: is_service,
        share: import.share,
        allow_trace: import.allow_trace,
        activated: false,
    }
}

/// What nats-server lets every account ask the system account about itself, beside what its claims export (SYS-013):
/// how that is answered, and which token of the subject is the account.
const OF_SYSTEM_ACCOUNT: [(&str, AccountResponse, u32); 3] = [
    ("$SYS.REQ.ACCOUNT.*.CONNZ", AccountResponse::Stream, 4),
    ("$SYS.REQ.ACCOUNT.*.STATZ", AccountResponse::Stream, 4),
    ("$SYS.DEBUG.SUBSCRIBERS", AccountResponse::Singleton, 0),
];

pub fn exports(account: &Account, is_system: bool) -> Vec<AccountExport> {
    let mut exports: Vec<AccountExport> = account.nats.exports.iter().map(export_of).collect();
    if is_system {
        let is_there = |subject: &str| {
            exports.iter().any(|export| export.service.is_some() && is_within(subject, &export.subject))
        };
        let missing: Vec<_> =
            OF_SYSTEM_ACCOUNT.into_iter().filter(|(subject, ..)| !is_there(subject)).collect();
        exports.extend(missing.into_iter().map(|(subject, response, account_token_position)| {
            AccountExport {
                subject: subject.to_owned(),
                service: Some(AccountService { response, ..AccountService::default() }),
                account_token_position,
                ..AccountExport::default()
            }
        }));
    }
    exports
}

fn export_of(export: &Export) -> AccountExport {
    let service = (export.kind == "service").then(|| AccountService {
        response: match export.response_type.as_str() {
            "Stream" => AccountResponse::Stream,
            "Chunked" => AccountResponse::Chunked,
            _ => AccountResponse::Singleton,
        },
        response_threshold_ns: u64::try_from(export.response_threshold).ok().filter(|ns| *ns > 0),
        latency: export.service_latency.as_ref().map(|latency| AccountLatency {
            subject: latency.results.clone(),
            sampling_percent: sampling(&latency.sampling).flatten(),
        }),
        allow_trace: export.allow_trace,
    });
    AccountExport {
        subject: export.subject.clone(),
        service,
        token_required: export.token_req,
        account_token_position: u32::try_from(export.account_token_position).unwrap_or(u32::MAX),
    }
}

/// A percentage, or `Some(None)` for those with the headers of a trace; `None`: neither.
pub fn sampling(value: &Value) -> Option<Option<u8>> {
    match value {
        // Nothing said is 0.
        Value::Null => Some(None),
        Value::String(text) if text.eq_ignore_ascii_case("headers") => Some(None),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(None),
            Some(percent) if percent <= 100 => Some(u8::try_from(percent).ok()),
            _ => None,
        },
        _ => None,
    }
}

pub fn mappings(account: &Account) -> Vec<AccountMapping> {
    let mapping = |(source, list): (&String, &Vec<crate::claims::account::WeightedMapping>)| AccountMapping {
        source: source.clone(),
        destinations: list
            .iter()
            .map(|to| AccountDestination {
                subject: to.subject.clone(),
                // MAP-005
                weight_percent: if to.weight == 0 { 100 } else { to.weight },
                cluster: (!to.cluster.is_empty()).then(|| to.cluster.clone()),
            })
            .collect(),
    };
    account.nats.mappings.iter().map(mapping).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keys::{KeyPair, Role};
    use natsd_plugin_api::serde_json::{self, json};

    fn key(seed: u8) -> KeyPair {
        KeyPair::from_seed(Role::Account, &[seed; 32])
    }

    fn account(own: &KeyPair, nats: Value) -> Account {
        serde_json::from_value(json!({"sub": own.public(), "nats": nats})).unwrap()
    }

    fn token(by: &KeyPair, common: Value) -> String {
        let mut claims = json!({
            "iss": by.public(), "sub": key(2).public(), "iat": 100,
            "nats": {"type": "activation", "version": 2, "subject": "a.>", "kind": "stream"}
        });
        for (name, value) in common.as_object().cloned().unwrap_or_default() {
            claims[name] = value;
        }
        token::encode(claims, |text| Ok::<_, token::TokenError>(by.sign(text))).unwrap()
    }

    fn granted(exporter: Value, token: &str, unix_s: i64) -> (bool, Option<i64>) {
        let exporter = Arc::new(account(&key(1), exporter));
        let import = json!({"account": key(1).public(), "subject": "a.b", "type": "stream", "token": token});
        let importer = account(&key(2), json!({"imports": [import]}));
        let imports = imports(&importer, unix_s, |name| (name == key(1).public()).then(|| exporter.clone()));
        (imports.list[0].activated, imports.until_unix_s)
    }

    #[test]
    fn a_token_grants_until_it_ends_or_is_revoked() {
        // JWT-017, G9.7
        let open = json!({"exports": [{"subject": "a.>", "type": "stream", "token_req": true}]});
        let plain = token(&key(1), json!({}));
        assert_eq!(granted(open.clone(), &plain, 200), (true, None));
        let ending = token(&key(1), json!({"exp": 300}));
        assert_eq!(granted(open.clone(), &ending, 299), (true, Some(300)));
        assert_eq!(granted(open.clone(), &ending, 300), (false, None));
        assert_eq!(granted(open, &token(&key(1), json!({"nbf": 300})), 200), (false, None));
        for (until, is_granted) in [(99, true), (100, false)] {
            for who in [key(2).public(), "*".to_owned()] {
                let export = json!({"subject": "a.>", "type": "stream", "revocations": {who: until}});
                assert_eq!(granted(json!({"exports": [export]}), &plain, 200).0, is_granted);
            }
        }
    }

    #[test]
    fn deprecated_names_are_understood() {
        // JWT-014
        let read = |import: Value| import_of(&serde_json::from_value(import).unwrap());
        let service = read(json!({"subject": "local", "to": "remote", "type": "service", "account": "A"}));
        assert_eq!((service.subject.as_str(), service.to.as_deref()), ("remote", Some("local")));
        let stream = read(json!({"subject": "s", "to": "pre", "type": "stream", "account": "A"}));
        assert_eq!((stream.to, stream.prefix.as_deref()), (None, Some("pre")));
        let renamed = read(json!({"subject": "s.*", "local_subject": "l.$1", "type": "stream"}));
        assert_eq!((renamed.to.as_deref(), renamed.prefix), (Some("l.$1"), None));
    }

    #[test]
    fn sampling_is_a_percentage_or_by_headers() {
        for (value, read) in [
            (json!(0), Some(None)),
            (json!("headers"), Some(None)),
            (json!(60), Some(Some(60))),
            (json!(101), None),
            (json!("often"), None),
        ] {
            assert_eq!(sampling(&value), read, "{value}");
        }
    }
}
