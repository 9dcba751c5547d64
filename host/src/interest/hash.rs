//! Hashes of tokens and subjects, for the trie's edges and the match cache.

const K1: u64 = 0x9E37_79B9_7F4A_7C15;
const K2: u64 = 0xD6E8_FEB8_6659_FD93;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let r = (a as u128).wrapping_mul(b as u128);
    (r as u64) ^ ((r >> 64) as u64)
}

/// The tag of an edge from a node by a token.
#[inline]
pub(super) fn edge_tag(parent: u32, token_hash: u64) -> u32 {
    (fold(token_hash ^ parent as u64, K1) >> 32) as u32
}

#[inline]
fn word(b: &[u8]) -> u64 {
    let mut w = [0u8; 8];
    w.copy_from_slice(b);
    u64::from_le_bytes(w)
}

/// A fast hash of short keys. Not keyed: the table probes linearly and compares tokens, so that a
/// collision costs time only, and the trie's depth bounds how many a subject can meet.
#[inline]
pub fn hash_bytes(b: &[u8]) -> u64 {
    let mut h = K1 ^ b.len() as u64;
    let mut p = b;
    while p.len() > 16 {
        h = fold(h ^ word(&p[..8]), K2 ^ word(&p[8..16]));
        p = &p[16..];
    }
    let n = p.len();
    let half = |at: usize| u32::from_le_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]]) as u64;
    let (x, y) = match n {
        0 => (0, 0),
        1..=3 => (p[0] as u64 | (p[n / 2] as u64) << 8 | (p[n - 1] as u64) << 16, 0),
        4..=7 => (half(0), half(n - 4)),
        _ => (word(&p[..8]), word(&p[n - 8..])),
    };
    fold(h ^ x, K2 ^ y)
}
