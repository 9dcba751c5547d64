//! Clocks and timers.
//!
//! Timers have a thread of their own. A thread that serves connections and also has a deadline sets and stops a timer
//! of the system each time it waits, which costs a twentieth of a request.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::{LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Handle};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Without it timers belong to the runtime they are made in.
static TIMERS: OnceLock<Handle> = OnceLock::new();
/// It does no more than wake others.
const STACK_BYTES: usize = 128 * 1024;

/// Starts the thread of timers, once.
pub fn start_timers() -> io::Result<()> {
    if TIMERS.get().is_some() {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("natsd-clock".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || runtime.block_on(pending::<()>()))?;
    // Whoever was faster has a thread that does the same.
    let _ = TIMERS.set(handle);
    Ok(())
}

/// Makes a timer that the thread of timers looks after.
fn timer<T>(make: impl FnOnce() -> T) -> T {
    let _entered = TIMERS.get().map(Handle::enter);
    make()
}

/// Nanoseconds of a clock that never goes back, from about the start of the process.
pub fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// Nanoseconds since 1970, by the wall clock.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// From now on, not from when it is first waited for.
pub fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
    timer(|| tokio::time::sleep(duration))
}

/// Waits for `future` at most that long; `None` when it took longer.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    timer(|| tokio::time::timeout(duration, future)).await.ok()
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
            None => self.sleep = Some(Box::pin(timer(|| tokio::time::sleep_until(at)))),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Deadline, now_ns, sleep, start_timers, timeout};
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    /// What serves connections has no timers of its own.
    #[test]
    fn timers_need_none_of_the_runtime_that_waits() {
        start_timers().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let waiting = runtime.spawn(async {
            let started_ns = now_ns();
            sleep(Duration::from_millis(5)).await;
            assert!(timeout(Duration::from_millis(5), pending::<()>()).await.is_none());
            assert_eq!(timeout(Duration::from_secs(3600), async { 7 }).await, Some(7));
            let mut deadline = Deadline::default();
            deadline.set(Some(now_ns() + 3_600_000_000_000));
            deadline.set(Some(now_ns() + 5_000_000));
            poll_fn(|context| deadline.poll(context)).await;
            now_ns() - started_ns
        });
        assert!(runtime.block_on(waiting).unwrap() >= 15_000_000);
    }
}
