//! The server: puts the parts together, runs them until it is told to stop, and changes them on reload.
//!
//! `boot` goes from the command line to a running server; `listeners` accepts; `reload`, `lame_duck` and
//! `shutdown` are the rest of its life; `services` is what plugins are lent of it.

mod boot;
mod hooks;
mod lame_duck;
mod listeners;
mod peers;
mod plugin_listeners;
mod reload;
mod responders;
mod services;
mod shutdown;
pub mod snapshot;
mod stapling;
mod to_plugin;
mod transport;

pub use boot::main;

use crate::cli::Flags;
use crate::conn::Context;
use crate::plugins::Plugins;
use crate::proto::nkey::ServerIdentity;
use crate::runtime::Mutex;
use crate::runtime::pid_ports::PortsFile;
use crate::runtime::plugin_tls::PluginTls;
use crate::runtime::signals::{Signal, Signals};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// One running server.
pub struct Server {
    pub context: Arc<Context>,
    pub plugins: Arc<Plugins>,
    pub facts: Facts,
    keys: ServerIdentity,
    flags: Flags,
    /// The digest and the time of the configuration in force.
    config: Mutex<ConfigFacts>,
    listeners: listeners::Listeners,
    services: Arc<services::Services>,
    plugin_tls: Arc<PluginTls>,
    stapling: stapling::Stapling,
    peers: Arc<peers::Peers>,
    /// The server itself finds that it has to end.
    stop: tokio::sync::Notify,
    /// Where clients connect; known once it listens.
    address: Mutex<Option<core::net::SocketAddr>>,
    ports_file: Mutex<Option<PortsFile>>,
    stopping: AtomicBool,
    /// Held by the reload that is under way.
    reloading: tokio::sync::Mutex<()>,
}

/// What a server is, from its start to its end.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub server_id: String,
    pub xkey: String,
    pub name: String,
    pub start_unix_ns: u64,
    pub start_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ConfigFacts {
    pub digest: String,
    pub load_unix_ns: u64,
    /// Why the last reload changed nothing.
    pub reload_error: Option<String>,
}

impl Server {
    /// Ends `run`, as a signal would.
    fn stop(&self) {
        self.stop.notify_one();
    }

    /// Serves until a signal ends it; the exit code.
    async fn run(self: &Arc<Self>, mut signals: Signals) -> u8 {
        let mut lame_duck = None;
        loop {
            let signal = tokio::select! {
                signal = signal_or_done(&mut signals, lame_duck.as_mut()) => signal,
                () = self.stop.notified() => None,
            };
            let Some(signal) = signal else {
                self.shut_down().await;
                return 0;
            };
            crate::log::notice!("Trapped {:?} signal", signal.name());
            match signal {
                // It is logged why, if it fails.
                Signal::Hangup => drop(self.reload().await),
                Signal::User1 => crate::log::reopen(),
                Signal::User2 if lame_duck.is_none() => {
                    let server = self.clone();
                    lame_duck = Some(Box::pin(async move { server.lame_duck().await }));
                }
                Signal::User2 => {}
                // CORE-222.
                Signal::Terminate if lame_duck.is_some() => {}
                Signal::Interrupt | Signal::Terminate => {
                    self.shut_down().await;
                    return 0;
                }
            }
        }
    }
}

/// The next signal, or `None` when the lame duck mode is over, if it has begun.
async fn signal_or_done(
    signals: &mut Signals,
    mut done: Option<&mut (impl Future<Output = ()> + Unpin)>,
) -> Option<Signal> {
    let mut next = std::pin::pin!(signals.next());
    std::future::poll_fn(|cx| {
        use std::task::Poll;
        if let Poll::Ready(signal) = next.as_mut().poll(cx) {
            return Poll::Ready(Some(signal));
        }
        match &mut done {
            Some(done) => std::pin::Pin::new(&mut **done).poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
