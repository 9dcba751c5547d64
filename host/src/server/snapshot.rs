//! Monitoring data: what the server knows of itself, as the JSON that nats-server's monitoring shows.
//!
//! Reads, never changes. Parameters have the names that requests over `$SYS` use (SYS-020, SYS-022). Not here:
//! how it gets to whom asks (the monitoring plugin), and what plugins know (they are asked for it).

mod accountz;
mod accstatz;
mod connz;
mod healthz;
mod row;
mod server_info;
mod subs;
mod subsz;
mod text;
mod varz;

pub use accountz::accountz;
pub use accstatz::accstatz;
pub use connz::connz;
pub use healthz::healthz;
pub use server_info::server_info;
pub use subsz::subsz;
pub use varz::{ServerFacts, varz};

use crate::plugins::Plugins;
use serde_json::{Value, json};

/// Asks all plugins for their part of a snapshot: their `introspect` gets `{"kind": kind}`, and what the answer
/// holds under that name counts.
pub fn parts_of_plugins(plugins: &Plugins, kind: &str) -> Vec<Value> {
    let query = json!({ "kind": kind });
    let answers =
        plugins.facts().into_iter().filter_map(|plugin| plugins.introspect(&plugin.name, &query).ok());
    answers.filter_map(|mut answer| answer.get_mut(kind).map(Value::take)).collect()
}
