//! Blocks of messages in the older form of backups (SD-010 to SD-014, SD-031): records one after the other, each with
//! a hash whose key is made of the stream's name and the block's number. Only read.

use super::BackupError;
use super::s2::Expander;
use highway::{HighwayHash, HighwayHasher, Key};
use sha2::{Digest, Sha256};
use std::io::Read;

/// Length, sequence, time, length of the subject.
const HEAD_LEN: usize = 22;
const HASH_LEN: usize = 8;
const HAS_HEADERS: u32 = 1 << 31;
/// The message is gone, its sequence stays.
const ERASED: u64 = 1 << 63;
/// Says that an earlier message is gone.
const TOMBSTONE: u64 = 1 << 62;
/// SD-013.
const RECORD_LEN_MAX: usize = 32 * 1024 * 1024;
const COMPRESSED: &[u8] = b"cmp";
const S2: u8 = 1;

/// What a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Message {
        seq: u64,
        time_ns: i64,
        subject: &'a [u8],
        headers: &'a [u8],
        payload: &'a [u8],
    },
    /// A sequence without a message.
    Skipped {
        seq: u64,
        time_ns: i64,
    },
    /// The message of an earlier sequence was removed. With 0: nothing.
    Removed {
        seq: u64,
        time_ns: i64,
    },
}

/// The key of the hashes of a block, or with the name of a stream alone of its metadata (SD-011).
pub fn hasher(of: &str) -> HighwayHasher {
    let digest: [u8; 32] = Sha256::digest(of.as_bytes()).into();
    let mut key = [0; 4];
    for (part, bytes) in key.iter_mut().zip(digest.chunks_exact(8)) {
        *part = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    HighwayHasher::new(Key(key))
}

/// The records of a block as it was in its file, after decompression.
pub fn plain(file: Vec<u8>) -> Result<Vec<u8>, BackupError> {
    let Some(rest) = file.strip_prefix(COMPRESSED) else { return Ok(file) };
    let Some((&S2, mut rest)) = rest.split_first() else {
        return Err(BackupError::damaged("a block is compressed in an unknown way"));
    };
    let size = uvarint(&mut rest).filter(|size| *size <= super::CONTENT_BYTES_MAX);
    let (Some(size), Some(middle)) = (size, rest.len().checked_sub(HASH_LEN)) else {
        return Err(BackupError::damaged("a compressed block is too short"));
    };
    let (packed, hash) = rest.split_at(middle);
    let mut plain = Vec::new();
    Expander::new(packed).take(size).read_to_end(&mut plain)?;
    plain.extend_from_slice(hash);
    Ok(plain)
}

pub(super) fn uvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Goes through the records of a plain block.
pub fn read(
    stream: &str,
    number: u64,
    mut block: &[u8],
    mut visit: impl FnMut(Record<'_>) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let hasher = hasher(&format!("{stream}-{number}"));
    let len = block.len();
    while !block.is_empty() {
        let at = len - block.len();
        let wrong = |why: &str| BackupError::damaged(format_args!("block {number}, byte {at}: {why}"));
        let (record, rest) = split(block).ok_or_else(|| wrong("a record does not fit"))?;
        let parts = Parts::of(record).ok_or_else(|| wrong("the parts of a record do not fit"))?;
        if parts.hash(hasher.clone()).to_le_bytes() != *parts.sum {
            return Err(wrong("a checksum is wrong"));
        }
        visit(parts.record())?;
        block = rest;
    }
    Ok(())
}

/// The first record, and what follows it.
fn split(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = u32::from_le_bytes(*block.first_chunk()?);
    let len = (head & !HAS_HEADERS) as usize;
    ((HEAD_LEN + HASH_LEN..=RECORD_LEN_MAX).contains(&len)).then_some(())?;
    block.split_at_checked(len)
}

struct Parts<'a> {
    /// Sequence and time.
    place: &'a [u8; 16],
    subject: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
    sum: &'a [u8; HASH_LEN],
}

impl<'a> Parts<'a> {
    fn of(record: &'a [u8]) -> Option<Self> {
        let (head, rest) = record.split_first_chunk::<4>()?;
        let (place, rest) = rest.split_first_chunk::<16>()?;
        let (subject_len, rest) = rest.split_first_chunk::<2>()?;
        let (rest, sum) = rest.split_last_chunk::<HASH_LEN>()?;
        let (subject, mut payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*subject_len)))?;
        let mut headers = &rest[..0];
        if u32::from_le_bytes(*head) & HAS_HEADERS != 0 {
            let (len, rest) = payload.split_first_chunk::<4>()?;
            (headers, payload) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        }
        Some(Self { place, subject, headers, payload, sum })
    }

    fn hash(&self, mut hasher: HighwayHasher) -> u64 {
        hasher.append(self.place);
        hasher.append(self.subject);
        hasher.append(self.headers);
        hasher.append(self.payload);
        hasher.finalize64()
    }

    fn record(&self) -> Record<'a> {
        let (seq, time) = self.place.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let (seq, time_ns) = (number(seq), number(time) as i64);
        let Self { subject, headers, payload, .. } = *self;
        match seq & !(ERASED | TOMBSTONE) {
            bare if seq & TOMBSTONE != 0 => Record::Removed { seq: bare, time_ns },
            0 => Record::Removed { seq: 0, time_ns },
            bare if seq & ERASED != 0 => Record::Skipped { seq: bare, time_ns },
            seq => Record::Message { seq, time_ns, subject, headers, payload },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    /// What [`read`] reads.
    pub fn write(stream: &str, number: u64, records: &[Record<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            let (seq, time_ns, subject, headers, payload) = match *record {
                Record::Message { seq, time_ns, subject, headers, payload } => {
                    (seq, time_ns, subject, headers, payload)
                }
                Record::Skipped { seq, time_ns } => (seq | ERASED, time_ns, &b""[..], &b""[..], &b""[..]),
                Record::Removed { seq, time_ns } => (seq | TOMBSTONE, time_ns, &b""[..], &b""[..], &b""[..]),
            };
            let mut head = (HEAD_LEN + subject.len() + payload.len() + HASH_LEN) as u32;
            if !headers.is_empty() {
                head = (head + 4 + headers.len() as u32) | HAS_HEADERS;
            }
            let mut place = [0; 16];
            place[..8].copy_from_slice(&seq.to_le_bytes());
            place[8..].copy_from_slice(&time_ns.to_le_bytes());
            out.extend_from_slice(&head.to_le_bytes());
            out.extend_from_slice(&place);
            out.extend_from_slice(&(subject.len() as u16).to_le_bytes());
            out.extend_from_slice(subject);
            if !headers.is_empty() {
                out.extend_from_slice(&(headers.len() as u32).to_le_bytes());
                out.extend_from_slice(headers);
            }
            out.extend_from_slice(payload);
            let sum = [0; HASH_LEN];
            let parts = Parts { place: &place, subject, headers, payload, sum: &sum };
            out.extend_from_slice(&parts.hash(hasher(&format!("{stream}-{number}"))).to_le_bytes());
        }
        out
    }

    fn seen(block: &[u8]) -> Result<Vec<String>, BackupError> {
        let mut seen = Vec::new();
        read("S", 3, block, |record| {
            seen.push(format!("{record:?}"));
            Ok(())
        })?;
        Ok(seen)
    }

    fn compressed(block: &[u8]) -> Vec<u8> {
        let mut compressor = crate::backup::s2::Compressor::default();
        let (most, hash) = block.split_at(block.len() - HASH_LEN);
        compressor.write(most);
        compressor.flush();
        let mut file = b"cmp\x01".to_vec();
        let mut size = block.len();
        while size >= 0x80 {
            file.push(size as u8 | 0x80);
            size >>= 7;
        }
        file.push(size as u8);
        [file, compressor.out, hash.to_vec()].concat()
    }

    proptest! {
        #[test]
        fn records_come_back(
            list in proptest::collection::vec(
                (1..1u64 << 60, 0..3u8, any::<i64>(), ".{0,20}", ".{0,20}", ".{0,60}"), 1..8),
            at: usize, change in 1..=255u8,
        ) {
            let records: Vec<_> = list.iter().map(|(seq, kind, time_ns, subject, headers, payload)| {
                let (seq, time_ns) = (*seq, *time_ns);
                match kind {
                    0 => Record::Skipped { seq, time_ns },
                    1 => Record::Removed { seq, time_ns },
                    _ => Record::Message {
                        seq, time_ns,
                        subject: subject.as_bytes(), headers: headers.as_bytes(), payload: payload.as_bytes(),
                    },
                }
            }).collect();
            let block = write("S", 3, &records);
            let texts: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
            prop_assert_eq!(&seen(&block).unwrap(), &texts);
            prop_assert_eq!(&seen(&plain(compressed(&block)).unwrap()).unwrap(), &texts);
            prop_assert!(read("other", 3, &block, |_| Ok(())).is_err());

            prop_assert!(seen(&block[..block.len() - 1]).is_err());
            let mut broken = block;
            let at = at % broken.len();
            broken[at] ^= change;
            // The hash does not cover lengths (SD-011): parts may be cut elsewhere, never with another content.
            if let Ok(texts) = seen(&broken) {
                prop_assert_eq!(texts.len(), records.len());
            }
        }

        #[test]
        fn anything_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = seen(&text);
            let _ = plain([b"cmp\x01".to_vec(), text].concat());
        }
    }
}
