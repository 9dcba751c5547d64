//! How many subscriptions clients of an account have for a subject (SYS-017).

use crate::conn::Context;
use crate::interest::sublist::Member;
use crate::routing::receiver::Kind;
use crate::subject;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    account: String,
    /// Literal: who would get a message; with wildcards: whose subject it covers.
    subject: String,
    /// Only members of this group; one without a name has none.
    queue: Option<String>,
}

pub fn subscribers(context: &Context, params: &Value) -> Result<Value, String> {
    let params: Params = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let none = json!({ "subscribers": 0 });
    let Some(account) = context.accounts.get(&params.account) else { return Ok(none) };
    let wanted = params.subject.as_bytes();
    if !subject::is_valid(wanted) {
        return Ok(none);
    }
    let sublist = account.sublist.read();
    let trie = &sublist.trie;
    let is_counted = |number: u32| {
        let sub = trie.sub(number);
        let queue = (sub.queue != 0).then(|| trie.queue_name(sub.queue));
        let of_client = matches!(sublist.member(sub.member),
            Some(Member { receiver, via: None }) if receiver.kind == Kind::Client);
        of_client && params.queue.as_ref().is_none_or(|wanted| queue == Some(wanted.as_bytes()))
    };
    let mut count = 0;
    if subject::has_wildcard(wanted) {
        let covered = |number: u32| subject::is_subset(wanted, &trie.subject(number));
        count = trie.numbers().filter(|number| is_counted(*number) && covered(*number)).count();
    } else {
        trie.matches(wanted, |number, _| count += usize::from(is_counted(number)));
    }
    Ok(json!({ "subscribers": count }))
}
