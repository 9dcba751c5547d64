//! Which message ids were seen within the window, and what sequence they got (JS-157, JS-162).
//!
//! Ids are kept as 128-bit hashes with a secret seed: 24 bytes a message, nothing allocated for one. Two ids meet
//! by chance about once in 10^38.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The ids of a stream.
pub struct Dedup {
    seed: u64,
    window_ns: i64,
    seqs: HashMap<u128, u64, BuildHasherDefault<Folded>>,
    /// In the order of their times.
    order: VecDeque<(i64, u128)>,
}

impl Dedup {
    /// A window of 0 keeps nothing.
    pub fn new(window_ns: i64, seed: u64) -> Self {
        Self { seed, window_ns, seqs: HashMap::default(), order: VecDeque::new() }
    }

    pub fn window_ns(&self) -> i64 {
        self.window_ns
    }

    /// A shorter window forgets at the next look, a longer one knows what is still there.
    pub fn set_window(&mut self, window_ns: i64) {
        self.window_ns = window_ns;
        if window_ns == 0 {
            self.seqs = HashMap::default();
            self.order = VecDeque::new();
        }
    }

    pub fn seen(&mut self, id: &[u8], now_ns: i64) -> Option<u64> {
        self.forget(now_ns);
        if self.seqs.is_empty() {
            return None;
        }
        self.seqs.get(&xxh3_128_with_seed(id, self.seed)).copied()
    }

    pub fn insert(&mut self, id: &[u8], seq: u64, time_ns: i64) {
        if self.window_ns == 0 {
            return;
        }
        let key = xxh3_128_with_seed(id, self.seed);
        if let Entry::Vacant(entry) = self.seqs.entry(key) {
            entry.insert(seq);
            self.order.push_back((time_ns, key));
        }
    }

    /// Drops what left the window. Called now and then, so that an idle stream gives the memory back.
    pub fn forget(&mut self, now_ns: i64) {
        while let Some(&(time_ns, key)) = self.order.front() {
            if now_ns.saturating_sub(time_ns) < self.window_ns {
                return;
            }
            self.order.pop_front();
            self.seqs.remove(&key);
        }
        if self.order.capacity() > 1024 {
            self.seqs = HashMap::default();
            self.order = VecDeque::new();
        }
    }

    /// When the last id leaves the window and the memory can be given back.
    pub fn deadline_ns(&self) -> i64 {
        self.order.back().map_or(i64::MAX, |(time_ns, _)| time_ns.saturating_add(self.window_ns))
    }
}

/// The keys are hashes already.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::Dedup;

    #[test]
    fn ids_are_known_for_the_window() {
        let mut dedup = Dedup::new(10, 1);
        dedup.insert(b"a", 1, 100);
        dedup.insert(b"b", 2, 105);
        assert_eq!(dedup.seen(b"a", 109), Some(1));
        assert_eq!(dedup.seen(b"a", 110), None);
        assert_eq!(dedup.seen(b"b", 114), Some(2));
        assert_eq!(dedup.deadline_ns(), 115);
        assert_eq!(dedup.seen(b"b", 115), None);
    }

    #[test]
    fn without_a_window_nothing_is_kept() {
        let mut dedup = Dedup::new(0, 1);
        dedup.insert(b"a", 1, 100);
        assert_eq!(dedup.seen(b"a", 100), None);
        let mut dedup = Dedup::new(10, 1);
        dedup.insert(b"a", 1, 100);
        dedup.set_window(0);
        assert_eq!(dedup.seen(b"a", 100), None);
    }
}
