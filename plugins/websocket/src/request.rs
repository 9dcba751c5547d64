//! The head of an HTTP request, as far as an upgrade needs it.
//!
//! Not here: whether the request may be upgraded (`handshake`).

use httparse::{EMPTY_HEADER, Header, Status};
use thiserror::Error;

/// A head without an end is refused at this size. Browsers send 8 KiB at most, cookies included.
pub const HEAD_MAX_BYTES: usize = 64 << 10;
/// Also bounds how often a head that trickles in is looked at.
const HEADERS_MAX: usize = 100;

/// A request, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Without query; an absolute URL is left whole.
    pub path: &'a str,
    pub host: &'a str,
    headers: Vec<Header<'a>>,
    /// Where the head ends.
    pub len: usize,
}

/// Not HTTP, or not in a form that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    #[error("400 Bad Request")]
    Malformed,
    #[error("400 Bad Request: invalid header name")]
    HeaderName,
    #[error("400 Bad Request: missing required Host header")]
    HostMissing,
    #[error("400 Bad Request: malformed Host header")]
    HostMalformed,
    #[error("505 HTTP Version Not Supported: unsupported protocol version")]
    Version,
    #[error("431 Request Header Fields Too Large")]
    TooLarge,
}

impl<'a> Request<'a> {
    /// `None`: there is more to come.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, RequestError> {
        // Anything else is no method: do not wait for a line's end that may never come.
        if bytes.first().is_some_and(|first| !first.is_ascii_graphic()) {
            return Err(RequestError::Malformed);
        }
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        let len = match parsed
            .parse(&bytes[..bytes.len().min(HEAD_MAX_BYTES)])
            .map_err(|error| refusal(error, bytes))?
        {
            Status::Complete(len) => len,
            Status::Partial if bytes.len() >= HEAD_MAX_BYTES => return Err(RequestError::TooLarge),
            Status::Partial => return Ok(None),
        };
        let target = parsed.path.unwrap_or_default();
        let path = target.split('?').next().unwrap_or(target);
        if !path.starts_with('/') && !path.contains("://") && path != "*" {
            return Err(RequestError::Malformed);
        }
        let mut request = Self {
            method: parsed.method.unwrap_or_default(),
            path,
            host: "",
            headers: parsed.headers.to_vec(),
            len,
        };
        request.host = request.checked_host(parsed.version == Some(1))?;
        Ok(Some(request))
    }

    /// The first header of that name; `None` if it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name).next()
    }

    /// All headers of that name.
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    /// Whether a list such as that of `Connection` has an element, in any case.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.headers_named(name)
            .flat_map(|list| list.split(','))
            .any(|listed| listed.trim_matches([' ', '\t']).eq_ignore_ascii_case(element))
    }

    fn checked_host(&self, is_http_1_1: bool) -> Result<&'a str, RequestError> {
        let mut hosts = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
        match (hosts.next(), hosts.next()) {
            (None, _) if is_http_1_1 => Err(RequestError::HostMissing),
            (None, _) => Ok(""),
            (Some(_), Some(_)) => Err(RequestError::Malformed),
            (Some(host), None) => match std::str::from_utf8(host.value) {
                Ok(host) if host.bytes().all(may_be_in_host) => Ok(host),
                _ => Err(RequestError::HostMalformed),
            },
        }
    }
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> RequestError {
    match error {
        // Another version, or no version at all.
        httparse::Error::Version if bytes.windows(6).any(|word| word == b" HTTP/") => RequestError::Version,
        httparse::Error::HeaderName => RequestError::HeaderName,
        httparse::Error::TooManyHeaders => RequestError::TooLarge,
        _ => RequestError::Malformed,
    }
}

fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(text: &str) -> RequestError {
        Request::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn finds_headers_in_any_case() {
        let text = "GET /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nCONNECTION: keep-alive,\tupgrade\r\nA: 1\r\na: 2\r\n\r\nrest";
        let request = Request::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((request.method, request.path, request.host), ("GET", "/a/b", "x:1"));
        assert_eq!(&text[request.len..], "rest");
        assert!(request.lists("Connection", "Upgrade"));
        assert!(!request.lists("Connection", "keep"));
        assert_eq!(request.headers_named("A").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request.header("b"), None);
    }

    #[test]
    fn a_cut_head_is_waited_for_at_every_byte() {
        let text = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n";
        for at in 0..text.len() {
            assert!(Request::parse(&text.as_bytes()[..at]).unwrap().is_none(), "{at}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_once() {
        assert_eq!(refused("\x16\x03\x01"), RequestError::Malformed);
        assert_eq!(refused("\r\n"), RequestError::Malformed);
        assert_eq!(refused("hello\r\n\r\n"), RequestError::Malformed);
        assert_eq!(refused("CONNECT {}\r\n"), RequestError::Malformed);
        assert_eq!(refused("PUB a 5\r\nhello\r\n"), RequestError::Malformed);
        assert_eq!(refused("GET foo HTTP/1.1\r\nHost: x\r\n\r\n"), RequestError::Malformed);
        assert_eq!(refused("GET / HTTP/3.0\r\n"), RequestError::Version);
        assert_eq!(refused("GET / HTTP/1.1\r\na b: c\r\n"), RequestError::HeaderName);
    }

    #[test]
    fn the_host_is_checked() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), RequestError::HostMissing);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), RequestError::HostMalformed);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), RequestError::Malformed);
        let old = Request::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!(old.host, "");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(HEAD_MAX_BYTES));
        assert_eq!(refused(&long), RequestError::TooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(refused(&many), RequestError::TooLarge);
    }
}
