//! `/subsz`: the subscriptions of all accounts or of one (MON-075, MON-076).
//!
//! Matches are cached by each thread for itself: a subject that several use counts for each. As in nats-server, a
//! publisher that repeats its subject asks none of them, and is not counted.

use super::connz::DEFAULT_LIMIT;
use super::subs::SubDetail;
use super::text;
use crate::account::Account;
use crate::conn::Context;
use crate::interest::cache;
use crate::routing::subscriptions;
use crate::runtime::unix_ns;
use crate::subject;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// SYS-022
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    offset: i64,
    limit: i64,
    subscriptions: bool,
    account: String,
    test: String,
}

#[derive(Serialize)]
struct Subsz {
    server_id: String,
    now: String,
    num_subscriptions: usize,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: Value,
    max_fanout: u64,
    avg_fanout: Value,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubDetail>,
}

pub fn subsz(server_id: &str, context: &Context, params: &Value) -> Result<Value, String> {
    let params: Params = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    if !params.test.is_empty() && !subject::is_valid_literal(params.test.as_bytes()) {
        return Err(format!("invalid test subject, must be valid publish subject: {}", params.test));
    }
    let mut page = Subsz {
        server_id: server_id.to_owned(),
        now: text::time(unix_ns()),
        num_subscriptions: 0,
        num_cache: 0,
        num_inserts: 0,
        num_removes: 0,
        num_matches: 0,
        cache_hit_rate: Value::Null,
        max_fanout: 0,
        avg_fanout: Value::Null,
        total: 0,
        offset: usize::try_from(params.offset).unwrap_or(0),
        limit: usize::try_from(params.limit).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT),
        subscriptions_list: Vec::new(),
    };
    let (mut hits, mut fanout_sum) = (0, 0);
    for account in accounts(context, &params.account) {
        let cached = cache::stats(account.id, account.generation());
        page.num_cache += cached.entries;
        page.num_matches += cached.hits + account.searches.load(Relaxed);
        page.max_fanout = page.max_fanout.max(cached.fanout_max);
        hits += cached.hits;
        fanout_sum += cached.fanout_sum;
        page.add(&account, &params);
    }
    page.cache_hit_rate = ratio(hits, page.num_matches);
    page.avg_fanout = ratio(fanout_sum, page.num_cache);
    serde_json::to_value(page).map_err(|error| error.to_string())
}

/// Nothing of nothing is 0; a whole number has no fraction.
fn ratio(part: u64, of: u64) -> Value {
    if part.is_multiple_of(of.max(1)) { (part / of.max(1)).into() } else { (part as f64 / of as f64).into() }
}

/// By name; none when the one asked for does not exist.
fn accounts(context: &Context, name: &str) -> Vec<Arc<Account>> {
    if !name.is_empty() {
        return context.accounts.get(name).into_iter().collect();
    }
    let mut accounts = context.accounts.all();
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    accounts
}

impl Subsz {
    fn add(&mut self, account: &Account, params: &Params) {
        let sublist = account.sublist.read();
        let trie = &sublist.trie;
        self.num_subscriptions += trie.len();
        self.num_inserts += trie.inserts();
        self.num_removes += trie.removes();
        if !params.subscriptions {
            return;
        }
        let mut show = |number: u32| {
            let position = self.total;
            self.total += 1;
            if position < self.offset || self.subscriptions_list.len() >= self.limit {
                return;
            }
            let Some(receiver) = sublist.member(trie.sub(number).member) else { return };
            let view = subscriptions::view(trie, number, &receiver.out.lock());
            let mut detail = SubDetail::new(&view, receiver.cid);
            detail.account = account.name.to_string();
            detail.account_tag = account.name.to_string();
            self.subscriptions_list.push(detail);
        };
        if params.test.is_empty() {
            trie.numbers().for_each(show);
        } else {
            trie.matches(params.test.as_bytes(), |number, _| show(number));
        }
    }
}
