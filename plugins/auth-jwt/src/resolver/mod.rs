//! Where the claims of accounts are found (JWT-050).
//!
//! A resolver hands out texts; whether they are what they should be, `accounts` checks.

mod directory;
pub mod peers;
mod target;
mod url;

pub use directory::Directory;

use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{Error, Host, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a client waits for its account to be found.
pub const FETCH_TIMEOUT: Duration = Duration::from_millis(1900);

#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResolverOptions {
    #[default]
    None,
    Memory,
    Url(Address),
    Directory(DirectoryOptions),
}

/// Where claims are served.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// Ends with a slash.
    pub url: String,
    pub tls: Option<Value>,
}

/// Of the types `full` and `cache` (CFG-191).
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryOptions {
    pub dir: String,
    pub is_full: bool,
    pub allow_delete: bool,
    pub hard_delete: bool,
    pub limit: usize,
    pub ttl: Option<Duration>,
    pub interval: Duration,
    pub timeout: Duration,
}

pub enum Resolver {
    /// Nothing is found.
    None,
    Memory(Mutex<BTreeMap<String, String>>),
    /// A reload may bring another.
    Url(Mutex<Address>),
    Directory(Arc<Directory>),
}

impl Resolver {
    /// Opens what is configured, and puts the preloaded accounts into it.
    pub async fn open(
        host: &Host,
        options: &ResolverOptions,
        preload: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let resolver = match options {
            ResolverOptions::None => Self::None,
            ResolverOptions::Memory => Self::Memory(Mutex::new(preload.clone())),
            ResolverOptions::Url(address) => {
                // It has to answer before the server takes clients.
                fetch_url(host, &address.url, address.tls.as_ref()).await?;
                Self::Url(Mutex::new(address.clone()))
            }
            ResolverOptions::Directory(options) => {
                let directory = Arc::new(Directory::new(host.clone(), options.clone()));
                let (opened, preload) = (directory.clone(), preload.clone());
                host.blocking(move || {
                    opened.open()?;
                    preload.iter().try_for_each(|(key, token)| opened.save_newer(key, token).map(drop))
                })
                .await??;
                Self::Directory(directory)
            }
        };
        Ok(resolver)
    }

    /// The claims of an account.
    pub async fn fetch(&self, host: &Host, key: &str) -> Result<String> {
        let not_found = || Error::not_found("account jwt not found");
        match self {
            Self::None => Err(not_found()),
            Self::Memory(known) => known.lock().get(key).cloned().ok_or_else(not_found),
            Self::Url(address) => {
                let Address { url, tls } = address.lock().clone();
                fetch_url(host, &format!("{url}{key}"), tls.as_ref()).await
            }
            Self::Directory(directory) => {
                let (store, wanted) = (directory.clone(), key.to_owned());
                let stored = host.blocking(move || store.load(&wanted)).await??;
                if let Some(token) = stored {
                    return Ok(token);
                }
                let token = peers::ask(host, directory, key).await?.ok_or_else(not_found)?;
                let (store, named, kept) = (directory.clone(), key.to_owned(), token.clone());
                host.blocking(move || store.save_newer(&named, &kept)).await??;
                Ok(token)
            }
        }
    }

    /// Asks elsewhere from now on, unless it is another kind of resolver.
    pub fn move_to(&self, options: &ResolverOptions) {
        if let (Self::Url(address), ResolverOptions::Url(next)) = (self, options) {
            *address.lock() = next.clone();
        }
    }

    /// Keeps what an update brought. Directories keep it in any case, the others what they have.
    pub fn replace_preload(&self, preload: BTreeMap<String, String>) {
        if let Self::Memory(known) = self {
            *known.lock() = preload;
        }
    }
}

/// All redirects together may take the time of one request.
async fn fetch_url(host: &Host, url: &str, tls: Option<&Value>) -> Result<String> {
    let shown = target::Target::parse(url).map_or_else(|_| url.to_owned(), |target| target.to_string());
    let got = host.timeout(FETCH_TIMEOUT, url::get(host, url, tls)).await.unwrap_or_else(|_| {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        Err(Error::other(format!("Get {shown:?}: {why}")))
    });
    got.map_err(|error| Error::other(format!("could not fetch <{shown:?}>: {}", error.message())))
}
