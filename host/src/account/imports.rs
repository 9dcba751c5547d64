//! What an account imports from others (ACC-002 to ACC-007).

use super::Account;
use crate::config::borders;
use crate::config::options::{ImportKind, ImportOptions};
use crate::subject::Renaming;
use std::sync::Arc;

/// Messages of another account, seen as if they were published in this one.
pub struct StreamImport {
    pub importer: Arc<Account>,
    pub exporter: Arc<Account>,
    pub renaming: Renaming,
    pub allow_trace: bool,
}

impl StreamImport {
    /// `None`: it is no import of a stream. The configuration was checked: the names fit.
    pub(super) fn new(
        importer: &Arc<Account>,
        options: &ImportOptions,
        account: impl Fn(&str) -> Arc<Account>,
    ) -> Option<Arc<Self>> {
        let ImportKind::Stream { allow_trace, .. } = options.kind else { return None };
        Some(Arc::new(StreamImport {
            importer: importer.clone(),
            exporter: account(&options.account),
            renaming: borders::renaming(options).ok()?,
            allow_trace,
        }))
    }
}
