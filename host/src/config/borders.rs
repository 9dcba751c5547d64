//! Whether exports and imports of all accounts fit together (ACC-003 to ACC-005, ACC-012, ACC-030).

use super::options::{AccountOptions, ExportOptions, ImportKind, ImportOptions, ResponseType};
use super::problem::Problem;
use super::reading::Reading;
use crate::subject::{self, Renaming};
use std::collections::{HashMap, HashSet};

/// How long a chain of imports is followed.
const DEPTH_MAX: usize = 1024;

pub(super) fn check(accounts: &[AccountOptions], reading: &mut Reading<'_>) {
    let by_name: HashMap<&str, &AccountOptions> = accounts.iter().map(|a| (a.name.as_str(), a)).collect();
    let find = |name: &str| by_name.get(name).copied();
    let borders = Borders::new(&find);
    for account in accounts {
        for export in &account.exports {
            refuse(reading, account, borders.check_export(account, export));
        }
    }
    for account in accounts {
        for (at, import) in account.imports.iter().enumerate() {
            let kind = if is_stream(import) { "stream" } else { "service" };
            let result = match find(&import.account) {
                None => Err(format!("{:?} account not defined for {kind} import", import.account)),
                Some(exporter) => borders
                    .check_import(account, at, import, exporter)
                    .map_err(|cause| format!("Error adding {kind} import {:?}: {cause}", import.subject)),
            };
            refuse(reading, account, result);
        }
    }
}

fn refuse(reading: &mut Reading<'_>, account: &AccountOptions, result: Result<(), String>) {
    if let Err(text) = result {
        let problem = Problem { at: reading.places.accounts, ..Problem::nowhere(text) };
        reading.report.error(problem.detail(format!("in account {:?}", account.name)));
    }
}

pub fn is_stream(import: &ImportOptions) -> bool {
    matches!(import.kind, ImportKind::Stream { .. })
}

/// What an importer calls a subject.
pub fn renaming(import: &ImportOptions) -> Result<Renaming, String> {
    let subject = &import.subject;
    let (kind, to) = match (&import.kind, &import.to) {
        (ImportKind::Stream { prefix: Some(prefix), .. }, None) => {
            if subject::has_wildcard(prefix.as_bytes()) {
                return Err("stream import prefix can not contain wildcard tokens".to_owned());
            }
            ("stream", format!("{}.{subject}", prefix.strip_suffix('.').unwrap_or(prefix)))
        }
        (_, None) => return Ok(Renaming::identity(subject)),
        (ImportKind::Stream { .. }, Some(to)) if !subject::has_wildcard(subject.as_bytes()) => {
            return Ok(Renaming::fixed(subject, to));
        }
        (ImportKind::Stream { .. }, Some(to)) => ("stream", to.clone()),
        (ImportKind::Service { .. }, Some(to)) => ("service", to.clone()),
    };
    Renaming::new(subject, &to).map_err(|cause| {
        let (from, to) = if kind == "stream" { (subject, &to) } else { (&to, subject) };
        format!(
            "failed to create mapping transform for {kind} import subject from {from:?} to {to:?}: {cause}"
        )
    })
}

/// The export that an import is made by (ACC-004): of the same subject, or the first that covers it.
pub fn export_of<'a>(
    exporter: &'a AccountOptions,
    importer: &str,
    import: &ImportOptions,
) -> Option<&'a ExportOptions> {
    let kind = exporter.exports.iter().filter(|export| export.service.is_none() == is_stream(import));
    // Of one subject exported twice, the last one holds.
    let same = kind.clone().rfind(|export| export.subject == import.subject);
    if let Some(same) = same {
        return allows(same, importer, import).then_some(same);
    }
    kind.filter(|export| subject::is_subset(export.subject.as_bytes(), import.subject.as_bytes()))
        .find(|export| allows(export, importer, import))
}

/// ACC-003
fn allows(export: &ExportOptions, importer: &str, import: &ImportOptions) -> bool {
    if let Some(position) = (export.account_token_position as usize).checked_sub(1) {
        return import.subject.split('.').nth(position) == Some(importer);
    }
    let Some(accounts) = &export.accounts else { return true };
    import.activated || accounts.iter().any(|name| name == importer)
}

/// All accounts, each to be found by its name.
pub struct Borders<'a> {
    find: &'a dyn Fn(&str) -> Option<&'a AccountOptions>,
}

impl<'a> Borders<'a> {
    pub fn new(find: &'a dyn Fn(&str) -> Option<&'a AccountOptions>) -> Self {
        Self { find }
    }

    fn account(&self, name: &str) -> Option<&'a AccountOptions> {
        (self.find)(name)
    }

    /// Whether the account may offer its export.
    pub fn check_export(&self, account: &AccountOptions, export: &ExportOptions) -> Result<(), String> {
        let subject = &export.subject;
        let kind = if export.service.is_some() { "service" } else { "stream" };
        for name in export.accounts.iter().flatten() {
            if self.account(name).is_none() {
                return Err(format!("{name:?} account not defined for {kind} export"));
            }
        }
        if let Some(position) = (export.account_token_position as usize).checked_sub(1)
            && subject.split('.').nth(position) != Some("*")
        {
            let why = "account_token_position must be that of a *";
            return Err(format!("Error adding {kind} export {subject:?}: invalid subject: {why}"));
        }
        let Some(service) = &export.service else { return Ok(()) };
        let Some(latency) = &service.latency else { return Ok(()) };
        let to = &latency.subject;
        let cause = if service.response != ResponseType::Singleton {
            "bad service response type"
        } else if !subject::is_valid_literal(to.as_bytes()) || is_exported_service(account, to) {
            "invalid publish subject"
        } else {
            return Ok(());
        };
        Err(format!("Error adding service latency sampling for {subject:?} on subject {to:?}: {cause}"))
    }

    /// Whether the account may have its import number `at`.
    pub fn check_import(
        &self,
        account: &AccountOptions,
        at: usize,
        import: &ImportOptions,
        exporter: &'a AccountOptions,
    ) -> Result<(), String> {
        let local = import.to.as_ref().unwrap_or(&import.subject);
        let is_stream_or_valid = is_stream(import) || (is_valid(local) && is_valid(&import.subject));
        if !is_stream_or_valid {
            return Err("invalid subject".to_owned());
        }
        if export_of(exporter, &account.name, import).is_none() {
            let kind = if is_stream(import) { "stream" } else { "service" };
            return Err(format!("{kind} import not authorized"));
        }
        let is_same = |other: &ImportOptions| {
            is_stream(other) && other.account == import.account && other.subject == import.subject
        };
        if is_stream(import) && account.imports[..at].iter().any(is_same) {
            return Err("stream import already exists".to_owned());
        }
        renaming(import)?;
        let mut search =
            CycleSearch { borders: self, import, visited: HashSet::from([account.name.as_str()]) };
        search.follow(exporter, if is_stream(import) { &import.subject } else { local })
    }
}

/// Looks whether messages come back to where they were imported, by the other imports of the same kind
/// (ACC-012).
struct CycleSearch<'s, 'a> {
    borders: &'s Borders<'a>,
    import: &'s ImportOptions,
    visited: HashSet<&'s str>,
}

impl<'s, 'a: 's> CycleSearch<'s, 'a> {
    fn follow(&mut self, account: &'a AccountOptions, subject: &str) -> Result<(), String> {
        if self.visited.len() >= DEPTH_MAX {
            return Err("search cycle depth exhausted".to_owned());
        }
        let mut subject = subject.to_owned();
        for other in &account.imports {
            if is_stream(other) != is_stream(self.import) || std::ptr::eq(other, self.import) {
                continue;
            }
            let Ok(renaming) = renaming(other) else { continue };
            let name = if is_stream(other) { renaming.local() } else { renaming.remote() };
            if !subject::collide(subject.as_bytes(), name) {
                continue;
            }
            if self.visited.contains(other.account.as_str()) {
                return Err("import forms a cycle".to_owned());
            }
            self.visited.insert(&account.name);
            if let Some(both) = subject::intersection(subject.as_bytes(), name) {
                subject = String::from_utf8_lossy(&both).into_owned();
            }
            if let Some(next) = self.borders.account(&other.account) {
                self.follow(next, &subject)?;
            }
        }
        Ok(())
    }
}

fn is_valid(subject: &str) -> bool {
    subject::is_valid(subject.as_bytes())
}

fn is_exported_service(account: &AccountOptions, subject: &str) -> bool {
    let services = account.exports.iter().filter(|export| export.service.is_some());
    services.into_iter().any(|export| subject::is_subset(export.subject.as_bytes(), subject.as_bytes()))
}
