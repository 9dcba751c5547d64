//! The endpoints: which path answers with what.

use crate::answer::Answer;
use crate::config::Config;
use crate::dashboard;
use crate::expvar;
use crate::health;
use crate::metrics::{self, Form};
use crate::page::{self, Link};
use crate::params;
use crate::query::{Query, QueryError, unescape};
use crate::stacks;
use crate::stats::RequestCounts;
use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{ErrorKind, Host};

/// Path and title, in the order of the root page (MON-011). The last two are natsd's own.
const LINKS: [Link; 14] = [
    ("/varz", "General"),
    ("/jsz", "JetStream"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/routez", "Routes"),
    ("/leafz", "LeafNodes"),
    ("/gatewayz", "Gateways"),
    ("/raftz", "Raft Groups"),
    ("/healthz", "Health Probe"),
    ("/debug/vars", "Expvar"),
    ("/pluginz", "Plugins"),
    ("/metrics", "Metrics for Prometheus"),
];
/// Endpoints that the page does not link.
const UNLINKED: [&str; 2] = ["/ipqueuesz", "/stacksz"];

/// Endpoints that nats-server does not count.
const UNCOUNTED: [&str; 4] = ["/debug/vars", "/ipqueuesz", "/raftz", "/stacksz"];

pub struct Endpoints {
    host: Host,
    /// Empty, or a path that starts with a slash and does not end with one.
    base: String,
    /// The built-in page is shown.
    dashboard: bool,
    counts: RequestCounts,
}

impl Endpoints {
    pub fn new(host: Host, config: &Config) -> Self {
        let counts = RequestCounts::new(paths().chain(["/", dashboard::PATH]));
        Self { host, base: clean(&config.base_path), dashboard: config.dashboard, counts }
    }

    pub fn request_counts(&self) -> Value {
        self.counts.json()
    }

    /// Where a request for a path that is not clean is sent instead, whether that is an endpoint or not.
    pub fn moved(path: &str, query: Option<&str>) -> Option<String> {
        let clean = clean(path);
        let slash = if clean.is_empty() || path.ends_with('/') { "/" } else { "" };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let is_path = path.starts_with('/') && path.strip_prefix(clean.as_str()) != Some(slash);
        is_path.then(|| format!("{clean}{slash}{query}"))
    }

    /// Any method is served the same (MON-003). `accept`: which types the client takes. May take a while: large
    /// snapshots do.
    pub fn answer(&self, path: &str, query: &str, accept: &str) -> Answer {
        let query = Query::parse(query);
        let Some(path) = self.endpoint(path) else { return Answer::not_found() };
        // Counted first: /varz shows itself (MON-015).
        if !UNCOUNTED.contains(&path) {
            self.counts.count(path);
        }
        match path {
            "/" => self.page(),
            "/varz" => self.snapshot("varz", params::none(&query)),
            "/connz" => self.snapshot("connz", params::connz(&query)),
            "/subsz" => self.snapshot("subsz", params::subsz(&query)),
            "/routez" => self.snapshot("routez", params::routez(&query)),
            "/gatewayz" => self.snapshot("gatewayz", params::gatewayz(&query)),
            "/leafz" => self.snapshot("leafz", params::leafz(&query)),
            "/accountz" => self.snapshot("accountz", params::accountz(&query)),
            "/accstatz" => self.snapshot("accstatz", params::accstatz(&query)),
            "/jsz" => self.snapshot("jsz", params::jsz(&query)),
            "/pluginz" => self.snapshot("pluginz", params::none(&query)),
            "/healthz" => match params::healthz(&query) {
                Ok(params) => health::check(&self.host, &params),
                Err(error) => Answer::bad_request(error),
            },
            "/ipqueuesz" => match params::ipqueuesz(&query) {
                Ok(_) => Answer::json(&json!({})),
                Err(error) => Answer::bad_request(error),
            },
            // MON-126
            "/raftz" => Answer::missing("No Raft nodes registered"),
            "/stacksz" => match stacks::text(&self.host) {
                Ok(text) => Answer::stacks(text),
                Err(error) => Answer::bad_request(error),
            },
            "/debug/vars" => match expvar::expvar(&self.host) {
                Ok(value) => Answer::vars(&value),
                Err(error) => Answer::bad_request(error),
            },
            "/metrics" => {
                let form = Form::wanted(accept);
                match metrics::text(&self.host, form) {
                    Ok(text) => Answer::metrics(form, text),
                    Err(error) => Answer::bad_request(error),
                }
            }
            path => dashboard::file(path).unwrap_or_else(Answer::not_found),
        }
    }

    /// The endpoint of a request's path; exact, no slash more or less (MON-010).
    fn endpoint(&self, path: &str) -> Option<&'static str> {
        let path = unescape(path, false)?;
        if path == self.base || (self.base.is_empty() && path == "/") {
            return Some("/");
        }
        match path.strip_prefix(&self.base)? {
            "/subscriptionsz" => Some("/subsz"),
            path => paths().chain(dashboard::paths().filter(|_| self.dashboard)).find(|known| *known == path),
        }
    }

    fn page(&self) -> Answer {
        let version = self.host.identity().map(|identity| identity.version).unwrap_or_default();
        let links: Vec<Link> =
            LINKS.into_iter().chain(self.dashboard.then_some((dashboard::PATH, "Dashboard"))).collect();
        Answer::page(page::html(&version, &self.base, &links))
    }

    fn snapshot(&self, kind: &str, params: Result<Value, QueryError>) -> Answer {
        let params = match params {
            Ok(params) => params,
            Err(error) => return Answer::bad_request(error),
        };
        match self.host.snapshot(kind, &params) {
            Ok(text) => Answer::json_text(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Answer::not_found(),
            Err(error) => Answer::bad_request(error),
        }
    }
}

fn paths() -> impl Iterator<Item = &'static str> {
    LINKS.iter().map(|(path, _)| *path).chain(UNLINKED)
}

/// The base path as CFG-051 wants it: one slash before each part, none at the end.
fn clean(base_path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base_path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().map(|part| format!("/{part}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Endpoints, clean};

    #[test]
    fn paths_that_are_not_clean_are_elsewhere() {
        for (path, query, elsewhere) in [
            ("/", None, None),
            ("/varz", Some("a=/../"), None),
            ("/varz/", None, None),
            ("*", None, None),
            ("/%2e/varz", None, None),
            ("//connz", None, Some("/connz")),
            ("//a.b/", Some("a=%3C"), Some("/a.b/?a=%3C")),
            ("/..", None, Some("/")),
            ("/a/..//", None, Some("/")),
            ("/varz/.", None, Some("/varz")),
            ("/varz//", None, Some("/varz/")),
        ] {
            assert_eq!(Endpoints::moved(path, query).as_deref(), elsewhere, "{path}");
        }
    }

    #[test]
    fn base_paths_are_cleaned() {
        for (given, clean_path) in
            [("", ""), ("/", ""), ("nats/", "/nats"), ("/a//b/../c/.", "/a/c"), ("../x", "/x")]
        {
            assert_eq!(clean(given), clean_path);
        }
    }
}
