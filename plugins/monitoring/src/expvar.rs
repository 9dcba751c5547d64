//! `/debug/vars` and `EXPVARZ`: what Go's runtime tells of itself, as far as a server without one can (MON-014).

use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Host, Result};

pub fn expvar(host: &Host) -> Result<Value> {
    let varz: Value = serde_json::from_str(&host.snapshot("varz", &json!({}))?)?;
    Ok(json!({
        "cmdline": shown(std::env::args()),
        "memstats": { "Sys": varz["mem"] },
    }))
}

/// Flags that are followed by something secret.
const SECRET_FLAGS: [&str; 4] = ["pass", "auth", "user", "routes"];
const HIDDEN: &str = "***";

/// The command line without its secrets.
fn shown(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut hides_next = false;
    let shown = arguments.map(|argument| {
        if std::mem::take(&mut hides_next) {
            return HIDDEN.to_owned();
        }
        let flag = argument.trim_start_matches('-');
        let name = flag.split('=').next().unwrap_or_default();
        if flag.len() == argument.len() || !SECRET_FLAGS.contains(&name) {
            return without_user(argument);
        }
        match argument.split_once('=') {
            Some((flag, _)) => format!("{flag}={HIDDEN}"),
            None => {
                hides_next = true;
                argument
            }
        }
    });
    shown.collect()
}

/// A user with a password, or a token, may stand in a URL.
fn without_user(argument: String) -> String {
    match argument.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://{HIDDEN}@{host}"),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn secrets_of_the_command_line_are_hidden() {
        let of = |line: &str| shown(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(of("natsd --pass x --user=y -auth z -p 1"), "natsd --pass *** --user=*** -auth *** -p 1");
        assert_eq!(of("natsd -c a=b --cluster nats://u:p@h:1"), "natsd -c a=b --cluster nats://***@h:1");
    }
}
