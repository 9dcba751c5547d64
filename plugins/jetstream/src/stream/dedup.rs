//! Which message ids were seen within the window, and what sequence they got (JS-157, JS-162).
//!
//! Ids are kept as 128-bit hashes with a secret seed, in the order of their times, and are found by a table of places
//! in that order: 32 bytes and about eight a message, nothing allocated for one. Two ids meet by chance about once in
//! 10^38.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The ids of a stream.
pub struct Dedup {
    seed: u64,
    window_ns: i64,
    /// In the order of their times.
    ids: VecDeque<Seen>,
    /// The number of the first of them; they are numbered one by one.
    first: u32,
    numbers: HashTable<u32>,
}

struct Seen {
    /// Halves of the hash, the first of which places it in the table.
    key: [u64; 2],
    seq: u64,
    time_ns: i64,
}

impl Dedup {
    /// A window of 0 keeps nothing.
    pub fn new(window_ns: i64, seed: u64) -> Self {
        Self { seed, window_ns, ids: VecDeque::new(), first: 0, numbers: HashTable::new() }
    }

    pub fn window_ns(&self) -> i64 {
        self.window_ns
    }

    /// A shorter window forgets at the next look, a longer one knows what is still there.
    pub fn set_window(&mut self, window_ns: i64) {
        self.window_ns = window_ns;
        if window_ns == 0 {
            self.ids = VecDeque::new();
            self.numbers = HashTable::new();
        }
    }

    pub fn seen(&mut self, id: &[u8], now_ns: i64) -> Option<u64> {
        self.forget(now_ns);
        if self.ids.is_empty() {
            return None;
        }
        let (key, first) = (self.key(id), self.first);
        let place = |number: u32| number.wrapping_sub(first) as usize;
        let found = self.numbers.find(key[0], |&number| self.ids[place(number)].key == key);
        found.map(|&number| self.ids[place(number)].seq)
    }

    pub fn insert(&mut self, id: &[u8], seq: u64, time_ns: i64) {
        if self.window_ns == 0 || self.ids.len() >= u32::MAX as usize {
            return;
        }
        let key = self.key(id);
        let Self { ids, first, numbers, .. } = self;
        let of = |number: u32| &ids[number.wrapping_sub(*first) as usize].key;
        match numbers.entry(key[0], |&number| *of(number) == key, |&number| of(number)[0]) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(first.wrapping_add(ids.len() as u32)),
        };
        ids.push_back(Seen { key, seq, time_ns });
    }

    /// Drops what left the window. Called now and then, so that an idle stream gives the memory back.
    pub fn forget(&mut self, now_ns: i64) {
        while let Some(oldest) = self.ids.front() {
            if now_ns.saturating_sub(oldest.time_ns) < self.window_ns {
                return;
            }
            let first = self.first;
            if let Ok(place) = self.numbers.find_entry(oldest.key[0], |&number| number == first) {
                place.remove();
            }
            self.ids.pop_front();
            self.first = first.wrapping_add(1);
        }
        if self.ids.capacity() > 1024 {
            self.ids = VecDeque::new();
            self.numbers = HashTable::new();
        }
    }

    /// When the last id leaves the window and the memory can be given back.
    pub fn deadline_ns(&self) -> i64 {
        self.ids.back().map_or(i64::MAX, |last| last.time_ns.saturating_add(self.window_ns))
    }

    fn key(&self, id: &[u8]) -> [u64; 2] {
        let hash = xxh3_128_with_seed(id, self.seed);
        [hash as u64, (hash >> 64) as u64]
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
    fn the_first_of_many_leave_while_the_others_stay() {
        let mut dedup = Dedup::new(1000, 1);
        dedup.first = u32::MAX - 100;
        for n in 0..5000u64 {
            dedup.insert(&n.to_le_bytes(), n, n as i64);
            dedup.insert(&n.to_le_bytes(), n + 1, n as i64);
            dedup.forget(n as i64);
        }
        for n in 0..5000u64 {
            assert_eq!(dedup.seen(&n.to_le_bytes(), 4999), (n > 3999).then_some(n));
        }
        assert_eq!((dedup.ids.len(), dedup.numbers.len()), (1000, 1000));
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
