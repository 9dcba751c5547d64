//! Places in a connection's queue, taken before there is anything to send.
//!
//! Who has messages for several connections takes a place at each, and fills one after the other. What others send
//! meanwhile stands behind it.

use std::collections::VecDeque;

/// Bytes to send, in order.
pub type Queue = VecDeque<Vec<u8>>;

/// The places at one connection, in order. Each is held for a moment, by a thread that delivers.
#[derive(Default)]
pub struct Places(Vec<Place>);

struct Place {
    owner: u64,
    behind: Queue,
}

/// What stands behind a place that is being filled.
#[derive(Default)]
pub struct Behind {
    pub queue: Queue,
    later: Vec<Place>,
}

impl Places {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Others have a place before that of `owner`.
    pub fn is_preceded(&self, owner: u64) -> bool {
        self.0.first().is_some_and(|place| place.owner != owner)
    }

    pub fn take(&mut self, owner: u64) {
        // Mostly it is the only one.
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.push(Place { owner, behind: Queue::new() });
    }

    /// The place is to be filled: it is gone, and the one before it is the last for now.
    pub fn fill(&mut self, owner: u64) -> Behind {
        let Some(at) = self.0.iter().position(|place| place.owner == owner) else { return Behind::default() };
        let later = self.0.split_off(at + 1);
        let queue = self.0.pop().map(|place| place.behind).unwrap_or_default();
        Behind { queue, later }
    }

    /// What stood behind a place that is filled stands at the end again.
    pub fn follow(&mut self, behind: Behind) {
        if let Some(last) = self.last() {
            last.extend(behind.queue);
        }
        self.0.extend(behind.later);
    }

    /// Where something goes that comes now, if not into the connection's queue.
    pub fn last(&mut self) -> Option<&mut Queue> {
        self.0.last_mut().map(|place| &mut place.behind)
    }

    /// Nobody fills them any more. What stood behind them, in order.
    pub fn end(&mut self) -> Queue {
        std::mem::take(&mut self.0).into_iter().flat_map(|place| place.behind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(places: &mut Places, queue: &mut Queue, what: &str) {
        places.last().unwrap_or(queue).push_back(what.into());
    }

    fn filled(places: &mut Places, queue: &mut Queue, owner: u64, what: &str) {
        let mut behind = places.fill(owner);
        put(places, queue, what);
        if places.is_empty() {
            queue.append(&mut behind.queue);
        }
        places.follow(behind);
    }

    #[test]
    fn whatever_the_order_of_filling_all_comes_in_the_order_of_taking() {
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let (mut places, mut queue) = (Places::default(), Queue::new());
            for owner in 1..4 {
                places.take(owner);
                put(&mut places, &mut queue, &format!("behind {owner}"));
            }
            for owner in order {
                filled(&mut places, &mut queue, owner, &format!("of {owner}"));
            }
            let sent: Vec<_> = queue.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
            assert_eq!(sent, ["of 1", "behind 1", "of 2", "behind 2", "of 3", "behind 3"], "{order:?}");
            assert!(places.is_empty());
        }
    }

    #[test]
    fn what_stands_behind_places_is_left_when_they_end() {
        let (mut places, mut queue) = (Places::default(), Queue::new());
        for owner in 1..3 {
            places.take(owner);
            put(&mut places, &mut queue, "behind");
        }
        assert_eq!(places.end().len(), 2);
        filled(&mut places, &mut queue, 1, "late");
        assert_eq!(queue.len(), 1);
    }
}
