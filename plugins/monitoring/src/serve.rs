//! Accepts connections and speaks HTTP/1 on them.

use crate::answer::{Answer, Page};
use crate::config::{Listen, Protocol};
use crate::endpoints::Endpoints;
use crate::stream::{HttpStream, HttpTimer};
use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use natsd_plugin_api::serde_json::{Value, json};
use natsd_plugin_api::{ByteStream, Error, ErrorKind, Host, Listener, Result, Task, tracing};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A request's head must be there within this time (MON-003).
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// A request's head is at most this long (MON-003).
const HEADER_BYTES_MAX: usize = 1 << 20;
/// More connections at a time are closed at once: monitoring must not use up the server's descriptors.
const CONNECTIONS_MAX: usize = 512;
/// After an accept that failed for lack of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An open monitoring port.
pub struct Serving {
    protocol: Protocol,
    /// As configured.
    host: String,
    /// As bound.
    address: String,
    accepting: Task<()>,
}

impl Serving {
    pub async fn open(host: &Host, listen: &Listen, endpoints: &Arc<Endpoints>) -> Result<Self> {
        let clients = host.identity()?.client_address;
        let clients_host = clients.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        let options = listen.options(clients_host);
        let listener = host.listen(&options).await;
        let listener = listener.map_err(|error| match error.kind() {
            // The server has no `tls` block (CFG-050).
            ErrorKind::NotFound if options.tls.is_some() => {
                Error::new(error.kind(), "TLS cert and key required for HTTPS")
            }
            _ => error.context("can't listen to the monitor port"),
        })?;
        let address = listener.local_address();
        let accepting = host.spawn("monitoring port", accept(host.clone(), listener, endpoints.clone()));
        Ok(Self { protocol: listen.protocol, host: options.host, address, accepting })
    }

    /// The host as configured, the port as bound.
    pub fn shown_address(&self) -> String {
        let port = self.address.rsplit_once(':').map_or("", |(_, port)| port);
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// For the ports file.
    pub fn facts(&self) -> Value {
        json!({ "kind": "monitoring", "tls": self.protocol == Protocol::Https, "address": self.address })
    }

    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_finished()
    }

    pub fn stop(&self) {
        self.accepting.abort();
    }
}

async fn accept(host: Host, mut listener: Listener, endpoints: Arc<Endpoints>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept().await {
            Ok(_) if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX => {}
            Ok(stream) => {
                let counted = Counted::new(&open);
                let serving = serve(host.clone(), stream, endpoints.clone());
                // The task's handle is not needed: it ends with its connection, or with the plugin.
                drop(host.spawn("monitoring connection", async move {
                    serving.await;
                    drop(counted);
                }));
            }
            Err(error) => {
                tracing::debug!("monitoring: {error}");
                host.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(host: Host, stream: ByteStream, endpoints: Arc<Endpoints>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (host, endpoints) = (host.clone(), endpoints.clone());
        async move {
            let uri = request.uri().clone();
            if let Some(location) = Endpoints::moved(uri.path(), uri.query()) {
                let has_page = matches!(*request.method(), Method::GET | Method::HEAD);
                return Ok::<_, Infallible>(Answer::moved(&location, has_page).response());
            }
            let accept =
                request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let accept = accept.to_owned();
            // Snapshots of large servers take long; the server's own threads have better things to do.
            let work = move || endpoints.answer(uri.path(), uri.query().unwrap_or_default(), &accept);
            let answer = host.blocking(work).await;
            Ok(match answer {
                Ok(answer) => answer.response(),
                Err(error) => failed(&error),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(HttpTimer(host.clone()))
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .title_case_headers(true)
        .serve_connection(HttpStream::new(host.clone(), stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("monitoring connection: {error}");
    }
}

fn failed(error: &Error) -> Response<Page> {
    tracing::error!("monitoring: {error}");
    let mut response = Response::new(Page::whole(error.to_string()));
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// One open connection; counted for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
