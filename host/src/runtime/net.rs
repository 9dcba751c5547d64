//! TCP: listening, and the two halves of a connection.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 4096;

pub struct Listener(TcpListener);

/// An address that is taken, where nobody can connect yet.
pub struct Bound(TcpSocket);

impl Bound {
    /// Takes `host:port`; port 0 takes a free one.
    pub async fn take(host: &str, port: u16) -> io::Result<Bound> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address");
        for address in tokio::net::lookup_host((host, port)).await? {
            match Self::take_exactly(address) {
                Ok(bound) => return Ok(bound),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn take_exactly(address: SocketAddr) -> io::Result<Bound> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Bound(socket))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub fn listen(self) -> io::Result<Listener> {
        Ok(Listener(self.0.listen(BACKLOG)?))
    }
}

impl Listener {
    /// Listens on `host:port`; port 0 takes a free one.
    pub async fn bind(host: &str, port: u16) -> io::Result<Listener> {
        Bound::take(host, port).await?.listen()
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok((Stream(stream), peer))
    }
}

pub struct Stream(TcpStream);

impl Stream {
    /// Connects to `host:port`.
    pub async fn connect(host: &str, port: u16) -> io::Result<Stream> {
        let stream = TcpStream::connect((host, port)).await?;
        let _ = stream.set_nodelay(true);
        Ok(Stream(stream))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub fn split(self) -> (ReadHalf, Wire) {
        let (read, write) = self.0.into_split();
        (ReadHalf { half: read, given_back: None }, Wire(Some(write)))
    }
}

pub struct ReadHalf {
    half: OwnedReadHalf,
    /// Bytes that were read to look at and come first.
    given_back: Option<Box<[u8]>>,
}

impl ReadHalf {
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(bytes) = self.given_back.take() {
            let n = bytes.len().min(buf.len());
            buf[..n].copy_from_slice(&bytes[..n]);
            self.give_back(&bytes[n..]);
            return Poll::Ready(Ok(n));
        }
        let mut buf = ReadBuf::new(buf);
        Pin::new(&mut self.half).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.half.local_addr()
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.as_ref().poll_write_ready(cx)
    }

    /// Waits for a byte and shows it without taking it; `None` at the end of the stream.
    pub async fn peek(&mut self) -> io::Result<Option<u8>> {
        if let Some(bytes) = &self.given_back {
            return Ok(bytes.first().copied());
        }
        let mut byte = [0];
        let n = self.half.peek(&mut byte).await?;
        Ok((n > 0).then_some(byte[0]))
    }

    /// Appends what comes next to `bytes`.
    pub async fn read_some(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let mut buf = [0; 512];
        let n = std::future::poll_fn(|cx| self.poll_read(cx, &mut buf)).await?;
        bytes.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// Puts bytes in front of what comes next.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.given_back = (!bytes.is_empty()).then(|| bytes.into());
    }
}

/// The write half: non-blocking writes by whoever holds the receiver's lock.
pub struct Wire(Option<OwnedWriteHalf>);

impl Wire {
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.half()?.try_write(bytes)
    }

    #[inline]
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.half()?.try_write_vectored(slices)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.half()?.local_addr()
    }

    fn half(&self) -> io::Result<&OwnedWriteHalf> {
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Ends both directions at once.
    pub fn shutdown(&self) {
        if let Some(half) = &self.0 {
            let _ = socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The read half closes the socket; dropping this one would send a FIN too early.
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}
