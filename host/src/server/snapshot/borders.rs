//! An account's mappings, exports and imports as `/accountz` shows them (MON-081 to MON-083).
//!
//! What plugins let accounts do across their borders besides they tell themselves. As in nats-server, an export says
//! less than was defined: no threshold, no token position, no trace.

use crate::account::Accounts;
use crate::config::borders;
use crate::config::options::{
    AccountOptions, ImportKind, ImportOptions, LatencyOptions, MappingOptions, ResponseType,
};
use serde_json::{Map, Value, json};

/// Puts in those of the account `name` that there are. `of_global`: the mappings outside of accounts.
pub fn add(detail: &mut Map<String, Value>, name: &str, accounts: &Accounts, of_global: &[MappingOptions]) {
    let account = accounts.defined_as(name);
    let mappings = match &account {
        _ if name == crate::account::GLOBAL => of_global,
        Some(account) => account.mappings.as_slice(),
        None => &[],
    };
    if !mappings.is_empty() {
        let shown = mappings.iter().map(|m| (m.source.clone(), destinations(m)));
        detail.insert("mappings".to_owned(), Value::Object(shown.collect()));
    }
    let Some(account) = account else { return };
    for (what, list) in [("exports", exports(&account)), ("imports", imports(&account, accounts))] {
        if !list.is_empty() {
            detail.insert(what.to_owned(), list.into());
        }
    }
}

/// Those of no cluster, then those of each; the rest of 100 goes where it was published.
fn destinations(mapping: &MappingOptions) -> Value {
    let mut clusters: Vec<Option<&str>> = vec![None];
    for destination in &mapping.destinations {
        let cluster = destination.cluster.as_deref();
        if !clusters.contains(&cluster) {
            clusters.push(cluster);
        }
    }
    Value::Array(clusters.iter().flat_map(|cluster| destinations_of(mapping, *cluster)).collect())
}

/// A weight is shown with those before it: of 100 draws, so many fall here or before (MAP-003).
fn destinations_of(mapping: &MappingOptions, cluster: Option<&str>) -> Vec<Value> {
    let of_cluster = mapping.destinations.iter().filter(|d| d.cluster.as_deref() == cluster);
    let mut weighted: Vec<(String, u32)> =
        of_cluster.map(|d| (d.subject.clone(), u32::from(d.weight))).collect();
    let sum: u32 = weighted.iter().map(|(_, weight)| weight).sum();
    let lists_itself = weighted.iter().any(|(subject, _)| *subject == mapping.source);
    if sum < 100 && !lists_itself && !weighted.is_empty() {
        weighted.push((itself(&mapping.source), 100 - sum));
    }
    weighted.sort_by_key(|(_, weight)| *weight);
    let mut upto = 0;
    let shown = weighted.into_iter().map(|(subject, weight)| {
        upto += weight;
        let mut shown = json!({ "subject": subject, "weight": upto });
        if let Some(cluster) = cluster {
            shown["cluster"] = cluster.into();
        }
        shown
    });
    shown.collect()
}

/// The source as a destination: `a.*` is `a.$1`.
fn itself(source: &str) -> String {
    let mut wildcards = 0;
    let tokens = source.split('.').map(|token| match token {
        "*" => {
            wildcards += 1;
            format!("${wildcards}")
        }
        token => token.to_owned(),
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// Services first.
fn exports(account: &AccountOptions) -> Vec<Value> {
    let mut exports: Vec<_> = account.exports.iter().collect();
    exports.sort_by_key(|export| export.service.is_none());
    let shown = exports.into_iter().map(|export| {
        let mut shown = json!({ "subject": export.subject, "type": "stream" });
        if let Some(service) = &export.service {
            shown["type"] = "service".into();
            shown["response_type"] = match service.response {
                ResponseType::Singleton => "Singleton",
                ResponseType::Stream => "Streamed",
                ResponseType::Chunked => "Chunked",
            }
            .into();
            if let Some(told) = &service.latency {
                shown["service_latency"] = latency(told);
            }
        }
        if let Some(accounts) = &export.accounts {
            shown["approved_accounts"] = json!(accounts);
        }
        shown
    });
    shown.collect()
}

/// Streams first.
fn imports(account: &AccountOptions, accounts: &Accounts) -> Vec<Value> {
    let is_service = |import: &ImportOptions| matches!(import.kind, ImportKind::Service { .. });
    let mut imports: Vec<_> = account.imports.iter().collect();
    imports.sort_by_key(|import| is_service(import));
    let shown = imports.into_iter().map(|import| {
        let mut shown = json!({ "subject": import.subject, "account": import.account });
        match &import.kind {
            ImportKind::Stream { .. } => {
                shown["local_subject"] = local_subject(import).into();
                shown["type"] = "stream".into();
                (shown["invalid"], shown["share"], shown["tracking"]) =
                    (false.into(), false.into(), false.into());
            }
            ImportKind::Service { share } => {
                let local = import.to.as_ref().unwrap_or(&import.subject);
                (shown["to"], shown["local_subject"]) = (local.as_str().into(), local.as_str().into());
                shown["type"] = "service".into();
                (shown["invalid"], shown["share"], shown["tracking"]) =
                    (false.into(), (*share).into(), false.into());
                if let Some(told) = latency_of(account, import, accounts) {
                    shown["latency"] = latency(&told);
                }
            }
        }
        shown
    });
    shown.collect()
}

/// The importer's name, with wildcards.
fn local_subject(import: &ImportOptions) -> String {
    match (&import.kind, &import.to) {
        (ImportKind::Stream { prefix: Some(prefix), .. }, None) => {
            format!("{}.{}", prefix.trim_end_matches('.'), import.subject)
        }
        (_, Some(to)) => {
            let tokens = to.split('.').map(|token| if token.starts_with(['$', '{']) { "*" } else { token });
            tokens.collect::<Vec<_>>().join(".")
        }
        (_, None) => import.subject.clone(),
    }
}

/// What the exporter measures of an imported service.
fn latency_of(
    importer: &AccountOptions,
    import: &ImportOptions,
    accounts: &Accounts,
) -> Option<LatencyOptions> {
    let exporter = accounts.defined_as(&import.account)?;
    borders::export_of(&exporter, &importer.name, import)?.service.as_ref()?.latency.clone()
}

fn latency(told: &LatencyOptions) -> Value {
    let sampling = told.sampling_percent.map_or_else(|| json!("headers"), Value::from);
    json!({ "sampling": sampling, "results": told.subject })
}

#[cfg(test)]
mod tests {
    use super::{destinations, itself};
    use crate::config::options::{MappingDestination, MappingOptions};
    use serde_json::json;

    #[test]
    fn weights_are_shown_with_those_before_them() {
        let to = |subject: &str, weight: u8, cluster: Option<&str>| MappingDestination {
            subject: subject.to_owned(),
            weight,
            cluster: cluster.map(str::to_owned),
        };
        let mapping = MappingOptions {
            source: "a".to_owned(),
            destinations: vec![to("x", 30, Some("c")), to("y", 20, Some("c")), to("z", 20, None)],
        };
        assert_eq!(
            destinations(&mapping),
            json!([
                { "subject": "z", "weight": 20 }, { "subject": "a", "weight": 100 },
                { "subject": "y", "weight": 20, "cluster": "c" },
                { "subject": "x", "weight": 50, "cluster": "c" },
                { "subject": "a", "weight": 100, "cluster": "c" },
            ])
        );
        assert_eq!(itself("a.*.b.*"), "a.$1.b.$2");
    }
}
