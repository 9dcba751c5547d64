//! Permissions of users: what they may publish and subscribe to (CFG-167, CFG-168, PERM-010).
//!
//! Not here: the decisions made with them.

use std::sync::Arc;
use std::time::Duration;

use super::duration;
use super::fields::{DURATION_REMEDY, Field, fields};
use super::options::{PermissionsOptions, ResponsePermission, SubjectPermissions};
use super::problem::Problem;
use super::reading::Reading;
use super::value::{Node, Value};
use crate::subject;

const RESPONSES_MAX_DEFAULT: u32 = 1;
const RESPONSES_TTL_DEFAULT: Duration = Duration::from_secs(120);

/// Whether a subject list may carry queue names.
#[derive(Clone, Copy, PartialEq)]
enum Queues {
    Allowed,
    Refused,
}

pub(super) fn read(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Arc<PermissionsOptions>, Problem> {
    let Value::Map(map) = &field.node.value else {
        return Err(field
            .problem(format!("Expected permissions to be a map/struct, got {}", field.node.value.shown()))
            .remedy("write permissions { publish: \"a.>\", subscribe: [\"b\", \"c\"] }"));
    };
    let mut permissions = PermissionsOptions::default();
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "pub" | "publish" | "import" => {
                subjects(&entry, Queues::Refused, reading).map(|s| permissions.publish = s)
            }
            "sub" | "subscribe" | "export" => {
                subjects(&entry, Queues::Allowed, reading).map(|s| permissions.subscribe = s)
            }
            "allow_responses" | "publish_allow_responses" => {
                responses(&entry, reading).map(|allowed| permissions.allow_responses = allowed)
            }
            _ => unknown(&entry, &format!("Unknown field {:?} parsing permissions", entry.key)),
        };
        reading.report.check(result);
    }
    // A user that may respond may, unless told otherwise, do nothing else (PERM-005).
    if permissions.allow_responses.is_some() && permissions.publish.allow.is_none() {
        permissions.publish.allow = Some(Vec::new());
    }
    Ok(reading.shared(permissions))
}

/// A subject, a list of subjects, or `{allow, deny}`.
fn subjects(
    field: &Field<'_>,
    queues: Queues,
    reading: &mut Reading<'_>,
) -> Result<SubjectPermissions, Problem> {
    let Value::Map(map) = &field.node.value else {
        return Ok(SubjectPermissions { allow: subject_list(field, queues)?, deny: Vec::new() });
    };
    let mut permissions = SubjectPermissions::default();
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "allow" => subject_list(&entry, queues).map(|list| permissions.allow = list),
            "deny" => subject_list(&entry, queues).map(|list| permissions.deny = list.unwrap_or_default()),
            _ => unknown(
                &entry,
                &format!(
                    "Unknown field name {:?} parsing subject permissions, only 'allow' or 'deny' are permitted",
                    entry.key
                ),
            ),
        };
        reading.report.check(result);
    }
    Ok(permissions)
}

/// An empty list in a file is no list at all: everything is allowed, as in nats-server.
fn subject_list(field: &Field<'_>, queues: Queues) -> Result<Option<Vec<String>>, Problem> {
    let items: Vec<&Node> = match &field.node.value {
        Value::Array(items) => items.iter().collect(),
        _ => vec![field.node],
    };
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        let Value::String(text) = &item.value else {
            let found = item.value.go_type();
            return Err(Problem::at(
                item.at,
                format!("Expected subject permissions to be a subject, or array of subjects, got {found}"),
            )
            .remedy("put subjects in quotes"));
        };
        check_entry(text, queues).map_err(|cause| Problem::at(item.at, cause))?;
        list.push(text.as_str().to_owned());
    }
    Ok((!list.is_empty()).then_some(list))
}

fn check_entry(text: &str, queues: Queues) -> Result<(), String> {
    let mut words = text.split_ascii_whitespace();
    let (name, queue) = (words.next().unwrap_or_default(), words.next());
    let one_subject = words.next().is_none() && (queue.is_none() || queues == Queues::Allowed);
    if !one_subject || !subject::is_valid(name.as_bytes()) || (queue.is_none() && name.len() != text.len()) {
        return Err(format!("subject {text:?} is not a valid subject"));
    }
    match queue {
        Some(queue) if !subject::is_valid(queue.as_bytes()) => {
            Err(format!("queue {queue:?} is not a valid queue"))
        }
        _ => Ok(()),
    }
}

fn responses(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Option<ResponsePermission>, Problem> {
    let mut allowed =
        ResponsePermission { max_msgs: Some(RESPONSES_MAX_DEFAULT), ttl: Some(RESPONSES_TTL_DEFAULT) };
    let map = match &field.node.value {
        Value::Bool(on) => return Ok(on.then_some(allowed)),
        Value::Map(map) => map,
        _ => return Err(field.problem("error parsing response permissions, expected a boolean or a map")),
    };
    for entry in fields(map) {
        let result = match entry.name.as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                response_max(&entry).map(|max| allowed.max_msgs = max)
            }
            "expires" | "expiration" | "ttl" => response_ttl(&entry).map(|ttl| allowed.ttl = ttl),
            _ => unknown(&entry, &format!("Unknown field {:?} parsing permissions", entry.key)),
        };
        reading.report.check(result);
    }
    Ok(Some(allowed))
}

fn response_max(field: &Field<'_>) -> Result<Option<u32>, Problem> {
    Ok(match field.integer()? {
        0 => Some(RESPONSES_MAX_DEFAULT),
        // More than fits is as good as unlimited, and negative is unlimited.
        max => u32::try_from(max).ok(),
    })
}

fn response_ttl(field: &Field<'_>) -> Result<Option<Duration>, Problem> {
    let Value::String(text) = &field.node.value else {
        return Err(field.problem("error parsing expires, not a duration string").remedy(DURATION_REMEDY));
    };
    let ttl = duration::parse(text)
        .map_err(|cause| field.problem(format!("error parsing expires: {cause}")).remedy(DURATION_REMEDY))?;
    Ok(match ttl {
        ttl if ttl.size.is_zero() => Some(RESPONSES_TTL_DEFAULT),
        ttl if ttl.negative => None,
        ttl => Some(ttl.size),
    })
}

fn unknown(field: &Field<'_>, text: &str) -> Result<(), Problem> {
    if field.node.used_as_variable {
        return Ok(());
    }
    Err(field.problem(text))
}

#[cfg(test)]
mod tests {
    use super::{Queues, check_entry};

    #[test]
    fn queues_belong_to_subscribe_only() {
        // CFG-168
        assert_eq!(check_entry("a q", Queues::Allowed), Ok(()));
        assert_eq!(
            check_entry("a q", Queues::Refused),
            Err("subject \"a q\" is not a valid subject".to_owned())
        );
        assert_eq!(
            check_entry("a b.>.c", Queues::Allowed),
            Err("queue \"b.>.c\" is not a valid queue".to_owned())
        );
        assert_eq!(
            check_entry("a b c", Queues::Allowed),
            Err("subject \"a b c\" is not a valid subject".to_owned())
        );
    }
}
