//! Randomness.

use std::cell::Cell;

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

/// As many as are wanted, for names that only need to differ.
pub fn quick_u64() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(random_u64() | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}
