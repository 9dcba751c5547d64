//! The `authorization {}` block and the users in it and in accounts (CFG-160 to CFG-166).

use std::sync::Arc;
use std::time::Duration;

use super::duration;
use super::fields::{DURATION_REMEDY, Field, fields};
use super::options::{Options, PermissionsOptions, UserOptions};
use super::permissions;
use super::problem::Problem;
use super::reading::Reading;
use super::value::{Node, Pos, Text, Value};
use crate::proto::nkey::{NkeyKind, is_public};

/// Longer timeouts are warned about: they usually are an unquoted duration (CFG-162).
const TIMEOUT_HIGH: Duration = Duration::from_secs(60);

/// Names of CORE-252.
const CONNECTION_TYPES: [&str; 7] =
    ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];

pub(super) fn read(
    options: &mut Options,
    field: &Field<'_>,
    reading: &mut Reading<'_>,
) -> Result<(), Problem> {
    let map = field.map()?;
    let auth = &mut options.auth;
    let mut users = Vec::new();
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "user" | "username" => non_empty(&entry).map(|user| auth.user = user),
            "pass" | "password" => non_empty(&entry).map(|password| auth.password = password),
            "token" => non_empty(&entry).map(|token| auth.token = token),
            "timeout" => auth_timeout(&entry, reading).map(|timeout| auth.timeout = timeout),
            "users" => {
                reading.places.users = Some(entry.node.at);
                read_users(&entry, None, reading).map(|read| users = read)
            }
            "default_permissions" | "default_permission" | "permissions" => {
                permissions::read(&entry, reading).map(|read| auth.default_permissions = Some(read))
            }
            "proxy_required" => entry.boolean().map(|required| auth.proxy_required = required),
            _ => reading.foreign(&["authorization"], &entry),
        };
        reading.report.check(result);
    }
    give_defaults(&mut users, auth.default_permissions.as_ref());
    auth.users = users.into();
    Ok(())
}

/// Combinations that exclude each other; accounts bring users too.
pub(super) fn check_combinations(options: &Options, reading: &mut Reading<'_>) {
    let auth = &options.auth;
    let Some(at) = reading.places.authorization else { return };
    let users = reading.places.users.is_some()
        || options.accounts.accounts.iter().any(|account| !account.users.is_empty());
    // A password alone says nothing beside users (CFG-163).
    let text = match (auth.user.is_some(), auth.token.is_some(), users) {
        (user, true, _) if user || auth.password.is_some() => "Cannot have a user/pass and token",
        (true, _, true) => "Can not have a single user/pass and a users array",
        (_, true, true) => "Can not have a token and a users array",
        _ => return,
    };
    reading.report.error(Problem::at(at, text).remedy("keep one of them"));
}

/// The `users` of an authorization block or of an account.
pub(super) fn read_users(
    field: &Field<'_>,
    account: Option<&Arc<str>>,
    reading: &mut Reading<'_>,
) -> Result<Vec<UserOptions>, Problem> {
    let Value::Array(items) = &field.node.value else {
        let found = found(&field.node.value);
        return Err(field
            .problem(format!("Expected users field to be an array, got {found}"))
            .remedy("write users: [ {user: ..., password: ...} ]"));
    };
    let users = items.iter().filter_map(|item| {
        let user = read_user(&field.element(item), account, reading);
        reading.report.check(user)
    });
    Ok(users.collect())
}

/// Gives the block's default permissions to users that have none of their own (PERM-007).
pub(super) fn give_defaults(users: &mut [UserOptions], defaults: Option<&Arc<PermissionsOptions>>) {
    for user in users {
        if user.permissions.is_none() {
            user.permissions = defaults.cloned();
        }
    }
}

fn read_user(
    field: &Field<'_>,
    account: Option<&Arc<str>>,
    reading: &mut Reading<'_>,
) -> Result<UserOptions, Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = found(&field.node.value);
        return Err(field
            .problem(format!("Expected user entry to be a map/struct, got {found}"))
            .remedy("write {user: ..., password: ...} or {nkey: ...}"));
    };
    let mut user = UserOptions { account: account.cloned(), ..UserOptions::default() };
    let mut name_at = field.node.at;
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "user" | "username" => {
                name_at = entry.node.at;
                non_empty_text(&entry).map(|name| user.user = name)
            }
            "pass" | "password" => non_empty_text(&entry).map(|password| user.password = password),
            "nkey" => {
                name_at = entry.node.at;
                non_empty_text(&entry).map(|nkey| user.nkey = nkey)
            }
            "permissions" | "permission" | "authorization" => {
                permissions::read(&entry, reading).map(|read| user.permissions = Some(read))
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                connection_types(&entry).map(|types| user.allowed_connection_types = types.into())
            }
            "proxy_required" => entry.boolean().map(|required| user.proxy_required = required),
            _ => entry.unknown(),
        };
        reading.report.check(result);
    }
    check_user(&user, field.node, name_at, reading)?;
    Ok(user)
}

fn check_user(
    user: &UserOptions,
    node: &Node,
    name_at: Pos,
    reading: &mut Reading<'_>,
) -> Result<(), Problem> {
    match (&user.nkey, &user.user) {
        (Some(_), Some(_)) => Err(Problem::at(node.at, "Nkey users do not take usernames or passwords")),
        (Some(_), None) if user.password.is_some() => {
            Err(Problem::at(node.at, "Nkey users do not take usernames or passwords"))
        }
        (Some(nkey), None) if !is_public(nkey, Some(NkeyKind::User)) => {
            Err(Problem::at(name_at, "Not a valid public nkey for a user")
                .remedy("give the public key that starts with U, not the seed"))
        }
        (Some(nkey), None) => reading.first_user("nkey", nkey, name_at),
        (None, Some(name)) => reading.first_user("user", name, name_at),
        (None, None) => Err(Problem::at(node.at, "User entry requires a user").remedy("add user or nkey")),
    }
}

fn auth_timeout(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Option<Duration>, Problem> {
    let timeout = timeout(field, "authorization")?;
    if let Some(high) = timeout.filter(|&timeout| timeout > TIMEOUT_HIGH) {
        let shown = match &field.node.value {
            Value::String(text) => text.as_str().to_owned(),
            _ => high.as_secs_f64().to_string(),
        };
        reading.report.warn(field.problem(format!(
            "invalid use of field \"timeout\": timeout of {shown} ({:.6} seconds) is high, consider keeping it under \
             60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
            high.as_secs_f64()
        )));
    }
    Ok(timeout)
}

/// Seconds or a duration; zero asks for the default. Used by authorization and tls blocks.
pub(super) fn timeout(field: &Field<'_>, block: &str) -> Result<Option<Duration>, Problem> {
    let timeout = match &field.node.value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Value::String(text) => {
            let parsed = duration::parse(text).map_err(|cause| {
                field
                    .problem(format!("error parsing {block} config, 'timeout' {cause}"))
                    .remedy(DURATION_REMEDY)
            })?;
            (!parsed.negative).then_some(parsed.size)
        }
        _ => {
            return Err(field
                .problem(format!("error parsing {block} config, 'timeout' wrong type"))
                .remedy("write seconds, or a duration in quotes"));
        }
    };
    let timeout = timeout.ok_or_else(|| field.problem("invalid timeout, needs to be positive"))?;
    Ok((!timeout.is_zero()).then_some(timeout))
}

fn connection_types(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    match &field.node.value {
        Value::String(_) | Value::Array(_) => {}
        other => {
            let found = other.go_type();
            return Err(
                field.problem(format!("error parsing allowed connection types: unsupported type {found}"))
            );
        }
    }
    if let Value::Array(items) = &field.node.value
        && let Some(other) = items.iter().find(|item| !matches!(item.value, Value::String(_)))
    {
        let found = other.value.go_type();
        let text = format!("error parsing allowed connection types: unsupported type in array {found}");
        return Err(Problem::at(other.at, text));
    }
    let types: Vec<String> = field.strings()?.iter().map(|name| name.to_ascii_uppercase()).collect();
    let unknown: Vec<String> = types
        .iter()
        .filter(|name| !CONNECTION_TYPES.contains(&name.as_str()))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        return Err(field
            .problem(format!("invalid connection types [{}]", unknown.join(" ")))
            .remedy(format!("known are {}", CONNECTION_TYPES.join(", "))));
    }
    Ok(types)
}

/// What stands in the place of something else. A text may be a password, so it is not shown.
fn found(value: &Value) -> String {
    match value {
        Value::String(_) => value.kind().to_owned(),
        other => other.shown(),
    }
}

fn non_empty_text(field: &Field<'_>) -> Result<Option<Text>, Problem> {
    Ok(Some(Text::from(field.string()?)).filter(|text| !text.is_empty()))
}

fn non_empty(field: &Field<'_>) -> Result<Option<String>, Problem> {
    Ok(Some(field.string()?.to_owned()).filter(|text| !text.is_empty()))
}
