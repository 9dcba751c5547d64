//! Where a request of the URL resolver goes, and where a redirect leads from there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use natsd_plugin_api::{Error, Result};
use std::fmt::{self, Display, Formatter};

/// An `http` or `https` address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub is_secure: bool,
    /// Host, and port if there is one.
    pub authority: String,
    /// `user:password`
    login: Option<String>,
    /// From the slash on, with the query.
    pub path: String,
}

impl Target {
    /// Without a scheme it is `http`.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(Error::other(format!("unsupported protocol scheme {other:?}"))),
        };
        // What stands behind `#` stays with the client.
        let rest = rest.split('#').next().unwrap_or_default();
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login.to_owned()), authority),
            None => (None, authority),
        };
        if authority.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::other(format!("{url:?} is no address")));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { is_secure, authority: authority.to_owned(), login, path: format!("{slash}{path}") })
    }

    /// With the port of the scheme where none is named.
    pub fn address(&self) -> String {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match (has_port, self.is_secure) {
            (true, _) => self.authority.clone(),
            (false, true) => format!("{}:443", self.authority),
            (false, false) => format!("{}:80", self.authority),
        }
    }

    pub fn basic_auth(&self) -> Option<String> {
        self.login.as_ref().map(|login| format!("Basic {}", BASE64_STANDARD.encode(login)))
    }

    /// A place that an answer from here names. The login goes along only on the same host.
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let scheme = if self.is_secure { "https" } else { "http" };
        let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
        let mut target = if has_scheme {
            match location.contains("://") {
                true => Self::parse(location)?,
                false => {
                    let scheme = location.split(':').next().unwrap_or_default();
                    return Err(Error::other(format!("unsupported protocol scheme {scheme:?}")));
                }
            }
        } else if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))?
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            let path = match location.chars().next() {
                Some('/') => location.to_owned(),
                Some('?') => format!("{path}{location}"),
                _ => format!("{folder}{location}"),
            };
            Self::parse(&format!("{scheme}://{}{path}", self.authority))?
        };
        target.path = without_dots(&target.path);
        if target.authority == self.authority && target.login.is_none() {
            target.login.clone_from(&self.login);
        }
        Ok(target)
    }
}

/// For errors: the password stays out of them.
impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let user = self.login.as_ref().map(|login| login.split(':').next().unwrap_or_default());
        let login = user.map_or_else(String::new, |user| format!("{user}:xxxxx@"));
        write!(f, "{scheme}://{login}{}{}", self.authority, self.path)
    }
}

/// `/a/../b/./c` is `/b/c`.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let is_folder = path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", kept.join("/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, address, path, shown) in [
            ("http://h/a/", "h:80", "/a/", "http://h/a/"),
            ("HTTPS://h:1/", "h:1", "/", "https://h:1/"),
            ("h:4/x", "h:4", "/x", "http://h:4/x"),
            ("https://h?a=b", "h:443", "/?a=b", "https://h/?a=b"),
            ("http://joe:secret@h/x#y", "h:80", "/x", "http://joe:xxxxx@h/x"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.address().as_str(), target.path.as_str()), (address, path), "{url}");
            assert_eq!(target.to_string(), shown);
        }
        let auth = Target::parse("http://joe:secret@h/").unwrap().basic_auth();
        assert_eq!(auth.as_deref(), Some("Basic am9lOnNlY3JldA=="));
        for bad in ["ftp://h/", "http://", "http:///x", "http://h/a b", "http://h/a\r\nX: y"] {
            assert!(Target::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        // Each as Go's `URL.Parse` has it.
        let from = Target::parse("http://joe:secret@h:1/a/b?c=d").unwrap();
        for (location, to) in [
            ("https://other/x", "https://other/x"),
            ("//other/x?y", "http://other/x?y"),
            ("/x", "http://joe:xxxxx@h:1/x"),
            ("x", "http://joe:xxxxx@h:1/a/x"),
            ("./x", "http://joe:xxxxx@h:1/a/x"),
            ("../x", "http://joe:xxxxx@h:1/x"),
            ("../../../x", "http://joe:xxxxx@h:1/x"),
            ("?e", "http://joe:xxxxx@h:1/a/b?e"),
            ("..", "http://joe:xxxxx@h:1/"),
            ("/x/.", "http://joe:xxxxx@h:1/x/"),
            ("x?a=/../b", "http://joe:xxxxx@h:1/a/x?a=/../b"),
        ] {
            assert_eq!(from.redirected(location).unwrap().to_string(), to, "{location}");
        }
        for bad in ["ftp://h/", "file:///etc/passwd", "mailto:x", "http://", "/a b"] {
            assert!(from.redirected(bad).is_err(), "{bad:?}");
        }
    }
}
