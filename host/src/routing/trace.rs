//! The protocol trace (CORE-280): one line for each operation of a client. Never on unless asked for.

use crate::log::trace_line::{Direction, Operation, Payload};
use crate::proto::connect::redact;
use crate::proto::parse::Verb;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static PAYLOAD_BYTES_MAX: AtomicUsize = AtomicUsize::new(0);

/// `max_traced_msg_len`; 0 shows all.
pub fn set_payload_bytes_max(max: usize) {
    PAYLOAD_BYTES_MAX.store(max, Relaxed);
}

/// An operation of a client other than a message.
#[cold]
pub fn inbound(label: &str, verb: Verb, args: &[u8]) {
    let redacted;
    let (verb, args) = match verb {
        Verb::Connect => {
            redacted = redact(args);
            ("CONNECT", &redacted[..])
        }
        Verb::Sub => ("SUB", args),
        Verb::Unsub => ("UNSUB", args),
        Verb::Ping => ("PING", &b""[..]),
        Verb::Pong => ("PONG", &b""[..]),
        Verb::Info => ("INFO", args),
        Verb::Err => ("-ERR", args),
        Verb::Ok => ("+OK", &b""[..]),
        Verb::Pub => ("PUB", args),
        Verb::Hpub => ("HPUB", args),
    };
    crate::log::trace!(target: label, "{}", Operation { direction: Direction::Inbound, verb, args });
}

/// A message of a client: its control line and what follows.
#[cold]
pub fn publish(label: &str, line: &[u8], message: &[u8], header_len: u32) {
    let (verb, args) = match line.iter().position(|b| matches!(b, b' ' | b'\t')) {
        Some(at) => (if header_len > 0 { "HPUB" } else { "PUB" }, line[at + 1..].trim_ascii_end()),
        None => ("PUB", &b""[..]),
    };
    crate::log::trace!(target: label, "{}", Operation { direction: Direction::Inbound, verb, args });
    payload(label, Direction::Inbound, message, header_len as usize);
}

/// A message to a client. `head` is its control line.
#[cold]
pub fn outbound(label: &str, verb: &str, args: &[u8], message: &[u8], header_len: usize) {
    crate::log::trace!(target: label, "{}", Operation { direction: Direction::Outbound, verb, args });
    payload(label, Direction::Outbound, message, header_len);
}

/// Any other line to a client.
#[cold]
pub fn outbound_line(label: &str, verb: &str, args: &[u8]) {
    crate::log::trace!(target: label, "{}", Operation { direction: Direction::Outbound, verb, args });
}

#[cold]
pub fn unsubscribed(label: &str, sid: &[u8]) {
    let line = Operation { direction: Direction::Internal, verb: "DELSUB", args: sid };
    crate::log::trace!(target: label, "{line}");
}

fn payload(label: &str, direction: Direction, message: &[u8], header_len: usize) {
    let headers_only = crate::log::trace_headers_only();
    let max = PAYLOAD_BYTES_MAX.load(Relaxed);
    if let Some(line) = Payload::new(direction, message, header_len, headers_only, max) {
        crate::log::trace!(target: label, "{line}");
    }
}
