//! Which web pages may connect: the rules on a request's `Origin` (WS-007).

use std::fmt;
use thiserror::Error;

/// Where a page comes from, lower case, with the scheme's port where none was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub scheme: String,
    pub host: String,
    pub port: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    #[error("parse {0:?}: {1}")]
    Unreadable(String, &'static str),
    #[error("not same origin")]
    NotSame,
    #[error("not in the allowed list")]
    NotAllowed,
}

/// `same_origin` and `allowed_origins`; with neither every page may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRules {
    pub same_origin: bool,
    pub allowed: Vec<Origin>,
}

impl OriginRules {
    /// `origin` is the request's header, `host` where the request was sent to. A client that is not a browser
    /// sends no origin and is let through.
    pub fn check(&self, origin: Option<&str>, host: &str, tls: bool) -> Result<(), OriginError> {
        if !self.same_origin && self.allowed.is_empty() {
            return Ok(());
        }
        let Some(origin) = origin.filter(|origin| !origin.is_empty()) else { return Ok(()) };
        let origin = Origin::parse(origin)?;
        if self.same_origin {
            let own = Origin::of_authority(if tls { "https" } else { "http" }, host)
                .map_err(|why| OriginError::Unreadable(host.to_owned(), why))?;
            if origin != own {
                return Err(OriginError::NotSame);
            }
        }
        if self.allowed.is_empty() || self.allowed.contains(&origin) {
            Ok(())
        } else {
            Err(OriginError::NotAllowed)
        }
    }
}

impl Origin {
    /// Reads a URL; what follows its host does not count. Scheme and host may turn out empty.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let unreadable = |why| OriginError::Unreadable(text.to_owned(), why);
        if text.is_empty() {
            return Err(unreadable("empty url"));
        }
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(unreadable("invalid control character in URL"));
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            Some(("", _)) => return Err(unreadable("missing protocol scheme")),
            _ if text.starts_with('/') => (String::new(), text),
            _ => return Err(unreadable("invalid URI for request")),
        };
        let authority = match rest.strip_prefix("//") {
            Some(rest) => rest.split(['/', '?']).next().unwrap_or(rest),
            None => "",
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self::of_authority(&scheme, host).map_err(unreadable)
    }

    /// A scheme with `host` or `host:port`, as in a request's `Host`.
    fn of_authority(scheme: &str, authority: &str) -> Result<Self, &'static str> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("missing ']' in host")?,
            None => match authority.find(':') {
                Some(at) => authority.split_at(at),
                None => (authority, ""),
            },
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits,
            None if port.is_empty() => "",
            _ => return Err("invalid port after host"),
        };
        if host.contains(' ') {
            return Err("invalid character \" \" in host name");
        }
        let port = match port {
            "" if scheme == "https" => "443",
            "" => "80",
            port => port,
        };
        Ok(Self { scheme: scheme.to_owned(), host: host.to_ascii_lowercase(), port: port.to_owned() })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rules(same_origin: bool, allowed: &[&str]) -> OriginRules {
        let allowed = allowed.iter().map(|text| Origin::parse(text).unwrap()).collect();
        OriginRules { same_origin, allowed }
    }

    #[test]
    fn without_rules_anything_goes() {
        assert_eq!(rules(false, &[]).check(Some("null"), "x", false), Ok(()));
    }

    #[test]
    fn a_request_without_an_origin_is_let_through() {
        assert_eq!(rules(true, &["http://a.com"]).check(None, "b.com", false), Ok(()));
        assert_eq!(rules(true, &["http://a.com"]).check(Some(""), "b.com", false), Ok(()));
    }

    #[test]
    fn same_origin_compares_scheme_host_and_port() {
        let same = rules(true, &[]);
        for (origin, host, tls, allowed) in [
            ("http://a.com", "a.com", false, true),
            ("http://a.com:80", "a.com", false, true),
            ("https://a.com", "A.com:443", true, true),
            ("HTTP://A.COM", "a.com", false, true),
            ("http://[::1]:8080", "[::1]:8080", false, true),
            ("https://a.com", "a.com", false, false),
            ("http://a.com", "a.com:8080", false, false),
            ("http://b.com", "a.com", false, false),
            ("http://a.com:443", "a.com", true, false),
        ] {
            assert_eq!(same.check(Some(origin), host, tls).is_ok(), allowed, "{origin} {host}");
        }
    }

    #[test]
    fn the_list_compares_scheme_host_and_port() {
        let list = rules(false, &["http://a.com", "https://b.com:444/path"]);
        for (origin, allowed) in [
            ("http://a.com", true),
            ("http://a.com:80/x?y", true),
            ("https://b.com:444", true),
            ("https://a.com", false),
            ("https://b.com", false),
            ("http://a.com:8080", false),
            ("http://a.com.evil.org", false),
            ("http://evil.org/http://a.com", false),
            ("http://a.com@evil.org", false),
        ] {
            let expected = if allowed { Ok(()) } else { Err(OriginError::NotAllowed) };
            assert_eq!(list.check(Some(origin), "x", false), expected, "{origin}");
        }
    }

    #[test]
    fn both_rules_may_apply() {
        let both = rules(true, &["http://a.com", "http://b.com"]);
        assert_eq!(both.check(Some("http://a.com"), "a.com", false), Ok(()));
        assert_eq!(both.check(Some("http://b.com"), "a.com", false), Err(OriginError::NotSame));
        assert_eq!(both.check(Some("http://c.com"), "c.com", false), Err(OriginError::NotAllowed));
    }

    #[test]
    fn an_origin_that_is_no_url_is_refused() {
        let list = rules(false, &["http://a.com"]);
        for (origin, why) in [
            ("null", "parse \"null\": invalid URI for request"),
            ("://x", "parse \"://x\": missing protocol scheme"),
            ("http://a:b", "parse \"http://a:b\": invalid port after host"),
            ("http://[::1", "parse \"http://[::1\": missing ']' in host"),
        ] {
            assert_eq!(list.check(Some(origin), "x", false).unwrap_err().to_string(), why);
        }
    }
}
