//! Answers that wait for the disk: outboxes in order, each with the commit that must be done before it leaves.

use super::mail::Way;
use crate::outbox::Outbox;
use crate::store::{Commit, StoreError};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

type Waiting = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Outboxes on their way out.
#[derive(Default)]
pub struct Commits {
    queue: VecDeque<(Option<Waiting>, Outbox)>,
    /// Emptied outboxes, to be used again.
    spare: Vec<Outbox>,
}

/// Commits under way before the stream waits for the first of them.
const COMMITS_MAX: usize = 8;
/// Kept for reuse.
const SPARE_MAX: usize = 2;

impl Commits {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether more may be under way.
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many more.
    pub fn room(&self) -> usize {
        COMMITS_MAX.saturating_sub(self.queue.len())
    }

    /// Those that were begun elsewhere.
    pub fn take_over(&mut self, begun: &mut Vec<(Commit, Outbox)>) {
        begun.drain(..).for_each(|(commit, outbox)| self.push(commit, outbox));
    }

    /// An empty outbox.
    pub fn fresh(&mut self) -> Outbox {
        self.spare.pop().unwrap_or_default()
    }

    pub fn give_back(&mut self, mut outbox: Outbox) {
        outbox.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(outbox);
        }
    }

    pub fn push(&mut self, commit: Commit, outbox: Outbox) {
        let waiting: Option<Waiting> = match commit {
            Commit::Done => None,
            Commit::Foreign(waiting) => Some(waiting),
            commit => Some(Box::pin(commit.wait())),
        };
        self.queue.push_back((waiting, outbox));
    }

    /// Ready as soon as the first outbox may leave: its commit is done, and nothing is under way by mail. Never while
    /// there is none.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        way: &Way,
    ) -> Poll<(Outbox, Result<(), StoreError>)> {
        let Some((waiting, _)) = self.queue.front_mut() else { return Poll::Pending };
        if !way.is_free_soon() {
            return Poll::Pending;
        }
        let done = match waiting {
            None => Ok(()),
            Some(waiting) => match waiting.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(done) => done,
            },
        };
        match self.queue.pop_front() {
            Some((_, outbox)) => Poll::Ready((outbox, done)),
            None => Poll::Pending,
        }
    }
}
