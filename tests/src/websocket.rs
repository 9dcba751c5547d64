//! A server with a WebSocket port, and a raw WebSocket client.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use rustls::{ClientConnection, StreamOwned};

use crate::certs::Certs;
use crate::server::{natsd, reference};
use crate::{Launch, PATIENCE, Server};

pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
pub const PING: u8 = 0x89;
pub const CLOSE: u8 = 0x88;
pub const BINARY: u8 = 0x82;
pub const TEXT: u8 = 0x81;
pub const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x80];

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A raw WebSocket client.
pub struct Socket {
    wire: Box<dyn Wire>,
    pub unread: Vec<u8>,
}

impl Socket {
    pub fn plain(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { wire: Box::new(tcp), unread: Vec::new() }
    }

    pub fn tls(port: u16, certs: &Certs) -> Self {
        Self::tls_showing(port, certs, None)
    }

    /// The client shows this certificate if it is asked for one.
    pub fn tls_showing(port: u16, certs: &Certs, cert: Option<&str>) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(certs.client_config(cert), name).unwrap();
        Self { wire: Box::new(StreamOwned::new(session, tcp)), unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
        self.wire.flush().unwrap();
    }

    /// For when the server may have closed; whether it had not.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).and_then(|()| self.wire.flush()).is_ok()
    }

    pub fn send_text(&mut self, plain: &str) {
        self.send(&frame(BINARY, plain.as_bytes()));
    }

    /// Sends a request and returns the head of the answer.
    pub fn request(&mut self, request: &str) -> String {
        self.send(request.as_bytes());
        let len = self.wait(|bytes| bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4));
        String::from_utf8(self.unread.drain(..len.expect("an answer")).collect()).unwrap()
    }

    /// Upgrades and reads INFO.
    pub fn upgrade(&mut self, headers: &str) -> String {
        let head = self.request(&get(headers));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (first, info) = self.frame().expect("INFO");
        let info = if first == BINARY { String::from_utf8(info).unwrap() } else { String::new() };
        assert!(first == 0xc2 || info.starts_with("INFO {"), "{info}");
        info
    }

    /// First byte and payload of the next frame; `None` at the end.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (start, end) = self.wait(|bytes| {
            let (start, len) = match *bytes.get(1)? {
                126 => (4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into()),
                127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
                len => (2, len.into()),
            };
            (bytes.len() >= start + len).then_some((start, start + len))
        })?;
        let frame: Vec<u8> = self.unread.drain(..end).collect();
        Some((frame[0], frame[start..].to_vec()))
    }

    /// The next so many bytes of protocol, whatever the frames.
    pub fn plain_bytes(&mut self, len: usize) -> String {
        let mut plain = Vec::new();
        while plain.len() < len {
            let (first, payload) = self.frame().expect("more to come");
            assert_eq!(first, BINARY);
            plain.extend(payload);
        }
        String::from_utf8(plain).unwrap()
    }

    pub fn expect(&mut self, plain: &str) {
        assert_eq!(self.plain_bytes(plain.len()), plain);
    }

    pub fn rest(&mut self) -> String {
        self.wait(|_| None::<()>);
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Reads until `found` finds something in what is unread.
    pub fn wait<T>(&mut self, found: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = found(&self.unread) {
                return Some(found);
            }
            let mut chunk = [0; 16 * 1024];
            match self.wire.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend_from_slice(&chunk[..len]),
                // A TLS alert reads as invalid data.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::InvalidData) => {
                    return None;
                }
                Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.unread)),
            }
        }
    }
}

pub fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}{headers}\r\n")
}

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// natsd, and the reference if there is one: what holds for both is what clients rely on.
pub fn programs() -> Vec<PathBuf> {
    [Some(natsd()), reference()].into_iter().flatten().collect()
}

pub fn start(program: PathBuf, block: &str, rest: &str) -> (Server, u16) {
    let config = format!("websocket {{ host: 127.0.0.1, port: -1, {block} }}\n{rest}\n");
    let server = Launch::new(program).config(config).start();
    let port = port_of(&server);
    (server, port)
}

pub fn port_of(server: &Server) -> u16 {
    let listening = |line: &str| {
        let rest = line.split_once("Listening for websocket clients on ws")?.1;
        rest.split_whitespace().next()?.rsplit(':').next()?.parse().ok()
    };
    server.log().wait(0, PATIENCE, listening).expect("a websocket port in the log")
}
