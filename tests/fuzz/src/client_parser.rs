//! The client protocol: control lines, messages, the JSON of CONNECT.
//!
//! The bytes are read as a connection reads them: whole operations at the front of a buffer, the rest kept
//! for the next read.

use natsd::proto::connect::{self, Connect};
use natsd::proto::parse::{self, Line, Verb};
use natsd::subject;

use crate::cuts::pieces;

/// Small, so that inputs of a fuzzer reach it.
const CONTROL_LINE_BYTES_MAX: usize = 64;
const PAYLOAD_BYTES_MAX: usize = 256;

pub const WORDS: &[&[u8]] = &[
    b"PUB ",
    b"HPUB ",
    b"SUB ",
    b"UNSUB ",
    b"PING\r\n",
    b"PONG\r\n",
    b"CONNECT ",
    b"INFO ",
    b"+OK\r\n",
    b"-ERR ",
    b"MSG ",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b".",
    b"*",
    b">",
    b"0",
    b"5",
    b"99",
    b"999999999",
    b"1234567890",
    b"-1",
    b"{",
    b"}",
    b"\"",
    b"{\"verbose\":false}",
    b"\"pass\":\"",
    b"null",
    b"\xff",
    b"\0",
    b"NATS/1.0\r\n\r\n",
    b"                                                                ",
];

/// What a connection makes of the bytes.
#[derive(Debug, PartialEq)]
enum Operation {
    Message {
        subject: Vec<u8>,
        reply: Vec<u8>,
        headers: Vec<u8>,
        payload: Vec<u8>,
    },
    Subscribe(Vec<Vec<u8>>),
    Unsubscribe(Vec<Vec<u8>>),
    /// What was understood of it, or why not.
    Connect(String),
    Other(Verb),
    /// The connection ends here.
    End(&'static str),
}

#[derive(Default)]
struct Reader {
    left: Vec<u8>,
    operations: Vec<Operation>,
    ended: bool,
}

/// However the bytes are cut, the same operations come out.
pub fn client_parser(input: &[u8]) {
    let mut whole = Reader::default();
    whole.read(input);
    let mut cut = Reader::default();
    for piece in pieces(input) {
        cut.read(piece);
    }
    assert_eq!(whole.operations, cut.operations);
    assert!(whole.ended || whole.left == cut.left, "the same bytes wait for more");
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        self.left.extend_from_slice(bytes);
        let mut at = 0;
        while at < self.left.len() {
            match next(&self.left[at..]) {
                None => break,
                Some((Operation::End(why), _)) => {
                    self.operations.push(Operation::End(why));
                    self.ended = true;
                    return;
                }
                Some((operation, len)) => {
                    assert!(len > 0 && at + len <= self.left.len(), "an operation lies within the bytes");
                    self.operations.push(operation);
                    at += len;
                }
            }
        }
        self.left.drain(..at);
        let bound = 2 * CONTROL_LINE_BYTES_MAX + PAYLOAD_BYTES_MAX + 16;
        assert!(self.left.len() <= bound, "{} bytes are kept of an operation", self.left.len());
    }
}

/// The operation at the start of `bytes` with its length; `None` if more bytes are needed.
fn next(bytes: &[u8]) -> Option<(Operation, usize)> {
    let (verb, args, len) = match parse::line(bytes, CONTROL_LINE_BYTES_MAX) {
        Line::Whole { verb, args, len } => (verb, args, len),
        Line::Partial => return None,
        Line::TooLong => return Some((Operation::End("maximum control line exceeded"), 0)),
        Line::Unknown => return Some((Operation::End("unknown protocol operation"), 0)),
    };
    assert!(args.0 <= args.1 && args.1 < len && bytes[len - 1] == b'\n', "{args:?} within {len}");
    let text = &bytes[args.0..args.1];
    let operation = match verb {
        Verb::Pub => return message(bytes, args, len, false),
        Verb::Hpub => return message(bytes, args, len, true),
        Verb::Sub => words::<3>(text, 2).map(Operation::Subscribe),
        Verb::Unsub => words::<2>(text, 1).map(Operation::Unsubscribe),
        Verb::Connect => Some(connect(text)),
        Verb::Ping | Verb::Pong | Verb::Info | Verb::Ok | Verb::Err => Some(Operation::Other(verb)),
    };
    Some((operation.unwrap_or(Operation::End("bad arguments")), len))
}

fn message(bytes: &[u8], args: (usize, usize), line_len: usize, headers: bool) -> Option<(Operation, usize)> {
    let Ok(line) = parse::publish(bytes, args, headers) else {
        return Some((Operation::End("bad arguments"), 0));
    };
    let (size, header_len) = (line.size_bytes as usize, line.header_len as usize);
    assert!(header_len <= size && (headers || header_len == 0));
    if size > PAYLOAD_BYTES_MAX {
        return Some((Operation::End("maximum payload violation"), 0));
    }
    let len = line_len + size + 2;
    let body = bytes.get(line_len..len)?;
    let Some(body) = body.strip_suffix(b"\r\n") else {
        return Some((Operation::End("no end of payload"), 0));
    };
    let (headers, payload) = body.split_at(header_len);
    let (subject, reply) = (line.subject.of(bytes), line.reply.of(bytes));
    check_subject(subject);
    let [subject, reply, headers, payload] = [subject, reply, headers, payload].map(<[u8]>::to_vec);
    Some((Operation::Message { subject, reply, headers, payload }, len))
}

fn words<const N: usize>(args: &[u8], least: usize) -> Option<Vec<Vec<u8>>> {
    let (words, count) = parse::words::<N>(args, least)?;
    assert!((least..=N).contains(&count));
    check_subject(words[0]);
    Some(words[..count].iter().map(|word| word.to_vec()).collect())
}

fn connect(json: &[u8]) -> Operation {
    let mut options = Connect::default();
    let result = options.merge(json).map_err(|error| error.to_string());
    // What goes to the log must cope with what is not JSON at all.
    let redacted = connect::redact(json).len();
    Operation::Connect(format!("{result:?} {options:?} {redacted:?}"))
}

/// What the rules on subjects say of each other.
fn check_subject(text: &[u8]) {
    if subject::is_valid_literal(text) {
        assert!(subject::is_valid(text) && !subject::has_wildcard(text));
        assert!(subject::matches(text, text) && subject::matches(b">", text));
    }
    if subject::is_valid(text) {
        assert!(subject::is_subset(b">", text) && subject::is_subset(text, text));
        assert!(subject::collide(text, text));
    }
}
