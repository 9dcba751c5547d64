//! Who gets a subject, as the caches and mappings have it.

use super::chunk::{Chunk, Guard};
use crate::account::{Account, Mapping};
use crate::interest::cache::Lookup;
use crate::interest::matched::{Choice, Matched};
use crate::runtime::random::quick_u64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Chunk {
    /// The answer for a subject if it is, or deserves to be, cached.
    #[inline]
    pub fn lookup<'a>(
        &mut self,
        account: &'a Account,
        generation: u64,
        subject: &[u8],
        guard: &mut Guard<'a>,
    ) -> Option<Arc<Matched>> {
        let found = match self.cache.lookup(account.id, generation, subject) {
            Lookup::Hit(m) => return Some(m),
            found => found,
        };
        let slot = if let Lookup::Admit(slot) = found { Some(slot) } else { None };
        let m = match account.mapping(subject) {
            Some(mapping) => self.mapped(account, generation, subject, &mapping, guard),
            // What a limited subscription leaves must be seen message by message: queue groups pick another
            // member, requests have no responder (CORE-171, CORE-180).
            None if slot.is_some() || account.has_limited() => {
                account.searches.fetch_add(1, Relaxed);
                let sublist = guard.get_or_insert_with(|| account.sublist.read());
                Arc::new(sublist.matched(account.id, generation, subject))
            }
            None => return None,
        };
        if let Some(slot) = slot {
            self.cache.put(slot, m.clone());
        }
        Some(m)
    }

    /// The answer for a subject that a mapping sends elsewhere.
    #[cold]
    fn mapped<'a>(
        &mut self,
        account: &'a Account,
        generation: u64,
        subject: &[u8],
        mapping: &Mapping,
        guard: &mut Guard<'a>,
    ) -> Arc<Matched> {
        account.searches.fetch_add(1, Relaxed);
        let sublist = guard.get_or_insert_with(|| account.sublist.read());
        let mut random = quick_u64;
        // Another destination each time: an answer of no generation is used once.
        let valid = if mapping.is_random() { 0 } else { generation };
        let mut answer = |destination: usize| {
            let to = mapping.apply(destination, subject, &mut random);
            Arc::new(match to == subject {
                true => sublist.matched(account.id, valid, subject),
                false => sublist.matched_elsewhere(account.id, valid, subject, &to),
            })
        };
        if !mapping.is_drawn() {
            return answer(0);
        }
        let choices = mapping.shares().enumerate();
        let choices =
            choices.map(|(at, upto_percent)| Choice { upto_percent, matched: answer(at) }).collect();
        Arc::new(Matched::drawn(account.id, valid, subject, choices))
    }

    /// The answer that the draw of a message decides for; `None`: the message is lost (MAP-003).
    pub fn draw(&mut self, drawn: &Matched) -> Option<Arc<Matched>> {
        let draw = self.random_below(100) as u8;
        drawn.choices.iter().find(|choice| draw < choice.upto_percent).map(|choice| choice.matched.clone())
    }
}
