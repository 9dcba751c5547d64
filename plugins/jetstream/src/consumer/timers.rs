//! What happens by the passing of time: messages due again, heartbeats, requests and pauses that end, inactivity.

use super::{Consumer, Tick};
use crate::context::Context;
use crate::wire::{ApiError, Time};
use serde_json::{Map, Value};

/// Who asks as often as the threshold says is not too late. nats-server waits for 0.1 to 1 s.
const PULL_GRACE_NS: i64 = 500_000_000;

impl Consumer {
    /// When to call [`Consumer::tick`]; `i64::MAX`: never.
    pub fn deadline_ns(&self) -> i64 {
        let due = self.due.front().map_or(i64::MAX, |(deadline, _)| *deadline);
        let apart = self.due_apart.first().map_or(i64::MAX, |(deadline, _)| *deadline);
        let taker = match &self.push {
            Some(push) => push.deadline_ns(),
            None => self.pulls.deadline_ns(),
        };
        let replay = self.replay.as_ref().map_or(i64::MAX, |replay| replay.deadline_ns());
        let taker = taker.min(self.pin_deadline_ns()).min(replay);
        due.min(apart).min(taker).min(self.resumes_ns).min(self.inactive_ns())
    }

    /// When it has been unused for too long.
    fn inactive_ns(&self) -> i64 {
        let threshold = self.config.inactive_threshold;
        let (used, grace_ns) = match &self.push {
            Some(push) => (push.is_active(), 0),
            None => (!self.pulls.is_empty(), PULL_GRACE_NS),
        };
        if threshold <= 0 || used {
            return i64::MAX;
        }
        self.active_ns.saturating_add(threshold).saturating_add(grace_ns)
    }

    pub fn tick(&mut self, ctx: &mut Context<'_>) -> Tick {
        let now_ns = ctx.now_ns;
        if self.resumes_ns <= now_ns {
            self.resumes_ns = i64::MAX;
            // Its end stays in the configuration.
            self.advise_pause(false, self.config.pause_until.unwrap_or_default(), ctx);
        }
        while let Some(&(deadline_ns, seq)) = self.due.front()
            && deadline_ns <= now_ns
        {
            self.due.pop_front();
            self.fall_due(deadline_ns, seq, ctx);
        }
        while let Some(&(deadline_ns, seq)) = self.due_apart.first()
            && deadline_ns <= now_ns
        {
            self.due_apart.pop_first();
            self.fall_due(deadline_ns, seq, ctx);
        }
        if let Some(replay) = &mut self.replay {
            replay.tick(now_ns);
        }
        if self.push.is_some() {
            self.push_tick(ctx);
        } else {
            let held = self.is_held(now_ns);
            if self.tick_pulls(held, ctx) {
                self.active_ns = now_ns;
            }
            self.pin_timeout(ctx);
        }
        if self.inactive_ns() <= now_ns { Tick::Delete } else { Tick::Idle }
    }

    fn fall_due(&mut self, deadline_ns: i64, seq: u64, ctx: &mut Context<'_>) {
        if self.pending.get(&seq).is_some_and(|pending| pending.deadline_ns == deadline_ns) {
            self.end_wait(seq, ctx);
        }
    }

    /// Again, unless that was the last time (JC-111): nobody need ask for more to learn that.
    fn end_wait(&mut self, seq: u64, ctx: &mut Context<'_>) {
        let deliveries = self.counts.get(&seq).copied().unwrap_or(1);
        let max = u64::try_from(self.config.max_deliver).unwrap_or(0);
        if max > 0 && deliveries >= max {
            self.give_up(seq, deliveries, ctx);
        } else {
            self.again.insert(seq);
        }
    }

    /// Who was sent what is pending is not there any more: whoever comes next gets it at once (JC-061).
    pub(super) fn end_waits(&mut self, ctx: &mut Context<'_>) {
        let waiting: Vec<u64> =
            self.pending.keys().copied().filter(|seq| !self.again.contains(seq)).collect();
        waiting.into_iter().for_each(|seq| self.end_wait(seq, ctx));
    }

    /// JC-172. `None` and what is past resume.
    pub fn pause(&mut self, until: Option<Time>, ctx: &mut Context<'_>) -> Result<(), ApiError> {
        if self.config.pause_until == until {
            return Ok(());
        }
        self.config.pause_until = until;
        self.resumes_ns = self.paused_until(ctx.now_ns).unwrap_or(i64::MAX);
        crate::api::level::stamp_consumer(&mut self.config);
        self.keep(ctx.store).map_err(super::failed)?;
        self.advise_pause(self.resumes_ns != i64::MAX, until.unwrap_or_default(), ctx);
        Ok(())
    }

    /// A new one may be paused from the beginning, and whoever changes one is told that it is.
    pub fn tell_if_paused(&mut self, ctx: &mut Context<'_>) {
        if let Some(until) = self.config.pause_until.filter(|until| until.0 > ctx.now_ns) {
            self.advise_pause(true, until, ctx);
        }
    }

    /// JS-273
    pub(super) fn advise_pause(&mut self, is_paused: bool, until: Time, ctx: &mut Context<'_>) {
        let mut fields = Map::new();
        fields.insert("stream".to_owned(), ctx.stream.name.clone().into());
        fields.insert("consumer".to_owned(), self.config.name.clone().into());
        fields.insert("paused".to_owned(), is_paused.into());
        fields.insert("pause_until".to_owned(), Value::from(until.to_string()));
        self.advise("PAUSE", "consumer_pause", fields, ctx);
    }
}
