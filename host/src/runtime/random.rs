//! Randomness.

/// Fills `bytes` from the operating system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Without the system's randomness no key or nonce is safe: better not to run.
        std::process::abort();
    }
    bytes
}

pub fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}

/// A number below `n`.
pub fn random_below(n: u64) -> u64 {
    if n == 0 { 0 } else { random_u64() % n }
}
