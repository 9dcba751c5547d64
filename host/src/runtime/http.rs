//! One HTTP request to a server elsewhere, as OCSP responders are asked.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::options::TlsOptions;
use crate::tls::client::{TlsClient, server_name};

/// More than any OCSP response has; the rest is not read.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is sent with a POST, and which kinds of content it and the answer are.
pub struct Content<'a> {
    pub bytes: &'a [u8],
    pub kind: &'a str,
    pub accepts: &'a str,
}

/// Status and body of the answer. Without content a GET.
pub async fn request(
    url: &str,
    content: Option<Content<'_>>,
    limit: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let late = || Err(format!("no answer from {url} within {limit:?}"));
    super::clock::timeout(limit, unlimited(url, content)).await.unwrap_or_else(late)
}

async fn unlimited(url: &str, content: Option<Content<'_>>) -> Result<(u16, Vec<u8>), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url}: no host"))?.trim_matches(['[', ']']).to_owned();
    let secured = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("{url}: neither http nor https")),
    };
    let port = uri.port_u16().unwrap_or(if secured { 443 } else { 80 });
    let request = to_send(&uri, content).map_err(|error| format!("{url}: {error}"))?;
    let stream = TcpStream::connect((host.as_str(), port)).await;
    let stream = stream.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
    let answer = if secured {
        let stream = connector()?.connect(server_name(&host).map_err(|e| e.to_string())?, stream).await;
        exchange(stream.map_err(|error| format!("{url}: {error}"))?, request).await
    } else {
        exchange(stream, request).await
    };
    answer.map_err(|error| format!("{url}: {error}"))
}

fn connector() -> Result<TlsConnector, String> {
    let trusting_the_systems = TlsOptions::default();
    let client = TlsClient::build(&trusting_the_systems, &super::files::read_bytes);
    Ok(client.map_err(|error| error.to_string())?.rustls_config().clone().into())
}

fn to_send(uri: &Uri, content: Option<Content<'_>>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let request = Request::builder().uri(path).header("host", host).header("connection", "close");
    match content {
        None => request.body(Full::default()),
        Some(content) => request
            .method("POST")
            .header("content-type", content.kind)
            .header("accept", content.accepts)
            .body(Full::new(Bytes::copy_from_slice(content.bytes))),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Vec<u8>), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange: nobody waits for it longer.
    let _connection = super::tasks::Task::spawn(async move {
        if let Err(error) = connection.await {
            crate::log::debug!("HTTP connection: {error}");
        }
    });
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await?;
    Ok((status, body.to_bytes().to_vec()))
}
