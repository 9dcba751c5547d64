//! Removes messages by age: that of the stream's limit, and that of their own (JS-172, JS-173).

use super::checks::Rollup;
use super::headers::{Block, MARKER_REASON, ROLLUP, TTL, value};
use super::ingest::{Record, Stored};
use super::rules::Rules;
use super::ttl::{Deadlines, Ttl};
use super::{Call, Stream};
use crate::duration;
use crate::filter::Filter;
use crate::store::{Flags, Message, StoreError};

/// What is due when.
#[derive(Default)]
pub(super) struct Expiry {
    /// Messages with a time of their own.
    own: Deadlines,
    /// Below it nothing is left that the stream's limit may remove.
    aged_below: u64,
    /// When the first message from there on is too old; `None`: nothing is there.
    aged_ns: Option<i64>,
}

/// Messages in one go, so that others have their turn.
const TURN: usize = 1024;

impl Expiry {
    pub fn stored(&mut self, stored: Stored, ttl: Option<Ttl>, rules: &Rules) {
        if rules.age_max_ns > 0 && self.aged_ns.is_none() {
            self.aged_below = stored.seq;
            self.aged_ns = Some(stored.time_ns.saturating_add(rules.age_max_ns));
        }
        if let Some(deadline_ns) = ttl.and_then(|ttl| ttl.deadline_ns(stored.time_ns)) {
            self.own.insert(deadline_ns, stored.seq);
        }
    }

    pub fn next_ns(&self) -> i64 {
        self.own.next_ns().min(self.aged_ns.unwrap_or(i64::MAX))
    }
}

impl Stream {
    /// Removes what is due. What is left over is due at once again.
    pub(super) fn expire(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        self.expire_aged(call)?;
        for _ in 0..TURN {
            let Some(seq) = self.expiry.own.pop(call.now_ns) else { break };
            if let Some(message) = self.store.load(seq)? {
                self.expire_one(&message, call)?;
            }
        }
        self.forget_removed()
    }

    /// After a restart, or when the limit changed: every message is looked at again.
    pub(super) fn rebuild_deadlines(&mut self) -> Result<(), StoreError> {
        self.expiry = Expiry::default();
        let state = self.store.state();
        if self.rules.age_max_ns > 0 && state.messages > 0 {
            self.expiry.aged_below = state.first_seq;
            self.expiry.aged_ns = Some(state.first_time_ns.saturating_add(self.rules.age_max_ns));
        }
        if !self.config.allow_msg_ttl {
            return Ok(());
        }
        let mut from = state.first_seq;
        while let Some(message) = self.store.next_flagged(Flags::TTL, from)? {
            from = message.seq + 1;
            let ttl = value(&message.headers, TTL).and_then(Ttl::parse);
            if let Some(deadline_ns) = ttl.and_then(|ttl| ttl.deadline_ns(message.time_ns)) {
                self.expiry.own.insert(deadline_ns, message.seq);
            }
        }
        Ok(())
    }

    /// After a restart: what came of age meanwhile goes before anybody is served.
    pub(super) fn expire_at_start(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        self.rebuild_deadlines()?;
        let has_own = self.store.next_flagged(Flags::TTL, self.store.state().first_seq)?.is_some();
        if self.rules.age_max_ns > 0 && self.rules.marker_ttl_ns == 0 && !has_own {
            // All at once, without a look at each.
            let oldest_ns = call.now_ns.saturating_sub(self.rules.age_max_ns).saturating_add(1);
            let first_seq = self.store.seq_from_time(oldest_ns)?;
            if first_seq > self.store.state().first_seq {
                self.store.compact(first_seq)?;
                self.changed = true;
            }
            return self.rebuild_deadlines();
        }
        while self.expiry.next_ns() <= call.now_ns {
            self.expire(call)?;
        }
        Ok(())
    }

    fn expire_aged(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        for _ in 0..TURN {
            let Some(due_ns) = self.expiry.aged_ns else { return Ok(()) };
            if due_ns > call.now_ns || self.rules.age_max_ns <= 0 {
                return Ok(());
            }
            let Some(message) = self.store.next(&Filter::all(), self.expiry.aged_below)? else {
                self.expiry.aged_ns = None;
                return Ok(());
            };
            let due_ns = message.time_ns.saturating_add(self.rules.age_max_ns);
            self.expiry.aged_ns = Some(due_ns);
            if due_ns > call.now_ns {
                self.expiry.aged_below = message.seq;
                return Ok(());
            }
            self.expiry.aged_below = message.seq + 1;
            if !never_expires(&message) {
                self.expire_one(&message, call)?;
            }
        }
        Ok(())
    }

    /// Removes a message that is due; where it was the last of its subject, a marker says so.
    fn expire_one(&mut self, message: &Message, call: &mut Call<'_>) -> Result<(), StoreError> {
        let marked = self.rules.marker_ttl_ns > 0
            && !is_marker(&message.headers)
            && self.store.subject(&message.subject)?.messages == 1;
        if !marked {
            self.remove(message.seq, false, call)?;
            return Ok(());
        }
        let subject = message.subject.to_vec();
        let mut block = Block::copy(b"");
        block
            .add(MARKER_REASON, "MaxAge")
            .add(TTL, duration::show(self.rules.marker_ttl_ns))
            .add(ROLLUP, "sub");
        let headers = block.finish();
        self.remove(message.seq, false, call)?;
        let record = Record {
            subject: &subject,
            headers: &headers,
            ttl: Some(Ttl::Seconds(self.rules.marker_ttl_ns / 1_000_000_000)),
            rollup: Some(Rollup::Subject),
            ..Record::default()
        };
        // Markers are not held to `discard: new`; if the store has no room the message went all the same.
        let _ = self.ingest(&record, call);
        Ok(())
    }

    /// Deadlines of messages that went in another way are dropped when they are many.
    fn forget_removed(&mut self) -> Result<(), StoreError> {
        let Self { store, expiry, .. } = self;
        if expiry.own.len() as u64 <= 2 * store.state().messages + 1024 {
            return Ok(());
        }
        let mut failed = None;
        expiry.own.retain(|seq| match store.load(seq) {
            Ok(message) => message.is_some(),
            Err(why) => {
                failed = Some(why);
                true
            }
        });
        failed.map_or(Ok(()), Err)
    }
}

fn never_expires(message: &Message) -> bool {
    message.flags.intersects(Flags::TTL)
        && value(&message.headers, TTL).and_then(Ttl::parse) == Some(Ttl::Never)
}

/// Markers leave no markers.
fn is_marker(headers: &[u8]) -> bool {
    value(headers, MARKER_REASON).is_some() || value(headers, "KV-Operation") == Some(b"PURGE")
}
