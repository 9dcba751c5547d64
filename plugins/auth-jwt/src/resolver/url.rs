//! HTTP GET of one token: what the URL resolver needs, and no more.

use crate::token::SIZE_BYTES_MAX;
use natsd_plugin_api::net::DialOptions;
use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{ByteStream, Error, Host, Result};

/// Of an answer's lines before its body.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The body of a 200 answer.
pub async fn get(host: &Host, url: &str, tls: Option<&Value>) -> Result<String> {
    let (secure, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://").unwrap_or(url)),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = match (has_port, secure) {
        (true, _) => authority.to_owned(),
        (false, true) => format!("{authority}:443"),
        (false, false) => format!("{authority}:80"),
    };
    let tls = secure.then(|| tls.cloned().unwrap_or_else(|| json!({})));
    let options = DialOptions {
        address,
        timeout_ms: Some(super::FETCH_TIMEOUT.as_millis() as u64),
        tls,
        tls_name: None,
    };
    let mut stream = host.dial(&options).await?;
    let request =
        format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: natsd\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let answer = read_answer(&mut stream).await?;
    body(&answer, url)
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
    let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok()?.checked_add(head_len)
}

fn body(answer: &[u8], url: &str) -> Result<String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head_len = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        _ => return Err(Error::other(format!("could not fetch <{url:?}>: no HTTP answer"))),
    };
    let code = response.code.unwrap_or(0);
    if code != 200 {
        let text = format!("could not fetch <{url:?}>: {code} {}", response.reason.unwrap_or_default());
        return Err(Error::other(text));
    }
    String::from_utf8(answer[head_len..].to_vec()).map_err(|_| Error::other("the answer is no text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\ntoken", "u").unwrap(), "token");
        assert!(
            body(b"HTTP/1.1 404 Not Found\r\n\r\n", "u").unwrap_err().message().contains("404 Not Found")
        );
        assert!(body(b"nonsense", "u").is_err());
        assert_eq!(announced_len(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Some(43));
        assert_eq!(announced_len(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
    }
}
