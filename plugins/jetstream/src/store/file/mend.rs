//! Mending: a record with one flipped bit is made whole by trying each bit. Its hash says which one it was; no other
//! content has it.
//!
//! A record may be the only place that has something, such as a removal that the shared log has and no file yet.
//! A second copy of everything would cost every write; this costs nothing until something is damaged.

use super::record::{self, Bad};

/// Records of messages with more content are not mended: trying their bits would take too long (this long, some tens of
/// milliseconds).
const CONTENT_MAX: usize = 4096;
/// With what a record has beside the content.
const LEN_MAX: usize = CONTENT_MAX + 64;
/// Bits of the length and its check.
const HEAD_BITS: usize = 48;
/// Places that are tried in a file: where more is wrong, it was not a bit here and there.
const TRIES_MAX: u32 = 8;

/// Mends records of a file.
#[derive(Default)]
pub struct Mender {
    failures: u32,
    /// Where and how long the mended records are.
    pub mended: Vec<(usize, usize)>,
}

impl Mender {
    /// The record at `at`, which cannot be read, as it was.
    pub fn mend(&mut self, buffer: &[u8], at: usize, bad: Bad, base: u64, salt: u64) -> Option<Vec<u8>> {
        if self.failures >= TRIES_MAX {
            return None;
        }
        let whole = mend(buffer.get(at..)?, bad, base + at as u64, salt);
        match &whole {
            Some(whole) => self.mended.push((at, whole.len())),
            None => self.failures += 1,
        }
        whole
    }
}

/// The record that `bytes` begin with, as it was before one bit of it flipped. It lies at `place`.
pub fn mend(bytes: &[u8], bad: Bad, place: u64, salt: u64) -> Option<Vec<u8>> {
    match bad {
        Bad::Content { len } if len <= LEN_MAX => {
            let mut whole = bytes.get(..len)?.to_vec();
            (HEAD_BITS..len * 8).any(|bit| try_bit(&mut whole, bit, place, salt)).then_some(whole)
        }
        Bad::Head => (0..HEAD_BITS).find_map(|bit| {
            let mut head = *bytes.first_chunk::<{ record::HEAD }>()?;
            head[bit / 8] ^= 1 << (bit % 8);
            let len = record::len_of(&head, place, salt)?;
            let mut whole = bytes.get(..len)?.to_vec();
            try_bit(&mut whole, bit, place, salt).then_some(whole)
        }),
        Bad::Content { .. } | Bad::Short => None,
    }
}

/// Flips a bit, and back again if that does not make it whole.
fn try_bit(record: &mut [u8], bit: usize, place: u64, salt: u64) -> bool {
    record[bit / 8] ^= 1 << (bit % 8);
    let is_whole = record::read(record, 0, place, salt).is_ok();
    if !is_whole {
        record[bit / 8] ^= 1 << (bit % 8);
    }
    is_whole
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{CONTENT_MAX, LEN_MAX, mend};
    use crate::store::file::record::{HEAD, push, read};

    #[test]
    fn any_one_bit_comes_back_and_no_two_do() {
        let mut file = Vec::new();
        push(&mut file, 40, 7, 3, |out| out.extend_from_slice(b"some content"));
        let len = file.len();
        push(&mut file, 40, 7, 3, |out| out.extend_from_slice(b"more"));
        for bit in 0..len * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let bad = read(&damaged, 0, 40, 7).unwrap_err();
            assert_eq!(mend(&damaged, bad, 40, 7).unwrap(), file[..len], "bit {bit}");
            damaged[(bit / 8 + 5) % len] ^= 4;
            if let Err(bad) = read(&damaged, 0, 40, 7) {
                assert_eq!(mend(&damaged, bad, 40, 7), None, "bit {bit} and another");
            }
        }
    }

    #[test]
    fn the_longest_content_that_is_mended_may_have_all_of_its_record_around_it() {
        let mut file = Vec::new();
        push(&mut file, 0, 7, 3, |out| out.resize(out.len() + CONTENT_MAX + 20, 1));
        let whole = file.clone();
        file[4000] ^= 1;
        let bad = read(&file, 0, 0, 7).unwrap_err();
        assert_eq!(mend(&file, bad, 0, 7), Some(whole));
    }

    #[test]
    fn what_is_long_is_left_alone() {
        let mut file = Vec::new();
        push(&mut file, 0, 7, 3, |out| out.resize(HEAD + LEN_MAX, 1));
        file[100] ^= 1;
        let bad = read(&file, 0, 0, 7).unwrap_err();
        assert_eq!(mend(&file, bad, 0, 7), None);
    }
}
