//! The one table that says which plugin a config key belongs to.
//!
//! Keys of the bundled plugins are known even when the plugin is absent, so that the error can name it.
//! Plugins found at start add the keys their manifests own.

use std::path::PathBuf;

/// Key with its aliases, the first being the name plugins see; and the plugin.
/// A key inside a block is written with its path, `*` standing for the name of an account.
const KNOWN: [(&[&str], &str); 24] = [
    (&["jetstream"], "jetstream"),
    (&["store_dir", "storedir"], "jetstream"),
    (&["default_js_domain"], "jetstream"),
    (&["accounts.*.jetstream"], "jetstream"),
    (&["cluster"], "raft-cluster"),
    (&["gateway"], "gateway"),
    (&["leafnodes", "leaf"], "leafnode"),
    (&["websocket", "ws"], "websocket"),
    (&["mqtt"], "mqtt"),
    (&["http"], "monitoring"),
    (&["http_port", "monitor_port"], "monitoring"),
    (&["https"], "monitoring"),
    (&["https_port"], "monitoring"),
    (&["http_base_path"], "monitoring"),
    (&["dashboard"], "monitoring"),
    (&["opentelemetry"], "monitoring"),
    (&["operator", "operators", "root", "roots", "root_operator", "root_operators"], "auth-jwt"),
    (&["resolver", "account_resolver", "accounts_resolver"], "auth-jwt"),
    (&["resolver_tls"], "auth-jwt"),
    (&["resolver_preload"], "auth-jwt"),
    (&["resolver_pinned_accounts"], "auth-jwt"),
    (&["trusted_keys", "trusted"], "auth-jwt"),
    (&["default_sentinel"], "auth-jwt"),
    (&["authorization.auth_callout", "authorization.auth_hook"], "auth-jwt"),
];

/// A plugin and the keys of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginKeys {
    pub name: String,
    /// As in `KNOWN`: `"my_key"`, `"accounts.*.my_key"`.
    pub owned_keys: Vec<String>,
}

impl From<&natsd_plugin_api::Manifest> for PluginKeys {
    fn from(manifest: &natsd_plugin_api::Manifest) -> Self {
        PluginKeys { name: manifest.name.clone(), owned_keys: manifest.config_keys.clone() }
    }
}

/// The plugins at hand when a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct Available {
    pub plugins: Vec<PluginKeys>,
    /// The folders that were searched, for the error that names an absent plugin.
    pub searched: Vec<PathBuf>,
}

impl Available {
    /// All bundled plugins, as if they were there.
    pub fn bundled() -> Self {
        let mut plugins: Vec<PluginKeys> = Vec::new();
        for (_, plugin) in KNOWN {
            if !plugins.iter().any(|known| known.name == plugin) {
                plugins.push(PluginKeys { name: plugin.to_owned(), owned_keys: Vec::new() });
            }
        }
        Available { plugins, searched: Vec::new() }
    }
}

/// The bundled plugin that a top-level key belongs to.
pub fn plugin_of(key: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(spellings, _)| spellings.contains(&key)).map(|(_, plugin)| *plugin)
}

/// The table for one reading: the bundled plugins' keys and those of the plugins at hand.
#[derive(Clone, Debug)]
pub(super) struct Owners {
    owners: Vec<Owner>,
}

/// One spelling of a key.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// The enclosing keys, `*` standing for any.
    parents: Vec<String>,
    spelling: String,
    /// The spelling that plugins see.
    pub key: String,
    pub plugin: String,
}

impl Owners {
    pub fn new(available: &Available) -> Self {
        let mut owners = Vec::new();
        for (spellings, plugin) in KNOWN {
            owners.extend(spellings.iter().map(|spelling| Owner::new(spelling, spellings[0], plugin)));
        }
        for plugin in &available.plugins {
            for key in &plugin.owned_keys {
                let owner = Owner::new(key, key, &plugin.name);
                // Bundled plugins repeat keys of the table; the first entry stands.
                if !owners
                    .iter()
                    .any(|known| known.spelling == owner.spelling && known.parents == owner.parents)
                {
                    owners.push(owner);
                }
            }
        }
        Owners { owners }
    }

    pub fn find(&self, parents: &[&str], name: &str) -> Option<&Owner> {
        self.owners.iter().find(|owner| {
            owner.spelling == name
                && owner.parents.len() == parents.len()
                && owner.parents.iter().zip(parents).all(|(wanted, parent)| wanted == "*" || wanted == parent)
        })
    }
}

impl Owner {
    fn new(spelling: &str, key: &str, plugin: &str) -> Self {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let mut parents: Vec<String> = spelling.split('.').map(str::to_owned).collect();
        parents.pop();
        Owner { parents, spelling: last(spelling), key: last(key), plugin: plugin.to_owned() }
    }
}

/// The problem of a key whose plugin is absent, without its place.
pub(super) fn absent(key: &str, plugin: &str, searched: &[PathBuf]) -> super::problem::Problem {
    let library = format!("libnatsd_{}.so", plugin.replace('-', "_"));
    let folders: Vec<String> = searched.iter().map(|folder| folder.display().to_string()).collect();
    let place = if folders.is_empty() { "this server".to_owned() } else { folders.join(" or ") };
    let mut problem = super::problem::Problem::nowhere(format!(
        "`{key}` needs the plugin `{plugin}`, which is not in {place}"
    ));
    for folder in searched {
        problem = problem.detail(format!("looked for {}", folder.join(&library).display()));
    }
    problem.remedy("put the plugin there, name its folder with --plugins-dir, or remove the key")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Available, Owners, PluginKeys};

    #[test]
    fn aliases_lead_to_the_key_that_plugins_see() {
        let owners = Owners::new(&Available::default());
        let owner = owners.find(&[], "ws").unwrap();
        assert_eq!((owner.key.as_str(), owner.plugin.as_str()), ("websocket", "websocket"));
        assert!(owners.find(&["accounts", "A"], "jetstream").is_some());
        assert!(owners.find(&["accounts"], "jetstream").is_none());
        assert!(owners.find(&[], "nonsense").is_none());
    }

    #[test]
    fn a_manifest_adds_its_keys() {
        let keys = vec!["my_auth".to_owned(), "accounts.*.quota".to_owned()];
        let plugins = vec![PluginKeys { name: "my-auth".to_owned(), owned_keys: keys }];
        let owners = Owners::new(&Available { plugins, searched: Vec::new() });
        assert_eq!(owners.find(&[], "my_auth").unwrap().plugin, "my-auth");
        assert_eq!(owners.find(&["accounts", "B"], "quota").unwrap().plugin, "my-auth");
    }
}
