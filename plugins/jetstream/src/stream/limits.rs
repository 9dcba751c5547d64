//! Removes the oldest messages beyond the limits of a stream (JS-170).

use super::{Call, Stream};
use crate::filter::Filter;
use crate::store::{Purge, Removed, StoreError};

impl Stream {
    /// Removes one message, and tells the consumers.
    pub(super) fn remove(
        &mut self,
        seq: u64,
        erase: bool,
        call: &mut Call<'_>,
    ) -> Result<Option<Removed>, StoreError> {
        let removed = self.store.remove(seq, erase)?;
        if let Some(removed) = &removed {
            self.changed = true;
            if self.consumers.len() > 0 {
                let mut ctx = call.context(&mut *self.store, &self.facts);
                self.consumers.removed(seq, &removed.subject, &mut ctx);
            }
        }
        Ok(removed)
    }

    /// Purges without asking whether it is allowed; how many went.
    pub(super) fn purge_now(&mut self, purge: &Purge, call: &mut Call<'_>) -> Result<u64, StoreError> {
        let (messages, _) = self.store.purge(purge)?;
        self.changed = true;
        if self.consumers.len() > 0 {
            let mut ctx = call.context(&mut *self.store, &self.facts);
            self.consumers.purged(&mut ctx);
        }
        Ok(messages)
    }

    /// The whole stream has at most so many messages and bytes.
    pub(super) fn limit_stream(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        if !self.rules.has_limits() {
            return Ok(());
        }
        loop {
            let state = self.store.state();
            let over = state.messages > self.rules.messages_max || state.bytes > self.rules.bytes_max;
            if !over || state.messages == 0 || self.remove(state.first_seq, false, call)?.is_none() {
                return Ok(());
            }
        }
    }

    /// A subject has at most so many messages.
    pub(super) fn limit_subject(
        &mut self,
        subject: &[u8],
        mut messages: u64,
        call: &mut Call<'_>,
    ) -> Result<(), StoreError> {
        while messages > self.rules.subject_messages_max {
            let facts = self.store.subject(subject)?;
            if facts.messages <= self.rules.subject_messages_max
                || self.remove(facts.first_seq, false, call)?.is_none()
            {
                return Ok(());
            }
            messages = facts.messages - 1;
        }
        Ok(())
    }

    /// All limits, after they changed.
    pub(super) fn apply_limits(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        if self.rules.subject_messages_max != u64::MAX {
            let keep = self.rules.subject_messages_max;
            let mut over = Vec::new();
            self.store.subjects(&Filter::all(), &mut |subject, facts| {
                if facts.messages > keep {
                    over.push(subject.to_vec());
                }
            })?;
            for subject in over {
                self.purge_now(&Purge { filter: Filter::new([&subject]), before_seq: 0, keep }, call)?;
            }
        }
        self.limit_stream(call)
    }
}
