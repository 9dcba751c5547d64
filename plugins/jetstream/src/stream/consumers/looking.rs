//! Who the consumers are, and what is told of them.

use super::Consumers;
use crate::consumer::Consumer;
use crate::context::Context;
use crate::wire::{ApiError, ConsumerInfo, error};

impl Consumers {
    pub fn all(&self) -> usize {
        self.slots.len()
    }

    /// How many there are, as clients see it.
    pub fn visible(&self) -> usize {
        self.slots.len() - self.hidden
    }

    /// How many count against limits (JC-009).
    pub fn limited(&self) -> usize {
        self.slots.len() - self.internal
    }

    pub fn deliver_subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.push.values().map(|subject| &**subject)
    }

    pub fn get(&self, name: &str) -> Option<&Consumer> {
        self.by_name.get(name).and_then(|id| self.slots.get(id)).map(|slot| &slot.consumer)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.by_name.values().filter_map(|id| self.slots.get(id)).map(|slot| &slot.consumer)
    }

    pub fn info(&mut self, name: &str, ctx: &mut Context<'_>) -> Result<ConsumerInfo, ApiError> {
        let id = self.id(name)?;
        self.catch_up(id, ctx);
        let slot = self.slots.get_mut(&id).ok_or(error::CONSUMER_NOT_FOUND)?;
        slot.consumer.end_the_gone(ctx);
        slot.consumer.count_exactly(ctx);
        Ok(ConsumerInfo { stream_name: ctx.stream.name.clone(), ..slot.consumer.info(ctx) })
    }

    pub(super) fn id(&self, name: &str) -> Result<u32, ApiError> {
        self.by_name.get(name).copied().ok_or(error::CONSUMER_NOT_FOUND)
    }
}
