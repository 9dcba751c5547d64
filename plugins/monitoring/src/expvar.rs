//! `/debug/vars` and `EXPVARZ`: what Go's runtime tells of itself, as far as a server without one can (MON-014).

use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Host, Result};

pub fn expvar(host: &Host) -> Result<Value> {
    let varz: Value = serde_json::from_str(&host.snapshot("varz", &json!({}))?)?;
    Ok(json!({
        "cmdline": std::env::args().map(without_secret).collect::<Vec<_>>(),
        "memstats": { "Sys": varz["mem"] },
    }))
}

/// A user with a password, or a token, may stand in a URL.
fn without_secret(argument: String) -> String {
    match argument.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://***@{host}"),
        None => argument,
    }
}
