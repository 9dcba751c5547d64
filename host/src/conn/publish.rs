//! PUB and HPUB (CORE-090..092): the hot path from control line to record.

use super::process::{Pass, Step, unparsed};
use super::session::{End, Failure, Session};
use crate::interest::Matched;
use crate::proto::error::{ClosedReason, ErrText};
use crate::proto::fault;
use crate::proto::parse::{self, ArgsError, PubLine};
use crate::proto::quote::Quoted;
use crate::routing::chunk::{Chunk, Item, Span};
use std::sync::Arc;

/// Subjects and replies that only servers may publish to (CORE-161..163).
const GATEWAY_REPLY: &[u8] = b"_GR_.";
const OLD_GATEWAY_REPLY: &[u8] = b"$GR.";
const RAFT: &[u8] = b"$NRG.";
const SERVICE_REPLY: &[u8] = b"_R_.";
const JETSTREAM_ACK: &[u8] = b"$JS.ACK.";

/// How far a permission to publish goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    Always,
    /// As a response: the next message is another question (PERM-005).
    Once,
}

impl Session {
    /// The same control line once more, recognised by one comparison.
    #[inline]
    pub(super) fn repeated(&mut self, chunk: &mut Chunk, pass: &mut Pass, at: usize) -> Option<Step> {
        let memo = self.memo.as_deref()?;
        let rest = &pass.buf[at..];
        if !rest.starts_with(&memo.line) {
            return None;
        }
        let parsed = memo.parsed?;
        let hit = memo.hit.as_ref()?;
        if hit.generation != pass.generation || pass.trace || self.flags.verbose || hit.limited {
            return None;
        }
        let (line, size) = (parsed.len as usize, parsed.size_bytes as usize);
        let len = line + size + 2;
        if rest.len() < len {
            return Some(Step::More(len));
        }
        if rest[len - 2..len] != *b"\r\n" {
            return Some(bad_payload_end(pass.buf, at + len - 2));
        }
        if parsed.header_len > 0 && self.may_be_traced(&rest[line..line + parsed.header_len as usize]) {
            return None;
        }
        pass.msgs += 1;
        pass.bytes += size as u64;
        let chosen = if hit.is_drawn() { chunk.draw(hit) } else { None };
        let hit = match &chosen {
            Some(chosen) => chosen,
            None if !hit.is_drawn() => hit,
            None => {
                let item = item(&parsed, at, memo.number);
                chunk.note_unanswered(item, Some(b""), &pass.sender);
                return Some(Step::Done(len));
            }
        };
        let item = item(&parsed, at, memo.number);
        if hit.is_empty() {
            if item.reply.len > 0 && self.flags.no_responders {
                chunk.record(item, hit, &pass.sender);
            }
            return Some(Step::Done(len));
        }
        pass.work_bytes += hit.work_bytes(len);
        if !chunk.extend(item, hit) {
            chunk.note_large(size);
            chunk.record(item, hit, &pass.sender);
        }
        Some(Step::Done(len))
    }

    /// A control line that was not the last one.
    pub(super) fn publish(
        &mut self,
        chunk: &mut Chunk,
        pass: &mut Pass,
        at: usize,
        args: (usize, usize),
        line_len: usize,
        headers: bool,
    ) -> Step {
        let rest = &pass.buf[at..];
        if headers && !self.flags.headers {
            let log = "message headers not supported".to_owned();
            return Step::end(End::Fail(Failure::silent(ClosedReason::ProtocolViolation, log)));
        }
        let mut parsed = match parse::publish(rest, args, headers) {
            Ok(parsed) => parsed,
            Err(e) => return Step::end(bad_arguments(e, headers, &rest[args.0..args.1])),
        };
        parsed.len = line_len as u32;
        let size = parsed.size_bytes as usize;
        if size > self.limits.max_payload_bytes {
            if headers {
                self.trace_oversized(chunk, pass, at, &parsed);
            }
            return Step::end(self.payload_violation(size));
        }
        let len = line_len + size + 2;
        if rest.len() < len {
            return Step::More(len);
        }
        if rest[len - 2..len] != *b"\r\n" {
            return bad_payload_end(pass.buf, at + len - 2);
        }
        pass.msgs += 1;
        pass.bytes += size as u64;
        self.whole(chunk, pass, at, &parsed);
        Step::Done(len)
    }

    /// A whole message: checks, then the record.
    pub(super) fn whole(&mut self, chunk: &mut Chunk, pass: &mut Pass, at: usize, parsed: &PubLine) {
        let rest = &pass.buf[at..];
        let (subject, reply) = (parsed.subject.of(rest), parsed.reply.of(rest));
        let line_len = parsed.len as usize;
        if pass.trace {
            let body = &rest[line_len..line_len + parsed.size_bytes as usize];
            crate::routing::trace::publish(&pass.me.label(), &rest[..line_len], body, parsed.header_len);
        }
        if parsed.header_len > 0 {
            let headers = &rest[line_len..line_len + parsed.header_len as usize];
            if self.may_be_traced(headers) && self.publish_traced(chunk, pass, at, parsed) {
                return;
            }
        }
        let found = chunk.lookup(pass.account, pass.generation, subject, &mut pass.guard);
        let is_drawn = found.as_ref().is_some_and(|found| found.is_drawn());
        let drawn = found.as_ref().filter(|_| is_drawn).and_then(|found| chunk.draw(found));
        if is_drawn && drawn.is_none() {
            // As with the reference, it went to the subject without a name.
            let item = item(parsed, at, chunk.next_line());
            chunk.note_unanswered(item, Some(b""), &pass.sender);
            return self.ok(pass.me);
        }
        let hit = drawn.as_ref().or(found.as_ref());
        let destination = hit.map_or(subject, |hit| hit.destination());
        let allowed = match self.may_publish(destination, reply, hit.map(|hit| &**hit)) {
            Ok(allowed) => allowed,
            Err(error) => {
                self.deliver(chunk, pass);
                return self.refuse(pass, error);
            }
        };
        if self.flags.verbose || self.flags.pedantic {
            self.deliver(chunk, pass);
            if self.flags.pedantic && !crate::subject::is_valid_literal(subject) {
                self.tell(pass.me, &ErrText::InvalidPublishSubject);
            }
            self.ok(pass.me);
        }
        let number = chunk.next_line();
        let item = item(parsed, at, number);
        let size = parsed.size_bytes as usize;
        chunk.note_large(size);
        let Some(hit) = hit else {
            pass.work_bytes += size;
            return chunk.record_unknown(item, &pass.sender, pass.buf, &mut pass.guard);
        };
        pass.work_bytes += hit.work_bytes(size);
        if !hit.is_empty() || (item.reply.len > 0 && self.flags.no_responders) {
            chunk.record(item, hit, &pass.sender);
        }
        if hit.limited {
            // The next message must see what this one left of the group.
            self.deliver(chunk, pass);
            pass.generation = pass.account.generation();
        }
        // What the draw decides for may be allowed or not.
        if allowed == Allowed::Always && !(is_drawn && self.permissions.is_some()) {
            self.remember(&rest[..line_len], parsed, number, found);
        }
    }

    /// The line may come again.
    fn remember(&mut self, line: &[u8], parsed: &PubLine, number: u64, hit: Option<Arc<Matched>>) {
        let memo = self.memo.get_or_insert_default();
        memo.line.clear();
        memo.line.extend_from_slice(line);
        memo.parsed = Some(*parsed);
        memo.number = number;
        memo.hit = hit;
    }

    /// CORE-272: the gateway prefix, permissions, Raft's subjects, reserved replies.
    pub(super) fn may_publish<'t>(
        &self,
        subject: &'t [u8],
        reply: &'t [u8],
        hit: Option<&Matched>,
    ) -> Result<Allowed, ErrText<'t>> {
        let denied = || ErrText::PublishPermission { subject };
        let mut allowed = Allowed::Always;
        if is_reserved(subject, self.flags.system_account) {
            return Err(denied());
        }
        if let Some(permissions) = &self.permissions {
            let known = hit.is_some_and(|h| h.is_allowed_for(permissions.id));
            if !known {
                if !permissions.may_publish(subject) {
                    if !self.may_respond(subject) {
                        return Err(denied());
                    }
                    allowed = Allowed::Once;
                } else if let Some(hit) = hit {
                    hit.allow_for(permissions.id);
                }
            }
        }
        let reserved = [SERVICE_REPLY, JETSTREAM_ACK, GATEWAY_REPLY];
        if matches!(reply.first(), Some(b'_' | b'$')) && reserved.iter().any(|p| reply.starts_with(p)) {
            return Err(ErrText::ReplyPermission { reply });
        }
        Ok(allowed)
    }

    /// A reply that was delivered to this client and may be answered (PERM-005).
    fn may_respond(&self, subject: &[u8]) -> bool {
        let mut out = self.connection.receiver.out.lock();
        out.responses.as_mut().is_some_and(|r| r.may_respond(subject, crate::runtime::now_ns()))
    }

    pub(super) fn refuse(&self, pass: &Pass, error: ErrText<'_>) {
        self.tell(pass.me, &error);
        let label = pass.me.label();
        match error {
            ErrText::PublishPermission { subject } => {
                crate::log::error!(target: label, "Publish Violation - Subject {}", Quoted(subject));
            }
            ErrText::ReplyPermission { reply } => {
                crate::log::error!(target: label, "Publish Violation - Reply {}", Quoted(reply));
            }
            _ => crate::log::error!(target: label, "{error}"),
        }
    }

    fn payload_violation(&self, size: usize) -> End {
        let log = format!("maximum payload exceeded: {size} vs {}", self.limits.max_payload_bytes);
        End::Fail(Failure {
            error: Some(ErrText::MaximumPayload),
            reason: ClosedReason::MaximumMessagePayload,
            log: Some(log),
        })
    }
}

#[cold]
fn bad_payload_end(buf: &[u8], at: usize) -> Step {
    unparsed(fault::of_message_end(buf, at))
}

#[inline]
pub(super) fn item(parsed: &PubLine, at: usize, line: u64) -> Item {
    let at = at as u32;
    let shift = |s: Span| Span { at: s.at + at, len: s.len };
    Item {
        subject: shift(parsed.subject),
        reply: shift(parsed.reply),
        header_len: parsed.header_len,
        size_text: shift(parsed.size_text),
        body: Span { at: at + parsed.len, len: parsed.size_bytes + 2 },
        line,
    }
}

/// Subjects that no permission opens to clients (CORE-161, CORE-162).
#[inline]
pub(super) fn is_reserved(subject: &[u8], system_account: bool) -> bool {
    matches!(subject.first(), Some(b'_' | b'$'))
        && (subject.starts_with(GATEWAY_REPLY)
            || subject.starts_with(OLD_GATEWAY_REPLY)
            || (subject.starts_with(RAFT) && !system_account))
}

/// CORE-079: no -ERR, a log line, the connection ends.
fn bad_arguments(e: ArgsError, headers: bool, args: &[u8]) -> End {
    let what = match (e, headers) {
        (ArgsError::Parse, false) => "processPub Parse Error",
        (ArgsError::Parse, true) => "processHeaderPub Parse Error",
        (ArgsError::Size, _) => "processPub Bad or Missing Size",
        (ArgsError::HeaderSize, _) => "processHeaderPub Bad or Missing Header Size",
        (ArgsError::TotalSize, _) => "processHeaderPub Bad or Missing Total Size",
        (ArgsError::HeaderLarger, _) => "processHeaderPub Header Size larger then TotalSize",
    };
    let log = format!("{what}: {:?}", String::from_utf8_lossy(args));
    End::Fail(Failure::silent(ClosedReason::ProtocolViolation, log))
}
