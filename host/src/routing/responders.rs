//! The answer to a request that nobody got (CORE-180 to CORE-182).

use super::format::put_number;
use super::receiver::Receiver;
use crate::account::Account;
use std::sync::Arc;

/// 503 to the requestor, if it listens for the reply. Does not count for an UNSUB max.
#[cold]
pub fn answer_for_nobody(requestor: &Arc<Receiver>, account: &Account, subject: &[u8], reply: &[u8]) {
    let Some(member) = requestor.subs.lock().member() else { return };
    let Some(sid) = account.sublist.read().own_plain(member, reply) else { return };
    let mut line = Vec::with_capacity(96 + reply.len() + 2 * subject.len());
    let mut out = requestor.out.lock();
    line.extend_from_slice(b"HMSG ");
    line.extend_from_slice(reply);
    line.push(b' ');
    sid.write(&mut line, &out.long_sids);
    for _ in 0..2 {
        line.push(b' ');
        put_number(&mut line, 32 + subject.len() as u64);
    }
    line.extend_from_slice(b"\r\nNATS/1.0 503\r\nNats-Subject: ");
    line.extend_from_slice(subject);
    line.extend_from_slice(b"\r\n\r\n\r\n");
    out.msgs += 1;
    out.bytes += 32 + subject.len() as u64;
    out.send(&line);
    if out.needs_writer() {
        requestor.wake(&out);
    }
}
