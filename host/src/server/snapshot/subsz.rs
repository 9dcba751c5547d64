//! `/subsz`: the subscriptions of all accounts or of one (MON-075, MON-076).

use super::connz::DEFAULT_LIMIT;
use super::sublist::SublistStats;
use super::subs::SubDetail;
use super::text;
use crate::account::Account;
use crate::conn::Context;
use crate::interest::sublist::Member;
use crate::routing::subscriptions;
use crate::runtime::unix_ns;
use crate::subject;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

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
    #[serde(flatten)]
    stats: SublistStats,
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
    let accounts = accounts(context, &params.account);
    let mut page = Subsz {
        server_id: server_id.to_owned(),
        now: text::time(unix_ns()),
        stats: SublistStats::of(accounts.iter().map(AsRef::as_ref)),
        total: 0,
        offset: usize::try_from(params.offset).unwrap_or(0),
        limit: usize::try_from(params.limit).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT),
        subscriptions_list: Vec::new(),
    };
    if params.subscriptions {
        accounts.iter().for_each(|account| page.list(account, &params.test));
    }
    serde_json::to_value(page).map_err(|error| error.to_string())
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
    /// `test`: empty, or the subject that must match.
    fn list(&mut self, account: &Account, test: &str) {
        let sublist = account.sublist.read();
        let trie = &sublist.trie;
        let mut show = |number: u32| {
            let position = self.total;
            self.total += 1;
            if position < self.offset || self.subscriptions_list.len() >= self.limit {
                return;
            }
            let Some(Member { receiver, via }) = sublist.member(trie.sub(number).member) else {
                return;
            };
            // Who imports the subject is another account, and its subscription stands here by the name it has here.
            let home = via.as_ref().map_or(&account.name, |import| &import.importer.name);
            let view = subscriptions::view(trie, number, &receiver.out.lock());
            let mut detail = SubDetail::new(&view, receiver.cid);
            detail.account = home.to_string();
            detail.account_tag = home.to_string();
            self.subscriptions_list.push(detail);
        };
        if test.is_empty() {
            trie.numbers().for_each(show);
        } else {
            trie.matches(test.as_bytes(), |number, _| show(number));
        }
    }
}
