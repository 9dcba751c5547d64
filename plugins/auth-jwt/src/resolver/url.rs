//! HTTP GET of one token: what the URL resolver needs, and no more. Redirects are followed as Go's client does
//! (JWT-050).
//!
//! Not here: how long all of it may take (the caller).

use super::target::Target;
use crate::token::SIZE_BYTES_MAX;
use natsd_plugin_api::net::DialOptions;
use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{ByteStream, Error, Host, Result};

/// Of an answer's lines before its body.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The last of so many may not lead elsewhere.
const REQUESTS_MAX: usize = 10;

/// What came of one request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Body(String),
    /// Where it is instead.
    Elsewhere(String),
}

/// The body of a 200 answer.
pub async fn get(host: &Host, url: &str, tls: Option<&Value>) -> Result<String> {
    let mut target = Target::parse(url)?;
    for _ in 0..REQUESTS_MAX {
        match ask(host, &target, tls).await.map_err(|error| about(&target, &error))? {
            Answer::Body(body) => return Ok(body),
            Answer::Elsewhere(location) => target = target.redirected(&location)?,
        }
    }
    Err(Error::other(format!("Get {:?}: stopped after {REQUESTS_MAX} redirects", target.to_string())))
}

/// A status says enough by itself, everything else does not say where.
fn about(target: &Target, error: &Error) -> Error {
    match error.message().starts_with(|first: char| first.is_ascii_digit()) {
        true => Error::other(error.message()),
        false => Error::other(format!("Get {:?}: {}", target.to_string(), error.message())),
    }
}

async fn ask(host: &Host, target: &Target, tls: Option<&Value>) -> Result<Answer> {
    let options = DialOptions {
        address: target.address(),
        timeout_ms: Some(super::FETCH_TIMEOUT.as_millis() as u64),
        tls: target.is_secure.then(|| tls.cloned().unwrap_or_else(|| json!({}))),
        tls_name: None,
    };
    let dialed = host.dial(&options).await;
    let mut stream = dialed.map_err(|error| undialed(&options.address, &error))?;
    stream.write_all(request(target).as_bytes()).await?;
    let answer = read_answer(&mut stream).await?;
    understand(&answer)
}

/// In the reference's words, as far as they are known.
fn undialed(address: &str, error: &Error) -> Error {
    let text = error.message();
    let cause = text.rsplit_once(&format!("{address}: ")).map_or(text, |(_, cause)| cause);
    let cause = cause.split(" (os error").next().unwrap_or_default();
    let cause = cause.replacen("Connection refused", "connect: connection refused", 1);
    Error::other(format!("dial tcp {address}: {cause}"))
}

fn request(target: &Target) -> String {
    let Target { authority, path, .. } = target;
    let login = target.basic_auth().map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: natsd\r\nAccept: */*\r\n{login}\r\n")
}

/// All up to the end of the stream or of the announced body.
async fn read_answer(stream: &mut ByteStream) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).await?;
        answer.extend_from_slice(&chunk[..count]);
        if count == 0 || announced_len(&answer).is_some_and(|len| answer.len() >= len) {
            return Ok(answer);
        }
        if answer.len() > SIZE_BYTES_MAX + HEAD_BYTES_MAX {
            return Err(Error::other("the answer is too long for a JWT"));
        }
    }
}

/// Of head and body together, when the head tells.
fn announced_len(answer: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = response.parse(answer).ok()? else { return None };
    header(&response, "content-length")?.parse::<usize>().ok()?.checked_add(head_len)
}

fn header<'a>(response: &httparse::Response<'_, 'a>, name: &str) -> Option<&'a str> {
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

fn understand(answer: &[u8]) -> Result<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        _ if answer.is_empty() => return Err(Error::other("EOF")),
        _ => return Err(Error::other("malformed HTTP response")),
    };
    let code = response.code.unwrap_or(0);
    // Without a place to go to, it is an answer like any other.
    if let (301..=303 | 307 | 308, Some(location)) = (code, header(&response, "location"))
        && !location.is_empty()
    {
        return Ok(Answer::Elsewhere(location.to_owned()));
    }
    if code != 200 {
        return Err(Error::other(format!("{code} {}", response.reason.unwrap_or_default())));
    }
    let end = announced_len(answer).unwrap_or(answer.len());
    let body = answer.get(head_len..end).ok_or_else(|| Error::other("unexpected EOF"))?;
    String::from_utf8(body.to_vec()).map(Answer::Body).map_err(|_| Error::other("the answer is no text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cause(answer: &[u8]) -> String {
        understand(answer).unwrap_err().message().to_owned()
    }

    #[test]
    fn answers_are_read() {
        let body = |text: &str| Answer::Body(text.to_owned());
        assert_eq!(understand(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\ntoken").unwrap(), body("token"));
        assert_eq!(
            understand(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntoken").unwrap(),
            body("tok"),
            "what was not announced is not read"
        );
        assert_eq!(cause(b"HTTP/1.1 404 Not Found\r\n\r\n"), "404 Not Found");
        assert_eq!(cause(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntoken"), "unexpected EOF");
        assert_eq!((cause(b"").as_str(), cause(b"nonsense").as_str()), ("EOF", "malformed HTTP response"));
        assert_eq!(announced_len(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Some(43));
        assert_eq!(announced_len(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
    }

    #[test]
    fn what_cannot_be_dialed_is_told_as_by_the_reference() {
        let told = |text: &str| undialed("h:1", &Error::other(text)).message().to_owned();
        assert_eq!(
            told("cannot dial h:1: Connection refused (os error 111)"),
            "dial tcp h:1: connect: connection refused"
        );
        assert_eq!(told("something else"), "dial tcp h:1: something else");
    }

    #[test]
    fn redirects_lead_elsewhere_if_they_say_where() {
        for code in [301, 302, 303, 307, 308] {
            let answer = format!("HTTP/1.1 {code} Moved\r\nLocation: /there\r\n\r\n");
            assert_eq!(understand(answer.as_bytes()).unwrap(), Answer::Elsewhere("/there".to_owned()));
            assert_eq!(cause(format!("HTTP/1.1 {code} Moved\r\n\r\n").as_bytes()), format!("{code} Moved"));
        }
        assert_eq!(cause(b"HTTP/1.1 300 Choices\r\nLocation: /there\r\n\r\n"), "300 Choices");
    }
}
