//! Messages go in great numbers: by limits, and by a client's purge.

use super::Consumer;
use crate::context::Context;

impl Consumer {
    /// Many went.
    pub fn purged(&mut self, ctx: &mut Context<'_>) {
        // A store that cannot be read is found out by who reads next.
        let _ = self.drop_missing(ctx).and_then(|()| {
            self.next_seq = self.next_seq.max(ctx.store.state().first_seq);
            self.recount(ctx)
        });
    }

    /// A client purged. Of what the consumer could have got nothing is left before `start`: that counts as delivered
    /// and acknowledged. With `gaps` single messages after it are gone, too.
    pub fn pass(&mut self, start: u64, gaps: bool, ctx: &mut Context<'_>) {
        let place =
            |consumer: &Self| (consumer.delivered, consumer.floor, consumer.next_seq, consumer.pending.len());
        let before = place(self);
        let passed = start.saturating_sub(1);
        self.next_seq = self.next_seq.max(start);
        self.delivered.stream_seq = self.delivered.stream_seq.max(passed);
        if self.floor.stream_seq < start {
            self.forget_purged(start, gaps, ctx);
        }
        self.counts.retain(|seq, _| *seq >= start);
        self.floor.stream_seq = self.floor.stream_seq.max(passed);
        if self.pending.is_empty() {
            self.floor = self.delivered;
        }
        if place(self) != before {
            // A failed write is known to the stream.
            let _ = self.save(ctx.store);
        }
    }

    /// The floor of consumer's sequences is the last of what went, also if others before it are pending: that is how
    /// nats-server tells it.
    fn forget_purged(&mut self, start: u64, gaps: bool, ctx: &mut Context<'_>) {
        let mut is_gone = |seq| seq < start || gaps && matches!(ctx.store.load(seq), Ok(None));
        let gone: Vec<u64> = self.pending.keys().copied().filter(|seq| is_gone(*seq)).collect();
        for seq in gone {
            if let Some(pending) = self.pending.get(&seq) {
                self.floor.consumer_seq = self.floor.consumer_seq.max(pending.consumer_seq);
            }
            self.forget(seq);
            self.last_ack_ns = ctx.now_ns;
        }
    }
}
