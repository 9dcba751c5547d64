//! What changed between two configurations of the core, and whether that may change while running (CFG-140 to
//! CFG-148, and the reload column of config.md).
//!
//! Pure. The host applies what [`diff`] returns, all or nothing; plugins judge their own sections.

use std::time::Duration;

use super::duration;
use super::options::{AuthOptions, HandshakeFirst, Options, PluginsOptions, TlsOptions, UserOptions};
use super::shown::Shown;

/// AUTH-* and CORE-003: what `authorization.timeout` is when nothing says otherwise.
const AUTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// With TLS the default is the TLS timeout and this.
const AUTH_TIMEOUT_AFTER_TLS: Duration = Duration::from_secs(1);
const DEFAULT_SYSTEM_ACCOUNT: &str = "$SYS";

/// One accepted change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub what: What,
    /// The line to log once it is applied: `Reloaded: max_payload = 2097152`.
    pub log: String,
}

/// What has to act on a change. Options that are read where they are used need nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The log is opened again, or its levels change.
    Log,
    PidFile,
    PortsFile,
    /// INFO changes.
    ClientAdvertise,
    /// Connections over the limit are closed.
    MaxConnections,
    /// Running timers follow.
    PingInterval,
    /// Clients are checked again (CFG-147).
    Authentication,
    Accounts,
    /// New handshakes use the new settings; connections stay.
    Tls,
    /// Clients whose certificate is not among them are closed.
    PinnedCerts,
    /// Connections of proxies that are gone are closed (AUTH-032).
    Proxies,
    /// Plugins declared in `plugins {}` have a new config.
    PluginConfig,
    /// Read at the next use.
    Value,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Nothing is applied when one option may not change.
    #[error("config reload not supported for {field}: old={old}, new={new}")]
    NotSupported { field: &'static str, old: String, new: String },
}

/// The changes in the order in which nats-server logs them. Users and accounts are always among them.
///
/// Certificate files may have new content under the same names: the host reads them again on every reload, whatever
/// this says.
pub fn diff(old: &Options, new: &Options) -> Result<Vec<Change>, ReloadError> {
    fixed_server(old, new)?;
    fixed_limits(old, new)?;
    fixed_auth(old, new)?;
    fixed_tls(old.tls.as_deref(), new.tls.as_deref())?;
    fixed_plugins(&old.plugins, &new.plugins)?;
    let mut changes = Changes::default();
    changes.log_levels(old, new);
    changes.authentication(old, new);
    changes.limits(old, new);
    changes.files(old, new);
    changes.tls(old.tls.as_deref(), new.tls.as_deref());
    changes.server(old, new);
    if old.ocsp != new.ocsp {
        changes.push(What::Value, "OCSP");
    }
    if old.ocsp_cache != new.ocsp_cache {
        // Without the colon that the others have.
        changes.list.push(Change { what: What::Value, log: "Reloaded OCSP peer cache".to_owned() });
    }
    Ok(changes.list)
}

/// Refuses a change. The name is that of nats-server's field, which tools know.
fn fixed<T: PartialEq + Shown>(field: &'static str, old: &T, new: &T) -> Result<(), ReloadError> {
    if old == new {
        return Ok(());
    }
    Err(ReloadError::NotSupported { field, old: old.shown(), new: new.shown() })
}

fn fixed_server(old: &Options, new: &Options) -> Result<(), ReloadError> {
    fixed("ServerName", &old.server_name, &new.server_name)?;
    fixed("Host", &old.host, &new.host)?;
    // A random port stays what it became (CFG-032).
    if new.port != -1 {
        fixed("Port", &old.port, &new.port)?;
    }
    fixed("NoHeaderSupport", &old.no_header_support, &new.no_header_support)?;
    fixed("NoSublistCache", &old.disable_sublist_cache, &new.disable_sublist_cache)?;
    fixed("ProxyProtocol", &old.proxy_protocol, &new.proxy_protocol)?;
    fixed("AllowNonTLS", &old.allow_non_tls, &new.allow_non_tls)?;
    fixed("FeatureFlags", &old.feature_flags, &new.feature_flags)?;
    fixed("LogSizeLimit", &old.log.size_limit_bytes, &new.log.size_limit_bytes)?;
    fixed("LogMaxFiles", &old.log.max_files, &new.log.max_files)
}

fn fixed_limits(old: &Options, new: &Options) -> Result<(), ReloadError> {
    let (old_limits, new_limits) = (&old.limits, &new.limits);
    // No limit is shown as 0.
    let subs = |max: Option<usize>| max.unwrap_or(0);
    let tokens = |max: Option<u8>| u32::from(max.unwrap_or(0));
    fixed("MaxSubs", &subs(old_limits.max_subscriptions), &subs(new_limits.max_subscriptions))?;
    fixed("MaxSubTokens", &tokens(old_limits.max_sub_tokens), &tokens(new_limits.max_sub_tokens))?;
    fixed("MaxPending", &old_limits.max_pending_bytes, &new_limits.max_pending_bytes)?;
    fixed("MaxClosedClients", &old_limits.max_closed_clients, &new_limits.max_closed_clients)?;
    let (old, new) = (&old.timing, &new.timing);
    fixed("WriteTimeout", &old.write_timeout, &new.write_timeout)?;
    fixed("LameDuckDuration", &old.lame_duck_duration, &new.lame_duck_duration)?;
    fixed("LameDuckGracePeriod", &old.lame_duck_grace_period, &new.lame_duck_grace_period)
}

fn fixed_auth(old: &Options, new: &Options) -> Result<(), ReloadError> {
    fixed("NoSystemAccount", &old.accounts.no_system_account, &new.accounts.no_system_account)?;
    let system = |options: &Options| options.accounts.system_account.clone().unwrap_or_default();
    let (was, is) = (system(old), system(new));
    // Naming the default account is the same as naming none.
    let same = |name: &str| if name == DEFAULT_SYSTEM_ACCOUNT { String::new() } else { name.to_owned() };
    if same(&was) != same(&is) {
        fixed("SystemAccount", &was, &is)?;
    }
    let (was, is) = (&old.auth.no_auth_user, &new.auth.no_auth_user);
    // It may go together with its user (CFG-073).
    let gone = is.is_none()
        && !users(new)
            .any(|user| [&user.user, &user.nkey].iter().any(|name| name.as_deref() == was.as_deref()));
    if gone {
        return Ok(());
    }
    fixed("NoAuthUser", &was.clone().unwrap_or_default(), &is.clone().unwrap_or_default())
}

fn fixed_tls(old: Option<&TlsOptions>, new: Option<&TlsOptions>) -> Result<(), ReloadError> {
    let map = |tls: Option<&TlsOptions>| tls.is_some_and(|tls| tls.verify_and_map);
    fixed("TLSMap", &map(old), &map(new))?;
    let rate =
        |tls: Option<&TlsOptions>| u64::from(tls.and_then(|tls| tls.connection_rate_limit).unwrap_or(0));
    fixed("TLSRateLimit", &rate(old), &rate(new))
}

/// Code is loaded once; only the configuration of plugins changes while running.
fn fixed_plugins(old: &PluginsOptions, new: &PluginsOptions) -> Result<(), ReloadError> {
    let loaded = |plugins: &PluginsOptions| {
        let declared = plugins.declared.iter().map(|declared| match &declared.path {
            Some(path) => format!("{} from {}", declared.name, path.display()),
            None => declared.name.clone(),
        });
        let dirs = plugins.dirs.iter().map(|dir| dir.display().to_string());
        let mut words: Vec<String> = plugins.load.iter().flatten().cloned().collect();
        words.extend(dirs.chain(declared));
        words
    };
    fixed("Plugins", &loaded(old), &loaded(new))
}

#[derive(Default)]
struct Changes {
    list: Vec<Change>,
}

impl Changes {
    fn push(&mut self, what: What, text: impl AsRef<str>) {
        self.list.push(Change { what, log: format!("Reloaded: {}", text.as_ref()) });
    }

    /// `name = value` if it changed.
    fn value<T: PartialEq + Shown>(&mut self, what: What, name: &str, old: &T, new: &T) {
        if old != new {
            self.push(what, format!("{name} = {}", new.shown()));
        }
    }

    fn log_levels(&mut self, old: &Options, new: &Options) {
        if old.client_advertise != new.client_advertise {
            let address = new.client_advertise.as_deref().unwrap_or_default();
            self.list.push(Change {
                what: What::ClientAdvertise,
                // "Reload", not "Reloaded": that is how the reference says it.
                log: format!("Reload: client_advertise = {address}"),
            });
        }
        let (old, new) = (&old.log, &new.log);
        self.value(What::Log, "trace", &old.trace, &new.trace);
        self.value(What::Log, "debug", &old.debug, &new.debug);
        self.value(What::Log, "trace_verbose", &old.trace_verbose, &new.trace_verbose);
        self.value(What::Log, "trace_headers", &old.trace_headers, &new.trace_headers);
        self.value(What::Log, "logtime", &old.logtime, &new.logtime);
        self.value(What::Log, "logtime_utc", &old.logtime_utc, &new.logtime_utc);
    }

    fn authentication(&mut self, old: &Options, new: &Options) {
        let connections = |options: &Options| options.limits.max_connections;
        if connections(old) != connections(new) {
            let shown = connections(new).map_or("-1".to_owned(), |max| max.to_string());
            self.push(What::MaxConnections, format!("max_connections = {shown}"));
        }
        if nkeys(old) != nkeys(new) {
            self.push(What::Authentication, "authorization nkey users");
        }
        self.push(What::Authentication, "authorization users");
        self.push(What::Accounts, "accounts");
        let (was, is) = (&old.auth, &new.auth);
        if was.user != is.user {
            self.push(What::Authentication, "authorization username");
        }
        if was.password != is.password {
            self.push(What::Authentication, "authorization password");
        }
        if was.token != is.token {
            self.push(What::Authentication, "authorization token");
        }
        let timeout = |options: &Options| auth_timeout(&options.auth, options.tls.as_deref());
        if timeout(old) != timeout(new) {
            self.push(What::Value, format!("authorization timeout = {}", timeout(new).as_secs_f64()));
        }
        if was.proxy_required != is.proxy_required {
            self.push(What::Authentication, format!("authorization proxy_required = {}", is.proxy_required));
        }
    }

    fn limits(&mut self, old: &Options, new: &Options) {
        let (was, is) = (&old.timing, &new.timing);
        self.value(What::PingInterval, "ping_interval", &was.ping_interval, &is.ping_interval);
        self.value(What::Value, "ping_max", &u64::from(was.ping_max), &u64::from(is.ping_max));
        self.value(What::Value, "write_deadline", &was.write_deadline, &is.write_deadline);
        let (was, is) = (&old.limits, &new.limits);
        self.value(What::Value, "max_control_line", &was.max_control_line_bytes, &is.max_control_line_bytes);
        self.value(What::Value, "max_payload", &was.max_payload_bytes, &is.max_payload_bytes);
        self.value(What::Value, "max_traced_msg_len", &was.max_traced_msg_len, &is.max_traced_msg_len);
    }

    fn files(&mut self, old: &Options, new: &Options) {
        self.value(What::PidFile, "pid_file", &old.files.pid_file.as_deref(), &new.files.pid_file.as_deref());
        self.value(
            What::PortsFile,
            "ports_file_dir",
            &old.files.ports_file_dir.as_deref(),
            &new.files.ports_file_dir.as_deref(),
        );
        let (old, new) = (&old.log, &new.log);
        self.value(What::Log, "log_file", &old.file.as_deref(), &new.file.as_deref());
        self.value(What::Log, "syslog", &old.syslog, &new.syslog);
        let remote = |syslog: &Option<String>| syslog.clone().unwrap_or_default();
        self.value(What::Log, "remote_syslog", &remote(&old.remote_syslog), &remote(&new.remote_syslog));
    }

    fn tls(&mut self, old: Option<&TlsOptions>, new: Option<&TlsOptions>) {
        let default = TlsOptions::default();
        // What is logged on its own does not make the block a new one.
        let rest = |tls: &TlsOptions| TlsOptions {
            timeout: default.timeout,
            pinned_certs: Vec::new(),
            handshake_first: HandshakeFirst::No,
            ..tls.clone()
        };
        if old.map(rest) != new.map(rest) {
            self.push(What::Tls, if new.is_some() { "tls = enabled" } else { "tls = disabled" });
        }
        let (Some(new), old) = (new, old.unwrap_or(&default)) else { return };
        if old.timeout != new.timeout {
            self.push(What::Tls, format!("tls timeout = {}", new.timeout.as_secs_f64()));
        }
        if old.handshake_first != new.handshake_first {
            self.push(
                What::Tls,
                format!("Client TLS handshake first: {}", new.handshake_first != HandshakeFirst::No),
            );
            if let HandshakeFirst::Auto(delay) = new.handshake_first {
                let delay = duration::format(delay);
                self.push(What::Tls, format!("Client TLS handshake first fallback delay: {delay}"));
            }
        }
        if old.pinned_certs != new.pinned_certs {
            self.push(What::PinnedCerts, format!("{} pinned_certs", new.pinned_certs.len()));
        }
    }

    fn server(&mut self, old: &Options, new: &Options) {
        self.value(
            What::Value,
            "connect_error_reports",
            &old.connect_error_reports,
            &new.connect_error_reports,
        );
        self.value(
            What::Value,
            "reconnect_error_reports",
            &old.reconnect_error_reports,
            &new.reconnect_error_reports,
        );
        if old.server_tags != new.server_tags {
            self.push(What::Value, "tags");
        }
        if old.server_metadata != new.server_metadata {
            self.push(What::Value, "metadata");
        }
        if old.no_fast_producer_stall != new.no_fast_producer_stall {
            let not = if new.no_fast_producer_stall { " not" } else { "" };
            self.push(What::Value, format!("fast producers will{not} be stalled"));
        }
        self.proxies(&old.auth.trusted_proxies, &new.auth.trusted_proxies);
        if old.plugins.declared != new.plugins.declared {
            self.push(What::PluginConfig, "plugins");
        }
    }

    fn proxies(&mut self, old: &[String], new: &[String]) {
        let missing = |from: &[String], to: &[String]| {
            let keys: Vec<String> =
                from.iter().filter(|key| !to.contains(key)).map(|key| format!("{key:?}")).collect();
            (!keys.is_empty()).then(|| format!("[{}]", keys.join(" ")))
        };
        if let Some(keys) = missing(old, new) {
            self.push(What::Proxies, format!("proxies trusted keys {keys} were removed"));
        }
        if let Some(keys) = missing(new, old) {
            self.push(What::Proxies, format!("proxies trusted keys {keys} were added"));
        }
    }
}

/// The time a client has to authenticate.
pub fn auth_timeout(auth: &AuthOptions, tls: Option<&TlsOptions>) -> Duration {
    let default = tls.map_or(AUTH_TIMEOUT_DEFAULT, |tls| tls.timeout + AUTH_TIMEOUT_AFTER_TLS);
    auth.timeout.unwrap_or(default)
}

fn users(options: &Options) -> impl Iterator<Item = &UserOptions> {
    let in_accounts = options.accounts.accounts.iter().flat_map(|account| &*account.users);
    options.auth.users.iter().chain(in_accounts)
}

fn nkeys(options: &Options) -> Vec<&UserOptions> {
    users(options).filter(|user| user.nkey.is_some()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::{Change, diff};
    use crate::cli::Flags;
    use crate::config::{Available, Inputs, Options, load};

    const TLS: &str = "cert_file: c, key_file: k";

    fn options(text: &str) -> Options {
        let read_file = |_: &Path| Ok(text.to_owned());
        let inputs = Inputs { read_file: &read_file, env: &|_| None };
        load(Some(Path::new("a.conf")), &inputs, &Flags::default(), &Available::bundled()).unwrap().options
    }

    /// The lines that a reload logs, without the two that always come; or the refusal.
    fn lines(old: &str, new: &str) -> Vec<String> {
        let old = options(&old.replace("TLS", TLS));
        let new = options(&new.replace("TLS", TLS));
        match diff(&old, &new) {
            Ok(changes) => changes
                .into_iter()
                .map(|Change { log, .. }| log)
                .filter(|log| log != "Reloaded: authorization users" && log != "Reloaded: accounts")
                .collect(),
            Err(refused) => vec![refused.to_string()],
        }
    }

    #[test]
    fn accepted_changes_are_logged_in_the_words_of_nats_server() {
        // CFG-148; each line seen from nats-server 2.15.1.
        for (old, new, log) in [
            ("", "trace_verbose: true", "trace = true, trace_verbose = true"),
            ("", "log_file: \"x.log\"", "log_file = x.log"),
            ("", "max_payload: 2mb", "max_payload = 2097152"),
            ("", "max_connections: -1", "max_connections = -1"),
            ("", "ping_interval: \"10s\"", "ping_interval = 10s"),
            ("", "write_deadline: \"1m\"", "write_deadline = 1m0s"),
            ("", "server_tags: [a, b]", "tags"),
            ("", "server_metadata: {a: b}", "metadata"),
            ("", "no_fast_producer_stall: true", "fast producers will not be stalled"),
            ("no_fast_producer_stall: true", "", "fast producers will be stalled"),
            ("", "authorization { user: a, password: b }", "authorization username, authorization password"),
            ("", "authorization { timeout: 5 }", "authorization timeout = 5"),
            ("", "tls { TLS }", "authorization timeout = 3, tls = enabled"),
            ("tls { TLS }", "", "authorization timeout = 2, tls = disabled"),
            ("tls { TLS }", "tls { timeout: 5, TLS }", "authorization timeout = 6, tls timeout = 5"),
            (
                "tls { TLS }",
                "tls { first: auto, TLS }",
                "Client TLS handshake first: true, Client TLS handshake first fallback delay: 50ms",
            ),
            ("port: 5000", "port: -1\nhost: 0.0.0.0", ""),
        ] {
            let expected: Vec<String> = log
                .split(", ")
                .filter(|line| !line.is_empty())
                .map(|line| format!("Reloaded: {line}"))
                .collect();
            assert_eq!(lines(old, new), expected, "{old:?} to {new:?}");
        }
        assert_eq!(lines("", "client_advertise: \"a.b:1\""), ["Reload: client_advertise = a.b:1"]);
    }

    #[test]
    fn what_may_not_change_is_named_with_both_values() {
        // CFG-141; each text seen from nats-server 2.15.1.
        for (old, new, text) in [
            ("port: 5000", "", "Port: old=5000, new=4222"),
            ("", "host: localhost", "Host: old=0.0.0.0, new=localhost"),
            ("", "server_name: abc", "ServerName: old=, new=abc"),
            ("", "max_pending: 32mb", "MaxPending: old=67108864, new=33554432"),
            ("", "max_subscriptions: 10", "MaxSubs: old=0, new=10"),
            ("", "write_timeout: close", "WriteTimeout: old=, new=close"),
            ("", "lame_duck_duration: \"1m\"", "LameDuckDuration: old=2m0s, new=1m0s"),
            (
                "",
                "feature_flags: {js_ack_fc_v2: true}",
                "FeatureFlags: old=map[], new=map[js_ack_fc_v2:true]",
            ),
            ("tls { TLS }", "tls { verify_and_map: true, TLS }", "TLSMap: old=false, new=true"),
            ("tls { TLS }", "tls { connection_rate_limit: 5, TLS }", "TLSRateLimit: old=0, new=5"),
            (
                "accounts [A, B]\nsystem_account: A",
                "accounts [A, B]\nsystem_account: B",
                "SystemAccount: old=A, new=B",
            ),
            (
                "no_auth_user: a\nauthorization { users: [ {user: a} ] }",
                "authorization { users: [ {user: a} ] }",
                "NoAuthUser: old=a, new=",
            ),
        ] {
            assert_eq!(lines(old, new), [format!("config reload not supported for {text}")]);
        }
    }

    #[test]
    fn no_auth_user_may_go_together_with_its_user() {
        // CFG-073
        let old = "no_auth_user: a\nauthorization { users: [ {user: a} ] }";
        assert!(lines(old, "authorization { users: [ {user: b} ] }").is_empty());
    }

    #[test]
    fn proxies_may_come_and_go() {
        // CFG-094: where the reference crashes.
        let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let some = format!("proxies {{ trusted: [ {{key: {key}}} ] }}");
        assert_eq!(lines("", &some), [format!("Reloaded: proxies trusted keys [\"{key}\"] were added")]);
        assert_eq!(lines(&some, ""), [format!("Reloaded: proxies trusted keys [\"{key}\"] were removed")]);
    }
}
