//! From the command line to a running server.

use super::listeners::Listeners;
use super::peers::Peers;
use super::plugin_listeners::NextConfig;
use super::services::Services;
use super::stapling::Stapling;
use super::{ConfigFacts, Facts, Server};
use crate::auth::Authenticator;
use crate::cli::{self, Command, Flags};
use crate::config::options::Options;
use crate::config::{self, Available, Config, Inputs, PluginKeys};
use crate::conn::Context;
use crate::conn::context::ServerFacts;
use crate::plugins::{Plugins, PluginsError};
use crate::proto::info::{self, InfoTemplate, ServerInfo};
use crate::proto::nkey::ServerIdentity;
use crate::runtime::memory;
use crate::runtime::pid_ports::{PidPortsError, PortsFile, interface_addresses, write_pid};
use crate::runtime::plugin_tasks::TokioServices;
use crate::runtime::plugin_tls::PluginTls;
use crate::runtime::ports::{Ports, urls};
use crate::runtime::signals::{Signals, raise_open_files_limit};
use crate::runtime::{Bound, Mutex, files, log_files, now_ns, process, random_bytes, tasks, unix_ns};
use crate::tls::server::TlsServer;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Everything from outside that a configuration may read.
pub(super) const INPUTS: Inputs<'static> = Inputs { read_file: &files::read_file, env: &files::env };

/// What the binaries call: reads the command line, and serves until told to stop.
pub fn main() -> ExitCode {
    let exe = process::exe_name();
    let args: Vec<String> = process::arguments();
    match cli::parse(&exe, &args) {
        Command::Run(flags) => run(&exe, *flags),
        Command::TestConfig(flags) => test_config(&exe, &flags),
        Command::Plugins(flags) => list_plugins(&exe, &flags),
        Command::Signal(request) => match request.send(&process::SystemProcesses) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => fail(&exe, &e.to_string()),
        },
        Command::Version => {
            process::tell(&format!("{exe}: v{}", info::COMPATIBLE_VERSION));
            ExitCode::SUCCESS
        }
        Command::Help => {
            process::tell(&cli::usage(&exe));
            ExitCode::SUCCESS
        }
        Command::HelpTls => {
            process::tell(&cli::help_tls());
            ExitCode::SUCCESS
        }
        Command::Fail(failure) => {
            process::tell_error(&failure.message);
            if failure.with_usage {
                process::tell(&cli::usage(&exe));
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

fn fail(exe: &str, text: &str) -> ExitCode {
    process::tell_error(&format!("{exe}: {text}"));
    ExitCode::FAILURE
}

/// A configuration with the plugins that it was read for.
struct Loaded {
    config: Config,
    plugins: Plugins,
    tls: Arc<PluginTls>,
}

/// Finds the plugins, reads the configuration for them, and has each check its part.
fn load(flags: &Flags) -> Result<Loaded, String> {
    let tls = Arc::new(PluginTls::default());
    let (draft, plugins, errors) = find_plugins(flags, &tls)?;
    if !errors.is_empty() {
        show_notes(&plugins, false);
        return Err(lines(&errors));
    }
    let config = finish(flags, draft, &plugins)?;
    tls.set_server(config.options.tls.clone());
    Ok(Loaded { config, plugins, tls })
}

/// Has each plugin check its part. Also answers with what they and the core warn of.
fn configure(config: &Config, plugins: &Plugins) -> (Vec<PluginsError>, String) {
    plugins.set_surroundings(Arc::new(NextConfig::of(config)));
    let errors = plugins.configure(&config.options.plugins, &config.owned_keys());
    let warnings = plugins.take_warnings();
    let warnings = warnings.iter().map(|warning| config.plugin_problem(&warning.plugin, &warning.text));
    (errors, config.warnings_text() + &config.errors(warnings.collect()).to_string())
}

/// The plugins at hand, and why those that must be are not.
fn find_plugins(
    flags: &Flags,
    tls: &Arc<PluginTls>,
) -> Result<(config::Draft, Plugins, Vec<PluginsError>), String> {
    let draft = config::read(flags.config.as_deref(), &INPUTS, flags).map_err(|e| e.to_string())?;
    let runtime = Arc::new(TokioServices::new(tasks::handle(), tls.clone()));
    let (plugins, errors) = Plugins::load(&draft.plugins, process::exe_dir().as_deref(), runtime);
    Ok((draft, plugins, errors))
}

fn finish(flags: &Flags, draft: config::Draft, plugins: &Plugins) -> Result<Config, String> {
    let available = available(plugins, &draft.plugins, process::exe_dir().as_deref());
    draft.finish(&INPUTS, flags, &available).map_err(|e| e.to_string())
}

/// For who does not get as far as a log.
fn show_notes(plugins: &Plugins, with_details: bool) {
    for note in plugins.take_notes().iter().filter(|note| with_details || !note.is_detail) {
        process::tell_error(&note.text);
    }
}

pub(super) fn available(
    plugins: &Plugins,
    options: &config::options::PluginsOptions,
    executable_dir: Option<&Path>,
) -> Available {
    let keys = |m: natsd_plugin_api::Manifest| PluginKeys { name: m.name, owned_keys: m.config_keys };
    Available {
        plugins: plugins.manifests().into_iter().map(keys).collect(),
        searched: crate::plugins::search::folders(&options.dirs, executable_dir),
    }
}

fn lines(errors: &[PluginsError]) -> String {
    errors.iter().map(PluginsError::to_string).collect::<Vec<_>>().join("\n")
}

/// Errors that plugins found in their part, with the place in the file.
pub(super) fn placed(config: &Config, errors: &[PluginsError]) -> String {
    let problems = errors.iter().map(|e| match e {
        PluginsError::NeedsRestart { plugin, .. } => config.plugin_problem(plugin, &e.to_string()),
        PluginsError::Plugin { plugin, error } => config.plugin_problem(plugin, &error.to_string()),
        other => config::Problem::nowhere(other.to_string()),
    });
    config.errors(problems.collect()).to_string()
}

fn test_config(exe: &str, flags: &Flags) -> ExitCode {
    let result = tasks::block_on(async {
        let Loaded { config, plugins, .. } = load(flags)?;
        let (errors, warnings) = configure(&config, &plugins);
        show_notes(&plugins, false);
        let (at_start, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(PluginsError::is_at_start);
        if !errors.is_empty() {
            return Err(placed(&config, &errors));
        }
        let of_core = config.check_start().err().map(|errors| errors.to_string());
        let of_plugins = (!at_start.is_empty()).then(|| placed(&config, &at_start));
        let start = [of_core, of_plugins].into_iter().flatten().reduce(|core, plugins| core + &plugins);
        // CFG-307: warnings are as bad as errors here.
        if warnings.is_empty() { Ok((config.digest, start)) } else { Err(warnings) }
    });
    match result {
        Ok(Ok((digest, start))) => {
            let path = flags.config.as_deref().unwrap_or(Path::new("")).display();
            process::tell_error(&format!("{exe}: configuration file {path} is valid ({digest})"));
            // Not an error: nats-server finds these at a start, and scripts go by the exit code.
            if let Some(why) = start {
                process::tell_error(&format!("but a server will not start with it:\n{why}"));
            }
            ExitCode::SUCCESS
        }
        Ok(Err(text)) => fail(exe, text.trim_end()),
        Err(e) => fail(exe, &e.to_string()),
    }
}

/// Lists also what cannot be loaded, with the reason; the exit code tells that something is wrong.
fn list_plugins(exe: &str, flags: &Flags) -> ExitCode {
    let result = tasks::block_on(async {
        let (draft, plugins, errors) = find_plugins(flags, &Arc::default())?;
        let checked = finish(flags, draft, &plugins).map(|config| {
            let (errors, _) = configure(&config, &plugins);
            if errors.is_empty() { Ok(()) } else { Err(placed(&config, &errors)) }
        });
        let checked = checked.and_then(|errors| errors);
        process::tell(crate::plugins::listing::listing(&plugins.facts()).trim_end());
        // Of a plugin that is not there the configuration knows nothing: its errors would be only noise.
        if errors.is_empty() { checked } else { Err(lines(&errors)) }
    });
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(text)) => fail(exe, text.trim_end()),
        Err(e) => fail(exe, &e.to_string()),
    }
}

fn run(exe: &str, flags: Flags) -> ExitCode {
    raise_open_files_limit();
    let served = tasks::block_on(async {
        let signals = Signals::new().map_err(|e| StartError::Config(e.to_string()))?;
        let server = start(flags).await?;
        tasks::spawn(memory::tend());
        Ok::<u8, StartError>(server.run(signals).await)
    });
    match served {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(StartError::Config(text))) => fail(exe, text.trim_end()),
        Ok(Err(StartError::Fatal(text))) => {
            crate::log::fatal!("{text}");
            ExitCode::FAILURE
        }
        Err(e) => fail(exe, &e.to_string()),
    }
}

/// Why the server does not start.
enum StartError {
    /// Told on standard error (CFG-308).
    Config(String),
    /// Told in the log (CFG-321).
    Fatal(String),
}

async fn start(flags: Flags) -> Result<Arc<Server>, StartError> {
    let Loaded { config, plugins, tls } = load(&flags).map_err(StartError::Config)?;
    config.check_start().map_err(|e| StartError::Config(e.to_string()))?;
    let options = &config.options;
    let (errors, warnings) = configure(&config, &plugins);
    if !errors.is_empty() {
        show_notes(&plugins, options.log.debug);
        return Err(StartError::Config(placed(&config, &errors)));
    }
    if !warnings.is_empty() {
        process::tell_error(warnings.trim_end());
    }
    let output = log_files::open(&options.log).map_err(|e| StartError::Config(e.to_string()))?;
    crate::log::install(output);
    crate::log::tracing_bridge::install();
    apply_log_levels(options, &plugins);
    let server = build(flags, &config, plugins, tls)?;
    server.announce(&config);
    server.staple_at_start().await.map_err(StartError::Config)?;
    server.context.tls.load_full().iter().for_each(|tls| server.check_peers_of(tls));
    let address = take_address(options).await?;
    server.open(address).await?;
    Ok(server)
}

pub(super) fn apply_log_levels(options: &Options, plugins: &Plugins) {
    crate::log::set_levels(&options.log);
    crate::routing::trace::set_payload_bytes_max(options.limits.max_traced_msg_len);
    plugins.set_log_level(match (options.log.trace, options.log.debug) {
        (true, _) => 5,
        (_, true) => 4,
        _ => 3,
    });
}

/// The server without its sockets.
fn build(
    flags: Flags,
    config: &Config,
    plugins: Plugins,
    plugin_tls: Arc<PluginTls>,
) -> Result<Arc<Server>, StartError> {
    let fatal = |e: &dyn std::fmt::Display| StartError::Fatal(e.to_string());
    let options = &config.options;
    let identity = ServerIdentity::from_seeds(&random_bytes(), random_bytes());
    let authenticator = Authenticator::of_server(options).map_err(|e| fatal(&e))?;
    let tls = build_tls(options).map_err(StartError::Fatal)?;
    let name = if options.server_name.is_empty() { &identity.id } else { &options.server_name };
    let facts = Facts {
        server_id: identity.id.clone(),
        xkey: identity.xkey.clone(),
        name: name.clone(),
        start_unix_ns: unix_ns(),
        start_ns: now_ns(),
    };
    let info = server_info(options, &facts, &authenticator, 0);
    let named =
        ServerFacts { id: facts.server_id.clone(), name: facts.name.clone(), ..ServerFacts::default() };
    let info = InfoTemplate::new(&info);
    let context = Arc::new(Context::new(named, options.clone(), info, authenticator, tls));
    context.configure_accounts(&options.accounts);
    let services = Arc::new(Services::default());
    let plugins = Arc::new(plugins);
    let load_unix_ns = unix_ns();
    let server = Arc::new(Server {
        context,
        peers: Arc::new(Peers::new(plugins.clone())),
        plugins,
        facts,
        keys: identity,
        flags,
        config: Mutex::new(ConfigFacts { digest: config.digest.clone(), load_unix_ns, reload_error: None }),
        listeners: Listeners::default(),
        services,
        stapling: Stapling::of(&plugin_tls),
        stop: tokio::sync::Notify::new(),
        plugin_tls,
        address: Mutex::new(None),
        ports_file: Mutex::new(None),
        stopping: AtomicBool::new(false),
        reloading: tokio::sync::Mutex::default(),
    });
    server.attach();
    Ok(server)
}

pub(super) fn build_tls(options: &Options) -> Result<Option<TlsServer>, String> {
    let Some(tls) = &options.tls else { return Ok(None) };
    let tls = TlsServer::build(tls, &files::read_bytes).map_err(|e| e.to_string())?;
    for warning in &tls.warnings {
        crate::log::warn!("{warning}");
    }
    Ok(Some(tls))
}

/// The server's part of INFO for these options.
pub(super) fn server_info(
    options: &Options,
    facts: &Facts,
    authenticator: &Authenticator,
    port: u16,
) -> ServerInfo {
    let (host, advertised_port) = options.shown_address();
    ServerInfo {
        server_id: facts.server_id.clone(),
        server_name: facts.name.clone(),
        git_commit: String::new(),
        go: info::go_name(),
        host: host.to_owned(),
        port: advertised_port.unwrap_or(port),
        headers: !options.no_header_support,
        auth_required: authenticator.auth_required(),
        tls_required: options.tls.is_some() && !options.allow_non_tls,
        tls_verify: options.tls.as_ref().is_some_and(|t| t.verify || t.verify_and_map),
        tls_available: options.tls.is_some() && options.allow_non_tls,
        api_level: API_LEVEL,
        xkey: Some(facts.xkey.clone()),
        ..ServerInfo::default()
    }
}

/// JetStream API level of the version that clients are told (CORE-006).
const API_LEVEL: u32 = 5;

/// Takes the clients' address: who connects before plugins are ready is refused, as by nats-server.
async fn take_address(options: &Options) -> Result<Bound, StartError> {
    Bound::take(&options.host, options.port.max(0) as u16).await.map_err(|e| not_listening(options, &e))
}

fn not_listening(options: &Options, error: &std::io::Error) -> StartError {
    let (host, port) = (&options.host, options.port.max(0));
    let why = crate::config::go_io_text(error);
    StartError::Fatal(format!(
        "Error listening on port: {host}:{port}, \"listen tcp {host}:{port}: bind: {why}\""
    ))
}

impl Server {
    /// The lines that begin the log (CFG-342).
    fn announce(&self, config: &Config) {
        use crate::log::notice;
        let options = &config.options;
        notice!("Starting nats-server");
        notice!("  Version:  {}", info::COMPATIBLE_VERSION);
        notice!("  Git:      [natsd {}]", env!("CARGO_PKG_VERSION"));
        notice!("  Name:     {}", self.facts.name);
        notice!("  ID:       {}", self.facts.server_id);
        if self.context.authenticator().has_plaintext_passwords() {
            crate::log::warn!("Plaintext passwords detected, use nkeys or bcrypt");
        }
        if options.limits.max_payload_bytes > 8 << 20 {
            crate::log::warn!(
                "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance"
            );
        }
        if let Some(path) = &config.path {
            notice!("Using configuration file: {} ({})", path.display(), config.digest);
        }
    }

    /// Plugins first, then clients.
    async fn open(self: &Arc<Self>, bound: Bound) -> Result<(), StartError> {
        let address = bound.local_addr().map_err(|e| StartError::Fatal(e.to_string()))?;
        *self.address.lock() = Some(address);
        self.refresh_info();
        self.plugins.start().await.map_err(|e| StartError::Fatal(e.to_string()))?;
        // Plugins may want clients to authenticate.
        self.refresh_info();
        let options = self.context.options.load_full();
        let listener = bound.listen().map_err(|e| not_listening(&options, &e))?;
        use crate::log::notice;
        notice!("Listening for client connections on {}", host_port(&options.host, address.port()));
        if options.tls.is_some() {
            match options.allow_non_tls {
                true => notice!("TLS available for client connections"),
                false => notice!("TLS required for client connections"),
            }
            if options
                .tls
                .as_ref()
                .is_some_and(|t| t.handshake_first == crate::config::options::HandshakeFirst::Always)
            {
                crate::log::warn!(
                    "Clients that are not using \"TLS Handshake First\" option will fail to connect"
                );
            }
        }
        if options.proxy_protocol {
            notice!("PROXY protocol enabled for client connections");
        }
        notice!("Server is ready");
        self.listeners.serve_clients(&self.context, listener);
        self.write_pid_file(&options).map_err(|e| StartError::Fatal(e.to_string()))?;
        self.write_ports_file();
        if let Ok(smaps) = files::read_file(Path::new("/proc/self/smaps")) {
            crate::plugins::code::give_back(&smaps);
        }
        Ok(())
    }

    pub(super) fn write_pid_file(&self, options: &Options) -> Result<(), PidPortsError> {
        options.files.pid_file.as_deref().map_or(Ok(()), write_pid)
    }

    /// The ports file, in place of an earlier one (CFG-331).
    pub(super) fn write_ports_file(&self) {
        let options = self.context.options.load();
        let mut file = self.ports_file.lock();
        *file = None;
        let Some(dir) = &options.files.ports_file_dir else { return };
        let interfaces = interface_addresses().unwrap_or_default();
        let scheme = if options.tls.is_some() { "tls" } else { "nats" };
        let mut all = Ports::default();
        for (kind, secured, address) in
            self.services.addresses().into_iter().chain(self.listeners_of_plugins())
        {
            match kind.as_str() {
                "websocket" => {
                    let scheme = if secured { "wss" } else { "ws" };
                    all.websocket.extend(urls(scheme, address, &interfaces));
                }
                "monitoring" => {
                    let scheme = if secured { "https" } else { "http" };
                    all.monitoring.extend(urls(scheme, address, &interfaces));
                }
                _ => {}
            }
        }
        if let Some(address) = *self.address.lock() {
            all.nats = urls(scheme, address, &interfaces);
        }
        match PortsFile::write(dir, &all) {
            Ok(written) => *file = Some(written),
            Err(e) => crate::log::error!("{e}"),
        }
    }

    /// Listeners that plugins have opened by themselves, for protocols of their own.
    fn listeners_of_plugins(&self) -> Vec<(String, bool, core::net::SocketAddr)> {
        let parts = super::snapshot::parts_of_plugins(&self.plugins, "listeners", &serde_json::Value::Null);
        let listeners = parts.iter().filter_map(serde_json::Value::as_array).flatten();
        let facts = |listener: &serde_json::Value| {
            let address = listener["address"].as_str()?.parse().ok()?;
            Some((listener["kind"].as_str()?.to_owned(), listener["tls"] == true, address))
        };
        listeners.filter_map(facts).collect()
    }

    pub(super) fn remove_ports_file(&self) {
        *self.ports_file.lock() = None;
    }

    pub(super) fn port(&self) -> u16 {
        self.address.lock().map_or(0, |address| address.port())
    }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
