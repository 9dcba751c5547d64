//! Gives back to the system what work has left behind: the allocator keeps freed memory for the next allocation, and
//! a server that was busy once would look busy for ever.
//!
//! Not while it works: freed memory is used again soon then, and fresh pages cost more than they are worth.

use super::{clock, tasks};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const TICK: Duration = Duration::from_secs(1);
/// A second with less work than that is a quiet one.
const QUIET_NS: u64 = 50_000_000;
/// It is looked for only after so much work: looking takes some milliseconds where a lot was freed.
const WORK_MIN_NS: u64 = 200_000_000;

/// Looks once a second, as long as the server runs.
pub async fn tend() {
    let mut work = Work::default();
    loop {
        clock::sleep(TICK).await;
        if work.is_over(busy_ns()) {
            tasks::blocking(give_back).await;
        }
    }
}

/// What the process has done since memory was given back.
#[derive(Default)]
struct Work {
    /// Processor time when memory was given back, and at the last look.
    given_back_ns: u64,
    seen_ns: u64,
}

impl Work {
    /// Whether there was some, and there is none now.
    fn is_over(&mut self, busy_ns: u64) -> bool {
        let is_quiet = busy_ns.saturating_sub(self.seen_ns) < QUIET_NS;
        self.seen_ns = busy_ns;
        let is_over = is_quiet && busy_ns.saturating_sub(self.given_back_ns) >= WORK_MIN_NS;
        if is_over {
            self.given_back_ns = busy_ns;
        }
        is_over
    }
}

/// Processor time of all threads so far.
fn busy_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: it may be called at any time from any thread, and touches only memory that nobody owns.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn memory_is_given_back_once_after_work() {
        let mut work = Work::default();
        assert!(!work.is_over(S / 10), "a start is no work");
        assert!(!work.is_over(S), "it works");
        assert!(!work.is_over(2 * S), "it still works");
        assert!(work.is_over(2 * S + QUIET_NS / 2), "it does not any more");
        assert!(!work.is_over(2 * S + QUIET_NS), "it has nothing more to give back");
        assert!(!work.is_over(2 * S + QUIET_NS / 2 + WORK_MIN_NS), "it worked a little, and not quietly");
        assert!(work.is_over(2 * S + QUIET_NS + WORK_MIN_NS), "little by little it was something again");
    }

    #[test]
    fn work_shows_and_memory_may_be_given_back_at_any_time() {
        let begin = busy_ns();
        let kept: Vec<Vec<u8>> = (0..1000u16).map(|n| vec![n as u8; 4096]).collect();
        give_back();
        assert!(kept.iter().enumerate().all(|(n, page)| page == &vec![n as u8; 4096]));
        assert!(busy_ns() > begin);
    }
}
