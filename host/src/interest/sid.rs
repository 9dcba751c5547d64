//! Subscription ids: any non-blank bytes (CORE-093), nearly always a short number.

/// A subscription id in eight bytes: up to seven bytes of text in place, longer ones by their number
/// in a table that the receiver keeps (`Long`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Sid(u64);

const LONG: u64 = 0xFF << 56;
const INLINE_MAX: usize = 7;

impl Sid {
    /// `None`: too long to be kept in place.
    pub fn short(text: &[u8]) -> Option<Sid> {
        if text.len() > INLINE_MAX {
            return None;
        }
        let mut bytes = [0u8; 8];
        bytes[..text.len()].copy_from_slice(text);
        bytes[7] = text.len() as u8;
        Some(Sid(u64::from_le_bytes(bytes)))
    }

    /// The id whose text is entry `number` of the receiver's table.
    pub fn long(number: u32) -> Sid {
        Sid(LONG | number as u64)
    }

    /// The table entry of a long id.
    pub fn number(self) -> Option<usize> {
        (self.0 >= LONG).then_some((self.0 & 0xFFFF_FFFF) as usize)
    }

    /// Appends the text; `long` is the receiver's table.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, long: &[Box<[u8]>]) {
        match self.number() {
            None => {
                let bytes = self.0.to_le_bytes();
                out.extend_from_slice(&bytes[..bytes[7] as usize]);
            }
            Some(n) => out.extend_from_slice(long.get(n).map_or(b"0".as_slice(), |s| s)),
        }
    }

    pub fn hash(self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_come_back_as_they_were_written() {
        for text in [&b"1"[..], b"1234567", b"abc"] {
            let mut out = vec![];
            Sid::short(text).unwrap().write(&mut out, &[]);
            assert_eq!(out, text);
        }
        assert_eq!(Sid::short(b"12345678"), None);
    }

    #[test]
    fn long_ids_are_looked_up() {
        let mut out = vec![];
        Sid::long(1).write(&mut out, &[b"a"[..].into(), b"subscription"[..].into()]);
        assert_eq!(out, b"subscription");
    }
}
