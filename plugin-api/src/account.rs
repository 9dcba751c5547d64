//! What an account lets others have, what it takes from them, and where its messages go: parts of an
//! [`crate::AccountDefinition`]. Since 1.5.
//!
//! The host checks how imports and exports fit together, whoever defined the accounts; an import that no export allows
//! is left out until one does.

use serde::{Deserialize, Serialize};

/// A stream or a service that other accounts may import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountExport {
    pub subject: String,
    /// `None`: a stream.
    pub service: Option<AccountService>,
    /// Only imports that are [`AccountImport::activated`] are allowed.
    pub token_required: bool,
    /// The token of the subject, counted from 1, that must be the importer's name; 0: none.
    pub account_token_position: u32,
}

/// How an exported service answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountService {
    pub response: AccountResponse,
    /// `None`: the default.
    pub response_threshold_ns: Option<u64>,
    pub latency: Option<AccountLatency>,
    pub allow_trace: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountResponse {
    #[default]
    Singleton,
    Stream,
    Chunked,
}

/// Where a service's latency is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountLatency {
    pub subject: String,
    /// 1 to 100; `None`: of requests with the headers of a trace.
    pub sampling_percent: Option<u8>,
}

/// What the account sees of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountImport {
    /// The exporter.
    pub account: String,
    /// Its name for the subject.
    pub subject: String,
    /// The importer's name; `None`: the same.
    pub to: Option<String>,
    /// Of a stream: what stands before the exporter's name.
    pub prefix: Option<String>,
    pub service: bool,
    /// Of a service: the exporter learns who asks.
    pub share: bool,
    /// Of a stream: whoever traces a message sees what becomes of it here.
    pub allow_trace: bool,
    /// Whoever defines the account has checked that the exporter grants this import, and that it still does.
    pub activated: bool,
}

/// Where messages to a subject go instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountMapping {
    pub source: String,
    pub destinations: Vec<AccountDestination>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountDestination {
    pub subject: String,
    /// 0 to 100
    pub weight_percent: u8,
    /// Only for servers of this cluster.
    pub cluster: Option<String>,
}
