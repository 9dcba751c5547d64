//! TCP: listening, and the two halves of a connection.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 4096;

pub struct Listener {
    listener: TcpListener,
    shown: SocketAddr,
}

/// An address that is taken, where nobody can connect yet.
pub struct Bound {
    socket: TcpSocket,
    /// What was asked for, with the port that was taken.
    shown: SocketAddr,
}

impl Bound {
    /// Takes `host:port`; port 0 takes a free one.
    pub async fn take(host: &str, port: u16) -> io::Result<Bound> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address");
        for address in tokio::net::lookup_host((host, port)).await? {
            match Self::take_at(address) {
                Ok(bound) => return Ok(bound),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Who asks for every IPv4 address gets every IPv6 address too, as Go has it: by default a server is found by both.
    fn take_at(address: SocketAddr) -> io::Result<Bound> {
        let socket = match address {
            SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::UNSPECIFIED => {
                match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, v4.port()))) {
                    Err(e) if e.kind() != io::ErrorKind::AddrInUse => bind(address)?, // A machine without IPv6.
                    everywhere => everywhere?,
                }
            }
            _ => bind(address)?,
        };
        let shown = SocketAddr::new(address.ip(), socket.local_addr()?.port());
        Ok(Bound { socket, shown })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.shown)
    }

    pub fn listen(self) -> io::Result<Listener> {
        Ok(Listener { listener: self.socket.listen(BACKLOG)?, shown: self.shown })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket2::SockRef::from(&socket).set_only_v6(false)?; // Whatever the system does by itself.
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The address as people write it: one of IPv4 that came through a socket of IPv6 is one of IPv4.
pub fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl Listener {
    /// Listens on `host:port`; port 0 takes a free one.
    pub async fn bind(host: &str, port: u16) -> io::Result<Listener> {
        Bound::take(host, port).await?.listen()
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.shown)
    }

    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        let _ = stream.set_nodelay(true);
        Ok((Stream(stream), plain(peer)))
    }

    pub fn into_inner(self) -> TcpListener {
        self.listener
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
        self.0.local_addr().map(plain)
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
        self.half.local_addr().map(plain)
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
        self.half()?.local_addr().map(plain)
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
