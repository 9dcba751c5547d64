//! What is told of a client in another account: little, or everything if it is shared (ACC-008, MON-160).

use crate::conn::traced::event::timestamp;
use crate::conn::{Connection, Context};
use crate::proto::json;
use crate::runtime::now_ns;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub acc: String,
    /// The account in between, when an import is imported.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub svc: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lang: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ver: String,
    /// The round trip, nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rtt: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jwt: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer_key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_type: String,
    /// Where the requestor waits, if that says something to whoever answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ClientInfo {
    pub fn of(connection: &Connection, context: &Context, detailed: bool) -> Self {
        let facts = connection.facts.lock();
        // Before the first PING was answered: no longer than it is here.
        let since_start_ns = || now_ns().saturating_sub(facts.start_ns).max(1);
        let rtt = if facts.rtt_ns > 0 { facts.rtt_ns } else { since_start_ns() };
        let acc = facts.account.clone();
        if !detailed {
            return ClientInfo { acc, rtt, ..ClientInfo::default() };
        }
        let token = facts.token.as_deref().cloned().unwrap_or_default();
        ClientInfo {
            start: Some(timestamp(facts.start_unix_ns)),
            host: facts.ip.clone(),
            id: connection.receiver.cid,
            acc,
            svc: String::new(),
            user: if facts.user.is_empty() { facts.auth_user.clone() } else { facts.user.clone() },
            name: facts.name.clone(),
            lang: facts.lang.clone(),
            ver: facts.version.clone(),
            rtt,
            server: context.server.name.clone(),
            jwt: token.jwt,
            issuer_key: token.issuer_key,
            name_tag: token.name_tag,
            tags: facts.tags.to_vec(),
            kind: "Client".to_owned(),
            client_type: facts.client_type.clone(),
            reply: String::new(),
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec(self).unwrap_or_default()
    }
}
