//! Time to live of single messages: what the header says, and which message is due when (JS-152, JS-172).

use super::headers::number;
use crate::duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const SECOND_NS: i64 = 1_000_000_000;

/// What `Nats-TTL` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Not even by the age limit of the stream.
    Never,
    /// Whole seconds, at least one.
    Seconds(i64),
}

impl Ttl {
    /// `never`, seconds, or a duration of Go of a second or more.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"never") {
            return Some(Self::Never);
        }
        let seconds = match number(value) {
            Some(seconds) => i64::try_from(seconds).ok()?,
            None => duration::parse(std::str::from_utf8(value).ok()?).ok()? / SECOND_NS,
        };
        (seconds > 0).then_some(Self::Seconds(seconds))
    }

    /// When a message of that time goes; `None`: never.
    pub fn deadline_ns(self, time_ns: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::Seconds(seconds) => Some(time_ns.saturating_add(seconds.saturating_mul(SECOND_NS))),
        }
    }
}

/// Sequences with a deadline each. One that is removed in another way stays until its deadline.
#[derive(Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(i64, u64)>>,
}

impl Deadlines {
    pub fn insert(&mut self, deadline_ns: i64, seq: u64) {
        self.heap.push(Reverse((deadline_ns, seq)));
    }

    pub fn next_ns(&self) -> i64 {
        self.heap.peek().map_or(i64::MAX, |Reverse((deadline_ns, _))| *deadline_ns)
    }

    /// The next one that is due.
    pub fn pop(&mut self, now_ns: i64) -> Option<u64> {
        if self.next_ns() > now_ns {
            return None;
        }
        self.heap.pop().map(|Reverse((_, seq))| seq)
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops those that are no more.
    pub fn retain(&mut self, mut is_there: impl FnMut(u64) -> bool) {
        self.heap.retain(|Reverse((_, seq))| is_there(*seq));
        self.heap.shrink_to_fit();
    }

    pub fn clear(&mut self) {
        self.heap = BinaryHeap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{Deadlines, Ttl};

    #[test]
    fn ttls_are_seconds_or_durations() {
        for (text, expected) in [
            ("never", Some(Ttl::Never)),
            ("NEVER", Some(Ttl::Never)),
            ("1", Some(Ttl::Seconds(1))),
            ("1500ms", Some(Ttl::Seconds(1))),
            ("0.5h", Some(Ttl::Seconds(1800))),
            ("0", None),
            ("0s", None),
            ("999ms", None),
            ("-1", None),
            ("-5s", None),
            ("1d", None),
            ("5 ", None),
        ] {
            assert_eq!(Ttl::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_due_comes_in_the_order_of_deadlines() {
        let mut deadlines = Deadlines::default();
        for (deadline_ns, seq) in [(30, 1), (10, 2), (20, 3)] {
            deadlines.insert(deadline_ns, seq);
        }
        assert_eq!(deadlines.pop(9), None);
        assert_eq!((deadlines.pop(25), deadlines.pop(25), deadlines.pop(25)), (Some(2), Some(3), None));
        assert_eq!(deadlines.next_ns(), 30);
    }
}
