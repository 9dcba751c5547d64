//! What a client's purge means for consumers: they go on after it.

use super::{Consumers, note_changes};
use crate::context::Context;
use crate::filter::Filter;
use crate::store::StoreError;

impl Consumers {
    /// A client purged what matches the filter. Who wants nothing else goes on at what is left of it; who wants that
    /// and other messages goes on where the stream begins.
    ///
    /// nats-server moves a consumer of several filters if one of them was purged, past what it was to get by the
    /// others; here it keeps that.
    pub fn pass(&mut self, purged: &Filter, ctx: &mut Context<'_>) -> Result<(), StoreError> {
        if self.is_empty() {
            return Ok(());
        }
        let state = ctx.store.state();
        let first = state.first_seq.max(1);
        let left = match purged.is_all() {
            true => first,
            false => ctx.store.next(purged, first)?.map_or(state.last_seq + 1, |message| message.seq),
        };
        for group in self.index.groups() {
            let (start, gaps) = if group.filter.is_within(purged) {
                (left, false)
            } else if purged.is_within(&group.filter) {
                (first, true)
            } else {
                continue;
            };
            for id in &group.members {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.consumer.pass(start, gaps, ctx);
                    note_changes(&mut self.changed, slot, *id);
                }
            }
        }
        self.purged(ctx);
        Ok(())
    }
}
