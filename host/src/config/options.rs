//! Every core option, parsed and validated: what the rest of the host reads.
//!
//! Filled by `config` from a file and by `cli` from flags. Not here: keys that plugins own; those stay
//! sections of JSON (`super::Section`).

mod ocsp;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::value::Text;
pub use ocsp::{OCSP_PEER_WITHOUT_VERIFY, OcspCacheOptions, OcspMode, OcspOptions, OcspPeerOptions};

/// CORE-002
pub const DEFAULT_PORT: i32 = 4222;

/// A checked configuration of the core. Defaults are those of CORE-003 and config.md section 2.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub host: String,
    /// -1 takes a free port.
    pub port: i32,
    /// Empty: the server id is the name.
    pub server_name: String,
    pub client_advertise: Option<String>,
    pub server_tags: Vec<String>,
    pub server_metadata: BTreeMap<String, String>,
    pub feature_flags: BTreeMap<String, bool>,
    pub limits: Limits,
    pub timing: Timing,
    pub log: LogOptions,
    pub files: Files,
    pub auth: AuthOptions,
    pub accounts: AccountsOptions,
    pub tls: Option<Arc<TlsOptions>>,
    pub ocsp: Option<OcspOptions>,
    pub ocsp_cache: Option<OcspCacheOptions>,
    /// Where JetStream keeps its files, as configured; responses about the server's certificates lie there, too.
    pub store_dir: Option<PathBuf>,
    pub allow_non_tls: bool,
    pub proxy_protocol: bool,
    pub no_header_support: bool,
    pub no_fast_producer_stall: bool,
    pub disable_sublist_cache: bool,
    pub connect_error_reports: u64,
    pub reconnect_error_reports: u64,
    pub plugins: PluginsOptions,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub max_control_line_bytes: usize,
    pub max_payload_bytes: usize,
    pub max_pending_bytes: usize,
    /// `None`: no client is accepted (CFG-055).
    pub max_connections: Option<usize>,
    /// `None`: unlimited.
    pub max_subscriptions: Option<usize>,
    pub max_sub_tokens: Option<u8>,
    pub max_closed_clients: usize,
    pub max_traced_msg_len: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub ping_interval: Duration,
    pub ping_max: u32,
    pub write_deadline: Duration,
    pub write_timeout: WriteTimeout,
    pub lame_duck_duration: Duration,
    pub lame_duck_grace_period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTimeout {
    Default,
    Close,
    Retry,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    pub debug: bool,
    pub trace: bool,
    pub trace_verbose: bool,
    pub trace_headers: bool,
    pub logtime: bool,
    pub logtime_utc: bool,
    pub file: Option<PathBuf>,
    /// 0: no rotation.
    pub size_limit_bytes: u64,
    /// 0: all are kept.
    pub max_files: u32,
    pub syslog: bool,
    pub remote_syslog: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    pub pid_file: Option<PathBuf>,
    pub ports_file_dir: Option<PathBuf>,
}

/// `authorization {}` of the server (section 4 of config.md).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthOptions {
    /// Single user, password and token as in `authorization { user, password }` and on the command line.
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
    /// `None`: 2 s, with TLS the TLS timeout plus 1 s.
    pub timeout: Option<Duration>,
    /// Shared with who lets them in: there may be a hundred thousand.
    pub users: Arc<[UserOptions]>,
    pub default_permissions: Option<Arc<PermissionsOptions>>,
    pub no_auth_user: Option<String>,
    pub proxy_required: bool,
    /// Public keys of trusted proxies (AUTH-030).
    pub trusted_proxies: Vec<String>,
}

/// A user of `authorization.users` or of an account's `users`. Either `user` or `nkey` is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserOptions {
    pub user: Option<Text>,
    pub password: Option<Text>,
    pub nkey: Option<Text>,
    /// `None`: the global account.
    pub account: Option<Arc<str>>,
    /// The user's own, or the block's defaults (PERM-007).
    pub permissions: Option<Arc<PermissionsOptions>>,
    /// Upper-case names of CORE-252; empty: all.
    pub allowed_connection_types: Box<[String]>,
    pub proxy_required: bool,
}

/// `None` lists allow all; empty lists allow nothing (PERM-001).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PermissionsOptions {
    pub publish: SubjectPermissions,
    /// Entries may carry a queue: `"subject queue"` (PERM-004).
    pub subscribe: SubjectPermissions,
    pub allow_responses: Option<ResponsePermission>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubjectPermissions {
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResponsePermission {
    /// `None`: unlimited.
    pub max_msgs: Option<u32>,
    /// `None`: for ever.
    pub ttl: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountsOptions {
    /// By name, in the order of the file; `$G` is implied.
    pub accounts: Vec<AccountOptions>,
    /// Of the global account.
    pub mappings: Vec<MappingOptions>,
    /// `None`: `$SYS`, unless only accounts with claims count.
    pub system_account: Option<String>,
    pub no_system_account: bool,
    /// Somebody is trusted to issue accounts, which `$SYS` is not one of.
    pub by_claims: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountOptions {
    pub name: String,
    pub nkey: Option<String>,
    pub users: Arc<[UserOptions]>,
    /// `None`: unlimited.
    pub max_connections: Option<u32>,
    pub max_subscriptions: Option<u32>,
    pub max_payload_bytes: Option<u32>,
    pub max_leafnodes: Option<u32>,
    pub msg_trace: Option<MsgTrace>,
    pub exports: Vec<ExportOptions>,
    pub imports: Vec<ImportOptions>,
    pub mappings: Vec<MappingOptions>,
}

impl AccountOptions {
    /// The subjects under which it uses services of others.
    pub fn imported_services(&self) -> Vec<&str> {
        let services = self.imports.iter().filter(|import| matches!(import.kind, ImportKind::Service { .. }));
        services.map(|import| import.to.as_ref().unwrap_or(&import.subject).as_str()).collect()
    }
}

/// What other accounts may import (ACC-002, ACC-003).
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    pub subject: String,
    /// `None`: every account.
    pub accounts: Option<Vec<String>>,
    /// The token, counted from 1, that must be the importer's name; 0: none.
    pub account_token_position: u32,
    /// `None`: a stream.
    pub service: Option<ServiceOptions>,
}

/// How an exported service answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceOptions {
    pub response: ResponseType,
    /// `None`: the default.
    pub response_threshold: Option<Duration>,
    pub latency: Option<LatencyOptions>,
    pub allow_trace: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    #[default]
    Singleton,
    Stream,
    Chunked,
}

/// Where a service's latency is told (ACC-030).
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyOptions {
    pub subject: String,
    /// 1..=100; `None`: of requests with the headers of a trace.
    pub sampling_percent: Option<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// The exporter.
    pub account: String,
    /// Its name for the subject.
    pub subject: String,
    /// The importer's name; `None`: the same.
    pub to: Option<String>,
    pub kind: ImportKind,
    /// The exporter granted it; a file cannot say so.
    pub activated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ImportKind {
    Stream { prefix: Option<String>, allow_trace: bool },
    Service { share: bool },
}

/// Where messages to a subject go instead (MAP-001).
#[derive(Clone, Debug, PartialEq)]
pub struct MappingOptions {
    pub source: String,
    pub destinations: Vec<MappingDestination>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MappingDestination {
    pub subject: String,
    /// 0..=100
    pub weight: u8,
    /// Only for servers of this cluster.
    pub cluster: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MsgTrace {
    pub dest: String,
    /// 1..=100
    pub sampling_percent: u8,
}

/// A `tls {}` block (section 9 of config.md), of the core or of a plugin's listener.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// Pairs of certificate chain and key files, PEM.
    pub certs: Vec<(PathBuf, PathBuf)>,
    pub ca_file: Option<PathBuf>,
    pub verify: bool,
    pub verify_and_map: bool,
    pub insecure: bool,
    pub timeout: Duration,
    /// Go names, as in `--help_tls`; empty: the defaults.
    pub cipher_suites: Vec<String>,
    pub curve_preferences: Vec<String>,
    pub min_version: TlsVersion,
    pub handshake_first: HandshakeFirst,
    /// Lower-case hex SHA-256 of the SPKI.
    pub pinned_certs: Vec<String>,
    /// Handshakes a second; `None`: unlimited.
    pub connection_rate_limit: Option<u32>,
    /// Peers' certificates are checked by OCSP.
    pub ocsp_peer: Option<OcspPeerOptions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFirst {
    No,
    Always,
    /// Waits this long for a first byte (CORE-230).
    Auto(Duration),
}

/// `plugins {}`: natsd's own block (architecture.md section 3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginsOptions {
    /// `plugins { load: [...] }` makes the set exact.
    pub load: Option<Vec<String>>,
    /// Folders from `--plugins-dir`, then `plugins { dirs: [...] }`.
    pub dirs: Vec<PathBuf>,
    pub declared: Vec<PluginDeclaration>,
}

/// `plugins { NAME { path, required, config {…} } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginDeclaration {
    pub name: String,
    pub path: Option<PathBuf>,
    pub required: bool,
    pub config: serde_json::Value,
}

/// The feature flags of the reference and their defaults; others are not shown.
const FEATURE_FLAGS: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

impl Options {
    /// The host that clients are told, and the port if it is another than the listener's.
    pub fn shown_address(&self) -> (&str, Option<u16>) {
        let Some(advertised) = self.client_advertise.as_deref() else { return (&self.host, None) };
        let (host, port) = advertised.rsplit_once(':').unwrap_or((advertised, ""));
        (host, port.parse().ok())
    }

    /// The feature flags as events show them.
    pub fn shown_feature_flags(&self) -> BTreeMap<&'static str, bool> {
        let set = |(name, default)| (name, self.feature_flags.get(name).copied().unwrap_or(default));
        FEATURE_FLAGS.map(set).into()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            host: "0.0.0.0".to_owned(),
            port: DEFAULT_PORT,
            server_name: String::new(),
            client_advertise: None,
            server_tags: Vec::new(),
            server_metadata: BTreeMap::new(),
            feature_flags: BTreeMap::new(),
            limits: Limits::default(),
            timing: Timing::default(),
            log: LogOptions { logtime: true, ..LogOptions::default() },
            files: Files::default(),
            auth: AuthOptions::default(),
            accounts: AccountsOptions::default(),
            tls: None,
            ocsp: None,
            ocsp_cache: None,
            store_dir: None,
            allow_non_tls: false,
            proxy_protocol: false,
            no_header_support: false,
            no_fast_producer_stall: false,
            disable_sublist_cache: false,
            connect_error_reports: 3600,
            reconnect_error_reports: 1,
            plugins: PluginsOptions::default(),
        }
    }
}

/// CORE-003
impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_control_line_bytes: 4096,
            max_payload_bytes: 1 << 20,
            max_pending_bytes: 64 << 20,
            max_connections: Some(64 << 10),
            max_subscriptions: None,
            max_sub_tokens: None,
            max_closed_clients: 10_000,
            max_traced_msg_len: 0,
        }
    }
}

/// CORE-003, CFG-064, CFG-065
impl Default for Timing {
    fn default() -> Self {
        Timing {
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Default,
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
        }
    }
}

/// CFG-246, CORE-234
impl Default for TlsOptions {
    fn default() -> Self {
        TlsOptions {
            certs: Vec::new(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            insecure: false,
            timeout: Duration::from_secs(2),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: TlsVersion::V1_2,
            handshake_first: HandshakeFirst::No,
            pinned_certs: Vec::new(),
            connection_rate_limit: None,
            ocsp_peer: None,
        }
    }
}
