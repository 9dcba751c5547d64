//! permessage-deflate without context takeover on either side (RFC 7692, WS-011): each message stands alone.
//!
//! That makes the state of a coder worth nothing between messages, so each thread keeps one of each kind and an
//! idle connection keeps none. Not here: frames.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::Cell;
use thiserror::Error;

/// Shorter output gains nothing from compression.
pub const COMPRESS_ABOVE_BYTES: usize = 64;
/// A decompressed message may be this many times `max_payload`: it holds many protocol operations.
const MESSAGE_MAX_PAYLOADS: u64 = 8;
const MESSAGE_MAX_BYTES: u64 = 64 << 20;
/// Output grows by this much at a time, which is also how far it may overrun the limit before that is noticed.
const OUTPUT_STEP: usize = 32 << 10;

/// What both sides leave out at a message's end.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The tail, and an empty last block: only a whole message leads the decoder to its end.
const LAST_BLOCKS: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeflateError {
    /// In the words of Go.
    #[error("flate: corrupt input before offset {0}")]
    Corrupt(u64),
    #[error("decompressed message exceeds {limit} bytes")]
    TooBig { limit: u64 },
    #[error("compression failed")]
    Failed,
}

/// How big a decompressed message may be.
pub fn message_limit(max_payload: u64) -> u64 {
    max_payload.saturating_mul(MESSAGE_MAX_PAYLOADS).min(MESSAGE_MAX_BYTES)
}

thread_local! {
    static COMPRESS: Cell<Option<Box<Compress>>> = const { Cell::new(None) };
    static DECOMPRESS: Cell<Option<Box<Decompress>>> = const { Cell::new(None) };
}

/// Compresses a whole message to the end of `output`.
pub fn compress(plain: &[u8], output: &mut Vec<u8>) -> Result<(), DeflateError> {
    let mut coder = COMPRESS.take().unwrap_or_else(|| Box::new(Compress::new(Compression::fast(), false)));
    output.reserve(plain.len() / 2 + 64);
    loop {
        let used = usize::try_from(coder.total_in()).unwrap_or(usize::MAX).min(plain.len());
        let status = coder.compress_vec(&plain[used..], output, FlushCompress::Sync);
        if status.is_err() {
            return Err(DeflateError::Failed);
        }
        // Room that is left says that all is out.
        if coder.total_in() == plain.len() as u64 && output.len() < output.capacity() {
            break;
        }
        output.reserve(output.capacity());
    }
    coder.reset();
    COMPRESS.set(Some(coder));
    if output.ends_with(&TAIL) {
        output.truncate(output.len() - TAIL.len());
    }
    Ok(())
}

/// Decompresses one message as its bytes come in.
pub struct Inflater {
    coder: Option<Box<Decompress>>,
    limit: u64,
    /// The sender closed its stream: what follows has no meaning.
    ended: bool,
}

impl Inflater {
    pub fn new(limit: u64) -> Self {
        let coder = DECOMPRESS.take().unwrap_or_else(|| Box::new(Decompress::new(false)));
        Self { coder: Some(coder), limit, ended: false }
    }

    /// Appends what comes out to `plain`.
    pub fn push(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), DeflateError> {
        let Some(coder) = &mut self.coder else { return Err(DeflateError::Corrupt(0)) };
        let (start, mut used) = (coder.total_in(), 0);
        while !self.ended {
            plain.reserve(OUTPUT_STEP);
            let status = coder.decompress_vec(&bytes[used..], plain, FlushDecompress::None);
            used = usize::try_from(coder.total_in() - start).unwrap_or(usize::MAX).min(bytes.len());
            match status {
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Err(DeflateError::Corrupt(coder.total_in())),
            }
            if coder.total_out() > self.limit {
                return Err(DeflateError::TooBig { limit: self.limit });
            }
            // Room that is left says that all is out.
            if used == bytes.len() && plain.len() < plain.capacity() {
                break;
            }
        }
        Ok(())
    }

    /// The message is complete.
    pub fn finish(mut self, plain: &mut Vec<u8>) -> Result<(), DeflateError> {
        self.push(&LAST_BLOCKS, plain)?;
        let read_bytes = self.coder.as_ref().map_or(0, |coder| coder.total_in());
        if self.ended { Ok(()) } else { Err(DeflateError::Corrupt(read_bytes)) }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        if let Some(mut coder) = self.coder.take() {
            coder.reset(false);
            DECOMPRESS.set(Some(coder));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn inflate(parts: &[&[u8]], limit: u64) -> Result<Vec<u8>, DeflateError> {
        let mut inflater = Inflater::new(limit);
        let mut plain = Vec::new();
        for part in parts {
            inflater.push(part, &mut plain)?;
        }
        inflater.finish(&mut plain)?;
        Ok(plain)
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        compress(plain, &mut output).unwrap();
        output
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn messages_of_all_sizes_come_back() {
        for len in [1, 63, 64, 65, 4_096, 40_000, 300_000] {
            for plain in [noise(len), b"MSG a.b 1 5\r\nhello\r\n".iter().copied().cycle().take(len).collect()]
            {
                assert_eq!(inflate(&[&compressed(&plain)], u64::MAX), Ok(plain));
            }
        }
    }

    #[test]
    fn a_message_may_be_cut_at_any_byte() {
        let plain = b"PUB a 5\r\nhello\r\nPUB a 5\r\nhello\r\n";
        let wire = compressed(plain);
        for at in 0..=wire.len() {
            assert_eq!(inflate(&[&wire[..at], &wire[at..]], 1_000).as_deref(), Ok(&plain[..]));
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(inflate(&bytes, 1_000).as_deref(), Ok(&plain[..]));
    }

    #[test]
    fn each_message_stands_alone() {
        let plain = noise(2_000);
        assert_eq!(compressed(&plain), compressed(&plain));
    }

    #[test]
    fn a_sender_may_close_its_stream() {
        let last_block = [0x4b, 0x04, 0x00];
        assert_eq!(inflate(&[&last_block], 10).as_deref(), Ok(&b"a"[..]));
    }

    #[test]
    fn what_unpacks_beyond_the_limit_is_stopped_early() {
        let bomb = compressed(&vec![0; 10 << 20]);
        let limit = message_limit(1 << 10);
        let mut plain = Vec::new();
        let result = Inflater::new(limit).push(&bomb, &mut plain);
        assert_eq!(result, Err(DeflateError::TooBig { limit }));
        assert!(plain.capacity() <= 2 * OUTPUT_STEP);
    }

    #[test]
    fn corrupt_and_truncated_messages_are_refused() {
        let wire = compressed(&noise(300));
        for broken in [&[0xff; 4][..], &[], &wire[..wire.len() / 2]] {
            assert!(matches!(inflate(&[broken], 1_000), Err(DeflateError::Corrupt(_))));
        }
    }

    #[test]
    fn the_limit_follows_max_payload_up_to_a_bound() {
        assert_eq!(message_limit(1 << 20), 8 << 20);
        assert_eq!(message_limit(64 << 20), 64 << 20);
        assert_eq!(message_limit(u64::MAX), 64 << 20);
    }
}
