//! Stores a message that passed its checks, and everything that follows from it.

use super::batch::Staged;
use super::checks::{Rollup, store_failed};
use super::ttl::Ttl;
use super::{Call, Stream};
use crate::filter::{Filter, is_literal};
use crate::store::{Flags, NewMessage, Purge, StoreError};
use crate::wire::{ApiError, error};

/// A message that passed its checks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record<'a> {
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub ttl: Option<Ttl>,
    pub rollup: Option<Rollup>,
    /// Empty: none.
    pub msg_id: &'a [u8],
    /// When it runs first, if it is a schedule.
    pub runs_ns: Option<i64>,
    /// The subject of the schedule that it ends.
    pub ends: Option<&'a [u8]>,
    /// More of its batch follows.
    pub unfinished: bool,
    /// When it was stored in its origin, if it is mirrored.
    pub time_ns: Option<i64>,
    /// It came from a source.
    pub sourced: bool,
}

impl Record<'_> {
    fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        if self.ttl.is_some() {
            flags = flags.union(Flags::TTL);
        }
        if self.runs_ns.is_some() {
            flags = flags.union(Flags::SCHEDULE);
        }
        if self.unfinished {
            flags = flags.union(Flags::UNFINISHED);
        }
        if self.sourced {
            flags = flags.union(Flags::SOURCED);
        }
        flags
    }
}

/// Where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub seq: u64,
    /// Of the message, never before that of the one before it.
    pub time_ns: i64,
}

impl Stream {
    pub(super) fn ingest(&mut self, record: &Record<'_>, call: &mut Call<'_>) -> Result<Stored, ApiError> {
        let time_ns = record.time_ns.unwrap_or(call.now_ns).max(self.last_time_ns);
        if self.rules.on_interest && !self.consumers.any_for(record.subject) {
            return self.pass_over(record, time_ns, call);
        }
        let message = NewMessage {
            subject: record.subject,
            headers: record.headers,
            payload: record.payload,
            time_ns,
            flags: record.flags(),
        };
        let mut last_seq = 0;
        if self.rules.republishing.is_some() {
            last_seq = self.store.subject(record.subject).map_err(store_failed)?.last_seq;
        }
        let appended = self.store.append(&message).map_err(store_failed)?;
        let stored = Stored { seq: appended.seq, time_ns };
        self.changed = true;
        self.note(record, stored);
        self.consumers.stored(stored.seq, record.subject);
        self.expiry.stored(stored, record.ttl.filter(|_| self.config.allow_msg_ttl), &self.rules);
        if let Some(due_ns) = record.runs_ns {
            self.schedules.insert(due_ns, stored.seq);
        }
        self.make_room(record, appended.subject_messages, call).map_err(store_failed)?;
        if let Some(subject) = record.ends {
            self.cancel_schedule(subject, call).map_err(store_failed)?;
        }
        self.republish(record, stored, last_seq, call);
        Ok(stored)
    }

    /// A message that nobody asks for: its sequence is used, it is not kept (JS-163).
    /// What it replaces goes all the same.
    fn pass_over(
        &mut self,
        record: &Record<'_>,
        time_ns: i64,
        call: &mut Call<'_>,
    ) -> Result<Stored, ApiError> {
        self.store.skip(1, time_ns).map_err(store_failed)?;
        self.changed = true;
        let filter = match record.rollup {
            Some(Rollup::Subject) => Some(Filter::new([record.subject])),
            Some(Rollup::All) => Some(Filter::all()),
            None => None,
        };
        if let Some(filter) = filter {
            self.roll_up(Purge { filter, ..Purge::default() }, call).map_err(store_failed)?;
        }
        let stored = Stored { seq: self.store.state().last_seq, time_ns };
        self.note(record, stored);
        Ok(stored)
    }

    fn note(&mut self, record: &Record<'_>, stored: Stored) {
        self.last_time_ns = stored.time_ns;
        self.last_msg_id.clear();
        if !record.msg_id.is_empty() {
            self.last_msg_id.extend_from_slice(record.msg_id);
            self.dedup.insert(record.msg_id, stored.seq, stored.time_ns);
        }
    }

    /// Refuses what `discard: new` has no room for (JS-146, JS-170, JS-171). `staged` are the messages before it in
    /// its batch.
    pub(super) fn check_room(
        &mut self,
        record: &Record<'_>,
        staged: Option<&Staged>,
    ) -> Result<(), ApiError> {
        if let Some(why) = self.lacks_room() {
            return Err(why);
        }
        if !self.rules.discard_new {
            return Ok(());
        }
        let full = |what: &str| error::STREAM_STORE_FAILED.with(format!("maximum {what} exceeded"));
        let mut oldest_of_subject = None;
        if self.rules.subject_messages_max != u64::MAX {
            let facts = self.store.subject(record.subject).map_err(store_failed)?;
            let messages = facts.messages + staged.map_or(0, |staged| staged.messages_of(record.subject));
            if messages >= self.rules.subject_messages_max {
                if self.rules.discard_new_per_subject && record.rollup.is_none() {
                    return Err(full("messages per subject"));
                }
                oldest_of_subject = Some(facts.first_seq);
            }
        }
        if !self.rules.has_limits() {
            return Ok(());
        }
        let state = self.store.state();
        let (messages, bytes) = staged.map_or((0, 0), |staged| (staged.messages, staged.bytes));
        // A full subject gives up its oldest message, so that the number of messages stays.
        if state.messages + messages >= self.rules.messages_max && oldest_of_subject.is_none() {
            return Err(full("messages"));
        }
        let size_bytes = self.rules.size_bytes_of(record);
        if (state.bytes + bytes).saturating_add(size_bytes) >= self.rules.bytes_max {
            let freed = match oldest_of_subject {
                Some(seq) => self.store.load(seq).map_err(store_failed)?,
                None => None,
            };
            let freed_bytes =
                freed.map_or(0, |old| self.rules.size_bytes(&old.subject, &old.headers, &old.payload));
            if freed_bytes <= size_bytes {
                return Err(full("bytes"));
            }
        }
        Ok(())
    }

    /// Why the stream may not grow, if it may not.
    pub(super) fn lacks_room(&self) -> Option<ApiError> {
        let room = self.room.as_ref().filter(|room| self.store.state().bytes > room.bytes_max);
        room.map(|room| room.why.clone())
    }

    /// Removes what the new message replaces or drives out.
    fn make_room(
        &mut self,
        record: &Record<'_>,
        subject_messages: u64,
        call: &mut Call<'_>,
    ) -> Result<(), StoreError> {
        match record.rollup {
            Some(Rollup::Subject) if is_literal(record.subject) => {
                self.limit_subject(record.subject, subject_messages, 1, call)?;
                self.pass(&Filter::new([record.subject]), call)?;
            }
            // A client may publish to a subject with wildcards, as nats-py does to purge many keys of a bucket.
            Some(Rollup::Subject) => {
                let filter = Filter::new([record.subject]);
                self.roll_up(Purge { filter, before_seq: 0, keep: 1 }, call)?;
            }
            Some(Rollup::All) => {
                self.roll_up(Purge { filter: Filter::all(), before_seq: 0, keep: 1 }, call)?;
            }
            None if subject_messages > self.rules.subject_messages_max => {
                let keep = self.rules.subject_messages_max;
                self.limit_subject(record.subject, subject_messages, keep, call)?;
            }
            None => {}
        }
        self.limit_stream(call)
    }

    fn roll_up(&mut self, purge: Purge, call: &mut Call<'_>) -> Result<(), StoreError> {
        self.store.purge(&purge)?;
        self.changed = true;
        self.pass(&purge.filter, call)
    }
}
