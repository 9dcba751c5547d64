//! SUB and UNSUB (CORE-093..095, CORE-121..128).

use super::process::Pass;
use super::session::{Failure, Session};
use crate::auth::Verdict;
use crate::proto::error::{ClosedReason, ErrText};
use crate::proto::parse;
use crate::proto::quote::Quoted;
use crate::routing::Receiver;
use crate::routing::subscriptions::{self, Subscribed};

/// Reserved queue name (CORE-165).
const SYSTEM_QUEUE: &[u8] = b"_sys_";

impl Session {
    pub(super) fn subscribe(&mut self, pass: &mut Pass, args: &[u8]) -> Result<(), Failure> {
        let Some((words, n)) = parse::words::<3>(args, 2) else {
            return Err(bad_arguments("processSub", args));
        };
        let (subject, queue, sid) = match n {
            2 => (words[0], &b""[..], words[1]),
            _ => (words[0], words[1], words[2]),
        };
        let filtered = match self.may_subscribe(subject, queue) {
            Ok(filtered) => filtered,
            Err(error) => {
                self.tell(pass.me, &error);
                log_refusal(pass.me, &error, sid);
                return Ok(());
            }
        };
        pass.guard = None;
        let max = self.limits.max_subscriptions;
        match subscriptions::subscribe(pass.me, pass.account, subject, queue, sid, filtered, max) {
            Subscribed::TooMany => self.tell(pass.me, &ErrText::MaximumSubscriptions),
            Subscribed::New(_) | Subscribed::InUse => self.ok(pass.me),
        }
        Ok(())
    }

    fn may_subscribe<'t>(&self, subject: &'t [u8], queue: &'t [u8]) -> Result<bool, ErrText<'t>> {
        if !crate::subject::is_valid_for_sub(subject) {
            return Err(ErrText::InvalidSubject);
        }
        if let Some(max) = self.limits.max_sub_tokens
            && crate::subject::token_count(subject) > max as usize
        {
            return Err(ErrText::TooManyTokens { subject });
        }
        let denied = || ErrText::SubscribePermission { subject, queue: queue_of(queue) };
        if queue == SYSTEM_QUEUE {
            return Err(denied());
        }
        match &self.permissions {
            None => Ok(false),
            Some(p) => match p.may_subscribe(subject, queue_of(queue)) {
                Verdict::Refused => Err(denied()),
                verdict => Ok(verdict == Verdict::Filtered),
            },
        }
    }

    pub(super) fn unsubscribe(&mut self, pass: &mut Pass, args: &[u8]) -> Result<(), Failure> {
        let Some((words, n)) = parse::words::<2>(args, 1) else {
            return Err(bad_arguments("processUnsub", args));
        };
        // A max that is not a number is no max.
        let max = if n == 2 { parse::size(words[1]).unwrap_or(0) } else { 0 };
        pass.guard = None;
        let gone = subscriptions::unsubscribe(pass.me, pass.account, words[0], max);
        if pass.trace && gone {
            crate::routing::trace::unsubscribed(&pass.me.label(), words[0]);
        }
        self.ok(pass.me);
        Ok(())
    }
}

fn log_refusal(me: &Receiver, error: &ErrText<'_>, sid: &[u8]) {
    let label = me.label();
    let sid = String::from_utf8_lossy(sid);
    match *error {
        ErrText::SubscribePermission { subject, queue: None } => {
            crate::log::error!(target: label, "Subscription Violation - Subject {}, SID {sid}", Quoted(subject));
        }
        ErrText::SubscribePermission { subject, queue: Some(queue) } => {
            let (subject, queue) = (Quoted(subject), Quoted(queue));
            crate::log::error!(
                target: label,
                "Subscription Violation - Subject {subject}, Queue: {queue}, SID {sid}"
            );
        }
        // The client is told; nats-server's log is not.
        ErrText::InvalidSubject => {}
        _ => crate::log::error!(target: label, "{error}"),
    }
}

fn queue_of(queue: &[u8]) -> Option<&[u8]> {
    (!queue.is_empty()).then_some(queue)
}

fn bad_arguments(operation: &str, args: &[u8]) -> Failure {
    let log = format!("{operation} Parse Error: {:?}", String::from_utf8_lossy(args));
    Failure::silent(ClosedReason::ProtocolViolation, log)
}
