//! Monitoring data: what the server knows of itself, as the JSON that nats-server's monitoring shows.
//!
//! [`Server::snapshot`] is the one entry for all of it, over HTTP and over `$SYS`. Parameters have the names that
//! requests over `$SYS` use (SYS-020 to SYS-028). Reads, never changes. Not here: how it gets to whom asks, and what
//! only plugins know (they are asked for it).

mod accountz;
mod borders;
mod connz;
mod healthz;
mod jsz;
mod links;
mod row;
mod server_info;
mod sublist;
mod subs;
mod subscribers;
mod subsz;
mod text;
mod varz;

use super::Server;
use crate::plugins::Plugins;
use natsd_plugin_api::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use varz::ServerFacts;

impl Server {
    /// The body of the endpoint `kind`, as JSON. An error of kind `Invalid` has the text for whoever asked. May take a while
    /// and wait for plugins: not for a thread that serves connections.
    pub fn snapshot(&self, kind: &str, params: &Value) -> Result<String> {
        let (id, context, plugins) = (self.facts.server_id.as_str(), &*self.context, &*self.plugins);
        let data = match kind {
            // The large one is written at once.
            "connz" => {
                return connz::connz(id, context, params)
                    .map_err(|text| Error::new(ErrorKind::Invalid, text));
            }
            "varz" => Ok(self.varz()),
            "subsz" => subsz::subsz(id, context, params),
            "subscribers" => subscribers::subscribers(context, params),
            "routez" => Ok(links::routez(id, &self.facts.name)),
            "gatewayz" => Ok(links::gatewayz(id)),
            "leafz" => Ok(links::leafz(id)),
            "accountz" => {
                let since_unix_ns = self.config.lock().load_unix_ns;
                accountz::accountz(id, context, plugins, since_unix_ns, params)
            }
            "accstatz" => accountz::accstatz(id, context, params),
            "jsz" => jsz::jsz(id, plugins, params),
            "healthz" => Ok(healthz::healthz(context, plugins, params)),
            "pluginz" => Ok(self.pluginz()),
            "threads" => Ok(json!(crate::runtime::threads::threads())),
            "server" => Ok(server_info::server_info(context)),
            _ => return Err(Error::unsupported(format!("there is no snapshot {kind:?}"))),
        };
        data.map(|data| data.to_string()).map_err(|text| Error::new(ErrorKind::Invalid, text))
    }

    fn varz(&self) -> Value {
        let mut parts = parts_of_plugins(&self.plugins, "varz", &json!({}));
        // What only the host knows of the listeners of plugins.
        parts.extend(self.services.listeners.all().iter().filter_map(|listener| {
            let tls = listener.tls.load_full()?;
            Some(json!({ &listener.spec.kind: varz::of_listener(&tls) }))
        }));
        let config = self.config.lock().clone();
        let ocsp_peer_cache = self.peers.shown();
        let facts = ServerFacts {
            server_id: &self.facts.server_id,
            server_name: &self.facts.name,
            port: self.port(),
            start_unix_ns: self.facts.start_unix_ns,
            now_unix_ns: crate::runtime::unix_ns(),
            config_load_unix_ns: config.load_unix_ns,
            config_digest: &config.digest,
            reload_error: config.reload_error.as_deref(),
            usage: crate::runtime::usage::usage(),
            plugins: &self.plugins.facts(),
            ocsp_peer_cache: ocsp_peer_cache.as_ref(),
        };
        varz::varz(&facts, &self.context, &parts)
    }

    /// natsd's own: all plugins, and how they are.
    fn pluginz(&self) -> Value {
        json!({
            "server_id": self.facts.server_id,
            "now": text::time(crate::runtime::unix_ns()),
            "plugins": self.plugins.facts(),
        })
    }
}

/// Asks all plugins for their part of a snapshot: their `introspect` gets `{"kind": kind, "params": params}`, and
/// what the answer holds under that name counts.
pub(super) fn parts_of_plugins(plugins: &Plugins, kind: &str, params: &Value) -> Vec<Value> {
    let query = json!({ "kind": kind, "params": params });
    let answers =
        plugins.facts().into_iter().filter_map(|plugin| plugins.introspect(&plugin.name, &query).ok());
    answers.filter_map(|mut answer| answer.get_mut(kind).map(Value::take)).collect()
}
