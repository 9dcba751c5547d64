//! A raw client connection: writes any bytes, reads one protocol operation at a time.
//!
//! It knows only where an operation ends (a line, or a line and its payload), so that a test sees
//! the server's bytes as they are. Every wait has a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::PATIENCE;

pub struct Client {
    stream: Stream,
    unread: Vec<u8>,
    patience: Duration,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Why there is no next operation.
#[derive(Debug)]
pub enum NoOp {
    /// The server has closed the connection; these bytes came after the last whole operation.
    Closed { rest: Vec<u8> },
    /// Nothing (more) came in time.
    Silent { rest: Vec<u8> },
}

impl Client {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: Stream::Plain(stream), unread: Vec::new(), patience: PATIENCE })
    }

    /// Connects, reads INFO and says CONNECT with `options` (JSON fields without the braces),
    /// neither verbose nor pedantic unless they say so.
    pub fn join(address: SocketAddr, options: &str) -> io::Result<Self> {
        let mut client = Self::open(address)?;
        client.expect_op("INFO ");
        let comma = if options.is_empty() { "" } else { "," };
        let connect = format!("CONNECT {{\"verbose\":false,\"pedantic\":false{comma}{options}}}\r\n");
        client.send(connect.as_bytes())?;
        Ok(client)
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Starts TLS on a connection that was plain until now.
    pub fn start_tls(self, config: Arc<ClientConfig>) -> io::Result<Self> {
        let Stream::Plain(mut tcp) = self.stream else {
            return Err(io::Error::other("TLS is already on"));
        };
        let name = "localhost".try_into().expect("a valid name");
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        tcp.set_read_timeout(Some(self.patience))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(tls, tcp)));
        Ok(Self { stream, unread: self.unread, patience: self.patience })
    }

    pub fn local_port(&self) -> u16 {
        self.tcp().local_addr().map_or(0, |address| address.port())
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Writes what the server takes within `patience`; false if it did not take all.
    pub fn send_within(&mut self, bytes: &[u8], patience: Duration) -> io::Result<bool> {
        self.tcp().set_write_timeout(Some(patience))?;
        let outcome = self.send(bytes);
        self.tcp().set_write_timeout(Some(PATIENCE))?;
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Vanishes with a reset instead of a close.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Says that no more bytes will come, while still reading.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.tcp().shutdown(Shutdown::Write)
    }

    /// The next operation with its line ends: a line, or for MSG and HMSG the line and the payload.
    pub fn next_op(&mut self) -> Result<Vec<u8>, NoOp> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(len) = op_len(&self.unread) {
                return Ok(self.unread.drain(..len).collect());
            }
            match self.fill(deadline) {
                Ok(0) => return Err(NoOp::Closed { rest: std::mem::take(&mut self.unread) }),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    return Err(NoOp::Silent { rest: self.unread.clone() });
                }
                Err(_) => return Err(NoOp::Closed { rest: std::mem::take(&mut self.unread) }),
            }
        }
    }

    /// Reads the next operation, answers PING, and panics unless it begins with `start`.
    pub fn expect_op(&mut self, start: &str) -> Vec<u8> {
        loop {
            match self.next_op() {
                Ok(op) if op.starts_with(start.as_bytes()) => return op,
                Ok(op) if op == b"PING\r\n" => self.send(b"PONG\r\n").expect("the connection is open"),
                other => panic!("expected {start:?}, got {}", describe(&other)),
            }
        }
    }

    /// Sends PING and returns what came before its PONG: after that the server has done all that
    /// this client asked for earlier.
    pub fn sync(&mut self) -> Vec<Vec<u8>> {
        self.send(b"PING\r\n").expect("the connection is open");
        let mut before = Vec::new();
        loop {
            match self.next_op() {
                Ok(op) if op == b"PONG\r\n" => return before,
                Ok(op) => before.push(op),
                other => panic!("expected PONG, got {}", describe(&other)),
            }
        }
    }

    /// Reads until the server closes and returns the operations that came before.
    pub fn until_closed(&mut self) -> Vec<Vec<u8>> {
        let mut before = Vec::new();
        loop {
            match self.next_op() {
                Ok(op) => before.push(op),
                Err(NoOp::Closed { .. }) => return before,
                silent => panic!("the server did not close: {}", describe(&silent)),
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.tcp().set_read_timeout(Some(left))?;
        let mut chunk = [0; 64 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut chunk)?,
            Stream::Tls(tls) => tls.read(&mut chunk)?,
        };
        self.unread.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// How many bytes the first operation in `bytes` has, when all of it is there.
fn op_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    if !bytes.starts_with(b"MSG ") && !bytes.starts_with(b"HMSG ") {
        return Some(line);
    }
    let size = bytes[..line].split(|byte| byte.is_ascii_whitespace()).rfind(|word| !word.is_empty())?;
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let end = line + size + 2;
    (bytes.len() >= end).then_some(end)
}

fn describe(outcome: &Result<Vec<u8>, NoOp>) -> String {
    match outcome {
        Ok(op) => format!("{:?}", String::from_utf8_lossy(op)),
        Err(NoOp::Closed { rest }) => format!("a close after {:?}", String::from_utf8_lossy(rest)),
        Err(NoOp::Silent { rest }) => format!("silence after {:?}", String::from_utf8_lossy(rest)),
    }
}
