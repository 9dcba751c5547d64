//! What an account's sublist and the caches of its matches come to (MON-076).
//!
//! Matches are cached by each thread for itself: a subject that several use counts for each. As in nats-server, a
//! publisher that repeats its subject asks none of them, and is not counted.

use crate::account::Account;
use crate::interest::cache;
use serde::Serialize;
use serde_json::Value;
use std::sync::atomic::Ordering::Relaxed;

/// Of one account, or summed over several.
#[derive(Default, Serialize)]
pub struct SublistStats {
    num_subscriptions: usize,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: Value,
    max_fanout: u64,
    avg_fanout: Value,
    #[serde(skip)]
    hits: u64,
    #[serde(skip)]
    fanout_sum: u64,
}

impl SublistStats {
    pub fn of<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Self {
        let mut stats = SublistStats::default();
        accounts.into_iter().for_each(|account| stats.add(account));
        stats.cache_hit_rate = ratio(stats.hits, stats.num_matches);
        stats.avg_fanout = ratio(stats.fanout_sum, stats.num_cache);
        stats
    }

    fn add(&mut self, account: &Account) {
        let cached = cache::stats(account.id, account.generation());
        self.num_cache += cached.entries;
        self.num_matches += cached.hits + account.searches.load(Relaxed);
        self.max_fanout = self.max_fanout.max(cached.fanout_max);
        self.hits += cached.hits;
        self.fanout_sum += cached.fanout_sum;
        let sublist = account.sublist.read();
        self.num_subscriptions += sublist.trie.len();
        self.num_inserts += sublist.trie.inserts();
        self.num_removes += sublist.trie.removes();
    }
}

/// Nothing of nothing is 0; a whole number has no fraction.
fn ratio(part: u64, of: u64) -> Value {
    if part.is_multiple_of(of.max(1)) { (part / of.max(1)).into() } else { (part as f64 / of as f64).into() }
}
