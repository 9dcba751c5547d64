//! The frames around compressed data: a stream identifier, then chunks of up to 4 MiB, each with a checksum.
//!
//! Frames are read here and not by a library: chunks to be passed over may come by the million, and a chunk says how
//! long its content is before anything is known of it.

use std::io::{self, Read};

const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00S2sTwO";
/// The older form, of which the blocks are a subset.
const IDENTIFIER_SNAPPY: &[u8] = b"\xff\x06\x00\x00sNaPpY";
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
const CHECKSUM_LEN: usize = 4;
/// Of the content of a chunk.
const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is written; like others do.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Compresses what is written into `out`, which its owner empties now and then.
#[derive(Default)]
pub struct Compressor {
    block: Vec<u8>,
    began: bool,
    pub out: Vec<u8>,
}

impl Compressor {
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let len = bytes.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            if self.block.len() == BLOCK_BYTES {
                self.flush();
            }
        }
    }

    /// What was written until now is in `out` then.
    pub fn flush(&mut self) {
        if !self.began {
            self.out.extend_from_slice(IDENTIFIER);
            self.began = true;
        }
        if self.block.is_empty() {
            return;
        }
        let packed = minlz::encode(&self.block);
        let (kind, content) = match packed.len() < self.block.len() {
            true => (COMPRESSED, &packed),
            false => (PLAIN, &self.block),
        };
        let len = (content.len() + CHECKSUM_LEN) as u32;
        self.out.push(kind);
        self.out.extend_from_slice(&len.to_le_bytes()[..3]);
        self.out.extend_from_slice(&minlz::crc::crc(&self.block).to_le_bytes());
        self.out.extend_from_slice(content);
        self.block.clear();
    }
}

/// Reads what a [`Compressor`] or another writer of the format wrote.
pub struct Expander<R> {
    input: R,
    began: bool,
    chunk: Vec<u8>,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Expander<R> {
    pub fn new(input: R) -> Self {
        Self { input, began: false, chunk: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// The next block with content; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        self.at = 0;
        self.block.clear();
        while self.block.is_empty() {
            let mut head = [0; 4];
            if !fill(&mut self.input, &mut head)? {
                return if self.began { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let len = u32::from_le_bytes([head[1], head[2], head[3], 0]) as usize;
            if !self.began && head[..] != IDENTIFIER[..4] {
                return Err(damaged("it does not begin with the mark of S2 compression"));
            }
            match head[0] {
                COMPRESSED | PLAIN => self.content(head[0], len)?,
                0xff => self.identifier(len)?,
                0x80..=0xfe => self.pass(len)?,
                kind => return Err(damaged(format_args!("chunk of the unknown type {kind:#04x}"))),
            }
        }
        Ok(true)
    }

    fn content(&mut self, kind: u8, len: usize) -> io::Result<()> {
        if !(CHECKSUM_LEN..=BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 4).contains(&len) {
            return Err(damaged(format_args!("chunk of {len} bytes")));
        }
        self.chunk.clear();
        let read = self.input.by_ref().take(len as u64).read_to_end(&mut self.chunk)?;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (sum, content) = self.chunk.split_at(CHECKSUM_LEN);
        if kind == PLAIN {
            self.block.extend_from_slice(content);
        } else {
            let (size, _) = minlz::decode_len(content).map_err(|why| damaged(why.to_string()))?;
            if size > BLOCK_BYTES_MAX {
                return Err(damaged(format_args!("block of {size} bytes")));
            }
            self.block.resize(size, 0);
            minlz::decode_into(&mut self.block, content).map_err(|why| damaged(why.to_string()))?;
        }
        match minlz::crc::crc(&self.block).to_le_bytes() == *sum {
            true => Ok(()),
            false => Err(damaged("a checksum is wrong")),
        }
    }

    fn identifier(&mut self, len: usize) -> io::Result<()> {
        let mut text = [0; 6];
        if len != text.len() {
            return Err(damaged("a mark of the compression has a wrong length"));
        }
        self.input.read_exact(&mut text)?;
        if text[..] != IDENTIFIER[4..] && text[..] != IDENTIFIER_SNAPPY[4..] {
            return Err(damaged("it does not begin with the mark of S2 compression"));
        }
        self.began = true;
        Ok(())
    }

    fn pass(&mut self, len: usize) -> io::Result<()> {
        match io::copy(&mut self.input.by_ref().take(len as u64), &mut io::sink())? {
            passed if passed == len as u64 => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Expander<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.at == self.block.len() && !self.next_block()?) {
            return Ok(0);
        }
        let len = buffer.len().min(self.block.len() - self.at);
        buffer[..len].copy_from_slice(&self.block[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// `false` when there is nothing at all.
pub(super) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut at = 0;
    while at < buffer.len() {
        match input.read(&mut buffer[at..]) {
            Ok(0) if at == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => at += len,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(true)
}

pub(super) fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Compressor, Expander, IDENTIFIER};
    use proptest::prelude::*;
    use std::io::Read;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::default();
        compressor.write(content);
        compressor.flush();
        compressor.out
    }

    fn expanded(packed: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Expander::new(packed).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn large_content_comes_back() {
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7 % 251) as u8 ^ (n >> 13) as u8).collect();
        let packed = packed(&content);
        assert!(packed.len() < content.len());
        assert_eq!(expanded(&packed).unwrap(), content);
    }

    #[test]
    fn chunks_without_content_are_passed_over() {
        let mut text = IDENTIFIER.to_vec();
        for _ in 0..100_000 {
            text.extend_from_slice(b"\xfe\x00\x00\x00");
        }
        text.extend_from_slice(&packed(b"here")[IDENTIFIER.len()..]);
        assert_eq!(expanded(&text).unwrap(), b"here");
    }

    #[test]
    fn other_content_is_refused() {
        for text in
            [&b""[..], b"no", b"not compressed at all", b"\xff\x06\x00\x00S2sTw", b"\xff\x06\x00\x00sThing"]
        {
            assert!(expanded(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn content_comes_back(content in proptest::collection::vec(0..4u8, 0..5000)) {
            prop_assert_eq!(expanded(&packed(&content)).unwrap(), content);
        }

        #[test]
        fn damage_is_found(content in proptest::collection::vec(0..9u8, 1..500), at: usize, change in 1..=255u8) {
            let mut packed = packed(&content);
            let at = at % packed.len();
            packed[at] ^= change;
            // A chunk that became one to be passed over leaves nothing.
            let seen = expanded(&packed).unwrap_or_default();
            prop_assert!(seen.is_empty() || seen == content);
        }

        #[test]
        fn anything_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut chunk = IDENTIFIER.to_vec();
            chunk.extend_from_slice(&[0, text.len() as u8, (text.len() >> 8) as u8, 0]);
            chunk.extend_from_slice(&text);
            let _ = expanded(&chunk);
            let _ = minlz::decode_into(&mut vec![0; 100_000], &text);
        }
    }
}
