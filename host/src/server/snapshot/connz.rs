//! `/connz`: connections, open and closed, sorted and in pages (MON-045 to MON-061).

use super::row::{Row, Sort};
use super::subs::SubDetail;
use super::text;
use crate::conn::facts::Facts;
use crate::conn::registry::Closed;
use crate::conn::{Connection, Context};
use crate::routing::subscriptions::SubView;
use crate::runtime::unix_ns;
use crate::subject;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::sync::Arc;

/// MON-049
pub const DEFAULT_LIMIT: usize = 1024;

/// SYS-020
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    sort: String,
    auth: bool,
    subscriptions: bool,
    subscriptions_detail: bool,
    offset: i64,
    limit: i64,
    cid: u64,
    mqtt_client: String,
    /// 0 open, 1 closed, 2 all (MON-051).
    state: i64,
    user: String,
    acc: String,
    filter_subject: String,
}

#[derive(Serialize)]
struct Connz<'a> {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Option<Shown<'a>>,
}

/// Rows as they are shown: each is made when it is written, so that a page of ten thousand takes the memory of one.
struct Shown<'a> {
    rows: &'a [Row],
    params: &'a Params,
    now_unix_ns: u64,
    context: &'a Context,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| info(row, self)))
    }
}

/// What a row takes as text, about: with this much room the text of a page is seldom moved.
const ROW_BYTES: usize = 448;

/// MON-056
#[derive(Serialize)]
struct ConnInfo {
    cid: u64,
    kind: &'static str,
    r#type: String,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_cipher_suite: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<PeerCertInfo>,
    #[serde(skip_serializing_if = "is_false")]
    tls_first: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    jwt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Proxy>,
}

/// AUTH-030
#[derive(Serialize)]
struct Proxy {
    key: String,
}

#[derive(Serialize)]
struct PeerCertInfo {
    subject: String,
    spki_sha256: String,
    cert_sha256: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

pub fn connz(server_id: &str, context: &Context, params: &Value) -> Result<String, String> {
    let params: Params = serde_json::from_value(params.clone()).map_err(|error| error.to_string())?;
    let sort = sort_of(&params)?;
    let filter = match params.filter_subject.as_str() {
        "" | ">" => None,
        _ if params.acc.is_empty() => {
            return Err("filter by subject only valid with account filtering".to_owned());
        }
        filter => Some(filter),
    };
    let now_unix_ns = unix_ns();
    let limit = usize::try_from(params.limit).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
    let mut page = Connz {
        server_id: server_id.to_owned(),
        now: text::time(now_unix_ns),
        num_connections: 0,
        total: 0,
        offset: usize::try_from(params.offset).unwrap_or(0),
        limit: if params.cid > 0 { 1 } else { limit },
        connections: None,
    };
    if !params.acc.is_empty() && context.accounts.get(&params.acc).is_none() {
        // MON-052: as if there were no server either.
        page.server_id.clear();
        return serde_json::to_string(&page).map_err(|error| error.to_string());
    }
    // Of a state that there is not, there are none.
    let mut open = if matches!(params.state, OPEN | ALL) { context.registry.all() } else { Vec::new() };
    let mut closed =
        if matches!(params.state, CLOSED | ALL) { context.registry.closed() } else { Vec::new() };
    if !params.acc.is_empty() {
        open.retain(|connection| connection.facts.lock().account == params.acc);
        // MON-059: of a closed connection the global account is not known any more.
        closed.retain(|closed| closed.facts.account == params.acc && params.acc != crate::account::GLOBAL);
    }
    // What follows does not change the total (MON-055).
    page.total = open.len() + closed.len();
    narrow(&params, filter, context, &mut open, &mut closed);
    let mut rows: Vec<Row> =
        open.into_iter().map(Row::open).chain(closed.into_iter().map(Row::closed)).collect();
    sort.apply(&mut rows, now_unix_ns);
    let rows = &rows[page.offset.min(rows.len())..];
    let rows = &rows[..page.limit.min(rows.len())];
    page.num_connections = rows.len();
    page.connections = Some(Shown { rows, params: &params, now_unix_ns, context });
    let mut text = Vec::with_capacity((rows.len() + 1) * ROW_BYTES);
    serde_json::to_writer(&mut text, &page).map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}

const OPEN: i64 = 0;
const CLOSED: i64 = 1;
const ALL: i64 = 2;

/// MON-045, MON-046
fn sort_of(params: &Params) -> Result<Sort, String> {
    let sort = Sort::parse(&params.sort).ok_or_else(|| format!("invalid sorting option: {}", params.sort))?;
    match sort {
        Sort::Stop | Sort::Reason if params.state != CLOSED => {
            Err(format!("sort by {} only valid on closed connections", params.sort))
        }
        sort => Ok(sort),
    }
}

/// By id, or by everything else (MON-050, MON-052 to MON-054).
fn narrow(
    params: &Params,
    filter: Option<&str>,
    context: &Context,
    open: &mut Vec<Arc<Connection>>,
    closed: &mut Vec<Closed>,
) {
    if params.cid > 0 {
        *open = match params.state {
            CLOSED => Vec::new(),
            _ => context.registry.get(params.cid).into_iter().collect(),
        };
        closed.retain(|closed| open.is_empty() && closed.cid == params.cid);
        return;
    }
    if !params.user.is_empty() {
        open.retain(|connection| connection.facts.lock().authorized_user() == params.user);
        closed.retain(|closed| closed.facts.authorized_user() == params.user);
    }
    if !params.mqtt_client.is_empty() {
        // Connections of the host itself are no MQTT clients.
        open.clear();
        closed.clear();
    }
    if let Some(filter) = filter {
        let covers = |subject: &[u8]| subject::collide(subject, filter.as_bytes());
        open.retain(|c| super::subs::of(c, usize::MAX).iter().any(|view| covers(&view.subject)));
        closed.retain(|c| c.subs.views.iter().any(|view| covers(&view.subject)));
    }
}

fn info(row: &Row, shown: &Shown<'_>) -> ConnInfo {
    let params = shown.params;
    let end_unix_ns = row.stop_unix_ns().unwrap_or(shown.now_unix_ns);
    let views = match params.subscriptions || params.subscriptions_detail {
        true => row.subs(),
        false => Vec::new(),
    };
    let (subscriptions_list, subscriptions_list_detail) = match params.subscriptions_detail {
        true => (Vec::new(), views.iter().map(|view| sub_detail(view, row)).collect()),
        false => (
            views.iter().map(|view| String::from_utf8_lossy(&view.subject).into_owned()).collect(),
            Vec::new(),
        ),
    };
    let account = row.account();
    let account_tag = match params.auth {
        true => shown.context.accounts.get(&account).map_or_else(|| account.clone(), |a| a.name_tag()),
        false => account.clone(),
    };
    row.with_facts(|facts| {
        let mut info = about(row, facts, end_unix_ns);
        info.subscriptions_list = subscriptions_list;
        info.subscriptions_list_detail = subscriptions_list_detail;
        if params.auth || row.stop_unix_ns().is_some() {
            add_token(&mut info, facts);
        }
        if params.auth {
            add_auth(&mut info, row, facts, &account, &account_tag);
        }
        info
    })
}

/// Without who it is, and its subscriptions.
fn about(row: &Row, facts: &Facts, end_unix_ns: u64) -> ConnInfo {
    ConnInfo {
        cid: row.cid,
        kind: "Client",
        r#type: facts.client_type.clone(),
        ip: facts.ip.clone(),
        port: facts.port,
        start: text::time(row.start_unix_ns),
        last_activity: text::time(row.last_unix_ns),
        stop: row.stop_unix_ns().map(text::time),
        reason: row.reason().map(|reason| reason.to_string()),
        rtt: text::rtt(facts.rtt_ns),
        uptime: text::uptime(end_unix_ns.saturating_sub(row.start_unix_ns)),
        idle: text::uptime(end_unix_ns.saturating_sub(row.last_unix_ns)),
        pending_bytes: row.pending_bytes,
        in_msgs: row.traffic.in_msgs,
        out_msgs: row.traffic.out_msgs,
        in_bytes: row.traffic.in_bytes,
        out_bytes: row.traffic.out_bytes,
        stalls: row.traffic.stalls,
        subscriptions: row.subscriptions,
        name: facts.name.clone(),
        lang: facts.lang.clone(),
        version: facts.version.clone(),
        tls_version: facts.tls_version.clone(),
        tls_cipher_suite: facts.tls_cipher.clone(),
        tls_peer_certs: Vec::new(),
        tls_first: facts.tls_first,
        authorized_user: String::new(),
        account: String::new(),
        subscriptions_list: Vec::new(),
        subscriptions_list_detail: Vec::new(),
        jwt: String::new(),
        issuer_key: String::new(),
        name_tag: String::new(),
        tags: Vec::new(),
        proxy: facts.proxy_key.as_ref().map(|key| Proxy { key: key.to_string() }),
    }
}

/// Of a closed connection each subscription names the account, unless that is the global one.
fn sub_detail(view: &SubView, row: &Row) -> SubDetail {
    let mut detail = SubDetail::new(view, row.cid);
    let account = row.account();
    if row.stop_unix_ns().is_some() && &*account != crate::account::GLOBAL {
        detail.account = account.to_string();
        detail.account_tag = account.to_string();
    }
    detail
}

/// What the user's token says; of closed connections always shown. A token that lets in whoever has it is not.
fn add_token(info: &mut ConnInfo, facts: &Facts) {
    info.tags = facts.tags.to_vec();
    let Some(token) = &facts.token else { return };
    if !token.is_bearer {
        info.jwt.clone_from(&token.jwt);
    }
    info.issuer_key.clone_from(&token.issuer_key);
    info.name_tag.clone_from(&token.name_tag);
}

/// MON-047, MON-061: the global account is the tag of open connections only.
fn add_auth(info: &mut ConnInfo, row: &Row, facts: &Facts, account: &str, account_tag: &str) {
    let is_global = account == crate::account::GLOBAL;
    if !(is_global && row.stop_unix_ns().is_some()) {
        info.name_tag = account_tag.to_owned();
    }
    if !is_global {
        info.account = account.to_string();
    }
    info.authorized_user = facts.authorized_user().to_owned();
    info.tls_peer_certs = facts
        .tls_peer_certs
        .iter()
        .map(|cert| PeerCertInfo {
            subject: cert.subject.clone(),
            spki_sha256: cert.spki_sha256.clone(),
            cert_sha256: cert.cert_sha256.clone(),
        })
        .collect();
}
