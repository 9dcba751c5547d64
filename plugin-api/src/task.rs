//! A handle to work that runs on the host's runtime.

use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The output of a task, to be awaited. Dropping it lets the task go on.
pub struct Task<T> {
    slot: Arc<Mutex<Slot<T>>>,
    host: Option<(Host, u64)>,
}

enum Slot<T> {
    Running(Option<Waker>),
    Finished(Result<T>),
    Taken,
}

impl<T> Task<T> {
    pub(crate) fn with_abort(self, host: Host, id: u64) -> Self {
        Self { host: Some((host, id)), ..self }
    }

    /// Ends the task at its next await; its output is then an error of kind `Cancelled`.
    pub fn abort(&self) {
        if let Some((host, id)) = &self.host {
            host.abort(*id);
        }
    }

    pub fn is_finished(&self) -> bool {
        !matches!(*self.slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Running(_))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Finished(output) => Poll::Ready(output),
            Slot::Taken => Poll::Ready(Err(Error::new(ErrorKind::Invalid, "the output was taken before"))),
            Slot::Running(_) => {
                *slot = Slot::Running(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// The other end: finishes the task, at the latest when dropped.
pub(crate) struct Finish<T>(Arc<Mutex<Slot<T>>>);

pub(crate) fn task<T>() -> (Task<T>, Finish<T>) {
    let slot = Arc::new(Mutex::new(Slot::Running(None)));
    (Task { slot: slot.clone(), host: None }, Finish(slot))
}

impl<T> Finish<T> {
    pub(crate) fn with(self, output: Result<T>) {
        self.set(output);
    }

    fn set(&self, output: Result<T>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Running(waker) = &mut *slot {
            let waker = waker.take();
            *slot = Slot::Finished(output);
            drop(slot);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        self.set(Err(Error::new(ErrorKind::Cancelled, "the task was ended before it was done")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_task_is_cancelled_and_a_finished_one_answers() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut task_one, finish) = task::<u8>();
        assert!(Pin::new(&mut task_one).poll(&mut context).is_pending());
        drop(finish);
        let Poll::Ready(Err(error)) = Pin::new(&mut task_one).poll(&mut context) else { unreachable!() };
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        let (mut task_two, finish) = task();
        finish.with(Ok(5u8));
        assert!(task_two.is_finished());
        assert_eq!(Pin::new(&mut task_two).poll(&mut context), Poll::Ready(Ok(5)));
    }
}
