//! `auth-file`: lets in whom a file names, `user:bcrypt hash` a line, as `htpasswd -B` writes it.
//!
//! ```text
//! plugins { auth-file { config { file: "/etc/natsd/users", account: "APP" } } }
//! ```
//!
//! A user whom the file does not name, and a connection without a user, is left to the next authenticator. A
//! reload reads the file again; a file that cannot be read or has a wrong line refuses the whole reload.

use natsd_plugin_api::{
    Apply, AuthRequest, Authenticator, BoxFuture, Error, Host, Identity, Plugin, Registrar, Registration,
    Result, Section, Verdict, export_plugin,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    file: String,
    /// Empty: the global account.
    #[serde(default)]
    account: String,
    /// A `permissions {}` block for all users of the file.
    #[serde(default)]
    permissions: Option<Value>,
    /// Shown of them in `connz`.
    #[serde(default)]
    tags: Vec<String>,
}

/// A configuration and the file's content, taken together so that a reload swaps both at once.
#[derive(Debug)]
struct Users {
    config: Config,
    hashes: HashMap<String, String>,
}

struct AuthFile {
    host: Host,
    door: Arc<Door>,
    registration: Mutex<Option<Registration>>,
}

/// What the host asks.
struct Door {
    host: Host,
    users: RwLock<Arc<Users>>,
}

impl Plugin for AuthFile {
    fn create(host: Host, section: &Section) -> Result<Self> {
        let users = read(&host, section)?;
        let door = Arc::new(Door { host: host.clone(), users: RwLock::new(Arc::new(users)) });
        Ok(Self { host, door, registration: Mutex::new(None) })
    }

    async fn start(self: Arc<Self>, register: Registrar) -> Result<()> {
        let registration = register.authenticator(self.door.clone())?;
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner) = Some(registration);
        Ok(())
    }

    async fn reconfigure(self: Arc<Self>, section: Section) -> Result<Apply> {
        let host = self.host.clone();
        let users = self.host.blocking(move || read(&host, &section)).await??;
        Ok(Box::new(move || {
            tracing::info!(users = users.hashes.len(), "the users file was read again");
            *self.door.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
        }))
    }

    fn introspect(&self, _query: &Value) -> Result<Value> {
        let users = self.door.current();
        Ok(json!({ "file": users.config.file, "users": users.hashes.len() }))
    }
}

fn read(host: &Host, section: &Section) -> Result<Users> {
    let config: Config = section.parse()?;
    let text = host.files().read_text(&config.file).map_err(|error| Error::config("config.file", error))?;
    let hashes =
        parse(&text).map_err(|why| Error::config("config.file", format!("{}: {why}", config.file)))?;
    Ok(Users { config, hashes })
}

fn parse(text: &str) -> std::result::Result<HashMap<String, String>, String> {
    let mut hashes = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = at + 1;
        let (user, hash) = line.split_once(':').ok_or_else(|| format!("line {at}: expected `user:hash`"))?;
        let is_bcrypt = hash.parse::<bcrypt::HashParts>().is_ok();
        if user.is_empty() || !is_bcrypt {
            return Err(format!("line {at}: expected a user and a bcrypt hash (`htpasswd -B` makes one)"));
        }
        if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
            return Err(format!("line {at}: the user `{user}` is there twice"));
        }
    }
    Ok(hashes)
}

impl Door {
    fn current(&self) -> Arc<Users> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Authenticator for Door {
    fn authenticate(&self, request: AuthRequest) -> BoxFuture<'static, Verdict> {
        let (users, host) = (self.current(), self.host.clone());
        Box::pin(async move {
            let (Some(user), Some(password)) = (request.user(), request.password()) else {
                return Verdict::Abstain;
            };
            let Some(hash) = users.hashes.get(user).cloned() else { return Verdict::Abstain };
            let (user, password) = (user.to_owned(), password.to_owned());
            // bcrypt takes tens of milliseconds: not on a thread that others wait for.
            let matches = host.blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
            match matches {
                Ok(true) => {
                    let config = &users.config;
                    let account = (!config.account.is_empty()).then(|| config.account.clone());
                    Verdict::Allow(Identity {
                        account,
                        user,
                        permissions: config.permissions.clone(),
                        tags: config.tags.clone(),
                        ..Identity::default()
                    })
                }
                Ok(false) => Verdict::deny(format!("wrong password for user `{user}`")),
                Err(error) => Verdict::deny(format!("the password could not be checked: {error}")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_wrong_line_is_named() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        assert_eq!(parse(&format!("# users\n\nalice:{hash}\n")).unwrap().len(), 1);
        assert!(parse("alice").unwrap_err().starts_with("line 1"));
        assert!(parse(&format!("alice:{hash}\nbob:plain")).unwrap_err().starts_with("line 2"));
        assert!(parse(&format!("alice:{hash}\nalice:{hash}")).unwrap_err().contains("twice"));
    }
}

export_plugin!(AuthFile, "auth-file");
