//! Replay in the original pace: what the stream had when the consumer began comes as far apart as it was stored (JC-087).

/// Messages that are nearer to each other than that come together.
const NEAR_NS: i64 = 1_000_000;

#[derive(Default)]
pub(super) struct Replay {
    /// The last sequence that is replayed.
    until_seq: u64,
    /// When the message that was sent last was stored; 0: none was.
    stored_ns: i64,
    /// The message that waits for its time.
    waits: Option<Waiting>,
}

#[derive(Clone, Copy)]
struct Waiting {
    seq: u64,
    due_ns: i64,
    /// The timers were told that it is due.
    is_told: bool,
}

impl Replay {
    /// Everything up to a sequence.
    pub fn up_to(&mut self, seq: u64) {
        self.until_seq = seq;
    }

    /// Whether a message is behind what is replayed.
    pub fn is_over(&self, seq: u64) -> bool {
        seq > self.until_seq
    }

    /// Whether the message that somebody would take now may go.
    pub fn is_due(&mut self, seq: u64, stored_ns: i64, now_ns: i64) -> bool {
        if let Some(waiting) = self.waits.filter(|waiting| waiting.seq == seq) {
            return waiting.due_ns <= now_ns;
        }
        let apart_ns = stored_ns.saturating_sub(self.stored_ns);
        if self.stored_ns == 0 || apart_ns <= NEAR_NS {
            return true;
        }
        self.waits = Some(Waiting { seq, due_ns: now_ns.saturating_add(apart_ns), is_told: false });
        false
    }

    pub fn sent(&mut self, stored_ns: i64) {
        (self.stored_ns, self.waits) = (stored_ns, None);
    }

    /// Who takes the next message waits for nothing.
    pub fn begin(&mut self) {
        self.sent(0);
    }

    pub fn deadline_ns(&self) -> i64 {
        self.waits.filter(|waiting| !waiting.is_told).map_or(i64::MAX, |waiting| waiting.due_ns)
    }

    pub fn tick(&mut self, now_ns: i64) {
        if let Some(waiting) = &mut self.waits {
            waiting.is_told |= waiting.due_ns <= now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Replay;

    #[test]
    fn the_next_message_waits_as_long_as_it_came_later() {
        let mut replay = Replay::default();
        replay.up_to(3);
        assert!(replay.is_due(1, 1_000_000_000, 50));
        replay.sent(1_000_000_000);
        assert!(replay.is_due(2, 1_000_500_000, 60), "near");
        assert!(!replay.is_due(2, 1_010_000_000, 60));
        assert_eq!(replay.deadline_ns(), 10_000_060);
        replay.tick(10_000_060);
        // Told once, whoever may be there to take it.
        assert_eq!(replay.deadline_ns(), i64::MAX);
        assert!(replay.is_due(2, 1_010_000_000, 10_000_060));
        replay.sent(1_010_000_000);
        assert!(!replay.is_due(3, 1_020_000_000, 20_000_000));
        // It is gone, and another one comes in its place.
        assert!(!replay.is_due(4, 1_030_000_000, 25_000_000));
        assert_eq!(replay.deadline_ns(), 45_000_000);
        assert!(replay.is_over(4) && !replay.is_over(3));
    }
}
