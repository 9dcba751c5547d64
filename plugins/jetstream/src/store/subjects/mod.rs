//! The subjects of a stream: what each holds, found by name and by pattern, in little memory.
//!
//! A subject is a leaf of 32 bytes, its name in one buffer, and a place in a hash table: about 60 bytes each for a
//! million names of 16 bytes. An exact look-up is one probe. Who asks with wildcards finds few subjects by going
//! through all of them, and many by an order of their names (`order`) that is made at the first such question and
//! costs six bytes more each.
//!
//! Not here: where the messages are. A store that takes away the first or the last message of a subject is told when
//! it has to say which one follows; with `rows` it never has to.

mod ahead;
mod order;
mod rows;
#[cfg(test)]
mod tests;

use crate::filter::{Filter, is_literal};
use crate::store::SubjectFacts;
use ahead::Ahead;
use hashbrown::{DefaultHashBuilder, HashTable};
use order::Order;
use rows::Rows;
use std::cell::Cell;
use std::hash::BuildHasher;
use std::ops::ControlFlow;

/// Names a subject as long as it has messages; then another subject may get it.
pub type Id = u32;

/// Up to so many subjects are gone through one by one.
const SCAN_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Unused bytes of names that are not worth moving the others together.
const UNUSED_BYTES_MIN: usize = 16 * 1024;
/// The end of the list of unused leaves.
const NONE: u32 = u32::MAX;
/// In the first sequence of a leaf: the first message is there or behind it.
const VAGUE: u64 = 1 << 63;

/// The subjects of one stream.
#[derive(Default)]
pub struct Subjects {
    leaves: Vec<Leaf>,
    names: Vec<u8>,
    unused_bytes: usize,
    by_name: HashTable<Id>,
    hasher: DefaultHashBuilder,
    /// Leaves to use again, linked by `name_at`.
    unused: Option<Id>,
    order: Option<Order>,
    /// All sequences of subjects with several messages, if that was asked for.
    rows: Option<Rows>,
    /// The size of the last message of each subject, where it is known, if that was asked for.
    sizes: Option<Vec<u32>>,
    /// How all names begin.
    common: Vec<u8>,
    /// The subject that was found or added last: one message asks for its subject several times.
    recent: Cell<Option<Id>>,
    ahead: Ahead,
}

#[derive(Clone, Copy)]
struct Leaf {
    /// 0: the leaf is unused.
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    name_at: u32,
    /// Bits 32 to 47 of the same.
    name_at_high: u16,
    name_len: u16,
}

/// What a subject came to by a message more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    pub id: Id,
    /// With this one.
    pub messages: u64,
    /// The message of the subject before this one; 0: there is none.
    pub before_seq: u64,
}

/// What a subject came to by a message less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It has no message any more, and is gone.
    Nothing,
    /// Its first and last messages are known.
    Known,
    /// The first went: [`Subjects::set_first`] says which one follows, or [`Subjects::blur_first`] that nobody looked.
    First,
    /// The last went: [`Subjects::set_last`] says which one was before.
    Last,
    /// The last went, and where the only other one is was not known: [`Subjects::set_first`] and
    /// [`Subjects::set_last`] say it.
    One,
}

/// Adding and removing.
impl Subjects {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// From now on the sequences of each subject are kept, so that [`Subjects::remove`] knows what follows. Subjects
    /// that have several messages already are left out until they have one or none.
    pub fn keep_rows(&mut self) {
        self.rows.get_or_insert_with(Rows::new);
    }

    /// From now on the size of each subject's last message is kept.
    pub fn keep_sizes(&mut self) {
        self.sizes.get_or_insert_default();
    }

    /// The size of a message that was just added; the answer is that of the one before it, 0 if that is not known.
    pub fn set_size(&mut self, id: Id, size_bytes: u64) -> u64 {
        let Some(sizes) = &mut self.sizes else { return 0 };
        let at = id as usize;
        if at >= sizes.len() {
            grow(sizes, at + 1 - sizes.len());
            sizes.resize(at + 1, 0);
        }
        std::mem::replace(&mut sizes[at], u32::try_from(size_bytes).unwrap_or(0)).into()
    }

    pub fn keeps_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// A message of the subject, behind all others. The name has at most 65,535 bytes.
    pub fn add(&mut self, name: &[u8], seq: u64) -> Added {
        let id = match self.find_recent(name).or_else(|| self.find_expected(name)) {
            Some(id) => id,
            None => {
                let hash = self.hasher.hash_one(name);
                self.look_up(hash, name).unwrap_or_else(|| self.insert(hash, name, seq))
            }
        };
        self.recent.set(Some(id));
        let leaf = &mut self.leaves[id as usize];
        let before_seq = if leaf.messages == 0 { 0 } else { leaf.last_seq };
        leaf.messages += 1;
        leaf.last_seq = seq;
        if let Some(rows) = &mut self.rows {
            match leaf.messages {
                1 => {}
                2 => rows.begin(id, leaf.first_seq, seq),
                _ if rows.has(id) => rows.push(id, seq),
                _ => {}
            }
        }
        Added { id, messages: leaf.messages, before_seq }
    }

    /// A message of the subject went.
    pub fn remove(&mut self, id: Id, seq: u64) -> Left {
        let leaf = &mut self.leaves[id as usize];
        leaf.messages = leaf.messages.saturating_sub(1);
        if leaf.last_seq == seq
            && let Some(size) = self.sizes.as_mut().and_then(|sizes| sizes.get_mut(id as usize))
        {
            *size = 0;
        }
        if let Some(rows) = &mut self.rows
            && rows.has(id)
        {
            if let Some(ends) = rows.remove(id, seq) {
                (leaf.first_seq, leaf.last_seq) = (ends.first_seq, ends.last_seq);
            }
            if leaf.messages <= 1 {
                rows.end(id);
            }
            return Left::Known;
        }
        match leaf.messages {
            0 => {
                self.forget(id);
                return Left::Nothing;
            }
            // The other end is the one that is left: nothing has to be looked for.
            1 if leaf.last_seq == seq && leaf.is_vague() => return Left::One,
            1 if leaf.last_seq == seq => leaf.last_seq = leaf.first_seq,
            1 if leaf.first_seq == seq || leaf.is_vague() => leaf.first_seq = leaf.last_seq,
            _ if leaf.first_seq == seq => return Left::First,
            _ if leaf.last_seq == seq => return Left::Last,
            _ => {}
        }
        Left::Known
    }

    pub fn set_first(&mut self, id: Id, seq: u64) {
        self.leaves[id as usize].first_seq = seq;
    }

    /// The first message is at that sequence or behind it.
    pub fn blur_first(&mut self, id: Id, seq: u64) {
        self.leaves[id as usize].first_seq = seq | VAGUE;
    }

    pub fn set_last(&mut self, id: Id, seq: u64) {
        self.leaves[id as usize].last_seq = seq;
    }

    /// Everything goes, and its memory.
    pub fn clear(&mut self) {
        let rows = self.rows.is_some().then(Rows::new);
        let sizes = self.sizes.is_some().then(Vec::new);
        *self = Self { hasher: self.hasher, rows, sizes, ..Self::default() };
    }

    fn insert(&mut self, hash: u64, name: &[u8], seq: u64) -> Id {
        debug_assert!(name.len() <= usize::from(u16::MAX));
        if self.is_empty() {
            self.common = name.to_vec();
        } else {
            let same = self.common.iter().zip(name).take_while(|(one, other)| one == other).count();
            self.common.truncate(same);
        }
        let at = self.names.len() as u64;
        grow(&mut self.names, name.len());
        self.names.extend_from_slice(name);
        let leaf = Leaf {
            messages: 0,
            first_seq: seq,
            last_seq: seq,
            name_at: at as u32,
            name_at_high: (at >> 32) as u16,
            name_len: name.len() as u16,
        };
        let id = match self.unused {
            Some(id) => {
                let slot = &mut self.leaves[id as usize];
                self.unused = (slot.name_at != NONE).then_some(slot.name_at);
                *slot = leaf;
                id
            }
            None => {
                grow(&mut self.leaves, 1);
                self.leaves.push(leaf);
                (self.leaves.len() - 1) as Id
            }
        };
        let Self { leaves, names, by_name, hasher, order, .. } = self;
        let name_of = |id: Id| name_in(leaves, names, id);
        by_name.insert_unique(hash, id, |&id| hasher.hash_one(name_of(id)));
        if let Some(order) = order {
            order.insert(id, &name_of);
        }
        id
    }

    fn forget(&mut self, id: Id) {
        if self.len() == 1 {
            return self.clear();
        }
        self.recent.set(None);
        let Self { leaves, names, by_name, hasher, order, .. } = self;
        let name_of = |id: Id| name_in(leaves, names, id);
        let name = name_of(id);
        if let Some(order) = order {
            order.remove(id, &name_of);
        }
        if let Ok(found) = by_name.find_entry(hasher.hash_one(name), |&other| other == id) {
            found.remove();
        }
        self.unused_bytes += name.len();
        self.leaves[id as usize].name_at = self.unused.unwrap_or(NONE);
        self.leaves[id as usize].name_len = 0;
        self.unused = Some(id);
        if self.unused_bytes > UNUSED_BYTES_MIN.max(self.names.len() / 2) {
            self.move_names_together();
        }
    }

    fn move_names_together(&mut self) {
        let mut names = Vec::with_capacity(self.names.len() - self.unused_bytes);
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.messages > 0) {
            let at = names.len() as u64;
            names.extend_from_slice(leaf.name(&self.names));
            (leaf.name_at, leaf.name_at_high) = (at as u32, (at >> 32) as u16);
        }
        self.names = names;
        self.unused_bytes = 0;
    }
}

/// Looking.
impl Subjects {
    /// [`Subjects::find`] of one that may be expected.
    pub fn find_next(&mut self, name: &[u8]) -> Option<Id> {
        let found = self.find_recent(name).or_else(|| self.find_expected(name));
        if found.is_none() {
            return self.find(name);
        }
        self.recent.set(found);
        found
    }

    pub fn find(&self, name: &[u8]) -> Option<Id> {
        if self.is_empty() {
            return None;
        }
        if let Some(id) = self.find_recent(name) {
            return Some(id);
        }
        let found = self.look_up(self.hasher.hash_one(name), name);
        self.recent.set(found.or(self.recent.get()));
        found
    }

    pub fn name(&self, id: Id) -> &[u8] {
        name_in(&self.leaves, &self.names, id)
    }

    /// The first sequence is a lower bound if it is not known.
    pub fn facts(&self, id: Id) -> SubjectFacts {
        self.leaves[id as usize].facts()
    }

    pub fn knows_first(&self, id: Id) -> bool {
        !self.leaves[id as usize].is_vague()
    }

    /// Those of the matches whose first message is not known.
    pub fn vague_of(&mut self, filter: &Filter) -> Vec<Id> {
        let mut found = Vec::new();
        self.each_match(filter, |id, _, _| {
            found.push(id);
            ControlFlow::Continue(())
        });
        found.retain(|&id| !self.knows_first(id));
        found
    }

    /// [`Subjects::facts`] of a subject without wildcards; zeros when there is no message.
    pub fn facts_of(&self, name: &[u8]) -> SubjectFacts {
        self.find(name).map(|id| self.facts(id)).unwrap_or_default()
    }

    /// How many leaves there may be: every id is below.
    pub fn ids_max(&self) -> usize {
        self.leaves.len()
    }

    /// Whether a filter certainly matches every subject that there is.
    pub fn are_all_in(&self, filter: &Filter) -> bool {
        filter.is_all() || filter.patterns().any(|pattern| self.are_all_under(pattern))
    }

    /// All matches, each once, in no order, until `visit` breaks off.
    pub fn each_match(
        &mut self,
        filter: &Filter,
        mut visit: impl FnMut(Id, &[u8], SubjectFacts) -> ControlFlow<()>,
    ) {
        if self.are_all_in(filter) {
            let _ = self.each(visit);
            return;
        }
        let patterns: Vec<&[u8]> = filter.patterns().collect();
        if self.len() > SCAN_MAX && self.order.is_none() && !patterns.iter().all(|p| is_literal(p)) {
            self.order = Some(self.make_order());
        }
        for (n, pattern) in patterns.iter().enumerate() {
            // What an earlier pattern matched was visited.
            let visit = |id: Id, name: &[u8], facts: SubjectFacts| {
                if patterns[..n].iter().any(|earlier| crate::filter::matches(earlier, name)) {
                    return ControlFlow::Continue(());
                }
                visit(id, name, facts)
            };
            if self.each_of_pattern(pattern, visit).is_break() {
                return;
            }
        }
    }

    fn each_of_pattern(
        &self,
        pattern: &[u8],
        mut visit: impl FnMut(Id, &[u8], SubjectFacts) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if is_literal(pattern) {
            return match self.find(pattern) {
                Some(id) => visit(id, pattern, self.facts(id)),
                None => ControlFlow::Continue(()),
            };
        }
        match &self.order {
            Some(order) => {
                let name_of = |id: Id| self.name(id);
                order.each_match(pattern, &name_of, |id, name| visit(id, name, self.facts(id)))
            }
            None => self.each(|id, name, facts| match crate::filter::matches(pattern, name) {
                true => visit(id, name, facts),
                false => ControlFlow::Continue(()),
            }),
        }
    }

    fn each(&self, mut visit: impl FnMut(Id, &[u8], SubjectFacts) -> ControlFlow<()>) -> ControlFlow<()> {
        for (id, leaf) in self.leaves.iter().enumerate().filter(|(_, leaf)| leaf.messages > 0) {
            visit(id as Id, leaf.name(&self.names), leaf.facts())?;
        }
        ControlFlow::Continue(())
    }

    fn make_order(&self) -> Order {
        let ids = self.leaves.iter().enumerate().filter(|(_, leaf)| leaf.messages > 0);
        let ids = ids.map(|(id, _)| id as Id).collect();
        Order::new(ids, self.common.len(), &|id| self.name(id))
    }

    fn are_all_under(&self, pattern: &[u8]) -> bool {
        match pattern.strip_suffix(b">") {
            Some(start) => is_literal(start) && start.ends_with(b".") && self.common.starts_with(start),
            None => false,
        }
    }

    fn find_recent(&self, name: &[u8]) -> Option<Id> {
        self.recent.get().filter(|&id| self.name(id) == name)
    }

    fn look_up(&self, hash: u64, name: &[u8]) -> Option<Id> {
        self.by_name.find(hash, |&id| self.name(id) == name).copied()
    }
}

impl Leaf {
    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        let at = (usize::from(self.name_at_high) << 32) | self.name_at as usize;
        &names[at..at + usize::from(self.name_len)]
    }

    fn facts(&self) -> SubjectFacts {
        let first_seq = self.first_seq & !VAGUE;
        SubjectFacts { messages: self.messages, first_seq, last_seq: self.last_seq }
    }

    fn is_vague(&self) -> bool {
        self.first_seq & VAGUE != 0
    }
}

fn name_in<'a>(leaves: &[Leaf], names: &'a [u8], id: Id) -> &'a [u8] {
    leaves[id as usize].name(names)
}

/// Makes room in steps of an eighth: doubling would leave half of a large buffer unused.
fn grow<T>(buffer: &mut Vec<T>, more: usize) {
    if buffer.capacity() - buffer.len() < more {
        buffer.reserve_exact(more + buffer.len() / 8 + 4);
    }
}
