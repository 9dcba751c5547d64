//! Message tracing by header (CORE-290 to CORE-300): a message that asks for it is handled alone, and an
//! event tells what became of it.
//!
//! `headers` reads what is asked for, `egress` finds the receivers, `trace` travels with the message, `event` is what is
//! published. Rare: nothing here is on the way of messages that ask for no trace, save `may_be_traced`.

mod egress;
pub mod event;
mod headers;
mod trace;

use super::process::Pass;
use super::publish::{is_reserved, item};
use super::session::Session;
use crate::interest::Matched;
use crate::proto::error::ErrText;
use crate::proto::parse::PubLine;
use crate::routing::chunk::{Chunk, Span};
use crate::routing::format::put_number;
use crate::runtime::random::random_below;
use crate::runtime::{Mutex, unix_ns};
use egress::Egress;
use event::{Request, Step, text, timestamp};
use headers::{TraceHeaders, Trigger};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use trace::Trace;

const OVERSIZED: &str = "maximum payload exceeded";

/// What to do with a message whose headers ask for a trace.
enum Plan {
    Trace(Trace),
    /// Handle it as any other.
    Ignore,
    /// The same, and keep other servers from tracing it.
    Disable,
    Drop,
}

impl Session {
    /// The check for every message with headers: cheap, and never wrong when it says no.
    #[inline]
    pub(super) fn may_be_traced(&self, block: &[u8]) -> bool {
        headers::has_destination(block)
            || ((self.limits.msg_trace || self.has_trace_listeners())
                && headers::has_sampled_traceparent(block))
    }

    #[inline]
    fn has_trace_listeners(&self) -> bool {
        self.context.trace_listeners.load(Relaxed) > 0
    }

    /// Handles a message that may ask for a trace; false: it is to be handled as any other.
    #[cold]
    pub(super) fn publish_traced(
        &mut self,
        chunk: &mut Chunk,
        pass: &mut Pass,
        at: usize,
        parsed: &PubLine,
    ) -> bool {
        let buf = pass.buf;
        let message = &buf[at + parsed.len as usize..];
        let Some(asked) = TraceHeaders::parse(&message[..parsed.header_len as usize]) else { return false };
        self.deliver(chunk, pass);
        match self.plan(pass, &asked, &buf[at..], parsed) {
            Plan::Ignore => return false,
            Plan::Disable => self.publish_disabled(chunk, pass, at, parsed),
            Plan::Drop => self.check_pedantic(pass, parsed.subject.of(&buf[at..])),
            Plan::Trace(trace) => self.trace(chunk, pass, at, parsed, trace),
        }
        true
    }

    /// The event of a message that is too large, from what is there of its headers (CORE-298).
    #[cold]
    pub(super) fn trace_oversized(
        &mut self,
        chunk: &mut Chunk,
        pass: &mut Pass,
        at: usize,
        parsed: &PubLine,
    ) {
        let rest = &pass.buf[at..];
        let message = &rest[parsed.len as usize..];
        let block = &message[..message.len().min(parsed.header_len as usize)];
        if !self.may_be_traced(block) {
            return;
        }
        let Some(asked) = TraceHeaders::parse(block) else { return };
        self.deliver(chunk, pass);
        if let Plan::Trace(mut trace) = self.plan(pass, &asked, rest, parsed) {
            trace.fail(OVERSIZED.to_owned());
        }
    }

    /// Whether a trace that is asked for is made.
    fn plan(&self, pass: &Pass, asked: &TraceHeaders<'_>, rest: &[u8], parsed: &PubLine) -> Plan {
        let only = asked.trace_only();
        let not_traced = |otherwise| if only { Plan::Drop } else { otherwise };
        if let Some(value) = asked.first(headers::ORIGIN_ACCOUNT) {
            let (label, name) = (pass.me.label(), text(headers::ORIGIN_ACCOUNT));
            let value = crate::proto::quote::Quoted(value);
            crate::log::error!(
                "{label} - Message tracing disabled because of header {name:?} with value={value}"
            );
            return not_traced(Plan::Disable);
        }
        let is_heard = self.has_trace_listeners() && asked.is_sampled;
        let destination = match asked.trigger {
            Trigger::Destination(destination) => Some(destination.to_vec()),
            Trigger::Traceparent => match &pass.account.limits().msg_trace {
                None if is_heard => None,
                None => return Plan::Ignore,
                Some((_, percent)) if random_below(100) >= u64::from(*percent) => match is_heard {
                    true => None,
                    false => return Plan::Disable,
                },
                Some((destination, _)) => Some(destination.as_bytes().to_vec()),
            },
        };
        if let Some(destination) = &destination {
            if !crate::subject::is_valid_literal(destination) {
                let shown = crate::proto::quote::Quoted(destination);
                let label = pass.me.label();
                crate::log::error!(
                    "{label} - Destination {shown} is not valid, won't be able to trace events"
                );
                return not_traced(Plan::Ignore);
            }
            let allowed = self.permissions.as_ref().is_none_or(|p| p.may_publish(destination));
            if !allowed || is_reserved(destination, self.flags.system_account) {
                self.refuse(pass, ErrText::PublishPermission { subject: destination });
                return Plan::Drop;
            }
        }
        let ingress = Step::In {
            ts: timestamp(unix_ns()),
            kind: pass.me.kind as u8,
            cid: pass.me.cid,
            name: self.connection.facts.lock().name.clone(),
            acc: pass.account.name.to_string(),
            subj: text(parsed.subject.of(rest)),
            error: None,
        };
        Plan::Trace(Trace {
            context: self.context.clone(),
            account: self.connection.account.read().clone(),
            destination,
            is_heard,
            only,
            encoding: asked.encoding(),
            request: Request::new(&asked.fields, parsed.size_bytes),
            steps: Mutex::new(vec![ingress]),
        })
    }

    /// Publishes a traced message; one that is only traced (CORE-291) to those who say what they would do with it. The
    /// event goes out when they have said it.
    fn trace(&mut self, chunk: &mut Chunk, pass: &mut Pass, at: usize, parsed: &PubLine, mut trace: Trace) {
        let rest = &pass.buf[at..];
        let (subject, reply) = (parsed.subject.of(rest), parsed.reply.of(rest));
        self.check_pedantic(pass, subject);
        let mapped = egress::destination(pass.account, subject).unwrap_or_default();
        if mapped != subject {
            trace.note(Step::Sm { ts: timestamp(unix_ns()), to: text(&mapped) });
        }
        if let Err(error) = self.may_publish(&mapped, reply, None) {
            trace.fail(error.to_string());
            return self.refuse(pass, error);
        }
        self.ok(pass.me);
        let Egress { steps, mut matched, unseen } =
            Egress::find(&pass.sender, &self.context.registry, subject, &mapped, trace.only);
        steps.into_iter().for_each(|step| trace.note(step));
        chunk.note_large(parsed.size_bytes as usize);
        let is_for_nobody = matched.is_empty() && unseen.is_empty();
        if trace.only && !is_for_nobody {
            matched = matched.with_traces();
        } else if !unseen.is_empty() {
            self.publish_one(chunk, pass, at, parsed, unseen);
        }
        // Without receivers it is recorded all the same: its publisher may want to know (CORE-180).
        if is_for_nobody || !matched.is_empty() {
            chunk.trace = Some(Arc::new(trace));
            self.publish_one(chunk, pass, at, parsed, matched);
            chunk.trace = None;
        }
    }

    fn publish_one(
        &mut self,
        chunk: &mut Chunk,
        pass: &mut Pass,
        at: usize,
        parsed: &PubLine,
        matched: Matched,
    ) {
        let item = item(parsed, at, chunk.next_line());
        chunk.record(item, &Arc::new(matched), &pass.sender);
        self.deliver(chunk, pass);
        pass.generation = pass.account.generation();
    }

    /// Publishes a message with its trace switched off in its headers.
    fn publish_disabled(&mut self, chunk: &mut Chunk, pass: &mut Pass, at: usize, parsed: &PubLine) {
        let rest = &pass.buf[at..];
        let (line, message) = rest.split_at(parsed.len as usize);
        let (block, payload) = message.split_at(parsed.header_len as usize);
        let block = headers::disabled(block);
        let payload = &payload[..(parsed.size_bytes - parsed.header_len) as usize + 2];
        let mut buf = Vec::with_capacity(line.len() + 2 + block.len() + payload.len());
        let mut part = |bytes: &[u8], end: &[u8]| {
            let span = Span { at: buf.len() as u32, len: bytes.len() as u32 };
            buf.extend_from_slice(bytes);
            buf.extend_from_slice(end);
            span
        };
        part(b"HPUB", b" ");
        let subject = part(parsed.subject.of(rest), b" ");
        let reply = part(parsed.reply.of(rest), b" ");
        let header_len = block.len() as u32;
        let size_bytes = header_len + parsed.size_bytes - parsed.header_len;
        put_number(&mut buf, header_len.into());
        buf.push(b' ');
        let size_at = buf.len() as u32;
        put_number(&mut buf, size_bytes.into());
        let size_text = Span { at: size_at, len: buf.len() as u32 - size_at };
        buf.extend_from_slice(b"\r\n");
        let parsed = PubLine { subject, reply, header_len, size_text, size_bytes, len: buf.len() as u32 };
        buf.extend_from_slice(&block);
        buf.extend_from_slice(payload);
        let mut own = Pass {
            account: pass.account,
            me: pass.me,
            sender: pass.sender,
            buf: &buf,
            guard: None,
            generation: pass.generation,
            trace: false,
            work_bytes: 0,
            msgs: 0,
            bytes: 0,
        };
        self.whole(chunk, &mut own, 0, &parsed);
        // The buffer goes with this call.
        self.deliver(chunk, &mut own);
        pass.generation = own.generation;
    }

    fn check_pedantic(&self, pass: &Pass, subject: &[u8]) {
        if self.flags.pedantic && !crate::subject::is_valid_literal(subject) {
            pass.me.send(&ErrText::InvalidPublishSubject.line());
        }
    }
}
