//! When what a stream handled is committed, and with whom.

use super::{Commits, State, Worker};
use crate::outbox::Outbox;
use crate::store::Commit;

/// Changes that no answer promises are committed after this long at the latest.
pub const LAZY_NS: i64 = 50_000_000;

impl Worker {
    /// Commits if an answer promises it or it is time, and queues what is to leave.
    pub(super) fn queue(&mut self, commits: &mut Commits) {
        if self.out.promises() && commits.is_empty() && self.is_shared() {
            self.commit_with_others();
        } else if let Some((commit, out)) = self.next_commit(|| commits.fresh()) {
            commits.push(commit, out);
        }
    }

    /// The same without the task: it takes over what was begun, and is told.
    pub(super) fn begin_commit(&mut self) {
        if let Some(begun) = self.next_commit(Outbox::default) {
            self.begun.push(begun);
            self.room = self.room.saturating_sub(1);
        }
    }

    /// What is to leave, and what must be done before.
    fn next_commit(&mut self, fresh: impl FnOnce() -> Outbox) -> Option<(Commit, Outbox)> {
        self.gathered_bytes = 0;
        let late = self.uncommitted_since_ns.is_some_and(|since| self.now_ns >= since + LAZY_NS);
        let commit = if self.out.promises() || late {
            self.uncommitted_since_ns = None;
            self.stream.commit()
        } else if self.out.is_empty() {
            return None;
        } else {
            Commit::Done
        };
        Some((commit, std::mem::replace(&mut self.out, fresh())))
    }

    /// Whether it was at once, and there is mail to send.
    fn commit_with_others(&mut self) -> bool {
        self.uncommitted_since_ns = None;
        self.gathered_bytes = 0;
        let answers = self.way.take(std::mem::replace(&mut self.out, self.way.fresh()));
        self.stream.commit_with(answers)
    }

    /// Commits what was handled together with other streams that work just now, without the task, if there is nothing
    /// else to do for it. Whether that is all.
    pub(super) fn commit_at_once(&mut self) -> bool {
        let Some(rests_until_ns) = self.rests_until_ns else { return false };
        let is_all = self.out.promises()
            && self.begun.is_empty()
            && !self.stream.is_ready()
            && !self.stream.origin_inboxes_changed()
            && self.stream.deadline_ns() >= rests_until_ns;
        if !is_all {
            return false;
        }
        self.inbox.turn.is_next();
        if !self.is_shared() || self.commit_with_others() {
            return false;
        }
        self.is_stirred = false;
        self.show();
        true
    }

    /// Whether it is worth while to commit together with streams that are about to work.
    fn is_shared(&mut self) -> bool {
        let may_be = self.state == State::Running && self.inbox.turn.has_company() && self.way.is_free();
        may_be && self.out.is_short() && self.stream.shares_commits()
    }
}
