//! Subscriptions as monitoring shows them (MON-057).

use crate::conn::Connection;
use crate::routing::subscriptions::{self, SubView};
use serde::Serialize;

#[derive(Serialize)]
pub struct SubDetail {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    qgroup: String,
    sid: String,
    msgs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
    cid: u64,
}

impl SubDetail {
    pub fn new(view: &SubView, cid: u64) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        SubDetail {
            account: String::new(),
            account_tag: String::new(),
            subject: text(&view.subject),
            qgroup: text(&view.queue),
            sid: text(&view.sid),
            msgs: view.msgs,
            max: view.max,
            cid,
        }
    }
}

/// Up to `max` of a connection's subscriptions.
pub fn of(connection: &Connection, max: usize) -> Vec<SubView> {
    let account = connection.account.read().clone();
    subscriptions::list(&connection.receiver, &account, max)
}
