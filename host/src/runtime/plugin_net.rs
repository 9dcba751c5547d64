//! TCP and TLS, as they are lent to plugins: listeners and byte streams with poll functions.

use super::{clock, net};
use natsd_plugin_api::net::{DialOptions, ListenOptions, RawListener, RawStream, StreamFacts, TlsFacts};
use natsd_plugin_api::{BoxFuture, Error, ErrorKind, Result};
use serde_json::Value;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// A dial without a limit of its own ends after this.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// Connections of one listener whose TLS handshake is going on; more wait in the kernel.
const HANDSHAKES_MAX: usize = 256;
/// A TLS handshake of a listener without a limit of its own ends after this.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Makes TLS streams out of TCP ones, by `tls {}` blocks as JSON. A block is checked before it is used.
pub trait TlsProvider: Send + Sync + 'static {
    fn server(&self, section: &Value) -> Result<Arc<dyn TlsAccept>>;
    fn client(&self, section: &Value) -> Result<Arc<dyn TlsConnect>>;
}

/// The server's side of handshakes.
pub trait TlsAccept: Send + Sync {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, Result<Box<dyn RawStream>>>;
}

/// The client's side.
pub trait TlsConnect: Send + Sync {
    fn connect(&self, name: String, stream: TcpStream) -> BoxFuture<'static, Result<Box<dyn RawStream>>>;
}

/// Listens where the options say.
pub async fn listen(
    handle: Handle,
    tls: Arc<dyn TlsProvider>,
    options: ListenOptions,
) -> Result<Box<dyn RawListener>> {
    let accept = options.tls.as_ref().map(|section| tls.server(section)).transpose()?;
    let port = match options.port {
        -1 => 0,
        port => u16::try_from(port)
            .map_err(|_| Error::new(ErrorKind::Invalid, format!("{port} is not a port")))?,
    };
    let host = if options.host.is_empty() { "0.0.0.0".to_owned() } else { options.host };
    let place = format!("cannot listen on {host}:{port}");
    let bind = handle.spawn(async move { net::Listener::bind(&host, port).await });
    let listener = joined(bind.await)?.map_err(|error| Error::from(error).context(&place))?;
    let (address, listener) = (listener.local_addr()?.to_string(), listener.into_inner());
    Ok(Box::new(LentListener { handle, listener, address, accept, handshakes: JoinSet::new() }))
}

/// Dials, and makes TLS when the options say so.
pub async fn dial(
    handle: Handle,
    tls: Arc<dyn TlsProvider>,
    options: DialOptions,
) -> Result<Box<dyn RawStream>> {
    let connect = options.tls.as_ref().map(|section| tls.client(section)).transpose()?;
    let limit = options.timeout_ms.map_or(DIAL_LIMIT, Duration::from_millis);
    let (address, host) = (options.address.clone(), host_of(&options.address));
    let name = options.tls_name.unwrap_or(host);
    let dialling = handle.spawn(async move {
        let connected = clock::timeout(limit, async {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            match connect {
                None => Ok(Box::new(LentStream::plain(stream)) as Box<dyn RawStream>),
                Some(connect) => connect.connect(name, stream).await,
            }
        });
        let late = || Err(Error::new(ErrorKind::TimedOut, format!("no answer within {limit:?}")));
        connected
            .await
            .unwrap_or_else(late)
            .map_err(|error| error.context(format_args!("cannot dial {address}")))
    });
    joined(dialling.await)?
}

fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

fn joined<T>(answer: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    answer.map_err(|_| Error::new(ErrorKind::Cancelled, "the server is stopping"))
}

struct LentListener {
    handle: Handle,
    listener: TcpListener,
    address: String,
    accept: Option<Arc<dyn TlsAccept>>,
    /// Handshakes run beside, so that a slow client holds up nobody; dropped with the listener.
    handshakes: JoinSet<Result<Box<dyn RawStream>>>,
}

impl RawListener for LentListener {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Box<dyn RawStream>>> {
        loop {
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok(answer))) => return Poll::Ready(answer),
                Poll::Ready(Some(Err(_))) => continue,
                Poll::Ready(None) => {}
                Poll::Pending if self.handshakes.len() >= HANDSHAKES_MAX => return Poll::Pending,
                Poll::Pending => {}
            }
            let (stream, peer) = match self.listener.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(accepted) => accepted?,
            };
            stream.set_nodelay(true)?;
            let Some(accept) = &self.accept else {
                return Poll::Ready(Ok(Box::new(LentStream::plain(stream))));
            };
            let handshake = accept.accept(stream);
            let limited = async move {
                let done = clock::timeout(HANDSHAKE_LIMIT, handshake).await;
                let late = || Err(Error::new(ErrorKind::TimedOut, "the TLS handshake took too long"));
                done.unwrap_or_else(late).map_err(|error| error.context(net::plain(peer)))
            };
            self.handshakes.spawn_on(limited, &self.handle);
        }
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

/// A stream of the runtime, plain or TLS, as plugins are lent it.
pub struct LentStream<S> {
    stream: S,
    facts: StreamFacts,
}

impl LentStream<TcpStream> {
    pub fn plain(stream: TcpStream) -> Self {
        let facts = Self::addresses(&stream);
        Self { stream, facts }
    }

    /// Its two ends.
    pub fn addresses(stream: &TcpStream) -> StreamFacts {
        let text = |address: io::Result<std::net::SocketAddr>| {
            address.map(|address| net::plain(address).to_string())
        };
        StreamFacts {
            local: text(stream.local_addr()).unwrap_or_default(),
            peer: text(stream.peer_addr()).unwrap_or_default(),
            tls: None,
        }
    }
}

impl<S> LentStream<S> {
    pub fn tls(stream: S, addresses: StreamFacts, tls: TlsFacts) -> Self {
        Self { stream, facts: StreamFacts { tls: Some(tls), ..addresses } }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> RawStream for LentStream<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::uninit(buffer);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn facts(&self) -> StreamFacts {
        self.facts.clone()
    }
}
