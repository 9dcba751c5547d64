//! `connection_rate_limit`: how many handshakes a second are begun (CORE-233).

/// A window of one second. Time comes from the caller.
#[derive(Debug)]
pub struct HandshakeRate {
    per_second_max: u32,
    window_end_ns: u64,
    begun: u32,
    refused: u64,
}

const WINDOW_NS: u64 = 1_000_000_000;

impl HandshakeRate {
    pub fn new(per_second_max: u32) -> Self {
        HandshakeRate { per_second_max, window_end_ns: 0, begun: 0, refused: 0 }
    }

    /// Whether one more handshake may begin now. If not, the connection gets the text of CORE-131.
    pub fn allow(&mut self, now_ns: u64) -> bool {
        if now_ns >= self.window_end_ns {
            self.window_end_ns = now_ns.saturating_add(WINDOW_NS);
            self.begun = 0;
        }
        if self.begun < self.per_second_max {
            self.begun += 1;
            return true;
        }
        self.refused += 1;
        false
    }

    /// Called once a second: the line to log, if any were refused since.
    pub fn take_refused_line(&mut self) -> Option<String> {
        let refused = std::mem::take(&mut self.refused);
        (refused > 0).then(|| format!("Rejected {refused} connections due to TLS rate limiting"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_the_limit_and_the_next_second_again() {
        let mut rate = HandshakeRate::new(2);
        assert!(rate.allow(5));
        assert!(rate.allow(6));
        assert!(!rate.allow(7));
        assert!(!rate.allow(999_999_999));
        assert!(rate.allow(1_000_000_005));
        assert_eq!(
            rate.take_refused_line().as_deref(),
            Some("Rejected 2 connections due to TLS rate limiting")
        );
        assert_eq!(rate.take_refused_line(), None);
    }
}
