//! The `accounts {}` block (section 5 of config.md).
//!
//! Not here: `accounts.*.jetstream`, which is a section of the plugin `jetstream`.

use std::collections::HashSet;
use std::sync::Arc;

use super::authorization;
use super::fields::{Field, fields};
use super::options::{AccountOptions, MsgTrace, Options};
use super::permissions;
use super::problem::Problem;
use super::reading::Reading;
use super::value::Value;
use super::{borders, exports, imports, mappings};
use crate::proto::nkey::{NkeyKind, is_public};
use crate::subject;

/// Users without an account belong to it; it cannot be configured (CFG-170).
const GLOBAL_ACCOUNT: &str = "$G";

pub(super) fn read(
    options: &mut Options,
    field: &Field<'_>,
    reading: &mut Reading<'_>,
) -> Result<(), Problem> {
    match &field.node.value {
        Value::Array(items) => {
            let mut seen = HashSet::new();
            for item in items {
                let element = field.element(item);
                let Some(name) = reading.report.check(element.string()) else { continue };
                if !seen.insert(name) {
                    reading.report.error(element.problem(format!("Duplicate Account Entry: {name}")));
                } else if reading.report.check(not_reserved(name, &element)).is_some() {
                    options
                        .accounts
                        .accounts
                        .push(AccountOptions { name: name.to_owned(), ..Default::default() });
                }
            }
        }
        Value::Map(map) => {
            // What only serves as a variable is no account.
            for entry in fields(map).filter(|entry| !entry.node.used_as_variable) {
                let account = read_account(&entry, reading);
                options.accounts.accounts.extend(reading.report.check(account));
            }
            borders::check(&options.accounts.accounts, reading);
        }
        _ => {
            return Err(field
                .wrong_type("a map or an array of names")
                .remedy("write accounts { NAME { ... } }"));
        }
    }
    Ok(())
}

fn not_reserved(name: &str, field: &Field<'_>) -> Result<(), Problem> {
    if name == GLOBAL_ACCOUNT {
        return Err(field.problem(format!("{name:?} is a Reserved Account")).remedy("choose another name"));
    }
    Ok(())
}

fn read_account(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<AccountOptions, Problem> {
    let name = field.key;
    let Value::Map(map) = &field.node.value else {
        return Err(field
            .problem("Expected map entries for accounts")
            .remedy(format!("write {name} {{ users: [...] }}")));
    };
    not_reserved(name, field)?;
    let mut account = AccountOptions { name: name.to_owned(), ..AccountOptions::default() };
    let (shared_name, mut users) = (Arc::from(name), Vec::new());
    let mut defaults = None;
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "nkey" => account_nkey(&entry).map(|nkey| account.nkey = Some(nkey)),
            "users" => {
                authorization::read_users(&entry, Some(&shared_name), reading).map(|read| users = read)
            }
            "default_permissions" => permissions::read(&entry, reading).map(|read| defaults = Some(read)),
            "limits" => limits(&mut account, &entry, reading),
            "msg_trace" | "trace_dest" => msg_trace(&entry, reading).map(|trace| account.msg_trace = trace),
            "exports" => exports::read(&entry, reading).map(|read| account.exports = read),
            "imports" => imports::read(&entry, reading).map(|read| account.imports = read),
            "mappings" | "maps" => mappings::read(&entry, reading).map(|read| account.mappings = read),
            _ => reading.foreign(&["accounts", name], &entry),
        };
        reading.report.check(result);
    }
    authorization::give_defaults(&mut users, defaults.as_ref());
    account.users = users.into();
    Ok(account)
}

fn account_nkey(field: &Field<'_>) -> Result<String, Problem> {
    let nkey = field.string()?;
    if !is_public(nkey, Some(NkeyKind::Account)) {
        return Err(field
            .problem(format!("Not a valid public nkey for an account: {nkey:?}"))
            .remedy("give the public key that starts with A"));
    }
    Ok(nkey.to_owned())
}

/// -1 means unlimited (CFG-178).
fn limits(account: &mut AccountOptions, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<(), Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.kind();
        return Err(field.problem(format!("Expected account limits to be a map/struct, got {found}")));
    };
    for entry in fields(map) {
        let limit = match entry.name.as_str() {
            "max_connections" | "max_conn" => &mut account.max_connections,
            "max_subscriptions" | "max_subs" => &mut account.max_subscriptions,
            "max_payload" | "max_pay" => &mut account.max_payload_bytes,
            "max_leafnodes" | "max_leafs" => &mut account.max_leafnodes,
            _ if entry.node.used_as_variable => continue,
            _ => {
                let text = format!("Unknown field {:?} parsing account limits", entry.key);
                reading.report.error(entry.problem(text));
                continue;
            }
        };
        let value = match entry.integer() {
            Ok(-1) => Ok(None),
            _ => entry.count().map(Some),
        };
        if let Some(value) = reading.report.check(value) {
            *limit = value;
        }
    }
    Ok(())
}

/// A destination, or `{dest, sampling}` (CFG-179).
fn msg_trace(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Option<MsgTrace>, Problem> {
    const SAMPLING_DEFAULT: u8 = 100;
    let map = match &field.node.value {
        Value::String(_) => {
            return Ok(Some(MsgTrace { dest: trace_dest(field)?, sampling_percent: SAMPLING_DEFAULT }));
        }
        Value::Map(map) => map,
        other => {
            return Err(field.problem(format!(
                "Expected account message trace {:?} to be a string or a map/struct, got {}",
                field.key,
                other.go_type()
            )));
        }
    };
    let (mut dest, mut sampling) = (None, SAMPLING_DEFAULT);
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "dest" => trace_dest(&entry).map(|read| dest = Some(read)),
            "sampling" => trace_sampling(&entry).map(|read| sampling = read),
            _ if entry.node.used_as_variable => Ok(()),
            _ => Err(entry.problem(format!(
                "Unknown field {:?} parsing account message trace map/struct {:?}",
                entry.key, field.key
            ))),
        };
        reading.report.check(result);
    }
    if dest.is_none() && map.iter().any(|(key, _)| key.eq_ignore_ascii_case("sampling")) {
        reading.report.warn(
            field
                .problem("Trace destination sampling ignored since no destination was set")
                .remedy("add dest, or remove sampling"),
        );
    }
    Ok(dest.map(|dest| MsgTrace { dest, sampling_percent: sampling }))
}

fn trace_dest(field: &Field<'_>) -> Result<String, Problem> {
    let Value::String(dest) = &field.node.value else {
        let found = field.node.value.go_type();
        return Err(field.problem(format!("Field \"dest\" should be a string, got {found}")));
    };
    if !subject::is_valid_literal(dest.as_bytes()) {
        return Err(field
            .problem(format!("Trace destination {dest:?} is not valid"))
            .remedy("use a subject without wildcards"));
    }
    Ok(dest.as_str().to_owned())
}

fn trace_sampling(field: &Field<'_>) -> Result<u8, Problem> {
    let percent = match &field.node.value {
        Value::Integer(percent) => *percent,
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| {
            field
                .problem(format!("Invalid trace destination sampling value {text:?}"))
                .remedy("write 1 to 100, or \"50%\"")
        })?,
        other => {
            return Err(field.problem(format!(
                "Trace destination sampling field \"sampling\" should be an integer or a percentage, got {}",
                other.go_type()
            )));
        }
    };
    u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
        field.problem(format!("Trace destination sampling value {percent} is invalid, needs to be [1..100]"))
    })
}
