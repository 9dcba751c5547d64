//! The PROXY protocol header, versions 1 and 2, that a load balancer puts before a connection (CORE-240).
//!
//! Sans-IO: looks at the bytes read so far. Not here: the timeout, and what the address is used for.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::IntErrorKind;

use thiserror::Error;

use super::quote::Quoted;

/// What the start of a connection turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Could still become a header.
    Incomplete,
    /// A plain connection: the bytes belong to it.
    NotProxy,
    Header {
        /// `None` with LOCAL, UNKNOWN and UNSPEC: the socket's own addresses count.
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
        /// The bytes of the header; what follows belongs to the connection.
        consumed: usize,
    },
}

/// Why a header is refused. The texts are those of nats-server (CORE-241).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    #[error("invalid PROXY protocol header: {0}")]
    Invalid(String),
    #[error("unsupported PROXY protocol feature: {0}")]
    Unsupported(String),
    #[error("unknown PROXY protocol command: 0x{0:02x}")]
    UnknownCommand(u8),
    #[error("invalid {which} port: strconv.ParseUint: parsing {text}: {cause}")]
    Port { which: &'static str, text: String, cause: &'static str },
    #[error("{family} address data too short: {bytes} bytes")]
    ShortAddress { family: &'static str, bytes: usize },
}

const V1_START: &[u8] = b"PROXY ";
/// With CR LF.
const V1_LINE_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_SIGNATURE_BYTES: usize = V2_SIGNATURE.len();
/// nats-server decides by these many bytes whether there is a header.
const V2_START_BYTES: usize = 6;
const V2_HEAD_BYTES: usize = 16;

/// Looks at all bytes that were read so far. Call again with more while it says `Incomplete`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if starts(bytes, V1_START) {
        return parse_v1(bytes);
    }
    if starts(bytes, &V2_SIGNATURE[..V2_START_BYTES]) {
        return parse_v2(bytes);
    }
    Ok(Parsed::NotProxy)
}

/// What is missing of a header that came only so far, in the words of nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub part: &'static str,
    /// How reading that part ends when no more bytes come.
    pub end: &'static str,
}

impl Missing {
    /// For `bytes` that `parse` calls incomplete.
    pub fn of(bytes: &[u8]) -> Missing {
        let len = bytes.len();
        let (part, from) = match (bytes.first(), len) {
            (_, ..V2_START_BYTES) => ("protocol version", 0),
            // A line is read as far as it goes.
            (Some(b'P'), _) => ("v1 line", len),
            (_, ..V2_SIGNATURE_BYTES) => ("v2 signature", V2_START_BYTES),
            (_, ..V2_HEAD_BYTES) => ("v2 header", V2_SIGNATURE_BYTES),
            _ => (v2_data_name(bytes[12] & 0x0f, bytes[13] & 0xf0), V2_HEAD_BYTES),
        };
        Missing { part, end: if len == from { "EOF" } else { "unexpected EOF" } }
    }

    /// nats-server takes a connection that said next to nothing in time for one that has ended.
    pub fn is_start(&self) -> bool {
        self.part == "protocol version"
    }
}

fn v2_data_name(command: u8, family: u8) -> &'static str {
    match (command, family) {
        (0, _) => "LOCAL command address data",
        (_, 0x20) => "IPv6 address data",
        _ => "IPv4 address data",
    }
}

/// Whether `bytes` begin with `start`, or are the beginning of it.
fn starts(bytes: &[u8], start: &[u8]) -> bool {
    let shorter = bytes.len().min(start.len());
    bytes[..shorter] == start[..shorter]
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let line = &bytes[..bytes.len().min(V1_LINE_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        if line.len() == V1_LINE_BYTES_MAX {
            return Err(invalid("v1 line too long"));
        }
        return Ok(Parsed::Incomplete);
    };
    let consumed = end + 2;
    let text = String::from_utf8_lossy(&line[V1_START.len()..end]);
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.first() == Some(&"UNKNOWN") {
        return Ok(Parsed::Header { source: None, destination: None, consumed });
    }
    let &[protocol, source, destination, source_port, destination_port] = &fields[..] else {
        return Err(invalid("invalid v1 format"));
    };
    let source = SocketAddr::new(address(source)?, port("source", source_port)?);
    let destination = SocketAddr::new(address(destination)?, port("dest", destination_port)?);
    match protocol {
        "TCP4" if source.is_ipv6() || destination.is_ipv6() => Err(invalid("TCP4 with IPv6 address")),
        "TCP6" if source.is_ipv4() || destination.is_ipv4() => Err(invalid("TCP6 with IPv4 address")),
        "TCP4" | "TCP6" => {
            Ok(Parsed::Header { source: Some(source), destination: Some(destination), consumed })
        }
        _ => Err(invalid(format!("invalid protocol {protocol}"))),
    }
}

fn address(text: &str) -> Result<IpAddr, ProxyError> {
    text.parse().map_err(|_| invalid("invalid address"))
}

fn port(which: &'static str, text: &str) -> Result<u16, ProxyError> {
    let error = |cause| ProxyError::Port { which, text: Quoted(text.as_bytes()).to_string(), cause };
    if text.starts_with('+') {
        return Err(error("invalid syntax"));
    }
    text.parse::<u16>().map_err(|e| match e.kind() {
        IntErrorKind::PosOverflow => error("value out of range"),
        _ => error("invalid syntax"),
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if !starts(bytes, V2_SIGNATURE) {
        return Err(invalid("invalid signature"));
    }
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD_BYTES) else {
        return Ok(Parsed::Incomplete);
    };
    let (version, command) = (head[12] & 0xf0, head[12] & 0x0f);
    let (family, transport) = (head[13] & 0xf0, head[13] & 0x0f);
    if version != 0x20 {
        return Err(invalid(format!("invalid version 0x{version:02x}")));
    }
    if command > 1 {
        return Err(ProxyError::UnknownCommand(command));
    }
    let address_bytes = usize::from(u16::from_be_bytes([head[14], head[15]]));
    // What follows the addresses are TLVs; nobody asks for them.
    let Some(data) = rest.get(..address_bytes) else { return Ok(Parsed::Incomplete) };
    let addresses = if command == 0 { None } else { v2_addresses(family, transport, data)? };
    let (source, destination) = addresses.unzip();
    Ok(Parsed::Header { source, destination, consumed: V2_HEAD_BYTES + address_bytes })
}

fn v2_addresses(
    family: u8,
    transport: u8,
    data: &[u8],
) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyError> {
    if transport != 1 {
        return Err(ProxyError::Unsupported("only STREAM protocol supported".to_owned()));
    }
    let too_short = |family| ProxyError::ShortAddress { family, bytes: data.len() };
    match family {
        0x00 => Ok(None),
        0x10 => v2_pair::<4, Ipv4Addr>(data).map(Some).ok_or_else(|| too_short("IPv4")),
        0x20 => v2_pair::<16, Ipv6Addr>(data).map(Some).ok_or_else(|| too_short("IPv6")),
        _ => Err(ProxyError::Unsupported(format!("unsupported address family 0x{family:02x}"))),
    }
}

/// Source and destination address, source and destination port. `None` if `data` is too short.
fn v2_pair<const N: usize, Ip>(data: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    Ip: From<[u8; N]> + Into<IpAddr>,
{
    let (source, data) = data.split_first_chunk::<N>()?;
    let (destination, data) = data.split_first_chunk::<N>()?;
    let (source_port, data) = data.split_first_chunk::<2>()?;
    let (destination_port, _) = data.split_first_chunk::<2>()?;
    let socket =
        |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(Ip::from(*ip).into(), u16::from_be_bytes(*port));
    Some((socket(source, source_port), socket(destination, destination_port)))
}

fn invalid(text: impl Into<String>) -> ProxyError {
    ProxyError::Invalid(text.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const IPV4_DATA: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 0, 111, 0, 222];

    fn v2(version_command: u8, family_transport: u8, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_be_bytes();
        [V2_SIGNATURE, &[version_command, family_transport], &length, data].concat()
    }

    /// Parses with bytes of the client behind, and checks that they are left alone.
    fn source_of(header: &[u8]) -> Option<SocketAddr> {
        match parse(&[header, b"PING\r\n"].concat()) {
            Ok(Parsed::Header { source, consumed, .. }) => {
                assert_eq!(consumed, header.len());
                source
            }
            other => panic!("{header:?}: {other:?}"),
        }
    }

    fn error_of(header: &[u8]) -> String {
        parse(header).unwrap_err().to_string()
    }

    fn socket(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn version_1_gives_the_source() {
        assert_eq!(source_of(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), socket("1.2.3.4:1"));
        assert_eq!(source_of(b"PROXY TCP4  1.2.3.4 5.6.7.8 0 0\r\n"), socket("1.2.3.4:0"));
        assert_eq!(source_of(b"PROXY TCP6 ::1 2001:db8::1 65535 2\r\n"), socket("[::1]:65535"));
        assert_eq!(source_of(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source_of(b"PROXY UNKNOWN a b c d e f\r\n"), None);
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(longest.len(), V1_LINE_BYTES_MAX);
        assert_eq!(source_of(longest.as_bytes()), None);
    }

    #[test]
    fn version_1_is_refused_with_the_texts_of_nats_server() {
        // Each text was seen in the log of nats-server.
        for (header, text) in [
            ("TCP4 1.2.3.4 5.6.7.8 1", "invalid PROXY protocol header: invalid v1 format"),
            ("TCP4 1.2.3.4 5.6.7.8 1 2 3", "invalid PROXY protocol header: invalid v1 format"),
            ("TCP4 1.2.3.4 5.6.7.8 1 2\rx", "invalid PROXY protocol header: invalid v1 format"),
            ("", "invalid PROXY protocol header: invalid v1 format"),
            ("TCP4 ::1 5.6.7.8 1 2", "invalid PROXY protocol header: TCP4 with IPv6 address"),
            ("TCP4 1.2.3.4 ::1 1 2", "invalid PROXY protocol header: TCP4 with IPv6 address"),
            ("TCP4 ::ffff:1.2.3.4 5.6.7.8 1 2", "invalid PROXY protocol header: TCP4 with IPv6 address"),
            ("TCP6 ::1 1.2.3.4 1 2", "invalid PROXY protocol header: TCP6 with IPv4 address"),
            ("TCP4 1.2.3 5.6.7.8 1 2", "invalid PROXY protocol header: invalid address"),
            ("TCP4 01.2.3.4 5.6.7.8 1 2", "invalid PROXY protocol header: invalid address"),
            ("TCP6 fe80::1%eth0 ::1 1 2", "invalid PROXY protocol header: invalid address"),
            ("UDP4 1.2.3.4 5.6.7.8 1 2", "invalid PROXY protocol header: invalid protocol UDP4"),
            ("tcp4 1.2.3.4 5.6.7.8 1 2", "invalid PROXY protocol header: invalid protocol tcp4"),
            (
                "TCP4 1.2.3.4 5.6.7.8 99999 2",
                r#"invalid source port: strconv.ParseUint: parsing "99999": value out of range"#,
            ),
            (
                "TCP4 1.2.3.4 5.6.7.8 +1 2",
                r#"invalid source port: strconv.ParseUint: parsing "+1": invalid syntax"#,
            ),
            (
                "TCP4 1.2.3.4 5.6.7.8 1 b",
                r#"invalid dest port: strconv.ParseUint: parsing "b": invalid syntax"#,
            ),
        ] {
            assert_eq!(error_of(format!("PROXY {header}\r\n").as_bytes()), text);
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(error_of(long.as_bytes()), "invalid PROXY protocol header: v1 line too long");
    }

    #[test]
    fn version_2_gives_the_source() {
        assert_eq!(source_of(&v2(0x21, 0x11, IPV4_DATA)), socket("1.2.3.4:111"));
        let with_tlv = [IPV4_DATA, b"TLVxx"].concat();
        assert_eq!(source_of(&v2(0x21, 0x11, &with_tlv)), socket("1.2.3.4:111"));
        assert_eq!(source_of(&v2(0x21, 0x21, &[0; 36])), socket("[::]:0"));
        // LOCAL: the rest of the head is not even looked at.
        assert_eq!(source_of(&v2(0x20, 0x12, IPV4_DATA)), None);
        assert_eq!(source_of(&v2(0x20, 0x00, &[])), None);
        // UNSPEC
        assert_eq!(source_of(&v2(0x21, 0x01, IPV4_DATA)), None);
    }

    #[test]
    fn version_2_is_refused_with_the_texts_of_nats_server() {
        let stream = "unsupported PROXY protocol feature: only STREAM protocol supported";
        for (version_command, family_transport, data_bytes, text) in [
            (0x21, 0x12, 12, stream),
            (0x21, 0x10, 12, stream),
            (0x21, 0x00, 0, stream),
            (0x21, 0x31, 216, "unsupported PROXY protocol feature: unsupported address family 0x30"),
            (0x11, 0x11, 12, "invalid PROXY protocol header: invalid version 0x10"),
            (0x22, 0x11, 12, "unknown PROXY protocol command: 0x02"),
            (0x21, 0x11, 4, "IPv4 address data too short: 4 bytes"),
            (0x21, 0x21, 35, "IPv6 address data too short: 35 bytes"),
        ] {
            assert_eq!(error_of(&v2(version_command, family_transport, &vec![0; data_bytes])), text);
        }
        assert_eq!(error_of(b"\r\n\r\n\0\rX"), "invalid PROXY protocol header: invalid signature");
    }

    #[test]
    fn other_bytes_are_a_plain_connection() {
        for bytes in
            ["PING\r\n", "PUB a 0\r\n", "PROXYTCP4\r\n", "proxy TCP4\r\n", "CONNECT {}\r\n", "\x16\x03"]
        {
            assert_eq!(parse(bytes.as_bytes()), Ok(Parsed::NotProxy), "{bytes:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_header_is_incomplete() {
        let v1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec();
        for header in [v1, v2(0x21, 0x11, IPV4_DATA), v2(0x20, 0, &[])] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(Parsed::Incomplete), "{:?}", &header[..end]);
            }
        }
    }

    /// Every header with one byte changed gives an answer, and never one beyond the bytes that are there.
    #[test]
    fn damaged_headers_do_no_harm() {
        let v1 = b"PROXY TCP6 ::1 2001:db8::1 65535 2\r\n".to_vec();
        for header in [v1, v2(0x21, 0x11, IPV4_DATA), v2(0x21, 0x21, &[7; 40])] {
            for at in 0..header.len() {
                for byte in 0..=255 {
                    let mut damaged = header.clone();
                    damaged[at] = byte;
                    if let Ok(Parsed::Header { consumed, .. }) = parse(&damaged) {
                        assert!(consumed <= damaged.len());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_missing_of_a_header_is_told_as_nats_server_does() {
        // CORE-240, CORE-241
        let head = [V2_SIGNATURE, b"\x21\x11\0\x0c"].concat();
        for (bytes, part, end) in [
            (&b""[..], "protocol version", "EOF"),
            (b"PROXY", "protocol version", "unexpected EOF"),
            (b"PROXY TCP4", "v1 line", "EOF"),
            (&head[..6], "v2 signature", "EOF"),
            (&head[..11], "v2 signature", "unexpected EOF"),
            (&head[..12], "v2 header", "EOF"),
            (&head[..15], "v2 header", "unexpected EOF"),
            (&head, "IPv4 address data", "EOF"),
            (&[&head[..], b"\x01"].concat(), "IPv4 address data", "unexpected EOF"),
            (&v2(0x21, 0x21, &[0; 36])[..16], "IPv6 address data", "EOF"),
            (&v2(0x20, 0, &[0; 4])[..17], "LOCAL command address data", "unexpected EOF"),
        ] {
            assert_eq!(parse(bytes), Ok(Parsed::Incomplete));
            assert_eq!(Missing::of(bytes), Missing { part, end }, "{bytes:?}");
        }
    }
}
