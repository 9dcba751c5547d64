//! What accounts were defined as, by the configuration or by a plugin, and what each may import of the others.
//!
//! Pure: changes nothing but itself. Not here: what becomes of imports in force (`super`, `conn::crossing`).

use crate::config::borders::{self, Borders};
use crate::config::mappings;
use crate::config::options::{
    AccountOptions, ExportOptions, ImportKind, ImportOptions, LatencyOptions, MappingDestination,
    MappingOptions, MsgTrace, ResponseType, ServiceOptions,
};
use natsd_plugin_api::{
    AccountDefinition, AccountExport, AccountImport, AccountMapping, AccountResponse, AccountService,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// All accounts that something was said about.
#[derive(Default)]
pub(super) struct Definitions {
    by_name: BTreeMap<String, Defined>,
    /// Who imports from an account.
    importers: BTreeMap<String, BTreeSet<String>>,
}

struct Defined {
    options: AccountOptions,
    /// A reload of the configuration leaves it.
    by_plugin: bool,
}

/// The imports of one account that exports allow.
#[derive(Default)]
pub(super) struct Allowed {
    pub streams: Vec<ImportOptions>,
    pub services: Vec<(ImportOptions, ServiceOptions)>,
}

impl Definitions {
    pub fn options(&self, name: &str) -> Option<&AccountOptions> {
        self.by_name.get(name).map(|defined| &defined.options)
    }

    /// Takes the accounts of a configuration in place of those before; gives all whose imports may be others now.
    pub fn configure(&mut self, accounts: &[AccountOptions]) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let gone: Vec<String> = self
            .by_name
            .iter()
            .filter(|(name, defined)| !defined.by_plugin && !accounts.iter().any(|a| a.name == **name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let nothing = AccountOptions { name: name.clone(), ..AccountOptions::default() };
            self.put(nothing, false, &mut changed);
            self.by_name.remove(&name);
        }
        for account in accounts {
            self.put(without_users(account), false, &mut changed);
        }
        changed
    }

    /// Takes what a plugin says of an account.
    pub fn define(&mut self, options: AccountOptions) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        self.put(options, true, &mut changed);
        changed
    }

    fn put(&mut self, options: AccountOptions, by_plugin: bool, changed: &mut BTreeSet<String>) {
        let name = options.name.clone();
        let old = self.by_name.get(&name).map(|defined| &defined.options);
        let nothing = (Vec::new(), Vec::new());
        let (old_imports, old_exports) = old.map_or((&nothing.0, &nothing.1), |o| (&o.imports, &o.exports));
        let (imports_differ, exports_differ) =
            (*old_imports != options.imports, *old_exports != options.exports);
        if imports_differ {
            for import in old_imports {
                if let Some(importers) = self.importers.get_mut(&import.account) {
                    importers.remove(&name);
                }
            }
            for import in &options.imports {
                self.importers.entry(import.account.clone()).or_default().insert(name.clone());
            }
            changed.insert(name.clone());
        }
        if imports_differ || exports_differ {
            // An import more or less may close or open a circle of others, too.
            changed.extend(self.importers.get(&name).into_iter().flatten().cloned());
        }
        self.by_name.insert(name, Defined { options, by_plugin });
    }

    /// What an account may import; what it may not is for the log.
    pub fn allowed(&self, name: &str) -> Allowed {
        let mut allowed = Allowed::default();
        let Some(account) = self.options(name) else { return allowed };
        let find = |name: &str| self.options(name);
        let borders = Borders::new(&find);
        for (at, import) in account.imports.iter().enumerate() {
            let Some(exporter) = self.options(&import.account) else { continue };
            if let Err(why) = borders.check_import(account, at, import, exporter) {
                let kind = if borders::is_stream(import) { "stream" } else { "service" };
                crate::log::debug!("Error adding {kind} import to account [{name}]: {why}");
                continue;
            }
            match borders::export_of(exporter, name, import).map(|export| &export.service) {
                Some(Some(service)) => allowed.services.push((import.clone(), service.clone())),
                Some(None) => allowed.streams.push(import.clone()),
                None => {}
            }
        }
        allowed
    }
}

/// The users are not needed here, and there may be many.
fn without_users(account: &AccountOptions) -> AccountOptions {
    AccountOptions {
        name: account.name.clone(),
        nkey: account.nkey.clone(),
        users: Arc::default(),
        max_connections: account.max_connections,
        max_subscriptions: account.max_subscriptions,
        max_payload_bytes: account.max_payload_bytes,
        max_leafnodes: account.max_leafnodes,
        msg_trace: account.msg_trace.clone(),
        exports: account.exports.clone(),
        imports: account.imports.clone(),
        mappings: account.mappings.clone(),
    }
}

/// An account as a plugin defines it, in the words of the configuration.
pub(super) fn options_of(name: &str, definition: &AccountDefinition) -> AccountOptions {
    let mut options = AccountOptions {
        name: name.to_owned(),
        max_connections: definition.max_connections,
        max_subscriptions: definition.max_subscriptions,
        max_payload_bytes: definition.max_payload_bytes,
        max_leafnodes: definition.max_leafnodes,
        msg_trace: definition
            .trace
            .as_ref()
            .map(|trace| MsgTrace { dest: trace.dest.clone(), sampling_percent: trace.sampling_percent }),
        exports: definition.exports.iter().map(export_of).collect(),
        imports: definition.imports.iter().map(import_of).collect(),
        mappings: definition.mappings.iter().filter_map(|mapping| mapping_of(name, mapping)).collect(),
        ..AccountOptions::default()
    };
    leave_out_wrong_exports(&mut options);
    options
}

/// A latency that cannot be told is not measured, what else is wrong is not exported.
fn leave_out_wrong_exports(options: &mut AccountOptions) {
    let nobody = |_: &str| None;
    let borders = Borders::new(&nobody);
    let mut exports = std::mem::take(&mut options.exports);
    options.exports.clone_from(&exports);
    exports.retain_mut(|export| {
        let told = |why| crate::log::debug!("Account [{}]: {why}", options.name);
        let Err(why) = borders.check_export(options, export) else { return true };
        told(why);
        export.service.as_mut().is_some_and(|service| service.latency.take().is_some())
            && borders.check_export(options, export).map_err(told).is_ok()
    });
    options.exports = exports;
}

fn export_of(export: &AccountExport) -> ExportOptions {
    ExportOptions {
        subject: export.subject.clone(),
        accounts: export.token_required.then(Vec::new),
        account_token_position: export.account_token_position,
        service: export.service.as_ref().map(service_of),
    }
}

fn service_of(service: &AccountService) -> ServiceOptions {
    ServiceOptions {
        response: match service.response {
            AccountResponse::Singleton => ResponseType::Singleton,
            AccountResponse::Stream => ResponseType::Stream,
            AccountResponse::Chunked => ResponseType::Chunked,
        },
        response_threshold: service.response_threshold_ns.map(Duration::from_nanos),
        latency: service.latency.as_ref().map(|latency| LatencyOptions {
            subject: latency.subject.clone(),
            sampling_percent: latency.sampling_percent,
        }),
        allow_trace: service.allow_trace,
    }
}

fn import_of(import: &AccountImport) -> ImportOptions {
    ImportOptions {
        account: import.account.clone(),
        subject: import.subject.clone(),
        to: import.to.clone(),
        kind: match import.service {
            true => ImportKind::Service { share: import.share },
            false => ImportKind::Stream { prefix: import.prefix.clone(), allow_trace: import.allow_trace },
        },
        activated: import.activated,
    }
}

/// `None`: its destinations do not fit, which the log tells.
fn mapping_of(account: &str, mapping: &AccountMapping) -> Option<MappingOptions> {
    let destinations: Vec<_> = mapping
        .destinations
        .iter()
        .map(|destination| MappingDestination {
            subject: destination.subject.clone(),
            weight: destination.weight_percent,
            cluster: destination.cluster.clone(),
        })
        .collect();
    if let Err(why) = mappings::check(&mapping.source, &destinations) {
        crate::log::debug!("Account [{account}]: {why}");
        return None;
    }
    Some(MappingOptions { source: mapping.source.clone(), destinations })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, exports: &[(&str, bool)], imports: &[(&str, &str)]) -> AccountOptions {
        let definition = AccountDefinition {
            exports: exports
                .iter()
                .map(|(subject, token_required)| AccountExport {
                    subject: (*subject).to_owned(),
                    token_required: *token_required,
                    ..AccountExport::default()
                })
                .collect(),
            imports: imports
                .iter()
                .map(|(account, subject)| AccountImport {
                    account: (*account).to_owned(),
                    subject: (*subject).to_owned(),
                    ..AccountImport::default()
                })
                .collect(),
            ..AccountDefinition::default()
        };
        options_of(name, &definition)
    }

    fn names(changed: &BTreeSet<String>) -> Vec<&str> {
        changed.iter().map(String::as_str).collect()
    }

    #[test]
    fn an_import_waits_for_its_export() {
        let mut all = Definitions::default();
        assert_eq!(names(&all.define(account("I", &[], &[("E", "a.b")]))), ["I"]);
        assert!(all.allowed("I").streams.is_empty());
        assert_eq!(names(&all.define(account("E", &[("a.*", false)], &[]))), ["I"]);
        assert_eq!(all.allowed("I").streams.len(), 1);
        assert_eq!(names(&all.define(account("E", &[("a.*", true)], &[]))), ["I"]);
        assert!(all.allowed("I").streams.is_empty());
        // Nothing that anybody imports has changed.
        assert!(all.define(account("E", &[("a.*", true)], &[])).is_empty());
    }

    #[test]
    fn a_configuration_leaves_what_plugins_defined() {
        let mut all = Definitions::default();
        all.define(account("P", &[("a", false)], &[]));
        all.configure(&[account("C", &[], &[("P", "a")]), account("D", &[("b", false)], &[("C", "b")])]);
        assert_eq!(all.allowed("C").streams.len(), 1);
        let changed = all.configure(&[account("D", &[("b", false)], &[("C", "b")])]);
        assert_eq!(names(&changed), ["C", "D"]);
        assert!(all.options("C").is_none() && all.options("P").is_some());
    }
}
