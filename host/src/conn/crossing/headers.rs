//! Header blocks: finding fields, and setting one.

const FIRST_LINE: &[u8] = b"NATS/1.0\r\n";

/// Names and values, in order.
pub fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = block.strip_prefix(FIRST_LINE).unwrap_or_default().split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
    })
}

pub const TRACE_DEST: &[u8] = b"Nats-Trace-Dest";
pub const TRACE_DISABLED: &[u8] = b"trace disabled";

/// Where a message's trace is to be told, if it is traced (CORE-290, CORE-292).
pub fn trace_destination(block: &[u8]) -> Option<&[u8]> {
    get(block, TRACE_DEST).filter(|destination| *destination != TRACE_DISABLED)
}

/// The first value of a field.
pub fn get<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    fields(block).find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// The block with a field set to a value, and no other of its name.
pub fn set(block: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + FIRST_LINE.len() + name.len() + value.len() + 8);
    if block.is_empty() {
        out.extend_from_slice(FIRST_LINE);
    }
    let is_same = |line: &[u8]| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(b":"));
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        if line != b"\r\n" && !is_same(line) {
            out.extend_from_slice(line);
        }
    }
    for part in [name, b": ", value, b"\r\n\r\n"] {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_set_once() {
        assert_eq!(set(b"", b"A", b"1"), b"NATS/1.0\r\nA: 1\r\n\r\n");
        let block = b"NATS/1.0\r\nA: 0\r\nAB: 2\r\nA:3\r\n\r\n";
        assert_eq!(set(block, b"A", b"1"), b"NATS/1.0\r\nAB: 2\r\nA: 1\r\n\r\n");
        assert_eq!(get(block, b"AB"), Some(&b"2"[..]));
        assert_eq!(fields(block).count(), 3);
        assert_eq!(get(b"no headers", b"A"), None);
    }
}
