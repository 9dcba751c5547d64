//! What an account imports from others (ACC-002 to ACC-007).

use super::Account;
use crate::subject::Renaming;
use std::sync::Arc;

/// Messages of another account, seen as if they were published in this one.
pub struct StreamImport {
    pub exporter: Arc<Account>,
    pub renaming: Renaming,
    pub allow_trace: bool,
}
