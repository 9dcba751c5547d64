//! The consumers of a stream: found by name and by subject, told what happens, run when they can go on.
//!
//! Most of many consumers are idle. One that waits for nothing is not touched when a message is stored: its group
//! counts, and it catches up with the counts when something is next asked of it.

mod index;
mod looking;
mod purging;
mod retention;

use crate::consumer::{Consumer, Delivery, Tick};
use crate::context::Context;
use crate::filter::Filter;
use crate::store::{Loaded, StoredConsumer, StreamStore};
use crate::wire::{ApiError, ConsumerConfig, error};
use hashbrown::HashMap;
use index::Index;
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// After so many messages that it did not wait for, a consumer falls asleep.
const UNWANTED_MAX: u8 = 128;

/// Deliveries of one consumer before the next has its turn.
const TURN: usize = 64;

/// The table.
#[derive(Default)]
pub struct Consumers {
    slots: HashMap<u32, Box<Slot>>,
    by_name: BTreeMap<Box<str>, u32>,
    index: Index,
    next_id: u32,
    ready: VecDeque<u32>,
    /// May hold outdated entries: a slot says which one counts.
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// Where push consumers deliver to.
    push: HashMap<u32, Box<[u8]>>,
    /// Those that only mirrors and sources know of.
    hidden: usize,
    /// Those and others that read for mirrors and sources.
    internal: usize,
    /// Those that have changes to record.
    changed: Vec<u32>,
    /// Groups of the subject at hand.
    found: Vec<u32>,
    /// The message at hand.
    loaded: Loaded,
}

struct Slot {
    consumer: Consumer,
    group: u32,
    /// Counts of the group that the consumer knows of.
    stored: u64,
    removed: u64,
    awake: bool,
    ready: bool,
    /// It is in the list of those with changes.
    changed: bool,
    /// Messages since it last waited for one.
    unwanted: u8,
    deadline_ns: i64,
}

/// Making, changing and removing.
impl Consumers {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Its name is the answer.
    pub fn create(
        &mut self,
        config: ConsumerConfig,
        created_ns: i64,
        ctx: &mut Context<'_>,
    ) -> Result<String, ApiError> {
        let id = self.new_id();
        let mut consumer = Consumer::new(id, config, created_ns, ctx)?;
        let visible = !consumer.config().direct;
        let name = consumer.name().to_owned();
        if visible {
            advise_action(ctx, &name, "CREATED", "create");
        }
        consumer.tell_if_paused(ctx);
        self.add(id, consumer, ctx);
        Ok(name)
    }

    /// One found in the store.
    pub fn recover(&mut self, stored: StoredConsumer, ctx: &mut Context<'_>) -> Result<(), ApiError> {
        let id = self.new_id();
        let consumer = Consumer::recover(id, stored, ctx)?;
        self.add(id, consumer, ctx);
        Ok(())
    }

    /// The filter that it had, if it has another one now.
    pub fn update(
        &mut self,
        name: &str,
        config: ConsumerConfig,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Filter>, ApiError> {
        let id = self.id(name)?;
        self.catch_up(id, ctx);
        let Some(slot) = self.slots.get_mut(&id) else { return Err(error::CONSUMER_NOT_FOUND) };
        let before = slot.consumer.filter().clone();
        slot.consumer.update(config, ctx)?;
        slot.consumer.tell_if_paused(ctx);
        let refiltered = *slot.consumer.filter() != before;
        if refiltered {
            self.index.remove(slot.group, id);
            slot.group = self.index.insert(slot.consumer.filter(), id);
            slot.awake = false;
            let group = self.index.group(slot.group);
            (slot.stored, slot.removed) = (group.stored, group.removed);
        }
        self.watch(id);
        self.wake(id, ctx);
        Ok(refiltered.then_some(before))
    }

    /// Takes a consumer out: what it asked for is the answer. `status` is what its waiting requests are told.
    pub fn delete(&mut self, name: &str, status: &str, ctx: &mut Context<'_>) -> Result<Filter, ApiError> {
        let id = self.id(name)?;
        let Some(mut slot) = self.slots.remove(&id) else { return Err(error::CONSUMER_NOT_FOUND) };
        self.by_name.remove(name);
        self.push.remove(&id);
        self.hidden -= usize::from(slot.consumer.config().direct);
        self.internal -= usize::from(slot.consumer.config().is_internal());
        self.index.remove(slot.group, id);
        slot.consumer.close(status, ctx);
        ctx.store.remove_consumer(name).map_err(|why| error::CONSUMER_STORE_FAILED.with(why))?;
        if !slot.consumer.config().direct {
            advise_action(ctx, name, "DELETED", "delete");
        }
        Ok(slot.consumer.filter().clone())
    }

    /// Says that all of them are gone, with their stream.
    pub fn tell_deleted(&mut self, ctx: &mut Context<'_>) {
        let shown = self.iter().filter(|consumer| !consumer.config().direct);
        let names: Vec<String> = shown.map(|consumer| consumer.name().to_owned()).collect();
        names.iter().for_each(|name| advise_action(ctx, name, "DELETED", "delete"));
    }

    /// Tells everyone who waits that it is over.
    pub fn close(&mut self, status: &str, ctx: &mut Context<'_>) {
        for slot in self.slots.values_mut() {
            slot.consumer.close(status, ctx);
        }
    }

    /// Everyone who waits for messages is told that none come; who asks again waits again.
    pub fn end_pulls(&mut self, status: &str, ctx: &mut Context<'_>) {
        for slot in self.slots.values_mut() {
            slot.consumer.end_pulls(status, ctx);
        }
    }

    fn new_id(&mut self) -> u32 {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if !self.slots.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }

    fn add(&mut self, id: u32, consumer: Consumer, ctx: &mut Context<'_>) {
        let group = self.index.insert(consumer.filter(), id);
        let counts = self.index.group(group);
        let (stored, removed) = (counts.stored, counts.removed);
        self.by_name.insert(consumer.name().into(), id);
        let slot = Slot {
            consumer,
            group,
            stored,
            removed,
            awake: false,
            ready: false,
            changed: false,
            unwanted: 0,
            deadline_ns: i64::MAX,
        };
        self.hidden += usize::from(slot.consumer.config().direct);
        self.internal += usize::from(slot.consumer.config().is_internal());
        self.slots.insert(id, Box::new(slot));
        self.watch(id);
        self.wake(id, ctx);
    }

    /// Notes where a push consumer delivers to.
    fn watch(&mut self, id: u32) {
        let config = self.slots.get(&id).map(|slot| slot.consumer.config());
        match config.filter(|config| config.is_push()) {
            Some(config) => drop(self.push.insert(id, config.deliver_subject.as_bytes().into())),
            None => drop(self.push.remove(&id)),
        }
    }
}

/// What happens in the stream.
impl Consumers {
    /// Whether any consumer would get a message of the subject.
    pub fn any_for(&mut self, subject: &[u8]) -> bool {
        self.index.matching(subject, &mut self.found);
        !self.found.is_empty()
    }

    pub fn stored(&mut self, seq: u64, subject: &[u8]) {
        if self.index.is_empty() {
            return;
        }
        self.index.matching(subject, &mut self.found);
        for &group in &self.found {
            let group = self.index.group(group);
            group.stored += 1;
            let (stored, slots, ready) = (group.stored, &mut self.slots, &mut self.ready);
            group.awake.retain(|id| {
                let Some(slot) = slots.get_mut(id) else { return false };
                slot.consumer.stored(seq, subject);
                slot.stored = stored;
                if slot.consumer.is_waiting() {
                    slot.unwanted = 0;
                    make_ready(ready, slot, *id);
                } else {
                    slot.unwanted += 1;
                    slot.awake = slot.unwanted < UNWANTED_MAX;
                }
                slot.awake
            });
        }
    }

    pub fn removed(&mut self, seq: u64, subject: &[u8], ctx: &mut Context<'_>) {
        if self.index.is_empty() {
            return;
        }
        self.index.matching(subject, &mut self.found);
        for at in 0..self.found.len() {
            let group = self.index.group(self.found[at]);
            group.removed += 1;
            for id in &group.awake {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.consumer.removed(seq, subject, ctx);
                    slot.removed = group.removed;
                    note_changes(&mut self.changed, slot, *id);
                }
            }
        }
    }

    /// Many messages went at once.
    pub fn purged(&mut self, ctx: &mut Context<'_>) {
        for group in self.index.groups() {
            group.removed += 1;
            for id in &group.awake {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.consumer.purged(ctx);
                    slot.removed = group.removed;
                    note_changes(&mut self.changed, slot, *id);
                    make_ready(&mut self.ready, slot, *id);
                }
            }
        }
    }
}

/// What clients send.
impl Consumers {
    /// Does something with a consumer, which may then go on.
    pub fn with<T>(
        &mut self,
        name: &str,
        ctx: &mut Context<'_>,
        act: impl FnOnce(&mut Consumer, &mut Context<'_>) -> T,
    ) -> Result<T, ApiError> {
        let id = self.id(name)?;
        self.catch_up(id, ctx);
        let slot = self.slots.get_mut(&id).ok_or(error::CONSUMER_NOT_FOUND)?;
        let outcome = act(&mut slot.consumer, ctx);
        self.wake(id, ctx);
        Ok(outcome)
    }

    /// An acknowledgement does not look at what is pending, so the consumer need not catch up, unless it is a
    /// request as well.
    pub fn acked(
        &mut self,
        name: &str,
        is_request: bool,
        ctx: &mut Context<'_>,
        act: impl FnOnce(&mut Consumer, &mut Context<'_>),
    ) {
        if is_request {
            let _ = self.with(name, ctx, act);
            return;
        }
        let Some(&id) = self.by_name.get(name) else { return };
        if let Some(slot) = self.slots.get_mut(&id) {
            act(&mut slot.consumer, ctx);
            self.attend(id);
        }
    }

    pub fn undelivered(&mut self, delivery: &Delivery, ctx: &mut Context<'_>) {
        if let Some(slot) = self.slots.get_mut(&delivery.consumer) {
            slot.consumer.undelivered(delivery, ctx);
            self.attend(delivery.consumer);
        }
    }

    /// Someone came to or left a deliver subject: push consumers look again. Those with pull requests look when
    /// they deliver.
    pub fn interest_changed(&mut self, ctx: &mut Context<'_>) {
        let ids: Vec<u32> = self.push.keys().copied().collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.consumer.interest_changed(ctx);
                self.wake(id, ctx);
            }
        }
    }
}

/// Running.
impl Consumers {
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Delivers up to about `budget` messages; whether there is more to do. `acked` gets what counts as done.
    pub fn run(&mut self, budget: usize, ctx: &mut Context<'_>, acked: &mut Vec<u64>) -> bool {
        let start = ctx.out.len();
        while ctx.out.len() - start < budget {
            let Some(id) = self.ready.pop_front() else { return false };
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            slot.ready = false;
            let turn = TURN.min(budget - (ctx.out.len() - start));
            if slot.consumer.run(turn, ctx, &mut self.loaded, acked) {
                make_ready(&mut self.ready, slot, id);
            }
            self.attend_deadline(id);
        }
        !self.ready.is_empty()
    }

    /// Hands what changed in consumers to the store, all of a consumer in one piece, before it commits.
    pub fn record(&mut self, store: &mut dyn StreamStore) {
        for id in self.changed.drain(..) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.changed = false;
                slot.consumer.record(store);
            }
        }
    }

    pub fn deadline_ns(&self) -> i64 {
        self.deadlines.peek().map_or(i64::MAX, |Reverse((deadline_ns, _))| *deadline_ns)
    }

    /// Handles what is due. The names of those that are to be deleted for inactivity are the answer.
    pub fn tick(&mut self, ctx: &mut Context<'_>) -> Vec<String> {
        let (mut inactive, mut ticked) = (Vec::new(), Vec::new());
        while let Some(&Reverse((deadline_ns, id))) = self.deadlines.peek() {
            if deadline_ns > ctx.now_ns {
                break;
            }
            self.deadlines.pop();
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.deadline_ns != deadline_ns {
                continue;
            }
            slot.deadline_ns = i64::MAX;
            if slot.consumer.deadline_ns() > ctx.now_ns {
                self.attend_deadline(id);
                continue;
            }
            self.catch_up(id, ctx);
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            match slot.consumer.tick(ctx) {
                Tick::Delete => inactive.push(slot.consumer.name().to_owned()),
                Tick::Idle => ticked.push(id),
            }
        }
        // Once in a turn, whatever their next deadlines are.
        ticked.into_iter().for_each(|id| self.attend(id));
        inactive
    }

    /// Brings a consumer up to date with what was stored and removed while it slept.
    fn catch_up(&mut self, id: u32, ctx: &mut Context<'_>) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let group = self.index.group(slot.group);
        if slot.removed != group.removed {
            slot.consumer.purged(ctx);
        } else if slot.stored != group.stored {
            slot.consumer.stored_many(group.stored - slot.stored, ctx);
        }
        (slot.stored, slot.removed) = (group.stored, group.removed);
        note_changes(&mut self.changed, slot, id);
    }

    /// From now on the consumer is told of each message, if it waits for any.
    fn wake(&mut self, id: u32, ctx: &mut Context<'_>) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.unwanted = 0;
            if !slot.awake && slot.consumer.is_waiting() {
                self.catch_up(id, ctx);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.awake = true;
                    self.index.group(slot.group).awake.push(id);
                }
            }
        }
        self.attend(id);
    }

    /// The consumer may have something to do, now or later.
    fn attend(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            make_ready(&mut self.ready, slot, id);
        }
        self.attend_deadline(id);
    }

    fn attend_deadline(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        note_changes(&mut self.changed, slot, id);
        let deadline_ns = slot.consumer.deadline_ns();
        if deadline_ns < slot.deadline_ns {
            slot.deadline_ns = deadline_ns;
            self.deadlines.push(Reverse((deadline_ns, id)));
        }
    }
}

fn note_changes(changed: &mut Vec<u32>, slot: &mut Slot, id: u32) {
    if !slot.changed && slot.consumer.has_changes() {
        slot.changed = true;
        changed.push(id);
    }
}

fn make_ready(ready: &mut VecDeque<u32>, slot: &mut Slot, id: u32) {
    if !slot.ready {
        slot.ready = true;
        ready.push_back(id);
    }
}

/// JS-272.
fn advise_action(ctx: &mut Context<'_>, consumer: &str, event: &str, action: &str) {
    let stream = ctx.stream.name.clone();
    let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{event}.{stream}.{consumer}");
    let mut fields = Map::new();
    fields.insert("stream".to_owned(), Value::from(stream));
    fields.insert("consumer".to_owned(), Value::from(consumer));
    fields.insert("action".to_owned(), Value::from(action));
    ctx.advise(&subject, "io.nats.jetstream.advisory.v1.consumer_action", fields);
}
