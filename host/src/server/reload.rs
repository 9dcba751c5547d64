//! Reload (CFG-140 to CFG-149): all or nothing, without dropping clients that are still allowed.

use super::Server;
use super::boot::{INPUTS, apply_log_levels, available, build_tls, placed};
use super::plugin_listeners::NextConfig;
use crate::auth::Authenticator;
use crate::config::reload::{Change, What, diff};
use crate::config::{self, Config};
use crate::conn::registry::Signal;
use crate::plugins::Prepared;
use crate::proto::error::{ClosedReason, ErrText};
use crate::runtime::random::random_below;
use crate::runtime::{clock, log_files, process, unix_ns};
use crate::tls::server::TlsServer;
use natsd_plugin_api::Event;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const RECHECK_POLL: Duration = Duration::from_millis(1);
const RECHECK_MAX: Duration = Duration::from_secs(2);

/// A configuration that core and plugins agreed to.
struct Agreed {
    config: Config,
    changes: Vec<Change>,
    authenticator: Authenticator,
    tls: Option<TlsServer>,
    plugins: Prepared,
}

impl Server {
    /// One at a time. An error is logged; it says why nothing changed.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<(), String> {
        let _turn = self.reloading.lock().await;
        match self.agree().await {
            Ok(agreed) => {
                self.apply(agreed).await;
                Ok(())
            }
            Err(why) => {
                let why = why.trim_end();
                // Who has read the line finds it in varz, too.
                self.config.lock().reload_error = Some(why.to_owned());
                crate::log::error!("Failed to reload server configuration: {why}");
                Err(why.to_owned())
            }
        }
    }

    /// Reads and checks everything; changes nothing.
    async fn agree(&self) -> Result<Agreed, String> {
        let Some(path) = self.flags.config.as_deref() else {
            return Err("can only reload config when a file is provided using -c or --config".to_owned());
        };
        let draft = config::read(Some(path), &INPUTS, &self.flags).map_err(|e| e.to_string())?;
        let available = available(&self.plugins, &draft.plugins, process::exe_dir().as_deref());
        let config = draft.finish(&INPUTS, &self.flags, &available).map_err(|e| e.to_string())?;
        config.check_start().map_err(|e| e.to_string())?;
        let old = self.context.options.load_full();
        let changes = diff(&old, &config.options).map_err(|e| e.to_string())?;
        let authenticator = Authenticator::of_server(&config.options).map_err(|e| e.to_string())?;
        let tls = build_tls(&config.options)?;
        self.plugins.set_surroundings(Arc::new(NextConfig::of(&config)));
        let plugins = self.plugins.prepare(&config.options.plugins, &config.owned_keys()).await;
        let plugins = plugins.map_err(|e| placed(&config, &[e]))?;
        let listeners = &self.services.listeners;
        let monitors = self.plugin_tls.prepare(config.options.tls.as_ref());
        if let Err(error) = listeners.prepare_others().and(monitors) {
            listeners.finish_all(false);
            self.plugin_tls.finish(false);
            return Err(error.to_string());
        }
        Ok(Agreed { config, changes, authenticator, tls, plugins })
    }

    /// Makes the new configuration the one in force.
    async fn apply(self: &Arc<Self>, agreed: Agreed) {
        let Agreed { config, changes, authenticator, tls, plugins } = agreed;
        let options = Arc::new(config.options.clone());
        if changes.iter().any(|c| c.what == What::Log) {
            match log_files::open(&options.log) {
                Ok(output) => crate::log::install(output),
                Err(e) => crate::log::error!("{e}; the log stays where it was"),
            }
        }
        apply_log_levels(&options, &self.plugins);
        let tls = tls.map(Arc::new);
        let next = tls.iter().cloned().chain(self.services.listeners.prepared());
        let next: Vec<_> = next.chain(self.plugin_tls.prepared()).collect();
        // Before anything shows these certificates.
        Box::pin(self.staple_again(&options, &next)).await;
        self.peers.stop();
        self.context.configure_accounts(&options.accounts);
        self.context.set_authenticator(authenticator);
        self.context.tls.store(tls);
        self.context.options.store(options.clone());
        next.iter().for_each(|tls| self.check_peers_of(tls));
        plugins.finish(true);
        self.services.listeners.finish_all(true);
        self.plugin_tls.finish(true);
        self.refresh_info();
        if changes.iter().any(|c| c.what == What::MaxConnections) {
            self.close_excess(options.limits.max_connections.unwrap_or(0));
        }
        if changes.iter().any(|c| c.what == What::PidFile)
            && let Err(e) = self.write_pid_file(&options)
        {
            crate::log::error!("{e}");
        }
        if changes.iter().any(|c| c.what == What::PortsFile) {
            self.write_ports_file();
        }
        self.recheck_connections().await;
        for change in &changes {
            crate::log::notice!("{}", change.log);
        }
        let digest = config.digest.clone();
        *self.config.lock() =
            super::ConfigFacts { digest: digest.clone(), load_unix_ns: unix_ns(), reload_error: None };
        let changed = changes.into_iter().map(|c| c.log).collect();
        self.plugins.points().notify(&Event::Reloaded { changed });
        crate::log::notice!("Reloaded server configuration ({digest})");
    }

    /// Every connection is checked against the new configuration before the reload is called done.
    async fn recheck_connections(&self) {
        let all = self.context.registry.all();
        for connection in &all {
            connection.signal(Signal::Recheck);
        }
        let checked = async {
            for connection in &all {
                while connection.has_signals() && !connection.receiver.closed.load(Relaxed) {
                    clock::sleep(RECHECK_POLL).await;
                }
            }
        };
        // One that is busy for longer is checked when it is not.
        let _ = clock::timeout(RECHECK_MAX, checked).await;
    }

    /// CFG-055: random clients are closed when there are too many now.
    fn close_excess(&self, max: usize) {
        let mut all = self.context.registry.all();
        let excess = all.len().saturating_sub(max);
        for _ in 0..excess {
            let connection = all.swap_remove(random_below(all.len() as u64) as usize);
            connection.receiver.send(&ErrText::MaximumConnections.line());
            connection.close(ClosedReason::MaximumConnections);
        }
        if excess > 0 {
            crate::log::notice!("Closed {excess} connections to fall within max_connections");
        }
    }
}
