//! Messages that a stream publishes to itself later, once or again and again (JS-190 to JS-196).

mod cron;
mod pattern;

pub(super) use pattern::Pattern;

use super::checks::{Rollup, store_failed};
use super::headers::{Block, PublishHeaders, ROLLUP, SCHEDULE_NEXT, SCHEDULER, TTL};
use super::ingest::Record;
use super::ttl::Ttl;
use super::{Call, Stream};
use crate::filter::{Filter, is_literal, matches};
use crate::store::{Flags, Message, Purge, StoreError};
use crate::wire::{ApiError, Time, error};

/// What `Nats-Schedule-Next` says when there is no next time.
const NO_NEXT: &[u8] = b"purge";

/// JS-195.
const OVERDUE_NS: i64 = 250_000_000;

/// Runs in one go, so that others have their turn.
const TURN: usize = 256;

impl Stream {
    /// Whether a message may be a schedule; when it first runs if it is one.
    pub(super) fn check_schedule(
        &self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
        now_ns: i64,
    ) -> Result<Option<i64>, ApiError> {
        let Some(text) = headers.schedule else { return Ok(None) };
        if !self.config.allow_msg_schedules {
            return Err(error::MESSAGE_SCHEDULES_DISABLED);
        }
        let pattern = Pattern::parse(text, headers.schedule_time_zone)?;
        let first_ns = pattern.first_ns(now_ns).ok_or(error::MESSAGE_SCHEDULES_PATTERN_INVALID)?;
        // One that is overdue runs not before its publisher had an answer.
        let first_ns = if first_ns <= now_ns { now_ns + OVERDUE_NS } else { first_ns };
        if let Some(ttl) = headers.schedule_ttl {
            Ttl::parse(ttl).ok_or(error::MESSAGE_SCHEDULES_TTL_INVALID)?;
            if !self.config.allow_msg_ttl {
                return Err(error::MESSAGE_TTL_DISABLED);
            }
        }
        let target = headers.schedule_target.unwrap_or_default();
        let source = headers.schedule_source;
        // First whether they can be meant, then whether they are the stream's.
        if !is_subject(target) || target == subject {
            return Err(error::MESSAGE_SCHEDULES_TARGET_INVALID);
        }
        if source.is_some_and(|source| !is_subject(source) || source == subject || source == target) {
            return Err(error::MESSAGE_SCHEDULES_SOURCE_INVALID);
        }
        if !self.has_subject(target) {
            return Err(error::MESSAGE_SCHEDULES_TARGET_INVALID);
        }
        if source.is_some_and(|source| !self.has_subject(source)) {
            return Err(error::MESSAGE_SCHEDULES_SOURCE_INVALID);
        }
        let only_sub = |value: Option<&[u8]>| value.is_none_or(|value| value.eq_ignore_ascii_case(b"sub"));
        if !only_sub(headers.schedule_rollup) || !only_sub(headers.rollup) {
            return Err(error::MESSAGE_SCHEDULES_ROLLUP_INVALID);
        }
        Ok(Some(first_ns))
    }

    /// The schedule that a message ends, if it does (JS-194).
    pub(super) fn check_scheduler<'a>(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'a>,
    ) -> Result<Option<&'a [u8]>, ApiError> {
        let (scheduler, next) = match (headers.scheduler, headers.schedule_next) {
            (None, None) => return Ok(None),
            (Some(scheduler), Some(next)) => (scheduler, next),
            _ => return Err(error::MESSAGE_SCHEDULES_SCHEDULER_INVALID),
        };
        if next != NO_NEXT || scheduler == subject || !is_subject(scheduler) {
            return Err(error::MESSAGE_SCHEDULES_SCHEDULER_INVALID);
        }
        if !self.config.allow_msg_schedules {
            return Err(error::MESSAGE_SCHEDULES_DISABLED);
        }
        let last_seq = self.store.subject(scheduler).map_err(store_failed)?.last_seq;
        match self.store.load(last_seq).map_err(store_failed)? {
            Some(last) if !last.flags.intersects(Flags::SCHEDULE) => {
                Err(error::MESSAGE_SCHEDULES_SCHEDULER_INVALID)
            }
            _ => Ok(Some(scheduler)),
        }
    }

    /// Whether it takes messages of that subject.
    fn has_subject(&self, subject: &[u8]) -> bool {
        self.config.subjects.iter().any(|own| matches(own.as_bytes(), subject))
    }

    /// Publishes what is due.
    pub(super) fn run_schedules(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        for _ in 0..TURN {
            let Some(seq) = self.schedules.pop(call.now_ns) else { break };
            // One that was removed, or after which something came on its subject, is cancelled (JS-194).
            if let Some(message) = self.store.load(seq)?
                && self.store.subject(&message.subject)?.last_seq == seq
            {
                self.run_schedule(&message, call)?;
            }
        }
        Ok(())
    }

    fn run_schedule(&mut self, message: &Message, call: &mut Call<'_>) -> Result<(), StoreError> {
        let headers = PublishHeaders::read(&message.headers);
        let pattern = headers.schedule.map(|text| Pattern::parse(text, headers.schedule_time_zone));
        let (Some(Ok(pattern)), Some(target)) = (pattern, headers.schedule_target) else { return Ok(()) };
        let next_ns = pattern.next_ns(call.now_ns);
        let content = match headers.schedule_source {
            Some(source) => self.store.last(&Filter::new([source]), u64::MAX)?,
            None => None,
        };
        let content = content.as_ref().unwrap_or(message);
        let mut block = Block::from(&content.headers, |line| is_passed_on(line.name));
        block.add(SCHEDULER, &message.subject);
        match next_ns {
            Some(next_ns) => block.add(SCHEDULE_NEXT, Time(next_ns).to_string()),
            None => block.add(SCHEDULE_NEXT, NO_NEXT),
        };
        if let Some(ttl) = headers.schedule_ttl {
            block.add(TTL, ttl);
        }
        if headers.schedule_rollup.is_some() {
            block.add(ROLLUP, "sub");
        }
        let record = Record {
            subject: target,
            headers: &block.finish(),
            payload: &content.payload,
            ttl: headers.schedule_ttl.filter(|_| self.config.allow_msg_ttl).and_then(Ttl::parse),
            rollup: headers.schedule_rollup.map(|_| Rollup::Subject),
            ..Record::default()
        };
        // A target that is full misses a run; the schedule goes on.
        let _ = self.ingest(&record, call);
        match next_ns {
            Some(next_ns) => self.schedules.insert(next_ns, message.seq),
            None => drop(self.remove(message.seq, false, call)?),
        }
        Ok(())
    }

    /// A message asked for the end of the schedule of that subject.
    pub(super) fn cancel_schedule(&mut self, subject: &[u8], call: &mut Call<'_>) -> Result<(), StoreError> {
        let filter = Filter::new([subject]);
        self.purge_now(&Purge { filter, ..Purge::default() }, call).map(drop)
    }

    /// After a restart. What a schedule published last says when it goes on.
    pub(super) fn reread_schedules(&mut self) -> Result<(), StoreError> {
        self.schedules.clear();
        let mut from = self.store.state().first_seq;
        while let Some(message) = self.store.next_flagged(Flags::SCHEDULE, from)? {
            from = message.seq + 1;
            let headers = PublishHeaders::read(&message.headers);
            let pattern = headers.schedule.map(|text| Pattern::parse(text, headers.schedule_time_zone));
            let (Some(Ok(pattern)), Some(target)) = (pattern, headers.schedule_target) else { continue };
            let noted_ns = self.noted_next_ns(&message, target)?;
            if let Some(due_ns) = noted_ns.or_else(|| pattern.first_ns(message.time_ns)) {
                self.schedules.insert(due_ns, message.seq);
            }
        }
        Ok(())
    }

    fn noted_next_ns(&mut self, schedule: &Message, target: &[u8]) -> Result<Option<i64>, StoreError> {
        let Some(last) = self.store.last(&Filter::new([target]), u64::MAX)? else { return Ok(None) };
        let headers = PublishHeaders::read(&last.headers);
        if last.seq < schedule.seq || headers.scheduler != Some(&schedule.subject) {
            return Ok(None);
        }
        let next = headers.schedule_next.and_then(|next| std::str::from_utf8(next).ok());
        Ok(next.and_then(Time::parse).map(|time| time.0))
    }
}

/// A subject without wildcards and without empty tokens.
fn is_subject(subject: &[u8]) -> bool {
    is_literal(subject)
        && subject.split(|&byte| byte == b'.').all(|token| !token.is_empty())
        && !subject.iter().any(u8::is_ascii_whitespace)
}

/// Whether a line of the schedule is one of what it publishes, too (JS-193).
fn is_passed_on(name: &[u8]) -> bool {
    !(name.starts_with(b"Nats-Schedule")
        || name.starts_with(b"Nats-Expected-")
        || matches!(name, b"Nats-Msg-Id" | b"Nats-TTL" | b"Nats-Rollup"))
}
