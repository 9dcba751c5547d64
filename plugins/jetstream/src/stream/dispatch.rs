//! What concerns the consumers of a stream: the API's calls, what clients send to them, their turns and timers.

use super::{Call, Consumers, Stream};
use crate::consumer::{AckSubject, Delivery};
use crate::context::Context;
use crate::outbox::{Content, Post};
use crate::store::StoreError;
use crate::wire::{AckPolicy, ApiError, ConsumerConfig, ConsumerInfo, Retention, Time, error};

/// For the API. Configurations have been checked by `api`.
impl Stream {
    /// As clients see it.
    pub fn consumer_count(&self) -> usize {
        self.consumers.visible()
    }

    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    pub fn create_consumer(
        &mut self,
        config: ConsumerConfig,
        call: &mut Call<'_>,
    ) -> Result<ConsumerInfo, ApiError> {
        let created_ns = call.now_ns;
        self.with_consumers(call, |consumers, ctx| {
            let name = consumers.create(config, created_ns, ctx)?;
            consumers.info(&name, ctx)
        })
    }

    pub fn update_consumer(
        &mut self,
        name: &str,
        config: ConsumerConfig,
        call: &mut Call<'_>,
    ) -> Result<ConsumerInfo, ApiError> {
        self.with_consumers(call, |consumers, ctx| {
            let before = consumers.update(name, config, ctx)?;
            if let Some(before) = before {
                consumers.sweep(&before, ctx).map_err(|why| error::CONSUMER_STORE_FAILED.with(why))?;
            }
            consumers.info(name, ctx)
        })
    }

    pub fn delete_consumer(&mut self, name: &str, call: &mut Call<'_>) -> Result<(), ApiError> {
        self.with_consumers(call, |consumers, ctx| {
            let filter = consumers.delete(name, "Consumer Deleted", ctx)?;
            consumers.sweep(&filter, ctx).map_err(|why| error::CONSUMER_STORE_FAILED.with(why))
        })
    }

    pub fn consumer_info(&mut self, name: &str, call: &mut Call<'_>) -> Result<ConsumerInfo, ApiError> {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.info(name, &mut ctx)
    }

    /// Says that they are gone with the stream.
    pub fn tell_consumers_deleted(&mut self, call: &mut Call<'_>) {
        self.with_consumers(call, |consumers, ctx| consumers.tell_deleted(ctx));
    }

    /// JC-172. `None` and what is past resume.
    pub fn pause_consumer(
        &mut self,
        name: &str,
        until: Option<Time>,
        call: &mut Call<'_>,
    ) -> Result<ConsumerInfo, ApiError> {
        self.with_consumers(call, |consumers, ctx| {
            consumers.with(name, ctx, |consumer, ctx| consumer.pause(until, ctx))??;
            consumers.info(name, ctx)
        })
    }

    /// JC-164.
    pub fn unpin_consumer(&mut self, name: &str, group: &str, call: &mut Call<'_>) -> Result<(), ApiError> {
        self.with_consumers(call, |consumers, ctx| {
            consumers.with(name, ctx, |consumer, ctx| consumer.unpin(group, ctx))?
        })
    }

    /// JC-173: the sequence that it goes on from.
    pub fn reset_consumer(&mut self, name: &str, seq: u64, call: &mut Call<'_>) -> Result<u64, ApiError> {
        self.with_consumers(call, |consumers, ctx| {
            consumers.with(name, ctx, |consumer, ctx| consumer.reset(seq, ctx))?
        })
    }

    fn with_consumers<T>(
        &mut self,
        call: &mut Call<'_>,
        act: impl FnOnce(&mut Consumers, &mut Context<'_>) -> T,
    ) -> T {
        self.changed = true;
        let mut ctx = call.context(&mut *self.store, &self.facts);
        act(&mut self.consumers, &mut ctx)
    }
}

/// What clients send.
impl Stream {
    /// To `$JS.ACK.…`.
    pub fn ack(&mut self, subject: &[u8], payload: &[u8], reply: &[u8], call: &mut Call<'_>) {
        let tokens = subject.split(|&byte| byte == b'.').count();
        let Some(ack) = AckSubject::parse(subject) else {
            // Consumers hear what has as many tokens, and nothing of what has not.
            if tokens != 9 && tokens < 11 {
                nobody_hears(subject, reply, call);
            }
            return;
        };
        let consumer = self.consumers.get(ack.consumer);
        if consumer.is_none_or(|consumer| consumer.config().ack_policy == AckPolicy::None) {
            nobody_hears(subject, reply, call);
            return;
        }
        self.changed = true;
        let mut ctx = call.context(&mut *self.store, &self.facts);
        let acked = &mut self.acked;
        let is_request = payload.starts_with(b"+NXT");
        self.consumers.acked(ack.consumer, is_request, &mut ctx, |consumer, ctx| {
            consumer.ack(&ack, payload, reply, ctx, acked);
        });
        self.settle(call);
    }

    /// To `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    pub fn pull(&mut self, subject: &[u8], headers: &[u8], body: &[u8], reply: &[u8], call: &mut Call<'_>) {
        let Some(name) = token(subject, 6).filter(|_| token(subject, 7).is_none()) else {
            return nobody_hears(subject, reply, call);
        };
        let mut ctx = call.context(&mut *self.store, &self.facts);
        let known =
            self.consumers.with(name, &mut ctx, |consumer, ctx| consumer.pull(headers, body, reply, ctx));
        if known.is_err() {
            nobody_hears(subject, reply, call);
        }
    }

    /// To `$JS.FC.<stream>.<consumer>.<id>`, or with domain and account before the stream (JC-150).
    pub fn flow(&mut self, subject: &[u8], headers: &[u8], call: &mut Call<'_>) {
        let place = if subject.iter().filter(|&&byte| byte == b'.').count() >= 6 { 5 } else { 3 };
        let Some(name) = token(subject, place) else { return };
        self.changed = true;
        let mut ctx = call.context(&mut *self.store, &self.facts);
        let acked = &mut self.acked;
        self.consumers.acked(name, false, &mut ctx, |consumer, ctx| {
            consumer.flow(headers, subject, ctx, acked);
        });
        self.settle(call);
    }

    /// Nobody got a delivery that left the outbox.
    pub fn undelivered(&mut self, delivery: &Delivery, call: &mut Call<'_>) {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.undelivered(delivery, &mut ctx);
    }
}

/// Turns and timers.
impl Stream {
    /// Whether [`Stream::run`] has something to do.
    pub fn is_ready(&self) -> bool {
        self.consumers.is_ready()
    }

    /// Delivers up to about so many messages; whether there is more to do.
    pub fn run(&mut self, budget: usize, call: &mut Call<'_>) -> bool {
        if !self.consumers.is_ready() {
            return false;
        }
        let mut ctx = call.context(&mut *self.store, &self.facts);
        let delivered_before = ctx.out.len();
        let more = self.consumers.run(budget, &mut ctx, &mut self.acked);
        self.changed |= call.out.len() > delivered_before;
        self.settle(call);
        more
    }

    /// When [`Stream::tick`] has something to do; `i64::MAX`: never.
    pub fn deadline_ns(&self) -> i64 {
        let own_ns = self.expiry.next_ns().min(self.dedup.deadline_ns()).min(self.schedules.next_ns());
        let own_ns = own_ns.min(self.batches.deadline_ns()).min(self.origins_deadline_ns());
        self.consumers.deadline_ns().min(own_ns)
    }

    /// Does what is due.
    pub fn tick(&mut self, call: &mut Call<'_>) {
        self.dedup.forget(call.now_ns);
        if self.expiry.next_ns() <= call.now_ns
            && let Err(why) = self.expire(call)
        {
            self.complain("messages that are too old could not be removed", &why);
        }
        if self.schedules.next_ns() <= call.now_ns
            && let Err(why) = self.run_schedules(call)
        {
            self.complain("scheduled messages could not be published", &why);
        }
        self.expire_batches(call);
        self.tick_origins(call);
        if self.consumers.deadline_ns() > call.now_ns {
            return;
        }
        self.changed = true;
        let mut ctx = call.context(&mut *self.store, &self.facts);
        for inactive in self.consumers.tick(&mut ctx) {
            let _ = self.delete_consumer(&inactive, call);
        }
    }

    /// The subjects whose interest its consumers want to know of.
    pub fn watched_subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.consumers.deliver_subjects()
    }

    /// The interest in one of them may have changed.
    pub fn interest_changed(&mut self, call: &mut Call<'_>) {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.interest_changed(&mut ctx);
    }

    /// Removes what need not be kept now that it was acknowledged.
    fn settle(&mut self, call: &mut Call<'_>) {
        if self.acked.is_empty() {
            return;
        }
        if self.facts.retention == Retention::Limits {
            self.acked.clear();
            return;
        }
        let mut ctx = call.context(&mut *self.store, &self.facts);
        if let Err(why) = self.consumers.settle(&mut self.acked, &mut ctx) {
            self.complain("acknowledged messages could not be removed", &why);
        }
    }

    /// A store that fails refuses the next commit, too; here it is only told.
    pub(super) fn complain(&self, what: &str, why: &StoreError) {
        natsd_plugin_api::tracing::error!(
            "JetStream stream '{} > {}': {what}: {why}",
            self.facts.account,
            self.facts.name
        );
    }
}

/// There is no such consumer: the answer is as if nobody listened (JS-143).
fn nobody_hears(subject: &[u8], reply: &[u8], call: &mut Call<'_>) {
    if !reply.is_empty() {
        let headers = [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat();
        let headers = Content::Copied(&headers);
        call.out.push(Post { subject: reply, headers, ..Post::default() });
    }
}

fn token(subject: &[u8], n: usize) -> Option<&str> {
    subject.split(|&byte| byte == b'.').nth(n).and_then(|token| std::str::from_utf8(token).ok())
}
