//! The pinned client of a consumer: it alone gets messages until it asks no more (JC-160 to JC-164).

use super::end;
use crate::consumer::Consumer;
use crate::context::{Context, unique_id};
use crate::wire::{ApiError, error};
use serde_json::{Map, Value};

pub(super) struct Pin {
    pub id: String,
    pub since_ns: i64,
    pub used_ns: i64,
}

impl Consumer {
    /// The pinned client's request; the first that waits becomes the pinned one when there is none (JC-162). Requests
    /// on the way to it that say to be of another pinned client end, and only here: when there is a message for them
    /// (JC-140).
    pub(super) fn pinned_request(&mut self, ctx: &mut Context<'_>) -> Option<usize> {
        if self.pulls.pin.is_none() {
            // Nobody else would get anything until the pin of one who is gone ends.
            self.pulls.end_unheard(ctx);
        }
        let mut at = 0;
        while let Some(request) = self.pulls.waiting.get(at) {
            match &mut self.pulls.pin {
                Some(pin) if request.body.id == pin.id => {
                    pin.used_ns = ctx.now_ns;
                    return Some(at);
                }
                _ if !request.body.id.is_empty() => {
                    end(&request.reply, "423 Nats-Wrong-Pin-Id", Some(request), ctx);
                    self.pulls.waiting.remove(at);
                    self.pulls.find_deadline();
                }
                Some(_) => at += 1,
                // A plain number names no group: it is served as long as nobody is pinned.
                None if request.body.group.is_empty() => return Some(at),
                None => self.pin(at, ctx),
            }
        }
        None
    }

    /// From now on its client is the pinned one.
    fn pin(&mut self, at: usize, ctx: &mut Context<'_>) {
        let id = unique_id(ctx.random);
        if let Some(request) = self.pulls.waiting.get_mut(at) {
            request.body.id = id.clone();
        }
        let mut fields = self.group_fields(ctx);
        fields.insert("pinned_id".to_owned(), id.clone().into());
        self.pulls.pin = Some(Box::new(Pin { id, since_ns: ctx.now_ns, used_ns: ctx.now_ns }));
        self.advise("PINNED", "consumer_group_pinned", fields, ctx);
    }

    /// When a pinned client that asks for nothing is one no more.
    pub(in crate::consumer) fn pin_deadline_ns(&self) -> i64 {
        let timeout = self.config.priority_timeout;
        let Some(pin) = self.pulls.pin.as_ref().filter(|_| timeout > 0) else { return i64::MAX };
        let waits = self.pulls.waiting.iter().any(|request| request.body.id == pin.id);
        if waits { i64::MAX } else { pin.used_ns.saturating_add(timeout) }
    }

    pub(in crate::consumer) fn pin_timeout(&mut self, ctx: &mut Context<'_>) {
        if self.pin_deadline_ns() <= ctx.now_ns {
            self.drop_pin("timeout", ctx);
        }
    }

    fn drop_pin(&mut self, reason: &str, ctx: &mut Context<'_>) {
        self.pulls.pin = None;
        let mut fields = self.group_fields(ctx);
        fields.insert("reason".to_owned(), reason.into());
        self.advise("UNPINNED", "consumer_group_unpinned", fields, ctx);
    }

    /// What advisories about the pinned client begin with.
    fn group_fields(&self, ctx: &Context<'_>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("account".to_owned(), ctx.stream.account.clone().into());
        fields.extend(self.asset_fields(ctx));
        let group = self.config.priority_groups.first().cloned().unwrap_or_default();
        fields.insert("group".to_owned(), group.into());
        fields
    }

    /// JC-164.
    pub fn unpin(&mut self, group: &str, ctx: &mut Context<'_>) -> Result<(), ApiError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/_=-".contains(c);
        if group.len() > 16 || !group.chars().all(allowed) {
            return Err(error::CONSUMER_INVALID_GROUP_NAME);
        }
        if !self.config.priority_groups.iter().any(|own| own == group) {
            return Err(error::CONSUMER_INVALID_PRIORITY_GROUP);
        }
        self.drop_pin("admin", ctx);
        Ok(())
    }
}
