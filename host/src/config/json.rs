//! Blocks of the config language that plugins hand to the host as JSON: `tls {}` of a listener or a client, and
//! the permissions of a user that a plugin has authenticated.
//!
//! They are read like those of a file. Errors have no place; a plugin that knows the key puts it in front.

use std::io;
use std::path::Path;

use serde_json::Value as Json;

use super::fields::Field;
use super::options::{PermissionsOptions, SubjectPermissions, TlsOptions};
use super::owners::{Available, Owners};
use super::parse::Inputs;
use super::problem::{Problem, Sources, render};
use super::reading::Reading;
use super::section::Section;
use super::{permissions, tls};

/// A `tls {}` block (CFG-240 and following). Whether its files can be read shows when they are used.
pub fn tls_of_json(block: &Json) -> Result<TlsOptions, String> {
    read("tls", block, tls::read)
}

/// Permissions as in a file (CFG-167), but an empty list allows nothing: what a plugin computes means what it says.
pub fn permissions_of_json(block: &Json) -> Result<PermissionsOptions, String> {
    let read = read("permissions", block, permissions::read)?;
    let mut permissions = PermissionsOptions::clone(&read);
    for (name, value) in block.as_object().into_iter().flatten() {
        match name.to_ascii_lowercase().as_str() {
            "pub" | "publish" | "import" => close_empty(&mut permissions.publish, value),
            "sub" | "subscribe" | "export" => close_empty(&mut permissions.subscribe, value),
            _ => {}
        }
    }
    Ok(permissions)
}

fn close_empty(subjects: &mut SubjectPermissions, value: &Json) {
    let list = value.get("allow").unwrap_or(value);
    if list.as_array().is_some_and(Vec::is_empty) {
        subjects.allow = Some(Vec::new());
    }
}

fn read<T>(
    key: &str,
    block: &Json,
    reader: impl Fn(&Field<'_>, &mut Reading<'_>) -> Result<T, Problem>,
) -> Result<T, String> {
    let no_files = |_: &Path| -> io::Result<String> { Ok(String::new()) };
    let inputs = Inputs { read_file: &no_files, env: &|_| None };
    let owners = Owners::new(&Available::default());
    let mut reading = Reading::new(&owners, &inputs);
    let node = Section::of_flag(&[key], "", block.clone()).root();
    let result = reader(&Field::new(key, &node), &mut reading);
    match reading.report.check(result) {
        Some(value) if reading.report.errors.is_empty() => Ok(value),
        _ => {
            for problem in &mut reading.report.errors {
                problem.at = None;
            }
            Err(render(&reading.report.errors, &Sources::default()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::{permissions_of_json, tls_of_json};

    #[test]
    fn a_tls_block_is_read_like_that_of_a_file() {
        let tls = tls_of_json(&json!({"cert_file": "c", "key_file": "k", "timeout": "3s"})).unwrap();
        assert_eq!((tls.certs.len(), tls.timeout.as_secs()), (1, 3));
        assert_eq!(
            tls_of_json(&json!({"cert_file": "c"})),
            Err("missing 'key_file' in TLS configuration".to_owned())
        );
        assert!(tls_of_json(&json!(true)).unwrap_err().starts_with("tls must be a map, not a boolean"));
    }

    #[test]
    fn an_empty_list_of_a_plugin_allows_nothing() {
        // PERM-001
        let permissions =
            permissions_of_json(&json!({"publish": [], "subscribe": {"allow": [], "deny": ["x"]}})).unwrap();
        assert_eq!((permissions.publish.allow, permissions.subscribe.allow), (Some(vec![]), Some(vec![])));
        let open = permissions_of_json(&json!({"publish": {"deny": "a"}})).unwrap();
        assert_eq!((open.publish.allow, open.publish.deny), (None, vec!["a".to_owned()]));
        assert!(
            permissions_of_json(&json!({"publish": "a..b"})).unwrap_err().contains("not a valid subject")
        );
    }
}
