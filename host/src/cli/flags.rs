//! The flags of the server (CFG-300 to CFG-302) and how they win over the file (CFG-305).
//!
//! Not here: how a command line is split (`go_flags`) and flags that concern plugins (`plugin_flags`).

use std::path::PathBuf;
use std::sync::Arc;

use super::go_flags::{Given, Kind, Value};
use super::plugin_flags;
use crate::config::options::{Options, TlsOptions};
use crate::config::problem::Problem;
use crate::config::{Overrides, Section};

/// What was given; `None` leaves it to the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub plugins_dirs: Vec<PathBuf>,
    pub(super) ask: Ask,
    pub(super) plugin: plugin_flags::PluginFlags,
    host: Option<String>,
    port: Option<i64>,
    name: Option<String>,
    client_advertise: Option<String>,
    pid_file: Option<PathBuf>,
    ports_file_dir: Option<PathBuf>,
    log: LogFlags,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    tls: TlsFlags,
}

/// Flags that ask for something else than to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ask {
    pub test: bool,
    pub version: bool,
    pub help: bool,
    pub help_tls: bool,
    pub signal: Option<String>,
    pub profile: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct LogFlags {
    debug: Option<bool>,
    trace: Option<bool>,
    trace_verbose: Option<bool>,
    logtime: Option<bool>,
    logtime_utc: Option<bool>,
    syslog: Option<bool>,
    remote_syslog: Option<String>,
    file: Option<PathBuf>,
    size_limit: Option<i64>,
    max_traced_msg_len: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct TlsFlags {
    on: Option<bool>,
    verify: Option<bool>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// One flag, whatever its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Host,
    Port,
    Name,
    Pid,
    Config,
    Test,
    Signal,
    ClientAdvertise,
    PortsFileDir,
    PluginsDir,
    Log,
    Logtime,
    LogtimeUtc,
    Syslog,
    RemoteSyslog,
    Debug,
    Trace,
    TraceVerbose,
    DebugTrace,
    DebugTraceVerbose,
    LogSizeLimit,
    MaxTracedMsgLen,
    User,
    Pass,
    Auth,
    Tls,
    TlsVerify,
    TlsCert,
    TlsKey,
    TlsCaCert,
    Profile,
    Help,
    Version,
    HelpTls,
    Plugin(plugin_flags::PluginFlag),
}

/// The flag a name stands for, and what follows it.
pub(super) fn find(name: &str) -> Option<(Flag, Kind)> {
    use Kind::{Bool, Int, Text};
    Some(match name {
        "a" | "addr" | "net" => (Flag::Host, Text),
        "p" | "port" => (Flag::Port, Int),
        "n" | "name" | "server_name" => (Flag::Name, Text),
        "P" | "pid" => (Flag::Pid, Text),
        "c" | "config" => (Flag::Config, Text),
        "t" => (Flag::Test, Bool),
        "sl" | "signal" => (Flag::Signal, Text),
        "client_advertise" => (Flag::ClientAdvertise, Text),
        "ports_file_dir" => (Flag::PortsFileDir, Text),
        "plugins-dir" | "plugins_dir" => (Flag::PluginsDir, Text),
        "l" | "log" => (Flag::Log, Text),
        "T" | "logtime" => (Flag::Logtime, Bool),
        "logtime_utc" => (Flag::LogtimeUtc, Bool),
        "s" | "syslog" => (Flag::Syslog, Bool),
        "r" | "remote_syslog" => (Flag::RemoteSyslog, Text),
        "D" | "debug" => (Flag::Debug, Bool),
        "V" | "trace" => (Flag::Trace, Bool),
        "VV" => (Flag::TraceVerbose, Bool),
        "DV" => (Flag::DebugTrace, Bool),
        "DVV" => (Flag::DebugTraceVerbose, Bool),
        "log_size_limit" => (Flag::LogSizeLimit, Int),
        "max_traced_msg_len" => (Flag::MaxTracedMsgLen, Int),
        "user" => (Flag::User, Text),
        "pass" => (Flag::Pass, Text),
        "auth" => (Flag::Auth, Text),
        "tls" => (Flag::Tls, Bool),
        "tlsverify" => (Flag::TlsVerify, Bool),
        "tlscert" => (Flag::TlsCert, Text),
        "tlskey" => (Flag::TlsKey, Text),
        "tlscacert" => (Flag::TlsCaCert, Text),
        "profile" => (Flag::Profile, Int),
        "h" | "help" => (Flag::Help, Bool),
        "v" | "version" => (Flag::Version, Bool),
        "help_tls" => (Flag::HelpTls, Bool),
        _ => {
            let (flag, kind) = plugin_flags::find(name)?;
            (Flag::Plugin(flag), kind)
        }
    })
}

impl Flags {
    pub(super) fn take(&mut self, given: Given<Flag>) {
        match (given.id, given.value) {
            (Flag::Plugin(flag), value) => self.plugin.take(flag, value),
            (flag, Value::Bool(on)) => self.take_bool(flag, on),
            (flag, Value::Int(number)) => self.take_int(flag, number),
            (flag, Value::Text(text)) => self.take_text(flag, text),
        }
    }

    fn take_bool(&mut self, flag: Flag, on: bool) {
        let log = &mut self.log;
        match flag {
            Flag::Test => self.ask.test = on,
            Flag::Help => self.ask.help = on,
            Flag::Version => self.ask.version = on,
            Flag::HelpTls => self.ask.help_tls = on,
            Flag::Logtime => log.logtime = Some(on),
            Flag::LogtimeUtc => log.logtime_utc = Some(on),
            Flag::Syslog => log.syslog = Some(on),
            Flag::Debug => log.debug = Some(on),
            Flag::Trace => log.trace = Some(on),
            Flag::TraceVerbose => (log.trace, log.trace_verbose) = (Some(on), Some(on)),
            Flag::DebugTrace => (log.debug, log.trace) = (Some(on), Some(on)),
            Flag::DebugTraceVerbose => {
                (log.debug, log.trace, log.trace_verbose) = (Some(on), Some(on), Some(on));
            }
            Flag::Tls => self.tls.on = Some(on),
            Flag::TlsVerify => self.tls.verify = Some(on),
            _ => {}
        }
    }

    fn take_int(&mut self, flag: Flag, number: i64) {
        match flag {
            // 0 leaves it to the file, as in the reference.
            Flag::Port => self.port = Some(number).filter(|&port| port != 0),
            Flag::LogSizeLimit => self.log.size_limit = Some(number),
            Flag::MaxTracedMsgLen => self.log.max_traced_msg_len = Some(number),
            Flag::Profile => self.ask.profile = number != 0,
            _ => {}
        }
    }

    fn take_text(&mut self, flag: Flag, text: String) {
        // An empty text is as good as no flag.
        let text = Some(text).filter(|text| !text.is_empty());
        let path = || text.clone().map(PathBuf::from);
        match flag {
            Flag::Config => self.config = path(),
            Flag::PluginsDir => self.plugins_dirs.extend(path()),
            Flag::Pid => self.pid_file = path(),
            Flag::PortsFileDir => self.ports_file_dir = path(),
            Flag::Log => self.log.file = path(),
            Flag::TlsCert => self.tls.cert = path(),
            Flag::TlsKey => self.tls.key = path(),
            Flag::TlsCaCert => self.tls.ca = path(),
            Flag::Signal => self.ask.signal = text,
            Flag::Host => self.host = text,
            Flag::Name => self.name = text,
            Flag::ClientAdvertise => self.client_advertise = text,
            Flag::RemoteSyslog => self.log.remote_syslog = text,
            Flag::User => self.user = text,
            Flag::Pass => self.password = text,
            Flag::Auth => self.token = text,
            _ => {}
        }
    }

    /// What is wrong with the flags themselves; the values were checked when they were split.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.ask.profile {
            return Err("the flag -profile is not supported by natsd: Go profiling".to_owned());
        }
        if let Some(port) = self.port.filter(|port| !(-1..=65_535).contains(port)) {
            return Err(format!("-port {port} is not a port: use 1 to 65535, or -1 for a free one"));
        }
        if self.name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err("server name cannot contain spaces".to_owned());
        }
        if let Some(address) = &self.client_advertise {
            crate::config::split_address(address, Some(0))?;
        }
        if self.tls.wanted() {
            if self.tls.cert.is_none() {
                return Err("TLS Server certificate must be present and valid".to_owned());
            }
            if self.tls.key.is_none() {
                return Err("TLS Server private key must be present and valid".to_owned());
            }
        }
        Ok(())
    }

    fn apply_log(&self, options: &mut Options) {
        let log = &self.log;
        let set = |target: &mut bool, flag: Option<bool>| *target = flag.unwrap_or(*target);
        set(&mut options.log.debug, log.debug);
        set(&mut options.log.trace, log.trace);
        set(&mut options.log.trace_verbose, log.trace_verbose);
        set(&mut options.log.logtime, log.logtime);
        set(&mut options.log.logtime_utc, log.logtime_utc);
        set(&mut options.log.syslog, log.syslog);
        replace(&mut options.log.remote_syslog, &log.remote_syslog);
        replace(&mut options.log.file, &log.file);
        if let Some(limit) = log.size_limit {
            options.log.size_limit_bytes = u64::try_from(limit).unwrap_or(0);
        }
        if let Some(len) = log.max_traced_msg_len {
            options.limits.max_traced_msg_len = usize::try_from(len).unwrap_or(0);
        }
    }
}

impl TlsFlags {
    fn wanted(&self) -> bool {
        let asked = self.on == Some(true) || self.verify == Some(true);
        let files = self.cert.is_some() || self.key.is_some() || self.ca.is_some();
        self.on != Some(false) && (asked || files)
    }

    fn apply(&self, options: &mut Options) {
        if self.on == Some(false) {
            options.tls = None;
        }
        let (true, Some(cert), Some(key)) = (self.wanted(), &self.cert, &self.key) else { return };
        options.tls = Some(Arc::new(TlsOptions {
            certs: vec![(cert.clone(), key.clone())],
            ca_file: self.ca.clone(),
            verify: self.verify == Some(true),
            ..TlsOptions::default()
        }));
    }
}

impl Overrides for Flags {
    fn options(&self, options: &mut Options) {
        if let Some(host) = &self.host {
            options.host.clone_from(host);
        }
        if let Some(port) = self.port {
            options.port = i32::try_from(port).unwrap_or(options.port);
        }
        if let Some(name) = &self.name {
            options.server_name.clone_from(name);
        }
        replace(&mut options.client_advertise, &self.client_advertise);
        replace(&mut options.files.pid_file, &self.pid_file);
        replace(&mut options.files.ports_file_dir, &self.ports_file_dir);
        replace(&mut options.auth.user, &self.user);
        replace(&mut options.auth.password, &self.password);
        replace(&mut options.auth.token, &self.token);
        self.apply_log(options);
        self.tls.apply(options);
        options.plugins.dirs.splice(0..0, self.plugins_dirs.iter().cloned());
    }

    fn sections(&self, sections: &mut Vec<Section>) -> Result<(), Problem> {
        self.plugin.apply(sections)
    }
}

fn replace<T: Clone>(target: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        target.clone_from(flag);
    }
}
