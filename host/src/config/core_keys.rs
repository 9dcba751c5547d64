//! The top-level keys of the core (section 2 of config.md) into [`Options`].
//!
//! Blocks have modules of their own: `authorization`, `accounts`, `tls`, `plugins_block`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fields::{Field, fields};
use super::options::{Options, WriteTimeout};
use super::problem::Problem;
use super::reading::Reading;
use super::value::Value;
use super::{accounts, authorization, duration, mappings, ocsp, plugins_block, tls};
use crate::proto::nkey::is_public;

const LAME_DUCK_DURATION_MIN: Duration = Duration::from_secs(30);
/// Sizes the reference keeps in 32 bits.
const SIZE_32_BIT_MAX: i64 = i32::MAX as i64;

/// Reads one top-level pair. `false`: the key is not the core's.
pub(super) fn read(
    options: &mut Options,
    field: &Field<'_>,
    reading: &mut Reading<'_>,
) -> Result<bool, Problem> {
    Ok(network_key(options, field, reading)?
        || log_key(options, field)?
        || limit_key(options, field)?
        || timing_key(options, field, reading)?
        || server_key(options, field, reading)?
        || block_key(options, field, reading)?)
}

fn network_key(options: &mut Options, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<bool, Problem> {
    match field.name.as_str() {
        "listen" => {
            let (host, port) = listen(field)?;
            if let Some(host) = host {
                options.host = host;
            }
            options.port = port;
        }
        "port" => match port(field) {
            Ok(port) => options.port = port,
            Err(problem) if field.integer().is_ok() => reading.report.error_at_start(problem),
            Err(problem) => return Err(problem),
        },
        "host" | "net" => options.host = field.string()?.to_owned(),
        "client_advertise" => {
            let address = field.string()?;
            if let Err(cause) = split_address(address, Some(options.port)) {
                let problem = field.problem(format!("invalid client_advertise {address:?}: {cause}"));
                reading.report.error_at_start(problem.remedy("write host or host:port, IPv6 in brackets"));
            }
            options.client_advertise = (!address.is_empty()).then(|| address.to_owned());
        }
        "proxy_protocol" => options.proxy_protocol = field.boolean()?,
        "allow_non_tls" => options.allow_non_tls = field.boolean()?,
        "no_header_support" => options.no_header_support = field.boolean()?,
        "no_fast_producer_stall" => options.no_fast_producer_stall = field.boolean()?,
        "disable_sublist_cache" | "no_sublist_cache" => options.disable_sublist_cache = field.boolean()?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn log_key(options: &mut Options, field: &Field<'_>) -> Result<bool, Problem> {
    let log = &mut options.log;
    match field.name.as_str() {
        "debug" => log.debug = field.boolean()?,
        "trace" => log.trace = field.boolean()?,
        // Both switch on tracing itself (CFG-036, CFG-037).
        "trace_verbose" => {
            log.trace_verbose = field.boolean()?;
            log.trace = log.trace_verbose;
        }
        "trace_headers" => {
            log.trace_headers = field.boolean()?;
            log.trace = log.trace_headers;
        }
        "logtime" => log.logtime = field.boolean()?,
        "logtime_utc" => log.logtime_utc = field.boolean()?,
        "log_file" | "logfile" => log.file = path(field)?,
        // Nothing and less both mean: no limit.
        "log_size_limit" | "logfile_size_limit" => {
            log.size_limit_bytes = u64::try_from(field.integer()?).unwrap_or(0);
        }
        "log_max_num" | "logfile_max_num" => {
            log.max_files = u32::try_from(field.integer()?.clamp(0, u32::MAX.into())).unwrap_or(u32::MAX);
        }
        "syslog" => log.syslog = field.boolean()?,
        "remote_syslog" => log.remote_syslog = Some(field.string()?.to_owned()),
        "pid_file" | "pidfile" => options.files.pid_file = path(field)?,
        "ports_file_dir" => options.files.ports_file_dir = path(field)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn limit_key(options: &mut Options, field: &Field<'_>) -> Result<bool, Problem> {
    let default = Options::default().limits;
    let limits = &mut options.limits;
    match field.name.as_str() {
        "max_control_line" => {
            limits.max_control_line_bytes = or_default(size_32_bit(field)?, default.max_control_line_bytes);
        }
        "max_payload" => {
            limits.max_payload_bytes = match field.integer()? {
                // The reference's "no limit"; `validate` brings it down to `max_pending`.
                -1 => usize::MAX,
                _ => or_default(size_32_bit(field)?, default.max_payload_bytes),
            }
        }
        "max_pending" => limits.max_pending_bytes = or_default(field.count()?, default.max_pending_bytes),
        // Zero and less accept nobody (CFG-055).
        "max_connections" | "max_conn" => {
            limits.max_connections = usize::try_from(field.integer()?).ok().filter(|&max| max > 0);
        }
        "max_subscriptions" | "max_subs" => limits.max_subscriptions = unlimited(field)?,
        "max_sub_tokens" | "max_subscription_tokens" => {
            let tokens = field.integer()?;
            let refuse = |what: &str| field.problem(what).remedy("use a number between 1 and 255");
            if tokens <= 0 {
                return Err(refuse("max_sub_tokens value can not be negative"));
            }
            let tokens = u8::try_from(tokens).map_err(|_| refuse("max_sub_tokens value is too big"))?;
            limits.max_sub_tokens = Some(tokens);
        }
        "max_closed_clients" => {
            limits.max_closed_clients = or_default(field.count()?, default.max_closed_clients)
        }
        "max_traced_msg_len" => limits.max_traced_msg_len = usize::try_from(field.integer()?).unwrap_or(0),
        _ => return Ok(false),
    }
    Ok(true)
}

fn timing_key(options: &mut Options, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<bool, Problem> {
    let default = Options::default().timing;
    let timing = &mut options.timing;
    match field.name.as_str() {
        "ping_interval" => {
            timing.ping_interval = or_default(field.duration(&mut reading.report)?, default.ping_interval)
        }
        "ping_max" => timing.ping_max = or_default(field.count()?, default.ping_max),
        "write_deadline" => {
            timing.write_deadline = or_default(field.duration(&mut reading.report)?, default.write_deadline)
        }
        "write_timeout" => {
            timing.write_timeout = match field.string()?.to_ascii_lowercase().as_str() {
                "default" => WriteTimeout::Default,
                "close" => WriteTimeout::Close,
                "retry" => WriteTimeout::Retry,
                _ => return Err(field.problem("write_timeout must be 'default', 'close' or 'retry'")),
            }
        }
        "lame_duck_duration" => {
            let wanted = field.duration_text()?;
            if wanted < LAME_DUCK_DURATION_MIN {
                return Err(field.problem(format!(
                    "invalid lame_duck_duration of {}, minimum is 30 seconds",
                    duration::format(wanted)
                )));
            }
            timing.lame_duck_duration = wanted;
        }
        "lame_duck_grace_period" => timing.lame_duck_grace_period = field.duration_text()?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn server_key(options: &mut Options, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<bool, Problem> {
    match field.name.as_str() {
        "server_name" => {
            let name = field.string()?;
            if name.contains(' ') {
                return Err(field.problem("server name cannot contain spaces"));
            }
            options.server_name = name.to_owned();
        }
        "server_tags" => options.server_tags = tags(field)?,
        "server_metadata" => options.server_metadata = metadata(field, reading)?,
        "feature_flags" => options.feature_flags = feature_flags(field, reading)?,
        "connect_error_reports" => {
            options.connect_error_reports =
                or_default(field.count()?, Options::default().connect_error_reports);
        }
        "reconnect_error_reports" => {
            options.reconnect_error_reports =
                or_default(field.count()?, Options::default().reconnect_error_reports);
        }
        "no_auth_user" => {
            options.auth.no_auth_user = Some(field.string()?.to_owned()).filter(|user| !user.is_empty())
        }
        "system_account" | "system" => {
            let Value::String(name) = &field.node.value else {
                return Err(field.problem("system account name must be a string"));
            };
            options.accounts.system_account = Some(name.to_string()).filter(|name| !name.is_empty());
        }
        "no_system_account" | "no_system" | "no_sys_acc" => {
            options.accounts.no_system_account = field.boolean()?
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn block_key(options: &mut Options, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<bool, Problem> {
    match field.name.as_str() {
        "authorization" => authorization::read(options, field, reading)?,
        "accounts" => accounts::read(options, field, reading)?,
        "tls" => options.tls = Some(Arc::new(tls::read_for_server(field, reading)?)),
        "proxies" => options.auth.trusted_proxies = trusted_proxies(field, reading)?,
        "plugins" => plugins_block::read(&mut options.plugins, field, reading)?,
        "mappings" | "maps" => options.accounts.mappings = mappings::read(field, reading)?,
        "ocsp" => options.ocsp = Some(ocsp::read(field)?),
        "ocsp_cache" => options.ocsp_cache = Some(ocsp::read_cache(field)?),
        "prof_port" | "prof_block_rate" => {
            return Err(field
                .problem(format!("{:?} is not supported by natsd: Go profiling", field.key))
                .remedy("remove it, and profile natsd with perf"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `host:port`, `:port` or a port alone (CFG-030).
fn listen(field: &Field<'_>) -> Result<(Option<String>, i32), Problem> {
    match &field.node.value {
        Value::Integer(_) => Ok((None, port(field)?)),
        Value::String(text) => {
            let (host, port) = split_address(text, None).map_err(|cause| {
                field.problem(cause).remedy("write \"host:port\", IPv6 in brackets, or a port alone")
            })?;
            Ok((Some(host), port))
        }
        other => Err(field.problem(format!("expected port or host:port, got {}", other.go_type()))),
    }
}

fn port(field: &Field<'_>) -> Result<i32, Problem> {
    match i32::try_from(field.integer()?) {
        Ok(0) => Ok(super::options::DEFAULT_PORT),
        Ok(port @ -1..=65_535) => Ok(port),
        _ => Err(field
            .problem(format!("{} is not a port", field.integer()?))
            .remedy("use 1 to 65535, or -1 for a free one")),
    }
}

/// Host and port of an address; the port may be left out if there is a default.
pub fn split_address(address: &str, default_port: Option<i32>) -> Result<(String, i32), String> {
    let unparsable = || format!("could not parse address string {address:?}");
    let (host, port) = match address.strip_prefix('[') {
        Some(inner) => {
            let (host, tail) = inner.split_once(']').ok_or_else(unparsable)?;
            (host, if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or_else(unparsable)?) })
        }
        None => match address.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err(unparsable()),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match (port, default_port) {
        (Some(text), _) => match text.trim().parse::<i32>() {
            Ok(port @ -1..=65_535) => port,
            _ => return Err(format!("could not parse port {text:?}")),
        },
        (None, Some(port)) => port,
        (None, None) => return Err(unparsable()),
    };
    Ok((host.trim().to_owned(), port))
}

fn path(field: &Field<'_>) -> Result<Option<PathBuf>, Problem> {
    Ok(Some(field.string()?).filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// Zero asks for the default throughout the config.
fn or_default<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

fn size_32_bit(field: &Field<'_>) -> Result<usize, Problem> {
    if field.integer()? > SIZE_32_BIT_MAX {
        return Err(field
            .problem(format!("{} value is too big", field.name))
            .remedy("use at most 2147483647"));
    }
    field.count()
}

/// 0 and -1: no limit.
fn unlimited(field: &Field<'_>) -> Result<Option<usize>, Problem> {
    match field.integer()? {
        -1 | 0 => Ok(None),
        _ => field.count().map(Some),
    }
}

/// Lower-cased, trimmed and unique (CFG-080).
fn tags(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    let mut tags = Vec::new();
    match &field.node.value {
        Value::String(_) | Value::Array(_) => {}
        other => {
            return Err(field.problem(format!("error parsing tags: unsupported type {}", other.go_type())));
        }
    }
    for tag in field.strings()? {
        let tag = tag.trim().to_lowercase();
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn metadata(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.go_type();
        return Err(field.problem(format!("error parsing metadata: unsupported type {found}")));
    };
    let pairs = fields(map).filter_map(|pair| {
        let text = reading.report.check(pair.string())?;
        Some((pair.key.to_owned(), text.to_owned()))
    });
    Ok(pairs.collect())
}

fn feature_flags(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<BTreeMap<String, bool>, Problem> {
    let mut flags = BTreeMap::new();
    for pair in fields(field.map()?) {
        match &pair.node.value {
            Value::Bool(on) => {
                flags.insert(pair.key.to_owned(), *on);
            }
            other => reading.report.error(pair.problem(format!(
                "error parsing feature flag {:?}: expected bool, got {}",
                pair.key,
                other.go_type()
            ))),
        }
    }
    Ok(flags)
}

/// `proxies { trusted: [ {key} ] }` (CFG-094).
fn trusted_proxies(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Vec<String>, Problem> {
    let mut keys = Vec::new();
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.go_type();
        return Err(field.problem(format!("expected proxies to be a map/struct, got {found}")));
    };
    for pair in fields(map) {
        if pair.name != "trusted" {
            reading.report.check(pair.unknown());
            continue;
        }
        let Value::Array(items) = &pair.node.value else {
            let found = pair.node.value.go_type();
            reading
                .report
                .error(pair.problem(format!("expected proxies' trusted field to be an array, got {found}")));
            continue;
        };
        for item in items {
            let Value::Map(proxy) = &item.value else {
                let found = item.value.go_type();
                let text = format!("expected proxies' trusted entry to be a map/struct, got {found}");
                reading.report.error(Problem::at(item.at, text).remedy("write trusted: [ {key: ...} ]"));
                continue;
            };
            for entry in fields(proxy) {
                match entry.name.as_str() {
                    "key" | "public_key" => {
                        let Some(key) = reading.report.check(entry.string()) else { continue };
                        if is_public(key, None) {
                            keys.push(key.to_owned());
                        } else {
                            reading.report.error(
                                entry
                                    .problem(format!("invalid proxy key {key:?}"))
                                    .remedy("give a public nkey"),
                            );
                        }
                    }
                    _ => {
                        reading.report.check(entry.unknown());
                    }
                }
            }
        }
    }
    Ok(keys)
}
