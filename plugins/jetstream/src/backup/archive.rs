//! The archive that a backup is, inside its compression (JS-262): entries with a name, a time, a sequence, and
//! content in two parts. First the state of the stream, then its consumers, then its messages, then an end mark.

use super::s2::{damaged, fill};
use super::{BackupError, CONTENT_BYTES_MAX};
use std::io::Read;

pub const MAGIC: &[u8; 8] = b"NATSARC1";
pub const STATE: &str = "state.json";
pub const CONSUMERS: &str = "consumers/";
const NAME_LEN_MAX: u64 = 1024 * 1024;

/// What is said of an entry before its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Of a message: its subject.
    pub name: Vec<u8>,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// 0 for what is no message.
    pub seq: u64,
    pub headers_len: u64,
    pub payload_len: u64,
}

impl Head {
    /// After the last message.
    pub fn is_end(&self) -> bool {
        *self == Self::default()
    }
}

/// Writes an entry, without its content.
pub fn head(out: &mut Vec<u8>, head: &Head) {
    varint(out, head.name.len() as u64);
    // Signed numbers with the sign in the lowest bit.
    varint(out, ((head.time_ns << 1) ^ (head.time_ns >> 63)) as u64);
    varint(out, head.seq);
    varint(out, head.headers_len);
    varint(out, head.payload_len);
    out.extend_from_slice(&head.name);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The next entry; [`Reader::content`] is to be read before the one after it.
pub struct Reader<R> {
    input: R,
}

impl<R: Read> Reader<R> {
    /// `input` is behind the magic.
    pub fn new(input: R) -> Self {
        Self { input }
    }

    pub fn next_head(&mut self) -> Result<Head, BackupError> {
        let name_len = self.varint()?;
        let time = self.varint()?;
        let mut head = Head {
            time_ns: (time >> 1) as i64 ^ -((time & 1) as i64),
            seq: self.varint()?,
            headers_len: self.varint()?,
            payload_len: self.varint()?,
            name: Vec::new(),
        };
        if name_len > NAME_LEN_MAX {
            return Err(BackupError::damaged(format_args!("a name of {name_len} bytes")));
        }
        let len = head.headers_len.saturating_add(head.payload_len);
        if len > CONTENT_BYTES_MAX {
            return Err(BackupError::damaged(format_args!("an entry of {len} bytes")));
        }
        head.name = self.bytes(name_len)?;
        Ok(head)
    }

    pub fn content(&mut self, head: &Head) -> Result<Vec<u8>, BackupError> {
        // No overflow: that was looked at with the head.
        self.bytes(head.headers_len + head.payload_len)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(len).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(BackupError::Truncated),
        }
    }

    fn varint(&mut self) -> Result<u64, BackupError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if !fill(&mut self.input, &mut byte)? {
                return Err(BackupError::Truncated);
            }
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number is too long").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Head, Reader, head};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_come_back(
            name in proptest::collection::vec(any::<u8>(), 0..40),
            time_ns: i64, seq: u64,
            headers in proptest::collection::vec(any::<u8>(), 0..40),
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            cut: usize,
        ) {
            let (headers_len, payload_len) = (headers.len() as u64, payload.len() as u64);
            let entry = Head { name, time_ns, seq, headers_len, payload_len };
            let content = [headers, payload].concat();
            let mut text = Vec::new();
            head(&mut text, &entry);
            text.extend_from_slice(&content);

            let mut reader = Reader::new(&text[..]);
            let read = reader.next_head().unwrap();
            prop_assert_eq!(&read, &entry);
            prop_assert_eq!(reader.content(&read).unwrap(), content);

            let mut reader = Reader::new(&text[..cut % text.len()]);
            let cut = reader.next_head().and_then(|head| reader.content(&head));
            prop_assert!(cut.is_err());
        }
    }
}
