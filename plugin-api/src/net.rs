//! Byte streams lent by the host: TCP and TLS, dialled or accepted, with poll functions.
//!
//! They need no runtime in the plugin. For hyper, write a small type around [`ByteStream`] whose
//! `hyper::rt::Read` and `Write` call the poll methods of the same name.

use crate::abi::future::WakerCache;
use crate::abi::stream::{FfiListener, FfiStream};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::task::{Context, Poll};

/// Where to listen. `tls` is a `tls {}` block of the configuration as JSON, or `{"use": "server"}` for the server's
/// own, then with `"verify": false` if clients need no certificate; an error of kind `NotFound` says that it has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenOptions {
    pub host: String,
    /// -1 or 0 takes a free port.
    pub port: i32,
    pub tls: Option<Value>,
}

/// Where to dial, and whether with TLS from the first byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DialOptions {
    /// `host:port`; a name is resolved by the host.
    pub address: String,
    pub timeout_ms: Option<u64>,
    pub tls: Option<Value>,
    /// The name to ask for and to check in the certificate, when it is not the host of `address`.
    pub tls_name: Option<String>,
}

/// What is known of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamFacts {
    pub local: String,
    pub peer: String,
    pub tls: Option<TlsFacts>,
}

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: String,
    pub cipher_suite: String,
    pub server_name: Option<String>,
    /// The peer's chain, leaf first, DER in base64. Empty when the peer showed none.
    pub peer_certificates: Vec<String>,
}

/// A byte stream; dropping it closes it.
pub struct ByteStream {
    stream: FfiStream,
    read_waker: WakerCache,
    write_waker: WakerCache,
}

impl ByteStream {
    pub fn new(stream: FfiStream) -> Self {
        Self { stream, read_waker: WakerCache::default(), write_waker: WakerCache::default() }
    }

    pub fn facts(&self) -> StreamFacts {
        serde_json::from_str(&self.stream.facts()).unwrap_or_default()
    }

    /// 0 bytes is the end of the stream.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_read(&mut self.read_waker, context, buffer)
    }

    /// As `poll_read`, into memory that need not be initialised; the bytes read are afterwards.
    pub fn poll_read_uninit(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        crate::abi::import::read_uninit(&mut self.stream, &mut self.read_waker, context, buffer)
    }

    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    pub fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(&mut self.write_waker, context, parts)
    }

    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(&mut self.write_waker, context)
    }

    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(&mut self.write_waker, context)
    }

    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Fills the whole buffer, or fails with `UnexpectedEof`.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match poll_fn(|context| self.poll_write(context, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            }
        }
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Ends the writing side, with TLS's closing alert where there is TLS.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_shutdown(context)).await
    }
}

/// A listening socket of the host; dropping it closes it.
pub struct Listener {
    listener: FfiListener,
    waker: WakerCache,
}

impl Listener {
    pub fn new(listener: FfiListener) -> Self {
        Self { listener, waker: WakerCache::default() }
    }

    /// `address:port` as bound.
    pub fn local_address(&self) -> String {
        self.listener.local_address()
    }

    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<ByteStream>> {
        self.listener.poll_accept(&mut self.waker, context).map_ok(ByteStream::new)
    }

    /// The next connection, its TLS handshake done. An error concerns one connection: go on accepting, after a
    /// short pause if it is about descriptors.
    pub async fn accept(&mut self) -> Result<ByteStream> {
        poll_fn(|context| self.poll_accept(context)).await
    }
}

/// What a host implements to lend a stream.
pub trait RawStream: Send {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>>;
    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn facts(&self) -> StreamFacts;
}

/// What a host implements to lend a listener.
pub trait RawListener: Send {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Result<Box<dyn RawStream>>>;
    fn local_address(&self) -> String;
}
