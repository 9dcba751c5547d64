//! Which replies a client with `allow_responses` still owes (PERM-005, PERM-006).
//!
//! One tracker a client; times are arguments. Not here: whether the client may publish anyway.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::config::options::ResponsePermission;

/// Replies kept at most. Answered and expired ones are dropped at once, so this many are open requests
/// that nobody answers; the oldest make room.
const REPLIES_MAX: usize = 65_536;

/// The replies that may be published to, each so many times and so long.
#[derive(Debug)]
pub struct ResponseTracker {
    /// `None`: without limit.
    max_msgs: Option<u32>,
    /// `None`: for ever.
    ttl_ns: Option<u64>,
    open: HashMap<Arc<[u8]>, Open>,
    /// Replies in the order they were noted, which is the order they expire in. May name replies that
    /// were closed or noted again since.
    order: VecDeque<(u64, Arc<[u8]>)>,
    notes: u64,
}

#[derive(Debug)]
struct Open {
    /// `None`: without limit.
    msgs_left: Option<u32>,
    expires_at_ns: u64,
    /// Which entry of `order` is its own.
    note: u64,
}

impl ResponseTracker {
    pub fn new(permission: ResponsePermission) -> Self {
        let ttl_ns = permission.ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
        Self { max_msgs: permission.max_msgs, ttl_ns, open: HashMap::new(), order: VecDeque::new(), notes: 0 }
    }

    /// A message with this reply was delivered to the client, which may not publish there otherwise.
    pub fn delivered(&mut self, reply: &[u8], now_ns: u64) {
        if self.max_msgs == Some(0) {
            return;
        }
        self.forget_expired(now_ns);
        if self.open.len() >= REPLIES_MAX {
            self.forget_oldest();
        }
        self.notes += 1;
        let key: Arc<[u8]> = reply.into();
        self.order.push_back((self.notes, Arc::clone(&key)));
        let expires_at_ns = self.ttl_ns.map_or(u64::MAX, |ttl_ns| now_ns.saturating_add(ttl_ns));
        self.open.insert(key, Open { msgs_left: self.max_msgs, expires_at_ns, note: self.notes });
        self.compact();
    }

    /// Whether the client may publish to `subject` now as a response. Counts it.
    pub fn may_respond(&mut self, subject: &[u8], now_ns: u64) -> bool {
        let Some(open) = self.open.get_mut(subject) else { return false };
        if now_ns > open.expires_at_ns {
            self.open.remove(subject);
            return false;
        }
        if let Some(left) = &mut open.msgs_left {
            *left -= 1;
            if *left == 0 {
                self.open.remove(subject);
            }
        }
        true
    }

    fn forget_expired(&mut self, now_ns: u64) {
        while let Some((note, reply)) = self.order.front() {
            match self.open.get(reply) {
                Some(open) if open.note == *note && now_ns <= open.expires_at_ns => return,
                Some(open) if open.note == *note => self.open.remove(reply),
                _ => None,
            };
            self.order.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((note, reply)) = self.order.pop_front() {
            if self.open.get(&reply).is_some_and(|open| open.note == note) {
                self.open.remove(&reply);
                return;
            }
        }
    }

    /// Closed replies behind a long-lived one would pile up in `order`: at most as many as open ones stay.
    fn compact(&mut self) {
        const SLACK: usize = 64;
        if self.order.len() > 2 * self.open.len() + SLACK {
            let open = &self.open;
            self.order.retain(|(note, reply)| open.get(reply).is_some_and(|open| open.note == *note));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tracker(max_msgs: Option<u32>, ttl_ns: Option<u64>) -> ResponseTracker {
        ResponseTracker::new(ResponsePermission { max_msgs, ttl: ttl_ns.map(Duration::from_nanos) })
    }

    #[test]
    fn a_reply_may_be_used_as_often_as_allowed() {
        // PERM-005
        let mut tracker = tracker(Some(2), None);
        assert!(!tracker.may_respond(b"r", 0));
        tracker.delivered(b"r", 0);
        assert!(tracker.may_respond(b"r", 1));
        assert!(tracker.may_respond(b"r", 1));
        assert!(!tracker.may_respond(b"r", 1));
        assert!(tracker.open.is_empty());
    }

    #[test]
    fn a_reply_is_forgotten_after_its_time() {
        let mut tracker = tracker(None, Some(10));
        tracker.delivered(b"r", 5);
        assert!(tracker.may_respond(b"r", 15));
        assert!(!tracker.may_respond(b"r", 16));
        tracker.delivered(b"a", 20);
        tracker.delivered(b"b", 40);
        assert_eq!((tracker.open.len(), tracker.order.len()), (1, 1));
    }

    #[test]
    fn a_reply_delivered_again_starts_anew() {
        let mut tracker = tracker(Some(1), Some(10));
        tracker.delivered(b"r", 0);
        tracker.delivered(b"r", 8);
        assert!(tracker.may_respond(b"r", 15));
        assert!(!tracker.may_respond(b"r", 15));
        tracker.delivered(b"r", 16);
        assert!(tracker.may_respond(b"r", 17));
    }

    #[test]
    fn unlimited_means_unlimited() {
        let mut tracker = tracker(None, None);
        tracker.delivered(b"r", 0);
        assert!((0..100).all(|now_ns| tracker.may_respond(b"r", now_ns)));
        assert!(tracker.may_respond(b"r", u64::MAX));
    }

    #[test]
    fn memory_is_bounded_whatever_is_answered() {
        let mut tracker = tracker(Some(1), None);
        tracker.delivered(b"never answered", 0);
        for request in 0..10_000u32 {
            tracker.delivered(&request.to_le_bytes(), 0);
            assert!(tracker.may_respond(&request.to_le_bytes(), 0));
        }
        assert!(tracker.order.len() <= 2 * tracker.open.len() + 65);
        for request in 0..(REPLIES_MAX as u32 + 10) {
            tracker.delivered(&request.to_le_bytes(), 0);
        }
        assert_eq!(tracker.open.len(), REPLIES_MAX);
        assert!(!tracker.may_respond(b"never answered", 0));
        assert!(tracker.may_respond(&(REPLIES_MAX as u32).to_le_bytes(), 0));
    }
}
