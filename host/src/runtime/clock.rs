//! Clocks and timers.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds of a clock that never goes back, from about the start of the process.
pub fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// Nanoseconds since 1970, by the wall clock.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for `future` at most that long; `None` when it took longer.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}

/// A timer that can be set again and costs nothing until it is set.
#[derive(Default)]
pub struct Deadline {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    at_ns: Option<u64>,
}

impl Deadline {
    /// Fires at `at_ns` of `now_ns()`.
    pub fn set(&mut self, at_ns: Option<u64>) {
        if self.at_ns == at_ns {
            return;
        }
        self.at_ns = at_ns;
        let Some(at_ns) = at_ns else { return };
        let at = tokio::time::Instant::from_std(*START + Duration::from_nanos(at_ns));
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    /// Ready once when the time has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at_ns.is_none() {
            return Poll::Pending;
        }
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let ready = sleep.as_mut().poll(cx);
        if ready.is_ready() {
            self.at_ns = None;
        }
        ready
    }
}
