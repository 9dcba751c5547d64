//! Which messages nobody needs any more, on streams that keep messages only for their consumers (JC-200).

use super::Consumers;
use crate::context::Context;
use crate::filter::Filter;
use crate::store::StoreError;
use crate::wire::Retention;

impl Consumers {
    /// Whether a stored message is still to be delivered to someone or to be acknowledged by someone.
    pub fn needs(&mut self, seq: u64, subject: &[u8]) -> bool {
        self.index.matching(subject, &mut self.found);
        let Self { found, index, slots, .. } = self;
        found.iter().any(|&group| {
            let members = &index.group(group).members;
            members.iter().filter_map(|id| slots.get(id)).any(|slot| slot.consumer.needs(seq, subject))
        })
    }

    /// Removes what the last consumer acknowledged, of the sequences in `acked`.
    pub fn settle(&mut self, acked: &mut Vec<u64>, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        let retention = ctx.stream.retention;
        for seq in acked.drain(..) {
            if retention == Retention::Limits {
                continue;
            }
            if retention == Retention::Interest && self.slots.len() > 1 {
                let Some(message) = ctx.store.load(seq)? else { continue };
                if self.needs(seq, &message.subject) {
                    continue;
                }
            }
            if let Some(removed) = ctx.store.remove(seq, false)? {
                self.removed(seq, &removed.subject, ctx);
            }
        }
        Ok(())
    }

    /// Removes all matches that nobody needs.
    pub fn sweep(&mut self, filter: &Filter, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        if ctx.stream.retention != Retention::Interest {
            return Ok(());
        }
        let mut from = ctx.store.state().first_seq;
        while let Some(message) = ctx.store.next(filter, from)? {
            from = message.seq + 1;
            if !self.needs(message.seq, &message.subject) && ctx.store.remove(message.seq, false)?.is_some() {
                self.removed(message.seq, &message.subject, ctx);
            }
        }
        Ok(())
    }
}
