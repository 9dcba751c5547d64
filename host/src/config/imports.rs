//! `imports` of accounts (ACC-004, ACC-005, ACC-007), one account at a time.
//!
//! Not here: whether there is such an export (`borders`).

use std::collections::HashMap;

use super::fields::{Field, fields};
use super::options::{ImportKind, ImportOptions};
use super::problem::Problem;
use super::reading::Reading;
use super::value::Value;

const FORM: &str = "write imports: [ { stream: { account: NAME, subject: SUBJECT } } ]";

pub(super) fn read(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Vec<ImportOptions>, Problem> {
    let Value::Array(items) = &field.node.value else {
        let found = field.node.value.go_type();
        return Err(field.problem(format!("Imports should be an array, got {found}")).remedy(FORM));
    };
    let mut imports: Vec<ImportOptions> = Vec::with_capacity(items.len());
    // Of the same account: a service that two accounts export under one subject may be imported from both.
    let mut services: HashMap<(String, String), String> = HashMap::new();
    for item in items {
        let element = field.element(item);
        let Some(import) = reading.report.check(read_import(&element)).flatten() else { continue };
        if matches!(import.kind, ImportKind::Service { .. }) {
            let account = &import.account;
            let local = import.to.as_ref().unwrap_or(&import.subject).clone();
            if let Some(subject) = services.get(&(local.clone(), account.clone())) {
                let text = format!(
                    "Duplicate service import subject {local:?}, previously used in import for account \
                     {account:?}, subject {subject:?}"
                );
                reading.report.error(element.problem(text).remedy("give one of them another to: SUBJECT"));
                continue;
            }
            services.insert((local, account.clone()), import.subject.clone());
        }
        imports.push(import);
    }
    Ok(imports)
}

/// An import as far as it is read.
#[derive(Default)]
struct Draft {
    stream: Option<(String, String)>,
    service: Option<(String, String)>,
    prefix: Option<String>,
    to: Option<String>,
    share: bool,
    allow_trace: Option<bool>,
}

/// `None`: it names neither a stream nor a service.
fn read_import(field: &Field<'_>) -> Result<Option<ImportOptions>, Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.go_type();
        let text = format!("Import Items should be a map with type entry, got {found}");
        return Err(field.problem(text).remedy(FORM));
    };
    let mut draft = Draft::default();
    for entry in fields(map) {
        draft.read(&entry)?;
    }
    Ok(match draft {
        Draft { stream: Some((account, subject)), prefix, to, allow_trace, .. } => {
            let kind = ImportKind::Stream { prefix, allow_trace: allow_trace.unwrap_or(false) };
            Some(ImportOptions { account, subject, to, kind, activated: false })
        }
        Draft { service: Some((account, subject)), to, share, .. } => {
            let kind = ImportKind::Service { share };
            Some(ImportOptions { account, subject, to, kind, activated: false })
        }
        _ => None,
    })
}

impl Draft {
    fn read(&mut self, entry: &Field<'_>) -> Result<(), Problem> {
        match entry.name.as_str() {
            "stream" => {
                if self.service.is_some() {
                    return Err(entry.problem("Detected stream but already saw a service"));
                }
                self.stream = Some(origin(entry, "Stream")?);
            }
            "service" => {
                if self.stream.is_some() {
                    return Err(entry.problem("Detected service but already saw a stream"));
                }
                self.service = Some(origin(entry, "Service")?);
            }
            "prefix" => self.prefix = text(entry)?,
            "to" => self.to = text(entry)?,
            "share" => self.share = entry.boolean()?,
            "allow_trace" => self.allow_trace = Some(entry.boolean()?),
            _ => return entry.unknown(),
        }
        if self.prefix.is_some() && self.to.is_some() {
            let text = "Stream import can not have a 'prefix' and a 'to' property";
            return Err(entry.problem(text).remedy("remove one of them"));
        }
        if self.service.is_some() && self.allow_trace.is_some() {
            let problem = entry.problem("Detected allow_trace directive on a non-stream");
            return Err(problem.remedy("allow_trace of a service stands in its export"));
        }
        Ok(())
    }
}

fn text(field: &Field<'_>) -> Result<Option<String>, Problem> {
    Ok(Some(field.string()?.to_owned()).filter(|text| !text.is_empty()))
}

/// `{account, subject}`.
fn origin(field: &Field<'_>, kind: &str) -> Result<(String, String), Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.go_type();
        let text = format!("{kind} entry should be an account map, got {found}");
        return Err(field.problem(text).remedy(FORM));
    };
    let (mut account, mut subject) = ("", "");
    for entry in fields(map) {
        match entry.name.as_str() {
            "account" => account = entry.string()?,
            "subject" => subject = entry.string()?,
            _ => entry.unknown()?,
        }
    }
    if account.is_empty() || subject.is_empty() {
        return Err(field.problem("Expect an account name and a subject").remedy(FORM));
    }
    Ok((account.to_owned(), subject.to_owned()))
}
