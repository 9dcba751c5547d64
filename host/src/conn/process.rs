//! What a connection does with one read: parse, record, deliver, answer.

use super::session::{End, Failure, Flags, Session};
use crate::account::Account;
use crate::proto::error::{ClosedReason, ErrText};
use crate::proto::fault;
use crate::proto::parse::{self, Line, Verb};
use crate::routing::chunk::{Chunk, Guard, Sender, Unanswered};
use crate::routing::receiver::Receiver;
use crate::routing::responders::answer_for_nobody;
use crate::runtime::now_ns;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

/// Deliver early after this much work (input times receivers): others' latency stays low under fan-out.
const WORK_BYTES: usize = 4 << 20;

/// A read that takes longer than this is gone on with after others had their turn.
const PAUSE_AFTER_NS: u64 = 3_000_000;

/// What the operations of one read share.
pub(super) struct Pass<'a> {
    pub account: &'a Account,
    pub me: &'a Arc<Receiver>,
    pub sender: Sender<'a>,
    pub buf: &'a [u8],
    pub guard: Guard<'a>,
    pub generation: u64,
    pub trace: bool,
    pub work_bytes: usize,
    pub msgs: u64,
    pub bytes: u64,
}

/// What became of one operation.
pub(super) enum Step {
    /// Done, with its length.
    Done(usize),
    /// More bytes are needed; so many in all, 0 is unknown.
    More(usize),
    /// Apart, so that the others fit into registers.
    End(Box<End>),
}

/// A step that does not fit into registers once cost every message a sixth more instructions.
const _: () = assert!(size_of::<Option<Step>>() <= 2 * size_of::<usize>());

impl Step {
    #[cold]
    pub fn end(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

impl Session {
    /// Processes `buf` as far as whole operations go.
    pub fn process(&mut self, chunk: &mut Chunk, account: &Account, me: &Arc<Receiver>, buf: &[u8]) -> End {
        let mut pass = Pass {
            account,
            me,
            sender: self.sender(account, me),
            buf,
            guard: None,
            generation: account.generation(),
            trace: self.traces(),
            work_bytes: 0,
            msgs: 0,
            bytes: 0,
        };
        self.need = 0;
        let mut pause_at_ns = None;
        let mut at = 0;
        let end = loop {
            if at == buf.len() {
                break End::Used(at);
            }
            let step = match self.repeated(chunk, &mut pass, at) {
                Some(step) => step,
                None => self.operation(chunk, &mut pass, at),
            };
            match step {
                Step::Done(len) => at += len,
                Step::More(need) => {
                    self.need = need;
                    break End::Used(at);
                }
                Step::End(end) => break *end,
            }
            if pass.work_bytes > WORK_BYTES {
                self.deliver(chunk, &mut pass);
                if self.is_time_to_pause(&mut pause_at_ns) && at < buf.len() {
                    break End::Paused { used: at };
                }
            }
        };
        self.deliver(chunk, &mut pass);
        if pass.msgs > 0 {
            self.active = true;
            add(&me.in_msgs, pass.msgs);
            add(&me.in_bytes, pass.bytes);
        }
        end
    }

    /// Whether somebody waits for this connection, or it has worked for so long that others should have their turn.
    /// Asked only after much work, so that others pay nothing for it.
    #[cold]
    fn is_time_to_pause(&self, pause_at_ns: &mut Option<u64>) -> bool {
        let now_ns = now_ns();
        let pause_at_ns = *pause_at_ns.get_or_insert(now_ns + PAUSE_AFTER_NS);
        now_ns >= pause_at_ns || self.connection.has_signals()
    }

    /// Delivers what is recorded, and answers requests that nobody got.
    pub(super) fn deliver(&mut self, chunk: &mut Chunk, pass: &mut Pass) {
        if chunk.is_empty() {
            pass.guard = None;
            return;
        }
        if let Some(receiver) = chunk.deliver(&pass.sender, pass.buf, &mut pass.guard) {
            self.stall = Some(receiver);
        }
        pass.work_bytes = 0;
        if !chunk.unanswered.is_empty() {
            let unanswered = std::mem::take(&mut chunk.unanswered);
            for Unanswered { item, mapped } in &unanswered {
                let subject = mapped.as_deref().unwrap_or(item.subject.of(pass.buf));
                answer_for_nobody(pass.me, pass.account, subject, item.reply.of(pass.buf));
            }
        }
    }

    /// One operation at `at`, which is not the last line again.
    fn operation(&mut self, chunk: &mut Chunk, pass: &mut Pass, at: usize) -> Step {
        let rest = &pass.buf[at..];
        if self.flags.expects_connect && !matches!(rest[0], b'c' | b'C') {
            // Somebody may stand in for who says nothing (AUTH-003, AUTH-012).
            return Step::end(End::Anonymous { used: at });
        }
        let (verb, args, len) = match parse::line(rest, self.limits.max_control_line_bytes) {
            Line::Whole { verb, args, len } => (verb, args, len),
            Line::Partial => return Step::More(0),
            Line::TooLong => {
                return Step::end(fail(ErrText::MaximumControlLine, ClosedReason::MaximumControlLine));
            }
            Line::Unknown => return unparsed(fault::of_operation(pass.buf, at)),
        };
        match verb {
            Verb::Pub => return self.publish(chunk, pass, at, args, len, false),
            Verb::Hpub => return self.publish(chunk, pass, at, args, len, true),
            _ => {}
        }
        // Everything else comes after what was published before it.
        self.deliver(chunk, pass);
        let text = &rest[args.0..args.1];
        if pass.trace {
            crate::routing::trace::inbound(&pass.me.label(), verb, text);
        }
        let result = match verb {
            Verb::Sub => {
                self.active = true;
                self.subscribe(pass, text)
            }
            Verb::Unsub => {
                self.active = true;
                self.unsubscribe(pass, text)
            }
            Verb::Ping => {
                self.active = true;
                self.ping(pass.account, pass.me);
                Ok(())
            }
            Verb::Pong => {
                self.pong();
                Ok(())
            }
            Verb::Connect => {
                return Step::end(End::Login { json: text.to_vec(), used: at + len });
            }
            Verb::Info => match serde_json::from_slice::<serde_json::Map<_, _>>(text) {
                Ok(_) => Ok(()),
                Err(e) => Err(Failure::silent(ClosedReason::ProtocolViolation, format!("INFO: {e}"))),
            },
            Verb::Err => {
                let text = String::from_utf8_lossy(text);
                Err(Failure::silent(ClosedReason::ParseError, format!("Client Error {text}")))
            }
            Verb::Ok | Verb::Pub | Verb::Hpub => Ok(()),
        };
        match result {
            Ok(()) => {
                pass.generation = pass.account.generation();
                Step::Done(len)
            }
            Err(failure) => Step::end(End::Fail(failure)),
        }
    }

    fn ping(&mut self, account: &Account, me: &Arc<Receiver>) {
        if self.traces() {
            crate::routing::trace::outbound_line(&me.label(), "PONG", b"");
        }
        let is_first = !self.first_pong_sent && self.flags.connected;
        self.first_pong_sent |= is_first;
        self.connection.takes_info.store(self.first_pong_sent && self.flags.async_info, Release);
        if is_first && self.flags.async_info {
            // In one write: clients take an INFO that comes later for a change of the cluster (CORE-041).
            let mut line = b"PONG\r\n".to_vec();
            line.extend(self.info_line(Some((&account.name, self.flags.system_account))));
            me.send(&line);
        } else {
            me.send(b"PONG\r\n");
        }
    }

    fn pong(&mut self) {
        self.pings_out = 0;
        if self.ping_sent_ns > 0 {
            let rtt_ns = crate::runtime::now_ns().saturating_sub(self.ping_sent_ns);
            self.connection.facts.lock().rtt_ns = rtt_ns;
            self.ping_sent_ns = 0;
        }
    }

    pub(super) fn traces(&self) -> bool {
        crate::log::trace_enabled() && (!self.flags.system_account || crate::log::trace_system_enabled())
    }

    pub(super) fn ok(&self, me: &Receiver) {
        if self.flags.verbose {
            me.send(b"+OK\r\n");
            if self.traces() {
                crate::routing::trace::outbound_line(&me.label(), "OK", b"");
            }
        }
    }

    /// Sends an -ERR that leaves the connection open.
    pub(super) fn tell(&self, me: &Receiver, error: &ErrText<'_>) {
        me.send(&error.line());
        if self.traces() {
            let text = error.to_string();
            crate::routing::trace::outbound_line(&me.label(), "-ERR", text.as_bytes());
        }
    }
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            expects_connect: false,
            connected: false,
            async_info: false,
            system_account: false,
        }
    }
}

pub(super) fn fail(error: ErrText<'static>, reason: ClosedReason) -> End {
    End::Fail(Failure::told(error, reason))
}

/// CORE-080. The log shows where the parser gave up.
#[cold]
pub(super) fn unparsed(log: String) -> Step {
    let error = Some(ErrText::UnknownProtocolOperation);
    Step::end(End::Fail(Failure { error, reason: ClosedReason::ProtocolViolation, log: Some(log) }))
}

/// Adds to a counter that only this thread writes at a time.
fn add(counter: &std::sync::atomic::AtomicU64, n: u64) {
    use std::sync::atomic::Ordering::Relaxed;
    counter.store(counter.load(Relaxed) + n, Relaxed);
}
