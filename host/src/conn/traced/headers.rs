//! What the headers of a message say about tracing it (CORE-290 to CORE-294).
//!
//! Pure: sees header bytes only. Not here: whether the account traces, and whether the client may.

use super::event::Encoding;
use memchr::memmem::Finder;
use std::sync::LazyLock;

const FIRST_LINE: &[u8] = b"NATS/1.0\r\n";
const DEST: &[u8] = b"Nats-Trace-Dest";
const DEST_LINE_START: &[u8] = b"\nNats-Trace-Dest:";
/// The destination that means no tracing; no valid subject (CORE-292).
const DISABLED: &[u8] = b"trace disabled";
const ONLY: &[u8] = b"Nats-Trace-Only";
const ACCEPT_ENCODING: &[u8] = b"Accept-Encoding";
const TRACEPARENT: &[u8] = b"traceparent";
/// Of the first tracing servers; a message with it is not traced (CORE-292).
pub const ORIGIN_ACCOUNT: &[u8] = b"Nats-Trace-Origin-Account";

/// Headers that ask for a trace. Fields without a value are left out, names keep their case.
pub struct TraceHeaders<'h> {
    pub fields: Vec<(&'h [u8], &'h [u8])>,
    pub trigger: Trigger<'h>,
    /// There is a sampled `traceparent`, whatever the trigger.
    pub is_sampled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger<'h> {
    /// `Nats-Trace-Dest`, with its value.
    Destination(&'h [u8]),
    /// A sampled `traceparent`: the account says where to (CORE-293).
    Traceparent,
}

/// Whether a header block has a `Nats-Trace-Dest`: the check that every message with headers takes.
#[inline]
pub fn has_destination(block: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(DEST_LINE_START));
    FINDER.find(block).is_some()
}

/// Whether a header block has a sampled `traceparent`.
pub fn has_sampled_traceparent(block: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', block)
        .filter_map(|end| field(&block[end + 1..]))
        .any(|(name, value, _)| name.eq_ignore_ascii_case(TRACEPARENT) && is_sampled(value))
}

/// The block with its trace switched off, for servers that the message may go on to (CORE-293).
pub fn disabled(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + DEST.len() + DISABLED.len() + 4);
    let is_dest = |line: &[u8]| line.strip_prefix(DEST).is_some_and(|rest| rest.starts_with(b":"));
    for line in block.split_inclusive(|&b| b == b'\n').filter(|line| *line != b"\r\n" && !is_dest(line)) {
        out.extend_from_slice(line);
    }
    for part in [DEST, b": ", DISABLED, b"\r\n\r\n"] {
        out.extend_from_slice(part);
    }
    out
}

impl<'h> TraceHeaders<'h> {
    /// `None`: the headers ask for no trace.
    pub fn parse(block: &'h [u8]) -> Option<Self> {
        let mut rest = block.strip_prefix(FIRST_LINE)?;
        let mut fields = Vec::new();
        let (mut destination, mut sampled) = (None, false);
        while let Some((name, value, after)) = field(rest) {
            rest = after;
            if name.is_empty() || value.is_empty() {
                continue;
            }
            if name.eq_ignore_ascii_case(TRACEPARENT) {
                sampled |= is_sampled(value);
            } else if name == DEST && destination.is_none() {
                if value == DISABLED {
                    return None;
                }
                destination = Some(value);
            }
            fields.push((name, value));
        }
        let trigger = match destination {
            Some(destination) => Trigger::Destination(destination),
            None if sampled => Trigger::Traceparent,
            None => return None,
        };
        Some(TraceHeaders { fields, trigger, is_sampled: sampled })
    }

    pub fn first(&self, name: &[u8]) -> Option<&'h [u8]> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1)
    }

    /// Trace, but do not deliver (CORE-291). A `traceparent` alone always delivers.
    pub fn trace_only(&self) -> bool {
        self.trigger != Trigger::Traceparent
            && self.first(ONLY).is_some_and(|value| {
                [&b"1"[..], b"true", b"on"].iter().any(|on| value.eq_ignore_ascii_case(on))
            })
    }

    /// How the event is to be compressed (CORE-294).
    pub fn encoding(&self) -> Option<Encoding> {
        let accepted = self.first(ACCEPT_ENCODING)?.to_ascii_lowercase();
        let names = |name: &[u8]| memchr::memmem::find(&accepted, name).is_some();
        Some(if names(b"snappy") || names(b"s2") {
            Encoding::Snappy
        } else if names(b"gzip") {
            Encoding::Gzip
        } else {
            Encoding::Identity
        })
    }
}

/// Name and value of the field that `rest` begins with, and what follows it.
fn field(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = memchr::memchr(b':', rest)?;
    let (name, value) = (&rest[..colon], &rest[colon + 1..]);
    let end = memchr::memmem::find(value, b"\r\n")?;
    Some((name, trim(&value[..end]), &value[end + 2..]))
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let Some(from) = value.iter().position(|b| !blank(b)) else { return b"" };
    let to = value.iter().rposition(|b| !blank(b)).map_or(from, |last| last + 1);
    &value[from..to]
}

/// Four parts, and the flags in the last one have the sampled bit. The reference reads the flags as a
/// signed byte, so the highest bit makes them invalid.
fn is_sampled(traceparent: &[u8]) -> bool {
    let mut parts = traceparent.split(|&b| b == b'-');
    let (Some(flags), None) = (parts.nth(3), parts.next()) else { return false };
    let flags = std::str::from_utf8(flags).ok().filter(|flags| flags.len() == 2);
    flags.and_then(|flags| i8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAMPLED: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn block(lines: &[&str]) -> Vec<u8> {
        let mut text = "NATS/1.0\r\n".to_owned();
        for line in lines {
            text += line;
            text += "\r\n";
        }
        (text + "\r\n").into_bytes()
    }

    #[test]
    fn a_destination_is_found_in_its_exact_case_only() {
        // CORE-290
        for (line, found) in [
            ("Nats-Trace-Dest: t", true),
            ("Nats-Trace-Dest:\t t \t", true),
            ("nats-trace-dest: t", false),
            ("X-Nats-Trace-Dest: t", false),
            ("Nats-Trace-Dest: ", false),
        ] {
            let block = block(&["A: b", line]);
            let headers = TraceHeaders::parse(&block);
            assert_eq!(headers.is_some(), found, "{line}");
            assert!(!found || has_destination(&block), "{line}");
            if let Some(headers) = headers {
                assert_eq!(headers.trigger, Trigger::Destination(b"t"));
                assert_eq!(headers.first(b"A"), Some(&b"b"[..]));
            }
        }
        assert!(TraceHeaders::parse(b"NATS/2.0\r\nNats-Trace-Dest: t\r\n\r\n").is_none());
    }

    #[test]
    fn trace_disabled_wins_over_a_traceparent() {
        // CORE-292
        assert!(TraceHeaders::parse(&block(&[SAMPLED, "Nats-Trace-Dest: trace disabled"])).is_none());
    }

    #[test]
    fn a_traceparent_counts_when_its_sampled_bit_is_set() {
        // CORE-293; expectations are the reference's answers.
        for (line, sampled) in [
            (SAMPLED, true),
            ("TraceParent: 00-a-b-03", true),
            ("traceparent: 00-a-b-00", false),
            ("traceparent: 00-a-b-81", false),
            ("traceparent: 00-a-b-1", false),
            ("traceparent: 00-a-b-01-c", false),
            ("traceparent: 00-a-01", false),
        ] {
            let block = block(&[line]);
            assert_eq!(TraceHeaders::parse(&block).is_some(), sampled, "{line}");
            assert_eq!(has_sampled_traceparent(&block), sampled, "{line}");
        }
    }

    #[test]
    fn trace_only_takes_three_words_in_any_case() {
        // CORE-291
        for (value, only) in [("1", true), ("True", true), ("ON", true), ("yes", false), ("0", false)] {
            let block = block(&["Nats-Trace-Dest: t", &format!("Nats-Trace-Only: {value}")]);
            assert_eq!(TraceHeaders::parse(&block).unwrap().trace_only(), only, "{value}");
        }
        assert!(!TraceHeaders::parse(&block(&[SAMPLED, "Nats-Trace-Only: 1"])).unwrap().trace_only());
    }

    #[test]
    fn encodings_are_found_by_name() {
        // CORE-294
        for (value, encoding) in [
            ("gzip, S2", Encoding::Snappy),
            ("Snappy", Encoding::Snappy),
            ("br, GZIP", Encoding::Gzip),
            ("zip", Encoding::Identity),
        ] {
            let block = block(&["Nats-Trace-Dest: t", &format!("Accept-Encoding: {value}")]);
            assert_eq!(TraceHeaders::parse(&block).unwrap().encoding(), Some(encoding), "{value}");
        }
    }

    #[test]
    fn a_disabled_trace_replaces_the_destination() {
        // CORE-293
        let block = block(&["Nats-Trace-Dest:", SAMPLED, "A: b"]);
        let expected = format!("NATS/1.0\r\n{SAMPLED}\r\nA: b\r\nNats-Trace-Dest: trace disabled\r\n\r\n");
        assert_eq!(String::from_utf8(disabled(&block)).unwrap(), expected);
    }
}
