//! How things lie in a file: records with a length, a check of that length, a kind, and a hash over everything.
//!
//! The hash is seeded with the file's salt and the record's place, so bytes of another file or place never pass. The
//! check of the length lets a reader step over a damaged record to the next one.

use super::out::Out;
use super::seal::{PLAIN, Seal, TAG, nonce};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Length (4), its check (2), kind (1), hash (8).
pub const HEAD: usize = 15;
/// SD-013.
pub const SIZE_MAX: usize = 32 * 1024 * 1024;
/// No record is longer: lengths and a tag come to its content.
pub const LEN_MAX: usize = SIZE_MAX + 128;

/// A record as it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: u8,
    pub body: &'a [u8],
    /// With its head.
    pub len: usize,
}

/// Why there is no record at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The head is right, the content is not: the next record is after so many bytes.
    Content { len: usize },
    /// Nothing can be believed.
    Head,
    /// The buffer ends before the record does.
    Short,
}

/// What a file's records are written and read with.
#[derive(Clone, Default)]
pub struct Codec {
    pub salt: u64,
    /// Encrypts the bodies.
    pub seal: Option<Arc<Seal>>,
}

impl Codec {
    /// The letter for the file's header.
    pub fn cipher(&self) -> u8 {
        self.seal.as_ref().map_or(PLAIN, |seal| seal.cipher)
    }

    /// Adds a record at the end of `out`, which lies in the file from `base` on.
    pub fn push(&self, out: &mut Vec<u8>, base: u64, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        body(out);
        if let Some(seal) = &self.seal {
            let nonce = nonce(self.salt, base + start as u64);
            // Without a tag the record cannot be opened, which is as it should be.
            let tag = seal.lock(&nonce, &[kind], &mut out[start + HEAD..]).unwrap_or_default();
            out.extend_from_slice(&tag);
        }
        finish(out, start, base, self.salt, kind);
    }

    /// The body of a record that lies at `at`, in `buffer` if it had to be decrypted.
    pub fn body<'a>(&self, record: &Record<'a>, at: u64, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let Some(seal) = &self.seal else { return Some(record.body) };
        let (body, tag) = record.body.split_last_chunk::<TAG>()?;
        buffer.clear();
        buffer.extend_from_slice(body);
        seal.unlock(&nonce(self.salt, at), &[record.kind], buffer, tag).then_some(&**buffer)
    }
}

/// Adds a record at the end of `out`, which lies in the file from `base` on. Not encrypted.
pub fn push<O: Out>(out: &mut O, base: u64, salt: u64, kind: u8, body: impl FnOnce(&mut O)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    body(out);
    finish(out, start, base, salt, kind);
}

fn finish(out: &mut [u8], start: usize, base: u64, salt: u64, kind: u8) {
    let len = (out.len() - start) as u32;
    let at = base + start as u64;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 6].copy_from_slice(&check(len, salt, at).to_le_bytes());
    out[start + 6] = kind;
    let hash = hash(kind, len, &out[start + HEAD..], salt, at);
    out[start + 7..start + HEAD].copy_from_slice(&hash.to_le_bytes());
}

/// The record at `at` in `buffer`, which lies in the file from `base` on.
pub fn read(buffer: &[u8], at: usize, base: u64, salt: u64) -> Result<Record<'_>, Bad> {
    let rest = buffer.get(at..).unwrap_or_default();
    if rest.len() < HEAD {
        return Err(Bad::Short);
    }
    let place = base + at as u64;
    let Some(size) = len_of(rest, place, salt) else { return Err(Bad::Head) };
    let len = size as u32;
    let Some(body) = rest.get(HEAD..size) else { return Err(Bad::Short) };
    let kind = rest[6];
    let mut expected = [0; 8];
    expected.copy_from_slice(&rest[7..HEAD]);
    if hash(kind, len, body, salt, place) != u64::from_le_bytes(expected) {
        return Err(Bad::Content { len: size });
    }
    Ok(Record { kind, body, len: size })
}

/// How long the record at `place` is, which `head` is the start of; `None`: it is none.
pub fn len_of(head: &[u8], place: u64, salt: u64) -> Option<usize> {
    let (len, head) = head.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len);
    let is_right = check(len, salt, place) == u16::from_le_bytes(*head.first_chunk::<2>()?);
    (is_right && (HEAD..=LEN_MAX).contains(&(len as usize))).then_some(len as usize)
}

/// The length and the kind of the record that `start` is the start of, which lies at `at`; the hash is not looked at.
pub fn head(start: &[u8], at: u64, salt: u64) -> Option<(usize, u8)> {
    let len = len_of(start, at, salt)?;
    Some((len, *start.get(6)?))
}

/// The place of the next good record after a bad one.
pub fn resync(buffer: &[u8], bad_at: usize, bad: Bad, base: u64, salt: u64) -> Option<usize> {
    if let Bad::Content { len } = bad
        && read(buffer, bad_at + len, base, salt).is_ok()
    {
        return Some(bad_at + len);
    }
    (bad_at + 1..buffer.len().saturating_sub(HEAD - 1)).find(|&at| read(buffer, at, base, salt).is_ok())
}

fn check(len: u32, salt: u64, at: u64) -> u16 {
    let mixed = (u64::from(len) ^ salt.rotate_left(17)).wrapping_add(at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 48) as u16
}

fn hash(kind: u8, len: u32, body: &[u8], salt: u64, at: u64) -> u64 {
    let seed = salt ^ at.rotate_left(32) ^ u64::from(len) ^ (u64::from(kind) << 56);
    xxh3_64_with_seed(body, seed)
}

/// Numbers of few bytes when they are small.
pub fn push_varint(out: &mut impl Out, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
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

/// Takes bytes with their length in front.
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

pub fn push_bytes(out: &mut impl Out, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Bad, HEAD, push, push_varint, read, resync, take_varint};

    #[test]
    fn every_flipped_bit_is_found_and_stepped_over() {
        let mut file = Vec::new();
        for n in 0..5u8 {
            push(&mut file, 40, 7, n, |out| out.extend_from_slice(&[n; 20]));
        }
        let len = HEAD + 20;
        for bit in 0..len * 8 {
            let mut damaged = file.clone();
            damaged[len + bit / 8] ^= 1 << (bit % 8);
            let bad = read(&damaged, len, 40, 7).unwrap_err();
            assert_eq!(resync(&damaged, len, bad, 40, 7), Some(2 * len), "bit {bit}");
        }
        assert_eq!(read(&file, 4 * len, 40, 7).unwrap().body, [4; 20]);
        assert_eq!(read(&file, 5 * len, 40, 7), Err(Bad::Short));
        assert!(read(&file, 0, 41, 7).is_err() && read(&file, 0, 40, 8).is_err());
    }

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            assert_eq!(take_varint(&mut out.as_slice()), Some(value));
        }
        assert_eq!(take_varint(&mut [0x80u8].as_slice()), None);
    }
}
